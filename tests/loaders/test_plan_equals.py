"""A plan counts what is then sent: calls, contents, tokens and money, whatever the contents, options and backend."""

from __future__ import annotations

import io
import random
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from langchain_core.documents import Document
from PIL import Image

from langchain_gemini_mm import GeminiEmbeddings, MediaStore
from langchain_gemini_mm.errors import GeminiMMError, PartialEmbeddingError
from langchain_gemini_mm.loaders import Segments, plan
from langchain_gemini_mm.loaders.converters import Converter
from langchain_gemini_mm.testing import GeminiEmulator, jpeg, mp3, mp4, pdf, png, wav
from langchain_gemini_mm.vectorstores.langchain_api import BATCH_SIZE
from tests.media.generate import portfolio
from tests.path_loader import PathLoader

if TYPE_CHECKING:
    from pathlib import Path

WORDS = (
    "the",
    "weather",
    "in",
    "spring",
    "plumber",
    "4711",
    "погода",
    "весной",
    "今天天气很好。",
    "الطقس",
    "날씨가",
    "été",
)


def _encoded(mime_type: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(7).integers(0, 255, (90, 120, 3), np.uint8)
    Image.fromarray(noise).save(buffer, mime_type, **options)
    return buffer.getvalue()


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return _encoded("JPEG", exif=exif)


MEDIA: dict[str, bytes] = {
    "png": png("a dog"),
    "jpeg": jpeg("a cat"),
    "webp": _encoded("WEBP"),
    "turned": _turned(),
    "wav": wav(3.4),
    "mp3": mp3(5.0),
    "film": mp4(7.3),
    "pdf": pdf(4),
}


class Mixture:
    """Random contents, drawn with a seed."""

    def __init__(self, seed: int, media: MediaStore) -> None:
        self.dice = random.Random(seed)
        self.media = media

    def text(self) -> str:
        """A short text, sometimes one over the limit of tokens."""
        words = self.dice.choices(WORDS, k=self.dice.choice((1, 3, 9, 40)))
        return " ".join(words) * (400 if self.dice.random() < 0.05 else 1)

    def piece(self) -> Any:
        """A text, a file, or a reference to a file or a part of it."""
        name = self.dice.choice(("text", "text", *MEDIA))
        if name == "text":
            return self.text()
        if self.dice.random() < 0.4:
            return MEDIA[name]
        ref = self.media.put(MEDIA[name])
        if name in ("wav", "mp3", "film") and self.dice.random() < 0.7:
            start = self.dice.choice((0.0, 0.5, 1.25))
            return ref.segment(start, start + self.dice.choice((1.0, 1.7, 2.0)))
        return ref.pages(2, 3) if name == "pdf" and self.dice.random() < 0.7 else ref

    def contents(self) -> list[Any]:
        """Contents of one call; some are lists, some are there twice, some cannot be embedded."""
        made: list[Any] = []
        for _ in range(self.dice.randint(1, 9)):
            how = self.dice.random()
            if how < 0.05:
                made.append("  ")
            elif how < 0.2:
                made.append([self.piece() for _ in range(self.dice.randint(1, 4))])
            elif how < 0.3 and made:
                made.append(self.dice.choice(made))
            elif how < 0.4:
                made.append(Document(page_content=self.text(), metadata={"title": self.text()}))
            else:
                made.append(self.piece())
        return made

    def options(self) -> dict[str, Any]:
        """Options of the embeddings."""
        choose = self.dice.choice
        options: dict[str, Any] = {
            "model": choose(("gemini-embedding-2",) * 4 + ("gemini-embedding-001",)),
            "vertexai": choose((False, True)),
            "on_too_long": choose(("error", "truncate", "split")),
            "batch_bytes": choose((500, 20_000, 4_000_000)),
            "image_max_edge": choose((None, 48)),
            "task_type": choose((None, "CLUSTERING", "QUESTION_ANSWERING", "TASK_TYPE_UNSPECIFIED")),
        }
        if options["vertexai"] and options["model"] == "gemini-embedding-2":
            options |= {"video_fps": choose((None, 0.5, 3.0)), "audio_track_extraction": choose((False, True))}
        return options


def embedded(ours: GeminiEmbeddings, contents: list[Any], **options: Any) -> set[int]:
    """Embed contents; returns the positions of those that failed."""
    try:
        ours.embed_documents(contents, **options)
    except PartialEmbeddingError as error:
        return set(error.failed)
    except GeminiMMError:
        return set(range(len(contents)))
    return set()


@pytest.mark.slow
@pytest.mark.parametrize("block", range(8))
def test_a_plan_counts_what_is_sent(block: int, emulator: GeminiEmulator, media: MediaStore) -> None:
    """25 random mixtures in each block: calls, contents and tokens are those that the service counts."""
    for seed in range(25 * block, 25 * block + 25):
        mixture = Mixture(seed, media)
        options, contents = mixture.options(), mixture.contents()
        size = mixture.dice.choice((1, 3, 100))
        with GeminiEmbeddings(media=media, output_dimensionality=128, base_url=emulator.url, **options) as ours:
            planned = ours.plan(contents, batch_size=size)
            assert not emulator.requests
            failed = embedded(ours, contents, batch_size=size)

            used = ours.usage
            shown = f"seed {seed}: {options}"
            sent = [request for request in emulator.embed_requests if request.status == 200]
            truncated = options["on_too_long"] == "error" and set(planned.failed) != failed
            assert set(planned.failed) == failed or truncated, shown
            assert (planned.calls, planned.items) == (len(sent), emulator.embedded), shown
            assert sum(planned.tokens.values()) == emulator.tokens, shown
            assert planned.usd == pytest.approx(used.estimated_usd, rel=1e-6), shown
        emulator.reset()


def test_pictures_that_fill_a_request(tmp_path: Path, emulator: GeminiEmulator, media: MediaStore) -> None:
    """40 pictures of 330 KB are several requests, because a request has at most `batch_bytes` bytes."""
    for number in range(40):
        noise = np.random.default_rng(number).integers(0, 255, (330, 330, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"n{number:02}.png")
    ours = GeminiEmbeddings(media=media, output_dimensionality=128)
    planned = plan(PathLoader(tmp_path, media), ours)

    ours.embed_documents(PathLoader(tmp_path, media).load())

    assert planned.calls == len(emulator.embed_requests) > 1
    assert planned.tokens == emulator.tokens
    assert planned.usd == pytest.approx(ours.usage.estimated_usd)


def test_options_of_vertex_count(tmp_path: Path, emulator: GeminiEmulator, media: MediaStore) -> None:
    """`video_fps` is in the tokens and the money, and the contents go in one request."""
    (tmp_path / "v.mp4").write_bytes(mp4(20.0))
    (tmp_path / "p.pdf").write_bytes(pdf(("one page of words",) * 3))
    ours = GeminiEmbeddings(
        vertexai=True, base_url=emulator.url, output_dimensionality=128, media=media, video_fps=4, document_ocr=True
    )
    planned = plan(PathLoader(tmp_path, media, backend="vertex"), ours)

    ours.embed_documents(PathLoader(tmp_path, media, backend="vertex").load())

    assert planned.calls == len(emulator.embed_requests) == 1
    assert planned.by_modality["video"].tokens == 80 * 66
    assert planned.usd == pytest.approx(ours.usage.estimated_usd)


@pytest.mark.parametrize("text", ["今天天气很好。" * 2000, "Привет, как дела? " * 700, "the same line\n" * 900])
def test_texts_of_every_script(text: str, tmp_path: Path, emulator: GeminiEmulator, media: MediaStore) -> None:
    """Documents and tokens of text are counted from characters, not from bytes; equal chunks are sent once."""
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    ours = GeminiEmbeddings(output_dimensionality=128, media=media)
    planned = plan(PathLoader(tmp_path, media), ours)
    documents = PathLoader(tmp_path, media).load()

    ours.embed_documents(documents)

    assert (planned.documents, planned.items) == (len(documents), emulator.embedded)
    assert planned.tokens == emulator.tokens == ours.usage.reported_tokens


def test_equal_files_and_files_in_mails(tmp_path: Path, emulator: GeminiEmulator, media: MediaStore) -> None:
    """A copy of a file is embedded once, and what is left out is named with its reason; nothing is stored."""
    for name in ("a.png", "copy of a.png"):
        (tmp_path / name).write_bytes(png("a dog"))
    (tmp_path / "b.png").write_bytes(png("a cat"))
    (tmp_path / "cut.png").write_bytes(png("a dog")[:-20])
    (tmp_path / "film.mp4").write_bytes(mp4(9.0))
    ours = GeminiEmbeddings(output_dimensionality=128, media=media)
    loader = PathLoader(tmp_path, media, segments=Segments(video_s=2))
    planned = plan(loader, ours, convert=True)
    assert not list(media.refs())

    ours.embed_documents(loader.load())

    assert (planned.files, planned.by_modality["image"].documents) == (4, 3)
    assert (planned.calls, planned.items) == (len(emulator.embed_requests), emulator.embedded)
    assert planned.tokens == emulator.tokens
    assert [skipped.source for skipped in planned.skipped] == [f"{tmp_path.name}/cut.png"]


def test_attachments_and_converted_files(tmp_path: Path, emulator: GeminiEmulator, media: MediaStore) -> None:
    """Files inside of mails and PDFs, and what `converters` make of others, are planned as they are sent."""
    message = EmailMessage()
    message["From"], message["Subject"] = "ada@example.com", "Two birds"
    message.set_content("Which one is it?")
    message.add_attachment(png("bird"), "image", "png", filename="bird.png")
    message.add_attachment(pdf(("one", "two")), "application", "pdf", filename="paper.pdf")
    message.add_attachment(b"PK\x03\x04" + bytes(100), "application", "zip", filename="letter.docx")
    message.add_attachment(
        portfolio({"inner.pdf": pdf(("a",)), "note.txt": b"a note"}), "application", "pdf", filename="c.pdf"
    )
    (tmp_path / "a.eml").write_bytes(bytes(message))
    (tmp_path / "b.pdf").write_bytes(portfolio({"c.png": png("a cat"), "d.docx": b"PK\x03\x04"}))
    (tmp_path / "e.pptx").write_bytes(b"PK\x03\x04")
    converters: dict[str, Converter] = {
        ".docx": lambda path: "# A letter\n\nof words",
        ".pptx": lambda path: pdf(("a slide", "another")),
    }
    loader = PathLoader(tmp_path, media, converters=converters)
    ours = GeminiEmbeddings(output_dimensionality=128, media=media)
    planned = plan(loader, ours, convert=True)
    assert not list(media.refs())
    documents = loader.load()

    ours.embed_documents(documents)

    assert not loader.skipped
    assert {"a.eml/letter.docx", "a.eml/c.pdf/note.txt", "b.pdf/d.docx"} < {one.metadata["source"] for one in documents}
    assert planned.documents == len(documents)
    assert (planned.calls, planned.items) == (len(emulator.embed_requests), emulator.embedded)
    assert planned.tokens == emulator.tokens
    assert planned.usd == pytest.approx(ours.usage.estimated_usd)


def test_one_attachment_in_many_mails(tmp_path: Path, emulator: GeminiEmulator, media: MediaStore) -> None:
    """An attachment that several batches contain is planned in each of them as it is sent."""
    for name in ("a", "c"):
        message = EmailMessage()
        message["Subject"] = f"mail {name}"
        message.set_content(f"words of {name}")
        message.add_attachment(mp3(3.0), "audio", "mpeg", filename="bell.mp3")
        message.add_attachment(pdf(("one", "two")), "application", "pdf", filename="paper.pdf")
        (tmp_path / f"{name}.eml").write_bytes(bytes(message))
    lines = (f"a note about number {number}, which is odd or even" for number in range(BATCH_SIZE))
    (tmp_path / "b.txt").write_text("\n".join(lines), encoding="utf-8")
    ours = GeminiEmbeddings(output_dimensionality=128, media=media)
    loader = PathLoader(tmp_path, media, chunk_size=60, chunk_overlap=0)
    planned = plan(loader, ours, convert=True)
    documents = loader.load()
    assert len(documents) > BATCH_SIZE

    for start in range(0, len(documents), BATCH_SIZE):
        ours.embed_documents(documents[start : start + BATCH_SIZE])

    assert not loader.skipped
    assert not planned.skipped
    assert planned.documents == len(documents)
    assert (planned.calls, planned.items) == (len(emulator.embed_requests), emulator.embedded)
    assert planned.tokens == emulator.tokens
