"""Progress: a bar, or lines."""

from __future__ import annotations

import io
import logging
import sys
from typing import TYPE_CHECKING

import pytest

from langchain_gemini_mm import LocalVectorStore
from langchain_gemini_mm.interfaces import WaitNotice
from langchain_gemini_mm.progress import ProgressBar
from tests.vectorstores.fakes import WordEmbeddings

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def without_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide tqdm."""
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)


def test_a_bar_counts_what_is_stored() -> None:
    """The bar counts batches up to the total."""
    pytest.importorskip("tqdm")
    shown = io.StringIO()
    with (
        LocalVectorStore(":memory:", WordEmbeddings()) as store,
        ProgressBar(total=5, file=shown, mininterval=0, ascii=True) as progress,
    ):
        store.add_texts([f"text {i}" for i in range(5)], batch_size=2, progress=progress)
    assert progress.done == 5
    assert "40%" in shown.getvalue()
    assert "5/5" in shown.getvalue()


def test_a_bar_shows_why_nothing_happens() -> None:
    """Reason and duration of a wait are shown until the next item is finished."""
    pytest.importorskip("tqdm")
    shown = io.StringIO()
    with ProgressBar(total=5, file=shown, mininterval=0, ascii=True, ncols=200) as progress:
        progress.waiting(WaitNotice("requests per minute", 41.6, 3))
        assert "waiting 42 s: requests per minute" in shown.getvalue().splitlines()[-1]
        shown.truncate(0)
        progress(4)
        assert "4/5" in shown.getvalue()
        assert "waiting" not in shown.getvalue()


@pytest.mark.usefixtures("without_tqdm")
def test_without_tqdm_progress_is_logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages are logged at intervals, not for each batch."""
    times: Iterator[float] = iter([0.0, 1.0, 6.0, 6.0, 7.0])
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    with caplog.at_level(logging.INFO, logger="langchain_gemini_mm"), ProgressBar(9, unit="pages") as progress:
        for done in (1, 2, 3):
            progress(done)
        progress.waiting(WaitNotice("requests per minute", 41.6, 3))
    assert [record.getMessage() for record in caplog.records] == ["2 of 9 pages"]
