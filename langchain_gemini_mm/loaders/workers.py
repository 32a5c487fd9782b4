"""Worker processes that examine files in parallel; a crash ends a worker, not the run."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from langchain_gemini_mm.errors import ContentError, StoreError
from langchain_gemini_mm.loaders.examine import Examination, Examined, WorkerBug, examine, is_expected, refusal
from langchain_gemini_mm.loaders.options import LoadOptions
from langchain_gemini_mm.loaders.walk import InputFile, Skipped
from langchain_gemini_mm.media.source import OpenedSource, open_source

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.buffer.readline()); "
    "from langchain_gemini_mm.loaders.workers import main; main()"
)
_START_SECONDS = 30.0
"""Time for starting an interpreter and importing libraries on a busy machine."""
_AHEAD = 3
"""Number of files that each worker examines ahead."""


class Workers:
    """Worker processes, which the end of a `with` block ends.

    A worker is a new interpreter that does not import the caller's program: no `__main__` guard is needed, and it works
    in notebooks. It receives paths and answers in JSON, so that a file that takes control of a worker can send nothing
    but data.
    """

    def __init__(self, count: int, options: LoadOptions) -> None:
        self._options = options
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._workers = [_Worker(options) for _ in range(count)]
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="media-loader")
        self._ahead = _AHEAD * count

    def __enter__(self) -> Self:
        """Return itself; processes start when they are needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes, also busy ones."""
        for worker in self._workers:
            worker.end()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def ahead(self, items: Iterable[InputFile | Skipped]) -> Iterator[tuple[InputFile | Skipped, Examination]]:
        """Yield items in order, while workers examine a limited number of the files that follow."""
        waiting: deque[tuple[InputFile | Skipped, Examination]] = deque()
        for item in items:
            if isinstance(item, Skipped) or item.path is None:
                waiting.append((item, partial(self.examine, source=item.source)))
            else:
                begun = self._threads.submit(self._examine, item.path, item.source, in_text=False)
                waiting.append((item, partial(_result, begun)))
            if len(waiting) > self._ahead:
                yield waiting.popleft()
        yield from waiting

    def examine(self, opened: OpenedSource, source: str, *, in_text: bool = False) -> Examined:
        """Have a worker examine a file; a file in memory is written to disk for it.

        Args:
            opened: the file.
            source: its name.
            in_text: it is part of a page or mail, so that `LoadOptions.in_texts` apply.
        """
        if opened.path is not None:
            return self._examine(opened.path, source, in_text=in_text)
        with TemporaryDirectory(prefix="media-loader-") as folder:
            path = Path(folder, "file")
            opened.file.seek(0)
            path.write_bytes(opened.file.read())
            return self._examine(path, source, in_text=in_text)

    def _examine(self, path: Path, source: str, *, in_text: bool) -> Examined:
        worker = self._idle.get()
        question = {"path": os.fsencode(path).hex(), "source": source, "in_text": in_text}
        try:
            return worker.examine(question)
        finally:
            self._idle.put(worker)


def _result(begun: Future[Examined], _opened: OpenedSource) -> Examined:
    return begun.result()


class _Worker:
    """A process; if it ends, another one is started."""

    def __init__(self, options: LoadOptions) -> None:
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._ended = False
        self._is_ready = False

    def examine(self, question: dict[str, object]) -> Examined:
        seconds = self._options.worker_seconds
        process = self._started()
        late = threading.Timer(seconds + (0 if self._is_ready else _START_SECONDS), process.kill)
        late.daemon = True
        late.start()
        try:
            line = self._asked(process, question)
        finally:
            in_time = late.is_alive()
            late.cancel()
        try:
            answer = json.loads(line)
            self._is_ready = True
            if "refused" in answer:
                raise ContentError(str(answer["refused"]))
            if "bug" in answer:
                raise WorkerBug(*map(str, answer["bug"]))
            return Examined.from_json(answer["examined"])
        except (ContentError, WorkerBug):
            raise
        except (ValueError, KeyError, TypeError) as error:
            process.kill()
            code = process.wait()
            self._is_ready = False
            if not in_time:
                raise ContentError(
                    f"examining it took more than {seconds:g} s; allow more with worker_seconds="
                ) from error
            raise ContentError(
                f"it crashed the worker process that opened it ({_ending(code)}), or needs more than "
                f"{self._options.worker_bytes >> 20:,} MiB of memory; allow more with worker_bytes="
            ) from error

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
            self._process = _start(self._options)
            return self._process


def _start(options: LoadOptions) -> subprocess.Popen[bytes]:
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
        process.stdin.write(json.dumps(sys.path).encode() + b"\n" + json.dumps(options.to_json()).encode() + b"\n")
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
    """Answer questions until standard input ends; its first line holds the options.

    Standard output is redirected to standard error, because libraries that print would spoil the answers.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    questions = sys.stdin.buffer
    options = LoadOptions.from_json(json.loads(questions.readline()))
    _limit_memory(options.worker_bytes)
    while line := questions.readline():
        answers.write(json.dumps(answer(json.loads(line), options)) + "\n")
        answers.flush()


def _limit_memory(size: int) -> None:
    """Limit the memory that this process can allocate from now on; on Linux only."""
    try:
        import resource

        status = Path("/proc/self/status").read_text()
    except (ImportError, OSError):
        return
    used = next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmData:")), 0)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (used + size, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def answer(question: dict[str, Any], options: LoadOptions) -> dict[str, Any]:
    """The result of examining a file, or why it cannot be used."""
    path = Path(os.fsdecode(bytes.fromhex(question["path"])))
    options = options.in_texts() if question["in_text"] else options
    try:
        with closing(open_source(path)[0]) as file:
            return {"examined": examine(file, question["source"], options).to_json()}
    except Exception as error:  # noqa: BLE001  reported by the process that asked
        if is_expected(error):
            return {"refused": refusal(error, question["source"])}
        bug = WorkerBug.of(error)
        return {"bug": [bug.name, bug.trace]}
