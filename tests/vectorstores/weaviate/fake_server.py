"""A server with Weaviate's protocol that fails on demand, as a real one cannot be made to.

It stands on the servicer classes that weaviate-client ships, which are no public interface: they are imported here
alone. The client in the tests is the real one, over real connections.
"""

from __future__ import annotations

import copy
import json
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import grpc
import numpy as np
import weaviate
from weaviate.proto.v1 import (
    aggregate_pb2,
    base_pb2,
    batch_delete_pb2,
    batch_pb2,
    health_weaviate_pb2,
    properties_pb2,
    search_get_pb2,
    weaviate_pb2_grpc,
)

if TYPE_CHECKING:
    from weaviate import WeaviateAsyncClient, WeaviateClient

Default: TypeAlias = Callable[[], Any]
Answer: TypeAlias = Callable[[Any, Any, Default], Any]
"""Given the request, the context of the call, and what gives the usual answer."""

CUT = object()
"""In place of an answer over REST: the connection is closed without a word."""

_CLASS: dict[str, Any] = {
    "invertedIndexConfig": {
        "bm25": {"b": 0.75, "k1": 1.2},
        "cleanupIntervalSeconds": 60,
        "indexNullState": True,
        "stopwords": {"additions": None, "preset": "none", "removals": None},
    },
    "multiTenancyConfig": {"autoTenantActivation": False, "autoTenantCreation": False, "enabled": False},
    "properties": [],
    "replicationConfig": {"factor": 1, "asyncEnabled": False, "deletionStrategy": "TimeBasedResolution"},
    "shardingConfig": {
        "actualCount": 1,
        "actualVirtualCount": 128,
        "desiredCount": 1,
        "desiredVirtualCount": 128,
        "function": "murmur3",
        "key": "_id",
        "strategy": "hash",
        "virtualPerPhysical": 128,
    },
    "vectorConfig": {
        "media": {
            "vectorIndexConfig": {
                "cleanupIntervalSeconds": 300,
                "distance": "cosine",
                "dynamicEfFactor": 8,
                "dynamicEfMax": 500,
                "dynamicEfMin": 100,
                "ef": -1,
                "efConstruction": 128,
                "filterStrategy": "acorn",
                "flatSearchCutoff": 40000,
                "maxConnections": 32,
                "maxPostingSizeKB": 48,
                "replicas": 4,
                "searchProbe": 256,
                "skip": False,
                "vectorCacheMaxObjects": 10**12,
            },
            "vectorIndexType": "hnsw",
            "vectorizer": {"none": {}},
        }
    },
}


@dataclass
class Stored:
    """An object as it was sent."""

    properties: dict[str, Any]
    vector: np.ndarray


@dataclass
class FakeWeaviate:
    """The server; `answers` replaces its default responses.

    ```python
    with FakeWeaviate() as server, server.client() as client:
        server.answers["Search"] = refuse(grpc.StatusCode.INTERNAL, "out of order")
    ```
    """

    version: str = "1.39.0"
    answers: dict[str, Answer] = field(default_factory=dict)
    """By the name of the call, or `GET /v1/meta` and the like, or `REST` for all of these."""
    classes: dict[str, dict[str, Any]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    objects: dict[str, dict[str, Stored]] = field(default_factory=dict)
    seen: list[tuple[str, Any]] = field(default_factory=list)
    """Every call: its name and its request."""
    ports: tuple[int, int] = (0, 0)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start, on the same ports as before."""
        self.closing = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", self.ports[0]), _handler(self))
        self._http.daemon_threads = True
        self._http_thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._http_thread.start()
        # Without this, servers of two tests could use the same port.
        self._grpc = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        weaviate_pb2_grpc.add_WeaviateServicer_to_server(_Servicer(self), self._grpc)
        self._grpc.add_generic_rpc_handlers((_health(),))
        port = self._grpc.add_insecure_port(f"127.0.0.1:{self.ports[1]}")
        self._grpc.start()
        self.ports = self._http.server_port, port

    def stop(self) -> None:
        """Close both ports and all connections."""
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._http_thread.join()
        self._grpc.stop(0).wait()

    def client(self, **changes: Any) -> WeaviateClient:
        """The real client, connected."""
        return weaviate.connect_to_custom(**self._arguments(), **changes)

    def async_client(self, **changes: Any) -> WeaviateAsyncClient:
        """The real asynchronous client, not yet connected."""
        return weaviate.use_async_with_custom(**self._arguments(), **changes)

    def _arguments(self) -> dict[str, Any]:
        rest, grpc_port = self.ports
        return {
            "http_host": "127.0.0.1",
            "http_port": rest,
            "http_secure": False,
            "grpc_host": "127.0.0.1",
            "grpc_port": grpc_port,
            "grpc_secure": False,
            "skip_init_checks": True,
        }

    def calls(self, name: str) -> list[Any]:
        """The recorded requests of a method."""
        return [request for seen, request in self.seen if seen == name]

    def sleep(self, seconds: float) -> None:
        """Delay a call, at most until the server stops."""
        self.closing.wait(seconds)

    def answer(self, name: str, request: Any, context: Any, usual: Default) -> Any:
        """The response to a call."""
        self.seen.append((name, request))
        given = self.answers.get(name) or (self.answers.get("REST") if " " in name else None)
        return given(request, context, usual) if given else usual()

    def resolved(self, name: str) -> str:
        """The collection of an alias, or the name itself."""
        return self.aliases.get(name, name)


def refuse(code: grpc.StatusCode, details: str, times: int | None = None) -> Answer:
    """Refuse the call, or only the first calls."""
    left = [times]

    def answer(_: Any, context: Any, usual: Default) -> Any:
        if left[0] == 0:
            return usual()
        left[0] = None if left[0] is None else left[0] - 1
        return context.abort(code, details)

    return answer


def some_fail(errors: Mapping[int, str], times: int | None = None) -> Answer:
    """Store objects without an error and return the errors; always, or only in the first batches."""
    left = [times]

    def answer(request: Any, _: Any, usual: Default) -> Any:
        if left[0] == 0:
            return usual()
        left[0] = None if left[0] is None else left[0] - 1
        for index in sorted((i for i in errors if 0 <= i < len(request.objects)), reverse=True):
            del request.objects[index]
        reply = usual()
        for index, message in errors.items():
            reply.errors.append(batch_pb2.BatchObjectsReply.BatchError(index=index, error=message))
        return reply

    return answer


class _Servicer(weaviate_pb2_grpc.WeaviateServicer):
    def __init__(self, server: FakeWeaviate) -> None:
        self._server = server

    def BatchObjects(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        def store() -> Any:
            for item in request.objects:
                self._server.objects.setdefault(item.collection, {})[item.uuid] = Stored(
                    dict(item.properties.non_ref_properties.items()),
                    np.frombuffer(b"".join(given.vector_bytes for given in item.vectors), np.float32),
                )
            return batch_pb2.BatchObjectsReply()

        return self._server.answer("BatchObjects", request, context, store)

    def Search(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._server.answer("Search", request, context, lambda: self._found(request))

    def Aggregate(self, request: Any, context: Any) -> Any:  # noqa: N802
        def count() -> Any:
            total = len(self._server.objects.get(self._server.resolved(request.collection), {}))
            return aggregate_pb2.AggregateReply(single_result=aggregate_pb2.AggregateReply.Single(objects_count=total))

        return self._server.answer("Aggregate", request, context, count)

    def BatchDelete(self, request: Any, context: Any) -> Any:  # noqa: N802
        def delete() -> Any:
            held = self._server.objects.get(request.collection, {})
            found = [key for key in _ids_of(request.filters) if held.pop(key, None)]
            return batch_delete_pb2.BatchDeleteReply(matches=len(found), successful=len(found))

        return self._server.answer("BatchDelete", request, context, delete)

    def _found(self, request: Any) -> Any:
        """Objects by vector, by ids, or in the order of ids, depending on the request."""
        held = self._server.objects.get(self._server.resolved(request.collection), {})
        distances: dict[str, float] = {}
        if request.HasField("near_vector"):
            (given,) = request.near_vector.vectors or request.near_vector.vector_for_targets
            vector = np.frombuffer(given.vector_bytes, np.float32)
            distances = {key: 1 - float(item.vector @ vector) for key, item in held.items()}
            keys = sorted(held, key=lambda key: distances[key])
        elif request.HasField("filters"):
            keys = [key for key in _ids_of(request.filters) if key in held]
        else:
            keys = sorted(key for key in held if key > request.after)
        chosen = keys[: request.limit or 10]
        return search_get_pb2.SearchReply(results=[_result(key, held[key], distances.get(key)) for key in chosen])


def _ids_of(found: Any) -> list[str]:
    mine = [found.value_text, *found.value_text_array.values]
    return [value for value in mine if value] + [key for part in found.filters for key in _ids_of(part)]


def _result(key: str, item: Stored, distance: float | None) -> Any:
    said = {name: properties_pb2.Value(text_value=str(value)) for name, value in item.properties.items()}
    return search_get_pb2.SearchResult(
        metadata=search_get_pb2.MetadataResult(
            id=key,
            id_as_bytes=uuid.UUID(key).bytes,
            distance=distance or 0.0,
            distance_present=distance is not None,
            score=1.0,
            creation_time_unix=1,
            creation_time_unix_present=True,
            last_update_time_unix=1,
            last_update_time_unix_present=True,
            score_present=distance is None,
            vectors=[base_pb2.Vectors(name="media", vector_bytes=item.vector.tobytes())],
        ),
        properties=search_get_pb2.PropertiesResult(non_ref_props=properties_pb2.Properties(fields=said)),
    )


def _health() -> Any:
    def check(_: bytes, __: Any) -> Any:
        return health_weaviate_pb2.WeaviateHealthCheckResponse(status="SERVING")

    method = grpc.unary_unary_rpc_method_handler(
        check, response_serializer=health_weaviate_pb2.WeaviateHealthCheckResponse.SerializeToString
    )
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method})


def _handler(server: FakeWeaviate) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = json.loads(body) if body else None
            name = f"{self.command} {self.path.partition('?')[0]}"
            answer = server.answer(name, request, self, lambda: _rest(server, name, request))
            if answer is CUT:
                return
            status, said = answer
            content = b"" if said is None else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def _rest(server: FakeWeaviate, name: str, request: Any) -> tuple[int, Any]:
    """Status and body of the default response."""
    method, _, path = name.partition(" ")
    resource, _, rest = path.removeprefix("/v1/").partition("/")
    if resource == "meta":
        return 200, {"version": server.version, "hostname": "fake", "modules": {}}
    if resource == "schema":
        return _schema(server, method, rest, request)
    if resource == "aliases":
        if method == "GET":
            found = server.aliases.get(rest)
            return (200, {"alias": rest, "class": found}) if found else (404, None)
        if method == "POST":
            if request["alias"] in server.aliases:
                return 422, {"error": [{"message": f"alias {request['alias']} already exists"}]}
            rest = request["alias"]
        server.aliases[rest] = request["class"]
        return 200, {"alias": rest, "class": request["class"]}
    if resource == "objects" and method == "PATCH":
        name, _, key = rest.partition("/")
        held = server.objects.get(server.resolved(name), {}).get(key)
        if held is None:
            return 404, None
        held.properties.update(request.get("properties") or {})
        return 204, None
    return (200, {}) if resource == "objects" and method == "POST" else (404, None)


def _schema(server: FakeWeaviate, method: str, name: str, request: Any) -> tuple[int, Any]:
    if method == "POST":
        if request["class"] in server.classes:
            return 422, {"error": [{"message": f"class name {request['class']} already exists"}]}
        server.classes[request["class"]] = made = _merged(_CLASS, request)
        return 200, made
    found = server.resolved(name)
    if method == "DELETE":
        server.classes.pop(found, None)
        server.objects.pop(found, None)
        return 200, None
    if found not in server.classes:
        return 404, None
    if method == "PUT":
        server.classes[found] = _merged(server.classes[found], request)
    return 200, server.classes[found]


def _merged(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(dict(base))
    for key, value in given.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    for item in merged.get("properties", []) if isinstance(merged.get("properties"), list) else []:
        for word in ("indexFilterable", "indexSearchable", "indexRangeFilters"):
            item.setdefault(word, False)
    return merged


@contextmanager
def closed(server: FakeWeaviate) -> Iterator[None]:
    """Stop the server within the context, and start it again afterwards."""
    server.stop()
    try:
        yield
    finally:
        server.start()
