"""PDFs of any size, from anywhere: read where they are, and never whole when they are large."""

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
from tests.media.generate import noise_pdf, pictures_pdf

if TYPE_CHECKING:
    from pathlib import Path


class Sparse(io.RawIOBase):
    """A large file in memory that counts what is read of it, and may break."""

    def __init__(self, data: bytes, breaks_after: int | None = None) -> None:
        self._file = io.BytesIO(data)
        self.read_bytes = 0
        self._breaks_after = breaks_after

    def seek(self, place: int, whence: int = 0) -> int:
        """Go there."""
        return self._file.seek(place, whence)

    def read(self, length: int = -1) -> bytes:
        """Read less than was asked for, as sockets and pipes do."""
        if self._breaks_after is not None and self.read_bytes > self._breaks_after:
            raise OSError(5, "the disk is gone")
        data = self._file.read(min(length, 1000) if length >= 0 else -1)
        self.read_bytes += len(data)
        return data


def test_a_large_file_is_not_read_whole() -> None:
    """A page of a large PDF is had by reading its table and that page."""
    large = Sparse(noise_pdf(*[900] * 30))
    size = large.seek(0, 2)
    assert size > 8_000_000
    with opened_pdf(large) as paper:  # type: ignore[arg-type]
        assert len(paper.cut(17, 17)) > 200_000
    assert large.read_bytes < size / 5


def test_a_large_file_of_any_kind_gives_the_same(tmp_path: Path) -> None:
    """On disk, in memory or behind something that can only be read: the same pages, and the file stays open."""
    data = noise_pdf(*[900] * 30)
    path = tmp_path / "large.pdf"
    path.write_bytes(data)
    with path.open("rb") as file, gzip.open(io.BytesIO(gzip.compress(data, 1))) as packed:
        if sys.platform == "linux":
            path.unlink()
        sources: list[Any] = [file, packed, io.BytesIO(data), Sparse(data)]
        found = set()
        for source in sources:
            with opened_pdf(source) as paper:
                found.add(paper.cut(11, 12))
        assert len(found) == 1
        assert file.seek(0) == 0
        assert file.read(5) == b"%PDF-"


def test_a_file_that_breaks_while_it_is_read() -> None:
    """The error tells what happened to the file, and nothing is printed on the way."""
    for breaks_after in (0, 20_000):
        broken: Any = Sparse(noise_pdf(*[900] * 30), breaks_after)
        with (
            pytest.raises(ContentError, match=r"cannot read .*'it': the disk is gone"),
            opened_pdf(broken, name="'it'") as paper,
        ):
            paper.cut(1, 30)


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
    """A document of 128 MB is gone through in much less memory, though PDFium keeps what it has read."""
    path = tmp_path / "large.pdf"
    path.write_bytes(pictures_pdf(*[(8, random.Random(1).randbytes(8_000_000))] * 16))
    done = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, check=True, text=True)
    assert int(done.stdout) < 100
