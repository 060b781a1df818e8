"""`compact` as a model: the search, the two small networks, and the warps between them.

    pictures ─┬─ luma ─► dis ─► u, visibility at t ─┐
              └─ working size ─► cv2.remap ─────────┴─► flow network ─► remap ─► detail network ─► Motion with colours

The networks see pictures of a working size: small frames as they are, larger ones shrunk. What they find is a `Motion`,
flows and weight and a change of colours on maps of that size, and the frame itself is made from the source's planes at
full size. Warping is OpenCV's, which is several times faster here than a network's. On a CPU the networks run through
OpenVINO where it is installed, else, and on GPUs, through PyTorch; the two agree to rounding.
"""

from __future__ import annotations

import copy
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from betwixt.errors import UsageError
from betwixt.layers.motion import Motion
from betwixt.layers.planes import synthesize_planes
from betwixt.models.base import Image, Interpolator, MotionPair
from betwixt.models.compact import CONFIGS, SOFTNESS, Compact, fitted, start_of, working_size
from betwixt.models.dis import DIS
from betwixt.models.dis import working_size as searched_size
from betwixt.runtime import openvino
from betwixt.runtime.load import check_precision
from betwixt.runtime.torch import PRECISIONS, choose_device, cpu_computes_in_bf16
from betwixt.weights.load import load_weights

__all__ = ["CompactInterpolator"]

_Map = NDArray[Any]


class CompactInterpolator(Interpolator):
    """The models `compact` and `compact-large`.

    Args:
        weights: A file of its weights, or the network itself; torch then computes with its parameters as they are.
        device: Where the networks run.
        precision: "fp32", "bf16" or "fp16"; "auto" is bf16 through OpenVINO on a CPU that has instructions for it,
            which takes down to half of the time and changes a score by 0.001 dB, else fp32.
        engine: What they run through: "auto", "openvino" or "torch".
        name: Which of the two a file is of.
    """

    def __init__(
        self,
        weights: Path | Compact,
        device: str = "auto",
        precision: str = "fp32",
        engine: str = "auto",
        name: str = "compact",
    ) -> None:
        self.name, self.curves = name, True
        check_precision(precision, "auto")
        self.device = choose_device(device)
        if isinstance(weights, Compact):
            network = weights
        else:
            network = Compact(CONFIGS[name])
            load_weights(network, weights)
        self.network = network.to(self.device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        wanted = precision if precision != "auto" else "bf16" if cpu_computes_in_bf16() else "fp32"
        if engine == "auto":
            # What is compiled has the parameters of that moment: a network that is given goes on sharing its own.
            fits = self.device.type == "cpu" and not isinstance(weights, Compact) and openvino.available(wanted)
            engine = "openvino" if fits else "torch"
        elif engine == "openvino" and (self.device.type != "cpu" or not openvino.available(wanted)):
            raise UsageError(
                "OpenVINO runs networks on CPUs, in fp32 or bf16, and where it is installed (pip install "
                "'betwixt[openvino]'): choose another device, precision or runtime."
            )
        self.engine = engine
        self.precision = "fp32" if precision == "auto" and engine == "torch" else wanted
        self._compiled: dict[str, openvino.CompiledPart] = {}
        if engine == "openvino":
            half, state = torch.full((1, 1, 1, 1), 0.5), torch.zeros(1, network.config.flow[0], 16, 16)
            for part, module, example in (
                ("flow", network.flow, (*_example(3, 3, 2, 1), half)),
                ("detail", network.detail, (*_example(3, 3, 4, 1), state)),
            ):
                self._compiled[part] = openvino.CompiledPart(module, example, self.precision)

    def prepare(self, first: Image, second: Image) -> MotionPair:
        """Find the motion between two RGB pictures (H, W, 3), float32 in [0, 1]."""
        return _CompactPair(self, first, second)

    def run(self, part: Literal["flow", "detail"], *maps: _Map) -> list[_Map]:
        """What a part of the network makes of maps (h, w, c), float32, in the chosen precision: maps again."""
        if part in self._compiled:
            return [x[0] for x in self._compiled[part](*(np.ascontiguousarray(m, np.float32)[None] for m in maps))]
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, PRECISIONS[self.precision], enabled=self.precision != "fp32"),
        ):
            # The memory stays as it is, channels last.
            tensors = (torch.from_numpy(m).to(self.device).permute(2, 0, 1)[None] for m in maps)
            results = getattr(self.network, part)(*tensors)
            return [_array(x) for x in (results if isinstance(results, tuple) else (results,))]


class _CompactPair(MotionPair):
    """Two frames and what the search finds in them."""

    def __init__(self, owner: CompactInterpolator, first: Image, second: Image) -> None:
        self._owner, self._frames = owner, (first, second)
        height, width = first.shape[:2]
        self._size = h, w = working_size(height, width)
        # The search sees as much as the networks do: half a decibel on sharp frames over what `dis` can afford.
        ratio = max(h, searched_size(height, width)[0]) / height
        self._search = DIS(ratio, owner.network.config.thorough).prepare(first, second)
        self._scale = np.array([width / w, height / h], np.float32)
        self._pictures = [_shrunk(picture, h, w) for picture in (first, second)]
        differs = (self._pictures[0] != self._pictures[1]).any(axis=2).astype(np.uint8)
        self._changed = cv2.dilate(differs, np.ones((3, 3), np.uint8))

    def curved(
        self, before: MotionPair | None, after: MotionPair | None, spans: tuple[float, float] = (1.0, 1.0)
    ) -> _CompactPair:
        """This pair with the curved paths of `dis`, from which the networks then depart."""
        past, next_ = (side._search if isinstance(side, _CompactPair) else None for side in (before, after))
        search = self._search.curved(past, next_, spans)
        if search is self._search:
            return self
        bent = copy.copy(self)
        bent._search = search
        return bent

    def motion(self, t: float) -> Motion:
        """What the search and the networks find."""
        owner, (h, w) = self._owner, self._size
        found = self._search.motion(t)
        u, logit = start_of(found, h, w)
        # Where paths are curved, F_t0 is not -t u.
        to_0 = (fitted(found.flow_t0, h, w) if self._search.bent else np.float32(-t) * u) / self._scale
        u = u / self._scale
        padding = ((0, -h % 16), (0, -w % 16), (0, 0))
        u, logit, to_0 = (np.pad(x, padding, "edge") for x in (u, logit, to_0))
        pictures = [np.pad(picture, padding, "edge") for picture in self._pictures]
        flows = [to_0, to_0 + u if self._search.bent else np.float32(1 - t) * u]
        warped = [_warped(p, f) for p, f in zip(pictures, flows, strict=True)]
        mended, state = owner.run("flow", *warped, u, logit, np.full((1, 1, 1), t, np.float32))
        flows = [flows[0] + mended[..., 0:2], flows[1] + mended[..., 2:4]]
        logit = logit + mended[..., 4:5]
        warped = [_warped(p, f) for p, f in zip(pictures, flows, strict=True)]
        (corrections,) = owner.run("detail", *warped, np.concatenate(flows, axis=2), logit, state)
        logit = (logit + corrections[..., 4:5])[:h, :w, 0]
        weight = 1 / (1 + np.exp(-np.clip(logit, -30, 30)))
        to_0, to_1 = (flows[i] + corrections[..., 2 * i : 2 * i + 2] for i in (0, 1))
        # What neither changes nor moves stays as it is, whatever the networks think.
        alive = np.maximum(self._changed, u[:h, :w].any(axis=2))[..., None].astype(np.float32)
        changes = corrections[:h, :w, 5:] * alive
        to_0, to_1 = (np.ascontiguousarray(f[:h, :w] * alive * self._scale) for f in (to_0, to_1))
        softness = tuple(
            (sigma * float(self._scale[0]), np.ascontiguousarray(changes[..., 3 + number]))
            for number, sigma in enumerate(SOFTNESS)
        )
        return Motion(to_0, to_1, weight.astype(np.float32), np.ascontiguousarray(changes[..., :3]), softness)

    def at(self, t: float) -> Image:
        """The frame at `t`."""
        motion = self.motion(t)
        first, second = self._frames
        image: Image
        (image,) = synthesize_planes([first], [second], motion, first.shape[:2], [motion.colours])
        return image


def _example(*channels: int) -> tuple[Tensor, ...]:
    return tuple(torch.rand(1, c, 64, 64) for c in channels)


def _shrunk(picture: Image, h: int, w: int) -> Image:
    if picture.shape[:2] == (h, w):
        return picture
    return np.asarray(cv2.resize(picture, (w, h), interpolation=cv2.INTER_AREA), np.float32)


@lru_cache(maxsize=4)
def _grid(h: int, w: int) -> _Map:
    grid = np.stack(np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32)), axis=-1)
    grid.flags.writeable = False
    return grid


def _warped(picture: Image, flow: _Map) -> _Map:
    place = _grid(*flow.shape[:2]) + flow
    nothing: Any = None  # one map with both coordinates; the stubs know only the form with two
    return np.asarray(cv2.remap(picture, place, nothing, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE))


def _array(tensor: Tensor) -> _Map:
    """A tensor (1, c, h, w) as an array (h, w, c), float32."""
    return np.ascontiguousarray(tensor[0].float().permute(1, 2, 0).cpu().numpy())
