"""Names, docstrings, comments, messages and pages are in plain technical English.

`WORDS` lists expressions that make a reader stop, each with what to write instead. It contains only expressions that
have a plainer equivalent in every context; everything else is left to review.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("docs", "examples", "benchmarks", "scripts", "langchain_gemini_mm", "tests", "integration_tests")
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "conftest.py")
WORDS = {
    r"a gift": "optional",
    r"anew": "again",
    r"as likely as not": "with probability 0.5",
    r"as one who knows (it|them) well": "leave it out",
    r"at all events": "in any case",
    r"bearable": "within the limit",
    r"beside (its?|the|their|that|these|this|them|each|ours|theirs)": "next to, in addition to",
    r"by a door of (its|their) own": "separately, redirected",
    r"by (its|their) own word": "declared",
    r"erstwhile|hitherto|henceforth|lest|yonder": "leave it out",
    r"for people to": "for readers, leave it out",
    r"for their words' sake": "for the text",
    r"for want of": "without",
    r"goes by (the )?(ids?|words?)": "is ordered by id, compares words",
    r"hangs? together": "is connected",
    r"hardly counts?": "has little influence",
    r"heed(s|ed|ing)?": "use, respect",
    r"(hereby|thereby|therein|thereof|thereto|wherein|whereof)": "in it, of it, by this",
    r"in a \w+'s clothes": "disguised as",
    r"in so many words": "explicitly",
    r"it is said in words": "as text",
    r"letter (by|for) letter": "exactly",
    r"litter of|and litter": "operating-system files",
    r"meets all alike": "affects all equally",
    r"nobody's but": "only",
    r"of one's own": "of your own, custom",
    r"sees? to it that": "ensure that",
    r"stand(s|ing)? (aside|beside)": "is independent, is next to",
    r"the commonest": "the most common",
    r"the other way about": "reversed",
    r"thin(s|ned)? out": "fall off",
    r"to the letter": "verbatim",
    r"told (so|once)": "reported, listed",
    r"wants of (files?|it|them)": "options of",
    r"wish(es)? that can be met": "options are valid",
    r"(when|where|if) nothing is said": "by default",
    r"who(ever)? looks": "the caller, the module that opens",
    r"without a word from": "by default",
}
"""Regular expressions of whole words, also as parts of names, and what to write instead."""

ALLOWED = {
    "tests/test_words.py": frozenset(WORDS),
}
"""Expressions that a file may contain because it quotes them."""

GAP = r"(?:\s+|\s*\n\s*#\s+)"
"""Between two words: white space, or the start of the next line of a comment."""
PATTERNS = {words: re.compile(rf"(?<![^\W_])(?:{words.replace(' ', GAP)})(?![^\W_])", re.IGNORECASE) for words in WORDS}


def offences(path: Path) -> list[str]:
    """List the lines of a file with an expression of `WORDS`, each with what to write instead."""
    name = path.relative_to(ROOT).as_posix()
    text = path.read_text(encoding="utf-8")
    return [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}, write: {WORDS[words]}"
        for words, pattern in PATTERNS.items()
        if words not in ALLOWED.get(name, ())
        for match in pattern.finditer(text)
    ]


def files() -> list[Path]:
    """The Python files and pages of the project."""
    found = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")) if path.suffix in {".md", ".py"}]
    return [*found, *(ROOT / page for page in PAGES)]


@pytest.mark.parametrize("path", files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_plain_words(path: Path) -> None:
    """A file contains no expression of `WORDS`."""
    assert offences(path) == []
