"""Correlation volumes: how alike two feature maps are, for every displacement in a window.

`local_correlation` compares a pixel of the first map with the pixels around it in the second (PWC-Net's cost volume).
`fixed_window_matching` compares every pixel of a window in the first map with every pixel of the same window in the
second, as in neighbor correspondence matching (NCM): the frame in between, to which the window's centre belongs, is
not needed, and no flow that may be wrong decides where to look.

Both take means over the channels, so on standardised features (mean 0, variance 1 over the channels of a pixel) the
values are cosine similarities. Outside the maps there are zeros.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["fixed_window_matching", "local_correlation"]


def _shifts(features: Tensor, radius: int) -> list[Tensor]:
    """`features` (N, C, H, W) at x + d for all d in the window, row displacement slowest."""
    height, width = features.shape[-2:]
    padded = F.pad(features, (radius, radius, radius, radius))
    side = range(2 * radius + 1)
    return [padded[:, :, dy : dy + height, dx : dx + width] for dy in side for dx in side]


def local_correlation(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """Mean over channels of first(x) * second(x + d) for every d in [-radius, radius]².

    Returns:
        (N, (2 radius + 1)², H, W), row displacement slowest.
    """
    if torch.is_grad_enabled() and (first.requires_grad or second.requires_grad):
        volume: Tensor = _LocalCorrelation.apply(first, second, radius)  # type: ignore[no-untyped-call]
        return volume
    return _local_correlation(first, second, radius)


def _local_correlation(first: Tensor, second: Tensor, radius: int) -> Tensor:
    return torch.stack([(first * shifted).mean(dim=1) for shifted in _shifts(second, radius)], dim=1)


class _LocalCorrelation(torch.autograd.Function):
    """The same with a backward pass that accumulates in place, several times faster than the one autograd derives."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, radius: int) -> Tensor:
        ctx.save_for_backward(first, second)
        ctx.radius = radius
        return _local_correlation(first, second, radius)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        first, second = ctx.saved_tensors
        radius, (height, width) = ctx.radius, first.shape[-2:]
        gradient = gradients[0] / first.shape[1]
        padded = F.pad(second, (radius, radius, radius, radius))
        to_first, to_padded = torch.zeros_like(first), torch.zeros_like(padded)
        for i in range((2 * radius + 1) ** 2):
            dy, dx = divmod(i, 2 * radius + 1)
            window = (..., slice(dy, dy + height), slice(dx, dx + width))
            weight = gradient[:, i : i + 1]
            to_first.addcmul_(weight, padded[window])
            to_padded[window].addcmul_(weight, first)
        inside = slice(radius, radius + height), slice(radius, radius + width)
        return to_first, to_padded[(..., *inside)], None


def fixed_window_matching(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """Mean over channels of first(x + d0) * second(x + d1) for every d0 and d1 in [-radius, radius]².

    Returns:
        (N, (2 radius + 1)⁴, H, W): d0 slowest, and of each the row displacement slowest.
    """
    batch, channels, height, width = first.shape
    window = (2 * radius + 1) ** 2
    # (N, window, C, H, W) -> (N, H, W, window, C): one small matrix product for every pixel.
    a = torch.stack(_shifts(first, radius), dim=1).permute(0, 3, 4, 1, 2)
    b = torch.stack(_shifts(second, radius), dim=1).permute(0, 3, 4, 2, 1)
    volume = torch.matmul(a, b) * (1.0 / channels)
    return volume.reshape(batch, height, width, window * window).permute(0, 3, 1, 2)
