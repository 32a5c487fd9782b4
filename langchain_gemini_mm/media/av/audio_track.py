"""Segments of the audio stream of a recording, cut in one pass over its packets."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.media.av.container import Decoder, Resampler, codec_name
from langchain_gemini_mm.media.av.copy_packets import CopiedSegment, CopiedTrack, end_tick
from langchain_gemini_mm.media.av.encode import AUDIO_RATE, encode_audio
from langchain_gemini_mm.media.av.segments import Cut, NotCopied, SegmentFormat, Window
from langchain_gemini_mm.media.av.timestamps import Sample, Timeline
from langchain_gemini_mm.media.model_limits import WAV_CODECS

_RESERVOIR_BYTES = 512
"""An MP3 packet may refer to this many bytes of the packets before it."""
_MAX_LEADING = 12
_MAX_LEAD_S = 0.1
"""Longest time by which a copied segment may begin too early."""
_WARM_UP_S = 0.5
"""Audio that is decoded before a segment, because packets refer to earlier ones."""
_MP3_SAMPLES = 1152
_JITTER = AUDIO_RATE // 20


def copied_type(timeline: Timeline, muxer: str, windows: Iterable[Window], form: SegmentFormat) -> str | None:
    """The MIME type in which audio can be cut without decoding it; None where it must be encoded again.

    Args:
        timeline: of the audio stream.
        muxer: libav's name of the container's format.
        windows: that will be cut.
        form: what the model takes.
    """
    codec = codec_name(timeline.stream)
    longest = max((window.length_s for window in windows), default=0.0)
    context: Any = timeline.stream.codec_context
    overhang = _MP3_SAMPLES * (_MAX_LEADING + 2) / max(context.rate, 1)
    if codec == "mp3" and longest + overhang <= form.limit_s and "audio/mp3" in form.mime_types:
        return "audio/mp3"
    if codec in WAV_CODECS and muxer in ("wav", "w64") and "audio/wav" in form.mime_types:
        needed = (longest + 1) * context.rate * context.channels * WAV_CODECS[codec]
        return "audio/wav" if form.max_bytes is None or needed < form.max_bytes else None
    return None


class CopiedAudioTrack:
    """Cuts segments of an audio stream by copying its packets."""

    def __init__(self, timeline: Timeline, windows: Iterable[Window], form: SegmentFormat, mime_type: str) -> None:
        self.first_key: int | None = None
        self._timeline, self._form, self._mime_type = timeline, form, mime_type
        self._waiting = deque(windows)
        self._active: list[_CopiedAudio] = []
        self._before: deque[Sample] = deque(maxlen=_MAX_LEADING)

    @property
    def done(self) -> bool:
        """Whether all windows are cut."""
        return not (self._waiting or self._active)

    def feed(self, sample: Sample) -> Sequence[Cut | NotCopied]:
        """Add a packet, in file order; returns the segments that it completes."""
        if self.first_key is None:
            self.first_key = sample.pts
        ends = sample.pts + sample.duration
        while self._waiting and ends > self._timeline.ticks(self._waiting[0].start_s):
            window = self._waiting.popleft()
            if end_tick(window, self._timeline) > sample.pts:
                leading = self._leading() if self._mime_type == "audio/mp3" else []
                self._active.append(_CopiedAudio(window, leading, self._timeline, self._form, self._mime_type))
        self._before.append(sample)
        complete = [one for one in self._active if not one.add(sample)]
        if not complete:
            return ()
        self._active = [one for one in self._active if one not in complete]
        return [one.close() for one in complete]

    def finish(self) -> Sequence[Cut | NotCopied]:
        """Return the remaining segments at the end of the file."""
        closed = [segment.close() for segment in self._active]
        self._active = []
        self._waiting.clear()
        return closed

    def _leading(self) -> list[Sample]:
        """The preceding packets that the first one refers to."""
        leading: list[Sample] = []
        held = 0
        for sample in reversed(self._before):
            leading.insert(0, sample)
            held += sample.size
            if held >= _RESERVOIR_BYTES and len(leading) > 1:
                break
        return leading


class _CopiedAudio(CopiedSegment):
    """A segment of copied packets."""

    def __init__(
        self, window: Window, leading: list[Sample], timeline: Timeline, form: SegmentFormat, mime_type: str
    ) -> None:
        super().__init__(window, timeline, form, mime_type)
        self._leading = leading
        self._copied: CopiedTrack | None = None
        self._first = self._last = 0
        if leading and window.start_s - leading[0].pts * timeline.tick > _MAX_LEAD_S:
            self.failed = NotCopied(window, "its first packet refers to packets too long before it")
        context: Any = timeline.stream.codec_context
        self._frame_bytes = (
            context.channels * WAV_CODECS[codec_name(timeline.stream)] if mime_type == "audio/wav" else 0
        )

    def add(self, sample: Sample) -> bool:
        """Add a packet; False after the end of the window."""
        if sample.pts >= self._end:
            return False
        if self._frame_bytes:
            sample = self._trimmed(sample)
        for one in (*self._leading, sample):
            if self._copied is None:
                self._first = one.pts
                self._copied = CopiedTrack(self._output, self._timeline, one.pts * self._timeline.tick)
            if not self.failed:
                self._last = one.pts + one.duration
            self._write(self._copied, one)
        self._leading = []
        return True

    def close(self) -> Cut | NotCopied:
        """Finish the segment."""
        return self._finished(self._first * self._timeline.tick, self._last * self._timeline.tick, "audio")

    def _trimmed(self, sample: Sample) -> Sample:
        """Uncompressed samples outside of the window are cut off."""
        import av

        count = sample.size // self._frame_bytes
        first = max(self._timeline.ticks(self.window.start_s) - sample.pts, 0)
        last = min(self._timeline.ticks(self.window.end_s) - sample.pts, count)
        if (first, last) == (0, count) or first >= last:
            return sample
        packet = av.Packet(bytes(sample.packet)[first * self._frame_bytes : last * self._frame_bytes])
        packet.is_keyframe = True
        return Sample(packet, self._timeline, sample.pts + first, sample.dts + first, last - first)


class EncodedAudioTrack:
    """Encodes segments of an audio stream as mono MP3, decoding the stream once."""

    def __init__(self, timeline: Timeline, windows: Iterable[Window], form: SegmentFormat) -> None:
        if "audio/mp3" not in form.mime_types:
            raise ContentError(f"audio is encoded as audio/mp3, and only {', '.join(form.mime_types)} is taken")
        self.first_key: int | None = None
        self._timeline, self._form = timeline, form
        self._waiting = deque(windows)
        self._active: list[_EncodedAudio] = []
        self._decoder = Decoder(timeline.stream, "most of its audio cannot be decoded")
        self._resampler = Resampler("s16", AUDIO_RATE)
        self._next: int | None = None

    @property
    def done(self) -> bool:
        """Whether all windows are cut."""
        return not (self._waiting or self._active)

    def feed(self, sample: Sample) -> Sequence[Cut | NotCopied]:
        """Add a packet, in file order; returns the segments that it completes."""
        if self.first_key is None:
            self.first_key = sample.pts
        if self._is_early(sample):
            return ()
        frames = self._decoder.frames(sample.restored())
        if frames and frames[0].pts is None and self._next is None:
            frames[0].pts = sample.pts
        return [cut for frame in frames for piece in self._mono(frame) for cut in self._take(piece)]

    def finish(self) -> Sequence[Cut | NotCopied]:
        """Return the remaining segments at the end of the file."""
        pieces = [piece for frame in (*self._decoder.frames(None), None) for piece in self._mono(frame)]
        closed = [cut for piece in pieces for cut in self._take(piece)]
        closed += [cut for segment in self._active if (cut := segment.close())]
        self._active = []
        self._waiting.clear()
        return closed

    def _is_early(self, sample: Sample) -> bool:
        """Whether all of a packet is well before the first window, so that it need not be decoded."""
        if self._active or not self._waiting or not sample.packet.duration:
            return False
        ends_s = (sample.pts + sample.duration) * self._timeline.tick
        return ends_s < self._waiting[0].start_s - _WARM_UP_S

    def _take(self, piece: Any) -> Iterator[Cut]:
        """Add mono samples to the windows that contain them."""
        samples = piece.to_ndarray().reshape(-1)
        reported = round(float(piece.pts * piece.time_base) * AUDIO_RATE) if piece.pts is not None else self._next or 0
        # Times are rounded, so only a larger difference is a gap; a time that was passed already is wrong.
        place = self._next if self._next is not None and reported - self._next < _JITTER else reported
        self._next = place + len(samples)
        while self._waiting and self._next > round(self._waiting[0].start_s * AUDIO_RATE):
            self._active.append(_EncodedAudio(self._waiting.popleft(), self._form))
        for segment in [one for one in self._active if not one.add(place, samples)]:
            self._active.remove(segment)
            if cut := segment.close():
                yield cut

    def _mono(self, frame: Any) -> list[Any]:
        if frame is not None:
            frame.time_base = self._timeline.time_base
        return self._resampler.frames(frame)


class _EncodedAudio:
    """A segment of decoded samples; gaps between them are silence."""

    def __init__(self, window: Window, form: SegmentFormat) -> None:
        self._window, self._form = window, form
        self._start, self._end = round(window.start_s * AUDIO_RATE), round(window.end_s * AUDIO_RATE)
        self._samples: NDArray[np.int16] = np.zeros(self._end - self._start, np.int16)
        self._first, self._last = self._end, self._start

    def add(self, place: int, samples: NDArray[np.int16]) -> bool:
        """Add `(n,)` samples that begin at sample number `place`; False after the end of the window."""
        first, last = max(place, self._start), min(place + len(samples), self._end)
        if last > first:
            self._samples[first - self._start : last - self._start] = samples[first - place : last - place]
            self._first, self._last = min(self._first, first), max(self._last, last)
        return place + len(samples) < self._end

    def close(self) -> Cut | None:
        """Finish the segment; None if it is empty."""
        if self._last <= self._first:
            return None
        samples = self._samples[self._first - self._start : self._last - self._start]
        return Cut(
            data=encode_audio(samples, self._form),
            mime_type="audio/mp3",
            window=self._window,
            start_s=round(self._first / AUDIO_RATE, 3),
            end_s=round(self._last / AUDIO_RATE, 3),
            track="audio",
            codec="mp3",
            copied=False,
        )


_RATE = 48_000
_BITS = 96_000


class ConvertedAudio(Timeline):
    """A timeline that converts the packets of an audio stream to AAC."""

    def __init__(self, source: Timeline) -> None:
        import av

        self.source = source
        # Never written: an encoder needs a container that defines the format of its packets.
        self._pattern: Any = av.open(io.BytesIO(), "w", format="mp4")
        stream = self._pattern.add_stream("aac", rate=_RATE, layout="mono")
        stream.bit_rate = _BITS
        stream.codec_context.flags |= av.codec.context.Flags.global_header
        stream.codec_context.open(strict=False)
        super().__init__(stream, 0.0, time_base=Fraction(1, _RATE))
        self._encoder: Any = stream.codec_context
        self._decoder = Decoder(source.stream)
        self._resampler = Resampler("fltp", _RATE, self._encoder.frame_size)

    def converted(self, sample: Sample) -> list[Sample]:
        """The AAC packets for a packet of the source."""
        made = []
        for frame in self._decoder.frames(sample.restored()):
            frame.time_base = self.source.time_base
            for piece in self._resampler.frames(frame):
                made += self._encoded(piece)
        return made

    def _encoded(self, piece: Any) -> list[Sample]:
        made = []
        for packet in self._encoder.encode(piece):
            packet.is_keyframe = True
            sample = self.sample(packet)
            if sample is not None:
                made.append(sample)
        return made
