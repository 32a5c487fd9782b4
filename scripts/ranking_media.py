"""Small collections of real files with known answers, embedded by the emulator or the real service."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from langchain_core.documents import Document

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaLoader, MediaStore
from langchain_gemini_mm.evaluation import LabelledQuery
from langchain_gemini_mm.testing import pdf, png, wav, write_samples
from scripts.ranking_worlds import Made

if TYPE_CHECKING:
    from pathlib import Path

THINGS = tuple(
    "dog cat parrot horse owl pizza banana apple cake bicycle boat car guitar piano tower roof tree".split()  # noqa: SIM905
)
PLACES = tuple("beach forest kitchen street garden lake bridge tent museum office desert farm harbour stadium".split())  # noqa: SIM905

QUESTIONS: Mapping[str, Sequence[str]] = {
    "a puppy": (
        "pictures/puppy.png",
        "pictures/puppy2.jpg",
        "pictures/sleeping-puppy.png",
        "videos/puppy-playing.mp4",
    ),
    "a cat purring": ("sounds/purring.wav", "notes/kitten.md", "pictures/kitten.png"),
    "waves of the sea on a beach": ("sounds/waves.wav", "videos/waves.mov", "pictures/beach.jpg", "notes/trip.md"),
    "the parliament of Norway": (),
    "the sound of a dog barking": ("sounds/barking.mp3",),
    "how to bake a pizza": ("papers/pizza.pdf", "pictures/pizza.png"),
    "a steam locomotive": (),
    "revenue by quarter": ("papers/annual-report.pdf", "pictures/revenue-chart.png"),
    "fruit": ("pictures/bananas.jpg", "pictures/apple.png", "notes/recipes.txt"),
    "a chess opening for beginners": (),
    "birds in the garden": ("papers/birds.pdf", "pictures/bird.jpg"),
    "code that sorts a list of numbers": ("notes/sorting.py",),
    "a puppy playing with a ball": ("videos/puppy-playing.mp4",),
    "the theory of relativity": (),
    "a picture of nothing but red": ("colours/red.png",),
    "food for a young cat": ("notes/kitten.md",),
}
"""Queries about the sample files, with the relevant sources."""


def samples(folder: Path, embeddings: Callable[[MediaStore], GeminiEmbeddings]) -> Made:
    """Return the 25 sample files as a collection; a real model understands their media as well."""
    write_samples(folder / "samples")
    media = MediaStore(folder / "media")
    store = LocalVectorStore(":memory:", embeddings(media))
    store.add_documents(MediaLoader(folder / "samples", media).lazy_load())
    by_source: dict[str, list[str]] = {}
    for document in store.iterate():
        by_source.setdefault(document.metadata["source"], []).append(str(document.id))
    labelled = [
        LabelledQuery(question, [id_ for source in sources for id_ in by_source[source]], modality="text")
        for question, sources in QUESTIONS.items()
    ]
    return Made(store, labelled)


def scenes(embeddings: Callable[[MediaStore], GeminiEmbeddings], seed: int, *, queries: int = 60) -> Made:
    """Return texts, images, audio and PDFs whose descriptions only the emulator reads."""
    dice = random.Random(seed)
    media = MediaStore.memory()
    store = LocalVectorStore(":memory:", embeddings(media))
    pairs = [(thing, place) for thing in THINGS for place in PLACES]
    dice.shuffle(pairs)
    pairs = pairs[: 4 * queries]
    documents = list(_documents(media, dice, pairs))
    store.add_documents(documents)
    labelled = []
    for thing, place in pairs[:queries]:
        relevant = [str(found.id) for found in documents if str(found.id).startswith(f"{thing} {place} ")]
        labelled.append(LabelledQuery(f"a {thing} near the {place}", relevant, modality="text"))
    return Made(store, labelled)


def _documents(media: MediaStore, dice: random.Random, pairs: Sequence[tuple[str, str]]) -> Iterator[Document]:
    """Show four of five subjects in one or two modalities; documents of the others serve as distractors."""
    for number, (thing, place) in enumerate(pairs):
        modalities = dice.sample(("text", "image", "audio", "pdf"), k=dice.choice((1, 2)))
        for modality in modalities if number % 5 else ():
            words = f"{thing} {place} {dice.choice(('morning', 'evening', 'noon', 'night'))} number {number}"
            id_ = f"{thing} {place} {modality}"
            if modality == "text":
                yield Document(id=id_, page_content=words, metadata={"modality": modality})
            else:
                yield media.document(_shown(modality, words), metadata={"modality": modality}, id=id_)


def _shown(modality: str, words: str) -> bytes:
    if modality == "image":
        return png(words)
    if modality == "audio":
        return wav(description=words, samples=np.zeros(1600, dtype=np.float32))
    return pdf((words,), title=words)
