"""Index a folder of images, audio, video, PDFs and notes, and search it by text, image and audio.

Run: python examples/01_quickstart.py     (without GOOGLE_API_KEY it runs on the emulator, on sample files)
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaLoader, MediaStore
from langchain_gemini_mm.interfaces import Content
from langchain_gemini_mm.testing import GeminiEmulator, write_samples

with ExitStack() as stack:
    work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    write_samples(work / "photos-and-talks")
    service = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator())  # compares words; it is not a model
        service = {"api_key": emulator.api_key, "base_url": emulator.url}

    media = MediaStore(work / "library/media")
    embeddings = stack.enter_context(GeminiEmbeddings(media=media, output_dimensionality=768, **service))
    store = stack.enter_context(LocalVectorStore(work / "library/index.db", embeddings))

    loader = MediaLoader(work / "photos-and-talks", media)
    store.add_documents(loader.lazy_load())
    print(f"{store.count()} documents, {len(loader.skipped)} files skipped")

    puppy = work / "photos-and-talks/pictures/puppy2.jpg"
    questions: dict[str, Content] = {
        "text": "an image of an animal",
        "image": puppy,
        "image and text": [puppy, "but sleeping"],
    }
    for title, question in questions.items():
        print(f"\n{title}:")
        for hit in store.search(question, k=3):
            print(f"  {hit.score:.2f}  {hit.document.metadata['source']}")

    print("\naudio, among audio files:")
    purring = work / "photos-and-talks/sounds/purring.wav"
    for hit in store.search(purring, k=2, filter={"modality": "audio"}):
        print(f"  {hit.score:.2f}  {hit.document.metadata['source']}")
