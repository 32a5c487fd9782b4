"""Find the part of a film that shows something, and write a page that plays it from there.

Run: python examples/11_find_the_moment.py     (without GOOGLE_API_KEY it runs on the emulator)
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from PIL.Image import Image

from langchain_gemini_mm import (
    GeminiEmbeddings,
    LocalVectorStore,
    MediaLoader,
    MediaStore,
    MultimodalRetriever,
    citation,
)
from langchain_gemini_mm.loaders import Segments
from langchain_gemini_mm.testing import GeminiEmulator, mp4
from langchain_gemini_mm.testing.samples import drawings

SECONDS = 160


def woman(dress: str) -> Image:
    """Draw a woman in a dress of a given colour."""
    canvas = drawings.Canvas("whitesmoke")
    canvas.oval(160, 55, 34, 44, "saddlebrown")
    canvas.oval(160, 60, 25, 31, "bisque")
    canvas.shape(dress, (125, 95), (195, 95), (270, 240), (50, 240))
    return canvas.finish()


SCENES = [
    drawings.beach(),
    woman("royalblue"),
    drawings.kitten(),
    woman("seagreen"),
    drawings.bird(),
    woman("crimson"),
    drawings.beach(0.5),
    drawings.bananas(),
]

with ExitStack() as stack:
    work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    service = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator())
        service = {"api_key": emulator.api_key, "base_url": emulator.url}
    film = work / "film.mp4"  # a scene every twenty seconds
    film.write_bytes(mp4(SECONDS, frame=lambda moment: SCENES[int(moment * len(SCENES))], fps=2))

    media = MediaStore.links(work / "library/media")
    embeddings = stack.enter_context(GeminiEmbeddings(media=media, output_dimensionality=768, **service))
    store = stack.enter_context(LocalVectorStore(work / "library/index.db", embeddings))
    retriever = MultimodalRetriever(store=store, k=3, modalities=["video"])
    loader = MediaLoader(film, media, segments=Segments(video_s=20))
    print(f"{len(retriever.add_documents(loader.lazy_load()))} segments of {SECONDS} s")

    question = "the part where the woman in the red dress appears"
    hits = retriever.search(question)
    for hit in hits:
        print(f"{hit.score:.2f}  {citation(hit)}")
    start, end = (hits[0].document.metadata[key] for key in ("start_s", "end_s"))
    assert (start, end) == (100, 120)

    # The film, played from the start to the end of that part; below it each hit as a clip.
    page = f"<h1>{question}</h1><video controls src='film.mp4#t={start:g},{end:g}'></video>{hits.to_html()}"
    (work / "found.html").write_text(page, encoding="utf-8")
    assert page.count("<video controls") == 1 + len(hits)
