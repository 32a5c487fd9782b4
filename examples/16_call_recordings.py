"""Find what callers wanted, and a take in raw footage, by intent and without transcripts.

Recordings are cut into segments that are embedded as audio, so a hit has the minute to listen to. However long a file
is, only the segments that are being embedded are in memory.

Run: python examples/16_call_recordings.py     (without GOOGLE_API_KEY it runs on the emulator; with it, install
espeak-ng)
"""

from __future__ import annotations

import os
import tempfile
import tracemalloc
import wave
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm import (
    GeminiEmbeddings,
    LocalVectorStore,
    MediaLoader,
    MediaStore,
    MultimodalRetriever,
    citation,
)
from langchain_gemini_mm.loaders import Segments
from langchain_gemini_mm.testing import GeminiEmulator, mp3, mp4
from langchain_gemini_mm.testing.samples import drawings
from langchain_gemini_mm.testing.samples.clips import RATE, surf
from langchain_gemini_mm.testing.samples.speech import speech

MINUTES = 20
NIGHT = {4: "I want to cancel my contract, it is too expensive.", 15: "The heating is cold and a pipe is dripping."}
CALL = {1: "Good morning, how can I help?", 32: "My parcel has not arrived, where is it?"}
FOOTAGE = {
    2: "Scene four, action.",
    34: "Stop, I forgot my words, once more please.",
    66: "And here comes the dog.",
}
LINE = 0.02 * surf(90)


def recording(seconds: int, said: dict[int, str]) -> NDArray[np.float32]:
    """Return `(n,)` samples of a noisy line, with sentences at their seconds."""
    samples = LINE[: seconds * RATE].copy()
    for second, sentence in said.items():
        voice = speech(sentence)
        samples[second * RATE :][: len(voice)] = voice
    return samples


def record(folder: Path) -> None:
    """Write a call, raw footage with audio, and the recording of a whole night shift, minute by minute."""
    (folder / "call-0931.mp3").write_bytes(mp3(samples=recording(60, CALL)))
    scenes = [drawings.kitten(), drawings.beach(), drawings.puppy()]
    film = mp4(90, frame=lambda moment: scenes[int(moment * 3)], samples=recording(90, FOOTAGE), fps=1)
    (folder / "footage.mp4").write_bytes(film)
    with wave.open(str(folder / "night-shift.wav"), "wb") as line:
        line.setparams((1, 2, RATE, 0, "NONE", "not compressed"))
        for minute in range(MINUTES):
            samples = recording(60, {10: NIGHT[minute]} if minute in NIGHT else {})
            line.writeframes((samples * 32_767).astype("<i2").tobytes())


with ExitStack() as stack:
    work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    service: dict[str, Any] = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator(keep_requests=0))
        service = {"api_key": emulator.api_key, "base_url": emulator.url}
    (work / "calls").mkdir()
    record(work / "calls")

    media = MediaStore(work / "library/media")
    embeddings = stack.enter_context(GeminiEmbeddings(media=media, output_dimensionality=768, **service))
    store = stack.enter_context(LocalVectorStore(work / "library/index.db", embeddings))
    calls = MultimodalRetriever(store=store, k=1)

    tracemalloc.start()
    documents = MediaLoader(work / "calls", media, segments=Segments(audio_s=30, video_s=30)).load()
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    size = sum(path.stat().st_size for path in (work / "calls").iterdir()) / 1e6
    print(f"{size:.0f} MB cut into {len(documents)} segments with {peak:.1f} MB of memory")
    assert peak < size / 3
    calls.add_documents(documents)

    for intent, source, second in (
        ("a caller wants to cancel the contract because it is too expensive", "calls/night-shift.wav", 240),
        ("cold heating, and a pipe that drips", "calls/night-shift.wav", 900),
        ("where is my parcel", "calls/call-0931.mp3", 30),
        ("the take in which somebody forgot the words", "calls/footage.mp4", 30),
    ):
        (hit,) = calls.search(intent, modalities=["audio"])
        print(f"{citation(hit):30} {intent}")
        found = hit.document.metadata
        assert (found["source"], found["start_s"]) == (source, second)
        assert "companion_text" not in found  # no transcript: the audio itself was found
    (hit,) = calls.search(drawings.puppy("wheat"), modalities=["video"])
    assert citation(hit) == "[calls/footage.mp4 1:00-1:30]"
