"""Resizing maps and flows, by a factor or to a size: bilinear, pixel areas aligned (not corners), as the papers do."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["resize", "resize_flow", "resize_flow_to", "resize_to"]


def resize(maps: Tensor, factor: float) -> Tensor:
    """(N, C, H, W) -> (N, C, H·factor, W·factor), rounded down."""
    if factor == 1:
        return maps
    return F.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=False)


def resize_flow(flow: Tensor, factor: float) -> Tensor:
    """The same for flows, whose pixels change with the map: values are multiplied by `factor` too."""
    return flow if factor == 1 else resize(flow, factor) * factor


def resize_to(maps: Tensor, size: Sequence[int], antialias: bool = False) -> Tensor:
    """(N, C, h, w) -> (N, C, H, W) for `size` = (H, W); with `antialias`, what shrinks is smoothed accordingly."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    if antialias:
        # Sixteen bits are not implemented everywhere.
        shrunk = F.interpolate(maps.float(), tuple(size), mode="bilinear", align_corners=False, antialias=True)
        return shrunk.to(maps.dtype)
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)


def resize_flow_to(flow: Tensor, size: Sequence[int]) -> Tensor:
    """The same for flows (N, 2k, h, w), channels x, y, x, y, ..: each is scaled as its axis is."""
    height, width = flow.shape[-2:]
    resized = resize_to(flow, size)
    x, y = resized[:, 0::2] * (size[1] / width), resized[:, 1::2] * (size[0] / height)
    return torch.stack((x, y), dim=2).flatten(1, 2)
