"""Changing the metadata of stored documents without embedding them again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.flows import Call, Flow
from langchain_gemini_mm.vectorstores.backend import Primitives
from langchain_gemini_mm.vectorstores.records import plain_json, plain_text

_NAMED = 10

Changes = Mapping[str, Mapping[str, Any]]
"""Metadata by id."""


def revise_flow(
    store: Primitives, what: Iterable[str] | Changes, metadata: Mapping[str, Any] | None, *, replace: bool
) -> Flow[None]:
    """Change metadata, of all the documents named or of none.

    Raises:
        ContentError: an id is not stored, or metadata is not JSON.
        TypeError: the arguments are of the wrong kind.
    """
    changes = _checked(what, metadata)
    if not changes:
        return
    unknown: list[str] = yield Call(store._revise, store._arevise, (changes, replace))
    if unknown:
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        raise ContentError(
            f"nothing was changed, because some ids are not stored: {', '.join(map(repr, unknown[:_NAMED]))}{more}"
        )


def _checked(what: Iterable[str] | Changes, metadata: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    if isinstance(what, Mapping):
        if metadata is not None:
            raise TypeError("update_metadata takes ids and metadata, or a dict of metadata by id, not both")
        return {_id(id_): _plain(given, f"metadata[{id_!r}]") for id_, given in what.items()}
    if isinstance(what, str | bytes) or not isinstance(what, Iterable):
        raise TypeError(f"ids is a list of str, got one {type(what).__name__}")
    if metadata is None:
        raise TypeError("update_metadata needs metadata for these ids, such as update_metadata(ids, {'title': 'x'})")
    plain = _plain(metadata, "metadata")
    return {_id(id_): plain for id_ in what}


def _id(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"the id {value!r} is not a str")
    return plain_text(value, "an id")


def _plain(given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise TypeError(f"{where} is a dict, got {type(given).__name__}")
    found: dict[str, Any] = plain_json(given, where)
    return found
