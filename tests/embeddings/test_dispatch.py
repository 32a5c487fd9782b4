"""What a run sends next, and what results mean for it: simulated histories, without clocks and connections."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_gemini_mm.batching import CallLimits
from langchain_gemini_mm.embeddings.dispatch import Batch, Dispatch
from langchain_gemini_mm.errors import GeminiMMError, IncompleteAnswerError, QuotaError, ServiceError

CALL = 100
ROW = np.ones(1, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Item:
    """One input."""

    position: int
    wire_bytes: int = 10
    token_count: int = 1
    group: str = ""


Service = Callable[[Sequence[Item]], ServiceError | None]


@dataclass
class History:
    """Carries a run out against a simulated service, and records what is sent."""

    dispatch: Dispatch[Item]
    now: float = 0.0
    calls: int = 0
    sent: Counter[int] = field(default_factory=Counter)
    embedded: Counter[int] = field(default_factory=Counter)
    """How often the service embedded each input."""
    answered: set[int] = field(default_factory=set)

    def carry_out(self, answer: Service, concurrency: int = 1, latency: float = 0.1) -> None:
        """Send until every input has its outcome; `answer` returns None for a complete response."""
        dispatch, flying = self.dispatch, list[Batch[Item]]()
        for _ in range(100_000):
            if dispatch.done:
                return
            while len(flying) < concurrency and (batch := dispatch.next(self.now)) is not None:
                flying.append(dispatch.begin(batch, len(batch.items)))
            if not flying:
                self.now += dispatch.wait_s(self.now)
                dispatch.expire(self.now)
                continue
            self.now += latency
            self.settle(flying.pop(0), answer)
        pytest.fail("the run does not end")

    def settle(self, batch: Batch[Item], answer: Service) -> None:
        """Answer one request."""
        self.calls += 1
        self.sent.update(item.position for item in batch.items)
        error = answer(batch.items)
        if error is None:
            self.embedded.update(item.position for item in batch.items)
            self.answered |= {item.position for item in batch.items}
            self.dispatch.accept(batch, self.now)
            return
        if isinstance(error, IncompleteAnswerError):
            self.embedded.update(item.position for item in batch.items)
            self.answered |= error.vectors.keys()
        self.dispatch.fail(batch, error, self.now)


def history(count: int, *, most: int = CALL, **options: float) -> History:
    """A run of `count` inputs."""
    settings = {"max_retries": 6, "deadline": 300.0, **options}
    limits = CallLimits(items=most, wire_bytes=1_000_000)
    return History(Dispatch(list(map(Item, range(count))), limits, now=0.0, jitter=random.Random(0).random, **settings))  # type: ignore[arg-type]


def refusing(bad: set[int], message: Callable[[int], str] = "input {} is bad".format) -> Service:
    """A service that refuses every request with one of these inputs."""

    def answer(items: Sequence[Item]) -> ServiceError | None:
        found = [item.position for item in items if item.position in bad]
        return ServiceError(message(found[0]), code=400, scope="input") if found else None

    return answer


@settings(max_examples=50)
@given(st.integers(1, 350), st.data(), st.sampled_from([1, 4, 8]))
def test_refused_inputs_are_found_by_bisection(count: int, data: st.DataObject, concurrency: int) -> None:
    """Of n inputs the k refused ones fail, in at most 2 k log2(n) more calls; no other one is embedded twice."""
    bad = data.draw(st.sets(st.integers(0, count - 1), max_size=min(count, 12)))
    run = history(count)

    run.carry_out(refusing(bad), concurrency)

    assert run.dispatch.failed.keys() == bad
    assert run.answered == set(range(count)) - bad
    assert set(run.embedded.values()) <= {1}
    assert run.calls - math.ceil(count / CALL) <= 2 * len(bad) * math.log2(count)


def test_equal_refusals_of_everything_stop_the_run() -> None:
    """Ten single inputs are refused with one message and nothing is accepted: the rest is not tried."""
    run = history(10_000)

    run.carry_out(refusing(set(range(10_000)), lambda _: "output_dimensionality is not supported"), concurrency=8)

    assert run.dispatch.stopped is not None
    assert run.dispatch.stopped.message == "output_dimensionality is not supported"
    assert len(run.dispatch.failed) == 10_000
    assert run.calls < 200


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_run_that_begins_with_refused_inputs_goes_on(concurrency: int) -> None:
    """The first hundred inputs are refused with one message, the others are accepted."""
    run = history(1000)

    run.carry_out(refusing(set(range(100)), lambda _: "unsupported"), concurrency)

    assert run.dispatch.failed.keys() == set(range(100))
    assert run.answered == set(range(100, 1000))


def test_a_limit_of_contents_in_a_request_is_learnt() -> None:
    """A service that refuses more than seven contents in one request is given fewer."""
    run = history(1000)

    run.carry_out(lambda items: ServiceError("too many", code=400, scope="input") if len(items) > 7 else None)

    assert not run.dispatch.failed
    assert set(run.embedded.values()) == {1}
    assert run.calls < 1000 / 3


def failing(times: int, error: Callable[[], ServiceError]) -> Service:
    """A service that fails for its first requests."""
    left = iter(range(times))
    return lambda items: error() if next(left, None) is not None else None


def test_transient_errors_are_repeated_up_to_the_limit() -> None:
    """Each batch is sent again, `max_retries` times, with growing pauses."""
    run = history(3, max_retries=4)
    run.carry_out(failing(4, lambda: ServiceError("503", code=503, transient=True)))
    assert run.answered == {0, 1, 2}
    assert run.now > 0.5 + 1 + 2 + 4

    run = history(3, max_retries=4)
    run.carry_out(failing(5, lambda: ServiceError("503", code=503, transient=True)))
    assert run.dispatch.failed.keys() == {0, 1, 2}


def test_a_quota_per_minute_is_no_attempt() -> None:
    """With `max_retries=0`, and for longer than the deadline, a run waits as long as the service asks it to."""
    run = history(250, max_retries=0, deadline=20)

    run.carry_out(failing(9, lambda: QuotaError("wait", retry_after=15)), concurrency=3)

    assert run.answered == set(range(250))
    assert run.now > 40


def test_a_pause_longer_than_the_deadline_ends_the_run() -> None:
    """A pause that the service asks for is not begun if it is longer than `deadline`."""
    run = history(2, most=1, deadline=30)

    run.carry_out(failing(1, lambda: QuotaError("wait", retry_after=100)))

    assert run.dispatch.failed.keys() == {0, 1}
    assert run.now < 1


def test_endless_quota_errors_end() -> None:
    """A quota that never has room again ends the run after ten deadlines of pauses."""
    run = history(2, deadline=30)

    run.carry_out(failing(10_000, lambda: QuotaError("wait", retry_after=20)))

    assert run.dispatch.failed.keys() == {0, 1}
    assert 300 < run.now < 400


def test_the_deadline_counts_from_the_last_accepted_request() -> None:
    """A run of many slow requests is no failure; one that gets nothing for `deadline` seconds is."""
    run = history(2000, deadline=30)
    run.carry_out(lambda items: None, latency=20)
    assert run.now > 300
    assert len(run.answered) == 2000

    run = history(2000, deadline=30, max_retries=1000)
    run.carry_out(failing(10_000, lambda: ServiceError("down", code=503, transient=True)), concurrency=8)
    assert len(run.dispatch.failed) == 2000
    assert run.now < 65


def test_what_concerns_every_request_stops_the_run() -> None:
    """What was accepted is kept, and what was in flight is waited for."""
    run = history(1000)
    answers = iter([None, None, None, ServiceError("the key is invalid", code=400, scope="run")])

    run.carry_out(lambda items: next(answers, None), concurrency=5)

    assert run.answered == {*range(300), *range(400, 800)} or run.answered == {*range(300), *range(400, 500)}
    assert run.calls <= 8
    assert all("key is invalid" in str(error) for error in run.dispatch.failed.values())


def test_a_content_over_the_quota_of_a_minute_fails_alone() -> None:
    """It could never be accepted; the others are, and a content below the limit is not given up."""
    items = [Item(n, token_count=60 if n == 3 else 10) for n in range(8)]
    run = History(Dispatch(items, CallLimits(items=1, wire_bytes=10_000), max_retries=3, deadline=300, now=0.0))
    refused: Counter[int] = Counter()

    def answer(items: Sequence[Item]) -> ServiceError | None:
        position = items[0].position
        refused[position] += 1
        if position == 3 or (position == 5 and refused[5] < 6):
            return QuotaError("used up", retry_after=60.0, limits={"tokens_per_minute": 50})
        return None

    run.carry_out(answer)

    assert run.answered == {0, 1, 2, 4, 5, 6, 7}
    assert "about 60 tokens" in str(run.dispatch.failed[3])
    assert run.now < 600


def test_a_wait_that_is_longer_than_the_deadline_is_named() -> None:
    """The run ends, and its error says which of the two to change."""
    run = history(3, deadline=10)
    run.carry_out(failing(100, lambda: QuotaError("used up", retry_after=60.0)))
    assert "asks for a wait of 60 s, longer than deadline=10" in str(run.dispatch.failed[0])


def test_the_rest_of_an_incomplete_answer_is_sent_again() -> None:
    """The vectors that it contains are kept; the others are sent again twice, the second time one by one."""
    run = history(100)
    run.carry_out(failing(2, lambda: IncompleteAnswerError("short", vectors={5: ROW})))
    assert run.answered == set(range(100))
    assert run.calls == 2 + 99
    assert (run.sent[5], run.sent[6]) == (1, 3)


def test_an_input_without_a_vector_fails_alone() -> None:
    """The service never answers input 42: all others get their vector in the first call."""
    run = history(100)

    def answer(items: Sequence[Item]) -> ServiceError | None:
        missing = any(item.position == 42 for item in items)
        rows = {item.position: ROW for item in items if item.position != 42}
        return IncompleteAnswerError("no vector", vectors=rows) if missing else None

    run.carry_out(answer)

    assert run.dispatch.failed.keys() == {42}
    assert run.calls == 3
    assert run.embedded[0] == 1


def test_parts_of_a_batch_that_the_quota_has_room_for() -> None:
    """The items that are not admitted are the next ones, in order."""
    dispatch = history(250).dispatch
    first = dispatch.begin(_next(dispatch), 37)
    second = dispatch.begin(_next(dispatch), 100)

    assert [item.position for item in first.items] == list(range(37))
    assert [item.position for item in second.items] == list(range(37, 137))
    assert dispatch.in_flight == 2


def _next(dispatch: Dispatch[Item]) -> Batch[Item]:
    batch = dispatch.next(0.0)
    assert batch is not None
    return batch


FAULTS: list[Callable[[], ServiceError]] = [
    lambda: ServiceError("503", code=503, transient=True),
    lambda: ServiceError("time-out", transient=True, sent=True),
    lambda: QuotaError("wait", retry_after=3),
    lambda: QuotaError("wait"),
    lambda: IncompleteAnswerError("short"),
]


@pytest.mark.soak
@settings(max_examples=50)
@given(st.integers(0, 300), st.randoms(use_true_random=False), st.sampled_from([1, 3, 8]), st.integers(1, 100))
def test_every_input_has_exactly_one_outcome(count: int, dice: random.Random, concurrency: int, most: int) -> None:
    """Under random failures, refusals and partial admissions, each input is accepted or fails, and none is lost."""
    bad = {position for position in range(count) if dice.random() < 0.02}
    refuse = refusing(bad)
    run = history(count, most=most, deadline=10_000, max_retries=8)

    def answer(items: Sequence[Item]) -> ServiceError | None:
        if dice.random() < 0.2:
            error = dice.choice(FAULTS)()
            if isinstance(error, IncompleteAnswerError):
                error.vectors = {
                    item.position: ROW for item in items if dice.random() < 0.5 and item.position not in bad
                }
            return error
        return refuse(items)

    run.carry_out(answer, concurrency)

    assert run.answered | run.dispatch.failed.keys() == set(range(count))
    assert not run.answered & run.dispatch.failed.keys()
    assert bad <= run.dispatch.failed.keys()
    assert all(isinstance(error, GeminiMMError) for error in run.dispatch.failed.values())
    assert run.dispatch.waiting == 0
