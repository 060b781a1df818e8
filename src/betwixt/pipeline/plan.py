"""What is to be made from what: the rates, and for every interval of two source frames the output frames in it.

    frames ── cuts, duplicates ──► anchors ── clock ──► steps: show a source frame, hold one, synthesize between two

Scenes and duplicates change what is shown, never when: the clock alone says which output frames there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from betwixt.errors import UsageError
from betwixt.media.cut_list import CutList
from betwixt.media.duplicates import DuplicateDetector
from betwixt.media.frames import bit_depth, luma8, planes
from betwixt.media.reader import Frame, StreamPacket
from betwixt.media.scenes import CutDetector, make_thumbnail
from betwixt.media.timeline import MAX_RATE, Clock

__all__ = ["Anchor", "InterpolateStep", "Planner", "Rates", "ShowStep", "Tail", "choose_rates"]

LONGEST_FILL = 4
"""How many duplicates in a row are taken for placeholders; more are a picture that stands still."""


@dataclass(frozen=True)
class Rates:
    """The rates of a conversion.

    Attributes:
        output: Frames a second of the output.
        sampling: Output frames for each second of the source: more than `output` in slow motion.
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
) -> Rates:
    """The rates that the user's wishes come to.

    Args:
        source: The source's rate.
        fps: The wanted rate, or None.
        factor: The wanted multiple of the source's rate, or None. Without a wish the rate doubles; in slow motion it
            stays.
        slow: How many times slower the output plays, or None.
        limit: The highest rate that the output can hold, for what was not asked for explicitly.

    Raises:
        UsageError: if the wishes contradict each other or the rate is out of range.
    """
    if fps is not None and factor is not None:
        raise UsageError("Give --fps or --factor, not both.")
    slowed = slow if slow is not None else Fraction(1)
    if fps is not None:
        output = fps
    elif factor is not None:
        output = source * factor
    else:
        output = source if slow is not None else 2 * source
        if limit is not None:
            output = min(output, limit)
    if output > MAX_RATE:
        raise UsageError(f"A rate of {_plain(output)} frames a second is out of range: the highest is {MAX_RATE}.")
    if output < Fraction(1, 60):
        raise UsageError(f"A rate of {_plain(output)} frames a second is out of range: the lowest is 1/60.")
    sampling = output * slowed
    if sampling > 100 * MAX_RATE:
        raise UsageError(f"{_plain(slowed)} times slower is out of range at {_plain(output)} frames a second.")
    return Rates(output, sampling, slowed)


def _plain(value: Fraction) -> str:
    return f"{float(value):.10g}"


@dataclass(frozen=True)
class ShowStep:
    """Show a source frame as it is.

    Attributes:
        index: The output frame's number.
        frame: The source frame.
        held: Whether it stands in for a frame that cannot be made: next to a cut, or behind the last frame.
    """

    index: int
    frame: Frame
    held: bool = False


@dataclass(frozen=True)
class InterpolateStep:
    """Make frames between two source frames.

    Attributes:
        left: The frame at t = 0.
        right: The frame at t = 1.
        length: Seconds from one to the other.
        slots: The number and t of each output frame, 0 < t < 1, in order.
    """

    left: Frame
    right: Frame
    length: Fraction
    slots: tuple[tuple[int, Fraction], ...]


@dataclass
class Anchor:
    """A source frame and what lies before it.

    Attributes:
        frame: The frame.
        cut: Whether a cut lies before it.
        duplicate: Whether it repeats the frame before it.
    """

    frame: Frame
    cut: bool
    duplicate: bool


@dataclass(frozen=True)
class Tail:
    """The end of what was read.

    Attributes:
        first: The frame before the last one.
        last: The last frame.
        cut: Whether a cut lies between the two.
    """

    first: Frame
    last: Frame
    cut: bool


class Planner:
    """Turns frames into steps, as a stream.

    Args:
        rates: The conversion's rates.
        cuts: "auto" to find cuts, "off", or a list of cuts.
        fill: Whether duplicates are placeholders to be filled.
        loop: Whether the last frame leads on to the first.
        start: The source time of output frame 0; None for the first frame's.
        end: The source time where the output ends; None for the last frame's end.
        stated_end: Where the container says that the video ends, if that is better known than how long the last frame
            stands.

    Attributes:
        frames: Source frames seen so far.
        cut_times: The times of the frames that begin a new shot.
        duplicates_filled: Duplicates replaced so far.
        begin: The time of output frame 0, once known.
        last: The time where the source ends, once known.
        tail: The last two frames that are shown or interpolated between; None before there are two.
        clock: The output's clock, once begun; behind the last step it goes on from there.
    """

    def __init__(
        self,
        rates: Rates,
        *,
        cuts: CutList | str = "auto",
        fill: bool = False,
        loop: bool = False,
        start: Fraction | None = None,
        end: Fraction | None = None,
        stated_end: Fraction | None = None,
    ) -> None:
        self.frames = self.duplicates_filled = 0
        self.cut_times: list[Fraction] = []
        self.begin: Fraction | None = start
        self.last: Fraction | None = None
        self.tail: Tail | None = None
        self.clock: Clock | None = None
        self._rates, self._cuts, self._fill, self._loop, self._end = rates, cuts, fill, loop, end
        self._stated_end = stated_end

    @property
    def cuts_found(self) -> int:
        """How many cuts have been found so far."""
        return len(self.cut_times)

    def steps(self, items: Iterable[Frame | StreamPacket]) -> Iterator[ShowStep | InterpolateStep | StreamPacket]:
        """The steps for a stream of frames; packets of other streams pass through in place."""
        clock: Clock | None = None
        first: Frame | None = None
        previous: Frame | None = None
        for item in self.anchors(items):
            if isinstance(item, StreamPacket):
                yield item
                continue
            frame = item.frame
            if clock is None:
                first = frame
                clock = self.started(frame)
            elif previous is not None:
                self._follow(previous, item)
                until = frame.time if self._end is None else min(frame.time, self._end)
                yield from self._interval(clock, previous, frame, frame.time, until, item.cut)
            previous = frame
        if clock is None or previous is None or first is None:
            return
        finish, end = self.finished(previous)
        if self._loop and first is not previous:
            yield from self._interval(clock, previous, first, finish, end, False)
        else:
            for index, now in clock.until(end):
                yield ShowStep(index, previous, held=now > previous.time)

    def started(self, first: Frame) -> Clock:
        """The output's clock, from the first frame on."""
        if self.begin is None or self.begin < first.time:
            self.begin = first.time
        self.clock = Clock(self.begin, self._rates.sampling)
        return self.clock

    def finished(self, last: Frame) -> tuple[Fraction, Fraction]:
        """Where the source ends and where the output does, after the last frame, on the source's clock."""
        finish = last.time + last.duration
        if self._stated_end is not None and abs(self._stated_end - finish) < 1:
            finish = max(self._stated_end, last.time + Fraction(1, 1_000_000))
        self.last = finish if self._end is None else min(finish, self._end)
        return finish, self.last

    def _follow(self, previous: Frame, item: Anchor) -> None:
        if self._end is not None and item.frame.time >= self._end:
            return  # only looked at
        if self._fill and item.duplicate:
            return  # a repeat behind the last new picture says nothing of its motion
        self.tail = Tail(previous, item.frame, item.cut)

    def _interval(
        self, clock: Clock, left: Frame, right: Frame, right_time: Fraction, until: Fraction, cut: bool
    ) -> Iterator[ShowStep | InterpolateStep]:
        slots: list[tuple[int, Fraction]] = []
        length = right_time - left.time
        for index, now in clock.until(until):
            t = (now - left.time) / length
            if t <= 0:
                yield ShowStep(index, left)
            elif cut:
                yield ShowStep(index, left if 2 * t < 1 else right, held=True)
            else:
                slots.append((index, t))
        if slots:
            yield InterpolateStep(left, right, length, tuple(slots))

    # -- cuts and duplicates

    def anchors(self, items: Iterable[Frame | StreamPacket]) -> Iterator[Anchor | StreamPacket]:
        """The frames that are shown or interpolated between: all, or all but placeholders."""
        waiting: list[Anchor] = []  # duplicates that may turn out to be placeholders
        still = False  # too many of them: the picture stands still
        for item in self._marked(items):
            if isinstance(item, StreamPacket):
                yield item
                continue
            if not self._fill or not item.duplicate:
                if waiting and item.cut:
                    yield from waiting
                else:
                    self.duplicates_filled += len(waiting)
                waiting, still = [], False
                yield item
            elif still:
                yield item
            else:
                waiting.append(item)
                if len(waiting) > LONGEST_FILL:
                    yield from waiting
                    waiting, still = [], True
        yield from waiting

    def _marked(self, items: Iterable[Frame | StreamPacket]) -> Iterator[Anchor | StreamPacket]:
        """Each frame with whether a cut lies before it and whether it repeats the one before it."""
        detector = CutDetector() if self._cuts == "auto" else None
        listed = self._cuts if isinstance(self._cuts, CutList) else None
        repeats: DuplicateDetector | None = None
        waiting: deque[Anchor] = deque()
        previous: Frame | None = None
        for item in items:
            if isinstance(item, StreamPacket):
                yield item
                continue
            self.frames += 1
            anchor = Anchor(item, False, False)
            if self._fill:
                luma = planes(item.video)[0]
                if luma.ndim == 3:
                    luma = luma8(item.video)
                depth = bit_depth(item.video.format.name) if luma.dtype.itemsize > 1 else 8
                if repeats is None:
                    repeats = DuplicateDetector(depth)
                anchor.duplicate = repeats.push(luma)
            if listed is not None and previous is not None:
                anchor.cut = listed.contains(item.index, item.time, previous.time)
            previous = item
            if detector is None:
                yield self._counted(anchor)
                continue
            waiting.append(anchor)
            for cut in detector.push(make_thumbnail(item.video)):
                yield self._decided(waiting.popleft(), cut)
        if detector is not None:
            for cut in detector.flush():
                yield self._decided(waiting.popleft(), cut)

    def _decided(self, anchor: Anchor, cut: bool) -> Anchor:
        anchor.cut = cut
        return self._counted(anchor)

    def _counted(self, anchor: Anchor) -> Anchor:
        if anchor.cut:
            self.cut_times.append(anchor.frame.time)
        return anchor
