"""Storing objects so that each is accounted for: it is stored, or there is a reason why not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from weaviate.exceptions import WeaviateInsertManyAllFailedError

from langchain_gemini_mm.batching import Stop
from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.flows import Call, Flow
from langchain_gemini_mm.weaviate_client.connection import Connection
from langchain_gemini_mm.weaviate_client.errors import (
    AnswerTooLargeError,
    CollectionGoneError,
    OutageError,
    TenantGoneError,
    is_retriable,
    shortened,
    with_remedy,
    words_of,
)

Objects: TypeAlias = Mapping[str, Any]
"""`DataObject`s by their UUIDs."""
Reasons: TypeAlias = dict[str, str]
"""Why objects are not stored, by their UUIDs."""

_FIRST_SHARE = 1 / 6
"""Of the time for all attempts, what the first one gets; each one after it twice as much.

A node that dies with objects in its hands leaves them unanswered for good, and the next attempt goes past it.
"""
_SHORTEST = 0.5
_PAUSE, _LONGEST_PAUSE = 0.25, 2.0
_UNCLEAR = "the server's answer names objects that were not sent, so it is not known what is stored"


def pauses() -> Iterator[float]:
    """Seconds to wait between attempts, longer and longer, without end."""
    pause = _PAUSE
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inserter:
    """Stores objects in one collection."""

    connection: Connection
    what: str
    """What it does, for messages, such as `storing documents`."""
    collection: Callable[[Any], Any]
    """From a client to its object for the collection."""
    admit: Callable[[], Flow[None]] | None = None
    """Makes a tenant that is missing, or raises."""
    renew: Callable[[Any], Any] | None = None
    """Makes an object anew for another attempt."""

    def insert(self, objects: Objects, stop: Stop) -> Flow[Reasons]:
        """Send objects until each is stored, is refused for good, or the time is over; why which are not stored.

        Raises:
            CollectionGoneError: there is no such collection.
        """
        ends = time.monotonic() + self.connection.write_timeout
        patience = self.connection.write_timeout * _FIRST_SHARE
        pending, refused = objects, Reasons()
        for pause in pauses():
            reasons = yield from self._attempt(pending, min(patience, ends - time.monotonic()), stop)
            patience *= 2
            refused |= {key: said for key, said in reasons.items() if not is_retriable(said)}
            pending = {key: pending[key] for key in reasons if key not in refused}
            if not pending or time.monotonic() + pause >= ends or stop.requested:
                return refused | {key: reasons[key] for key in pending}
            yield Call(stop.sleep, asyncio.sleep, (pause,))
            if self.renew is not None:
                pending = {key: self.renew(item) for key, item in pending.items()}
        raise AssertionError("the pauses never end")

    def _attempt(self, objects: Objects, seconds: float, stop: Stop) -> Flow[Reasons]:
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
            if self.admit is not None:
                yield from self.admit()
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
            return dict.fromkeys(objects, with_remedy(words_of(cause)) if refused else str(error))
        return _accounted(list(objects), answer)


def _accounted(keys: list[str], answer: Any) -> Reasons:
    """What failed: what the server says so of, and what it says nothing of."""
    if answer.has_errors and not answer.errors:  # the client drops errors whose object it does not find
        return dict.fromkeys(keys, _UNCLEAR)
    failed = {keys[i]: with_remedy(shortened(str(error.message))) for i, error in answer.errors.items()}
    silent = (key for i, key in enumerate(keys) if i not in answer.errors and i not in answer.uuids)
    return failed | dict.fromkeys(silent, "timeout: the server said nothing of this object")


def _halves(objects: Objects) -> Iterator[Objects]:
    items = list(objects.items())
    middle = len(items) // 2
    yield dict(items[:middle])
    yield dict(items[middle:])
