"""Plans the output: its rates, and how each output frame is made from source frames.

    source frames ──► cuts, duplicates ──► marked frames ──► clock ──► steps: show, interpolate or extrapolate

Cuts and duplicates change how an output frame is made, never when it is shown: that follows from the clock alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from betwixt.errors import UsageError
from betwixt.media.cut_list import CutList
from betwixt.media.reader import Frame, StreamPacket
from betwixt.media.timeline import MAX_RATE, Clock, nearest_rate, nominal_rate
from betwixt.pipeline.marker import FrameMarker, MarkedFrame

MAX_EXTRAPOLATION = 1
"""How far motion is continued at a cut, in intervals of the two frames that it is taken from."""


@dataclass(frozen=True)
class Rates:
    """The rates of a conversion.

    Attributes:
        output: The output's rate, in frames per second.
        sampling: Output frames per second of the source: more than `output` in slow motion.
        slow: How many times slower the output plays.
    """

    output: Fraction
    sampling: Fraction
    slow: Fraction


def choose_rates(
    source: Fraction,
    fps: Fraction | None,
    factor: Fraction | None,
    slow: Fraction | None,
    limit: Fraction | None = None,
    variable: bool = False,
) -> Rates:
    """Choose the output's rate: `fps`, or `factor` times the source's; by default twice the source's.

    Args:
        source: The source's rate.
        fps: The requested rate, or None.
        factor: The requested multiple of the source's rate, or None.
        slow: How many times slower the output plays, or None. In slow motion the default is the source's rate.
        limit: The highest rate that the output's format can hold. It lowers the default, not a requested rate.
        variable: Whether the source's rate is the mean of a variable one. The usual rate next to it is multiplied.

    Raises:
        UsageError: if both `fps` and `factor` are given, or a rate is out of range.
    """
    if fps is not None and factor is not None:
        raise UsageError("`fps` and `factor` exclude each other: give one.")
    if variable:
        source = nominal_rate(source)
    if fps is not None:
        output = fps
    elif factor is not None:
        output = source * factor
    else:
        output = source if slow is not None else 2 * source
        if limit is not None:
            output = min(output, limit)
    output = nearest_rate(output)
    if fps is None and factor is None and not Fraction(1, 60) <= output <= MAX_RATE:
        raise UsageError(
            f"The input states {_plain(source)} frames per second: choose the output's rate with `fps`, or pass "
            "`input_fps` if the input's is not true."
        )
    if output > MAX_RATE:
        raise UsageError(f"A rate of {_plain(output)} frames per second is out of range: the highest is {MAX_RATE}.")
    if output < Fraction(1, 60):
        raise UsageError(f"A rate of {_plain(output)} frames per second is out of range: the lowest is 1/60.")
    slowdown = Fraction(1) if slow is None else slow
    sampling = output * slowdown
    if sampling > 100 * MAX_RATE:
        raise UsageError(f"{_plain(slowdown)} times slower is out of range at {_plain(output)} frames per second.")
    return Rates(output, sampling, slowdown)


def exact_multiple(source: Fraction, sampling: Fraction) -> Fraction | None:
    """The integer multiple of the source's rate that a rate narrowly misses: 60000/1001 for 30000/1001 and 60.

    At `sampling` only one source frame in ``(sampling / source).denominator`` falls on an output time; at the multiple
    all of them do. None if `sampling` is an integer multiple itself, or not within 0.2 % of one.
    """
    factor = sampling / source
    multiple = round(factor)
    if factor.denominator == 1 or not multiple or abs(factor / multiple - 1) > Fraction(1, 500):
        return None
    return multiple * source


def _plain(value: Fraction) -> str:
    return f"{float(value):.10g}"


@dataclass(frozen=True)
class ShowStep:
    """Show a source frame, unchanged.

    Attributes:
        index: The output frame's number.
        frame: The source frame.
        held: Whether it stands in for a frame that cannot be interpolated: next to a cut, or after the last frame.
    """

    index: int
    frame: Frame
    held: bool = False


@dataclass(frozen=True)
class InterpolateStep:
    """Interpolate frames between two source frames.

    Attributes:
        left: The frame at t = 0.
        right: The frame at t = 1.
        length: Seconds between the two.
        slots: The number and t of each output frame, 0 < t < 1, in order.
        around: The two frames and those of their shot around them, in which overlays are found; empty if none are.
    """

    left: Frame
    right: Frame
    length: Fraction
    slots: tuple[tuple[int, Fraction], ...]
    around: tuple[Frame, ...] = ()


@dataclass(frozen=True)
class ExtrapolateStep:
    """Extrapolate frames next to a cut from two frames of one shot, forward in time or backward.

    Attributes:
        first: The frame from which the motion leads.
        second: The frame to which it leads, next to the cut: the shot's last one, or its first one for the frames
            before it.
        slots: The number of each output frame, in order, and how many intervals beyond `second` it lies, > 0.
        around: The two frames and those of their shot around them, in order of time, as in `InterpolateStep`.
    """

    first: Frame
    second: Frame
    slots: tuple[tuple[int, Fraction], ...]
    around: tuple[Frame, ...] = ()


class Planner:
    """Turns a stream of frames into a stream of steps.

    Args:
        rates: The conversion's rates.
        cuts: "auto" to detect cuts, "off", or a list of cuts.
        fill: Whether duplicates are placeholders, to be replaced by interpolated frames.
        overlays: Whether overlays are to be found: frames come with those around them, a few frames later.
        loop: Whether to interpolate from the last frame back to the first.
        at_cuts: "hold" to repeat the nearest frame beside a cut, "continue" to extrapolate from its shot.
        start: The source time of output frame 0; None for the time of the first frame. Before the first frame, that is
            held.
        end: The source time at which the output ends; None for the end of the last frame.
        stated_end: The end of the video as the container states it, if that is more reliable than the duration of the
            last frame.

    Attributes:
        marker: Marks the frames, and counts frames, cuts and duplicates.
        last_pair: The last two frames that are shown or interpolated between; None before there are two.
        clock: The output's clock, once the first frame is read; after the last step it continues from there.
    """

    def __init__(
        self,
        rates: Rates,
        *,
        cuts: CutList | str = "auto",
        fill: bool = False,
        overlays: bool = False,
        loop: bool = False,
        at_cuts: str = "hold",
        start: Fraction | None = None,
        end: Fraction | None = None,
        stated_end: Fraction | None = None,
    ) -> None:
        self.marker = FrameMarker(cuts, fill, overlays)
        self.last_pair: tuple[Frame, MarkedFrame] | None = None
        self.clock: Clock | None = None
        self._rates, self._fill, self._loop = rates, fill, loop
        self._start, self._end, self._stated_end = start, end, stated_end
        self._continues = at_cuts == "continue"
        self._waiting: list[tuple[int, Fraction]] = []

    def steps(
        self, items: Iterable[Frame | StreamPacket]
    ) -> Iterator[ShowStep | InterpolateStep | ExtrapolateStep | StreamPacket]:
        """The steps for a stream of frames, in order; packets of other streams pass through in place."""
        clock: Clock | None = None
        first: Frame | None = None
        previous: Frame | None = None
        earlier: Frame | None = None  # the frame before the previous one, if it shows the motion that leads to that
        around: tuple[Frame, ...] = ()  # the frames around these two
        for item in self.marker.mark(items):
            if isinstance(item, StreamPacket):
                yield item
                continue
            frame = item.frame
            if clock is None:
                first = frame
                clock = self.start_clock(frame)
                for index, _ in clock.until(frame.time):
                    yield ShowStep(index, frame, held=True)
            elif previous is not None:
                self._note_pair(previous, item)
                shows_motion = not item.cut and not (self._fill and item.duplicate)
                yield from self._before_shot(previous, frame if shows_motion else None, item.around)
                until = frame.time if self._end is None else min(frame.time, self._end)
                if item.cut:
                    yield from self._across_cut(clock, earlier, previous, frame, until, around)
                else:
                    yield from self._interval(clock, previous, frame, frame.time, until, item.around)
                earlier = previous if shows_motion and self._continues else None
            previous, around = frame, item.around
        if clock is None or previous is None or first is None:
            return
        yield from self._before_shot(previous, None)
        source_end, output_end = self.ends(previous)
        if self._loop and first is not previous:
            yield from self._interval(clock, previous, first, source_end, output_end)
        else:
            for index, now in clock.until(output_end):
                yield ShowStep(index, previous, held=now > previous.time)

    def start_clock(self, first: Frame) -> Clock:
        """Start the output's clock at `start`, or at the first frame."""
        begin = first.time if self._start is None else self._start
        self.clock = Clock(begin, self._rates.sampling)
        return self.clock

    def ends(self, last: Frame) -> tuple[Fraction, Fraction]:
        """The times at which the source and the output end, on the source's clock, given the last frame."""
        source_end = last.time + last.duration
        if self._stated_end is not None and abs(self._stated_end - source_end) < 1:
            source_end = max(self._stated_end, last.time + Fraction(1, 1_000_000))
        return source_end, source_end if self._end is None else min(source_end, self._end)

    def _note_pair(self, previous: Frame, item: MarkedFrame) -> None:
        if self._end is not None and item.frame.time >= self._end:
            return  # it was read only to interpolate towards it
        if self._fill and item.duplicate:
            return  # a repeat of the last frame says nothing about its motion
        self.last_pair = previous, item

    def _interval(
        self,
        clock: Clock,
        left: Frame,
        right: Frame,
        right_time: Fraction,
        until: Fraction,
        around: tuple[Frame, ...] = (),
    ) -> Iterator[ShowStep | InterpolateStep]:
        slots: list[tuple[int, Fraction]] = []
        length = right_time - left.time
        for index, now in clock.until(until):
            t = (now - left.time) / length
            if t <= 0:
                yield ShowStep(index, left)
            else:
                slots.append((index, t))
        if slots:
            yield InterpolateStep(left, right, length, tuple(slots), around)

    def _across_cut(
        self,
        clock: Clock,
        earlier: Frame | None,
        left: Frame,
        right: Frame,
        until: Fraction,
        around: tuple[Frame, ...],
    ) -> Iterator[ShowStep | ExtrapolateStep]:
        """The frames between two shots. To continue, those of the new shot wait for its second frame."""
        after_left: list[tuple[int, Fraction]] = []
        for index, now in clock.until(until):
            if now <= left.time:
                yield ShowStep(index, left)
            elif 2 * now < left.time + right.time:
                after_left.append((index, now - left.time))
            else:
                self._waiting.append((index, right.time - now))
        yield from _extrapolate(earlier, left, after_left, around)
        if not self._continues:
            yield from self._before_shot(right, None)

    def _before_shot(
        self, first: Frame, second: Frame | None, around: tuple[Frame, ...] = ()
    ) -> Iterator[ShowStep | ExtrapolateStep]:
        """The frames that wait for the second frame of the shot; None if there is none that shows its motion."""
        waiting, self._waiting = self._waiting, []
        yield from _extrapolate(second, first, waiting, around)


def _extrapolate(
    first: Frame | None, second: Frame, slots: list[tuple[int, Fraction]], around: tuple[Frame, ...]
) -> Iterator[ShowStep | ExtrapolateStep]:
    """Continue the motion from the first frame to the second; hold the second if that is not known or leads too far.

    Args:
        first: The frame from which the motion leads; None if it is not known.
        second: The frame to which it leads.
        slots: The number of each output frame, and its distance from the second frame in seconds.
        around: The frames around the two.
    """
    if not slots:
        return
    if first is not None:
        length = abs(second.time - first.time)
        distances = tuple((index, seconds / length) for index, seconds in slots)
        if all(distance <= MAX_EXTRAPOLATION for _, distance in distances):
            yield ExtrapolateStep(first, second, distances, around)
            return
    for index, _ in slots:
        yield ShowStep(index, second, held=True)
