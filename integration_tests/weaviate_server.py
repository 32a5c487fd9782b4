"""Real Weaviate servers on this machine: one process, or a cluster of them.

```python
with WeaviateServer(tmp_path) as server, server.client() as client:
    client.is_ready()
```

A server keeps its folder and its ports through `stop()`, `kill()` and `start()`, so that its data are there again.
REST listens on 127.0.0.1 only; Weaviate's gRPC and cluster ports have no such setting and listen on all interfaces.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from integration_tests.guarded_process import GuardedProcess
from integration_tests.loopback_ports import PortBlock
from integration_tests.starting import Started

if TYPE_CHECKING:
    from weaviate import WeaviateAsyncClient, WeaviateClient

VERSION = "1.39.0"
"""The server the tests are written for."""
PROGRAM = "weaviate-server.exe" if os.name == "nt" else "weaviate-server"
PATIENCE = 120.0
"""Seconds until a server that is not ready counts as broken. Alone on two cores it takes nine."""
_INHERITED = ("HOME", "LANG", "PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "USERPROFILE")

SETTINGS = {
    "API_BASED_MODULES_DISABLED": "true",
    "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "true",
    "AUTOSCHEMA_ENABLED": "false",
    "CLUSTER_ADVERTISE_ADDR": "127.0.0.1",
    "CLUSTER_BIND_ADDR": "127.0.0.1",
    "CLUSTER_IN_LOCALHOST": "true",
    "DISABLE_TELEMETRY": "true",
    # By default every shard becomes read-only when the disk is more than 90 % full.
    "DISK_USE_READONLY_PERCENTAGE": "100",
    "DISK_USE_WARNING_PERCENTAGE": "100",
    "ENABLE_MODULES": "",
    "GO_PROFILING_DISABLE": "true",
    "GOMAXPROCS": "2",
    "GOMEMLIMIT": "1500MiB",
    "LOG_LEVEL": "warning",
    "MEMBERLIST_FAST_FAILURE_DETECTION": "true",
    "PERSISTENCE_HNSW_MAX_LOG_SIZE": "64MiB",
    "PERSISTENCE_MEMTABLES_MAX_SIZE_MB": "32",
    "QUERY_DEFAULTS_LIMIT": "25",
}
"""What every server is started with, unless the caller's environment says otherwise."""


def find_program() -> Path | None:
    """The `weaviate-server` program: on PATH, else in the folders where Go installs programs."""
    on_path = shutil.which(PROGRAM)
    if on_path:
        return Path(on_path)
    return next((folder / PROGRAM for folder in _go_folders() if (folder / PROGRAM).is_file()), None)


def _go_folders() -> Iterable[Path]:
    if os.environ.get("GOBIN"):
        yield Path(os.environ["GOBIN"])
    if shutil.which("go"):
        said = subprocess.run(["go", "env", "GOPATH"], check=False, capture_output=True, text=True)
        yield from (Path(folder) / "bin" for folder in said.stdout.strip().split(os.pathsep) if folder)
    yield Path.home() / "go" / "bin"


@dataclass(frozen=True)
class Ports:
    """The ports of a server. Gossip and raft also use the next port."""

    rest: int = 8080
    grpc: int = 50051
    gossip: int = 7946
    raft: int = 8300

    @classmethod
    def within(cls, block: PortBlock) -> Ports:
        """The first six ports of a block."""
        rest, grpc, gossip, _, raft, *_ = block.ports
        return cls(rest, grpc, gossip, raft)

    @property
    def all(self) -> tuple[int, ...]:
        """Every port the server listens on."""
        return self.rest, self.grpc, self.gossip, self.gossip + 1, self.raft, self.raft + 1


class Endpoint:
    """The address of a server, and how to connect to it.

    Args:
        url: URL of the REST interface, for example `http://127.0.0.1:8080`.
        grpc_url: URL of the gRPC interface, with or without a scheme. For an https `url` the default is
            `grpc-<host>:443`, as in Weaviate Cloud, else port 50051 of the same host.
        api_key: Sent by the clients unless another one is passed.
    """

    def __init__(self, url: str, grpc_url: str | None = None, api_key: str | None = None) -> None:
        rest = urlsplit(url if "//" in url else f"//{url}", scheme="http")
        secure = rest.scheme == "https"
        if not grpc_url:
            grpc_url = f"//grpc-{rest.hostname}:443" if secure else f"//{rest.hostname}:50051"
        grpc = urlsplit(grpc_url if "//" in grpc_url else f"//{grpc_url}", scheme=rest.scheme)
        self.host = rest.hostname or "localhost"
        self.secure = secure
        self.rest_port = rest.port or (443 if secure else 80)
        self.grpc_host = grpc.hostname or self.host
        self.grpc_secure = grpc.scheme == "https" or grpc.port == 443
        self.grpc_port = grpc.port or (443 if self.grpc_secure else 50051)
        self.api_key = api_key

    @property
    def url(self) -> str:
        """URL of the REST interface."""
        return f"{'https' if self.secure else 'http'}://{self.host}:{self.rest_port}"

    @property
    def grpc_url(self) -> str:
        """URL of the gRPC interface."""
        return f"{'https' if self.grpc_secure else 'http'}://{self.grpc_host}:{self.grpc_port}"

    def client(self, **changes: Any) -> WeaviateClient:
        """Return a connected client of only this server, which the caller closes.

        Args:
            **changes: Other arguments of `weaviate.connect_to_custom`, or `api_key`.
        """
        import weaviate

        return weaviate.connect_to_custom(**self._arguments(**changes))

    def async_client(self, **changes: Any) -> WeaviateAsyncClient:
        """Return a client that is not connected yet: `async with server.async_client() as client`."""
        import weaviate

        return weaviate.use_async_with_custom(**self._arguments(**changes))

    def _arguments(self, *, api_key: str | None = None, **changes: Any) -> dict[str, Any]:
        from weaviate.classes.init import Auth

        key = api_key or self.api_key
        return {
            "http_host": self.host,
            "http_port": self.rest_port,
            "http_secure": self.secure,
            "grpc_host": self.grpc_host,
            "grpc_port": self.grpc_port,
            "grpc_secure": self.grpc_secure,
            "auth_credentials": Auth.api_key(key) if key else None,
            "skip_init_checks": True,
            **changes,
        }


class WeaviateServer(Started, Endpoint):
    """One server process with a folder and ports that it keeps until `close()`.

    Args:
        folder: The folder of its data and `weaviate.log`; created if missing.
        environment: Settings that extend or replace `SETTINGS`, for example `{"ASYNC_INDEXING": "true"}`. With
            `AUTHENTICATION_APIKEY_ALLOWED_KEYS` the clients made here send the first key. Kept as `environment`, a dict
            that may be changed between two starts.
        program: The `weaviate-server` to run; by default that of `find_program()`.
        ports: The ports it listens on; by default free ones.
    """

    def __init__(
        self,
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        program: Path | None = None,
        ports: Ports | None = None,
        name: str = "node1",
    ) -> None:
        self.folder = folder
        self.name = name
        self._program = program
        self._block = PortBlock() if ports is None else None
        self.ports = Ports.within(self._block) if self._block else ports or Ports()
        self.environment = dict(environment or {})
        self.peers: Sequence[WeaviateServer] = (self,)
        self._process: GuardedProcess | None = None
        keys = self.environment.get("AUTHENTICATION_APIKEY_ALLOWED_KEYS", "").split(",")
        super().__init__(
            f"http://127.0.0.1:{self.ports.rest}", f"http://127.0.0.1:{self.ports.grpc}", keys[0].strip() or None
        )

    @property
    def log_path(self) -> Path:
        """The log file of all starts."""
        return self.folder / "weaviate.log"

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.exit_code is None

    @property
    def pid(self) -> int:
        """The process id."""
        if self._process is None:
            raise RuntimeError(f"{self!r} was not started")
        return self._process.pid

    def start(self, *, wait: bool = True) -> Self:
        """Start the process unless it runs, and wait until it responds."""
        if not self.running:
            program = self._program or find_program()
            if program is None:
                raise FileNotFoundError(f"{PROGRAM} is neither on PATH nor in Go's folder: run `make integration`")
            self.folder.mkdir(parents=True, exist_ok=True)
            listen = ["--host", "127.0.0.1", "--port", str(self.ports.rest), "--scheme", "http"]
            self._process = GuardedProcess(
                [str(program), *listen], environment=self._settings(), folder=self.folder, log=self.log_path
            )
        if wait:
            self.wait_until_ready()
        return self

    def stop(self, seconds: float = 30) -> None:
        """Stop the process with SIGTERM; folder and ports are kept."""
        if self._process is not None:
            self._process.stop(seconds)

    def kill(self) -> None:
        """Kill the process with SIGKILL; folder and ports are kept."""
        if self._process is not None:
            self._process.kill()

    def restart(self, *, wait: bool = True) -> Self:
        """Stop and start."""
        self.stop()
        return self.start(wait=wait)

    def freeze(self) -> None:
        """Suspend the process: connections stay open without responses until `thaw()`. Not on Windows."""
        if self._process is not None:
            self._process.freeze()

    def thaw(self) -> None:
        """Resume a frozen process."""
        if self._process is not None:
            self._process.thaw()

    def close(self) -> None:
        """Stop the process and release its ports."""
        self.stop()
        if self._block is not None:
            self._block.release()

    def wait_until_ready(self, seconds: float = PATIENCE) -> None:
        """Wait until REST and gRPC respond.

        Raises:
            RuntimeError: The process ended, or took longer; with the end of its log.
        """
        deadline = time.monotonic() + seconds
        while not (self._answer("/v1/.well-known/ready") is not None and self._grpc_answers()):
            if not self.running:
                code = self._process.exit_code if self._process else None
                raise RuntimeError(f"{self!r} is not running (exit code {code}). Its log ends:\n{self.log()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self!r} is not ready after {seconds:g} s. Its log ends:\n{self.log()}")
            time.sleep(0.1)

    def log(self, lines: int = 20) -> str:
        """The last lines of the log."""
        if not self.log_path.exists():
            return "(none)"
        return "\n".join(self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def _settings(self) -> dict[str, str]:
        alone = len(self.peers) == 1
        others = [f"127.0.0.1:{peer.ports.gossip}" for peer in self.peers if peer is not self]
        return {
            **{name: value for name in _INHERITED if (value := os.environ.get(name)) is not None},
            **SETTINGS,
            "CLUSTER_DATA_BIND_PORT": str(self.ports.gossip + 1),
            "CLUSTER_GOSSIP_BIND_PORT": str(self.ports.gossip),
            "CLUSTER_HOSTNAME": self.name,
            "GRPC_PORT": str(self.ports.grpc),
            "PERSISTENCE_DATA_PATH": str(self.folder / "data"),
            "RAFT_BOOTSTRAP_EXPECT": str(len(self.peers)),
            "RAFT_INTERNAL_RPC_PORT": str(self.ports.raft + 1),
            "RAFT_JOIN": ",".join(f"{peer.name}:{peer.ports.raft}" for peer in self.peers),
            "RAFT_PORT": str(self.ports.raft),
            # A single node need not wait for votes of others, which take most of the start.
            **({"RAFT_TIMEOUTS_MULTIPLIER": "1"} if alone else {"CLUSTER_JOIN": ",".join(others)}),
            **self.environment,
        }

    def healthy_nodes(self) -> set[str]:
        """Names of the nodes that this one reports as healthy; none while it does not respond."""
        found = self._answer("/v1/nodes") or {}
        return {node["name"] for node in found.get("nodes", ()) if node["status"] == "HEALTHY"}

    def _answer(self, path: str) -> Any:
        """The parsed body of a successful response, `{}` if it is empty, else None."""
        connection = http.client.HTTPConnection(self.host, self.rest_port, timeout=5)
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            if answer.status == http.HTTPStatus.OK:
                return json.loads(answer.read() or b"{}")
        return None

    def _grpc_answers(self) -> bool:
        """Call gRPC's health service; without the library, check whether the port is open."""
        try:
            import grpc
        except ImportError:
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.grpc_port), timeout=5):
                return True
            return False
        direct = [("grpc.enable_http_proxy", 0)]
        with grpc.insecure_channel(f"{self.host}:{self.grpc_port}", options=direct) as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check")
            with contextlib.suppress(grpc.RpcError):
                return check(b"", timeout=5) == _SERVING
        return False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, {self.url}, {self.grpc_url}, {self.folder})"


_SERVING = b"\x08\x01"
"""The answer of gRPC's health service that all is well: field 1, value 1."""
