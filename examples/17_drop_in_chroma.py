"""Make an application on Chroma multimodal by exchanging its embeddings and nothing else.

Run: pip install langchain-chroma, then python examples/17_drop_in_chroma.py
(without GOOGLE_API_KEY it runs on the emulator)
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from langchain_gemini_mm import GeminiEmbeddings, MediaLoader, MediaStore, to_message
from langchain_gemini_mm.testing import GeminiEmulator, write_samples

try:
    from chromadb.config import Settings
    from langchain_chroma import Chroma
except ImportError as error:
    print(f"This example needs Chroma and is left out: pip install langchain-chroma ({error})")
    raise SystemExit from None

NOTES = [
    "The office is closed on Monday.",
    "A kitten needs three small meals a day.",
    "Banana bread bakes for an hour.",
]


def application(embeddings: Embeddings, folder: Path) -> VectorStore:
    """Run the application as it was: add texts, ask a question."""
    settings = Settings(anonymized_telemetry=False, is_persistent=True, persist_directory=str(folder))
    store = Chroma("notes", embeddings, client_settings=settings, collection_metadata={"hnsw:space": "cosine"})
    store.add_texts(NOTES, [{"kind": "note"}] * len(NOTES), ids=["office", "kitten", "bread"])
    (found,) = store.as_retriever(search_kwargs={"k": 1}).invoke("when is the office closed?")
    assert found.page_content == NOTES[0]
    return store


with ExitStack() as stack:
    service: dict[str, Any] = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator())
        service = {"api_key": emulator.api_key, "base_url": emulator.url}
    # Chroma keeps its files open until the process ends, so Windows cannot delete them.
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
    write_samples(folder / "samples")

    # Before: GoogleGenerativeAIEmbeddings(model="models/gemini-embedding-2"). Now:
    media = MediaStore(folder / "media")
    embeddings = stack.enter_context(GeminiEmbeddings(media=media, output_dimensionality=768, **service))
    store = application(embeddings, folder / "chroma")

    # From here on, the same store accepts images, audio, video and PDFs as Documents with references,
    documents = MediaLoader(folder / "samples", media, modalities=["image", "audio", "video", "pdf"]).load()
    store.add_documents(documents)

    # is searched by text, with Chroma's own filters,
    for question, modality, source in (
        ("a sleeping puppy", "image", "samples/pictures/sleeping-puppy.png"),
        ("a cat purring", "audio", "samples/sounds/purring.wav"),
        ("ocean waves rolling onto a beach", "video", "samples/videos/waves.mov"),
        ("revenue grew in the fourth quarter", "pdf", "samples/papers/annual-report.pdf"),
    ):
        (found,) = store.similarity_search(question, k=1, filter={"modality": modality})
        print(f"{question:34} {found.metadata['source']}")
        assert found.metadata["source"] == source

    # and by an image: a reference is text, so it can be passed wherever a query can.
    photo = media.put_file(folder / "samples/pictures/puppy2.jpg").markdown
    similar = store.similarity_search(f"{photo} but sleeping", k=3)
    assert "samples/pictures/sleeping-puppy.png" in [document.metadata["source"] for document in similar]

    # The documents found are passed to a chat model as media, with citations.
    message = to_message("What do these show?", similar, media=media)
    types = [block["type"] for block in message.content if isinstance(block, dict)]
    print(types)
    assert "image" in types
