"""The rows of a store in Weaviate: searching, reading, deleting, changing, and information about the collection."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from weaviate.classes.config import Configure, DataType, Property
from weaviate.classes.data import DataObject
from weaviate.classes.query import Diversity, Filter, MetadataQuery
from weaviate.classes.tenants import Tenant

from langchain_gemini_mm.batching import CancelToken, gathered_map, slices, threaded_map
from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.flows import Call, Flow, arun, run
from langchain_gemini_mm.vectorstores.backend import Backend, Columns, KeywordRequest, Scored, VectorRequest
from langchain_gemini_mm.vectorstores.embedding_space import EmbeddingSpace, Fingerprint, require_dimensions
from langchain_gemini_mm.vectorstores.filters import Node, matches
from langchain_gemini_mm.vectorstores.records import Record
from langchain_gemini_mm.vectorstores.tokenizer import token_terms
from langchain_gemini_mm.vectorstores.weaviate.collection import WeaviateCollection
from langchain_gemini_mm.vectorstores.weaviate.fields import stored_fields
from langchain_gemini_mm.vectorstores.weaviate.filter_compiler import compile_filter, require_declared
from langchain_gemini_mm.vectorstores.weaviate.ledger import WeaviateLedger
from langchain_gemini_mm.vectorstores.weaviate.merge import merge_metadata_flow
from langchain_gemini_mm.vectorstores.weaviate.objects import READ_PROPERTIES, dumped, record_of, require_size, uuid_of
from langchain_gemini_mm.vectorstores.weaviate.schema import VECTOR, Layout
from langchain_gemini_mm.vectorstores.weaviate.upsert import upsert_flow
from langchain_gemini_mm.weaviate_client.errors import AnswerTooLargeError, CollectionGoneError, OutageError
from langchain_gemini_mm.weaviate_client.insert import Inserter
from langchain_gemini_mm.weaviate_client.names import checked_tenant
from langchain_gemini_mm.weaviate_client.versions import NATIVE_MMR

MOST_RESULTS = 10_000
"""Maximum number of results in one answer, unless the server sets `QUERY_MAXIMUM_RESULTS`."""
IDS_AT_ONCE = 500
SEARCHES_AT_ONCE = 8
KEPT_TENANTS = 100
"""Maximum number of tenants whose backends are kept."""

_ROUNDING = 1e-5
_PAUSE = 0.2


class WeaviateBackend(Backend):
    """The objects of one collection on a server, for one tenant if it has tenants."""

    store = "WeaviateVectorStore"
    search_types = ("similarity", "mmr", "keyword", "hybrid")
    ordered_by_hash = True

    def __init__(self, space: EmbeddingSpace, collection: WeaviateCollection) -> None:
        self.space = space
        self.collection = collection
        self._tenants: dict[str, WeaviateBackend] = {}

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
            found = self._tenants.setdefault(name, WeaviateBackend(self.space, self.collection.of_tenant(name)))
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
        """Find the nearest objects; with `request.mmr` the server selects from them."""

        def search(handle: Any, layout: Layout) -> Any:
            require_dimensions(self.collection.label, layout.dimensions, len(request.vector))
            threshold = request.score_threshold
            mmr = request.mmr
            return handle.query.near_vector(
                request.vector.tolist(),
                target_vector=VECTOR,
                limit=request.k,
                distance=None if threshold is None or threshold <= -1 else max(0.0, 1 - threshold + _ROUNDING),
                filters=self._compiled(layout, request.filter),
                diversity_selection=None if mmr is None else Diversity.mmr(limit=mmr[0], balance=mmr[1]),
                include_vector=[VECTOR] if request.with_vectors else False,
                return_metadata=MetadataQuery(distance=True),
                return_properties=READ_PROPERTIES,
            )

        answer = yield from self.collection.read("searching", request.fingerprint, search, stop)
        if answer is None:
            return []
        most = request.k if request.mmr is None else request.mmr[0]
        found = [
            Scored(record_of(item), max(-1.0, min(1.0, 1.0 - item.metadata.distance))) for item in answer.objects[:most]
        ]
        lowest = request.score_threshold
        return found if lowest is None else [scored for scored in found if scored.score >= lowest - _ROUNDING / 10]

    def search_keywords(self, request: KeywordRequest) -> Flow[list[Scored]]:
        """Find the objects that contain words of a text; see `Backend`."""
        words = " ".join(token_terms(request.text))
        if not words:
            return []

        def search(handle: Any, layout: Layout) -> Any:
            return handle.query.bm25(
                words,
                query_properties=_searched(layout, request.properties or ("text",)),
                limit=request.k,
                filters=self._compiled(layout, request.filter),
                return_metadata=MetadataQuery(score=True),
                return_properties=READ_PROPERTIES,
            )

        answer = yield from self.collection.read("searching for words", None, search)
        if answer is None:
            return []
        lowest = request.score_threshold or 0.0
        found = [Scored(record_of(item), float(item.metadata.score)) for item in answer.objects]
        return [scored for scored in found if scored.score >= lowest]

    def fetch(self, ids: Sequence[str], with_vectors: bool = False) -> Flow[list[Record]]:
        """Read objects by id; see `Backend`."""
        keys = {str(uuid_of(id_)): id_ for id_ in ids}
        found = yield from self._by_keys(list(keys), with_vectors)
        by_id = {record.id: record for record in found}
        return [by_id[id_] for id_ in keys.values() if id_ in by_id]

    def page(
        self, after: str | None, limit: int, node: Node | None = None, columns: Columns = "documents"
    ) -> Flow[list[Record]]:
        """Read the next objects in the order of their UUIDs; see `Backend`.

        With a filter the ids of all matches are read first. If they do not fit into one answer, all objects are read
        and filtered here, because the server's cursor does not support filters.
        """
        if node is None:
            return (yield from self._next_page(after, min(limit, MOST_RESULTS), columns))
        keys = yield from self._matching_keys(node)
        if keys is not None:
            start = "" if after is None else str(uuid_of(after))
            chosen = [key for key in sorted(keys) if key > start][:limit]
            return (yield from self._by_keys(chosen, columns in ("vectors", "all")))
        wide: Columns = "all" if columns in ("vectors", "all") else "documents"  # the filter reads the metadata
        while records := (yield from self._next_page(after, min(limit, MOST_RESULTS), wide)):
            matching = [record for record in records if matches(node, record.metadata)]
            if matching:
                return matching
            after = records[-1].id
        return []

    def delete(self, ids: Sequence[str] | None, node: Node | None) -> Flow[None]:
        """Delete by ids or by filter; see `Backend`."""
        yield from self._require_quorum()
        if ids is not None:
            for some in slices(ids, IDS_AT_ONCE):
                keys = [uuid_of(id_) for id_ in some]
                yield from self._delete_all_of(lambda _, keys=keys: Filter.by_id().contains_any(keys))
        elif node is not None:
            yield from self._delete_all_of(lambda layout: self._compiled(layout, node))

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
        yield from merge_metadata_flow(self.collection, list(changes), revise)
        return []  # one that was deleted meanwhile was changed before

    def truncate(self) -> Flow[None]:
        """Delete everything; for a tenant only its objects, because others may be writing to the collection."""
        layout = yield from self.collection.find(fresh=True)
        if layout is None:
            return
        self.collection.require_tenant(layout)
        yield from WeaviateLedger(self.collection).remove()
        if self.collection.tenant is None:
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
        info = info_name(self.collection)
        yield from WeaviateLedger(self.collection).remove()
        if tenant is not None:
            if layout is not None:
                physical = layout.physical
                yield connection.call(
                    "removing the tenant", lambda c: c.collections.use(physical).tenants.remove([tenant])
                )
            with suppress(CollectionGoneError):
                yield from self._remove_tenant_info(info)
            return
        yield from self.collection.remove()
        described = _info_creation(self.collection)["description"]
        with suppress(CollectionGoneError):
            config = yield connection.call("reading the schema", lambda c: c.collections.use(info).config.get())
            if config.description == described:
                yield connection.call("removing information", lambda c: c.collections.delete(info))

    def _remove_tenant_info(self, info: str) -> Flow[None]:
        """Remove the information of this tenant; its collection has no index that could be asked for a tenant."""
        connection, after, own = self.collection.connection, None, list[Any]()
        while True:
            options = {"limit": MOST_RESULTS, "after": after, "return_properties": ["tenant"]}
            answer = yield connection.call(
                "removing information",
                lambda c, options=options: c.collections.use(info).query.fetch_objects(**options),  # type: ignore[misc]
            )
            own += [item.uuid for item in answer.objects if item.properties["tenant"] == self.collection.tenant]
            if len(answer.objects) < MOST_RESULTS:
                break
            after = answer.objects[-1].uuid
        if own:
            yield connection.call(
                "removing information",
                lambda c: c.collections.use(info).data.delete_many(Filter.by_id().contains_any(own)),
            )

    def count(self, node: Node | None) -> Flow[int]:
        """Count the objects; see `Backend`."""

        def count(handle: Any, layout: Layout) -> Any:
            return handle.aggregate.over_all(total_count=True, filters=self._compiled(layout, node))

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
        name, uuid = info_name(self.collection), _info_uuid(self.collection, key)
        try:
            found = yield self.collection.connection.call(
                "reading information",
                lambda c: c.collections.use(name).query.fetch_object_by_id(uuid, return_properties=["value"]),
            )
        except CollectionGoneError:
            return None
        return None if found is None else json.loads(found.properties["value"])

    def write_info(self, key: str, value: Any) -> Flow[None]:
        """Store a JSON value; see `Backend`."""
        connection = self.collection.connection
        name, uuid = info_name(self.collection), _info_uuid(self.collection, key)
        if value is None:
            with suppress(CollectionGoneError):
                yield connection.call("removing information", lambda c: c.collections.use(name).data.delete_by_id(uuid))
            return
        properties = {
            "key": key,
            "tenant": self.collection.tenant or "",
            "value": json.dumps(value, ensure_ascii=False),
        }
        objects = {str(uuid): DataObject(uuid=uuid, properties=properties)}
        inserter = Inserter(
            connection=connection, what="storing information", collection=lambda c: c.collections.use(name)
        )
        try:
            reasons = yield from inserter.insert(objects, CancelToken())
        except CollectionGoneError:
            creation = _info_creation(self.collection)
            yield from self.collection.create_if_missing(
                "creating the collection", lambda c: c.collections.create(**creation)
            )
            reasons = yield from inserter.insert(objects, CancelToken())
        if reasons:
            reason = next(iter(reasons.values()))
            raise StoreError(f"storing information with {self.collection.label} failed: {reason}")

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

    def _next_page(self, after: str | None, limit: int, columns: Columns) -> Flow[list[Record]]:
        start = None if after is None else uuid_of(after)
        properties = READ_PROPERTIES if columns in ("documents", "all") else ["doc_id"]
        while True:

            def read(handle: Any, _: Layout, limit: int = limit) -> Any:
                return handle.query.fetch_objects(
                    limit=limit,
                    after=start,
                    include_vector=[VECTOR] if columns in ("vectors", "all") else False,
                    return_properties=properties,
                )

            try:
                answer = yield from self.collection.read("reading documents", None, read)
            except AnswerTooLargeError:
                if limit == 1:
                    raise
                limit //= 2
                continue
            return [] if answer is None else [record_of(item) for item in answer.objects]

    def _matching_keys(self, node: Node) -> Flow[list[str] | None]:
        """UUIDs of all matches; None if they do not fit into one answer."""

        def read(handle: Any, layout: Layout) -> Any:
            return handle.query.fetch_objects(
                filters=self._compiled(layout, node), limit=MOST_RESULTS, return_properties=[]
            )

        answer = yield from self.collection.read("reading documents", None, read)
        keys = [] if answer is None else [str(item.uuid) for item in answer.objects]
        return keys if len(keys) < MOST_RESULTS else None

    def _by_keys(self, keys: Sequence[str], with_vectors: bool) -> Flow[list[Record]]:
        """Read objects by UUID, in this order; requests whose answer is too large are halved."""
        found: dict[str, Record] = {}
        pending = list(slices(keys, IDS_AT_ONCE))
        while pending:
            some = pending.pop()

            def read(handle: Any, _: Layout, some: Sequence[str] = some) -> Any:
                return handle.query.fetch_objects_by_ids(
                    some,
                    limit=len(some),
                    include_vector=[VECTOR] if with_vectors else False,
                    return_properties=READ_PROPERTIES,
                )

            try:
                answer = yield from self.collection.read("reading documents", None, read)
            except AnswerTooLargeError:
                if len(some) == 1:
                    raise
                pending += slices(some, -(-len(some) // 2))
                continue
            found |= {str(item.uuid): record_of(item) for item in (answer.objects if answer else [])}
        return [found[key] for key in keys if key in found]

    def _compiled(self, layout: Layout, node: Any) -> Any:
        version = self.collection.connection.known_version
        assert version is not None  # noqa: S101 - the layout was resolved after it
        return compile_filter(node, layout.fields, version)

    def _delete_all_of(self, where: Any) -> Flow[None]:
        """Delete until nothing matches; a server deletes at most 10,000 objects per request."""

        def delete(handle: Any, layout: Layout) -> Any:
            return handle.data.delete_many(where(layout) or Filter.by_id().not_equal(uuid_of("")))

        while True:
            answer = yield from self.collection.read("deleting", None, delete)
            if answer is None or answer.matches == answer.successful:
                return
            if not answer.successful:
                # With `verbose`, which would return the reasons, the server fails.
                raise StoreError(
                    f"deleting failed: {answer.matches} documents of {self.collection.label} match, and "
                    f"{answer.failed} of them could not be deleted. Is a shard read-only, as when the server's disk is "
                    "nearly full? Then make room, then set it READY. Calling again is safe"
                )

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


def _searched(layout: Layout, properties: Sequence[str]) -> list[str]:
    """The properties behind metadata keys such as `title^2`."""
    found = []
    for item in properties:
        key, caret, weight = item.partition("^")
        if key not in layout.words:
            raise ValueError(
                f"{key[:60]!r} is not searched for words. There are: {', '.join(layout.words)}. Others are given as "
                "searchable=[...] when the collection is created"
            )
        found.append(f"{layout.words[key]}{caret}{weight}")
    return found


def _info_creation(collection: WeaviateCollection) -> dict[str, Any]:
    """The arguments of `collections.create` for the collection of `info_name`."""
    plain: dict[str, Any] = {"index_filterable": False, "index_searchable": False}
    return {
        "name": info_name(collection),
        "description": f"Information that belongs to the index {collection.name}",
        "properties": [Property(name=word, data_type=DataType.TEXT, **plain) for word in ("key", "tenant", "value")],
        "vector_config": Configure.Vectors.self_provided(name="none", vector_index_config=Configure.VectorIndex.none()),
        "replication_config": Configure.replication(factor=collection.options.replication),
    }


def _info_uuid(collection: WeaviateCollection, key: str) -> Any:
    return uuid_of(f"info/{collection.tenant or ''}/{key}")


def info_name(collection: WeaviateCollection) -> str:
    """The name of the collection that holds the values of `write_info`."""
    return f"{collection.name}_info"


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
