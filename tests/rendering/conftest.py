"""A small library with media of every modality, loaded with MediaLoader."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from langchain_gemini_mm import MediaStore
from langchain_gemini_mm.testing import jpeg, mp3, mp4, pdf, png, wav
from langchain_gemini_mm.testing.samples.clips import tone
from tests.path_loader import PathLoader

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.documents import Document


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Document], MediaStore]:
    """Documents of all modalities, in the order of their files, with their media store. Shared: do not change them."""
    folder: Path = tmp_path_factory.mktemp("library")
    (folder / "notes.md").write_text("# Notes\n\nThe bicycle is red.", encoding="utf-8")
    (folder / "photo.jpg").write_bytes(jpeg("a red bicycle", size=(320, 240)))
    (folder / "drawing.png").write_bytes(png("a plan", size=(200, 100)))
    (folder / "talk.mp4").write_bytes(mp4(60, size=(320, 180), fps=5, samples=tone(60)))
    (folder / "silent.mov").write_bytes(mp4(4, "waves", container="mov"))
    (folder / "hum.wav").write_bytes(wav(2, "a hum"))
    (folder / "song.mp3").write_bytes(mp3(3, "a song"))
    (folder / "slides.pdf").write_bytes(pdf(("Goals", "Revenue by region", "Thanks"), title="All hands"))
    media = MediaStore.memory()
    return list(PathLoader(folder, media).lazy_load()), media
