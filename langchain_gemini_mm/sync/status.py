"""What an index knows of its libraries, and forgetting one of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.flows import Flow, blocking
from langchain_gemini_mm.loaders.document_ids import absolute
from langchain_gemini_mm.loaders.walk import Skipped
from langchain_gemini_mm.media.source import file_of
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.storage import MediaStore
from langchain_gemini_mm.storage.garbage import digests_in
from langchain_gemini_mm.sync.ledger import CAPTIONS, PLACES, SEEN, SOURCES, VECTORS, Place, SourceEntry
from langchain_gemini_mm.sync.report import LibraryStatus
from langchain_gemini_mm.sync.targets import MirrorTarget
from langchain_gemini_mm.validation import did_you_mean
from langchain_gemini_mm.vectorstores.backend import Replacement

_AT_ONCE = 500


def places_flow(target: MirrorTarget) -> Flow[list[Place]]:
    """The folders that an index was made from."""
    found = yield from target.read_ledger(PLACES)
    return [Place.from_text(text) for text in found.values()]


def path_flow(target: MirrorTarget, source: object) -> Flow[Path]:
    """The file that a `source` names, in a folder of this machine that its library was stored from.

    Args:
        target: the index.
        source: from the metadata of a Document.

    Raises:
        ContentError: the library was stored from no folder of this machine, or the source names no file of it.
        MissingMediaError: the file is not there any more.
    """
    library = str(source).partition("/")[0]
    places = [place for place in (yield from places_flow(target)) if place.library == library]
    here = [place.path for place in places if place.is_here]
    if not here:
        known = f"it was stored from {places[0].shown}" if places else "the index has no such library"
        raise ContentError(f"{source!r} is in no library of this machine: {known}. Pass root= with its folder")
    path: Path = yield blocking(file_of, source, here)
    return path


def status_flow(target: MirrorTarget, library: str | None) -> Flow[list[LibraryStatus]]:
    """Summarize the ledger by library.

    Args:
        target: the index.
        library: only this one.

    Raises:
        ContentError: there is no such library.
    """
    entries = yield from _entries(target)
    places = yield from places_flow(target)
    by_library: dict[str, dict[str, SourceEntry]] = {place.library: {} for place in places}
    for source, entry in entries.items():
        name = source.partition("/")[0]
        by_library.setdefault(name if name in by_library else "", {})[source] = entry
    if library is not None and library not in by_library:
        raise ContentError(f"the index has no library {library!r}{did_you_mean(library, by_library)}")
    names = sorted(by_library) if library is None else [library]
    return [_status(name, by_library[name], [place for place in places if place.library == name]) for name in names]


def _status(name: str, entries: Mapping[str, SourceEntry], places: list[Place]) -> LibraryStatus:
    return LibraryStatus(
        library=name,
        files=sum(1 for entry in entries.values() if entry.ids),
        documents=sum(len(entry.ids) for entry in entries.values()),
        size=sum(entry.size for entry in entries.values() if entry.ids),
        failed=tuple(Skipped(source, entry.error) for source, entry in entries.items() if entry.error is not None),
        places=tuple(place.root if place.is_here else place.shown for place in places),
        last_run=max((place.at for place in places), default=None),
    )


def forget_flow(
    target: MirrorTarget, what: str | Path, *, vectors: bool = False, captions: bool = False
) -> Flow[set[bytes]]:
    """Delete the documents of a library, folder or file of an index; the hashes of the media in them.

    Args:
        target: the index.
        what: the name of a library, the source of a folder or file, or as a `Path` a folder of this machine, whose
            files then only count as not stored from there.
        vectors: also remove vectors that the ledger keeps.
        captions: also remove what `describe` returned for these media.

    Raises:
        ContentError: the index does not have it.
    """
    places = yield from places_flow(target)
    if isinstance(what, Path):
        yield from _forget_place(target, places, absolute(what))
        return set()
    entries = yield from _entries(target)
    found = {source: entry for source, entry in entries.items() if source == what or source.startswith(f"{what}/")}
    own = [place for place in places if place.library == what]
    if not found and not own:
        raise ContentError(
            f"the index has no library or source {what!r}{did_you_mean(what, [*entries, *_names(places)])}"
        )
    seen = yield from target.read_ledger(SEEN)
    removed: dict[str, str | None] = {place.key: None for place in own}
    removed |= {key: None for key in seen if key.split("\n", 2)[2] in found}
    removed |= {SOURCES + source: None for source in found}
    if vectors:
        removed |= dict.fromkeys((yield from target.read_ledger(VECTORS)))
    ids = [id_ for entry in found.values() for id_ in entry.ids]
    media: set[bytes] = set()
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        stored = yield from target.fetch(some)
        media |= digests_in([record.document for record in stored.values()])
        yield from target.replace(Replacement(deleted=some))
    if captions:
        kept = yield from target.read_ledger(CAPTIONS)
        removed |= dict.fromkeys(key for key in kept if not media.isdisjoint(digests_in(key)))
    yield from target.replace(Replacement(ledger=removed))
    return media


def remove_unused(media: MediaStore, keep: object, digests: set[bytes]) -> None:
    """Remove media that nothing in `keep` references.

    Args:
        media: the store of the media.
        keep: a store, or other things as for `MediaStore.sweep`.
        digests: hashes of the media that may be removed.
    """
    for digest in digests - digests_in(keep):
        media.delete(MediaRef(digest.hex()))


def _forget_place(target: MirrorTarget, places: list[Place], folder: Path) -> Flow[None]:
    own = [place for place in places if place.path == folder and place.is_here]
    if not own:
        known = ", ".join(place.shown for place in places) or "none"
        raise ContentError(f"nothing was stored from {str(folder)!r}; folders are: {known}")
    for place in own:
        seen = yield from target.read_ledger(f"{SEEN}{place.id}\n")
        yield from target.write_ledger({place.key: None, **dict.fromkeys(seen)})


def _names(places: list[Place]) -> list[str]:
    return [place.library for place in places]


def _entries(target: MirrorTarget) -> Flow[dict[str, SourceEntry]]:
    found = yield from target.read_ledger(SOURCES)
    return {key[len(SOURCES) :]: SourceEntry.from_text(text) for key, text in found.items()}
