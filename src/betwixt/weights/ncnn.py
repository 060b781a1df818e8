"""Reading ncnn models: a text of layers (.param) and their numbers (.bin), as RIFE and IFRNet are passed around.

    7767517
    160 202                                                   layers, blobs
    Convolution   conv_7   1 1   5 9   0=24 1=3 3=2 4=1 5=1 6=648
    kind          name     in out  blobs   parameters by number

The .bin holds one array after the other, in the order of the layers, without names. An array of convolution weights
begins with four bytes that say how it is kept: 0 is float32, 0x01306B47 is float16 (its end is filled up to four
bytes). Biases and PReLU slopes are float32 and have no such mark. Weights stand as (out, in, kh, kw), transposed
convolutions too.

Names mean nothing: exporters number the layers. What a layer is to a network is found by its place in the graph
(`match`): convolutions in the order in which the network calls its own, each with its kind, shape, stride, bias and the
activation behind it. An encoder that sees both frames stands in the graph twice, with the same numbers.

Nothing in the files is trusted: counts are checked against the sizes of the files before anything is read.
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
"""The files in which a RIFE with context and refinement is kept."""

_MAGIC = "7767517"
_LARGEST_TEXT = 1 << 20
"""Fifty times the largest there is; what is asked of a graph below grows with the square of its layers."""
_FLOAT16 = 0x01306B47
_FLOAT32 = (0, 0x0002C056)

_CONVOLUTIONS = ("Convolution", "Deconvolution", "InnerProduct")
_WITHOUT_WEIGHTS = frozenset(
    (
        "BinaryOp", "Clip", "Concat", "Crop", "Dropout", "Eltwise", "ExpandDims", "Flatten", "GridSample", "Input",
        "Interp", "Noop", "Padding", "Permute", "PixelShuffle", "Pooling", "ReLU", "Reduction", "Reshape", "Sigmoid",
        "Slice", "Softmax", "Split", "Squeeze", "TanH", "UnaryOp", "ifrnet.Warp", "rife.Warp",
    )
)  # fmt: skip


class MismatchError(InputError):
    """A file of weights is whole, but of another network."""


@dataclass(frozen=True)
class Layer:
    """One line of a .param file.

    Attributes:
        kind: As ncnn calls it.
        name: Of no meaning.
        bottoms: The blobs it reads.
        tops: The blobs it makes.
        values: Its parameters by number; those that hold several numbers are tuples, under their number as written
            (-23310 for the tenth).
    """

    kind: str
    name: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    values: dict[int, float | tuple[float, ...]]

    def number(self, key: int, default: int = 0) -> int:
        """A parameter that is one whole number."""
        value = self.values.get(key, default)
        return default if isinstance(value, tuple) else int(value)


@dataclass(frozen=True)
class Net:
    """A model read.

    Attributes:
        path: Of its .param file.
        layers: In the order of the file, in which every blob is made before it is read.
        arrays: By the place of a layer in `layers`: its weights, then its bias if it has one; shapes as PyTorch's.
        encoding: "fp16" or "fp32".
    """

    path: Path
    layers: tuple[Layer, ...]
    arrays: dict[int, tuple[Tensor, ...]]
    encoding: str


def is_ncnn(path: Path) -> bool:
    """Whether a file is one of an ncnn pair: .param, or a .bin that is no PyTorch checkpoint."""
    if path.suffix != ".bin" or not path.is_file():
        return path.suffix == ".param"
    with path.open("rb") as file:
        return file.read(4) != b"PK\x03\x04"


def read_ncnn(path: Path) -> dict[str, Net]:
    """The nets of a model, by either file of a pair.

    Returns:
        The one net under "", or those of `PARTS`, where `path` is one of them and the others lie beside it.

    Raises:
        InputError: if a file is missing, damaged, or of a kind that is not read here.
    """
    beside = [path.with_name(part + path.suffix) for part in PARTS]
    if path.stem in PARTS and all(other.exists() for other in beside):
        return {part: _read_pair(other) for part, other in zip(PARTS, beside, strict=True)}
    return {"": _read_pair(path)}


def _read_pair(path: Path) -> Net:
    text, numbers = path.with_suffix(".param"), path.with_suffix(".bin")
    for file, other in ((text, numbers), (numbers, text)):
        if not file.is_file():
            raise InputError(f"{other} is half of an ncnn model: {file} has to lie beside it.")
    layers = read_layers(text)
    return Net(text, layers, *_read_arrays(numbers, layers))


def read_layers(path: Path) -> tuple[Layer, ...]:
    """The layers of a .param file.

    Raises:
        InputError: if it is none, or damaged.
    """
    try:
        if path.stat().st_size > _LARGEST_TEXT:
            raise InputError(f"{path} is too large for the layers of an ncnn model.")
        lines = path.read_text("utf-8").split("\n")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {(error.strerror or 'error').lower()}.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not the text of an ncnn model (a .param file in its binary form?).") from None
    if lines[0].strip() != _MAGIC:
        raise InputError(f"{path} is no ncnn model: it does not begin with {_MAGIC}.")
    rows = [line.split() for line in lines[2:] if line.strip()]
    try:
        promised, _ = (int(word) for word in lines[1].split())
        layers = tuple(_layer(row) for row in rows)
    except (ValueError, IndexError):
        raise InputError(f"{path} is damaged: a line of it is not a layer.") from None
    if len(layers) != promised:
        raise InputError(f"{path} is cut short or damaged: it promises {promised} layers and has {len(layers)}.")
    made: set[str] = set()
    for layer in layers:
        if not made.issuperset(layer.bottoms):
            raise InputError(f"{path} is damaged: its layer {layer.name} reads what no layer before it makes.")
        # Otherwise a layer could stand behind itself.
        if made.intersection(layer.tops):
            raise InputError(f"{path} is damaged: its layer {layer.name} makes what a layer before it has made.")
        made.update(layer.tops)
    return layers


def _layer(words: Sequence[str]) -> Layer:
    kind, name, inputs, outputs = words[0], words[1], int(words[2]), int(words[3])
    blobs, settings = words[4 : 4 + inputs + outputs], words[4 + inputs + outputs :]
    if min(inputs, outputs) < 0 or len(blobs) != inputs + outputs or (kind in _CONVOLUTIONS and not outputs):
        raise ValueError(name)
    values: dict[int, float | tuple[float, ...]] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        # The tail of a sequence of sizes is written -233, a mark and not a number; it reads as one all the same.
        numbers = tuple(float(part) for part in value.split(","))
        if not all(map(math.isfinite, numbers)):
            raise ValueError(name)
        values[int(key)] = numbers[1:] if int(key) <= -23300 else numbers[0]
    return Layer(kind, name, tuple(blobs[:inputs]), tuple(blobs[inputs:]), values)


class _Numbers:
    """The .bin, read from front to back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = 0
        self.encodings: set[str] = set()
        try:
            self._bytes: Any = np.memmap(path, np.uint8, mode="r") if path.stat().st_size else np.empty(0, np.uint8)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {(error.strerror or 'error').lower()}.") from None

    @property
    def left(self) -> int:
        return len(self._bytes) - self.place

    def _take(self, size: int) -> NDArray[np.uint8]:
        if size > self.left:
            raise InputError(f"{self.path} is cut short, or of another model than the .param beside it.")
        taken: NDArray[np.uint8] = self._bytes[self.place : self.place + size]
        self.place += size
        return taken

    def plain(self, count: int) -> Tensor:
        """`count` float32."""
        return torch.from_numpy(np.frombuffer(self._take(4 * count).tobytes(), "<f4").astype(np.float32))

    def marked(self, count: int) -> Tensor:
        """`count` numbers in the encoding that the four bytes before them name."""
        mark = int.from_bytes(self._take(4).tobytes(), "little")
        if mark == _FLOAT16:
            self.encodings.add("fp16")
            halves = np.frombuffer(self._take((2 * count + 3) // 4 * 4).tobytes(), "<f2")[:count]
            return torch.from_numpy(halves.astype(np.float32))
        if mark not in _FLOAT32:
            raise InputError(
                f"{self.path} is kept in an encoding that is not read here (8 bit?), or is of another model than the "
                ".param beside it."
            )
        self.encodings.add("fp32")
        return self.plain(count)


def _read_arrays(path: Path, layers: Sequence[Layer]) -> tuple[dict[int, tuple[Tensor, ...]], str]:
    numbers = _Numbers(path)
    arrays: dict[int, tuple[Tensor, ...]] = {}
    for place, layer in enumerate(layers):
        if layer.kind in _CONVOLUTIONS:
            shape, biased = _shape(path, layer)
            weights = numbers.marked(math.prod(shape)).reshape(shape)
            if layer.kind == "Deconvolution":
                weights = weights.transpose(0, 1).contiguous()
            arrays[place] = (weights, numbers.plain(layer.number(0))) if biased else (weights,)
        elif layer.kind == "PReLU":
            arrays[place] = (numbers.plain(max(layer.number(0), 0)),)
        elif layer.kind == "MemoryData":
            sizes = [size for key in (0, 1, 11, 2) if (size := layer.number(key)) > 0]
            arrays[place] = (numbers.plain(math.prod(sizes)),)
        elif layer.kind not in _WITHOUT_WEIGHTS:
            raise InputError(f"{path} is not read here: it has a layer {layer.kind}, which no network here has.")
    if numbers.left:
        raise InputError(f"{path} holds more than its .param says: {numbers.left} bytes are left over.")
    return arrays, "+".join(sorted(numbers.encodings)) or "fp32"


def _shape(path: Path, layer: Layer) -> tuple[tuple[int, ...], bool]:
    """The shape of a layer's weights as they stand in the file, and whether a bias follows."""
    outputs = layer.number(0)
    if layer.kind == "InnerProduct":
        count, biased = layer.number(2), layer.number(1)
        kernel: tuple[int, ...] = ()
    else:
        count, biased, wide = layer.number(6), layer.number(5), layer.number(1)
        kernel = (layer.number(11, wide), wide)
    if layer.number(8) or layer.number(19):
        raise InputError(f"{path} is not read here: its layer {layer.name} is in 8 bit, or has no weights of its own.")
    if min(outputs, count, *kernel) <= 0 or count % (outputs * math.prod(kernel)):
        raise InputError(f"{path.with_suffix('.param')} is damaged: the sizes of its layer {layer.name} do not agree.")
    return (outputs, count // (outputs * math.prod(kernel)), *kernel), bool(biased)


@dataclass(frozen=True)
class _Step:
    """A convolution and what stands right behind it, in a graph or in a network.

    Attributes:
        name: Of the convolution.
        kind: As ncnn calls it.
        shape: Of its weights, as PyTorch keeps them.
        stride: Of it.
        biased: Whether it has a bias.
        slopes: How many slopes the PReLU behind it has; 0 without.
        tensors: In a graph: weights, bias, slopes and factors, where they are.
        names: In a network: what these are called there.
        skipped: In a graph: whether something is added before the PReLU.
        aside: In a graph: whether it does not follow the one before it, so that their order means nothing.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    stride: int
    biased: bool
    slopes: int
    tensors: Mapping[str, Tensor]
    names: Mapping[str, str]
    skipped: bool = False
    aside: bool = False

    def like(self, other: _Step) -> bool:
        return (self.kind, self.shape, self.stride, self.biased, self.slopes) == (
            other.kind, other.shape, other.stride, other.biased, other.slopes,
        )  # fmt: skip

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.shape))
        bias, slope = "" if self.biased else ", no bias", ", PReLU" if self.slopes else ""
        return f"{self.kind} {shape}, stride {self.stride}{bias}{slope}"


def match_layers(nets: Mapping[str, Net], network: nn.Module) -> dict[str, Tensor]:
    """The parameters of `network` out of the nets of an ncnn model, by name.

    Args:
        nets: As `read_ncnn` gives them.
        network: On any device, meta too; it is called once, on frames of zeros.

    Raises:
        MismatchError: if the graph is not this network's; it says what is the first difference.
    """
    found = [step for part in nets for step in _steps(nets[part])]
    path = next(iter(nets.values())).path
    has = sum(isinstance(module, nn.Conv2d | nn.ConvTranspose2d) for module in network.modules())
    if len(found) != has:
        raise MismatchError(f"{path} is not this network: it has {len(found)} convolutions, and the network has {has}.")
    wanted = convolutions(network)
    if "" not in nets:
        # Files in parts come in this order, whatever order the network calls its parts in.
        wanted = sorted(wanted, key=lambda step: PARTS.index(_part(step.name)))
    for number, (ours, theirs) in enumerate(zip(wanted, found, strict=True), 1):
        if not ours.like(theirs):
            raise MismatchError(
                f"{path} is not this network: its convolution {number} ({theirs.name}) is {theirs}; "
                f"here it is {ours} ({ours.name})."
            )
    for ours, theirs in zip(wanted, found, strict=True):
        if theirs.aside or ("factors" in ours.names and not theirs.skipped):
            raise MismatchError(
                f"{path} is not this network: around its convolution {theirs.name} it is wired otherwise."
            )
    parameters = dict(network.named_parameters())
    tensors: dict[str, Tensor] = {}
    for ours, theirs in zip(wanted, found, strict=True):
        for role, name in ours.names.items():
            shape = parameters[name].shape
            # Exporters multiply a factor into the convolution before it.
            value = theirs.tensors[role] if role in theirs.tensors else torch.ones(shape)
            if value.numel() != shape.numel():
                raise MismatchError(f"{path} is not this network: {theirs.name} has {value.numel()} factors.")
            tensors[name] = value.reshape(shape)
    left = [name for name in parameters if name not in tensors]
    if left:
        raise MismatchError(f"This network cannot come from an ncnn model: {left[0]} has no place in a graph.")
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
        raise MismatchError("This network cannot come from an ncnn model: it calls a convolution more than once.")
    steps: list[_Step] = []
    for place, (name, module) in enumerate(called):
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            continue
        roles = {"weight": f"{name}.weight"}
        if module.bias is not None:
            roles["bias"] = f"{name}.bias"
        behind = called[place + 1] if place + 1 < len(called) else None
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
    """The convolutions of a graph; of an encoder that is there once for each frame, the first."""
    readers = {blob: place for place, layer in enumerate(net.layers) for blob in layer.bottoms}
    makers = {blob: place for place, layer in enumerate(net.layers) for blob in layer.tops}
    inputs = [blob for layer in net.layers if layer.kind == "Input" for blob in layer.tops]
    sees: dict[str, frozenset[str]] = {blob: frozenset({blob}) for blob in inputs}
    after: dict[str, int] = dict.fromkeys(inputs, 0)  # which convolutions a blob depends on, as bits
    groups: dict[int, list[tuple[int, _Step]]] = {0: [], 1: [], 2: []}
    for place, layer in enumerate(net.layers):
        if layer.kind == "Input":
            continue
        seen: frozenset[str] = frozenset().union(*(sees[blob] for blob in layer.bottoms))
        before = 0
        for blob in layer.bottoms:
            before |= after[blob]
        if layer.kind in _CONVOLUTIONS:
            group = next((i for i in (0, 1) if len(inputs) > 1 and seen == {inputs[i]}), 2)
            aside = bool(groups[group]) and not before >> groups[group][-1][0] & 1
            groups[group].append((place, _step(net, place, aside, readers, makers)))
            before |= 1 << place
        for blob in layer.tops:
            sees[blob], after[blob] = seen, before
    first, second = ([step for _, step in groups[i]] for i in (0, 1))
    if second and not (
        len(first) == len(second)
        and all(
            a.like(b)
            and a.tensors.keys() == b.tensors.keys()
            and all(torch.equal(a.tensors[role], b.tensors[role]) for role in a.tensors)
            for a, b in zip(first, second, strict=True)
        )
    ):
        raise MismatchError(f"{net.path} is not read here: it looks at the two frames with different weights.")
    return first + [step for _, step in groups[2]]


def _step(net: Net, place: int, aside: bool, readers: Mapping[str, int], makers: Mapping[str, int]) -> _Step:
    """A convolution with what stands behind it: factors, a sum with what skips it, a PReLU."""
    layer = net.layers[place]
    tensors = dict(zip(("weight", "bias"), net.arrays[place], strict=False))
    blob, behind, skipped = layer.tops[0], place, False
    while (reader := readers.get(blob)) is not None:
        behind, blob = reader, next(iter(net.layers[reader].tops), "")
        kind, operation = net.layers[behind].kind, net.layers[behind].number(0)
        if kind == "PReLU":
            tensors["slopes"] = net.arrays[behind][0]
            break
        if kind != "BinaryOp" or len(net.layers[behind].bottoms) != 2 or operation not in (0, 2):
            break
        if operation == 0:
            skipped = True
        else:
            held = [net.arrays[makers[b]][0] for b in net.layers[behind].bottoms if _holds(net, makers[b])]
            if not held:
                break
            tensors["factors"] = held[0]
    weights = tensors["weight"]
    stride = 1 if layer.kind == "InnerProduct" else layer.number(3, 1)
    slopes = tensors["slopes"].numel() if "slopes" in tensors else 0
    shape = tuple(weights.shape)
    return _Step(layer.name, layer.kind, shape, stride, "bias" in tensors, slopes, tensors, {}, skipped, aside)


def _holds(net: Net, place: int) -> bool:
    return net.layers[place].kind == "MemoryData"
