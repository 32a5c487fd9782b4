"""Pages and segments are compared by what is sent: a change elsewhere in their file embeds none of them again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import PIL.Image
from langchain_core.stores import InMemoryByteStore

from langchain_gemini_mm import GeminiEmbeddings, MediaStore
from langchain_gemini_mm.loaders import Segments
from langchain_gemini_mm.sync.ledger import SourceEntry
from langchain_gemini_mm.testing import mp3, mp4, pdf
from langchain_gemini_mm.testing.samples.clips import tone
from tests.sync.conftest import MirroredFolder, documents_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.Image import Image

    from langchain_gemini_mm.testing import GeminiEmulator
    from tests.vectorstores.contract_base import Call

PAGES = tuple(f"page {number} about something" for number in range(20))


async def test_another_title_embeds_nothing(run: Any, mirrored: MirroredFolder) -> None:
    """The pages of a PDF are known although its bytes are others, also after several changes."""
    mirrored.write(long_pdf=pdf(PAGES))
    assert (await run()).embedded == 20
    for title in ("Draft", "Final", "Final (2)"):
        mirrored.write(long_pdf=pdf(PAGES, title=title))
        report = await run()
        assert (report.changed, report.embedded) == (("work/long.pdf",), 0)
    found = [one for one in documents_of(mirrored.retriever).values() if one.metadata["source"] == "work/long.pdf"]
    assert len(found) == 20
    assert len({one.metadata["media_sha256"] for one in found}) == 1


async def test_an_inserted_page_is_embedded_alone(run: Any, mirrored: MirroredFolder) -> None:
    """The pages behind it are known under other numbers."""
    mirrored.write(long_pdf=pdf(PAGES))
    await run()
    mirrored.write(long_pdf=pdf(("a new page", *PAGES[:10], *PAGES[12:])))
    assert (await run()).embedded == 1
    pages = [one.metadata for one in documents_of(mirrored.retriever).values() if one.metadata["title"] == "long"]
    assert sorted(page["first_page"] for page in pages) == list(range(1, 20))


async def test_a_longer_recording_embeds_its_new_segments(run: Any, mirrored: MirroredFolder) -> None:
    """Segments before the end of the shorter one are known, of the video and of its sound."""
    segments = Segments(video_s=5, audio_s=5)
    mirrored.write(talk_mp4=mp4(12, frame=turning(12), samples=tone(12)), memo_mp3=mp3(12))
    await run(segments=segments)
    mirrored.write(talk_mp4=mp4(17, frame=turning(17), samples=tone(17)), memo_mp3=mp3(17))
    report = await run(segments=segments)
    assert sorted(report.changed) == ["work/memo.mp3", "work/talk.mp4"]
    found = [one.metadata for one in documents_of(mirrored.retriever).values() if "end_s" in one.metadata]
    assert len(found) == 3 * 4
    assert report.embedded == 3 * 2


def turning(seconds: float) -> Callable[[float], Image]:
    """A video whose colour depends on the seconds since its start."""
    return lambda share: PIL.Image.new("RGB", (64, 64), (int(share * seconds) * 13 % 256, 80, 120))


async def test_a_moved_and_changed_file(run: Any, mirrored: MirroredFolder) -> None:
    """Its pages are known after a move, too."""
    mirrored.write(long_pdf=pdf(PAGES))
    await run()
    (mirrored.folder / "long.pdf").rename(mirrored.folder / "moved.pdf")
    assert (await run()).embedded == 0
    mirrored.write(moved_pdf=pdf(PAGES, title="moved"))
    assert (await run()).embedded == 0


async def test_equal_pages_are_embedded_once(run: Any, mirrored: MirroredFolder) -> None:
    """Two files of one run with the same pages, and pages that a file repeats, are sent once."""
    mirrored.write(a_pdf=pdf(("cover", "same", "same")), b_pdf=pdf(("same", "other", "same"), title="b"))
    assert (await run()).embedded == 3
    assert (len(mirrored.contents["work/a.pdf"]), len(mirrored.contents["work/b.pdf"])) == (3, 3)


def test_an_entry_without_contents_is_read() -> None:
    """Entries of earlier versions do not have them."""
    entry = SourceEntry.from_text('{"ids": ["a", "b"], "sha256": "x", "size": 3, "recipe": "r", "beside": ""}')
    assert (entry.ids, entry.contents, entry.content_of) == (("a", "b"), (), {})
    known = entry.with_contents({"b": "y", "c": "z"})
    assert SourceEntry.from_text(known.to_text()).content_of == {"b": "y"}


async def test_a_cache_knows_converted_media(call: Call, emulator: GeminiEmulator) -> None:
    """A cache of embeddings has pages and segments under what is sent, and a new title costs nothing."""
    media, cache = MediaStore.memory(), InMemoryByteStore()
    for options in ({}, {"cache": cache}):
        with GeminiEmbeddings(media=media, output_dimensionality=128, **options) as embeddings:
            before = emulator.embedded
            vectors = []
            for title in (None, "a title"):
                ref = media.put(pdf(PAGES[:3], title=title))
                contents = [ref.pages(page, page).markdown for page in (1, 2, 3)]
                vectors.append(await call(embeddings, "embed_documents", contents))
            assert vectors[0] == vectors[1]
            assert emulator.embedded - before == (3 if options else 6), options
            assert embeddings.usage.cached == (3 if options else 0)
