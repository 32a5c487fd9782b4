"""Copying a collection into another store without embedding anything again."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.flows import Flow, arun, blocking, run
from langchain_gemini_mm.storage import MediaStore
from langchain_gemini_mm.storage.transfer import MediaTransfer
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.vectorstores.base import MultimodalVectorStore
from langchain_gemini_mm.vectorstores.embedding_space import Fingerprint, require_dimensions, require_space
from langchain_gemini_mm.vectorstores.records import Record
from langchain_gemini_mm.vectorstores.write import Progress

BATCH_SIZE = 500
"""Documents read and stored together."""

_ROUNDING = 1e-6
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What a copy did; every document of the source is in the target when there is one."""

    total: int
    """Documents of the source."""
    copied: int
    """Of these, stored by this call."""
    skipped: int
    """Of these, in the target before, with the same text, metadata and vector."""
    media: int = 0
    """Files copied by this call."""


def copy_store(
    source: MultimodalVectorStore,
    target: MultimodalVectorStore,
    *,
    media: tuple[MediaStore, MediaStore] | None = None,
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
) -> CopyReport:
    """Copy ids, texts, metadata and vectors from one store to another; nothing is embedded.

    ```python
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from langchain_gemini_mm import LocalVectorStore
    from langchain_gemini_mm.vectorstores import copy_store

    embeddings = DeterministicFakeEmbedding(size=8)
    source, target = (LocalVectorStore(":memory:", embeddings) for _ in range(2))
    source.add_texts(["a cat", "a dog"], ids=["cat", "dog"])
    assert copy_store(source, target).copied == 2
    assert copy_store(source, target).skipped == 2
    ```

    Works in batches, so memory stays flat. Whatever stopped it, calling it again is safe and completes it: what the
    target has unchanged is read and not stored again. At the end both stores are read once more and compared. What only
    the target has stays there; `set_info` values are not copied.

    Args:
        source: a store of this package.
        target: another one, with the same embeddings.
        media: the media stores of source and target. Media that the documents reference are copied first, each once,
            unless they are there.
        batch_size: how many documents are read and stored together.
        progress: called after each batch with the number of documents copied or skipped so far.

    Raises:
        SpaceMismatchError: the vectors are of two embedding spaces; nothing is copied then.
        StoreError: afterwards a document is not in the target as it is in the source, as when one of them is changed
            meanwhile.
        PartialWriteError: the target has taken a batch in part.
        ContentError: the target cannot keep a document; those before it are copied.
        MissingMediaError: everything is copied but media that the source's media store lacks, or has damaged.
    """
    return run(_copied(source, target, media, positive_int("batch_size", batch_size), progress))


async def acopy_store(
    source: MultimodalVectorStore,
    target: MultimodalVectorStore,
    *,
    media: tuple[MediaStore, MediaStore] | None = None,
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
) -> CopyReport:
    """Async twin of `copy_store`."""
    return await arun(_copied(source, target, media, positive_int("batch_size", batch_size), progress))


def _copied(
    source: MultimodalVectorStore,
    target: MultimodalVectorStore,
    media: tuple[MediaStore, MediaStore] | None,
    batch_size: int,
    progress: Progress | None,
) -> Flow[CopyReport]:
    transfer = _checked(source, target, media)
    fingerprint = yield from _one_space(source, target)
    yield from _require_two(source, target)
    done = copied = 0
    after: str | None = None
    while records := (yield from _page(source, after, batch_size)):
        if transfer is not None:
            named = [(record.id, record.text, record.metadata.get("media_sha256")) for record in records]
            yield blocking(transfer.copy, named)
        changed = yield from _differing(target, records)
        if changed:
            yield from target.backend.upsert(changed, fingerprint)
        copied += len(changed)
        done += len(records)
        after = records[-1].id
        if progress is not None:
            progress(done)
    total = yield from _compared(source, target, batch_size)
    if transfer is not None:
        transfer.require_complete()
    return CopyReport(total, copied, max(0, total - copied), transfer.copied if transfer else 0)


def _checked(source: Any, target: Any, media: Any) -> MediaTransfer | None:
    for name, store in (("source", source), ("target", target)):
        if not isinstance(store, MultimodalVectorStore):
            raise TypeError(f"{name} is a LocalVectorStore or WeaviateVectorStore, got {type(store).__name__}")
    if source is target:
        raise ValueError(f"source and target are the same collection: {source!r}")
    if media is None:
        return None
    if not isinstance(media, tuple | list) or len(media) != 2 or not all(isinstance(m, MediaStore) for m in media):
        raise TypeError("media is a pair of MediaStores: (of the source, of the target)")
    if media[0] is media[1]:
        raise ValueError("both media stores are one; leave media out when source and target share theirs")
    return MediaTransfer(*media)


def _one_space(source: MultimodalVectorStore, target: MultimodalVectorStore) -> Flow[Fingerprint]:
    """The space of both.

    Raises:
        SpaceMismatchError: they are of two, by what is stored or by their embeddings.
    """
    stored = yield from source.backend.read_info("fingerprint")
    fingerprint: Fingerprint = stored or source.space.fingerprint
    require_space(repr(source), fingerprint, target.space.fingerprint)
    require_space(repr(target), (yield from target.backend.read_info("fingerprint")), fingerprint)
    dimensions = yield from source.backend.read_info("dimensions")
    if dimensions is not None:
        require_dimensions(repr(target), (yield from target.backend.read_info("dimensions")), dimensions)
    return fingerprint


def _require_two(source: MultimodalVectorStore, target: MultimodalVectorStore) -> Flow[None]:
    """Refuse one collection under two names (a link to a file, two addresses of a server): a mark tells.

    Raises:
        ValueError: what is written to one is read from the other.
    """
    words = ("collection", "name", "tenant")
    if type(source) is not type(target) or any(getattr(source, w, None) != getattr(target, w, None) for w in words):
        return
    mark = f"copying-{uuid.uuid4().hex}"
    yield from target.backend.write_info(mark, True)
    try:
        found = yield from source.backend.read_info(mark)
    finally:
        yield from target.backend.write_info(mark, None)
    if found:
        raise ValueError(f"source and target are the same collection: {source!r} and {target!r}")


def _compared(source: MultimodalVectorStore, target: MultimodalVectorStore, size: int) -> Flow[int]:
    """Count the documents of the source, each of which must be in the target.

    Raises:
        StoreError: some are not.
    """
    total = wrong = 0
    examples: list[str] = []
    after: str | None = None
    while records := (yield from _page(source, after, size)):
        differing = yield from _differing(target, records)
        total += len(records)
        wrong += len(differing)
        examples += [repr(record.id[:60]) for record in differing[: _SHOWN - len(examples)]]
        after = records[-1].id
    if wrong:
        raise StoreError(
            f"{wrong} of {total} documents of {source!r} are not the same in {target!r}: {', '.join(examples)}"
            f"{', …' if wrong > _SHOWN else ''}. Was one of the two changed meanwhile? Copy again: it stores only these"
        )
    return total


def _page(source: MultimodalVectorStore, after: str | None, size: int) -> Flow[list[Record]]:
    records = yield from source.backend.page(after, size, with_vectors=True)
    for record in records:
        if record.vector is None:
            raise StoreError(f"document {record.id[:60]!r} of {source!r} has no vector. Add it again, or delete it")
    return records


def _differing(target: MultimodalVectorStore, records: Sequence[Record]) -> Flow[list[Record]]:
    """Those that the target lacks or has otherwise."""
    ids = [record.id for record in records]
    found = yield from target.backend.fetch(ids, with_vectors=True)
    there = {record.id: record for record in found}
    return [record for record in records if record.id not in there or not _same(record, there[record.id])]


def _same(one: Record, other: Record) -> bool:
    """Whether two records hold the same; as JSON, because in Python 1 == 1.0 == True."""
    if one.text != other.text or one.vector is None or other.vector is None or one.vector.shape != other.vector.shape:
        return False
    if json.dumps(one.metadata, sort_keys=True) != json.dumps(other.metadata, sort_keys=True):
        return False
    return bool(np.abs(one.vector - other.vector).max() <= _ROUNDING)
