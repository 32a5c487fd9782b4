"""Which documents are meant: a filter, kinds of media, and conditions of our own, as one filter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from langchain_gemini_mm.interfaces import Filter
from langchain_gemini_mm.ranking.modalities import checked_modalities


def narrowed(given: Filter | None, modalities: Iterable[str] | None = None, *more: Filter) -> Filter | None:
    """Put filters together, all of which must match; None where nothing is asked.

    ```python
    from langchain_gemini_mm.analysis.narrowing import narrowed

    assert narrowed(None) is None
    assert narrowed({"year": 2024}, ["image"]) == {"$and": [{"year": 2024}, {"modality": {"$in": ["image"]}}]}
    ```

    Raises:
        TypeError: the filter is a function, or `modalities` one word.
        ValueError: `modalities` is empty, or there is no such modality.
    """
    parts: list[Filter] = []
    if given is not None:
        if not isinstance(given, Mapping):
            raise TypeError(f"filter is a dict here, got {type(given).__name__}")
        parts.append(given)
    kinds = checked_modalities(modalities)
    if kinds is not None:
        parts.append({"modality": {"$in": list(kinds)}})
    parts += more
    if len(parts) > 1:
        return {"$and": parts}
    return parts[0] if parts else None
