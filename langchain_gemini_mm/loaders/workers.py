"""Files examined by other processes: on several processors, and so that a crash ends a worker, not the run."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, TypeVar

from langchain_gemini_mm.errors import ContentError, StoreError
from langchain_gemini_mm.loaders.examine import Examination, Examined, examination, examine_path, refusal
from langchain_gemini_mm.loaders.options import Wanted
from langchain_gemini_mm.loaders.walk import Found

T = TypeVar("T")

FILE_SECONDS = 900.0
"""How long a worker may take over one file."""

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.buffer.readline()); "
    "from langchain_gemini_mm.loaders.workers import main; main()"
)
_AHEAD = 3
"""Files that are examined before their turn, for each worker."""


class Workers:
    """Some worker processes; `with` ends them.

    A worker is a fresh interpreter that imports nothing of the caller's program: it needs no `__main__` guard and works
    in notebooks. It is told paths and answers in JSON, so that a file that takes it over cannot hand anything but words
    to this process.
    """

    def __init__(self, count: int, wanted: Wanted, *, file_seconds: float = FILE_SECONDS) -> None:
        self._wanted = wanted
        self._file_seconds = file_seconds
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._workers = [_Worker(wanted) for _ in range(count)]
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="media-loader")
        self._ahead = _AHEAD * count

    def __enter__(self) -> Self:
        """Give itself; processes start when they are needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes, also those that are at work."""
        for worker in self._workers:
            worker.end()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def ahead(self, items: Iterable[T]) -> Iterator[tuple[T, Examination]]:
        """Give items in their order, files with their examination, which was begun before; a bounded number of them."""
        waiting: deque[tuple[T, Examination]] = deque()
        for item in items:
            begun = self._threads.submit(self.look, item.path, item.source) if isinstance(item, Found) else None
            waiting.append((item, begun.result if begun else examination(self, item)))
            if len(waiting) > self._ahead:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()

    def look(self, stored: Path | bytes, source: str, *, into_texts: bool = False) -> Examined:
        """Have a worker look into a file; bytes go by way of a temporary one."""
        if isinstance(stored, Path):
            return self._examine(stored, source, into_texts=into_texts)
        with TemporaryDirectory(prefix="media-loader-") as folder:
            path = Path(folder, "file")
            path.write_bytes(stored)
            return self._examine(path, source, into_texts=into_texts)

    def _examine(self, path: Path, source: str, *, into_texts: bool = False) -> Examined:
        worker = self._idle.get()
        question = {"path": os.fsencode(path).hex(), "source": source, "into_texts": into_texts}
        try:
            return worker.examine(question, self._file_seconds)
        finally:
            self._idle.put(worker)


class _Worker:
    """One process; a new one is started after it died."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._ended = False

    def examine(self, question: dict[str, object], seconds: float) -> Examined:
        process = self._started()
        late = threading.Timer(seconds, process.kill)
        late.daemon = True
        late.start()
        try:
            line = self._asked(process, question)
        finally:
            in_time = late.is_alive()
            late.cancel()
        try:
            answer = json.loads(line)
            if "refused" in answer:
                raise ContentError(str(answer["refused"]))
            return Examined.from_json(answer["seen"])
        except ContentError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            process.kill()
            code = process.wait()
            if not in_time:
                raise ContentError(f"it took a worker more than {seconds:g} s, which was ended") from error
            raise ContentError(f"it crashed the worker that opened it ({_ending(code)})") from error

    def end(self) -> None:
        """Kill the process."""
        with self._lock:
            self._ended = True
            if self._process is not None:
                self._process.kill()
                _close(self._process)

    def _asked(self, process: subprocess.Popen[bytes], question: object) -> bytes:
        assert process.stdin is not None  # noqa: S101  it was asked for
        assert process.stdout is not None  # noqa: S101
        try:
            process.stdin.write(json.dumps(question).encode() + b"\n")
            process.stdin.flush()
            return process.stdout.readline()
        except (OSError, ValueError):
            return b""

    def _started(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._ended:
                raise ContentError("the run was ended")
            if self._process is not None and self._process.poll() is None:
                return self._process
            if self._process is not None:
                _close(self._process)
            self._process = _start(self._wanted)
            return self._process


def _start(wanted: Wanted) -> subprocess.Popen[bytes]:
    try:
        process = subprocess.Popen(  # noqa: S603  this very interpreter
            [sys.executable, "-P", "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        raise StoreError(f"cannot start a worker process ({error}); use workers=0") from error
    assert process.stdin is not None  # noqa: S101
    with suppress(OSError):
        process.stdin.write(json.dumps(sys.path).encode() + b"\n" + json.dumps(wanted.to_json()).encode() + b"\n")
        process.stdin.flush()
    return process


def _close(process: subprocess.Popen[bytes]) -> None:
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def main() -> None:
    """Answer until there are no more questions.

    The first line says what is wanted. Libraries that print would spoil the answers, so these go out by a door of
    their own.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    questions = sys.stdin.buffer
    wanted = Wanted.from_json(json.loads(questions.readline()))
    while line := questions.readline():
        answers.write(json.dumps(answer(json.loads(line), wanted)) + "\n")
        answers.flush()


def answer(question: dict[str, Any], wanted: Wanted) -> dict[str, Any]:
    """What is in a file, or why it cannot be used."""
    path = Path(os.fsdecode(bytes.fromhex(question["path"])))
    wanted = wanted.inside_texts() if question["into_texts"] else wanted
    try:
        return {"seen": examine_path(path, question["source"], wanted).to_json()}
    except Exception as error:  # noqa: BLE001  whatever a file causes is the file's fault here
        return {"refused": refusal(error)}
