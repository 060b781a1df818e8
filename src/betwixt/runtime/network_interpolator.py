"""`NetworkInterpolator`: a paper's network as a model, for frames of any size and times of any kind.

    image (H, W, 3) ──► tensor on the device ──► padded to the network's multiple ──► network ──► cropped ──► image

Frames with more pixels than a budget are made in overlapping tiles, which are blended where they overlap.

A network that takes masks gets them with the frames: either the given ones, or those of a source, by default the
regions of `betwixt.masks.regions`.

A network for t = 1/2 alone makes other times by recursion: the middle frame, the middle of one half, and so on, down to
1/32 of the interval. Masks follow: those of a made frame are the labels of the two frames, warped by the flows that
made it. A network for the frame after the second makes that frame only.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from betwixt.backends.backend import Backend, check_precision
from betwixt.backends.torch import choose_device, precision_context
from betwixt.errors import UsageError
from betwixt.images import check_same_size
from betwixt.layers.label_maps import LabelMapPair
from betwixt.layers.warp import backward_warp
from betwixt.models.base import Flow, Interpolator, Pair, PairBatch, check_interpolates, masks_unsupported
from betwixt.models.frame_view import Image
from betwixt.models.maps import IntermediateMap, Maps
from betwixt.models.network import MaskedNetwork, MaskPair, Network, Synthesis
from betwixt.runtime.halving import halve_towards
from betwixt.runtime.network_maps import network_maps
from betwixt.runtime.tiles import TILE_PIXELS, Tile, prepare_in_tiles

FindMasks = Callable[[NDArray[np.uint8], NDArray[np.uint8]], LabelMapPair]
"""Finds the masks of two frames (H, W, 3), uint8, RGB. It may be called from several threads at once."""

_FIRST, _SECOND = Fraction(0), Fraction(1)
"""The times of the two frames."""


class NetworkInterpolator(Interpolator):
    """A network as a model.

    Args:
        name: The model's name.
        network: The network, with its weights.
        device: The device: "auto", "cpu", "cuda" or "cuda:1".
        precision: "fp32", "bf16" or "fp16", by autocast; "auto" is fp32.
        tile: The most pixels that are made at a time; larger frames are made in tiles.
        masks: Finds masks, for a network that takes them; by default `betwixt.masks.regions.find_regions`.

    Raises:
        UsageError: if there is no such precision, or masks are given for a network that takes none.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        device: str = "auto",
        precision: str = "fp32",
        tile: int = TILE_PIXELS,
        masks: FindMasks | None = None,
    ) -> None:
        precision = "fp32" if precision == "auto" else precision
        check_precision(precision)
        self.name = name
        self.device = choose_device(device)
        self._precision = precision
        self.backend = Backend("torch", str(self.device), precision)
        self.arithmetic = f"torch {self.device.type} {precision}"
        self.network: Network = network.to(self.device).eval()
        self.scales = network.scales
        self.extrapolates = network.extrapolates
        self.interpolates = not network.extrapolates
        self._tile = tile
        self.takes_masks = isinstance(network, MaskedNetwork)
        if masks is not None and not self.takes_masks:
            raise masks_unsupported(name)
        self._find_masks = masks or _find_regions

    def _at_scale(self, scale: float) -> NetworkInterpolator:
        # Shallow copies share the weights.
        scaled, scaled.network = copy.copy(self), copy.copy(self.network)
        scaled.network.set_scale(scale)
        return scaled

    def prepare_masked(self, first: Image, second: Image, masks: LabelMapPair) -> Pair:
        """Compute what depends on the two frames and their masks alone."""
        return self.prepare(first, second, masks)

    def prepare(self, first: Image, second: Image, masks: LabelMapPair | None = None) -> Pair:
        """Compute what depends on the two frames alone.

        Args:
            first: (H, W, 3), RGB in [0, 1].
            second: (H, W, 3), RGB in [0, 1].
            masks: The masks of the two frames, for a network that takes them; found by the source if not given.

        Raises:
            InputError: if the masks differ in size from the frames.
            UsageError: if the frames differ in size, masks are given for a network that takes none, or the network only
                extrapolates.
        """
        check_interpolates(self)
        return self._prepare(first, second, masks)

    def prepare_batch(self, firsts: Sequence[Image], seconds: Sequence[Image]) -> PairBatch:
        """Like `prepare`, for several pairs of frames of one shape: as many in a pass as the pixel budget permits."""
        check_interpolates(self)
        height, width = firsts[0].shape[:2]
        count = max(1, self._tile // (height * width))
        batches: list[PairBatch] = []
        for start in range(0, len(firsts), count):
            part = slice(start, start + count)
            if len(firsts[part]) == 1:
                batches.append(PairBatch([self.prepare(firsts[start], seconds[start])]))
            else:
                first, second = (torch.cat([self._to_tensor(x) for x in images[part]]) for images in (firsts, seconds))
                masks = [self._masks_of(*pair, None) for pair in zip(firsts[part], seconds[part], strict=True)]
                pair = _NetworkPair(self, first, second, (height, width), self._to_mask_pair(masks))
                batches.append(_NetworkBatch(pair))
        return _JoinedBatch(batches)

    def next_frame(self, first: Image, second: Image) -> Image:
        """The frame as far after `second` as that is after `first`, for networks made for it."""
        if not self.extrapolates:
            return super().next_frame(first, second)
        return self.prepare_next(first, second).at(2.0)

    def prepare_next(self, first: Image, second: Image) -> Pair:
        """Compute what depends on the two frames alone, for the frame after the second."""
        return self._prepare(first, second, None)

    def _masks_of(self, first: Image, second: Image, masks: LabelMapPair | None) -> LabelMapPair | None:
        """The masks of two frames, given or found; None if the network takes none."""
        if not self.takes_masks:
            if masks is not None:
                raise masks_unsupported(self.name)
            return None
        if masks is None:
            masks = self._find_masks(_to_uint8(first), _to_uint8(second))
        masks.check_size(*first.shape[:2])
        return masks

    def _prepare(self, first: Image, second: Image, masks: LabelMapPair | None) -> Pair:
        check_same_size(first, second)
        masks = self._masks_of(first, second, masks)
        height, width = first.shape[:2]
        return prepare_in_tiles(
            height,
            width,
            self._tile,
            lambda tile: self._prepare_tile(first[tile], second[tile], masks, tile),
        )

    def _prepare_tile(
        self,
        first: Image,
        second: Image,
        masks: LabelMapPair | None,
        tile: Tile,
    ) -> _NetworkPair:
        mask_pair = None
        if masks is not None:
            cropped = LabelMapPair(masks.labels0[tile], masks.labels1[tile], masks.count, masks.source, masks.names)
            mask_pair = self._to_mask_pair([cropped])
        return _NetworkPair(self, self._to_tensor(first), self._to_tensor(second), first.shape[:2], mask_pair)

    def _to_mask_pair(self, masks: Sequence[LabelMapPair | None]) -> MaskPair | None:
        """The masks of several pairs of frames as the network takes them; None if it takes none."""
        pairs = [pair for pair in masks if pair is not None]
        if not pairs:
            return None
        labels0, labels1 = (
            torch.cat([self._to_tensor(labels[..., None])[0] for labels in maps]).long()
            for maps in ([pair.labels0 for pair in pairs], [pair.labels1 for pair in pairs])
        )
        return MaskPair(labels0, labels1, max(pair.count for pair in pairs))

    def _to_tensor(self, image: NDArray[Any]) -> Tensor:
        """(H, W, C) as (1, C, H', W') on the device, padded to the network's multiple."""
        height, width = image.shape[:2]
        multiple = self.network.multiple
        tensor = torch.from_numpy(np.ascontiguousarray(image, np.float32)).to(self.device).permute(2, 0, 1)[None]
        return F.pad(tensor, (0, -width % multiple, 0, -height % multiple), mode="replicate")

    def run(self, function: Any, *arguments: Any) -> Any:
        """Call a method of the network, without gradients, in the chosen precision."""
        with torch.inference_mode(), precision_context(self.device, self._precision):
            return function(*arguments)


def _find_regions(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> LabelMapPair:
    from betwixt.masks.regions import find_regions

    return find_regions(first, second)


def _to_uint8(image: Image) -> NDArray[np.uint8]:
    return np.asarray(np.rint(np.clip(image, 0.0, 1.0) * 255.0), np.uint8)


def _warp_labels(labels0: Tensor, labels1: Tensor, synthesis: Synthesis) -> Tensor:
    """The labels (1, H, W) of a made frame, warped from those of the two frames."""
    # Networks that take masks return flows and a mask.
    assert synthesis.flow_t0 is not None
    assert synthesis.flow_t1 is not None
    assert synthesis.mask is not None
    first, second = (
        backward_warp(labels[:, None].float(), flow.float(), mode="nearest")[:, 0].long()
        for labels, flow in ((labels0, synthesis.flow_t0), (labels1, synthesis.flow_t1))
    )
    return torch.where(synthesis.mask[:, 0] >= 0.5, first, second)


class _NetworkBatch(PairBatch):
    """Pairs that a network runs in one pass."""

    def __init__(self, pair: _NetworkPair) -> None:
        self._pair = pair

    def at(self, t: float) -> list[Image]:
        """The frame of every pair."""
        return self._pair.frames(t)


class _JoinedBatch(PairBatch):
    """Several batches as one."""

    def __init__(self, batches: Sequence[PairBatch]) -> None:
        self._batches = batches

    def at(self, t: float) -> list[Image]:
        """The frame of every pair of every batch."""
        return [image for batch in self._batches for image in batch.at(t)]


class _NetworkPair(Pair):
    """Two frames, or two batches of frames, as tensors; with what the network computed from them."""

    def __init__(
        self,
        owner: NetworkInterpolator,
        first: Tensor,
        second: Tensor,
        size: tuple[int, int],
        masks: MaskPair | None,
    ) -> None:
        self._owner, self._size = owner, size
        self._frames = {_FIRST: first, _SECOND: second}
        self._label_count = 0 if masks is None else masks.count
        self._labels = {} if masks is None else {_FIRST: masks.labels0, _SECOND: masks.labels1}
        self._prepared = {(_FIRST, _SECOND): self._prepare(_FIRST, _SECOND)}

    def _prepare(self, start: Fraction, end: Fraction) -> Any:
        """What the network computes from the frames at two times."""
        frames = (self._frames[start], self._frames[end])
        if not self._labels:
            return self._owner.run(self._owner.network.pair, *frames)
        masks = MaskPair(self._labels[start], self._labels[end], self._label_count)
        return self._owner.run(self._owner.network.pair, *frames, masks)

    def at(self, t: float) -> Image:
        """The frame at `t`; the frame after the second if the network extrapolates."""
        return self.frames(t)[0]

    def frames(self, t: float) -> list[Image]:
        """The frame at `t` of every sample of the batch."""
        frames = self._synthesize(_FIRST, _SECOND, t).frame if self._is_direct else self._middle(*self._enclose(t))
        return list(self._to_images(frames.clamp(0, 1)))

    def displacement(self, t: float) -> Flow | None:
        """The motion that the network found between the two frames; by recursion, between the two frames that frame t
        is in the middle of, as if it went on over the whole interval.
        """
        start, end = (_FIRST, _SECOND) if self._is_direct else self._enclose(t)
        synthesis = self._synthesize(start, end, t if self._is_direct else 0.5)
        if synthesis.flow_t0 is None or synthesis.flow_t1 is None:
            prepared = self._prepared[start, end]
            if getattr(prepared, "flow_01", None) is None:
                return None
            between: Flow = self._to_images((1 - t) * prepared.flow_01 - t * prepared.flow_10)[0]
            return between
        flow = (synthesis.flow_t1.float() - synthesis.flow_t0.float()) / float(end - start)
        displacement: Flow = self._to_images(flow)[0]
        return displacement

    def maps(self, t: float) -> Maps:
        """What the network returns besides the frame, and the masks it was given.

        Raises:
            UsageError: if frame t is made by recursion: its maps would be those of another pair of frames.
        """
        if not self._is_direct and t != 0.5:
            raise UsageError(
                f"The model {self._owner.name} makes the middle frame, and other times from it: its maps are those of "
                "t = 0.5."
            )
        maps = network_maps(self._synthesize(_FIRST, _SECOND, t), self._size)
        prepared = self._prepared[_FIRST, _SECOND]
        for name in ("flow_01", "flow_10"):  # networks that splat have flows between the frames
            if (flow := getattr(prepared, name, None)) is not None:
                maps[name] = IntermediateMap("flow", self._to_images(flow)[0])
        for number, time in enumerate((_FIRST, _SECOND) if self._labels else ()):
            labels = self._to_images(self._labels[time][:, None])[0, ..., 0].astype(np.uint8)
            maps[f"labels_{number}"] = IntermediateMap("labels", labels)
        return maps

    @property
    def _is_direct(self) -> bool:
        """Whether the network makes any frame that it is asked for from the two frames, without recursion."""
        return self._owner.network.any_time or self._owner.network.extrapolates

    def _to_images(self, maps: Tensor) -> NDArray[np.float32]:
        """(N, C, H', W') as (N, H, W, C) float32, without the padding."""
        height, width = self._size
        cropped = maps[:, :, :height, :width].float().permute(0, 2, 3, 1)
        return np.ascontiguousarray(cropped.cpu().numpy())

    def _synthesize(self, start: Fraction, end: Fraction, t: float) -> Synthesis:
        """The frame at the part `t` of the way from `start` to `end`."""
        owner = self._owner
        if (start, end) not in self._prepared:
            # A prepared pair can be large: besides that of the outer frames, only the current one is kept.
            self._prepared = {key: pair for key, pair in self._prepared.items() if key == (_FIRST, _SECOND)}
            self._prepared[start, end] = self._prepare(start, end)
        times = torch.full((len(self._frames[start]), 1, 1, 1), t, device=owner.device)
        synthesis: Synthesis = owner.run(owner.network.at, self._prepared[start, end], times)
        return synthesis

    def _enclose(self, t: float) -> tuple[Fraction, Fraction]:
        """The times of two frames, in the middle of which is the multiple of 1/32 nearest to `t`; both frames are made,
        by halving intervals.
        """
        *before, last = halve_towards(t)
        for interval in before:
            self._middle(*interval)
        return last

    def _middle(self, start: Fraction, end: Fraction) -> Tensor:
        """The frame halfway between two others, which is kept."""
        middle = (start + end) / 2
        if middle not in self._frames:
            synthesis = self._synthesize(start, end, 0.5)
            self._frames[middle] = synthesis.frame.float().clamp(0, 1)
            if self._labels:
                self._labels[middle] = _warp_labels(self._labels[start], self._labels[end], synthesis)
        return self._frames[middle]
