"""Recordings are shown to a chat model in a codec that it plays, whatever their container."""

from __future__ import annotations

import base64
import io

import pytest

from langchain_gemini_mm import MediaStore
from langchain_gemini_mm.media.av.clip import inspect
from langchain_gemini_mm.rendering import expand_blocks
from tests.media.recordings import recording


@pytest.mark.parametrize(("video", "sent_as_it_is"), [("libx264", True), ("mpeg4", False), ("mjpeg", False)])
def test_whole_videos_are_checked_by_codec(video: str, sent_as_it_is: bool) -> None:
    """An MP4 of an uncommon codec is encoded again; a common one is unchanged."""
    media = MediaStore.memory()
    data = recording("mov" if video == "mjpeg" else "mp4", video=video, audio=None, seconds=2)
    block = {"type": "video", "url": media.put(data).uri, "mime_type": "video/mp4"}
    (shown,) = expand_blocks([block], media, accepts="gemini")
    given = base64.b64decode(shown["base64"])
    clip = inspect(io.BytesIO(given))
    assert clip.video is not None
    assert clip.video.codec == "h264"
    assert (given == data) == sent_as_it_is
