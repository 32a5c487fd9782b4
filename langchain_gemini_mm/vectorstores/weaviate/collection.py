"""Where a store's collection is: behind an alias, in versions, each made whole and then switched to.

`Docs` is an alias of `Docs_v<n>`. A version belongs to one embedding space from the moment it is made; two writers that
race to be first are told apart by the server, which makes a collection of one name only once. Data are read and written
under the versioned name: what was resolved together with its space stays together with it, whatever the alias does
meanwhile.
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

from langchain_gemini_mm.batching import Stop
from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.flows import Call, Flow
from langchain_gemini_mm.vectorstores.embedding_space import Fingerprint, require_dimensions, require_space
from langchain_gemini_mm.vectorstores.weaviate.schema import Layout, Options, creation, description_of, layout_of
from langchain_gemini_mm.weaviate_client.connection import Connection
from langchain_gemini_mm.weaviate_client.errors import (
    CollectionGoneError,
    OutageError,
    TenantGoneError,
    UnreadableSchemaError,
)
from langchain_gemini_mm.weaviate_client.names import is_already_there
from langchain_gemini_mm.weaviate_client.versions import require_replication

REFRESH_SECONDS = 5.0
"""How long a reader goes on with the collection it has resolved before it looks at the alias again."""

_REFRESH_TIMEOUT = 1.0
"""Seconds a reader waits for that look; a cluster without a leader answers about data and not about aliases."""
_ATTEMPTS = 8
_PAUSE = 0.02
"""Seconds, twice as long with each attempt: a node may lag behind what the leader of the cluster has made."""


@dataclass(slots=True)
class _Resolved:
    """What was resolved last, for all tenants."""

    layout: Layout | None = None
    at: float = 0.0


class WeaviateCollection:
    """A named collection on a server, for one tenant where it has tenants.

    Args:
        connection: the clients.
        name: of the alias.
        options: how the collection is made when there is none.
        tenant: whose data; None for a collection without tenants.
        consistency: how many replicas answer; None leaves it to the server, which asks a quorum.
    """

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
        """How messages call it."""
        return f"collection {self.name!r} in Weaviate"

    @property
    def cached_layout(self) -> Layout | None:
        """What was resolved last."""
        return self._resolved.layout

    def forget_layout(self) -> None:
        """Resolve again before the next operation."""
        self._resolved.layout = None

    def handle(self, client: Any, layout: Layout) -> Any:
        """The client's object for the collection, for tenant and consistency."""
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
        """Find the collection; None when there is none yet.

        Args:
            fingerprint: the space of what is to be read or written there; None where that does not matter.
            fresh: look at the alias in any case.

        Raises:
            SpaceMismatchError: the collection is of another space.
            StoreError: something else has the name, or it has no tenants and one is named.
        """
        layout = self._resolved.layout  # once: another thread may forget it at any moment
        if fresh or layout is None or time.monotonic() - self._resolved.at > REFRESH_SECONDS:
            must = fresh or layout is None
            try:
                layout = yield from self._resolve(None if must else _REFRESH_TIMEOUT)
            except OutageError:
                # What is known stays right for reading: data are asked for by the name they were resolved to.
                if must:
                    raise
                self._resolved.at = time.monotonic()
            else:
                self._resolved.layout, self._resolved.at = layout, time.monotonic()
        if layout is not None:
            if self.tenant is not None and not layout.multi_tenant:
                raise StoreError(f"{self.label} was made without tenants; open it without tenant={self.tenant!r}")
            require_space(self.label, layout.fingerprint, fingerprint)
        return layout

    def claim(self, fingerprint: Fingerprint, dimensions: int) -> Flow[Layout]:
        """The collection, made for this space when it is there for none yet.

        Raises:
            SpaceMismatchError: it is of another space, or was made for one meanwhile.
            StoreError: it cannot be made, or the tenant is not named or may not be made.
        """
        for attempt in range(_ATTEMPTS):
            yield from _paused(attempt)
            layout = yield from self.find(fingerprint, fresh=True)
            self.require_tenant(layout)
            if layout is not None and layout.fingerprint is not None:
                if layout.dimensions is None:
                    yield from self._describe(layout, fingerprint, dimensions)
                    continue
                require_dimensions(self.label, layout.dimensions, dimensions)
                return layout
            if layout is None:
                yield from self._create(fingerprint, dimensions)
            else:
                yield from self.replace_with_empty(layout, fingerprint, dimensions)
        raise StoreError(f"{self.label} is made and dropped by others all the time; nothing was stored")

    def replace_with_empty(self, layout: Layout, fingerprint: Fingerprint | None, dimensions: int | None) -> Flow[None]:
        """Put an empty collection of the same schema in the place of this one.

        Readers see the old one or the new one. A writer that is busy with the old one is sent to the new one.
        """
        client, old, new = self.connection, layout.physical, f"{self.name}_v{layout.version + 1}"
        config = yield client.call("reading the schema", lambda c: c.collections.use(old).config.get())
        wanted = {**config.to_dict(), "class": new, "description": description_of(fingerprint, dimensions)}
        yield from self.create_if_missing("making the collection", lambda c: c.collections.create_from_dict(wanted))
        yield client.call("switching", lambda c: c.alias.update(alias_name=self.name, new_target_collection=new))
        yield client.call("dropping the old collection", lambda c: c.collections.delete(old))
        self.forget_layout()

    def read(
        self,
        what: str,
        fingerprint: Fingerprint | None,
        operation: Callable[[Any, Layout], Any],
        stop: Stop | None = None,
        timeout: float | None = None,
    ) -> Flow[Any]:
        """Read from the collection; None when there is none yet.

        Args:
            what: for messages.
            fingerprint: the space of the query, if it has one.
            operation: called with the client's object for the collection, and the layout.
            stop: ends the waiting of a sync call early.
            timeout: seconds, when not those of the connection.
        """
        for attempt in range(_ATTEMPTS):
            yield from _paused(attempt)
            layout = yield from self.find(fingerprint, fresh=attempt > 0)
            if layout is None:
                return None
            self.require_tenant(layout)
            try:
                asked = partial(self._with_handle, operation, layout)
                return (yield self.connection.call(what, asked, stop=stop, timeout=timeout))
            except CollectionGoneError:
                self.forget_layout()
            except TenantGoneError as error:
                if not self.options.create_tenants:
                    raise self._missing_tenant_error() from error
                return None  # it is made by the first write
        raise StoreError(f"{self.label} is made and dropped by others all the time; {what} failed")

    def _with_handle(self, operation: Callable[[Any, Layout], Any], layout: Layout, client: Any) -> Any:
        return operation(self.handle(client, layout), layout)

    def _resolve(self, seconds: float | None = None) -> Flow[Layout | None]:
        version = yield from self.connection.version()
        try:
            config = yield self.connection.call(
                "opening", lambda c: c.collections.use(self.name).config.get(), timeout=seconds
            )
        except CollectionGoneError:
            return None
        except (AssertionError, KeyError, UnreadableSchemaError) as error:
            raise StoreError(
                f"weaviate-client does not understand the schema of {self.label}. Upgrade weaviate-client"
            ) from error
        layout = layout_of(config, self.name)
        if layout.replication > 1:
            require_replication(version)
        return layout

    def _create(self, fingerprint: Fingerprint, dimensions: int) -> Flow[None]:
        physical = f"{self.name}_v1"
        version = yield from self.connection.version()
        wanted = creation(physical, self.options, version, fingerprint, dimensions)
        yield from self.create_if_missing("making the collection", lambda c: c.collections.create(**wanted))
        yield from self.create_if_missing(
            "making the alias", lambda c: c.alias.create(alias_name=self.name, target_collection=physical)
        )

    def create_if_missing(self, what: str, operation: Callable[[Any], Any]) -> Flow[None]:
        """Make something; that another was faster is no error."""
        try:
            yield self.connection.call(what, operation)
        except StoreError as error:
            if not is_already_there(error):
                raise

    def _describe(self, layout: Layout, fingerprint: Fingerprint, dimensions: int) -> Flow[None]:
        description = description_of(fingerprint, dimensions)
        yield self.connection.call(
            "describing the collection",
            lambda c: c.collections.use(layout.physical).config.update(description=description),
        )

    def require_tenant(self, layout: Layout | None) -> None:
        """Refuse to read or write without a tenant where there are some.

        Raises:
            StoreError: no tenant is named.
        """
        tenants = self.options.multi_tenant if layout is None else layout.multi_tenant
        if tenants and self.tenant is None:
            raise StoreError(
                f"{self.label} has tenants. Open it with tenant=..., use store.with_tenant(...), or name one in the "
                "call"
            )

    def create_tenant(self, layout: Layout) -> Flow[None]:
        """Make the tenant that a write found missing.

        Raises:
            TenantGoneError: tenants are not to be made here.
        """
        if not self.options.create_tenants:
            raise self._missing_tenant_error()
        physical, tenant = layout.physical, self.tenant
        yield self.connection.call(
            "making the tenant", lambda c: c.collections.use(physical).tenants.create([Tenant(name=tenant)])
        )

    def require_known_tenant(self, layout: Layout) -> Flow[None]:
        """Refuse to write to a tenant that is not there, where writing would make it and that is not wanted.

        Raises:
            TenantGoneError: it is not there.
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


def _paused(attempt: int) -> Flow[None]:
    """Wait before an attempt that is not among the first two."""
    if attempt > 1:
        yield Call(time.sleep, asyncio.sleep, (_PAUSE * 2**attempt,))
