"""Blocks of free ports on this machine that no other test process uses.

A free port can be taken before a program binds it. So the first port of a block stays bound here as long as the block
is in use: a process that cannot bind it tries the next block. Blocks are below the range that systems use for outgoing
connections.
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
    """Free ports that are reserved until `release()`, or until the block is garbage collected."""

    def __init__(self) -> None:
        guard, self.ports = _take()
        self._finalizer = weakref.finalize(self, guard.close)

    def release(self) -> None:
        """Release the ports."""
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
    """Whether no program listens on a port, with TCP or UDP."""
    for socket_type in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        bound = _bound(port, socket_type)
        if bound is None:
            return False
        bound.close()
    return True


def _bound(port: int, socket_type: socket.SocketKind) -> socket.socket | None:
    one = socket.socket(socket.AF_INET, socket_type)
    if sys.platform == "win32":
        one.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    try:
        one.bind(("", port))
    except OSError:
        one.close()
        return None
    return one
