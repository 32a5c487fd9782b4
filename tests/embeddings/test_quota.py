"""Quotas per minute: what may be sent when, against the service's own count, in simulated time."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import os
import pickle
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_gemini_mm import GeminiEmbeddings, GeminiMMError
from langchain_gemini_mm.embeddings.service.errors import read_retry_after, translate
from langchain_gemini_mm.embeddings.service.rate_limit import Admission, MinuteQuota
from langchain_gemini_mm.errors import QuotaError, ServiceError
from langchain_gemini_mm.testing import GeminiEmulator
from langchain_gemini_mm.testing.quotas import (
    REQUESTS_PER_MINUTE,
    TOKENS_PER_MINUTE,
    Quotas,
    QuotaWindow,
    WindowKind,
)
from langchain_gemini_mm.testing.transport.exchange import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.genai import Client

    from langchain_gemini_mm.interfaces import WaitNotice

MINUTE = 60.0


@dataclass
class Clock:
    """A clock that is set by the test."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


class ApiError(Exception):
    """The attributes of the SDK's `APIError` that `translate` reads."""

    def __init__(self, refusal: RefusedError) -> None:
        super().__init__(str(refusal))
        self.code, self.status, self.message = refusal.code, refusal.status, str(refusal)
        self.details = {"error": {"details": refusal.details}}


def quota_error(refusal: RefusedError) -> QuotaError:
    """The error of the client for a response of the service."""
    error = translate(ApiError(refusal))
    assert isinstance(error, QuotaError)
    return error


@dataclass
class Simulation:
    """Callers that send items through a `MinuteQuota` to a service with quotas, in simulated time."""

    quota: MinuteQuota
    service: Quotas
    clock: Clock
    estimated: int
    """Tokens of each item by the client's estimate."""
    counted: int
    """Tokens of each item by the service."""
    latency: Callable[[], float]
    """Seconds to the service, and back."""
    items: int = 10**9
    """To be sent."""
    reports: bool = True
    """Whether the service reports its token count."""
    accepted: int = 0
    refused: int = 0
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def run(self, callers: int, seconds: float) -> None:
        """Run for a time."""
        end = self.clock.now + seconds
        for _ in range(callers):
            self._after(0.0, self._ask)
        while self._events and self._events[0][0] < end:
            assert next(self._numbers) < 1_000_000, "callers ask without end"
            self.clock.now, _, event = heapq.heappop(self._events)
            event()

    def _after(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.clock.now + seconds, next(self._numbers), event))

    def _ask(self) -> None:
        if not self.items:
            return
        admission = self.quota.admit([self.estimated] * min(100, self.items))
        if admission.count:
            self.items -= admission.count
            self._after(self.latency(), lambda: self._arrive(admission))
        else:
            assert admission.reason
            assert admission.wait_s > 0
            self._after(admission.wait_s, self._ask)

    def _arrive(self, admission: Admission) -> None:
        tokens = admission.count * self.counted
        try:
            self.service.take(admission.count, tokens, "model")
        except RefusedError as refusal:
            error = quota_error(refusal)
            self.refused += 1
            self.items += admission.count
            self._after(self.latency(), lambda: self._end(lambda: admission.refused(error)))
        else:
            self.accepted += admission.count
            self._after(self.latency(), lambda: self._end(lambda: admission.settle(tokens if self.reports else None)))

    def _end(self, settle: Callable[[], None]) -> None:
        settle()
        self._ask()


@contextmanager
def sdk_client(emulator: GeminiEmulator) -> Iterator[Client]:
    """The SDK, connected to the emulator."""
    from google.genai import Client

    with Client(api_key=emulator.api_key) as client:
        yield client


def service(clock: Clock, kind: WindowKind, requests: int | None, tokens: int | None) -> Quotas:
    """The quotas of the emulator."""
    windows = [
        [] if limit is None else [QuotaWindow(limit, MINUTE, name, kind)]
        for limit, name in ((requests, REQUESTS_PER_MINUTE), (tokens, TOKENS_PER_MINUTE))
    ]
    return Quotas(clock=clock, requests=windows[0], tokens=windows[1])


@pytest.mark.parametrize("latency", [0.05, 0.5])
@pytest.mark.parametrize("callers", [1, 8, 64])
@pytest.mark.parametrize("learnt", [False, True], ids=["configured", "learnt"])
@pytest.mark.parametrize(("estimated", "counted"), [(10, 13), (2500, 2010), (1500, 2010)])
@pytest.mark.parametrize("kind", get_args(WindowKind))
def test_share_of_a_quota(
    kind: WindowKind, estimated: int, counted: int, learnt: bool, callers: int, latency: float
) -> None:
    """Of two minutes at least 0.97 is used, with at most two refusals, however the service counts a minute."""
    clock = Clock(1007.3)
    quota = MinuteQuota(clock=clock) if learnt else MinuteQuota(3000, 1_000_000, clock=clock)
    simulation = Simulation(
        quota,
        service(clock, kind, 3000, 1_000_000),
        clock,
        estimated,
        counted,
        latency=itertools.cycle([latency, 0.7 * latency, 1.2 * latency]).__next__,
    )
    simulation.run(callers, 2 * MINUTE)
    share = max(simulation.accepted / 6000, simulation.accepted * counted / 2_000_000)
    if callers * 100 / (2 * latency) > 200:  # otherwise the latency binds, not the quota
        assert share >= 0.97
    # A bucket that refills during a slow run accepts more than the limit of a tier, which is then taken for passed.
    passed = (kind, estimated, learnt, callers, latency) == ("bucket", 10, True, 8, 0.5)
    assert simulation.refused <= (callers if passed else 2)
    assert learnt or counted > estimated > 10 or not simulation.refused


@given(
    kind=st.sampled_from(get_args(WindowKind)),
    requests=st.one_of(st.none(), st.integers(1, 500)),
    tokens=st.one_of(st.none(), st.integers(1, 20_000)),
    counted=st.integers(1, 300),
    callers=st.integers(1, 9),
    latencies=st.lists(st.floats(0.001, 5), min_size=1, max_size=9),
    items=st.integers(1, 300),
    reports=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_configured_quota_is_never_exceeded(
    kind: WindowKind,
    requests: int | None,
    tokens: int | None,
    counted: int,
    callers: int,
    latencies: list[float],
    items: int,
    reports: bool,
) -> None:
    """Whatever the latencies: the service refuses nothing, everything is sent, and the quota is whole again after."""
    clock = Clock()
    tokens = tokens if tokens is None else max(tokens, counted)
    quota = MinuteQuota(requests, tokens, clock=clock)
    latency = itertools.cycle(latencies).__next__
    simulation = Simulation(
        quota, service(clock, kind, requests, tokens), clock, counted, counted, latency, items=items, reports=reports
    )
    simulation.run(callers, 1e6)
    assert (simulation.accepted, simulation.refused, simulation.items) == (items, 0, 0)
    clock.now += MINUTE + 1
    whole = min(requests or 1000, tokens or 1000)
    assert quota.admit([1] * 1000, urgent=True).count >= 0.9 * whole


def test_no_limit_no_wait() -> None:
    """Without a limit, everything is admitted."""
    quota = MinuteQuota(clock=Clock())
    admissions = [quota.admit([10] * 100) for _ in range(20)]
    assert {admission.count for admission in admissions} == {100}


def test_a_request_is_as_large_as_the_rest_of_the_minute() -> None:
    """The last request of a minute has the number of items that fit, by either limit."""
    by_requests = MinuteQuota(200, clock=Clock())
    assert [by_requests.admit([1] * 100).count for _ in range(3)] == [100, 97, 0]
    by_tokens = MinuteQuota(tokens=10_000, clock=Clock())
    by_tokens.admit([1]).settle(1)
    assert [by_tokens.admit([100] * 70).count for _ in range(3)] == [70, 28, 0]


def test_what_is_not_sent_is_given_back() -> None:
    """A released reservation does not delay anything, and neither does a second call of `release`."""
    quota = MinuteQuota(100, clock=Clock())
    first, second = quota.admit([1] * 60), quota.admit([1] * 60)
    assert (first.count, second.count) == (60, 38)
    assert quota.admit([1]).count == 0
    first.release()
    first.release()
    assert quota.admit([1] * 100).count == 60


def test_an_item_larger_than_the_limit_is_sent_alone() -> None:
    """It waits until nothing of the minute is used, and is not joined by others."""
    clock = Clock()
    quota = MinuteQuota(tokens=1000, clock=clock)
    quota.admit([100]).settle(100)
    waiting = quota.admit([5000, 5000])
    assert (waiting.count, waiting.reason) == (0, "tokens per minute")
    assert 59 < waiting.wait_s < 61
    clock.now += waiting.wait_s
    assert quota.admit([5000, 5000]).count == 1


@pytest.mark.parametrize("limit", [10, 100, 3000])
def test_queries_do_not_wait_for_a_bulk_run(limit: int) -> None:
    """When a bulk run has used up its minute, a query is sent at once; a service that asks for a pause gets it."""
    quota = MinuteQuota(limit, 100 * limit, clock=Clock())
    while quota.admit([10] * 100).count:
        pass
    assert quota.admit([10], urgent=True).count == 1
    quota.hold(5)
    assert quota.admit([10], urgent=True).count == 0


def test_the_tokens_that_the_service_reports_count() -> None:
    """An estimate that was too high is corrected, for the request itself and for those that follow."""
    quota = MinuteQuota(tokens=10_000, clock=Clock())
    quota.admit([1000]).settle(100)
    assert quota.admit([1000] * 100).count == 97
    quota = MinuteQuota(tokens=10_000, clock=Clock())
    quota.admit([100]).settle(1000)
    assert quota.admit([100] * 100).count == 8


def test_after_a_pause_requests_resume_one_at_a_time() -> None:
    """Each success doubles the number of requests in flight."""
    clock = Clock()
    quota = MinuteQuota(clock=clock)
    before = quota.admit([1])
    quota.hold(30)
    paused = quota.admit([1])
    assert (paused.count, paused.reason) == (0, "the service asked for a pause")
    assert 30 <= paused.wait_s <= 31
    before.settle()
    clock.now += paused.wait_s
    first = quota.admit([1])
    assert (first.count, quota.admit([1]).count) == (1, 0)
    first.settle()
    second = [quota.admit([1]) for _ in range(3)]
    assert [admission.count for admission in second] == [1, 1, 0]


def test_pauses_have_jitter() -> None:
    """Processes that were asked to wait equally long do not come back together (case r03)."""
    waits = set()
    for _ in range(20):
        quota = MinuteQuota(clock=Clock())
        quota.hold(33)
        waits.add(quota.admit([1]).wait_s)
    assert len(waits) > 10
    assert min(waits) >= 33


def test_limits_are_learnt_from_a_response(emulator: GeminiEmulator) -> None:
    """The SDK's error for a 429 names the limit; a lower one that was configured stays."""
    from google.genai import errors
    from google.genai.types import Content, Part

    emulator.settings.rpm = 2
    contents: Any = [Content(parts=[Part(text="a")])] * 3
    with sdk_client(emulator) as client, pytest.raises(errors.APIError) as caught:
        client.models.embed_content(model="gemini-embedding-2", contents=contents)
    error = translate(caught.value)
    assert isinstance(error, QuotaError)
    assert error.limits == {"requests_per_minute": 2}
    quota, lower = MinuteQuota(clock=Clock()), MinuteQuota(1, clock=Clock())
    for learning in (quota, lower):
        learning.admit([1]).refused(error)
    assert [limit.requests for limit in (quota, lower)] == [2, 1]
    assert quota.tokens is None


def test_a_limit_that_counts_something_else_is_not_learnt() -> None:
    """Where far more items were accepted, the limit counts whole requests, as it may on Vertex AI."""
    quota = MinuteQuota(clock=Clock())
    for _ in range(30):
        quota.admit([1] * 100).settle()
    quota.admit([1] * 100).refused(QuotaError("used up", retry_after=5, limits={"requests_per_minute": 30}))
    assert quota.requests is None
    assert quota.admit([1]).wait_s >= 5


def test_a_learnt_limit_is_tried_again_after_an_hour() -> None:
    """One request alone goes beyond it; when it is accepted, the others follow."""
    clock = Clock()
    quota = MinuteQuota(clock=clock)
    quota.admit([1] * 100).settle()
    quota.admit([1] * 100).refused(QuotaError("used up", limits={"requests_per_minute": 100}))
    assert quota.requests == 100
    clock.now += 3700
    first, second = quota.admit([1] * 60), quota.admit([1] * 60)
    assert (first.count, second.count) == (60, 40)
    first.settle()
    second.settle()
    beyond = quota.admit([1] * 60)
    assert (beyond.count, quota.admit([1] * 60).count) == (60, 0)
    beyond.settle()
    assert [quota.admit([1] * 60).count for _ in range(5)] == [60] * 5


def test_a_429_that_the_own_count_does_not_explain_is_a_pause() -> None:
    """Another process uses the same quota: the delay that the service names is kept."""
    clock = Clock()
    quota = MinuteQuota(100, clock=clock)
    quota.admit([1] * 10).refused(QuotaError("used up", retry_after=20, limits={"requests_per_minute": 100}))
    assert 20 <= quota.admit([1]).wait_s <= 21
    clock.now += 22
    assert quota.admit([1] * 10).count == 10


def test_a_429_without_any_detail_slows_down() -> None:
    """Nothing is known about a limit, so one request at a time follows."""
    quota = MinuteQuota(clock=Clock())
    quota.admit([1]).refused(QuotaError("slow down"))
    assert quota.admit([1]).count == 1
    assert quota.admit([1]).count == 0


def test_threads_share_a_quota() -> None:
    """Of 16 threads that ask at once, no two get the same share."""
    quota = MinuteQuota(1000, clock=Clock())
    counts: list[int] = []
    start = threading.Barrier(16)

    def ask() -> None:
        start.wait()
        for _ in range(50):
            admission = quota.admit([1] * 7)
            counts.append(admission.count)
            if admission.count % 2:
                admission.settle()

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 985


FORKED = """
import os
from langchain_gemini_mm.embeddings.service.rate_limit import MinuteQuota

quota = MinuteQuota(100)
quota.admit([1] * 100)
child = os.fork()
if not child:
    os._exit(quota.admit([1] * 100).count)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), quota.admit([1] * 100).count, end="")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_does_not_wait_for_requests_of_its_parent() -> None:
    """Requests in flight end in the parent only; limits are known in both."""
    run = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, check=False, text=True, timeout=60)
    assert (run.stdout, run.returncode) == ("98 0", 0), run.stderr


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("40", 40.0),
        (" 5 ", 5.0),
        ("2.5", 2.5),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 59.0),
        ("Friday, 31-Dec-99 23:59:59 GMT", 59.0),
        ("Fri Dec 31 23:59:59 1999", 59.0),
        ("Fri, 31 Dec 1999 23:58:00 GMT", 0.0),
        ("soon", None),
        ("-3", None),
        ("", None),
        (None, None),
        ("nan", None),
    ],
)
def test_retry_after_headers(header: str | None, seconds: float | None) -> None:
    """Seconds and the three date formats of RFC 9110; nonsense is ignored."""
    assert read_retry_after(header, now=946684740.0) == seconds


@pytest.mark.parametrize("where", ["header", "body"])
def test_the_delay_of_a_response(emulator: GeminiEmulator, where: Literal["header", "body"]) -> None:
    """A delay is read from the header as well as from RetryInfo, of any status."""
    from google.genai import errors

    for status in (429, 503) if where == "header" else (429,):
        emulator.fail_next(status, **({"retry_after": "40"} if where == "header" else {"retry_delay": 40.0}))
        with sdk_client(emulator) as client, pytest.raises(errors.APIError) as caught:
            client.models.embed_content(model="gemini-embedding-2", contents="a")
        error = translate(caught.value)
        assert isinstance(error, ServiceError)
        assert error.retry_after == 40.0


def short_minute(embeddings: GeminiEmbeddings, seconds: float) -> GeminiEmbeddings:
    """Make the minute of the client as short as that of the emulator."""
    quota_of(embeddings)._window_s = seconds
    return embeddings


def refusals(emulator: GeminiEmulator) -> int:
    """Requests that the emulator answered with 429."""
    return sum(request.status == 429 for request in emulator.embed_requests)


def wait_until_embedded(emulator: GeminiEmulator, items: int) -> None:
    """Wait for other threads or tasks."""
    while emulator.embedded < items:
        time.sleep(0.02)


def quota_of(embeddings: GeminiEmbeddings) -> MinuteQuota:
    """The quota of the model that is set."""
    pipeline = embeddings._pipeline
    return pipeline.service.quota(pipeline.settings.spec.name)


async def embedded(embeddings: GeminiEmbeddings, texts: list[str], asynchronous: bool) -> list[list[float]]:
    """Embed in tasks or in threads."""
    return await embeddings.aembed_documents(texts) if asynchronous else embeddings.embed_documents(texts)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["threads", "tasks"])
@pytest.mark.parametrize("header", [False, True], ids=["RetryInfo", "Retry-After"])
async def test_a_first_run_on_the_free_tier(emulator: GeminiEmulator, asynchronous: bool, header: bool) -> None:
    """With default settings all vectors are returned, none is paid twice, and waits are reported."""
    emulator.settings.rpm, emulator.settings.minute, emulator.settings.retry_after_header = 100, 1.5, header
    texts = [f"text {i}" for i in range(500)]
    notices: list[WaitNotice] = []
    async with short_minute(GeminiEmbeddings(output_dimensionality=128, on_wait=notices.append), 1.5) as embeddings:
        vectors = await embedded(embeddings, texts, asynchronous)
        assert len(vectors) == 500
        assert embeddings.usage.items == emulator.embedded == 500
        assert vectors[7] == pytest.approx((await embedded(embeddings, [texts[7]], asynchronous))[0])
    assert refusals(emulator) <= embeddings.max_concurrency
    assert "requests per minute" in {notice.reason for notice in notices}
    assert all(0 < notice.items <= 500 and 0 < notice.seconds < 4 for notice in notices)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["threads", "tasks"])
async def test_a_configured_quota_is_kept(emulator: GeminiEmulator, asynchronous: bool) -> None:
    """No request is refused, although the service counts a minute in its own way."""
    emulator.settings.rpm, emulator.settings.minute = 60, 1.0
    ours = GeminiEmbeddings(output_dimensionality=128, requests_per_minute=60, max_concurrency=3)
    async with short_minute(ours, 1.0) as embeddings:
        await embedded(embeddings, [f"text {i}" for i in range(200)], asynchronous)
    assert (emulator.embedded, refusals(emulator)) == (200, 0)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["threads", "tasks"])
async def test_a_query_overtakes_a_bulk_run(emulator: GeminiEmulator, asynchronous: bool) -> None:
    """A query is sent at once while a run of the same object waits for its quota (cases r04, r57)."""
    async with GeminiEmbeddings(requests_per_minute=100, output_dimensionality=128) as embeddings:
        bulk = asyncio.create_task(embeddings.aembed_documents([f"text {i}" for i in range(800)]))
        await asyncio.to_thread(wait_until_embedded, emulator, 98)
        query = embeddings.aembed_query("q") if asynchronous else asyncio.to_thread(embeddings.embed_query, "q")
        await asyncio.wait_for(query, 20)
        bulk.cancel()
        with pytest.raises(asyncio.CancelledError):
            await bulk
        assert emulator.embedded == 99


@pytest.mark.parametrize("callback", [None, lambda notice: None], ids=["no callback", "a callback"])
async def test_a_long_wait_without_a_callback_is_a_warning(
    emulator: GeminiEmulator, callback: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A program that shows neither progress nor its log at level INFO must not seem to hang."""
    emulator.fail_next(429, retry_delay=30.0)
    async with GeminiEmbeddings(output_dimensionality=128, on_wait=callback) as embeddings:
        with caplog.at_level("INFO"), pytest.raises(TimeoutError):
            await asyncio.wait_for(embeddings.aembed_query("text"), 3)
    (level,) = {record.levelname for record in caplog.records if "waiting" in record.getMessage()}
    assert level == ("INFO" if callback else "WARNING")


async def test_a_cancelled_run_gives_its_quota_back(emulator: GeminiEmulator) -> None:
    """What a cancelled or a failed run did not send is free for others (case r04)."""
    async with GeminiEmbeddings(requests_per_minute=1000, output_dimensionality=128) as embeddings:
        emulator.fail_next(403)
        with pytest.raises(GeminiMMError):
            await embeddings.aembed_documents([f"text {i}" for i in range(800)], batch_size=50)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(embeddings.aembed_documents([f"other {i}" for i in range(1000)]), 2)
        usage = embeddings.usage
        assert emulator.embedded <= usage.items + usage.unconfirmed <= 985
        assert quota_of(embeddings).admit([1] * 1000).count == 985 - usage.items - usage.unconfirmed


def test_waiting_for_the_own_quota_does_not_use_the_deadline() -> None:
    """After waits that are longer than the deadline, a transient error is still retried (case r05)."""
    with GeminiEmulator() as emulator:  # of its own, since late requests of other tests would count
        ours = GeminiEmbeddings(
            api_key=emulator.api_key,
            base_url=emulator.url,
            requests_per_minute=10,
            deadline=3.0,
            output_dimensionality=128,
        )

        def fail_late() -> None:
            wait_until_embedded(emulator, 36)
            emulator.fail_next(503)

        with short_minute(ours, 1.5) as embeddings:
            embeddings.embed_query("import the SDK and connect")
            failing = threading.Thread(target=fail_late)
            failing.start()
            assert len(embeddings.embed_documents([f"text {i}" for i in range(40)])) == 40
            failing.join()
            assert (embeddings.usage.items, emulator.embedded, embeddings.usage.retries) == (41, 41, 1)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["threads", "tasks"])
@pytest.mark.parametrize("status", [429, 503])
async def test_the_header_of_a_gateway_is_kept(emulator: GeminiEmulator, status: int, asynchronous: bool) -> None:
    """`Retry-After` delays the next attempt of any status (cases retry_after, retry_after_60)."""
    emulator.fail_next(status, retry_after="2")
    started = time.monotonic()
    async with GeminiEmbeddings(output_dimensionality=128, max_retries=1) as embeddings:
        await embedded(embeddings, ["text"], asynchronous)
    assert time.monotonic() - started >= 2
    assert len(emulator.embed_requests) == 2


def test_a_copy_in_another_process_does_not_report_waits(emulator: GeminiEmulator) -> None:
    """A progress bar, or any other callback, need not be picklable."""
    ours = GeminiEmbeddings(on_wait=lambda notice: None)
    assert pickle.loads(pickle.dumps(ours)).on_wait is None
    assert ours.on_wait is not None


def test_limits_are_kept_for_each_model(emulator: GeminiEmulator) -> None:
    """What one model's responses name does not limit another model."""
    emulator.settings.rpm, emulator.settings.minute = 10, 0.5
    with short_minute(GeminiEmbeddings(output_dimensionality=128), 0.5) as embeddings:
        embeddings.embed_documents([f"text {i}" for i in range(15)], batch_size=5)
        quota = quota_of(embeddings)
        embeddings.model = "gemini-embedding-001"
        assert (quota.requests, quota_of(embeddings).requests) == (10, None)
        embeddings.model = "gemini-embedding-2"
        assert quota_of(embeddings) is quota
