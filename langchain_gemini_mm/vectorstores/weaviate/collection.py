"""The collection of a store: an alias of a versioned collection.

`Docs` is an alias of `Docs_v<n>`. A version belongs to one embedding space from its creation; of two writers that
create it at the same time, one succeeds, because the server creates a name only once. Data are read and written under
the versioned name, so that they match the embedding space that was read with it, even if the alias is switched.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

from weaviate.classes.config import ConsistencyLevel
from weaviate.classes.tenants import Tenant

from langchain_gemini_mm.batching import CancelToken
from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.flows import Call, Flow
from langchain_gemini_mm.vectorstores.embedding_space import Fingerprint, require_dimensions, require_space
from langchain_gemini_mm.vectorstores.weaviate.objects import Objects
from langchain_gemini_mm.vectorstores.weaviate.schema import (
    FORMAT,
    Layout,
    Options,
    changes_property,
    creation,
    description_of,
    layout_of,
)
from langchain_gemini_mm.weaviate_client.connection import Connection
from langchain_gemini_mm.weaviate_client.errors import (
    CollectionGoneError,
    OutageError,
    ServerFullError,
    TenantGoneError,
    UnreadableSchemaError,
)
from langchain_gemini_mm.weaviate_client.names import (
    is_already_there,
    is_target_missing,
    is_version_of,
    require_free_name,
    version_number,
)
from langchain_gemini_mm.weaviate_client.versions import require_replication

REFRESH_SECONDS = 5.0
"""Seconds after which a reader resolves the alias again."""

_REFRESH_TIMEOUT = 1.0
"""Timeout of this request; a cluster without a leader answers requests for data but not for aliases."""
_ATTEMPTS = 8
_MOST_VERSIONS = 20
"""Names that are tried for a new version."""
_PATIENCE = 5.0
"""Seconds without progress after which a client that replaces a collection is taken for dead."""
_LOOK = 0.05
_PAUSE = 0.02
"""Seconds, doubled with each attempt: a node may lag behind the leader of the cluster."""


@dataclass(slots=True)
class _Resolved:
    """The last resolved layout, shared by all tenants."""

    layout: Layout | None = None
    at: float = 0.0


class WeaviateCollection:
    """A named collection on a server, for one tenant if it has tenants.

    Args:
        connection: the clients.
        name: the alias.
        options: how a missing collection is created.
        tenant: None for a collection without tenants.
        consistency: how many replicas must answer; None is the server's default, a quorum.
    """

    objects: Objects = Objects()

    def __init__(
        self,
        connection: Connection,
        name: str,
        options: Options,
        *,
        tenant: str | None = None,
        consistency: ConsistencyLevel | None = None,
    ) -> None:
        self.connection = connection
        self.name = name
        self.options = options
        self.tenant = tenant
        self.consistency = consistency
        self._resolved = _Resolved()
        self._handles: dict[Any, tuple[str, Any]] = {}

    def of_tenant(self, tenant: str) -> WeaviateCollection:
        """The same collection for another tenant."""
        other = copy(self)
        other.tenant = tenant
        other._handles = {}
        return other

    @property
    def label(self) -> str:
        """The name of the collection in messages."""
        return f"collection {self.name!r} in Weaviate"

    @property
    def cached_layout(self) -> Layout | None:
        """The last resolved layout; None if there is none."""
        return self._resolved.layout

    def forget_layout(self) -> None:
        """Resolve the alias again before the next operation."""
        self._resolved.layout = None

    def handle(self, client: Any, layout: Layout) -> Any:
        """The client's collection object, with tenant and consistency level."""
        name, found = self._handles.get(client, ("", None))
        if name != layout.physical:
            found = client.collections.use(layout.physical, skip_argument_validation=True)
            if self.tenant is not None:
                found = found.with_tenant(self.tenant)
            if self.consistency is not None:
                found = found.with_consistency_level(self.consistency)
            self._handles[client] = layout.physical, found
        return found

    def find(self, fingerprint: Fingerprint | None = None, *, fresh: bool = False) -> Flow[Layout | None]:
        """Resolve the alias; None if there is no collection.

        Args:
            fingerprint: the embedding space to read or write; None accepts every space.
            fresh: do not use the cached layout.

        Raises:
            SpaceMismatchError: the collection belongs to another embedding space.
            StoreError: the name belongs to something else, or a tenant is given for a collection without tenants.
        """
        layout = self._resolved.layout  # read once: another thread may set it to None
        if fresh or layout is None or time.monotonic() - self._resolved.at > REFRESH_SECONDS:
            must = fresh or layout is None
            try:
                layout = yield from self._resolve(None if must else _REFRESH_TIMEOUT)
            except OutageError:
                # The cached layout remains valid for reading, because data are read under the versioned name.
                if must:
                    raise
                self._resolved.at = time.monotonic()
            else:
                self._resolved.layout, self._resolved.at = layout, time.monotonic()
        if layout is not None:
            if self.tenant is not None and not layout.multi_tenant:
                raise StoreError(f"{self.label} was created without tenants; open it without tenant={self.tenant!r}")
            require_space(self.label, layout.fingerprint, fingerprint)
        return layout

    def claim(self, fingerprint: Fingerprint, dimensions: int) -> Flow[Layout]:
        """The collection for an embedding space; created or bound to the space if needed.

        Args:
            fingerprint: the embedding space.
            dimensions: length of its vectors.

        Raises:
            SpaceMismatchError: the collection belongs to another embedding space.
            StoreError: it cannot be created, no tenant is given, or the tenant may not be created.
        """
        for attempt in range(_ATTEMPTS):
            yield from _paused(attempt)
            layout = yield from self.find(fingerprint, fresh=True)
            self.require_tenant(layout)
            if layout is not None and layout.fingerprint is not None:
                if layout.dimensions is None or layout.fingerprint != fingerprint:
                    yield from self._describe(layout, fingerprint, dimensions)
                    continue
                require_dimensions(self.label, layout.dimensions, dimensions)
                return layout
            if layout is None:
                yield from self._create(fingerprint, dimensions)
            else:
                yield from self.replace_with_empty(layout, fingerprint, dimensions)
        raise StoreError(f"{self.label} is repeatedly created and dropped by other processes; nothing was stored")

    def replace_with_empty(self, layout: Layout, fingerprint: Fingerprint | None, dimensions: int | None) -> Flow[None]:
        """Replace the collection by an empty one with the same schema.

        The successor is created first: of several clients, one succeeds, because the server creates a name only once,
        and the others wait for it. Then the old collection is dropped, from which moment on it is empty for everybody,
        and the alias is switched last, so that no client writes to the successor while another reads the old one.

        Args:
            layout: the collection to replace.
            fingerprint: the embedding space of the new collection; None leaves it open.
            dimensions: length of its vectors.
        """
        client, old = self.connection, layout.physical
        try:
            config = yield client.call("reading the schema", lambda c: c.collections.use(old).config.get())
        except CollectionGoneError:
            return self.forget_layout()  # replaced by another client
        schema = {**config.to_dict(), "description": description_of(fingerprint, dimensions, layout.written_format)}

        def create(c: Any, name: str) -> Any:
            return c.collections.create_from_dict({**schema, "class": name})

        try:
            new = yield from self._create_version(layout.version + 1, create, old)
        except ServerFullError:
            # There is no room for two: others take the missing collection for an empty one meanwhile.
            yield client.call("dropping the old collection", partial(_delete, name=old))
            new = yield from self._create_version(layout.version + 1, create, old)
        if new is not None:
            yield from self._succeed(old, new)
        self.forget_layout()

    def is_same_or_successor(self, layout: Layout, now: Layout) -> bool:
        """Whether a collection is the one of `layout`, or has replaced it when that was emptied."""
        ours = is_version_of(self.name, layout.physical) and is_version_of(self.name, now.physical)
        return now.physical == layout.physical or (ours and now.version > layout.version)

    def _succeed(self, old: str, new: str) -> Flow[None]:
        """Drop the old collection and switch the alias, unless it was switched already."""
        yield self.connection.call("dropping the old collection", partial(_delete, name=old))
        if (yield from self._target()) == old:
            yield self.connection.call(
                "switching", lambda c: c.alias.update(alias_name=self.name, new_target_collection=new)
            )

    def _target(self) -> Flow[str | None]:
        """The name that the alias refers to, whether it exists or not; None without an alias."""
        found = yield self.connection.call("reading the alias", lambda c: c.alias.get(alias_name=self.name))
        return None if found is None else str(found.collection)

    def _was_replaced(self, old: str) -> Flow[bool]:
        """Wait for the client that replaces a collection; False if it does not seem to go on."""
        ends = time.monotonic() + _PATIENCE
        while (yield from self._target()) == old:
            if time.monotonic() > ends:
                return False
            yield Call(time.sleep, asyncio.sleep, (_LOOK,))
        return True

    def read(
        self,
        what: str,
        fingerprint: Fingerprint | None,
        operation: Callable[[Any, Layout], Any],
        stop: CancelToken | None = None,
        timeout: float | None = None,
    ) -> Flow[Any]:
        """Carry out a read operation; None if there is no collection.

        Args:
            what: the operation, for messages, such as `searching`.
            fingerprint: the embedding space of the query, if it has one.
            operation: called with the client's collection object and the layout.
            stop: cancels the waiting of a sync call.
            timeout: seconds; by default those of the connection.
        """
        for attempt in range(_ATTEMPTS):
            yield from _paused(attempt)
            layout = yield from self.find(fingerprint, fresh=attempt > 0)
            if layout is None:
                return None
            self.require_tenant(layout)
            try:

                def on_handle(client: Any, layout: Layout = layout) -> Any:
                    return operation(self.handle(client, layout), layout)

                return (yield self.connection.call(what, on_handle, stop=stop, timeout=timeout))
            except CollectionGoneError:
                self.forget_layout()
            except TenantGoneError as error:
                if not self.options.create_tenants:
                    raise self._missing_tenant_error() from error
                return None  # it is created by the first write
        raise StoreError(f"{self.label} is repeatedly created and dropped by other processes; {what} failed")

    def _resolve(self, seconds: float | None = None) -> Flow[Layout | None]:
        version = yield from self.connection.version()
        try:
            config = yield self.connection.call(
                "opening", lambda c: c.collections.use(self.name).config.get(), timeout=seconds
            )
        except CollectionGoneError:
            require_free_name(self.name)
            return None
        except (AssertionError, KeyError, UnreadableSchemaError) as error:
            raise StoreError(
                f"weaviate-client does not understand the schema of {self.label}. Upgrade weaviate-client"
            ) from error
        layout = layout_of(config, self.name)
        if layout.physical == self.name:
            raise StoreError(
                f"{self.name!r} is the name of a version of a store; open {self.name.rpartition('_v')[0]!r} instead"
            )
        if layout.replication > 1:
            require_replication(version)
        return layout

    def _create(self, fingerprint: Fingerprint, dimensions: int) -> Flow[None]:
        version = yield from self.connection.version()
        arguments = creation(self.name, self.options, version, fingerprint, dimensions)

        def create(c: Any, name: str) -> Any:
            return c.collections.create(**{**arguments, "name": name})

        target = yield from self._target()
        if target is not None:
            return (yield from self._create_again(target, create))
        physical = yield from self._create_version(1, create)
        assert physical is not None  # noqa: S101 - None only for successors
        try:
            yield self.connection.call(
                "creating the alias", lambda c: c.alias.create(alias_name=self.name, target_collection=physical)
            )
        except StoreError as error:
            if is_target_missing(error):
                return  # another client, which was faster, has taken it for its own unused one and removed it
            if not is_already_there(error):
                raise
            if (yield from self._target()) != physical and (yield from self._is_own_and_empty(physical)):
                yield self.connection.call("removing an unused collection", partial(_delete, name=physical))

    def _create_again(self, target: str, create: Callable[..., Any]) -> Flow[None]:
        """Create the collection to which the alias refers and which does not exist.

        Another client may be about to switch the alias to a successor; if it died, this client does so.
        """
        names = yield self.connection.call("listing the collections", lambda c: c.collections.list_all())
        number = version_number(target)
        later = sorted((version_number(name), name) for name in names if is_version_of(self.name, name))
        for _, successor in (item for item in later if item[0] > number):
            if (yield from self._layout_of(successor)) is None:
                continue
            if not (yield from self._was_replaced(target)):
                yield from self._succeed(target, successor)
            return
        yield from self.create_if_missing("creating the collection", partial(create, name=target))

    def _create_version(self, first: int, create: Callable[..., Any], old: str | None = None) -> Flow[str | None]:
        """Create the next version, and return its name; None if another client replaced the old version.

        A name that exists is used if another client of ours has just created it; otherwise the next number is tried.

        Args:
            first: the number to begin with.
            create: called with the client and the name.
            old: the version to replace; None if there is none.
        """
        for number in range(first, first + _MOST_VERSIONS):
            name = f"{self.name}_v{number}"
            try:
                yield self.connection.call("creating the collection", partial(create, name=name))
            except StoreError as error:
                if not is_already_there(error):
                    raise
                if (yield from self._layout_or_case(name)) is None:
                    continue
                if old is not None and (yield from self._was_replaced(old)):
                    return None
                if not (yield from self._is_own_and_empty(name)):
                    continue
            return name
        raise StoreError(
            f"{self.label} cannot be created: collections {self.name}_v{first} to _v{first + _MOST_VERSIONS - 1} exist "
            "and are not empty, or are not of this package. Choose another name, or remove them"
        )

    def _layout_or_case(self, name: str) -> Flow[Layout | None]:
        """The layout of a collection that exists; None if it is not of this package, or was dropped meanwhile.

        Raises:
            StoreError: the name of the collection that exists differs in upper and lower case.
        """
        try:
            return (yield from self._layout_of(name))
        except CollectionGoneError:
            names = yield self.connection.call("listing the collections", lambda c: c.collections.list_all())
            if any(name != other and name.lower() == other.lower() for other in names):
                raise StoreError(
                    f"a collection exists in Weaviate whose name differs from {name!r} in upper and lower case only, "
                    "which the server does not allow. Choose another name"
                ) from None
            return None

    def _is_own_and_empty(self, name: str) -> Flow[bool]:
        """Whether a collection was created by this package for this alias and holds nothing."""
        layout = yield from self._layout_or_case(name)
        if layout is None:
            return False
        try:
            if layout.multi_tenant:
                return not (yield self.connection.call("opening", lambda c: c.collections.use(name).tenants.get()))
            counted = yield self.connection.call(
                "counting", lambda c: c.collections.use(name).aggregate.over_all(total_count=True)
            )
        except CollectionGoneError:  # another client has just removed it
            return False
        return not counted.total_count

    def _layout_of(self, name: str) -> Flow[Layout | None]:
        """The layout of a collection; None if this package did not create it."""
        config = yield self.connection.call("opening", lambda c: c.collections.use(name).config.get())
        try:
            return layout_of(config, self.name)
        except StoreError:
            return None

    def remove(self) -> Flow[None]:
        """Delete the alias and every version of it that this package created."""
        client = self.connection
        names = yield client.call("listing the collections", lambda c: c.collections.list_all())
        for name in sorted(names):
            if not is_version_of(self.name, name):
                continue
            if (yield from self._layout_of(name)) is not None:
                yield client.call("removing the collection", partial(_delete, name=name))
        yield client.call("removing the alias", lambda c: c.alias.delete(alias_name=self.name))
        self.forget_layout()

    def create_if_missing(self, what: str, operation: Callable[[Any], Any]) -> Flow[None]:
        """Create something that may exist already."""
        try:
            yield self.connection.call(what, operation)
        except StoreError as error:
            if not is_already_there(error):
                raise

    def _describe(self, layout: Layout, fingerprint: Fingerprint, dimensions: int) -> Flow[None]:
        description = description_of(fingerprint, dimensions, layout.written_format)
        yield self.connection.call(
            "describing the collection",
            lambda c: c.collections.use(layout.physical).config.update(description=description),
        )

    def enable_changes(self) -> Flow[None]:
        """Add the property for changed metadata to a collection of format 1.

        Older programs refuse the collection then. Clients of this version read the property after `REFRESH_SECONDS`.
        """
        layout = yield from self.find(fresh=True)
        if layout is None or layout.written_format == FORMAT:
            return
        physical, description = layout.physical, description_of(layout.fingerprint, layout.dimensions, FORMAT)
        yield from self.create_if_missing(
            "adding a property", lambda c: c.collections.use(physical).config.add_property(changes_property())
        )
        yield self.connection.call(
            "describing the collection", lambda c: c.collections.use(physical).config.update(description=description)
        )
        self.forget_layout()
        yield Call(time.sleep, asyncio.sleep, (REFRESH_SECONDS,))

    def require_tenant(self, layout: Layout | None) -> None:
        """Refuse to read or write without a tenant in a collection with tenants.

        Raises:
            StoreError: no tenant is given.
        """
        tenants = self.options.multi_tenant if layout is None else layout.multi_tenant
        if tenants and self.tenant is None:
            raise StoreError(
                f"{self.label} has tenants. Open it with tenant=..., use store.with_tenant(...), or name one in the "
                "call"
            )

    def create_tenant(self, layout: Layout) -> Flow[None]:
        """Create a missing tenant.

        Raises:
            TenantGoneError: `create_tenants` is off.
        """
        if not self.options.create_tenants:
            raise self._missing_tenant_error()
        physical, tenant = layout.physical, self.tenant
        yield self.connection.call(
            "creating the tenant", lambda c: c.collections.use(physical).tenants.create([Tenant(name=tenant)])
        )

    def require_known_tenant(self, layout: Layout) -> Flow[None]:
        """Refuse to write to a missing tenant if `create_tenants` is off.

        Raises:
            TenantGoneError: the tenant does not exist.
        """
        if not layout.multi_tenant or self.options.create_tenants:
            return
        physical, tenant = layout.physical, self.tenant
        there = yield self.connection.call(
            "looking for the tenant", lambda c: c.collections.use(physical).tenants.exists(tenant)
        )
        if not there:
            raise self._missing_tenant_error()

    def _missing_tenant_error(self) -> TenantGoneError:
        return TenantGoneError(
            f"tenant {self.tenant!r} of {self.label} does not exist, and create_tenants is off. Make it first, or turn "
            "create_tenants on"
        )


def _delete(client: Any, name: str) -> Any:
    return client.collections.delete(name)


def _paused(attempt: int) -> Flow[None]:
    """Wait before every attempt after the second."""
    if attempt > 1:
        yield Call(time.sleep, asyncio.sleep, (_PAUSE * 2**attempt,))
