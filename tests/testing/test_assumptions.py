"""The list of assumptions, the live checks, and the tests of the emulator refer to each other correctly."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from integration_tests.gemini_api import Api
from integration_tests.test_gemini_live import CHECKS
from langchain_gemini_mm.testing.limits import SOURCES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/api-assumptions.md").read_text(encoding="utf-8")
LINES = [line for line in PAGE.splitlines() if re.match(r"\| [AB]\d", line)]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in LINES]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.number)
def test_emulator_does_as_assumed(emulator, check):
    """Every live check passes on the emulator."""
    seen = check.observe(Api(emulator.url, emulator.api_key))
    assert check.expected is None or seen == check.expected


def test_a_check_can_fail(emulator):
    """A check fails for responses in the wrong order."""
    emulator.settings.failure_rate, emulator.settings.failures = 1.0, ("reordered",)
    first = CHECKS[0]
    assert first.observe(Api(emulator.url, emulator.api_key)) != first.expected


def test_every_check_is_on_the_page():
    """The page lists exactly the live checks, in order."""
    assert [row[0] for row in ROWS if row[0].startswith("A")] == [check.number for check in CHECKS]


def test_open_questions_are_marked():
    """A check without an expectation is an assumption with a question mark."""
    marked = {row[0] for row in ROWS if row[1].endswith("?") and row[0].startswith("A")}
    assert marked == {check.number for check in CHECKS if check.expected is None}


def test_named_tests_exist():
    """Every test that the page names exists."""
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    named = {name for row in ROWS for name in re.findall(r"`(test_\w+)`", row[4])}
    assert named
    assert not {name for name in named if f"def {name}(" not in tests}


def test_sources_have_addresses():
    """Every rule of the emulator, and every tag on the page, has a URL."""
    assert all("https://" in source for source in SOURCES.values())
    tags = set(re.findall(r"^\| ([A-Z]+) \| https://", PAGE, re.MULTILINE)) | {"SDK"}
    used = {tag for row in ROWS for tag in re.findall(r"\b(?:EMB|REF|FILES|DEP|RL|VMM|VREST|VTXT|CB|SDK)\b", row[3])}
    assert used <= tags
