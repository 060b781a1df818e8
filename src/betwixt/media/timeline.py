"""Time, in exact arithmetic: from the source's frame times and a wanted rate to the frames to make.

    source   |a         |b         |c         |        end
    output   |0   |1   |2   |3   |4   |5   |6   |7   |8

Output frame k stands at ``start + k / rate``. It lies in the interval of two source frames, at t in [0, 1) of it;
t = 0 is the source frame itself. There are as many output frames as start before the source's end, so the duration
differs from the source's by less than one output frame, at any length: nothing is ever accumulated, every time is
a `fractions.Fraction` computed from k alone.

Containers round: Matroska to milliseconds, for instance. A frame that stands within one tick of its place on the
grid of a constant rate is put back onto it (`Grid`), so that a source frame which coincides with an output frame
is recognized as such.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from betwixt.errors import UsageError

__all__ = ["Clock", "Grid", "Slot", "TimeMap", "find_grid", "frame_count", "parse_rate", "parse_time", "slots"]

MAX_RATE = Fraction(1000)
"""The highest output rate in frames a second that is taken for meant."""

_COMMON_RATES = tuple(
    Fraction(n, d)
    for n, d in (
        (24000, 1001), (24, 1), (25, 1), (30000, 1001), (30, 1), (48000, 1001), (48, 1), (50, 1),
        (60000, 1001), (60, 1), (100, 1), (120000, 1001), (120, 1), (144, 1), (240, 1),
        (12, 1), (12000, 1001), (15, 1), (15000, 1001), (10, 1), (20, 1),
    )
)  # fmt: skip


@dataclass(frozen=True)
class Slot:
    """One output frame.

    Attributes:
        index: Its number, from 0.
        time: When it stands, in seconds on the source's clock.
        left: The number of the source frame at or before it.
        right: The number of the source frame after it; None behind the last frame.
        t: Its place between the two, 0 <= t < 1; 0 stands for the left frame itself.
    """

    index: int
    time: Fraction
    left: int
    right: int | None
    t: Fraction


class Clock:
    """Gives the output frames in order, interval by interval.

    Args:
        start: The time of output frame 0, in seconds.
        rate: Output frames for each second of the source, > 0.
    """

    def __init__(self, start: Fraction, rate: Fraction) -> None:
        self.start = start
        self.rate = rate
        self.index = 0

    def until(self, time: Fraction) -> Iterator[tuple[int, Fraction]]:
        """The numbers and times of the output frames, from where the last call stopped, that stand before `time`."""
        while (now := self.start + self.index / self.rate) < time:
            self.index += 1
            yield self.index - 1, now

    def onwards(self) -> Iterator[tuple[int, Fraction]]:
        """The numbers and times of all output frames from where the last call stopped, without an end."""
        while True:
            self.index += 1
            yield self.index - 1, self.start + (self.index - 1) / self.rate


@dataclass(frozen=True)
class TimeMap:
    """Maps times of the input to times of the output: ``(time - zero) * scale``.

    Attributes:
        zero: The input time that becomes 0 in the output, in seconds.
        scale: How many times slower the output plays; 1 for the same speed.
    """

    zero: Fraction = Fraction(0)
    scale: Fraction = Fraction(1)

    def __call__(self, time: Fraction) -> Fraction:
        """The output time of an input time, in seconds."""
        return (time - self.zero) * self.scale


def slots(times: Iterable[Fraction], end: Fraction, rate: Fraction) -> Iterator[Slot]:
    """The output frames for source frames at `times` (increasing, the last before `end`).

    Args:
        times: When each source frame begins, in seconds.
        end: When the last one ends.
        rate: Output frames for each second of the source.

    Yields:
        One `Slot` for each output frame, in order.

    Example:
        >>> [(s.left, str(s.t)) for s in slots([Fraction(0), Fraction(1, 24)], Fraction(2, 24), Fraction(60))]
        [(0, '0'), (0, '2/5'), (0, '4/5'), (1, '1/5'), (1, '3/5')]
    """
    clock: Clock | None = None
    previous = Fraction(0)
    number = -1
    for number, time in enumerate(times):
        if clock is None:
            clock = Clock(time, rate)
        else:
            for index, now in clock.until(time):
                yield Slot(index, now, number - 1, number, (now - previous) / (time - previous))
        previous = time
    if clock is not None:
        for index, now in clock.until(end):
            yield Slot(index, now, number, None, (now - previous) / (end - previous))


def frame_count(duration: Fraction, rate: Fraction) -> int:
    """How many frames at `rate` start within `duration` seconds."""
    return math.ceil(duration * rate)


@dataclass(frozen=True)
class Grid:
    """The times of a constant rate, which a container has rounded.

    Attributes:
        rate: Frames a second.
        origin: The time of frame 0 in seconds.
        tolerance: How far rounding can have moved a frame, in seconds.
    """

    rate: Fraction
    origin: Fraction
    tolerance: Fraction

    def number(self, time: Fraction) -> int:
        """The number of the grid point nearest to `time`."""
        return round((time - self.origin) * self.rate)

    def holds(self, time: Fraction) -> bool:
        """Whether `time` is a grid point but for rounding."""
        return abs(self.origin + self.number(time) / self.rate - time) <= self.tolerance

    def snap(self, time: Fraction) -> Fraction:
        """The grid point that `time` stands for; `time` itself where it stands for none."""
        return self.origin + self.number(time) / self.rate if self.holds(time) else time


def find_grid(times: Sequence[Fraction], tick: Fraction, declared: Sequence[Fraction | None]) -> Grid | None:
    """The constant rate on which all `times` lie but for the container's rounding, if there is one.

    Args:
        times: Times of the first frames in seconds, increasing.
        tick: The container's resolution in seconds; each time is off by less than this.
        declared: Rates that the container states, the most trusted first.

    Returns:
        The grid, or None for a variable rate. Single frames may be missing from it (a capture that dropped frames),
        but most must follow each other.
    """
    stated = [rate for rate in declared if rate is not None and 0 < rate <= 10 * MAX_RATE]
    if len(times) < 2:
        return Grid(stated[0], times[0], tick) if times and stated else None
    candidates: list[Fraction] = []
    for rate in stated:
        # a rate that was stored rounded stands for the common one beside it
        candidates += [common for common in _COMMON_RATES if abs(common - rate) < rate / 20000]
        candidates.append(rate)
    span = times[-1] - times[0]
    mean = (len(times) - 1) / span if span > 0 else Fraction(0)
    candidates += sorted(_COMMON_RATES, key=lambda rate: abs(rate - mean))[:3]
    tolerance = min(tick, Fraction(1, 500))
    for rate in candidates:
        grid = Grid(rate, times[0], tolerance)
        numbers = [grid.number(time) for time in times]
        steps = [b - a for a, b in itertools.pairwise(numbers)]
        if min(steps) < 1 or steps.count(1) * 10 < len(steps) * 9:
            continue
        if all(grid.holds(time) for time in times):
            return grid
    return None


def parse_rate(text: str | int | float | Fraction, what: str = "rate") -> Fraction:
    """A frame rate or factor as written by a person: 60, 59.94, 60000/1001.

    The usual decimal names of the NTSC rates mean those rates: 23.976, 29.97, 47.952, 59.94, 119.88.

    Raises:
        UsageError: if it is not a number, not positive or not finite.

    Example:
        >>> parse_rate("59.94"), parse_rate("60000/1001"), parse_rate("2.5")
        (Fraction(60000, 1001), Fraction(60000, 1001), Fraction(5, 2))
    """
    try:
        value = Fraction(str(text).strip())
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"The {what} '{text}' is not a number: write 60, 59.94 or 60000/1001.") from None
    if value <= 0:
        raise UsageError(f"The {what} '{text}' must be greater than 0.")
    if what == "rate":
        for nominal in (24, 30, 48, 60, 120, 240):
            exact = Fraction(nominal * 1000, 1001)
            if value.denominator > 1 and value != exact and abs(value - exact) < exact / 20000:
                return exact
    return value


def parse_time(text: str | int | float | Fraction, what: str = "time") -> Fraction:
    """A time as written by a person: 90, 90.5, 1:30, 00:01:30.500; in seconds.

    Raises:
        UsageError: if it is not a time or negative.

    Example:
        >>> parse_time("1:30.5")
        Fraction(181, 2)
    """
    parts = str(text).strip().split(":")
    try:
        if len(parts) > 3:
            raise ValueError
        value = Fraction(0)
        for part in parts:
            value = value * 60 + Fraction(part)
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"The {what} '{text}' is not a time: write seconds (90.5) or HH:MM:SS.mmm.") from None
    if value < 0:
        raise UsageError(f"The {what} '{text}' must not be negative.")
    return value
