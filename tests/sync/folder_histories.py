"""Random histories of a folder, and of an index that is mirrored from it; for stores of each type."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from langchain_core.documents import Document

from langchain_gemini_mm import GeminiEmbeddings, GeminiMMError, MediaLoader, MediaStore, MultimodalRetriever
from langchain_gemini_mm.errors import MirrorError
from langchain_gemini_mm.flows import run
from langchain_gemini_mm.retrievers.ingest import target_of
from langchain_gemini_mm.sync import MirrorReport
from langchain_gemini_mm.sync.ledger import VECTORS
from langchain_gemini_mm.testing import GeminiEmulator, pdf, png

PLACES = (
    "a.txt",
    "A.txt",
    "with space.md",
    "b.md",
    "c.png",
    "d.pdf",
    "\N{LATIN SMALL LETTER E WITH ACUTE}.txt",
    "e\N{COMBINING ACUTE ACCENT}.txt",
    "sub/a.txt",
    "sub/deep/b.png",
    "Sub/c.pdf",
    "sub/#t=1 [x].md",
    "work/a.txt",
)
"""Paths of files: nested, with spaces, in both cases, and in both Unicode spellings of one name."""
FOLDERS = ("sub", "Sub", "work", "other", "other/sub")
SIGNAL = getattr(signal, "SIGUSR1", None)
CONCURRENCY = 2


def _long(number: int) -> bytes:
    """A text of several chunks, which differs from others of them in some."""
    paragraphs = [f"paragraph {place} of {number if place % 3 == 0 else 'all'}. " + "word " * 280 for place in range(4)]
    return "\n\n".join(paragraphs).encode()


CONTENTS: tuple[Callable[[], bytes], ...] = (
    lambda: b"about a cat",
    lambda: b"about a dog",
    lambda: b"about cats",
    lambda: b"# About\n\nA cat.\n\n# More\n\nA dog.",
    lambda: _long(1),
    lambda: _long(2),
    lambda: png("a castle"),
    lambda: png("a boat"),
    lambda: png("a boat", colour="green"),
    lambda: pdf(("one", "two")),
    lambda: pdf(("one", "two", "three")),
    lambda: pdf(tuple(f"page {number}" for number in range(8))),
    lambda: b"",
    lambda: b"\x89PNG\r\n\x1a\n",
)
"""Texts, images and PDFs, some of equal length; the last two cannot be used."""


NUMBERS = st.integers(0, len(CONTENTS) - 1)
FILES = st.dictionaries(st.sampled_from(PLACES), NUMBERS, min_size=4, max_size=8)


@cache
def content(number: int) -> bytes:
    """One of the contents."""
    return CONTENTS[number]()


class InterruptedRunError(Exception):
    """Raised by a callback of the caller."""


@contextmanager
def interrupting() -> Iterator[Callable[[], None]]:
    """Yield a function that raises `KeyboardInterrupt` in this thread, from any thread."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    assert SIGNAL is not None
    before = signal.signal(SIGNAL, interrupt)
    thread = threading.get_ident()
    try:
        yield lambda: signal.pthread_kill(thread, SIGNAL)
    finally:
        signal.signal(SIGNAL, before)


class FolderHistories(RuleBasedStateMachine):
    """A folder, its index, and the documents that the index should have by source.

    Subclasses open a store; the class attributes are set by `run_histories`.
    """

    emulator: ClassVar[GeminiEmulator]
    home: ClassVar[Path]
    numbers: ClassVar[Iterator[int]] = itertools.count()
    known: ClassVar[dict[str, Any]] = {}
    """Vectors by text, see `possible_vectors`."""

    keeps_vectors: ClassVar[bool] = False
    """Whether the ledger keeps the vectors of stored documents."""

    def __init__(self) -> None:
        super().__init__()
        self.base = self.home / f"history {next(self.numbers)}"
        self.folder = self.base / "work"
        self.folder.mkdir(parents=True)
        self.expected: dict[str, list[Document]] = {}
        self.bytes: dict[str, bytes] = {}
        """Content of the file that the expected documents were made from, by source."""
        self.was_interrupted = False
        self.fail_at = -1
        """Number of the Document at which the metadata callback fails."""

    @abstractmethod
    def open_store(self, embeddings: GeminiEmbeddings) -> Any:
        """Open an empty store."""

    def close_store(self) -> None:
        """Close or remove it."""

    def all_ids(self) -> list[str]:
        """The ids of all documents of the store."""
        return [str(document.id) for document in self.store.iterate()]

    def vectors(self) -> dict[str, Any]:
        """The vectors of the store by id."""
        return {id_: row for ids, rows in self.store.vectors() for id_, row in zip(ids, rows, strict=True)}

    @initialize(
        files=st.dictionaries(st.sampled_from(PLACES), NUMBERS, min_size=4, max_size=8), is_mirrored=st.booleans()
    )
    def open(self, files: dict[str, int], is_mirrored: bool) -> None:
        """Start with some files, of which there is no index yet, or one."""
        for place, number in files.items():
            self.write(self.folder / place, content(number))
        self.media = MediaStore(self.base / "media")
        self.reference = self.new_embeddings()
        self.embeddings = self.new_embeddings(batch_bytes=2000, max_concurrency=CONCURRENCY, max_retries=0)
        self.store: Any = self.open_store(self.embeddings)
        self.retriever = MultimodalRetriever(store=self.store)
        if is_mirrored:
            self.mirror_completely()

    def new_embeddings(self, **options: Any) -> GeminiEmbeddings:
        """Embeddings that know no quota."""
        service = {"api_key": self.emulator.api_key, "base_url": self.emulator.url}
        return GeminiEmbeddings(media=self.media, output_dimensionality=128, **service, **options)

    def teardown(self) -> None:
        """Close everything."""
        if hasattr(self, "store"):
            self.close_store()
            self.embeddings.close()
            self.reference.close()
        shutil.rmtree(self.base, ignore_errors=True)

    # Changes of the folder

    def files(self) -> list[Path]:
        """All files and links of the folder, sorted."""
        return sorted(path for path in self.folder.rglob("*") if path.is_symlink() or not path.is_dir())

    def chosen(self, number: int) -> Path | None:
        """One of the files."""
        files = self.files()
        return files[number % len(files)] if files else None

    def write(self, path: Path, data: bytes) -> None:
        """Write a file, which may replace a link or pipe."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(data)

    @rule(place=st.sampled_from(PLACES), number=NUMBERS)
    def add_or_change(self, place: str, number: int) -> None:
        """Write a file."""
        self.write(self.folder / place, content(number))

    @rule(chosen=st.integers(0, 99), number=NUMBERS)
    def change_and_restore_times(self, chosen: int, number: int) -> None:
        """Change a file in place, and set the time of its last change back."""
        path = self.chosen(chosen)
        if path is not None and path.is_file() and not path.is_symlink():
            before = path.stat().st_mtime_ns
            path.write_bytes(content(number))
            os.utime(path, ns=(before, before))

    @rule(chosen=st.integers(0, 99), share=st.sampled_from([0.1, 0.5, 0.9]))
    def truncate(self, chosen: int, share: float) -> None:
        """Cut off the end of a file; images and PDFs are damaged."""
        path = self.chosen(chosen)
        if path is not None and path.is_file():
            os.truncate(path, int(path.stat().st_size * share))

    @rule(chosen=st.integers(0, 99), data=st.sampled_from([b"\n\nOne more paragraph.", b"x", b"\0"]))
    def append(self, chosen: int, data: bytes) -> None:
        """Append to a file."""
        path = self.chosen(chosen)
        if path is not None and path.is_file():
            with path.open("ab") as file:
                file.write(data)

    @rule(chosen=st.integers(0, 99), place=st.sampled_from(PLACES))
    def move(self, chosen: int, place: str) -> None:
        """Rename a file or move it to another folder; it may replace another one."""
        path = self.chosen(chosen)
        if path is not None:
            (self.folder / place).parent.mkdir(parents=True, exist_ok=True)
            path.replace(self.folder / place)

    @rule(first=st.integers(0, 99), second=st.integers(0, 99))
    def exchange(self, first: int, second: int) -> None:
        """Exchange two files."""
        one, other = self.chosen(first), self.chosen(second)
        if one is not None and other is not None and one != other:
            aside = self.base / "aside"
            one.replace(aside)
            other.replace(one)
            aside.replace(other)

    @rule(before=st.sampled_from(FOLDERS), after=st.sampled_from(FOLDERS))
    def move_folder(self, before: str, after: str) -> None:
        """Rename a folder."""
        one, other = self.folder / before, self.folder / after
        if one.is_dir() and not other.exists() and not other.is_relative_to(one):
            other.parent.mkdir(parents=True, exist_ok=True)
            one.replace(other)

    @rule(chosen=st.integers(0, 99), place=st.sampled_from(PLACES))
    def copy(self, chosen: int, place: str) -> None:
        """Copy a file; its times are copied, too."""
        path = self.chosen(chosen)
        if path is not None and path.is_file() and path != self.folder / place:
            (self.folder / place).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / place).unlink(missing_ok=True)
            shutil.copy2(path, self.folder / place)

    @rule(chosen=st.integers(0, 99))
    def touch(self, chosen: int) -> None:
        """Give a file new times."""
        path = self.chosen(chosen)
        if path is not None and path.is_file():
            os.utime(path)

    @rule(chosen=st.integers(0, 99))
    def delete(self, chosen: int) -> None:
        """Delete a file."""
        path = self.chosen(chosen)
        if path is not None:
            path.unlink()

    @rule(chosen=st.integers(0, 99), how=st.sampled_from(["link", "pipe"]))
    def make_unreadable(self, chosen: int, how: str) -> None:
        """Replace a file by something that cannot be read."""
        path = self.chosen(chosen)
        if path is not None:
            path.unlink()
            if how == "link":
                path.symlink_to("nothing")
            else:
                os.mkfifo(path)

    @rule(source=st.integers(0, 99))
    def restore(self, source: int) -> None:
        """Write a file as the index has it."""
        if self.bytes:
            name = sorted(self.bytes)[source % len(self.bytes)]
            self.write(self.folder / name.partition("/")[2], self.bytes[name])

    # Runs

    def load(self) -> tuple[dict[str, list[Document]], dict[str, bytes]]:
        """The documents that an index made from scratch has, with those of files that cannot be read now."""
        loader = MediaLoader(self.folder, self.media, name="work")
        loaded: dict[str, list[Document]] = {}
        for document in loader.lazy_load():
            document.metadata["tag"] = 1
            loaded.setdefault(document.metadata["source"], []).append(document)
        found = {item.source: item.path.read_bytes() for item in loader.inputs if hasattr(item, "path")}
        data = {source: found[source] for source in loaded}
        for skipped in loader.skipped:
            source = skipped.source
            if source in self.expected and source not in loaded:
                loaded[source], data[source] = self.expected[source], self.bytes[source]
        return loaded, data

    def new_contents(self, loaded: dict[str, list[Document]], data: dict[str, bytes]) -> set[tuple[str, str]]:
        """Distinct contents that neither the same file nor an equal one has in the index, with the titles of texts."""
        texts = {
            source: {document.page_content for document in documents} for source, documents in self.expected.items()
        }
        new: set[tuple[str, str]] = set()
        for source, documents in loaded.items():
            equal = [other for other, its in self.bytes.items() if its == data[source] != b""]
            known = set().union(*(texts.get(other, set()) for other in (source, *equal)))
            for document in documents:
                if document.page_content not in known:
                    title = "" if "mm://" in document.page_content else document.metadata["title"]
                    new.add((title, document.page_content))
        return new

    def tag(self, _: Document) -> dict[str, Any]:
        """Metadata for each Document; fails at one of them."""
        self.fail_at -= 1
        if self.fail_at == 0:
            raise InterruptedRunError
        return {"tag": 1}

    def mirror(self, **options: Any) -> MirrorReport:
        """Mirror the folder."""
        report: MirrorReport = self.retriever.mirror(self.folder, metadata=self.tag, max_delete=1.0, **options)
        return report

    def has_no_files(self) -> bool:
        """Whether a run must stop because the folder has no file, but the index has one that is gone."""
        loaded, _ = self.load()
        return not any(path.is_file() for path in self.files()) and bool(self.expected.keys() - loaded.keys())

    @rule()
    def mirror_completely(self) -> None:
        """The index is one made from scratch, only new contents are embedded, and the next run has nothing to do."""
        if self.has_no_files():
            with pytest.raises(MirrorError, match="contains no files"):
                self.mirror()
            return
        self.complete()

    def complete(self, *, paid_before: int = 0, paid_twice: int = 0, new: set[tuple[str, str]] | None = None) -> None:
        """Mirror, and compare the index and what was paid.

        Args:
            paid_before: contents embedded by an interrupted run.
            paid_twice: how many of them may have been lost.
            new: contents that were new before that run; by default those that are now.
        """
        loaded, data = self.load()
        new = self.new_contents(loaded, data) if new is None else new
        before = self.emulator.embedded
        report = self.mirror()
        assert report.library == "work"
        paid = paid_before + self.emulator.embedded - before
        assert paid <= len(new) + paid_twice, (sorted((title, text[:90]) for title, text in new), report)
        self.expected, self.bytes = loaded, data
        self.require_equal()
        before = self.emulator.embedded
        again = self.mirror()
        assert again.is_current, again
        assert again.documents == again.embedded == self.emulator.embedded - before == 0
        assert set(again.unchanged) | {one.source for one in (*again.failed, *again.kept)} >= self.expected.keys()
        # Vectors of an interrupted run stay if their file is gone in the next one.
        kept = run(target_of(self.retriever).read_ledger(VECTORS))
        assert not kept or self.was_interrupted or self.keeps_vectors

    def possible_vectors(self, text: str) -> Any:
        """The vectors of a text under each title that it may have had: a renamed file keeps its vectors."""
        if text not in self.known:
            titles = None if "mm://" in text else ["", *dict.fromkeys(Path(place).stem for place in PLACES)]
            rows: Any = self.reference.embed_documents([text] * len(titles or "1"), titles=titles)
            self.known[text] = np.array(rows)
        return self.known[text]

    def require_equal(self) -> None:
        """Compare the index with the expected documents and their vectors."""
        expected = {str(one.id): one for documents in self.expected.values() for one in documents}
        assert sorted(self.all_ids()) == sorted(expected)
        stored = {str(one.id): one for one in self.store.get_by_ids(list(expected))}
        for id_, document in expected.items():
            assert (stored[id_].page_content, stored[id_].metadata) == (document.page_content, document.metadata)
        vectors = self.vectors()
        for id_, document in expected.items():
            similarity = self.possible_vectors(document.page_content) @ vectors[id_]
            assert similarity.max() > 0.9999, (document, similarity)
        for status in self.retriever.status():
            assert (status.library, status.documents) == ("work", len(expected))
            assert status.files == len(self.expected)

    @rule(how=st.sampled_from(["gone", "empty"]))
    def unmount(self, how: str) -> None:
        """A folder that is not there, or has no files, deletes nothing."""
        if not self.expected:
            return
        aside = self.base / "aside"
        self.folder.rename(aside)
        if how == "empty":
            self.folder.mkdir()
        with pytest.raises(MirrorError, match="Nothing was deleted"):
            self.mirror()
        if how == "empty":
            self.folder.rmdir()
        aside.rename(self.folder)

    @rule()
    def mirror_by_default(self) -> None:
        """A run that would delete more than half deletes nothing, and says how to confirm it."""
        if self.has_no_files():
            return
        before, paid = sorted(self.all_ids()), self.emulator.embedded
        new = self.new_contents(*self.load())
        try:
            self.retriever.mirror(self.folder, metadata=self.tag)
        except MirrorError:
            assert sorted(self.all_ids()) == before
        self.complete(paid_before=self.emulator.embedded - paid, new=new)

    @rule(number=st.integers(1, 12), goes_on=st.booleans())
    def fail_while_reading(self, number: int, goes_on: bool) -> None:
        """A callback of the caller fails."""
        self.fail_at = number
        self.interrupted(InterruptedRunError, goes_on=goes_on, in_flight=False)
        self.fail_at = -1

    @rule(
        steps=st.lists(st.none(), max_size=4),
        kind=st.sampled_from([503, 401, "per-day", "cut", "nan"]),
        goes_on=st.booleans(),
    )
    def fail_while_embedding(self, steps: list[None], kind: object, goes_on: bool) -> None:
        """The service fails after some requests, and works again in the next run."""
        self.emulator.reset()
        self.emulator.script([*steps, *[kind] * 50])
        self.interrupted(GeminiMMError, goes_on=goes_on, in_flight=False, lost=kind in {"cut", "nan"})

    @precondition(lambda self: SIGNAL is not None)
    @rule(number=st.integers(0, 4), goes_on=st.booleans())
    def interrupt(self, number: int, goes_on: bool) -> None:
        """Ctrl-C while requests are in flight."""
        count = itertools.count()
        with interrupting() as interrupt:

            def latency() -> float:
                if next(count) == number:
                    interrupt()
                return 0.002

            self.emulator.reset()
            self.emulator.settings.latency = latency
            try:
                self.interrupted(KeyboardInterrupt, goes_on=goes_on, in_flight=True)
            finally:
                self.emulator.settings.latency = 0.0

    def interrupted(self, kind: type[BaseException], *, goes_on: bool, in_flight: bool, lost: bool = False) -> None:
        """Run until an error, and then again without it, immediately or after further changes.

        Args:
            kind: the expected error.
            goes_on: whether to run again at once.
            in_flight: whether calls in flight may be paid and lost.
            lost: whether all responses after the error were paid and lost.
        """
        if self.has_no_files():
            self.emulator.reset()
            return
        before = self.emulator.embedded
        loaded, data = self.load()
        new = self.new_contents(loaded, data)
        with suppress(kind):
            self.mirror()
        self.was_interrupted = True
        self.expect_what_is_stored(loaded, data)
        paid = 0 if lost else self.emulator.embedded - before
        most = max((len(request.items) for request in self.emulator.embed_requests), default=0)
        self.emulator.reset()
        self.fail_at = -1
        self.emulator.settings.latency = 0.0
        if goes_on:
            self.complete(paid_before=paid, paid_twice=CONCURRENCY * most if in_flight else 0, new=new)

    def expect_what_is_stored(self, loaded: dict[str, list[Document]], data: dict[str, bytes]) -> None:
        """After an interruption, a file has its former or its new documents, or some of both if it was being stored."""
        stored: dict[str, list[Document]] = {}
        for document in self.store.get_by_ids(self.all_ids()):
            stored.setdefault(document.metadata["source"], []).append(document)
        for source, documents in stored.items():
            ids = {one.id for one in documents}
            before, after = ({one.id for one in found.get(source, ())} for found in (self.expected, loaded))
            assert ids <= before | after
            if ids == after:
                self.bytes[source] = data[source]
            elif ids != before:
                self.bytes[source] = b""
        self.expected = stored
        self.bytes = {source: self.bytes[source] for source in stored}


def run_histories(kind: type[FolderHistories], number: int, examples: int, **attributes: Any) -> None:
    """Run random histories.

    Args:
        kind: the machine.
        number: seed.
        examples: number of histories.
        attributes: of the class.
    """
    machine = type(kind.__name__, (kind,), attributes)
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    options = settings(max_examples=examples, stateful_step_count=25, suppress_health_check=checks)
    run_state_machine_as_test(seed(number)(machine), settings=options)
