"""Encoding of segments: video as H.264, audio as mono MP3."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.errors import MediaLimitError, MissingExtraError
from langchain_gemini_mm.media.av.container import codec_name
from langchain_gemini_mm.media.av.copy_packets import (
    CopiedTrack,
    Output,
    TooManyBytesError,
    WriteError,
    video_type,
    writing,
)
from langchain_gemini_mm.media.av.segments import Cut, SegmentFormat, Track, Window
from langchain_gemini_mm.media.av.timestamps import Sample, Timeline

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

AUDIO_RATE = 24_000
"""Samples per second of encoded audio."""
_AUDIO_BITS = 64_000
_VIDEO_ENCODERS = ("libx264", "libopenh264", "h264_videotoolbox", "h264_mf", "mpeg4")
"""Tried in this order; the wheels of PyAV contain the first."""
_VIDEO_OPTIONS = {"libx264": {"preset": "veryfast", "crf": "26", "mbtree": "0"}}
"""Without `mbtree=0`, equal frames do not always become equal bytes, and the embedding cache would miss."""
_MAX_EDGE = 1280
"""Longer side of encoded video in pixels: models see less of a frame, and larger ones take gigabytes and minutes."""
_TIME_BASE = Fraction(1, 60_000)
_USUAL_FPS = 25
_BYTES_KEPT_FREE = 0.85
_MIN_BITS = 20_000
_ROUNDING_S = 0.001


class EncodedVideo:
    """A video segment that is encoded from decoded frames."""

    def __init__(
        self, window: Window, timeline: Timeline, audio: Timeline | None, form: SegmentFormat, track: Track | None
    ) -> None:
        self.window = window
        self._timeline, self._form, self._track = timeline, form, track
        self._audio_source = audio
        self._output = Output(video_type(form), form.max_bytes)
        self._audio: CopiedTrack | None = None
        self._held: list[Sample] = []
        self._encoder: Any = None
        self._before: VideoFrame | None = None
        self._first_s: float | None = None
        self._last_s = 0.0
        self._until_s = window.end_s
        self._last_pts = -1
        self._too_large = False

    def add(self, frame: VideoFrame, time_s: float, duration_s: float) -> bool:
        """Add a frame, with its time and duration in seconds; False after the end of the window.

        Args:
            frame: decoded.
            time_s: when it is shown.
            duration_s: how long it is shown.
        """
        if time_s >= self.window.end_s - _ROUNDING_S:
            return False
        if time_s < self.window.start_s - _ROUNDING_S:
            self._before = frame
            return True
        if self._before is not None:
            # A frame shown before the window may last through all of it.
            if time_s > self.window.start_s + _ROUNDING_S:
                self._encode(self._before, self.window.start_s)
            self._before = None
        self._encode(frame, time_s)
        self._last_s = min(time_s + duration_s, self.window.end_s)
        return True

    def add_audio(self, sample: Sample) -> None:
        """Add an audio packet; those outside of the segment are ignored."""
        source = self._audio_source
        if source is None or not self.window.start_s <= sample.pts * source.tick < self.window.end_s:
            return
        self._held.append(sample)
        if self._audio is not None:
            self._write_audio()

    def end(self, ends_s: float) -> None:
        """Set the end of a recording that ends within or before the window."""
        self._until_s = min(ends_s, self.window.end_s)

    def close(self) -> Cut | None:
        """Finish the segment; None if it is empty.

        Raises:
            MediaLimitError: it is over `max_bytes`.
        """
        if self._before is not None and self._until_s > self.window.start_s:
            self._encode(self._before, self.window.start_s)
            self._last_s = self._until_s
        if self._encoder is None or self._first_s is None:
            return None
        try:
            last = round((max(self._last_s, self._first_s + 0.001) - self._first_s) / float(_TIME_BASE))
            for packet in self._encoded(None):
                if packet.pts == self._last_pts:
                    packet.duration = max(last - self._last_pts, 1)
                self._output.write(packet)
            data = self._output.close()
        except TooManyBytesError:
            self._too_large = True
            data = b""
        if self._too_large:
            raise MediaLimitError(
                f"{self.window.length_s:g} s of video do not fit into {self._form.max_bytes:,} bytes; make the "
                "windows shorter, or set max_edge"
            )
        return Cut(
            data=data,
            mime_type=self._output.mime_type,
            window=self.window,
            start_s=round(self._first_s, 3),
            end_s=round(max(self._last_s, self._first_s + 0.001), 3),
            track=self._track,
            codec=codec_name(self._encoder),
            copied=False,
        )

    def _encode(self, frame: VideoFrame, time_s: float) -> None:
        if self._too_large:
            return
        try:
            if self._encoder is None:
                self._open(frame, time_s)
            start_s = self._first_s or 0.0
            pts = round((time_s - start_s) / float(_TIME_BASE))
            if pts <= self._last_pts:
                return
            image = upright(frame, self._encoder.width, self._encoder.height)
            image.pts, image.time_base = pts, _TIME_BASE
            image.pict_type = 0  # Otherwise the encoder would use the frame types of the source.
            self._last_pts = pts
            for packet in self._encoded(image):
                self._output.write(packet)
        except TooManyBytesError:
            self._too_large = True

    def _open(self, frame: VideoFrame, time_s: float) -> None:
        width, height = fitted(frame, self._form.max_edge)
        rate = self._timeline.stream.average_rate or _USUAL_FPS
        name = video_encoder()
        options = dict(_VIDEO_OPTIONS.get(name, {}))
        if self._form.max_bytes is not None:
            bits = int(self._form.max_bytes * 8 * _BYTES_KEPT_FREE / max(self.window.length_s, 1.0))
            options |= {"maxrate": str(max(bits, _MIN_BITS)), "bufsize": str(max(bits, _MIN_BITS))}
        encoder = self._output.container.add_stream(name, rate=Fraction(rate).limit_denominator(1001), options=options)
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
        encoder.codec_context.time_base = _TIME_BASE
        self._encoder, self._first_s = encoder, time_s
        if self._audio_source is not None:
            self._audio = CopiedTrack(self._output, self._audio_source, time_s)
            self._write_audio()

    def _write_audio(self) -> None:
        for sample in self._held:
            # A packet that cannot be written is damaged, as one that cannot be decoded.
            with suppress(WriteError):
                try:
                    if self._audio is not None and not self._too_large:
                        self._audio.write(sample)
                except TooManyBytesError:
                    self._too_large = True
        self._held.clear()

    def _encoded(self, image: VideoFrame | None) -> list[Any]:
        with writing("H.264"):
            return list(self._encoder.encode(image))


def video_encoder() -> str:
    """The best video encoder that this installation of PyAV has.

    Raises:
        MissingExtraError: it has none.
    """
    import av

    for name in _VIDEO_ENCODERS:
        if name in av.codecs_available:
            return name
    raise MissingExtraError("encoding video", package="PyAV with an H.264 encoder", extra="media")


def fitted(frame: VideoFrame, max_edge: int | None) -> tuple[int, int]:
    """Even width and height of a frame after rotation, with no side longer than `max_edge` or 1280 pixels."""
    width, height = frame.width, frame.height
    if _quarter_turns(frame) % 2:
        width, height = height, width
    scale = min(1.0, min(max_edge or _MAX_EDGE, _MAX_EDGE) / max(width, height))
    return max(round(width * scale / 2) * 2, 2), max(round(height * scale / 2) * 2, 2)


def upright(frame: VideoFrame, width: int, height: int) -> VideoFrame:
    """The frame, scaled and rotated as it declares.

    Args:
        frame: decoded.
        width: in pixels, after rotation.
        height: in pixels, after rotation.
    """
    import av

    turns = _quarter_turns(frame)
    if turns % 2:
        width, height = height, width
    scaled = frame.reformat(width=width, height=height, format="yuv420p")
    if not turns:
        return scaled
    planes = scaled.to_ndarray()
    half = (height // 2, width // 2)
    parts = [planes[:height], *(part.reshape(half) for part in np.split(planes[height:].reshape(-1), 2))]
    turned = [np.rot90(part, turns) for part in parts]
    flat = np.concatenate([part.reshape(-1) for part in turned])
    columns = turned[0].shape[1]
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(flat.reshape(-1, columns)), format="yuv420p")


def encode_audio(samples: NDArray[np.int16], form: SegmentFormat) -> bytes:
    """Encode `(n,)` samples of mono audio as an MP3 file.

    Raises:
        MediaLimitError: it is over `max_bytes`.
    """
    import av

    try:
        output = Output("audio/mp3", form.max_bytes)
        stream = output.container.add_stream("libmp3lame", rate=AUDIO_RATE, options={"compression_level": "7"})
        stream.layout, stream.format = "mono", "s16p"
        stream.bit_rate = _AUDIO_BITS
        stream.codec_context.open(strict=False)
        size = stream.codec_context.frame_size
        with writing("MP3"):
            for start in range(0, len(samples), size):
                frame = av.AudioFrame.from_ndarray(samples[None, start : start + size], format="s16p", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = AUDIO_RATE, start, Fraction(1, AUDIO_RATE)
                output.write(stream.encode(frame))
            output.write(stream.encode(None))
        return output.close()
    except TooManyBytesError:
        raise MediaLimitError(
            f"{len(samples) / AUDIO_RATE:,.1f} s of audio do not fit into {form.max_bytes:,} bytes; make the windows "
            "shorter"
        ) from None


def _quarter_turns(frame: VideoFrame) -> int:
    return round(getattr(frame, "rotation", 0) / 90) % 4
