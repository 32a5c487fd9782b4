"""Text files: encodings, chunks, and escaped references in third-party text."""

from __future__ import annotations

import io
import tracemalloc
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.loaders import MediaLoader
from langchain_gemini_mm.loaders.plain_text import _LANGUAGES, chunks_of_text
from langchain_gemini_mm.references import MediaRef, split_references

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_gemini_mm.storage import MediaStore

REFERENCE = f"![](mm://sha256-{'ab' * 32})"


def split(data: bytes, suffix: str = ".txt", size: int = 2000, overlap: int = 200) -> list[str]:
    """All chunks of a text."""
    return list(chunks_of_text(io.BytesIO(data), suffix, chunk_size=size, chunk_overlap=overlap))


TEXT = "Straße, naïve, “quotes” and 5 €"
POLISH = "Zażółć gęślą jaźń. Książka leży na stole, a dziewczyna śpi."
TURKISH = "Türkçe yazıldı, İstanbul'da güneş çıktı"
FRENCH = "Été à la plage: où êtes-vous allés? L'élève a déjà mangé à côté de l'hôtel."
CHINESE = "天地玄黄。宇宙洪荒。狗在沙发上睡觉。"
ENCODINGS = {
    "UTF-8": (TEXT.encode(), TEXT),
    "UTF-8 with a BOM": (TEXT.encode("utf-8-sig"), TEXT),
    "UTF-16": (TEXT.encode("utf-16"), TEXT),
    "UTF-16 big-endian": (b"\xfe\xff" + TEXT.encode("utf-16-be"), TEXT),
    "UTF-32": (TEXT.encode("utf-32"), TEXT),
    "Windows-1252": (TEXT.encode("cp1252"), TEXT),
    "Chinese": ("你好世界".encode(), "你好世界"),
    "Cyrillic": ("Привет, мир! Как дела?".encode("cp1251"), "Привет, мир! Как дела?"),
    "Shift-JIS": ("こんにちは、世界。".encode("shift-jis"), "こんにちは、世界。"),
    "Central European": (POLISH.encode("cp1250"), POLISH),
    "French": (FRENCH.encode("latin-1"), FRENCH),
    "simplified Chinese": (CHINESE.encode("gbk"), CHINESE),
    "UTF-8 with a wrong byte": (CHINESE.encode() + b"\xe9 x", f"{CHINESE}\ufffd x"),
    "an accent at the end": (
        "déjà vu à côté, où ça, là-bas, voilà".encode("latin-1"),
        "déjà vu à côté, où ça, là-bas, voilà",
    ),
    "a short word": ("Käse".encode("latin-1"), "Käse"),
    "declared by XML": (
        b"<?xml version='1.0' encoding='koi8-r'?>\xc4\xc1",
        "<?xml version='1.0' encoding='koi8-r'?>да",
    ),
    "a declaration read as in browsers": (b"<?xml encoding='iso-8859-1'?>\x80", "<?xml encoding='iso-8859-1'?>€"),
    "Windows line endings": (b"one\r\ntwo\r\n", "one\ntwo"),
    "old Mac line endings": (b"one\rtwo", "one\ntwo"),
    "a log with colours": (b"\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
    "UTF-16 without a mark": ("A plain note about the sea.\n".encode("utf-16-le"), "A plain note about the sea."),
    "Japanese by escape sequences": ("海辺の散歩".encode("iso2022_jp"), "海辺の散歩"),
    "one bad byte in UTF-8": ("né à Zürich, là-bas".encode() + b"\xff!", "né à Zürich, là-bas\ufffd!"),
    "Turkish": (TURKISH.encode("cp1254"), TURKISH),
    "Baltic": ("Viens cilvēks gāja gar jūru kopā ar suni".encode("cp1257"), "Viens cilvēks gāja gar jūru kopā ar suni"),
    "Hungarian in Latin-2": ("Az őszi erdőben hűvös szél fúj".encode("iso8859_2"), "Az őszi erdőben hűvös szél fúj"),
    "Latin-9": ("prix 20 € le cœur".encode("iso-8859-15"), "prix 20 € le cœur"),
    "Mac Roman": ("Un café à la plage".encode("mac_roman"), "Un café à la plage"),
    "Cyrillic and English": (
        "Report of the year: продажи выросли, and so on".encode("cp1251"),
        "Report of the year: продажи выросли, and so on",
    ),
    "gb2312 as GBK": (b"<meta charset=gb2312>" + "镕基".encode("gbk"), "<meta charset=gb2312>镕基"),
    "shift_jis as Windows-31J": (b"<meta charset=shift_jis>" + "①髙".encode("cp932"), "<meta charset=shift_jis>①髙"),
    "ks_c_5601-1987": (
        b"<?xml encoding='ks_c_5601-1987'?>" + "똠방".encode("cp949"),
        "<?xml encoding='ks_c_5601-1987'?>똠방",
    ),
    "tis-620": (b"<?xml encoding='tis-620'?>" + "ไทย".encode("cp874"), "<?xml encoding='tis-620'?>ไทย"),
    "x-sjis": (b"<?xml encoding='x-sjis'?>" + "海".encode("cp932"), "<?xml encoding='x-sjis'?>海"),
    "ibm866": (b"<?xml encoding='ibm866'?>" + "да".encode("cp866"), "<?xml encoding='ibm866'?>да"),
    "declared as UTF-16 in bytes": ("<meta charset=utf-16>né".encode(), "<meta charset=utf-16>né"),
    "two prices in pounds": ("not £825, as for a £2 bet".encode("cp1252"), "not £825, as for a £2 bet"),
    "one ellipsis": ("dat zij al… Ach".encode("cp1252"), "dat zij al… Ach"),
    "one apostrophe of a Mac": (b"Daniel\xd5s Trackpad", "Daniel\u2019s Trackpad"),
    "truncated UTF-8": ("你好世界".encode()[:-1], "你好世\ufffd"),
}


@pytest.mark.parametrize(("data", "text"), ENCODINGS.values(), ids=ENCODINGS)
def test_encodings(data: bytes, text: str) -> None:
    """Byte order marks and declarations are used, then UTF-8, then detection; line endings are normalized."""
    assert split(data) == [text]


BINARY = {
    "NUL": b"text\x00text",
    "a program": b"\x7fELF\x02\x01\x01" + bytes(100),
    "control characters": bytes(range(1, 32)) * 10,
    "noise": bytes(range(1, 256)) * 20,
    "odd UTF-16": b"\xff\xfe\x41\x00\x42",
    "a lone surrogate": b"\xff\xfe\x00\xd8\x41\x00",
    "UTF-16 with NULs": "a\x00b".encode("utf-16"),
    "NUL after a long text": b"text " * 200_000 + b"\x00",
}


@pytest.mark.parametrize("data", BINARY.values(), ids=BINARY)
def test_binary_data_is_refused(data: bytes) -> None:
    """Binary data and encodings that cannot be detected are errors."""
    with pytest.raises(ContentError, match=r"neither text nor|encoding cannot be detected|damaged utf-16"):
        split(data)


def test_chunks_keep_their_size() -> None:
    """No chunk is longer than requested, adjacent chunks overlap, and no text is lost."""
    text = " ".join(f"word{number}" for number in range(3000))
    chunks = split(text.encode(), size=500, overlap=100)
    assert max(map(len, chunks)) <= 500
    assert {word for chunk in chunks for word in chunk.split()} == set(text.split())
    assert all(set(one.split()) & set(two.split()) for one, two in pairwise(chunks))


def test_markdown_is_split_at_headings() -> None:
    """A chunk starts at a heading."""
    text = "".join(f"# Part {number}\n\n{'Some text. ' * 12}\n\n" for number in range(5))
    chunks = split(text.encode(), ".md", size=160, overlap=0)
    assert [chunk for chunk in chunks if chunk.startswith("# Part")] == chunks


def test_code_is_split_at_definitions() -> None:
    """A chunk starts at a function."""
    code = "".join(f"\ndef function_{number}():\n    return {'1 + ' * 20}1\n" for number in range(5))
    assert all(chunk.startswith("def ") for chunk in split(code.encode(), ".py", size=130, overlap=0))


@pytest.mark.parametrize("suffix", [*_LANGUAGES, ".pl", ".pm", ".unknown", ""])
def test_every_suffix_has_separators(suffix: str) -> None:
    """The splitter supports each language in the table."""
    assert split(b"x " * 3000, suffix)


@pytest.mark.parametrize("sign", ["漢", "x"])
def test_text_without_spaces_keeps_its_order(sign: str) -> None:
    """Chunks of a text without spaces have the full size, overlap, and lose nothing."""
    text = "".join(f"{sign}{number:05}" for number in range(2000))
    chunks = split(text.encode(), size=500, overlap=100)
    assert [len(chunk) for chunk in chunks[:-1]] == [500] * (len(chunks) - 1)
    assert chunks[0] + "".join(chunk[100:] for chunk in chunks[1:]) == text


def test_a_guess_is_reported(tmp_path: Path, media: MediaStore) -> None:
    """A text whose encoding is a guess is loaded, and `skipped` says which was assumed; others give no note."""
    (tmp_path / "short.txt").write_bytes("да".encode("cp1251"))
    (tmp_path / "sure.txt").write_bytes(POLISH.encode("cp1250"))
    (tmp_path / "utf8.txt").write_text(TEXT, encoding="utf-8")
    loader = MediaLoader(tmp_path, media)
    assert len(loader.load()) == 3
    reasons = {skipped.source: skipped.reason for skipped in loader.skipped}
    assert "short.txt" in reasons
    assert "is read as" in reasons["short.txt"]
    assert {"sure.txt", "utf8.txt"}.isdisjoint(reasons)


def test_references_in_text_files_are_escaped() -> None:
    """A reference in a loaded text file is literal text: no chunk contains a resolvable reference."""
    text = f"see {REFERENCE} and \\{REFERENCE} and mm://sha256-{'cd' * 32} {'word ' * 50}{REFERENCE}"
    pieces = [split_references(chunk) for chunk in split(text.encode(), size=200, overlap=50)]
    assert not any(isinstance(piece, MediaRef) for chunk in pieces for piece in chunk)
    assert "".join(str(piece) for piece in split_references(split(text.encode())[0])) == text


@settings(max_examples=60)
@given(
    st.integers(5, 130), st.integers(0, 4), st.lists(st.sampled_from(["\\", " ", "\n\n", "x", REFERENCE]), max_size=12)
)
def test_splitting_keeps_references_escaped(size: int, overlap: int, pieces: list[str]) -> None:
    """At any chunk size, an escaped reference keeps its backslash."""
    for chunk in split(("".join(pieces) or "x").encode(), size=size, overlap=overlap):
        assert not any(isinstance(piece, MediaRef) for piece in split_references(chunk))


def test_long_texts_use_little_memory(tmp_path: Path, media: MediaStore) -> None:
    """A text of 5 MB is split in blocks, with less memory than its bytes and text together, also without spaces."""
    path = tmp_path / "long.txt"
    path.write_bytes(b"A line of text that is not very long.\n" * 125_000 + b"x" * 260_000)
    loader = MediaLoader(path, media, chunk_size=5000)
    next(loader.lazy_load())  # exclude the memory of imports made for the first file
    tracemalloc.start()
    try:
        characters = sum(len(document.page_content) for document in loader.lazy_load())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert characters > 4_700_000
    assert peak < 8_000_000


def test_chunk_positions(tmp_path: Path, media: MediaStore) -> None:
    """Chunks of a file are numbered from 0 and have separate ids."""
    (tmp_path / "a.txt").write_text("word " * 2000)
    documents = MediaLoader(tmp_path, media, chunk_size=1000, chunk_overlap=0).load()
    assert [document.metadata["position"] for document in documents] == list(range(len(documents)))
    assert len({document.id for document in documents}) == len(documents) >= 10
