"""`Smoother`: takes a stream with late and missing frames, and returns an image for every tick of a display.

    push(frame, captured, now) ──► frames by capture time ─┐        the image shown
    pull(now) ──► content time due (`playout`) ────────────┴──► between two frames ──────────► interpolated
                                                            ├──► after the last frame ───────► extrapolated, then held
                                                            └──► first after extrapolation ──► seam: between the last
                                                                                               image and the next one

The two modes are those of the paper (Z. Jia et al., Neighbor Correspondence Matching for Flow-based Video Frame
Synthesis, ACM MM 2022, appendix E):

- *interpolate* waits for the next frame (three display frames at 4x) and shows images between the two (figure 19).
- *extrapolate* does not wait: it makes the next frame from the last two, and shows images between the last frame and
  the new one (figure 20). When the true frame arrives, it does not match the extrapolated images before it. So in its
  place the seam is blended: the image halfway between the one shown last and the next one to be shown.

The paper does not say what happens to missing frames. Here, in both modes, a missing frame is extrapolated for up to
`horizon` intervals; after that, the last image is held. When the stream is back, the seam is blended as above. A frame
that arrives too late to be shown still serves as a neighbour. Nothing is interpolated across a scene cut: the nearer
frame is held.

Times are exact (`Fraction`). The caller supplies the clocks, so simulated networks work as well as real ones. With
`ahead`, images of the next ticks are made in threads before they are requested.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import cv2
import numpy as np

from betwixt.errors import UsageError
from betwixt.media.scenes import FAINT, SCORE_CEILING, SCORE_FLOOR, SCORE_RATIO, pair_score
from betwixt.media.timeline import parse_rate
from betwixt.models.base import Interpolator, check_interpolates
from betwixt.models.registry import EFFECTS_MODEL
from betwixt.realtime.frame_maker import BufferedFrame, FrameMaker, Image
from betwixt.realtime.playout import MAX_JUMP, PlayoutClock, minimum_delay
from betwixt.runtime.load import load_model

MODES = ("interpolate", "extrapolate")

_MAX_FRAMES = 32
"""The most frames held."""


@dataclass(frozen=True)
class DisplayFrame:
    """An image for a tick of the display.

    Attributes:
        image: (H, W, 3) RGB uint8. It is read-only, because it may be shown again: draw on a copy.
        time: The content time, in seconds on the sender's clock.
        kind: "source", "interpolated", "extrapolated", "seam" or "held".
    """

    image: Image
    time: Fraction
    kind: str


class Smoother:
    """Turns an irregular stream into a steady one. `push` and `pull` may be called from any thread.

    Args:
        model: A model's name or a loaded model, which interpolates.
        rate: The display's frames per second.
        source_rate: The stream's frames per second, as sent.
        mode: "interpolate" (waits for the next frame) or "extrapolate" (does not wait).
        delay: Seconds by which the display lags behind the fastest frame. None for what the mode needs: one interval
            of the stream less one tick for "interpolate", 0 for "extrapolate".
        margin: Additional delay in seconds; frames may be late by as much.
        horizon: The most intervals of the stream for which missing frames are extrapolated.
        seam: Whether to blend the seam between extrapolated images and the true frame.
        ahead: Number of images to make before they are requested, each in its own thread.
        device: Where the models run.
        extrapolator: The model that makes the frames after the last one, such as `ncm-base-next`; None for `model`, or
            dis where that only interpolates.

    Raises:
        UsageError: for invalid arguments.

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
        extrapolator: str | Interpolator | None = None,
    ) -> None:
        if mode not in MODES:
            raise UsageError(f"There is no mode '{mode}': choose {' or '.join(MODES)}.")
        for what, value in (("margin", margin), ("horizon", horizon), ("delay", delay or 0)):
            if not math.isfinite(value):
                raise UsageError(f"The {what} ({value}) is not a number.")
        if margin < 0 or horizon < 0 or ahead < 0:
            raise UsageError("`margin`, `horizon` and `ahead` must not be negative.")
        self.rate, self.source_rate = parse_rate(rate), parse_rate(source_rate)
        self.mode = mode
        if delay is None:
            delay = minimum_delay(self.rate, self.source_rate) if mode == "interpolate" else Fraction(0)
        self.delay = Fraction(delay) + Fraction(margin)
        self.model = load_model(model, device) if isinstance(model, str) else model
        check_interpolates(self.model)
        if isinstance(extrapolator, str):
            extrapolator = load_model(extrapolator, device)
        if extrapolator is not None and not extrapolator.extrapolates:
            raise UsageError(
                f"The model {extrapolator.name} only interpolates: choose an `extrapolator` that extrapolates."
            )
        self._maker = FrameMaker(self.model, extrapolator)
        self._playout = PlayoutClock(self.rate, self.delay)
        self._interval, self._tick = 1 / self.source_rate, 1 / self.rate
        self._horizon, self._blends_seams = Fraction(horizon), seam
        self._lock = threading.RLock()
        self._frames: list[BufferedFrame] = []  # by time
        self._version = 0  # number of frames accepted so far
        self._scores: deque[float] = deque(maxlen=8)  # of pairs without a cut between them
        self._last: DisplayFrame | None = None  # the image shown last
        self._last_version = 0
        self._last_was_extrapolated = False
        self._ahead = ahead
        self._pool = ThreadPoolExecutor(ahead, "betwixt-ahead") if ahead else None
        self._pending: dict[tuple[Fraction, int, int], Future[DisplayFrame]] = {}  # images made ahead

    # -- frames in

    def push(self, frame: Image, captured: float | Fraction, now: float | Fraction | None = None) -> None:
        """Take a frame of the stream.

        Args:
            frame: (H, W, 3) RGB uint8; all frames have one size. It is copied, so the array may be reused.
            captured: When it was captured, in seconds on the sender's clock. Frames may arrive in any order; one with
                the time of an earlier one is ignored. If the sender's clock was set to another time, the smoother
                restarts with the stream after two seconds.
            now: When it arrived, in seconds on the receiver's clock; by default `time.monotonic()`.

        Raises:
            UsageError: if the frame has another shape, type or size, or a time is not a number.
        """
        is_image = isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3
        if not is_image or not frame.size:
            raise UsageError("A frame is a numpy array (height, width, 3), RGB, uint8.")
        arrived, captured_at = _seconds(time.monotonic() if now is None else now), _seconds(captured)
        image = np.array(frame, order="C")
        with self._lock:
            if self._frames and frame.shape != self._frames[0].image.shape:
                before, after = (f"{s[1]}x{s[0]}" for s in (self._frames[0].image.shape, frame.shape))
                raise UsageError(f"The stream changes its size from {before} to {after}: begin a new Smoother.")
            arrival = self._playout.note_arrival(captured_at, arrived)
            if arrival == "restart":
                self._frames, self._last, self._last_was_extrapolated = [], None, False
            if arrival == "ahead" or any(f.time == captured_at for f in self._frames):
                return
            self._frames.append(BufferedFrame(image, captured_at, self._version))
            self._frames.sort(key=lambda f: f.time)
            del self._frames[:-_MAX_FRAMES]
            for left, right in itertools.pairwise(self._frames):
                if captured_at in (left.time, right.time):
                    right.starts_scene = self._is_cut(left, right)
            self._version += 1

    def _is_cut(self, left: BufferedFrame, right: BufferedFrame) -> bool:
        """Whether there is a scene cut between two frames: the rule of `media.scenes` without later frames."""
        is_faint = float(np.mean(cv2.absdiff(left.thumbnail, right.thumbnail))) < FAINT
        score = 1.0 if is_faint else pair_score(left.thumbnail, right.thumbnail)
        typical = float(np.median(self._scores)) if self._scores else 1.0
        is_cut = score < min(max(SCORE_RATIO * typical, SCORE_FLOOR), SCORE_CEILING)
        if not is_cut:
            self._scores.append(score)
        return is_cut

    # -- images out

    def pull(self, now: float | Fraction | None = None) -> DisplayFrame | None:
        """Return the image to show now; None before the first frame has arrived.

        Args:
            now: The time in seconds on the receiver's clock; by default `time.monotonic()`.
        """
        moment = _seconds(time.monotonic() if now is None else now)
        with self._lock:
            content = self._playout.due_time(moment)
            if content is None:
                return None
            last, is_new = self._last, self._last_version != self._version
            if last is not None and last.time == content and not is_new:
                return last
            version, frames = self._version, list(self._frames)
            is_seam = self._last_was_extrapolated and is_new
            pending = self._pending.get(self._dependencies(frames, content))
        if last is not None and is_seam and self._can_blend_seam(last, frames, content):
            shown = self._blend_seam(last, frames, content)
        elif pending is not None:
            shown = pending.result()
        else:
            shown = self._make(frames, content)
        shown.image.flags.writeable = False
        with self._lock:
            self._last, self._last_version = shown, version
            beyond = not frames or frames[-1].time <= content
            self._last_was_extrapolated = shown.kind == "extrapolated" or (shown.kind == "seam" and beyond)
            # Of the frames up to now, only the last two are still needed.
            past = sum(f.time <= content for f in self._frames)
            del self._frames[: max(0, past - 2)]
            self._make_ahead(content)
        return shown

    def _make_ahead(self, content: Fraction) -> None:
        """Start to make the images of the next ticks; cancel those that are no longer needed."""
        if self._pool is None:
            return
        frames = list(self._frames)
        needed: dict[tuple[Fraction, int, int], Future[DisplayFrame]] = {}
        for step in range(1, self._ahead + 1):
            moment = content + step * self._tick
            key = self._dependencies(frames, moment)
            needed[key] = self._pending.get(key) or self._pool.submit(self._make, frames, moment)
        for key, future in self._pending.items():
            if key not in needed:
                future.cancel()
        self._pending = needed

    def _dependencies(self, frames: list[BufferedFrame], content: Fraction) -> tuple[Fraction, int, int]:
        """A key of what the image at `content` depends on: the frames around it, or all frames if none is after it."""
        left = max((f.number for f in frames if f.time <= content), default=-1)
        right = next((f.number for f in frames if f.time > content), -1 - self._version)
        return content, left, right

    def close(self) -> None:
        """End the threads of `ahead`. `pull` still works."""
        with self._lock:
            pool, self._pool = self._pool, None
            self._pending = {}
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- making images

    def _make(self, frames: list[BufferedFrame], content: Fraction) -> DisplayFrame:
        """The image at `content`; `frames` are in order of time."""
        past = [f for f in frames if f.time <= content]
        if not past:
            return DisplayFrame(frames[0].image, content, "held")
        left = past[-1]
        if left.time == content:
            return DisplayFrame(left.image, content, "source")
        if len(past) == len(frames):
            return self._extrapolate(frames, content)
        right = frames[len(past)]
        t = (content - left.time) / (right.time - left.time)
        if right.starts_scene:
            return DisplayFrame((left if 2 * t < 1 else right).image, content, "held")
        return DisplayFrame(self._maker.between(left, right, float(t)), content, "interpolated")

    def _extrapolate(self, frames: list[BufferedFrame], content: Fraction) -> DisplayFrame:
        """The image after the last frame."""
        last = frames[-1]
        if len(frames) < 2 or last.starts_scene:
            return DisplayFrame(last.image, content, "held")
        first = frames[-2]
        interval = last.time - first.time
        steps = (content - last.time) / interval
        limit = max(self._horizon * self._interval, self._tick) / interval
        kind = "held" if steps > limit else "extrapolated"
        steps = min(steps, limit)
        # As in the paper: first the frames at whole intervals, then the image between them.
        whole = int(steps)
        begin = last if whole == 0 else self._maker.after(first, last, whole)
        if steps == whole:
            return DisplayFrame(begin.image, content, kind)
        end = self._maker.after(first, last, whole + 1)
        return DisplayFrame(self._maker.between(begin, end, float(steps - whole)), content, kind)

    def _can_blend_seam(self, last: DisplayFrame, frames: list[BufferedFrame], content: Fraction) -> bool:
        """Whether the image at `content` may be a blend of the one shown last and the next one."""
        if not self._blends_seams or not 0 < content - last.time <= MAX_JUMP:
            return False
        return not any(f.starts_scene and last.time < f.time <= content + self._tick for f in frames)

    def _blend_seam(self, last: DisplayFrame, frames: list[BufferedFrame], content: Fraction) -> DisplayFrame:
        """The image between the one shown last and the one to be shown next (figure 20)."""
        following = self._make(frames, content + self._tick)
        before, after = BufferedFrame(last.image, last.time), BufferedFrame(following.image, following.time)
        t = (content - before.time) / (after.time - before.time)
        return DisplayFrame(self._maker.blend(before, after, float(t)), content, "seam")


def _seconds(value: float | Fraction) -> Fraction:
    try:
        return Fraction(value).limit_denominator(1_000_000)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"{value!r} is not a time: give seconds.") from None
