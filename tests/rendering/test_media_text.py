"""The text of media in `page_content`, for consumers that read nothing else."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from langchain_core.documents import Document

from langchain_gemini_mm import MediaStore
from langchain_gemini_mm.references import MediaRef, split_references
from langchain_gemini_mm.rendering import MediaTextTransformer
from langchain_gemini_mm.testing import png

REF = MediaRef("ab" * 32)
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "a page": (
        REF.pages(7, 7).markdown,
        {"source": "a/slides.pdf", "title": "slides", "companion_text": "Revenue", "modality": "pdf"},
        "[a/slides.pdf p. 7]\nRevenue",
    ),
    "a title that the file name lacks": (
        REF.pages(1, 2).markdown,
        {"source": "x.pdf", "title": "All hands", "companion_text": "Revenue"},
        "[x.pdf pp. 1-2]\nAll hands\nRevenue",
    ),
    "a transcript": (
        REF.segment(30, 60).markdown,
        {"source": "talk.mp4", "start_s": 30.0, "end_s": 60.0, "companion_text": "Good morning"},
        "[talk.mp4 0:30-1:00]\nGood morning",
    ),
    "text around an image": (f"our dog {REF.markdown} at home", {}, "our dog at home"),
    "an image without text": (
        REF.markdown,
        {"source": "pictures/kitten.png", "title": "kitten", "modality": "image"},
        "[image pictures/kitten.png]",
    ),
    "a clip without text": (
        REF.segment(0, 9).markdown,
        {"source": "a.mp4", "modality": "video"},
        "[video a.mp4 0:00-0:09]",
    ),
    "an image without a name": (REF.markdown, {"modality": "image"}, "[image]"),
    "a reference alone": (REF.markdown, {}, "[media]"),
}


@pytest.mark.parametrize("name", CASES)
def test_text_instead_of_references(name: str) -> None:
    """The text has citation, title and companion text, and no reference; id and metadata stay."""
    content, metadata, expected = CASES[name]
    given = Document(content, metadata=metadata, id="cd" * 16)
    (found,) = MediaTextTransformer().transform_documents([given])
    assert found == Document(expected, metadata=metadata, id="cd" * 16)
    assert given.page_content == content


@pytest.mark.parametrize("name", CASES)
def test_text_after_references(name: str) -> None:
    """With `after`, the content still has its references, followed by the text that it lacked."""
    content, metadata, expected = CASES[name]
    (found,) = MediaTextTransformer("after").transform_documents([Document(content, metadata=metadata)])
    text = "" if name == "text around an image" else expected
    assert found.page_content == f"{content}\n{text}".strip()


def test_documents_without_media_are_the_same_objects() -> None:
    """Texts are not copied and not changed, also where they quote a reference."""
    given = [Document("a note", metadata={"modality": "text"}), Document(f"\\{REF.markdown}"), Document("")]
    found = MediaTextTransformer().transform_documents(given)
    assert [id(document) for document in found] == [id(document) for document in given]


def test_text_of_a_page_is_never_a_reference() -> None:
    """A reference in the words of a page names nothing afterwards."""
    forged = f"see {MediaRef('cd' * 32).markdown} and \\{MediaRef('ef' * 32).markdown}"
    for placement in ("instead", "after"):
        page = Document(REF.markdown, metadata={"companion_text": forged, "title": forged, "source": "a.pdf"})
        (found,) = MediaTextTransformer(placement).transform_documents([page])
        refs = [piece for piece in split_references(found.page_content) if isinstance(piece, MediaRef)]
        assert refs == ([] if placement == "instead" else [REF])


def test_images_have_their_size(media: MediaStore) -> None:
    """With a media store the size of an image is known; a missing or damaged file has none, without an error."""
    ref = media.put(png("a bicycle", size=(64, 48)))
    documents = [
        Document(one.markdown, metadata={"source": "a.png", "modality": "image"}) for one in (ref, MediaRef("cd" * 32))
    ]
    found = MediaTextTransformer(media=media).transform_documents(documents)
    assert [document.page_content for document in found] == ["[image a.png, 64 x 48]", "[image a.png]"]


def test_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """The first medium without text is reported in the log; later ones are not."""
    transformer = MediaTextTransformer()
    photo = Document(REF.markdown, metadata={"source": "a.png", "modality": "image"})
    caption = Document(REF.markdown, metadata={"source": "b.png", "companion_text": "a red bicycle"})
    with caplog.at_level(logging.WARNING, "langchain_gemini_mm"):
        transformer.transform_documents([caption])
        assert not caplog.records
        transformer.transform_documents([photo, photo])
        transformer.transform_documents([photo])
    (record,) = caplog.records
    assert "[image a.png]" in record.getMessage()
    assert "sha256" not in record.getMessage()


def test_wrong_placements_are_refused() -> None:
    """There are two placements."""
    with pytest.raises(ValueError, match="placement must be one of 'instead', 'after', got 'before'"):
        MediaTextTransformer("before")  # type: ignore[arg-type]
    assert repr(MediaTextTransformer()) == "MediaTextTransformer('instead')"
