"""Uses of embeddings, each in a few lines: search, questions, facts, code, labels, outliers, duplicates.

Run: python examples/18_tasks.py     (without GOOGLE_API_KEY it runs on the emulator)
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore, MultimodalRetriever
from langchain_gemini_mm.analysis import classify, find_duplicates, find_outliers
from langchain_gemini_mm.testing import GeminiEmulator, jpeg, write_samples
from langchain_gemini_mm.testing.samples import drawings

REVIEWS = {
    "The pizza was delicious, the waiter was friendly": "praise",
    "Delicious cake and a friendly waiter": "praise",
    "The soup was cold and the waiter was rude": "complaint",
    "Cold pizza, rude waiter, dirty table": "complaint",
    "A dirty table and cold soup": "complaint",
    "Cheap watches, click here and win a prize": "spam",
    "Win a prize now: click for cheap watches": "spam",
}


def show(task: str, answer: object) -> None:
    """Print a task and its answer."""
    print(f"{task:28} {answer}")


with ExitStack() as stack:
    service: dict[str, Any] = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator())
        service = {"api_key": emulator.api_key, "base_url": emulator.url}
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    write_samples(folder)
    pictures = folder / "pictures"
    copy = jpeg("a pizza with cheese and salami, fresh from the oven", image=drawings.pizza())
    (pictures / "pizza-copy.jpg").write_bytes(copy)
    embeddings = stack.enter_context(GeminiEmbeddings(media=MediaStore.memory(), output_dimensionality=768, **service))
    store = stack.enter_context(LocalVectorStore(folder / "index.db", embeddings))
    library = MultimodalRetriever(store=store, k=1)
    library.add(*(folder / name for name in ("pictures", "sounds", "videos", "papers", "notes")))

    # Search, questions, facts and code: the task is passed to the model with the query.
    for task, question, source in (
        ("search", "how long does a kitten nap?", "notes/kitten.md"),
        ("question answering", "how do I bake banana bread?", "notes/recipes.txt"),
        ("fact checking", "An apple pie is baked with five apples.", "notes/recipes.txt"),
        ("code retrieval", "a function that sorts numbers", "notes/sorting.py"),
    ):
        (found,) = library.invoke(question, task_type=task, modalities=["text"])
        show(task, found.metadata["source"])
        assert found.metadata["source"] == source

    # Any modality finds any modality.
    for task, query, modality, source in (
        ("text to image", "a bird on a branch", "image", "pictures/bird.jpg"),
        ("text to video moment", "a puppy plays with a ball", "video", "videos/puppy-playing.mp4"),
        ("description to sound", "the purring of a cat", "audio", "sounds/purring.wav"),
        ("image to PDF page", pictures / "bird.jpg", "pdf", "papers/birds.pdf"),
        ("photo to slides", pictures / "revenue-chart.png", "pdf", "papers/annual-report.pdf"),
        ("sound to image", folder / "sounds/purring.wav", "image", "pictures/kitten.png"),
        # The emulator knows only English words, so the query contains the name. The model does not need it.
        ("German to English", "Wie macht man eine Pizza Margherita?", "pdf", "papers/pizza.pdf"),
    ):
        (found,) = library.invoke(query, modalities=[modality])
        show(task, found.metadata["source"])
        assert found.metadata["source"] == source
    changed = library.invoke([pictures / "puppy2.jpg", "but sleeping"], k=2, modalities=["image"])
    show("image and text to image", changed[1].metadata["source"])
    assert changed[1].metadata["source"] == "pictures/sleeping-puppy.png"

    # Labels by description, and by the vote of labelled examples; what is similar to none of them is unknown.
    labels = {"animal": "a picture of an animal", "food": "a picture of food"}
    for name, label in (("kitten.png", "animal"), ("apple.png", "food")):
        described = classify(store, pictures / name, labels=labels)
        show("zero-shot classification", f"{name}: {described.label}")
        assert described.label == label
    reviews = stack.enter_context(LocalVectorStore(":memory:", embeddings))
    reviews.add_texts(list(REVIEWS), [{"modality": "text", "label": label} for label in REVIEWS.values()])
    voted = classify(reviews, "My soup was cold, the table dirty", labels="label", k=3)
    show("few-shot classification", f"{voted.label}, {voted.share:.0%} of the votes")
    assert voted.label == "complaint"
    assert classify(reviews, "Galaxies collide", labels="label", k=3, min_similarity=0.6).unknown

    # Outliers and duplicates.
    reviews.delete(filter={"label": "spam"})
    reviews.add_texts(["Invoice 2214 is due in thirty days"], [{"modality": "text"}])
    oddest = find_outliers(reviews, n_neighbors=2)[0]
    show("anomaly", oddest.document.page_content)
    assert oddest.document.page_content.startswith("Invoice")
    (copies,) = find_duplicates(store, threshold=0.94).groups
    show("near-duplicates", [document.metadata["source"] for document in store.get_by_ids(copies.ids)])
    assert len(copies.ids) == 2
