"""An emulator of the embedding service and sample media files, for tests, demos and benchmarks without an API key.

`python -m langchain_gemini_mm.testing` serves the emulator for other processes.
"""

from __future__ import annotations

from langchain_gemini_mm.testing.emulator import GeminiEmulator
from langchain_gemini_mm.testing.faults import Failure
from langchain_gemini_mm.testing.files import UploadedFile
from langchain_gemini_mm.testing.samples.clips import mp3, mp4, wav
from langchain_gemini_mm.testing.samples.images import jpeg, png
from langchain_gemini_mm.testing.samples.papers import pdf
from langchain_gemini_mm.testing.samples.write import write_samples
from langchain_gemini_mm.testing.service import Received
from langchain_gemini_mm.testing.settings import Settings
from langchain_gemini_mm.testing.transport.wire import SentItem, SentPart

__all__ = [
    "Failure",
    "GeminiEmulator",
    "Received",
    "SentItem",
    "SentPart",
    "Settings",
    "UploadedFile",
    "jpeg",
    "mp3",
    "mp4",
    "pdf",
    "png",
    "wav",
    "write_samples",
]
