"""Model limits: media that a backend does not accept are refused with the limit, the value and the remedy."""

from __future__ import annotations

import pytest

from langchain_gemini_mm.errors import ContentError, MediaLimitError
from langchain_gemini_mm.interfaces import Backend
from langchain_gemini_mm.media.model_limits import check_extent, check_modality
from langchain_gemini_mm.media.probe import MediaFacts
from langchain_gemini_mm.models import model_spec

MODEL = model_spec("gemini-embedding-2")
IMAGE = {"modality": "image", "size": 10, "width": 10, "height": 10}
VIDEO = {"modality": "video", "size": 10, "width": 10, "height": 10}

ACCEPTED: dict[str, tuple[Backend, dict[str, object]]] = {
    "png": ("gemini", {**IMAGE, "mime_type": "image/png"}),
    "webp on Vertex": ("vertex", {**IMAGE, "mime_type": "image/webp"}),
    "a huge png on Gemini": ("gemini", {**IMAGE, "mime_type": "image/png", "width": 20_000}),
    "audio of exactly the limit": (
        "gemini",
        {"modality": "audio", "size": 9, "mime_type": "audio/mp3", "seconds": 180.0},
    ),
    "a large video": ("gemini", {**VIDEO, "mime_type": "video/mp4", "seconds": 120.0, "width": 20_000}),
    "six pages": ("gemini", {"modality": "pdf", "size": 9, "mime_type": "application/pdf", "pages": 6}),
}


@pytest.mark.parametrize(("backend", "facts"), ACCEPTED.values(), ids=ACCEPTED)
def test_media_within_the_limits_are_accepted(backend: Backend, facts: dict[str, object]) -> None:
    """Limits are inclusive."""
    check_extent(MediaFacts(**facts), MODEL, backend, name="'it'")  # type: ignore[arg-type]


OVER: dict[str, tuple[Backend, dict[str, object], tuple[str, ...]]] = {
    "long audio": (
        "gemini",
        {"modality": "audio", "size": 9, "mime_type": "audio/wav", "seconds": 180.5},
        ("180.50 s", "180 s", "the Gemini API", "MediaLoader"),
    ),
    "long video": (
        "vertex",
        {**VIDEO, "mime_type": "video/mp4", "seconds": 4000.0},
        ("4,000.00 s", "120 s", "Vertex AI", "MediaLoader"),
    ),
    "long PDF": (
        "gemini",
        {"modality": "pdf", "size": 9, "mime_type": "application/pdf", "pages": 7},
        ("7 pages", "6 pages", "MediaLoader"),
    ),
    "a wide image on Vertex": (
        "vertex",
        {**IMAGE, "mime_type": "image/png", "width": 16_385},
        ("16,385 x 10", "16,384", "Scale it down"),
    ),
}


@pytest.mark.parametrize(("backend", "facts", "message_parts"), OVER.values(), ids=OVER)
def test_media_over_a_limit_are_refused(
    backend: Backend, facts: dict[str, object], message_parts: tuple[str, ...]
) -> None:
    """The message contains the name, the value, the limit, the service and the remedy."""
    with pytest.raises(MediaLimitError) as caught:
        check_extent(MediaFacts(**facts), MODEL, backend, name="'it'")  # type: ignore[arg-type]
    assert [part for part in ("'it'", MODEL.name, *message_parts) if part not in str(caught.value)] == []


def test_a_text_model_accepts_no_media() -> None:
    """gemini-embedding-001 accepts text only, and the message states it."""
    with pytest.raises(ContentError, match="text only"):
        check_modality("image/png", model_spec("gemini-embedding-001"), "gemini", name="'it'")
