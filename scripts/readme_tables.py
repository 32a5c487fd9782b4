"""Write the table of media limits in README.md from `models.MODELS`.

Run: python -m scripts.readme_tables
"""

from __future__ import annotations

import re
from pathlib import Path

from langchain_gemini_mm.models import DEFAULT_MODEL, VERTEX_HEARD_SECONDS, MediaLimit, model_spec

README = Path(__file__).resolve().parent.parent / "README.md"
NAMES = {
    "audio/mp3": "MP3",
    "audio/wav": "WAV",
    "image/avif": "AVIF",
    "image/bmp": "BMP",
    "image/heic": "HEIC",
    "image/heif": "HEIF",
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/webp": "WebP",
    "video/mp4": "MP4",
    "video/mpeg": "MPEG",
    "video/quicktime": "MOV",
}


def limits() -> str:
    """Return a Markdown table with a row per modality and a column per backend."""
    spec = model_spec(DEFAULT_MODEL)
    text = f"{spec.tokens:,} tokens in total"
    lines = ["| | Gemini API | Vertex AI |", "| --- | --- | --- |", f"| text | {text} | {text} |"]
    for modality, extra in (
        ("image", ("", "")),
        ("audio", ("", "")),
        ("video", ("; the audio stream is ignored", f"; {VERTEX_HEARD_SECONDS:g} s with `audio_track_extraction`")),
        ("pdf", ("", "; text is read with `document_ocr`")),
    ):
        found = [spec.limit(modality, "gemini"), spec.limit(modality, "vertex")]  # type: ignore[arg-type]
        cells = [_told(limit) + more for limit, more in zip(found, extra, strict=True)]
        lines.append(f"| {'PDF' if modality == 'pdf' else modality} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _told(limit: MediaLimit | None) -> str:
    if limit is None:
        return "none"
    said = [", ".join(NAMES[kind] for kind in limit.mime_types if kind in NAMES)]
    said += [f"{limit.per_item} per content"] if limit.per_item else []
    said += [f"{limit.seconds:g} s"] if limit.seconds else []
    said += [f"{limit.pages} pages"] if limit.pages else []
    return "; ".join(filter(None, said))


def with_tables(text: str) -> str:
    """Replace the table between the markers by the current one."""
    return re.sub(
        r"(<!-- limits -->\n).*?(<!-- /limits -->)",
        lambda found: f"{found[1]}{limits()}\n{found[2]}",
        text,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
