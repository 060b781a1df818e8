"""Forward warping (splatting): each pixel is laid down at the place its flow points to, on the four pixels around it.

    sum(y)    = Σ_x  b(y - (x + flow(x))) · image(x)          b(d) = max(0, 1 - |d_x|) · max(0, 1 - |d_y|)

    image, flow ──► place = pixel + flow ──► four corners: whole-pixel index, bilinear weight
                                                └──► scattered onto a canvas with a border ──► cropped ──► normalised

What several pixels share is decided by the mode (Niklaus and Liu, Softmax Splatting, CVPR 2020):

    summation   sum(image)                                      adds up; brighter where pixels meet
    average     sum(image) / sum(1)                             all that arrive count alike
    linear      sum(metric · image) / sum(metric)               weighed by a positive metric
    softmax     sum(exp(metric) · image) / sum(exp(metric))     a large metric hides a small one

Pixels that nothing reaches are 0. Where a flow leaves the frame, what lies outside is lost; a flow that is not a number
takes its pixel nowhere.

What was chosen, and why:

- Places outside are clamped onto the canvas' border instead of masked: no pixel needs a test of its own.
- The fraction comes from the flow and not from pixel + flow: it stays exact however large the frame.
- Softmax subtracts, at each target pixel, the largest metric that reaches it. The quotient is the same, exp never
  overflows, and, unlike with one maximum for the whole image, no pixel vanishes because another is far above it.
- Sums are in float32 (float64 for such inputs), whatever comes in. `scatter_add_` along the pixels needs no transposed
  copy and is as fast on a CPU as any way of adding by index. It adds in a fixed order on a CPU; on CUDA it does so
  under `torch.use_deterministic_algorithms(True)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

__all__ = ["SplatMode", "splat", "splat_with_coverage"]

SplatMode = Literal["summation", "average", "linear", "softmax"]


def splat(image: Tensor, flow: Tensor, mode: SplatMode = "average", metric: Tensor | None = None) -> Tensor:
    """Lay every pixel of `image` down at its place + `flow`; differentiable in all three tensors.

    Args:
        image: (N, C, H, W).
        flow: (N, 2, H, W), pixels, channels (x, y): from the image's time to the time of the result.
        mode: How pixels that meet share a place; see the module.
        metric: (N, 1, H, W), for "linear" (positive) and "softmax" (any finite value).

    Returns:
        (N, C, H, W) in the image's type; 0 where nothing arrives.
    """
    if mode not in get_args(SplatMode):
        raise ValueError(f"no splatting by {mode!r}: choose one of {', '.join(get_args(SplatMode))}")
    if (metric is not None) != (mode in ("linear", "softmax")):
        raise ValueError(f"splatting by {mode} {'takes no' if metric is not None else 'needs a'} metric")
    values = _wide(image)
    if mode == "summation":
        return _sums(values, flow).to(image.dtype)
    values = _with_ones(values)
    if metric is not None and mode == "linear":
        values, metric = values * metric, None
    return _quotient(_sums(values, flow, metric))[0].to(image.dtype)


def splat_with_coverage(image: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Splatting by average, and how much reaches each pixel.

    Returns:
        The image as of `splat`, and the coverage (N, 1, H, W), at least float32: the sum of the bilinear weights that
        reach a pixel. It is 1 where the flow is even, more where the image is pressed together, 0 in a hole.
    """
    average, coverage = _quotient(_sums(_with_ones(_wide(image)), flow))
    return average.to(image.dtype), coverage


def _wide(tensor: Tensor) -> Tensor:
    """In the type that sums are made in."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _with_ones(values: Tensor) -> Tensor:
    return torch.cat((values, torch.ones_like(values[:, :1])), dim=1)


def _quotient(sums: Tensor) -> tuple[Tensor, Tensor]:
    """All channels but the last divided by the last, 0 where that is 0; and the last."""
    total = sums[:, -1:]
    return sums[:, :-1] / torch.where(total == 0, 1.0, total), total


def _sums(values: Tensor, flow: Tensor, log_weight: Tensor | None = None) -> Tensor:
    """What arrives at each pixel; with `log_weight` (N, 1, H, W), up to a factor that differs from pixel to pixel."""
    batch, channels, height, width = values.shape
    # The canvas has one more row and column before the frame and two behind it: the corners of what left the frame.
    rows, columns = height + 3, width + 3
    corners: Iterable[tuple[Tensor, Tensor]] = _corners(flow.to(values.dtype))
    if log_weight is not None:
        corners = _weighed(list(corners), log_weight.to(values.dtype).flatten(2), rows * columns)
    values = values.flatten(2)
    canvas = values.new_zeros(batch, channels, rows * columns)
    for index, weight in corners:
        canvas.scatter_add_(2, index.expand(-1, channels, -1), values * weight)
    return canvas.view(batch, channels, rows, columns)[:, :, 1 : height + 1, 1 : width + 1].contiguous()


def _corners(flow: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The four whole pixels around every pixel + `flow`: index on the canvas and bilinear weight, (N, 1, H·W) each."""
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device, dtype=flow.dtype)
    y = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None]
    # From -1, where nothing of the pixel is inside any more, to W or H, where likewise nothing is.
    flow_x = flow[:, 0].nan_to_num(torch.inf).clamp(-1 - x, width - x)
    flow_y = flow[:, 1].nan_to_num(torch.inf).clamp(-1 - y, height - y)
    left, top = flow_x.detach().floor(), flow_y.detach().floor()
    right_weight, bottom_weight = (flow_x - left).flatten(1)[:, None], (flow_y - top).flatten(1)[:, None]
    first = ((y + top + 1).long() * (width + 3) + (x + left + 1).long()).flatten(1)[:, None]
    for down, weight_y in ((0, 1 - bottom_weight), (1, bottom_weight)):
        for right, weight_x in ((0, 1 - right_weight), (1, right_weight)):
            yield first + (down * (width + 3) + right), weight_y * weight_x


def _weighed(corners: list[tuple[Tensor, Tensor]], log_weight: Tensor, cells: int) -> list[tuple[Tensor, Tensor]]:
    """The corners' weights times exp(`log_weight` - the largest that reaches the same cell)."""
    lowest = torch.finfo(log_weight.dtype).min
    largest = torch.full((len(log_weight), 1, cells), lowest, device=log_weight.device, dtype=log_weight.dtype)
    for index, weight in corners:
        reaching = torch.where(weight.detach() > 0, log_weight.detach(), lowest)
        largest.scatter_reduce_(2, index, reaching, "amax")
    # A corner of weight 0 may stand above the largest; the clamp keeps its exp finite.
    return [(index, weight * (log_weight - largest.gather(2, index)).clamp(max=0).exp()) for index, weight in corners]
