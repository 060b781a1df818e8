"""An interpreter of ncnn graphs and a writer of .bin files, independent of the reader that they test.

It supports the layers of RIFE and IFRNet. Weights are a list in the order of the layers, so that results depend neither
on how the package reads a .bin file nor on how it maps layers to networks.
"""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

FOLDER = Path(__file__).parents[2] / "shared" / "ncnn"


def layers(param: Path) -> list[tuple[str, list[str], list[str], dict[str, str]]]:
    """The kind, inputs, outputs and settings of each layer."""
    result = []
    for line in param.read_text().splitlines()[2:]:
        words = line.split()
        if words:
            ins, outs = int(words[2]), int(words[3])
            blobs = words[4 : 4 + ins + outs]
            result.append((words[0], blobs[:ins], blobs[ins:], dict(w.split("=", 1) for w in words[4 + ins + outs :])))
    return result


def random_weights(param: Path, seed: int, half: bool, gain: float = 1.0) -> list[list[Tensor]]:
    """Random weights of every layer that has weights; the encoder layers of both frames share theirs.

    Args:
        param: The .param file of the graph.
        seed: The random seed.
        half: Whether convolution weights are representable in float16.
        gain: Scale of the weights of transposed convolutions, which predict the flows.
    """
    generator = torch.Generator().manual_seed(seed)
    graph = layers(param)
    inputs = [outs[0] for kind, _, outs, _ in graph if kind == "Input"]
    sources: dict[str, set[str]] = {}  # the inputs of the graph that each blob depends on
    shared: dict[tuple[str, int], list[Tensor]] = {}  # the encoder's layers by kind and index
    counts: Counter[tuple[str, str]] = Counter()
    weights = []
    for kind, ins, outs, settings in graph:
        source = {outs[0]} if kind == "Input" else set().union(*(sources[blob] for blob in ins))
        sources.update(dict.fromkeys(outs, source))
        arrays = _random_arrays(kind, settings, generator, half, gain)
        if arrays is None:
            continue
        if len(source) == 1 and source < {*inputs[:2]}:
            key = (kind, next(iter(source)))
            arrays = shared.setdefault((kind, counts[key]), arrays)
            counts[key] += 1
        weights.append(arrays)
    return weights


def _random_arrays(
    kind: str, settings: dict[str, str], generator: torch.Generator, half: bool, gain: float
) -> list[Tensor] | None:
    if kind == "MemoryData":
        return [1 + 0.2 * torch.randn(int(settings["2"]), generator=generator)]
    if kind not in ("Convolution", "Deconvolution", "InnerProduct", "PReLU"):
        return None
    count = int(settings["0"])
    if kind == "PReLU":
        return [0.25 + 0.05 * torch.randn(count, generator=generator)]
    size = int(settings["2" if kind == "InnerProduct" else "6"])
    scale = (gain if kind == "Deconvolution" else 1.0) * (count / size) ** 0.5
    values = torch.randn(size, generator=generator) * scale
    arrays = [values.half().float() if half else values]
    if settings.get("1" if kind == "InnerProduct" else "5") == "1":
        arrays.append(0.05 * torch.randn(count, generator=generator))
    return arrays


def write_bin(path: Path, param: Path, weights: list[list[Tensor]], half: bool) -> None:
    """Write weights in ncnn's format, as float16 or float32."""
    remaining = iter(weights)
    with path.open("wb") as file:
        for kind, _, _, _ in layers(param):
            if kind in ("PReLU", "MemoryData"):
                file.write(next(remaining)[0].numpy().astype("<f4").tobytes())
            elif kind in ("Convolution", "Deconvolution", "InnerProduct"):
                first, *bias = next(remaining)
                data = first.numpy().astype("<f2" if half else "<f4").tobytes()
                file.write(struct.pack("<I", 0x01306B47 if half else 0) + data + b"\0" * (-len(data) % 4))
                for array in bias:
                    file.write(array.numpy().astype("<f4").tobytes())


def run(param: Path, weights: list[list[Tensor]], *inputs: Tensor) -> dict[str, Tensor]:
    """Run a graph on inputs (1, C, H, W), and return all of its blobs."""
    blobs: dict[str, Tensor] = {}
    frames, remaining = iter(inputs), iter(weights)
    for kind, ins, outs, settings in layers(param):
        if kind == "Input":
            blobs[outs[0]] = next(frames)
            continue
        if kind == "MemoryData":
            blobs[outs[0]] = next(remaining)[0].reshape(1, -1, 1, 1)
            continue
        arrays = next(remaining) if kind in ("Convolution", "Deconvolution", "InnerProduct", "PReLU") else []
        results = _compute(kind, [blobs[blob] for blob in ins], settings, arrays, len(outs))
        blobs.update(zip(outs, results, strict=True))
    return blobs


def _compute(kind: str, x: list[Tensor], settings: dict[str, str], arrays: list[Tensor], count: int) -> list[Tensor]:
    number = lambda key, default=0: type(default)(settings.get(str(key), default))  # noqa: E731
    numbers = lambda key: [float(v) for v in settings[str(key)].split(",")][1:]  # noqa: E731
    if kind == "Split":
        return x * count
    if kind in ("Convolution", "Deconvolution"):
        size, out = number(1), number(0)
        shape = (out, arrays[0].numel() // (out * size * size), size, size)
        weight, bias = arrays[0].reshape(shape), arrays[1] if len(arrays) > 1 else None
        if kind == "Convolution":
            y = F.conv2d(x[0], weight, bias, number(3, 1), number(4))
        else:
            y = F.conv_transpose2d(x[0], weight.transpose(0, 1), bias, number(3, 1), number(4))
        return [_activate(y, settings)]
    if kind == "InnerProduct":
        flat = x[0].reshape(1, -1)
        y = F.linear(flat, arrays[0].reshape(number(0), -1), arrays[1] if len(arrays) > 1 else None)
        return [_activate(y.reshape(1, -1, 1, 1), settings)]
    if kind == "PReLU":
        return [F.prelu(x[0], arrays[0])]
    if kind == "ReLU":
        return [F.leaky_relu(x[0], number(0, 0.0))]
    if kind == "Sigmoid":
        return [x[0].sigmoid()]
    if kind == "UnaryOp" and number(0) == 1:
        return [-x[0]]
    if kind == "Pooling" and number(0) == 1 and number(4) == 1:
        return [x[0].mean((2, 3), keepdim=True)]
    if kind == "PixelShuffle":
        return [F.pixel_shuffle(x[0], number(0))]
    if kind == "Interp" and number(0) == 2:
        size = [round(side * number(key, 1.0)) for side, key in zip(x[0].shape[-2:], (1, 2), strict=True)]
        return [F.interpolate(x[0], size, mode="bilinear", align_corners=False)]
    if kind == "Concat" and number(0) == 0:
        return [torch.cat(x, 1)]
    if kind == "Crop" and numbers(-23311) == [0.0]:
        return [x[0][:, int(numbers(-23309)[0]) : int(numbers(-23310)[0])]]
    if kind == "Slice":
        sizes = [int(v) for v in numbers(-23300)]
        return list(x[0].split([x[0].shape[1] - sum(sizes[:-1]) if v == -233 else v for v in sizes], 1))
    if kind == "Eltwise" and number(0) == 1:
        return [sum(a * b for a, b in zip(x, numbers(-23301), strict=True))]
    if kind == "BinaryOp":
        a, b = x[0], torch.tensor(number(2, 0.0)) if number(1) else x[1]
        return [{0: a + b, 1: a - b, 2: a * b, 3: a / b, 7: b - a}[number(0)]]
    if kind == "rife.Warp":
        return [_warp(*x)]
    if kind == "ifrnet.Warp":  # flow first, then the image
        return [_warp(*reversed(x))]
    raise NotImplementedError(kind)


def _activate(y: Tensor, settings: dict[str, str]) -> Tensor:
    kind = int(settings.get("9", 0))
    if kind == 0:
        return y
    if kind == 2:
        return F.leaky_relu(y, float(settings["-23310"].split(",")[1]))
    if kind == 4:
        return y.sigmoid()
    raise NotImplementedError(f"activation {kind}")


def _warp(image: Tensor, flow: Tensor) -> Tensor:
    """The warp layer of the ncnn ports: bilinear, with each of the four neighbours clamped to the image."""
    a, f = image[0].numpy(), flow[0].numpy()
    height, width = a.shape[1:]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x + f[0], y + f[1]
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - left).astype(np.float32), (y - top).astype(np.float32)
    x0, x1 = (np.clip(left + i, 0, width - 1) for i in (0, 1))
    y0, y1 = (np.clip(top + i, 0, height - 1) for i in (0, 1))
    above = a[:, y0, x0] * (1 - fx) + a[:, y0, x1] * fx
    below = a[:, y1, x0] * (1 - fx) + a[:, y1, x1] * fx
    return torch.from_numpy(above * (1 - fy) + below * fy)[None]
