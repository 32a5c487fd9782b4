"""Storing documents and media through a retriever."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore, MultimodalRetriever
from langchain_gemini_mm.testing import png, wav
from tests.vectorstores.contract_base import Call

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_gemini_mm.testing import GeminiEmulator


@pytest.fixture
def empty(embeddings: GeminiEmbeddings) -> MultimodalRetriever:
    """A retriever of an empty collection."""
    return MultimodalRetriever(store=LocalVectorStore(":memory:", embeddings), ranking="raw", k=1)


async def test_content_of_every_type(empty: MultimodalRetriever, media: MediaStore, call: Call) -> None:
    """Each item is one Document with its modality; a nested list is one interleaved Document."""
    items = ["a text", png("a puppy"), wav(1.0, "waves"), ["a caption", png("a pizza"), "and more"]]
    added = await call(empty, "add", *items, metadata={"album": 1})
    assert len(added) == len(set(added)) == 4
    assert added.skipped == ()
    stored = {str(document.id): document for document in empty.store.get_by_ids(list(added))}
    documents = [stored[id_] for id_ in added]
    assert [document.metadata["modality"] for document in documents] == ["text", "image", "audio", "image"]
    assert {document.metadata["album"] for document in documents} == {1}
    assert documents[3].page_content == f"a caption {media.put(png('a pizza')).markdown} and more"


async def test_adding_again_changes_nothing(empty: MultimodalRetriever, call: Call) -> None:
    """The same content has the same id."""
    first = await call(empty, "add", "a text", png("a puppy"))
    again = await call(empty, "add", "a text", png("a puppy"))
    assert first == again
    assert await call(empty.store, "count") == 2


async def test_only_what_is_new_is_embedded(
    empty: MultimodalRetriever, emulator: GeminiEmulator, folder: Path, call: Call
) -> None:
    """When a folder is added again, only changed files are embedded."""
    added = await call(empty, "add", folder)
    before = emulator.embedded
    (folder / "notes/new.md").write_text("a new note")
    assert len(await call(empty, "add", folder)) == len(added) + 1
    assert emulator.embedded == before + 1


async def test_metadata_of_each(empty: MultimodalRetriever, folder: Path, call: Call) -> None:
    """Metadata can depend on the document; other metadata embed nothing."""
    await call(empty, "add", folder / "notes", metadata=lambda d: {"extension": d.metadata["source"].split(".")[-1]})
    documents = await call.list(empty.store, "iterate")
    found = {document.metadata["source"]: document.metadata.get("extension") for document in documents}
    assert (found["notes/kitten.md"], found["notes/sorting.py"]) == ("md", "py")
    await call(empty, "add", folder / "notes", folder / "colours", metadata={"extension": "none"})
    documents = await call.list(empty.store, "iterate")
    assert {document.metadata["extension"] for document in documents} == {"none"}
    assert {"notes/kitten.md", "colours/red.png"} <= {document.metadata["source"] for document in documents}


async def test_a_folder(empty: MultimodalRetriever, folder: Path, call: Call) -> None:
    """A path is loaded by `MediaLoader`, and files left out are in `skipped`."""
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    seen: list[int] = []
    added = await call(empty, "add", folder, progress=seen.append)
    assert [skipped.source for skipped in added.skipped] == ["folder/broken.png"]
    assert len(added) == await call(empty.store, "count") == seen[-1]
    (found,) = await call(empty, "invoke", folder / "pictures/puppy.png")
    assert found.metadata["source"] == "folder/pictures/puppy.png"
    (single,) = await call(empty, "add", folder / "pictures/puppy.png")
    assert isinstance(single, str)


async def test_documents(empty: MultimodalRetriever, media: MediaStore, call: Call) -> None:
    """`add` and `add_documents` store Documents unchanged."""
    document = media.document("a puppy", png("a puppy"), id="mine", metadata={"x": 1})
    assert await call(empty, "add_documents", [document]) == ["mine"]
    assert await call(empty, "add", document, metadata={"y": 2}) == ["mine"]
    (stored,) = empty.store.get_by_ids(["mine"])
    assert stored.metadata == {"modality": "image", "x": 1, "y": 2}


async def test_without_a_media_store(call: Call) -> None:
    """Any store can hold texts; media need a media store, which the error says."""
    store = LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=8))
    retriever = MultimodalRetriever(store=store)
    assert len(await call(retriever, "add", "a text", Document(page_content="another"))) == 2
    with pytest.raises(TypeError, match=r"no media store. Give MultimodalRetriever\(media=MediaStore"):
        await call(retriever, "add", png("a puppy"))
    mine = MediaStore.memory()
    given = MultimodalRetriever(store=store, media=mine)
    assert given.media_store is mine
