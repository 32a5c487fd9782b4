"""Find the minute of a lecture in which something is said or shown, and the page of its handout, in one index.

Run: python examples/05_lecture.py     (without GOOGLE_API_KEY it runs on the emulator; with it, install espeak-ng)
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaLoader, MediaStore
from langchain_gemini_mm.loaders import Segments
from langchain_gemini_mm.testing import GeminiEmulator, jpeg, mp4, pdf
from langchain_gemini_mm.testing.samples import drawings
from langchain_gemini_mm.testing.samples.clips import RATE
from langchain_gemini_mm.testing.samples.speech import speech

SECONDS = 180
SLIDES = [drawings.bird(), drawings.beach(), drawings.diagram(), drawings.apple(), drawings.kitten(), drawings.pizza()]
SAID = {
    4: "Good morning, and welcome to a lecture about birds.",
    35: "Terns follow the coast to find their way.",
    70: "Our budget for leg rings has doubled within a year.",
    128: "Swifts sleep on the wing, high above the clouds.",
    155: "Thank you, and mind the stairs.",
}
PAGES = [
    "Birds on their way\nNotes to the lecture",
    "How storks cross the desert:\nthey glide from one column of warm air to the next.",
    "How robins see the magnetic field:\nby a protein in their eyes.",
]


def record(folder: Path) -> None:
    """Write the lecture: a slide per half minute, sentences at given seconds, and notes as a PDF."""
    recording = np.zeros(SECONDS * RATE, dtype=np.float32)
    for second, sentence in SAID.items():
        voice = speech(sentence)
        recording[second * RATE :][: len(voice)] = voice
    film = mp4(SECONDS, frame=lambda moment: SLIDES[int(moment * len(SLIDES))], samples=recording, fps=1)
    (folder / "talk.mp4").write_bytes(film)
    (folder / "notes.pdf").write_bytes(pdf(PAGES))


def place(metadata: dict[str, Any]) -> str:
    """Describe the position of a Document in its file."""
    if "first_page" in metadata:
        return f"{metadata['source']} page {metadata['first_page']}"
    heard = ", heard" if metadata.get("track") == "audio" else ""
    return f"{metadata['source']} {metadata['start_s']:g}-{metadata['end_s']:g} s{heard}"


with ExitStack() as stack:
    work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    service: dict[str, Any] = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator())
        service = {"api_key": emulator.api_key, "base_url": emulator.url}
    (work / "lecture").mkdir()
    record(work / "lecture")

    media = MediaStore(work / "library/media")
    embeddings = stack.enter_context(GeminiEmbeddings(media=media, output_dimensionality=768, **service))
    store = stack.enter_context(LocalVectorStore(work / "library/index.db", embeddings))
    loader = MediaLoader(work / "lecture", media, segments=Segments(video_s=30, audio_s=30))
    print(f"{len(store.add_documents(loader.lazy_load()))} segments of {SECONDS} s and {len(PAGES)} pages")

    photo = jpeg(image=SLIDES[3])  # a photo taken in the audience
    for title, question, expected in (
        ("said", "when do swifts sleep?", "lecture/talk.mp4 120-150 s, heard"),
        ("shown", photo, "lecture/talk.mp4 90-120 s"),
        ("written", "how does a robin see the magnetic field?", "lecture/notes.pdf page 3"),
    ):
        best, *_ = store.search(question, k=3)
        print(f"{title:8} {best.score:.2f}  {place(best.document.metadata)}")
        assert place(best.document.metadata) == expected
