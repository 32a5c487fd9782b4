"""Adding documents in batches and updating metadata; errors list what is stored and what is not."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from langchain_core.documents import Document

from langchain_gemini_mm.errors import (
    ContentError,
    GeminiMMError,
    InvalidTypeError,
    InvalidValueError,
    PartialEmbeddingError,
    PartialWriteError,
    ServiceError,
)
from langchain_gemini_mm.flows import Call, Flow, blocking
from langchain_gemini_mm.interfaces import Vector
from langchain_gemini_mm.vectorstores.backend import Backend, Replacement
from langchain_gemini_mm.vectorstores.embedding_space import EmbeddingSpace, given_rows, same_space
from langchain_gemini_mm.vectorstores.filters import In
from langchain_gemini_mm.vectorstores.records import Record, json_text, plain_json, plain_text

Progress: TypeAlias = Callable[[int], object]
"""Called after each batch with how many documents of the call are stored so far."""

_END: Any = object()
_ADDRESS = re.compile(r"mm://sha256-[0-9a-f]{64}")


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
                        raise InvalidValueError(f"got at least {self._drawn + 1} {name} for {self._drawn} documents")
                break
            for name, item in row.items():
                if item is _END:
                    raise InvalidValueError(f"got {self._drawn} {name} for at least {self._drawn + 1} documents")
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
        PartialWriteError: some documents are stored, others are not. Documents that cannot be embedded, or that the
            store refuses, do not keep others from being stored; any other error ends the call.
        GeminiMMError: nothing is stored, for one reason.
    """
    outcome = _Added()
    try:
        while True:
            items = inputs.draw(batch_size) if inputs.in_memory else (yield blocking(inputs.draw, batch_size))
            if not items:
                break
            last_of_each = list({item.id: item for item in items}.values())
            if skip_unchanged:
                last_of_each = yield from _changed(backend, last_of_each)
                changed = {item.id for item in last_of_each}
                outcome.unchanged = [item.id for item in items if item.id not in changed]
                inputs.pending = [item for item in items if item.id in changed]
            failed = (yield from _store(backend, last_of_each, outcome)) if last_of_each else ()
            outcome.stored += [item.id for item in items if item.id not in failed]
            inputs.pending, outcome.unchanged = [], []
            if progress is not None:
                progress(len(outcome.stored))
            if outcome.stopped is not None:
                raise outcome.stopped
    except Exception as error:
        outcome.stored += outcome.unchanged
        if not outcome.stored and not outcome.failed:
            raise
        outcome.fail({item.id: error for item in inputs.pending}, error)
        raise outcome.error(inputs.undrawn_ids()) from outcome.cause
    if outcome.cause is not None:
        raise outcome.error([]) from outcome.cause
    return outcome.stored


@dataclass(slots=True)
class _Added:
    """What became of the documents of one call."""

    stored: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    """Documents of the current batch that are stored already."""
    failed: dict[str, str] = field(default_factory=dict)
    """Id to reason."""
    cause: Exception | None = None
    """The first error."""
    stopped: Exception | None = None
    """An error after which no further batch is embedded."""

    def fail(self, errors: Mapping[str, Exception | str], cause: Exception) -> None:
        """Add documents that are not stored, and why."""
        self.cause = self.cause or cause
        for id_, error in errors.items():
            self.failed[id_] = error if isinstance(error, str) else f"{type(error).__name__}: {error}"

    def error(self, not_tried: Sequence[str]) -> Exception:
        """The error of the call: the first one itself, if it is the only one and nothing is stored."""
        reasons = set(self.failed.values())
        if not self.stored and len(reasons) == 1 and self.cause is not None:
            return self.cause
        failed = self.failed | {id_: "not tried" for id_ in not_tried if id_ not in self.failed}
        reason = next(iter(reasons), None) if len(reasons) == 1 else next(iter(self.failed.values()), None)
        return PartialWriteError(
            f"{len(self.stored)} documents are stored, {len(failed) or 'the rest'} not: "
            f"{reason or f'{type(self.cause).__name__}: {self.cause}'}. Calling again with the same ids is safe; "
            "without ids, add only what failed",
            stored=self.stored,
            failed=failed,
        )


def _changed(backend: Backend, items: list[_Item]) -> Flow[list[_Item]]:
    """The items that are not stored with the same text and metadata in this embedding space."""
    known = yield from backend.read_info("fingerprint")
    if known is None or not same_space(known, backend.space.fingerprint):
        return items
    held = yield from backend.fetch([item.id for item in items])
    stored = {record.id: (record.text, json_text(record.metadata)) for record in held}
    return [item for item in items if item.id not in stored or stored[item.id] != _stored_form(item)]


def _stored_form(item: _Item) -> tuple[str, str] | None:
    """Text and metadata as they would be stored; None if they cannot be."""
    try:
        return item.document.page_content, json_text(plain_json(item.document.metadata, ""))
    except ContentError:
        return None


def _store(backend: Backend, items: list[_Item], outcome: _Added) -> Flow[Collection[str]]:
    """Embed and store one batch; returns the ids that failed, which are in `outcome` with their reasons."""
    fingerprint = backend.space.fingerprint
    texts, metadata = [], []
    for item in items:
        where = f"documents[{item.position}]"
        text = plain_text(item.document.page_content, f"{where}.page_content")
        plain = plain_json(item.document.metadata, f"{where}.metadata")
        backend.check_document(text, plain, where)
        backend.check_id(item.id, where)
        texts.append(text)
        metadata.append(plain)
    failed: dict[str, Exception | str] = {}
    if items[0].vector is None:
        titles = [plain.get("title") for plain in metadata]
        call = backend.space.embed_documents(texts, titles)
        rows = yield from _embedded(backend.space, items, call, outcome, failed)
    else:
        given = given_rows([item.vector for item in items], f"one of the vectors from position {items[0].position}")
        rows = dict(enumerate(given))
    records = [Record(items[index].id, texts[index], metadata[index], row) for index, row in rows.items()]
    try:
        if records:
            yield from backend.upsert(records, fingerprint)
    except PartialWriteError as error:
        outcome.fail(error.failed, error)
        failed |= error.failed
    return failed


def _embedded(
    space: EmbeddingSpace,
    items: Sequence[_Item],
    call: Call,
    outcome: _Added,
    failed: dict[str, Exception | str],
) -> Flow[dict[int, Vector]]:
    """The vectors of a batch by index; errors that are about single documents are added to `outcome` and `failed`."""
    try:
        return dict(enumerate(space.checked_rows((yield call), len(items))))
    except GeminiMMError as error:
        # A wrapper, such as LangChain's cache, passes on some of the texts: positions are not those of this batch.
        if not space.numbers_inputs:
            raise
        cause: GeminiMMError = error
        vectors: Mapping[int, Any] = {}
        errors = {index: one for one in (error, *error.others) for index in one.inputs}
        if isinstance(error, PartialEmbeddingError):
            vectors, errors = error.vectors, error.failed
            cause = errors[min(errors)]
            outcome.stopped = cause if error.stopped else None
        elif not errors or not all(map(concerns_inputs, errors.values())):
            raise
    for one in {id(one): one for one in errors.values()}.values():
        if len(one.inputs) == 1 and (source := items[one.inputs[0]].document.metadata.get("source")):
            one.input_name = repr(source)
            one.args = (_ADDRESS.sub(repr(source), one.message),)
        one.inputs = tuple(items[index].position for index in one.inputs)
    failed |= {items[index].id: one for index, one in errors.items()}
    outcome.fail(failed, cause)
    indices = sorted(vectors)
    rows = space.checked_rows([vectors[index] for index in indices], len(indices)) if indices else ()
    return dict(zip(indices, rows, strict=True))


def replace_flow(
    backend: Backend, documents: Iterable[Document], by: str, batch_size: int, progress: Progress | None
) -> Flow[list[str]]:
    """Store documents, and delete others with the same values of a metadata key; return one id per document.

    Args:
        backend: where to store.
        documents: all documents of each value.
        by: the metadata key.
        batch_size: how many are embedded together.
        progress: called after each batch with the number of documents stored so far.

    Raises:
        ContentError: a document does not have the key.
        PartialWriteError: some documents are not stored; nothing is deleted.
    """
    given = list(documents)
    values = [_value(document, by, position) for position, document in enumerate(given)]
    inputs = DocumentInputs(given)
    items = {item.id: item for item in inputs.draw(len(given))} if given else {}
    if not items:
        return []
    ids = [item.id for item in inputs.pending]
    identified = [
        Document(item.document.page_content, id=id_, metadata=item.document.metadata) for id_, item in items.items()
    ]
    stored = yield from add_flow(
        backend, DocumentInputs(identified[:-batch_size]), batch_size, progress, skip_unchanged=True
    )
    last = identified[-batch_size:]
    changed = {item.id for item in (yield from _changed(backend, DocumentInputs(last).draw(len(last))))}
    missing = [document for document in last if document.id in changed]
    embedded = (yield from embedded_flow(backend, backend.space, missing)) if missing else EmbeddedDocuments({}, {})
    former = yield from _ids_with(backend, by, list(dict.fromkeys(values)))
    records = list(embedded.records.values())
    if len(records) < len(missing):
        yield from backend.upsert(records, backend.space.fingerprint)
        failed = {str(missing[position].id): reason for position, reason in embedded.failed.items()}
        reasons = [*failed.values(), str(embedded.stopped)]
        raise PartialWriteError(
            f"{len(missing) - len(records)} documents are not stored, and nothing was deleted: {reasons[0]}. Calling "
            "again is safe, if the documents have ids",
            stored=[*stored, *(record.id for record in records)],
            failed=failed,
        )
    change = Replacement(records=records, deleted=[id_ for id_ in former if id_ not in items])
    yield from backend.replace(change, backend.space.fingerprint)
    if progress is not None:
        progress(len(items))
    return ids


def _value(document: object, key: str, position: int) -> str | int | float:
    value = document.metadata.get(key) if isinstance(document, Document) else None
    if not isinstance(value, str | int | float):
        raise ContentError(f"documents[{position}] has no text, number or boolean under {key!r}, got {value!r}")
    return value


def _ids_with(backend: Backend, key: str, values: Sequence[Any]) -> Flow[list[str]]:
    """Ids of the documents that have one of these values."""
    found: list[str] = []
    after, node = None, In(key, tuple(values))
    while records := (yield from backend.page(after, _IDS_AT_ONCE, node, "ids")):
        found += [record.id for record in records]
        after = records[-1].id
    return found


_IDS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedDocuments:
    """What became of documents that were embedded: each has a record or a reason."""

    records: dict[int, Record]
    """Records with their vectors, by the position of the document."""
    failed: dict[int, str]
    """Reasons, by the position of the document."""
    stopped: Exception | None = None
    """An error after which nothing else can be embedded; documents that are in neither dict were not tried."""
    temporary: frozenset[int] = frozenset()
    """Positions of those in `failed` for a reason that is not in their content."""


def embedded_flow(backend: Backend, space: EmbeddingSpace, documents: Sequence[Document]) -> Flow[EmbeddedDocuments]:
    """Embed documents with ids; one that cannot be embedded or stored does not keep others from it.

    Args:
        backend: where they are to be stored.
        space: that of the backend, which may have another cache.
        documents: with distinct ids.

    Raises:
        GeminiMMError: nothing could be embedded for a reason that is about no single document.
    """
    outcome, failed = _Added(), dict[str, Exception | str]()
    refused: dict[int, str] = {}
    items, plain = list[_Item](), list[dict[str, Any]]()
    positions: list[int] = []
    for position, document in enumerate(documents):
        where = f"a document of {document.metadata.get('source', document.id)!r}"
        try:
            text = plain_text(document.page_content, where)
            metadata = plain_json(document.metadata, f"{where}: metadata")
            backend.check_document(text, metadata, where)
        except ContentError as error:
            refused[position] = str(error)
            continue
        items.append(_item(len(items), document, None, None))
        plain.append(metadata)
        positions.append(position)
    rows: Mapping[int, Vector] = {}
    texts = [item.document.page_content for item in items]
    if items:
        call = space.embed_documents(texts, [metadata.get("title") for metadata in plain])
        rows = yield from _embedded(space, items, call, outcome, failed)
    records = {
        positions[index]: Record(items[index].id, texts[index], plain[index], row) for index, row in rows.items()
    }
    by_id = {item.id: positions[index] for index, item in enumerate(items)}
    stop = outcome.stopped
    temporary = set()
    for id_, reason in failed.items():
        if not isinstance(reason, GeminiMMError):
            refused[by_id[id_]] = str(reason)
        elif stop is None or concerns_inputs(reason):
            refused[by_id[id_]] = reason.message
            if not concerns_inputs(reason):
                temporary.add(by_id[id_])
    return EmbeddedDocuments(records, refused, stop, frozenset(temporary))


def concerns_inputs(error: GeminiMMError) -> bool:
    """Whether an error is about the content of its inputs, so that others can be embedded."""
    return isinstance(error, ContentError) or (isinstance(error, ServiceError) and error.scope == "input")


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
            raise InvalidTypeError(f"texts[{count}] is a {type(text).__name__}, not a str")
        metadata = {} if metadatas is None else next(rest, _END)
        if metadata is _END:
            raise InvalidValueError(f"got {count} metadatas for at least {count + 1} texts")
        yield Document(page_content=text, metadata=metadata or {})
        count += 1
    if next(rest, _END) is not _END:
        raise InvalidValueError(f"got at least {count + 1} metadatas for {count} texts")


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
            raise InvalidTypeError(f"{name} is a list or another iterable, got one {type(items).__name__}")
        checked[name] = items
        if isinstance(items, Sized):
            lengths[name] = len(items)
    if len(set(lengths.values())) > 1:
        raise InvalidValueError("got " + " and ".join(f"{length} {name}" for name, length in lengths.items()))
    return checked


def _item(position: int, document: Any, given_id: Any, vector: Any) -> _Item:
    if not isinstance(document, Document):
        raise InvalidTypeError(f"documents[{position}] is a {type(document).__name__}, not a Document")
    id_ = document.id if given_id is None else given_id
    if id_ is None:
        id_ = str(uuid.uuid4())
    if not isinstance(id_, str):
        raise InvalidTypeError(f"the id of documents[{position}] is {id_!r}; ids are str, so write {str(id_)!r}")
    if not id_:
        raise InvalidValueError(f"the id of documents[{position}] is empty; leave it None to have one made")
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
            raise InvalidTypeError("update_metadata takes ids and metadata, or a dict of metadata by id, not both")
        return {_id(id_): _plain(given, f"metadata[{id_!r}]") for id_, given in what.items()}
    if isinstance(what, str | bytes) or not isinstance(what, Iterable):
        raise InvalidTypeError(f"ids is a list of str, got one {type(what).__name__}")
    if metadata is None:
        raise InvalidTypeError(
            "update_metadata needs metadata for these ids, such as update_metadata(ids, {'title': 'x'})"
        )
    plain = _plain(metadata, "metadata")
    return {_id(id_): plain for id_ in what}


def _id(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidTypeError(f"the id {value!r} is not a str")
    return plain_text(value, "an id")


def _plain(given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise InvalidTypeError(f"{where} is a dict, got {type(given).__name__}")
    found: dict[str, Any] = plain_json(given, where)
    return found
