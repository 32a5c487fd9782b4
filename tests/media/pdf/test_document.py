"""PDFs of any size from any source: read in place, and never whole if they are large."""

from __future__ import annotations

import gzip
import io
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.media.pdf.pages import opened_pdf
from tests.media.generate import images_pdf, noise_pdf

if TYPE_CHECKING:
    from pathlib import Path


class Sparse(io.RawIOBase):
    """A large file in memory that counts the bytes read and can fail."""

    def __init__(self, data: bytes, fails_after: int | None = None) -> None:
        self._file = io.BytesIO(data)
        self.read_bytes = 0
        self._fails_after = fails_after

    def seek(self, place: int, whence: int = 0) -> int:
        """Set the position."""
        return self._file.seek(place, whence)

    def read(self, length: int = -1) -> bytes:
        """Return fewer bytes than requested, as sockets and pipes do."""
        if self._fails_after is not None and self.read_bytes > self._fails_after:
            raise OSError(5, "the disk is gone")
        data = self._file.read(min(length, 1000) if length >= 0 else -1)
        self.read_bytes += len(data)
        return data


def test_large_files_are_not_read_whole() -> None:
    """Reading one page of a large PDF reads the cross-reference table and that page."""
    large = Sparse(noise_pdf(*[900] * 30))
    size = large.seek(0, 2)
    assert size > 8_000_000
    with opened_pdf(large) as document:  # type: ignore[arg-type]
        assert len(document.cut(17, 17)) > 200_000
    assert large.read_bytes < size / 5


def test_sources_of_a_large_file(tmp_path: Path) -> None:
    """A path, bytes and a read-only stream give the same pages, and the stream stays open."""
    data = noise_pdf(*[900] * 30)
    path = tmp_path / "large.pdf"
    path.write_bytes(data)
    with path.open("rb") as file, gzip.open(io.BytesIO(gzip.compress(data, 1))) as packed:
        if sys.platform == "linux":
            path.unlink()
        sources: list[Any] = [file, packed, io.BytesIO(data), Sparse(data)]
        found = set()
        for source in sources:
            with opened_pdf(source) as document:
                found.add(document.cut(11, 12))
        assert len(found) == 1
        assert file.seek(0) == 0
        assert file.read(5) == b"%PDF-"


def test_read_errors() -> None:
    """The error contains the cause, and nothing is printed."""
    for fails_after in (0, 20_000):
        broken: Any = Sparse(noise_pdf(*[900] * 30), fails_after)
        with (
            pytest.raises(ContentError, match=r"cannot read .*'it': the disk is gone"),
            opened_pdf(broken, name="'it'") as document,
        ):
            document.cut(1, 30)


PEAK = """
import sys
from pathlib import Path
from langchain_gemini_mm.media.pdf.pages import opened_pdf, windows

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) // 1024

with opened_pdf(Path(sys.argv[1])) as paper:
    paper.cut(1, 1)
    before = peak()
    assert all(paper.cut(first, last) for first, last in windows(paper.pages, 2))
    assert not any(paper.text(page) for page in range(1, paper.pages + 1))
    print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell the peak memory in other ways")
def test_memory_does_not_grow_with_the_document(tmp_path: Path) -> None:
    """Reading a document of 128 MB takes much less memory, though PDFium keeps the pages it has read."""
    path = tmp_path / "large.pdf"
    path.write_bytes(images_pdf(*[(8, random.Random(1).randbytes(8_000_000))] * 16))
    done = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, check=True, text=True)
    assert int(done.stdout) < 100
