"""Pairs the frames of two videos by time.

    A  ──► a0      a1      a2      a3          the frames that are shown at the same moments, at the higher of the
    B  ──► b0  b1  b2  b3  b4  b5  b6          two rates: (a0, b0) (a0, b1) (a1, b2) (a1, b3) ..

Times count from the first frame of each video, so it does not matter where their containers' clocks begin. Both videos
are read once, at the same pace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from betwixt.media.reader import Frame, StreamPacket
from betwixt.media.source import VideoSource


@dataclass(frozen=True)
class FramePair:
    """Two frames that are shown at the same moment.

    Attributes:
        index: The number of the moment, from 0.
        time: The moment, in seconds from the first frame of the first video.
        first: The frame of the first video.
        second: The frame of the second video.
        simultaneous: Whether both are first shown at this moment.
    """

    index: int
    time: Fraction
    first: Frame
    second: Frame
    simultaneous: bool


class PairedFrames:
    """The frames that two videos show at the same moments.

    Args:
        first: The first video.
        second: The second video.
        rate: How many moments there are per second.
        begin: The first moment, in seconds from the first frame of the first video.
        end: Where to stop, in seconds from the first frame of the first video; None for the end of either.
        shift: How much later the second video begins than the first, in seconds.
        on_packet: Receives the packets of the other streams of the first video; None to leave them out.
    """

    def __init__(
        self,
        first: VideoSource,
        second: VideoSource,
        rate: Fraction,
        begin: Fraction,
        end: Fraction | None,
        shift: Fraction,
        on_packet: Callable[[StreamPacket], None] | None,
    ) -> None:
        self._rate, self._begin, self._end, self._tolerance = rate, begin, end, 1 / rate / 4
        tolerance = self._tolerance
        self._first = _Cursor(first, first.info.start, tolerance, on_packet)
        self._second = _Cursor(second, second.info.start - shift, tolerance, None)

    def __iter__(self) -> Iterator[FramePair]:
        index = 0
        last: tuple[int, int] | None = None
        while True:
            time = self._begin + index / self._rate
            if self._end is not None and time + self._tolerance >= self._end:
                return
            first, second = self._first.at(time), self._second.at(time)
            if first is None or second is None:
                return
            apart = abs(self._first.time_of(first) - self._second.time_of(second))
            simultaneous = apart <= self._tolerance and (first.index, second.index) != last
            if simultaneous:
                last = first.index, second.index
            yield FramePair(index, time, first, second, simultaneous)
            index += 1


class _Cursor:
    """A place in a video that moves on."""

    def __init__(
        self,
        source: VideoSource,
        origin: Fraction,
        tolerance: Fraction,
        on_packet: Callable[[StreamPacket], None] | None,
    ) -> None:
        self._items, self._on_packet = iter(source), on_packet
        self._origin, self._tolerance = origin, tolerance
        self._current: Frame | None = None
        self._next: Frame | None = None
        self._started = False

    def time_of(self, frame: Frame) -> Fraction:
        """The time of a frame, in seconds from the first one."""
        return frame.time - self._origin

    def at(self, time: Fraction) -> Frame | None:
        """The frame that is shown at a moment, not before that of the last call; None after the end."""
        if not self._started:
            self._started, self._current, self._next = True, self._read(), self._read()
        until = time + self._tolerance
        while self._next is not None and self.time_of(self._next) <= until:
            self._current, self._next = self._next, self._read()
        current = self._current
        if current is None or (self._next is None and until >= self.time_of(current) + current.duration):
            return None
        return current

    def _read(self) -> Frame | None:
        for item in self._items:
            if isinstance(item, Frame):
                return item
            if self._on_packet is not None:
                self._on_packet(item)
        return None
