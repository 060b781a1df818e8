"""Networks in PyTorch: where they run, in what precision, how frames of any size and times of any kind come to them.

    picture (H, W, 3) ──► tensor on the device ──► padded to the network's multiple ──► network ──► cut ──► picture

Frames of more pixels than a budget are made in tiles that overlap; where they do, one fades into the other.

A network that takes masks gets them with the frames: those that are given, or what a source finds, by default the
regions of `betwixt.masks.regions`.

A network that was made for t = 1/2 alone does other times by recursion: the middle of the middle and so on, down to a
32nd of the interval, which is as near as anyone sees. Masks go along: those of a frame that was made are the labels of
the two frames, moved by the flows that made it. A network that was made for the frame after the second makes that one
only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from betwixt.backends.devices import check_precision
from betwixt.backends.torch import choose_device, precision_context
from betwixt.errors import UsageError
from betwixt.layers.label_maps import LabelMapPair
from betwixt.layers.warp import backward_warp
from betwixt.models.base import Interpolator, Pair, PairBatch, check_interpolates, masks_unsupported
from betwixt.models.frame_view import Image
from betwixt.models.network import MaskedNetwork, MaskPair, Network, Synthesis

FindMasks = Callable[[NDArray[np.uint8], NDArray[np.uint8]], LabelMapPair]
"""Finds the masks of two frames (H, W, 3), uint8, RGB. It may be called from several threads at once."""

_DEEPEST = 5
"""Recursions for networks that only know the middle: 2^-5 of the interval."""


_TILE = 4096 * 2304
"""Pixels of a tile at most: frames up to 4K are made whole."""

_OVERLAP = 128
"""Pixels that neighbouring tiles share, over which one fades into the other. Flow networks look further than that."""


class NetworkInterpolator(Interpolator):
    """A network as a model.

    Args:
        name: The model's name.
        network: The network, with its weights.
        device: Where it runs.
        precision: "fp32", "bf16" or "fp16"; other than fp32, the network is autocast. "auto" is fp32.
        tile: Pixels that are made at a time at most; larger frames are made in tiles.
        masks: Where masks come from, for a network that takes them; by default `betwixt.masks.regions.find_regions`.

    Raises:
        UsageError: if there is no such precision, or masks are given to a network that takes none.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        device: str = "auto",
        precision: str = "fp32",
        tile: int = _TILE,
        masks: FindMasks | None = None,
    ) -> None:
        precision = "fp32" if precision == "auto" else precision
        check_precision(precision)
        self.name = name
        self.device = choose_device(device)
        self.precision = precision
        self.arithmetic = f"torch {self.device.type} {precision}"
        self.network: Network = network.to(self.device).eval()
        self.extrapolates = network.extrapolates
        self.interpolates = not network.extrapolates
        self._tile = tile
        self.takes_masks = isinstance(network, MaskedNetwork)
        if masks is not None and not self.takes_masks:
            raise masks_unsupported(name)
        self._masks = masks or _regions

    def prepare_masked(self, first: Image, second: Image, masks: LabelMapPair) -> Pair:
        """As `prepare`, with masks of the two frames."""
        return self.prepare(first, second, masks)

    def prepare(self, first: Image, second: Image, masks: LabelMapPair | None = None) -> Pair:
        """Compute what depends only on the two frames.

        Args:
            first: (H, W, 3), RGB in [0, 1].
            second: The same.
            masks: Of the two frames, for a network that takes them; found by the source if they are not given.

        Raises:
            InputError: if the masks are of another size.
            UsageError: if the frames differ in size, masks are given to a network that takes none, or the network only
                extrapolates.
        """
        check_interpolates(self)
        return self._whole(first, second, masks)

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
                found = [self._found(*pair, None) for pair in zip(firsts[chosen], seconds[chosen], strict=True)]
                parts.append(_TorchBatch(_TorchPair(self, first, second, (height, width), self._labels(found))))
        return _Parts(parts)

    def next_frame(self, first: Image, second: Image) -> Image:
        """The frame as far after `second` as that is after `first`, of networks made for it."""
        if not self.extrapolates:
            return super().next_frame(first, second)
        return self._whole(first, second, None).at(2.0)

    def _found(self, first: Image, second: Image, masks: LabelMapPair | None) -> LabelMapPair | None:
        """The masks of two frames, if the network takes any: those that are given, or what the source finds."""
        if not self.takes_masks:
            if masks is not None:
                raise masks_unsupported(self.name)
            return None
        if masks is None:
            masks = self._masks(_eight_bit(first), _eight_bit(second))
        masks.check_size(*first.shape[:2])
        return masks

    def _whole(self, first: Image, second: Image, masks: LabelMapPair | None) -> Pair:
        if first.shape != second.shape:
            raise UsageError("The two frames differ in size: scale one to the other's size first.")
        height, width = first.shape[:2]
        masks = self._found(first, second, masks)
        if height * width <= self._tile:
            return self._pair(first, second, masks)
        rows, columns = _cuts(height, width, self._tile)
        places = [(slice(*row), slice(*column)) for row in rows for column in columns]
        return _TiledPair(
            [(place, self._pair(first[place], second[place], masks, place)) for place in places], (height, width)
        )

    def _pair(
        self,
        first: Image,
        second: Image,
        masks: LabelMapPair | None,
        place: tuple[slice, slice] = (slice(None), slice(None)),
    ) -> _TorchPair:
        labels = None
        if masks is not None:
            cut = LabelMapPair(masks.labels0[place], masks.labels1[place], masks.count, masks.source, masks.names)
            labels = self._labels([cut])
        return _TorchPair(self, self._tensor(first), self._tensor(second), first.shape[:2], labels)

    def _labels(self, masks: Sequence[LabelMapPair | None]) -> MaskPair | None:
        """Masks of several pairs of frames, as the network takes them; None where there are none."""
        given = [each for each in masks if each is not None]
        if not given:
            return None
        labels0, labels1 = (
            torch.cat([self._tensor(labels[..., None])[0] for labels in maps]).long()
            for maps in ([each.labels0 for each in given], [each.labels1 for each in given])
        )
        return MaskPair(labels0, labels1, max(each.count for each in given))

    def _tensor(self, picture: NDArray[Any]) -> Tensor:
        height, width = picture.shape[:2]
        multiple = self.network.multiple
        tensor = torch.from_numpy(np.ascontiguousarray(picture, np.float32)).to(self.device).permute(2, 0, 1)[None]
        return F.pad(tensor, (0, -width % multiple, 0, -height % multiple), mode="replicate")

    def run(self, function: Any, *arguments: Any) -> Any:
        """Call a part of the network, without gradients, in the chosen precision."""
        with torch.inference_mode(), precision_context(self.device, self.precision):
            return function(*arguments)


def _regions(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> LabelMapPair:
    from betwixt.masks.regions import find_regions

    return find_regions(first, second)


def _eight_bit(picture: Image) -> NDArray[np.uint8]:
    return np.asarray(np.rint(np.clip(picture, 0.0, 1.0) * 255.0), np.uint8)


def _carried(labels0: Tensor, labels1: Tensor, made: Synthesis) -> Tensor:
    """The labels (1, H, W) of a frame that was made, from those of the frames it was made of."""
    # Networks that take masks have flows and a mask.
    assert made.flow_t0 is not None
    assert made.flow_t1 is not None
    assert made.mask is not None
    first, second = (
        backward_warp(labels[:, None].float(), flow.float(), mode="nearest")[:, 0].long()
        for labels, flow in ((labels0, made.flow_t0), (labels1, made.flow_t1))
    )
    return torch.where(made.mask[:, 0] >= 0.5, first, second)


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

    def __init__(
        self, owner: NetworkInterpolator, first: Tensor, second: Tensor, size: tuple[int, int], masks: MaskPair | None
    ) -> None:
        self._owner, self._size = owner, size
        self._frames = {Fraction(0): first, Fraction(1): second}
        self._count = 0 if masks is None else masks.count
        self._labels = {} if masks is None else {Fraction(0): masks.labels0, Fraction(1): masks.labels1}
        self._prepared = {(Fraction(0), Fraction(1)): self._pair(Fraction(0), Fraction(1))}

    def _pair(self, start: Fraction, end: Fraction) -> Any:
        """What the network knows of two frames."""
        frames = (self._frames[start], self._frames[end])
        if not self._labels:
            return self._owner.run(self._owner.network.pair, *frames)
        masks = MaskPair(self._labels[start], self._labels[end], self._count)
        return self._owner.run(self._owner.network.pair, *frames, masks)

    def at(self, t: float) -> Image:
        """The frame at `t`; the next one if the network extrapolates."""
        return self.frames(t)[0]

    def frames(self, t: float) -> list[Image]:
        """Likewise, of every sample of the batch."""
        network = self._owner.network
        direct = network.any_time or network.extrapolates
        frames = self._made(Fraction(0), Fraction(1), t).frame if direct else self._middle_of(t)
        height, width = self._size
        pictures = frames[:, :, :height, :width].float().clamp(0, 1).permute(0, 2, 3, 1)
        return list(np.ascontiguousarray(pictures.cpu().numpy()))

    def _made(self, start: Fraction, end: Fraction, t: float) -> Synthesis:
        """The frame at `t`, a part of the way from `start` to `end`."""
        owner = self._owner
        if (start, end) not in self._prepared:
            # What a pair holds can be large: beside the outer two frames, only the interval at work is kept.
            self._prepared = {key: pair for key, pair in self._prepared.items() if key == (Fraction(0), Fraction(1))}
            self._prepared[start, end] = self._pair(start, end)
        times = torch.full((len(self._frames[start]), 1, 1, 1), t, device=owner.device)
        made: Synthesis = owner.run(owner.network.at, self._prepared[start, end], times)
        return made

    def _middle_of(self, t: float) -> Tensor:
        """The frame at the nearest 32nd, middle by middle; frames made on the way are kept."""
        steps = 2**_DEEPEST
        target = Fraction(min(max(round(t * steps), 1), steps - 1), steps)
        start, end = Fraction(0), Fraction(1)
        while True:
            middle = (start + end) / 2
            if middle not in self._frames:
                made = self._made(start, end, 0.5)
                self._frames[middle] = made.frame.float().clamp(0, 1)
                if self._labels:
                    self._labels[middle] = _carried(self._labels[start], self._labels[end], made)
            if middle == target:
                return self._frames[middle]
            start, end = (middle, end) if target > middle else (start, middle)
