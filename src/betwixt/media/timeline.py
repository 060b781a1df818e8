"""Times of frames in exact arithmetic: output times from a rate, source times from a container's rounded ones.

    source   |a         |b         |c         |        end
    output   |0   |1   |2   |3   |4   |5   |6   |7   |8

Output frame k is shown at ``start + k / rate`` (`Clock`). It lies in the interval between two source frames, at t in
[0, 1); t = 0 is the source frame itself. There are as many output frames as begin before the source's end, so the
duration differs from the source's by less than one output frame, at any length: every time is a `fractions.Fraction`
computed from k alone, so no error accumulates.

Containers round times, Matroska for instance to milliseconds. `find_grid` finds the constant rate behind the rounded
times, and `Grid.snap` moves each time back to its exact place, so that a source frame that coincides with an output
frame is recognized.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

from betwixt.errors import UsageError

MAX_RATE = Fraction(1000)
"""The highest output rate, in frames per second; a higher one is considered a mistake."""

MAX_TERM = 10**9
"""The largest numerator and denominator of a rate: what each of FFmpeg's muxers and encoders (libvpx) can hold."""

_MAX_STATED_TERM = 10**7
"""The same for the rate of an input, so that its multiples can be held, too."""

_ROUNDED_PLACES = 6
"""From so many decimal places on a rate is taken for a rounded fraction."""

_COMMON_RATES = tuple(
    Fraction(n, d)
    for n, d in (
        (24000, 1001), (24, 1), (25, 1), (30000, 1001), (30, 1), (48000, 1001), (48, 1), (50, 1),
        (60000, 1001), (60, 1), (100, 1), (120000, 1001), (120, 1), (144, 1), (240, 1),
        (12, 1), (12000, 1001), (15, 1), (15000, 1001), (10, 1), (20, 1),
    )
)  # fmt: skip


_CHANCE = 1e-4
"""The highest probability at which times that lie on a grid by chance are taken for a constant rate."""

_MAX_RUN = 32
"""The most frames of one time that are spread up to the next."""

T = TypeVar("T")


class Clock:
    """Generates the numbers and times of output frames in order, one interval after the other.

    Args:
        start: The time of output frame 0, in seconds.
        rate: Output frames per second of the source, > 0.

    Attributes:
        index: The number of the next output frame.

    Example:
        >>> clock = Clock(start=Fraction(0), rate=Fraction(60))
        >>> [(index, str(time)) for index, time in clock.until(Fraction(1, 24))]
        [(0, '0'), (1, '1/60'), (2, '1/30')]
    """

    def __init__(self, start: Fraction, rate: Fraction) -> None:
        self.start, self.rate, self.index = start, rate, 0

    def until(self, time: Fraction | None) -> Iterator[tuple[int, Fraction]]:
        """Yield the number and time of each next output frame before `time`; without an end for None."""
        while time is None or self.start + self.index / self.rate < time:
            now = self.start + self.index / self.rate
            self.index += 1
            yield self.index - 1, now


@dataclass(frozen=True)
class TimeMap:
    """Maps times of the input to times of the output, in seconds: ``(time - zero) * scale``."""

    zero: Fraction = Fraction(0)  # the input time that becomes 0 in the output
    scale: Fraction = Fraction(1)  # the factor by which the output is slower

    def __call__(self, time: Fraction) -> Fraction:
        return (time - self.zero) * self.scale


def frame_count(duration: Fraction, rate: Fraction) -> int:
    """The number of frames at `rate` that begin within `duration` seconds."""
    return math.ceil(duration * rate)


@dataclass(frozen=True)
class Grid:
    """The exact times of a video of constant rate, whose container has rounded them."""

    rate: Fraction  # frames per second
    origin: Fraction  # the time of frame 0, in seconds
    tolerance: Fraction  # the largest rounding error of a time, in seconds

    def number(self, time: Fraction) -> int:
        """The number of the grid point nearest to `time`."""
        return round((time - self.origin) * self.rate)

    def contains(self, time: Fraction) -> bool:
        """Whether `time` is a grid point within `tolerance`."""
        return abs(self.origin + self.number(time) / self.rate - time) <= self.tolerance

    def snap(self, time: Fraction) -> Fraction:
        """Move `time` to its grid point; other times are returned as they are."""
        return self.origin + self.number(time) / self.rate if self.contains(time) else time

    def nearest(self, time: Fraction) -> Fraction:
        """The grid point nearest to `time`."""
        return self.origin + self.number(time) / self.rate


class Spreader(Generic[T]):
    """Gives frames whose times are equal, unknown or step back a time of their own, up to the next frame's.

        stated    |0 0     |2 2     |4 4
        spread    |0  |1   |2  |3   |4  |5

    Args:
        step: Seconds between two frames, where there is no next time.
        begin: The time of the first frame, if it is not stated.

    Attributes:
        moved: Number of frames that were not left at the time they state.
    """

    def __init__(self, step: Fraction, begin: Fraction) -> None:
        self.moved = 0
        self._step, self._begin = step, begin
        self._run: list[T] = []  # frames that share one time
        self._time: Fraction | None = None

    def push(self, frame: T, time: Fraction | None, step: Fraction) -> Iterator[tuple[T, Fraction]]:
        """Take the next frame, its time if that is stated, and the seconds to the next; yield finished frames."""
        self._step = step
        if time is None:
            time = self._begin if self._time is None else self._time + step * max(1, len(self._run))
        if self._time is None or not self._run:
            self._run, self._time = [frame], time if self._time is None else max(time, self._time)
        elif time > self._time:
            yield from self._spread(time - self._time)
            self._run, self._time = [frame], time
        else:
            self._run.append(frame)
            if len(self._run) >= _MAX_RUN:
                yield from self.flush()

    def flush(self) -> Iterator[tuple[T, Fraction]]:
        """Yield the frames that wait for a next time."""
        length = self._step * len(self._run)
        yield from self._spread(length)
        self._run, self._time = [], None if self._time is None else self._time + length

    def _spread(self, length: Fraction) -> Iterator[tuple[T, Fraction]]:
        self.moved += max(0, len(self._run) - 1)
        for number, frame in enumerate(self._run):
            yield frame, (self._time or Fraction(0)) + length * number / len(self._run)


def find_grid(times: Sequence[Fraction], tick: Fraction, declared: Sequence[Fraction | None]) -> Grid | None:
    """Find the constant rate of all `times`, apart from the container's rounding.

    Args:
        times: Times of the first frames in seconds, increasing.
        tick: The container's resolution in seconds; each time is off by less than this.
        declared: The rates that the container states, the most reliable first.

    Returns:
        The grid, or None for a variable rate. Up to half of the frames may be missing from it (a capture that dropped
        frames), if the others are too many to lie on it by chance.
    """
    stated = [nearest_rate(rate, _MAX_STATED_TERM) for rate in declared if rate and 0 < rate <= 10 * MAX_RATE]
    if len(times) < 2:
        return Grid(stated[0], times[0], tick) if times and stated else None
    candidates: list[Fraction] = []
    for rate in stated:
        # A rate next to a common one is that common rate, rounded by the container.
        candidates += [common for common in _COMMON_RATES if abs(common - rate) < rate / 20000]
        candidates.append(rate)
    distances = sorted(b - a for a, b in itertools.pairwise(times))
    span = times[-1] - times[0]
    for usual in (span / len(distances), distances[len(distances) // 2]):  # mean and median
        if usual > 0:
            candidates += _nearest_common(1 / usual)
    grid = _fit_grid(times, min(tick, Fraction(1, 500)), candidates)
    if grid is None and _are_milliseconds(times, tick):
        # What this container states is then a mean of rounded times.
        usual_first = sorted(candidates, key=lambda rate: rate not in _COMMON_RATES)
        return _fit_grid(times, Fraction(1, 1000), usual_first)
    return grid


def _are_milliseconds(times: Sequence[Fraction], tick: Fraction) -> bool:
    """Whether times of a finer resolution are all whole milliseconds, as copied from Matroska or FLV."""
    distances = [1000 * (time - times[0]) for time in times[1:]]
    by_chance = min(1.0, float(2000 * tick)) ** len(distances)
    return by_chance <= _CHANCE and all(abs(d - round(d)) <= 1000 * tick for d in distances)


def _fit_grid(times: Sequence[Fraction], tolerance: Fraction, candidates: Sequence[Fraction]) -> Grid | None:
    """The grid of the first rate among the candidates on which all times lie."""
    for rate in candidates:
        grid = Grid(rate, times[0], tolerance)
        numbers = [grid.number(time) for time in times]
        steps = [b - a for a, b in itertools.pairwise(numbers)]
        missing = steps.count(1) < len(steps)
        if min(steps) < 1 or steps.count(1) * 2 < len(steps):
            continue
        if missing and float(2 * tolerance * rate) ** len(steps) > _CHANCE:
            continue
        if all(grid.contains(time) for time in times):
            return grid
    return None


def nearest_rate(rate: Fraction, limit: int = MAX_TERM) -> Fraction:
    """The fraction nearest to `rate` whose numerator and denominator are at most `limit`.

    A rate that is out of this range itself is returned as it is.
    """
    if not Fraction(1, limit) < rate < limit:
        return rate
    return rate.limit_denominator(limit) if rate < 1 else 1 / (1 / rate).limit_denominator(limit)


def nominal_rate(mean: Fraction) -> Fraction:
    """The usual rate within 1 % of the mean of a variable rate, else a whole number (below 10: hundredths)."""
    nearest = min(_COMMON_RATES, key=lambda rate: abs(rate - mean))
    if abs(nearest - mean) <= mean / 100:
        return nearest
    return max(Fraction(1, 100), Fraction(round(mean)) if mean >= 10 else Fraction(round(100 * mean), 100))


def _nearest_common(rate: Fraction) -> list[Fraction]:
    return sorted(_COMMON_RATES, key=lambda common: abs(common - rate))[:3]


def parse_rate(text: str | int | float | Fraction, what: str = "rate") -> Fraction:
    """Parse a frame rate or a factor: 60, 59.94 or 60000/1001; `what` is its name in messages.

    If `what` is "rate", the decimal names of the NTSC rates (23.976 or 23.98, 29.97, 59.94, 119.88) mean the exact
    rates. A decimal of six or more places is taken for a rounded fraction: 33.333333 is 100/3.

    Raises:
        UsageError: if it is not a number, not positive or not finite.

    Example:
        >>> parse_rate("59.94"), parse_rate("60000/1001"), parse_rate("2.5")
        (Fraction(60000, 1001), Fraction(60000, 1001), Fraction(5, 2))
    """
    written = str(text).strip()
    try:
        value = Fraction(written)
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"The {what} '{text}' is not a number: write 60, 59.94 or 60000/1001.") from None
    if value <= 0:
        raise UsageError(f"The {what} '{text}' must be greater than 0.")
    places = len(written.partition(".")[2]) if re.fullmatch(r"\d*\.\d+", written) else 0
    if what == "rate" and (exact := _ntsc_rate(value, places)) is not None:
        return exact
    if places >= _ROUNDED_PLACES:
        # A float holds 53 bits, which may be less than its text promises.
        error = max(Fraction(1, 2 * 10**places), value / 2**51)
        value = _simplest_between(value - error, value + error)
    return nearest_rate(value)


def _ntsc_rate(value: Fraction, places: int) -> Fraction | None:
    """The rate n * 1000/1001 that a decimal of so many places stands for, or None."""
    for nominal in (12, 15, 24, 30, 48, 60, 120, 144, 240):
        exact = Fraction(nominal * 1000, 1001)
        if value.denominator > 1 and value != exact and abs(value - exact) < exact / 20000:
            return exact
    # Rounded or cut off: of few places only for the usual rates, since 49.95 may be meant as it is.
    exact = Fraction(math.ceil(value) * 1000, 1001)
    usual = exact in _COMMON_RATES and places >= 2
    scale = 10**places
    if (usual or places >= 4) and value * scale in (round(exact * scale), math.floor(exact * scale)):
        return exact
    return None


def _simplest_between(low: Fraction, high: Fraction) -> Fraction:
    """The fraction with the smallest terms between two positive ones, by their continued fractions."""
    whole = math.ceil(low)
    if whole <= high:
        return Fraction(whole)
    return whole - 1 + 1 / _simplest_between(1 / (high - whole + 1), 1 / (low - whole + 1))


def parse_time(text: str | int | float | Fraction, what: str = "time") -> Fraction:
    """Parse a time to seconds: 90, 90.5, 1:30, 00:01:30.500; `what` is its name in messages.

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
