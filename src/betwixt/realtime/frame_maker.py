"""Used by `Smoother`: the frames that it holds, and the images that a model makes between and after them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from fractions import Fraction
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.layers.motion import FrameMotion
from betwixt.layers.planes import synthesize_planes
from betwixt.media.scenes import thumbnail_size
from betwixt.models.base import Interpolator, MotionPair, Pair
from betwixt.models.dis.interpolator import DIS, DISPair
from betwixt.models.frame_view import FullFrameView

Image = NDArray[np.uint8]
"""(H, W, 3), RGB, uint8."""

_CACHED_PAIRS = 8


class BufferedFrame(FullFrameView):
    """A received or generated frame, and the views of it that models use.

    Attributes:
        image: (H, W, 3) RGB uint8.
        time: Its content time, in seconds on the sender's clock.
        number: Unique among received frames; -1 for generated frames.
        starts_scene: Whether there is a scene cut before it.
    """

    def __init__(self, image: Image, time: Fraction, number: int = -1) -> None:
        self.image, self.time, self.number = image, time, number
        self.starts_scene = False

    @cached_property
    def rgb(self) -> NDArray[np.float32]:  # type: ignore[override]
        """(H, W, 3) RGB float32 in [0, 1]."""
        return self.image.astype(np.float32) / np.float32(255)

    @cached_property
    def luma(self) -> NDArray[np.uint8]:  # type: ignore[override]
        """(H, W) uint8."""
        return np.asarray(cv2.cvtColor(self.image, cv2.COLOR_RGB2GRAY), np.uint8)

    @cached_property
    def thumbnail(self) -> NDArray[np.uint8]:
        """A small BGR image for scene cut detection."""
        size = thumbnail_size(self.image.shape[1], self.image.shape[0])
        small = cv2.resize(self.image, size, interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(small[..., ::-1])


class FrameMaker:
    """Makes images from pairs of buffered frames; may be used from several threads.

    The prepared state of the latest pairs is cached, because a display asks for several images of each pair.

    Args:
        model: Makes the images between frames.
        extrapolator: Makes the frames after the last one; None for the model itself, or dis if it does not extrapolate.
    """

    def __init__(self, model: Interpolator, extrapolator: Interpolator | None = None) -> None:
        self.model, self.extrapolator = model, extrapolator or model
        self._lock, self._extrapolating = threading.Lock(), threading.Lock()
        self._pairs: OrderedDict[tuple[str, int, int], Any] = OrderedDict()

    def blend(self, left: BufferedFrame, right: BufferedFrame, t: float) -> Image:
        """The image at `t` between two frames, 0 < t < 1; the pair is not cached."""
        return self._render(self.model.prepare_views(left, right), left, right, t)

    def between(self, left: BufferedFrame, right: BufferedFrame, t: float) -> Image:
        """The image at `t` between two frames, 0 < t < 1."""
        pair = self._cached("between", left, right, lambda: self.model.prepare_views(left, right))
        return self._render(pair, left, right, t)

    def after(self, first: BufferedFrame, last: BufferedFrame, steps: int) -> BufferedFrame:
        """The frame `steps` intervals after `last`, extrapolated from the two frames."""
        following: list[BufferedFrame] = self._cached("after", first, last, list)
        with self._extrapolating:  # each frame continues from the one before it
            while len(following) < steps:
                image = self._extrapolate([first, last, *following])
                time = last.time + (len(following) + 1) * (last.time - first.time)
                following.append(BufferedFrame(image, time))
            return following[steps - 1]

    def _extrapolate(self, frames: list[BufferedFrame]) -> Image:
        """The image after `frames`, of which the first two were received and the others extrapolated."""
        if self.extrapolator.extrapolates and not isinstance(self.extrapolator, DIS):
            return _to_uint8(self.extrapolator.next_frame(frames[-2].rgb, frames[-1].rgb))
        first, last = frames[:2]
        search: DISPair = self._cached("search", first, last, lambda: DIS().prepare_views(first, last))
        return _synthesize(search.motion_after(float(len(frames) - 1)), first, last)

    def _render(self, pair: Pair, left: BufferedFrame, right: BufferedFrame, t: float) -> Image:
        if isinstance(pair, MotionPair):
            return _synthesize(pair.motion(t), left, right)
        return _to_uint8(pair.at(t))

    def _cached(self, kind: str, left: BufferedFrame, right: BufferedFrame, make: Callable[[], Any]) -> Any:
        """The cached value of `make()` for two frames."""
        key = kind, id(left), id(right)
        with self._lock:
            entry = self._pairs.get(key)
            if entry is not None:
                self._pairs.move_to_end(key)
                return entry[0]
        value = make()
        with self._lock:
            # The frames are kept with the value, so that their ids are not reused.
            self._pairs[key] = value, left, right
            while len(self._pairs) > _CACHED_PAIRS:
                self._pairs.popitem(last=False)
        return value


def _synthesize(motion: FrameMotion, left: BufferedFrame, right: BufferedFrame) -> Image:
    """The image that a motion describes, warped in 8 bit."""
    residuals = None if motion.colour_residual is None else [motion.colour_residual * np.float32(255)]
    image: Image
    (image,) = synthesize_planes([left.image], [right.image], motion, left.image.shape[:2], residuals)
    return image


def _to_uint8(image: NDArray[np.float32]) -> Image:
    rounded: Image = np.rint(np.clip(image, 0, 1) * np.float32(255)).astype(np.uint8)
    return rounded
