"""Dot products of queries with all rows: which of NumPy's ways is the fastest here."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.interfaces import Vectors


def products(vectors: Vectors, rows: Vectors) -> NDArray[np.float32]:
    """The dot products of `(q, d)` vectors with `(n, d)` rows: `(q, n)` float32."""
    scores: NDArray[np.float32]
    if len(vectors) > 1:
        scores = vectors @ rows.T
    elif _ROW_BY_ROW is not None and (rows.shape[1] <= _SHORT or rows.nbytes <= _SMALL or _one_thread()):
        scores = _ROW_BY_ROW(rows, vectors[0])[None, :]
    else:
        scores = (rows @ vectors[0])[None, :]
    return scores


# A thread of OpenBLAS takes two to three times as long for a matrix and a vector as for the same rows one by one, so
# two threads win nothing on short rows; on few rows they are not worth waiting for each other, long on busy cores.
_ROW_BY_ROW: Any = getattr(np, "vecdot", None)  # from NumPy 2 on
_SHORT = 512
_SMALL = 8_000_000


def _one_thread() -> bool:
    """Whether OpenBLAS has been told to use one thread, or finds one core; it looks in this order."""
    for name in ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"):
        if os.environ.get(name, "").strip():
            return os.environ[name].strip() == "1"
    return os.cpu_count() == 1
