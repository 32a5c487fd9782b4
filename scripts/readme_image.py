"""Draw docs/images/waves.png, the image of the README: the hits of its first query as displayed in a notebook.

Run: python -m scripts.readme_image     (needs chromium; uses the emulator)
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore, MultimodalRetriever
from langchain_gemini_mm.testing import GeminiEmulator, write_samples

PICTURE = Path(__file__).resolve().parent.parent / "docs/images/waves.png"
PAGE = "<!doctype html><meta charset=utf-8><body style='font: 15px sans-serif; width: 660px; zoom: 0.8'>"


def draw() -> None:
    """Search, write the page, and take a screenshot."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        sys.exit("chromium is needed: apt-get install chromium")
    with tempfile.TemporaryDirectory() as name, GeminiEmulator() as emulator:
        folder = Path(name)
        write_samples(folder / "photos-and-talks")
        service = {"api_key": emulator.api_key, "base_url": emulator.url}
        embeddings = GeminiEmbeddings(media=MediaStore.memory(), output_dimensionality=768, **service)
        retriever = MultimodalRetriever(store=LocalVectorStore(":memory:", embeddings), k=3)
        retriever.add(folder / "photos-and-talks")
        page = folder / "page.html"
        page.write_text(PAGE + retriever.search("waves by the sea").to_html(), encoding="utf-8")
        shot = [f"--screenshot={PICTURE}", "--window-size=550,500", "--hide-scrollbars", page.as_uri()]
        subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", *shot], check=True, capture_output=True)


if __name__ == "__main__":
    PICTURE.parent.mkdir(exist_ok=True)
    draw()
