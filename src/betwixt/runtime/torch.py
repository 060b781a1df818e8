"""Networks in PyTorch: where they run, in what precision, how frames of any size and times of any kind come to them.

    picture (H, W, 3) ──► tensor on the device ──► padded to the network's multiple ──► network ──► cut ──► picture

Frames of more pixels than a budget are made in tiles that overlap; where they do, one fades into the other.

A network that was made for t = 1/2 alone does other times by recursion: the middle of the middle and so on, down to a
32nd of the interval, which is as near as anyone sees. One that was made for the frame after the second makes that one
only.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from betwixt.errors import UsageError
from betwixt.models.base import Image, Interpolator, Pair, PairBatch, check_interpolates
from betwixt.models.network import Network

__all__ = ["PRECISIONS", "TorchInterpolator", "choose_device"]

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

_DEEPEST = 5
"""Recursions for networks that only know the middle: 2^-5 of the interval."""


def choose_device(name: str) -> torch.device:
    """The device of a name: "auto" is the first CUDA device if there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


_TILE = 4096 * 2304
"""Pixels of a tile at most: frames up to 4K are made whole."""

_OVERLAP = 128
"""Pixels that neighbouring tiles share: about as far as the networks look at full size."""


class TorchInterpolator(Interpolator):
    """A network as a model.

    Args:
        name: The model's name.
        network: The network, with its weights.
        device: Where it runs.
        precision: "fp32", "bf16" or "fp16"; other than fp32, the network is autocast.
        tile: Pixels that are made at a time at most; larger frames are made in tiles.
    """

    def __init__(
        self, name: str, network: Network, device: str = "auto", precision: str = "fp32", tile: int = _TILE
    ) -> None:
        if precision not in PRECISIONS:
            raise UsageError(f"There is no precision '{precision}': choose one of {', '.join(PRECISIONS)}.")
        self.name = name
        self.device = choose_device(device)
        self.precision = precision
        self.network: Network = network.to(self.device).eval()
        self.interpolates = not network.extrapolates
        self._tile = tile

    def prepare(self, first: Image, second: Image) -> Pair:
        """Compute what depends only on the two frames."""
        check_interpolates(self)
        return self._whole(first, second)

    def prepare_batch(self, firsts: Sequence[Image], seconds: Sequence[Image]) -> PairBatch:
        """As `prepare`, for several pairs whose frames all have one shape: as many in a pass as the budget holds."""
        check_interpolates(self)
        height, width = firsts[0].shape[:2]
        count = max(1, self._tile // (height * width))
        parts: list[PairBatch] = []
        for start in range(0, len(firsts), count):
            chosen = slice(start, start + count)
            if len(firsts[chosen]) == 1:
                parts.append(PairBatch([self.prepare(firsts[start], seconds[start])]))
            else:
                first, second = (torch.cat([self._tensor(x) for x in part[chosen]]) for part in (firsts, seconds))
                parts.append(_TorchBatch(_TorchPair(self, first, second, (height, width))))
        return _Parts(parts)

    def extrapolate(self, first: Image, second: Image) -> Image:
        """The frame as far after `second` as that is after `first`, of networks made for it."""
        if not self.network.extrapolates:
            return super().extrapolate(first, second)
        return self._whole(first, second).at(2.0)

    def _whole(self, first: Image, second: Image) -> Pair:
        height, width = first.shape[:2]
        if height * width <= self._tile:
            return self._pair(first, second)
        rows, columns = _cuts(height, width, self._tile)
        places = [(slice(*row), slice(*column)) for row in rows for column in columns]
        return _TiledPair([(place, self._pair(first[place], second[place])) for place in places], (height, width))

    def _pair(self, first: Image, second: Image) -> _TorchPair:
        return _TorchPair(self, self._tensor(first), self._tensor(second), first.shape[:2])

    def _tensor(self, picture: Image) -> Tensor:
        height, width = picture.shape[:2]
        multiple = self.network.multiple
        tensor = torch.from_numpy(np.ascontiguousarray(picture, np.float32)).to(self.device).permute(2, 0, 1)[None]
        return F.pad(tensor, (0, -width % multiple, 0, -height % multiple), mode="replicate")

    def run(self, function: Any, *arguments: Any) -> Any:
        """Call a part of the network, without gradients, in the chosen precision."""
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, PRECISIONS[self.precision], enabled=self.precision != "fp32"),
        ):
            return function(*arguments)


def _cuts(height: int, width: int, budget: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Ranges of rows and of columns whose tiles overlap and hold at most `budget` pixels, as square as can be."""
    rows = columns = 1
    while True:
        tall, wide = _side(height, rows), _side(width, columns)
        # No tile is worth making that is all overlap.
        if tall * wide <= budget or max(tall, wide) <= 3 * _OVERLAP:
            return _ranges(height, rows, tall), _ranges(width, columns, wide)
        rows, columns = (rows + 1, columns) if tall >= wide else (rows, columns + 1)


def _side(length: int, count: int) -> int:
    """The side of `count` tiles that cover `length` with their overlaps."""
    return -(-(length + (count - 1) * _OVERLAP) // count)


def _ranges(length: int, count: int, side: int) -> list[tuple[int, int]]:
    if count == 1:
        return [(0, length)]
    starts = [round(i * (length - side) / (count - 1)) for i in range(count)]
    return [(start, start + side) for start in starts]


class _TiledPair(Pair):
    """A frame in tiles that overlap."""

    def __init__(self, tiles: list[tuple[tuple[slice, slice], _TorchPair]], size: tuple[int, int]) -> None:
        self._tiles, self._size = tiles, size

    def at(self, t: float) -> Image:
        """The frame at `t`: in the overlaps each tile counts the less, the nearer its edge is."""
        total = np.zeros((*self._size, 3), np.float32)
        weights = np.zeros((*self._size, 1), np.float32)
        for (rows, columns), pair in self._tiles:
            down, across = (
                _feather(part.stop - part.start, part.start > 0, part.stop < length)
                for part, length in zip((rows, columns), self._size, strict=True)
            )
            weight = (down[:, None] * across)[..., None]
            total[rows, columns] += weight * pair.at(t)
            weights[rows, columns] += weight
        total /= weights
        return total


def _feather(length: int, before: bool, after: bool) -> Image:
    """Weights along a side: 1, rising over the overlap from an edge that has a neighbour."""
    weight = np.ones(length, np.float32)
    ramp = (np.arange(_OVERLAP, dtype=np.float32) + 0.5)[:length] / _OVERLAP
    if before:
        weight[: len(ramp)] *= ramp
    if after:
        weight[-len(ramp) :] *= ramp[::-1]
    return weight


class _TorchBatch(PairBatch):
    """Pairs that a network sees together."""

    def __init__(self, pair: _TorchPair) -> None:
        self._pair = pair

    def at(self, t: float) -> list[Image]:
        """The frame of every pair."""
        return self._pair.frames(t)


class _Parts(PairBatch):
    """Batches, one after the other."""

    def __init__(self, parts: Sequence[PairBatch]) -> None:
        self._parts = parts

    def at(self, t: float) -> list[Image]:
        """The frame of every pair of every batch."""
        return [picture for part in self._parts for picture in part.at(t)]


class _TorchPair(Pair):
    """Two frames, or two batches of frames."""

    def __init__(self, owner: TorchInterpolator, first: Tensor, second: Tensor, size: tuple[int, int]) -> None:
        self._owner, self._size = owner, size
        self._frames = {Fraction(0): first, Fraction(1): second}
        self._prepared = {(Fraction(0), Fraction(1)): owner.run(owner.network.pair, first, second)}

    def at(self, t: float) -> Image:
        """The frame at `t`; the next one if the network extrapolates."""
        return self.frames(t)[0]

    def frames(self, t: float) -> list[Image]:
        """Likewise, of every sample of the batch."""
        network = self._owner.network
        direct = network.any_time or network.extrapolates
        frames = self._frame(Fraction(0), Fraction(1), t) if direct else self._middle_of(t)
        height, width = self._size
        pictures = frames[:, :, :height, :width].float().clamp(0, 1).permute(0, 2, 3, 1)
        return list(np.ascontiguousarray(pictures.cpu().numpy()))

    def _frame(self, start: Fraction, end: Fraction, t: float) -> Tensor:
        """The frame at `t`, a part of the way from `start` to `end`."""
        owner = self._owner
        if (start, end) not in self._prepared:
            # What a pair holds can be large: beside the outer two frames, only the interval at work is kept.
            self._prepared = {key: pair for key, pair in self._prepared.items() if key == (Fraction(0), Fraction(1))}
            self._prepared[start, end] = owner.run(owner.network.pair, self._frames[start], self._frames[end])
        times = torch.full((len(self._frames[start]), 1, 1, 1), t, device=owner.device)
        frame: Tensor = owner.run(owner.network.at, self._prepared[start, end], times).frame
        return frame.float()

    def _middle_of(self, t: float) -> Tensor:
        """The frame at the nearest 32nd, middle by middle; frames made on the way are kept."""
        steps = 2**_DEEPEST
        target = Fraction(min(max(round(t * steps), 1), steps - 1), steps)
        start, end = Fraction(0), Fraction(1)
        while True:
            middle = (start + end) / 2
            if middle not in self._frames:
                self._frames[middle] = self._frame(start, end, 0.5).clamp(0, 1)
            if middle == target:
                return self._frames[middle]
            start, end = (middle, end) if target > middle else (start, middle)
