"""Adding documents in batches and updating metadata; errors list what is stored and what is not."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, TypeAlias

from langchain_core.documents import Document

from langchain_gemini_mm.errors import ContentError, PartialWriteError
from langchain_gemini_mm.flows import Flow, blocking
from langchain_gemini_mm.vectorstores.backend import Backend
from langchain_gemini_mm.vectorstores.embedding_space import given_rows
from langchain_gemini_mm.vectorstores.records import Record, plain_json, plain_text

Progress: TypeAlias = Callable[[int], object]
"""Called after each batch with how many documents of the call are stored so far."""

_END: Any = object()


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    position: int
    id: str
    document: Document
    vector: Any


class DocumentInputs:
    """Documents with their ids and, where given, vectors, read in parallel from any iterables.

    Args:
        documents: any iterable.
        ids: one per document; None for those of the documents.
        vectors: one per document, `(d,)`; None where the documents are still to be embedded.

    Raises:
        TypeError: one of them is not iterable.
        ValueError: their lengths, where known, differ.
    """

    def __init__(
        self,
        documents: Iterable[Document],
        ids: Iterable[str | None] | None = None,
        vectors: Iterable[Any] | None = None,
    ) -> None:
        self._given = checked_inputs(documents=documents, ids=ids, vectors=vectors)
        self._iterators: dict[str, Iterator[Any]] = {name: iter(items) for name, items in self._given.items()}
        self._drawn = 0
        self.pending: list[_Item] = []
        """The items of the last `draw`, also if it failed halfway."""
        self.in_memory = isinstance(documents, list | tuple)
        """Whether `draw` never blocks; it may when the documents come from a loader that reads files."""

    def draw(self, size: int) -> list[_Item]:
        """Take the next documents, at most `size`; an empty list is the end.

        Raises:
            TypeError: something is not a document or not an id.
            ValueError: an id is empty, or the inputs are of different lengths.
        """
        self.pending = []
        while len(self.pending) < size:
            row = {name: next(items, _END) for name, items in self._iterators.items()}
            if row["documents"] is _END:
                for name, item in row.items():
                    if item is not _END:
                        raise ValueError(f"got at least {self._drawn + 1} {name} for {self._drawn} documents")
                break
            for name, item in row.items():
                if item is _END:
                    raise ValueError(f"got {self._drawn} {name} for at least {self._drawn + 1} documents")
            self.pending.append(_item(self._drawn, row["documents"], row.get("ids"), row.get("vectors")))
            self._drawn += 1
        return self.pending

    def undrawn_ids(self) -> list[str]:
        """The known ids of documents that were never drawn."""
        known = self._given.get("ids", self._given["documents"])
        if not isinstance(known, Sequence):
            return []
        ids = (item.id if isinstance(item, Document) else item for item in known[self._drawn :])
        return [id_ for id_ in ids if isinstance(id_, str)]


def add_flow(
    backend: Backend,
    inputs: DocumentInputs,
    batch_size: int,
    progress: Progress | None,
    *,
    skip_unchanged: bool = False,
) -> Flow[list[str]]:
    """Embed and store all documents; return one id per document, in order.

    Args:
        backend: where to store.
        inputs: the documents.
        batch_size: how many are embedded and stored together.
        progress: called after each batch with the number of documents stored so far.
        skip_unchanged: do not store documents again whose text and metadata are unchanged.

    Raises:
        PartialWriteError: an error occurred after the first batch was stored; it is chained.
    """
    stored: list[str] = []
    unchanged: list[str] = []
    try:
        while True:
            items = inputs.draw(batch_size) if inputs.in_memory else (yield blocking(inputs.draw, batch_size))
            if not items:
                return stored
            last_of_each = list({item.id: item for item in items}.values())
            if skip_unchanged:
                last_of_each = yield from _changed(backend, last_of_each)
                changed = {item.id for item in last_of_each}
                unchanged = [item.id for item in items if item.id not in changed]
                inputs.pending = [item for item in items if item.id in changed]
            if last_of_each:
                yield from _store(backend, last_of_each)
            stored += [item.id for item in items]
            inputs.pending, unchanged = [], []
            if progress is not None:
                progress(len(stored))
    except Exception as error:
        stored += unchanged
        if not stored and not isinstance(error, PartialWriteError):
            raise
        raise _partial_write(error, stored, inputs) from error


def _partial_write(error: Exception, stored: list[str], inputs: DocumentInputs) -> PartialWriteError:
    """The error that lists what is stored and what is not."""
    reason = f"{type(error).__name__}: {error}"
    failed = {item.id: reason for item in inputs.pending}
    if isinstance(error, PartialWriteError):
        reason, failed = next(iter(error.failed.values())), dict(error.failed)
        stored = stored + [item.id for item in inputs.pending if item.id not in failed]
    failed |= {id_: "not tried" for id_ in inputs.undrawn_ids() if id_ not in failed}
    return PartialWriteError(
        f"{len(stored)} documents are stored, {len(failed) or 'the rest'} not: {reason}. "
        "Calling again with the same ids is safe",
        stored=stored,
        failed=failed,
    )


def _changed(backend: Backend, items: list[_Item]) -> Flow[list[_Item]]:
    """The items that are not stored with the same text and metadata in this embedding space."""
    known = yield from backend.read_info("fingerprint")
    if known != backend.space.fingerprint:
        return items
    held = yield from backend.fetch([item.id for item in items])
    stored = {record.id: (record.text, record.metadata) for record in held}
    return [item for item in items if stored.get(item.id) != (item.document.page_content, item.document.metadata)]


def _store(backend: Backend, items: list[_Item]) -> Flow[None]:
    fingerprint = backend.space.fingerprint
    texts, metadata = [], []
    for item in items:
        where = f"documents[{item.position}]"
        text = plain_text(item.document.page_content, f"{where}.page_content")
        plain = plain_json(item.document.metadata, f"{where}.metadata")
        backend.check_document(text, plain, where)
        texts.append(text)
        metadata.append(plain)
    if items[0].vector is None:
        rows = backend.space.checked_rows((yield backend.space.embed_documents(texts)), len(texts))
    else:
        rows = given_rows([item.vector for item in items], f"one of the vectors from position {items[0].position}")
    records = [
        Record(item.id, text, plain, row) for item, text, plain, row in zip(items, texts, metadata, rows, strict=True)
    ]
    yield from backend.upsert(records, fingerprint)


def texts_as_documents(
    texts: Iterable[str], metadatas: Iterable[Any] | None, ids: Iterable[Any] | None
) -> Iterator[Document]:
    """Pair texts with their metadata, lazily; known lengths are compared before the first document.

    Args:
        texts: any iterable of texts.
        metadatas: one dict per text; None for no metadata.
        ids: one id per text; only their number is checked.

    Raises:
        TypeError: a text is not a `str`.
        ValueError: there are more or fewer metadatas or ids than texts.
    """
    checked_inputs(texts=texts, metadatas=metadatas, ids=ids)
    rest = iter(() if metadatas is None else metadatas)
    count = 0
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"texts[{count}] is a {type(text).__name__}, not a str")
        metadata = {} if metadatas is None else next(rest, _END)
        if metadata is _END:
            raise ValueError(f"got {count} metadatas for at least {count + 1} texts")
        yield Document(page_content=text, metadata=metadata or {})
        count += 1
    if next(rest, _END) is not _END:
        raise ValueError(f"got at least {count + 1} metadatas for {count} texts")


def checked_inputs(**given: Any) -> dict[str, Iterable[Any]]:
    """Check the given inputs before any of them is read; the first one is required.

    Raises:
        TypeError: one is not iterable.
        ValueError: the known lengths differ.
    """
    required = next(iter(given))
    checked, lengths = {}, {}
    for name, items in given.items():
        if items is None and name != required:
            continue
        if isinstance(items, Document | str | bytes | Mapping) or not isinstance(items, Iterable):
            raise TypeError(f"{name} is a list or another iterable, got one {type(items).__name__}")
        checked[name] = items
        if isinstance(items, Sized):
            lengths[name] = len(items)
    if len(set(lengths.values())) > 1:
        raise ValueError("got " + " and ".join(f"{length} {name}" for name, length in lengths.items()))
    return checked


def _item(position: int, document: Any, given_id: Any, vector: Any) -> _Item:
    if not isinstance(document, Document):
        raise TypeError(f"documents[{position}] is a {type(document).__name__}, not a Document")
    id_ = document.id if given_id is None else given_id
    if id_ is None:
        id_ = str(uuid.uuid4())
    if not isinstance(id_, str):
        raise TypeError(f"the id of documents[{position}] is {id_!r}; ids are str, so write {str(id_)!r}")
    if not id_:
        raise ValueError(f"the id of documents[{position}] is empty; leave it None to have one made")
    return _Item(position, plain_text(id_, f"the id of documents[{position}]"), document, vector)


_NAMED = 10

Changes = Mapping[str, Mapping[str, Any]]
"""Metadata by id."""


def update_metadata_flow(
    backend: Backend, what: Iterable[str] | Changes, metadata: Mapping[str, Any] | None, *, replace: bool
) -> Flow[None]:
    """Change the metadata of all given documents, or of none.

    Args:
        backend: where the documents are stored.
        what: ids, or metadata by id.
        metadata: for each of the ids; None if `what` contains it.
        replace: replace all metadata of a document instead of setting only the given keys.

    Raises:
        ContentError: an id is not stored, or metadata is not JSON.
        TypeError: the arguments have the wrong type.
    """
    changes = _checked(what, metadata)
    if not changes:
        return
    unknown = yield from backend.update_metadata(changes, replace)
    if unknown:
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        raise ContentError(
            f"nothing was changed, because some ids are not stored: {', '.join(map(repr, unknown[:_NAMED]))}{more}"
        )


def _checked(what: Iterable[str] | Changes, metadata: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    if isinstance(what, Mapping):
        if metadata is not None:
            raise TypeError("update_metadata takes ids and metadata, or a dict of metadata by id, not both")
        return {_id(id_): _plain(given, f"metadata[{id_!r}]") for id_, given in what.items()}
    if isinstance(what, str | bytes) or not isinstance(what, Iterable):
        raise TypeError(f"ids is a list of str, got one {type(what).__name__}")
    if metadata is None:
        raise TypeError("update_metadata needs metadata for these ids, such as update_metadata(ids, {'title': 'x'})")
    plain = _plain(metadata, "metadata")
    return {_id(id_): plain for id_ in what}


def _id(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"the id {value!r} is not a str")
    return plain_text(value, "an id")


def _plain(given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise TypeError(f"{where} is a dict, got {type(given).__name__}")
    found: dict[str, Any] = plain_json(given, where)
    return found
