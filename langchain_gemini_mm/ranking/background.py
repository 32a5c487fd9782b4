"""The background of a collection: a random sample of each modality, with whose scores those of hits are compared.

The ids of the sample are stored with the collection; the vectors are read once and kept in memory with the store.
"""

from __future__ import annotations

import heapq
import json
import random
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.errors import InvalidTypeError, StoreError
from langchain_gemini_mm.flows import Flow, asynchronous, blocking, synchronous
from langchain_gemini_mm.interfaces import Vectors
from langchain_gemini_mm.ranking.modalities import GROUPS, OTHER, group_filter
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.vectorstores.backend import Backend
from langchain_gemini_mm.vectorstores.base import MultimodalVectorStore
from langchain_gemini_mm.vectorstores.embedding_space import same_space
from langchain_gemini_mm.vectorstores.filters import Node

INFO_KEY = "ranking_background"
"""Key under which the ids are stored, for `get_info`."""
SAMPLE_SIZE = 1000
"""Default number of sampled documents, shared equally among the modalities."""
REST = "rest"
"""Name of the group of modalities without sampled documents."""
SEED = 0
MAX_BYTES = 60_000
"""Bytes of the stored JSON; with long ids fewer of them are stored."""
CHECK_EVERY = 1.0
"""Seconds between two checks, for a store that does not tell whether a collection has changed."""
READ_EVERY = 600.0
"""Seconds after which the sample is read again in any case."""

_FORMAT = 1
_CHANGED = 0.1
"""Relative change of the number of documents after which the sample is checked."""
_GROWTH, _GROWTH_OF_ALL = 2.0, 1.25
"""Growth of a modality that requires a new sample; the second where the sample had all of its documents."""
_MISSING = 0.2
"""Share of a sample that may have been deleted."""
_PROBED = 32
"""Sampled documents whose vectors a check compares: if a tenth has changed, 97 of 100 checks tell."""
_RUNS = 4
_PAGE = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class BackgroundSample:
    """The sample of one modality."""

    ids: frozenset[str]
    count: int
    """Documents of this modality in the collection."""


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """The background of a collection, in memory."""

    samples: Mapping[str, BackgroundSample]
    """By modality; a modality without documents has none."""
    groups: Mapping[str, tuple[str, ...]]
    """The modalities that are searched one by one, and `rest` for all others, which may have been added since."""
    sampled: tuple[str, ...]
    """The `m` modalities of which documents were read."""
    sizes: NDArray[np.int64]
    """`(m,)`, number of sampled documents of each modality."""
    ids: tuple[str, ...]
    """The `n` sampled documents, those of a modality next to each other."""
    vectors: Vectors
    """`(n, d)` float32, unit rows, in the order of `ids`."""
    total: int
    """Documents in the collection when the sample was read."""
    read_at: float
    """`time.monotonic` when the sample was read."""
    checked_at: float
    """`time.monotonic` when it was compared with the collection last."""
    revision: object = None
    """That of the collection at the last check; None where the store has none."""


_kept: WeakKeyDictionary[Backend, Background] = WeakKeyDictionary()
_lock = threading.Lock()


@synchronous
def sample_background(
    store: MultimodalVectorStore, *, per_modality: int | None = None, seed: int = SEED
) -> Flow[dict[str, int]]:
    """Draw a new background for a collection.

    This is optional: the background is drawn at first use, and again when the collection has changed much.

    ```python
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from langchain_gemini_mm import LocalVectorStore
    from langchain_gemini_mm.ranking import sample_background

    store = LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=8))
    store.add_texts(["a", "b", "c"], [{"modality": "text"}, {"modality": "text"}, {"modality": "image"}])
    assert sample_background(store) == {"text": 2, "image": 1}
    ```

    Args:
        store: a store of this package.
        per_modality: number of documents of each modality; by default 1000 are shared equally among the modalities.
        seed: of the random draw; the same seed and documents give the same sample.

    Returns:
        Number of sampled documents by modality, with `other` for documents whose metadata name none.

    Raises:
        TypeError: an argument is not an int.
        ValueError: `per_modality` is below 1.
    """
    if per_modality is not None:
        positive_int("per_modality", per_modality)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise InvalidTypeError(f"seed must be an int, got {seed!r}")
    counts = yield from _counts_flow(store.backend)
    background = yield from _draw_flow(store.backend, counts, per_modality, seed)
    return {modality: len(sample.ids) for modality, sample in background.samples.items()}


asample_background = asynchronous(sample_background)


def background_flow(backend: Backend) -> Flow[Background]:
    """Return the background of a collection as it is now: from memory, as stored, or drawn again."""
    now = time.monotonic()
    with _lock:
        kept = _kept.get(backend)
    if kept is not None:
        revision = yield from backend.revision()
        if revision == kept.revision and (revision is not None or now - kept.checked_at < CHECK_EVERY):
            return kept
        if now - kept.read_at <= READ_EVERY and (yield from _is_current_flow(backend, kept)):
            return _keep(backend, replace(kept, checked_at=now, revision=revision))
    return (yield from read_background_flow(backend))


def _is_current_flow(backend: Backend, kept: Background) -> Flow[bool]:
    """Whether the collection has about as many documents as before, and sampled ones still have their vectors."""
    total = yield from backend.count(None)
    if abs(total - kept.total) > _CHANGED * kept.total:
        return False
    rows = random.sample(range(len(kept.ids)), min(_PROBED, len(kept.ids)))
    probed = {kept.ids[row]: kept.vectors[row] for row in rows}
    records = (yield from backend.fetch(list(probed), with_vectors=True)) if probed else []
    same = [record.vector is not None and np.array_equal(record.vector, probed[record.id]) for record in records]
    return len(same) == len(probed) and all(same)


def read_background_flow(backend: Backend) -> Flow[Background]:
    """Read the stored background sample, or draw it again if it no longer fits the collection."""
    revision = yield from backend.revision()
    stored = yield from backend.read_info(INFO_KEY)
    counts = yield from _counts_flow(backend)
    if _is_readable(stored, backend) and not _has_grown(stored["kinds"], counts):
        background = yield from _vectors_flow(backend, stored["kinds"], counts)
        if not _is_incomplete(stored["kinds"], background):
            return _keep(backend, replace(background, revision=revision))
    # A new sample has the size and seed of the one before.
    before = stored if isinstance(stored, Mapping) else {}
    seed, size = before.get("seed"), before.get("per_modality")
    size = size if isinstance(size, int) and size > 0 else None
    return (yield from _draw_flow(backend, counts, size, seed if isinstance(seed, int) else SEED))


def _draw_flow(backend: Backend, counts: Mapping[str, int], per_modality: int | None, seed: int) -> Flow[Background]:
    """Draw a background, store its ids, and read its vectors."""
    drawn: dict[str, dict[str, Any]] = {}
    for modality, count in counts.items():
        size = per_modality or SAMPLE_SIZE // len(counts)
        ids = yield from _draw_ids_flow(backend, group_filter((modality,)), size, f"{seed} {modality}")
        drawn[modality] = {"count": count, "ids": ids}
    stored = {
        "format": _FORMAT,
        "fingerprint": backend.space.fingerprint,
        "seed": seed,
        "per_modality": per_modality,
        "kinds": drawn,
    }
    while len(json.dumps(stored)) > MAX_BYTES:
        most = max(len(sample["ids"]) for sample in drawn.values())
        for sample in drawn.values():
            sample["ids"] = sample["ids"][: most * 3 // 4]
    background = yield from _vectors_flow(backend, drawn, counts)
    with suppress(StoreError):  # a collection that may only be read is ranked all the same
        yield from backend.write_info(INFO_KEY, stored)
    return _keep(backend, background)


def _counts_flow(backend: Backend) -> Flow[dict[str, int]]:
    """Count the documents of each modality; modalities without any are left out."""
    rest = yield from backend.count(None)
    counts: dict[str, int] = {}
    for modality in GROUPS:
        # Documents of several modalities are counted more than once, so `other` is always counted itself.
        count = (yield from backend.count(group_filter((modality,)))) if modality == OTHER or rest > 0 else 0
        rest -= count
        if count:
            counts[modality] = count
    return counts


def _draw_ids_flow(backend: Backend, node: Node, size: int, seed: str) -> Flow[list[str]]:
    """Draw ids of documents that match a filter; the same ids for the same seed and documents."""
    if not backend.ordered_by_hash:
        smallest: list[str] = []
        after: str | None = None
        while records := (yield from backend.page(after, _PAGE, node, "ids")):
            after = records[-1].id
            smallest = yield blocking(_smallest, [*smallest, *(record.id for record in records)], size, seed)
        return smallest
    found: dict[str, None] = {}
    dice = random.Random(seed)  # noqa: S311 - a sample, not a secret
    share = -(-size // _RUNS)
    for start in [*(str(dice.random()) for _ in range(_RUNS)), None]:  # the last run starts with the first id
        goal = size if start is None else min(size, len(found) + share)
        after = start
        while len(found) < goal and (records := (yield from backend.page(after, share, node, "ids"))):
            found |= dict.fromkeys(record.id for record in records)
            after = records[-1].id
    return list(found)[:size]


def _smallest(ids: Sequence[str], size: int, seed: str) -> list[str]:
    """Return the ids with the smallest keyed hashes, which are the same in every process."""
    key = blake2b(seed.encode(), digest_size=16).digest()
    return heapq.nsmallest(size, ids, key=lambda id_: blake2b(id_.encode(), digest_size=8, key=key).digest())


def _vectors_flow(
    backend: Backend, drawn: Mapping[str, Mapping[str, Any]], counts: Mapping[str, int]
) -> Flow[Background]:
    """Read the vectors of a sample, without those of deleted documents."""
    ids = [id_ for sample in drawn.values() for id_ in sample["ids"]]
    records = (yield from backend.fetch(ids, with_vectors=True)) if ids else []
    rows = {record.id: record.vector for record in records if record.vector is not None}
    samples: dict[str, BackgroundSample] = {}
    kept: list[str] = []
    for modality, count in counts.items():
        there = [id_ for id_ in drawn.get(modality, {}).get("ids", ()) if id_ in rows]
        samples[modality] = BackgroundSample(frozenset(there), count)
        kept += there
    sampled = tuple(modality for modality, sample in samples.items() if sample.ids)
    groups: dict[str, tuple[str, ...]] = {modality: (modality,) for modality in samples}
    if len(groups) < len(GROUPS):
        groups[REST] = tuple(group for group in GROUPS if group not in samples)
    sizes = np.array([len(samples[modality].ids) for modality in sampled], dtype=np.int64)
    now = time.monotonic()
    return Background(
        samples=samples,
        groups=groups,
        sampled=sampled,
        sizes=sizes,
        ids=tuple(kept),
        vectors=np.stack([rows[id_] for id_ in kept]) if kept else np.empty((0, 0), dtype=np.float32),
        total=sum(counts.values()),
        read_at=now,
        checked_at=now,
    )


def _keep(backend: Backend, background: Background) -> Background:
    with _lock:
        _kept[backend] = background
    return background


def _is_readable(stored: Any, backend: Backend) -> bool:
    return (
        isinstance(stored, Mapping)
        and stored.get("format") == _FORMAT
        and same_space(stored.get("fingerprint"), backend.space.fingerprint)
        and isinstance(stored.get("kinds"), Mapping)
    )


def _has_grown(drawn: Mapping[str, Any], counts: Mapping[str, int]) -> bool:
    """Whether the collection has modalities that the sample lacks, or many more documents of one modality."""
    return drawn.keys() != counts.keys() or any(
        counts[modality] >= (_GROWTH_OF_ALL if len(sample["ids"]) >= sample["count"] else _GROWTH) * sample["count"]
        for modality, sample in drawn.items()
    )


def _is_incomplete(drawn: Mapping[str, Any], background: Background) -> bool:
    """Whether many sampled documents were deleted."""
    return any(
        len(background.samples[modality].ids) < (1 - _MISSING) * len(sample["ids"])
        for modality, sample in drawn.items()
    )
