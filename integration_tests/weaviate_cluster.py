"""A Weaviate cluster on this machine: several server processes that find each other."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

from integration_tests.starting import Started
from integration_tests.weaviate_server import PATIENCE, WeaviateServer

if TYPE_CHECKING:
    from pathlib import Path

    from weaviate import WeaviateAsyncClient, WeaviateClient


CATCHING_UP = {
    "ASYNC_REPLICATION_FREQUENCY": "1s",
    "ASYNC_REPLICATION_FREQUENCY_WHILE_PROPAGATING": "200ms",
    "ASYNC_REPLICATION_PROPAGATION_DELAY": "1s",
}
"""What a node missed while it was down reaches it in seconds; as servers are set up by default, after a minute."""


class WeaviateCluster(Started):
    """Servers `node1`, `node2`, ... that replicate to each other.

    ```python
    with WeaviateCluster(tmp_path) as cluster, cluster.client(0) as client:
        cluster.nodes[2].kill()
        ...
        cluster.start()  # those that are down
    ```
    """

    def __init__(self, folder: Path, n: int = 3, *, environment: Mapping[str, str] | None = None) -> None:
        names = [f"node{i + 1}" for i in range(n)]
        self.nodes = tuple(WeaviateServer(folder / name, name=name, environment=environment) for name in names)
        for node in self.nodes:
            node.peers = self.nodes

    def start(self, *, wait: bool = True) -> Self:
        """Start the nodes that are down, resume frozen ones, and wait until all see each other."""
        for node in self.nodes:
            node.start(wait=False)
            node.thaw()
        if wait:
            for node in self.nodes:
                node.wait_until_ready()
            self.wait_until_whole()
        return self

    def stop(self) -> None:
        """Stop all nodes with SIGTERM, at the same time."""
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(WeaviateServer.stop, self.nodes))

    def close(self) -> None:
        """Stop all nodes and release their ports."""
        self.stop()
        for node in self.nodes:
            node.close()

    def kill(self, *numbers: int) -> None:
        """Kill nodes with SIGKILL; `kill(0)` is `node1`."""
        for number in numbers:
            self.nodes[number].kill()

    def restart(self, *numbers: int, wait: bool = True) -> None:
        """Stop nodes and start them again."""
        for number in numbers:
            self.nodes[number].stop()
        for number in numbers:
            self.nodes[number].start(wait=False)
        if wait:
            self.start()

    def wait_until_whole(self, seconds: float = PATIENCE) -> None:
        """Wait until every running node reports every running node as healthy.

        Raises:
            RuntimeError: That took longer; with what each node said.
        """
        up = {node.name for node in self.nodes if node.running}
        deadline = time.monotonic() + seconds
        while True:
            seen = {node.name: node.healthy_nodes() for node in self.nodes if node.running}
            if all(healthy == up for healthy in seen.values()):
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"of {sorted(up)} each sees after {seconds:g} s: {seen}")
            time.sleep(0.1)

    def client(self, number: int = 0, **changes: Any) -> WeaviateClient:
        """A client of one node, as `WeaviateServer.client`."""
        return self.nodes[number].client(**changes)

    def async_client(self, number: int = 0, **changes: Any) -> WeaviateAsyncClient:
        """A client of one node, as `WeaviateServer.async_client`."""
        return self.nodes[number].async_client(**changes)

    def __repr__(self) -> str:
        return f"WeaviateCluster({', '.join(node.url for node in self.nodes)})"
