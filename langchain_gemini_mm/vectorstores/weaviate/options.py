"""The arguments of a store, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_gemini_mm.batching import positive
from langchain_gemini_mm.vectorstores.weaviate.fields import Field
from langchain_gemini_mm.vectorstores.weaviate.schema import Options, checked_index


def checked_options(
    *,
    fields: Mapping[str, Field],
    searchable: Sequence[str],
    index: str,
    quantizer: str | None,
    vector_config: Any,
    multi_tenant: bool,
    create_tenants: bool,
    replication: int,
) -> Options:
    """Check what says how a collection is made.

    Raises:
        ValueError: a value is out of range, or two do not go together.
        TypeError: one is of the wrong type.
    """
    if quantizer == "auto":
        quantizer = "rq8" if index in ("hnsw", "dynamic") else None
    checked_index(index, quantizer)
    if isinstance(searchable, str) or not all(isinstance(key, str) for key in searchable):
        raise TypeError(f"searchable is a list of metadata keys, got {searchable!r}")
    for name, value in (("multi_tenant", multi_tenant), ("create_tenants", create_tenants)):
        if not isinstance(value, bool):
            raise TypeError(f"{name} is True or False, got {value!r}")
    return Options(
        fields=fields,
        searchable=tuple(dict.fromkeys(searchable)),
        index=index,
        quantizer=quantizer,
        vector_config=vector_config,
        multi_tenant=multi_tenant,
        create_tenants=create_tenants,
        replication=positive("replication", replication),
    )
