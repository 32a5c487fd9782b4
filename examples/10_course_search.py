"""Which lessons of a course discuss this diagram? Video lectures, recordings and handouts in one index.

Run: python examples/10_course_search.py     (on the emulator; with GOOGLE_API_KEY on Gemini, then install espeak-ng)
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL.Image import Image

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaLoader, MediaStore, MultimodalRetriever
from langchain_gemini_mm.loaders import Segments
from langchain_gemini_mm.retrievers import Moment, Source
from langchain_gemini_mm.testing import GeminiEmulator, jpeg, mp3, mp4, pdf
from langchain_gemini_mm.testing.samples import drawings
from langchain_gemini_mm.testing.samples.clips import RATE
from langchain_gemini_mm.testing.samples.speech import speech


def chart() -> Image:
    """Draw a bar chart on a blackboard."""
    canvas = drawings.Canvas("darkgreen")
    for quarter, amount in enumerate((70, 100, 120, 160)):
        canvas.block(50 + 60 * quarter, 210 - amount, 90 + 60 * quarter, 210, "ivory")
    return canvas.finish()


BIRD, SEA, PIZZA, APPLE = drawings.bird(), drawings.beach(), drawings.pizza(), drawings.apple()
LESSONS = {  # slides shown for half a minute each, the question asked afterwards, and the pages of the handout
    "lesson 1, birds": ([BIRD, SEA, BIRD, SEA], "Do swifts sleep?", ["Birds on their way", "How robins find north"]),
    "lesson 2, accounts": (
        [APPLE, PIZZA, chart(), chart()],
        "What does a bar chart of revenue tell?",
        ["A bakery and its accounts", "Figure 1: a bar chart of revenue", "Reading the bar chart: revenue by quarter"],
    ),
    "lesson 3, baking": ([PIZZA, APPLE, PIZZA, SEA], "How hot?", ["Banana bread", "What ovens cost: a chart"]),
}


def film(slides: list[Image]) -> bytes:
    """Return a video that shows each slide for half a minute."""
    return mp4(30 * len(slides), frame=lambda moment: slides[int(moment * len(slides))], fps=1)


def record(folder: Path) -> None:
    """Write the course: a folder per lesson with its lecture, the recorded questions and the handout."""
    for name, (slides, question, pages) in LESSONS.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "lecture.mp4").write_bytes(film(slides))
        silence = np.zeros(60 * RATE, dtype=np.float32)
        hour = np.concatenate([silence, speech(question), silence])
        (folder / name / "questions.mp3").write_bytes(mp3(samples=hour))
        (folder / name / "handout.pdf").write_bytes(pdf(pages))


def place(moment: Moment) -> str:
    """Describe the position of a moment in its file."""
    if moment.start_s is None:
        return f"pages {moment.first_page}-{moment.last_page}"
    return f"{moment.start_s:g}-{moment.end_s:g} s"


with ExitStack() as stack:
    work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    service = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator())
        service = {"api_key": emulator.api_key, "base_url": emulator.url}
    record(work / "course")

    media = MediaStore.links(work / "library/media")  # files stay where they are
    embeddings = stack.enter_context(GeminiEmbeddings(media=media, output_dimensionality=768, **service))
    store = stack.enter_context(LocalVectorStore(work / "library/index.db", embeddings))
    retriever = MultimodalRetriever(store=store, k=5)
    loader = MediaLoader(work / "course", media, segments=Segments(video_s=30, audio_s=30))
    print(f"{len(retriever.add_documents(loader.lazy_load()))} segments and pages")

    photo = jpeg("bar chart of revenue", image=chart().rotate(4))  # a photo taken in the audience
    lessons: dict[str, list[Source]] = {}
    for source in retriever.sources(photo, per_source=2):
        lessons.setdefault(Path(source.source or "").parts[1], []).append(source)
    for name, sources in lessons.items():
        print(name)
        for source in sources:
            print(f"  {source.score:5.2f}  {source.source}: {', '.join(map(place, source.moments))}")
    best = next(iter(lessons))
    places = {Path(source.source or "").name: place(source.moments[0]) for source in lessons[best]}
    assert best == "lesson 2, accounts"
    assert places == {"lecture.mp4": "60-120 s", "questions.mp3": "60-90 s", "handout.pdf": "pages 2-3"}
