"""What a search takes: `Query` and the options of `search`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypedDict

from langchain_gemini_mm.errors import ContentError, InvalidTypeError
from langchain_gemini_mm.interfaces import Content, Filter
from langchain_gemini_mm.validation import explains_unknown_options
from langchain_gemini_mm.vectorstores.filters import Predicate
from langchain_gemini_mm.vectorstores.records import plain_text

SearchType: TypeAlias = Literal["similarity", "mmr", "keyword", "hybrid"]
"""How a store searches: by vector, by vector with hits unlike each other, by words, or by vector and words fused."""

Fusion: TypeAlias = Literal["ranks", "scores"]
"""How `hybrid` fuses its two lists: by the ranks in them, or by scores scaled to the range from 0 to 1."""

_SHOWN = 40


class SharedSearchOptions(TypedDict, total=False):
    """The options that searches of stores and of retrievers share; None is the default of each."""

    search_type: SearchType
    """`similarity` by default."""
    filter: Filter | Predicate | None
    """On metadata, see `vectorstores.filters`; a local store also takes a function of a document."""
    task_type: str | None
    """What the query is for, for embeddings that know tasks."""
    score_threshold: float | None
    """Lowest score of a hit: a cosine similarity from -1 to 1, for `keyword` a BM25 score; not for `hybrid`."""
    fetch_k: int | None
    """For `mmr`: how many candidates to choose from, at least `k`; 20 by default."""
    lambda_mult: float | None
    """For `mmr`: 1 is relevance alone, 0 is diversity alone; 0.5 by default."""
    alpha: float | None
    """For `hybrid`: the weight of the vectors, from 0 to 1; that of the words is the rest. 0.5 by default."""
    fusion: Fusion | None
    """For `hybrid`: `ranks` by default."""
    query_properties: Sequence[str] | None
    """For `keyword` and `hybrid`, in stores with more texts than the document's: such as `["text", "title^2"]`."""
    tenant: str | None
    """The tenant, in a collection with tenants; by default that of the store."""


class StoreSearchOptions(SharedSearchOptions, total=False):
    """The options of `search`, `search_many`, `search_by_vector` and `search_groups`; None is the default of each."""

    offset: int | None
    """How many of the first hits are left out, to show the next page; `rank` counts them. Not for groups."""
    return_vectors: bool | None
    """Whether `Hit.vector` is filled in."""
    auto_limit: int | None
    """For `similarity` and `keyword` in Weaviate: leave out what comes after so many drops of the score."""


OPTIONS_OF_OTHERS = {
    "bm25_operator": "every word counts by itself in this package; there is no equivalent",
    "distance": "give score_threshold=, a cosine similarity; it is 1 - distance",
    "fusion_type": "it is called fusion here: 'ranks' or 'scores'",
    "group_by": "call search_groups(query, by=...)",
    "include_vector": "give return_vectors=True and read hit.vector",
    "max_vector_distance": "give score_threshold=, a cosine similarity; it is 1 - distance",
    "rerank": "use LangChain's ContextualCompressionRetriever with a reranker",
    "return_metadata": "hits have score, cosine, rank and confidence; other values are read with the client",
    "return_properties": "hits have all metadata; WeaviateVectorStore.existing(metadata_keys=...) reads some of them",
    "return_references": "read cross-references with the client; a Filter.by_ref can be the filter",
    "return_uuids": "every Document has its id; WeaviateVectorStore.uuid_of(id) is the UUID of its object",
    "target_vector": "open a store for each vector with WeaviateVectorStore.existing(vector_name=...)",
    "vector": "call search_by_vector(vector)",
}
"""Search options of other packages that are no option here, and what to use instead. Others: `unknown_option`."""


@dataclass(frozen=True, init=False, repr=False)
class Query:
    """A query that combines content with stored documents that hits should be similar or dissimilar to.

    ```python
    from langchain_gemini_mm.vectorstores import Query

    Query("a red bicycle", like=["photo-7"], unlike=["photo-9"], weights=[1, 1, 0.5])
    ```

    Several contents are embedded together as one vector, such as a photo with a text about what should differ. With
    `separate=True` each content is embedded to a vector of its own, and the weighted sum of these is searched for.

    Args:
        content: what to search for.
        like: ids of stored documents whose vectors are added.
        unlike: ids of stored documents whose vectors are subtracted.
        weights: one number >= 0 for the content (for each content if they are separate), then one for each id of
            `like`, then one for each id of `unlike`; all 1 by default.
        separate: whether each content is embedded separately.

    Raises:
        ContentError: the query is empty, an id is given twice, or the weights do not fit.
    """

    content: tuple[Content, ...]
    like: tuple[str, ...]
    unlike: tuple[str, ...]
    weights: tuple[float, ...]
    """One per term: contents, `like`, `unlike`."""
    separate: bool
    ids: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """The ids of `like` and `unlike`; these documents are excluded from the hits."""
    wholes: tuple[tuple[Content, ...], ...] = field(init=False, repr=False, compare=False)
    """The contents to embed, one vector each."""

    @explains_unknown_options("Query")
    def __init__(
        self,
        *content: Content,
        like: Sequence[str] = (),
        unlike: Sequence[str] = (),
        weights: Sequence[float] | None = None,
        separate: bool = False,
    ) -> None:
        """Check the arguments and fill in default weights."""
        liked = () if like == () else _ids("like", like)
        unliked = () if unlike == () else _ids("unlike", unlike)
        named = liked + unliked
        if not content and not named:
            raise ContentError("the query is empty: give content, like=[ids] or unlike=[ids]")
        if len(set(named)) < len(named):
            twice = sorted({id_ for id_ in named if named.count(id_) > 1})
            raise ContentError(f"the query names {', '.join(map(repr, twice))} more than once in like and unlike")
        wholes = tuple(zip(content, strict=True)) if separate else (content,) if content else ()
        fields = {
            "content": content,
            "like": liked,
            "unlike": unliked,
            "separate": separate,
            "ids": named,
            "wholes": wholes,
            "weights": (1.0,) * (len(wholes) + len(named)),
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        if weights is not None:
            object.__setattr__(self, "weights", self._checked(weights))

    def _checked(self, weights: Sequence[float]) -> tuple[float, ...]:
        terms = len(self.wholes) + len(self.ids)
        given = tuple(weights)
        if len(given) != terms:
            raise ContentError(
                f"weights has {len(given)} numbers for {terms} terms: "
                f"{len(self.wholes)} content, {len(self.like)} like, {len(self.unlike)} unlike"
            )
        for weight in given:
            if not _is_weight(weight):
                raise ContentError(f"a weight is a finite number >= 0, got {weight!r}; to subtract, name it in unlike")
        return tuple(map(float, given))

    def __repr__(self) -> str:
        """Show texts and types, never bytes."""
        parts = [shown(part) for part in self.content]
        parts += [f"{name}={list(ids)!r}" for name, ids in (("like", self.like), ("unlike", self.unlike)) if ids]
        if set(self.weights) != {1.0}:
            parts.append(f"weights={list(self.weights)}")
        if self.separate:
            parts.append("separate=True")
        return f"Query({', '.join(parts)})"


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _ids(name: str, ids: Sequence[str]) -> tuple[str, ...]:
    if isinstance(ids, str | bytes):
        raise InvalidTypeError(f"{name} is a list of ids, got one {type(ids).__name__}; write {name}=[...]")
    found = tuple(ids)
    for id_ in found:
        if not isinstance(id_, str):
            raise InvalidTypeError(f"{name} holds ids as str, got {type(id_).__name__}")
        plain_text(id_, f"an id in {name}")
    return found


def shown(part: Any) -> str:
    """A part of a query for reprs: the beginning of a text, and the type of anything else."""
    if isinstance(part, str):
        return repr(part) if len(part) <= _SHOWN else f"{part[:_SHOWN]!r}…"
    return f"<{type(part).__name__}>"
