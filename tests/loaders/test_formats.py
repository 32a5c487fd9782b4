"""Files as people have them: scans of several pages, odd images, PDFs with attachments and forms, Office files."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.references import MediaRef, split_references
from langchain_gemini_mm.testing import jpeg, mp3, pdf, png
from tests.media.generate import pdf_objects, pdf_stream, portfolio, restricted_pdf, saved
from tests.path_loader import PathLoader

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.documents import Document

    from langchain_gemini_mm import GeminiEmbeddings, MediaStore
    from langchain_gemini_mm.testing import GeminiEmulator


def load(
    folder: Path, media: MediaStore, files: dict[str, bytes], **options: Any
) -> tuple[list[Document], dict[str, str]]:
    """The Documents of files, and the reasons for those that were left out."""
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    loader = PathLoader(folder, media, **options)
    return loader.load(), {skipped.source: skipped.reason for skipped in loader.skipped}


def sent(emulator: GeminiEmulator) -> bytes:
    """The bytes of the last part that was embedded."""
    data = emulator.embed_requests[-1].items[0].parts[0].data
    assert data is not None
    return data


def scan(*colours: str, thumbnail: bool = False) -> bytes:
    """A TIFF with a page of each colour, and a smaller copy of the first where asked for."""
    pages = [Image.new("RGB", (64, 48 + number), colour) for number, colour in enumerate(colours)]
    if thumbnail:
        pages.insert(1, Image.new("RGB", (16, 12), colours[0]))
        pages[1].encoderinfo = {"tiffinfo": {0xFE: 1}}
    return saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])


@pytest.mark.parametrize("thumbnail", [False, True])
def test_every_page_of_a_scan_is_embedded(
    tmp_path: Path, media: MediaStore, embeddings: GeminiEmbeddings, emulator: GeminiEmulator, thumbnail: bool
) -> None:
    """A TIFF of three pages gives a Document for each, which is embedded as that page; thumbnails are no pages."""
    data = scan("red", "green", "blue", thumbnail=thumbnail)
    documents, skipped = load(tmp_path, media, {"scan.tif": data})
    assert not skipped
    assert [document.metadata["first_page"] for document in documents] == [1, 2, 3]
    shown = []
    for document in documents:
        embeddings.embed_documents([document.page_content])
        image = Image.open(io.BytesIO(sent(emulator))).convert("RGB")
        shown.append((image.size, int(np.asarray(image)[20, 20].argmax())))
    assert shown == [((64, 48), 0), ((64, 49), 1), ((64, 50), 2)]
    with pytest.raises(ContentError, match="has 3 pages; there is no page 4"):
        embeddings.embed_query(media.put(data).pages(4, 4))


def junk_jpeg() -> bytes:
    """A JPEG with stray bytes behind its first segment, which all viewers show."""
    whole = jpeg("a dog")
    return whole[:20] + b"\x01\x02JUNKJUNK" + whole[20:]


IMAGES = {
    "BigTIFF": lambda: saved(Image.new("RGB", (64, 64), "red"), "TIFF", big_tiff=True),
    "JPEG with stray bytes": junk_jpeg,
    "JPEG 2000 without a container": lambda: saved(Image.new("RGB", (64, 64), "red"), "JPEG2000", no_jp2=True),
}


@pytest.mark.parametrize("make", IMAGES.values(), ids=IMAGES)
def test_images_that_viewers_open(
    tmp_path: Path, media: MediaStore, embeddings: GeminiEmbeddings, emulator: GeminiEmulator, make: Any
) -> None:
    """What Pillow opens is loaded, and is sent as an image without the oddity."""
    (document,), skipped = load(tmp_path, media, {"a.img": make()})
    assert (document.metadata["modality"], skipped) == ("image", {})
    embeddings.embed_documents([document.page_content])
    data = sent(emulator)
    assert b"JUNK" not in data
    Image.open(io.BytesIO(data)).load()


def holed_png() -> bytes:
    """A PNG with its frame whole and a hole in its pixels, as a failing disk leaves."""
    whole = bytearray(saved(Image.effect_noise((200, 200), 90), "PNG"))
    whole[5000:9000] = bytes(4000)
    return bytes(whole)


def test_a_hole_in_the_pixels_is_found(tmp_path: Path, media: MediaStore) -> None:
    """A PNG whose pixels have changed is left out when it is loaded, not when it is embedded."""
    documents, skipped = load(tmp_path, media, {"a.png": holed_png(), "b.png": png()})
    assert len(documents) == 1
    assert "checksum" in skipped["a.png"]


DRAWN = {
    "a.ppm": b"P3\n# made by hand\n128 128\n255\n" + b"1 2 3\n" * 16_000,
    "a.pbm": b"P1 8 8\n" + b"0 1 0 1 0 1 0 1\n" * 8,
    "a.xpm": b'/* XPM */\nstatic char * a[] = {\n"2 2 1 1",\n"a c #ffffff",\n"aa",\n"aa"};\n',
    "a.xbm": b"#define a_width 16\n#define a_height 16\nstatic char a_bits[] = { 0x00, 0x00 };\n",
}


@pytest.mark.parametrize("name", DRAWN)
def test_images_written_as_text_are_no_texts(tmp_path: Path, media: MediaStore, name: str) -> None:
    """Numbers that are pixels are left out with a remedy; a text that mentions such formats is a text."""
    documents, skipped = load(tmp_path, media, {name: DRAWN[name], "b.txt": b"P3 and /* XPM */ are formats.\n"})
    assert [document.metadata["source"] for document in documents] == ["b.txt"]
    assert "convert it to PNG" in skipped[name]


def exif(*fields: tuple[int, int, bytes]) -> bytes:
    """EXIF data of little-endian fields: tag, type, value of more than four bytes."""
    offset = 8 + 2 + 12 * len(fields) + 4
    table, values = struct.pack("<H", len(fields)), b""
    for tag, value_type, value in fields:
        table += struct.pack("<HHII", tag, value_type, len(value), offset + len(values))
        values += value
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + table + b"\0\0\0\0" + values


WORDS = "Porträtt på Eva vid sjön"
CAPTIONS = {
    "UTF-8": WORDS.encode(),
    "Latin-1": WORDS.encode("latin-1"),
    "Japanese": "海辺の散歩はとても楽しい。今日は家族と海に行きました。".encode("shift-jis"),
}


@pytest.mark.parametrize("encoding", CAPTIONS)
def test_captions_in_exif(tmp_path: Path, media: MediaStore, encoding: str) -> None:
    """The description in EXIF is decoded by its bytes, whatever the standard says."""
    data = saved(Image.new("RGB", (64, 64)), "JPEG", exif=exif((0x010E, 2, CAPTIONS[encoding] + b"\0")))
    (document,), _ = load(tmp_path, media, {"a.jpg": data})
    expected = {"Japanese": "海辺の散歩はとても楽しい"}.get(encoding, WORDS)
    assert expected in document.metadata["companion_text"]


@pytest.mark.parametrize(("declared", "data"), [(b"\x1b%G", WORDS.encode()), (b"", WORDS.encode("latin-1"))])
def test_captions_in_iptc(tmp_path: Path, media: MediaStore, declared: bytes, data: bytes) -> None:
    """A caption in IPTC is in the encoding that it declares, or else detected."""
    records = (b"\x1c\x01\x5a" + struct.pack(">H", len(declared)) + declared) if declared else b""
    records += b"\x1c\x02\x78" + struct.pack(">H", len(data)) + data
    block = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(records)) + records + b"\0" * (len(records) % 2)
    body = b"Photoshop 3.0\0" + block
    whole = jpeg("a portrait")
    image = whole[:2] + b"\xff\xed" + struct.pack(">H", len(body) + 2) + body + whole[2:]
    (document,), _ = load(tmp_path, media, {"a.jpg": image})
    assert WORDS in document.metadata["companion_text"]


def test_attachments_of_a_pdf(tmp_path: Path, media: MediaStore) -> None:
    """The files in a portfolio are loaded like attachments of a mail, also nested ones, under names of their own."""
    inner = portfolio({"deep.txt": b"words inside", "broken.pdf": b"%PDF-1.4 nothing"})
    files = {
        "contract.pdf": pdf(("one", "two")),
        "photo.png": png("a dog"),
        "../../note.txt": b"a note",
        "more.pdf": inner,
        "empty.bin": b"",
        "table.xlsx": b"PK\x03\x04" + bytes(26) + b"xl/",
    }
    documents, skipped = load(tmp_path, media, {"tender.pdf": portfolio(files)})
    sources = [document.metadata["source"] for document in documents]
    assert sources == [
        "tender.pdf", *["tender.pdf/contract.pdf"] * 2, "tender.pdf/photo.png", "tender.pdf/note.txt",
        "tender.pdf/more.pdf", "tender.pdf/more.pdf/deep.txt",
    ]  # fmt: skip
    assert set(skipped) == {"tender.pdf/more.pdf/broken.pdf", "tender.pdf/empty.bin", "tender.pdf/table.xlsx"}
    assert "converters=" in skipped["tender.pdf/table.xlsx"]
    assert len({document.id for document in documents}) == len(documents)
    assert media.get(documents[3].page_content) == png("a dog")


def test_attachments_in_attachments_end(tmp_path: Path, media: MediaStore) -> None:
    """PDFs inside of PDFs are followed to a depth that `skipped` names."""
    data = portfolio({"end.txt": b"the end"})
    for number in range(8):
        data = portfolio({f"{number}.pdf": data})
    documents, skipped = load(tmp_path, media, {"a.pdf": data})
    assert len(documents) == 6
    assert list(skipped.values()) == ["its attachments are not loaded: it is inside of 5 other files"]


def blank_form(value: bytes) -> bytes:
    """A form with a value and no appearance, as programs that fill in forms write it; a second field is hidden."""
    widget = b"<< /Type /Annot /Subtype /Widget /FT /Tx /P 3 0 R /DA (/Helv 12 Tf 0 g) "
    return pdf_objects(
        b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [4 0 R 6 0 R] /NeedAppearances true "
        b"/DA (/Helv 12 Tf 0 g) /DR << /Font << /Helv 5 0 R >> >> >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 400] /Annots [4 0 R 6 0 R] >>",
        widget + b"/T (name) /V (%s) /Rect [50 300 350 320] /F 4 >>" % value,
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        widget + b"/T (other) /V (Hidden words) /Rect [50 100 350 120] /F 2 >>",
    )


def text_of(data: bytes, page: int = 1) -> str:
    """The text of a page, as any reader without support for forms sees it."""
    import pypdfium2

    with pypdfium2.PdfDocument(data) as document:
        return str(document[page - 1].get_textpage().get_text_bounded())


def test_a_filled_form_is_embedded_as_displayed(
    tmp_path: Path, media: MediaStore, embeddings: GeminiEmbeddings, emulator: GeminiEmulator
) -> None:
    """The values of fields are in the text and in what is sent, also without an appearance; hidden ones are not."""
    (document,), skipped = load(tmp_path, media, {"form.pdf": blank_form(b"Ada Lovelace")})
    assert not skipped
    assert document.metadata["companion_text"] == "Ada Lovelace"
    embeddings.embed_documents([document.page_content])
    assert text_of(sent(emulator)) == "Ada Lovelace"


def test_a_pdf_that_forbids_printing_is_rewritten(
    tmp_path: Path, media: MediaStore, embeddings: GeminiEmbeddings, emulator: GeminiEmulator
) -> None:
    """A PDF with an owner's password is sent without encryption, whole and in parts."""
    data = restricted_pdf(b"BT /F 12 Tf 20 160 Td (readable words) Tj ET")
    assert b"readable words" not in data
    (document,), _ = load(tmp_path, media, {"a.pdf": data})
    assert document.metadata["companion_text"] == "readable words"
    ref = MediaRef.parse(next(str(piece) for piece in split_references(document.page_content)))
    for content in (document.page_content, ref.pages(1, 1), tmp_path / "a.pdf"):
        embeddings.embed_query(content)
        assert b"/Encrypt" not in sent(emulator)
        assert text_of(sent(emulator)) == "readable words"


def test_a_malformed_title_loses_no_text(tmp_path: Path, media: MediaStore) -> None:
    """Page text survives strings that are no text: half a character in the title, an odd length, a lone surrogate."""
    for number, title in enumerate((b"<FEFFD800>", b"<FEFF0041D8>", b"<FEFF00>", b"(\\377\\376\\000\\330)")):
        data = pdf_objects(
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents 4 0 R "
            b"/Resources << /Font << /F 5 0 R >> >> >>",
            pdf_stream(b"BT /F 12 Tf 20 160 Td (the text of the page) Tj ET"),
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
            b"<< /Title %s /Subject (a subject) >>" % title,
        ).replace(b"/Root 1 0 R", b"/Root 1 0 R /Info 6 0 R")
        (document,), skipped = load(tmp_path / str(number), media, {"a.pdf": data})
        assert not skipped
        assert "the text of the page" in document.metadata["companion_text"]
        assert "a subject" in document.metadata["companion_text"]


def words_pdf(words: int, before: bytes = b"") -> bytes:
    """A PDF with many words on its second page, in a few kilobytes."""
    fonts = b"/Resources << /Font << /F 7 0 R >> >> >>"
    content = zlib.compress(b"BT /F 9 Tf " + before + b"(hello world) Tj " * words + b"ET", 9)
    return pdf_objects(
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R 4 0 R] /Count 2 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 5 0 R " + fonts,
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 6 0 R " + fonts,
        pdf_stream(b"BT /F 12 Tf 20 160 Td (first page) Tj ET"),
        pdf_stream(content, b"/Filter /FlateDecode"),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )


def test_text_over_a_limit_is_reported(tmp_path: Path, media: MediaStore) -> None:
    """The text of a page with too many characters is not read, and `skipped` says so; the pages are loaded."""
    (first, second), skipped = load(tmp_path, media, {"a.pdf": words_pdf(20_000)})
    assert first.metadata["companion_text"] == "first page"
    assert "companion_text" not in second.metadata
    assert "the text of page 2 is not read: page 2 has 220,000 characters; at most 200,000" in skipped["a.pdf"]


def test_a_pdf_that_would_fill_the_memory_is_examined_elsewhere(tmp_path: Path, media: MediaStore) -> None:
    """A small PDF that unpacks to hundreds of megabytes ends a worker process with limits, also with `workers=0`."""
    bomb = words_pdf(10, before=b" " * 200_000_000)
    assert len(bomb) < 300_000
    files = {"a.pdf": bomb, "b.pdf": pdf(("fine",))}
    documents, skipped = load(tmp_path, media, files, worker_bytes=100 << 20)
    assert [document.metadata["source"] for document in documents] == ["b.pdf"]
    assert "100 MiB of memory; allow more with worker_bytes=" in skipped["a.pdf"]


def as_file(path: Path) -> Path:
    """A converter that writes a PDF."""
    made = path.parent / "made"
    made.write_bytes(pdf(("a", "b")))
    return made


CONVERTED: dict[str, Any] = {
    "text": lambda path: f"# Letter\n\n{path.read_text()} ![](cat.png)",
    "PDF as bytes": lambda path: pdf((path.read_text(), "two")),
    "PDF as a file": as_file,
}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("convert", CONVERTED.values(), ids=CONVERTED)
def test_converters(tmp_path: Path, media: MediaStore, convert: Any, workers: int) -> None:
    """Files of other types are handed to a function of the user, by their ending, in mails and PDFs as well."""
    files = {"a.DOCX": b"Dear Ada", "cat.png": png("a cat", size=(64, 64)), "b.pdf": portfolio({"c.docx": b"Dear Bob"})}
    documents, skipped = load(tmp_path / "files", media, files, converters={".docx": convert}, workers=workers)
    assert not skipped
    found = [document for document in documents if document.metadata["source"] == "a.DOCX"]
    assert {document.metadata["title"] for document in found} == {"a"}
    assert any(document.metadata["source"] == "b.pdf/c.docx" for document in documents)
    if found[0].metadata["modality"] == "text":
        assert "Dear Ada" in found[0].page_content
        assert any(isinstance(piece, MediaRef) for piece in split_references(found[0].page_content))
    else:
        assert [document.metadata["first_page"] for document in found] == [1, 2]


def test_converters_that_fail(tmp_path: Path, media: MediaStore) -> None:
    """A converter that raises, or returns something else, leaves out its file; a wrong argument fails at once."""
    files = {"a.docx": b"x", "b.odt": b"x", "c.txt": b"words"}

    def broken(_: Path) -> str:
        raise RuntimeError("LibreOffice is not installed")

    documents, skipped = load(tmp_path, media, files, converters={".docx": broken, ".odt": lambda _: 5})
    assert [document.metadata["source"] for document in documents] == ["c.txt"]
    assert "the converter for .docx failed: RuntimeError: LibreOffice is not installed" in skipped["a.docx"]
    assert "must return str, bytes or Path, got int" in skipped["b.odt"]
    with pytest.raises(ValueError, match="endings such as"):
        PathLoader(tmp_path, media, converters={"docx": broken})
    with pytest.raises(TypeError, match="must be callable"):
        PathLoader(tmp_path, media, converters={".docx": 5})  # type: ignore[dict-item]
    _, skipped = load(tmp_path, media, {"a.docx": b"PK\x03\x04" + bytes(26) + b"word/"})
    assert "converters={'.docx': function}" in skipped["a.docx"]


def test_audio_behind_junk_is_not_text(tmp_path: Path, media: MediaStore) -> None:
    """Binary files that begin like text are not reported as damaged text."""
    _, skipped = load(tmp_path, media, {"a.fli": b"\xff\xfe\x11\xaf" + bytes(range(256)) * 20})
    assert "utf-16" not in skipped["a.fli"]
    documents, _ = load(tmp_path / "mp3", media, {"a.mp3": mp3(0.5)})
    assert documents[0].metadata["modality"] == "audio"
