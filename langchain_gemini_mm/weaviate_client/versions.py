"""The features of server versions.

Sources: the tags of the server's repository in which each feature first appears, and its release notes; read 2026-11.
Run against: 1.39.0 with each change, 1.32.0 and 1.32.10 once.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from langchain_gemini_mm.errors import StoreError


class Version(NamedTuple):
    """The version of a server; versions can be compared."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return ".".join(map(str, self))


FLOOR = Version(1, 32, 0)
"""Aliases and 8-bit rotational quantization."""

NOT_FILTERS = Version(1, 33, 0)
NATIVE_MMR = Version(1, 37, 3)
"""1.37.0 has it, and answers wrongly on several nodes."""

QUANTIZERS = {
    "rq8": FLOOR,
    "rq1": Version(1, 33, 0),
    "rq4": Version(1, 39, 0),
}
FLAT_QUANTIZERS = Version(1, 35, 0)
INDEXES = {"hnsw": FLOOR, "flat": FLOOR, "dynamic": FLOOR, "hfresh": Version(1, 36, 0)}


def parse_version(text: str) -> Version:
    """Read `1.39.0` or `1.40.0-rc.1`.

    Raises:
        StoreError: it is not a version.
    """
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", str(text))
    if not found:
        raise StoreError(f"the server calls its version {str(text)[:40]!r}, which is not one of Weaviate's")
    return Version(int(found[1]), int(found[2]), int(found[3] or 0))


def require_floor(version: Version) -> None:
    """Refuse servers that are too old.

    Raises:
        StoreError: the server is older than 1.32.
    """
    if version < FLOOR:
        raise StoreError(f"the server is Weaviate {version}; at least {FLOOR} is needed. Upgrade the server")


def require_replication(version: Version) -> None:
    """Refuse replication on servers that can lose data with it.

    Before these, repairing a read that asked for some of the properties wrote the object back with only those.

    Raises:
        StoreError: below 1.37.14, or from 1.38.0 below 1.38.7.
    """
    if version < (1, 37, 14) or (1, 38, 0) <= version < (1, 38, 7):
        raise StoreError(
            f"the server is Weaviate {version}, which can lose properties and vectors of replicated collections. "
            "Upgrade it to 1.37.14, 1.38.7 or 1.39, or use replication=1"
        )


def require_index(version: Version, index: str, quantizer: str | None) -> None:
    """Refuse an index or a quantizer that the server does not have.

    Args:
        version: of the server.
        index: such as `hnsw`.
        quantizer: such as `rq8`; None for full vectors.

    Raises:
        StoreError: it needs a newer server.
    """
    needed = INDEXES[index]
    if quantizer is not None:
        needed = max(needed, QUANTIZERS[quantizer])
        if index == "flat":
            needed = max(needed, FLAT_QUANTIZERS)
    if version < needed:
        raise StoreError(
            f"index={index!r} with quantizer={quantizer!r} needs Weaviate {needed}; the server is {version}. "
            "Upgrade it, or choose another"
        )
