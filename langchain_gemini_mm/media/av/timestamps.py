"""Repaired time stamps: every packet has both, in order, counted from the beginning of the file."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from langchain_gemini_mm.media.av.container import packets_of

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

_BACK_S = 1.0
_AHEAD_S = 86_400.0
_GUESSED_FPS = 25
_MAX_STEP_S = 10.0


class Sample:
    """A packet and its times in ticks of its stream; kept here because writing a packet changes its own."""

    __slots__ = ("dts", "duration", "key", "packet", "pts", "size", "timeline")

    def __init__(self, packet: Packet[Any], timeline: Timeline, pts: int, dts: int, duration: int) -> None:
        self.packet = packet
        self.timeline = timeline
        self.pts = pts
        self.dts = dts
        self.duration = duration
        self.key: bool = packet.is_keyframe
        self.size: int = packet.size

    def restored(self) -> Packet[Any]:
        """The packet with its repaired times, assigned to its stream."""
        packet = self.packet
        packet.stream, packet.time_base = self.timeline.stream, self.timeline.time_base
        packet.pts, packet.dts, packet.duration = self.pts, self.dts, self.duration
        return packet


class Timeline:
    """Repairs the time stamps of one stream, packet by packet in file order."""

    def __init__(self, stream: Any, origin_s: float, *, time_base: Fraction | None = None) -> None:
        self.stream: Stream = stream
        # PyAV 19 has a type of its own for fractions; a missing one is 0/1, not None.
        self.time_base = time_base or Fraction(stream.time_base or 1)
        self.tick = float(self.time_base)
        self._offset = -round(origin_s / self.tick)
        self.has_times = False
        """Whether a packet with a time was read; the times of those before are guessed."""
        self._last: int | None = None
        self._step = self._usual_step()

    def ticks(self, seconds: float) -> int:
        """Seconds from the file's beginning as ticks."""
        return round(seconds / self.tick)

    def raw(self, seconds: float) -> int:
        """Seconds from the file's beginning as a time stamp of the file."""
        return self.ticks(seconds) - self._offset

    def converted(self, sample: Sample) -> list[Sample]:
        """The packets to write for a packet of this stream: the packet itself."""
        return [sample]

    def sample(self, packet: Packet[Any]) -> Sample | None:
        """A packet with its repaired times; None for an empty one."""
        if not packet.size:
            return None
        dts, pts = packet.dts, packet.pts
        if dts is not None or pts is not None:
            self.has_times = True
        else:
            dts = 0 if self._last is None else self._last + self._step - self._offset
        decoding = (dts if dts is not None else pts or 0) + self._offset
        showing = (pts if pts is not None else dts or 0) + self._offset
        jump = 0 if self._last is None else self._jump(decoding, dts is None)
        self._offset += jump
        decoding, showing = decoding + jump, showing + jump
        if self._last is not None and decoding <= self._last:
            decoding = self._last + 1
        duration = packet.duration
        if not duration:
            # It is taken to last as long as the packet before.
            lasted = decoding - self._last if self._last is not None and not jump else self._step
            duration = max(min(lasted, self.ticks(_MAX_STEP_S)), 1)
        self._last, self._step = decoding, duration
        return Sample(packet, self, max(showing, decoding), decoding, duration)

    def _jump(self, decoding: int, guessed: bool) -> int:
        """Ticks to add where recordings were joined and time stamps jump."""
        last = self._last or 0
        back, ahead = last - decoding, decoding - last
        if (back * self.tick > _BACK_S and not guessed) or ahead * self.tick > _AHEAD_S:
            return last + self._step - decoding
        return 0

    def _usual_step(self) -> int:
        rate = getattr(self.stream, "average_rate", None)
        if rate:
            return max(round(1 / (float(rate) * self.tick)), 1)
        return max(round(1 / (_GUESSED_FPS * self.tick)), 1)


class Timelines:
    """The timelines of the streams that are read of one recording."""

    def __init__(self, origin_s: float) -> None:
        self._origin_s = origin_s
        self._lines: dict[int, Timeline] = {}

    def of(self, stream: Stream) -> Timeline:
        """The timeline of a stream."""
        if stream.index not in self._lines:
            self._lines[stream.index] = Timeline(stream, self._origin_s)
        return self._lines[stream.index]

    def samples(self, container: InputContainer) -> Iterator[Sample]:
        """Packets of these streams in file order, from the current position."""
        for packet in packets_of(container, [line.stream for line in self._lines.values()]):
            # The last packets of a track have its number only here: PyAV 19 leaves their `stream_index` at 0.
            sample = self._lines[packet.stream.index].sample(packet)
            if sample is not None:
                yield sample
