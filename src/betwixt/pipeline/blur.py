"""Motion blur: each frame is the light that fell on the film while the shutter stood open.

    shutter, rate ──► exposure [T + p, T + p + e] ──► its parts, one for each source interval
                                                              │ how far things move in each says at how many moments
    part ──► n moments ──► frames ──┬─► planes: mean of code values ──────────┬─► + ──► frame
                                    └─► RGB: mean of light, minus that of ────┘
                                             code values: what light changes

An exposure of `shutter` degrees lasts e = shutter / 360 of the time between two output frames. It is the mean of the
frames at n moments spread evenly over it (the paper: 31 new frames between two and those two, averaged: 360 degrees
from the frame on; Z. Jia et al., Neighbor Correspondence Matching for Flow-based Video Frame Synthesis, ACM MM 2022,
appendix D.1). Beyond the paper:

- *Light.* The mean is of light, by the clip's own transfer function (`media.transfer`). It is made in RGB, but reaches
  the planes as a difference: what it changes against the mean of code values is added to the mean of the planes. Where
  nothing moves the two means are the same, so static parts stay bit by bit, and colours outside of RGB are not clipped.
- *Steps.* A bright thing that moves farther than a pixel between two moments leaves a row of copies. So there are as
  many moments in each interval as the fastest thing (of a thousandth of the picture) moves pixels, and no more than
  four to a pixel, which nobody sees; between these, `samples` says.
- *Cuts.* An exposure ends where its shot does.
- *Ends.* Before the first frame and after the last nothing is known: the exposures there are the shorter.
"""

from __future__ import annotations

import functools
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, Unpack

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import UsageError
from betwixt.media.frames import frame_from_planes
from betwixt.media.reader import Frame, StreamPacket
from betwixt.media.timeline import Clock
from betwixt.media.transfer import transfer_of
from betwixt.models.registry import EFFECTS_MODEL
from betwixt.pipeline.channel import Stopped
from betwixt.pipeline.interpolate import (
    Director,
    Job,
    Options,
    Plan,
    Progress,
    Summary,
    Task,
    convert,
    defaults,
    planned,
)
from betwixt.pipeline.plan import Anchor, ShowStep
from betwixt.runtime.synthesis import PairSynthesis

__all__ = ["MOST_SAMPLES", "Part", "blur_video", "exposure", "moments", "plan_blur", "sample_count"]

MOST_SAMPLES = 512
"""Moments of an interval at most, however fast things are."""

LONGEST = 64
"""Source frames that an exposure may span."""

FINEST = 4
"""Moments for each pixel of the fastest motion, at most."""

LEAP = 4
"""Pixels of the fastest motion between two moments at which the motion itself is found anew."""


@dataclass(frozen=True)
class Part:
    """What of an exposure falls between two source frames.

    Attributes:
        left: The number of the first, in the list of frames that was given.
        start: Where it begins, 0 <= start < end <= 1 between the two.
        end: Where it ends.
        share: How much of the exposure it is.
    """

    left: int
    start: Fraction
    end: Fraction
    share: Fraction


def exposure(times: list[Fraction], opens: Fraction, closes: Fraction) -> list[Part]:
    """The parts of an exposure, by the intervals between source frames.

    Args:
        times: When the frames of one shot begin, increasing.
        opens: When the shutter opens.
        closes: When it closes, > opens.

    Returns:
        Its parts in order, whose shares sum to 1; what lies outside of the shot is left out. None if nothing is left.

    Example:
        >>> [(p.left, str(p.start), str(p.end), str(p.share)) for p in exposure(
        ...     [Fraction(0), Fraction(1), Fraction(2)], Fraction(1, 2), Fraction(5, 4))]
        [(0, '1/2', '1', '2/3'), (1, '0', '1/4', '1/3')]
    """
    opens, closes = max(opens, times[0]), min(closes, times[-1])
    parts = []
    for left in range(len(times) - 1):
        begin, end = max(opens, times[left]), min(closes, times[left + 1])
        if begin < end:
            length = times[left + 1] - times[left]
            start, stop = (begin - times[left]) / length, (end - times[left]) / length
            parts.append(Part(left, start, stop, (end - begin) / (closes - opens)))
    return parts


def sample_count(wanted: int, share: float, distance: float) -> int:
    """How many moments a part of an exposure gets.

    Args:
        wanted: Moments of the whole exposure, as the user says.
        share: How much of it this part is.
        distance: How far the fastest thing moves in this part, in pixels.

    Returns:
        The wanted ones, but one for each pixel of the distance at least, and four for each (and one more) at most.
    """
    least, most = math.ceil(distance), 1 + math.ceil(FINEST * distance)
    return max(1, min(max(math.ceil(wanted * share), least), most, MOST_SAMPLES))


def moments(part: Part, count: int) -> list[float]:
    """The times of `count` moments spread evenly over a part, each the middle of its slice."""
    length = part.end - part.start
    return [float(part.start + length * Fraction(2 * k + 1, 2 * count)) for k in range(count)]


class _Job(Job):
    def __init__(
        self, source: Any, target: Any, shutter: Any, phase: Any, samples: int, linear: bool, **options: Any
    ) -> None:
        self.shutter = _angle(shutter, "shutter")
        if not 0 < self.shutter <= 720:
            raise UsageError(f"--shutter {shutter} is out of range: give degrees above 0, up to 720.")
        self.phase = -self.shutter / 2 if phase is None else _angle(phase, "phase")
        if not -720 <= self.phase <= 720:
            raise UsageError(f"--phase {phase} is out of range: give degrees from -720 to 720.")
        if not 1 <= samples <= MOST_SAMPLES:
            raise UsageError(f"--samples {samples} is out of range: give 1 to {MOST_SAMPLES}.")
        self.samples, self.linear = samples, linear
        self._counts: list[int] = []
        self._lock = threading.Lock()
        if options.get("fps") is None and options.get("factor") is None and options.get("slow") is None:
            options["factor"] = 1
        super().__init__(source, target, **(defaults() | {"model": EFFECTS_MODEL} | options))

    def _decide(self, audio: str) -> None:
        super()._decide(audio)
        spanned = math.ceil(self.shutter / 360 / self.rates.sampling * self.reader.info.rate)
        if spanned > LONGEST:
            raise UsageError(
                f"An exposure would span {spanned} source frames; at most {LONGEST} are taken: raise --fps or lower "
                "--shutter."
            )

    def settings(self) -> dict[str, Any]:
        """The exposure as well."""
        exposure = (self.shutter, self.phase, self.samples, self.linear)
        return super().settings() | {"exposure": [str(value) for value in exposure]}

    def director(self, chunk: int) -> Director:
        """Makes each output frame of an exposure."""
        return _Director(self, chunk)

    def count(self, samples: int) -> None:
        """Note how many moments a frame was made of."""
        with self._lock:
            self._counts.append(samples)

    def closing_notes(self) -> list[str]:
        """How many moments it took."""
        if not self._counts:
            return []
        mean = sum(self._counts) / len(self._counts)
        return [f"Each frame is the mean of {min(self._counts)} to {max(self._counts)} moments, {mean:.1f} on average."]


def _angle(value: Any, what: str) -> Fraction:
    try:
        return Fraction(str(value).strip())
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"The {what} '{value}' is not a number: give degrees, e.g. 180.") from None


class _Director(Director):
    """Emits an output frame as soon as its exposure is all read."""

    _job: _Job

    def steps(self, items: Iterable[Frame | StreamPacket]) -> Iterator[ShowStep | Task | StreamPacket]:
        """The output in order."""
        job, planner = self._job, self.planner
        interval = 1 / job.rates.sampling
        self._opens = job.phase / 360 * interval
        self._closes = self._opens + job.shutter / 360 * interval
        self._works: dict[tuple[int, int], PairSynthesis] = {}
        clock: Clock | None = None
        anchors: deque[Anchor] = deque()
        pending: deque[tuple[int, Fraction]] = deque()  # output frames whose exposure is not all read
        for item in planner.anchors(items):
            if isinstance(item, StreamPacket):
                yield item
                continue
            clock = clock or planner.started(item.frame)
            pending.extend(clock.until(item.frame.time if job.finish is None else min(item.frame.time, job.finish)))
            anchors.append(item)
            while pending and pending[0][1] + max(self._closes, Fraction(0)) <= item.frame.time:
                yield self._made(*pending.popleft(), anchors)
            earliest = min(pending[0][1] if pending else item.frame.time, item.frame.time)
            earliest += min(self._opens, Fraction(0)) - interval
            while len(anchors) > 2 and anchors[1].frame.time <= earliest:
                anchors.popleft()
        if clock is None:
            return
        _, end = planner.finished(anchors[-1].frame)
        pending.extend(clock.until(end))
        while pending:
            yield self._made(*pending.popleft(), anchors)

    def _made(self, index: int, now: Fraction, anchors: Iterable[Anchor]) -> ShowStep | Task:
        """Output frame `index` at `now`."""
        shot = _shot(list(anchors), now)
        times = [frame.time for frame in shot]
        parts = exposure(times, now + self._opens, now + self._closes)
        if not parts:
            # next to a cut, or behind the last frame: the nearest frame of the shot stands still
            frame = min(shot, key=lambda f: abs(f.time - now))
            return ShowStep(index, frame, held=frame.time != now)
        used = [shot[p.left + k] for p in parts for k in (0, 1)]
        works = [self._work(shot[p.left], shot[p.left + 1], used) for p in parts]
        return Task((index,), functools.partial(self._expose, parts, works))

    def _work(self, left: Frame, right: Frame, keep: Iterable[Frame]) -> PairSynthesis:
        """An interval, prepared once for all the exposures that it has a part in."""
        key = left.index, right.index
        if key not in self._works:
            wanted = {frame.index for frame in keep}
            self._works = {k: w for k, w in self._works.items() if k[1] in wanted or k[0] in wanted}
            self._works[key] = self.pair(left, right, keep)
        return self._works[key]

    def _expose(self, parts: list[Part], works: list[PairSynthesis]) -> list[av.VideoFrame]:
        film = _Film(works[0], self._job.linear)
        for part, work in zip(parts, works, strict=True):
            distance = work.max_displacement() * float(part.end - part.start)
            count = sample_count(self._job.samples, float(part.share), distance)
            motions = max(2, math.ceil(distance / LEAP))
            for planes in work.planes_at(moments(part, count), motions):
                film.add(planes, float(part.share) / count)
                if self.abandoned.is_set():
                    raise Stopped
        self._job.count(film.count)
        return [frame_from_planes(film.developed(), works[0].template)]


def _shot(anchors: list[Anchor], now: Fraction) -> list[Frame]:
    """The frames of the shot that is shown at `now`: across a cut, the nearer side."""
    begin, end = 0, len(anchors)
    for number in range(1, len(anchors)):
        if anchors[number].cut:
            middle = (anchors[number - 1].frame.time + anchors[number].frame.time) / 2
            if now >= middle:
                begin = number
            else:
                end = number
                break
    return [anchor.frame for anchor in anchors[begin:end]]


class _Film:
    """Takes up frames with their weights, which sum to 1, and gives the exposed frame."""

    def __init__(self, work: PairSynthesis, linear: bool) -> None:
        self.count = 0
        path = work.path
        transfer = transfer_of(work.colour.transfer, rgb=path.rgb)
        self._path, self._transfer = path, transfer if linear and transfer.name != "linear" else None
        self._planes: list[NDArray[np.float32]] = []
        self._like: list[NDArray[Any]] = []
        self._codes: NDArray[np.float32] | None = None
        self._light: NDArray[np.float32] | None = None

    def add(self, parts: list[NDArray[Any]], weight: float) -> None:
        """Take up a frame's planes."""
        self.count += 1
        if not self._planes:
            self._like = parts
            self._planes = [np.zeros(p.shape, np.float32) for p in parts]
        for total, part in zip(self._planes, parts, strict=True):
            total += np.float32(weight) * part
        if self._transfer is not None:
            codes = self._path.to_rgb(parts)
            if self._codes is None or self._light is None:
                self._codes, self._light = np.zeros_like(codes), np.zeros_like(codes)
            light = self._transfer.to_light(codes)
            light *= np.float32(weight)
            codes *= np.float32(weight)
            self._light += light
            self._codes += codes

    def developed(self) -> list[NDArray[Any]]:
        """The exposed frame's planes."""
        changes: list[NDArray[np.float32] | None] = [None] * len(self._planes)
        if self._transfer is not None and self._light is not None and self._codes is not None and self.count > 1:
            changes = self._path.offsets_to_planes(self._transfer.from_light(self._light) - self._codes, self._like)
        shift, top = self._path.shift, self._path.top
        result = []
        for total, like, change in zip(self._planes, self._like, changes, strict=True):
            if change is not None:
                size = (like.shape[1], like.shape[0])
                if change.shape[:2] != like.shape[:2]:
                    change = np.asarray(cv2.resize(change, size, interpolation=cv2.INTER_AREA), np.float32)
                total += change.reshape(total.shape)
            codes = np.clip(np.rint(total / np.float32(1 << shift)), 0, top).astype(np.uint16)
            result.append((codes << shift if shift else codes).astype(like.dtype))
        return result


def blur_video(
    source: str | Path | IO[bytes],
    target: str | Path | IO[bytes],
    *,
    shutter: str | float | Fraction = 180,
    phase: str | float | Fraction | None = None,
    samples: int = 32,
    linear: bool = True,
    fps: str | float | Fraction | None = None,
    factor: str | float | Fraction | None = None,
    slow: str | float | Fraction | None = None,
    progress: Callable[[Progress], None] | None = None,
    **options: Unpack[Options],
) -> Summary:
    """Give a video motion blur: each frame is the mean of frames made over the time that a shutter stands open.

    Args:
        source: As `betwixt.interpolate_video`.
        target: Likewise.
        shutter: How long the shutter stands open, in degrees: 360 is the time between two output frames, 720 the most.
        phase: When it opens against the frame's time, in degrees; by default half of the shutter before, so that the
            exposure lies around the frame and moving things stay in place.
        samples: Moments that are averaged. Where things move, at least one for each pixel of the fastest one's way,
            so that no steps show; where they move little, fewer.
        linear: Average light by the clip's own transfer function; otherwise code values, as the paper.
        fps: The output's rate; the source's if neither this nor `factor` nor `slow` is given.
        factor: As `betwixt.interpolate_video`.
        slow: Likewise.
        progress: Called now and then with how far it is.
        **options: As `betwixt.interpolate_video`; the model is `compact` unless another is given.

    Raises:
        BetwixtError: as `betwixt.interpolate_video`.

    Example:
        >>> from betwixt.pipeline.blur import blur_video
        >>> blur_video("in.mp4", "out.mp4", model="dis", end=0.2).frames_out
        5
    """
    job = _Job(source, target, shutter, phase, samples, linear, fps=fps, factor=factor, slow=slow, **options)
    return convert(job, progress)


def plan_blur(
    source: str | Path | IO[bytes],
    target: str | Path | IO[bytes],
    *,
    shutter: str | float | Fraction = 180,
    phase: str | float | Fraction | None = None,
    samples: int = 32,
    linear: bool = True,
    fps: str | float | Fraction | None = None,
    factor: str | float | Fraction | None = None,
    slow: str | float | Fraction | None = None,
    **options: Unpack[Options],
) -> Plan:
    """What `blur_video` would do; writes nothing."""
    return planned(_Job(source, target, shutter, phase, samples, linear, fps=fps, factor=factor, slow=slow, **options))
