"""Valid names of collections and tenants."""

from __future__ import annotations

import re
from typing import Any

from weaviate.exceptions import UnexpectedStatusCodeError

from langchain_gemini_mm.errors import InvalidValueError, StoreError

_COLLECTION = re.compile(r"[A-Z][_0-9A-Za-z]{0,200}")
_VERSION = re.compile(r"(.+)_v\d+")
_TENANT = re.compile(r"[A-Za-z0-9_-]{1,64}")


def checked_name(name: Any) -> str:
    """Check the name of a collection.

    Raises:
        ValueError: Weaviate does not accept it.
    """
    if not isinstance(name, str) or not _COLLECTION.fullmatch(name):
        raise InvalidValueError(
            f"name is one of a Weaviate collection: a capital letter, then letters, digits or _, got {name!r}"
        )
    return name


def existing_name(name: Any) -> str:
    """Check the name of a collection that exists; as in the client, a small letter at its beginning becomes a capital.

    Raises:
        ValueError: Weaviate does not accept it.
    """
    return checked_name(f"{name[:1].upper()}{name[1:]}" if isinstance(name, str) else name)


def is_version(name: str) -> bool:
    """Whether a name is one that a version of a store has."""
    return _VERSION.fullmatch(name) is not None


def is_version_of(store: str, name: str) -> bool:
    """Whether a name is one that a version of this store has."""
    match = _VERSION.fullmatch(name)
    return match is not None and match[1] == store


def version_number(name: str) -> int:
    """The number at the end of the name of a version; 0 for other names."""
    return int(name.rpartition("_v")[2]) if is_version(name) else 0


def require_free_name(name: str) -> None:
    """Refuse the name of a new store that another store could need for its versions, information or ledger.

    Raises:
        StoreError: it ends in `_v` and a number, in `_info`, or in `_ledger`.
    """
    if is_version(name) or name.endswith(("_info", "_ledger")):
        raise StoreError(
            f"a store cannot be called {name!r}: names that end in _v<number>, _info or _ledger are kept for what "
            "belongs to a store. Choose another name"
        )


def checked_tenant(name: Any) -> str:
    """Check the name of a tenant.

    Raises:
        ValueError: Weaviate does not accept it.
    """
    if not isinstance(name, str) or not _TENANT.fullmatch(name):
        raise InvalidValueError(f"a tenant is 1 to 64 letters, digits, _ or -, got {name!r}")
    return name


def is_target_missing(error: StoreError) -> bool:
    """Whether creating an alias failed because its collection does not exist (any more)."""
    cause = error.__cause__
    return isinstance(cause, UnexpectedStatusCodeError) and "target class" in str(cause) and "not exist" in str(cause)


def is_already_there(error: StoreError) -> bool:
    """Whether creating something failed because it exists already."""
    return isinstance(error.__cause__, UnexpectedStatusCodeError) and "already exists" in str(error.__cause__)
