"""Documents of the loader can be embedded in every format, and hits have their times and pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from langchain_gemini_mm import LocalVectorStore
from langchain_gemini_mm.loaders import Segments
from langchain_gemini_mm.testing import mp4, pdf, png
from tests.loaders.damaged import GOOD
from tests.media.recordings import recording
from tests.path_loader import PathLoader

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_gemini_mm import GeminiEmbeddings, MediaStore
    from langchain_gemini_mm.testing import GeminiEmulator


def test_every_format_can_be_embedded(
    tmp_path: Path, media: MediaStore, embeddings: GeminiEmbeddings, emulator: GeminiEmulator
) -> None:
    """Images, audio and video of unsupported types are converted, and long ones are cut."""
    for ending, make in GOOD.items():
        (tmp_path / f"file.{ending}").write_bytes(make())
    (tmp_path / "call.webm").write_bytes(recording("webm", video=None, audio="libopus", seconds=3))
    (tmp_path / "long.mp4").write_bytes(mp4(70, samples=np.sin(np.arange(560_000) / 5).astype(np.float32)))
    (tmp_path / "pets.md").write_text("A cat ![](file.png) and a dog ![](file.jpg)")
    loader = PathLoader(tmp_path, media, segments=Segments(video_s=20))
    documents = loader.load()
    assert loader.skipped == []
    vectors = embeddings.embed_documents([document.page_content for document in documents])
    assert len(vectors) == len(documents) >= 26
    assert emulator.requests


def test_the_page_is_found(tmp_path: Path, media: MediaStore, embeddings: GeminiEmbeddings) -> None:
    """A hit contains its file and page; with fused text it is found by that text."""
    (tmp_path / "book.pdf").write_bytes(pdf(("a recipe for pizza", "a kitten asleep", "revenue by quarter")))
    (tmp_path / "sea.png").write_bytes(png("waves of the sea"))
    for fuse_text in (False, True):
        store = LocalVectorStore(tmp_path / f"{fuse_text}.db", embeddings)
        loader = PathLoader(tmp_path, media, glob=["*.pdf", "*.png"], fuse_text=fuse_text)
        store.add_documents(loader.load())
        hit = store.similarity_search("a sleeping kitten", k=1)[0]
        assert (hit.metadata["source"], hit.metadata["first_page"]) == ("book.pdf", 2)
