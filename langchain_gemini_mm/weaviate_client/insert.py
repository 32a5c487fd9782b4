"""Insertion of objects with retries, which gives a reason for each object that is not stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from weaviate.exceptions import WeaviateInsertManyAllFailedError

from langchain_gemini_mm.batching import CancelToken
from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.flows import Call, Flow
from langchain_gemini_mm.weaviate_client.connection import Connection
from langchain_gemini_mm.weaviate_client.errors import (
    AnswerTooLargeError,
    CollectionGoneError,
    OutageError,
    TenantGoneError,
    is_retriable,
    one_line,
    server_message,
    with_remedy,
)

Objects: TypeAlias = Mapping[str, Any]
"""`DataObject`s by UUID."""
Reasons: TypeAlias = dict[str, str]
"""Why objects are not stored, by UUID."""

_FIRST_SHARE = 1 / 6
"""Share of the time for all attempts that the first attempt gets; each further attempt gets twice as much.

A node that dies while it stores objects never answers, and the next attempt goes to another node.
"""
_SHORTEST = 0.5
_PAUSE, _LONGEST_PAUSE = 0.25, 2.0
_UNCLEAR = "the server's answer names objects that were not sent, so it is not known what is stored"


def pauses() -> Iterator[float]:
    """Seconds to wait between attempts, doubling up to a limit, without end."""
    pause = _PAUSE
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inserter:
    """Inserts objects into one collection."""

    connection: Connection
    what: str
    """The operation, for messages, such as `storing documents`."""
    collection: Callable[[Any], Any]
    """Gets the collection object of a client."""
    create_tenant: Callable[[], Flow[None]] | None = None
    """Creates a missing tenant, or raises."""
    refresh: Callable[[Any], Any] | None = None
    """Builds the object of a further attempt."""

    def insert(self, objects: Objects, stop: CancelToken) -> Flow[Reasons]:
        """Send objects until each is stored or finally refused, or time runs out; return the reasons for the others.

        Raises:
            CollectionGoneError: there is no such collection.
        """
        ends = time.monotonic() + self.connection.write_timeout
        patience = self.connection.write_timeout * _FIRST_SHARE
        pending, refused = objects, Reasons()
        for pause in pauses():
            reasons = yield from self._attempt(pending, min(patience, ends - time.monotonic()), stop)
            patience *= 2
            refused |= {key: reason for key, reason in reasons.items() if not is_retriable(reason)}
            pending = {key: pending[key] for key in reasons if key not in refused}
            if not pending or time.monotonic() + pause >= ends or stop.is_set():
                return refused | {key: reasons[key] for key in pending}
            yield Call(stop.wait, asyncio.sleep, (pause,))
            if self.refresh is not None:
                pending = {key: self.refresh(item) for key, item in pending.items()}
        raise AssertionError("the pauses never end")

    def _attempt(self, objects: Objects, seconds: float, stop: CancelToken) -> Flow[Reasons]:
        items = list(objects.values())
        try:
            answer = yield self.connection.call(
                self.what,
                lambda client: self.collection(client).data.insert_many(items),
                timeout=max(_SHORTEST, seconds),
                stop=stop,
            )
        except OutageError as error:
            return dict.fromkeys(objects, f"timeout: {error}")
        except TenantGoneError as error:
            if self.create_tenant is not None:
                yield from self.create_tenant()
            return dict.fromkeys(objects, f"tenant not found: {error}")
        except CollectionGoneError:
            raise
        except AnswerTooLargeError as error:
            if len(items) == 1:
                return dict.fromkeys(objects, str(error))
            reasons = Reasons()
            for half in _halves(objects):
                reasons |= yield from self._attempt(half, seconds, stop)
            return reasons
        except StoreError as error:
            cause = error.__cause__
            refused = isinstance(cause, WeaviateInsertManyAllFailedError)
            return dict.fromkeys(objects, with_remedy(server_message(cause)) if refused else str(error))
        return _accounted(list(objects), answer)


def _accounted(keys: list[str], answer: Any) -> Reasons:
    """The reasons of failed objects, and of objects that the answer does not mention."""
    if answer.has_errors and not answer.errors:  # the client drops errors whose object it does not find
        return dict.fromkeys(keys, _UNCLEAR)
    failed = {keys[i]: with_remedy(one_line(str(error.message))) for i, error in answer.errors.items()}
    silent = (key for i, key in enumerate(keys) if i not in answer.errors and i not in answer.uuids)
    return failed | dict.fromkeys(silent, "timeout: the server's answer does not mention this object")


def _halves(objects: Objects) -> Iterator[Objects]:
    items = list(objects.items())
    middle = len(items) // 2
    yield dict(items[:middle])
    yield dict(items[middle:])
