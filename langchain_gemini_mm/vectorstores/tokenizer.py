"""The words of texts and questions, for keyword search: pure functions, one meaning in every language.

A text is prepared before it is indexed: references to media are taken out, letters are folded (case, width,
ligatures), and scripts that are written without spaces are cut into single characters. A question is cut in the same
way: into words, and, where there are no spaces, into pairs of neighbouring characters that must stand together.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from langchain_gemini_mm.interfaces import COMPANION_TEXT

MAX_TERMS = 64
"""Maximum number of different words of a query; further words are ignored."""

_BEGINNING = 2000
_COMMON = """a an and are as at be but by for if in into is it no not of on or such that the their then there these
they this to was will with"""
STOP_WORDS = frozenset(_COMMON.split())
"""English words that say too little to look for; a question of nothing else finds nothing."""

_REFERENCE = re.compile(r"\\?!\[\]\(mm:[^\s)]*\)?|mm://\S*")
# Scripts without spaces between words, and Hangul, whose words carry endings. Kana and Han, then Thai to Khmer.
_SPACELESS = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u312f\u3131-\u318e"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1780-\u17d3"
)
_CHARACTER = re.compile(f"[{_SPACELESS}]")
_RUN = re.compile(f"[{_SPACELESS}]+")
# Points and accents that are often left out in writing: Latin, Hebrew, Arabic.
_POINTS = re.compile("[\u0300-\u036f\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u064b-\u065f\u0670]")
_ACCENTS = re.compile("[\u0300-\u036f]")
_MARKS = "\u0900-\u0dff\u0e31-\u0e4e\u0eb1-\u0ece\u1000-\u17d3"
# Letters, digits and the vowel signs of Indic scripts; an apostrophe inside, or a point between digits, is part of it.
_NO_WORD = re.compile(rf"[^\w{_MARKS}]+")
_WORD = re.compile(rf"[\w{_MARKS}]+(?:['\u2019][\w{_MARKS}]+|(?<=\d)[.,]\d+)*")

# What stands inside a word of `_WORD` without being of its letters.
_JOINTS = re.compile("[_'\u2019.,]+")


def indexed_text(text: str) -> str:
    """Prepare a text for the index.

    ```python
    from langchain_gemini_mm.vectorstores.tokenizer import indexed_text

    assert indexed_text("Straße ![](mm://sha256-" + "0" * 64 + ")").split() == ["strasse"]
    assert indexed_text("東京").split() == ["東", "京"]
    ```
    """
    if "mm:" in text:
        text = _REFERENCE.sub(" ", text)
    if text.isascii():
        return text
    return _CHARACTER.sub(r" \g<0> ", _NO_WORD.sub(" ", _folded(text)))


def terms(text: str) -> list[str]:
    """The search terms of a query, each once; a term with spaces is a phrase.

    ```python
    from langchain_gemini_mm.vectorstores.tokenizer import terms

    assert terms("The cat's food, 3.5 kg!") == ["cat's", "food", "3.5", "kg"]
    assert terms("東京都") == ["東 京", "京 都"]
    assert terms("") == terms("?!") == terms("to be or not to be") == []
    ```
    """
    if "mm:" in text:
        text = _REFERENCE.sub(" ", text)
    found: dict[str, None] = {}
    for word in _WORD.findall(_folded(text)):
        for term in _cut(word):
            if term not in STOP_WORDS and any(map(str.isalnum, term)):
                found[term] = None
        if len(found) >= MAX_TERMS:
            break
    return list(found)[:MAX_TERMS]


def searched_text(text: str, metadata: Mapping[str, Any]) -> str:
    """The text by which a document is found: its own text and the text that accompanies its media."""
    companion = metadata.get(COMPANION_TEXT)
    return f"{text}\n{companion}" if isinstance(companion, str) else text


def tokens(text: str) -> Iterator[str]:
    """The words of a text for an index without phrases and accents, which is searched for `token_terms`.

    ```python
    from langchain_gemini_mm.vectorstores.tokenizer import tokens

    assert list(tokens("The cat's food_bowl")) == ["the", "cat's", "cat", "s", "food_bowl", "food", "bowl"]
    assert list(tokens("東京")) == ["東", "京", "東京"]
    ```
    """
    if "mm:" in text:
        text = _REFERENCE.sub(" ", text)
    words = _WORD.findall(_bare(_folded(text)))
    whole = "".join(words)
    if whole.isascii() and whole.isalnum():
        yield from words
        return
    for word in words:
        if word.isalnum() and word.isascii():
            yield word
        else:
            yield from _pieces(word)


def token_terms(text: str) -> list[str]:
    """The terms to search for in an index that was built with `tokens`."""
    return [_bare(term).replace(" ", "") for term in terms(text)]


def has_words(text: str) -> bool:
    """Whether a text contains words; a text of media references alone does not."""
    return any(any(map(str.isalnum, word)) for word in _WORD.findall(_REFERENCE.sub(" ", text)))


def mentions(text: str, words: Sequence[str]) -> bool:
    """Whether the beginning of a text contains one of the `terms`."""
    terms = frozenset(words)
    return any(not terms.isdisjoint(_cut(word)) for word in _WORD.findall(_folded(text[:_BEGINNING])))


def readable_text(content: Any) -> str | None:
    """The text of a query's content, without its media; None if there is no text.

    Accepts the same content as an embedding: texts, documents, messages, content blocks, and lists of these.
    """
    pieces = list(_texts(content))
    return " ".join(pieces) if pieces else None


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    return _POINTS.sub("", unicodedata.normalize("NFKC", text).casefold())


def _bare(text: str) -> str:
    """A text without accents, because queries often omit them."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", text)))


def _cut(word: str) -> Iterator[str]:
    """The word itself, or the pairs of adjacent characters in its runs of a script without spaces."""
    position = 0
    for run in _RUN.finditer(word):
        if run.start() > position:
            yield word[position : run.start()]
        characters = run.group()
        if len(characters) == 1:
            yield characters
        yield from (f"{one} {two}" for one, two in pairwise(characters))
        position = run.end()
    if position < len(word):
        yield word[position:]


def _pieces(word: str) -> Iterator[str]:
    """All parts of a word that a query may contain: runs of spaced scripts, single characters, and their pairs."""
    for part in _CHARACTER.sub(lambda found: f" {found[0]} ", word).split():
        inner = [piece for piece in _JOINTS.split(part) if piece]
        if inner:
            yield part
        if inner != [part]:
            yield from inner
    for run in _RUN.finditer(word):
        yield from (one + two for one, two in pairwise(run.group()))


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
