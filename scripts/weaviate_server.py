"""A Weaviate server without Docker: install one with Go, and run it.

    python -m scripts.weaviate_server install   # the first step of `make integration`
    python -m scripts.weaviate_server run       # on the usual ports 8080 and 50051, data in ./weaviate-data

It needs Python, and Go 1.26 for the installation.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from integration_tests.loopback_ports import is_free
from integration_tests.weaviate_server import VERSION, Ports, WeaviateServer, find_program

MODULE = f"github.com/weaviate/weaviate/cmd/weaviate-server@v{VERSION}"
GO = (1, 26)
ELSEWHERE = f"""\
The tests need a Weaviate server, and there is none here: no weaviate-server on PATH or in Go's folder, and no Go
{GO[0]}.{GO[1]} that could build one. Either install Go (https://go.dev/dl) and try again, or name a server:

  Docker          docker run --rm -p 8080:8080 -p 50051:50051 cr.weaviate.io/semitechnologies/weaviate:{VERSION}
                  export WEAVIATE_URL=http://localhost:8080 WEAVIATE_GRPC_URL=http://localhost:50051

  Weaviate Cloud  export WEAVIATE_URL=https://<your cluster> WEAVIATE_API_KEY=<its key>

  embedded        python -c 'import weaviate as w; c = w.connect_to_embedded(version="{VERSION}"); input()'
  (Linux, macOS)  export WEAVIATE_URL=http://localhost:8079 WEAVIATE_GRPC_URL=http://localhost:50050

Tests that stop or kill servers start their own; with a server named they are skipped where they cannot."""


def go_version() -> tuple[int, int] | None:
    """Return the version of the installed Go as two numbers."""
    if shutil.which("go") is None:
        return None
    said = subprocess.run(["go", "env", "GOVERSION"], check=False, capture_output=True, text=True).stdout  # noqa: S607
    found = re.match(r"go(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else None


def version_of(program: Path) -> str | None:
    """Return the version of a server that Go built, if Go reports it."""
    if shutil.which("go") is None:
        return None
    said = subprocess.run(["go", "version", "-m", program], check=False, capture_output=True, text=True).stdout  # noqa: S607
    found = re.search(r"^\s*mod\s+github\.com/weaviate/weaviate\s+v(\S+)", said, re.MULTILINE)
    return found[1] if found else None


def build() -> None:
    """Build and install the server with Go."""
    print(f"Building weaviate-server {VERSION} with Go; this takes some minutes and is needed once ...", flush=True)
    started = time.monotonic()
    code = subprocess.run(["go", "install", MODULE], check=False).returncode  # noqa: S607
    if code:
        sys.exit(f"failed: go install {MODULE}")
    print(f"... built in {time.monotonic() - started:.0f} s", flush=True)


def install(*, own: bool) -> int:
    """Make sure that tests find a server; return the exit status."""
    url = os.environ.get("WEAVIATE_URL")
    if url and not own:
        print(f"Weaviate: the tests use WEAVIATE_URL, {url}")
        return 0
    program = find_program()
    fits = program is not None and version_of(program) in {VERSION, None}
    if not fits and (go_version() or (0, 0)) >= GO:
        build()
        program = find_program()
    if program is None:
        print(ELSEWHERE, file=sys.stderr)
        return 2
    print(f"Weaviate: the tests start {program}, version {version_of(program) or 'unknown'}")
    return 0


def run(folder: Path, ports: Ports) -> int:
    """Run a server until Ctrl-C; return the exit status."""
    if find_program() is None:
        print("weaviate-server is not installed: python -m scripts.weaviate_server install", file=sys.stderr)
        return 2
    taken = [port for port in ports.all if not is_free(port)]
    if taken:
        print(f"used by another program: {', '.join(f'port {port}' for port in taken)}", file=sys.stderr)
        return 1
    print("Starting Weaviate ...", flush=True)
    try:
        with WeaviateServer(folder.resolve(), ports=ports) as server:
            print(f"REST {server.url}   gRPC {server.grpc_url}   data and log in {folder}")
            print(f"weaviate.connect_to_local(port={ports.rest}, grpc_port={ports.grpc})")
            print("Press Ctrl-C to stop.", flush=True)
            while server.running:
                time.sleep(0.2)
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0
    print(f"The server exited. End of its log:\n{server.log()}", file=sys.stderr)
    return 1


def main() -> int:
    """Parse the command line and carry it out; return the exit status."""
    parser = argparse.ArgumentParser(description="A Weaviate server without Docker.")
    commands = parser.add_subparsers(dest="command", required=True)
    installing = commands.add_parser("install", help="find weaviate-server or build it with Go")
    installing.add_argument("--own", action="store_true", help="also where WEAVIATE_URL names a server")
    running = commands.add_parser("run", help="run one server until Ctrl-C")
    running.add_argument("--folder", type=Path, default=Path("weaviate-data"), help="default: ./weaviate-data")
    running.add_argument("--port", type=int, default=Ports.rest, help=f"of REST (default: {Ports.rest})")
    running.add_argument("--grpc-port", type=int, default=Ports.grpc, help=f"of gRPC (default: {Ports.grpc})")
    arguments = parser.parse_args()
    if arguments.command == "install":
        return install(own=arguments.own)
    return run(arguments.folder, Ports(rest=arguments.port, grpc=arguments.grpc_port))


if __name__ == "__main__":
    sys.exit(main())
