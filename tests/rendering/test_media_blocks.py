"""Reference blocks become bytes within a budget: cut, converted, scaled; and words where that cannot be."""

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

PICTURES_ONLY = Accepts(name="pictures", image=frozenset({"image/png"}), max_bytes=4_000_000)


@cache
def noise(edge: int = 900) -> bytes:
    """A picture that does not get small by itself."""
    from PIL import Image

    return saved(Image.effect_noise((edge, edge), 90), "PNG")


@cache
def film(seconds: int) -> bytes:
    """A video whose pictures do not get small by themselves: 8 frames a second, about 80 kB each."""
    from PIL import Image, ImageChops

    still = Image.effect_noise((480, 270), 90).convert("RGB")
    return mp4(
        seconds, fps=8, frame=lambda at: ImageChops.offset(still, round(at * 9_000), 7), samples=tone(float(seconds))
    )


def block_of(ref: MediaRef, cited: str = "[it]") -> dict[str, Any]:
    """A reference block."""
    return {"type": "file", "url": ref.uri, "mime_type": "application/octet-stream", "extras": {"citation": cited}}


def data_of(block: dict[str, Any]) -> bytes:
    """The bytes of a block, checked against the type that it says."""
    data = base64.b64decode(block["base64"], validate=True)
    assert sniff(data[:4096]) == canonical_mime_type(block["mime_type"])
    return data


def held(blocks: list[Any]) -> int:
    """Bytes of all media, base64 counted."""
    return sum(len(block.get("base64", "")) for block in blocks)


CONVERTED: dict[str, tuple[bytes, str, list[str]]] = {
    "WebP for Gemini": (picture("WEBP"), "gemini", ["image/webp"]),
    "GIF for Gemini": (picture("GIF"), "gemini", ["image/png"]),
    "BMP for OpenAI": (picture("BMP"), "openai", ["image/jpeg"]),
    "TIFF for Anthropic": (picture("TIFF"), "anthropic", ["image/jpeg"]),
    "JPEG for who takes PNG": (jpeg(), "pictures", ["image/png"]),
    "FLAC for Gemini": (clip("flac", "flac"), "gemini", ["audio/flac"]),
    "FLAC for OpenAI": (clip("flac", "flac"), "openai-audio", ["audio/mp3"]),
    "M4A for Gemini": (clip("ipod", "aac"), "gemini", ["audio/mp3"]),
    "WAV for OpenAI": (wav(), "openai-audio", ["audio/wav"]),
    "MOV for Gemini": (mp4(container="mov"), "gemini", ["video/mp4"]),
    "AVI for Gemini": (clip("avi", "mpeg4"), "gemini", ["video/mp4"]),
    "video for who hears": (mp4(2, samples=tone(2)), "openai-audio", ["audio/mp3"]),
    "video for who sees": (mp4(8), "anthropic", ["image/jpeg"] * 4),
    "PDF for who sees": (pdf(3), "pictures", ["image/png"] * 3),
}


@pytest.mark.parametrize(("data", "family", "expected"), CONVERTED.values(), ids=CONVERTED)
def test_formats_are_converted(data: bytes, family: str, expected: list[str], media: MediaStore) -> None:
    """Every format becomes one that the family takes, or the next best kind."""
    accepts = PICTURES_ONLY if family == "pictures" else ACCEPTS[family]
    blocks = expand_blocks([block_of(media.put(data))], media, accepts=accepts)
    shown = [block for block in blocks if block["type"] != "text"]
    assert [block["mime_type"] for block in shown] == expected
    assert all(data_of(block) for block in shown)


def test_only_the_part_is_sent(media: MediaStore) -> None:
    """A segment and a page are cut out of their files; a track is its sound alone."""
    talk = media.put(mp4(60, size=(320, 180), fps=5, samples=tone(60)))
    paper = media.put(pdf(("one", "two", "three")))
    references = [talk.segment(20, 30), talk.segment(20, 30, track="audio"), paper.pages(2, 3)]
    video, audio, pages = expand_blocks([block_of(ref) for ref in references], media, accepts="gemini")
    seen = inspect(io.BytesIO(data_of(video)))
    assert 10 <= seen.duration_s <= 15.1
    assert seen.audio is not None, "what is said belongs to a video"
    heard = inspect(io.BytesIO(data_of(audio)))
    assert heard.video is None
    assert heard.duration_s == pytest.approx(10, abs=0.3)
    assert count_pages(io.BytesIO(data_of(pages)), "it") == {"pages": 2}
    assert [block["type"] for block in (video, audio, pages)] == ["video", "audio", "file"]


def test_tools_get_files(media: MediaStore) -> None:
    """In the result of a tool sound and video are blocks of type file, which LangChain lets through, with names."""
    references = [media.put(mp3()), media.put(mp4()), media.put(pdf())]
    blocks = expand_blocks(
        [block_of(ref, "[a/b.mp4 0:30-1:00]") for ref in references], media, accepts="gemini", place="tool"
    )
    assert [block["type"] for block in blocks] == ["file"] * 3
    names = [block["extras"]["filename"] for block in blocks]
    assert names == ["b.mp4 0_30-1_00.mp3", "b.mp4 0_30-1_00.mp4", "b.mp4 0_30-1_00.pdf"]


BUDGETS = (0, 1, 500, 5_000, 60_000, 300_000, 1_500_000)


@pytest.mark.parametrize("most", BUDGETS)
@pytest.mark.parametrize("family", ["gemini", "openai", "anthropic"])
def test_the_budget_is_kept(family: str, most: int, media: MediaStore) -> None:
    """Media never take more than they may, whatever they are; what is left out is said."""
    contents = [
        media.put(noise()),
        media.put(film(10)).segment(0, 8),
        media.put(noise_pdf(600, 600, 600)),
        media.put(mp3(5)),
    ]
    blocks = expand_blocks([block_of(ref) for ref in contents], media, accepts=family, max_bytes=most)
    assert held(blocks) <= most
    assert len(blocks) >= len(contents)
    if most < 500:
        assert {block["type"] for block in blocks} == {"text"}
    if most == BUDGETS[-1]:
        assert "image" in {block["type"] for block in blocks}


def test_the_first_come_first_and_the_last_get_something(media: MediaStore) -> None:
    """The most relevant medium may take most of the budget; a picture's worth is kept for each of the others."""
    pictures = [media.put(noise(edge)) for edge in (1000, 1001, 1002)]
    blocks = expand_blocks([block_of(ref) for ref in pictures], media, accepts="anthropic", max_bytes=800_000)
    sizes = [len(block["base64"]) for block in blocks]
    assert sizes[0] == max(sizes)
    assert min(sizes) > 50_000


def test_bytes_that_are_there_count(media: MediaStore) -> None:
    """Blocks that already hold media take their share of the budget, and are left as they are."""
    there = {"type": "image", "base64": "A" * 100_000, "mime_type": "image/png"}
    blocks = expand_blocks([there, "words", block_of(media.put(png()))], media, accepts="gemini", max_bytes=100_000)
    assert blocks[:2] == [there, "words"]
    assert blocks[2]["text"] == "(Not shown: image of [it]. No bytes are left for it.)"


def test_a_long_pdf_is_cut_off_and_says_so(media: MediaStore) -> None:
    """Of a whole PDF with too many bytes or pages the first pages are sent, and the model is told."""
    paper = media.put(noise_pdf(*[500] * 12))
    size = media.info(paper).size
    said, pages = expand_blocks([block_of(paper)], media, accepts="gemini", max_bytes=size // 2)
    assert "of 12, the others are not shown" in said["text"]
    assert 1 <= count_pages(io.BytesIO(data_of(pages)), "it")["pages"] < 12
    said, pages = expand_blocks([block_of(media.put(pdf(120)))], media, accepts="anthropic")
    assert said["text"] == "(pp. 1-100 of 120, the others are not shown of [it])"
    assert count_pages(io.BytesIO(data_of(pages)), "it")["pages"] == 100


def test_a_video_that_does_not_fit_becomes_stills(media: MediaStore) -> None:
    """Where even small pictures are too many, some of them are shown with their times."""
    ref = media.put(film(10)).segment(2, 10)
    blocks = expand_blocks([block_of(ref)], media, accepts="gemini", max_bytes=60_000)
    assert [block["type"] for block in blocks[:8]] == ["text", "image"] * 4
    assert blocks[0]["text"] == "(still at 0:03 of [it])"


def test_equal_media_are_sent_once(media: MediaStore) -> None:
    """Two documents that show the same picture cost its bytes once."""
    block = block_of(media.put(noise()))
    first, second = expand_blocks([block, block], media, accepts="gemini")
    assert first["type"] == "image"
    assert second["text"] == "(Shown above of [it].)"


class Unreliable(MemoryBackend):
    """A backend whose connection is gone."""

    def open(self, sha256: str) -> Any:
        """Fail as a foreign library does."""
        raise RuntimeError("connection lost")


def bad_media() -> dict[str, tuple[MediaStore, MediaRef, str]]:
    """What may be wrong with a medium, and what the model is told."""
    media = MediaStore.memory()
    clip_, paper, photo = media.put(mp4(2)), media.put(pdf(2)), jpeg(size=(300, 300))
    lost = MediaStore(Unreliable())
    unread = lost.put(png())
    return {
        "unknown": (media, MediaRef("0" * 64), "The file is missing"),
        "cut off": (media, media.put(photo[: len(photo) // 2]), "The file is damaged or has no such part"),
        "a damaged video": (media, media.put(mp4(2)[:900]), "The file is damaged or has no such part"),
        "a damaged sound": (media, media.put(wav(2)[:900]), "The file is damaged or has no such part"),
        "a damaged PDF": (media, media.put(b"%PDF-1.7\nnothing"), "The file is damaged or has no such part"),
        "behind the end": (media, clip_.segment(50, 60), "The file is damaged or has no such part"),
        "no such page": (media, paper.pages(9, 9), "The file is damaged or has no such part"),
        "no such track": (media, clip_.segment(0, 1, track="audio"), "The file is damaged or has no such part"),
        "a lost connection": (lost, unread, "The file cannot be read"),
    }


@pytest.mark.parametrize("name", bad_media())
def test_a_bad_medium_is_told_and_costs_nothing_else(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """The others are shown, the model reads why this one is not, and the log has the reason without bytes."""
    media, ref, reason = bad_media()[name]
    good = MediaStore.memory() if name == "a lost connection" else media
    with caplog.at_level(logging.WARNING, "langchain_gemini_mm"):
        (said,) = expand_blocks([block_of(ref)], media, accepts="gemini")
    assert said["type"] == "text"
    assert said["text"].startswith("(Not shown: ")
    assert said["text"].endswith(f" of [it]. {reason}.)")
    assert "[it]" in caplog.text
    assert "base64" not in caplog.text
    (shown,) = expand_blocks([block_of(good.put(png()))], good, accepts="gemini")
    assert shown["type"] == "image"


def test_a_malformed_reference_is_told(media: MediaStore) -> None:
    """A reference that was torn on its way is no error."""
    (said,) = expand_blocks([{"type": "image", "url": "mm://sha256-12"}], media, accepts="gemini")
    assert said["text"] == "(Not shown: media. The reference is malformed.)"


def test_older_blocks_and_other_blocks(media: MediaStore) -> None:
    """References in image_url blocks are understood; addresses of others are left as they are."""
    old = {"type": "image_url", "image_url": {"url": media.put(png()).uri}}
    other = {"type": "image", "url": "https://example.org/a.png"}
    shown, left = expand_blocks([old, other], media, accepts="openai")
    assert (shown["type"], left) == ("image", other)


def test_a_place_that_is_none(media: MediaStore) -> None:
    """A misspelt place is refused."""
    with pytest.raises(ValueError, match="'tools'"):
        expand_blocks([], media, accepts="gemini", place="tools")  # type: ignore[arg-type]


def test_reference_blocks_are_small_and_hold_no_bytes(media: MediaStore) -> None:
    """A document becomes its citation and words, then its media and the words between them, in order."""
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
    """What the metadata say is believed for their own file only."""
    ref, other = media.put(png()), media.put(jpeg())
    metadata = {"mime_type": "image/png", "media_sha256": ref.sha256}
    blocks = reference_blocks([Document(f"{ref.markdown}{other.markdown}", metadata=metadata)], cite=False)
    assert [(block["type"], block["mime_type"]) for block in blocks] == [
        ("image", "image/png"),
        ("file", "application/octet-stream"),
    ]


def test_blocks_are_the_same_each_time(library: tuple[list[Document], MediaStore]) -> None:
    """Equal documents give equal blocks, so that providers' prompt caches hold."""
    documents, media = library
    assert to_blocks(documents, media=media) == to_blocks(documents, media=media)
