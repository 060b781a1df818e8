"""From two decoded frames to the frames between them, in their own format.

    motion models   luma, or small RGB, of both ── prepare_views ── motion(t) ── warp the planes themselves
    other models    planes ── RGB ──────────────── prepare ─────── at(t) ────── planes (`media.colour.RGBConverter`)

`SourceFrame` wraps a decoded frame and computes each view of it once (planes, luma, RGB), since each frame is the right
frame of one pair and the left frame of the next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import av
import numpy as np

from betwixt.layers.label_maps import LabelMapPair
from betwixt.layers.motion import FrameMotion
from betwixt.layers.planes import synthesize_planes
from betwixt.media.colour import Colour, RGBConverter
from betwixt.media.frames import Plane, frame_from_planes, luma8, planes
from betwixt.models.base import Image, Interpolator, MotionPair, Pair, with_neighbours
from betwixt.models.dis.interpolator import DIS, DISPair
from betwixt.models.frame_view import Luma, downscale_luma

__all__ = ["PairSynthesis", "SourceFrame", "Synthesizer"]


class SourceFrame:
    """A decoded frame and what has been computed of it."""

    def __init__(self, video: av.VideoFrame, path: RGBConverter) -> None:
        self.video = video
        self._path = path
        self._lock = threading.Lock()
        self._shrunk: Image | None = None
        self._grey: Luma | None = None

    @cached_property
    def planes(self) -> list[Plane]:
        """Its planes, as views of the frame."""
        return planes(self.video)

    @cached_property
    def luma(self) -> Luma:
        """Its luma in 8 bit."""
        return luma8(self.video, self.planes)

    def luma_at(self, height: int, width: int) -> Luma:
        """Its luma on fewer pixels, (height, width)."""
        with self._lock:
            if self._grey is None or self._grey.shape != (height, width):
                self._grey = downscale_luma(self.luma, height, width)
            return self._grey

    @cached_property
    def picture(self) -> Image:
        """The frame as an RGB picture."""
        return self._path.to_rgb(self.planes)

    def image_at(self, height: int, width: int) -> Image:
        """The frame as a smaller RGB picture, (height, width, 3)."""
        with self._lock:
            if self._shrunk is None or self._shrunk.shape[:2] != (height, width):
                self._shrunk = self._path.to_small_rgb(self.planes, height, width)
            return self._shrunk

    def to_planes(self, picture: Image, second: SourceFrame, t: float) -> list[Plane]:
        """The planes of a picture between this frame and `second`, at 0 < t < 1."""
        return self._path.to_planes(picture, self.planes, second.planes, self.picture, second.picture, t)


class Synthesizer:
    """Makes frames for one stream with one model.

    Args:
        model: The model.
        like: A frame of the stream, for its format.
        colour: What the stream says of its colour.
    """

    def __init__(self, model: Interpolator, like: av.VideoFrame, colour: Colour) -> None:
        self.model = model
        self.colour = colour
        self.path = RGBConverter(like.format.name, like.width, like.height, colour)
        self.size = (like.height, like.width)

    def source(self, video: av.VideoFrame) -> SourceFrame:
        """Wrap a decoded frame of the stream."""
        return SourceFrame(video, self.path)


class _Interval:
    """Two frames that follow each other: prepared once, by whichever thread comes first."""

    def __init__(
        self,
        model: Interpolator,
        first: SourceFrame,
        second: SourceFrame,
        masks: Callable[[], LabelMapPair] | None = None,
    ) -> None:
        self._model, self._first, self._second, self._masks = model, first, second, masks
        self._lock = threading.Lock()
        self._pair: Pair | None = None

    def pair(self) -> Pair:
        """The two, prepared."""
        with self._lock:
            return self._prepared()

    def begin(self) -> None:
        """Prepare them, unless another thread is at it."""
        if self._lock.acquire(blocking=False):
            try:
                self._prepared()
            finally:
                self._lock.release()

    def _prepared(self) -> Pair:
        if self._pair is None:
            model, first, second = self._model, self._first, self._second
            if self._masks is not None:
                self._pair = model.prepare_masked(first.picture, second.picture, self._masks())
            else:
                self._pair = model.prepare_views(first, second)
        return self._pair


class PairSynthesis:
    """Two frames of a stream: prepared once, by whichever thread comes first, then asked for times by any.

    Args:
        synthesizer: Of the stream.
        first: Frame 0.
        second: Frame 1.
        masks: Reads the masks of the two, for a model that takes them.
    """

    def __init__(
        self,
        synthesizer: Synthesizer,
        first: SourceFrame,
        second: SourceFrame,
        masks: Callable[[], LabelMapPair] | None = None,
    ) -> None:
        self._synthesizer, self._first, self._second = synthesizer, first, second
        self._interval = _Interval(synthesizer.model, first, second, masks)
        self._before: _Interval | None = None
        self._after: _Interval | None = None
        self._spans = 1.0, 1.0
        self._lock = threading.Lock()
        self._pair: Pair | None = None
        self._found: DISPair | None = None

    def link_previous(self, before: PairSynthesis, span: float, own: float) -> None:
        """Let two intervals of a shot know of each other, which bends the paths of models that heed it.

        To be said before the frames of either are made.

        Args:
            before: The interval that ends with this one's first frame.
            span: How long that is;
            own: and this one, in the same unit.
        """
        if not self._synthesizer.model.uses_neighbours:
            return
        # What is shared does not lead on to what its neighbours share: a film is no chain in memory.
        self._before, before._after = before._interval, self._interval
        self._spans = span / own, self._spans[1]
        before._spans = before._spans[0], own / span

    def synthesize(self, times: list[Fraction]) -> list[av.VideoFrame]:
        """The frames at `times`, each 0 < t < 1, in the format of the sources."""
        pair = self._prepared()
        return [frame_from_planes(self._planes(pair, float(t)), self._first.video) for t in times]

    @property
    def sources(self) -> tuple[SourceFrame, SourceFrame]:
        """Frame 0 and frame 1."""
        return self._first, self._second

    @property
    def template(self) -> av.VideoFrame:
        """A frame of the format that is made."""
        return self._first.video

    @property
    def path(self) -> RGBConverter:
        """The way between the stream's planes and RGB."""
        return self._synthesizer.path

    @property
    def colour(self) -> Colour:
        """What the stream says of its colour."""
        return self._synthesizer.colour

    def planes_at(self, times: Sequence[float], motions: int) -> Iterator[list[Plane]]:
        """The planes of the frames at `times`, 0 < t < 1, in order, which together are one exposure.

        A model that describes its frames by motion is asked for it `motions` times at most, evenly spread; the moments
        around each lie along the same straight paths. That is cheaper by far where there are many moments.
        """
        pair = self._prepared()
        count = len(times)
        motions = max(1, min(motions, count))
        near: tuple[int, float, FrameMotion] | None = None
        for number, t in enumerate(times):
            if not isinstance(pair, MotionPair):
                yield self._planes(pair, t)
                continue
            group = number * motions // count
            if near is None or near[0] != group:
                members = [k for k in range(count) if k * motions // count == group]
                middle = (times[members[0]] + times[members[-1]]) / 2
                near = group, middle, pair.motion(middle)
            yield self._of_motion(_moved(near[2], near[1], t))

    def max_displacement(self) -> float:
        """How far the fastest parts move from one frame to the other, in pixels."""
        pair = self._prepared()
        return pair.longest() if isinstance(pair, DISPair) else self._search().longest()

    def extrapolate(self, steps: Sequence[Fraction]) -> list[av.VideoFrame]:
        """The frames so many intervals after the second frame, each > 0, in the format of the sources.

        A model that extrapolates does so from frame to frame, and whole intervals only; for any other the motion that
        `dis` finds goes on.
        """
        model = self._synthesizer.model
        if model.extrapolates and not isinstance(model, DIS):
            return self._extrapolated(model, steps)
        pair = self._search()
        made = [self._of_motion(pair.beyond(float(s))) for s in steps]
        return [frame_from_planes(parts, self._second.video) for parts in made]

    def _extrapolated(self, model: Interpolator, steps: Sequence[Fraction]) -> list[av.VideoFrame]:
        first, second = self._first, self._second
        last = max(max(1, round(s)) for s in steps)
        pictures = list(model.frames_after(first.picture, second.picture, last))
        path = self._synthesizer.path
        result = []
        for s in steps:
            picture = pictures[max(1, round(s)) - 1]
            parts = path.to_planes(picture, first.planes, second.planes, first.picture, second.picture, 1.0)
            result.append(frame_from_planes(parts, second.video))
        return result

    def _search(self) -> DISPair:
        with self._lock:
            if self._found is None:
                self._found = DIS().prepare_views(self._first, self._second)
            return self._found

    def _of_motion(self, motion: FrameMotion) -> list[Any]:
        first, second = self._first, self._second
        changes = None if motion.colours is None else self.path.offsets_to_planes(motion.colours, first.planes)
        return synthesize_planes(first.planes, second.planes, motion, self._synthesizer.size, changes)

    def _prepared(self) -> Pair:
        with self._lock:
            if self._pair is None:
                beside = self._before, self._after
                # What another thread is at can wait while there is something else to do.
                for interval in (self._interval, *beside):
                    if interval is not None:
                        interval.begin()
                before, after = (None if interval is None else interval.pair() for interval in beside)
                self._pair = with_neighbours(self._interval.pair(), before, after, self._spans)
            return self._pair

    def _planes(self, pair: Pair, t: float) -> list[Any]:
        first, second = self._first, self._second
        if isinstance(pair, MotionPair):
            return self._of_motion(pair.motion(t))
        return first.to_planes(pair.at(t), second, t)


def _moved(motion: FrameMotion, then: float, now: float) -> FrameMotion:
    """The motion at time `then` as it is at `now`, a little before or after it, along the same straight paths."""
    if now == then:
        return motion
    back, on = np.float32(now / then), np.float32((1 - now) / (1 - then))
    other = None if motion.other is None else _moved(motion.other, then, now)
    return replace(motion, flow_t0=motion.flow_t0 * back, flow_t1=motion.flow_t1 * on, other=other)
