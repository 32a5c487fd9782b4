"""Files opened by other processes: the same Documents, and a crash is one more file that could not be used."""

from __future__ import annotations

import io
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.loaders import MediaLoader
from langchain_gemini_mm.loaders.options import LoadOptions, chosen_modalities
from langchain_gemini_mm.loaders.segmentation import Segments
from langchain_gemini_mm.loaders.workers import Workers
from langchain_gemini_mm.media.source import OpenedSource
from langchain_gemini_mm.storage import MediaStore
from langchain_gemini_mm.testing import jpeg, pdf, png


def test_the_same_documents(samples: Path, tmp_path: Path) -> None:
    """In the same order, with the same reasons for what was left out."""
    (tmp_path / "a.png").write_bytes(png("cat")[:-40])
    (tmp_path / "b.md").write_text("A cat ![](c.jpg)")
    (tmp_path / "c.jpg").write_bytes(jpeg())
    for folder in (samples, tmp_path):
        alone = MediaLoader(folder, MediaStore.memory())
        helped = MediaLoader(folder, MediaStore.memory(), workers=2)
        assert helped.load() == alone.load()
        assert helped.skipped == alone.skipped


CRASHES = {"a crash": ("import os; os.abort()", "crashed the worker"), "an exit": ("raise SystemExit(3)", "crashed")}


@pytest.mark.parametrize(("code", "words"), CRASHES.values(), ids=CRASHES)
def test_a_crash_is_reported(
    tmp_path: Path, media: MediaStore, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    """A library that takes its process with it costs the file that it was opened for, and no other."""
    library = tmp_path / "broken library"
    library.mkdir()
    (library / "pypdfium2.py").write_text(code)
    monkeypatch.syspath_prepend(str(library))
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.png").write_bytes(png(str(number)))
        (folder / f"{number}.pdf").write_bytes(pdf(1))
    loader = MediaLoader(folder, media, workers=2)
    assert [document.metadata["source"] for document in loader.load()] == [f"{number}.png" for number in range(6)]
    assert [skipped.source for skipped in loader.skipped] == [f"{number}.pdf" for number in range(6)]
    assert all(words in skipped.reason for skipped in loader.skipped)


def options() -> LoadOptions:
    """The default options of a loader."""
    return LoadOptions(
        segments=Segments(), model="gemini-embedding-2", backend="gemini", modalities=chosen_modalities(None)
    )


def test_a_file_that_takes_too_long_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that does not come back is ended; the next file gets a new one."""
    (tmp_path / "pypdfium2.py").write_text("import time; time.sleep(900)")
    monkeypatch.syspath_prepend(str(tmp_path))
    slow, fine = tmp_path / "slow.pdf", tmp_path / "fine.png"
    slow.write_bytes(pdf(1))
    fine.write_bytes(png())
    started = time.monotonic()
    with Workers(1, options(), file_seconds=3) as workers:
        with pytest.raises(ContentError, match="more than 3 s"):
            workers.examine(OpenedSource(io.BytesIO(), slow), "slow.pdf")
        workers._file_seconds = 120  # enough for a worker that starts on a busy machine
        facts = workers.examine(OpenedSource(io.BytesIO(), fine), "fine.png").facts
        assert facts is not None
        assert facts.width == 64
    assert time.monotonic() - started < 120


def test_a_run_that_is_left_ends_its_workers(samples: Path, media: MediaStore) -> None:
    """Who takes one Document and goes leaves no process behind, and files were looked at only a little ahead."""
    before = children()
    documents = MediaLoader(samples, media, workers=2).lazy_load()
    next(documents)
    assert len(children()) > len(before) or sys.platform != "linux"
    documents.close()  # type: ignore[attr-defined]
    assert children() == before


def children() -> set[str]:
    """The processes that this one started, where the system tells."""
    if sys.platform != "linux":
        return set()
    found: set[str] = set()
    for thread in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # it has ended in the meantime
            found.update((thread / "children").read_text().split())
    return found


async def test_the_event_loop_stays_free(samples: Path, media: MediaStore) -> None:
    """Workers can be used from asynchronous programs, too."""
    loader = MediaLoader(samples, media, workers=2)
    assert [document async for document in loader.alazy_load()] == MediaLoader(samples, media).load()
