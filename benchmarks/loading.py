"""Index a mixed folder: processor time per file, and the speed-up by a second worker."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.report import Row, Turn, cost, interleaved, speed
from benchmarks.service import KEY, emulator_process
from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaLoader, MediaStore
from langchain_gemini_mm.testing import mp3, mp4, pdf

WORKERS_AIM = 1.6
_DECODE = "import sys; from PIL import Image; [Image.open(path).load() for path in sys.argv[1:]]"


@dataclass(frozen=True, kw_only=True)
class Size:
    """Number and sizes of files per modality, and of rounds."""

    files: int
    rounds: int
    sides: tuple[int, int]
    """Width and height of an image, in pixels."""
    seconds: int
    """Length of a recording, in seconds."""


FULL = Size(files=24, rounds=3, sides=(3000, 2000), seconds=60)
QUICK = Size(files=6, rounds=2, sides=(2000, 1500), seconds=20)


def measure(size: Size = FULL) -> Iterator[Row]:
    """Measure a folder of five modalities, then a folder of images that must be decoded."""
    with tempfile.TemporaryDirectory() as temporary, emulator_process(0.0) as url:
        home = Path(temporary)
        count = write_everything(home / "everything", size)
        yield _indexing(home, url, count, size)
        write_images(home / "images", 2 * size.files, size.sides)
        yield _workers(home, 2 * size.files, size)


def write_everything(folder: Path, size: Size) -> int:
    """Write as many files of each modality: photographs, texts, recordings, videos, papers; return their number."""
    folder.mkdir()
    rng = np.random.default_rng(3)
    for number in range(size.files):
        clouds(rng, size.sides).save(folder / f"{number:03}.jpg", quality=85)
        (folder / f"{number:03}.txt").write_text(f"note {number}: " + "the tide came in. " * 200, encoding="utf-8")
        (folder / f"{number:03}.mp3").write_bytes(mp3(size.seconds, f"recording {number}"))
        (folder / f"{number:03}.mp4").write_bytes(mp4(size.seconds, f"video {number}", fps=10, size=(320, 240)))
        (folder / f"{number:03}.pdf").write_bytes(pdf([f"paper {number}, page {page}" for page in range(3)]))
    return 5 * size.files


def write_images(folder: Path, count: int, sides: tuple[int, int]) -> None:
    """Write WebP images, which are checked by decoding, unlike PNG and JPEG."""
    folder.mkdir()
    rng = np.random.default_rng(4)
    for number in range(count):
        clouds(rng, sides).save(folder / f"{number:03}.webp", quality=80, method=0)


def clouds(rng: np.random.Generator, sides: tuple[int, int]) -> Image.Image:
    """Return an image that is neither flat nor noise, like a photograph."""
    cells = rng.integers(0, 256, (sides[1] // 50, sides[0] // 50, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize(sides, Image.Resampling.BICUBIC)


def _indexing(home: Path, url: str, count: int, size: Size) -> Row:
    """Load, embed and store, compared with embedding the same Documents."""
    media = MediaStore(home / "kept")
    texts = [document.page_content for document in MediaLoader(home / "everything", media).lazy_load()]
    service: dict[str, Any] = {"api_key": KEY, "base_url": url, "output_dimensionality": 768}
    with GeminiEmbeddings(media=media, **service) as embeddings:
        contenders: dict[str, Callable[[], Any]] = {
            "ours": lambda: index(home, service),
            "embedding": lambda: embeddings.embed_documents(texts),
        }
        turns = _warmed(contenders, size.rounds)
    ours, bare = ([turn.cpu for turn in turns[which]] for which in ("ours", "embedding"))
    note = f"{1000 * statistics.median(ours) / count:.1f} ms per file, {len(texts)} Documents, without the emulator"
    name = f"processor time of indexing {count} files of five modalities"
    return cost(name, "embedding the same Documents alone", ours, bare, aim=None, note=note)


def index(home: Path, service: dict[str, Any]) -> None:
    """Do everything that a first run does, into a library that is removed afterwards."""
    library = home / "library"
    media = MediaStore(library / "media")
    with (
        GeminiEmbeddings(media=media, **service) as embeddings,
        LocalVectorStore(library / "index.db", embeddings) as store,
    ):
        loader = MediaLoader(home / "everything", media)
        store.add_documents(loader.lazy_load())
        assert not loader.skipped, loader.skipped[:3]
    shutil.rmtree(library)


def _workers(home: Path, count: int, size: Size) -> Row:
    """Compare two workers with one, next to the speed-up that the machine gives two processes."""
    media = MediaStore.links(home / "links")
    folder = home / "images"
    contenders: dict[str, Callable[[], Any]] = {
        "two": lambda: _load(folder, media, 2, count),
        "one": lambda: _load(folder, media, 1, count),
        "bare two": lambda: decode_barely(folder, 2),
        "bare one": lambda: decode_barely(folder, 1),
    }
    turns = _warmed(contenders, size.rounds)
    wall = {name: [turn.wall for turn in taken] for name, taken in turns.items()}
    bare = statistics.median(one / two for one, two in zip(wall["bare one"], wall["bare two"], strict=True))
    name = f"loading {count} images of {size.sides[0] * size.sides[1] / 1e6:g} MP with 2 workers"
    note = f"in the same rounds, two processes of bare Pillow were {bare:.2f} times as fast as one"
    return speed(name, "1 worker", wall["two"], wall["one"], aim=WORKERS_AIM, note=note)


def decode_barely(folder: Path, processes: int) -> None:
    """Open every image with Pillow alone, in a number of processes."""
    paths = sorted(map(str, folder.iterdir()))
    shares = [paths[start::processes] for start in range(processes)]
    running = [subprocess.Popen([sys.executable, "-c", _DECODE, *share]) for share in shares]
    assert not any(process.wait() for process in running)


def _load(folder: Path, media: MediaStore, workers: int, count: int) -> None:
    assert sum(1 for _ in MediaLoader(folder, media, workers=workers).lazy_load()) == count


def _warmed(contenders: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[Turn]]:
    for contender in contenders.values():
        contender()
    return interleaved(contenders, rounds)
