"""Conversion of media: parts cut out of their file, and files converted and scaled to what a model takes."""

from __future__ import annotations

import io
import itertools
import math
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from langchain_gemini_mm.batching import CancelToken
from langchain_gemini_mm.content.mime_types import HEAD_BYTES, modality_of, sniff
from langchain_gemini_mm.content.parts import Part
from langchain_gemini_mm.errors import ContentError, MediaLimitError, StoreError
from langchain_gemini_mm.interfaces import Modality
from langchain_gemini_mm.media.av.segments import SegmentFormat, Track, Window
from langchain_gemini_mm.media.facts import known_facts
from langchain_gemini_mm.media.model_limits import too_long
from langchain_gemini_mm.media.probe import probe

if TYPE_CHECKING:
    from langchain_gemini_mm.media.av.clip import Clip
    from langchain_gemini_mm.media.av.segments import Cut

LEAD = 0.5
"""A copied segment hides what is between a keyframe and its start, by this share of its length at most; with an earlier
keyframe it is re-encoded."""
_SEEK_COST_S = 10.0
"""The cost of a seek, as seconds of the recording that could be read in the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaTarget:
    """What a consumer of media takes of one modality."""

    mime_types: tuple[str, ...]
    """Accepted MIME types; the first is preferred where a file has to be converted."""
    max_bytes: int | None = None
    """Largest file, in bytes."""
    max_edge: int | None = None
    """Longer side of an image or video, in pixels; larger ones are scaled down."""
    max_seconds: float | None = None
    """Longest segment, in seconds, including what a copied segment hides; None for no limit."""
    keyframes_only: bool = False
    """Encode only the keyframes of a video, as a preview."""
    skip_blank: bool = False
    """Leave out segments of silent audio, or of black video."""
    consumer: str = "the model"
    """Who takes the media, for error messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionRequest:
    """A file, or a part of it, that is needed in another form."""

    part: Part
    """The media to read."""
    start_s: float | None = None
    """Start of the segment in seconds; None for the whole recording."""
    end_s: float | None = None
    """End of the segment in seconds."""
    pages: tuple[int, int] | None = None
    """First and last page of a PDF, 1-based and inclusive; None for all pages."""
    track: Track | None = None
    """Only the audio or only the video stream of a recording; None for both."""
    position: int | None = None
    """Position of the input that asks for it, for error messages."""

    @classmethod
    def of(cls, part: Part, *, track: Track | None = None, position: int | None = None) -> Self:
        """Request what the fragment of a part's reference selects, or the whole file.

        Args:
            part: media of any modality.
            track: the streams to keep of a video; an audio part is always its audio stream.
            position: of the input that asks for it, from 0.
        """
        track = "audio" if part.modality == "audio" else track
        ref = part.ref
        if ref is None:
            return cls(part=part, track=track, position=position)
        pages = None if ref.first_page is None or ref.last_page is None else (ref.first_page, ref.last_page)
        return cls(part=part, start_s=ref.start_s, end_s=ref.end_s, pages=pages, track=track, position=position)

    @property
    def modality(self) -> Modality:
        """Modality of the result."""
        return "audio" if self.track == "audio" else self.part.modality

    def failed(self, message: str) -> ContentError:
        """An error about this request."""
        error = ContentError(message)
        return error if self.position is None else error.about_input(self.position)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedPart:
    """The bytes that are sent for a request."""

    request: ConversionRequest
    data: bytes = field(repr=False)
    mime_type: str
    changed: bool = True
    """False where `data` are the bytes of the file as it is."""
    start_s: float | None = None
    """Actual start of a segment in seconds."""
    end_s: float | None = None
    """Actual end of a segment in seconds."""
    description: str = ""
    """What it shows, where that is not simply what was requested, such as `still at 12:45`."""

    @property
    def modality(self) -> Modality:
        """Of the bytes; for example image, where a video was requested and a still is given."""
        return modality_of(self.mime_type) or "image"

    @property
    def base64_bytes(self) -> int:
        """Size as base64, in bytes."""
        return -(-len(self.data) // 3) * 4


def by_file(requests: Iterable[ConversionRequest]) -> list[list[ConversionRequest]]:
    """Group requests by the file that they read, each part once; `convert` takes one group."""
    files: dict[object, dict[Part, ConversionRequest]] = {}
    for request in requests:
        part = request.part
        file = part.ref.sha256 if part.ref is not None else part.path or part
        files.setdefault(file, {}).setdefault(part, request)
    return [list(group.values()) for group in files.values()]


def convert(
    requests: Sequence[ConversionRequest],
    targets: Mapping[Modality, MediaTarget],
    file: BinaryIO,
    *,
    cancel: CancelToken | None = None,
) -> Iterator[ConvertedPart]:
    """Convert everything that is requested of one file, in one reading of it where that is cheaper than seeking.

    ```python
    import io

    from langchain_gemini_mm.content.parts import to_parts
    from langchain_gemini_mm.media.convert import ConversionRequest, MediaTarget, convert
    from langchain_gemini_mm.testing import png

    (part,) = to_parts(png(size=(600, 400)))
    targets = {"image": MediaTarget(mime_types=("image/png", "image/jpeg"), max_edge=300)}
    with part.open(None) as file:
        (converted,) = convert([ConversionRequest.of(part)], targets, file)
    assert converted.changed
    ```

    Args:
        requests: all of one file, of at least one part.
        targets: what is taken, for the modality of each request.
        file: open, seekable; it is left open.
        cancel: ends the conversion early, without the remaining results.

    Returns:
        Results in the order in which they become ready; those of silent or black segments are left out where the target
        says so.

    Raises:
        ContentError: the file is damaged, or has no such part; the error names the input.
        MediaLimitError: a result would be larger or longer than the target allows.
        MissingExtraError: the library that opens this type is not installed.
    """
    convert_one = {"image": _images, "pdf": _pages}.get(requests[0].part.modality, _segments)
    for converted in convert_one(requests, targets, file):
        if cancel is not None and cancel.is_set():
            return
        yield converted


def _images(
    requests: Sequence[ConversionRequest], targets: Mapping[Modality, MediaTarget], file: BinaryIO
) -> Iterator[ConvertedPart]:
    from langchain_gemini_mm.media.images.transform import prepared

    target = targets["image"]
    for request in requests:
        image = prepared(
            file,
            accepted=frozenset(target.mime_types),
            max_edge=target.max_edge,
            max_bytes=target.max_bytes,
            page=None if request.pages is None else request.pages[0],
            name=request.part.name,
        )
        yield ConvertedPart(request=request, data=image.data, mime_type=image.mime_type, changed=image.changed)


def _pages(
    requests: Sequence[ConversionRequest], targets: Mapping[Modality, MediaTarget], file: BinaryIO
) -> Iterator[ConvertedPart]:
    from langchain_gemini_mm.media.pdf.pages import opened_pdf

    with opened_pdf(file, name=_file_name(requests)) as document:
        count = document.pages
        for request in requests:
            first, last = request.pages or (1, count)
            if last > count:
                raise request.failed(
                    f"{request.part.name} asks for page {max(first, count + 1):,}, and the PDF has {count:,} pages. "
                    f"Name pages 1 to {count:,}"
                )
            if (first, last) == (1, count) and (whole := _unchanged(request, targets["pdf"], file)):
                yield whole
                continue
            data = document.cut(first, last, max_bytes=targets["pdf"].max_bytes)
            yield ConvertedPart(request=request, data=data, mime_type="application/pdf")


def _unchanged(request: ConversionRequest, target: MediaTarget, file: BinaryIO) -> ConvertedPart | None:
    """The file as it is, where the target takes it, so that all of a file gives the same bytes as the file."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    mime_type = sniff(file.read(HEAD_BYTES))
    file.seek(0)
    if mime_type not in target.mime_types or (target.max_bytes is not None and size > target.max_bytes):
        return None
    ref = request.part.ref
    facts = (None if ref is None else known_facts(ref.sha256)) or probe(file, mime_type, name=request.part.name)
    if facts.needs_redraw:
        return None
    file.seek(0)
    return ConvertedPart(request=request, data=file.read(), mime_type=mime_type, changed=False)


def _segments(
    requests: Sequence[ConversionRequest], targets: Mapping[Modality, MediaTarget], file: BinaryIO
) -> Iterator[ConvertedPart]:
    windows: dict[Modality, dict[Window, list[ConversionRequest]]] = {"audio": {}, "video": {}}
    remaining: list[ConversionRequest] = list(requests)
    try:
        clip = _inspected(requests, targets, file)
        for request in requests:
            target, window = targets[request.modality], _window(request, targets, clip)
            if _covers(request, target, clip) and (whole := _unchanged(request, target, file)):
                remaining.remove(request)
                yield whole
                continue
            windows[request.modality].setdefault(window, []).append(request)
        for modality, cut in _cuts(windows, targets, file, clip):
            for request in windows[modality][cut.window]:
                remaining.remove(request)
                yield ConvertedPart(
                    request=request, data=cut.data, mime_type=cut.mime_type, start_s=cut.start_s, end_s=cut.end_s
                )
    except MediaLimitError:
        raise
    except ContentError as error:
        explained = _explanation(remaining, file)
        if explained is None:
            raise
        raise explained from error
    missing = [request for request in remaining if not targets[request.modality].skip_blank]
    if missing:
        raise _explanation(missing, file) or missing[0].failed(
            f"nothing can be read in {missing[0].part.name}: the file is damaged there. Copy or export it again"
        )


def _inspected(
    requests: Sequence[ConversionRequest], targets: Mapping[Modality, MediaTarget], file: BinaryIO
) -> Clip | None:
    """Length and size of the recording, where a request or a target depends on them."""
    from langchain_gemini_mm.media.av.clip import inspect

    scaled = any(request.modality == "video" and targets["video"].max_edge for request in requests)
    whole = any(not request.start_s for request in requests)
    return inspect(file, name=_file_name(requests)) if scaled or whole else None


def _covers(request: ConversionRequest, target: MediaTarget, clip: Clip | None) -> bool:
    """Whether a request is for all of a recording, in its size and with the streams that a whole file is sent with."""
    if clip is None or target.skip_blank or request.start_s or not request.part.ref or not request.part.ref.is_part:
        return False
    if request.end_s is not None and request.end_s < clip.duration_s:
        return False
    if request.modality == "audio":
        return clip.video is None
    edge = target.max_edge
    return clip.video is not None and (edge is None or max(clip.video.width, clip.video.height) <= edge)


def _window(request: ConversionRequest, targets: Mapping[Modality, MediaTarget], clip: Clip | None) -> Window:
    if request.start_s is not None and request.end_s is not None:
        window = Window(request.start_s, request.end_s)
        seconds = window.length_s
    else:
        seconds = clip.duration_s if clip is not None else 0.0
        window = Window(0.0, math.ceil(seconds * 1000) / 1000)
    if seconds <= 0:
        raise request.failed(f"{request.part.name} has a duration of 0 s")
    target = targets[request.modality]
    if target.max_seconds is not None and seconds > target.max_seconds:
        error = too_long(request.part.name, seconds, target.max_seconds, request.modality, target.consumer)
        raise error if request.position is None else error.about_input(request.position)
    return window


def _cuts(
    windows: Mapping[Modality, Mapping[Window, Sequence[ConversionRequest]]],
    targets: Mapping[Modality, MediaTarget],
    file: BinaryIO,
    clip: Clip | None,
) -> Iterator[tuple[Modality, Cut]]:
    """Cut all windows in one reading, or each by seeking where that reads less."""
    from langchain_gemini_mm.media.av.cut import cut, segments

    requests = [request for found in windows.values() for group in found.values() for request in group]
    if not requests:
        return
    name = _file_name(requests)
    with_audio = any(request.track is None for request in requests)
    forms = {modality: _form(targets[modality], found, clip) for modality, found in windows.items() if found}
    skipping = {modality: targets[modality].skip_blank for modality in forms}
    if any(skipping.values()) or not _is_sparse([*windows["video"], *windows["audio"]]):
        for found in segments(
            file,
            video=sorted(windows["video"]),
            audio=sorted(windows["audio"]),
            video_format=forms.get("video"),
            audio_format=forms.get("audio"),
            with_audio=with_audio,
            skip_silent=skipping.get("audio", False),
            skip_black=skipping.get("video", False),
            name=name,
        ):
            yield "audio" if found.track == "audio" else "video", found
        return
    tracks: dict[Modality, Track | None] = {"video": None if with_audio else "video", "audio": "audio"}
    for modality, track in tracks.items():
        for window in sorted(windows[modality]):
            options = asdict(_form(targets[modality], [window], clip))
            yield modality, cut(file, *window, track=track, name=name, **options)


def _is_sparse(windows: Sequence[Window]) -> bool:
    """Whether seeking to each window is less work than reading from the beginning to the end of the last one."""
    seeking = sum(window.length_s + _SEEK_COST_S for window in windows)
    return len(windows) == 1 or seeking < max(window.end_s for window in windows)


def _form(target: MediaTarget, windows: Iterable[Window], clip: Clip | None) -> SegmentFormat:
    lengths = [window.length_s for window in windows]
    video = clip.video if clip is not None else None
    # A video within the limit is copied rather than re-encoded.
    is_larger = video is None or max(video.width, video.height) > (target.max_edge or 0)
    return SegmentFormat(
        limit_s=max(lengths) * (1 + LEAD) + 60 if target.max_seconds is None else target.max_seconds,
        mime_types=target.mime_types,
        max_bytes=target.max_bytes,
        lead_s=LEAD * min(lengths),
        max_edge=target.max_edge if is_larger else None,
        keyframes_only=target.keyframes_only,
    )


def _file_name(requests: Sequence[ConversionRequest]) -> str:
    part = requests[0].part
    return str(part.ref.whole) if part.ref is not None else part.name


def _explanation(requests: Sequence[ConversionRequest], file: BinaryIO) -> ContentError | None:
    """The first request for something that the recording does not have, as an error."""
    from langchain_gemini_mm.media.av.clip import inspect

    if not requests:
        return None
    try:
        clip = inspect(file, name=_file_name(requests))
    except ContentError:
        return None
    for request in requests:
        name, length = request.part.name, f"{clip.duration_s:,.2f} s"
        if request.modality == "audio" and clip.audio is None:
            return request.failed(
                f"{name} asks for the audio of a video that has none ({length} long). Leave track=audio out"
            )
        if request.modality == "video" and clip.video is None:
            return request.failed(
                f"{name} asks for video, and the file holds only audio ({length} long). Name its audio with track=audio"
            )
        if request.start_s is not None and request.start_s >= clip.duration_s:
            return request.failed(
                f"{name} begins at {request.start_s:,.6g} s, and the file lasts {length}. Name a part of it that "
                "begins earlier"
            )
    return None


class TemporaryFiles:
    """Keeps converted media on disk until it is closed; the folder is created on first use. Thread-safe.

    ```python
    from contextlib import closing

    from langchain_gemini_mm.media.convert import TemporaryFiles

    with closing(TemporaryFiles()) as files:
        path = files.write(b"abc")
        assert path.read_bytes() == b"abc"
    assert not path.parent.exists()
    ```
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._closed = False

    def write(self, data: bytes) -> Path:
        """Write `data` to a new file.

        Raises:
            StoreError: there is no room.
            ValueError: the folder is closed already, so nobody needs the file any more.
        """
        # Closing waits for a file that is being written, so that nothing is left behind.
        with self._lock:
            if self._closed:
                raise ValueError("the call that this file was made for has ended")
            try:
                if self._folder is None:
                    self._folder = tempfile.TemporaryDirectory(prefix="gemini-mm-", ignore_cleanup_errors=True)
                path = Path(self._folder.name) / f"{next(self._numbers):06d}"
                path.write_bytes(data)
            except OSError as error:
                raise StoreError(
                    f"cannot keep {len(data):,} bytes of a media file in the temporary folder: {error.strerror}. Make "
                    "room there, or name another folder by the environment variable TMPDIR"
                ) from error
            return path

    def close(self) -> None:
        """Remove the folder and all files in it."""
        with self._lock:
            self._closed = True
            if self._folder is not None:
                self._folder.cleanup()
