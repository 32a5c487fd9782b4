"""The tokens of texts and queries for keyword search: pure functions, the same for every store and language.

A text is prepared before it is indexed: references to media are removed, letters are folded (case, width, accents,
letters that are often typed as others), and scripts that are written without spaces are cut into single characters. A
query is cut in the same way: into words, and, where there are no spaces, into pairs of adjacent characters.

There are no stop words: a word that nearly every document contains has practically no weight in BM25, and a list for
one language removes words of others (`was`, `die`, `IT`, `The Who`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import chain, pairwise
from typing import Any

from langchain_gemini_mm.interfaces import COMPANION_TEXT

MAX_TERMS = 64
"""Maximum number of different words of a query; further words are ignored."""
PUNCTUATION = "'_.,+#"
"""The ASCII characters besides letters and digits that tokens contain."""

_BEGINNING = 2000
_CACHED_LENGTH = 30
"""Characters of a word from which its tokens are not cached."""
_REFERENCE = re.compile(r"\\?!\[\]\(mm:[^\s)]*\)?|mm://\S*")
_BREAK = "."
"""Token at the end of a run of a script without spaces, so that phrases do not match across it."""

# Scripts without spaces between words, and Hangul, whose words carry endings. Kana and Han, then Thai to Khmer.
_SPACELESS = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u312f\u3131-\u318e"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1780-\u17d3"
)
_CHARACTER = re.compile(f"[{_SPACELESS}]")
_RUN = re.compile(f"[{_SPACELESS}]+")
_JOINTS = re.compile("[_'.,]+")
"""What is between the parts of one word."""
_NUMBERED = re.compile(r"[^\W\d_]+(\d+(?:[.,]\d+)+)")
"""A version number after letters, as in `v1.2.3`."""
_SIGNED = re.compile(r"([a-z])(?:\+\+|#)")
"""The name of a programming language, such as `c++`."""
_FOREIGN_DIGIT = re.compile(r"[^\x00-\x7f\D]")

_EMOJI = (
    "\u203c\u2049\u2139\u2194-\u21aa\u231a-\u23ff\u25aa-\u27bf\u2934\u2935\u2b05-\u2b55\u3030\u303d"
    "\U0001f000-\U0001f1e5\U0001f200-\U0001f3fa\U0001f400-\U0001faff"
)
_FLAG = "[\U0001f1e6-\U0001f1ff]"

_BLOCKS_WITH_MARKS = ((0x300, 0x1E00), (0x20D0, 0x2100), (0xA66F, 0xAC00), (0x10A00, 0x12000), (0x1E000, 0x1E960))
_LATIN_AND_GREEK = ((0xC0, 0x250), (0x370, 0x400), (0x1E00, 0x2000), (0x2C60, 0x2C80), (0xA722, 0xA7FF))
_WITH = re.compile("LATIN (?:SMALL|CAPITAL) LETTER ([A-Z]{1,2}) WITH ")
# Points, accents and vowel signs that are often left out: Latin, Hebrew, Arabic, Syriac, the nukta of Devanagari. Then
# the tatweel and characters that are invisible: soft hyphen, joiners, marks of direction, variants and skin tones.
_LEFT_OUT = (
    "\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4"
    "\u06e7\u06e8\u06ea-\u06ed\u0711\u0730-\u074a\u093c"
    "\u0640\u00ad\u180b-\u180e\u200c-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff\U0001f3fb-\U0001f3ff"
)
_OTHER_LETTERS = {
    **dict.fromkeys("\u2018\u2019\u201b\u02bc\u055a\u05f3", "'"),
    "\u0131": "i",
    "æ": "ae",
    "Æ": "AE",
    "œ": "oe",
    "Œ": "OE",
    "ð": "d",
    "Ð": "D",
    "þ": "th",
    "Þ": "TH",
    "ŋ": "n",
    "Ŋ": "N",
    "ĸ": "k",
    **dict.fromkeys("\u0401\u0451\u0400\u0450", "\u0435"),  # the Cyrillic letter yo, and ie with a grave accent
    **dict.fromkeys("\u040d\u045d", "\u0438"),
    **dict.fromkeys("\u0622\u0623\u0625\u0671", "\u0627"),  # alef with hamza, madda or wasla
    **dict.fromkeys("\u0626\u0649\u06cc\u06d2\u06d3", "\u064a"),  # forms of yeh
    **dict.fromkeys("\u0629\u06c0\u06c1\u06c2\u06c3", "\u0647"),  # forms of heh
    "\u0624": "\u0648",  # waw with hamza
    "\u06a9": "\u0643",  # the Persian kaf
}
"""Letters that are often typed as others, and the apostrophes."""


def indexed_text(text: str) -> str:
    """The tokens of a text, separated by spaces, for an index with phrases, which is searched for `terms`.

    ```python
    from langchain_gemini_mm.vectorstores.tokenizer import indexed_text

    assert indexed_text("Straße ![](mm://sha256-" + "0" * 64 + ")") == "strasse"
    assert indexed_text("東京") == "東 京 ."
    ```
    """
    return " ".join(_pieces(text, _placed))


def tokens(text: str) -> Iterator[str]:
    """The tokens of a text for an index without phrases, which is searched for `token_terms`.

    ```python
    from langchain_gemini_mm.vectorstores.tokenizer import tokens

    assert list(tokens("The cat's food_bowl")) == ["the", "cat's", "cat", "s", "food_bowl", "food", "bowl"]
    assert list(tokens("東京")) == ["東", "京", "東京"]
    ```
    """
    for piece in _pieces(text, _paired):
        yield from piece.split(" ")


def terms(text: str) -> list[str]:
    """The search terms of a query, each once; a term with a space is a phrase.

    ```python
    from langchain_gemini_mm.vectorstores.tokenizer import terms

    assert terms("The cat's food, 3.5 kg!") == ["the", "cat's", "food", "3.5", "kg"]
    assert terms("東京都") == ["東 京", "京 都"]
    assert terms("") == terms("?!") == []
    ```
    """
    found: dict[str, None] = {}
    for word in _words(text):
        found |= dict.fromkeys(_terms(word))
        if len(found) >= MAX_TERMS:
            break
    return list(found)[:MAX_TERMS]


def token_terms(text: str) -> list[str]:
    """The terms to search for in an index that was built with `tokens`."""
    return [term.replace(" ", "") for term in terms(text)]


def older_terms(text: str) -> list[str]:
    """The `terms` by which version 0.1.0 searched, without those of `terms`; for an index that was made by it.

    ```python
    from langchain_gemini_mm.vectorstores.tokenizer import older_terms

    assert older_terms("a café in Łódź") == ["café", "łódź"]
    ```
    """
    newer = frozenset(terms(text))
    return [term for term in _older_terms(text) if term not in newer][:MAX_TERMS]


def older_token_terms(text: str) -> list[str]:
    """The `token_terms` by which version 0.1.0 searched, without those of `token_terms`."""
    newer = frozenset(token_terms(text))
    bare = (unicodedata.normalize("NFD", term.replace(" ", "")) for term in _older_terms(text))
    joined = dict.fromkeys(unicodedata.normalize("NFC", _ACCENTS.sub("", term)) for term in bare)
    return [term for term in joined if term not in newer][:MAX_TERMS]


def searched_text(text: str, metadata: Mapping[str, Any]) -> str:
    """The text by which a document is found: its own text and the text that accompanies its media."""
    companion = metadata.get(COMPANION_TEXT)
    return f"{text}\n{companion}" if isinstance(companion, str) else text


def has_words(text: str) -> bool:
    """Whether a text contains words; a text of media references alone does not."""
    return bool(_words(text))


def mentions(text: str, words: Sequence[str]) -> bool:
    """Whether the beginning of a text contains one of the `terms`."""
    terms = frozenset(words)
    return any(not terms.isdisjoint(_terms(word)) for word in _words(text[:_BEGINNING]))


def readable_text(content: Any) -> str | None:
    """The text of a query's content, without its media; None if there is no text.

    Accepts the same content as an embedding: texts, documents, messages, content blocks, and lists of these.
    """
    pieces = list(_texts(content))
    return " ".join(pieces) if pieces else None


def _words(text: str) -> list[str]:
    """The folded words of a text, with the characters inside them, such as apostrophes."""
    words: list[str] = []
    for chunk in _chunks(text):
        if chunk.isalnum():
            words.append(chunk)
        else:
            words += _words_in(chunk)
    return words


def _chunks(text: str) -> list[str]:
    """The folded text, divided at white space."""
    return _folded(_REFERENCE.sub(" ", text) if "mm:" in text else text).split()


def _words_in(chunk: str) -> list[str]:
    find = (_word() if chunk.isascii() else _word_or_emoji()).findall
    return [word for word in find(chunk) if word.isalnum() or _is_word(word)]


def _is_word(word: str) -> bool:
    return any(map(str.isalnum, word)) or _emoji().match(word) is not None


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    letters = _letters()
    plain = unicodedata.normalize("NFKC", text.replace("\u00b4", "'"))
    folded = _unfolded().sub(lambda found: letters.get(found[0], ""), plain).casefold()
    return folded if folded.isascii() else _FOREIGN_DIGIT.sub(lambda found: str(unicodedata.decimal(found[0])), folded)


def _pieces(text: str, of_chunk: Callable[[str], str]) -> Iterator[str]:
    """The tokens of a text; some items are several, separated by spaces.

    Args:
        text: of a document.
        of_chunk: the tokens of what is between two white spaces, if it is more than one word.
    """
    chunks = _chunks(text)
    spaced = text.isascii() or not any(map(_CHARACTER.search, chunks))
    # Words with a comma or an apostrophe are repeated often. Text without spaces is not cached.
    cached = _cached(of_chunk)
    pieces = [
        chunk
        if chunk.isalnum() and (spaced or chunk.isascii())
        else (cached if len(chunk) < _CACHED_LENGTH else of_chunk)(chunk)
        for chunk in chunks
    ]
    return filter(None, pieces)


@cache
def _cached(of_chunk: Callable[[str], str]) -> Callable[[str], str]:
    return lru_cache(maxsize=10_000)(of_chunk)


def _parts(word: str) -> Iterator[str]:
    """The word and its parts that a query may contain; runs of scripts without spaces are parts of their own."""
    for whole in [word] if word.isascii() else _separated(word):
        part = whole.strip("'.,")  # what stood between it and a run
        if part.isalnum():
            yield part
            continue
        inner = [piece for piece in _JOINTS.split(part) if piece]
        if inner:
            yield part
        if inner != [part]:
            numbered = _NUMBERED.fullmatch(part)
            if numbered:
                yield numbered[1]
            yield from inner
        elif signed := _SIGNED.fullmatch(part):
            yield signed[1]


def _separated(word: str) -> Iterator[str]:
    """The runs of scripts without spaces in a word, and what is between them."""
    position = 0
    for run in _RUN.finditer(word):
        if run.start() > position:
            yield word[position : run.start()]
        yield run.group()
        position = run.end()
    if position < len(word):
        yield word[position:]


def _placed(chunk: str) -> str:
    """The tokens of a chunk for an index with phrases."""
    found: list[str] = []
    for part in chain.from_iterable(map(_parts, _words_in(chunk))):
        found += (part,) if part.isascii() or not _RUN.match(part) else (*part, _BREAK)
    return " ".join(found)


def _paired(chunk: str) -> str:
    """The tokens of a chunk for an index without phrases."""
    found: list[str] = []
    for part in chain.from_iterable(map(_parts, _words_in(chunk))):
        if part.isascii() or not _RUN.match(part):
            found.append(part)
        else:
            found += (*part, *(one + two for one, two in pairwise(part)))
    return " ".join(found)


def _terms(word: str) -> Iterable[str]:
    """The terms of one word: itself, or the pairs of adjacent characters in its runs of a script without spaces."""
    if word.isascii():
        if word.isalnum():
            return (word,)
        shorter = _NUMBERED.fullmatch(word) or _SIGNED.fullmatch(word)
        return (word, shorter[1]) if shorter else (word,)
    return (term.strip("'.,") for term in _cut(word) if _is_word(term))


def _cut(word: str) -> Iterator[str]:
    for part in _separated(word):
        if not _RUN.match(part) or len(part) == 1:
            yield part
        else:
            yield from (f"{one} {two}" for one, two in pairwise(part))


@cache
def _word() -> re.Pattern[str]:
    """A word of letters, digits and marks; with an apostrophe inside, a point between digits, or as `c++` and `c#`."""
    signs = r"(?<=[a-z])(?<!\w\w)(?:\+\+|#)(?!\w)"
    return re.compile(rf"\w+(?:(?:'(?=\w)|(?<=\d)[.,](?=\d)|[{_marks()}]+|{signs})\w*)*")


@cache
def _word_or_emoji() -> re.Pattern[str]:
    return re.compile(f"{_word().pattern}|{_FLAG}{{1,2}}|[{_EMOJI}]")


@cache
def _emoji() -> re.Pattern[str]:
    return re.compile(f"[{_EMOJI}]|{_FLAG}")


@cache
def _marks() -> str:
    """All combining marks, such as the vowel signs of Indic scripts, for a class of a regular expression."""
    return "".join(
        chr(code)
        for first, last in _BLOCKS_WITH_MARKS
        for code in range(first, last)
        if unicodedata.category(chr(code))[0] == "M"
    )


@cache
def _letters() -> dict[str, str]:
    """The letters that are folded in addition to case and width, with what they become."""
    found = dict(_OTHER_LETTERS)
    for first, last in _LATIN_AND_GREEK:
        for code in range(first, last):
            letter = chr(code)
            named = _WITH.match(unicodedata.name(letter, ""))
            bare = named[1] if named else _ACCENTS.sub("", unicodedata.normalize("NFD", letter))
            if bare != letter:
                found.setdefault(letter, bare)
    return found


@cache
def _unfolded() -> re.Pattern[str]:
    return re.compile(f"[{''.join(_letters())}{_LEFT_OUT}]")


# The tokenizer of version 0.1.0, for indexes that were made by it.
_ACCENTS = re.compile("[\u0300-\u036f]")
_OLDER_POINTS = re.compile("[\u0300-\u036f\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u064b-\u065f\u0670]")
_OLDER_MARKS = "\u0900-\u0dff\u0e31-\u0e4e\u0eb1-\u0ece\u1000-\u17d3"
_OLDER_WORD = re.compile(rf"[\w{_OLDER_MARKS}]+(?:['\u2019][\w{_OLDER_MARKS}]+|(?<=\d)[.,]\d+)*")


def _older_terms(text: str) -> Iterator[str]:
    if not text.isascii():  # else they are those of `terms`
        folded = _OLDER_POINTS.sub("", unicodedata.normalize("NFKC", _REFERENCE.sub(" ", text)).casefold())
        for word in _OLDER_WORD.findall(folded):
            yield from (term for term in _cut(word) if any(map(str.isalnum, term)))


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list | tuple):
        for part in content:
            yield from _texts(part)
    elif isinstance(content, Mapping):
        if isinstance(content.get("text"), str):
            yield content["text"]
    else:
        for name in ("page_content", "content", "text"):
            inner = getattr(content, name, None)
            if isinstance(inner, str | list):
                yield from _texts(inner)
                return
