"""Making an index equal to folders: a run compares files with the ledger, and stores, moves and deletes documents."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.flows import Flow, blocking
from langchain_gemini_mm.loaders.document_ids import Library, is_id_of
from langchain_gemini_mm.loaders.walk import Skipped
from langchain_gemini_mm.sync.changes import NOTHING, BatchWrites, FileChange
from langchain_gemini_mm.sync.ledger import (
    PLACES,
    SOURCES,
    CaptionCache,
    Place,
    SourceEntry,
    content_id,
    running_loop,
    seen_key,
)
from langchain_gemini_mm.sync.plan import (
    FAILED,
    FolderComparison,
    FoundFile,
    IsKnown,
    Known,
    compare,
    former_sources,
    require_deletions,
    same_files,
)
from langchain_gemini_mm.sync.report import MirrorPlan, MirrorReport
from langchain_gemini_mm.sync.scan import FileReading, LoadedPart, file_hash, stamped
from langchain_gemini_mm.sync.targets import MirrorTarget
from langchain_gemini_mm.vectorstores.backend import Replacement
from langchain_gemini_mm.vectorstores.records import Record

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from langchain_gemini_mm.loaders import MediaLoader
    from langchain_gemini_mm.loaders.cost_plan import Plan

_AT_ONCE = 500
_SAMPLE = 20
"""Documents of the ledger that are looked up in the store, in case it was emptied by another way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorRequest:
    """What is mirrored, and how."""

    loader: MediaLoader
    libraries: Sequence[Library] = ()
    """Those of the files; none for files in memory alone."""
    scope: str = ""
    """The beginning of the sources that may be deleted: those below the folder."""
    recipe: str
    prepare: Callable[[Document], Document] = lambda document: document
    """Called for each Document."""
    delete: bool = False
    max_delete: float = 0.5
    retry_failed: bool = False
    all_ids: bool = False
    """Whether `ids_of` is called for all files after the run."""
    progress: Callable[[int, int, int], object] | None = None
    """Called with the number of files that are done, of all, and of documents that are stored."""
    cost: Callable[[Sequence[FoundFile]], Plan | None] | None = None
    """Estimates the cost of files; set for a dry run, in which nothing is stored."""


class MirrorRun:
    """One run; see `flow`."""

    def __init__(self, target: MirrorTarget, request: MirrorRequest) -> None:
        self._target = target
        self._request = request
        self._places = {library.name: Place(library.name, str(library.root)) for library in request.libraries}
        self._others: list[Place] = []
        """Other folders of the ledger."""
        self._absorbed: list[Place] = []
        """Those that became part of the mirrored one."""
        self._former: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        self._entries: dict[str, SourceEntry] = {}
        self._is_empty = False
        self._hashes: dict[str, str] = {}
        self._twins: dict[str, str] = {}
        """By source, the source of an equal file of the index."""
        self._moves: dict[str, str] = {}
        """By source, the one that the file had before it was moved."""
        self._vanished: set[str] = set()
        self._changes: dict[str, FileChange] = {}
        self._touched: dict[str, str | None] = {}
        self._lists: dict[str, list[Any]] = {name: [] for name in _LISTS}
        self._documents = self._embedded = self._done = 0
        self.found: list[str] = []
        """The sources of all files that were found, in order."""
        self.unstored: dict[str, str] = {}
        """Reasons by id, of documents of this run that could not be embedded."""

    def flow(self) -> Flow[MirrorPlan]:
        """Compare, store, move and delete; the report."""
        known = yield from self._read()
        comparison = yield blocking(self._compare, known)
        yield from self._read_entries(comparison)
        unread = yield blocking(self._inspect, comparison)
        vanished = yield from self._deletable(comparison, known)
        if self._request.cost is not None:
            plan: MirrorPlan = yield blocking(self._plan, comparison, unread, vanished, self._request.cost)
            return plan
        lost = yield from self._lost(comparison.unchanged)
        if lost:
            unread += yield blocking(self._again, lost, comparison)
        yield from self._store_all(unread)
        yield from self._delete(vanished)
        yield from self._finish()
        lists = self._finished_lists(comparison)
        left_out = tuple(self._lists["left_out"])
        return MirrorReport(**lists, left_out=left_out, documents=self._documents, embedded=self._embedded)

    def ids_of(self, source: str) -> tuple[str, ...]:
        """The ids of the documents of a file."""
        return self._entry(source).ids

    # Reading the ledger

    def _read(self) -> Flow[Known]:
        target, request = self._target, self._request
        places = [Place.from_text(text) for text in (yield from target.read_ledger(PLACES)).values()]
        own = {place.id for place in self._places.values()}
        self._others = [place for place in places if place.id not in own or place.library not in self._places]
        seen: dict[str, str] = {}
        for place in self._places.values():
            stamps = yield from self._seen(place)
            seen |= {source: stamp for source, stamp in stamps.items() if source.startswith(f"{place.library}/")}
        if not request.delete:
            return Known(request.recipe, seen)
        (library,) = request.libraries
        for place in self._others:
            if place.is_here and place.library != library.name and place.path.is_relative_to(library.root):
                self._absorbed.append(place)
        stamps_of = {}
        for place in self._absorbed:
            stamps_of[place.id] = yield from self._seen(place)
        former = former_sources(library, self._absorbed, stamps_of)
        self._former = {now: then for now, then in former.items() if now.startswith(request.scope)}
        inside = {source: stamp for source, stamp in seen.items() if source.startswith(request.scope)}
        return Known(request.recipe, inside, self._former)

    def _read_entries(self, comparison: FolderComparison) -> Flow[None]:
        """Read the entries of files: all of them if something has changed, else a sample."""
        if comparison.open or comparison.vanished or self._request.all_ids:
            self._texts = yield from self._target.read_ledger(SOURCES)
            self._is_empty = not self._texts and (yield from self._target.is_empty())
            return
        step = max(1, len(comparison.unchanged) // _SAMPLE)
        some = [*comparison.unchanged[::step], *comparison.failed]
        self._texts = yield from self._target.find_ledger([SOURCES + source for source in some])

    def _seen(self, place: Place) -> Flow[dict[str, str]]:
        prefix = seen_key(place.id, "")
        found = yield from self._target.read_ledger(prefix)
        return {key[len(prefix) :]: stamp for key, stamp in found.items()}

    def _entry(self, source: str | None) -> SourceEntry:
        text = None if source is None else self._texts.get(SOURCES + source)
        if source is None or text is None:
            return NOTHING
        if source not in self._entries:
            self._entries[source] = SourceEntry.from_text(text)
        return self._entries[source]

    def _compare(self, known: Known) -> FolderComparison:
        inputs = self._request.loader.inputs

        def found(is_known: IsKnown) -> Iterator[FoundFile | Skipped]:
            return stamped(replace(inputs, is_known=is_known))

        comparison = compare(found, known, retry_failed=self._request.retry_failed)
        self.found = [*comparison.unchanged, *comparison.failed, *(file.item.source for file in comparison.open)]
        self._vanished = set(comparison.vanished)
        return comparison

    # Deciding what is read

    def _inspect(self, comparison: FolderComparison) -> list[FoundFile]:
        """Hash files that may be known under another name or time; the files to read."""
        if not comparison.open or not self._texts:
            return comparison.open
        entries = {source: self._entry(source) for source in (key[len(SOURCES) :] for key in self._texts)}
        by_hash = same_files(entries)
        sizes = {entry.size for entry in entries.values()}
        gone = set(self._vanished) if self._request.delete else set()  # `add` does not look at other files
        unread = []
        for file in comparison.open:
            source = file.item.source
            own = self._entry(source)
            if file.size in sizes and self._is_known(file, own):
                continue
            unread.append(file)
            twin = self._former.get(source) or _twin(by_hash.get(self._hashes.get(source, ""), ()), source, gone)
            if twin is not None:
                self._twins[source] = twin
                if twin in gone and not own.ids:
                    self._moves[source] = twin
                    gone.discard(twin)
        return unread

    def _is_known(self, file: FoundFile, own: SourceEntry) -> bool:
        """Hash a file; whether it is the same as before, although its times are not."""
        source = file.item.source
        try:
            digest = self._hashes[source] = file_hash(file.item)
        except ContentError:
            return False  # the loader finds the reason
        same = digest, self._request.recipe, file.companions, "stored"
        if (own.sha256, own.recipe, own.beside, own.outcome) != same:
            return False
        self._touched |= self._seen_entry(file)
        self._lists["unchanged"].append(source)
        return True

    def _deletable(self, comparison: FolderComparison, known: Known) -> Flow[list[str]]:
        """The sources whose documents are to be deleted.

        Raises:
            MirrorError: they are too many.
        """
        if not comparison.vanished:
            return []
        if not self._request.delete:
            if self._request.scope:
                reason = "it is gone, and delete=False"
                self._lists["kept"] += [Skipped(source, reason) for source in comparison.vanished]
            return []
        held = yield from self._held(comparison.vanished)
        self._moves = {source: former for source, former in self._moves.items() if former not in held}
        moved = set(self._moves.values())
        vanished = [source for source in comparison.vanished if source not in moved and source not in held]
        (library,) = self._request.libraries
        deleted = sum(1 for source in vanished if self._entry(source).ids)
        count = sum(1 for source in {*known.seen, *known.former.values()} if self._entry(source).ids)
        require_deletions(comparison, deleted, count, library.root, self._request.max_delete)
        return vanished

    def _held(self, vanished: Sequence[str]) -> Flow[set[str]]:
        """The sources that are gone here and not elsewhere: their documents are kept."""
        others = [place for place in self._others if place not in self._absorbed]
        keys = {
            seen_key(place.id, source): (place, source)
            for place in others
            for source in vanished
            if source.startswith(f"{place.library}/")
        }
        found = (yield from self._target.find_ledger(list(keys))) if keys else {}
        held = {source: place for place, source in (keys[key] for key in found)}
        for source, place in held.items():
            self._lists["kept"].append(Skipped(source, f"it is gone here, and was stored from {place.shown}, too"))
            self._touched |= dict.fromkeys(seen_key(own.id, source) for own in self._own_places)
        return set(held)

    @property
    def _own_places(self) -> tuple[Place, ...]:
        return *self._places.values(), *self._absorbed

    def _lost(self, unchanged: Sequence[str]) -> Flow[set[str]]:
        """Unchanged files whose documents are not in the store any more, if a sample shows that there are some."""
        step = max(1, len(unchanged) // _SAMPLE)
        sample = unchanged[::step]
        ids = {id_ for source in sample for id_ in self._entry(source).ids[:1]}
        found = yield from self._target.fetch(list(ids))
        if len(found) == len(ids) and all(SOURCES + source in self._texts for source in sample):
            return set()
        self._texts = yield from self._target.read_ledger(SOURCES)
        with_ids = [source for source in unchanged if self._entry(source).ids]
        lost = {source for source in unchanged if SOURCES + source not in self._texts}
        for start in range(0, len(with_ids), _AT_ONCE):
            some = {source: self._entry(source).ids for source in with_ids[start : start + _AT_ONCE]}
            stored = yield from self._target.fetch([id_ for ids in some.values() for id_ in ids])
            lost |= {source for source, ids in some.items() if any(id_ not in stored for id_ in ids)}
        return lost

    def _again(self, lost: set[str], comparison: FolderComparison) -> list[FoundFile]:
        """Files that are read although they are unchanged."""
        comparison.unchanged = [source for source in comparison.unchanged if source not in lost]
        files = (file for file in stamped(self._request.loader.inputs) if isinstance(file, FoundFile))
        return [file for file in files if file.item.source in lost]

    # Storing

    def _store_all(self, unread: Sequence[FoundFile]) -> Flow[None]:
        reading = FileReading(self._request.loader, unread, self._hashes, self._request.prepare)
        description = self._request.loader.description
        if description is not None:
            target, loop = self._target, (yield from running_loop())
            description.cache = CaptionCache(description.given, target.find_ledger, target.write_ledger, loop)
        try:
            while parts := (yield blocking(reading.draw)):
                stopped = yield from self._store(parts)
                self._done += sum(part.done for part in parts)
                if self._request.progress is not None:
                    self._request.progress(self._done, len(unread), self._documents)
                if stopped is not None:
                    raise stopped
        except Exception as error:
            error.add_note(f"{self._done:,} of {len(unread):,} files are stored; running it again continues")
            raise
        finally:
            reading.close()
            if description is not None:
                description.cache = None

    def _store(self, parts: Sequence[LoadedPart]) -> Flow[Exception | None]:
        """Store the documents of some files; the error after which nothing else can be embedded, if any."""
        documents = {str(document.id): (part, document) for part in parts for document in part.documents}
        changes = {part.file.item.source: self._change(part) for part in parts}
        older = yield from self._older(changes)
        ids = {id_ for change in changes.values() for id_ in (*change.before.ids, *change.twin.ids)}
        stored = yield from self._target.fetch(list(dict.fromkeys([*documents, *ids])))
        self._recall(changes, stored)
        writes = BatchWrites()
        missing: list[Document] = []
        for id_, (part, document) in documents.items():
            change = changes[part.file.item.source]
            record = self._known_record(document, change, stored, older.get(part.file.item.source, {}))
            if record is None:
                missing.append(document)
                continue
            change.ids.append(id_)
            if id_ not in stored or stored[id_].metadata != record.metadata:
                writes.records[id_] = record
                change.touched = True
        stopped = yield from self._embed(missing, documents, changes, writes)
        for id_, (part, document) in documents.items():
            changes[part.file.item.source].identify(id_, document.page_content)
        untried = {str(document.id) for document in missing} - writes.records.keys() if stopped else set()
        for part in parts:
            change = changes[part.file.item.source]
            self._write(part, change, writes, complete=untried.isdisjoint(str(one.id) for one in part.documents))
        if self._target.journal is not None:
            writes.ledger |= self._target.journal.drain()
        self._documents += len(writes.records)
        yield from self._target.replace(
            Replacement(
                records=list(writes.records.values()),
                deleted=list(writes.deleted),
                ledger=writes.ledger,
                pending=writes.pending,
            )
        )
        return stopped

    def _recall(self, changes: Mapping[str, FileChange], stored: Mapping[str, Record]) -> None:
        """Look at earlier documents of files; the vectors of their pages and segments can be used again."""
        vectors: dict[str, bytes] = {}
        for change in changes.values():
            vectors |= change.recall(stored)
        if self._target.journal is not None:
            self._target.journal.stored = vectors

    def _change(self, part: LoadedPart) -> FileChange:
        source = part.file.item.source
        if source not in self._changes:
            twin = self._entry(self._twins.get(source))
            self._changes[source] = FileChange(self._entry(source), self._moves.get(source), twin)
        return self._changes[source]

    def _older(self, changes: Mapping[str, FileChange]) -> Flow[dict[str, dict[str, Record]]]:
        """By source and text: documents of the store that the ledger does not know, as those of earlier versions."""
        names: dict[str, list[str]] = {}
        for source, change in changes.items():
            if not change.before.ids and not self._is_empty:
                for name in dict.fromkeys((source, source.partition("/")[2] or source)):
                    names.setdefault(name, []).append(source)
        found: dict[str, dict[str, Record]] = {}
        stored = (yield from self._target.of_sources(list(names))) if names else []
        numbers = Counter(record.metadata["source"] for record in stored)
        for record in stored:
            name = record.metadata["source"]
            if record.id in self._entry(name).ids:
                continue
            for source in names[name]:
                found.setdefault(source, {})[record.text] = record
                changes[source].claimed.add(record.id)
                changes[source].is_older |= source == name and is_id_of(record.document, numbers[name])
        return found

    def _known_record(
        self, document: Document, change: FileChange, stored: Mapping[str, Record], older: Mapping[str, Record]
    ) -> Record | None:
        """The record of a document whose vector is known; None if it must be embedded."""
        id_, text = str(document.id), document.page_content
        same = stored.get(id_)
        change.is_older |= id_ in change.claimed
        if same is not None and same.text == text:
            if same.metadata == document.metadata or same.vector is not None:
                return Record(id_, text, document.metadata, same.vector)
            return None
        for record in (stored[one] for one in (*change.before.ids, *change.twin.ids) if one in stored):
            if record.text == text and record.vector is not None:
                return Record(id_, text, document.metadata, record.vector)
        if text in older:
            change.is_older = True
        if text in older and older[text].vector is not None:
            return Record(id_, text, document.metadata, older[text].vector)
        return None

    def _embed(
        self,
        missing: Sequence[Document],
        documents: Mapping[str, tuple[LoadedPart, Document]],
        changes: Mapping[str, FileChange],
        writes: BatchWrites,
    ) -> Flow[Exception | None]:
        if not missing:
            return None
        embedded = yield from self._target.embed(missing)
        noted = {} if self._target.journal is None else self._target.journal.noted
        for position, document in enumerate(missing):
            id_ = str(document.id)
            change = changes[documents[id_][0].file.item.source]
            if position in embedded.records:
                writes.records[id_] = embedded.records[position]
                change.ids.append(id_)
                change.touched = True
                identity = noted.get(document.page_content)
                self._embedded += identity is None or not identity.known
                if identity is not None and identity.key is not None:
                    change.texts[identity.text] = content_id(identity.key)
            elif position in embedded.failed:
                change.errors.append(embedded.failed[position])
                change.is_incomplete |= position in embedded.temporary
                self.unstored[id_] = embedded.failed[position]
        return embedded.stopped

    def _write(self, part: LoadedPart, change: FileChange, writes: BatchWrites, *, complete: bool) -> None:
        """Add the entries of a file, and what it does not have any more."""
        file = part.file
        source = file.item.source
        order = {str(document.id): number for number, document in enumerate(part.documents)}
        change.ids.sort(key=lambda id_: order.get(id_, -1))
        claimed = change.claimed if change.is_older else set()
        both = tuple(dict.fromkeys((*change.before.ids, *sorted(claimed), *change.ids)))
        started = replace(NOTHING, ids=both, size=file.size, outcome="partial", at=time.time())
        started = started.with_contents({**change.before.content_of, **change.contents})
        writes.pending[SOURCES + source] = started.to_text()
        if not (part.done and complete):
            writes.ledger[SOURCES + source] = started.to_text()
            self._remember(source, started)
            return
        del self._changes[source]
        if change.is_incomplete and part.refused is None:
            error = "; ".join(dict.fromkeys(change.errors))
            self._lists["failed"].append(Skipped(source, error, temporary=True))
            entry = replace(started, outcome="failed", error=error)
            writes.ledger |= {SOURCES + source: entry.to_text(), **self._seen_entry(file, None)}
            self._remember(source, entry)
            return
        entry, ends = self._ended(part, change)
        self._list(part, change, entry)
        kept = set(entry.ids)
        writes.deleted |= {*both, *change.former_ids} - kept
        for id_ in writes.deleted:
            writes.records.pop(id_, None)
        if change.former is not None:
            writes.ledger |= self._forgotten(change.former)
        writes.ledger[SOURCES + source] = entry.to_text()
        self._remember(source, entry)
        writes.ledger |= self._seen_entry(file, ends)

    def _ended(self, part: LoadedPart, change: FileChange) -> tuple[SourceEntry, str | None]:
        """The entry of a file that was read, and the end of its stamp; None if it is to be read again."""
        file, before = part.file, change.before
        common: dict[str, Any] = {"size": file.size, "beside": file.companions, "at": time.time()}
        if part.refused is not None:
            if before.sha256 is not None:
                common["size"] = before.size  # as the hash, of the file that the documents are of
            ids = before.ids or tuple(change.ids)
            entry = replace(before, ids=ids, outcome="failed", error=part.refused.reason, **common)
            entry = entry.with_contents({**before.content_of, **change.contents})
            return entry, None if part.refused.temporary else FAILED
        error = "; ".join(dict.fromkeys(change.errors)) or None
        entry = SourceEntry(
            ids=tuple(change.ids),
            sha256=part.sha256,
            recipe=self._request.recipe,
            outcome="stored" if error is None else "failed",
            error=error,
            **common,
        ).with_contents(change.contents)
        return entry, "" if error is None else FAILED

    def _list(self, part: LoadedPart, change: FileChange, entry: SourceEntry) -> None:
        """Add a file to the lists of the report."""
        source, lists = part.file.item.source, self._lists
        lists["left_out"] += part.left_out
        if part.refused is not None:
            lists["kept" if change.before.ids else "failed"].append(part.refused)
            return
        if entry.error is not None:
            lists["failed"].append(Skipped(source, entry.error))
        if change.former is not None:
            lists["moved"].append((change.former, source))
        elif not change.before.ids:
            if change.touched or not entry.error:
                lists["added"].append(source)
        elif change.touched or set(change.before.ids) != set(entry.ids):
            lists["changed"].append(source)
        else:
            lists["unchanged"].append(source)

    def _remember(self, source: str, entry: SourceEntry) -> None:
        self._entries[source], self._texts[SOURCES + source] = entry, ""

    def _seen_entry(self, file: FoundFile, end: str | None = "") -> dict[str, str | None]:
        place = self._places.get(file.item.source.partition("/")[0])
        if place is None or not file.stamp:
            return {}
        links = f"\n{file.links}" if file.links else ""
        stamp = None if end is None else file.seen(self._request.recipe) + end + links
        return {seen_key(place.id, file.item.source): stamp}

    def _forgotten(self, source: str) -> dict[str, str | None]:
        """The entries to remove for a source that is gone."""
        return {SOURCES + source: None, **{seen_key(place.id, source): None for place in self._own_places}}

    # Deleting

    def _delete(self, vanished: Sequence[str]) -> Flow[None]:
        for start in range(0, len(vanished), _AT_ONCE):
            some = vanished[start : start + _AT_ONCE]
            ids = [id_ for source in some for id_ in self._entry(source).ids]
            ledger: dict[str, str | None] = {}
            for source in some:
                ledger |= self._forgotten(source)
                if self._entry(source).ids:
                    self._lists["deleted"].append(source)
            yield from self._target.replace(Replacement(deleted=ids, ledger=ledger))

    def _finish(self) -> Flow[None]:
        entries = dict(self._touched)
        for place in self._places.values():
            entries[place.key] = replace(place, at=time.time()).to_text()
        if self._request.scope.count("/") == 1:  # the whole library
            entries |= {place.key: None for place in self._absorbed}
        yield from self._target.write_ledger(entries)

    # Reporting

    def _finished_lists(self, comparison: FolderComparison) -> dict[str, Any]:
        lists = {name: list(found) for name, found in self._lists.items() if name != "left_out"}
        lists["unchanged"] += comparison.unchanged
        lists["kept"] += comparison.kept
        lists["failed"] += comparison.refused
        for source in comparison.failed:
            entry = self._entry(source)
            failed = Skipped(source, entry.error or "it could not be used before")
            lists["kept" if entry.ids and entry.sha256 is not None and entry.error else "failed"].append(failed)
        libraries = self._request.libraries
        root = libraries[0].root if libraries else Path()
        return {
            "library": ", ".join(library.name for library in libraries),
            "root": root,
            **{name: tuple(found) for name, found in lists.items()},
        }

    def _plan(
        self,
        comparison: FolderComparison,
        unread: Sequence[FoundFile],
        vanished: Sequence[str],
        cost: Callable[[Sequence[FoundFile]], Plan | None],
    ) -> MirrorPlan:
        for file in unread:
            source = file.item.source
            if source in self._moves:
                self._lists["moved"].append((self._moves[source], source))
            else:
                self._lists["changed" if self._entry(source).ids else "added"].append(source)
        self._lists["deleted"] = [source for source in vanished if self._entry(source).ids]
        paid = [file for file in unread if file.item.source not in self._twins]
        return MirrorPlan(**self._finished_lists(comparison), cost=cost(paid))


_LISTS = ("added", "changed", "moved", "deleted", "unchanged", "kept", "failed", "left_out")


def _twin(sources: Sequence[str], source: str, gone: set[str]) -> str | None:
    """Another file with the same content, preferably one that is gone."""
    others = [other for other in sources if other != source]
    return next((other for other in others if other in gone), others[0] if others else None)
