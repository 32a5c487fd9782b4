"""Free ports on this machine, in blocks that no other harness takes.

A port that was found free can be taken by the time a program binds it. So the first port of a block stays bound here
as long as the block is in use: who cannot bind it, in this process or another, passes on to the next block. Blocks lie
below the ports that systems give to outgoing connections.
"""

from __future__ import annotations

import os
import random
import socket
import sys
import weakref

FIRST, LAST = 20_000, 31_992
SIZE = 8
"""Ports in a block, the guard included."""


class PortBlock:
    """Free ports that stay ours until `release()`, or until the block is forgotten."""

    def __init__(self) -> None:
        guard, self.ports = _take()
        self._finalizer = weakref.finalize(self, guard.close)

    def release(self) -> None:
        """Let others take them."""
        self._finalizer()


def _take() -> tuple[socket.socket, tuple[int, ...]]:
    starts = list(range(FIRST, LAST, SIZE))
    random.Random(os.urandom(8)).shuffle(starts)
    for start in starts:
        guard = _bound(start, socket.SOCK_STREAM)
        if guard is None:
            continue
        ports = tuple(range(start + 1, start + SIZE))
        if all(is_free(port) for port in ports):
            return guard, ports
        guard.close()
    raise RuntimeError(f"no {SIZE} free ports in a row between {FIRST} and {LAST}")


def is_free(port: int) -> bool:
    """Whether no program listens on a port, neither on TCP nor on UDP."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        bound = _bound(port, kind)
        if bound is None:
            return False
        bound.close()
    return True


def _bound(port: int, kind: socket.SocketKind) -> socket.socket | None:
    one = socket.socket(socket.AF_INET, kind)
    if sys.platform == "win32":
        one.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    try:
        one.bind(("", port))
    except OSError:
        one.close()
        return None
    return one
