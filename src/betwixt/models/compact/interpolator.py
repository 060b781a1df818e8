"""Inference of `compact` and `compact-large`: motion search, two small networks, and the warps between them.

    frames ─┬─ luma ─► dis ─► u, visibility at t ───┐
            └─ images of the network size ─► remap ─┴─► flow network ─► remap ─► detail network ─► FrameMotion

The networks see images of the network size: small frames as they are, larger ones downscaled. Their output is a
`FrameMotion`, flows, weights and colour residuals on maps of that size; the frame itself is made from the planes of the
source at full size. OpenCV warps, which on CPUs is several times faster than a network's warp.

For the runtime of the networks see `betwixt.backends.network_runner`. Nothing here imports PyTorch at import time.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.backends.backend import Backend
from betwixt.backends.network_runner import NetworkPart, NetworkRunner, TrainedNetwork
from betwixt.layers.motion import FrameMotion
from betwixt.layers.planes import synthesize_planes
from betwixt.models.base import Interpolator, MotionPair, Pair
from betwixt.models.compact.config import BLUR_SIGMAS, CompactConfig
from betwixt.models.compact.initial_motion import initial_motion, network_size, resize_map
from betwixt.models.dis.interpolator import DIS, search_size
from betwixt.models.frame_view import FrameView, Image, ImageView
from betwixt.models.maps import Maps

_Map = NDArray[Any]


def _flow_inputs(config: CompactConfig) -> dict[str, tuple[int, int]]:
    return {"warped0": (3, 1), "warped1": (3, 1), "u": (2, 2), "logit": (1, 1), "t": (1, 0)}


def _detail_inputs(config: CompactConfig) -> dict[str, tuple[int, int]]:
    return {"warped0": (3, 1), "warped1": (3, 1), "flows": (4, 2), "logit": (1, 1), "state": (config.flow[0], 4)}


PARTS = {
    "flow": NetworkPart(lambda network: network.flow, _flow_inputs, channels_last_outputs=(1,)),
    "detail": NetworkPart(
        lambda network: network.detail, _detail_inputs, channels_last_inputs=(0, 1, 4), channels_last_outputs=(0,)
    ),
}
"""The parts of `Compact` that are run by themselves."""


class CompactInterpolator(Interpolator):
    """The models `compact` and `compact-large`.

    Args:
        network: A trained `Compact`.
        backend: Where and how its networks run.
        name: The name of the model.
    """

    uses_neighbours = True
    multiple: ClassVar[int] = 16
    """The sides of the networks' images are multiples of this."""
    parts: ClassVar[dict[str, NetworkPart]] = PARTS

    def __init__(
        self,
        network: TrainedNetwork,
        backend: Backend,
        name: str = "compact",
    ) -> None:
        self.name = name
        self.config = network.config
        self.runner = NetworkRunner(network, self.parts, backend)
        self.backend, self.arithmetic = backend, self.runner.arithmetic
        self._buffers = threading.local()
        self._sizes: set[tuple[int, int]] = set()  # for which compiling has been started

    def networks(self) -> dict[Path, Any]:
        """The networks in PyTorch, by the files of their weights; its own comes first."""
        assert self.runner.trained.path is not None
        return {self.runner.trained.path: self.runner.network}

    def prepare(self, first: Image, second: Image) -> MotionPair:
        """Search the motion between two images (H, W, 3), RGB float32 in [0, 1]."""
        return self.prepare_views(ImageView(first), ImageView(second))

    def prepare_views(self, first: FrameView, second: FrameView) -> MotionPair:
        """Search the motion between two frames; uses their luma and images of the network size."""
        return CompactPair(self, first, second)

    def start_compiling(self, height: int, width: int) -> None:
        """Have the networks compiled for a network size, if they are not yet, while the motion is searched."""
        if (height, width) not in self._sizes:
            self._sizes.add((height, width))
            self._start_compiling(height, width)

    def _start_compiling(self, height: int, width: int) -> None:
        padded = height + -height % self.multiple, width + -width % self.multiple
        self.runner.start_compiling(dict.fromkeys(self.parts, padded))

    def set_concurrency(self, threads: int) -> None:
        self.runner.set_concurrency(threads)

    def contiguous(self, maps: _Map) -> _Map:
        """Maps (c, h, w) with each map contiguous in memory; valid until this thread's next call."""
        if maps.flags.c_contiguous:
            return maps
        buffer: _Map | None = getattr(self._buffers, "maps", None)
        if buffer is None or buffer.shape != maps.shape:
            # Allocating memory for every frame would take longer than filling it.
            buffer = self._buffers.maps = np.empty(maps.shape, np.float32)
        cv2.split(maps.transpose(1, 2, 0), list(buffer))
        return buffer


class CompactPair(MotionPair):
    """Two frames and the motion that the search found between them."""

    def __init__(self, owner: CompactInterpolator, first: FrameView, second: FrameView) -> None:
        self._owner, self._frames = owner, (first, second)
        height, width = first.luma.shape
        self._size = h, w = network_size(height, width)
        owner.start_compiling(h, w)
        config = owner.config
        lines = max(round(config.search_scale * h), search_size(height, width)[0])
        self._search = DIS(lines / height, config.search_effort).prepare_views(first, second)
        self._scale = width / w, height / h
        images = [frame.rgb_at(h, w) for frame in (first, second)]
        difference = cv2.transform(cv2.absdiff(*images), np.ones((1, 3), np.float32))
        self._changed = cv2.dilate((difference > 0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        self._images = [pad_to_multiple(image, self._owner.multiple) for image in images]

    def with_neighbours(
        self, before: Pair | None, after: Pair | None, spans: tuple[float, float] = (1.0, 1.0)
    ) -> CompactPair:
        """This pair with the curved paths of `dis`, which the networks then refine."""
        past, following = (side._search if isinstance(side, CompactPair) else None for side in (before, after))
        search = self._search.with_neighbours(past, following, spans)
        if search is self._search:
            return self
        pair = copy.copy(self)
        pair._search = search
        return pair

    def maps(self, t: float) -> Maps:
        """The maps of the frame at `t`, and those of the search, of which the flows at `t` are called `searched_..`."""
        searched = self._search.maps(t)
        at_t = {f"searched_{name}": searched.pop(name) for name in ("flow_t0", "flow_t1", "mask")}
        return super().maps(t) | at_t | searched

    def motion(self, t: float) -> FrameMotion:
        """The motion at time `t`: that of the search, refined by the networks."""
        owner, (h, w) = self._owner, self._size
        searched = self._search.motion(t)
        u, logit = initial_motion(searched, h, w)
        u = self._to_network(u)
        moves = (u[0] != 0) | (u[1] != 0)
        # Along curved paths F_t0 is not -t u.
        curved = self._search.is_curved
        flow_t0 = self._to_network(resize_map(searched.flow_t0, h, w)) if curved else np.float32(-t) * u
        flows = np.stack((flow_t0, flow_t0 + u if curved else np.float32(1 - t) * u))
        logit = pad_to_multiple(logit[..., 0], self._owner.multiple)
        # The flow network works at a quarter of the size: bilinear warps are sharp enough for it.
        warped = warp_images(self._images, flows, cv2.INTER_LINEAR)
        maps = [downsample2x(u), logit[None], np.full((1, 1, 1), t, np.float32)]
        change, state = owner.runner.run("flow", warped, maps)
        change = np.stack([cv2.resize(x, logit.shape[::-1], interpolation=cv2.INTER_LINEAR) for x in change])
        flows += change[:4].reshape(flows.shape)
        logit = logit + change[4]
        warped = warp_images(self._images, flows, cv2.INTER_CUBIC)
        maps = [downsample2x(flows.reshape(4, *logit.shape)), logit[None], state]
        change = owner.contiguous(*owner.runner.run("detail", warped, maps))
        flows += change[:4].reshape(flows.shape)
        weight = sigmoid(logit + change[4])
        # Pixels that neither change nor move stay as they are, whatever the networks say.
        active = (self._changed | moves[:h, :w]).astype(np.float32)
        to_0, to_1 = (self._to_frame(flow, active) for flow in flows)
        colour_residual, softness = self._corrections(change[5:], active)
        sharpening = owner.config.sharpening
        return FrameMotion(to_0, to_1, weight[:h, :w], colour_residual, softness, sharpening=sharpening)

    def _corrections(self, maps: _Map, active: _Map) -> tuple[_Map, tuple[tuple[float, _Map], ...]]:
        """The colour residual and the softness of a `FrameMotion`, from the detail network's last five maps."""
        h, w = self._size
        residual = cv2.merge([x[:h, :w] * active for x in maps[:3]])
        if not self._owner.config.softness:
            return residual, ()
        return residual, tuple(
            (sigma * self._scale[0], x[:h, :w] * active) for sigma, x in zip(BLUR_SIGMAS, maps[3:], strict=True)
        )

    def _to_network(self, flow: _Map) -> _Map:
        """A flow (h, w, 2) in pixels of the frame as the networks take it: (2, h, w), in their pixels, padded."""
        components = zip(cv2.split(flow), self._scale, strict=True)
        return np.stack([pad_to_multiple(x * np.float32(1 / scale), self._owner.multiple) for x, scale in components])

    def _to_frame(self, flow: _Map, active: _Map) -> _Map:
        """A flow (2, h, w) of the networks in pixels of the frame, without padding: (h, w, 2), 0 where not `active`."""
        h, w = self._size
        components = zip(flow, self._scale, strict=True)
        merged: _Map = cv2.merge([x[:h, :w] * active * np.float32(scale) for x, scale in components])
        return merged

    def at(self, t: float) -> Image:
        motion = self.motion(t)
        first, second = (frame.rgb for frame in self._frames)
        image: Image
        (image,) = synthesize_planes([first], [second], motion, first.shape[:2], [motion.colour_residual])
        return image


def pad_to_multiple(values: _Map, multiple: int) -> _Map:
    """(h, w) or (h, w, c) with the last row and column repeated until both sides are multiples of a number."""
    h, w = values.shape[:2]
    bottom, right = -h % multiple, -w % multiple
    if not (bottom or right):
        return values
    return np.asarray(cv2.copyMakeBorder(values, 0, bottom, 0, right, cv2.BORDER_REPLICATE), np.float32)


def sigmoid(logit: _Map) -> _Map:
    """1 / (1 + exp(-logit)), float32."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logit, -30, 30))), np.float32)


def downsample2x(maps: _Map) -> _Map:
    """Maps (c, h, w) at half the size, the mean of every 2x2 pixels: (c, h/2, w/2)."""
    size = maps.shape[2] // 2, maps.shape[1] // 2
    return np.stack([cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in maps])


def warp_images(images: Sequence[_Map], flows: _Map, interpolation: int) -> list[_Map]:
    """Two images (h, w, 3) warped backward by their flows (2, 2, h, w) in pixels.

    Args:
        images: The images.
        flows: For each image the flow (x, y) from the new frame to it.
        interpolation: Of OpenCV, e.g. `cv2.INTER_CUBIC`.
    """
    columns, rows = _pixel_positions(*flows.shape[2:])
    options: Any = {"interpolation": interpolation, "borderMode": cv2.BORDER_REPLICATE}
    return [
        np.asarray(cv2.remap(image, x + columns, y + rows, **options))
        for image, (x, y) in zip(images, flows, strict=True)
    ]


@lru_cache(maxsize=4)
def _pixel_positions(h: int, w: int) -> tuple[_Map, _Map]:
    """The x of every column (w) and the y of every row (h, 1)."""
    return np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32)[:, None]
