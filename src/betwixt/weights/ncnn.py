"""Reading ncnn models: a text of layers (.param) and their numbers (.bin), the form in which RIFE and IFRNet circulate.

    7767517
    160 202                                                   layers, blobs
    Convolution   conv_7   1 1   5 9   0=24 1=3 3=2 4=1 5=1 6=648
    kind          name     in out  blobs   parameters by number

The .bin holds one array after another, in the order of the layers, without names. The weights of a convolution begin
with four bytes that state their encoding: 0 is float32, 0x01306B47 is float16 (padded to a multiple of four bytes).
Biases and PReLU slopes are float32 without such a tag. Weights have the order (out, in, kh, kw), those of transposed
convolutions too.

Names carry no information: exporters number the layers. Layers are matched to a network by their position in the graph
(`match_layers`): convolutions in the order in which the network calls its own, each by its kind, shape, stride, bias
and the activation behind it. An encoder that runs on both frames appears twice in the graph, with equal numbers.

The files are not trusted: counts are checked against file sizes before anything is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from betwixt.errors import InputError

PARTS = ("contextnet", "flownet", "fusionnet")
"""The stems of the files of a RIFE with context and refinement networks."""

_MAGIC = "7767517"
_MAX_TEXT_SIZE = 1 << 20
"""Fifty times the largest known; the work on a graph grows with the square of its layers."""
_FLOAT16_TAG = 0x01306B47
_FLOAT32_TAGS = (0, 0x0002C056)

_CONVOLUTIONS = ("Convolution", "Deconvolution", "InnerProduct")
_WITHOUT_WEIGHTS = frozenset(
    (
        "BinaryOp", "Clip", "Concat", "Crop", "Dropout", "Eltwise", "ExpandDims", "Flatten", "GridSample", "Input",
        "Interp", "Noop", "Padding", "Permute", "PixelShuffle", "Pooling", "ReLU", "Reduction", "Reshape", "Sigmoid",
        "Slice", "Softmax", "Split", "Squeeze", "TanH", "UnaryOp", "ifrnet.Warp", "rife.Warp",
    )
)  # fmt: skip


class MismatchError(InputError):
    """A weights file is intact, but of another network."""


@dataclass(frozen=True)
class Layer:
    """One line of a .param file.

    Attributes:
        kind: Its type, in ncnn's terms.
        name: Carries no information.
        bottoms: The blobs it reads.
        tops: The blobs it writes.
        values: Its parameters by number; arrays are tuples, under their number as written (-23310 for the tenth).
    """

    kind: str
    name: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    values: dict[int, float | tuple[float, ...]]

    def number(self, key: int, default: int = 0) -> int:
        """A parameter that is one integer."""
        value = self.values.get(key, default)
        return default if isinstance(value, tuple) else int(value)


@dataclass(frozen=True)
class Net:
    """A model.

    Attributes:
        path: Its .param file.
        layers: In the order of the file, in which every blob is written before it is read.
        arrays: By the index of a layer in `layers`: its weights, then its bias if it has one; in PyTorch's shapes.
        encoding: "fp16" or "fp32".
    """

    path: Path
    layers: tuple[Layer, ...]
    arrays: dict[int, tuple[Tensor, ...]]
    encoding: str


def is_ncnn(path: Path) -> bool:
    """Whether a file is part of an ncnn model: .param, or a .bin that is not a PyTorch checkpoint."""
    if path.suffix != ".bin" or not path.is_file():
        return path.suffix == ".param"
    with path.open("rb") as file:
        return file.read(4) != b"PK\x03\x04"


def read_ncnn(path: Path) -> dict[str, Net]:
    """Read an ncnn model.

    Args:
        path: Either file of a pair.

    Returns:
        The one net under "", or those of `PARTS` if `path` is one of them and the others lie beside it.

    Raises:
        InputError: if a file is missing, damaged, or has layers that are not supported.
    """
    beside = [path.with_name(part + path.suffix) for part in PARTS]
    if path.stem in PARTS and all(other.exists() for other in beside):
        return {part: _read_pair(other) for part, other in zip(PARTS, beside, strict=True)}
    return {"": _read_pair(path)}


def _read_pair(path: Path) -> Net:
    text, numbers = path.with_suffix(".param"), path.with_suffix(".bin")
    for file, other in ((text, numbers), (numbers, text)):
        if not file.is_file():
            raise InputError(f"{other} is half of an ncnn model: {file} must lie beside it.")
    layers = read_layers(text)
    return Net(text, layers, *_read_arrays(numbers, layers))


def read_layers(path: Path) -> tuple[Layer, ...]:
    """The layers of a .param file.

    Raises:
        InputError: if it is not one, or is damaged.
    """
    try:
        if path.stat().st_size > _MAX_TEXT_SIZE:
            raise InputError(f"{path} is too large for the layers of an ncnn model.")
        lines = path.read_text("utf-8").split("\n")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {(error.strerror or 'error').lower()}.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not the text of an ncnn model (a .param file in its binary form?).") from None
    if lines[0].strip() != _MAGIC:
        raise InputError(f"{path} is not an ncnn model: it does not begin with {_MAGIC}.")
    rows = [line.split() for line in lines[2:] if line.strip()]
    try:
        layer_count, _ = (int(word) for word in lines[1].split())
        layers = tuple(_layer(row) for row in rows)
    except (ValueError, IndexError):
        raise InputError(f"{path} is damaged: one of its lines is not a layer.") from None
    if len(layers) != layer_count:
        raise InputError(f"{path} is cut short or damaged: it announces {layer_count} layers and has {len(layers)}.")
    written: set[str] = set()
    for layer in layers:
        if not written.issuperset(layer.bottoms):
            raise InputError(f"{path} is damaged: its layer {layer.name} reads what no layer before it writes.")
        # Otherwise a layer could be its own input.
        if written.intersection(layer.tops):
            raise InputError(f"{path} is damaged: its layer {layer.name} writes what a layer before it has written.")
        written.update(layer.tops)
    return layers


def _layer(words: Sequence[str]) -> Layer:
    kind, name, inputs, outputs = words[0], words[1], int(words[2]), int(words[3])
    blobs, settings = words[4 : 4 + inputs + outputs], words[4 + inputs + outputs :]
    if min(inputs, outputs) < 0 or len(blobs) != inputs + outputs or (kind in _CONVOLUTIONS and not outputs):
        raise ValueError(name)
    values: dict[int, float | tuple[float, ...]] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        numbers = tuple(float(part) for part in value.split(","))
        if not all(map(math.isfinite, numbers)):
            raise ValueError(name)
        values[int(key)] = numbers[1:] if int(key) <= -23300 else numbers[0]
    return Layer(kind, name, tuple(blobs[:inputs]), tuple(blobs[inputs:]), values)


class _ArrayReader:
    """Reads a .bin file from front to back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0
        self.encodings: set[str] = set()
        try:
            self._bytes: Any = np.memmap(path, np.uint8, mode="r") if path.stat().st_size else np.empty(0, np.uint8)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {(error.strerror or 'error').lower()}.") from None

    @property
    def remaining(self) -> int:
        return len(self._bytes) - self.position

    def _take(self, size: int) -> NDArray[np.uint8]:
        if size > self.remaining:
            raise InputError(f"{self.path} is cut short, or belongs to another model than the .param beside it.")
        taken: NDArray[np.uint8] = self._bytes[self.position : self.position + size]
        self.position += size
        return taken

    def read_float32(self, count: int) -> Tensor:
        """Read `count` float32 numbers."""
        return torch.from_numpy(np.frombuffer(self._take(4 * count).tobytes(), "<f4").astype(np.float32))

    def read_tagged(self, count: int) -> Tensor:
        """Read `count` numbers in the encoding that the four bytes before them state."""
        tag = int.from_bytes(self._take(4).tobytes(), "little")
        if tag == _FLOAT16_TAG:
            self.encodings.add("fp16")
            halves = np.frombuffer(self._take((2 * count + 3) // 4 * 4).tobytes(), "<f2")[:count]
            return torch.from_numpy(halves.astype(np.float32))
        if tag not in _FLOAT32_TAGS:
            raise InputError(
                f"{self.path} has an encoding that is not supported (8 bit?), or belongs to another model than the "
                ".param beside it."
            )
        self.encodings.add("fp32")
        return self.read_float32(count)


def _read_arrays(path: Path, layers: Sequence[Layer]) -> tuple[dict[int, tuple[Tensor, ...]], str]:
    reader = _ArrayReader(path)
    arrays: dict[int, tuple[Tensor, ...]] = {}
    for index, layer in enumerate(layers):
        if layer.kind in _CONVOLUTIONS:
            shape, biased = _shape(path, layer)
            weights = reader.read_tagged(math.prod(shape)).reshape(shape)
            if layer.kind == "Deconvolution":
                weights = weights.transpose(0, 1).contiguous()
            arrays[index] = (weights, reader.read_float32(layer.number(0))) if biased else (weights,)
        elif layer.kind == "PReLU":
            arrays[index] = (reader.read_float32(max(layer.number(0), 0)),)
        elif layer.kind == "MemoryData":
            sizes = [size for key in (0, 1, 11, 2) if (size := layer.number(key)) > 0]
            arrays[index] = (reader.read_float32(math.prod(sizes)),)
        elif layer.kind not in _WITHOUT_WEIGHTS:
            raise InputError(f"{path} is not supported: it has a layer {layer.kind}, which no network here has.")
    if reader.remaining:
        raise InputError(f"{path} holds more than its .param states: {reader.remaining} bytes are left over.")
    return arrays, "+".join(sorted(reader.encodings)) or "fp32"


def _shape(path: Path, layer: Layer) -> tuple[tuple[int, ...], bool]:
    """The shape of a layer's weights in the file, and whether a bias follows."""
    outputs = layer.number(0)
    if layer.kind == "InnerProduct":
        count, biased = layer.number(2), layer.number(1)
        kernel: tuple[int, ...] = ()
    else:
        count, biased, wide = layer.number(6), layer.number(5), layer.number(1)
        kernel = (layer.number(11, wide), wide)
    if layer.number(8) or layer.number(19):
        raise InputError(f"{path} is not supported: its layer {layer.name} is in 8 bit, or has no weights of its own.")
    if min(outputs, count, *kernel) <= 0 or count % (outputs * math.prod(kernel)):
        raise InputError(f"{path.with_suffix('.param')} is damaged: the sizes of its layer {layer.name} do not agree.")
    return (outputs, count // (outputs * math.prod(kernel)), *kernel), bool(biased)


@dataclass(frozen=True)
class _Step:
    """A convolution and the operations right behind it, in a graph or in a network.

    Attributes:
        name: The name of the convolution.
        kind: Its type, in ncnn's terms.
        shape: The shape of its weights in PyTorch.
        stride: Its stride.
        biased: Whether it has a bias.
        slopes: The number of slopes of the PReLU behind it; 0 without one.
        tensors: In a graph: "weight", "bias", "slopes" and "factors", as far as they exist.
        names: In a network: the parameter names of these.
        has_skip: In a graph: whether something is added before the PReLU.
        is_parallel: In a graph: whether it does not depend on the convolution before it, so that their order carries no
            information.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    stride: int
    biased: bool
    slopes: int
    tensors: Mapping[str, Tensor]
    names: Mapping[str, str]
    has_skip: bool = False
    is_parallel: bool = False

    def matches(self, other: _Step) -> bool:
        return (self.kind, self.shape, self.stride, self.biased, self.slopes) == (
            other.kind, other.shape, other.stride, other.biased, other.slopes,
        )  # fmt: skip

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.shape))
        bias, slope = "" if self.biased else ", no bias", ", PReLU" if self.slopes else ""
        return f"{self.kind} {shape}, stride {self.stride}{bias}{slope}"


def match_layers(nets: Mapping[str, Net], network: nn.Module) -> dict[str, Tensor]:
    """The parameters of a network from an ncnn model, by name.

    Args:
        nets: As `read_ncnn` returns them.
        network: On any device, also meta; it is called once, on frames of zeros.

    Raises:
        MismatchError: if the graph is not this network's; the message states the first difference.
    """
    steps = [step for part in nets for step in _steps(nets[part])]
    path = next(iter(nets.values())).path
    count = sum(isinstance(module, nn.Conv2d | nn.ConvTranspose2d) for module in network.modules())
    if len(steps) != count:
        raise MismatchError(
            f"{path} is not this network: it has {len(steps)} convolutions, and the network has {count}."
        )
    expected = convolutions(network)
    if "" not in nets:
        # The parts come in this order, whatever order the network calls them in.
        expected = sorted(expected, key=lambda step: PARTS.index(_part(step.name)))
    for number, (ours, theirs) in enumerate(zip(expected, steps, strict=True), 1):
        if not ours.matches(theirs):
            raise MismatchError(
                f"{path} is not this network: its convolution {number} ({theirs.name}) is {theirs}; "
                f"here it is {ours} ({ours.name})."
            )
    for ours, theirs in zip(expected, steps, strict=True):
        if theirs.is_parallel or ("factors" in ours.names and not theirs.has_skip):
            raise MismatchError(
                f"{path} is not this network: around its convolution {theirs.name} it is connected differently."
            )
    parameters = dict(network.named_parameters())
    tensors: dict[str, Tensor] = {}
    for ours, theirs in zip(expected, steps, strict=True):
        for role, name in ours.names.items():
            shape = parameters[name].shape
            # Exporters fold a factor into the convolution before it.
            value = theirs.tensors[role] if role in theirs.tensors else torch.ones(shape)
            if value.numel() != shape.numel():
                raise MismatchError(f"{path} is not this network: {theirs.name} has {value.numel()} factors.")
            tensors[name] = value.reshape(shape)
    missing = [name for name in parameters if name not in tensors]
    if missing:
        raise MismatchError(
            f"This network cannot be imported from an ncnn model: {missing[0]} has no counterpart in the graph."
        )
    return tensors


def _part(name: str) -> str:
    return {"contextnet": "contextnet", "unet": "fusionnet"}.get(name.split(".")[0], "flownet")


def convolutions(network: nn.Module) -> list[_Step]:
    """The convolutions of a network in the order in which it calls them."""
    called: list[tuple[str, nn.Module]] = []
    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.PReLU)
    hooks = [
        module.register_forward_hook(lambda module, _, __, name=name: called.append((name, module)))
        for name, module in network.named_modules()
        if isinstance(module, kinds)
    ]
    device = next(network.parameters()).device
    frame = torch.zeros(1, 3, 128, 128, device=device)
    try:
        with torch.no_grad():
            network(frame, frame, torch.full((1, 1, 1, 1), 0.5, device=device))
    finally:
        for hook in hooks:
            hook.remove()
    names = [name for name, _ in called]
    if len(set(names)) < len(names):
        raise MismatchError(
            "This network cannot be imported from an ncnn model: it calls a convolution more than once."
        )
    steps: list[_Step] = []
    for index, (name, module) in enumerate(called):
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            continue
        roles = {"weight": f"{name}.weight"}
        if module.bias is not None:
            roles["bias"] = f"{name}.bias"
        behind = called[index + 1] if index + 1 < len(called) else None
        slopes = 0
        if behind is not None and isinstance(behind[1], nn.PReLU):
            roles["slopes"], slopes = f"{behind[0]}.weight", behind[1].num_parameters
        parent = name.rpartition(".")[0]
        if isinstance(getattr(network.get_submodule(parent), "beta", None), nn.Parameter):
            roles["factors"] = f"{parent}.beta"
        kind = "Deconvolution" if isinstance(module, nn.ConvTranspose2d) else "Convolution"
        shape, biased = tuple(module.weight.shape), module.bias is not None
        steps.append(_Step(name, kind, shape, int(module.stride[0]), biased, slopes, {}, roles))
    return steps


def _steps(net: Net) -> list[_Step]:
    """The convolutions of a graph; of an encoder that appears once for each frame, those of the first."""
    readers = {blob: index for index, layer in enumerate(net.layers) for blob in layer.bottoms}
    writers = {blob: index for index, layer in enumerate(net.layers) for blob in layer.tops}
    inputs = [blob for layer in net.layers if layer.kind == "Input" for blob in layer.tops]
    sources: dict[str, frozenset[str]] = {blob: frozenset({blob}) for blob in inputs}  # the inputs a blob depends on
    ancestors: dict[str, int] = dict.fromkeys(inputs, 0)  # the convolutions a blob depends on, as bits
    groups: dict[int, list[tuple[int, _Step]]] = {0: [], 1: [], 2: []}  # of frame 0 alone, of frame 1 alone, others
    for index, layer in enumerate(net.layers):
        if layer.kind == "Input":
            continue
        layer_sources: frozenset[str] = frozenset().union(*(sources[blob] for blob in layer.bottoms))
        layer_ancestors = 0
        for blob in layer.bottoms:
            layer_ancestors |= ancestors[blob]
        if layer.kind in _CONVOLUTIONS:
            group = next((i for i in (0, 1) if len(inputs) > 1 and layer_sources == {inputs[i]}), 2)
            is_parallel = bool(groups[group]) and not layer_ancestors >> groups[group][-1][0] & 1
            groups[group].append((index, _step(net, index, is_parallel, readers, writers)))
            layer_ancestors |= 1 << index
        for blob in layer.tops:
            sources[blob], ancestors[blob] = layer_sources, layer_ancestors
    first, second = ([step for _, step in groups[i]] for i in (0, 1))
    if second and not (
        len(first) == len(second)
        and all(
            a.matches(b)
            and a.tensors.keys() == b.tensors.keys()
            and all(torch.equal(a.tensors[role], b.tensors[role]) for role in a.tensors)
            for a, b in zip(first, second, strict=True)
        )
    ):
        raise MismatchError(f"{net.path} is not supported: it encodes the two frames with different weights.")
    return first + [step for _, step in groups[2]]


def _step(net: Net, index: int, is_parallel: bool, readers: Mapping[str, int], writers: Mapping[str, int]) -> _Step:
    """A convolution with the operations behind it: factors, the sum of a skip connection, a PReLU."""
    layer = net.layers[index]
    tensors = dict(zip(("weight", "bias"), net.arrays[index], strict=False))
    blob, has_skip = layer.tops[0], False
    while (reader := readers.get(blob)) is not None:
        following = net.layers[reader]
        blob = next(iter(following.tops), "")
        if following.kind == "PReLU":
            tensors["slopes"] = net.arrays[reader][0]
            break
        operation = following.number(0)
        if following.kind != "BinaryOp" or len(following.bottoms) != 2 or operation not in (0, 2):
            break
        if operation == 0:
            has_skip = True
        else:
            constants = [writers[b] for b in following.bottoms if net.layers[writers[b]].kind == "MemoryData"]
            if not constants:
                break
            tensors["factors"] = net.arrays[constants[0]][0]
    stride = 1 if layer.kind == "InnerProduct" else layer.number(3, 1)
    slopes = tensors["slopes"].numel() if "slopes" in tensors else 0
    shape = tuple(tensors["weight"].shape)
    return _Step(layer.name, layer.kind, shape, stride, "bias" in tensors, slopes, tensors, {}, has_skip, is_parallel)
