"""Mirror a folder that has not changed: processor time compared with looking at each file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from langchain_core.embeddings import DeterministicFakeEmbedding

from benchmarks.report import Row, cost, interleaved
from langchain_gemini_mm import LocalVectorStore, MediaStore, MultimodalRetriever

AIM = 3.0
_PER_FOLDER = 100


@dataclass(frozen=True, kw_only=True)
class Size:
    """Number of files, and of rounds."""

    files: int
    rounds: int


FULL = Size(files=10_000, rounds=5)
QUICK = Size(files=1_000, rounds=2)


def measure(size: Size = FULL) -> Iterator[Row]:
    """Measure an unchanged folder in a local store."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "library")
        for number in range(size.files):
            path = folder / f"{number // _PER_FOLDER:03}" / f"{number:05}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"text number {number}", encoding="utf-8")
        with LocalVectorStore(Path(temporary, "index.db"), DeterministicFakeEmbedding(size=8)) as store:
            retriever = MultimodalRetriever(store=store, media=MediaStore.memory())
            retriever.mirror(folder)

            def mirror() -> None:
                if len(retriever.mirror(folder).unchanged) != size.files:
                    raise AssertionError("some files were not recognized")

            turns = interleaved({"mirror": mirror, "stat": lambda: look_at_all(folder)}, size.rounds)
        yield cost(
            f"mirror of {size.files:,} unchanged files",
            "os.scandir and stat",
            [turn.cpu for turn in turns["mirror"]],
            [turn.cpu for turn in turns["stat"]],
            aim=AIM,
        )


def look_at_all(folder: Path) -> int:
    """The total size of the files in a folder, with one `stat` for each."""
    total, folders = 0, [os.fspath(folder)]
    while folders:
        with os.scandir(folders.pop()) as listing:
            for entry in listing:
                if entry.is_dir():
                    folders.append(entry.path)
                else:
                    total += entry.stat().st_size
    return total
