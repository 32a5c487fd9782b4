"""Mutual exclusion of clients that change the metadata of the same documents.

Weaviate has no conditional write, so that two clients that read metadata, change them and write them back would undo
each other's changes. Each client therefore announces the documents that it is about to change, as an object in the
collection of the store's information, and waits for those that announced one of them before. This is Lamport's bakery
algorithm, which needs reads and writes of separate objects only. Writers of whole documents do not take part.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from weaviate.classes.config import ConsistencyLevel
from weaviate.classes.data import DataObject
from weaviate.classes.query import Filter

from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.flows import Call, Flow
from langchain_gemini_mm.weaviate_client.connection import Connection

ABANDONED = 30.0
"""Seconds without a change after which an announcement is taken for that of a dead client."""

_FIRST = uuid.UUID(int=0xFFFFFFFF << 96)
"""Announcements have the last UUIDs of the collection, so that the cursor reads them alone."""
_MOST = 1000
_PAUSE = 0.01


@dataclass(frozen=True, slots=True)
class Announcement:
    """The documents that a client is about to change."""

    token: str
    ticket: int
    """The turn of the client; 0 while it is being determined."""
    keys: frozenset[str]

    def precedes(self, other: Announcement) -> bool:
        """Whether `other` has to wait for this one."""
        if self.token == other.token or not self.keys & other.keys:
            return False
        return self.ticket == 0 or (self.ticket, self.token) < (other.ticket, other.token)


@dataclass(slots=True)
class UpdateLock:
    """The right to change some documents.

    Args:
        connection: the clients.
        name: of the collection of announcements, which exists.
        keys: the documents, as text; unique among all tenants.
    """

    connection: Connection
    name: str
    keys: Collection[str]
    _token: str = field(default_factory=lambda: str(uuid.UUID(int=_FIRST.int | uuid.uuid4().int >> 32)))
    _seen: dict[Announcement, float] = field(default_factory=dict)

    def acquire(self) -> Flow[None]:
        """Wait until no other client may change one of the documents."""
        yield from self._announce(0)
        others = yield from self._read()
        own = yield from self._announce(1 + max((other.ticket for other in others), default=0))
        while True:
            before = [other for other in (yield from self._read()) if other.precedes(own)]
            if not before:
                return
            yield from self._remove_abandoned(before)
            yield Call(time.sleep, asyncio.sleep, (_PAUSE,))

    def release(self) -> Flow[None]:
        """Let others change the documents."""
        token = self._token
        yield self.connection.call("ending a change", lambda c: self._use(c).data.delete_by_id(token))

    def _announce(self, ticket: int) -> Flow[Announcement]:
        own = Announcement(self._token, ticket, frozenset(self.keys))
        value = json.dumps({"ticket": ticket, "keys": sorted(own.keys)})
        item = DataObject(uuid=own.token, properties={"key": "", "tenant": "", "value": value})
        answer = yield self.connection.call("announcing a change", lambda c: self._use(c).data.insert_many([item]))
        if answer.has_errors:
            raise StoreError(f"announcing a change failed: {next(iter(answer.errors.values())).message[:200]}")
        return own

    def _read(self) -> Flow[list[Announcement]]:
        def ask(limit: int) -> Flow[Any]:
            return (
                yield self.connection.call(
                    "reading announced changes",
                    lambda c: self._use(c).query.fetch_objects(limit=limit, after=_FIRST, return_properties=["value"]),
                )
            )

        answer = yield from self.connection.limited(ask, _MOST)
        return [_announcement(item) for item in answer.objects]

    def _remove_abandoned(self, before: Collection[Announcement]) -> Flow[None]:
        """Remove announcements that have not changed for long: their clients died."""
        now = time.monotonic()
        self._seen = {other: self._seen.get(other, now) for other in before}
        abandoned = [other.token for other, since in self._seen.items() if now - since > ABANDONED]
        if abandoned:
            yield self.connection.call(
                "removing abandoned changes",
                lambda c: self._use(c).data.delete_many(Filter.by_id().contains_any(abandoned)),
            )

    def _use(self, client: Any) -> Any:
        return client.collections.use(self.name).with_consistency_level(ConsistencyLevel.QUORUM)


def _announcement(item: Any) -> Announcement:
    found = json.loads(item.properties["value"])
    return Announcement(str(item.uuid), found["ticket"], frozenset(found["keys"]))
