"""The rows of a store in Weaviate: searching, reading, deleting, changing, and information about the collection."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from weaviate.classes.query import Diversity, Filter, MetadataQuery
from weaviate.classes.tenants import Tenant

from langchain_gemini_mm.batching import CancelToken, gathered_map, slices, threaded_map
from langchain_gemini_mm.errors import InvalidValueError, StoreError
from langchain_gemini_mm.flows import Call, Flow, arun, run
from langchain_gemini_mm.interfaces import Vector
from langchain_gemini_mm.vectors import maximal_marginal_relevance
from langchain_gemini_mm.vectorstores.backend import Backend, Columns, KeywordRequest, Scored, VectorRequest
from langchain_gemini_mm.vectorstores.embedding_space import EmbeddingSpace, Fingerprint, require_dimensions
from langchain_gemini_mm.vectorstores.filters import Node
from langchain_gemini_mm.vectorstores.records import Record
from langchain_gemini_mm.vectorstores.tokenizer import older_token_terms, token_terms
from langchain_gemini_mm.vectorstores.weaviate.collection import WeaviateCollection
from langchain_gemini_mm.vectorstores.weaviate.fields import stored_fields
from langchain_gemini_mm.vectorstores.weaviate.filter_compiler import Divided, divide, require_declared
from langchain_gemini_mm.vectorstores.weaviate.information import Information
from langchain_gemini_mm.vectorstores.weaviate.ledger import WeaviateLedger
from langchain_gemini_mm.vectorstores.weaviate.merge import merge_metadata_flow
from langchain_gemini_mm.vectorstores.weaviate.objects import asked_vector, dumped, require_size, uuid_of
from langchain_gemini_mm.vectorstores.weaviate.reader import (
    IDS_AT_ONCE,
    MOST_RESULTS,
    SINGLE,
    ObjectReader,
)
from langchain_gemini_mm.vectorstores.weaviate.rechecks import (
    count_rechecked_flow,
    delete_rechecked_flow,
    nearest_rechecked_flow,
    search_rechecked_flow,
)
from langchain_gemini_mm.vectorstores.weaviate.schema import Layout
from langchain_gemini_mm.vectorstores.weaviate.update_lock import UpdateLock
from langchain_gemini_mm.vectorstores.weaviate.upsert import upsert_flow
from langchain_gemini_mm.weaviate_client.errors import (
    AnswerTooLargeError,
    OutageError,
    ResultLimitError,
    ServerFullError,
)
from langchain_gemini_mm.weaviate_client.names import checked_tenant
from langchain_gemini_mm.weaviate_client.versions import NATIVE_MMR

if TYPE_CHECKING:
    import uuid

logger = logging.getLogger("langchain_gemini_mm")

SEARCHES_AT_ONCE = 8
KEPT_TENANTS = 100
"""Maximum number of tenants whose backends are kept."""

SURE_RESULTS = 100
"""Results of a search up to which a short answer is believed: the vector index searches at least so deep."""

_DELETE_ATTEMPTS = 3
_CHANGED_AT_ONCE = 100
"""Documents whose metadata are changed under one lock."""
_ROUNDING = 1e-5
_PAUSE = 0.2


class WeaviateBackend(Backend):
    """The objects of one collection on a server, for one tenant if it has tenants."""

    store = "WeaviateVectorStore"
    search_types = ("similarity", "mmr", "keyword", "hybrid")
    supports_auto_limit = True
    ordered_by_hash = True

    def __init__(self, space: EmbeddingSpace, collection: WeaviateCollection) -> None:
        self.space = space
        self.collection = collection
        self._tenants: dict[str, WeaviateBackend] = {}
        self._reader = ObjectReader(collection)
        self._information = Information(collection)

    def for_tenant(self, tenant: str | None) -> WeaviateBackend:
        """The same collection for the data of another tenant; see `Backend`.

        A tenant has one backend as long as it is kept, so that `ranking` can keep the background of a backend.
        """
        if tenant is None:
            return self
        name = checked_tenant(tenant)
        found = self._tenants.get(name)
        if found is None:
            while len(self._tenants) >= KEPT_TENANTS:
                self._tenants.pop(next(iter(self._tenants)), None)
            found = self._tenants.setdefault(name, type(self)(self.space, self.collection.of_tenant(name)))
        return found

    @property
    def supports_mmr(self) -> bool:
        """Whether the server selects by maximal marginal relevance."""
        version = self.collection.connection.known_version
        return version is not None and version >= NATIVE_MMR

    def check_document(self, text: str, metadata: Mapping[str, Any], where: str) -> None:
        """Refuse a document that is too large, and values that are not of their field's type; see `Backend`."""
        cached_layout = self.collection.cached_layout
        fields = cached_layout.fields if cached_layout else self.collection.options.fields
        require_size(text, dumped(metadata), where)
        stored_fields(fields, metadata, f"{where}.metadata")

    def check_filter(self, node: Node) -> None:
        """Refuse a filter on keys that are not declared; see `Backend`."""
        cached_layout = self.collection.cached_layout
        if cached_layout is not None:
            require_declared(node, cached_layout.fields)

    def upsert(self, records: Sequence[Record], fingerprint: Fingerprint) -> Flow[None]:
        """Store records; see `Backend`."""
        return upsert_flow(self.collection, records, fingerprint)

    def search_vectors_many(self, requests: Sequence[VectorRequest]) -> Flow[list[list[Scored]]]:
        """Answer several requests concurrently; see `Backend`."""
        # The first request resolves the collection for all.
        first = yield from self._nearest(requests[0])
        rest = requests[1:]

        def in_threads() -> list[list[Scored]]:
            return threaded_map(lambda request, stop: run(self._nearest(request, stop)), rest, SEARCHES_AT_ONCE)

        async def gathered() -> list[list[Scored]]:
            return await gathered_map(lambda request: arun(self._nearest(request)), rest, SEARCHES_AT_ONCE)

        others: list[list[Scored]] = (yield Call(in_threads, gathered)) if rest else []
        return [first, *others]

    def _nearest(self, request: VectorRequest, stop: CancelToken | None = None) -> Flow[list[Scored]]:
        node, rest = yield from self._divided(request.filter)
        if rest is None:
            return (yield from self._nearest_of(request, stop))
        asked = replace(request, filter=node)
        return (yield from nearest_rechecked_flow(lambda one: self._nearest_of(one, stop), asked, rest, MOST_RESULTS))

    def _nearest_of(self, request: VectorRequest, stop: CancelToken | None) -> Flow[list[Scored]]:
        """Find the nearest objects; with `request.mmr` they are selected by the server, or here if it cannot.

        The server returns a limited number of results, and its graph may not reach every object. Then all vectors are
        compared here.
        """
        connection, wanted = self.collection.connection, request.k
        most = connection.max_results
        try:
            if most is not None and wanted > most:
                total = yield from self.count(_node(request))
                if total > most or request.mmr is not None:
                    return (yield from self._scanned(request, total))
                wanted = max(total, 1)
            found = yield from self._found(request, wanted, stop)
        except ResultLimitError as error:
            if error.limit >= wanted:
                raise
            connection.max_results = error.limit
            return (yield from self._nearest_of(request, stop))
        options = (request.mmr, request.score_threshold, request.auto_limit)
        if len(found) < wanted and wanted > SURE_RESULTS and all(option is None for option in options):
            total = yield from self.count(_node(request))
            if total > len(found):
                return (yield from self._scanned(request, total))
        return found

    def _found(self, request: VectorRequest, limit: int, stop: CancelToken | None) -> Flow[list[Scored]]:
        """The nearest objects that the vector index finds."""
        mmr = request.mmr

        def search(handle: Any, layout: Layout, names: list[str] | None, with_vectors: bool) -> Any:
            require_dimensions(self.collection.label, layout.dimensions, len(request.vector))
            threshold = request.score_threshold if layout.distance == "cosine" else None
            return handle.query.near_vector(
                request.vector.tolist(),
                target_vector=layout.vector,
                limit=limit,
                auto_limit=request.auto_limit,
                distance=None if threshold is None or threshold <= -1 else max(0.0, 1 - threshold + _ROUNDING),
                filters=self._reader.compiled(layout, request.filter),
                diversity_selection=None if mmr is None else Diversity.mmr(limit=mmr[0], balance=mmr[1]),
                include_vector=asked_vector(layout) if with_vectors or layout.distance != "cosine" else False,
                return_metadata=MetadataQuery(distance=True),
                return_properties=names,
            )

        found, layout = yield from self._hits("searching", request.fingerprint, search, request.with_vectors, stop)
        found = found[: limit if mmr is None else mmr[0]]
        if layout is not None and layout.distance != "cosine":
            scored = by_cosine(request.vector, [record for record, _ in found])
        else:
            scored = [Scored(record, max(-1.0, min(1.0, 1.0 - item.distance))) for record, item in found]
        lowest = request.score_threshold
        return scored if lowest is None else [one for one in scored if one.score >= lowest - _ROUNDING / 10]

    def _hits(
        self,
        what: str,
        fingerprint: Fingerprint | None,
        search: Callable[[Any, Layout, list[str] | None, bool], Any],
        with_vectors: bool = False,
        stop: CancelToken | None = None,
    ) -> Flow[tuple[list[tuple[Record, Any]], Layout | None]]:
        """Search, and return each record with the metadata of the hit.

        If the answer does not fit into a message, the objects are read in parts after the search.
        """
        objects, layouts = self.collection.objects, list[Layout]()

        def whole(handle: Any, layout: Layout) -> Any:
            layouts.append(layout)
            return search(handle, layout, objects.names("documents", layout), with_vectors)

        try:
            answer = yield from self.collection.read(what, fingerprint, whole, stop)
        except AnswerTooLargeError:
            answer = yield from self.collection.read(
                what, fingerprint, lambda handle, layout: search(handle, layout, [], False), stop
            )
            by_key = {str(item.uuid): item.metadata for item in answer.objects} if answer else {}
            wide = with_vectors or layouts[-1].distance != "cosine"
            records = yield from self._reader.by_keys(list(by_key), wide)
            return [(record, by_key[str(objects.uuid_of(record.id))]) for record in records], layouts[-1]
        if answer is None:
            return [], None
        return [(objects.record_of(item, layouts[-1]), item.metadata) for item in answer.objects], layouts[-1]

    def _scanned(self, request: VectorRequest, total: int) -> Flow[list[Scored]]:
        """The nearest of all objects, compared here; see `ObjectReader.scanned_nearest`."""
        layout = yield from self.collection.find(request.fingerprint)
        if layout is not None:
            require_dimensions(self.collection.label, layout.dimensions, len(request.vector))
        k, node, uuid_of = min(request.k, total), _node(request), self.collection.objects.uuid_of

        def pages(after: str | None, limit: int) -> Flow[list[Record]]:
            return self.page(after, limit, node, "vectors")

        scores = dict((yield from self._reader.scanned_nearest(request.vector, k, pages)))
        lowest = request.score_threshold
        keys = [key for key, score in scores.items() if lowest is None or score >= lowest - _ROUNDING / 10]
        records = yield from self._reader.by_keys(keys, request.with_vectors or request.mmr is not None)
        found = [Scored(record, max(-1.0, min(1.0, scores[str(uuid_of(record.id))]))) for record in records]
        if request.mmr is None or not found:
            return found
        rows = np.stack([scored.record.vector for scored in found if scored.record.vector is not None])
        return [found[place] for place in maximal_marginal_relevance(request.vector, rows, *request.mmr)]

    def search_keywords(self, request: KeywordRequest) -> Flow[list[Scored]]:
        """Find the objects that contain words of a text; see `Backend`."""
        node, rest = yield from self._divided(request.filter)
        if rest is None:
            return (yield from self._containing(request))
        asked = replace(request, filter=node)
        return (yield from search_rechecked_flow(self._containing, asked, rest, MOST_RESULTS))

    def _words(self, text: str, layout: Layout | None = None) -> str:
        """The words of a query, as a collection stores those of documents; empty if it has none."""
        words = token_terms(text)
        if words and layout is not None and layout.older_words:
            words += older_token_terms(text)
        return " ".join(words)

    def _containing(self, request: KeywordRequest) -> Flow[list[Scored]]:
        if not self._words(request.text):
            return []

        def ask(limit: int) -> Flow[list[tuple[Record, Any]]]:
            def search(handle: Any, layout: Layout, names: list[str] | None, _: bool) -> Any:
                return handle.query.bm25(
                    self._words(request.text, layout),
                    query_properties=_searched(layout, request.properties or ("text",)),
                    limit=limit,
                    auto_limit=request.auto_limit,
                    filters=self._reader.compiled(layout, request.filter),
                    return_metadata=MetadataQuery(score=True),
                    return_properties=names,
                )

            found, _ = yield from self._hits("searching for words", None, search)
            if len(found) == limit < request.k:
                raise ResultLimitError(
                    f"k={request.k} documents were requested, at least {limit} match the words, and the server returns "
                    f"at most {limit} results at once (QUERY_MAXIMUM_RESULTS). Lower k, use a filter, or have the "
                    "limit raised",
                    limit,
                )
            return found

        found = yield from self.collection.connection.limited(ask, request.k)
        lowest = request.score_threshold or 0.0
        scored = [Scored(record, float(item.score)) for record, item in found]
        return [one for one in scored if one.score >= lowest]

    def fetch(self, ids: Sequence[str], with_vectors: bool = False) -> Flow[list[Record]]:
        """Read objects by id; see `Backend`."""
        keys = {str(self.collection.objects.uuid_of(id_)): id_ for id_ in ids}
        found = yield from self._reader.certainly_by_keys(list(keys), with_vectors)
        by_id = {record.id: record for record in found}
        return [by_id[id_] for id_ in keys.values() if id_ in by_id]

    def page(
        self, after: str | None, limit: int, node: Node | None = None, columns: Columns = "documents"
    ) -> Flow[list[Record]]:
        """Read the next objects in the order of their UUIDs; see `Backend` and `ObjectReader.matching_page`."""
        if node is None:
            return (yield from self._reader.next_page(after, limit, columns))
        divided = yield from self._divided(node)
        return (yield from self._reader.matching_page(after, limit, node, divided, columns))

    def delete(self, ids: Sequence[str] | None, node: Node | None) -> Flow[None]:
        """Delete by ids or by filter; see `Backend`."""
        yield from self._require_quorum()
        if ids is not None:
            for some in slices(ids, IDS_AT_ONCE):
                keys = [self.collection.objects.uuid_of(id_) for id_ in some]
                yield from self._delete_keys(keys)
        elif (yield from self._divided(node))[1] is not None:
            yield from delete_rechecked_flow(self, node)
        elif node is not None:
            yield from self._delete_all_of(lambda layout: self._reader.compiled(layout, node))

    def update_metadata(self, changes: Mapping[str, Mapping[str, Any]], replace: bool) -> Flow[list[str]]:
        """Change metadata; see `Backend`."""

        def revise(record: Record) -> dict[str, Any]:
            return {**({} if replace else record.metadata), **changes[record.id]}

        records = yield from self.fetch(list(changes))
        known = {record.id for record in records}
        unknown = [id_ for id_ in changes if id_ not in known]
        if unknown:
            return unknown
        for record in records:  # before the first of them is changed
            self.check_document(record.text, revise(record), f"document {record.id[:60]!r}")
        yield from self.collection.enable_changes()
        for some in slices(list(changes), _CHANGED_AT_ONCE):
            yield from self._exclusively(some, merge_metadata_flow(self.collection, some, revise))
        return []  # one that was deleted meanwhile was changed before

    def _exclusively(self, ids: Sequence[str], change: Flow[Any]) -> Flow[None]:
        """Change the metadata of documents while no other client does; see `UpdateLock`."""
        keys = [f"{self.collection.tenant or ''}/{uuid_of(id_)}" for id_ in ids]
        lock = UpdateLock(self.collection.connection, self._information.name, keys)
        try:
            yield from self._information.creating(lock.acquire)
        except ServerFullError as error:
            logger.warning("metadata are changed without mutual exclusion of clients: %s", error)
            yield from change
            return
        except BaseException:
            with suppress(StoreError):
                yield from lock.release()
            raise
        try:
            yield from change
        finally:
            yield from lock.release()

    def truncate(self) -> Flow[None]:
        """Delete everything; for a tenant only its objects, because others may be writing to the collection."""
        layout = yield from self.collection.find(fresh=True)
        if layout is None:
            return
        self.collection.require_tenant(layout)
        yield from WeaviateLedger(self.collection).remove()
        if self.collection.tenant is None:
            if layout.fingerprint is not None:  # else it is empty: writers bind a collection to their space first
                yield from self.collection.replace_with_empty(layout, None, None)
            return
        tenant, physical = self.collection.tenant, layout.physical
        yield self.collection.connection.call(
            "emptying the tenant", lambda c: c.collections.use(physical).tenants.remove([tenant])
        )
        yield self.collection.connection.call(
            "emptying the tenant", lambda c: c.collections.use(physical).tenants.create([Tenant(name=tenant)])
        )

    def remove(self) -> Flow[None]:
        """Remove everything of the library, or of the tenant; see `WeaviateVectorStore.remove`."""
        connection, tenant = self.collection.connection, self.collection.tenant
        layout = yield from self.collection.find(fresh=True)
        yield from WeaviateLedger(self.collection).remove()
        if tenant is not None:
            if layout is not None:
                physical = layout.physical
                yield connection.call(
                    "removing the tenant", lambda c: c.collections.use(physical).tenants.remove([tenant])
                )
            yield from self._information.remove_of_tenant()
            return
        yield from self.collection.remove()
        yield from self._information.remove()

    def count(self, node: Node | None) -> Flow[int]:
        """Count the objects; see `Backend`."""
        if (yield from self._divided(node))[1] is not None:
            return (yield from count_rechecked_flow(self, node))

        def count(handle: Any, layout: Layout) -> Any:
            return handle.aggregate.over_all(total_count=True, filters=self._reader.compiled(layout, node))

        # A cluster asks one replica of each shard and times out if it has just died; the second request avoids it.
        half = self.collection.connection.timeout / 2
        try:
            answer = yield from self.collection.read("counting", None, count, timeout=half)
        except OutageError:
            answer = yield from self.collection.read("counting", None, count, timeout=half)
        return 0 if answer is None else int(answer.total_count or 0)

    def read_info(self, key: str) -> Flow[Any]:
        """Read a JSON value; see `Backend`."""
        if key in ("fingerprint", "dimensions"):
            layout = yield from self.collection.find(fresh=True)
            return getattr(layout, key, None)
        return (yield from self._information.read(key))

    def write_info(self, key: str, value: Any) -> Flow[None]:
        """Store a JSON value; see `Backend`."""
        return self._information.write(key, value)

    def read_ledger(self, prefix: str) -> Flow[dict[str, str]]:
        """Read entries of the ledger; see `Backend`."""
        return WeaviateLedger(self.collection).read(prefix)

    def find_ledger(self, keys: Sequence[str]) -> Flow[dict[str, str]]:
        """Read single entries of the ledger; see `Backend`."""
        return WeaviateLedger(self.collection).find(keys)

    def write_ledger(self, entries: Mapping[str, str | None]) -> Flow[None]:
        """Write entries of the ledger; see `Backend`."""
        return WeaviateLedger(self.collection).write(entries)

    def wait_until_indexed(self, seconds: float) -> Flow[None]:
        """Wait until every vector of the collection is indexed; see `Backend`."""
        ends = time.monotonic() + seconds
        while (layout := (yield from self.collection.find())) is not None:
            physical, connection = layout.physical, self.collection.connection
            nodes = yield connection.call("looking at the index", partial(_nodes, physical))
            waiting = _waiting(nodes, self.collection.tenant)
            if not waiting:
                return
            if time.monotonic() > ends:
                raise StoreError(
                    f"{waiting} vectors of {self.collection.label} are not indexed after {seconds:g} s. Wait longer"
                )
            yield Call(time.sleep, asyncio.sleep, (_PAUSE,))

    def _divided(self, node: Any) -> Flow[Divided]:
        """What of a filter the server answers, and what is checked in its results; see `divide`."""
        layout = None if node is None else (yield from self.collection.find())
        if layout is None:
            return node, None
        require_declared(node, layout.fields)
        return divide(node, layout.fields)

    def _delete_keys(self, keys: Sequence[uuid.UUID]) -> Flow[None]:
        """Delete objects by UUID, also those that others are just changing: `ObjectReader.certainly_by_keys`.

        A few are deleted one by one, without the index of UUIDs, so that each is deleted once: deleting again what the
        index lacked would also delete what another client has stored in between.
        """
        if len(keys) <= SINGLE:
            for key in keys:
                yield from self.collection.read("deleting", None, partial(_delete_one, key))
            return
        where = Filter.by_id().contains_any(list(keys))
        deleted = yield from self._delete_all_of(lambda _: where)
        if deleted < len(keys):
            yield from self._delete_all_of(lambda _: where)

    def _delete_all_of(self, where: Any) -> Flow[int]:
        """Delete until nothing matches, and return how many; a server deletes a limited number per request."""

        def delete(handle: Any, layout: Layout) -> Any:
            return handle.data.delete_many(where(layout) or Filter.by_id().not_equal(uuid_of("")))

        deleted = failures = 0
        while True:
            answer = yield from self.collection.read("deleting", None, delete)
            if answer is None:
                return deleted
            deleted += int(answer.successful)
            if answer.matches == answer.successful:
                return deleted
            failures = 0 if answer.successful else failures + 1
            if failures > _DELETE_ATTEMPTS:
                # With `verbose`, which would return the reasons, the server fails.
                raise StoreError(
                    f"deleting failed: {answer.matches} documents of {self.collection.label} match, and "
                    f"{answer.failed} of them could not be deleted. Is a shard read-only, as when the server's disk is "
                    "nearly full? Then make room, then set it READY. Calling again is safe"
                )
            if failures:  # another client may be deleting the same documents
                yield Call(time.sleep, asyncio.sleep, (_PAUSE,))

    def _require_quorum(self) -> Flow[None]:
        """Refuse to delete without a quorum: the server would delete from the available replicas and report success.

        Raises:
            OutageError: there is no quorum.
        """
        layout = yield from self.collection.find()
        if layout is None or layout.replication == 1:
            return
        nodes = yield self.collection.connection.call("looking at the cluster", lambda c: c.cluster.nodes())
        up = sum(node.status == "HEALTHY" for node in nodes)
        # A node that has been unreachable for long is no longer listed.
        if up <= layout.replication // 2 or len(nodes) - up > (layout.replication - 1) // 2:
            raise OutageError(
                f"nothing was deleted: {up} nodes answer, and {self.collection.label} has {layout.replication} "
                "replicas. Start the others first, or they would keep the deleted documents"
            )


def _node(request: VectorRequest) -> Node | None:
    assert not callable(request.filter)  # noqa: S101 - `checked_filter` refuses functions for this backend
    return request.filter


def by_cosine(vector: Vector, records: Sequence[Record]) -> list[Scored]:
    """Score records by cosine similarity, where the server's distance is another one; those without a vector last."""
    found = [Scored(record, -1.0 if record.vector is None else float(record.vector @ vector)) for record in records]
    return sorted(found, key=lambda scored: -scored.score)


def _searched(layout: Layout, properties: Sequence[str]) -> list[str]:
    """The properties behind metadata keys such as `title^2`."""
    found = []
    for item in properties:
        key, caret, weight = item.partition("^")
        if key not in layout.words:
            raise InvalidValueError(
                f"{key[:60]!r} is not searched for words. There are: {', '.join(layout.words)}. Others are given as "
                "searchable=[...] when the collection is created"
            )
        found.append(f"{layout.words[key]}{caret}{weight}")
    return found


def _delete_one(key: uuid.UUID, handle: Any, _: Layout) -> Any:
    return handle.data.delete_by_id(key)


def _nodes(physical: str, client: Any) -> Any:
    return client.cluster.nodes(collection=physical, output="verbose")


def _waiting(nodes: Any, tenant: str | None) -> int:
    """The number of vectors in the queues; a shard that reports only that it is busy counts as 1."""
    waiting = 0
    for node in nodes:
        for shard in node.shards or []:
            if tenant is None or shard.name == tenant:
                length = int(shard.vector_queue_length or 0)
                waiting += length or int(shard.vector_indexing_status == "INDEXING")
    return waiting
