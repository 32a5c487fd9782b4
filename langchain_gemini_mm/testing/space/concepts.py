"""The words of a text, as a simple model of its meaning: a stemmer and a table of related words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

RELATED = {
    "animal": "dog cat bird puppy kitten parrot horse fish pet wildlife fox owl zoo creature mammal",
    "dog": "puppy retriever hound terrier bark canine",
    "cat": "kitten purr meow tabby feline",
    "bird": "parrot owl sparrow robin feather nest chirp songbird",
    "pet": "hamster goldfish",
    "food": "pizza banana apple bread cheese fruit vegetable meal lunch dinner breakfast soup cake eat snack recipe",
    "fruit": "banana apple orange pear cherry lemon berry",
    "sleep": "sleepy asleep nap napping tired rest dozing bed drowsy slumber",
    "play": "playful ball toy game fun chase",
    "sea": "beach ocean wave shore coast sand surf water tide seaside",
    "water": "sea ocean wave rain river lake swim",
    "sound": "audio noise tone bark purr music song voice recording hear listen loud",
    "music": "song melody guitar piano concert band tone",
    "picture": "image photo photograph drawing illustration painting portrait",
    "video": "clip movie film footage recording",
    "document": "report paper page letter pdf invoice manual note",
    "money": "revenue price cost sale profit invoice budget income finance quarter",
    "chart": "diagram graph plot figure bar axis",
    "house": "home building architecture tower roof apartment room door",
    "city": "street town building traffic bridge",
    "nature": "tree forest flower mountain garden plant leaf landscape beach",
    "sky": "sun cloud moon star sunset sunrise blue",
    "vehicle": "car truck bus train bicycle boat ship",
    "code": "python function program software class script algorithm sort",
    "weather": "rain snow storm sun wind cloud",
    "red": "crimson scarlet", "blue": "azure navy", "green": "emerald lime", "yellow": "golden gold",
}  # fmt: skip
"""Related words by topic; enough for demos."""

COLOURS = ("black", "grey", "white", "red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "brown")
"""Names of the colours of images; texts with the same words are similar."""

_STOP_TEXT = (
    "a an the of and or but in on at to is are was were be been it its this that these those with for from by as "
    "i you he she we they them his her our your my me us do does did has have had not no so if then than there "
    "here what which who how when where why can could will would should may might about into over under out up "
    "down some any each all one two three just very also only none"
)
_MEDIUM_TEXT = "image picture photo photograph sound audio video clip document file text"
_STOP_WEIGHT, _MEDIUM_WEIGHT = 0.05, 0.3
_STOP_WORDS = frozenset(_STOP_TEXT.split())
_WEIGHTS = dict.fromkeys(_MEDIUM_TEXT.split(), _MEDIUM_WEIGHT) | dict.fromkeys(_STOP_WORDS, _STOP_WEIGHT)
_WORD = re.compile(r"[^\W_]+", re.UNICODE)
_QUERY = re.compile(r"task: ([^|\n]{1,60}) \| query: ", re.IGNORECASE)
_DOCUMENT = re.compile(r"title: ([^\n]{0,500}?) \| text: ", re.IGNORECASE)


class Word(NamedTuple):
    """One word of a content, with its weight."""

    stem: str
    weight: float


@dataclass(frozen=True, slots=True)
class Meaning:
    """The weighted words of a content, and its task."""

    words: tuple[Word, ...]
    task: str | None = None
    """`"search result"` or another task from a query prefix, `"document"` from a document prefix."""


def meaning_of(text: str) -> Meaning:
    """Parse a text: remove the task prefix, split it into stems, and give stop words a low weight.

    ```python
    from langchain_gemini_mm.testing.space.concepts import meaning_of

    assert meaning_of("task: search result | query: sleeping puppies").task == "search result"
    assert [word.stem for word in meaning_of("sleeping puppies").words] == ["sleep", "puppy"]
    ```
    """
    if match := _QUERY.match(text):
        return Meaning(words_of(text[match.end() :]), match[1].lower())
    if match := _DOCUMENT.match(text):
        title = "" if match[1] == "none" else match[1]
        return Meaning(words_of(title, 0.5) + words_of(text[match.end() :]), "document")
    return Meaning(words_of(text))


def words_of(text: str, weight: float = 1.0) -> tuple[Word, ...]:
    """The words of a text with their weights, in order of appearance; the weight of n repetitions is sqrt(n)."""
    counts: dict[str, int] = {}
    for word in _WORD.findall(text):
        stem = stem_of(word.lower())
        counts[stem] = counts.get(stem, 0) + 1
    return tuple(
        Word(stem, weight * _WEIGHTS.get(stem, 1.0) * (count**0.5 if count > 1 else 1.0))
        for stem, count in counts.items()
    )


@lru_cache(maxsize=16_384)
def stem_of(word: str) -> str:
    """The stem of a lower-case English word, without plural, `-ing` and `-ed`."""
    if len(word) <= 3 or not word.isascii() or word in _STOP_WORDS:
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes", "oes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return stem_of(word[:-1])
    for ending in ("ing", "ed"):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= 3 and any(vowel in stem for vowel in "aeiouy"):
            doubled = len(stem) > 3 and stem[-1] == stem[-2] and stem[-1] not in "lrsez"
            return stem[:-1] if doubled else stem
    return word


@lru_cache(maxsize=1)
def topics() -> dict[str, tuple[str, ...]]:
    """Topics by stem, from `RELATED`."""
    found: dict[str, list[str]] = {}
    for topic, members in RELATED.items():
        for member in members.split():
            found.setdefault(stem_of(member), []).append(stem_of(topic))
    return {stem: tuple(dict.fromkeys(names)) for stem, names in found.items()}
