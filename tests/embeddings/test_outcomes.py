"""One outcome per input: what succeeds is returned, stored and cached whatever happens to other inputs."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.stores import InMemoryByteStore

from langchain_gemini_mm import (
    ContentError,
    GeminiEmbeddings,
    LocalVectorStore,
    MediaStore,
    MultimodalRetriever,
    PartialEmbeddingError,
    PartialWriteError,
    QuotaError,
    ServiceError,
)
from langchain_gemini_mm.interfaces import WaitNotice
from langchain_gemini_mm.testing import Failure, GeminiEmulator, pdf, png

ROOT = Path(__file__).parent.parent.parent
LONG = "word " * 20_000
HOWS = pytest.mark.parametrize("how", ["sync", "async"])


def embeddings_of(emulator: GeminiEmulator, **options: Any) -> GeminiEmbeddings:
    """Small vectors, from this emulator."""
    return GeminiEmbeddings(
        api_key=emulator.api_key, base_url=emulator.url, **{"output_dimensionality": 128, **options}
    )


def embed(ours: GeminiEmbeddings, how: str, contents: Sequence[Any], **options: Any) -> list[list[float]]:
    """Embed sync or async."""
    if how == "sync":
        return ours.embed_documents(contents, **options)
    return asyncio.run(ours.aembed_documents(contents, **options))


def add(store: Any, how: str, documents: Any, **options: Any) -> list[str]:
    """Add documents sync or async."""
    if how == "sync":
        return store.add_documents(documents, **options)
    return asyncio.run(store.aadd_documents(documents, **options))


def calm_vectors(texts: Sequence[Any]) -> np.ndarray[Any, Any]:
    """The vectors that a service without faults gives."""
    with GeminiEmulator() as calm:
        return np.array(embeddings_of(calm).embed_documents(texts))


class TestRefusedInputs:
    """Contents that the service refuses, or that cannot be sent."""

    @HOWS
    def test_one_refused_input_fails_alone(self, how: str, emulator: GeminiEmulator) -> None:
        """Of 300 inputs, all but the refused one get their vectors, and nothing is paid twice."""
        emulator.settings.long_text = "error"
        texts = [f"text {n}" for n in range(300)]
        texts[123] = LONG

        with pytest.raises(PartialEmbeddingError, match=r"1 of 300 inputs.*input 123: .*400") as caught:
            embed(embeddings_of(emulator, on_too_long="truncate"), how, texts)

        error = caught.value
        assert error.failed.keys() == {123}
        assert error.__cause__ is error.failed[123]
        assert isinstance(error.__cause__, ServiceError)
        assert not error.stopped
        assert emulator.embedded == 299
        assert len(emulator.embed_requests) <= 3 + 2 * np.log2(100)
        kept = [n for n in range(300) if n != 123]
        np.testing.assert_allclose([error.vectors[n] for n in kept], calm_vectors([texts[n] for n in kept]), atol=1e-6)

    @HOWS
    def test_invalid_inputs_do_not_void_others(self, how: str, emulator: GeminiEmulator, tmp_path: Path) -> None:
        """An empty text, a damaged file and a missing one are named by position and file name; others are embedded."""
        damaged, missing = tmp_path / "holiday.png", tmp_path / "gone.png"
        damaged.write_bytes(png("a dog")[:60])

        with pytest.raises(PartialEmbeddingError) as caught:
            embed(embeddings_of(emulator), how, ["fine", "", damaged, missing, "fine, too"])

        failed = caught.value.failed
        assert caught.value.vectors.keys() == {0, 4}
        assert failed.keys() == {1, 2, 3}
        assert all(isinstance(error, ContentError) and error.inputs == (n,) for n, error in failed.items())
        assert "input 2" in str(failed[2])
        assert "'holiday.png'" in str(failed[2])
        assert "gone.png'" in str(failed[3])
        assert all(str(failed[n]) in str(caught.value) for n in (1, 2, 3))
        assert emulator.embedded == 2

    @HOWS
    def test_a_part_that_cannot_be_converted_fails_alone(
        self, how: str, emulator: GeminiEmulator, media: MediaStore
    ) -> None:
        """Page 9 of a PDF with 3 pages is an error; page 1 of the same file, and a text, have vectors."""
        ref = media.put(pdf(["one", "two", "three"]))

        with pytest.raises(PartialEmbeddingError, match="page 9") as caught:
            embed(embeddings_of(emulator, media=media), how, [ref.pages(9, 9), ref.pages(1, 1), "a text"])

        assert caught.value.failed.keys() == {0}
        assert caught.value.vectors.keys() == {1, 2}

    @HOWS
    def test_without_any_vector_the_error_itself_is_raised(self, how: str, emulator: GeminiEmulator) -> None:
        """If every input fails, the first error is raised, names the inputs it is about, and has the others."""
        with pytest.raises(ContentError, match=r"^inputs 0, 2: ") as caught:
            embed(embeddings_of(emulator), how, ["", png("a dog")[:60], " "])

        assert [error.inputs for error in (caught.value, *caught.value.others)] == [(0, 2), (1,)]

    def test_a_query_raises_its_own_error(self, emulator: GeminiEmulator) -> None:
        """`embed_query` has one input, and so no partial result."""
        emulator.fail_next(400, message="no such thing")

        with pytest.raises(ServiceError, match=r"^input 0: .*no such thing"):
            embeddings_of(emulator).embed_query("a")

    def test_a_setting_that_the_service_refuses_ends_soon(self, emulator: GeminiEmulator) -> None:
        """If no input is accepted and ten are refused alone with one message, that is the error of the call."""
        emulator.fail_next(400, times=10_000, message="this cannot be")

        with pytest.raises(ServiceError, match=r"^inputs 0 to 1999: .*this cannot be"):
            embeddings_of(emulator).embed_documents([f"text {n}" for n in range(2000)])

        assert len(emulator.requests) < 300

    def test_the_error_survives_pickling(self) -> None:
        """Worker processes can raise it."""
        failed = {1: ContentError("empty").about_input(1)}
        error = PartialEmbeddingError("1 of 2 inputs", vectors={0: [1.0]}, failed=failed)

        again = pickle.loads(pickle.dumps(error))

        assert (again.vectors, str(again.failed[1]), str(again)) == ({0: [1.0]}, "input 1: empty", "1 of 2 inputs")

    @HOWS
    def test_an_invalid_key_keeps_what_was_answered(self, how: str, emulator: GeminiEmulator) -> None:
        """A key that is withdrawn during a run stops it; vectors that were answered are in the error."""
        emulator.script([None, None, Failure(status=401)])

        with pytest.raises(PartialEmbeddingError, match="401") as caught:
            embed(embeddings_of(emulator, max_concurrency=1), how, [f"text {n}" for n in range(500)])

        assert caught.value.stopped
        assert caught.value.vectors.keys() == set(range(200))
        assert len(emulator.embed_requests) == 3


class TestStores:
    """Stores keep what succeeded, and raise once, at the end."""

    @HOWS
    def test_a_refused_document_does_not_block_the_others(
        self, how: str, emulator: GeminiEmulator, tmp_path: Path
    ) -> None:
        """999 of 1,000 documents are stored, in one call, paid once; the error names the other one."""
        emulator.settings.long_text = "error"
        documents = [
            Document(id=str(n), page_content=f"text {n}", metadata={"source": f"{n}.txt"}) for n in range(1000)
        ]
        documents[950].page_content = LONG
        ours = embeddings_of(emulator, on_too_long="truncate")
        with LocalVectorStore(tmp_path / "x.db", ours) as store:
            with pytest.raises(
                PartialWriteError, match=r"999 documents are stored, 1 not: .*input 950 \('950.txt'\)"
            ) as caught:
                add(store, how, iter(documents), batch_size=300)

            assert caught.value.failed.keys() == {"950"}
            assert "'950.txt'" in caught.value.failed["950"]
            assert caught.value.stored == [document.id for document in documents if document.id != "950"]
            assert store.count() == 999
            assert emulator.embedded == 999

    @HOWS
    def test_a_damaged_photo_does_not_block_its_folder(
        self, how: str, emulator: GeminiEmulator, tmp_path: Path
    ) -> None:
        """A picture with a hole in the middle of its file is named by its file name; the others are stored."""
        from PIL import Image

        folder = tmp_path / "photos"
        folder.mkdir()
        for n in range(12):
            noise = np.random.default_rng(n).integers(0, 255, (80, 80, 3), np.uint8)
            Image.fromarray(noise).save(folder / f"{n:02}.png")
        broken = folder / "07.png"
        data = bytearray(broken.read_bytes())
        data[3000:12_000] = bytes(9000)
        broken.write_bytes(data)
        media = MediaStore(tmp_path / "media")
        with LocalVectorStore(tmp_path / "x.db", embeddings_of(emulator, media=media, image_max_edge=50)) as store:
            documents = [
                media.document(media.put_file(path), metadata={"source": path.name})
                for path in sorted(folder.iterdir())
            ]

            with pytest.raises(PartialWriteError, match=r"11 documents are stored, 1 not: .*'07\.png'") as caught:
                add(store, how, documents)

            assert store.count() == 11
            (reason,) = caught.value.failed.values()
            assert "'07.png' is a damaged PNG file" in reason
            assert "sha256" not in reason

            retriever = MultimodalRetriever(store=store)
            added = retriever.add(folder) if how == "sync" else asyncio.run(retriever.aadd(folder))
            assert [skipped.source for skipped in added.skipped] == [f"{folder.name}/07.png"]

            emulator.script([Failure(status=400, message="image 2 is refused")] * 1000)
            (folder / "new.png").write_bytes(png("a new picture"))
            (folder / "note.md").write_text("a note about the pictures")
            with pytest.raises(PartialWriteError) as caught:
                retriever.add(folder) if how == "sync" else asyncio.run(retriever.aadd(folder))
            assert [skipped.source for skipped in caught.value.skipped] == [f"{folder.name}/07.png"]

    @HOWS
    def test_an_invalid_key_ends_the_call(self, how: str, emulator: GeminiEmulator) -> None:
        """What was embedded before is stored; later batches are not tried."""
        emulator.script([None, None, None, Failure(status=401)])
        documents = [Document(id=str(n), page_content=f"text {n}") for n in range(900)]
        with LocalVectorStore(":memory:", embeddings_of(emulator, max_concurrency=1)) as store:
            with pytest.raises(
                PartialWriteError, match=r"300 documents are stored, 600 not: ServiceError.*401"
            ) as caught:
                add(store, how, documents, batch_size=400)

            assert store.count() == 300
            assert caught.value.failed["399"].startswith("ServiceError")
            assert caught.value.failed["800"] == "not tried"
            assert len(emulator.embed_requests) == 4

    def test_one_reason_for_everything_is_raised_as_it_is(self, emulator: GeminiEmulator) -> None:
        """Nothing is stored, for one reason: the error is that of the document."""
        with (
            LocalVectorStore(":memory:", embeddings_of(emulator)) as store,
            pytest.raises(ContentError, match="input 0"),
        ):
            store.add_documents([Document(page_content="  ")])


class TestRepeating:
    """What is sent again, and what is not paid again."""

    @HOWS
    def test_equal_contents_are_embedded_once(self, how: str, emulator: GeminiEmulator, tmp_path: Path) -> None:
        """Texts, bytes, and a file with the same bytes; each input still has its vector."""
        image, path = png("a dog"), tmp_path / "copy.png"
        path.write_bytes(image)
        contents: list[Any] = ["same text"] * 250 + [image] * 10 + [path, "other"]

        vectors = embed(embeddings_of(emulator), how, contents)

        assert emulator.embedded == 3
        assert len(vectors) == 262
        assert vectors[0] == vectors[249] != vectors[250]
        assert vectors[250] == vectors[259] == vectors[260]

    @HOWS
    @pytest.mark.parametrize("damage", ["short", "nothing", "extra", "missing", "nan", "dimension", "malformed"])
    def test_a_damaged_answer_is_asked_for_again(self, damage: str, how: str, emulator: GeminiEmulator) -> None:
        """A response that lacks vectors once is sent again."""
        emulator.fail_next(damage)

        vectors = embed(embeddings_of(emulator), how, ["a", "b", "c"])

        np.testing.assert_allclose(vectors, calm_vectors(["a", "b", "c"]), atol=1e-6)
        assert len(emulator.embed_requests) == 2

    @HOWS
    def test_waiting_for_the_own_quota_is_not_a_failure(self, how: str, emulator: GeminiEmulator) -> None:
        """The deadline does not run while a run waits for its quota: a 503 after that is retried."""
        ours = embeddings_of(emulator, requests_per_minute=20, deadline=1.0)
        quota = ours._pipeline.service.quota(ours._pipeline.settings.spec.name)
        quota._window_s = 1.5
        emulator.script([None, None, 503])

        assert len(embed(ours, how, [f"text {n}" for n in range(60)], batch_size=10)) == 60
        assert emulator.embedded == 60

    @HOWS
    def test_a_small_quota_slows_a_run_down(self, how: str, emulator: GeminiEmulator) -> None:
        """100 requests a minute, 1,000 texts and 100 images, default settings: every vector, none paid twice."""
        emulator.settings.rpm, emulator.settings.minute = 100, 0.5
        notices: list[WaitNotice] = []
        ours = embeddings_of(emulator, on_wait=notices.append)
        ours._pipeline.service.quota(ours._pipeline.settings.spec.name)._window_s = 0.5
        contents: list[Any] = [f"text {n}" for n in range(1000)] + [png(f"image {n}", size=(8, 8)) for n in range(100)]

        vectors = embed(ours, how, contents)

        assert emulator.embedded == len(contents)
        assert ours.usage.items == len(contents)
        np.testing.assert_allclose(vectors, calm_vectors(contents), atol=1e-6)
        # A machine that is slower than the quota is never refused.
        assert notices or not ours.usage.retries
        assert all(notice.reason and notice.seconds > 0 and notice.items for notice in notices)

    def test_the_delay_of_a_retry_after_header_is_waited_for(self, emulator: GeminiEmulator) -> None:
        """It does not count against the deadline."""
        emulator.fail_next(429, retry_delay=1.5)

        assert len(embeddings_of(emulator, deadline=2.0).embed_query("a")) == 128

    def test_a_daily_quota_keeps_what_was_answered(self, emulator: GeminiEmulator) -> None:
        """The run stops at once, with the vectors that were paid."""
        emulator.script([None, "per-day"])

        with pytest.raises(PartialEmbeddingError) as caught:
            embeddings_of(emulator, max_concurrency=1).embed_documents([f"text {n}" for n in range(300)])

        assert isinstance(caught.value.__cause__, QuotaError)
        assert len(caught.value.vectors) == 100


class BrokenCache(InMemoryByteStore):
    """A cache that cannot be written, or not even read."""

    def __init__(self, *, readable: bool) -> None:
        super().__init__()
        self.readable = readable

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Read, if that is possible."""
        if not self.readable:
            raise TimeoutError("redis does not answer")
        return super().mget(keys)

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Fail."""
        raise ConnectionError("redis is read-only")


class TestCache:
    """Finished vectors are cached at once; a failing cache is no failure."""

    @HOWS
    @pytest.mark.parametrize("readable", [True, False])
    def test_a_broken_cache_is_a_warning(
        self, how: str, readable: bool, emulator: GeminiEmulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The vectors are returned all the same."""
        ours = embeddings_of(emulator, cache=BrokenCache(readable=readable))

        assert len(embed(ours, how, [f"text {n}" for n in range(300)])) == 300

        assert "cannot write the embedding cache (ConnectionError: redis is read-only)" in caplog.text
        assert ("cannot read the embedding cache" in caplog.text) is not readable

    @HOWS
    def test_partial_results_are_cached(self, how: str, emulator: GeminiEmulator) -> None:
        """After an error, a second call pays only for what failed."""
        ours = embeddings_of(emulator, cache=InMemoryByteStore(), max_concurrency=1)
        emulator.script([None, Failure(status=401)])
        texts = [f"text {n}" for n in range(300)]
        with pytest.raises(PartialEmbeddingError):
            embed(ours, how, texts)

        assert len(embed(ours, how, texts)) == 300
        assert emulator.embedded == 300


def waited(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Wait until something is true."""
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            return False
        time.sleep(0.02)
    return True


INTERRUPTED = """
import os, signal, sys, threading, time
from langchain_gemini_mm import GeminiEmbeddings
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a shell ignores it
ours = GeminiEmbeddings(api_key=sys.argv[1], base_url=sys.argv[2], output_dimensionality=128)
ours.embed_query("warm")
print("ready", flush=True)
sys.stdin.readline()
threading.Timer(0.5, lambda: (print(time.time(), flush=True), os.kill(os.getpid(), signal.SIGINT))).start()
try:
    ours.embed_documents([f"text {n}" for n in range(int(sys.argv[3]))])
except KeyboardInterrupt:
    print(time.time(), ours.usage.items, ours.usage.unconfirmed, flush=True)
"""


class TestInterrupts:
    """Ctrl-C, cancelled tasks, closing."""

    @pytest.mark.slow
    @pytest.mark.parametrize("count", [1, 300])
    def test_an_interrupt_ends_the_program(self, count: int, emulator: GeminiEmulator) -> None:
        """It takes effect within a second, though requests are in flight for half a minute; these are unconfirmed."""
        arguments = [sys.executable, "-c", INTERRUPTED, emulator.api_key, emulator.url, str(count)]
        with subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
            assert program.stdin is not None
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            emulator.settings.latency = 30.0
            program.stdin.write("go\n")
            program.stdin.flush()
            sent = float(program.stdout.readline())
            took_effect, items, unconfirmed = program.stdout.readline().split()
            program.wait(10)

        assert float(took_effect) - sent < 1.0
        assert (int(items), int(unconfirmed)) == (1, count)

    async def test_uploads_leave_the_executor_of_the_loop_alone(self, emulator: GeminiEmulator) -> None:
        """While files are uploaded, `to_thread` of other code does not wait, and neither after a cancellation."""
        emulator.settings.file_processing = 30.0
        ours = embeddings_of(emulator, inline_limit=100, batch_bytes=100, max_concurrency=40)
        job = asyncio.create_task(ours.aembed_documents([png(f"a dog {n}") for n in range(50)]))
        assert await asyncio.to_thread(waited, lambda: len(emulator.uploads) >= 20)

        begun = time.monotonic()
        await asyncio.to_thread(int)
        assert time.monotonic() - begun < 5.0
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        await asyncio.to_thread(int)
        assert time.monotonic() - begun < 10.0

    async def test_a_cancelled_task_keeps_what_was_answered(self, emulator: GeminiEmulator) -> None:
        """With a cache, at most the requests in flight are paid again, and they are counted as unconfirmed."""
        latencies = iter([0.0] * 4)
        emulator.settings.latency = lambda: next(latencies, 0.6)
        ours = embeddings_of(emulator, cache=InMemoryByteStore(), max_concurrency=4)
        texts = [f"text {n}" for n in range(800)]
        job = asyncio.create_task(ours.aembed_documents(texts))
        assert await asyncio.to_thread(waited, lambda: ours.usage.items == 400 and len(emulator.requests) >= 8)

        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert ours.usage.items == 400
        assert ours.usage.unconfirmed == 400
        emulator.settings.latency = 0.0
        before = ours.usage
        assert len(await ours.aembed_documents(texts)) == 800
        assert ours.usage.cached == 400
        assert ours.usage.items <= before.items + before.unconfirmed

    def test_a_query_does_not_wait_for_bulk_work(self, emulator: GeminiEmulator) -> None:
        """While a bulk job waits for a quota of 100 requests a minute, queries are sent."""
        ours = embeddings_of(emulator, requests_per_minute=100)
        ours._pipeline.service.quota(ours._pipeline.settings.spec.name)._window_s = 8.0
        bulk = threading.Thread(target=ours.embed_documents, args=([f"text {n}" for n in range(120)],))
        bulk.start()
        assert waited(lambda: emulator.embedded >= 90)

        assert len(ours.embed_query("a question")) == 128
        assert emulator.embedded < 120
        bulk.join()
        assert emulator.embedded == ours.usage.items == 121

    def test_closing_does_not_disturb_running_calls(self, emulator: GeminiEmulator) -> None:
        """`close()` in another thread: calls end normally, and later calls reconnect."""
        emulator.settings.latency = (0.0, 0.02)
        ours = embeddings_of(emulator, max_retries=0, timeout=10)
        errors: list[Exception] = []
        ended = threading.Event()

        def work() -> None:
            try:
                for n in range(20):
                    ours.embed_query(f"text {n}")
            except Exception as error:  # noqa: BLE001 - collected
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            ours.close()
            ended.wait(0.01)

        assert not errors
