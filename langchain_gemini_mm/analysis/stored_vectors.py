"""The vectors of a store in bounded memory: read once, then available in blocks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Self

import numpy as np

from langchain_gemini_mm.errors import InvalidTypeError
from langchain_gemini_mm.flows import Flow, blocking
from langchain_gemini_mm.interfaces import Filter, Vectors
from langchain_gemini_mm.ranking.modalities import filter_for_modalities
from langchain_gemini_mm.vectorstores import MultimodalVectorStore
from langchain_gemini_mm.vectorstores.filters import parse_filter
from langchain_gemini_mm.vectorstores.write import Progress

MEMORY_BYTES = 64_000_000
"""Vectors of a larger total size are kept in a temporary file instead of memory."""

BLOCK_ROWS = 2048
"""Rows that are compared with as many others at once: 16 MB of similarities."""
_BATCH_ROWS = 1000
_FLOAT = 4


def batches_flow(
    store: MultimodalVectorStore,
    given: Filter | None,
    take: Callable[[list[str], Vectors], object],
    progress: Progress | None = None,
) -> Flow[int]:
    """Read all ids and vectors of a store in batches, and call `take` with each batch.

    Args:
        store: a store of this package.
        given: a metadata filter; None for all documents.
        take: called with ids and `(n, d)` float32 unit rows; in a worker thread if the caller is async.
        progress: called with the number of vectors read so far.

    Returns:
        The number of vectors.
    """
    node = None if given is None else parse_filter(given)
    last, count = None, 0
    while records := (yield from store.backend.page(last, _BATCH_ROWS, node, "vectors")):
        rows = np.stack([record.vector for record in records if record.vector is not None])
        yield blocking(take, [record.id for record in records], rows)
        last = records[-1].id
        count += len(records)
        if progress is not None:
            progress(count)
    return count


class StoredRows:
    """Vectors with their ids, in the order in which they were added.

    ```python
    import numpy as np

    from langchain_gemini_mm.analysis.stored_vectors import StoredRows

    with StoredRows() as rows:
        rows.add(["a", "b"], np.eye(2, dtype=np.float32))
        assert rows.block(1, 2).tolist() == [[0.0, 1.0]]
    ```
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self.ids: list[str] = []
        self.dimensions = 0
        self._file = tempfile.SpooledTemporaryFile(max_size=memory_bytes)  # noqa: SIM115 - closed by `close`

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, ids: list[str], rows: Vectors) -> None:
        """Append a batch of `(n, d)` rows."""
        self.ids += ids
        self.dimensions = rows.shape[1]
        self._file.write(np.ascontiguousarray(rows, dtype=np.float32).tobytes())

    def block(self, start: int, stop: int) -> Vectors:
        """The rows from `start` up to `stop`: `(stop - start, d)` float32."""
        width = self.dimensions * _FLOAT
        self._file.seek(start * width)
        data = self._file.read((min(stop, len(self)) - start) * width)
        return np.frombuffer(data, dtype=np.float32).reshape(-1, self.dimensions)

    def ranges(self, first: int = 0) -> Iterator[tuple[int, int]]:
        """First row and end of each block of `BLOCK_ROWS` rows, from row `first` on."""
        return ((start, min(start + BLOCK_ROWS, len(self))) for start in range(first, len(self), BLOCK_ROWS))

    def close(self) -> None:
        """Release the memory or delete the temporary file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def narrowed(given: Filter | None, modalities: Iterable[str] | None = None, *more: Filter) -> Filter | None:
    """Combine filters with `$and`; returns None if there is none.

    ```python
    from langchain_gemini_mm.analysis.stored_vectors import narrowed

    assert narrowed(None) is None
    assert narrowed({"year": 2024}, ["image"]) == {"$and": [{"year": 2024}, {"modality": {"$in": ["image"]}}]}
    ```

    Args:
        given: a metadata filter of the caller.
        modalities: modalities of the documents; None for all.
        more: further filters.

    Raises:
        TypeError: the filter is a function, or `modalities` is one str.
        ValueError: `modalities` is empty, or a modality is unknown.
    """
    if callable(given):
        raise InvalidTypeError(f"filter must be a dict, got {type(given).__name__}")
    found: Filter | None = filter_for_modalities(given, modalities, *more)
    return found
