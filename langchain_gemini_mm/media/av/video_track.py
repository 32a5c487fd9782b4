"""Segments of the video stream of a recording, cut in one pass over its packets."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.media.av.container import Decoder, codec_name, is_huge
from langchain_gemini_mm.media.av.copy_packets import CopiedVideo, end_tick, start_tick
from langchain_gemini_mm.media.av.encode import EncodedVideo
from langchain_gemini_mm.media.av.segments import Cut, NotCopied, SegmentFormat, Track, Window
from langchain_gemini_mm.media.av.timestamps import Sample, Timeline
from langchain_gemini_mm.media.model_limits import VIDEO_CODECS

_HELD_BYTES = 64_000_000
"""Packets since the last keyframe are held up to this size; above it, they are decoded."""
_SHOW_HIDDEN = frozenset({"av1"})
"""Codecs with decoders that show frames which an edit list hides: the libav of FFmpeg 5 with dav1d does."""
_AUDIO_BEHIND_S = 2.0
_KEYFRAMES_EVERY_S = 0.5


class VideoTrack:
    """Cuts segments of a video stream, by copying where possible."""

    def __init__(
        self,
        timeline: Timeline,
        windows: Iterable[Window],
        form: SegmentFormat,
        *,
        audio: Timeline | None = None,
        track: Track | None = None,
        reencode: bool = False,
    ) -> None:
        self.first_key: int | None = None
        self._timeline, self._form, self._track = timeline, form, track
        self._audio = audio
        self._waiting = deque(windows)
        self._copies: list[CopiedVideo] = []
        self._written: list[EncodedVideo] = []
        self._closing: deque[CopiedVideo | EncodedVideo] = deque()
        self._since_key: list[Sample] | None = None
        self._held_bytes = 0
        self._audio_packets: deque[Sample] = deque()
        self._context: Any = timeline.stream.codec_context
        self._reencode = (
            reencode
            or form.keyframes_only
            or form.max_edge is not None
            or codec_name(timeline.stream) not in VIDEO_CODECS
        )
        self._next_key: int | None = -(2**62) if form.keyframes_only else None
        self._decoding = False
        self._frame: tuple[Any, float, float] | None = None
        self._decoder = Decoder(timeline.stream, "most of its video cannot be decoded")

    @property
    def done(self) -> bool:
        """Whether all windows are cut."""
        return not (self._waiting or self._copies or self._written or self._closing)

    def feed(self, sample: Sample) -> Sequence[Cut | NotCopied]:
        """Add a video packet, in file order; returns the segments that it completes."""
        if sample.key:
            self._begin(sample.pts - 1)
            self._at_key(sample)
        elif self.first_key is None:
            return ()
        else:
            self._begin(sample.pts)
            self._hold(sample)
        complete = [copy for copy in self._copies if not copy.add(sample)]
        if complete:
            self._copies = [copy for copy in self._copies if copy not in complete]
            self._closing.extend(complete)
        if self._decoding:
            self._decode([sample])
        return self._closed(sample.dts * self._timeline.tick - _AUDIO_BEHIND_S) if self._closing else ()

    def feed_audio(self, sample: Sample) -> Sequence[Cut | NotCopied]:
        """Add a packet of the audio stream; returns the segments that it completes."""
        if self._audio is None or self._is_early(sample):
            return ()
        for packet in self._audio.converted(sample):
            self._audio_packets.append(packet)
            for segment in (*self._copies, *self._written, *self._closing):
                segment.add_audio(packet)
        if not self._closing or not self._audio_packets:
            return ()
        return self._closed(self._audio_packets[-1].pts * self._audio.tick)

    def _is_early(self, sample: Sample) -> bool:
        """Whether no segment can contain an audio packet, because all begin later."""
        if self._copies or self._written or self._closing or not self._waiting:
            return False
        lead_s = self._form.limit_s if self._form.lead_s is None else self._form.lead_s
        return sample.pts * sample.timeline.tick < self._waiting[0].start_s - lead_s - _AUDIO_BEHIND_S

    def finish(self) -> Sequence[Cut | NotCopied]:
        """Return the remaining segments at the end of the file."""
        if self.first_key is not None:
            last = max((sample.pts for sample in self._since_key or ()), default=None)
            self._begin(last if last is not None else 2**62)
        if self._decoding:
            self._decode([None])
        if self._frame is not None:
            for segment in self._written:
                segment.end(self._frame[1] + self._frame[2])
        self._closing.extend(sorted([*self._copies, *self._written], key=lambda segment: segment.window))
        self._copies, self._written = [], []
        self._waiting.clear()
        return self._closed(float("inf"))

    def _closed(self, heard_s: float) -> list[Cut | NotCopied]:
        """Complete segments whose audio was read up to `heard_s` seconds."""
        closed: list[Cut | NotCopied] = []
        while self._closing and (self._audio is None or self._closing[0].window.end_s <= heard_s):
            found = self._closing.popleft().close()
            if found is not None:
                closed.append(found)
        return closed

    def _forget_audio(self, key_s: float) -> None:
        """Keep only the audio that a segment from the last keyframe would need."""
        tick = self._audio.tick if self._audio else 1.0
        while self._audio_packets and self._audio_packets[0].pts * tick < key_s - _AUDIO_BEHIND_S:
            self._audio_packets.popleft()

    def _begin(self, before: int) -> None:
        """Begin the windows that start no later than the tick `before`."""
        while self._waiting and self.first_key is not None:
            window = self._waiting[0]
            if start_tick(window, self._timeline) > before:
                return
            self._waiting.popleft()
            if end_tick(window, self._timeline) > self.first_key:
                self._begin_one(window)

    def _begin_one(self, window: Window) -> None:
        held = self._since_key
        limit = self._timeline.ticks(self._form.limit_s)
        ends = end_tick(window, self._timeline)
        fits = held and ends - held[0].pts <= limit
        if not self._reencode and held and fits and not self._leads_too_long(held[0], window):
            copy = CopiedVideo(window, held[0], self._timeline, self._audio, self._form, self._track)
            self._copies.append(copy)
            for packet in self._audio_packets:
                copy.add_audio(packet)
            for sample in held:
                copy.add(sample)
            return
        segment = EncodedVideo(window, self._timeline, self._audio, self._form, self._track)
        for packet in self._audio_packets:
            segment.add_audio(packet)
        self._written.append(segment)
        if not self._decoding:
            self._start_decoding(held or [])
        elif self._frame is not None:
            segment.add(*self._frame)

    def _leads_too_long(self, key: Sample, window: Window) -> bool:
        if codec_name(self._timeline.stream) in _SHOW_HIDDEN:
            start = start_tick(window, self._timeline)
            return any(key.pts < sample.pts <= start for sample in self._since_key or ())
        most = self._form.lead_s
        return most is not None and window.start_s - key.pts * self._timeline.tick > most

    def _at_key(self, sample: Sample) -> None:
        if self.first_key is None:
            self.first_key = sample.pts
        if self._decoding and not self._written:
            self._decoding, self._frame = False, None
            self._context.flush_buffers()
        self._since_key, self._held_bytes = [sample], sample.size
        self._forget_audio(sample.pts * self._timeline.tick)

    def _hold(self, sample: Sample) -> None:
        """Hold a packet with which a later window may have to begin."""
        held = self._since_key
        if held is None:
            return
        held.append(sample)
        self._held_bytes += sample.size
        too_long = sample.pts - held[0].pts > self._timeline.ticks(self._form.limit_s)
        if (too_long or self._held_bytes > _HELD_BYTES) and self._waiting:
            if not self._decoding:
                self._start_decoding(held[:-1])
            self._since_key = None
        if self._since_key is None:
            self._forget_audio(sample.pts * self._timeline.tick)

    def _start_decoding(self, held: Sequence[Sample]) -> None:
        stream: Any = self._timeline.stream
        if is_huge(stream):
            raise ContentError(
                f"frames of {stream.width:,} x {stream.height:,} pixels are not encoded; scale the video down"
            )
        self._decoding = True
        self._decode(held)

    def _is_decoded(self, sample: Sample) -> bool:
        if self._next_key is None:
            return True
        if not sample.key or sample.pts < self._next_key:
            return False
        self._next_key = sample.pts + self._timeline.ticks(_KEYFRAMES_EVERY_S)
        return True

    def _decode(self, samples: Sequence[Sample | None]) -> None:
        """Decode packets for the encoded segments; None returns the frames that the decoder still holds."""
        for sample in samples:
            if sample is not None and not self._is_decoded(sample):
                continue
            for frame in self._decoder.frames(None if sample is None else sample.restored()):
                if frame.pts is None:
                    continue
                duration = getattr(frame, "duration", 0) or 1
                self._frame = (frame, frame.pts * self._timeline.tick, duration * self._timeline.tick)
                for segment in [one for one in self._written if not one.add(*self._frame)]:
                    self._written.remove(segment)
                    self._closing.append(segment)
