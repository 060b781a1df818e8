"""From decoded frames to the frames between them, in the stream's own pixel format.

    models that predict motion   luma or small RGB ── prepare_views ── motion(t) ── warp the planes themselves
    other models                 planes ── RGB ────── prepare ──────── at(t) ────── planes (`media.colour.RGBConverter`)

`SourceFrame` wraps a decoded frame and computes each view of it once (planes, luma, RGB), since each frame is the right
frame of one pair and the left frame of the next.

Static overlays, such as subtitles, are taken off the two frames before all this, and put back onto the new frame.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cached_property

import av
import numpy as np

from betwixt.layers.label_maps import LabelMapPair
from betwixt.layers.motion import FrameMotion
from betwixt.layers.overlays import Overlay
from betwixt.layers.planes import synthesize_planes
from betwixt.media.colour import Colour, RGBConverter
from betwixt.media.frames import Plane, frame_from_planes, luma8, planes
from betwixt.media.overlays import OverlayView, find_overlays
from betwixt.models.base import Interpolator, MotionPair, Pair
from betwixt.models.dis.interpolator import DIS, DISPair
from betwixt.models.frame_view import Image, Luma, downscale_luma


class SourceFrame:
    """A decoded frame and its views, each computed on first use. Implements `models.frame_view.FrameView`."""

    def __init__(self, video: av.VideoFrame, converter: RGBConverter) -> None:
        self.video = video
        self._converter = converter
        self._lock = threading.Lock()
        self._small_images: dict[tuple[int, int], Image] = {}
        self._small_luma: Luma | None = None

    @cached_property
    def planes(self) -> list[Plane]:
        """The frame's planes, as views of its memory."""
        return planes(self.video)

    @cached_property
    def luma(self) -> Luma:
        """The luma in 8 bit, (H, W)."""
        return luma8(self.video, self.planes)

    def luma_at(self, height: int, width: int) -> Luma:
        """The luma scaled down to (height, width)."""
        with self._lock:
            if self._small_luma is None or self._small_luma.shape != (height, width):
                self._small_luma = downscale_luma(self.luma, height, width)
            return self._small_luma

    @cached_property
    def rgb(self) -> Image:
        """The frame as an RGB image, (H, W, 3)."""
        return self._converter.to_rgb(self.planes)

    def rgb_at(self, height: int, width: int) -> Image:
        """The frame as an RGB image scaled down to (height, width, 3)."""
        with self._lock:
            if (height, width) not in self._small_images:
                self._small_images[height, width] = self._converter.to_small_rgb(self.planes, height, width)
            return self._small_images[height, width]

    @cached_property
    def overlay_view(self) -> OverlayView:
        """What overlays are found by."""
        return OverlayView(self.luma)

    def without(self, overlay: Overlay) -> SourceFrame:
        """The frame without an overlay."""
        filled = SourceFrame(self.video, self._converter)
        filled.planes = overlay.fill(self.planes)
        return filled

    def to_planes(self, image: Image, second: SourceFrame, t: float) -> list[Plane]:
        """Convert an RGB image between this frame and `second`, at 0 < t < 1, to planes of the stream's format."""
        return self._converter.to_planes(image, self.planes, second.planes, self.rgb, second.rgb, t)


class Synthesizer:
    """A model and the format of the stream that it makes frames for.

    Args:
        model: The model.
        like: A frame of the stream, for its format.
        colour: The stream's colour description.

    Attributes:
        converter: Converts between the stream's planes and RGB.
        size: The frames' (height, width).
    """

    def __init__(self, model: Interpolator, like: av.VideoFrame, colour: Colour) -> None:
        self.model = model
        self.colour = colour
        self.converter = RGBConverter(like.format.name, like.width, like.height, colour)
        self.size = (like.height, like.width)

    def source(self, video: av.VideoFrame) -> SourceFrame:
        """Wrap a decoded frame of the stream."""
        return SourceFrame(video, self.converter)


class _PreparedPair:
    """A model's preparation of two frames, done once by whichever thread comes first.

    Attributes:
        first: The frame at t = 0; without overlays once these have been looked for.
        second: The frame at t = 1; without overlays once these have been looked for.
        overlay: The overlays, once they have been looked for; None if there are none.
    """

    def __init__(
        self,
        model: Interpolator,
        first: SourceFrame,
        second: SourceFrame,
        masks: Callable[[], LabelMapPair] | None = None,
        around: Sequence[SourceFrame] = (),
    ) -> None:
        self.first, self.second = first, second
        self.overlay: Overlay | None = None
        self._model, self._masks, self._around = model, masks, around
        self._lock = threading.Lock()
        self._pair: Pair | None = None

    def frames(self) -> tuple[SourceFrame, SourceFrame]:
        """The two frames without overlays."""
        with self._lock:
            self._remove_overlays()
            return self.first, self.second

    def get(self) -> Pair:
        """The prepared pair; waits while another thread prepares it."""
        with self._lock:
            return self._prepare()

    def start(self) -> None:
        """Prepare the pair, unless another thread is preparing it."""
        if self._lock.acquire(blocking=False):
            try:
                self._prepare()
            finally:
                self._lock.release()

    def _prepare(self) -> Pair:
        if self._pair is None:
            self._remove_overlays()
            model, first, second = self._model, self.first, self.second
            if self._masks is not None:
                self._pair = model.prepare_masked(first.rgb, second.rgb, self._masks())
            else:
                self._pair = model.prepare_views(first, second)
        return self._pair

    def _remove_overlays(self) -> None:
        around, self._around = self._around, ()  # the other frames are not kept any longer than needed
        if not around:
            return
        first = min(around.index(self.first), around.index(self.second))
        mask = find_overlays([frame.overlay_view for frame in around], first)
        if mask is not None:
            self.overlay = Overlay(mask)
            self.first, self.second = self.first.without(self.overlay), self.second.without(self.overlay)


class PairSynthesis:
    """Synthesizes frames between two frames of a stream, and after them. Any thread may ask for any of them.

    Args:
        synthesizer: The stream's model and format.
        first: The frame at t = 0.
        second: The frame at t = 1.
        masks: Reads the masks of the two, for a model that takes them.
        around: The two frames and those of their shot around them, in order of time, in which overlays are found
            (`media.overlays`); empty to find none.
    """

    def __init__(
        self,
        synthesizer: Synthesizer,
        first: SourceFrame,
        second: SourceFrame,
        masks: Callable[[], LabelMapPair] | None = None,
        around: Sequence[SourceFrame] = (),
    ) -> None:
        self._synthesizer, self._first, self._second = synthesizer, first, second
        self._prepared = _PreparedPair(synthesizer.model, first, second, masks, around)
        self._before: _PreparedPair | None = None
        self._after: _PreparedPair | None = None
        self._relative_lengths = 1.0, 1.0  # of the neighbouring intervals, in units of this one
        self._lock = threading.Lock()
        self._pair: Pair | None = None
        self._dis_pair: DISPair | None = None

    def link_previous(self, previous: PairSynthesis, previous_length: float, length: float) -> None:
        """Let two neighbouring intervals of a shot use each other's motion, if the model uses neighbouring frames.

        To be called before any frame of either is made.

        Args:
            previous: The interval that ends with this one's first frame.
            previous_length: Its length.
            length: The length of this interval, in the same unit.
        """
        if not self._synthesizer.model.uses_neighbours:
            return
        # The two share their preparations, which know of no neighbours themselves: otherwise a chain of references
        # would keep the whole video in memory.
        self._before, previous._after = previous._prepared, self._prepared
        self._relative_lengths = previous_length / length, self._relative_lengths[1]
        previous._relative_lengths = previous._relative_lengths[0], length / previous_length

    def synthesize(self, times: list[Fraction]) -> list[av.VideoFrame]:
        """The frames at `times`, each 0 < t < 1, in the format of the source frames."""
        pair = self._prepare()
        return [frame_from_planes(self._planes(pair, float(t)), self._first.video) for t in times]

    @property
    def sources(self) -> tuple[SourceFrame, SourceFrame]:
        """The frames at t = 0 and t = 1."""
        return self._first, self._second

    @property
    def template(self) -> av.VideoFrame:
        """A frame of the format that is synthesized."""
        return self._first.video

    @property
    def converter(self) -> RGBConverter:
        """Converts between the stream's planes and RGB."""
        return self._synthesizer.converter

    @property
    def colour(self) -> Colour:
        """The stream's colour description."""
        return self._synthesizer.colour

    def planes_at(self, times: Sequence[float], motions: int) -> Iterator[list[Plane]]:
        """The planes of the frames at many times of one exposure, in order.

        A model that predicts motion is asked for at most `motions` of them, evenly spread; the frames around each
        follow the same straight paths. With many times this is much faster.

        Args:
            times: Increasing, 0 < t < 1.
            motions: How often the model is asked for motion at most.
        """
        pair = self._prepare()
        count = len(times)
        motions = max(1, min(motions, count))
        current: tuple[int, float, FrameMotion] | None = None  # group, its middle, and the motion there
        for number, t in enumerate(times):
            if not isinstance(pair, MotionPair):
                yield self._planes(pair, t)
                continue
            group = number * motions // count
            if current is None or current[0] != group:
                members = [k for k in range(count) if k * motions // count == group]
                middle = (times[members[0]] + times[members[-1]]) / 2
                current = group, middle, pair.motion(middle)
            yield self._restore(self._warp(shift_motion(current[2], current[1], t)), t)

    def max_displacement(self) -> float:
        """The fastest motion between the two frames, in pixels (its 99.9th percentile)."""
        pair = self._prepare()
        return pair.max_displacement() if isinstance(pair, DISPair) else self._dis().max_displacement()

    def extrapolate(self, distances: Sequence[Fraction]) -> list[av.VideoFrame]:
        """The frames at `distances` after the second frame, each > 0 in intervals, in the format of the source frames.

        A model that extrapolates does so frame by frame, at whole intervals; for any other model, the motion that DIS
        finds between the two frames is continued.
        """
        model, second = self._synthesizer.model, self._second
        if model.extrapolates and not isinstance(model, DIS):
            numbers = [max(1, round(d)) for d in distances]
            images = list(model.frames_after(self._first.rgb, second.rgb, max(numbers)))
            results = [self._first.to_planes(images[number - 1], second, 1.0) for number in numbers]
        else:
            dis = self._dis()
            results = [self._restore(self._warp(dis.motion_after(float(d))), 1.0) for d in distances]
        return [frame_from_planes(result, second.video) for result in results]

    def can_continue(self) -> bool:
        """Whether `move_second` would make sense: DIS finds motion between the two frames, and it is reliable."""
        return self._dis().can_continue()

    def move_second(self, distances: Sequence[Fraction]) -> list[av.VideoFrame]:
        """The second frame, moved on along the motion that DIS finds between the two, whatever the model.

        `extrapolate` also blends in the first frame. Here it would show: the second frame comes next, and the
        brightness of the two may differ (fades, flashes).

        Args:
            distances: How far after the second frame, each > 0 in intervals.
        """
        frames = []
        for distance in distances:
            motion = self._dis().motion_after(float(distance))
            planes_ = self._warp(replace(motion, weight=np.zeros_like(motion.weight)))
            frames.append(frame_from_planes(self._restore(planes_, 1.0), self._second.video))
        return frames

    def _dis(self) -> DISPair:
        with self._lock:
            if self._dis_pair is None:
                self._dis_pair = DIS().prepare_views(*self._prepared.frames())
            return self._dis_pair

    def _prepare(self) -> Pair:
        with self._lock:
            if self._pair is None:
                # Begin with what no other thread is preparing.
                for prepared in (self._prepared, self._before, self._after):
                    if prepared is not None:
                        prepared.start()
                pair = self._prepared.get()
                before, after = (None if p is None else p.get() for p in (self._before, self._after))
                if before is not None or after is not None:
                    pair = pair.with_neighbours(before, after, self._relative_lengths)
                self._pair = pair
            return self._pair

    def _planes(self, pair: Pair, t: float) -> list[Plane]:
        if isinstance(pair, MotionPair):
            return self._restore(self._warp(pair.motion(t)), t)
        return self._restore(self._prepared.first.to_planes(pair.at(t), self._prepared.second, t), t)

    def _restore(self, parts: list[Plane], t: float) -> list[Plane]:
        """Put overlays back."""
        if self._prepared.overlay is not None:
            self._prepared.overlay.restore(parts, self._first.planes, self._second.planes, t)
        return parts

    def _warp(self, motion: FrameMotion) -> list[Plane]:
        first, second = self._prepared.first, self._prepared.second
        offsets = (
            None
            if motion.colour_residual is None
            else self.converter.offsets_to_planes(motion.colour_residual, first.planes)
        )
        return synthesize_planes(first.planes, second.planes, motion, self._synthesizer.size, offsets)


def shift_motion(motion: FrameMotion, t: float, new_t: float) -> FrameMotion:
    """The motion at time `t` moved along the same straight paths to a nearby time `new_t`."""
    if new_t == t:
        return motion
    scale_t0, scale_t1 = np.float32(new_t / t), np.float32((1 - new_t) / (1 - t))
    other = None if motion.other is None else shift_motion(motion.other, t, new_t)
    return replace(motion, flow_t0=motion.flow_t0 * scale_t0, flow_t1=motion.flow_t1 * scale_t1, other=other)
