"""Recommend what is similar to one or several things that somebody liked, of any modality, without embedding again.

Run: python examples/15_recommendations.py     (without GOOGLE_API_KEY it runs on the emulator)
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from langchain_gemini_mm import GeminiEmbeddings, Hits, LocalVectorStore, MediaStore, MultimodalRetriever, Query
from langchain_gemini_mm.analysis import recommend
from langchain_gemini_mm.testing import GeminiEmulator, write_samples


def show(title: str, hits: Hits) -> list[str]:
    """Print recommendations and return their files, best first."""
    sources = [hit.document.metadata["source"] for hit in hits]
    print(f"{title:34} {', '.join(sources)}")
    return sources


with ExitStack() as stack:
    service: dict[str, Any] = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator())
        service = {"api_key": emulator.api_key, "base_url": emulator.url}
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    write_samples(folder)

    embeddings = stack.enter_context(GeminiEmbeddings(media=MediaStore.memory(), output_dimensionality=768, **service))
    store = stack.enter_context(LocalVectorStore(":memory:", embeddings))
    retriever = MultimodalRetriever(store=store)
    retriever.add(folder, name="samples")
    embeddings.reset_usage()

    # The visitor's history is a list of ids, as in a shop or a library.
    ids = {document.metadata["source"]: str(document.id) for document in store.iterate()}
    puppy, kitten = ids["samples/pictures/puppy.png"], ids["samples/pictures/kitten.png"]
    trip, waves = ids["samples/notes/trip.md"], ids["samples/sounds/waves.wav"]

    near = show("similar to an image", recommend(store, [puppy], k=2, modalities=["image"]))
    assert near == ["samples/pictures/puppy2.jpg", "samples/pictures/sleeping-puppy.png"]

    # Several documents of different modalities: a text about a trip, and a recording of waves.
    both = show("similar to a text and a recording", recommend(store, [trip, waves], k=2, by="source"))
    assert set(both) == {"samples/pictures/beach.jpg", "samples/videos/waves.mov"}

    # The nearest of each modality; liked documents are left out of the answers.
    for modality in ("text", "image", "audio", "video", "pdf"):
        found = show(f"  the nearest {modality}", recommend(store, [trip, waves], k=1, modalities=[modality]))
        assert not {"samples/notes/trip.md", "samples/sounds/waves.wav"} & set(found)
    everything = recommend(store, [trip, waves], k=store.count())
    assert len(everything) == store.count() - 2

    # Liked and disliked documents, with weights.
    dogs = show("dogs rather than cats", recommend(store, [puppy], unlike=[kitten], weights=[1, 0.5], k=3))
    assert "samples/pictures/puppy2.jpg" in dogs
    assert not {"samples/pictures/puppy.png", "samples/pictures/kitten.png"} & set(dogs)

    assert not embeddings.usage.items  # all of this was computed from stored vectors

    # The same as a query with additional text; all modalities in one ranking.
    asleep = show("similar to an image, but asleep", retriever.search(Query("a nap on a cushion", like=[puppy]), k=1))
    assert asleep == ["samples/pictures/sleeping-puppy.png"]
