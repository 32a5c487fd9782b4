"""The tokenizer of version 0.1.0, as it was: collections that it indexed must still be found.

Only what made an index, or a query for one, is left.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise

MAX_TERMS = 64
"""Maximum number of different words of a query; further words are ignored."""

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
    """Prepare a text for the index."""
    if "mm:" in text:
        text = _REFERENCE.sub(" ", text)
    if text.isascii():
        return text
    return _CHARACTER.sub(r" \g<0> ", _NO_WORD.sub(" ", _folded(text)))


def terms(text: str) -> list[str]:
    """The search terms of a query, each once; a term with spaces is a phrase."""
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


def tokens(text: str) -> Iterator[str]:
    """The words of a text for an index without phrases and accents, which is searched for `token_terms`."""
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
