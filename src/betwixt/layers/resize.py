"""Resize maps and flows by a factor or to a size: bilinear, without aligned corners, as in the papers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(maps: Tensor, factor: float) -> Tensor:
    """(N, C, H, W) -> (N, C, H·factor, W·factor), sides rounded down."""
    if factor == 1:
        return maps
    return F.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=False)


def resize_flow(flow: Tensor, factor: float) -> Tensor:
    """A flow (N, C, H, W) in pixels -> (N, C, H·factor, W·factor) in the pixels of the new size."""
    return flow if factor == 1 else resize(flow, factor) * factor


def resize_to(maps: Tensor, size: Sequence[int], antialias: bool = False) -> Tensor:
    """(N, C, h, w) -> (N, C, H, W) for `size` = (H, W); `antialias` low-pass filters before downsampling."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    if antialias:
        # In float32, as 16-bit types are not implemented everywhere.
        resized = F.interpolate(maps.float(), tuple(size), mode="bilinear", align_corners=False, antialias=True)
        return resized.to(maps.dtype)
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)


def resize_flow_to(flow: Tensor, size: Sequence[int]) -> Tensor:
    """k flows (N, 2k, h, w), channels x, y, x, y, .. -> (N, 2k, H, W) for `size` = (H, W), in pixels of that size."""
    height, width = flow.shape[-2:]
    resized = resize_to(flow, size)
    x, y = resized[:, 0::2] * (size[1] / width), resized[:, 1::2] * (size[0] / height)
    return torch.stack((x, y), dim=2).flatten(1, 2)
