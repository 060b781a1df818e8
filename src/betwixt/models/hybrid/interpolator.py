"""`hybrid` as a model: the search, RIFE 4.6, the networks that fuse both motions, and the warps between them.

    pictures ─┬─ luma ─► dis ─────────────────► motion A at t ─┐
              └─ working size ─┬─► RIFE 4.6 ──► motion B at t ─┼─► flow network ─► remap ─► detail network ─► Motion
                               └─► cv2.remap by A and by B ────┘                                    with another beside

As `betwixt.models.compact.interpolator`, with two motions instead of one. RIFE sees the
pictures at the working size, too.
"""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.backends import openvino
from betwixt.layers.motion import FrameMotion
from betwixt.models.compact.config import SOFTNESS, initial_motion, resize_map
from betwixt.models.compact.interpolator import (
    CompactInterpolator,
    CompactPair,
    Last,
    choose_engine,
    choose_precision,
    describe_arithmetic,
    downsample2x,
    pad_to_multiple,
    quantize,
    sigmoid,
    source,
    warp_images,
    weights_digest,
)
from betwixt.models.frame_view import FrameView
from betwixt.models.hybrid.config import HYBRID
from betwixt.version import __version__

if TYPE_CHECKING:
    import torch
    from torch import nn

    from betwixt.models.rife.v4 import RIFEv4

__all__ = ["HybridInterpolator", "RIFEMotion"]

_Map = NDArray[Any]

_MULTIPLE = 32

_SCALES = (8, 4, 2, 1)
"""How much smaller the blocks of RIFE 4.6 see the pictures (`models.rife_v4.RIFE_4_6`)."""

_RIFE_SOURCES = "betwixt.models.rife.v4", "betwixt.models.hybrid.network", "betwixt.backends.fake_quant"
"""The modules that define its blocks."""


class RIFEMotion:
    """The motion that RIFE 4.6 finds between two pictures. Safe to use from several threads at once.

    Through OpenVINO each block is a part, and between the blocks pictures are warped here: faster, and in float32
    whatever the blocks compute in, since sixteen bits do not hold a position.

    Args:
        weights: The file of its weights.
        device: Where it runs.
        precision: As of `CompactInterpolator`.
        engine: "openvino" or "torch".

    Attributes:
        weights: See above.
        precision: In what it computes.
        arithmetic: As of `Interpolator`.
    """

    def __init__(self, weights: Path, device: str = "auto", precision: str = "fp32", engine: str = "torch") -> None:
        self.weights, self._device = weights, device
        self.precision, self._activation_ranges = choose_precision(precision, engine, weights)
        where = "openvino" if engine == "openvino" else f"torch {self.device.type}"
        self.arithmetic = describe_arithmetic(where, self.precision, self._activation_ranges)
        self._blocks: list[openvino.CompiledModule] = []
        if engine == "openvino":
            sources = [source(module) for module in _RIFE_SOURCES]
            content = repr(("rife", weights_digest(weights), __version__, *sources, self._activation_ranges))
            for number in range(len(_SCALES)):
                traced = partial(self._traced, number)
                self._blocks.append(openvino.CompiledModule(f"{number}{content}", traced, self.precision))
            # What is compiled has the weights in it.
            self.__dict__.pop("network", None)
        else:
            self.part  # noqa: B018 - what is wrong with the weights is said now

    def set_concurrency(self, threads: int) -> None:
        """Let each of so many threads have the network to itself, with its part of the processors."""
        for block in self._blocks:
            block.streams = max(1, threads)

    @cached_property
    def device(self) -> torch.device:
        """Where it runs."""
        from betwixt.backends.torch import choose_device

        return choose_device(self._device)

    @cached_property
    def network(self) -> RIFEv4:
        """The network in PyTorch."""
        from betwixt.models.rife.v4 import RIFE_4_6, RIFEv4
        from betwixt.weights.load import load_weights

        network = RIFEv4(RIFE_4_6)
        load_weights(network, self.weights)
        quantize(network, self._activation_ranges, self.weights)
        return network

    @cached_property
    def part(self) -> nn.Module:
        """The same on its device, without its frame."""
        from betwixt.models.hybrid.network import RIFEPart

        return RIFEPart(self.network).to(self.device).eval()

    def _traced(self, number: int) -> tuple[nn.Module, list[torch.Tensor]]:
        import torch

        from betwixt.models.hybrid.network import RIFEBlockPart

        block: Any = self.network.get_submodule(f"block{number}")
        return RIFEBlockPart(block), [*[torch.rand(1, 3, 64, 64)] * 2, torch.rand(1, 6 if number else 1, 64, 64)]

    def __call__(self, first: _Map, second: _Map, t: float) -> _Map:
        """F_{t->0}, F_{t->1} in pixels and the logit of the weight of the first: (5, h, w) float32.

        Args:
            first: (h, w, 3) float32, RGB in [0, 1].
            second: The same.
            t: The time, in (0, 1).
        """
        h, w = first.shape[:2]
        pictures = [np.ascontiguousarray(pad_to_multiple(picture, _MULTIPLE)) for picture in (first, second)]
        if self._blocks:
            found = self._by_blocks(pictures, t)
        else:
            time = np.full((1, 1, 1), t, np.float32)
            from betwixt.backends.torch import run_module

            (found,) = run_module(self.part, self.device, self.precision, pictures, [time])
        return found[:, :h, :w]

    def _by_blocks(self, pictures: list[_Map], t: float) -> _Map:
        """Block after block, each of which sees the pictures warped by what the ones before found."""
        h, w = pictures[0].shape[:2]
        found, seen = np.zeros((5, h, w), np.float32), pictures
        for block, scale in zip(self._blocks, _SCALES, strict=True):
            size = w // scale, h // scale
            maps = [np.full(size[::-1], t, np.float32)]
            if block is not self._blocks[0]:
                seen = warp_images(pictures, found[:4].reshape(2, 2, h, w), cv2.INTER_LINEAR)
                small = [_resized(x, size) for x in found]
                maps += [small[4], *(x * np.float32(1 / scale) for x in small[:4])]
            given = [np.ascontiguousarray(_resized(picture, size))[None] for picture in seen]
            (change,) = block(*given, np.stack(maps)[None])
            for i, x in enumerate(change[0]):
                found[i] += _resized(x, (w, h)) * np.float32(scale if i < 4 else 1)
        return found


class HybridInterpolator(CompactInterpolator):
    """The model `hybrid`.

    Args:
        weights: A file of the weights of its own networks, or the networks themselves; see `CompactInterpolator`.
        device: Where the networks run.
        precision: As of `CompactInterpolator`.
        engine: Likewise.
        name: The model.
        rife: The file of RIFE 4.6's weights.
    """

    _last: ClassVar[Last] = {"flow": ((0, 1, 2, 3), (2,)), "detail": ((0, 1, 2, 3, 7), (0,))}
    _sources = "betwixt.models.compact.network", "betwixt.models.hybrid.network", "betwixt.backends.fake_quant"

    def __init__(
        self,
        weights: Path | nn.Module,
        device: str = "auto",
        precision: str = "fp32",
        engine: str = "auto",
        name: str = "hybrid",
        *,
        rife: Path,
    ) -> None:
        super().__init__(weights, device, precision, engine, name)
        # Networks that are given run through PyTorch; RIFE's weights are a file all the same.
        self.rife = RIFEMotion(rife, device, self.precision, choose_engine(engine, device, self.precision, given=False))
        self.arithmetic += f", {self.rife.arithmetic}"

    def _configured(self) -> Any:
        return HYBRID

    def _made(self) -> nn.Module:
        from betwixt.models.hybrid.network import Fusion

        return Fusion(self.config)

    @cached_property
    def parts(self) -> dict[Any, nn.Module]:
        """The parts of the networks, as they are called here."""
        return {"flow": self.network.flow, "detail": self.network.detail}

    def _traced(self, part: Any) -> tuple[nn.Module, list[torch.Tensor]]:
        import torch

        pictures, maps = [torch.rand(1, 3, 64, 64)] * 4, [torch.rand(1, 8, 32, 32), torch.rand(1, 2, 64, 64)]
        if part == "flow":
            return self.network.flow.widened(), [*pictures, *maps, torch.full((1, 1, 1, 1), 0.5)]
        maps += [torch.zeros(1, 1, 32, 32), torch.zeros(1, self.config.flow[0], 16, 16)]
        return self.parts[part], [*pictures, *maps]

    def networks(self) -> dict[Path, nn.Module]:
        """Its own, and RIFE's."""
        return super().networks() | {self.rife.weights: self.rife.network}

    def prepare_views(self, first: FrameView, second: FrameView) -> HybridPair:
        """Find the motion between two frames."""
        return HybridPair(self, first, second)

    def set_concurrency(self, threads: int) -> None:
        """See `CompactInterpolator`."""
        super().set_concurrency(threads)
        self.rife.set_concurrency(threads)


class HybridPair(CompactPair):
    """Two frames and what the search finds in them."""

    _owner: HybridInterpolator
    _multiple = _MULTIPLE

    def motion(self, t: float) -> FrameMotion:
        """What the search, RIFE and the networks find."""
        owner, (h, w) = self._owner, self._size
        found = self._search.motion(t)
        u, logit = initial_motion(found, h, w)
        u = self._planar(u)
        moved = (u[0] != 0) | (u[1] != 0)
        straight = np.float32(-t) * u
        # Where paths are curved, F_t0 is not -t u, and RIFE's motion, which knows two frames, departs as much.
        to_0 = self._planar(resize_map(found.flow_t0, h, w)) if self._search.is_curved else straight
        first, second = self._pictures
        rife = owner.rife(first, second, t)
        if self._search.is_curved:
            departure = to_0 - straight
            rife[0:2] += departure
            rife[2:4] += departure
        flows = np.concatenate((to_0, to_0 + u, rife[:4]))
        logits = np.stack((pad_to_multiple(logit[..., 0], _MULTIPLE), rife[4]))
        size = logits.shape[:0:-1]
        # What the flow network sees at a quarter of the size need not be as sharp.
        given = downsample2x(flows), logits, np.full((1, 1, 1), t, np.float32)
        change, share, state = owner.run("flow", self._by_both(flows, cv2.INTER_LINEAR), *given)
        change = np.stack([cv2.resize(x, size, interpolation=cv2.INTER_LINEAR) for x in change])
        flows[:4] += change[:4]
        flows[4:] += change[5:9]
        logits += change[4::5]
        told = downsample2x(flows), logits, share, state
        change = owner.planes(*owner.run("detail", self._by_both(flows), *told))
        flows[:4] += change[:4]
        flows[4:] += change[5:9]
        logits += change[4:10:5]
        m = cv2.resize(share[0], size, interpolation=cv2.INTER_LINEAR) + change[10]
        # What neither changes nor moves stays as it is, whatever the networks think.
        alive = (self._changed | moved[:h, :w]).astype(np.float32)
        moves = [self._flow(flow, alive) for flow in flows.reshape(4, 2, *logits.shape[1:])]
        weights = [sigmoid(x)[:h, :w] for x in (*logits, m)]
        *colours, soft_1, soft_2 = (x[:h, :w] * alive for x in change[11:])
        softness = tuple((s * self._scale[0], x) for s, x in zip(SOFTNESS, (soft_1, soft_2), strict=True))
        other = FrameMotion(moves[2], moves[3], weights[1])
        return FrameMotion(moves[0], moves[1], weights[0], cv2.merge(colours), softness, other, weights[2])

    def _by_both(self, flows: _Map, method: int = cv2.INTER_CUBIC) -> list[_Map]:
        """Both pictures, warped by A's flows and by B's (8, h, w)."""
        first, second = flows.reshape(2, 2, 2, *flows.shape[1:])
        return [*self._warped(first, method), *self._warped(second, method)]


def _resized(values: _Map, size: tuple[int, int]) -> _Map:
    """Between the samples of (h, w) or (h, w, c), bilinear, without averaging more than four: as RIFE does it."""
    if values.shape[1::-1] == size:
        return values
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR), np.float32)
