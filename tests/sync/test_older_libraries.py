"""Libraries of versions without a ledger are mirrored: what is the same is not embedded again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaLoader, MediaStore, MultimodalRetriever
from langchain_gemini_mm.testing import pdf
from tests.sync.conftest import MirroredFolder, documents_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_gemini_mm.testing import GeminiEmulator

OLD_FILE = Path(__file__).resolve().parents[1] / "data" / "local-library-without-ledger.db"
"""Made by an early version 0.1.0 with `retriever.add(folder)` of the folder of `library`: format 2, sources without the
name of the folder, ids that depend on positions."""


@pytest.fixture
def library(emulator: GeminiEmulator, tmp_path: Path) -> Iterator[MirroredFolder]:
    """The folder, and a copy of its index."""
    with GeminiEmbeddings(media=MediaStore(tmp_path / "media"), output_dimensionality=128) as embeddings:
        path = Path(shutil.copy(OLD_FILE, tmp_path / "index.db"))
        with LocalVectorStore(path, embeddings) as store:
            found = MirroredFolder(tmp_path / "library", MultimodalRetriever(store=store), emulator)
            parts = [f"# Part {number}\n\n" + f"words of part {number} " * 60 for number in range(6)]
            found.write(notes_txt="about a cat", long_md="\n\n".join(parts), talks__notes_txt="about a dog")
            found.write(talks__paper_pdf=pdf(tuple(f"page {number}" for number in range(9))))
            yield found
            assert store.check().ok


def test_an_unchanged_library_is_adopted(library: MirroredFolder) -> None:
    """Documents get the ids and sources of a new index, and keep their vectors."""
    report = library.mirror()
    assert (library.embedded, len(report.added), report.failed) == (0, 4, ())
    loader = MediaLoader(library.folder, MediaStore.memory())
    expected = {str(one.id): (one.page_content, one.metadata) for one in loader.lazy_load()}
    found = {id_: (one.page_content, one.metadata) for id_, one in documents_of(library.retriever).items()}
    assert found == expected
    assert library.mirror().is_current


def test_a_changed_library_is_adopted(library: MirroredFolder) -> None:
    """Only new chunks are embedded, and documents that a file does not have any more are removed."""
    long = library.folder / "long.md"
    long.write_text(long.read_text().replace("Part 4", "Part four"))
    library.mirror()
    assert library.embedded == 1
    assert sorted(library.contents) == [
        "library/long.md", "library/notes.txt", "library/talks/notes.txt", "library/talks/paper.pdf",
    ]  # fmt: skip
    assert len(documents_of(library.retriever)) == 14


def test_documents_of_a_loader_are_adopted(library: MirroredFolder) -> None:
    """Their ids say which file they are of, even if nothing in it is the same."""
    library.retriever.store.delete(list(documents_of(library.retriever)))
    media = library.retriever.media_store
    assert media is not None
    library.retriever.store.add_documents(list(MediaLoader(library.folder, media).lazy_load()))
    library.write(notes_txt="about two cats")
    library.mirror()
    assert library.embedded == 1
    assert library.contents["library/notes.txt"] == ["about two cats"]


def test_an_interrupted_adoption_is_completed(emulator: GeminiEmulator, library: MirroredFolder) -> None:
    """Documents of a file that could not be embedded completely stay, and are replaced by the next run."""
    long = library.folder / "long.md"
    long.write_text(long.read_text().replace("Part 4", "Part four").replace("Part 0", "Part zero"))
    embeddings: Any = library.retriever.store.embeddings
    embeddings.max_retries, embeddings.max_concurrency, embeddings.batch_bytes = 0, 1, 1
    emulator.script([None, *["malformed"] * 20])
    assert [failed.source for failed in library.mirror().failed] == ["library/long.md"]
    assert library.contents["long.md"]
    emulator.reset()
    library.mirror()
    assert library.embedded == 1
    assert sorted({source.partition("/")[0] for source in library.contents}) == ["library"]
    assert len(documents_of(library.retriever)) == 14
