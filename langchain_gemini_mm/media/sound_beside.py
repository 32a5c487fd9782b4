"""Sound that goes with pictures but cannot stay as it is: turned into AAC while it passes by."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

from langchain_gemini_mm.media.av.timestamps import Sample, Timeline

_RATE = 48_000
_BITS = 96_000


class ConvertedSound(Timeline):
    """A timeline whose samples are AAC, whatever the track holds."""

    def __init__(self, source: Timeline) -> None:
        import av

        self.source = source
        # Never written: an encoder needs a container to say what its packets are.
        self._pattern: Any = av.open(io.BytesIO(), "w", format="mp4")
        stream = self._pattern.add_stream("aac", rate=_RATE, layout="mono")
        stream.bit_rate = _BITS
        stream.codec_context.flags |= av.codec.context.Flags.global_header
        stream.codec_context.open(strict=False)
        super().__init__(stream, 0.0, time_base=Fraction(1, _RATE))
        self._encoder: Any = stream.codec_context
        self._resampler: Any = None

    def converted(self, sample: Sample) -> list[Sample]:
        """AAC packets that a packet of the source gives."""
        import av

        decoder: Any = self.source.stream.codec_context
        try:
            frames = list(decoder.decode(sample.restored()))
            return [made for frame in frames for piece in self._pieces(frame) for made in self._encoded(piece)]
        except (av.error.FFmpegError, EOFError):
            return []

    def _pieces(self, frame: Any) -> list[Any]:
        import av

        frame.time_base = self.source.time_base
        size = self._encoder.frame_size
        try:
            if self._resampler is None:
                self._resampler = av.AudioResampler(format="fltp", layout="mono", rate=_RATE, frame_size=size)
            return list(self._resampler.resample(frame))
        except ValueError:  # The track changes its kind on the way.
            self._resampler = None
            return []

    def _encoded(self, piece: Any) -> list[Sample]:
        made = []
        for packet in self._encoder.encode(piece):
            packet.is_keyframe = True
            sample = self.sample(packet)
            if sample is not None:
                made.append(sample)
        return made
