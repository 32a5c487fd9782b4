"""An archive without tags: find the photos of a whiteboard, and the minutes of the meeting that talk about it.

Raw similarities favour documents of the query's own modality: here the notes, whatever they contain. The ranking of
the retriever compares each document with others of its modality, so that no modality displaces the others.

Run: python examples/14_untagged_archive.py     (without GOOGLE_API_KEY on the emulator, with a large modality gap)
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from langchain_gemini_mm import GeminiEmbeddings, Hits, LocalVectorStore, MediaStore, MultimodalRetriever, citation
from langchain_gemini_mm.testing import GeminiEmulator, jpeg, mp3
from langchain_gemini_mm.testing.samples import drawings
from langchain_gemini_mm.testing.samples.clips import RATE
from langchain_gemini_mm.testing.samples.speech import speech

QUESTION = "system architecture sketches on a whiteboard"
SAID = {
    2: "Welcome. First the holidays: who is away in August?",
    62: "Now to the whiteboard: this sketch is the architecture of our system.",
    122: "Last point: the coffee machine is broken again.",
}
NOTES = (
    "Lunch on Friday: pizza for all, on the roof.",
    "The parking system opens at seven, use the card.",
    "Holidays must be entered by the end of the month.",
    "Keys to the bicycle room are at the reception.",
    "Fire drill on Tuesday at ten: leave by the stairs.",
    "Visitors from Lyon come on Thursday, book a room.",
)


def whiteboard(*names: str) -> bytes:
    """Draw boxes and arrows; the emulator, which cannot see, reads the description inside the file."""
    canvas = drawings.Canvas("whitesmoke")
    for number, name in enumerate(names):
        top = 20 + 70 * number
        canvas.block(90, top, 230, top + 42, "lightsteelblue")
        canvas.text(105, top + 12, name)
        canvas.line(160, top + 42, 160, top + 70, "darkred")
    return jpeg("a sketch of a system architecture on a whiteboard", image=canvas.finish())


def fill(folder: Path) -> None:
    """Write the archive: photos with camera names, a recording of three minutes, and notes."""
    photos = {"IMG_0412.jpg": whiteboard("browser", "queue", "database"), "IMG_0413.jpg": whiteboard("app", "cache")}
    scenes = {"kitten": drawings.kitten(), "pizza": drawings.pizza(), "bird": drawings.bird()}
    photos |= {f"IMG_05{n}.jpg": jpeg(f"a {name}", image=image) for n, (name, image) in enumerate(scenes.items())}
    for name, photo in photos.items():
        (folder / name).write_bytes(photo)
    recording = np.zeros(180 * RATE, dtype=np.float32)
    for second, sentence in SAID.items():
        voice = speech(sentence)
        recording[second * RATE :][: len(voice)] = voice
    (folder / "REC_0017.mp3").write_bytes(mp3(samples=recording))
    for number, note in enumerate(NOTES):
        (folder / f"note-{number}.txt").write_text(note, encoding="utf-8")


def show(title: str, hits: Hits) -> list[str]:
    """Print a ranking."""
    print(title)
    for hit in hits:
        print(f"  {hit.cosine:.2f}  {hit.document.metadata['modality']:6} {citation(hit)}")
    return [citation(hit) for hit in hits]


with ExitStack() as stack:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    service: dict[str, Any] = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator(modality_gap=0.9))
        service = {"api_key": emulator.api_key, "base_url": emulator.url}
    fill(folder)
    embeddings = stack.enter_context(GeminiEmbeddings(media=MediaStore.memory(), output_dimensionality=768, **service))
    store = stack.enter_context(LocalVectorStore(":memory:", embeddings))
    archive = MultimodalRetriever(store=store, k=3)
    print(f"{len(archive.add(folder, name='archive'))} documents\n")

    wanted = {"[archive/IMG_0412.jpg]", "[archive/IMG_0413.jpg]", "[archive/REC_0017.mp3 1:00-2:00]"}
    raw = show("raw similarity", archive.search(QUESTION, ranking="raw"))
    fair = show("ranked within each modality", archive.search(QUESTION))
    assert set(fair) == wanted
    if service:
        assert not wanted & set(raw)
