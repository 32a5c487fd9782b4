"""The background of a collection: some documents of each kind, drawn at random, against whose scores hits are held.

The ids are stored with the collection; the vectors are read once and kept in memory as long as the store object lives.
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

from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.flows import Flow, arun, blocking, run
from langchain_gemini_mm.interfaces import Vectors
from langchain_gemini_mm.ranking.modalities import KINDS, OTHER, kinds_node
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.vectorstores.base import MultimodalVectorStore
from langchain_gemini_mm.vectorstores.filters import Node
from langchain_gemini_mm.vectorstores.records import Record

INFO_KEY = "ranking_background"
"""Where the ids are, for `get_info`."""
IN_ALL = 1000
"""Documents drawn of all kinds together, the same number of each, when nothing is said."""
SEED = 0
MOST_BYTES = 60_000
"""Most JSON that is stored; with long ids fewer of them are."""
COUNT_EVERY = 1.0
"""Seconds between two looks at how many documents there are."""
READ_EVERY = 600.0
"""Seconds after which the sample is read again at all events."""

_FORMAT = 1
_CHANGED = 0.1
"""Share of more or fewer documents that makes it worth looking closer."""
_GROWN, _OUTGROWN = 2.0, 1.25
"""How many times the documents of a kind there must be for a new sample; the second where all of them were in it."""
_GONE = 0.2
"""Share of a sample that may be missing."""
_RUNS = 4
_PAGE = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """The background of one kind."""

    ids: frozenset[str]
    count: int
    """Documents of this kind in the collection."""
    rows: slice
    """Where their vectors are in the matrix of all kinds."""


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """The background of a collection, in memory."""

    samples: Mapping[str, Sample]
    """By kind; a kind without documents has none."""
    vectors: Vectors
    """`(n, d)` float32, unit rows, those of each kind side by side."""
    total: int
    """Documents in the collection when that was last looked at closely."""
    read_at: float
    counted_at: float
    """By `time.monotonic`."""


_kept: WeakKeyDictionary[MultimodalVectorStore, Background] = WeakKeyDictionary()
_lock = threading.Lock()


def sample_background(
    store: MultimodalVectorStore, *, per_modality: int | None = None, seed: int = SEED
) -> dict[str, int]:
    """Draw the background of a collection anew; it is made by itself at first use, and renewed when it no longer fits.

    ```python
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from langchain_gemini_mm import LocalVectorStore
    from langchain_gemini_mm.ranking import sample_background

    store = LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=8))
    store.add_texts(["a", "b", "c"], [{"modality": "text"}, {"modality": "text"}, {"modality": "image"}])
    assert sample_background(store) == {"text": 2, "image": 1}
    ```

    Args:
        store: one of ours.
        per_modality: how many documents of each modality, at most; by default 1000 shared out among all.
        seed: of the draw; the same seed and documents give the same sample.

    Returns:
        How many documents were drawn of each kind: a modality, or `other` for documents that name none.
    """
    return run(_drawn_flow(store, per_modality, seed))


async def asample_background(
    store: MultimodalVectorStore, *, per_modality: int | None = None, seed: int = SEED
) -> dict[str, int]:
    """Async twin of `sample_background`."""
    return await arun(_drawn_flow(store, per_modality, seed))


def background_flow(store: MultimodalVectorStore) -> Flow[Background]:
    """The background that fits the collection as it is: from memory, from what is stored, or drawn now."""
    now = time.monotonic()
    with _lock:
        kept = _kept.get(store)
    if kept is None:
        return (yield from read_background_flow(store))
    if now - kept.counted_at < COUNT_EVERY:
        return kept
    total: int = yield from store.backend.count(None)
    if now - kept.read_at > READ_EVERY or abs(total - kept.total) > _CHANGED * kept.total:
        return (yield from read_background_flow(store))
    return _keep(store, replace(kept, counted_at=now))


def read_background_flow(store: MultimodalVectorStore) -> Flow[Background]:
    """Read what is stored; where that no longer fits the collection, draw it anew."""
    stored = yield from store.backend.read_info(INFO_KEY)
    counts = yield from _counts_flow(store)
    if _is_readable(stored, store) and _fits(stored, counts):
        found = yield from _vectors_flow(store, stored, counts)
        if not _lacks(stored, found):
            return _keep(store, found)
    seed, most = _recipe(stored)
    return (yield from make_background_flow(store, counts, most, seed))


def make_background_flow(
    store: MultimodalVectorStore, counts: Mapping[str, int], most: int | None, seed: int
) -> Flow[Background]:
    """Draw the background and store its ids."""
    kinds: dict[str, Any] = {}
    for kind, count in counts.items():
        ids = yield from _drawn_ids_flow(store, kinds_node([kind]), most or IN_ALL // len(counts), f"{seed} {kind}")
        kinds[kind] = {"count": count, "ids": ids}
    made = {
        "format": _FORMAT,
        "fingerprint": store.space.fingerprint,
        "seed": seed,
        "per_modality": most,
        "kinds": kinds,
    }
    _shorten(made)
    found = yield from _vectors_flow(store, made, counts)
    with suppress(StoreError):  # a collection that may only be read is ranked all the same
        yield from store.backend.write_info(INFO_KEY, made)
    return _keep(store, found)


def _drawn_flow(store: MultimodalVectorStore, most: int | None, seed: int) -> Flow[dict[str, int]]:
    if most is not None:
        positive_int("per_modality", most)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be a whole number, got {seed!r}")
    counts = yield from _counts_flow(store)
    made = yield from make_background_flow(store, counts, most, seed)
    return {kind: len(sample.ids) for kind, sample in made.samples.items()}


def _counts_flow(store: MultimodalVectorStore) -> Flow[dict[str, int]]:
    """How many documents there are of each kind; kinds without any are left out."""
    total: int = yield from store.backend.count(None)
    counts: dict[str, int] = {}
    for kind in KINDS:
        if kind == OTHER or sum(counts.values()) < total:
            counts[kind] = yield from store.backend.count(kinds_node([kind]))
    return {kind: count for kind, count in counts.items() if count}


def _drawn_ids_flow(store: MultimodalVectorStore, node: Node, most: int, name: str) -> Flow[list[str]]:
    if not store.backend.ordered_by_hash:
        smallest: list[str] = []
        after: str | None = None
        while records := (yield from store.backend.page(after, _PAGE, node, with_documents=False)):
            after = records[-1].id
            smallest = yield blocking(_smallest, [*smallest, *(record.id for record in records)], most, name)
        return smallest
    found: dict[str, None] = {}
    dice = random.Random(name)  # noqa: S311 - a sample, not a secret
    share = -(-most // _RUNS)
    for place in [*(str(dice.random()) for _ in range(_RUNS)), None]:  # the last begins at the beginning
        goal = most if place is None else min(most, len(found) + share)
        after = place
        while len(found) < goal and (
            records := (yield from store.backend.page(after, share, node, with_documents=False))
        ):
            found |= dict.fromkeys(record.id for record in records)
            after = records[-1].id
    return list(found)[:most]


def _smallest(ids: Sequence[str], most: int, name: str) -> list[str]:
    """The ids that draw the lowest numbers, which have nothing to do with them and are the same in every process."""
    key = blake2b(name.encode(), digest_size=16).digest()
    return heapq.nsmallest(most, ids, key=lambda id_: blake2b(id_.encode(), digest_size=8, key=key).digest())


def _shorten(made: dict[str, Any]) -> None:
    """Leave out ids until the JSON is small."""
    while len(json.dumps(made)) > MOST_BYTES:
        most = max(len(kind["ids"]) for kind in made["kinds"].values())
        for kind in made["kinds"].values():
            kind["ids"] = kind["ids"][: most * 3 // 4]


def _vectors_flow(
    store: MultimodalVectorStore, stored: Mapping[str, Any], counts: Mapping[str, int]
) -> Flow[Background]:
    ids = [id_ for kind in stored["kinds"].values() for id_ in kind["ids"]]
    records: list[Record] = (yield from store.backend.fetch(ids, with_vectors=True)) if ids else []
    rows = {record.id: record.vector for record in records if record.vector is not None}
    samples: dict[str, Sample] = {}
    vectors: list[Any] = []
    for kind, count in counts.items():
        there = [id_ for id_ in stored["kinds"].get(kind, {}).get("ids", ()) if id_ in rows]
        samples[kind] = Sample(frozenset(there), count, slice(len(vectors), len(vectors) + len(there)))
        vectors += [rows[id_] for id_ in there]
    now = time.monotonic()
    matrix = np.stack(vectors) if vectors else np.empty((0, 0), dtype=np.float32)
    return Background(samples, matrix, sum(counts.values()), now, now)


def _keep(store: MultimodalVectorStore, background: Background) -> Background:
    with _lock:
        _kept[store] = background
    return background


def _is_readable(stored: Any, store: MultimodalVectorStore) -> bool:
    return (
        isinstance(stored, Mapping)
        and stored.get("format") == _FORMAT
        and stored.get("fingerprint") == store.space.fingerprint
        and isinstance(stored.get("kinds"), Mapping)
    )


def _fits(stored: Mapping[str, Any], counts: Mapping[str, int]) -> bool:
    """Whether the kinds are those there are, and none has grown much."""
    kinds = stored["kinds"]
    return kinds.keys() == counts.keys() and all(
        counts[kind] < (_OUTGROWN if len(sample["ids"]) >= sample["count"] else _GROWN) * sample["count"]
        for kind, sample in kinds.items()
    )


def _lacks(stored: Mapping[str, Any], found: Background) -> bool:
    """Whether much of a sample is gone."""
    return any(
        len(found.samples[kind].ids) < (1 - _GONE) * len(sample["ids"]) for kind, sample in stored["kinds"].items()
    )


def _recipe(stored: Any) -> tuple[int, int | None]:
    """Seed and size of what was drawn before, which a renewal keeps."""
    said = stored if isinstance(stored, Mapping) else {}
    seed, most = said.get("seed"), said.get("per_modality")
    return seed if isinstance(seed, int) else SEED, most if isinstance(most, int) and most > 0 else None
