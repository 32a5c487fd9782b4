"""Error attribution: no exception of a library or of this package ends a folder run, and bugs are named as such."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.loaders import plan
from langchain_gemini_mm.storage import MediaStore, MemoryBackend
from langchain_gemini_mm.testing import pdf, png
from tests.path_loader import PathLoader

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from langchain_gemini_mm.storage import MediaWriter

ROOT = Path(__file__).parent.parent.parent
ERRORS = [LookupError("no such track"), ValueError("wrong"), TypeError("not this"), AssertionError("never")]


class Broken(MemoryBackend):
    """A backend with a bug: the second upload raises an exception that is no `StoreError`."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.uploads = 0

    def writer(self) -> MediaWriter:
        """Begin an upload."""
        self.uploads += 1
        if self.uploads == 2:
            raise self.error
        return super().writer()


def images(folder: Path, count: int = 3) -> Path:
    """A folder with images."""
    for number in range(count):
        (folder / f"{number}.png").write_bytes(png(str(number)))
    return folder


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_bug_leaves_out_one_file(tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception) -> None:
    """An unexpected exception is logged with its traceback; the file is left out as a bug, and the run goes on."""
    loader = PathLoader(images(tmp_path), MediaStore(Broken(error)))
    with caplog.at_level(logging.ERROR, "langchain_gemini_mm"):
        documents = loader.load()
    assert [document.metadata["source"] for document in documents] == ["0.png", "2.png"]
    (skipped,) = loader.skipped
    assert skipped.source == "1.png"
    assert f"unexpected {type(error).__name__}" in skipped.reason
    assert "please report" in skipped.reason
    assert "damaged" not in skipped.reason
    assert "Traceback" in caplog.text
    assert "raise self.error" in caplog.text


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bug_of_a_library_leaves_out_one_file(
    tmp_path: Path, media: MediaStore, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """A library that raises what no file explains is reported as a bug, from worker processes as well."""
    library, folder = tmp_path / "library", tmp_path / "files"
    library.mkdir()
    folder.mkdir()
    (library / "pypdfium2.py").write_text("raise ZeroDivisionError('a bug')")
    monkeypatch.syspath_prepend(str(library))
    monkeypatch.delitem(sys.modules, "pypdfium2", raising=False)
    (folder / "a.pdf").write_bytes(pdf(1))
    (folder / "b.png").write_bytes(png())
    loader = PathLoader(folder, media, workers=workers)
    assert [document.metadata["source"] for document in loader.load()] == ["b.png"]
    (skipped,) = loader.skipped
    assert "unexpected ZeroDivisionError" in skipped.reason
    assert "please report" in skipped.reason
    planned = plan(PathLoader(folder, media))
    assert "unexpected ZeroDivisionError" in planned.skipped[0].reason


def test_describe_that_fails_leaves_out_a_description(tmp_path: Path, media: MediaStore) -> None:
    """A `TypeError` in `describe` is about one Document; an answer that is no text is a mistake of the program."""

    def describe(document: Document) -> str:
        return "a cat" + document.metadata["absent"] if "0" in document.metadata["source"] else "a dog" + None  # type: ignore[operator]

    loader = PathLoader(images(tmp_path, 2), media, describe=describe)
    assert len(loader.load()) == 2
    assert all("describe= failed" in skipped.reason for skipped in loader.skipped)
    with pytest.raises(TypeError, match="describe must give a str"):
        PathLoader(tmp_path, media, describe=lambda _: 5).load()


def test_a_store_that_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    """Every file after it would fail as well."""
    with pytest.raises(StoreError, match="full"):
        PathLoader(images(tmp_path), MediaStore(Broken(StoreError("the disk is full")))).load()


OPENED = """
import json, sys
from collections import Counter
from tests.path_loader import PathLoader
from langchain_gemini_mm.storage import MediaStore
folder, media = sys.argv[1:]
opened = Counter()
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(folder + "/"):
        opened[arguments[0]] += 1
PathLoader(folder, MediaStore.memory()).load()
sys.addaudithook(hook)
documents = PathLoader(folder, MediaStore(media)).load()
print(json.dumps({"files": opened, "documents": len(documents)}))
"""


@pytest.mark.slow
def test_a_run_opens_each_file_once(tmp_path: Path, samples: Path) -> None:
    """Examining, hashing and storing a file read it through one handle."""
    command = [sys.executable, "-c", OPENED, str(samples), str(tmp_path / "media")]
    run = subprocess.run(command, capture_output=True, cwd=ROOT, check=False, timeout=120)
    assert run.returncode == 0, run.stderr.decode()
    report = json.loads(run.stdout)
    assert report["documents"] > 10
    assert set(report["files"].values()) == {1}
