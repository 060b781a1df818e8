"""Marks source frames: which follow a cut, which repeat the one before, and which are shown around each.

frames ──► cuts ──► duplicates ──► marked frames, without those to be filled ──► with the frames around them
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice

from betwixt.media.cut_list import CutList
from betwixt.media.duplicates import DuplicateDetector
from betwixt.media.frames import bit_depth, luma8, planes
from betwixt.media.overlays import LOOK_AHEAD
from betwixt.media.reader import Frame, StreamPacket
from betwixt.media.repeats import MAX_PLACEHOLDERS, RepeatCounter
from betwixt.media.scenes import CutDetector, make_thumbnail


@dataclass
class MarkedFrame:
    """A source frame and how it relates to the frame before it.

    Attributes:
        frame: The frame.
        cut: Whether there is a cut between the two.
        duplicate: Whether it repeats the frame before it.
        around: The two and the frames of their shot around them, in order, in which overlays are found.
    """

    frame: Frame
    cut: bool
    duplicate: bool
    around: tuple[Frame, ...] = ()


class FrameMarker:
    """Marks a stream of frames.

    Args:
        cuts: "auto" to detect cuts, "off", or a list of cuts.
        fill: Whether duplicates are placeholders, to be replaced by interpolated frames.
        overlays: Whether overlays are to be found: frames come with those around them, a few frames later.

    Attributes:
        frames: Source frames read so far.
        cut_times: The times of the frames that begin a new shot.
        duplicates_filled: Duplicates replaced so far.
        fills: Whether duplicates are replaced.
        repeats: Counts the frames that repeat the one before, whether they are filled or not.
        observe: Called with each frame that `mark` yields, before the frames around it are known.
    """

    def __init__(self, cuts: CutList | str, fill: bool, overlays: bool) -> None:
        self.frames = self.duplicates_filled = 0
        self.cut_times: list[Fraction] = []
        self.repeats = RepeatCounter()
        self.fills = fill
        self.observe: Callable[[MarkedFrame], None] | None = None
        self._cuts, self._overlays = cuts, overlays

    def mark(self, items: Iterable[Frame | StreamPacket]) -> Iterator[MarkedFrame | StreamPacket]:
        """The frames that are shown or interpolated between: all of them, or all but placeholders."""
        frames = self._without_placeholders(items)
        if self.observe is not None:
            frames = _observe(frames, self.observe)
        return look_ahead(frames) if self._overlays else frames

    def _without_placeholders(self, items: Iterable[Frame | StreamPacket]) -> Iterator[MarkedFrame | StreamPacket]:
        waiting: list[MarkedFrame] = []  # duplicates that may turn out to be placeholders
        still = False  # too many duplicates in a row: a still picture
        for item in self._mark(items):
            if isinstance(item, StreamPacket):
                yield item
                continue
            if not self.fills or not item.duplicate:
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
                if len(waiting) > MAX_PLACEHOLDERS:
                    yield from waiting
                    waiting, still = [], True
        yield from waiting

    def _mark(self, items: Iterable[Frame | StreamPacket]) -> Iterator[MarkedFrame | StreamPacket]:
        """Mark each frame that follows a cut or repeats the frame before it."""
        detector = CutDetector() if self._cuts == "auto" else None
        listed = self._cuts if isinstance(self._cuts, CutList) else None
        duplicates: DuplicateDetector | None = None
        undecided: deque[MarkedFrame] = deque()
        previous: Frame | None = None
        for item in items:
            if isinstance(item, StreamPacket):
                yield item
                continue
            self.frames += 1
            luma = planes(item.video)[0]
            if luma.ndim == 3:
                luma = luma8(item.video)
            if duplicates is None:
                duplicates = DuplicateDetector(bit_depth(item.video.format.name) if luma.dtype.itemsize > 1 else 8)
            marked = MarkedFrame(item, False, duplicates.push(luma))
            self.repeats.push(marked.duplicate)
            if listed is not None and previous is not None:
                marked.cut = listed.contains(item.index, item.time, previous.time)
            previous = item
            if detector is None:
                yield self._note_cut(marked, marked.cut)
                continue
            undecided.append(marked)
            for cut in detector.push(make_thumbnail(item.video)):
                yield self._note_cut(undecided.popleft(), cut)
        if detector is not None:
            for cut in detector.flush():
                yield self._note_cut(undecided.popleft(), cut)

    def _note_cut(self, marked: MarkedFrame, cut: bool) -> MarkedFrame:
        marked.cut = cut
        if cut:
            self.cut_times.append(marked.frame.time)
        return marked


def _observe(
    items: Iterable[MarkedFrame | StreamPacket], observe: Callable[[MarkedFrame], None]
) -> Iterator[MarkedFrame | StreamPacket]:
    for item in items:
        if isinstance(item, MarkedFrame):
            observe(item)
        yield item


def look_ahead(items: Iterable[MarkedFrame | StreamPacket]) -> Iterator[MarkedFrame | StreamPacket]:
    """Give each frame those of its shot around it and the frame before it: up to `LOOK_AHEAD` on either side."""
    shot: deque[MarkedFrame] = deque()
    waiting = 0  # frames at the end of `shot` that are not yet yielded

    def leave(count: int) -> Iterator[MarkedFrame]:
        """Yield waiting frames until `count` are left."""
        nonlocal waiting
        while waiting > count:
            number = len(shot) - waiting
            if number:
                window = islice(shot, max(0, number - 1 - LOOK_AHEAD), number + 1 + LOOK_AHEAD)
                shot[number].around = tuple(marked.frame for marked in window)
            waiting -= 1
            yield shot[number]
            if number > LOOK_AHEAD:
                shot.popleft()

    for item in items:
        if isinstance(item, StreamPacket):
            yield item
            continue
        if item.cut:
            yield from leave(0)
            shot.clear()
        shot.append(item)
        waiting += 1
        yield from leave(LOOK_AHEAD)
    yield from leave(0)
