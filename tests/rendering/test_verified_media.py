"""Media are shown only if they are the bytes that their reference names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from langchain_core.documents import Document

from langchain_gemini_mm import Hit, MediaStore, MissingMediaError, to_message
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.rendering import to_blocks
from langchain_gemini_mm.testing import png

if TYPE_CHECKING:
    from pathlib import Path


def replaced(folder: Path, ref: MediaRef, data: bytes) -> None:
    """Write other bytes in the place of a stored file, as another program might."""
    (file,) = [path for path in folder.rglob("*") if path.name == ref.sha256]
    file.chmod(0o644)
    file.write_bytes(data)


def types_of(document: Document, media: MediaStore) -> list[str]:
    """The types of the blocks that a model is shown."""
    return [block["type"] for block in to_blocks([document], media=media)]


def test_a_replaced_file_is_not_shown(tmp_path: Path) -> None:
    """Blocks, messages and HTML leave a replaced file out, also after it was shown; it is shown when it is back."""
    media, photo = MediaStore(tmp_path), png("a puppy")
    ref = media.put(photo)
    document = Document(ref.markdown, metadata={"source": "puppy.png"})
    assert types_of(document, media) == ["text", "image"]
    media.verify(ref)
    replaced(tmp_path, ref, png("a pizza"))
    for store in (media, MediaStore(tmp_path)):
        with pytest.raises(MissingMediaError, match="sha256"):
            store.verify(ref)
        assert types_of(document, store) == ["text", "text"]
        assert "image" not in [block["type"] for block in to_message("?", [document], media=store).content]  # type: ignore[index]
        assert "<img" not in Hit(document, 0.5, "cosine", 1, media=store).to_html()
    replaced(tmp_path, ref, photo)
    assert types_of(document, media) == ["text", "image"]


def test_a_file_is_read_once_while_it_is_unchanged(tmp_path: Path) -> None:
    """What is known of a file is kept while the file is unchanged; a file that is gone is missing."""
    media = MediaStore(tmp_path)
    ref = media.put(png("a puppy"))
    media.verify(ref)
    (file,) = [path for path in tmp_path.rglob("*") if path.name == ref.sha256]
    assert media.get(ref) == png("a puppy")  # reading a file changes its time
    media.info(ref)
    assert media._verified == {ref.sha256: media._stamp(ref.sha256)}
    file.unlink()
    with pytest.raises(MissingMediaError):
        media.verify(ref)


def test_stores_without_files_have_nothing_to_verify() -> None:
    """In memory, media cannot be changed by others."""
    MediaStore.memory().verify(MediaRef("0" * 64))
