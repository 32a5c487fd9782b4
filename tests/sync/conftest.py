"""A folder, and an index of it in each type of store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore, MultimodalRetriever
from langchain_gemini_mm.sync import MirrorReport
from langchain_gemini_mm.testing import GeminiEmulator, pdf, png
from tests.vectorstores.contract_base import Call

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class MirroredFolder:
    """A folder and a retriever on an index."""

    def __init__(self, folder: Path, retriever: MultimodalRetriever, emulator: GeminiEmulator) -> None:
        self.folder = folder
        self.retriever = retriever
        self.emulator = emulator
        self.embedded = 0
        """Contents embedded by the last call of `mirror`."""

    def mirror(self, folder: Path | None = None, **options: Any) -> MirrorReport:
        """Mirror the folder, and count what is embedded."""
        before = self.emulator.embedded
        report: MirrorReport = self.retriever.mirror(folder or self.folder, **options)
        self.embedded = self.emulator.embedded - before
        return report

    @property
    def contents(self) -> dict[str, list[str]]:
        """The texts of the index, sorted, by source."""
        found: dict[str, list[str]] = {}
        for id_, document in documents_of(self.retriever).items():
            assert id_ == document.id
            found.setdefault(document.metadata["source"], []).append(document.page_content)
        return {source: sorted(texts) for source, texts in sorted(found.items())}

    def write(self, **files: bytes | str) -> None:
        """Write files of the folder; `__` is a slash, and the last `_` a dot."""
        for name, content in files.items():
            stem, _, suffix = name.replace("__", "/").rpartition("_")
            path = self.folder / f"{stem}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)


def documents_of(retriever: MultimodalRetriever) -> dict[str, Any]:
    """All documents of the store of a retriever, by id."""
    store: Any = retriever.store
    if isinstance(store, InMemoryVectorStore):
        return {str(document.id): document for document in store.get_by_ids(list(store.store))}
    return {str(document.id): document for document in store.iterate()}


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """Sync or async."""
    return Call(asynchronous=request.param == "async")


@pytest.fixture(params=["local", "foreign"])
def retriever(
    request: pytest.FixtureRequest, emulator: GeminiEmulator, tmp_path: Path
) -> Iterator[MultimodalRetriever]:
    """A retriever of an empty index."""
    with GeminiEmbeddings(media=MediaStore(tmp_path / "media"), output_dimensionality=128) as embeddings:
        if request.param == "foreign":
            yield MultimodalRetriever(store=InMemoryVectorStore(embeddings))
            return
        with LocalVectorStore(tmp_path / "index.db", embeddings) as store:
            yield MultimodalRetriever(store=store)


@pytest.fixture
def mirrored(retriever: MultimodalRetriever, emulator: GeminiEmulator, tmp_path: Path) -> MirroredFolder:
    """A folder with an image, a text and a PDF of three pages, which is mirrored once."""
    found = MirroredFolder(tmp_path / "work", retriever, emulator)
    found.write(notes_txt="about a cat", photos__castle_png=png("a castle"), paper_pdf=pdf(("one", "two", "three")))
    report = found.mirror()
    assert sorted(report.added) == ["work/notes.txt", "work/paper.pdf", "work/photos/castle.png"]
    return found


@pytest.fixture
def run(call: Call, mirrored: MirroredFolder) -> Any:
    """Mirrors the folder, sync or async; the report, whose count is that of the service."""

    async def mirror(**options: Any) -> Any:
        before = mirrored.emulator.embedded
        report = await call(mirrored.retriever, "mirror", mirrored.folder, **options)
        assert report.embedded == mirrored.emulator.embedded - before
        return report

    return mirror
