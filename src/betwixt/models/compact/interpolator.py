"""`compact` as a model: the search, the two small networks, and the warps between them.

    pictures ─┬─ luma ─► dis ─► u, visibility at t ─┐
              └─ working size ─► cv2.remap ─────────┴─► flow network ─► remap ─► detail network ─► Motion with colours

The networks see pictures of a working size: small frames as they are, larger ones shrunk. What they find is a
`FrameMotion`, flows and weight and a change of colours on maps of that size, and the frame itself is made from the
source's planes at full size. Warping is OpenCV's, which is several times faster here than a network's. On a CPU the
networks run through OpenVINO where it is installed, else, and on GPUs, through PyTorch; the two agree to rounding.
PyTorch is loaded only where it computes, or to compile the networks for the first time.
"""

from __future__ import annotations

import copy
import hashlib
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.backends import openvino
from betwixt.backends.activation_ranges import ranges_file, read_activation_ranges
from betwixt.backends.devices import check_precision, is_cpu
from betwixt.errors import InputError, UsageError
from betwixt.files import file_hash
from betwixt.layers.motion import FrameMotion
from betwixt.layers.planes import synthesize_planes
from betwixt.models.base import Image, Interpolator, MotionPair
from betwixt.models.compact.config import CONFIGS, SOFTNESS, initial_motion, network_size, resize_map
from betwixt.models.dis.interpolator import DIS, search_size
from betwixt.models.frame_view import FrameView, ImageView
from betwixt.version import __version__

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = [
    "CompactInterpolator",
    "CompactPair",
    "Last",
    "choose_engine",
    "choose_precision",
    "describe_arithmetic",
    "downsample2x",
    "pad_to_multiple",
    "quantize",
    "sigmoid",
    "source",
    "warp_images",
    "weights_digest",
]

_Map = NDArray[Any]
_Part = Literal["flow", "detail"]

Last = dict[_Part, tuple[tuple[int, ...], tuple[int, ...]]]
"""Of each part, the arguments and the results that OpenVINO has with their channels last."""


class CompactInterpolator(Interpolator):
    """The models `compact` and `compact-large`.

    Args:
        weights: A file of its weights, or the network itself; torch then computes with its parameters as they are.
        device: Where the networks run.
        precision: "fp32", "bf16", "fp16" or "int8", that is eight bits for the convolutions of weights whose reaches
            are known (`weights.reaches`), through OpenVINO; "auto" is there what takes the least time, which changes a
            score by a hundredth of a decibel, else fp32.
        engine: What they run through: "auto", "openvino" or "torch".
        name: Which of the two a file is of.
    """

    _last: ClassVar[Last] = {"flow": ((0, 1), (1,)), "detail": ((0, 1, 4), (0,))}
    _sources: tuple[str, ...] = ("betwixt.models.compact.network", "betwixt.backends.fake_quant")
    """The modules that define the networks."""

    def __init__(
        self,
        weights: Path | nn.Module,
        device: str = "auto",
        precision: str = "fp32",
        engine: str = "auto",
        name: str = "compact",
    ) -> None:
        self.name, self.uses_neighbours = name, True
        check_precision(precision, "auto", "int8")
        self._weights, self._device = weights, device
        given = None if isinstance(weights, Path) else weights
        self.config: Any = self._configured() if given is None else given.config
        # What is compiled has the parameters of that moment: a network that is given goes on sharing its own.
        self.engine = choose_engine(engine, device, precision, given is not None)
        self.precision, self._activation_ranges = choose_precision(precision, self.engine, weights)
        where = "openvino" if self.engine == "openvino" else f"torch {self.device.type}"
        self.arithmetic = describe_arithmetic(where, self.precision, self._activation_ranges)
        self._compiled: dict[_Part, openvino.CompiledModule] = {}
        self._mine = threading.local()
        if self.engine == "openvino":
            sources = [source(module) for module in self._sources]
            content = repr((self.config, weights_digest(weights), __version__, *sources, self._activation_ranges))
            for part in ("flow", "detail"):
                self._compiled[part] = openvino.CompiledModule(
                    part + content, partial(self._traced, part), self.precision, *self._last[part]
                )
            if given is None:
                # What is compiled has the weights in it.
                self.__dict__.pop("parts", None)
                self.__dict__.pop("network", None)
        else:
            self.parts  # noqa: B018 - what is wrong with the weights is said now

    @cached_property
    def device(self) -> torch.device:
        """Where the networks run."""
        from betwixt.backends.torch import choose_device

        return choose_device(self._device)

    def _configured(self) -> Any:
        """The hyper-parameters of the weights that ship."""
        return CONFIGS[self.name]

    def _made(self) -> nn.Module:
        """The networks without weights."""
        from betwixt.models.compact.network import Compact

        return Compact(self.config)

    @cached_property
    def network(self) -> Any:
        """The networks in PyTorch."""
        import torch

        from betwixt.weights.load import load_weights

        if isinstance(self._weights, Path):
            network = self._made()
            load_weights(network, self._weights)
            quantize(network, self._activation_ranges, self._weights)
        else:
            network = self._weights
        laid_out: Any = network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return laid_out.eval()

    @cached_property
    def parts(self) -> dict[_Part, torch.nn.Module]:
        """The parts of the networks, as they are called here."""
        from betwixt.models.compact.network import DetailPart, FlowPart

        return {"flow": FlowPart(self.network.flow), "detail": DetailPart(self.network.detail)}

    def _traced(self, part: _Part) -> tuple[torch.nn.Module, list[torch.Tensor]]:
        """A part, and small arguments to trace it with."""
        import torch

        pictures, logit = [torch.rand(1, 3, 64, 64)] * 2, torch.rand(1, 1, 64, 64)
        if part == "flow":
            maps = [torch.rand(1, 2, 32, 32), logit, torch.full((1, 1, 1, 1), 0.5)]
        else:
            maps = [torch.rand(1, 4, 32, 32), logit, torch.zeros(1, self.config.flow[0], 16, 16)]
        return self.parts[part], [*pictures, *maps]

    def networks(self) -> dict[Path, nn.Module]:
        """The networks, by the files of their weights; the first is its own."""
        assert isinstance(self._weights, Path)
        return {self._weights: self.network}

    def prepare(self, first: Image, second: Image) -> MotionPair:
        """Find the motion between two RGB pictures (H, W, 3), float32 in [0, 1]."""
        return self.prepare_views(ImageView(first), ImageView(second))

    def prepare_views(self, first: FrameView, second: FrameView) -> MotionPair:
        """Find the motion between two frames, of which it takes the luma and a picture of the working size."""
        return CompactPair(self, first, second)

    def set_concurrency(self, threads: int) -> None:
        """Let each of so many threads have the networks to itself, with its part of the processors.

        Two that compute a frame each take less time than two that share each layer of both.
        """
        for part in self._compiled.values():
            part.streams = max(1, threads)

    def run(self, part: _Part, pictures: Sequence[_Map], *maps: _Map) -> list[_Map]:
        """What a part of the network makes of pictures (h, w, 3) and of maps (c, ..): maps again, float32.

        They are good until this thread asks for the same again. Their memory may have the channels last.
        """
        if part in self._compiled:
            last, last_made = self._last[part]
            given: list[_Map] = [*pictures, *maps]
            for i in range(len(pictures), len(given)):
                if i in last:
                    given[i] = given[i].transpose(1, 2, 0)
            found = self._compiled[part](*(np.ascontiguousarray(x, np.float32)[None] for x in given))
            return [x[0].transpose(2, 0, 1) if i in last_made else x[0] for i, x in enumerate(found)]
        from betwixt.backends.torch import run_module

        return run_module(self.parts[part], self.device, self.precision, pictures, maps)

    def planes(self, maps: _Map) -> _Map:
        """What a part has made, (c, h, w), map after map in memory; good until this thread asks for the same again."""
        if maps.flags.c_contiguous:
            return maps
        buffer: _Map | None = getattr(self._mine, "planes", None)
        if buffer is None or buffer.shape != maps.shape:
            # Fresh memory for each frame would take longer than to fill it.
            buffer = self._mine.planes = np.empty(maps.shape, np.float32)
        cv2.split(maps.transpose(1, 2, 0), list(buffer))
        return buffer


class CompactPair(MotionPair):
    """Two frames and what the search finds in them."""

    _multiple = 16
    """Of what the sides of the networks' pictures are multiples."""

    def __init__(self, owner: CompactInterpolator, first: FrameView, second: FrameView) -> None:
        self._owner, self._frames = owner, (first, second)
        height, width = first.luma.shape
        self._size = h, w = network_size(height, width)
        config = owner.config
        lines = max(round(config.searched * h), search_size(height, width)[0])
        self._search = DIS(lines / height, config.search).prepare_views(first, second)
        self._scale = width / w, height / h
        pictures = [frame.image_at(h, w) for frame in (first, second)]
        difference = cv2.transform(cv2.absdiff(*pictures), np.ones((1, 3), np.float32))
        self._changed = cv2.dilate((difference > 0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        self._pictures = [pad_to_multiple(picture, self._multiple) for picture in pictures]

    def with_neighbours(
        self, before: MotionPair | None, after: MotionPair | None, spans: tuple[float, float] = (1.0, 1.0)
    ) -> CompactPair:
        """This pair with the curved paths of `dis`, from which the networks then depart."""
        past, next_ = (side._search if isinstance(side, CompactPair) else None for side in (before, after))
        search = self._search.with_neighbours(past, next_, spans)
        if search is self._search:
            return self
        bent = copy.copy(self)
        bent._search = search
        return bent

    def motion(self, t: float) -> FrameMotion:
        """What the search and the networks find."""
        owner, (h, w) = self._owner, self._size
        found = self._search.motion(t)
        u, logit = initial_motion(found, h, w)
        u = self._planar(u)
        moved = (u[0] != 0) | (u[1] != 0)
        # Where paths are curved, F_t0 is not -t u.
        to_0 = self._planar(resize_map(found.flow_t0, h, w)) if self._search.is_curved else np.float32(-t) * u
        flows = np.stack((to_0, to_0 + u if self._search.is_curved else np.float32(1 - t) * u))
        logit = pad_to_multiple(logit[..., 0], self._multiple)
        given = downsample2x(u), logit[None], np.full((1, 1, 1), t, np.float32)
        # What the flow network sees at a quarter of the size need not be as sharp.
        change, state = owner.run("flow", self._warped(flows, cv2.INTER_LINEAR), *given)
        change = np.stack([cv2.resize(x, logit.shape[::-1], interpolation=cv2.INTER_LINEAR) for x in change])
        flows += change[:4].reshape(flows.shape)
        logit = logit + change[4]
        given = downsample2x(flows.reshape(4, *logit.shape)), logit[None], state
        change = owner.planes(*owner.run("detail", self._warped(flows), *given))
        flows += change[:4].reshape(flows.shape)
        weight = sigmoid(logit + change[4])
        # What neither changes nor moves stays as it is, whatever the networks think.
        alive = (self._changed | moved[:h, :w]).astype(np.float32)
        to_0, to_1 = (self._flow(flow, alive) for flow in flows)
        *colours, soft_1, soft_2 = (x[:h, :w] * alive for x in change[5:])
        softness = tuple((s * self._scale[0], x) for s, x in zip(SOFTNESS, (soft_1, soft_2), strict=True))
        return FrameMotion(to_0, to_1, weight[:h, :w], cv2.merge(colours), softness)

    def _flow(self, planar: _Map, alive: _Map) -> _Map:
        """A flow (2, h, w) of the networks as it is told: (h, w, 2) in pixels of the frame, without what is padded."""
        h, w = self._size
        told: _Map = cv2.merge([x[:h, :w] * alive * np.float32(s) for x, s in zip(planar, self._scale, strict=True)])
        return told

    def _planar(self, flow: _Map) -> _Map:
        """A flow (h, w, 2) in pixels of the frame, as the networks want it: (2, h, w), in their pixels, padded."""
        parts = zip(cv2.split(flow), self._scale, strict=True)
        return np.stack([pad_to_multiple(x * np.float32(1 / s), self._multiple) for x, s in parts])

    def _warped(self, flows: _Map, method: int = cv2.INTER_CUBIC) -> list[_Map]:
        """Both pictures, warped by their flows (2, 2, h, w)."""
        return warp_images(self._pictures, flows, method)

    def at(self, t: float) -> Image:
        """The frame at `t`."""
        motion = self.motion(t)
        first, second = (frame.picture for frame in self._frames)
        image: Image
        (image,) = synthesize_planes([first], [second], motion, first.shape[:2], [motion.colours])
        return image


def choose_engine(engine: str, device: str, precision: str, given: bool) -> str:
    """What a network runs through: "openvino" or "torch", of which "auto" is the faster.

    Args:
        engine: What is asked for.
        device: Where it is to run.
        precision: In what; "auto" is anything.
        given: Whether the network itself is given, and not a file of its weights.

    Raises:
        UsageError: if that cannot be had together.
    """
    able = is_cpu(device) and openvino.supports_precision(precision)
    if engine == "auto":
        engine = "openvino" if able and not given else "torch"
    elif engine == "openvino" and not able:
        raise UsageError(
            "OpenVINO runs networks on CPUs, in fp32, bf16 or int8, and where it is installed (pip install "
            "'betwixt[openvino]'): choose another device, precision or runtime."
        )
    if precision == "int8" and given:
        raise UsageError("Networks compute in int8 by files of their weights: give one, or choose another precision.")
    if precision == "int8" and engine == "torch":
        raise UsageError(
            "Networks compute in int8 on CPUs, through OpenVINO (pip install 'betwixt[openvino]'): choose another "
            "device, precision or runtime."
        )
    return engine


def choose_precision(precision: str, engine: str, weights: Path | nn.Module) -> tuple[str, Mapping[str, float] | None]:
    """In what a network computes, and for int8 the reaches of its weights; "auto" is what takes the least time.

    Raises:
        UsageError: if it is to be int8 and the reaches are not known.
        InputError: if they are damaged.
    """
    if engine == "torch":
        return ("fp32" if precision == "auto" else precision), None
    wanted = openvino.fastest_precision(int8=True) if precision == "auto" else precision
    activation_ranges = read_activation_ranges(weights) if wanted == "int8" and isinstance(weights, Path) else None
    if wanted == "int8" and activation_ranges is None:
        if precision == "int8":
            raise UsageError(
                f"What {weights} needs in int8 is not known: measure it with betwixt weights calibrate, or choose "
                "another precision."
            )
        wanted = openvino.fastest_precision(int8=False)
    return wanted, activation_ranges


def quantize(network: nn.Module, activation_ranges: Mapping[str, float] | None, weights: Path) -> None:
    """Round a network to eight bits by the reaches of its weights, if there are any.

    Raises:
        InputError: if they are of another network.
    """
    if activation_ranges is None:
        return
    from betwixt.backends.fake_quant import quantize_network

    try:
        quantize_network(network, activation_ranges)
    except ValueError as error:
        raise InputError(f"{ranges_file(weights)} is of another network: {error}") from None


def describe_arithmetic(where: str, precision: str, activation_ranges: Mapping[str, float] | None) -> str:
    """See `Interpolator.arithmetic`."""
    known = (
        ""
        if activation_ranges is None
        else hashlib.sha256(repr(sorted(activation_ranges.items())).encode()).hexdigest()[:12]
    )
    return f"{where} {precision} {known}".rstrip()


def weights_digest(weights: Path | nn.Module) -> str:
    """What tells these weights from others."""
    if isinstance(weights, Path):
        return file_hash(weights)
    digest = hashlib.sha256()
    for tensor in weights.state_dict().values():
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def source(module: str) -> str:
    """The text that defines a module, which is not loaded for it: what a network computes may change by it."""
    spec = find_spec(module)
    try:
        return Path(spec.origin or "").read_text(encoding="utf-8") if spec is not None else ""
    except (OSError, UnicodeDecodeError):
        return ""


def pad_to_multiple(values: _Map, multiple: int) -> _Map:
    """(h, w) or (h, w, c) with the last row and column repeated, up to multiples of a number."""
    h, w = values.shape[:2]
    below, beside = -h % multiple, -w % multiple
    if not (below or beside):
        return values
    return np.asarray(cv2.copyMakeBorder(values, 0, below, 0, beside, cv2.BORDER_REPLICATE), np.float32)


def sigmoid(logit: _Map) -> _Map:
    """Weights, float32, of their logits."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logit, -30, 30))), np.float32)


def downsample2x(maps: _Map) -> _Map:
    """(c, h, w), the mean of two by two: (c, h/2, w/2)."""
    size = maps.shape[2] // 2, maps.shape[1] // 2
    return np.stack([cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in maps])


def warp_images(pictures: Sequence[_Map], flows: _Map, method: int) -> list[_Map]:
    """Two pictures (h, w, 3), each read at every pixel plus its flow, (2, 2, h, w) in pixels."""
    columns, rows = _grid(*flows.shape[2:])
    how: Any = {"interpolation": method, "borderMode": cv2.BORDER_REPLICATE}
    return [
        np.asarray(cv2.remap(picture, x + columns, y + rows, **how))
        for picture, (x, y) in zip(pictures, flows, strict=True)
    ]


@lru_cache(maxsize=4)
def _grid(h: int, w: int) -> tuple[_Map, _Map]:
    """The place of each column (w) and row (h, 1)."""
    return np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32)[:, None]
