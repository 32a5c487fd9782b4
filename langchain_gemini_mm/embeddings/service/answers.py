"""The response to an embedding request: parsing of its bytes, and validation of what it contains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.embeddings.service.calls import Answer, EmbedCall
from langchain_gemini_mm.errors import IncompleteAnswerError
from langchain_gemini_mm.interfaces import Vector, Vectors
from langchain_gemini_mm.vectors import unit_rows


def parse(body: bytes) -> Any:
    """JSON values, with the fastest parser that is installed; None if the body is not JSON."""
    try:
        return _parser()(body)
    except (ValueError, RecursionError):
        return None


@cache
def _parser() -> Callable[[bytes], Any]:
    # For 100 vectors of 768 numbers: json 630 µs a vector, pydantic_core 52, orjson 32 (measured 2026-11-29).
    try:
        from orjson import loads
    except ImportError:
        from pydantic_core import from_json

        return from_json
    return loads


def read_answer(call: EmbedCall, payload: Any) -> Answer:
    """Check a response against its request: as many vectors as contents, each whole, finite and of the requested size.

    Args:
        call: the request.
        payload: the response as JSON values.

    Raises:
        IncompleteAnswerError: the response does not fit; the error names the inputs and has the vectors that are whole.
    """
    embeddings = _embeddings(payload)
    if len(embeddings) != len(call.contents):
        raise IncompleteAnswerError(
            f"the embedding service answered with {len(embeddings)} vectors for {len(call.contents)} contents; none is "
            "used, since which belongs to which is not known"
        ).about_input(*call.positions)
    values = [one.get("values") if isinstance(one, Mapping) else None for one in embeddings]
    vectors = _all_rows(values, call.dimensions)
    if vectors is None:
        raise _incomplete(call, values)
    return Answer(vectors, _reported_tokens(payload, embeddings), _truncated(call, payload, embeddings))


def _embeddings(payload: Any) -> Sequence[Any]:
    """The embeddings of `batchEmbedContents`, `embedContent` or `predict`."""
    if not isinstance(payload, Mapping):
        return ()
    if "predictions" in payload:
        predictions = _sequence(payload["predictions"])
        return [one.get("embeddings") if isinstance(one, Mapping) else None for one in predictions]
    if "embeddings" in payload:
        return _sequence(payload["embeddings"])
    return [payload["embedding"]] if "embedding" in payload else ()


def _sequence(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _all_rows(values: Sequence[Any], dimensions: int) -> Vectors | None:
    """Unit rows of all vectors at once; None if one is not usable."""
    try:
        rows = np.array(values)
        if rows.dtype == np.float64 and rows.shape == (len(values), dimensions):
            return unit_rows(rows)
    except (ValueError, OverflowError):
        pass
    return None


def _incomplete(call: EmbedCall, values: Sequence[Any]) -> IncompleteAnswerError:
    """The error for a response of which some vectors are not usable, with those that are."""
    whole: dict[int, Vector] = {}
    reasons: dict[int, str] = {}
    for position, one in zip(call.positions, values, strict=True):
        row = _row(one, call.dimensions)
        if isinstance(row, str):
            reasons[position] = row
        else:
            whole[position] = row
    same = [position for position, reason in reasons.items() if reason == next(iter(reasons.values()))]
    message = f"the embedding service answered with {reasons[same[0]]}"
    return IncompleteAnswerError(message, vectors=whole).about_input(*same)


def _row(values: Any, dimensions: int) -> Vector | str:
    """One unit row, or what is wrong with it."""
    if not isinstance(values, list) or not values:
        return "no vector"
    if len(values) != dimensions:
        return f"a vector of {len(values)} values instead of {dimensions}"
    if not all(type(value) in (int, float) for value in values):
        return "a vector that does not consist of numbers"
    try:
        row: NDArray[np.float32] = unit_rows(np.array([values], dtype=np.float64))[0]
    except (ValueError, OverflowError) as error:
        return f"an unusable vector: {str(error).replace('vector 0', 'it')}"
    return row


def _reported_tokens(payload: Mapping[str, Any], embeddings: Sequence[Any]) -> int:
    total = _field(payload, "usageMetadata", "promptTokenCount")
    if isinstance(total, int) and total > 0:
        return total
    counts = [_field(one, "statistics", "token_count") for one in embeddings]
    return int(sum(count for count in counts if isinstance(count, int | float) and count > 0))


def _truncated(call: EmbedCall, payload: Mapping[str, Any], embeddings: Sequence[Any]) -> tuple[int, ...]:
    if len(embeddings) == 1 and payload.get("truncated") is True:
        return call.positions
    flags = [one.get("truncated") is True or _field(one, "statistics", "truncated") is True for one in embeddings]
    return tuple(position for position, cut in zip(call.positions, flags, strict=True) if cut)


def _field(holder: Any, name: str, inner: str) -> Any:
    value = holder.get(name) if isinstance(holder, Mapping) else None
    return value.get(inner) if isinstance(value, Mapping) else None
