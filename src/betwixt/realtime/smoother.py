"""`Smoother`: a stream of frames with gaps in, a picture for every tick of the display out.

    push(frame, captured, now) ──► frames by capture time ─┐        state changes
    pull(now) ──► content time due (`playout`) ────────────┴──► between two frames ──────► interpolated
                                                            ├──► behind the last one ────► extrapolated, then held
                                                            └──► first after a guess ────► seam: between what was shown
                                                                                           and what will be

The two modes are those of the paper (Z. Jia et al., Neighbor Correspondence Matching for Flow-based Video Frame
Synthesis, ACM MM 2022, appendix E):

- *interpolate* waits for the frame after (three display frames at 4x) and shows what lies between (figure 19).
- *extrapolate* does not wait. From the last two frames it makes the next one and shows what lies between the last and
  that one (figure 20). When the true frame comes, it does not fit the guess that was shown before it: so instead of it
  the middle between the picture shown last and the next one to be shown is displayed.

Where the paper is silent: a frame that is missing when its neighbours are due, in either mode, is made up for by
extrapolation, for `horizon` intervals; then the picture stands still. When the stream is back, the seam is mended as
above. A frame that comes after its time still serves as a neighbour. Nothing is made across a scene cut: the nearer
side stands still.

Time is exact (`Fraction`); clocks are whatever the caller says, so a network can be simulated as well as lived in. With
`ahead` the pictures of the next ticks are made in threads of their own before they are asked for.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import UsageError
from betwixt.layers.motion import FrameMotion
from betwixt.layers.planes import synthesize_planes
from betwixt.media.scenes import FAINT, SCORE_CEILING, SCORE_FLOOR, SCORE_RATIO, pair_score, thumbnail_size
from betwixt.media.timeline import parse_rate
from betwixt.models.base import Image, Interpolator, MotionPair, Pair
from betwixt.models.dis.interpolator import DIS, DISPair
from betwixt.models.frame_view import FullFrameView
from betwixt.models.registry import EFFECTS_MODEL
from betwixt.realtime.playout import JUMP, Playout, delay_of
from betwixt.runtime.load import load_model

__all__ = ["MODES", "Shown", "Smoother"]

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB, 0 to 255."""

MODES = ("interpolate", "extrapolate")

_KEPT = 32
"""Frames in memory at most; a burst of more is a stream that has to be joined anew."""


@dataclass(frozen=True)
class Shown:
    """A picture for a tick of the display.

    Attributes:
        picture: (H, W, 3) RGB, uint8; it may not be written to, since it may serve again: draw on a copy.
        time: The content time, in seconds on the sender's clock.
        kind: "source", "interpolated", "extrapolated", "seam" or "held".
    """

    picture: Picture
    time: Fraction
    kind: str


class _Still(FullFrameView):
    """A frame, received or made, and what was computed of it (`models.seen.Seen`)."""

    def __init__(self, shown: Picture, time: Fraction, number: int = -1) -> None:
        self.shown, self.time, self.number = shown, time, number
        self.cut = False  # whether a cut lies before it

    @cached_property
    def picture(self) -> Image:  # type: ignore[override]
        return self.shown.astype(np.float32) / np.float32(255)

    @cached_property
    def luma(self) -> NDArray[np.uint8]:  # type: ignore[override]
        return np.asarray(cv2.cvtColor(self.shown, cv2.COLOR_RGB2GRAY), np.uint8)

    @cached_property
    def thumbnail(self) -> NDArray[np.uint8]:
        size = thumbnail_size(self.shown.shape[1], self.shown.shape[0])
        small = cv2.resize(self.shown, size, interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(small[..., ::-1])


class Smoother:
    """Makes a steady stream out of an unsteady one.

    Args:
        model: A model's name or a loaded model.
        rate: Frames a second of the display.
        source_rate: Frames a second of the stream, as sent.
        mode: "interpolate" (waits, sees both sides) or "extrapolate" (does not wait, guesses).
        delay: Seconds that the display lies behind the fastest frame. If not given, what the mode needs: one interval
            of the stream less one tick for "interpolate", nothing for "extrapolate".
        margin: Seconds more, so that frames may be late by as much.
        horizon: How many intervals of the stream are made up for when frames do not come.
        seam: Whether to mend the seam between guesses and the true frame.
        ahead: How many pictures to make before they are asked for, each in a thread of its own.
        device: Where a network runs.

    Raises:
        UsageError: for arguments that are wrong.

    Example:
        >>> import numpy as np
        >>> from betwixt.realtime import Smoother
        >>> smoother = Smoother("dis", rate=60, source_rate=15)
        >>> smoother.pull(0) is None
        True
        >>> for n in range(3):
        ...     smoother.push(np.full((48, 64, 3), 60, np.uint8), captured=n / 15, now=n / 15)
        >>> smoother.pull(2 / 15).kind
        'interpolated'
    """

    def __init__(
        self,
        model: str | Interpolator = EFFECTS_MODEL,
        *,
        rate: str | float | Fraction,
        source_rate: str | float | Fraction,
        mode: str = "interpolate",
        delay: float | Fraction | None = None,
        margin: float | Fraction = 0,
        horizon: float = 1.5,
        seam: bool = True,
        ahead: int = 0,
        device: str = "auto",
    ) -> None:
        if mode not in MODES:
            raise UsageError(f"There is no mode '{mode}': choose interpolate or extrapolate.")
        for what, value in (("margin", margin), ("horizon", horizon), ("delay", delay or 0)):
            if not math.isfinite(value):
                raise UsageError(f"The {what} ({value}) is no number.")
        if margin < 0 or horizon < 0 or ahead < 0:
            raise UsageError("Neither the margin nor the horizon nor the pictures made ahead may be negative.")
        self.rate, self.source_rate = parse_rate(rate), parse_rate(source_rate)
        self.mode = mode
        if delay is None:
            delay = delay_of(self.rate, self.source_rate) if mode == "interpolate" else Fraction(0)
        self.delay = Fraction(delay) + Fraction(margin)
        self.model = load_model(model, device) if isinstance(model, str) else model
        self._playout = Playout(self.rate, self.delay)
        self._interval, self._tick = 1 / self.source_rate, 1 / self.rate
        self._horizon, self._mends = Fraction(horizon), seam
        self._lock, self._guessing = threading.RLock(), threading.Lock()
        self._frames: list[_Still] = []
        self._scores: deque[float] = deque(maxlen=8)
        self._version = 0
        self._guessed = False  # whether what was shown last was no more than a guess
        self._last: tuple[int, Shown] | None = None
        self._pairs: OrderedDict[tuple[str, int, int], Any] = OrderedDict()
        self._ahead = ahead
        self._pool = ThreadPoolExecutor(ahead, "betwixt-ahead") if ahead else None
        self._coming: dict[tuple[Fraction, int, int], Future[Shown]] = {}

    # -- in

    def push(self, frame: Picture, captured: float | Fraction, now: float | Fraction | None = None) -> None:
        """Take in a frame of the stream.

        Args:
            frame: (H, W, 3) RGB, uint8; all frames have one size. It is copied: the array may be used again.
            captured: When it was captured, in seconds on the sender's clock. Frames may come in any order; one of the
                same time as an earlier one is ignored. After a clock that was set anew, and after a longer pause, the
                stream is joined anew.
            now: The receiver's clock in seconds; by default `time.monotonic()`.

        Raises:
            UsageError: if it is no such picture, or of another size than the frames before it, or a time is none.
        """
        right = isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3
        if not right or not frame.size:
            raise UsageError("A frame is a numpy array (height, width, 3), RGB, uint8.")
        at, moment = _clock(now), _seconds(captured)
        picture = np.array(frame, order="C")
        with self._lock:
            if self._frames and frame.shape != self._frames[0].shown.shape:
                was, got = (f"{s[1]}x{s[0]}" for s in (self._frames[0].shown.shape, frame.shape))
                raise UsageError(f"The stream changes its size from {was} to {got}: begin a new Smoother.")
            arrival = self._playout.arrived(moment, at)
            if arrival == "anew":
                self._frames, self._last, self._guessed = [], None, False
            if arrival == "ahead" or any(f.time == moment for f in self._frames):
                return
            self._frames.append(_Still(picture, moment, self._version))
            self._frames.sort(key=lambda f: f.time)
            del self._frames[:-_KEPT]
            for before, after in zip(self._frames, self._frames[1:], strict=False):
                if moment in (before.time, after.time):
                    after.cut = self._is_cut(before, after)
            self._version += 1

    def _is_cut(self, before: _Still, after: _Still) -> bool:
        """Whether motion does not explain the change, as `media.scenes` has it; later frames cannot be waited for."""
        faint = float(np.mean(cv2.absdiff(before.thumbnail, after.thumbnail))) < FAINT
        score = 1.0 if faint else pair_score(before.thumbnail, after.thumbnail)
        usual = float(np.median(self._scores)) if self._scores else 1.0
        cut = score < min(max(SCORE_RATIO * usual, SCORE_FLOOR), SCORE_CEILING)
        if not cut:
            self._scores.append(score)
        return cut

    # -- out

    def pull(self, now: float | Fraction | None = None) -> Shown | None:
        """The picture to be shown now; None before the first frame has come.

        Args:
            now: The receiver's clock in seconds; by default `time.monotonic()`.
        """
        at = _clock(now)
        with self._lock:
            content = self._playout.due(at)
            if content is None:
                return None
            if self._last is not None and self._last[1].time == content and self._last[0] == self._version:
                return self._last[1]
            version, frames, last, guessed = self._version, list(self._frames), self._last, self._guessed
            coming = self._coming.get(self._recipe(frames, content))
        mend = self._mends and guessed and last is not None and last[0] != version
        recent = last is not None and 0 < content - last[1].time <= JUMP
        if mend and recent and last is not None and not _cut_between(frames, last[1].time, content + self._tick):
            shown = self._mended(last[1], frames, content)
        elif coming is not None:
            shown = coming.result()
        else:
            shown = self._show(frames, content)
        shown.picture.flags.writeable = False
        with self._lock:
            self._last = version, shown
            self._guessed = shown.kind == "extrapolated" or (shown.kind == "seam" and self._beyond(frames, content))
            self._prune(content)
            self._look_ahead(content)
        return shown

    def _look_ahead(self, content: Fraction) -> None:
        """Begin the pictures of the next ticks; what is begun and still wanted goes on."""
        if self._pool is None:
            return
        frames = list(self._frames)
        wanted: dict[tuple[Fraction, int, int], Future[Shown]] = {}
        for step in range(1, self._ahead + 1):
            moment = content + step * self._tick
            key = self._recipe(frames, moment)
            wanted[key] = self._coming.get(key) or self._pool.submit(self._show, frames, moment)
        for key, stale in self._coming.items():
            if key not in wanted:
                stale.cancel()
        self._coming = wanted

    def _recipe(self, frames: list[_Still], content: Fraction) -> tuple[Fraction, int, int]:
        """What the picture at `content` depends on: the frames beside it, or all where there is none after it."""
        left = max((f.number for f in frames if f.time <= content), default=-1)
        right = [f for f in frames if f.time > content]
        return content, left, min(right, key=lambda f: f.time).number if right else -1 - self._version

    def close(self) -> None:
        """End the threads that work ahead."""
        with self._lock:
            pool, self._pool = self._pool, None
            self._coming = {}
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- what is shown

    def _show(self, frames: list[_Still], content: Fraction) -> Shown:
        """The picture at `content`, from what is known."""
        left = max((f for f in frames if f.time <= content), key=lambda f: f.time, default=None)
        right = min((f for f in frames if f.time > content), key=lambda f: f.time, default=None)
        if left is None:
            assert right is not None
            return Shown(right.shown, content, "held")
        if left.time == content:
            return Shown(left.shown, content, "source")
        if right is not None:
            t = (content - left.time) / (right.time - left.time)
            if right.cut:
                return Shown((left if 2 * t < 1 else right).shown, content, "held")
            return Shown(self._between(left, right, float(t)), content, "interpolated")
        return self._guess(frames, left, content)

    def _guess(self, frames: list[_Still], last: _Still, content: Fraction) -> Shown:
        """The picture after the last frame."""
        before = [f for f in frames if f.time < last.time]
        if not before or last.cut:
            return Shown(last.shown, content, "held")
        first = before[-1]
        interval = last.time - first.time
        s = (content - last.time) / interval
        limit = max(self._horizon * self._interval, self._tick) / interval
        held = s > limit
        s = min(s, limit)
        kind = "held" if held else "extrapolated"
        whole = int(s)
        # as the paper: the next frame first, then what lies between
        begin = last if whole == 0 else self._next(first, last, whole)
        if s == whole:
            return Shown(begin.shown, content, kind)
        end = self._next(first, last, whole + 1)
        return Shown(self._between(begin, end, float(s - whole)), content, kind)

    def _mended(self, shown: Shown, frames: list[_Still], content: Fraction) -> Shown:
        """Between what was shown last and what will be shown next: figure 20."""
        following = self._show(frames, content + self._tick)
        before, after = _Still(shown.picture, shown.time), _Still(following.picture, following.time)
        t = (content - before.time) / (after.time - before.time)
        return Shown(self._render(self._prepared(before, after), before, after, float(t)), content, "seam")

    def _beyond(self, frames: list[_Still], content: Fraction) -> bool:
        return not frames or frames[-1].time <= content

    def _prune(self, content: Fraction) -> None:
        """Forget what lies behind the two frames at or before `content`."""
        past = [f for f in self._frames if f.time <= content]
        if len(past) > 2:
            self._frames = [*past[-2:], *(f for f in self._frames if f.time > content)]

    # -- how it is made

    def _between(self, left: _Still, right: _Still, t: float) -> Picture:
        pair = self._cached("between", left, right, lambda: self._prepared(left, right))
        return self._render(pair, left, right, t)

    def _next(self, first: _Still, last: _Still, steps: int) -> _Still:
        """The frame `steps` intervals after the last one."""

        def make() -> list[_Still]:
            return []

        made: list[_Still] = self._cached("after", first, last, make)
        interval = last.time - first.time
        with self._guessing:  # each goes on from the one before
            while len(made) < steps:
                number = len(made) + 1
                if self.model.extrapolates and not isinstance(self.model, DIS):
                    before = [first, last, *made][-2:]
                    picture = _rounded(self.model.next_frame(before[0].picture, before[1].picture))
                else:
                    search: DISPair = self._cached("search", first, last, lambda: DIS().prepare_views(first, last))
                    picture = _made(search.beyond(float(number)), first, last)
                made.append(_Still(picture, last.time + number * interval))
            return made[steps - 1]

    def _prepared(self, left: _Still, right: _Still) -> Pair:
        return self.model.prepare_views(left, right)

    def _render(self, pair: Pair, left: _Still, right: _Still, t: float) -> Picture:
        if isinstance(pair, MotionPair):
            return _made(pair.motion(t), left, right)
        return _rounded(pair.at(t))

    def _cached(self, kind: str, left: _Still, right: _Still, make: Callable[[], Any]) -> Any:
        """What was made of two frames before, or else is made now; the few last used are kept."""
        key = kind, id(left), id(right)
        with self._lock:
            found = self._pairs.get(key)
            if found is not None:
                self._pairs.move_to_end(key)
                return found[0]
        value = make()
        with self._lock:
            # the frames are kept with it, so that their ids stay theirs
            self._pairs[key] = value, left, right
            while len(self._pairs) > 8:
                self._pairs.popitem(last=False)
        return value


def _clock(now: float | Fraction | None) -> Fraction:
    return _seconds(time.monotonic() if now is None else now)


def _seconds(value: float | Fraction) -> Fraction:
    try:
        return Fraction(value).limit_denominator(1_000_000)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"{value!r} is no time: give seconds.") from None


def _made(motion: FrameMotion, left: _Still, right: _Still) -> Picture:
    """The frame that a motion describes, in 8 bit from the pictures themselves."""
    changes = None if motion.colours is None else [motion.colours * np.float32(255)]
    picture: Picture
    (picture,) = synthesize_planes([left.shown], [right.shown], motion, left.shown.shape[:2], changes)
    return picture


def _rounded(image: Image) -> Picture:
    picture: Picture = np.rint(np.clip(image, 0, 1) * np.float32(255)).astype(np.uint8)
    return picture


def _cut_between(frames: list[_Still], start: Fraction, end: Fraction) -> bool:
    return any(f.cut and start < f.time <= end for f in frames)
