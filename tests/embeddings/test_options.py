"""Options of Vertex AI: in requests, estimates, limits and the fingerprint; refused elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_gemini_mm import ContentError, GeminiEmbeddings, MediaLimitError, MediaStore
from langchain_gemini_mm.testing import GeminiEmulator, mp4, pdf
from langchain_gemini_mm.testing.samples.clips import tone
from tests.media.recordings import recording, sound

PAPER = pdf(["one page of words"] * 2)


def _vertex(emulator: GeminiEmulator, **options: Any) -> GeminiEmbeddings:
    return GeminiEmbeddings(
        vertexai=True,
        base_url=emulator.url,
        api_key=emulator.api_key,
        output_dimensionality=128,
        max_concurrency=1,
        **options,
    )


OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "video_fps": ({"video_fps": 0.5}, {"videoMetadata": {"fps": 0.5}}, "1 video_fps=0.5"),
    "document_ocr": ({"document_ocr": True}, {"documentOcr": True}, "1 document_ocr=1"),
    "audio_track_extraction": (
        {"audio_track_extraction": True},
        {"audioTrackExtraction": True},
        "1 audio_track_extraction=1",
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
async def test_options_are_in_requests_and_the_fingerprint(name: str, emulator: GeminiEmulator) -> None:
    """Options are in every request, and vectors made with them are a separate embedding space."""
    chosen, expected_fields, preparation = OPTIONS[name]
    ours = _vertex(emulator, **chosen)

    ours.embed([mp4(2)])
    await ours.aembed([mp4(2)])

    for request in emulator.embed_requests:
        sent = request.body.get("requests", [request.body])[0]
        (part,) = sent["content"]["parts"]
        found = {key: value for key, value in {**sent["embedContentConfig"], **part}.items() if key in expected_fields}
        assert found == expected_fields
    assert ours.fingerprint["preparation"] == preparation
    assert _vertex(emulator).fingerprint["preparation"] == "1"


def test_no_options_are_sent_by_default(emulator: GeminiEmulator) -> None:
    """Without options the requests have no fields for them."""
    _vertex(emulator).embed([mp4(2), PAPER])

    assert not any(word in str(request.body) for request in emulator.embed_requests for word in ("fps", "Ocr", "Track"))


@pytest.mark.parametrize(
    ("option", "value"),
    [("video_fps", 0.5), ("document_ocr", True), ("audio_track_extraction", True)],
)
def test_the_gemini_api_has_no_such_options(option: str, value: Any) -> None:
    """The Gemini API refuses them in the constructor, with name and remedy."""
    with pytest.raises(ValueError, match=rf"{option}={value}.*option of Vertex AI.*project="):
        GeminiEmbeddings(api_key="k", **{option: value})


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("video_fps", 0.0, "above 0 and at most 24, got 0"),
        ("video_fps", 25, "at most 24, got 25"),
        ("image_max_edge", 0, "16 pixels or more, got 0"),
        ("video_max_edge", -5, "16 pixels or more, got -5"),
    ],
)
def test_values_out_of_range(emulator: GeminiEmulator, option: str, value: Any, message: str) -> None:
    """Values out of range are refused by name."""
    with pytest.raises(ValueError, match=f"{option} must be.*{message}"):
        _vertex(emulator, **{option: value})


def test_tokens_follow_the_options(emulator: GeminiEmulator) -> None:
    """Frames, audio and timestamps are estimated as the service counts them; the text of pages is a guess."""
    film = mp4(20, samples=tone(20))
    cases: list[tuple[dict[str, Any], dict[str, int]]] = [
        ({}, {"video": 20 * 66}),
        ({"video_fps": 0.5}, {"video": 10 * 66}),
        ({"video_fps": 4}, {"video": 80 * 66}),
        ({"audio_track_extraction": True}, {"video": 20 * 66, "audio": 20 * 25, "text": 20 * 10}),
    ]
    for options, expected in cases:
        ours = _vertex(emulator, **options)
        ours.embed([film])
        assert ours.usage.estimated_tokens == expected
        assert ours.usage.reported_tokens in (0, sum(expected.values()))

    silent = _vertex(emulator, audio_track_extraction=True)
    silent.embed([mp4(20)])
    assert silent.usage.estimated_tokens == {"video": 20 * 66}
    reading = _vertex(emulator, document_ocr=True)
    reading.embed([PAPER])
    usage = reading.usage
    assert usage.estimated_tokens.keys() == {"pdf", "text"}
    # Where the service reports the sum, the estimates of the modalities are scaled to it.
    assert sum(usage.estimated_tokens.values()) == pytest.approx(usage.reported_tokens or 2 * 858, abs=1)


def test_limits_follow_the_options(emulator: GeminiEmulator) -> None:
    """A video may have 120 frames, and 80 seconds when its audio is processed."""
    cases: list[tuple[dict[str, Any], float, float]] = [
        ({}, 120, 121),
        ({"video_fps": 2}, 60, 61),
        ({"video_fps": 0.5}, 200, 241),
        ({"audio_track_extraction": True}, 80, 81),
    ]
    for options, taken, refused in cases:
        ours = _vertex(emulator, **options)
        assert len(ours.embed([mp4(taken, fps=1)])) == 1
        with pytest.raises(MediaLimitError, match="s of video"):
            ours.embed([mp4(refused, fps=1)])


def test_segments_keep_their_audio_where_it_is_processed(emulator: GeminiEmulator, media: MediaStore) -> None:
    """A segment has audio only if the service processes it."""
    ref = media.put(recording(seconds=12))
    for options, seconds in (({}, 0), ({"audio_track_extraction": True}, 4)):
        _vertex(emulator, media=media, **options).embed([ref.segment(4, 8)])
        samples, rate = sound(emulator.embed_requests[-1].parts[0].data or b"")
        assert len(samples) / rate == pytest.approx(seconds, abs=0.3)


def test_metadata_of_a_part_is_not_dropped(emulator: GeminiEmulator) -> None:
    """A Part that selects frames is refused, because all videos of a space are processed alike."""
    from google.genai.types import Blob, Part, VideoMetadata

    part = Part(inline_data=Blob(data=mp4(1), mime_type="video/mp4"), video_metadata=VideoMetadata(fps=2))

    with pytest.raises(ContentError, match=r"video_metadata.*MediaRef.segment.*video_fps"):
        _vertex(emulator).embed([part])


def test_a_text_model_takes_no_parts(emulator: GeminiEmulator, media: MediaStore) -> None:
    """A text model refuses a part of a file as it refuses the file."""
    ref = media.put(PAPER).pages(1, 1)

    with pytest.raises(ContentError, match=r"takes text only.*pdf"):
        GeminiEmbeddings(media=media, model="gemini-embedding-001").embed([ref])
