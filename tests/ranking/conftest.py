"""Collections of several modalities with chosen scores, and a fixture that runs flows sync and async."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document

from langchain_gemini_mm import Hits, LocalVectorStore
from langchain_gemini_mm.flows import Flow, arun, run
from langchain_gemini_mm.interfaces import Content, Role, Vectors
from langchain_gemini_mm.ranking import search as ranking_search
from langchain_gemini_mm.vectors import unit_rows

DIMENSIONS = 32
LEVELS = {"text": 0.6, "image": 0.3, "audio": 0.1}
"""About where the scores of each modality lie."""


class GivenEmbeddings:
    """Embeds a text as a random vector that depends only on the text."""

    def __init__(self, model: str = "given") -> None:
        self.fingerprint: Mapping[str, object] = {"model": model, "dimensions": DIMENSIONS}

    def embed(self, contents: Sequence[Content], *, role: Role = "document", task_type: str | None = None) -> Vectors:
        """Draw one vector for each content."""
        return np.stack(
            [
                query_vector(content.page_content if isinstance(content, Document) else str(content))
                for content in contents
            ]
        )

    async def aembed(
        self, contents: Sequence[Content], *, role: Role = "document", task_type: str | None = None
    ) -> Vectors:
        """Async twin of `embed`."""
        return self.embed(contents, role=role, task_type=task_type)


def query_vector(name: str) -> Any:
    """Draw the vector of a query: half of it is the direction in which modalities differ, half depends on the text."""
    own = np.random.default_rng(sum(map(ord, name))).standard_normal(DIMENSIONS)
    own[0] = 0.0
    own /= np.linalg.norm(own)
    own[0] = 1.0
    return unit_rows(own[None, :])[0]


def vectors_of(modality: str, count: int, dice: np.random.Generator) -> Any:
    """Draw vectors of documents of a modality that match no query."""
    rows = dice.standard_normal((count, DIMENSIONS))
    rows[:, 0] = 0.0
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    level = LEVELS.get(modality, 0.2)
    rows *= np.sqrt(1 - level**2)
    rows[:, 0] = level
    return rows


def answer_to(name: str, modality: str, strength: float = 0.8) -> Any:
    """Draw the vector of a document of a modality that matches a query."""
    row = vectors_of(modality, 1, np.random.default_rng(7))[0] * (1 - strength)
    own = query_vector(name).astype(np.float64).copy()
    own[0] = 0.0
    row += strength * own / np.linalg.norm(own)
    row[0] = LEVELS.get(modality, 0.2)
    return row


def fill(store: LocalVectorStore, sizes: Mapping[str, int], *, prefix: str = "", seed: int = 1) -> None:
    """Add documents that match no query; those of modality `none` name none in their metadata."""
    dice = np.random.default_rng(seed)
    for modality, count in sizes.items():
        metadata = {} if modality == "none" else {"modality": modality}
        documents = [
            Document(id=f"{prefix}{modality}-{number}", page_content=modality, metadata={**metadata, "number": number})
            for number in range(count)
        ]
        store.add_vectors(documents, vectors_of(modality, count, dice))


def add_answer(store: LocalVectorStore, id_: str, query: str, modality: str, strength: float = 0.8) -> None:
    """Add a document that matches a query."""
    document = Document(id=id_, page_content=modality, metadata={"modality": modality, "number": 0})
    store.add_vectors([document], [answer_to(query, modality, strength)])


def ids_of(hits: Sequence[Any]) -> list[str]:
    """Return the ids in order."""
    return [str(hit.document.id) for hit in hits]


def ranked_flow(store: LocalVectorStore, query: Any, k: int, **options: Any) -> Flow[Hits]:
    """A ranked search for one query."""
    (hits,) = yield from ranking_search.ranked_flow([query], ranking_search.plan_ranking(store.backend, k, **options))
    return hits


def by_modality_flow(store: LocalVectorStore, query: Any, k: int, **options: Any) -> Flow[dict[str, Hits]]:
    """The nearest documents of each modality."""
    return (yield from ranking_search.by_modality_flow(query, ranking_search.plan_ranking(store.backend, k, **options)))


@pytest.fixture(params=["sync", "async"])
def drive(request: pytest.FixtureRequest) -> Callable[[Flow[Any]], Any]:
    """Run a flow, sync or async; the result is awaited in both cases."""

    async def driven(flow: Flow[Any]) -> Any:
        return run(flow) if request.param == "sync" else await arun(flow)

    return driven


@pytest.fixture
def store() -> LocalVectorStore:
    """300 texts, 100 images, 20 audio clips and 10 documents without a modality."""
    made = LocalVectorStore(":memory:", GivenEmbeddings())
    fill(made, {"text": 300, "image": 100, "audio": 20, "none": 10})
    return made
