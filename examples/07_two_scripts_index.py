"""The first of two scripts: embed a folder of images. The second, 08_two_scripts_search.py, searches them.

Run: python examples/07_two_scripts_index.py FOLDER     (without a folder, or with an empty one, ten images are drawn)

Without GOOGLE_API_KEY it runs on the emulator. Use a different folder then: its vectors differ from Gemini's.
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from PIL.Image import Image

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore, MultimodalRetriever
from langchain_gemini_mm.testing import GeminiEmulator, jpeg
from langchain_gemini_mm.testing.samples import drawings


def house() -> Image:
    """Draw a house under a blue sky."""
    canvas = drawings.Canvas("skyblue")
    canvas.block(70, 110, 250, 220, "peachpuff")
    canvas.shape("firebrick", (50, 110), (160, 30), (270, 110))
    return canvas.finish()


def car() -> Image:
    """Draw a car on a street."""
    canvas = drawings.Canvas("whitesmoke")
    canvas.block(40, 110, 280, 170, "seagreen")
    for x in (95, 225):
        canvas.oval(x, 175, 26, 26, "black")
    return canvas.finish()


IMAGES = {
    "puppy": ("a puppy on a meadow", drawings.puppy()),
    "kitten": ("a grey kitten", drawings.kitten()),
    "bird": ("a small bird on a branch", drawings.bird()),
    "pizza": ("a pizza with cheese", drawings.pizza()),
    "bananas": ("three ripe bananas", drawings.bananas()),
    "apple": ("an apple with a leaf", drawings.apple()),
    "beach": ("waves on a beach", drawings.beach()),
    "chart": ("a bar chart of revenue", drawings.diagram()),
    "house": ("a house with a roof", house()),
    "car": ("a car on the street", car()),
}

with ExitStack() as stack:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else stack.enter_context(tempfile.TemporaryDirectory()))
    service = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator())
        service = {"api_key": emulator.api_key, "base_url": emulator.url}
    images = folder / "images"
    if not images.exists():
        images.mkdir(parents=True)
        for name, (description, drawing) in IMAGES.items():
            (images / f"{name}.jpg").write_bytes(jpeg(description, image=drawing))

    media = MediaStore.links(folder / "library/media")
    embeddings = stack.enter_context(GeminiEmbeddings(media=media, output_dimensionality=768, **service))
    store = stack.enter_context(LocalVectorStore(folder / "library/index.db", embeddings))
    added = MultimodalRetriever(store=store).add(images)
    print(f"{len(added)} images embedded, {len(added.skipped)} files skipped")
    assert len(added) == store.count() > 0
