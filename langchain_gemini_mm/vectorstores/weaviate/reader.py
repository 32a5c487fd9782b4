"""Reading objects page by page, within the limits of the server: results at once, and the size of a message."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

from langchain_gemini_mm.batching import CancelToken, slices
from langchain_gemini_mm.flows import Flow
from langchain_gemini_mm.interfaces import Vector
from langchain_gemini_mm.vectors import unit_rows
from langchain_gemini_mm.vectorstores.backend import Columns
from langchain_gemini_mm.vectorstores.filters import Native, Node, leaves, matches
from langchain_gemini_mm.vectorstores.records import Record
from langchain_gemini_mm.vectorstores.weaviate.collection import WeaviateCollection
from langchain_gemini_mm.vectorstores.weaviate.filter_compiler import Divided, compile_filter
from langchain_gemini_mm.vectorstores.weaviate.objects import asked_vector
from langchain_gemini_mm.vectorstores.weaviate.schema import Layout
from langchain_gemini_mm.weaviate_client.errors import AnswerTooLargeError, ResultLimitError

MOST_RESULTS = 10_000
"""Number of UUIDs that are requested at once; the server's limit, unless `QUERY_MAXIMUM_RESULTS` is set."""
IDS_AT_ONCE = 500

SCANNED = 1000
"""Objects on a page of a scan."""
SINGLE = 32
"""Missing objects up to which each is looked for by itself."""
_ITERATIONS = 16
"""Maximum number of iterations whose rest is kept."""


Pages: TypeAlias = Callable[[str | None, int], Flow[list[Record]]]
"""Reads the next records after an id."""


def exact_object(
    collection: WeaviateCollection, key: uuid.UUID, with_vector: bool, stop: CancelToken | None = None
) -> Flow[tuple[Any, Layout] | tuple[None, None]]:
    """The object of a UUID with all properties, read without an index; None if there is none.

    Args:
        collection: where it is.
        key: the UUID.
        with_vector: whether to read the vector, too.
        stop: cancels the waiting of a sync call.
    """
    layouts = list[Layout]()

    def read(handle: Any, layout: Layout) -> Any:
        layouts.append(layout)
        vector = asked_vector(layout) if with_vector else False
        return handle.query.fetch_objects(limit=1, after=uuid.UUID(int=key.int - 1), include_vector=vector)

    answer = yield from collection.read("reading a document", None, read, stop)
    if answer is None or not answer.objects or answer.objects[0].uuid != key:
        return None, None
    return answer.objects[0], layouts[-1]


@dataclass(slots=True)
class _Rest:
    """What an iteration with a filter has still to read."""

    node: Node
    checked: Node | None
    """What is checked in the documents that are read by UUID."""
    keys: Iterator[str] | None
    """UUIDs in ascending order; None if all objects are read and filtered here."""


class ObjectReader:
    """Reads the objects of a collection."""

    def __init__(self, collection: WeaviateCollection) -> None:
        self._collection = collection
        self._rests: dict[tuple[int, str], _Rest] = {}

    def compiled(self, layout: Layout, node: Any) -> Any:
        """A filter of the client; None for no filter."""
        version = self._collection.connection.known_version
        assert version is not None  # noqa: S101 - the layout was resolved after it
        return compile_filter(node, layout.fields, version)

    def next_page(self, after: str | None, limit: int, columns: Columns) -> Flow[list[Record]]:
        """The next objects after an id, in the order of UUIDs; fewer than `limit` if they do not fit into an answer.

        Args:
            after: the last id of the previous page; None for the first page.
            limit: most objects.
            columns: what the records carry, as in `Backend.page`.
        """
        objects, layouts = self._collection.objects, list[Layout]()
        start = None if after is None else objects.uuid_of(after)

        def ask(limit: int) -> Flow[Any]:
            def read(handle: Any, layout: Layout) -> Any:
                layouts.append(layout)
                return handle.query.fetch_objects(
                    limit=limit,
                    after=start,
                    include_vector=asked_vector(layout) if columns in ("vectors", "all") else False,
                    return_properties=objects.names(columns, layout),
                )

            return self._collection.read("reading documents", None, read)

        while True:
            try:
                answer = yield from self._collection.connection.limited(ask, limit)
            except AnswerTooLargeError:
                if limit == 1:
                    raise
                limit //= 2
                continue
            return [] if answer is None else [objects.record_of(item, layouts[-1]) for item in answer.objects]

    def matching_page(
        self, after: str | None, limit: int, node: Node, divided: Divided, columns: Columns
    ) -> Flow[list[Record]]:
        """The next objects that match a filter.

        The server's cursor does not support filters. The UUIDs of all matches are therefore read with the first page,
        and kept until the next page is requested. If they do not fit into one answer, all objects are read and filtered
        here. In both cases an iteration reads every object once.

        Args:
            after: the last id of the previous page.
            limit: most records of the page.
            node: the filter.
            divided: what of it the server answers, and what is checked here.
            columns: what the records carry.
        """
        rest = self._rests.pop((id(node), after or ""), None)
        if rest is None or rest.node is not node:
            start = "" if after is None else str(self._collection.objects.uuid_of(after))
            server, checked = divided
            keys = None if server is None else (yield from self._matching_keys(server))
            if not any(isinstance(leaf, Native) for leaf in leaves(node)):
                checked = node  # a document may have changed since its UUID was read
            rest = _Rest(node, checked, None if keys is None else iter(sorted(key for key in keys if key > start)))
        read = self._next_of_keys if rest.keys is not None else self._next_scanned
        found = yield from read(rest, after, limit, columns)
        if found:
            while len(self._rests) >= _ITERATIONS:
                self._rests.pop(next(iter(self._rests)), None)
            self._rests[id(node), found[-1].id] = rest
        return found

    def _next_of_keys(self, rest: _Rest, _: str | None, limit: int, columns: Columns) -> Flow[list[Record]]:
        assert rest.keys is not None  # noqa: S101 - the caller distinguishes
        while chosen := list(islice(rest.keys, limit)):
            records = yield from self.by_keys(chosen, columns in ("vectors", "all"))
            found = [one for one in records if rest.checked is None or matches(rest.checked, one.metadata)]
            if found:
                return found
        return []

    def _next_scanned(self, rest: _Rest, after: str | None, limit: int, columns: Columns) -> Flow[list[Record]]:
        wide: Columns = "all" if columns in ("vectors", "all") else "documents"  # the filter reads the metadata
        while records := (yield from self.next_page(after, limit, wide)):
            found = [record for record in records if matches(rest.node, record.metadata)]
            if found:
                return found
            after = records[-1].id
        return []

    def _matching_keys(self, node: Node) -> Flow[list[str] | None]:
        """UUIDs of all matches; None if they do not fit into one answer."""

        def ask(limit: int) -> Flow[list[str] | None]:
            def read(handle: Any, layout: Layout) -> Any:
                return handle.query.fetch_objects(
                    filters=self.compiled(layout, node), limit=limit, return_properties=[]
                )

            answer = yield from self._collection.read("reading documents", None, read)
            keys = [] if answer is None else [str(item.uuid) for item in answer.objects]
            return keys if len(keys) < limit else None

        return self._collection.connection.limited(ask, MOST_RESULTS)

    def by_keys(self, keys: Sequence[str], with_vectors: bool) -> Flow[list[Record]]:
        """Read objects by UUID, in this order; requests whose answer is too large are halved."""
        objects, layouts, found = self._collection.objects, list[Layout](), dict[str, Record]()
        connection = self._collection.connection
        pending = list(slices(keys, min(IDS_AT_ONCE, connection.max_results or IDS_AT_ONCE)))
        while pending:
            some = pending.pop()

            def read(handle: Any, layout: Layout, some: Sequence[str] = some) -> Any:
                layouts.append(layout)
                return handle.query.fetch_objects_by_ids(
                    some,
                    limit=len(some),
                    include_vector=asked_vector(layout) if with_vectors else False,
                    return_properties=objects.names("documents", layout),
                )

            try:
                answer = yield from self._collection.read("reading documents", None, read)
            except (AnswerTooLargeError, ResultLimitError) as error:
                if len(some) == 1:
                    raise
                limit = len(some) // 2
                if isinstance(error, ResultLimitError):
                    connection.max_results = limit = error.limit
                pending += slices(some, limit)
                continue
            for item in answer.objects if answer else []:
                found[str(item.uuid)] = objects.record_of(item, layouts[-1])
        return [found[key] for key in keys if key in found]

    def certainly_by_keys(self, keys: Sequence[str], with_vectors: bool) -> Flow[list[Record]]:
        """As `by_keys`, also for objects that another client is just replacing.

        While an object is replaced, the server's index of UUIDs does not have it. What is not found is therefore looked
        for without this index if there is little of it, and else once more.
        """
        found = yield from self.by_keys(keys, with_vectors)
        if len(found) == len(keys):
            return found
        by_key = {str(self._collection.objects.uuid_of(record.id)): record for record in found}
        missing = [key for key in keys if key not in by_key]
        if len(missing) > SINGLE:
            again = yield from self.by_keys(missing, with_vectors)
            by_key |= {str(self._collection.objects.uuid_of(record.id)): record for record in again}
        else:
            for key in missing:
                item, layout = yield from exact_object(self._collection, uuid.UUID(key), with_vectors)
                if item is not None and layout is not None:
                    by_key[key] = self._collection.objects.record_of(item, layout)
        return [by_key[key] for key in keys if key in by_key]

    def scanned_nearest(self, vector: Vector, k: int, pages: Pages) -> Flow[list[tuple[str, float]]]:
        """The UUIDs of the `k` nearest of all objects and their cosine similarities, best first.

        Every vector is read and compared here. This is for what the server does not return: more results than its
        limit, or objects that its vector index does not reach.

        Args:
            vector: `(d,)` float32, unit length.
            k: how many.
            pages: reads the records with their vectors.
        """
        keys: list[str] = []
        scores = np.empty(0, np.float32)
        after: str | None = None
        while True:
            records = yield from pages(after, SCANNED)
            if not records:
                break
            after = records[-1].id
            having = [record for record in records if record.vector is not None]
            if having:
                rows = unit_rows(np.stack([np.asarray(record.vector) for record in having]))
                scores = np.concatenate([scores, rows @ vector])
                keys += [str(self._collection.objects.uuid_of(record.id)) for record in having]
            if len(keys) > 2 * k:
                kept = np.argpartition(-scores, k)[:k]
                keys, scores = [keys[place] for place in kept], scores[kept]
        best = np.argsort(-scores, kind="stable")[:k]
        return [(keys[place], float(scores[place])) for place in best]
