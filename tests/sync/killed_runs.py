"""Processes that mirror a folder and are killed at random moments; for stores of each type."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaLoader, MediaStore, MultimodalRetriever
from langchain_gemini_mm.references import MediaRef, split_references
from langchain_gemini_mm.testing import GeminiEmulator, pdf, png

OpenStore: TypeAlias = Callable[[GeminiEmbeddings, Path], AbstractContextManager[Any]]
"""A function of a module, which opens the store of a folder."""

CONCURRENCY = 2
_KILLS = 3
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["google.genai", "weaviate", "langchain_gemini_mm.retrievers", "langchain_gemini_mm.sync.mirror", __name__]
)


@contextmanager
def open_local(embeddings: GeminiEmbeddings, home: Path) -> Iterator[LocalVectorStore]:
    """A store in a file."""
    with LocalVectorStore(home / "index.db", embeddings) as store:
        yield store


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run of `mirror` or `add`, in this process or in another one."""

    method: Literal["mirror", "add"]
    folder: Path
    home: Path
    """Of the media and of the index."""
    service: dict[str, Any]
    open_store: OpenStore = open_local

    @contextmanager
    def opened(self) -> Iterator[MultimodalRetriever]:
        """A retriever of the index."""
        with (
            GeminiEmbeddings(
                media=MediaStore(self.home / "media"),
                output_dimensionality=128,
                batch_bytes=2000,
                max_concurrency=CONCURRENCY,
                **self.service,
            ) as embeddings,
            self.open_store(embeddings, self.home) as store,
        ):
            yield MultimodalRetriever(store=store)

    def run(self, retriever: MultimodalRetriever) -> Any:
        """Run it; the report."""
        if self.method == "mirror":
            return retriever.mirror(self.folder, max_delete=1.0)
        return retriever.add(self.folder).reports[0]

    def __call__(self) -> None:
        """Run it with a new retriever."""
        with self.opened() as retriever:
            self.run(retriever)


class KilledRuns:
    """Runs of one job that are killed, and what they cost.

    Args:
        job: the job.
        emulator: the service.
        chance: draws the moments.
        seconds: how long a run takes.
    """

    def __init__(self, job: Job, emulator: GeminiEmulator, chance: random.Random, seconds: float) -> None:
        self._job = job
        self._emulator = emulator
        self._chance = chance
        self._seconds = seconds
        self._held: set[str] = set()

    def until_complete(self, count: int) -> int:
        """Kill some runs, complete the index in this process, and compare it and the costs; the number of kills."""
        self._emulator.reset()
        expected = self._expected()
        texts = {text for text, _ in expected.values()}
        new = len(texts - self._held)
        killed = sum(self._killed(1 - self._emulator.embedded / new) for _ in range(count))
        with self._job.opened() as retriever:
            self._job.run(retriever)
            assert self._job.run(retriever).is_current
            store: Any = retriever.store
            found = {str(document.id): (document.page_content, document.metadata) for document in store.iterate()}
            assert found == expected
            assert sum(status.documents for status in retriever.status()) == len(expected)
            assert not hasattr(store, "check") or store.check().ok
            media = retriever.media_store
            assert media is not None
            for reference in {ref for text, _ in expected.values() for ref in references_in(text)}:
                assert media.get(reference.whole)
        in_flight = CONCURRENCY * max((len(request.items) for request in self._emulator.embed_requests), default=0)
        assert new <= self._emulator.embedded <= new + killed * in_flight
        self._held = texts
        return killed

    def _killed(self, share: float) -> bool:
        """Start a process and kill it at a random moment; whether it was still running.

        Args:
            share: of the work that is left.
        """
        process = PROCESSES.Process(target=self._job)
        process.start()
        time.sleep(self._chance.uniform(0, 0.2 + self._seconds * max(0.0, share)))
        process.kill()
        process.join()
        time.sleep(0.05)  # requests of the killed process arrive
        assert process.exitcode in {0, -9}
        return process.exitcode != 0

    def _expected(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """The documents of an index made from scratch, by id."""
        loader = MediaLoader(self._job.folder, MediaStore.memory())
        return {str(document.id): (document.page_content, document.metadata) for document in loader.lazy_load()}


def seconds_of(new_job: Callable[[], Job]) -> float:
    """How long a first run takes in a process.

    Args:
        new_job: makes a job whose folder and index do not exist yet.
    """
    taken = 0.0
    for _ in range(2):  # the first time, the server that starts processes is started
        job = new_job()
        write_folder(job.folder)
        started = time.monotonic()
        process = PROCESSES.Process(target=job)
        process.start()
        process.join()
        assert process.exitcode == 0
        taken = time.monotonic() - started
        shutil.rmtree(job.folder)
        shutil.rmtree(job.home)
    return taken


def references_in(text: str) -> list[MediaRef]:
    """The references of a text."""
    return [part for part in split_references(text) if isinstance(part, MediaRef)]


def kill_runs(job: Job, emulator: GeminiEmulator, seed: int, seconds: float) -> int:
    """Kill runs on a new folder and on a changed one, and complete the index each time; the number of kills.

    Args:
        job: its folder and its index do not exist yet.
        emulator: the service.
        seed: of the moments.
        seconds: see `seconds_of`.
    """
    chance = random.Random(seed)
    write_folder(job.folder)
    runs = KilledRuns(job, emulator, chance, seconds)
    kills = runs.until_complete(_KILLS)
    change_folder(job.folder, chance, delete=job.method == "mirror")
    kills += runs.until_complete(_KILLS)
    shutil.rmtree(job.folder)
    shutil.rmtree(job.home)
    return kills


def write_folder(folder: Path) -> None:
    """Write a folder of 40 texts, images and a PDF."""
    folder.mkdir(parents=True)
    for number in range(36):
        (folder / f"{number:03}.txt").write_text(f"text number {number}: " + "words " * 90)
    for number in range(3):
        (folder / f"{number}.png").write_bytes(png(f"a castle {number}"))
    (folder / "paper.pdf").write_bytes(pdf(tuple(f"page {number}" for number in range(8))))


def change_folder(folder: Path, chance: random.Random, *, delete: bool) -> None:
    """Change, add and move some files.

    Args:
        folder: written by `write_folder`.
        chance: chooses them.
        delete: whether files are deleted and moved, too.
    """
    texts = sorted(folder.glob("*.txt"))
    chance.shuffle(texts)
    for number, path in enumerate(texts[:8]):
        path.write_text(f"changed {number} {chance.random()}: " + "words " * 90)
    (folder / "new.png").write_bytes(png(f"a boat {chance.random()}"))
    if delete:
        (folder / "moved").mkdir()
        for path in texts[8:16]:
            path.rename(folder / "moved" / path.name)
        for path in texts[16:20]:
            path.unlink()
        (folder / "paper.pdf").write_bytes(pdf(tuple(f"new page {number}" for number in range(6))))
