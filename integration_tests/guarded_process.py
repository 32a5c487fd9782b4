"""Processes that end when the process that started them ends, even if that one is killed.

A killed process runs no finalizers. So a small second process reads from a pipe: when the pipe breaks, it kills the
programs that are registered and were not released.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_WATCH = """
import os, signal, sys
pids = set()
for line in sys.stdin:
    word, pid = line.split()
    (pids.add if word == "guard" else pids.discard)(int(pid))
for pid in pids:
    try:
        os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    except OSError:
        pass
"""

# Ctrl-C is sent to the whole process group; the processes started here are stopped in order instead.
_APART: dict[str, Any] = (
    {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    if sys.platform == "win32"
    else {"start_new_session": True}
)


class _Watcher:
    """The second process and the pipe to it; it is started with the first program."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0

    def send(self, word: str, pid: int) -> None:
        """Send the command `guard` or `release` for a process."""
        with self._lock:
            if self._process is None or self._owner != os.getpid():
                command = [sys.executable, "-I", "-S", "-c", _WATCH]
                self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, **_APART)
                self._owner = os.getpid()
                atexit.register(self._break_pipe, self._process, self._owner)
            assert self._process.stdin is not None
            self._process.stdin.write(f"{word} {pid}\n")
            self._process.stdin.flush()

    @staticmethod
    def _break_pipe(process: subprocess.Popen[str], owner: int) -> None:
        if owner == os.getpid():
            process.communicate()


_WATCHER = _Watcher()


class GuardedProcess:
    """A running program whose output is appended to a file."""

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=folder,
                **_APART,
            )
        _WATCHER.send("guard", self.pid)
        self._frozen = False
        self._finalizer = weakref.finalize(self, _end, self._process, os.getpid())

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    def stop(self, seconds: float) -> None:
        """Terminate it, and kill it if it still runs after some seconds."""
        self.thaw()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._finalizer()

    def freeze(self) -> None:
        """Suspend it until `thaw()`: it stays alive but does not respond. Not on Windows."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)  # sent is not stopped: it may still answer a call
        self._frozen = True

    def thaw(self) -> None:
        """Resume it after `freeze()`."""
        if self._frozen:
            self._process.send_signal(signal.SIGCONT)
            self._frozen = False


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    if owner != os.getpid():
        return  # a copy of the object in a forked process
    process.kill()
    process.wait()
    _WATCHER.send("release", process.pid)
