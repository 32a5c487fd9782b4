"""Reference blocks become bytes within a budget: cut, converted and scaled, or replaced with notes."""

from __future__ import annotations

import base64
import io
import logging
from functools import cache
from typing import Any

import pytest
from langchain_core.documents import Document

from langchain_gemini_mm import MediaStore
from langchain_gemini_mm.content.mime_types import canonical_mime_type, sniff
from langchain_gemini_mm.media.av.clip import inspect
from langchain_gemini_mm.media.pdf.document import count_pages
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.rendering import ACCEPTS, Accepts, expand_blocks, reference_blocks, to_blocks
from langchain_gemini_mm.storage.backend import MemoryBackend
from langchain_gemini_mm.testing import jpeg, mp3, mp4, pdf, png, wav
from langchain_gemini_mm.testing.samples.clips import tone
from tests.media.generate import clip, noise_pdf, picture, saved

IMAGES_ONLY = Accepts(name="images", image=frozenset({"image/png"}), max_bytes=4_000_000)


@cache
def noise(edge: int = 900) -> bytes:
    """An image that does not compress well."""
    from PIL import Image

    return saved(Image.effect_noise((edge, edge), 90), "PNG")


@cache
def film(seconds: int) -> bytes:
    """A video that does not compress well: 8 frames per second, about 80 kB each."""
    from PIL import Image, ImageChops

    still = Image.effect_noise((480, 270), 90).convert("RGB")
    return mp4(
        seconds, fps=8, frame=lambda at: ImageChops.offset(still, round(at * 9_000), 7), samples=tone(float(seconds))
    )


def block_of(ref: MediaRef, cited: str = "[it]") -> dict[str, Any]:
    """A reference block."""
    return {"type": "file", "url": ref.uri, "mime_type": "application/octet-stream", "extras": {"citation": cited}}


def data_of(block: dict[str, Any]) -> bytes:
    """The bytes of a block, checked against its MIME type."""
    data = base64.b64decode(block["base64"], validate=True)
    assert sniff(data[:4096]) == canonical_mime_type(block["mime_type"])
    return data


def held(blocks: list[Any]) -> int:
    """Bytes of base64 of all media."""
    return sum(len(block.get("base64", "")) for block in blocks)


CONVERTED: dict[str, tuple[bytes, str, list[str]]] = {
    "WebP for Gemini": (picture("WEBP"), "gemini", ["image/webp"]),
    "GIF for Gemini": (picture("GIF"), "gemini", ["image/png"]),
    "BMP for OpenAI": (picture("BMP"), "openai", ["image/jpeg"]),
    "TIFF for Anthropic": (picture("TIFF"), "anthropic", ["image/jpeg"]),
    "JPEG for PNG only": (jpeg(), "images", ["image/png"]),
    "FLAC for Gemini": (clip("flac", "flac"), "gemini", ["audio/flac"]),
    "FLAC for OpenAI": (clip("flac", "flac"), "openai-audio", ["audio/mp3"]),
    "M4A for Gemini": (clip("ipod", "aac"), "gemini", ["audio/mp3"]),
    "WAV for OpenAI": (wav(), "openai-audio", ["audio/wav"]),
    "MOV for Gemini": (mp4(container="mov"), "gemini", ["video/mp4"]),
    "AVI for Gemini": (clip("avi", "mpeg4"), "gemini", ["video/mp4"]),
    "video for audio only": (mp4(2, samples=tone(2)), "openai-audio", ["audio/mp3"]),
    "video for images only": (mp4(8), "anthropic", ["image/jpeg"] * 4),
    "PDF for images only": (pdf(3), "images", ["image/png"] * 3),
}


@pytest.mark.parametrize(("data", "family", "expected"), CONVERTED.values(), ids=CONVERTED)
def test_formats_are_converted(data: bytes, family: str, expected: list[str], media: MediaStore) -> None:
    """Every format is converted to one that the family accepts, or to another modality."""
    accepts = IMAGES_ONLY if family == "images" else ACCEPTS[family]
    blocks = expand_blocks([block_of(media.put(data))], media, accepts=accepts)
    shown = [block for block in blocks if block["type"] != "text"]
    assert [block["mime_type"] for block in shown] == expected
    assert all(data_of(block) for block in shown)


def test_only_the_part_is_sent(media: MediaStore) -> None:
    """Segments and pages are cut out of their files; a track is only its audio."""
    talk = media.put(mp4(60, size=(320, 180), fps=5, samples=tone(60)))
    paper = media.put(pdf(("one", "two", "three")))
    references = [talk.segment(20, 30), talk.segment(20, 30, track="audio"), paper.pages(2, 3)]
    video, audio, pages = expand_blocks([block_of(ref) for ref in references], media, accepts="gemini")
    seen = inspect(io.BytesIO(data_of(video)))
    assert 10 <= seen.duration_s <= 15.1
    assert seen.audio is not None, "a video keeps its audio"
    audio_only = inspect(io.BytesIO(data_of(audio)))
    assert audio_only.video is None
    assert audio_only.duration_s == pytest.approx(10, abs=0.3)
    assert count_pages(io.BytesIO(data_of(pages)), "it")["pages"] == 2
    assert [block["type"] for block in (video, audio, pages)] == ["video", "audio", "file"]


def test_tools_get_files(media: MediaStore) -> None:
    """In results of tools audio and video are blocks of type file with names, which LangChain accepts."""
    references = [media.put(mp3()), media.put(mp4()), media.put(pdf())]
    blocks = expand_blocks(
        [block_of(ref, "[a/b.mp4 0:30-1:00]") for ref in references], media, accepts="gemini", place="tool"
    )
    assert [block["type"] for block in blocks] == ["file"] * 3
    names = [block["extras"]["filename"] for block in blocks]
    assert names == ["b.mp4 0_30-1_00.mp3", "b.mp4 0_30-1_00.mp4", "b.mp4 0_30-1_00.pdf"]


BUDGETS = (0, 1, 500, 5_000, 60_000, 300_000, 1_500_000)


@pytest.mark.slow
@pytest.mark.parametrize("max_bytes", BUDGETS)
@pytest.mark.parametrize("family", ["gemini", "openai", "anthropic"])
def test_the_budget_is_kept(family: str, max_bytes: int, media: MediaStore) -> None:
    """Media never exceed the budget; notes replace media that are left out."""
    contents = [
        media.put(noise()),
        media.put(film(10)).segment(0, 8),
        media.put(noise_pdf(600, 600, 600)),
        media.put(mp3(5)),
    ]
    blocks = expand_blocks([block_of(ref) for ref in contents], media, accepts=family, max_bytes=max_bytes)
    assert held(blocks) <= max_bytes
    assert len(blocks) >= len(contents)
    if max_bytes < 500:
        assert {block["type"] for block in blocks} == {"text"}
    if max_bytes == BUDGETS[-1]:
        assert "image" in {block["type"] for block in blocks}


def test_earlier_media_get_more_bytes(media: MediaStore) -> None:
    """The first medium may use most of the budget; the bytes of an image are reserved for each later one."""
    images = [media.put(noise(edge)) for edge in (1000, 1001, 1002)]
    blocks = expand_blocks([block_of(ref) for ref in images], media, accepts="anthropic", max_bytes=800_000)
    sizes = [len(block["base64"]) for block in blocks]
    assert sizes[0] == max(sizes)
    assert min(sizes) > 50_000


def test_bytes_of_other_blocks_count(media: MediaStore) -> None:
    """Blocks that already contain media are kept, and their bytes count."""
    there = {"type": "image", "base64": "A" * 100_000, "mime_type": "image/png"}
    blocks = expand_blocks([there, "words", block_of(media.put(png()))], media, accepts="gemini", max_bytes=100_000)
    assert blocks[:2] == [there, "words"]
    assert blocks[2]["text"] == "(Not shown: image of [it]. No bytes are left for it.)"


def test_a_long_pdf_is_truncated_with_a_note(media: MediaStore) -> None:
    """Of a PDF with too many bytes or pages the first pages are sent, with a note."""
    paper = media.put(noise_pdf(*[500] * 12))
    size = media.info(paper).size
    note, pages = expand_blocks([block_of(paper)], media, accepts="gemini", max_bytes=size // 2)
    assert "of 12, the others are not shown" in note["text"]
    assert 1 <= count_pages(io.BytesIO(data_of(pages)), "it")["pages"] < 12
    note, pages = expand_blocks([block_of(media.put(pdf(120)))], media, accepts="anthropic")
    assert note["text"] == "(pp. 1-100 of 120, the others are not shown of [it])"
    assert count_pages(io.BytesIO(data_of(pages)), "it")["pages"] == 100


def test_a_video_that_does_not_fit_becomes_stills(media: MediaStore) -> None:
    """If a re-encoded video is still too large, stills with their times are shown."""
    ref = media.put(film(10)).segment(2, 10)
    blocks = expand_blocks([block_of(ref)], media, accepts="gemini", max_bytes=60_000)
    assert [block["type"] for block in blocks[:8]] == ["text", "image"] * 4
    assert blocks[0]["text"] == "(still at 0:03 of [it])"


def test_equal_media_are_sent_once(media: MediaStore) -> None:
    """An image of two documents is sent once."""
    block = block_of(media.put(noise()))
    first, second = expand_blocks([block, block], media, accepts="gemini")
    assert first["type"] == "image"
    assert second["text"] == "(Shown above of [it].)"


class Unreliable(MemoryBackend):
    """A backend without a connection."""

    def open(self, sha256: str) -> Any:
        """Raise an exception of a third-party library."""
        raise RuntimeError("connection lost")


def bad_media() -> dict[str, tuple[MediaStore, MediaRef, str]]:
    """Defects of media, with the note for the model."""
    media = MediaStore.memory()
    clip_, paper, photo = media.put(mp4(2)), media.put(pdf(2)), jpeg(size=(300, 300))
    lost = MediaStore(Unreliable())
    unread = lost.put(png())
    return {
        "unknown": (media, MediaRef("0" * 64), "The file is missing"),
        "cut off": (media, media.put(photo[: len(photo) // 2]), "The file is damaged or has no such part"),
        "a damaged video": (media, media.put(mp4(2)[:900]), "The file is damaged or has no such part"),
        "damaged audio": (media, media.put(wav(2)[:900]), "The file is damaged or has no such part"),
        "a damaged PDF": (media, media.put(b"%PDF-1.7\nnothing"), "The file is damaged or has no such part"),
        "behind the end": (media, clip_.segment(50, 60), "The file is damaged or has no such part"),
        "no such page": (media, paper.pages(9, 9), "The file is damaged or has no such part"),
        "no such track": (media, clip_.segment(0, 1, track="audio"), "The file is damaged or has no such part"),
        "a lost connection": (lost, unread, "The file cannot be read"),
    }


@pytest.mark.parametrize("name", bad_media())
def test_a_damaged_file_does_not_affect_others(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Other media are shown, a note has the reason, and the log has the error without bytes."""
    media, ref, reason = bad_media()[name]
    good = MediaStore.memory() if name == "a lost connection" else media
    with caplog.at_level(logging.WARNING, "langchain_gemini_mm"):
        (note,) = expand_blocks([block_of(ref)], media, accepts="gemini")
    assert note["type"] == "text"
    assert note["text"].startswith("(Not shown: ")
    assert note["text"].endswith(f" of [it]. {reason}.)")
    assert "[it]" in caplog.text
    assert "base64" not in caplog.text
    (shown,) = expand_blocks([block_of(good.put(png()))], good, accepts="gemini")
    assert shown["type"] == "image"


def test_a_malformed_reference_becomes_a_note(media: MediaStore) -> None:
    """A truncated reference is not an error."""
    (note,) = expand_blocks([{"type": "image", "url": "mm://sha256-12"}], media, accepts="gemini")
    assert note["text"] == "(Not shown: media. The reference is malformed.)"


def test_older_blocks_and_other_blocks(media: MediaStore) -> None:
    """References in image_url blocks are resolved; other URLs are kept."""
    old = {"type": "image_url", "image_url": {"url": media.put(png()).uri}}
    other = {"type": "image", "url": "https://example.org/a.png"}
    shown, left = expand_blocks([old, other], media, accepts="openai")
    assert (shown["type"], left) == ("image", other)


def test_an_unknown_place_is_refused(media: MediaStore) -> None:
    """The error lists the places."""
    with pytest.raises(ValueError, match="'tools'"):
        expand_blocks([], media, accepts="gemini", place="tools")  # type: ignore[arg-type]


def test_reference_blocks_contain_no_bytes(media: MediaStore) -> None:
    """A document becomes citation and text, then its media and the texts between them, in order."""
    first, second = media.put(png()), media.put(mp4(2)).segment(0, 1)
    text = f"Before {first.markdown} between {second.markdown} after"
    document = Document(text, metadata={"source": "a.md", "mime_type": "text/markdown", "companion_text": "a dot"})
    blocks = reference_blocks([document], media=media)
    assert [block.get("text") or (block["type"], block["mime_type"]) for block in blocks] == [
        "[a.md]\nBefore\n\na dot",
        ("image", "image/png"),
        "between",
        ("file", "video/mp4"),
        "after",
    ]
    assert reference_blocks([document], cite=False)[0]["text"] == "Before\n\na dot"
    assert len(str(blocks)) < 1_000
    assert reference_blocks([Document(first.markdown)], cite=False)[0]["url"] == first.uri


def test_the_types_in_reference_blocks_are_those_of_the_metadata(media: MediaStore) -> None:
    """The MIME type in the metadata is used only for the file of the document."""
    ref, other = media.put(png()), media.put(jpeg())
    metadata = {"mime_type": "image/png", "media_sha256": ref.sha256}
    blocks = reference_blocks([Document(f"{ref.markdown}{other.markdown}", metadata=metadata)], cite=False)
    assert [(block["type"], block["mime_type"]) for block in blocks] == [
        ("image", "image/png"),
        ("file", "application/octet-stream"),
    ]


def test_blocks_are_the_same_each_time(library: tuple[list[Document], MediaStore]) -> None:
    """Equal documents give equal blocks, so that prompt caches stay valid."""
    documents, media = library
    assert to_blocks(documents, media=media) == to_blocks(documents, media=media)
