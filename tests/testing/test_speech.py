"""Sentences encoded in audio: decoded after codecs and cuts, by the emulator, and only if they are complete."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from google.genai.types import Part

from langchain_gemini_mm.media.av.cut import cut
from langchain_gemini_mm.testing import mp3, mp4, wav
from langchain_gemini_mm.testing.samples.clips import RATE
from langchain_gemini_mm.testing.samples.speech import heard, heard_in, in_tones, speech

SENTENCE = "Swifts sleep on the wing, high above the clouds."
FILES = {
    "WAV": lambda samples: wav(samples=samples),
    "MP3": lambda samples: mp3(samples=samples),
    "AAC in MP4": lambda samples: mp4(2, samples=samples),
}


def texts_in(data: bytes) -> list[str]:
    """The sentences in a file."""
    with av.open(io.BytesIO(data), "r") as container:
        return heard_in(container.decode(audio=0))


@pytest.mark.parametrize("file_format", FILES)
def test_codecs(file_format):
    """Two sentences are decoded in their order, next to noise, in every format."""
    noise = np.random.default_rng(1).normal(0, 0.02, 3 * RATE).astype(np.float32)
    samples = np.concatenate([noise, speech(SENTENCE), noise, in_tones("Grüße")])
    assert texts_in(FILES[file_format](samples)) == [SENTENCE, "Grüße"]


def test_every_offset():
    """Sentences are decoded wherever their tones begin relative to the analysis window."""
    tones = in_tones(SENTENCE)
    for before in range(0, 160, 9):
        assert heard(np.concatenate([np.zeros(before, dtype=np.float32), tones])) == [SENTENCE]


def test_half_a_sentence_is_not_decoded():
    """A truncated sentence, silence, noise and empty audio contain no text."""
    tones = in_tones(SENTENCE)
    noise = np.random.default_rng(2).normal(0, 0.3, 20 * RATE).astype(np.float32)
    silence = np.zeros(RATE, dtype=np.float32)
    for samples in (tones[: len(tones) - RATE // 4], tones[RATE // 2 :], silence, noise, silence[:0]):
        assert heard(samples) == []


def test_cut():
    """The audio of a part of a video contains the sentence of that part, and no other."""
    silence = np.zeros(20 * RATE, dtype=np.float32)
    samples = np.concatenate([silence, speech(SENTENCE), silence, speech("Mind the stairs."), silence])
    film = io.BytesIO(mp4(len(samples) / RATE, samples=samples))
    assert [texts_in(cut(film, start, start + 15, limit_s=180, track="audio").data) for start in (0.0, 15.0, 30.0)] == [
        [],
        [SENTENCE],
        [],
    ]


def test_the_emulator_decodes_speech(embed):
    """A question is nearer to the audio with the sentence that contains its words."""
    question, said, other = embed(
        "task: search result | query: when do swifts sleep?",
        *[
            Part.from_bytes(data=wav(samples=in_tones(text)), mime_type="audio/wav")
            for text in (SENTENCE, "The stairs")
        ],
    )
    assert question @ said > question @ other + 0.2


def test_too_long():
    """More than 255 bytes are refused."""
    with pytest.raises(ValueError, match="255"):
        in_tones("ä" * 128)
