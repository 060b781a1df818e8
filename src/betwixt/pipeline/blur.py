"""Motion blur: each output frame is the mean of the light during the time that a shutter is open.

    shutter, rate ──► exposure [T + p, T + p + e] ──► parts, one for each source interval
                                                          │ the fastest motion in a part sets its number of moments n
    part ──► n moments ──► frames ──┬─► planes: mean of code values ───────────┬─► + ──► output frame
                                    └─► RGB: mean of linear light, as codes, ──┘
                                             minus mean of code values

With a shutter of `shutter` degrees the exposure lasts e = shutter / 360 of an output frame's duration. The output frame
is the mean of the frames at n moments spread evenly over it. The paper averages two source frames and 31 new frames
between them, k/32 of the way for k = 0 to 32: a `grid` of 32, 360 degrees from the frame on, of code values (Z. Jia et
al., Neighbor Correspondence Matching for Flow-based Video Frame Synthesis, ACM MM 2022, appendix D.1). Beyond the
paper:

- *Linear light.* The mean is taken of linear light, by the clip's own transfer function (`media.transfer`). It is
  computed in RGB and added to the planes as an offset: its difference from the mean of code values. Where nothing
  moves the offset is zero, so static parts stay bit-identical, and colours outside the RGB cube are not clipped.
- *Sampling.* A bright object that moves more than a pixel between two moments leaves a row of copies. So an interval
  gets at least one moment per pixel of the fastest motion (its 99.9th percentile), and at most four, since more make no
  visible difference; between these limits `samples` decides.
- *Cuts.* An exposure ends where its shot ends.
- *Ends.* Nothing is known before the first frame and after the last; exposures there are shorter.
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
from betwixt.media.source import Source
from betwixt.media.timeline import Clock
from betwixt.media.transfer import transfer_of
from betwixt.models.base import check_interpolates
from betwixt.pipeline.channel import Stopped
from betwixt.pipeline.director import Director, Step, SynthesisTask
from betwixt.pipeline.job import Job, Plan
from betwixt.pipeline.marker import MarkedFrame
from betwixt.pipeline.options import BLUR, BlurOptions, Number, takes_options
from betwixt.pipeline.planner import ShowStep
from betwixt.pipeline.run import Progress, Summary, convert
from betwixt.runtime.synthesis import PairSynthesis

MAX_SAMPLES = 512
"""The most moments of an interval, however fast its motion is."""

MAX_SPAN = 64
"""The most source frames that an exposure may span."""

MAX_SAMPLES_PER_PIXEL = 4
"""The most moments for each pixel of the fastest motion."""

PIXELS_PER_MOTION = 4
"""Pixels of the fastest motion between two moments after which the model predicts motion again."""


@dataclass(frozen=True)
class ExposurePart:
    """The part of an exposure that falls between two source frames.

    Attributes:
        left: The number of the first of the two, in the list of times given.
        start: Where the part begins, 0 <= start < end <= 1 between the two.
        end: Where it ends.
        share: Its share of the exposure.
    """

    left: int
    start: Fraction
    end: Fraction
    share: Fraction


def exposure_parts(times: list[Fraction], opens: Fraction, closes: Fraction) -> list[ExposurePart]:
    """Divide an exposure at the times of the source frames.

    Args:
        times: The times of the frames of one shot, increasing.
        opens: When the shutter opens.
        closes: When it closes, later than `opens`.

    Returns:
        The parts in order; their shares sum to 1. What lies outside the shot is left out; the list is empty if nothing
        is left.

    Example:
        >>> [(p.left, str(p.start), str(p.end), str(p.share)) for p in exposure_parts(
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
            parts.append(ExposurePart(left, start, stop, (end - begin) / (closes - opens)))
    return parts


def sample_count(samples: int, share: float, distance: float) -> int:
    """The number of moments for a part of an exposure.

    Args:
        samples: Moments of the whole exposure, as the user set it.
        share: The part's share of the exposure.
        distance: How far the fastest motion goes in this part, in pixels.

    Returns:
        `samples` * `share`, but at least one per pixel of the distance, and at most four per pixel and one more.
    """
    least, most = math.ceil(distance), 1 + math.ceil(MAX_SAMPLES_PER_PIXEL * distance)
    return max(1, min(max(math.ceil(samples * share), least), most, MAX_SAMPLES))


def sample_times(part: ExposurePart, count: int) -> list[float]:
    """The times of `count` moments spread evenly over a part, each in the middle of its slice."""
    length = part.end - part.start
    return [float(part.start + length * Fraction(2 * k + 1, 2 * count)) for k in range(count)]


def grid_times(part: ExposurePart, grid: int) -> list[float]:
    """The times k / `grid` in a part, both ends included; its middle if there is none.

    >>> grid_times(ExposurePart(0, Fraction(1, 2), Fraction(1), Fraction(1)), 4)
    [0.5, 0.75, 1.0]
    """
    first, last = math.ceil(part.start * grid), math.floor(part.end * grid)
    return [k / grid for k in range(first, last + 1)] or sample_times(part, 1)


def _degrees(value: Number, name: str) -> Fraction:
    try:
        return Fraction(str(value).strip())
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"The {name} '{value}' is not a number: give degrees, e.g. 180.") from None


class BlurJob(Job):
    """A conversion that adds motion blur. Without `fps`, `factor` and `slow` the frame rate stays.

    Attributes:
        shutter: How long the shutter is open, in degrees: 360 is the duration of an output frame.
        phase: When it opens, in degrees from the output frame's time.
        samples: Moments that are averaged.
        grid: Into how many parts the moments divide an interval, in place of `samples`; None for `samples`.
        linear: Whether linear light is averaged, rather than code values.
    """

    conversion = "blur"
    declared = BLUR

    def __init__(self, source: Source, target: str | Path | IO[bytes], options: BlurOptions) -> None:
        if all(options.get(name) is None for name in ("fps", "factor", "slow")):
            options = {**options, "factor": 1}
        values: BlurOptions = BLUR.resolve(options)
        self.samples, self.grid, self.linear = values["samples"], values["grid"], values["linear"]
        self.shutter = _degrees(values["shutter"], "shutter")
        if not 0 < self.shutter <= 720:
            raise UsageError(f"`shutter={values['shutter']}` is out of range: give degrees above 0, up to 720.")
        self.phase = -self.shutter / 2 if values["phase"] is None else _degrees(values["phase"], "phase")
        if not -720 <= self.phase <= 720:
            raise UsageError(f"`phase={values['phase']}` is out of range: give degrees from -720 to 720.")
        if not 1 <= self.samples <= MAX_SAMPLES:
            raise UsageError(f"`samples={self.samples}` is out of range: give 1 to {MAX_SAMPLES}.")
        if self.grid is not None and not 1 <= self.grid <= MAX_SAMPLES:
            raise UsageError(f"`grid={self.grid}` is out of range: give 1 to {MAX_SAMPLES}.")
        super().__init__(source, target, options)

    def check(self) -> None:
        check_interpolates(self.model)
        span = math.ceil(self.shutter / 360 / self.rates.sampling * self.reader.info.rate)
        if span > MAX_SPAN:
            raise UsageError(
                f"An exposure would span {span} source frames; the most is {MAX_SPAN}: raise `fps` or lower `shutter`."
            )


class BlurDirector(Director):
    """Yields an output frame as soon as its whole exposure is read."""

    def __init__(self, job: BlurJob, chunk: int) -> None:
        super().__init__(job, chunk)
        self._samples, self._grid, self._linear = job.samples, job.grid, job.linear
        self._interval = 1 / job.rates.sampling
        self._opens = job.phase / 360 * self._interval
        self._closes = self._opens + job.shutter / 360 * self._interval
        self.reach = max(-self._opens, Fraction(0)), max(self._closes, Fraction(0))
        self._pairs: dict[tuple[int, int], PairSynthesis] = {}
        self._lock = threading.Lock()

    def steps(self, items: Iterable[Frame | StreamPacket]) -> Iterator[Step]:
        planner, output_end = self.planner, self._job.end_time
        clock: Clock | None = None
        frames: deque[MarkedFrame] = deque()
        pending: deque[tuple[int, Fraction]] = deque()  # output frames whose exposure is not read to its end
        for item in planner.marker.mark(items):
            if isinstance(item, StreamPacket):
                yield item
                continue
            clock = clock or planner.start_clock(item.frame)
            pending.extend(clock.until(item.frame.time if output_end is None else min(item.frame.time, output_end)))
            frames.append(item)
            while pending and pending[0][1] + max(self._closes, Fraction(0)) <= item.frame.time:
                yield self._step(*pending.popleft(), frames)
            earliest = min(pending[0][1] if pending else item.frame.time, item.frame.time)
            earliest += min(self._opens, Fraction(0)) - self._interval
            while len(frames) > 2 and frames[1].frame.time <= earliest:
                frames.popleft()
        if clock is None:
            return
        _, end = planner.ends(frames[-1].frame)
        pending.extend(clock.until(end))
        while pending:
            yield self._step(*pending.popleft(), frames)

    def _step(self, index: int, now: Fraction, frames: Iterable[MarkedFrame]) -> ShowStep | SynthesisTask:
        """Output frame `index`, at source time `now`."""
        shot = _shot(list(frames), now)
        parts = exposure_parts([marked.frame.time for marked in shot], now + self._opens, now + self._closes)
        if not parts:
            # Next to a cut, or after the last frame: show the nearest frame of the shot.
            frame = min((marked.frame for marked in shot), key=lambda f: abs(f.time - now))
            return ShowStep(index, frame, held=frame.time != now)
        used = [shot[p.left + k].frame for p in parts for k in (0, 1)]
        pairs = [self._pair(shot[p.left], shot[p.left + 1], used) for p in parts]
        return SynthesisTask((index,), functools.partial(self._expose, parts, pairs))

    def _pair(self, left: MarkedFrame, right: MarkedFrame, used: Iterable[Frame]) -> PairSynthesis:
        """Synthesis between two frames, shared by all exposures that have a part there."""
        key = left.frame.index, right.frame.index
        if key not in self._pairs:
            wanted = {frame.index for frame in used}
            self._pairs = {k: pair for k, pair in self._pairs.items() if k[1] in wanted or k[0] in wanted}
            self._pairs[key] = self.pair(left.frame, right.frame, used, right.around)
        return self._pairs[key]

    def _expose(self, parts: list[ExposurePart], pairs: list[PairSynthesis]) -> list[av.VideoFrame]:
        mean = _WeightedMean(pairs[0], self._linear)
        for part, pair in zip(parts, pairs, strict=True):
            times, motions = self._moments_of(part, pair)
            for planes in _planes_at(pair, times, motions):
                mean.add(planes, float(part.share) / len(times))
                if self.cancelled.is_set():
                    raise Stopped
        with self._lock:
            self.findings.append(mean.count)
        return [frame_from_planes(mean.planes(), pairs[0].template)]

    def _moments_of(self, part: ExposurePart, pair: PairSynthesis) -> tuple[list[float], int]:
        """The times of the moments in a part, and how often the model is asked for motion."""
        if self._grid is not None:
            times = grid_times(part, self._grid)
            return times, len(times)
        distance = pair.max_displacement() * float(part.end - part.start)
        count = sample_count(self._samples, float(part.share), distance)
        return sample_times(part, count), max(2, math.ceil(distance / PIXELS_PER_MOTION))

    def closing_notes(self) -> list[str]:
        if not self.findings:
            return []
        mean = sum(self.findings) / len(self.findings)
        return [
            *self.repeat_notes(),
            f"Each frame is the mean of {min(self.findings)} to {max(self.findings)} moments, {mean:.1f} on average.",
        ]


def _planes_at(pair: PairSynthesis, times: list[float], motions: int) -> Iterator[list[NDArray[Any]]]:
    """The planes at increasing times; those of the source frames at 0 and 1."""
    first, second = pair.sources
    if times[0] == 0.0:
        yield first.planes
    yield from pair.planes_at([t for t in times if 0.0 < t < 1.0], motions)
    if times[-1] == 1.0:
        yield second.planes


def _shot(frames: list[MarkedFrame], now: Fraction) -> list[MarkedFrame]:
    """The frames of the shot shown at `now`; between the two frames around a cut, that of the nearer one."""
    begin, end = 0, len(frames)
    for number in range(1, len(frames)):
        if frames[number].cut:
            middle = (frames[number - 1].frame.time + frames[number].frame.time) / 2
            if now >= middle:
                begin = number
            else:
                end = number
                break
    return frames[begin:end]


class _WeightedMean:
    """Averages frames, of code values or of linear light. The weights sum to 1.

    Args:
        pair: The synthesis that the frames come from.
        linear: Whether to average linear light.

    Attributes:
        count: How many frames were added.
    """

    def __init__(self, pair: PairSynthesis, linear: bool) -> None:
        self.count = 0
        self._converter = pair.converter
        transfer = transfer_of(pair.colour.transfer, rgb=self._converter.rgb)
        self._transfer = transfer if linear and transfer.name != "linear" else None
        self._planes: list[NDArray[np.float32]] = []  # sums of code values
        self._like: list[NDArray[Any]] = []
        self._codes: NDArray[np.float32] | None = None  # sums in RGB: of code values ..
        self._light: NDArray[np.float32] | None = None  # .. and of linear light

    def add(self, planes: list[NDArray[Any]], weight: float) -> None:
        """Add the planes of a frame."""
        self.count += 1
        if not self._planes:
            self._like = planes
            self._planes = [np.zeros(p.shape, np.float32) for p in planes]
        for total, plane in zip(self._planes, planes, strict=True):
            total += np.float32(weight) * plane
        if self._transfer is not None:
            codes = self._converter.to_rgb(planes)
            if self._codes is None or self._light is None:
                self._codes, self._light = np.zeros_like(codes), np.zeros_like(codes)
            light = self._transfer.to_light(codes)
            light *= np.float32(weight)
            codes *= np.float32(weight)
            self._light += light
            self._codes += codes

    def planes(self) -> list[NDArray[Any]]:
        """The planes of the mean."""
        offsets: list[NDArray[np.float32] | None] = [None] * len(self._planes)
        if self._transfer is not None and self._light is not None and self._codes is not None and self.count > 1:
            difference = self._transfer.from_light(self._light) - self._codes
            offsets = self._converter.offsets_to_planes(difference, self._like)
        shift, top = self._converter.shift, self._converter.top
        result = []
        for total, like, offset in zip(self._planes, self._like, offsets, strict=True):
            if offset is not None:
                size = (like.shape[1], like.shape[0])
                if offset.shape[:2] != like.shape[:2]:
                    offset = np.asarray(cv2.resize(offset, size, interpolation=cv2.INTER_AREA), np.float32)
                total += offset.reshape(total.shape)
            codes = np.clip(np.rint(total / np.float32(1 << shift)), 0, top).astype(np.uint16)
            result.append((codes << shift if shift else codes).astype(like.dtype))
        return result


@takes_options(BLUR)
def blur_video(
    source: Source,
    target: str | Path | IO[bytes],
    *,
    progress: Callable[[Progress], None] | None = None,
    **options: Unpack[BlurOptions],
) -> Summary:
    """Add motion blur: each frame becomes the mean of frames over the time that a shutter is open.

    Without `fps`, `factor` and `slow` the frame rate stays the same.

    Args:
        source: As for `betwixt.interpolate_video`.
        target: As for `betwixt.interpolate_video`.
        **options: See `betwixt.pipeline.options.BlurOptions`.
        progress: Called now and then with the progress so far, which cannot be changed.

    Raises:
        BetwixtError: as `betwixt.interpolate_video`.

    Example:
        >>> import betwixt
        >>> betwixt.blur_video("in.mp4", "out.mp4", model="dis", end=0.2).frames_out
        5
    """
    BLUR.check(options, "blur_video")
    job = BlurJob(source, target, options)
    return convert(job, BlurDirector, progress)


@takes_options(BLUR)
def plan_blur(source: Source, target: str | Path | IO[bytes], **options: Unpack[BlurOptions]) -> Plan:
    """What `blur_video` would do; writes nothing. It takes the same options."""
    BLUR.check(options, "plan_blur")
    with BlurJob(source, target, options) as job:
        return job.describe()
