"""What `describe` returns is kept by content: it is asked once, whatever happens to the file and the options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_gemini_mm import MediaLoader
from langchain_gemini_mm.testing import png
from tests.sync.conftest import documents_of

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from tests.sync.conftest import MirroredFolder
    from tests.vectorstores.contract_base import Call


class Describer:
    """Describes media, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, document: Document) -> str:
        """A caption."""
        self.asked.append(document.metadata["source"])
        return f"caption {len(self.asked)}"


@pytest.fixture
def describe() -> Describer:
    """Returns another caption each time."""
    return Describer()


@pytest.fixture
def describing(call: Call, mirrored: MirroredFolder, describe: Describer) -> Any:
    """Mirrors the folder with captions, sync or async; the number of new captions."""

    async def mirror(**options: Any) -> int:
        before = len(describe.asked)
        await call(mirrored.retriever, "mirror", mirrored.folder, describe=describe, **options)
        return len(describe.asked) - before

    return mirror


def captions(mirrored: MirroredFolder) -> dict[str, list[str]]:
    """The texts of media in the index by source, sorted."""
    found: dict[str, list[str]] = {}
    for document in documents_of(mirrored.retriever).values():
        if "companion_text" in document.metadata:
            found.setdefault(document.metadata["source"], []).append(document.metadata["companion_text"])
    return {source: sorted(texts) for source, texts in found.items()}


async def test_a_caption_is_asked_for_once(describing: Any, mirrored: MirroredFolder) -> None:
    """Not again for other options, after a move, for a copy, or in a later run."""
    assert await describing() == 4
    before = captions(mirrored)
    assert await describing(fuse_text=True, chunk_size=500) == 0
    assert captions(mirrored) == before
    (mirrored.folder / "photos" / "castle.png").rename(mirrored.folder / "moved.png")
    mirrored.write(copy_png=(mirrored.folder / "moved.png").read_bytes())
    assert await describing() == 0
    after = captions(mirrored)
    assert after["work/moved.png"] == after["work/copy.png"] == before["work/photos/castle.png"]
    mirrored.write(new_png=png("a tree"))
    assert await describing() == 1


async def test_a_loader_uses_them(describing: Any, call: Call, mirrored: MirroredFolder, describe: Describer) -> None:
    """Captions of `add` and `mirror` are the same; a loader alone asks."""
    assert await describing() == 4
    media = mirrored.retriever.media_store
    assert media is not None
    loader = MediaLoader(mirrored.folder, media, describe=describe)
    await call(mirrored.retriever, "add", loader)
    assert len(describe.asked) == 4
    list(loader.lazy_load())
    assert len(describe.asked) == 8


async def test_a_failure_is_not_kept(call: Call, mirrored: MirroredFolder) -> None:
    """A caption that could not be made is asked for again."""
    answers: list[str | None] = [None]

    def describe(document: Document) -> str:
        if answers[0] is None:
            raise RuntimeError("the model is overloaded")
        return answers[0]

    mirrored.write(tree_png=png("a tree"))
    await call(mirrored.retriever, "mirror", mirrored.folder, describe=describe, glob="tree.png", max_delete=1.0)
    assert captions(mirrored) == {"work/tree.png": ["a tree"]}
    answers[0] = "a tall tree"
    options = {"glob": "tree.png", "chunk_size": 500}
    await call(mirrored.retriever, "mirror", mirrored.folder, describe=describe, **options)
    assert captions(mirrored) == {"work/tree.png": ["a tall tree\n\na tree"]}


async def test_captions_are_forgotten_on_request(describing: Any, call: Call, mirrored: MirroredFolder) -> None:
    """Those of the forgotten files, and no others."""
    assert await describing() == 4
    await call(mirrored.retriever, "forget", "work/photos")
    assert await describing() == 0
    await call(mirrored.retriever, "forget", "work/photos", captions=True)
    assert await describing() == 1
    await call(mirrored.retriever, "forget", "work", captions=True)
    assert await describing() == 4
