"""HTML for notebooks: images and players of limited size, with escaped text, without errors."""

from __future__ import annotations

import base64
import io
import pickle
import re
from html.parser import HTMLParser

import pytest
from langchain_core.documents import Document

from langchain_gemini_mm import Hit, Hits, MediaStore
from langchain_gemini_mm.media.av.clip import inspect
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.rendering.html_view import ALL_BYTES, HIT_BYTES
from langchain_gemini_mm.testing import mp3, mp4, pdf, png
from langchain_gemini_mm.testing.samples.clips import tone
from tests.rendering.test_media_blocks import film, noise


def hit_of(ref: MediaRef, media: MediaStore | None, **metadata: object) -> Hit:
    """A hit that shows media."""
    return Hit(Document(ref.markdown, id="a", metadata={"source": "a.file", **metadata}), 0.5, "cosine", 1, media=media)


class Tags(HTMLParser):
    """Collects the elements of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record an element."""
        self.open += tag != "img"
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Count a closed element."""
        self.open -= 1

    def handle_data(self, data: str) -> None:
        """Record the text."""
        self.text += data

    def media(self) -> list[tuple[str, str, bytes]]:
        """Tag, address without its bytes, and bytes."""
        found = []
        for tag, attributes in self.found:
            if source := attributes.get("src"):
                head, _, rest = source.partition(";base64,")
                encoded, _, fragment = rest.partition("#")
                found.append((tag, f"{head}#{fragment}", base64.b64decode(encoded, validate=True)))
        return found


def test_each_modality_is_shown(media: MediaStore) -> None:
    """Images and pages are images, audio and video have players, and each has a title."""
    talk = media.put(mp4(6, samples=tone(6)))
    for ref, tag in (
        (media.put(png()), "img"),
        (media.put(pdf(("one", "two"))).pages(2, 2), "img"),
        (media.put(mp3()), "audio"),
        (talk, "video"),
        (talk.segment(2, 4), "video"),
        (talk.segment(2, 4, track="audio"), "audio"),
    ):
        page = Tags(hit_of(ref, media, companion_text="words of it")._repr_html_())
        assert [name for name, _, _ in page.media()] == [tag]
        assert page.open == 0
        assert "[a.file" in page.text
        assert "words of it" in page.text
        assert "cosine 0.500" in page.text


def test_a_player_starts_at_the_second(media: MediaStore) -> None:
    """A copy that begins at an earlier keyframe is played from the start of the hit."""
    plain = media.put(mp4(20, fps=10))
    ((_, head, data),) = Tags(hit_of(plain.segment(13, 19), media)._repr_html_()).media()
    match = re.search(r"#t=([0-9.]+)", head)
    lead = float(match[1]) if match else 0.0
    assert 6 <= inspect(io.BytesIO(data)).duration_s - lead <= 6.2


def test_hits_stay_small(media: MediaStore) -> None:
    """The HTML of a hit and of a list of hits is bounded, however large the media are."""
    big = media.put(film(10))
    song = media.put(mp3(120))
    one = hit_of(big.segment(0, 8), media)._repr_html_()
    assert len(one) < HIT_BYTES + 10_000
    assert [tag for tag, _, _ in Tags(one).media()] == ["video"]
    ((tag, _, data),) = Tags(hit_of(song, media)._repr_html_()).media()
    assert tag == "audio"
    assert inspect(io.BytesIO(data)).duration_s <= 121
    page = Hits([hit_of(media.put(noise(480)), media)] * 30 + [hit_of(song, None)] * 40)._repr_html_()
    assert len(page) > 0.8 * ALL_BYTES
    assert len(page) < ALL_BYTES + 100_000
    assert "and 20 more" in page
    assert Tags(page).open == 0


def test_video_in_a_list_is_not_re_encoded(media: MediaStore) -> None:
    """In a list, a video that is too large is shown as a still with its audio."""
    big = media.put(film(10))
    page = Tags(Hits([hit_of(big.segment(0, 8), media)])._repr_html_())
    assert [tag for tag, _, _ in page.media()] == ["img", "audio"]


def test_text_is_escaped(media: MediaStore) -> None:
    """Names and texts of documents are escaped."""
    evil = "<script>alert(1)</script>'\"><img src=x onerror=alert(1)>"
    hit = hit_of(media.put(png()), media, companion_text=evil, source=evil)
    page = Tags(Hits([hit])._repr_html_())
    assert {tag for tag, _ in page.found} <= {"div", "b", "span", "img"}
    assert [set(attributes) for tag, attributes in page.found if tag == "img"] == [{"src", "alt", "title", "style"}]
    assert "<script>alert(1)</script>" in page.text


def test_missing_media_are_left_out(media: MediaStore) -> None:
    """Missing and damaged media, hits without a store and hits from a pickle are shown as text."""
    broken = media.put(png()[:60])
    pickled = pickle.loads(pickle.dumps(hit_of(broken, media)))
    for hit in (hit_of(MediaRef("0" * 64), media), hit_of(broken, media), hit_of(broken, None), pickled):
        page = Tags(hit._repr_html_())
        assert page.media() == []
        assert "[a.file]" in page.text
    assert Hits([])._repr_html_() == "<div>no hits</div>"


@pytest.mark.parametrize(
    ("hit", "expected"),
    [
        (Hit(Document("a"), 0.0164, "rank", 1), "rank 0.016"),
        (Hit(Document("a"), 0.9, "probability", 1, cosine=0.4, confidence=0.875), "probability 0.900 · cosine 0.400"),
        (Hit(Document("a"), 0.9, "probability", 1, cosine=0.4, confidence=0.875), "confidence 88%"),
    ],
)
def test_scores_are_labelled(hit: Hit, expected: str) -> None:
    """A score is shown with its type."""
    assert expected in Tags(hit._repr_html_()).text
