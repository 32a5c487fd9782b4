"""Group a mixed folder by subject: pass the stored vectors to scikit-learn.

Run: pip install scikit-learn, then python examples/19_clusters.py
(without GOOGLE_API_KEY it runs on the emulator)
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import ExitStack
from typing import Any

import numpy as np

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore
from langchain_gemini_mm.testing import GeminiEmulator, mp4, pdf, png, wav
from langchain_gemini_mm.testing.samples import clips, drawings

try:
    from sklearn.cluster import KMeans
except ImportError as error:
    print(f"This example needs scikit-learn and is left out: pip install scikit-learn ({error})")
    raise SystemExit from None

SUBJECTS: dict[str, dict[str, list[Any]]] = {
    "pets": {
        "text": ["The puppy chased the kitten.", "A dog, a cat and a puppy live next door."],
        "image": [png("a puppy dog", image=drawings.puppy()), png("a kitten, a young cat", image=drawings.kitten())],
        "audio": [wav(description="a dog barking", samples=clips.bark(2))],
        "video": [mp4(2, "a puppy, a young dog", frame=lambda moment: drawings.puppy(ball=moment))],
    },
    "food": {
        "text": ["Pizza with cheese for dinner.", "An apple and a banana make a fruit salad."],
        "image": [png("a pizza with cheese", image=drawings.pizza()), png("an apple, a fruit", image=drawings.apple())],
        "pdf": [pdf(["Pizza: a recipe with cheese"], title="Pizza for dinner")],
    },
    "sea": {
        "text": ["Waves roll onto the beach.", "We swam in the sea and lay in the sand."],
        "image": [png("a beach with waves and sand", image=drawings.beach())],
        "audio": [wav(description="waves of the sea on a beach", samples=clips.surf(2))],
        "video": [mp4(2, "waves on a beach", frame=drawings.beach)],
        "pdf": [pdf(["Tides and waves of the sea"], title="The beach")],
    },
}

with ExitStack() as stack:
    service: dict[str, Any] = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator())
        service = {"api_key": emulator.api_key, "base_url": emulator.url}
    media = MediaStore.memory()
    embeddings = stack.enter_context(GeminiEmbeddings(media=media, output_dimensionality=768, **service))
    store = stack.enter_context(LocalVectorStore(":memory:", embeddings))
    store.add_documents(
        media.document(content, metadata={"modality": modality, "subject": subject})
        for subject, by_modality in SUBJECTS.items()
        for modality, contents in by_modality.items()
        for content in contents
    )

    ids, rows = [], []
    for some, vectors in store.vectors():
        ids += some
        rows.append(vectors)
    matrix = np.concatenate(rows)
    documents = {str(document.id): document.metadata for document in store.get_by_ids(ids)}

    # Vectors of one modality share a direction; without removing it, the groups would be the modalities.
    modalities = np.array([documents[id_]["modality"] for id_ in ids])
    for modality in np.unique(modalities):
        matrix[modalities == modality] -= matrix[modalities == modality].mean(axis=0)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)

    groups = KMeans(n_clusters=len(SUBJECTS), n_init=20, random_state=0).fit_predict(matrix)
    right = 0
    for group in range(len(SUBJECTS)):
        members = [documents[id_] for id_, number in zip(ids, groups, strict=True) if number == group]
        ((subject, count),) = Counter(member["subject"] for member in members).most_common(1)
        print(f"{subject}: {count} of {len(members)}, {dict(Counter(member['modality'] for member in members))}")
        right += count
    assert right / len(ids) > 0.85
