"""Flows: one generator, two drivers, the same calls in the same order."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Any

import pytest

from langchain_gemini_mm.flows import Call, Flow, arun, asynchronous, blocking, in_thread, run, synchronous

DRIVERS = {"sync": run, "async": lambda flow: asyncio.run(arun(flow))}


@pytest.fixture(params=DRIVERS)
def drive(request: pytest.FixtureRequest) -> Any:
    """Run a flow, sync or async."""
    return DRIVERS[request.param]


def double(number: int, *, plus: int = 0) -> Call:
    """A call with an async twin."""

    async def asynchronous(value: int, *, plus: int = 0) -> int:
        await asyncio.sleep(0)
        return 2 * value + plus

    return Call(lambda value, *, plus=0: 2 * value + plus, asynchronous, (number,), {"plus": plus})


def test_results_are_sent_back_and_the_result_returned(drive: Any) -> None:
    """A flow gets the result of each call, and the driver returns its return value."""

    def flow() -> Flow[list[int]]:
        first = yield double(1)
        second = yield double(first, plus=1)
        return [first, second]

    assert drive(flow()) == [2, 5]


def test_a_flow_without_calls_returns_at_once(drive: Any) -> None:
    """A flow may return without any call."""

    def flow() -> Flow[str]:
        yield from ()
        return "done"

    assert drive(flow()) == "done"


def test_exceptions_of_a_call_are_thrown_into_the_flow(drive: Any) -> None:
    """A flow may catch an exception of a call and continue."""

    def flow() -> Flow[int]:
        try:
            yield blocking(int, "no number")
        except ValueError:
            return (yield double(21))
        raise AssertionError

    assert drive(flow()) == 42


def test_exceptions_that_the_flow_does_not_catch_come_out_unchanged(drive: Any) -> None:
    """The caller gets the original exception, after the flow has cleaned up."""
    cleaned = []

    def flow() -> Flow[None]:
        try:
            yield blocking(int, "no number")
        finally:
            cleaned.append(True)

    with pytest.raises(ValueError, match="no number"):
        drive(flow())
    assert cleaned == [True]


def test_flows_nest(drive: Any) -> None:
    """`yield from` runs a flow as part of another."""

    def inner(number: int) -> Flow[int]:
        return (yield double(number))

    def outer() -> Flow[int]:
        return (yield from inner(1)) + (yield from inner(2))

    assert drive(outer()) == 6


async def test_blocking_calls_run_in_a_worker_thread() -> None:
    """The event loop is not blocked while a sync function runs."""

    def flow() -> Flow[int]:
        return (yield blocking(threading.get_ident))

    assert await arun(flow()) != threading.get_ident()


async def test_cancellation_reaches_the_flow() -> None:
    """A cancelled driver cancels the flow, which cleans up."""
    cleaned = []

    async def forever() -> None:
        await asyncio.Event().wait()

    def flow() -> Flow[None]:
        try:
            yield Call(lambda: None, forever)
        finally:
            cleaned.append(True)

    task = asyncio.ensure_future(arun(flow()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == [True]


def test_a_generator_can_be_run_by_hand() -> None:
    """Flows can be tested without a driver: their calls are values."""

    def flow() -> Flow[int]:
        return (yield blocking(max, 1, 2)) + 1

    fed = flow()
    call = next(fed)
    assert (call.sync, call.args) == (max, (1, 2))
    with pytest.raises(StopIteration) as stop:
        fed.send(10)
    assert stop.value.value == 11


def test_a_blocking_function_becomes_a_flow(drive: Any) -> None:
    """A sync caller calls it in its own thread, an async caller in a worker thread; exceptions are raised unchanged."""

    @in_thread
    def thread_of(number: int, *, fails: bool = False) -> tuple[int, bool]:
        """Return the thread it runs in."""
        if fails:
            raise ValueError(number)
        return number, threading.current_thread() is threading.main_thread()

    number, is_main = drive(thread_of(7))
    assert (number, is_main) == (7, drive is run)
    assert thread_of.__doc__ == "Return the thread it runs in."
    with pytest.raises(ValueError, match="7"):
        drive(thread_of(7, fails=True))


class Doubler:
    """A class with a method that is written as a flow."""

    factor = 2

    @synchronous
    def times(self, number: int, *, plus: int = 0) -> Flow[list[int]]:
        """Multiply."""
        return [(yield blocking(max, self.factor * number, 0)) + plus]

    atimes = asynchronous(times)


def test_a_method_and_its_async_twin_are_one_flow() -> None:
    """Both are methods with the parameters, the result type and the documentation of the flow."""
    doubler = Doubler()
    assert doubler.times(3, plus=1) == asyncio.run(doubler.atimes(3, plus=1)) == [7]
    assert inspect.signature(doubler.times) == inspect.signature(doubler.atimes)
    assert inspect.signature(doubler.times).return_annotation == "list[int]"
    assert (Doubler.atimes.__name__, Doubler.atimes.__qualname__) == ("atimes", "Doubler.atimes")
    assert (Doubler.times.__doc__, Doubler.atimes.__doc__) == ("Multiply.", "Async twin of `times`.")
