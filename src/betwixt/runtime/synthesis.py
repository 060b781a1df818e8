"""From two decoded frames to the frames between them, in their own format.

    motion models   luma of both ── prepare_luma ── motion(t) ── warp the planes themselves
                    or RGB of both ── prepare ──┘
    other models    planes ── RGB ── prepare ── at(t) ── planes (`media.colour.RGBPath`)

`Source` wraps a decoded frame and keeps what is computed of it once (its planes, luma, RGB picture), since each frame
serves as the right of one pair and the left of the next.
"""

from __future__ import annotations

import threading
from fractions import Fraction
from functools import cached_property
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from betwixt.layers.planes import synthesize_planes
from betwixt.media.colour import Colour, RGBPath
from betwixt.media.frames import Plane, assemble, luma8, planes
from betwixt.models.base import Image, Interpolator, MotionInterpolator, MotionPair, Pair

__all__ = ["PairWork", "Source", "Synthesizer"]


class Source:
    """A decoded frame and what has been computed of it."""

    def __init__(self, video: av.VideoFrame, path: RGBPath) -> None:
        self.video = video
        self._path = path

    @cached_property
    def planes(self) -> list[Plane]:
        """Its planes, as views of the frame."""
        return planes(self.video)

    @cached_property
    def luma(self) -> NDArray[np.uint8]:
        """Its luma in 8 bit."""
        return luma8(self.video, self.planes)

    @cached_property
    def picture(self) -> Image:
        """The frame as an RGB picture."""
        return self._path.to_rgb(self.planes)

    def to_planes(self, picture: Image, second: Source, t: float) -> list[Plane]:
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
        self.path = RGBPath(like.format.name, like.width, like.height, colour)
        self.size = (like.height, like.width)

    def source(self, video: av.VideoFrame) -> Source:
        """Wrap a decoded frame of the stream."""
        return Source(video, self.path)


class PairWork:
    """Two frames of a stream: prepared once, by whichever thread comes first, then asked for times by any."""

    def __init__(self, synthesizer: Synthesizer, first: Source, second: Source) -> None:
        self._synthesizer, self._first, self._second = synthesizer, first, second
        self._lock = threading.Lock()
        self._pair: Pair | None = None

    def make(self, times: list[Fraction]) -> list[av.VideoFrame]:
        """The frames at `times`, each 0 < t < 1, in the format of the sources."""
        pair = self._prepared()
        return [assemble(self._planes(pair, float(t)), self._first.video) for t in times]

    def _prepared(self) -> Pair:
        with self._lock:
            if self._pair is None:
                model = self._synthesizer.model
                if isinstance(model, MotionInterpolator):
                    self._pair = model.prepare_luma(self._first.luma, self._second.luma)
                else:
                    self._pair = model.prepare(self._first.picture, self._second.picture)
            return self._pair

    def _planes(self, pair: Pair, t: float) -> list[Any]:
        first, second = self._first, self._second
        if isinstance(pair, MotionPair):
            motion = pair.motion(t)
            path = self._synthesizer.path
            changes = None if motion.colours is None else path.changes(motion.colours, first.planes)
            return synthesize_planes(first.planes, second.planes, motion, self._synthesizer.size, changes)
        return first.to_planes(pair.at(t), second, t)
