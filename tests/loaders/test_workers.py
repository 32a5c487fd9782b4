"""Worker processes: the same Documents, and a crash is reported for the file that caused it."""

from __future__ import annotations

import io
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.loaders.options import LoadOptions, chosen_modalities
from langchain_gemini_mm.loaders.segmentation import Segments
from langchain_gemini_mm.loaders.workers import Workers
from langchain_gemini_mm.media.source import OpenedSource
from langchain_gemini_mm.storage import MediaStore
from langchain_gemini_mm.testing import jpeg, pdf, png
from tests.path_loader import PathLoader


def test_the_same_documents(samples: Path, tmp_path: Path) -> None:
    """The Documents, their order and the reasons for skipped files are the same."""
    (tmp_path / "a.png").write_bytes(png("cat")[:-40])
    (tmp_path / "b.md").write_text("A cat ![](c.jpg)")
    (tmp_path / "c.jpg").write_bytes(jpeg())
    for folder in (samples, tmp_path):
        alone = PathLoader(folder, MediaStore.memory())
        helped = PathLoader(folder, MediaStore.memory(), workers=2)
        assert helped.load() == alone.load()
        assert helped.skipped == alone.skipped


CRASHES = {"a crash": ("import os; os.abort()", "crashed the worker"), "an exit": ("raise SystemExit(3)", "crashed")}


@pytest.mark.slow
@pytest.mark.parametrize(("code", "message"), CRASHES.values(), ids=CRASHES)
def test_a_crash_is_reported(
    tmp_path: Path, media: MediaStore, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    """A crash of a worker process affects only the file it was opening."""
    library = tmp_path / "broken library"
    library.mkdir()
    (library / "pypdfium2.py").write_text(code)
    monkeypatch.syspath_prepend(str(library))
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.png").write_bytes(png(str(number)))
        (folder / f"{number}.pdf").write_bytes(pdf(1))
    loader = PathLoader(folder, media, workers=2)
    assert [document.metadata["source"] for document in loader.load()] == [f"{number}.png" for number in range(6)]
    assert [skipped.source for skipped in loader.skipped] == [f"{number}.pdf" for number in range(6)]
    assert all(message in skipped.reason for skipped in loader.skipped)


def options() -> LoadOptions:
    """The default options of a loader."""
    return LoadOptions(
        segments=Segments(), model="gemini-embedding-2", backend="gemini", modalities=chosen_modalities(None)
    )


@pytest.mark.slow
def test_timeouts_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that exceeds the time limit is ended, and the next file gets a new one."""
    (tmp_path / "pypdfium2.py").write_text("import time; time.sleep(900)")
    monkeypatch.syspath_prepend(str(tmp_path))
    slow, fine = tmp_path / "slow.pdf", tmp_path / "fine.png"
    slow.write_bytes(pdf(1))
    fine.write_bytes(png())
    started = time.monotonic()
    with Workers(1, replace(options(), worker_seconds=3)) as workers:
        workers.examine(OpenedSource(io.BytesIO(), fine), "fine.png")  # starts the worker, for which there is more time
        with pytest.raises(ContentError, match="more than 3 s; allow more with worker_seconds="):
            workers.examine(OpenedSource(io.BytesIO(), slow), "slow.pdf")
        facts = workers.examine(OpenedSource(io.BytesIO(), fine), "fine.png").facts
        assert facts is not None
        assert facts.width == 64
    assert time.monotonic() - started < 120


def test_an_abandoned_run_ends_its_workers(samples: Path, media: MediaStore) -> None:
    """After a run is abandoned no process remains, and only a few files ahead were opened."""
    before = children()
    documents = PathLoader(samples, media, workers=2).lazy_load()
    next(documents)
    assert len(children()) > len(before) or sys.platform != "linux"
    documents.close()  # type: ignore[attr-defined]
    assert children() == before


def children() -> set[str]:
    """The child processes of this process, on systems that list them."""
    if sys.platform != "linux":
        return set()
    found: set[str] = set()
    for thread in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # it has ended since
            found.update((thread / "children").read_text().split())
    return found


async def test_the_event_loop_is_not_blocked(samples: Path, media: MediaStore) -> None:
    """Workers can be used from asynchronous code."""
    loader = PathLoader(samples, media, workers=2)
    assert [document async for document in loader.alazy_load()] == PathLoader(samples, media).load()
