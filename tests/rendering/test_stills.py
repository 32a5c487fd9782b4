"""Stills: the frame of a video at a given time."""

from __future__ import annotations

import io
from typing import Any

import pytest

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.media.av.stills import stills
from langchain_gemini_mm.testing import mp3, mp4
from tests.media.generate import clip

COLOURS = ("red", "green", "blue", "yellow")


def film(seconds: float = 8) -> bytes:
    """A video of four colours of equal duration."""
    from PIL import Image

    return mp4(seconds, fps=10, frame=lambda at: Image.new("RGB", (96, 64), COLOURS[min(int(at * 4), 3)]))


def colour_of(data: bytes) -> tuple[int, ...]:
    """The approximate colour in the middle."""
    from PIL import Image

    pixel: Any = Image.open(io.BytesIO(data)).getpixel((40, 30))
    return tuple(round(value / 128) for value in pixel)


def test_a_still_is_the_frame_at_its_time() -> None:
    """A still is the frame that a player shows at that time."""
    found = stills(io.BytesIO(film()), [1, 3, 5, 7])
    assert [still.time_s for still in found] == [1, 3, 5, 7]
    assert [colour_of(still.image.data) for still in found] == [(2, 0, 0), (0, 1, 0), (0, 0, 2), (2, 2, 0)]


def test_edges() -> None:
    """Outside of the recording the nearest frame is used; equal stills are returned once, in at most the given size."""
    found = stills(io.BytesIO(film()), [0, 7.95, 50], max_edge=48)
    assert [still.time_s for still in found] == [0, 7.9]
    assert {(still.image.width, still.image.height) for still in found} == {(48, 32)}


@pytest.mark.parametrize("data", [clip("avi", "mpeg4", 2), clip("matroska", "libx264", 2), clip("webm", "libvpx", 2)])
def test_other_containers(data: bytes) -> None:
    """Stills are made of any video that can be opened."""
    (found,) = stills(io.BytesIO(data), [1])
    assert found.image.mime_type == "image/jpeg"


@pytest.mark.parametrize("data", [mp3(), mp4()[:600], b"no video"], ids=["audio", "truncated", "not a video"])
def test_files_without_video_are_refused(data: bytes) -> None:
    """Without video there is an error that names the file."""
    with pytest.raises(ContentError, match=r"'a\.mp4'"):
        stills(io.BytesIO(data), [0], name="'a.mp4'")
