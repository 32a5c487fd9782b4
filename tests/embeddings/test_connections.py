"""Clients of the SDK: new after a fork, one for each event loop and none left behind, closed when nobody uses them."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from langchain_gemini_mm import GeminiEmbeddings
from langchain_gemini_mm.testing import GeminiEmulator

ROOT = Path(__file__).parent.parent.parent
LINUX = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc")
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def run_program(program: str, emulator: GeminiEmulator) -> str:
    """Run a program in a process of its own, with `ours` and `new()` for the emulator; returns what it prints."""
    start = f"""
import asyncio, gc, os, sys, threading, time
from pathlib import Path
import numpy as np
from langchain_gemini_mm import GeminiEmbeddings
def new():
    return GeminiEmbeddings(api_key={emulator.api_key!r}, base_url={emulator.url!r}, output_dimensionality=128)
ours = new()
def descriptors():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))
"""
    command = [sys.executable, "-W", "ignore", "-c", start + program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@FORKS
def test_forked_processes_do_not_read_each_others_answers(emulator: GeminiEmulator) -> None:
    """Children of a process that has embedded open connections of their own."""
    emulator.settings.latency = 0.2
    program = """
import multiprocessing
fork = multiprocessing.get_context("fork")
texts = ["dog puppy animal", "castle sea stone"]
truth = [new().embed_query(text) for text in texts]
def child(number, queue):
    time.sleep(0.05 * number)
    queue.put((number, ours.embed_query(texts[number])))
right = 0
for _ in range(3):
    ours.embed_query("a connection that stays open")
    queue = fork.Queue()
    children = [fork.Process(target=child, args=(number, queue)) for number in range(2)]
    for one in children:
        one.start()
    right += sum(vector == truth[number] for number, vector in (queue.get(timeout=60) for _ in children))
    for one in children:
        one.join()
assert ours.embed_query(texts[0]) == truth[0]
print(right)
"""
    assert run_program(program, emulator) == "6"


@pytest.mark.slow
@FORKS
@LINUX
def test_a_thousand_texts_from_processes_threads_and_loops_at_once(emulator: GeminiEmulator) -> None:
    """Four forked children with eight threads and three event loops: every vector is right, and nothing stays open."""
    program = """
from concurrent.futures import ThreadPoolExecutor
texts = [f"text number {n} of many" for n in range(1000)]
truth = np.array(new().embed_documents(texts))
ours.embed_query("a connection that stays open")
async def some(part):
    return await asyncio.gather(*(ours.aembed_documents(part[n : n + 5]) for n in range(0, len(part), 5)))
def work(piece):
    kind, numbers = piece
    part = [texts[n] for n in numbers]
    if kind == "loop":
        found = [vector for group in asyncio.run(some(part)) for vector in group]
    else:
        found = ours.embed_documents(part, batch_size=7)
    return bool(np.allclose(found, truth[numbers], atol=1e-6))
def child(number):
    mine = np.arange(number, 1000, 4)
    pieces = [("loop", piece) for piece in np.array_split(mine[:120], 3)]
    pieces += [("thread", piece) for piece in np.array_split(mine[120:], 8)]
    with ThreadPoolExecutor(11) as pool:
        right = all(pool.map(work, pieces))
    before = descriptors()
    with ThreadPoolExecutor(11) as pool:
        right = right and all(pool.map(work, pieces))
    ours.close()
    return right and descriptors() <= before
children = []
for number in range(4):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if child(number) else 1)
    children.append(pid)
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
"""
    assert run_program(program, emulator) == "[0, 0, 0, 0]"


@pytest.mark.slow
@LINUX
def test_event_loops_leave_neither_memory_nor_descriptors(emulator: GeminiEmulator) -> None:
    """One loop for each request is what many programs do."""
    program = """
def resident():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
for n in range(60):
    asyncio.run(ours.aembed_query("warm"))
memory, opened = resident(), descriptors()
for n in range(500):
    asyncio.run(ours.aembed_query(f"x{n}"))
print(resident() - memory < 5_000_000, descriptors() <= opened)
"""
    assert run_program(program, emulator) == "True True"


@pytest.mark.slow
@LINUX
def test_loops_closed_without_shutdown_leave_no_descriptors(emulator: GeminiEmulator) -> None:
    """Their clients are dropped when the next one is made, or at close()."""
    program = """
def once(text):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(ours.aembed_query(text))
    loop.close()
once("a")
ours.close()
before = descriptors()
for n in range(10):
    once(f"x{n}")
ours.close()
ends = time.monotonic() + 5  # threads that end may hold some for an instant
while descriptors() > before and time.monotonic() < ends:
    time.sleep(0.05)
print(descriptors() <= before)
"""
    assert run_program(program, emulator) == "True"


def test_close_lets_running_calls_end(emulator: GeminiEmulator) -> None:
    """Calls of other threads get their vectors while close() is called again and again."""
    emulator.settings.latency = (0.0, 0.03)
    ours = GeminiEmbeddings(output_dimensionality=128, timeout=20, max_retries=0)
    expected = ours.embed_query("a")

    def work(_: int) -> bool:
        return all(ours.embed_query("a") == expected for _ in range(15))

    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(work, n) for n in range(4)]
        while not all(result.done() for result in results):
            ours.close()
            time.sleep(0.01)
        assert all(result.result() for result in results)


async def test_aclose_lets_running_calls_end(emulator: GeminiEmulator) -> None:
    """Calls of other tasks get their vectors while aclose() is called again and again."""
    emulator.settings.latency = (0.0, 0.03)
    ours = GeminiEmbeddings(output_dimensionality=128, timeout=20, max_retries=0)
    expected = await ours.aembed_query("a")

    async def work() -> bool:
        return all([await ours.aembed_query("a") == expected for _ in range(15)])

    tasks = [asyncio.ensure_future(work()) for _ in range(4)]
    while not all(task.done() for task in tasks):
        await ours.aclose()
        await asyncio.sleep(0.01)
    assert all(await asyncio.gather(*tasks))


def test_repeated_close_leaves_no_client(emulator: GeminiEmulator) -> None:
    """A closed client is not kept for the end of the process."""
    ours = GeminiEmbeddings(output_dimensionality=128)

    def clients() -> int:
        gc.collect()
        return sum(type(found).__name__ == "LimitedClient" for found in gc.get_objects())

    ours.embed_query("a")
    ours.close()
    before = clients()
    for _ in range(3):
        ours.embed_query("a")
        ours.close()

    assert clients() <= before


def test_a_cancelled_task_does_not_break_the_next(emulator: GeminiEmulator) -> None:
    """Its connection is closed, and the others are used further."""
    emulator.settings.latency = 0.3
    ours = GeminiEmbeddings(output_dimensionality=128)

    async def main() -> list[float]:
        task = asyncio.ensure_future(ours.aembed_query("a"))
        await asyncio.sleep(0.15)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return await ours.aembed_query("b")

    assert asyncio.run(main()) == ours.embed_query("b")


def test_a_new_key_takes_effect(emulator: GeminiEmulator) -> None:
    """Also one that is assigned as plain text, which is a secret from then on."""
    ours = GeminiEmbeddings(api_key="the-old-key", output_dimensionality=128, max_retries=0)
    with pytest.raises(Exception, match="API key not valid"):
        ours.embed_query("a")

    ours.google_api_key = emulator.api_key

    assert len(ours.embed_query("a")) == 128
    assert emulator.api_key not in repr(ours)
    with pytest.raises(ValueError, match="the API key is empty"):
        ours.google_api_key = " "
    assert threading.active_count() < 100
