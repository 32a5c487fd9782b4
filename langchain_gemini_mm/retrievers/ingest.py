"""Storing content and files through a retriever, and keeping an index equal to a folder."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

from langchain_core.documents import Document
from langchain_core.documents.base import Blob

from langchain_gemini_mm.errors import ContentError, InvalidTypeError, InvalidValueError, MirrorError, PartialWriteError
from langchain_gemini_mm.flows import Call, Flow
from langchain_gemini_mm.interfaces import Content
from langchain_gemini_mm.progress import ProgressBar
from langchain_gemini_mm.references import escape_references
from langchain_gemini_mm.validation import number_in

if TYPE_CHECKING:
    from langchain_core.vectorstores import VectorStore

    from langchain_gemini_mm.loaders import MediaLoader
    from langchain_gemini_mm.loaders.cost_plan import Plan
    from langchain_gemini_mm.loaders.document_ids import Library
    from langchain_gemini_mm.loaders.walk import Skipped
    from langchain_gemini_mm.storage import MediaStore
    from langchain_gemini_mm.sync.mirror import MirrorRun
    from langchain_gemini_mm.sync.plan import FoundFile
    from langchain_gemini_mm.sync.report import MirrorPlan, MirrorReport
    from langchain_gemini_mm.sync.targets import LedgerFile, MirrorTarget
    from langchain_gemini_mm.sync.watch import FolderWatch, StopEvent, WatchOptions


Metadata: TypeAlias = Mapping[str, Any] | Callable[[Document], Mapping[str, Any]]
"""Metadata for every Document, or a function that makes it from one."""

Progress: TypeAlias = bool | Callable[[int], object] | None
"""True shows a bar; a function is called with the number of documents that are stored."""

_LONGEST_PATH = 1024
_WATCH_NAMES = ("longest_s", "poll_s", "rescan_s", "settle_s", "stop")


class Added(list[str]):
    """The ids of the stored documents, in order, with `skipped` for what was left out."""

    def __init__(
        self, ids: Iterable[str] = (), skipped: Sequence[Skipped] = (), reports: Sequence[MirrorReport] = ()
    ) -> None:
        super().__init__(ids)
        self.skipped = tuple(skipped)
        """Files that were left out, each with the reason."""
        self.reports = tuple(reports)
        """What was added, changed and kept of files."""


class Ingest:
    """Stores content through a retriever.

    Args:
        retriever: whose store, media store and tenant are used.
        metadata: added to that of each Document.
        progress: as for `MultimodalRetriever.add`.
        options: of `MediaLoader`, and of `add_documents`.
    """

    def __init__(self, retriever: Any, metadata: Metadata, progress: Progress, options: Mapping[str, Any]) -> None:
        from langchain_gemini_mm.loaders import MediaLoader

        self._retriever = retriever
        self._media = retriever.media_store
        self._metadata = metadata
        self._progress = progress
        names = inspect.signature(MediaLoader).parameters.keys() - {"source", "media", "progress"}
        self._loading = {name: value for name, value in options.items() if name in names}
        self._storing = {name: value for name, value in options.items() if name not in names}
        self._is_stopped: Callable[[], bool] | None = None
        self._bar: ProgressBar | None = None

    def add(self, items: Sequence[Content | MediaLoader]) -> Flow[Added]:
        """Store items; see `MultimodalRetriever.add`."""
        for item in items:
            refuse_path(item)
        ids: list[str] = []
        skipped: list[Skipped] = []
        reports: list[MirrorReport] = []
        unstored: dict[str, str] = {}
        for is_file, some in groupby(items, key=_is_file):
            group = list(some)
            try:
                if is_file:
                    for run, report in (yield from self._add_files(group)):
                        ids += [id_ for source in run.found for id_ in run.ids_of(source)]
                        unstored |= run.unstored
                        skipped += [*report.kept, *report.failed, *report.left_out]
                        reports.append(report)
                else:
                    ids += yield from self._add_documents(group)
            except PartialWriteError as error:
                error.skipped = tuple(skipped)
                raise
        if unstored:
            reason = next(iter(unstored.values()))
            failure = PartialWriteError(
                f"{len(ids)} documents are stored, {len(unstored)} not: {reason}. Files that failed by "
                "their content are tried again if they change, or with retry_failed=True; others by the next run",
                stored=ids,
                failed=unstored,
            )
            failure.skipped = tuple(one for one in skipped if one.reason not in set(unstored.values()))
            raise failure
        return Added(ids, skipped, reports)

    def mirror(
        self, folder: str | os.PathLike[str], *, name: str | None, dry_run: bool, **options: Any
    ) -> Flow[MirrorPlan]:
        """Make the index equal to a folder; see `MultimodalRetriever.mirror`.

        Args:
            folder: the folder.
            name: of the library.
            dry_run: whether nothing is stored.
            options: `delete`, `max_delete` and `retry_failed`.

        Raises:
            MirrorError: the folder is not as expected.
        """
        from langchain_gemini_mm.loaders.document_ids import absolute
        from langchain_gemini_mm.sync.plan import choose_library
        from langchain_gemini_mm.sync.status import places_flow

        self._check_mirror_options("mirror", options)
        root = absolute(Path(folder).expanduser())
        target = target_of(self._retriever)
        places = yield from places_flow(target)
        if not root.is_dir():
            known = any(place.is_here and root.is_relative_to(place.path) for place in places)
            raise MirrorError(
                f"there is no folder {str(root)!r}"
                + (
                    ", from which the index was made. Nothing was deleted. Connect its disk or share; or, if it was "
                    "moved, mirror the new folder with name=, or delete its documents with retriever.forget()"
                    if known
                    else ""
                )
            )
        library = choose_library(root, is_folder=True, name=name, places=places)
        loader = self._loader(root, [library])
        scope = f"{library.source_of(root)}/"
        run = self._run(target, loader, [library], scope=scope, cost=self._cost if dry_run else None, **options)
        return (yield from self._carried_out(run))

    def watch(
        self,
        folders: Sequence[str | os.PathLike[str]],
        options: WatchOptions,
        *,
        stop: StopEvent | None,
        name: str | None,
        **mirror_options: Any,
    ) -> FolderWatch:
        """Mirror folders whenever they have changed; see `MultimodalRetriever.watch`.

        Args:
            folders: the folders.
            options: when they are mirrored.
            stop: ends the watch.
            name: of the library, for one folder.
            mirror_options: `delete`, `max_delete` and `retry_failed`.

        Raises:
            MissingExtraError: watchfiles is not installed, which is needed without `poll_s`.
            TypeError: an option does not exist.
            ValueError: an option is out of range, or there is no folder.
        """
        from langchain_gemini_mm.loaders.document_ids import absolute
        from langchain_gemini_mm.sync.watch import FolderWatch

        paths = list(dict.fromkeys(absolute(Path(folder).expanduser()) for folder in folders))
        if not paths:
            raise InvalidValueError("watch needs at least one folder")
        if name is not None and len(paths) > 1:
            raise InvalidValueError(f"name={name!r} is for one folder, got {len(paths)}. Watch them one by one")
        self._check_mirror_options("watch", mirror_options)
        files, places = self._own_files(paths), self._own_folders(paths)
        walk = self._loader([], []).inputs.walk

        def ignores(path: Path, root: Path) -> bool:
            return str(path) in files or f"{path}{os.sep}".startswith(places) or walk.hides(path, root)

        def mirror(folder: Path) -> Flow[MirrorPlan]:
            return self.mirror(folder, name=name, dry_run=False, **mirror_options)

        found = FolderWatch(paths, mirror, ignores, options, stop)
        self._is_stopped = found.is_set
        return found

    def _own_files(self, folders: Sequence[Path]) -> set[str]:
        """The paths of the index and the ledger, and of files that SQLite adds to them."""
        given = (getattr(self._retriever.store, "path", None), self._retriever.ledger)
        paths = [path for path in given if isinstance(path, str | Path) and str(path) != ":memory:"]
        return {
            path + end
            for path in (spelled for path in paths for spelled in _spelled(path, folders))
            for end in ("", "-journal", "-shm", "-wal")
        }

    def _own_folders(self, folders: Sequence[Path]) -> tuple[str, ...]:
        """The path of the media store, with a slash."""
        path = None if self._media is None else self._media.path
        return () if path is None else tuple(f"{spelled}{os.sep}" for spelled in _spelled(path, folders))

    def _check_mirror_options(self, where: str, options: Mapping[str, Any]) -> None:
        if self._storing:
            from langchain_gemini_mm.validation import unknown_option

            names = self._loading_names()
            if where == "watch":
                names = sorted({*names, *_WATCH_NAMES} - {"dry_run"})
            raise unknown_option(next(iter(self._storing)), names, where)
        number_in("max_delete", options["max_delete"], 0, 1)

    def _loading_names(self) -> list[str]:
        from langchain_gemini_mm.loaders import MediaLoader

        names = inspect.signature(MediaLoader).parameters.keys() - {"source", "media", "progress", "root"}
        return sorted({*names, "delete", "dry_run", "max_delete", "metadata", "retry_failed"})

    def _add_files(self, items: list[Any]) -> Flow[list[tuple[MirrorRun, MirrorReport]]]:
        """Store paths, Blobs, bytes and the files of loaders."""
        from langchain_gemini_mm.loaders import MediaLoader
        from langchain_gemini_mm.sync.report import MirrorReport

        target = target_of(self._retriever, lasting=False)
        done = []
        for is_loader, some in groupby(items, key=lambda item: isinstance(item, MediaLoader)):
            group: list[Any] = list(some)
            loaders = group if is_loader else [(yield from self._loader_of(target, group))]
            for loader in loaders:
                libraries = list(dict.fromkeys(library for _, library in loader.inputs.places()))
                run = self._run(target, loader, libraries, all_ids=True)
                report = yield from self._carried_out(run)
                assert isinstance(report, MirrorReport)  # noqa: S101 - without a dry run
                done.append((run, report))
        return done

    def _loader_of(self, target: MirrorTarget, items: list[Any]) -> Flow[MediaLoader]:
        from langchain_gemini_mm.loaders.document_ids import absolute
        from langchain_gemini_mm.loaders.inputs import folder_of
        from langchain_gemini_mm.sync.plan import choose_library
        from langchain_gemini_mm.sync.status import places_flow

        places = yield from places_flow(target)
        given = [Blob.from_data(bytes(item)) if isinstance(item, bytes | bytearray) else item for item in items]
        folders = [folder_of(item.expanduser()) for item in given if isinstance(item, Path)]
        name = self._loading.get("name")
        libraries = [choose_library(absolute(folder), is_folder=True, name=name, places=places) for folder in folders]
        return self._loader(given[0] if len(given) == 1 else given, libraries)

    def _loader(self, source: Any, libraries: Sequence[Library]) -> MediaLoader:
        from langchain_gemini_mm.loaders import MediaLoader

        embeddings: Any = self._retriever.store.embeddings
        fitting = {}
        if hasattr(embeddings, "fingerprint") and hasattr(embeddings, "backend"):
            fitting = {"model": embeddings.model, "backend": embeddings.backend}
        loader = MediaLoader(source, self._store(), **{**fitting, **self._loading})
        if "root" not in self._loading:
            loader.inputs.libraries = libraries
        return loader

    def _run(
        self, target: MirrorTarget, loader: MediaLoader, libraries: Sequence[Library], **options: Any
    ) -> MirrorRun:
        from langchain_gemini_mm.sync.ledger import recipe_of
        from langchain_gemini_mm.sync.mirror import MirrorRequest, MirrorRun

        request = MirrorRequest(
            loader=loader,
            libraries=libraries,
            recipe=recipe_of(**loader.recipe, metadata=self._metadata or None),
            prepare=self._with_metadata,
            progress=self._reported(),
            **options,
        )
        return MirrorRun(target, request)

    def _carried_out(self, run: MirrorRun) -> Flow[MirrorPlan]:
        """Carry out a run; its bar is closed also after an error."""
        try:
            return (yield from run.flow())
        finally:
            if self._bar is not None:
                self._bar.close()
                self._bar = None

    def _reported(self) -> Callable[[int, int, int], object] | None:
        """Reports progress, and ends a run that is not wanted any more."""
        shown, is_stopped = self._shown(), self._is_stopped
        if is_stopped is None:
            return shown

        def report(done: int, files: int, documents: int) -> None:
            from langchain_gemini_mm.sync.watch import WatchStopped

            if shown is not None:
                shown(done, files, documents)
            if is_stopped() and done < files:
                raise WatchStopped

        return report

    def _shown(self) -> Callable[[int, int, int], object] | None:
        if self._progress is True:

            def show(done: int, files: int, _: int) -> None:
                self._bar = self._bar or ProgressBar(files, unit="files")
                self._bar(done)

            return show
        report = self._progress
        return (lambda _done, _files, documents: report(documents)) if callable(report) else None

    def _cost(self, files: Sequence[FoundFile]) -> Plan | None:
        """The estimated cost of files; None for embeddings without prices."""
        from langchain_gemini_mm.embeddings import GeminiEmbeddings
        from langchain_gemini_mm.loaders.cost_plan import plan

        embeddings = self._retriever.store.embeddings
        if not isinstance(embeddings, GeminiEmbeddings):
            return None
        loading = {name: value for name, value in self._loading.items() if name not in {"name", "glob", "exclude"}}
        roots = {file.item.root for file in files}
        if len(roots) == 1:
            loading["root"] = roots.pop()
        return plan([file.item.path for file in files if file.item.path is not None], embeddings, **loading)

    def _add_documents(self, items: list[Any]) -> Flow[list[str]]:
        """Store texts, Documents and composed contents."""
        documents = (
            self._with_metadata(item if isinstance(item, Document) else self._composed(item)) for item in items
        )
        options = {"skip_unchanged": True, **self._storing}
        if callable(self._progress):
            options["progress"] = self._progress
        retriever = self._retriever
        ids: list[str] = yield Call(retriever.add_documents, retriever.aadd_documents, (documents,), options)
        return ids

    def _with_metadata(self, document: Document) -> Document:
        extra = self._metadata(document) if callable(self._metadata) else self._metadata
        metadata = {**document.metadata, **extra}
        return Document(page_content=document.page_content, metadata=metadata, id=document.id)

    def _composed(self, item: Content) -> Document:
        pieces = item if isinstance(item, list | tuple) else [item]
        texts = [piece for piece in pieces if isinstance(piece, str)]
        if self._media is None and len(texts) == len(pieces):
            text = escape_references("\n".join(texts))
            document = Document(page_content=text, metadata={"modality": "text"})
        else:
            document = self._store().document(*pieces)
        document.id = hashlib.sha256(document.page_content.encode()).hexdigest()[:32]
        return document

    def _store(self) -> MediaStore:
        media: MediaStore | None = self._media
        if media is None:
            raise InvalidTypeError(
                "the retriever has no media store. Give MultimodalRetriever(media=MediaStore(...)), or "
                "GeminiEmbeddings(media=...) to its store"
            )
        return media


def watched(
    retriever: Any,
    folders: Sequence[str | os.PathLike[str]],
    times: Mapping[str, Any],
    stop: StopEvent | None,
    *,
    name: str | None = None,
    delete: bool = True,
    max_delete: float = 0.5,
    progress: Progress = None,
    retry_failed: bool = False,
    metadata: Metadata | None = None,
    **loader_options: Any,
) -> FolderWatch:
    """A watch of folders; see `MultimodalRetriever.watch`.

    Args:
        retriever: of the index.
        folders: the folders.
        times: the fields of `WatchOptions`.
        stop: ends the watch.
        name: as the others, of `MultimodalRetriever.mirror`.
        delete: whether documents are deleted.
        max_delete: largest share of files that may be gone.
        progress: reports progress.
        retry_failed: whether unchanged files that could not be used are opened again.
        metadata: for every Document.
        loader_options: of `MediaLoader`.
    """
    from langchain_gemini_mm.sync.watch import WatchOptions

    options: dict[str, Any] = {"delete": delete, "max_delete": max_delete, "retry_failed": retry_failed}
    ingest = Ingest(retriever, metadata or {}, progress, loader_options)
    return ingest.watch(folders, WatchOptions(**times), stop=stop, name=name, **options)


def _spelled(path: str | Path, folders: Sequence[Path]) -> set[str]:
    """A path as systems may report it: absolute, without symbolic links, and as part of watched folders."""
    real = Path(os.path.realpath(path))
    inside = [(folder, os.path.realpath(folder)) for folder in folders]
    respelled = (folder / real.relative_to(place) for folder, place in inside if real.is_relative_to(place))
    return {str(one) for one in (Path(path).expanduser().absolute(), real, *respelled)}


def target_of(retriever: Any, *, lasting: bool = True) -> MirrorTarget:
    """The index of a retriever, with its ledger.

    Args:
        retriever: of the index.
        lasting: whether the ledger of a store of another package must be in a file.

    Raises:
        TypeError: there is no place for the ledger of a store of another package.
    """
    from langchain_gemini_mm.sync.targets import ForeignTarget, LedgerFile, StoreTarget
    from langchain_gemini_mm.vectorstores import MultimodalVectorStore

    store = retriever.store
    if isinstance(store, MultimodalVectorStore):
        return StoreTarget(store.backend.for_tenant(retriever.tenant))
    if retriever.ledger == ":memory:":
        return ForeignTarget(store, _memory_ledger(store))
    if retriever.ledger is not None:
        return ForeignTarget(store, LedgerFile(Path(retriever.ledger).expanduser().absolute()))
    folder = None if retriever.media_store is None else retriever.media_store.path
    if folder is None and not lasting:
        return ForeignTarget(store, _memory_ledger(store))
    if folder is None:
        raise InvalidTypeError(
            f"a {type(store).__name__} has no place for what is known of its files, and the media store is no folder. "
            "Give MultimodalRetriever(ledger='library/ledger.db')"
        )
    collection = next(
        (str(value) for name in ("_collection_name", "collection_name") if (value := getattr(store, name, None))), ""
    )
    name = hashlib.sha256(json.dumps([type(store).__qualname__, collection]).encode()).hexdigest()[:12]
    return ForeignTarget(store, LedgerFile(folder / f"ledger-{name}.db"))


_MEMORY: WeakKeyDictionary[VectorStore, LedgerFile] = WeakKeyDictionary()
"""Ledgers in memory, by store."""


def _memory_ledger(store: VectorStore) -> LedgerFile:
    from langchain_gemini_mm.sync.targets import LedgerFile

    return _MEMORY.setdefault(store, LedgerFile(None))


def refuse_path(item: object) -> None:
    """Refuse a text that is the path of an existing file or folder.

    Raises:
        ContentError: the message explains how to store either.
    """
    if not isinstance(item, str) or not item.strip() or "\n" in item or len(item) > _LONGEST_PATH:
        return
    is_there = False
    with suppress(OSError, ValueError, RuntimeError):
        is_there = Path(item).expanduser().exists()
    if is_there:
        raise ContentError(
            f"{item[:200]!r} is a text, and there is a file or folder of this name. To store the file or folder, pass "
            "pathlib.Path(...); to store the text itself, pass it in a list"
        )


def _is_file(item: object) -> bool:
    """Whether an item is loaded as a file: a path, bytes, a Blob, or a loader."""
    from langchain_gemini_mm.loaders import MediaLoader

    return isinstance(item, Path | bytes | bytearray | Blob | MediaLoader)
