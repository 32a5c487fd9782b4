"""Measure a search with a few labelled queries, before and after a change: rankings, dimensions, a chart.

Run: python examples/21_evaluate.py     (without GOOGLE_API_KEY on the emulator, with a large modality gap)
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore, MultimodalRetriever
from langchain_gemini_mm.evaluation import (
    LabelledQuery,
    compare_rankings,
    dimension_sweep,
    evaluate,
    read_labelled,
    write_labelled,
)
from langchain_gemini_mm.testing import GeminiEmulator, write_samples

with ExitStack() as stack:
    service: dict[str, Any] = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator(modality_gap=0.7))
        service = {"api_key": emulator.api_key, "base_url": emulator.url}
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    write_samples(folder)

    embeddings = stack.enter_context(GeminiEmbeddings(media=MediaStore.memory(), output_dimensionality=1536, **service))
    store = stack.enter_context(LocalVectorStore(folder / "index.db", embeddings))
    retriever = MultimodalRetriever(store=store)
    retriever.add(folder, name="samples")

    # Queries and the files they should find, stored in a readable file. A grade says which file is better; an empty
    # list means that nothing should be found.
    labelled = [
        LabelledQuery(
            "a puppy dog",
            {"samples/pictures/puppy.png": 2, "samples/pictures/puppy2.jpg": 2, "samples/sounds/barking.mp3": 1},
        ),
        LabelledQuery("a cat purring", ["samples/sounds/purring.wav", "samples/notes/kitten.md"]),
        LabelledQuery(
            "waves on a beach", ["samples/pictures/beach.jpg", "samples/sounds/waves.wav", "samples/videos/waves.mov"]
        ),
        LabelledQuery("revenue by quarter", ["samples/pictures/revenue-chart.png", "samples/papers/annual-report.pdf"]),
        LabelledQuery("a pizza recipe", ["samples/papers/pizza.pdf", "samples/pictures/pizza.png"]),
        LabelledQuery("an owl at night", ["samples/papers/birds.pdf"]),
        LabelledQuery("sort numbers", ["samples/notes/sorting.py"]),
        LabelledQuery(folder / "pictures/bird.jpg", ["samples/papers/birds.pdf", "samples/pictures/bird.jpg"]),
        LabelledQuery("the gears of a bicycle", []),
    ]
    write_labelled(folder / "questions.jsonl", labelled)
    assert len(read_labelled(folder / "questions.jsonl")) == len(labelled)

    modalities = {document.metadata["source"]: document.metadata["modality"] for document in store.iterate()}
    report = evaluate(retriever, labelled, ks=(1, 5), by="source", document_modalities=modalities)
    print(report)
    assert report["recall@5"].value > 0.7
    assert ("text", "image") in report.pairs

    # Which ranking? The difference is computed query by query, with an interval.
    rankings = compare_rankings(retriever, labelled, ks=(5,), by="source")
    print(rankings)
    gain = rankings.difference("ndcg@5", "normalized")
    print(f"normalized is better by {gain.value:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]\n")
    if service:
        assert gain.value > 0

    # How many dimensions are enough? Stored vectors are truncated; only the queries are embedded.
    sweep = dimension_sweep(store, labelled, [1536, 768, 256, 32], ks=(5,), by="source")
    print(sweep)
    assert sweep["768"]["recall@5"].value > sweep["32"]["recall@5"].value - 0.1

    report.plot().savefig(folder / "report.svg")  # the extra `charts`
    sweep.plot().savefig(folder / "dimensions.svg")
    assert all("<svg" in (folder / name).read_text(encoding="utf-8") for name in ("report.svg", "dimensions.svg"))
