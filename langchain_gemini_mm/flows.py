"""Procedures that wait, written once for sync and async callers.

A flow is a generator: it yields a `Call` for everything that waits, and is sent the answer (or has the exception thrown
in). `run` and `arun` carry the calls out, so a rule never exists in two copies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from functools import partial, wraps
from types import MappingProxyType
from typing import Any, NamedTuple, ParamSpec, TypeAlias, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Call(NamedTuple):
    """One thing to wait for, as a plain function and as its async twin."""

    sync: Callable[..., Any]
    asynchronous: Callable[..., Awaitable[Any]]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = MappingProxyType({})


Flow: TypeAlias = Generator[Call, Any, T]
"""A generator that yields calls and returns a `T`."""


def blocking(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Call:
    """Call a function that has no async twin; an async caller runs it in a worker thread."""
    return Call(function, partial(asyncio.to_thread, function), args, kwargs)


def in_thread(function: Callable[P, T]) -> Callable[P, Flow[T]]:
    """Make a flow of a function that blocks: a sync caller calls it, an async caller runs it in a worker thread.

    ```python
    from langchain_gemini_mm.flows import in_thread, run

    @in_thread
    def total(numbers):
        return sum(numbers)

    assert run(total([1, 2])) == 3
    ```
    """
    asynchronous = partial(asyncio.to_thread, function)

    @wraps(function)
    def flow(*args: P.args, **kwargs: P.kwargs) -> Flow[T]:
        result: T = yield Call(function, asynchronous, args, kwargs)
        return result

    return flow


def run(flow: Flow[T]) -> T:
    """Carry out a flow and return its result.

    ```python
    from langchain_gemini_mm.flows import blocking, run

    def total(numbers):
        first = yield blocking(max, numbers)
        return first + (yield blocking(min, numbers))

    assert run(total([3, 1, 2])) == 4
    ```
    """
    try:
        call = next(flow)
        while True:
            try:
                answer = call.sync(*call.args, **call.kwargs)
            except BaseException as error:  # noqa: BLE001 - the flow decides; what it does not catch comes back
                call = flow.throw(error)
            else:
                call = flow.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def arun(flow: Flow[T]) -> T:
    """Async twin of `run`."""
    try:
        call = next(flow)
        while True:
            try:
                answer = await call.asynchronous(*call.args, **call.kwargs)
            except BaseException as error:  # noqa: BLE001 - the flow decides; what it does not catch comes back
                call = flow.throw(error)
            else:
                call = flow.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result


def synchronous(function: Callable[P, Flow[T]]) -> Callable[P, T]:
    """Turn a function or method that makes a flow into one that carries it out.

    ```python
    import asyncio

    from langchain_gemini_mm.flows import asynchronous, blocking, synchronous

    @synchronous
    def largest(numbers):
        return (yield blocking(max, numbers))

    alargest = asynchronous(largest)
    assert largest([3, 1, 2]) == asyncio.run(alargest([3, 1, 2])) == 3
    ```
    """
    returned = str(function.__annotations__.get("return", ""))
    if returned.startswith("Flow["):  # in help texts and signatures
        function.__annotations__["return"] = returned[len("Flow[") : -1]

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return run(function(*args, **kwargs))

    return call


def asynchronous(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The async twin of a function made by `synchronous`, with the same parameters; its name begins with `a`."""
    flow: Callable[P, Flow[T]] = vars(function)["__wrapped__"]

    @wraps(flow)
    async def acall(*args: P.args, **kwargs: P.kwargs) -> T:
        return await arun(flow(*args, **kwargs))

    acall.__name__ = f"a{flow.__name__}"
    acall.__qualname__ = flow.__qualname__.removesuffix(flow.__name__) + acall.__name__
    acall.__doc__ = f"Async twin of `{flow.__name__}`."
    return acall
