"""Threads, event loops, processes, copies, caches: one object in all ways programs use it."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from langchain_core.stores import InMemoryByteStore

from langchain_gemini_mm import GeminiEmbeddings, MediaStore
from langchain_gemini_mm.errors import InvalidValueError
from langchain_gemini_mm.interfaces import Content
from langchain_gemini_mm.testing import GeminiEmulator, png

ROOT = Path(__file__).parent.parent.parent


async def test_sync_equals_async(embeddings: GeminiEmbeddings, media: MediaStore) -> None:
    """Sync and async calls give the same vectors for the same contents."""
    contents: list[Content] = ["a", png("p"), ["b", png("q")], media.put(png("r")).markdown]

    assert await embeddings.aembed_documents(contents) == embeddings.embed_documents(contents)
    assert await embeddings.aembed_query("a") == embeddings.embed_query("a")
    np.testing.assert_array_equal(await embeddings.aembed(contents), embeddings.embed(contents))


def test_many_threads_share_one_object(emulator: GeminiEmulator) -> None:
    """64 threads, 1,000 calls on one client: each gets its own response, and no call is lost or repeated."""
    ours = GeminiEmbeddings(output_dimensionality=128)
    words = [f"word{n}" for n in range(40)]
    expected = dict(zip(words, ours.embed(words, role="query").tolist(), strict=True))

    def ask(number: int) -> bool:
        word = words[number % len(words)]
        return bool(np.allclose(ours.embed_query(word), expected[word], atol=1e-6))

    with ThreadPoolExecutor(64) as pool:
        assert all(pool.map(ask, range(1000)))
    assert ours.usage.retries == 0
    assert ours.usage.requests == 1001


def test_several_event_loops(emulator: GeminiEmulator) -> None:
    """One object works in consecutive loops, and in several loops in threads at the same time."""
    ours = GeminiEmbeddings(output_dimensionality=128)
    expected = ours.embed_query("a")

    async def ask() -> bool:
        answers = await asyncio.gather(*(ours.aembed_query("a") for _ in range(5)))
        return all(answer == expected for answer in answers)

    assert all(asyncio.run(ask()) for _ in range(4))
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda _: asyncio.run(ask()), range(8)))


def test_nothing_warns_at_exit(emulator: GeminiEmulator) -> None:
    """A program that closes nothing ends without warnings, although connections are open."""
    program = f"""
import asyncio
from langchain_gemini_mm import GeminiEmbeddings
ours = GeminiEmbeddings(api_key={emulator.api_key!r}, base_url={emulator.url!r}, output_dimensionality=128)
ours.embed_query("a")
for _ in range(2):
    asyncio.run(ours.aembed_documents(["a"] * 150))
assert len(ours.embed_documents(["b"] * 250)) == 250
"""
    run = subprocess.run(
        [sys.executable, "-W", "always", "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (run.returncode, run.stderr, run.stdout) == (0, "", "")


def test_nothing_warns_when_forgotten_in_a_cycle(emulator: GeminiEmulator) -> None:
    """An object in a reference cycle leaves no open socket when it is collected."""
    unraisable = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda found: unraisable.append(found.exc_value)
    try:
        for _ in range(5):
            holder: list[object] = [GeminiEmbeddings(output_dimensionality=128)]
            holder[0].embed_query("a")  # type: ignore[attr-defined]
            holder.append(holder)
            del holder
            gc.collect()
    finally:
        sys.unraisablehook = hook

    assert not unraisable


@pytest.mark.parametrize("how", ["sync", "async"])
def test_completed_requests_are_freed(how: str, emulator: GeminiEmulator) -> None:
    """No request waits for a full garbage collection; a body may contain a hundred images."""
    ours = GeminiEmbeddings(output_dimensionality=128)

    async def ask() -> None:
        for _ in range(5):
            await ours.aembed_query("a")

    ours.embed_query("a")
    gc.collect()
    gc.disable()
    try:
        if how == "sync":
            for _ in range(5):
                ours.embed_query("a")
        else:
            asyncio.run(ask())
        left = [
            found
            for found in gc.get_objects()
            if type(found).__name__ == "Request" and "httpx" in type(found).__module__
        ]
    finally:
        gc.enable()

    assert not left


def test_hooks_of_the_caller_still_run(emulator: GeminiEmulator) -> None:
    """Event hooks in `client_args` are kept in addition to ours."""
    seen: list[int] = []
    ours = GeminiEmbeddings(client_args={"event_hooks": {"response": [lambda answer: seen.append(answer.status_code)]}})

    ours.embed_query("a")

    assert seen == [200]


def test_copies_and_pickles_work_without_open_clients(emulator: GeminiEmulator) -> None:
    """A used object can be pickled and copied; the copy opens its own connections."""
    ours = GeminiEmbeddings(output_dimensionality=128)
    expected = ours.embed_query("a")

    for twin in (pickle.loads(pickle.dumps(ours)), copy.deepcopy(ours), copy.copy(ours), ours.model_copy()):
        assert twin.embed_query("a") == expected
    changed = ours.model_copy(update={"output_dimensionality": 256})
    assert len(changed.embed_query("a")) == 256
    assert ours.embed_query("a") == expected


def test_worker_processes(emulator: GeminiEmulator) -> None:
    """A pickled object works in another process."""
    ours = GeminiEmbeddings(output_dimensionality=128)
    expected = ours.embed_query("a")
    program = "import pickle, sys; print(pickle.load(sys.stdin.buffer).embed_query('a') == eval(sys.argv[1]))"

    run = subprocess.run(
        [sys.executable, "-c", program, repr(expected)],
        input=pickle.dumps(ours),
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert run.stdout.strip() == b"True", run.stderr


def test_it_can_be_used_after_close(emulator: GeminiEmulator) -> None:
    """Closing frees connections; the next call opens new ones."""
    ours = GeminiEmbeddings(output_dimensionality=128)
    with ours:
        first = ours.embed_query("a")
    ours.close()

    assert ours.embed_query("a") == first

    async def twice() -> list[float]:
        async with ours:
            await ours.aembed_query("a")
        return await ours.aembed_query("a")

    assert asyncio.run(twice()) == first


def test_a_passed_client_is_used_and_left_open(emulator: GeminiEmulator) -> None:
    """A passed client is used; its owner closes it."""
    from google.genai import Client

    client = Client(api_key=emulator.api_key, http_options={"base_url": emulator.url, "api_version": "v1"})
    ours = GeminiEmbeddings(client=client, output_dimensionality=128)
    ours.embed_query("a")
    ours.close()

    assert ours.embed_query("b")
    assert emulator.embed_requests[-1].path.startswith("/v1/")
    client.close()


class TestCache:
    """Vectors cached in any byte store."""

    def test_equal_content_is_embedded_once(self, emulator: GeminiEmulator, media: MediaStore, tmp_path: Path) -> None:
        """The same image as bytes, file or reference is one entry; another size or role is another entry."""
        ours = GeminiEmbeddings(media=media, cache=InMemoryByteStore(), output_dimensionality=128)
        image = png("p")
        path = tmp_path / "p.png"
        path.write_bytes(image)
        first = ours.embed_documents([image, "a"])

        again = ours.embed_documents([path, "a", media.put(image).markdown])

        assert again == [first[0], first[1], first[0]]
        assert emulator.embedded == 2
        ours.embed_query("a")
        ours.embed_documents(["a"], output_dimensionality=256)
        assert emulator.embedded == 4
        assert ours.usage.cached == 2

    async def test_async_uses_the_same_entries(self, emulator: GeminiEmulator) -> None:
        """Entries of sync calls are used by async calls and vice versa; hits and misses keep their order."""
        ours = GeminiEmbeddings(cache=InMemoryByteStore(), output_dimensionality=128)
        ours.embed_documents(["a", "c"])

        mixed = await ours.aembed_documents(["b", "a", "d", "c"])

        assert emulator.embedded == 4
        assert mixed == GeminiEmbeddings(output_dimensionality=128).embed_documents(["b", "a", "d", "c"])

    def test_values_are_float32_bytes_and_damage_is_a_miss(
        self, emulator: GeminiEmulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An entry has 4 bytes per value; a truncated entry or one of another size is embedded again."""
        cache = InMemoryByteStore()
        ours = GeminiEmbeddings(cache=cache, output_dimensionality=128)
        expected = ours.embed_documents(["a"])
        (key,) = cache.yield_keys()
        (value,) = cache.mget([key])
        assert value is not None
        assert np.allclose(np.frombuffer(value, "<f4"), expected[0])

        for damaged in (b"", value[:-1], b"\x00" * len(value), b"\xff" * len(value)):
            cache.mset([(key, damaged)])
            assert ours.embed_documents(["a"]) == expected
        assert "cached embedding" in caplog.text

    def test_a_failure_keeps_received_vectors(self, emulator: GeminiEmulator) -> None:
        """After an error, a second call sends only the missing contents."""
        ours = GeminiEmbeddings(cache=InMemoryByteStore(), max_concurrency=1)
        emulator.script([None, 400])
        with pytest.raises(Exception, match="400"):
            ours.embed_documents(["a", "b", "c"], batch_size=1)

        ours.embed_documents(["a", "b", "c"], batch_size=1)

        assert emulator.embedded == 3


def test_usage_adds_up_from_many_threads(emulator: GeminiEmulator) -> None:
    """Usage is correct under concurrency, estimated by modality, and can be reset."""
    ours = GeminiEmbeddings(output_dimensionality=128)
    barrier = threading.Barrier(8)

    def work(_: int) -> None:
        barrier.wait()
        ours.embed_documents(["12345678", png("p")])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))

    usage = ours.usage
    assert (usage.items, usage.requests, usage.estimated_tokens) == (16, 8, {"text": 8 * 7, "image": 8 * 258})
    assert usage.estimated_usd == pytest.approx(8 * 7 * 0.20e-6 + 8 * 258 * 0.45e-6)
    ours.reset_usage()
    assert ours.usage.items == 0


def test_secrets_never_show(emulator: GeminiEmulator) -> None:
    """No repr, str or validation error contains keys, headers, proxies or credentials."""
    secret = "s3cr3t-value"
    ours = GeminiEmbeddings(
        api_key=secret, additional_headers={"authorization": secret}, client_args={"headers": {"x": secret}}
    )
    ours.embed_query  # noqa: B018

    assert secret not in repr(ours) + str(ours) + repr(ours._service_settings())
    with pytest.raises(InvalidValueError) as caught:
        GeminiEmbeddings(api_key=secret, timeout=-1, additional_headers={"a": secret})
    assert secret not in str(caught.value)
