"""What independent programs say about a file: whether it can be used, and what it holds.

It runs in an environment of its own, with pypdf and pyvips: it reads a corpus and paths from standard input, and
prints a verdict for each, as JSON. Images are decoded by libvips or else ffmpeg, audio and video by ffmpeg, PDFs are
opened with pypdf, mails with `email` of the standard library; `file` recognizes texts.
"""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from email import message_from_bytes, policy
from pathlib import Path

DURATION_TOLERANCE_S = 0.15
IMAGES = {
    "image/png", "image/jpeg", "image/gif", "image/tiff", "image/bmp", "image/x-ms-bmp", "image/webp", "image/avif",
    "image/jp2", "image/jpx", "image/x-jp2-codestream", "image/heic", "image/heif",
}  # fmt: skip
"""Types of images that docs/loading.md lists, by the names of `file`."""
NOT_PROSE = {".svg", ".eps", ".ps", ".rtf", ".ipynb", ".xbm", ".xpm", ".ppm", ".pgm", ".pbm", ".pnm", ".p7", ".pfm"}
"""Endings of text that docs/loading.md leaves out."""
_NO_ERROR = re.compile(r"[a-z_0-9]+=\s*\S*$|Stream map|To ignore this")
_LETTERS = re.compile(r"[^\W\d_a-zA-Z]")


@dataclass(frozen=True)
class Verdict:
    """The opinion of an independent reader on one file."""

    usable: bool
    note: str
    """What it says."""
    seconds: float | None = None
    """Length of a recording."""
    pages: int | None = None
    text: str | None = None
    subject: str | None = None

    def difference(self, source: str, documents: list[dict]) -> str | None:
        """How Documents differ from what the reader found; None if they do not."""
        if self.seconds is not None:
            return self._other_length(documents)
        if self.pages is not None:
            found = {page for one in documents for page in range(one.get("first_page", 1), one.get("last_page", 1) + 1)}
            found = {page for page in found if any(one["source"] == source for one in documents)}
            return None if len(found) == self.pages else f"{len(found)} pages"
        if self.text is not None:
            return self._other_letters("".join(one["text"] for one in documents))
        if self.subject is not None:
            titles = {one["title"] for one in documents if one["mime_type"] == "message/rfc822"}
            same = titles == {" ".join(self.subject.split())} or (titles and not self.subject)
            return None if same else f"titles {sorted(titles)}"
        return None

    def _other_length(self, documents: list[dict]) -> str | None:
        ends = [one["end_s"] for one in documents if one.get("end_s") is not None]
        if not ends or self.seconds is None or abs(max(ends) - self.seconds) <= DURATION_TOLERANCE_S:
            return None
        return f"{max(ends):.2f} s"

    def _other_letters(self, text: str) -> str | None:
        """Compare the letters beyond ASCII, because chunks overlap and markup is removed."""
        ours, theirs = (set(_LETTERS.findall(html.unescape(one))) for one in (text, self.text or ""))
        if not ours - theirs and len(theirs - ours) <= len(theirs) / 20:
            return None
        return f"letters {''.join(sorted(ours - theirs))[:30]!r} added, {''.join(sorted(theirs - ours))[:30]!r} missing"


class Reader:
    """Judges the files of one package.

    Args:
        corpus: what its files are, as in `foreign_files.Package`.
    """

    def __init__(self, corpus: str) -> None:
        self._corpus = corpus

    def judge(self, paths: Mapping[str, Path]) -> dict[str, Verdict]:
        """Judge files by their sources."""
        listed = "\n".join(map(str, paths.values()))
        types = _output("file", "--brief", "--mime", "--files-from", "-", text=listed).splitlines()
        with ThreadPoolExecutor(2) as threads:
            verdicts = threads.map(self._judged, paths, paths.values(), types)
            return dict(zip(paths, verdicts, strict=True))

    def _judged(self, source: str, path: Path, described: str) -> Verdict:
        mime_type, _, charset = described.partition("; charset=")
        if path.stat().st_size == 0:
            return Verdict(False, "empty")
        if mime_type == "application/pdf":
            return _pdf(path)
        if mime_type in IMAGES:
            return _image(path, mime_type)
        if self._corpus == "mail" or mime_type == "message/rfc822":
            return _mail(path, mime_type)
        if self._corpus == "encodings":
            return _encoded(source, path)
        if charset != "binary" and mime_type.partition("/")[0] in ("text", "application", "message"):
            return Verdict(path.suffix.lower() not in NOT_PROSE, described)
        if self._corpus == "audio" or mime_type.startswith(("audio/", "video/")):
            return _recording(path, mime_type)
        return Verdict(False, described)


def _image(path: Path, mime_type: str) -> Verdict:
    import pyvips

    try:
        pyvips.Image.new_from_file(str(path), access="sequential", fail_on="truncated").avg()
        return Verdict(True, f"{mime_type}: decoded by libvips")
    except pyvips.Error as error:
        told = " ".join(str(error).split())[:150]
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-frames:v", "1", "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=60)
    wrong = [line for line in done.stderr.decode(errors="replace").splitlines() if "exif" not in line.lower()]
    if done.returncode == 0 and not wrong:
        return Verdict(True, f"{mime_type}: decoded by ffmpeg")
    return Verdict(False, f"{mime_type}: libvips: {told}; ffmpeg: {' '.join(wrong)[:150]}")


def _recording(path: Path, mime_type: str) -> Verdict:
    """Decode the first audio track, or else the first video track, and measure its length."""
    declared = _output(
        "ffprobe", "-v", "quiet", "-show_entries", "format=duration", "-of", "csv=p=0", str(path)
    ).strip()
    lengths, told = [0.0], ""
    for stream, form in (("0:a:0", ["-ac", "1", "-ar", "8000", "-f", "s16le"]), ("0:V:0", ["-f", "null"])):
        command = [
            "ffmpeg",
            "-v",
            "error",
            "-nostdin",
            "-i",
            str(path),
            "-map",
            stream,
            "-progress",
            "pipe:2",
            *form,
            "-",
        ]
        done = subprocess.run(command, capture_output=True, check=False, timeout=120)
        times = re.findall(rb"out_time_us=(\d+)", done.stderr)
        lines = done.stderr.decode(errors="replace").splitlines()
        wrong = " ".join(line for line in lines if not _NO_ERROR.match(line))[:150]
        if done.returncode == 0:
            lengths.append(len(done.stdout) / 16_000 if done.stdout else int(times[-1]) / 1e6 if times else 0.0)
        told = told or wrong
    seconds = max(lengths)
    # The length that an MP3 file declares is an estimate.
    whole = (
        not told
        or mime_type == "audio/mpeg"
        or not declared.replace(".", "").isdigit()
        or float(declared) < seconds + 0.5
    )
    note = f"{mime_type}: {seconds:.2f} of {declared} s decoded; {told}"
    return Verdict(seconds > 0 and whole, note, seconds=seconds if seconds > 0 and whole else None)


def _pdf(path: Path) -> Verdict:
    from pypdf import PdfReader

    try:
        reader = PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            return Verdict(False, "locked")
        return Verdict(bool(reader.pages), f"{len(reader.pages)} pages", pages=len(reader.pages))
    except Exception as error:  # noqa: BLE001  pypdf raises exceptions of many types for damaged files
        return Verdict(False, f"pypdf: {type(error).__name__}: {error}"[:150])


def _mail(path: Path, mime_type: str) -> Verdict:
    data = path.read_bytes()
    message = message_from_bytes(data, policy=policy.default)
    if not message.keys():
        return Verdict(False, f"{mime_type}: no headers")
    try:
        subject = str(message["subject"] or "")
    except Exception:  # noqa: BLE001  email raises exceptions of many types for malformed headers
        subject = ""
    return Verdict(True, f"{mime_type}, {subject!r}", subject=subject)


def _encoded(source: str, path: Path) -> Verdict:
    """A text whose folder is named after its encoding, and perhaps its language."""
    folder, _, inside = source.partition("/")
    if not inside:
        return Verdict(True, "a text outside of these folders")
    codec = re.sub(r"-[a-z]{5,}$", "", folder)
    codec = {"MacCyrillic": "mac_cyrillic", "MacRoman": "mac_roman"}.get(codec, codec)
    try:
        text = path.read_bytes().decode(codec)
    except LookupError:
        return Verdict(False, f"Python has no encoding {codec}")
    except UnicodeDecodeError as error:
        return Verdict(True, f"not quite {codec}: {error.reason}")
    return Verdict(True, folder, text=text)


def _output(*command: str, text: str = "") -> str:
    return subprocess.run(command, input=text, capture_output=True, check=False, text=True).stdout


if __name__ == "__main__":
    given = json.load(sys.stdin)
    found = Reader(given["corpus"]).judge({source: Path(path) for source, path in given["paths"].items()})
    json.dump({source: asdict(verdict) for source, verdict in found.items()}, sys.stdout)
