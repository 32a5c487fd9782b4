"""Where a store's collection is: behind an alias, in versions, each made whole and then switched to.

`Docs` is an alias of `Docs_v<n>`. A version belongs to one embedding space from the moment it is made; two writers that
race to be first are told apart by the server, which makes a collection of one name only once. Data are read and written
under the versioned name: what was resolved together with its space stays together with it, whatever the alias does
meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any

from weaviate.classes.config import ConsistencyLevel
from weaviate.exceptions import UnexpectedStatusCodeError

from langchain_gemini_mm._weaviate.connection import Connection
from langchain_gemini_mm._weaviate.failures import CollectionGoneError, TenantGoneError
from langchain_gemini_mm._weaviate.versions import require_replication
from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.flows import Flow
from langchain_gemini_mm.vectorstores.spaces import Fingerprint, require_dimensions, require_space
from langchain_gemini_mm.vectorstores.weaviate.schema import Layout, Options, creation, described, layout_of

REFRESH_SECONDS = 5.0
"""How long a reader goes on with the collection it has resolved before it looks at the alias again."""

_ATTEMPTS = 5


class Place:
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
        self._layout: Layout | None = None
        self._resolved_at = 0.0

    def of_tenant(self, tenant: str) -> Place:
        """The same collection for another tenant."""
        other = copy(self)
        other.tenant = tenant
        return other

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"collection {self.name!r} in Weaviate"

    @property
    def known(self) -> Layout | None:
        """What was resolved last."""
        return self._layout

    def forget(self) -> None:
        """Resolve again before the next operation."""
        self._layout = None

    def handle(self, client: Any, layout: Layout) -> Any:
        """The client's object for the collection, for tenant and consistency."""
        found = client.collections.use(layout.physical)
        if self.tenant is not None:
            found = found.with_tenant(self.tenant)
        return found if self.consistency is None else found.with_consistency_level(self.consistency)

    def located(self, fingerprint: Fingerprint | None = None, *, fresh: bool = False) -> Flow[Layout | None]:
        """Find the collection; None when there is none yet.

        Args:
            fingerprint: the space of what is to be read or written there; None where that does not matter.
            fresh: look at the alias in any case.

        Raises:
            SpaceMismatchError: the collection is of another space.
            StoreError: something else has the name, or tenants do not fit.
        """
        if fresh or self._layout is None or time.monotonic() - self._resolved_at > REFRESH_SECONDS:
            self._layout = yield from self._resolved()
            self._resolved_at = time.monotonic()
        layout = self._layout
        if layout is not None:
            self._require_tenant(layout)
            require_space(self.label, layout.fingerprint, fingerprint)
        return layout

    def claimed(self, fingerprint: Fingerprint, dimensions: int) -> Flow[Layout]:
        """The collection, made for this space when it is there for none yet.

        Raises:
            SpaceMismatchError: it is of another space, or was made for one meanwhile.
            StoreError: it cannot be made.
        """
        for _ in range(_ATTEMPTS):
            layout = yield from self.located(fingerprint, fresh=True)
            if layout is not None and layout.fingerprint is not None:
                if layout.dimensions is None:
                    yield from self._say(layout, fingerprint, dimensions)
                    continue
                require_dimensions(self.label, layout.dimensions, dimensions)
                return layout
            if layout is None:
                yield from self._created(fingerprint, dimensions)
            else:
                yield from self.renewed(layout, fingerprint, dimensions)
        raise StoreError(f"{self.label} is made and dropped by others all the time; nothing was stored")

    def renewed(self, layout: Layout, fingerprint: Fingerprint | None, dimensions: int | None) -> Flow[None]:
        """Put an empty collection of the same schema in the place of this one.

        Readers see the old one or the new one. A writer that is busy with the old one is sent to the new one.
        """
        client, old, new = self.connection, layout.physical, f"{self.name}_v{layout.version + 1}"
        config = yield client.call("reading the schema", lambda c: c.collections.use(old).config.get())
        wanted = {**config.to_dict(), "class": new, "description": described(fingerprint, dimensions)}
        yield from self._unless_there("making the collection", lambda c: c.collections.create_from_dict(wanted))
        yield client.call("switching", lambda c: c.alias.update(alias_name=self.name, new_target_collection=new))
        yield client.call("dropping the old collection", lambda c: c.collections.delete(old))
        self.forget()

    def reading(self, what: str, fingerprint: Fingerprint | None, operation: Callable[[Any, Layout], Any]) -> Flow[Any]:
        """Read from the collection; None when there is none yet.

        Args:
            what: for messages.
            fingerprint: the space of the query, if it has one.
            operation: called with the client's object for the collection, and the layout.
        """
        for attempt in range(_ATTEMPTS):
            layout = yield from self.located(fingerprint, fresh=attempt > 0)
            if layout is None:
                return None
            try:
                return (yield self.connection.call(what, partial(self._on, operation, layout)))
            except CollectionGoneError:
                self.forget()
            except TenantGoneError:
                if not self.options.create_tenants:
                    raise
                return None  # it is made by the first write
        raise StoreError(f"{self.label} is made and dropped by others all the time; {what} failed")

    def _on(self, operation: Callable[[Any, Layout], Any], layout: Layout, client: Any) -> Any:
        return operation(self.handle(client, layout), layout)

    def _resolved(self) -> Flow[Layout | None]:
        version = yield from self.connection.version()
        try:
            config = yield self.connection.call("opening", lambda c: c.collections.use(self.name).config.get())
        except CollectionGoneError:
            return None
        layout = layout_of(config, self.name)
        if layout.replication > 1:
            require_replication(version)
        return layout

    def _created(self, fingerprint: Fingerprint, dimensions: int) -> Flow[None]:
        physical = f"{self.name}_v1"
        version = yield from self.connection.version()
        wanted = creation(physical, self.options, version, fingerprint, dimensions)
        yield from self._unless_there("making the collection", lambda c: c.collections.create(**wanted))
        yield from self._unless_there(
            "making the alias", lambda c: c.alias.create(alias_name=self.name, target_collection=physical)
        )

    def _unless_there(self, what: str, operation: Callable[[Any], Any]) -> Flow[None]:
        """Make something; that another was faster is no error."""
        try:
            yield self.connection.call(what, operation)
        except StoreError as error:
            cause = error.__cause__
            if not isinstance(cause, UnexpectedStatusCodeError) or "already exists" not in str(cause):
                raise

    def _say(self, layout: Layout, fingerprint: Fingerprint, dimensions: int) -> Flow[None]:
        said = described(fingerprint, dimensions)
        yield self.connection.call(
            "describing the collection", lambda c: c.collections.use(layout.physical).config.update(description=said)
        )

    def _require_tenant(self, layout: Layout) -> None:
        if layout.multi_tenant and self.tenant is None:
            raise StoreError(f"{self.label} has tenants. Open it with tenant=..., or use store.with_tenant(...)")
        if self.tenant is not None and not layout.multi_tenant:
            raise StoreError(f"{self.label} was made without tenants; open it without tenant={self.tenant!r}")
