"""Processes are killed while they mirror or add a folder; the next run completes the index, and pays little again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from tests.sync.killed_runs import Job, kill_runs, seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from langchain_gemini_mm.testing import GeminiEmulator


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("method", ["mirror", "add"])
def test_killed_runs_are_completed(
    method: Literal["mirror", "add"],
    emulator: GeminiEmulator,
    tmp_path: Path,
    rounds: Callable[..., Iterator[int]],
    request: pytest.FixtureRequest,
) -> None:
    """The index of a new or changed folder is one made from scratch, and at most calls in flight are paid twice."""
    emulator.settings.latency = 0.01
    service = {"api_key": emulator.api_key, "base_url": emulator.url}
    job = Job(method=method, folder=tmp_path / "work", home=tmp_path / "home", service=service)
    seconds = seconds_of(lambda: job)
    kills = sum(kill_runs(job, emulator, seed, seconds) for seed in rounds(1, parts=2))
    request.config.get_terminal_writer().line(f"{kills} kills of {method}")
    assert kills
