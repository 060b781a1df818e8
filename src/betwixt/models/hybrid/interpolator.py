"""Inference of `hybrid`: motion search, RIFE 4.6, the networks that fuse both motions, and the warps between them.

    frames ─┬─ luma ─► dis ────────────────────────► motion A at t ─┐
            └─ images of the network size ─┬─► RIFE ► motion B at t ─┼─► flow network ─► remap ─► detail network
                                           └─► remap by A and by B ──┘                                  └─► FrameMotion

It works like `betwixt.models.compact.interpolator`, with two motions instead of one. RIFE too sees the images at the
network size, or at multiples of it (`HybridConfig.rife_scales`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.backends.backend import ENGINES, Backend
from betwixt.backends.network_runner import NetworkPart, NetworkRunner, TrainedNetwork
from betwixt.layers.motion import FrameMotion
from betwixt.models.compact.initial_motion import initial_motion, resize_map
from betwixt.models.compact.interpolator import (
    CompactInterpolator,
    CompactPair,
    downsample2x,
    pad_to_multiple,
    sigmoid,
    warp_images,
)
from betwixt.models.frame_view import FrameView, Image
from betwixt.models.hybrid.config import APART_WINDOW, MULTIPLE, HybridConfig, rife_size

if TYPE_CHECKING:
    from torch import nn

_Map = NDArray[Any]

_RIFE_SCALES = (8, 4, 2, 1)
"""The factors by which the blocks of RIFE 4.6 downscale the images (`betwixt.models.rife.v4.RIFE_4_6`)."""


def _rife_part(network: Any, symmetric_blocks: int) -> nn.Module:
    from betwixt.models.hybrid.network import RIFEPart

    return RIFEPart(network, symmetric_blocks)


def _rife_block(network: Any, number: int) -> nn.Module:
    from betwixt.models.hybrid.network import RIFEBlockPart

    return RIFEBlockPart(network.get_submodule(f"block{number}"))


def _rife_block_inputs(config: object, number: int) -> dict[str, tuple[int, int]]:
    return {"warped0": (3, 1), "warped1": (3, 1), "maps": (6 if number else 1, 1)}


RIFE_PARTS = {
    f"block{number}": NetworkPart(
        partial(_rife_block, number=number),
        partial(_rife_block_inputs, number=number),
        multiple=4,
        engines=tuple(engine for engine in ENGINES if engine != "torch"),
    )
    for number in range(len(_RIFE_SCALES))
}
"""The blocks of RIFE 4.6, which graphs run one by one."""


class RIFEMotion:
    """The motion that RIFE 4.6 estimates between two images. Safe to use from several threads at once.

    In graphs each block is a part of its own, and images are warped between the blocks here: faster, and in float32 in
    any precision, since 16 bits cannot hold a position.

    Args:
        network: The trained network.
        symmetric_blocks: As in `HybridConfig`.
        backend: Where and how it runs.
    """

    def __init__(self, network: TrainedNetwork, symmetric_blocks: int, backend: Backend) -> None:
        self._symmetric_blocks = symmetric_blocks
        whole = NetworkPart(partial(_rife_part, symmetric_blocks=symmetric_blocks), engines=("torch",))
        self.runner = NetworkRunner(network, {"motion": whole, **RIFE_PARTS}, backend, channels_last=False)

    def start_compiling(self, height: int, width: int) -> None:
        """Have the blocks compiled for images of a size, whose sides are multiples of 32."""
        self.runner.start_compiling(
            {f"block{number}": (height // scale, width // scale) for number, scale in enumerate(_RIFE_SCALES)}
        )

    def __call__(self, first: _Map, second: _Map, t: float) -> _Map:
        """F_{t->0}, F_{t->1} in pixels and the logit of the weight of frame 0: (5, h, w) float32.

        Args:
            first: (h, w, 3) float32, RGB in [0, 1].
            second: (h, w, 3) float32, RGB in [0, 1].
            t: The time, in (0, 1).
        """
        h, w = first.shape[:2]
        images = [np.ascontiguousarray(pad_to_multiple(image, MULTIPLE)) for image in (first, second)]
        if self.runner.backend.engine != "torch":
            count = self._symmetric_blocks
            motion = np.zeros((5, *images[0].shape[:2]), np.float32)
            if count:
                backward = self._run_blocks(images[::-1], 1 - t, motion, 0, count)
                motion = self._run_blocks(images, t, motion, 0, count)
                motion += np.concatenate((backward[2:4], backward[:2], -backward[4:]))
                motion *= np.float32(0.5)
            motion = self._run_blocks(images, t, motion, count, len(_RIFE_SCALES))
        else:
            (motion,) = self.runner.run("motion", images, [np.full((1, 1, 1), t, np.float32)])
        return motion[:, :h, :w]

    def _run_blocks(self, images: list[_Map], t: float, motion: _Map, first: int, end: int) -> _Map:
        """The motion (5, h, w) after blocks `first` to `end` (exclusive), each on images warped by the one before."""
        h, w = images[0].shape[:2]
        motion, warped = motion.copy(), images
        for number in range(first, end):
            scale = _RIFE_SCALES[number]
            size = w // scale, h // scale
            maps = [np.full(size[::-1], t, np.float32)]
            if number:
                warped = warp_images(images, motion[:4].reshape(2, 2, h, w), cv2.INTER_LINEAR)
                small = [_resize_bilinear(x, size) for x in motion]
                maps += [small[4], *(x * np.float32(1 / scale) for x in small[:4])]
            small_images = [_resize_bilinear(image, size) for image in warped]
            (change,) = self.runner.run(f"block{number}", small_images, [np.stack(maps)])
            for i, x in enumerate(change):
                motion[i] += _resize_bilinear(x, (w, h)) * np.float32(scale if i < 4 else 1)
        return motion


_WARPED = {"a0": (3, 1), "a1": (3, 1), "b0": (3, 1), "b1": (3, 1)}


def _flow_inputs(config: HybridConfig) -> dict[str, tuple[int, int]]:
    return {**_WARPED, "flows": (8, 2), "logits": (2, 1), "t": (1, 0)}


def _detail_inputs(config: HybridConfig) -> dict[str, tuple[int, int]]:
    return {**_WARPED, "flows": (8, 2), "logits": (2, 1), "share": (1, 2), "state": (config.flow[0], 4)}


PARTS = {
    "flow": NetworkPart(
        lambda network: network.flow,
        _flow_inputs,
        channels_last_inputs=(0, 1, 2, 3),
        channels_last_outputs=(2,),
        graph_module=lambda network: network.flow.with_idle_channels(),
    ),
    "detail": NetworkPart(
        lambda network: network.detail,
        _detail_inputs,
        channels_last_inputs=(0, 1, 2, 3, 7),
        channels_last_outputs=(0,),
    ),
}
"""The parts of `Fusion` that are run by themselves."""


class HybridInterpolator(CompactInterpolator):
    """The model `hybrid`.

    Args:
        network: A trained `Fusion`.
        rife: The trained RIFE 4.6.
        backend: Where and how all of them run.
        name: The name of the model.
    """

    multiple: ClassVar[int] = MULTIPLE
    parts: ClassVar[dict[str, NetworkPart]] = PARTS

    def __init__(self, network: TrainedNetwork, rife: TrainedNetwork, backend: Backend, name: str = "hybrid") -> None:
        super().__init__(network, backend, name)
        self.rife = RIFEMotion(rife, self.config.symmetric_blocks, backend)
        self.arithmetic += f", {self.rife.runner.arithmetic}"

    def networks(self) -> dict[Path, Any]:
        """Its own networks and RIFE in PyTorch, by the files of their weights."""
        assert self.rife.runner.trained.path is not None
        return super().networks() | {self.rife.runner.trained.path: self.rife.runner.network}

    def prepare_views(self, first: FrameView, second: FrameView) -> HybridPair:
        return HybridPair(self, first, second)

    def _start_compiling(self, height: int, width: int) -> None:
        for scale in self.config.rife_scales:
            self.rife.start_compiling(*rife_size(height, width, scale))
        super()._start_compiling(height, width)

    def set_concurrency(self, threads: int) -> None:
        super().set_concurrency(threads)
        self.rife.runner.set_concurrency(threads)


class HybridPair(CompactPair):
    """Two frames and the motion that the search found between them."""

    _owner: HybridInterpolator

    def __init__(self, owner: HybridInterpolator, first: FrameView, second: FrameView) -> None:
        super().__init__(owner, first, second)
        sizes = [rife_size(*self._size, scale) for scale in owner.config.rife_scales]
        self._rife_images = [[_resized_rgb(frame, *size) for frame in self._frames] for size in sizes]

    def motion(self, t: float) -> FrameMotion:
        """The motions of the search and of RIFE at time `t`, refined and weighted by the networks."""
        owner, (h, w) = self._owner, self._size
        searched = self._search.motion(t)
        u, logit = initial_motion(searched, h, w)
        u = self._to_network(u)
        moves = (u[0] != 0) | (u[1] != 0)
        straight = np.float32(-t) * u
        # Along curved paths F_t0 is not -t u; RIFE's motion, which knows two frames alone, is bent by as much.
        curved = self._search.is_curved
        flow_t0 = self._to_network(resize_map(searched.flow_t0, h, w)) if curved else straight
        rife = self.rife_motion(t)
        if curved:
            departure = flow_t0 - straight
            rife[0:2] += departure
            rife[2:4] += departure
        flows = np.concatenate((flow_t0, flow_t0 + u, rife[:4]))
        logits = np.stack((pad_to_multiple(logit[..., 0], MULTIPLE), rife[4]))
        size = logits.shape[:0:-1]
        # The flow network works at a quarter of the size: bilinear warps are sharp enough for it.
        warped = self._warp_by_both(flows, cv2.INTER_LINEAR)
        maps = [downsample2x(flows), logits, np.full((1, 1, 1), t, np.float32)]
        change, share, state = owner.runner.run("flow", warped, maps)
        change = np.stack([cv2.resize(x, size, interpolation=cv2.INTER_LINEAR) for x in change])
        flows[:4] += change[:4]
        flows[4:] += change[5:9]
        logits += change[4::5]
        maps = [downsample2x(flows), logits, share, state]
        change = owner.contiguous(*owner.runner.run("detail", self._warp_by_both(flows, cv2.INTER_CUBIC), maps))
        flows[:4] += change[:4]
        flows[4:] += change[5:9]
        logits += change[4:10:5]
        share_logit = cv2.resize(share[0], size, interpolation=cv2.INTER_LINEAR) + change[10]
        share_logit += np.float32(owner.config.share_offset) * _apart(flows)
        # Pixels that neither change nor move stay as they are, whatever the networks say.
        active = (self._changed | moves[:h, :w]).astype(np.float32)
        a_t0, a_t1, b_t0, b_t1 = (self._to_frame(flow, active) for flow in flows.reshape(4, 2, *logits.shape[1:]))
        weight_a, weight_b, weight_of_a = (sigmoid(x)[:h, :w] for x in (*logits, share_logit))
        colour_residual, softness = self._corrections(change[11:], active)
        motion_b = FrameMotion(b_t0, b_t1, weight_b)
        sharpening = owner.config.sharpening
        return FrameMotion(
            a_t0, a_t1, weight_a, colour_residual, softness, motion_b, weight_of_a, sharpening=sharpening
        )

    def rife_motion(self, t: float) -> _Map:
        """Motion B at the padded network size, (5, h, w)."""
        motion = estimate_motion(self._owner.rife, self._rife_images, t, self._size)
        return np.stack([pad_to_multiple(x, MULTIPLE) for x in motion])

    def _warp_by_both(self, flows: _Map, interpolation: int) -> list[_Map]:
        """Both images, warped by the flows of A and by those of B (8, h, w): A's two, then B's."""
        flows_a, flows_b = flows.reshape(2, 2, 2, *flows.shape[1:])
        return [
            *warp_images(self._images, flows_a, interpolation),
            *warp_images(self._images, flows_b, interpolation),
        ]


def estimate_motion(rife: RIFEMotion, images: Sequence[Sequence[_Map]], t: float, size: tuple[int, int]) -> _Map:
    """The mean of the motions that RIFE finds, (5, h, w), as of `RIFEMotion`.

    Args:
        rife: RIFE.
        images: The two images at each of the scales. At every second one they are turned by 180 degrees.
        t: The time, in (0, 1).
        size: The (h, w) of the result.
    """
    motions = []
    for number, (first, second) in enumerate(images):
        if number % 2:
            turned = rife(first[::-1, ::-1], second[::-1, ::-1], t)[:, ::-1, ::-1]
            motion = turned * np.array([-1, -1, -1, -1, 1], np.float32)[:, None, None]
        else:
            motion = rife(first, second, t)
        motions.append(resize_motion(motion, *size))
    return motions[0] if len(motions) == 1 else np.asarray(np.mean(motions, axis=0), np.float32)


def _apart(flows: _Map) -> _Map:
    """How far two motions are apart around each pixel, (h, w) in [0, 1]: 1 from a pixel of the network size on.

    `flows` (8, h, w) are those of A, then those of B.
    """
    difference = flows[:4] - flows[4:]
    distance = np.sqrt(np.einsum("chw,chw->hw", difference, difference))
    distance = cv2.blur(distance, (APART_WINDOW, APART_WINDOW), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(np.minimum(distance, 1), np.float32)


def resize_motion(motion: _Map, height: int, width: int) -> _Map:
    """Flows in pixels and the logit of a weight, (5, h, w), at another size, (5, height, width), in its pixels."""
    h, w = motion.shape[1:]
    if (h, w) == (height, width):
        return motion
    factors = (width / w, height / h, width / w, height / h, 1.0)
    resized = (_resize_bilinear(x, (width, height)) for x in motion)
    return np.stack([x * np.float32(factor) for x, factor in zip(resized, factors, strict=True)])


def _resized_rgb(frame: FrameView, height: int, width: int) -> Image:
    """The RGB image of a frame at any size, (height, width, 3)."""
    full_height, full_width = frame.luma.shape
    if height <= full_height and width <= full_width:
        return frame.rgb_at(height, width)
    return np.asarray(cv2.resize(frame.rgb, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _resize_bilinear(values: _Map, size: tuple[int, int]) -> _Map:
    """(h, w) or (h, w, c) resized to (width, height), bilinear without antialiasing, as RIFE does."""
    if values.shape[1::-1] == size:
        return values
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR), np.float32)
