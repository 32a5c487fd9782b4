"""Times of a track's packets, mended: every packet has both, and 0 is the file's beginning."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream

_BACK_S = 1.0
_AHEAD_S = 86_400.0
_GUESSED_FPS = 25


class Sample:
    """A packet and its times in ticks of its track, kept here because writing a packet changes its own."""

    __slots__ = ("dts", "duration", "key", "packet", "pts", "size")

    def __init__(self, packet: Packet[Any], pts: int, dts: int, duration: int) -> None:
        self.packet = packet
        self.pts = pts
        self.dts = dts
        self.duration = duration
        self.key: bool = packet.is_keyframe
        self.size: int = packet.size


class Timeline:
    """Reads the times of one track, packet by packet in file order."""

    def __init__(self, stream: Stream, origin_s: float) -> None:
        self.stream = stream
        self.time_base = stream.time_base or Fraction(1)
        self.tick = float(self.time_base)
        self._offset = -round(origin_s / self.tick)
        self._last: int | None = None
        self._step = self._usual_step()

    def ticks(self, seconds: float) -> int:
        """Seconds from the file's beginning as ticks."""
        return round(seconds / self.tick)

    def raw(self, seconds: float) -> int:
        """Seconds from the file's beginning as a time stamp of the file."""
        return self.ticks(seconds) - self._offset

    def sample(self, packet: Packet[Any]) -> Sample | None:
        """A packet with its times; None for what is empty."""
        if not packet.size:
            return None
        duration = packet.duration or self._step
        dts, pts = packet.dts, packet.pts
        if dts is None and pts is None:
            dts = 0 if self._last is None else self._last + self._step - self._offset
        decoding = (dts if dts is not None else pts or 0) + self._offset
        showing = (pts if pts is not None else dts or 0) + self._offset
        jump = 0 if self._last is None else self._jump(decoding, dts is None)
        self._offset += jump
        decoding, showing = decoding + jump, showing + jump
        if self._last is not None and decoding <= self._last:
            decoding = self._last + 1
        self._last, self._step = decoding, duration
        return Sample(packet, max(showing, decoding), decoding, duration)

    def _jump(self, decoding: int, guessed: bool) -> int:
        """How far the times must be moved where a recording was joined with another one."""
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
