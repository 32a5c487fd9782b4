"""A folder of many files, some of which are damaged: all others are indexed, and the next run opens nothing."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore, MultimodalRetriever
from langchain_gemini_mm.testing import pdf, png, wav

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_gemini_mm.testing import GeminiEmulator

KINDS: dict[str, Callable[[int], bytes]] = {
    "txt": lambda number: f"text number {number}".encode(),
    "md": lambda number: f"# Number {number}\n\nSome words.".encode(),
    "html": lambda number: f"<title>{number}</title><p>Page {number}".encode(),
    "png": lambda number: png(f"castle {number}", size=(8, 8)),
    "pdf": lambda number: pdf((f"page of {number}",)),
    "wav": lambda number: wav(0.1, f"bell {number}"),
}
DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "png": lambda data: data[: len(data) // 2],
    "pdf": lambda data: data[:200],
    "wav": lambda data: data[:30],
}
_OPENED: list[list[str]] = []


def _record(event: str, arguments: tuple[Any, ...]) -> None:
    if _OPENED and event == "open":
        _OPENED[-1].append(str(arguments[0]))


@contextmanager
def opened_files() -> Iterator[list[str]]:
    """Yield a list that gets the names of all files that Python opens."""
    if not _OPENED:
        sys.addaudithook(_record)  # cannot be removed
    _OPENED.append([])
    try:
        yield _OPENED[-1]
    finally:
        _OPENED.append([])


def write_files(folder: Path, count: int, seed: int) -> set[str]:
    """Write files of all kinds, one of a hundred of them damaged.

    Returns:
        The sources of the damaged ones.
    """
    chance, damaged = random.Random(seed), set()
    for number in range(count):
        kind = chance.choice(list(DAMAGED)) if number % 100 == 7 else chance.choice(list(KINDS))
        path = folder / f"{number % 13}" / f"{number}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = KINDS[kind](number)
        if number % 100 == 7:
            data = DAMAGED[kind](data)
            damaged.add(f"{folder.name}/{number % 13}/{number}.{kind}")
        path.write_bytes(data)
    return damaged


@pytest.mark.soak
def test_a_folder_with_damaged_files(
    emulator: GeminiEmulator, tmp_path: Path, rounds: Callable[..., Iterator[int]], request: pytest.FixtureRequest
) -> None:
    """Each damaged file is named with its reason, and is not tried again before it changes."""
    count = 2000 if request.config.getoption("--soak-seconds") else 200
    for seed in rounds(1):
        folder, home = tmp_path / f"library{seed}", tmp_path / f"home{seed}"
        damaged = write_files(folder, count, seed)
        with (
            GeminiEmbeddings(media=MediaStore(home / "media"), output_dimensionality=128) as embeddings,
            LocalVectorStore(home / "index.db", embeddings) as store,
        ):
            retriever = MultimodalRetriever(store=store)
            report = retriever.mirror(folder)
            assert {failed.source for failed in report.failed} == damaged
            assert all(failed.reason.startswith("it is ") for failed in report.failed)
            found = {document.metadata["source"] for document in store.iterate()}
            assert len(found) == len(report.added) == count - len(damaged)
            assert not found & damaged
            requests, embedded = len(emulator.requests), emulator.embedded
            with opened_files() as opened:
                again = retriever.mirror(folder)
            assert [name for name in opened if str(folder) in name or "media" in name] == []
            assert (again.is_current, again.failed) == (True, report.failed)
            assert (len(emulator.requests), emulator.embedded) == (requests, embedded)
