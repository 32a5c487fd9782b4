"""Label a photo by the vote of its nearest labelled photos, and inspect the photos that it matched.

Run: python examples/06_image_matching.py     (without GOOGLE_API_KEY it runs on the emulator)
"""

from __future__ import annotations

import base64
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from langchain_gemini_mm import GeminiEmbeddings, Hit, Hits, LocalVectorStore, MediaLoader, MediaStore, Query
from langchain_gemini_mm.analysis import Classification, classify, classify_many
from langchain_gemini_mm.testing import GeminiEmulator, jpeg, png
from langchain_gemini_mm.testing.samples import drawings


def write_photos(folder: Path) -> None:
    """Write a folder with five photos per label, and three files with errors."""
    for label, draw in (("puppy", drawings.puppy), ("kitten", drawings.kitten), ("bird", drawings.bird)):
        (folder / label).mkdir(parents=True)
        for turn in range(5):
            (folder / label / f"{turn}.jpg").write_bytes(jpeg(f"a {label}", image=draw().rotate(5 * turn)))
    (folder / "bird/cut-off.jpg").write_bytes(jpeg(image=drawings.bird())[:2000])
    (folder / "bird/a-png.jpg").write_bytes(png("a bird", image=drawings.bird()))
    (folder / "puppy/mouse.jpg").write_bytes(jpeg("a kitten with a mouse", image=drawings.kitten().rotate(-9)))


def index(store: LocalVectorStore, loader: MediaLoader, *, rebuild: bool = False) -> int:
    """Embed new and changed photos and delete removed ones, or embed all again. The label is the folder's name."""
    if rebuild:
        store.delete_all()
    found = {document.id: document for document in loader.lazy_load()}
    for document in found.values():
        document.metadata["label"] = Path(document.metadata["source"]).parts[1]
    known = {document.id: document.page_content for document in store.iterate()}
    store.delete([id_ for id_ in known if id_ and id_ not in found])
    return len(store.add_documents([new for new in found.values() if known.get(new.id) != new.page_content]))


def show(photo: bytes, found: Classification, media: MediaStore) -> str:
    """Return HTML with a photo next to its matches."""
    hits = Hits(
        Hit(match.document, match.score, "cosine", rank, media=media)
        for rank, match in enumerate(found.matches, start=1)
        if match.document
    )
    image = f"<img src='data:image/jpeg;base64,{base64.b64encode(photo).decode()}' style='max-width:320px'>"
    return f"<h1>{found.label or 'unknown'}</h1><div style='display:flex'>{image}{hits.to_html()}</div>"


with ExitStack() as stack:
    work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    service = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator())
        service = {"api_key": emulator.api_key, "base_url": emulator.url}
    write_photos(work / "photos")

    media = MediaStore.links(work / "library/media")  # photos stay where they are
    embeddings = stack.enter_context(GeminiEmbeddings(media=media, output_dimensionality=768, **service))
    loader = MediaLoader(work / "photos", media, modalities={"image"})
    for rebuild, wanted in ((False, 17), (False, 0), (True, 17)):
        with LocalVectorStore(work / "library/index.db", embeddings) as kept:
            embedded = index(kept, loader, rebuild=rebuild)
        print(f"a run with rebuild={rebuild} embeds {embedded} photos")
        assert embedded == wanted

    store = stack.enter_context(LocalVectorStore(work / "library/index.db", embeddings))
    for skipped in loader.skipped:
        print(f"skipped: {skipped.source}: {skipped.reason}")
    stored = list(store.iterate())
    votes = classify_many(store, [Query(like=[str(photo.id)]) for photo in stored], labels="label", k=5)
    suspects = [photo for photo, vote in zip(stored, votes, strict=True) if vote.label != photo.metadata["label"]]
    for photo in suspects:
        print(f"in the wrong folder? {photo.metadata['source']}")
    assert [skipped.source for skipped in loader.skipped] == ["photos/bird/cut-off.jpg"]
    assert [photo.metadata["source"] for photo in suspects] == ["photos/puppy/mouse.jpg"]

    # Clearly less similar than any labelled photo to its nearest neighbour: unknown.
    least = 0.8 * min(match.score for vote in votes for match in vote.matches[:1])
    for name, new, at_two, at_five in (
        ("puppy", jpeg("a young puppy", image=drawings.puppy("wheat", "dimgrey")), "puppy", "puppy"),
        ("kitten", jpeg("a kitten with a toy mouse", image=drawings.kitten().rotate(7)), None, "kitten"),
        ("pizza", jpeg("a pizza", image=drawings.pizza()), None, None),
    ):
        for k, label in ((2, at_two), (5, at_five)):
            found = classify(
                store, new, labels="label", k=k, min_similarity=least, min_share=0.51
            )  # a tie gives no label
            matches = ", ".join(f"{match.label} {match.score:.2f} {match.source}" for match in found.matches)
            print(f"{name}, k={k}: {found.label or 'unknown'} ({matches})")
            assert (found.label, len(found.matches)) == (label, k)
            html = show(new, found, media)
            (work / f"{name}-{k}.html").write_text(html, encoding="utf-8")
            assert html.count("<img") == 1 + k
