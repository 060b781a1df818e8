"""What a model has to be better than, behind the models' own interface: averaging, repeating, the DIS midpoint, ffmpeg.

They learn nothing and need nothing but OpenCV (and, for minterpolate, the FFmpeg that PyAV brings).

| name         | the frame at t                                                                                  |
|--------------|-------------------------------------------------------------------------------------------------|
| average      | (1 - t) frame 0 + t frame 1                                                                     |
| nearest      | the nearer frame, frame 0 at t = 1/2; as an extrapolation the last frame again                  |
| dis-midpoint | DIS flow (medium) both ways on grey; frame 0 warped by t F10, frame 1 by (1 - t) F01; the mean; |
|              | as an extrapolation frame 1 warped by F10, as if that flow stood where it is needed             |
| minterpolate | FFmpeg's filter of that name at its best settings; on sequences                                 |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.models.base import Interpolator, Pair
from betwixt.models.frame_view import Image


class _Frames(Pair):
    """Two frames as they came."""

    def __init__(self, first: Image, second: Image) -> None:
        self.first, self.second = first, second


class _AveragePair(_Frames):
    def at(self, t: float) -> Image:
        """The weighted mean."""
        return (self.first * np.float32(1 - t) + self.second * np.float32(t)).astype(np.float32)


class Average(Interpolator):
    """The mean of the two frames, weighted by time."""

    name = "average"

    def prepare(self, first: Image, second: Image) -> Pair:
        """Nothing to compute."""
        return _AveragePair(first, second)


class _NearestPair(_Frames):
    def at(self, t: float) -> Image:
        """The nearer frame."""
        return self.first if t <= 0.5 else self.second


class Nearest(Interpolator):
    """The nearer of the two frames."""

    name = "nearest"
    extrapolates = True

    def prepare(self, first: Image, second: Image) -> Pair:
        """Nothing to compute."""
        return _NearestPair(first, second)

    def next_frame(self, first: Image, second: Image) -> Image:
        """The last frame again."""
        return second


class _MidpointPair(Pair):
    """Grey flow both ways. Frames are warped as 8-bit pictures, as OpenCV users do, so the warps are rounded."""

    def __init__(self, first: Image, second: Image) -> None:
        self._frames = [np.rint(np.clip(x, 0, 1) * np.float32(255)).astype(np.uint8) for x in (first, second)]
        grey = [cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in self._frames]
        search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._flow_01 = search.calc(grey[0], grey[1], None)
        self._flow_10 = search.calc(grey[1], grey[0], None)

    def at(self, t: float) -> Image:
        """The mean of both warps."""
        parts = ((self._frames[0], t * self._flow_10), (self._frames[1], (1 - t) * self._flow_01))
        total = np.zeros(self._frames[0].shape, np.float32)
        for frame, flow in parts:
            total += self._warped(frame, flow)
        return (total / np.float32(2 * 255)).astype(np.float32)

    def after(self) -> Image:
        """Frame 1 warped along F10."""
        after: Image = (self._warped(self._frames[1], self._flow_10) / np.float32(255)).astype(np.float32)
        return after

    def _warped(self, frame: NDArray[np.uint8], flow: NDArray[np.float32]) -> Any:
        height, width = frame.shape[:2]
        grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
        x, y = cv2.split(grid + flow.astype(np.float32))
        return cv2.remap(frame, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


class DISMidpoint(Interpolator):
    """The plain way to use optical flow: each frame warped along half of the flow that starts at the other."""

    name = "dis-midpoint"
    extrapolates = True

    def prepare(self, first: Image, second: Image) -> Pair:
        """Find the flow both ways."""
        return _MidpointPair(first, second)

    def next_frame(self, first: Image, second: Image) -> Image:
        """The last frame warped along the flow that leads from it to the first: linear continuation."""
        return _MidpointPair(first, second).after()


class Minterpolate:
    """FFmpeg's minterpolate. It looks a frame back and a frame ahead, so it is given sequences, not pairs.

    The settings are its best: motion compensation, adaptive overlapped blocks of variable size, bidirectional search,
    no scene-change detection (which would repeat frames). It works on 8-bit 4:4:4 YUV.
    """

    name = "minterpolate"
    settings = "fps=2:scd=none:mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1"

    def between(self, frames: Iterable[NDArray[np.uint8]]) -> Iterator[Image]:
        """For each two successive frames, (H, W, 3) uint8 RGB, the one halfway between them, in order."""
        filtering: _Filter | None = None
        waiting: list[Image] = []
        given = made = 0
        last: NDArray[np.uint8] | None = None
        for picture in frames:
            filtering = filtering or _Filter(self.settings, picture.shape[1], picture.shape[0])
            waiting += filtering.push(picture)
            given, last = given + 1, picture
            # What comes out alternates: a source frame, the one after it, a source frame, ..
            while len(waiting) > 1 and made < given - 1:
                yield waiting[1]
                made += 1
                del waiting[:2]
        while filtering is not None and last is not None and made < given - 1:
            # The filter holds its last frames back: repeats of the last one push them out.
            waiting += filtering.push(last)
            while len(waiting) > 1 and made < given - 1:
                yield waiting[1]
                made += 1
                del waiting[:2]


class _Filter:
    """A filter graph: RGB pictures a second apart in, RGB pictures out."""

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

    def push(self, picture: NDArray[np.uint8]) -> list[Image]:
        """Give it a picture; what comes out of it then."""
        import av

        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = self._count, Fraction(1)
        self._count += 1
        self._graph.vpush(frame)
        pictures = []
        while True:
            try:
                pictures.append(self._graph.vpull().to_ndarray().astype(np.float32) / np.float32(255))
            except av.error.BlockingIOError:
                return pictures
