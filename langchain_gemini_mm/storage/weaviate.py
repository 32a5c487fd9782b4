"""A LangChain byte store in a Weaviate collection, used for media in Weaviate.

Values are base64 in a text property without an index. Weaviate's `blob` type stores the same text, and checks it with a
regular expression: storing 1 MiB took 125 ms instead of 16 (Weaviate 1.39.0, two shared cores).

The server's cursor reads a collection in the order of UUIDs, and whole objects even where only keys are requested.
UUIDs therefore begin with the folder of the key, and those of pieces are the first: listing the small values reads no
piece.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from langchain_gemini_mm.errors import InvalidTypeError, MissingExtraError, StoreError

try:
    import weaviate
except ImportError as error:
    raise MissingExtraError("MediaStore.weaviate", package="weaviate-client", extra="weaviate") from error

from weaviate.classes.config import Configure, DataType, Property, Tokenization
from weaviate.classes.data import DataObject
from weaviate.classes.query import Filter

from langchain_gemini_mm.batching import CancelToken, slices
from langchain_gemini_mm.flows import run
from langchain_gemini_mm.storage.byte_store import PIECES
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.weaviate_client.connection import Connection, Operation
from langchain_gemini_mm.weaviate_client.errors import AnswerTooLargeError, CollectionGoneError, TenantGoneError
from langchain_gemini_mm.weaviate_client.insert import Inserter
from langchain_gemini_mm.weaviate_client.names import checked_name, checked_tenant, is_already_there
from langchain_gemini_mm.weaviate_client.versions import require_replication

FORMAT = 1
"""Format of the collection; newer ones are refused."""

_WRITER = "langchain_gemini_mm"
_HOLDS = "media"
_PROPERTIES = {"key", "value"}
_CHUNK_BYTES = 8 << 20
_VALUES_AT_ONCE = 50
_IDS_AT_ONCE = 500
_KEYS_AT_ONCE = 1000
_PIECES_AT_ONCE = 8
"""Pieces on one page of the cursor, all of which the server holds in memory."""
_EXTRA_BYTES = 500


class WeaviateValues:
    """A `BaseStore[str, bytes]` over one collection, for one tenant where it has tenants.

    Args:
        client: a connected `WeaviateClient`.
        name: of the collection, which the first write creates.
        tenant: of the values; None for a collection without tenants.
        replication: number of copies in a cluster, for a new collection.
        timeout: seconds for one response.
        write_timeout: seconds for storing one value, including retries.

    Raises:
        StoreError: the server cannot be reached or is too old, or the collection contains other data.
    """

    def __init__(
        self, client: Any, name: str, *, tenant: str | None, replication: int, timeout: float, write_timeout: float
    ) -> None:
        if isinstance(client, weaviate.WeaviateAsyncClient):
            raise InvalidTypeError(
                "MediaStore.weaviate needs a WeaviateClient, got a WeaviateAsyncClient. Its async methods use the "
                "sync client in worker threads"
            )
        self.name = checked_name(name)
        self.tenant = None if tenant is None else checked_tenant(tenant)
        self._replication = positive_int("replication", replication)
        self._connection = Connection(client, timeout=timeout, write_timeout=write_timeout)
        self._inserter = Inserter(connection=self._connection, what="storing media", collection=self._use)
        self._version = run(self._connection.version())
        self._made = self._found()

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Read values; None for an absent key."""
        found: dict[str, bytes] = {}
        pending = list(slices(list(dict.fromkeys(keys)), _VALUES_AT_ONCE))
        while pending:
            some = pending.pop()
            try:
                found |= self._values(some)
            except AnswerTooLargeError:
                if len(some) == 1:
                    raise
                pending += slices(some, -(-len(some) // 2))
        return [found.get(key) for key in keys]

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Write values durably, in the order given.

        Raises:
            StoreError: one of them could not be stored.
        """
        if not self._made:
            self._make()
        chunk: dict[str, Any] = {}
        size = 0
        for key, value in key_value_pairs:
            item = _object(key, value)
            if chunk and size + len(value) > _CHUNK_BYTES:
                self._insert(chunk)
                chunk, size = {}, 0
            chunk[str(item.uuid)] = item
            size += len(value) + _EXTRA_BYTES
        if chunk:
            self._insert(chunk)

    def mdelete(self, keys: Sequence[str]) -> None:
        """Remove keys; absent ones are no error."""
        for some in slices(list(keys), _IDS_AT_ONCE):
            answer = self._read("removing media", _deletion([uuid_of(key) for key in some]))
            if answer is not None and answer.failed:
                raise StoreError(f"{answer.failed} of {answer.matches} pieces of media could not be removed. Try again")

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        """List the keys that begin with `prefix`, in no particular order."""
        low, high = _range(prefix or "")
        limit = _PIECES_AT_ONCE if low < _SMALL else _KEYS_AT_ONCE
        after = uuid.UUID(int=low) if low else None
        while True:
            page = self._read("listing media", _page(after, limit))
            if page is None or not page.objects:
                return
            for item in page.objects:
                key = item.properties["key"]
                if item.uuid.int > high:
                    return
                if key.startswith(prefix or ""):
                    yield key
            after = page.objects[-1].uuid

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: connections cannot be."""
        raise InvalidTypeError(
            "media in Weaviate cannot be pickled, because the client cannot; open them where they are used"
        )

    def _values(self, keys: Sequence[str]) -> dict[str, bytes]:
        ids = [uuid_of(key) for key in keys]
        answer = self._read(
            "reading media",
            lambda values: values.query.fetch_objects_by_ids(ids, limit=len(ids), return_properties=list(_PROPERTIES)),
        )
        said = [item.properties for item in answer.objects] if answer else []
        return {item["key"]: base64.b64decode(item["value"]) for item in said}

    def _read(self, what: str, operation: Operation) -> Any:
        """Run an operation; None if the collection or the tenant does not exist yet."""
        self._made = self._made or self._found()
        if not self._made:
            return None
        try:
            return self._connection.run(what, lambda client: operation(self._use(client)), self._connection.timeout)
        except (CollectionGoneError, TenantGoneError):
            return None

    def _use(self, client: Any) -> Any:
        found = client.collections.use(self.name)
        return found if self.tenant is None else found.with_tenant(self.tenant)

    def _insert(self, objects: dict[str, Any]) -> None:
        """Insert objects, with retries until all are stored, one is refused, or the time is over."""
        try:
            reasons = run(self._inserter.insert(objects, CancelToken()))
        except CollectionGoneError as error:
            self._made = False
            raise StoreError(
                f"the collection {self.name!r} of Weaviate was dropped while media were stored in it. Put them again"
            ) from error
        if reasons:
            reason = next(iter(reasons.values()))
            raise StoreError(f"storing media in collection {self.name!r} of Weaviate failed: {reason}")

    def _make(self) -> None:
        if self._replication > 1:
            require_replication(self._version)
        config = _creation(self.name, self._replication, tenants=self.tenant is not None)
        try:
            self._connection.run(
                "making the collection",
                lambda client: client.collections.create(**config),
                self._connection.write_timeout,
            )
        except StoreError as error:
            if not is_already_there(error):
                raise
        self._made = self._found()

    def _found(self) -> bool:
        """Whether the collection exists, after a check that it is a media collection.

        Raises:
            StoreError: it contains other data, or has tenants and none is given, or the reverse.
        """
        try:
            config = self._connection.run(
                "opening", lambda client: client.collections.use(self.name).config.get(), self._connection.timeout
            )
        except CollectionGoneError:
            return False
        _require_ours(config, self.name)
        has_tenants = bool(config.multi_tenancy_config.enabled)
        if has_tenants and self.tenant is None:
            raise StoreError(f"the collection {self.name!r} has tenants. Open it with tenant=...")
        if self.tenant is not None and not has_tenants:
            raise StoreError(
                f"the collection {self.name!r} was made without tenants; open it without tenant={self.tenant!r}, or "
                "choose another name"
            )
        if config.replication_config.factor > 1:
            require_replication(self._version)
        return True


def uuid_of(key: str) -> uuid.UUID:
    """The UUID of a key, ordered so that pieces come first and the keys of a folder are adjacent."""
    if key.startswith(PIECES):
        return uuid.UUID(bytes=b"\x00" + _hash(key.rpartition("/")[0], 8) + _hash(key, 7))
    return uuid.UUID(bytes=b"\x80" + _hash(key.partition("/")[0], 3) + _hash(key, 12))


_SMALL = 0x80 << 120
"""The smallest UUID of values that are no pieces."""


def _range(prefix: str) -> tuple[int, int]:
    """The smallest and largest UUID of keys with a prefix."""
    if "/" not in prefix:
        known = 0
    elif not prefix.startswith(PIECES):
        known = 4
    else:
        known = 9 if "/" in prefix.removeprefix(PIECES) else 1
    mask = (1 << 8 * (16 - known)) - 1
    low = uuid_of(prefix).int & ~mask
    return low, low | mask


def _hash(text: str, size: int) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:size]


def _object(key: str, value: bytes) -> Any:
    return DataObject(uuid=uuid_of(key), properties={"key": key, "value": base64.b64encode(value).decode("ascii")})


def _deletion(ids: list[uuid.UUID]) -> Operation:
    return lambda values: values.data.delete_many(Filter.by_id().contains_any(ids))


def _page(after: uuid.UUID | None, limit: int) -> Operation:
    return lambda values: values.query.fetch_objects(limit=limit, after=after, return_properties=["key"])


def _creation(name: str, replication: int, *, tenants: bool) -> dict[str, Any]:
    """The arguments of `collections.create`."""
    said = {"writer": _WRITER, "holds": _HOLDS, "format": FORMAT}
    plain: dict[str, Any] = {"data_type": DataType.TEXT, "index_filterable": False, "index_searchable": False}
    return {
        "name": name,
        "description": json.dumps(said, sort_keys=True),
        "properties": [
            Property(name="key", tokenization=Tokenization.FIELD, **plain),
            Property(name="value", tokenization=Tokenization.FIELD, description="base64", **plain),
        ],
        "vector_config": Configure.Vectors.self_provided(name="none", vector_index_config=Configure.VectorIndex.none()),
        "multi_tenancy_config": Configure.multi_tenancy(
            enabled=tenants, auto_tenant_creation=tenants, auto_tenant_activation=tenants
        ),
        "replication_config": Configure.replication(factor=replication),
    }


def _require_ours(config: Any, name: str) -> None:
    try:
        said: Mapping[str, Any] = json.loads(config.description or "")
    except ValueError:
        said = {}
    ours = isinstance(said, dict) and (said.get("writer"), said.get("holds")) == (_WRITER, _HOLDS)
    if not ours or {item.name for item in config.properties} != _PROPERTIES:
        raise StoreError(
            f"there is a collection {name!r} in Weaviate that holds no media of this package. Choose another name"
        )
    if said.get("format") != FORMAT:
        raise StoreError(
            f"the collection {name!r} has format {said.get('format')!r}, and this version reads {FORMAT}. "
            "Upgrade langchain-gemini-mm"
        )
