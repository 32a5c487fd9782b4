"""A hit is traced to its file, and never to one outside of its library."""

from __future__ import annotations

import pickle
import sys
import unicodedata
from typing import TYPE_CHECKING

import pytest
from langchain_core.documents import Document

from langchain_gemini_mm import ContentError, Hit, MissingMediaError
from langchain_gemini_mm.testing import png

if TYPE_CHECKING:
    from tests.sync.conftest import MirroredFolder
    from tests.vectorstores.contract_base import Call


def hit_of(source: object) -> Hit:
    """A hit with this source."""
    return Hit(Document("about a cat", metadata={"source": source}), 0.5, "cosine", 1)


async def test_a_hit_is_traced_to_its_file(call: Call, mirrored: MirroredFolder) -> None:
    """The retriever knows the folder; a hit or Document alone is passed it."""
    castle = mirrored.folder / "photos" / "castle.png"
    (found,) = await call(mirrored.retriever, "invoke", png("a castle"), k=1)
    assert await call(mirrored.retriever, "path", found) == castle
    hit = Hit(found, 1.0, "cosine", 1)
    assert await call(mirrored.retriever, "path", hit) == castle
    assert await call(mirrored.retriever, "path", hit, root=mirrored.folder) == castle
    assert hit.path(mirrored.folder) == hit.path({"work": str(mirrored.folder)}) == castle
    assert pickle.loads(pickle.dumps(hit)).path(mirrored.folder) == castle
    assert str(mirrored.folder) not in repr(hit)


async def test_a_moved_library(call: Call, mirrored: MirroredFolder) -> None:
    """A file that is gone is named, and found in the folder that it was moved to."""
    hit = hit_of("work/notes.txt")
    elsewhere = mirrored.folder.rename(mirrored.folder.with_name("elsewhere"))
    with pytest.raises(MissingMediaError, match=r"the file of 'work/notes\.txt' is not there any more"):
        await call(mirrored.retriever, "path", hit)
    assert await call(mirrored.retriever, "path", hit, root=elsewhere) == elsewhere / "notes.txt"


async def test_what_is_no_file(call: Call, mirrored: MirroredFolder) -> None:
    """Documents of texts and bytes, and of libraries of other machines, have no path."""
    for source, message in (
        (None, "in no library of this machine: the index has no such library"),
        ("other/a.txt", r"Pass root= with its folder"),
        ("work", "names no file of a library"),
    ):
        with pytest.raises(ContentError, match=message):
            await call(mirrored.retriever, "path", hit_of(source))
    with pytest.raises(ContentError, match="in none of these libraries: 'work'"):
        hit_of("other/a.txt").path({"work": mirrored.folder})
    with pytest.raises(TypeError, match="expected a Document or a hit, got str"):
        await call(mirrored.retriever, "path", "work/notes.txt")


@pytest.mark.parametrize(
    "path", ["../secret.txt", "photos/../../secret.txt", "..", ".", "", "/etc/passwd", "photos//castle.png", "a\0b"]
)
def test_sources_do_not_lead_out_of_the_library(mirrored: MirroredFolder, path: str) -> None:
    """A source is data of the index, and is not trusted."""
    (mirrored.folder.parent / "secret.txt").write_text("secret")
    with pytest.raises(ContentError, match="is no path in a library"):
        mirrored.retriever.path(hit_of(f"work/{path}"))


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_do_not_lead_out_of_the_library(mirrored: MirroredFolder) -> None:
    """A link to a file outside is refused, also in a folder; one to a file inside is followed."""
    (mirrored.folder.parent / "secret.txt").write_text("secret")
    (mirrored.folder / "link.txt").symlink_to("../secret.txt")
    (mirrored.folder / "up").symlink_to("..")
    (mirrored.folder / "cat.txt").symlink_to("notes.txt")
    for source in ("work/link.txt", "work/up/secret.txt"):
        with pytest.raises(ContentError, match="leads out of the library"):
            mirrored.retriever.path(hit_of(source))
    assert mirrored.retriever.path(hit_of("work/cat.txt")).read_text() == "about a cat"


def test_attachments_and_spellings(mirrored: MirroredFolder) -> None:
    """An attachment is in the file that has it; names are found in the spelling of the system."""
    assert hit_of("work/paper.pdf/2-notes.txt").path(mirrored.folder) == mirrored.folder / "paper.pdf"
    name = unicodedata.normalize("NFD", "Müller.txt")
    (mirrored.folder / name).write_text("about Müller")
    mirrored.mirror()
    assert "work/Müller.txt" in mirrored.contents
    assert mirrored.retriever.path(hit_of("work/Müller.txt")).samefile(mirrored.folder / name)
