"""Citations and clean text, which answers, users and text-only models read."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document

from langchain_gemini_mm import Hit, MediaLoader, MediaStore, citation
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.rendering import clean_text
from langchain_gemini_mm.rendering.clean_text import MAX_CHARACTERS
from langchain_gemini_mm.testing import mp4
from langchain_gemini_mm.testing.samples.clips import tone

if TYPE_CHECKING:
    from pathlib import Path

REF = MediaRef("ab" * 32)

CITED: dict[str, tuple[dict[str, Any], str]] = {
    "seconds": ({"source": "talk.mp4", "start_s": 750.0, "end_s": 780.0}, "[talk.mp4 12:30-13:00]"),
    "parts of a second": ({"source": "talk.mp4", "start_s": 0.4, "end_s": 1.2}, "[talk.mp4 0:00-0:02]"),
    "over an hour": ({"source": "talk.mp4", "start_s": 3590, "end_s": 3620}, "[talk.mp4 0:59:50-1:00:20]"),
    "a moment": ({"source": "talk.mp4", "start_s": 61}, "[talk.mp4 1:01]"),
    "a page": ({"source": "slides.pdf", "first_page": 7, "last_page": 7}, "[slides.pdf p. 7]"),
    "pages": ({"source": "slides.pdf", "first_page": 7, "last_page": 8}, "[slides.pdf pp. 7-8]"),
    "a file only": ({"source": "notes.md", "position": 3}, "[notes.md]"),
    "the first chunk of a text": ({"source": "a.md", "position": 0, "modality": "text"}, "[a.md]"),
    "a later chunk of a text": ({"source": "a.md", "position": 3, "modality": "text"}, "[a.md part 4]"),
    "the audio of a video": (
        {"source": "talk.mp4", "start_s": 30.0, "end_s": 60.0, "track": "audio"},
        "[talk.mp4 0:30-1:00, audio]",
    ),
    "a page of LangChain's loaders": ({"source": "a.pdf", "page": 6}, "[a.pdf p. 7]"),
    "a label of a page": ({"source": "a.pdf", "page": 6, "page_label": "v[i]"}, "[a.pdf p. v(i)]"),
    "a file path": ({"file_path": "/home/ada/private/a.pdf", "page": 0}, "[a.pdf p. 1]"),
    "a folder": ({"source": "week 2/talk.mp4"}, "[week 2/talk.mp4]"),
    "an absolute path": ({"source": "/home/ada/private/talk.mp4"}, "[talk.mp4]"),
    "a Windows path": ({"source": "C:\\Users\\ada\\talk.mp4"}, "[talk.mp4]"),
    "an address": ({"source": "https://example.org/a.md"}, "[https://example.org/a.md]"),
    "a title": ({"title": "All hands"}, "[All hands]"),
    "an id": ({}, "[the-id]"),
    "empty text": ({"source": " ", "title": ""}, "[the-id]"),
    "brackets and lines": ({"source": "a]\n[b].md"}, "[a) (b).md]"),
    "control characters": ({"source": "a\x1b[31m\u202egnp.exe\u2069.md"}, "[a (31m gnp.exe .md]"),
    "a title that is a reference": ({"title": f"our dog {REF.markdown}"}, "[our dog]"),
    "a reference alone": ({"title": REF.markdown}, "[untitled]"),
    "nonsense": ({"source": "a.mp4", "start_s": "soon", "first_page": True}, "[a.mp4]"),
    "not a number": ({"source": "a.mp4", "start_s": float("nan")}, "[a.mp4]"),
}


@pytest.mark.parametrize(("metadata", "expected"), CITED.values(), ids=CITED)
def test_citations(metadata: dict[str, Any], expected: str) -> None:
    """A citation names the source and the times or pages."""
    document = Document("x", id="the-id", metadata=metadata)
    assert citation(document) == citation(Hit(document, 0.5, "cosine", 1)) == expected


def test_chunks_and_tracks_are_told_apart(media: MediaStore, tmp_path: Path) -> None:
    """No two documents of a long text, or of a video with sound, have the same citation."""
    words = "\n\n".join(f"chapter {number}. " + f"word{number} " * 250 for number in range(6))
    (tmp_path / "manual.txt").write_text(words, encoding="utf-8")
    (tmp_path / "talk.mp4").write_bytes(mp4(60, "a talk", fps=2, samples=tone(60)))
    cited = [citation(document) for document in MediaLoader(tmp_path, media).lazy_load()]
    assert len(cited) > 8
    assert len(set(cited)) == len(cited)


def test_white_space_takes_linear_time() -> None:
    """Long runs of white space, in untrusted text, are cleaned at once."""
    began = time.process_time()
    for text in ("a" + " " * 400_000 + "b", " \n" * 200_000 + REF.markdown, f"{REF.markdown} " * 2_000):
        clean_text(Document(text, metadata={"companion_text": " " * 400_000, "source": " " * 400_000}))
    assert time.process_time() - began < 3


def test_without_metadata_a_citation_uses_the_reference() -> None:
    """Documents without metadata are cited with the fragment of their reference."""
    assert citation(Document(REF.segment(30, 60).markdown, metadata={"source": "a.mp4"})) == "[a.mp4 0:30-1:00]"
    assert citation(Document(REF.pages(2, 3).markdown, metadata={"source": "a.pdf"})) == "[a.pdf pp. 2-3]"
    assert citation(Document("nothing")) == "[untitled]"


def test_a_long_name_is_shortened() -> None:
    """A citation is short; the end of a long file name is kept."""
    cited = citation(Document("x", metadata={"source": f"{'a' * 500}.mp4"}))
    assert len(cited) < 170
    assert cited.endswith("a.mp4]")


CLEAN: dict[str, tuple[str, dict[str, Any], str]] = {
    "text": ("just text", {}, "just text"),
    "within a sentence": (f"Q3 {REF.markdown} as shown", {}, "Q3 as shown"),
    "between paragraphs": (f"one\n\n{REF.markdown}\n\ntwo", {}, "one\n\ntwo"),
    "a medium alone": (REF.markdown, {}, ""),
    "escaped": (f"write \\{REF.markdown} so", {}, f"write {REF.markdown} so"),
    "truncated": (f"one {REF.markdown[:40]} two", {}, "one  two"),
    "truncated next to a complete one": (f"{REF.markdown} one {REF.markdown[:40]}", {}, "one"),
    "companion": (REF.markdown, {"companion_text": "a puppy"}, "a puppy"),
    "text and companion": (f"our dog {REF.markdown}", {"companion_text": "a puppy"}, "our dog\n\na puppy"),
    "fused": (f"{REF.markdown}\n\na puppy", {"companion_text": "a puppy"}, "a puppy"),
    "fused and truncated": (f"{REF.markdown}\n\na pup", {"companion_text": "a puppy"}, "a puppy"),
    "an escaped companion": (REF.markdown, {"companion_text": f"see \\{REF.markdown}"}, f"see {REF.markdown}"),
    "no media": ("a text", {"companion_text": "of something else"}, "a text"),
    "media of a text-only model": ("Goals", {"companion_text": "Goals and aims", "modality": "pdf"}, "Goals and aims"),
    "a companion that is no text": (REF.markdown, {"companion_text": 3}, ""),
}


@pytest.mark.parametrize(("text", "metadata", "expected"), CLEAN.values(), ids=CLEAN)
def test_clean_text(text: str, metadata: dict[str, Any], expected: str) -> None:
    """References are removed, escapes are undone, and companion text is added once."""
    assert clean_text(Document(text, metadata=metadata)) == expected


def test_companion_text_can_be_left_out_and_is_bounded() -> None:
    """Companion text is optional, and its length is bounded."""
    document = Document(f"our dog {REF.markdown}", metadata={"companion_text": "word " * 50_000})
    assert clean_text(document, companion=False) == "our dog"
    assert len(clean_text(document)) < MAX_CHARACTERS + 20


@given(
    st.lists(st.sampled_from([REF.markdown, REF.markdown[:30], REF.markdown[7:], "\\", "\n", " ", "a", "mm:", "![]("]))
)
def test_any_text_can_be_cleaned(pieces: list[str]) -> None:
    """Cleaned text contains no reference that could be resolved."""
    assert isinstance(clean_text(Document("".join(pieces))), str)


@pytest.mark.parametrize("wrong", ["a text", None, 3, {"text": "x"}, {"page_content": 3}], ids=repr)
def test_only_documents_and_hits_are_rendered(wrong: Any) -> None:
    """Other types raise a TypeError that names the type."""
    for function in (citation, clean_text):
        with pytest.raises(TypeError, match=type(wrong).__name__):
            function(wrong)
