"""Copying a collection into another store without embedding anything again."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from langchain_gemini_mm.errors import InvalidTypeError, InvalidValueError, StoreError
from langchain_gemini_mm.flows import Flow, asynchronous, blocking, synchronous
from langchain_gemini_mm.storage import MediaStore
from langchain_gemini_mm.storage.transfer import MediaTransfer
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.vectorstores.base import MultimodalVectorStore
from langchain_gemini_mm.vectorstores.embedding_space import Fingerprint, require_dimensions, require_space
from langchain_gemini_mm.vectorstores.records import Record, json_text
from langchain_gemini_mm.vectorstores.write import Progress

BATCH_SIZE = 500
"""Documents read and stored together."""

_ROUNDING = 1e-6
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class CopyReport:
    """The counts of a copy; it exists only if every document of the source is in the target."""

    total: int
    """Documents of the source."""
    copied: int
    """Documents stored by this call."""
    skipped: int
    """Documents that the target had with the same text, metadata and vector."""
    media: int = 0
    """Files copied by this call."""


@synchronous
def copy_store(
    source: MultimodalVectorStore,
    target: MultimodalVectorStore,
    *,
    media: tuple[MediaStore, MediaStore] | None = None,
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
) -> Flow[CopyReport]:
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

    Documents are copied in batches, so that memory use does not grow. An interrupted copy can be repeated and then
    completes; documents that are already in the target are not stored again. At the end both stores are read again and
    compared. Documents that only the target has are kept; `set_info` values are not copied.

    Args:
        source: a store of this package.
        target: another one, with the same embeddings.
        media: the media stores of source and target. Referenced media that the target lacks are copied before their
            documents.
        batch_size: how many documents are read and stored together.
        progress: called after each batch with the number of documents copied or skipped so far.

    Raises:
        SpaceMismatchError: the vectors belong to two embedding spaces; nothing is copied.
        StoreError: a document differs in the two stores at the end, for example because it was changed during the
            copy.
        PartialWriteError: the target stored only a part of a batch.
        ContentError: the target cannot store a document; those before it are copied.
        MissingMediaError: media are missing from the source's media store, or damaged; everything else is copied.
    """
    positive_int("batch_size", batch_size)
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


acopy_store = asynchronous(copy_store)


def _checked(source: Any, target: Any, media: Any) -> MediaTransfer | None:
    for name, store in (("source", source), ("target", target)):
        if not isinstance(store, MultimodalVectorStore):
            raise InvalidTypeError(f"{name} is a LocalVectorStore or WeaviateVectorStore, got {type(store).__name__}")
    if source is target:
        raise InvalidValueError(f"source and target are the same collection: {source!r}")
    if media is None:
        return None
    if not isinstance(media, tuple | list) or len(media) != 2 or not all(isinstance(m, MediaStore) for m in media):
        raise InvalidTypeError("media is a pair of MediaStores: (of the source, of the target)")
    if media[0] is media[1]:
        raise InvalidValueError("both media stores are one; leave media out when source and target share theirs")
    return MediaTransfer(*media)


def _one_space(source: MultimodalVectorStore, target: MultimodalVectorStore) -> Flow[Fingerprint]:
    """The embedding space of both stores.

    Raises:
        SpaceMismatchError: the stored spaces or the embeddings differ.
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
    """Refuse one collection under two names, such as a link to a file: write a mark to one and read it from the other.

    Raises:
        ValueError: source and target are the same collection.
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
        raise InvalidValueError(f"source and target are the same collection: {source!r} and {target!r}")


def _compared(source: MultimodalVectorStore, target: MultimodalVectorStore, size: int) -> Flow[int]:
    """Compare all documents of the source with the target and count them.

    Raises:
        StoreError: some differ.
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
            f"{', …' if wrong > _SHOWN else ''}. Was one of them changed? Copy again: only these are stored"
        )
    return total


def _page(source: MultimodalVectorStore, after: str | None, size: int) -> Flow[list[Record]]:
    records = yield from source.backend.page(after, size, columns="all")
    for record in records:
        if record.vector is None:
            raise StoreError(f"document {record.id[:60]!r} of {source!r} has no vector. Add it again, or delete it")
    return records


def _differing(target: MultimodalVectorStore, records: Sequence[Record]) -> Flow[list[Record]]:
    """The records that the target lacks or that differ there."""
    ids = [record.id for record in records]
    found = yield from target.backend.fetch(ids, with_vectors=True)
    there = {record.id: record for record in found}
    return [record for record in records if record.id not in there or not _same(record, there[record.id])]


def _same(one: Record, other: Record) -> bool:
    """Whether two records are equal; metadata are compared as JSON, because in Python 1 == 1.0 == True."""
    if one.text != other.text or one.vector is None or other.vector is None or one.vector.shape != other.vector.shape:
        return False
    if json_text(one.metadata) != json_text(other.metadata):
        return False
    return bool(np.abs(one.vector - other.vector).max() <= _ROUNDING)
