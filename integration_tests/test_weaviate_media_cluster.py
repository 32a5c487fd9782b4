"""Media in a cluster of three nodes: distributed over nodes, and replicated while one of them is killed."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from langchain_gemini_mm import MediaStore, StoreError
from langchain_gemini_mm.testing import png, wav

if TYPE_CHECKING:
    from integration_tests.weaviate_cluster import WeaviateCluster

pytestmark = pytest.mark.chaos

TALKS = [wav(100.0 + n) for n in range(8)]
"""Two pieces each."""


def test_every_node_lists_everything(weaviate_cluster: WeaviateCluster) -> None:
    """Media on the shards of three nodes are listed completely by each node."""
    name = f"Media{uuid.uuid4().hex[:8]}"
    with weaviate_cluster.client(0) as client, weaviate_cluster.client(2) as other:
        store = MediaStore.weaviate(client, name)
        values: Any = store._backend._values  # type: ignore[attr-defined]
        pairs = {f"media/{n:05}": b"%d" % n for n in range(2500)}
        values.mset(list(pairs.items()))
        refs = [store.put(talk) for talk in TALKS]
        listed = MediaStore.weaviate(other, name)._backend._values  # type: ignore[attr-defined]
        found = list(listed.yield_keys(prefix="media/"))
        assert sorted(found) == sorted([*pairs, *(f"media/{ref.sha256}" for ref in refs)])
        assert len(list(listed.yield_keys(prefix="media-pieces/"))) == 2 * len(TALKS)
        values.mdelete(list(pairs))
        assert set(MediaStore.weaviate(other, name).refs()) == set(refs)


def test_a_killed_node_loses_nothing(weaviate_cluster: WeaviateCluster) -> None:
    """With three copies, writing and reading continue with two nodes; with one, writing is an error in time."""
    name = f"Media{uuid.uuid4().hex[:8]}"
    with weaviate_cluster.client(0) as client:
        store = MediaStore.weaviate(client, name, replication=3)
        refs = [store.put(talk) for talk in TALKS[:3]]
        weaviate_cluster.kill(2)
        refs += [store.put(talk) for talk in TALKS[3:]]
        assert [store.get(ref) for ref in refs] == TALKS
        hasty = MediaStore.weaviate(client, name, timeout=3, write_timeout=3)
        weaviate_cluster.kill(1)
        with pytest.raises(StoreError):
            hasty.put(png())
        with suppress(StoreError):  # one node is sufficient for reading: the result is checked against the hash
            assert hasty.get(refs[0]) == TALKS[0]
        weaviate_cluster.start()
        assert [store.get(ref) for ref in refs] == TALKS
        assert set(store.refs()) == set(refs)
        assert store.get(store.put(png())) == png()
