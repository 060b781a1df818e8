"""Baselines that every model is compared with: average, nearest frame, midpoint along DIS flow, FFmpeg's minterpolate.

They learn nothing and need nothing but OpenCV (and, for minterpolate, the FFmpeg that comes with PyAV).

| name         | the frame at t                                                                                    |
|--------------|---------------------------------------------------------------------------------------------------|
| average      | (1 - t) frame 0 + t frame 1                                                                       |
| nearest      | the nearer frame, frame 0 at t = 1/2; as an extrapolation the last frame again                    |
| dis-midpoint | DIS flow (medium) on luma in both directions; the mean of frame 0 warped by t F10 and frame 1     |
|              | warped by (1 - t) F01; as an extrapolation frame 1 warped by F10, as if it were the flow needed   |
| minterpolate | FFmpeg's filter of that name at its best settings; on sequences                                   |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.models.base import Flow, Interpolator, Pair
from betwixt.models.frame_view import Image


class _FramePair(Pair):
    def __init__(self, first: Image, second: Image) -> None:
        self.first, self.second = first, second


class _AveragePair(_FramePair):
    def at(self, t: float) -> Image:
        return (self.first * np.float32(1 - t) + self.second * np.float32(t)).astype(np.float32)


class Average(Interpolator):
    """The mean of the two frames, weighted by time."""

    name = "average"

    def prepare(self, first: Image, second: Image) -> Pair:
        return _AveragePair(first, second)


class _NearestPair(_FramePair):
    def at(self, t: float) -> Image:
        return self.first if t <= 0.5 else self.second


class Nearest(Interpolator):
    """The nearer of the two frames."""

    name = "nearest"
    extrapolates = True

    def prepare(self, first: Image, second: Image) -> Pair:
        return _NearestPair(first, second)

    def next_frame(self, first: Image, second: Image) -> Image:
        return second


class _MidpointPair(Pair):
    """DIS flow in both directions. Frames are warped as 8-bit images, as OpenCV users do, so the warps are rounded."""

    def __init__(self, first: Image, second: Image) -> None:
        self._frames = [np.rint(np.clip(x, 0, 1) * np.float32(255)).astype(np.uint8) for x in (first, second)]
        luma = [cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in self._frames]
        search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._flow_01 = search.calc(luma[0], luma[1], None)
        self._flow_10 = search.calc(luma[1], luma[0], None)

    def at(self, t: float) -> Image:
        warps = ((self._frames[0], t * self._flow_10), (self._frames[1], (1 - t) * self._flow_01))
        total = np.zeros(self._frames[0].shape, np.float32)
        for frame, flow in warps:
            total += self._warp(frame, flow)
        return (total / np.float32(2 * 255)).astype(np.float32)

    def displacement(self, t: float) -> Flow | None:
        """The sum of the two warps' parts of the flows; as an extrapolation, F10 turned round."""
        return np.asarray(-self._flow_10 if t > 1 else (1 - t) * self._flow_01 - t * self._flow_10, np.float32)

    def extrapolate(self) -> Image:
        """Frame 1 warped by F10."""
        image: Image = (self._warp(self._frames[1], self._flow_10) / np.float32(255)).astype(np.float32)
        return image

    def _warp(self, frame: NDArray[np.uint8], flow: NDArray[np.float32]) -> Any:
        height, width = frame.shape[:2]
        grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
        x, y = cv2.split(grid + flow.astype(np.float32))
        return cv2.remap(frame, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


class DISMidpoint(Interpolator):
    """The plain use of optical flow: each frame warped along a part of the flow that starts at the other frame."""

    name = "dis-midpoint"
    extrapolates = True

    def prepare(self, first: Image, second: Image) -> Pair:
        return _MidpointPair(first, second)

    def next_frame(self, first: Image, second: Image) -> Image:
        return _MidpointPair(first, second).extrapolate()


class Minterpolate:
    """FFmpeg's minterpolate. It uses a frame before and a frame after the pair, so it takes sequences, not pairs.

    The settings are its best: motion compensation, adaptive overlapped blocks of variable size, bidirectional search,
    no scene-change detection (which would repeat frames). It works on 8-bit 4:4:4 YUV.
    """

    name = "minterpolate"
    settings = "fps=2:scd=none:mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1"

    def between(self, frames: Iterable[NDArray[np.uint8]]) -> Iterator[Image]:
        """For every two successive frames, (H, W, 3) uint8 RGB, the one halfway between them, in order."""
        filter_: _Filter | None = None
        output: list[Image] = []
        frames_in = frames_out = 0
        last: NDArray[np.uint8] | None = None
        for frame in frames:
            filter_ = filter_ or _Filter(self.settings, frame.shape[1], frame.shape[0])
            output += filter_.push(frame)
            frames_in, last = frames_in + 1, frame
            # The output alternates: a source frame, the one after it, a source frame, ..
            while len(output) > 1 and frames_out < frames_in - 1:
                yield output[1]
                frames_out += 1
                del output[:2]
        while filter_ is not None and last is not None and frames_out < frames_in - 1:
            # The filter delays its last frames: repeats of the last one flush them.
            output += filter_.push(last)
            while len(output) > 1 and frames_out < frames_in - 1:
                yield output[1]
                frames_out += 1
                del output[:2]


class _Filter:
    """A filter graph that takes RGB images a second apart and returns RGB images."""

    def __init__(self, settings: str, width: int, height: int) -> None:
        import av
        import av.filter

        rgb = av.VideoFormat("rgb24", width, height)
        self._graph = av.filter.Graph()
        self._count = 0
        self._graph.link_nodes(
            self._graph.add_buffer(width=width, height=height, format=rgb, time_base=Fraction(1)),
            self._graph.add("format", "yuv444p"),
            self._graph.add("minterpolate", settings),
            self._graph.add("format", "rgb24"),
            self._graph.add("buffersink"),
        ).configure()

    def push(self, image: NDArray[np.uint8]) -> list[Image]:
        """Feed an image to the graph and return the images that come out of it."""
        import av

        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts, frame.time_base = self._count, Fraction(1)
        self._count += 1
        self._graph.vpush(frame)
        images = []
        while True:
            try:
                images.append(self._graph.vpull().to_ndarray().astype(np.float32) / np.float32(255))
            except av.error.BlockingIOError:
                return images
