"""Waiting for a server that indexes vectors after it has stored them (`ASYNC_INDEXING`)."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.flows import Call, Flow
from langchain_gemini_mm.vectorstores.weaviate.collection import Place

_PAUSE = 0.2


def indexed_flow(place: Place, seconds: float) -> Flow[None]:
    """Wait until every vector of the collection can be found.

    Raises:
        StoreError: there are still some in the queue after `seconds`.
    """
    ends = time.monotonic() + seconds
    while True:
        layout = yield from place.located()
        if layout is None:
            return
        nodes = yield place.connection.call("looking at the index", partial(_nodes, layout.physical))
        waiting = _waiting(nodes, place.tenant)
        if not waiting:
            return
        if time.monotonic() > ends:
            raise StoreError(f"{waiting} vectors of {place.label} are not indexed after {seconds:g} s. Wait longer")
        yield Call(time.sleep, asyncio.sleep, (_PAUSE,))


def _nodes(physical: str, client: Any) -> Any:
    return client.cluster.nodes(collection=physical, output="verbose")


def _waiting(nodes: Any, tenant: str | None) -> int:
    """Vectors in the queues, or 1 where a shard is busy without saying how many."""
    waiting = 0
    for node in nodes:
        for shard in node.shards or []:
            if tenant is None or shard.name == tenant:
                length = int(shard.vector_queue_length or 0)
                waiting += length or int(shard.vector_indexing_status == "INDEXING")
    return waiting
