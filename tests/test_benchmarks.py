"""The benchmarks run; their results are not checked."""

from __future__ import annotations

import shutil
import sys
from importlib import import_module

import pytest

from benchmarks import clips, embedding, images, inserting, loading, long_video, memory, quota, ranking, report, syncing

TINY = {
    "embedding": embedding.Size(
        texts=4, images=4, rounds=1, queries=2, texts_per_call=2, image_bytes=2000, settings=((768, 2),)
    ),
    "memory": memory.Size(little=1, much=4_000_000, rounds=1),
    "images": images.Size(images=1, pages=13, rounds=1, sides=(400, 300)),
    "clips": clips.Size(seconds=60, width=160, rounds=1),
    "loading": loading.Size(files=3, rounds=1, sides=(400, 300), seconds=3),
    "long_video": long_video.Size(seconds=60, width=160),
    "inserting": inserting.Size(inserted=300, rounds=2),
    "quota": quota.Size(requests=50, tokens=20_000, minute=3.0, free_texts=110, free_images=10, free_minute=1.0),
    "syncing": syncing.Size(files=30, rounds=1),
    "ranking": ranking.Size(rows=300, dimensions=16, queries=3, rounds=1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_subject(name: str):
    """A subject returns lines with a ratio, or the reason why there is none."""
    rows = list(import_module(f"benchmarks.{name}").measure(TINY[name]))
    assert rows
    for row in rows:
        if row.ratio == "skipped":
            assert row.note
            missing_program = "ffmpeg" in row.note and shutil.which("ffmpeg") is None
            assert "langchain-google-genai" in row.against or sys.platform == "win32" or missing_program
        else:
            assert float(row.ratio) > 0
        assert (row.met is None) == (not row.aim)


def test_ratios():
    """Higher speed is better, higher cost is worse, and a ratio is the median of the ratios of the rounds."""
    seconds = {"ours": [1.0, 2.0, 4.0], "theirs": [2.0, 2.0, 2.0]}
    faster = report.speed("speed", "them", seconds["ours"], seconds["theirs"], aim=0.95)
    dearer = report.cost("cost", "them", seconds["ours"], seconds["theirs"], aim=0.95)
    assert (faster.ratio, faster.rounds, faster.aim, faster.met) == ("1.00", "0.50 to 2.00", "≥ 0.95", True)
    assert (dearer.ratio, dearer.rounds, dearer.aim, dearer.met) == ("1.00", "0.50 to 2.00", "≤ 0.95", False)


def test_turns():
    """Contenders take turns, in the opposite order in each round."""
    order: list[str] = []
    turns = report.interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3)
    assert "".join(order) == "abbaab"
    assert [len(taken) for taken in turns.values()] == [3, 3]


def test_table():
    """The table is Markdown, with notes below and without lines that were not requested."""
    rows = [
        report.Row(measured="a", against="b", ratio="0.99", rounds="one", aim="≥ 0.95", met=True),
        report.skipped("c", "d", "it is not here"),
    ]
    lines = report.table(rows).splitlines()
    assert lines[0].split("|")[1].strip() == "measured"
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == ["a", "b", "0.99", "one", "≥ 0.95", "yes"]
    assert lines[-1] == "- c: it is not here."
