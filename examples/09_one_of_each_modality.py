"""Search by text, by an image or by a recording, and see the closest text, image and recording side by side.

Run: python examples/09_one_of_each_modality.py     (without GOOGLE_API_KEY it runs on the emulator)
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from langchain_gemini_mm import GeminiEmbeddings, Hits, LocalVectorStore, MediaStore, MultimodalRetriever
from langchain_gemini_mm.testing import GeminiEmulator, jpeg, wav, write_samples
from langchain_gemini_mm.testing.samples import clips, drawings


def side_by_side(title: str, found: Mapping[str, Hits]) -> str:
    """Return HTML with a column per modality; audio has a player."""
    columns = (f"<div style='flex:1'><h2>{modality}</h2>{hits.to_html()}</div>" for modality, hits in found.items())
    return f"<h1>{title}</h1><div style='display:flex;gap:12px'>{''.join(columns)}</div>"


with ExitStack() as stack:
    work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    service = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator())
        service = {"api_key": emulator.api_key, "base_url": emulator.url}
    write_samples(work / "samples")

    media = MediaStore(work / "library/media")
    embeddings = stack.enter_context(GeminiEmbeddings(media=media, output_dimensionality=768, **service))
    store = stack.enter_context(LocalVectorStore(work / "library/index.db", embeddings))
    retriever = MultimodalRetriever(store=store, modalities=["text", "image", "audio"])
    print(f"{len(retriever.add(work / 'samples'))} documents")

    photo, recording = work / "uploaded.jpg", work / "recorded.wav"
    photo.write_bytes(jpeg("a tabby cat", image=drawings.kitten().rotate(8)))
    recording.write_bytes(wav(description="purring", samples=clips.purr(2)))
    for title, question in (("text", "cat"), ("image", photo), ("audio", recording)):
        found = retriever.by_modality(question)
        print(f"\nquery by {title}:")
        for modality, (closest,) in found.items():
            print(f"  {modality:5}  {closest.score:.2f}  {closest.document.metadata['source']}")
        assert [hits[0].document.metadata["source"] for hits in found.values()] == [
            "samples/notes/kitten.md",
            "samples/pictures/kitten.png",
            "samples/sounds/purring.wav",
        ]
        html = side_by_side(f"Query by {title}", found)
        (work / f"{title}.html").write_text(html, encoding="utf-8")
        assert all(shown in html for shown in ("sleepy kitten", "<img", "<audio controls"))
