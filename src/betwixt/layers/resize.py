"""Resizing maps and flows by a factor: bilinear, pixel areas aligned (not corners), as the papers' networks do."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["resize", "resize_flow"]


def resize(maps: Tensor, factor: float) -> Tensor:
    """(N, C, H, W) -> (N, C, H·factor, W·factor), rounded down."""
    if factor == 1:
        return maps
    return F.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=False)


def resize_flow(flow: Tensor, factor: float) -> Tensor:
    """The same for flows, whose pixels change with the map: values are multiplied by `factor` too."""
    return flow if factor == 1 else resize(flow, factor) * factor
