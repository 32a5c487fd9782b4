"""Synthetic collections of several modalities with known answers, independent of the emulator.

Every vector is the sum of random directions on the sphere, normalized to unit length: a common direction, the cone of
its modality, a topic, a subject within the topic, and noise. A document answers a query if both have the same subject.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from langchain_core.documents import Document

from langchain_gemini_mm import LocalVectorStore
from langchain_gemini_mm.evaluation import LabelledQuery
from langchain_gemini_mm.interfaces import Content, Role, Vectors
from langchain_gemini_mm.vectors import unit_rows

DIMENSIONS = 64
SIZES = {"text": 500, "image": 500, "audio": 250, "video": 250, "pdf": 500}


@dataclass(frozen=True, kw_only=True)
class World:
    """Parameters of a collection and its queries."""

    name: str
    sizes: Mapping[str, int] = field(default_factory=lambda: SIZES)
    gap: float = 0.5
    """Length of a modality's own direction, relative to that of the subject."""
    common: float = 0.5
    """Length of the direction that all vectors share."""
    content: Mapping[str, float] = field(default_factory=dict)
    """Length of the subject's direction, for modalities where it is not 1."""
    noise: Mapping[str, float] = field(default_factory=dict)
    """Length of the noise, for modalities where it is not 1."""
    answers: Sequence[str] = tuple(SIZES)
    """Modalities that contain the subjects of queries."""
    modalities_per_query: int = 2
    """Number of these modalities that contain each subject."""
    per_modality: int = 2
    """Number of answers per modality."""
    decay: float = 0.0
    """Decay of energy along the dimensions (anisotropy)."""
    asked_in: Sequence[str] = ("text",)
    """Modalities of the queries."""
    narrow: Sequence[str] = ()
    """Modalities with documents of one topic only; every second query is about that topic."""
    queries: int = 120
    unanswered: float = 0.0
    """Share of queries whose subject no document has."""
    vague: tuple[float, float] = (0.7, 1.3)
    """Smallest and largest length of the subject's direction in a query."""


@dataclass(frozen=True)
class Made:
    """A store with a collection, and its labelled queries."""

    store: LocalVectorStore
    labelled: list[LabelledQuery]


class GivenEmbeddings:
    """Embeddings that look vectors up by name."""

    fingerprint: Mapping[str, object] = {"model": "given", "size": 0}

    def __init__(self) -> None:
        self.vectors: dict[str, Any] = {}

    def embed(self, contents: Sequence[Content], *, role: Role = "document", task_type: str | None = None) -> Vectors:  # noqa: ARG002
        """Return the vectors."""
        return np.stack([self.vectors[str(content)] for content in contents])

    async def aembed(
        self, contents: Sequence[Content], *, role: Role = "document", task_type: str | None = None
    ) -> Vectors:
        """Return the vector."""
        return self.embed(contents, role=role, task_type=task_type)


def made(world: World, seed: int) -> Made:
    """Generate the collection and its queries; equal seeds give equal collections."""
    dice = np.random.default_rng(seed)
    maker = _Maker(world, dice)
    documents: list[Document] = []
    rows: list[Any] = []
    labels: list[dict[str, float]] = []
    subjects: list[tuple[int, Any]] = []
    for number in range(world.queries):
        topic, subject = maker.subject(narrow=bool(world.narrow) and number % 2 == 0)
        subjects.append((topic, subject))
        labels.append({})
        if number < world.unanswered * world.queries:
            continue
        for modality in dice.choice(
            list(world.answers), min(world.modalities_per_query, len(world.answers)), replace=False
        ):
            for _ in range(world.per_modality):
                labels[-1][f"d{len(documents)}"] = 1.0
                documents.append(
                    Document(id=f"d{len(documents)}", page_content=".", metadata={"modality": str(modality)})
                )
                rows.append(maker.vector(str(modality), topic, subject))
    for modality, size in world.sizes.items():
        for _ in range(size):
            documents.append(Document(id=f"d{len(documents)}", page_content=".", metadata={"modality": modality}))
            rows.append(maker.vector(modality, *maker.subject(narrow=modality in world.narrow)))
    embeddings = GivenEmbeddings()
    labelled = []
    for number, ((topic, subject), relevant) in enumerate(zip(subjects, labels, strict=True)):
        modality = world.asked_in[number % len(world.asked_in)]
        clear = dice.uniform(*world.vague)
        embeddings.vectors[f"q{number}"] = unit_rows(maker.vector(modality, topic, clear * subject)[None, :])[0]
        labelled.append(LabelledQuery(f"q{number}", relevant, modality=modality))  # type: ignore[arg-type]
    store = LocalVectorStore(":memory:", embeddings)
    order = dice.permutation(len(documents))
    store.add_vectors([documents[place] for place in order], np.stack(rows)[order])
    dice.shuffle(labelled)
    return Made(store, labelled)


class _Maker:
    def __init__(self, world: World, dice: np.random.Generator) -> None:
        self._world, self._dice = world, dice
        self._scale = (1 + np.arange(DIMENSIONS)) ** -world.decay
        self._common = self._direction()
        self._cones = {modality: self._direction() for modality in dict.fromkeys([*world.sizes, *world.asked_in])}
        self._topics = [self._direction() for _ in range(40)]

    def _direction(self) -> Any:
        drawn = self._dice.standard_normal(DIMENSIONS) * self._scale
        return drawn / np.linalg.norm(drawn)

    def subject(self, *, narrow: bool = False) -> tuple[int, Any]:
        topic = int(self._dice.integers(len(self._topics)))
        return (0 if narrow else topic), self._direction()

    def vector(self, modality: str, topic: int, subject: Any) -> Any:
        world = self._world
        clear = world.content.get(modality, 1.0)
        return (
            world.common * self._common
            + world.gap * self._cones[modality]
            + clear * (0.5 * self._topics[topic] + 0.85 * subject)
            + world.noise.get(modality, 1.0) * self._direction()
        )


WORLDS = (
    World(name="no gap", gap=0.0),
    World(name="gap 0.25", gap=0.25),
    World(name="gap 0.5", gap=0.5),
    World(name="gap 1", gap=1.0),
    World(name="no gap, answers in one modality", gap=0.0, modalities_per_query=1),
    World(name="answers in one modality", modalities_per_query=1),
    World(name="answers in text only", answers=("text",), modalities_per_query=1),
    World(name="answers in image or video only", answers=("image", "video"), modalities_per_query=1),
    World(name="audio and video noisy", noise={"audio": 2.0, "video": 1.5}),
    World(name="image and video faint", content={"image": 0.5, "video": 0.5}),
    World(name="audio and video irrelevant", content={"audio": 0.0, "video": 0.2}, answers=("text", "image", "pdf")),
    World(name="uneven sizes", sizes={"text": 1500, "image": 300, "audio": 60, "video": 60, "pdf": 300}),
    World(
        name="seven of 1,000 are media",
        sizes={"text": 1000, "image": 5, "audio": 2},
        answers=("text", "image"),
        per_modality=1,
    ),
    World(name="images all of one topic", narrow=("image",)),
    World(name="energy in few dimensions", decay=0.3),
    World(name="queries by text, image, audio", asked_in=("text", "image", "audio")),
)
"""The collections on which rankings are compared; the gap is 0.5 unless stated."""
