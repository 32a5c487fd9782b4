"""Conversion of content into parts: every supported type, and refused values."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.documents.base import Blob
from langchain_core.messages import AIMessage, HumanMessage

from langchain_gemini_mm import ContentError, MediaLimitError, MediaStore, MissingMediaError
from langchain_gemini_mm.content.parts import to_parts
from langchain_gemini_mm.interfaces import Content
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.testing import pdf, png, wav

PNG = png("a brown puppy")
WAV = wav(0.2)
PDF = pdf(["one page"])
B64 = base64.b64encode(PNG).decode()
URL_SAFE = base64.urlsafe_b64encode(PNG).decode()


def _pillow() -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(PNG))


def _genai(**fields: Any) -> Any:
    from google.genai import types

    return types.Part(**fields)


def _genai_blob() -> Any:
    from google.genai import types

    return types.Blob(data=PNG, mime_type="image/png")


ONE_PART: dict[str, tuple[Callable[[], Any], tuple[str, str | None]]] = {
    "str": (lambda: "a text", ("text", "a text")),
    "bytes": (lambda: PNG, ("image", None)),
    "bytearray": (lambda: bytearray(WAV), ("audio", None)),
    "memoryview": (lambda: memoryview(PDF), ("pdf", None)),
    "document": (lambda: Document(page_content="a text", metadata={"x": 1}), ("text", "a text")),
    "blob of bytes, wrongly declared": (lambda: Blob.from_data(PNG, mime_type="image/jpeg"), ("image", None)),
    "blob of text": (lambda: Blob.from_data("a text"), ("text", "a text")),
    "blob of text bytes": (lambda: Blob.from_data(b"a text", mime_type="text/plain"), ("text", "a text")),
    "AI message": (lambda: AIMessage("a text"), ("text", "a text")),
    "human message": (lambda: HumanMessage("a text"), ("text", "a text")),
    "human message of blocks": (lambda: HumanMessage([{"type": "text", "text": "a text"}]), ("text", "a text")),
    "text block": (lambda: {"type": "text", "text": "a text"}, ("text", "a text")),
    "text-plain block": (
        lambda: {"type": "text-plain", "text": "a text", "mime_type": "text/plain"},
        ("text", "a text"),
    ),
    "image block": (lambda: {"type": "image", "base64": B64, "mime_type": "image/png"}, ("image", None)),
    "image block, URL-safe alphabet": (lambda: {"type": "image", "base64": URL_SAFE}, ("image", None)),
    "file block": (lambda: {"type": "file", "base64": base64.b64encode(PDF).decode()}, ("pdf", None)),
    "older base64 block": (lambda: {"type": "image", "source_type": "base64", "data": B64}, ("image", None)),
    "older text block": (lambda: {"type": "file", "source_type": "text", "text": "a text"}, ("text", "a text")),
    "data URI": (lambda: {"type": "image", "url": f"data:image/png;base64,{B64}"}, ("image", None)),
    "image_url block": (
        lambda: {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{B64}"}},
        ("image", None),
    ),
    "image_url string": (lambda: {"type": "image_url", "image_url": f"data:image/png;base64,{B64}"}, ("image", None)),
    "input_audio block": (
        lambda: {"type": "input_audio", "input_audio": {"data": base64.b64encode(WAV).decode(), "format": "wav"}},
        ("audio", None),
    ),
    "media block": (lambda: {"type": "media", "mime_type": "image/png", "data": B64}, ("image", None)),
    "OpenAI file block": (
        lambda: {"type": "file", "file": {"file_data": f"data:image/png;base64,{B64}"}},
        ("image", None),
    ),
    "Pillow image": (_pillow, ("image", None)),
    "genai text part": (lambda: _genai(text="a text"), ("text", "a text")),
    "genai inline part": (lambda: _genai(inline_data=_genai_blob()), ("image", None)),
    "list of one": (lambda: ["a text"], ("text", "a text")),
    "tuple of texts": (lambda: ("a", "text"), ("text", "a\ntext")),
}


@pytest.mark.parametrize("name", ONE_PART)
def test_one_part(name: str) -> None:
    """Every supported type becomes one part, with the MIME type of its bytes."""
    make, (modality, text) = ONE_PART[name]

    (part,) = to_parts(make())

    assert (part.modality, part.text) == (modality, text)
    assert part.text is not None or part.read(None)


def test_a_path_is_opened_and_typed_by_its_bytes(tmp_path: Path) -> None:
    """A PNG with a wrong file extension is a PNG; its bytes are read only when they are needed."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(PNG)

    (part,) = to_parts(path)

    assert (part.mime_type, part.size, part.data) == ("image/png", len(PNG), None)
    assert part.read(None) == PNG


def test_a_text_file_is_literal_text(tmp_path: Path) -> None:
    """A text file is embedded as text; a reference in it is never resolved."""
    path = tmp_path / "notes.md"
    path.write_text("\ufeffsee ![](mm://sha256-" + "0" * 64 + ")", encoding="utf-8")

    (part,) = to_parts(path)

    assert part.text == "see ![](mm://sha256-" + "0" * 64 + ")"


def test_written_order_is_kept(media: MediaStore) -> None:
    """Texts and media keep their order; texts next to a reference lose only the white space around it."""
    ref = media.put(PNG)

    parts = to_parts(f"before {ref.markdown} between {ref.markdown}  {ref.markdown}\nafter", media)

    assert [part.text or part.modality for part in parts] == ["before", "image", "between", "image", "image", "after"]


def test_equal_content_has_one_form(media: MediaStore, tmp_path: Path) -> None:
    """Bytes, a file, a reference and a content block of the same image have the same digest."""
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    ref = media.put(PNG)
    forms: list[Content] = [
        PNG,
        path,
        ref,
        ref.markdown,
        {"type": "image", "base64": B64},
        {"type": "image", "url": ref.uri},
    ]

    assert {to_parts(form, media)[0].digest(media) for form in forms} == {ref.sha256}


def test_service_side_files_pass_through() -> None:
    """A genai part that names a file stored by Gemini is passed on unchanged; no bytes are fetched."""
    (part,) = to_parts(_genai(file_data={"file_uri": "gs://bucket/talk.mp4", "mime_type": "video/mp4"}))

    assert (part.modality, part.uri, part.size) == ("video", "gs://bucket/talk.mp4", 0)


def test_an_unknown_reference_is_an_error_or_text(media: MediaStore) -> None:
    """The caller decides whether an unknown reference is an error or text."""
    text = f"scraped {MediaRef('ab' * 32).markdown} page"

    with pytest.raises(MissingMediaError, match="sha256-abab"):
        to_parts(text, media)
    with pytest.raises(MissingMediaError, match="media=MediaStore"):
        to_parts(text)

    assert to_parts(text, media, unresolved="text")[0].text == "scraped\n![](mm://sha256-" + "ab" * 32 + ")\npage"
    assert to_parts("the end ![](mm://sha256-12ab", media, unresolved="text")[0].text == "the end\n![](mm://sha256-12ab"


def test_a_repr_never_shows_bytes() -> None:
    """Reprs contain no payload."""
    (part,) = to_parts(b"\x89PNG\r\n\x1a\n" + b"SECRET" * 10)

    assert "SECRET" not in repr(part)


STRINGS_THAT_ARE_ONLY_TEXT = [
    "/etc/passwd",
    "C:\\Windows\\win.ini",
    "file:///etc/passwd",
    "https://example.org/a.png",
    "gs://bucket/x.mp4",
    "![](https://example.org/a.png)",
    "![](../../etc/passwd)",
    "data:image/png;base64,AAAA",
    "s3://bucket/key",
    "<img src='mm://x'>",
    "mm://",
    "sha256-" + "0" * 64,
    "![alt](x.png)",
]


@pytest.mark.parametrize("text", STRINGS_THAT_ARE_ONLY_TEXT)
def test_a_string_is_never_a_path_or_url(text: str) -> None:
    """A plain string is text, even if it looks like a path or URL."""
    (part,) = to_parts(text)

    assert part.text == text


REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "None": (None, ContentError, "NoneType"),
    "int": (3, ContentError, "cannot embed int"),
    "float": (3.5, ContentError, "float"),
    "set": ({"a"}, ContentError, "set"),
    "generator": ((word for word in "ab"), ContentError, "generator"),
    "empty text": ("", ContentError, "nothing to embed"),
    "white space": (" \n\t", ContentError, "nothing to embed"),
    "empty list": ([], ContentError, "nothing to embed in list"),
    "nested twice": ([["a", ["b"]]], ContentError, "one level deep"),
    "empty bytes": (b"", ContentError, "0 bytes"),
    "text as bytes": (b"hello", ContentError, "Decode text to str"),
    "lone surrogate": ("a\ud800", ContentError, "surrogate at position 1"),
    "missing file": (Path("nowhere.png"), MissingMediaError, "nowhere.png"),
    "folder": (Path(), ContentError, "is not a file; load a folder with MediaLoader"),
    "NUL in a path": (Path("a\x00b"), MissingMediaError, "cannot read"),
    "a zip": (b"PK\x03\x04" + b"\x00" * 40, ContentError, "application/zip"),
    "torn reference": ("see ![](mm://sha256-12ab", ContentError, "truncated"),
    "torn tail": ("![](mm:", ContentError, "truncated"),
    "torn end": ("ab" * 20 + ") as shown", ContentError, "truncated"),
    "upper-case reference": (f"![](mm://sha256-{'AB' * 32})", ContentError, "64 lower-case hex digits"),
    "reference with a path": ("![](mm://sha256-../../etc/passwd)", ContentError, "64 lower-case hex digits"),
    "bad fragment": (f"![](mm://sha256-{'ab' * 32}#t=9,3)", ContentError, "start < end"),
    "unknown fragment": (f"![](mm://sha256-{'ab' * 32}#x=1)", ContentError, "not a valid fragment"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    """Content that cannot be embedded is refused by a typed error that names it."""
    content, error, message = REFUSED[name]

    with pytest.raises(error, match=message.replace("(", r"\(")):
        to_parts(content)


def test_a_reference_that_is_cut_in_two_is_refused() -> None:
    """Wherever it is cut, one of the halves is refused instead of being read as text."""
    text = f"![](mm://sha256-{'ab' * 32})"
    unnoticed = []
    for position in range(1, len(text)):
        with suppress(ContentError):
            to_parts(text[:position])
            to_parts(text[position:])
            unnoticed.append(position)

    assert unnoticed == []


def test_a_large_text_file_needs_the_loader(tmp_path: Path) -> None:
    """A text file far over the model's window is refused, and the error says how to split it."""
    path = tmp_path / "book.txt"
    path.write_text("word " * 300_000)

    with pytest.raises(MediaLimitError, match=r"1,500,000 bytes.*1,000,000.*MediaLoader"):
        to_parts(path)


def test_binary_junk_under_a_text_name_is_refused(tmp_path: Path) -> None:
    """A file that is neither text nor media is refused."""
    path = tmp_path / "notes.txt"
    path.write_bytes(bytes(range(256)))

    with pytest.raises(ContentError, match=r"'notes.txt' is neither UTF-8 text nor"):
        to_parts(path)


NO_PROSE = {
    "drawing.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>",
    "export.xml": '<?xml version="1.0"?>\n<!-- by -- a program --><!DOCTYPE svg>\n<svg><text>hello</text></svg>',
    "analysis.ipynb": '{"cells": []}',
    "letter.rtf": "{\\rtf1 hello}",
}


@pytest.mark.parametrize("name", NO_PROSE)
def test_files_that_hold_no_prose_are_refused_as_by_the_loader(name: str, tmp_path: Path) -> None:
    """An SVG, a notebook and the like are not embedded as the text of their source; the error says what to do."""
    path = tmp_path / name
    path.write_text(NO_PROSE[name])

    with pytest.raises(ContentError, match=rf"cannot embed '{name}'.*(export it|save it)"):
        to_parts(path)
    if "<svg" in NO_PROSE[name]:
        with pytest.raises(ContentError, match="export it as PNG"):
            to_parts(NO_PROSE[name].encode())


@given(st.text())
def test_any_text_survives_or_is_refused_by_type(text: str) -> None:
    """Text without a reference is kept unchanged."""
    try:
        (part,) = to_parts(text)
    except ContentError:
        assert not text.strip() or "mm:" in text
    else:
        assert part.text == text


@given(st.binary(max_size=200))
def test_any_bytes_survive_or_are_refused_by_type(data: bytes) -> None:
    """Bytes are kept unchanged, or refused."""
    try:
        (part,) = to_parts(data)
    except ContentError:
        return
    assert part.read(None) == data
