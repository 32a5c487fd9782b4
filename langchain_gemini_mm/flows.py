"""Procedures that wait, written once for sync and async callers.

A flow is a generator: it yields a `Call` for everything that waits, and is sent the answer (or has the exception thrown
in). `run` and `arun` carry the calls out, so a rule never exists in two copies.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, ParamSpec, Protocol, TypeAlias, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Call:
    """One thing to wait for, as a plain function and as its async twin."""

    sync: Callable[..., Any]
    asynchronous: Callable[..., Awaitable[Any]]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


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


class Synchronous(Protocol[P, T_co]):
    """A function that was written as a flow; `asynchronous` is its async twin, with the same parameters."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co:
        """Carry the flow out."""

    @property
    def asynchronous(self) -> Callable[P, Coroutine[Any, Any, T_co]]:
        """The async twin; its name begins with `a`."""


def synchronous(function: Callable[P, Flow[T]]) -> Synchronous[P, T]:
    """Turn a function that makes a flow into one that carries it out.

    ```python
    import asyncio

    from langchain_gemini_mm.flows import blocking, synchronous

    @synchronous
    def largest(numbers):
        return (yield blocking(max, numbers))

    alargest = largest.asynchronous
    assert largest([3, 1, 2]) == asyncio.run(alargest([3, 1, 2])) == 3
    ```
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return run(function(*args, **kwargs))

    @wraps(function)
    async def acall(*args: P.args, **kwargs: P.kwargs) -> T:
        return await arun(function(*args, **kwargs))

    signature = inspect.signature(function)
    returned = str(signature.return_annotation).removeprefix("Flow[").removesuffix("]")
    for made in (call, acall):
        vars(made)["__signature__"] = signature.replace(return_annotation=returned)
        made.__annotations__ = {**function.__annotations__, "return": returned}
    acall.__name__ = f"a{function.__name__}"
    acall.__qualname__ = f"a{function.__qualname__}"
    acall.__doc__ = f"Async twin of `{function.__name__}`."
    vars(call)["asynchronous"] = acall
    return cast("Synchronous[P, T]", call)
