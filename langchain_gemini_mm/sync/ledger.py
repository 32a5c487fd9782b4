"""The ledger of an index: one entry for each file, for each folder, and for each file in a folder.

It is stored with the index, as texts by key. A file has one entry for all machines (`SourceEntry`: the ids of its
Documents, and what they were made from), and one for each folder that it was seen in (its stamp: size and times).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import platform
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from langchain_core.stores import BaseStore

from langchain_gemini_mm.embeddings.cache import ContentIdentity
from langchain_gemini_mm.flows import Call, Flow, arun, run

T = TypeVar("T")

SOURCES, SEEN, PLACES, VECTORS, CAPTIONS = "source\n", "seen\n", "place\n", "vector\n", "caption\n"
"""The prefixes of the keys of entries."""

Outcome: TypeAlias = Literal["stored", "partial", "failed"]
"""`partial` is a run that was interrupted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEntry:
    """What is known of one file of an index."""

    ids: tuple[str, ...] = ()
    """Ids of its Documents, in order."""
    contents: tuple[str, ...] = ()
    """For each id, what identifies a page or segment independently of its file, or an empty text; may be left out."""
    sha256: str | None = None
    """Hash of the file from which they were made; None if it is not known."""
    size: int = 0
    """In bytes."""
    recipe: str = ""
    """Hash of the options of the loader."""
    beside: str = ""
    """Stamps of its companion files."""
    outcome: Outcome = "stored"
    error: str | None = None
    """Why it, or a part of it, could not be stored."""
    at: float = 0.0
    """When it was stored, in seconds since 1970."""

    def to_text(self) -> str:
        """Serialize the entry."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> SourceEntry:
        """Undo `to_text`; fields that a newer version has added are left out."""
        given = json.loads(text)
        known = {name: given[name] for name in cls.__slots__ if name in given}
        return cls(**{**known, **{name: tuple(given.get(name, ())) for name in ("ids", "contents")}})

    @property
    def content_of(self) -> dict[str, str]:
        """What identifies the pages and segments among its Documents, by id."""
        return {id_: content for id_, content in zip(self.ids, self.contents, strict=False) if content}

    def with_contents(self, known: Mapping[str, str]) -> SourceEntry:
        """The same entry with `contents`.

        Args:
            known: content by id.
        """
        contents = tuple(known.get(id_, "") for id_ in self.ids)
        return replace(self, contents=contents if any(contents) else ())


def content_id(key: str) -> str:
    """What identifies a page or segment in an entry: a part of the key of an embedding cache, 128 bits in hex."""
    return key.rpartition("-")[2][:32]


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of a library on one machine."""

    library: str
    root: str
    """The absolute path."""
    host: str = field(default_factory=platform.node)
    """Name of the machine."""
    at: float = 0.0
    """When the last mirror ended, in seconds since 1970."""

    @property
    def id(self) -> str:
        """A short hash of machine and path."""
        return hashlib.sha256(f"{self.host}\n{self.root}".encode("utf-8", "surrogateescape")).hexdigest()[:16]

    @property
    def key(self) -> str:
        """The key of its entry."""
        return f"{PLACES}{self.library}\n{self.id}"

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine."""
        return self.host == platform.node()

    @property
    def shown(self) -> str:
        """The folder, for messages."""
        return repr(self.root) if self.is_here else f"{self.root!r} on {self.host!r}"

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.root)

    def to_text(self) -> str:
        """Serialize the entry."""
        return json.dumps([self.library, self.root, self.host, self.at])

    @classmethod
    def from_text(cls, text: str) -> Place:
        """Undo `to_text`."""
        return cls(*json.loads(text))


def seen_key(place: str, source: str) -> str:
    """The key of the stamp of a file in one folder."""
    return f"{SEEN}{place}\n{source}"


Read: TypeAlias = Callable[[Sequence[str]], Flow[Mapping[str, str]]]
Write: TypeAlias = Callable[[Mapping[str, str | None]], Flow[None]]


class VectorJournal(BaseStore[str, bytes]):
    """A cache of embeddings in the ledger: a vector that was paid is kept from its response until it is stored.

    Args:
        read: reads entries of the ledger.
        write: writes them.
        other: the cache of the embeddings, which is used as well.
    """

    def __init__(self, read: Read, write: Write, other: BaseStore[str, bytes] | None) -> None:
        self._read, self._write, self._other = read, write, other
        self.keys: set[str] = set()
        """Keys of the entries that were read or written since the last `drain`."""
        self.stored: dict[str, bytes] = {}
        """Vectors of pages and segments that are stored, by `content_id`."""
        self.noted: dict[str, ContentIdentity] = {}
        """The contents of the last run, by their text."""

    def note_contents(self, identities: Iterable[ContentIdentity]) -> None:
        """Note the contents of a run."""
        self.noted = {identity.text: identity for identity in identities}

    def drain(self) -> dict[str, None]:
        """The entries of vectors that are stored now, for their removal."""
        keys = dict.fromkeys(self.keys)
        self.keys.clear()
        return keys

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Read vectors."""
        known = [None] * len(keys) if self._other is None else self._other.mget(keys)
        return self._merged(keys, known, run(self._read([f"{VECTORS}{key}" for key in keys])))

    async def amget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Async twin of `mget`."""
        known = [None] * len(keys) if self._other is None else await self._other.amget(keys)
        return self._merged(keys, known, await arun(self._read([f"{VECTORS}{key}" for key in keys])))

    def _merged(
        self, keys: Sequence[str], known: Sequence[bytes | None], found: Mapping[str, str]
    ) -> list[bytes | None]:
        self.keys |= found.keys()
        values: list[bytes | None] = []
        for key, other in zip(keys, known, strict=True):
            text = found.get(f"{VECTORS}{key}")
            own = self.stored.get(content_id(key)) if text is None else base64.b64decode(text)
            values.append(own if other is None else other)
        return values

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Write vectors."""
        if self._other is not None:
            self._other.mset(key_value_pairs)
        run(self._write(self._entries(key_value_pairs)))

    async def amset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Async twin of `mset`."""
        if self._other is not None:
            await self._other.amset(key_value_pairs)
        await arun(self._write(self._entries(key_value_pairs)))

    def _entries(self, pairs: Sequence[tuple[str, bytes]]) -> dict[str, str | None]:
        entries: dict[str, str | None] = {f"{VECTORS}{key}": base64.b64encode(value).decode() for key, value in pairs}
        self.keys |= entries.keys()
        return entries

    def mdelete(self, keys: Sequence[str]) -> None:
        """Remove nothing: entries are removed when their vectors are stored."""

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:  # noqa: ARG002 - the interface has it
        """List nothing."""
        return iter(())

    async def ayield_keys(self, *, prefix: str | None = None) -> AsyncIterator[str]:
        """List nothing."""
        for key in self.yield_keys(prefix=prefix):
            yield key


class CaptionCache:
    """The texts that `describe` has returned, in the ledger, by its name and the content; used in a worker thread.

    Args:
        describe: the callable or Runnable.
        read: reads entries of the ledger.
        write: writes them.
        loop: carries out what is read and written, for async callers.
    """

    def __init__(self, describe: object, read: Read, write: Write, loop: asyncio.AbstractEventLoop | None) -> None:
        self._prefix = f"{CAPTIONS}{_named(describe)}\n"
        self._read, self._write, self._loop = read, write, loop

    def get(self, content: str) -> str | None:
        """A text that was returned before."""
        key = self._prefix + content
        return self._done(self._read([key])).get(key)

    def put(self, content: str, text: str) -> None:
        """Keep a text."""
        self._done(self._write({self._prefix + content: text}))

    def _done(self, flow: Flow[T]) -> T:
        if self._loop is None:
            return run(flow)
        return asyncio.run_coroutine_threadsafe(arun(flow), self._loop).result()


def running_loop() -> Flow[asyncio.AbstractEventLoop | None]:
    """The event loop of an async caller; None for a sync one."""
    loop: asyncio.AbstractEventLoop | None = yield Call(lambda: None, _loop)
    return loop


async def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def recipe_of(**options: Any) -> str:
    """A short hash of what Documents are made with."""
    text = json.dumps(options, sort_keys=True, default=_named)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _named(value: object) -> object:
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    module = getattr(value, "__module__", "")
    return f"{module}.{getattr(value, '__qualname__', type(value).__qualname__)}"
