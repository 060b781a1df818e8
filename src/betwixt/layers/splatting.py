"""Forward warping (splatting): each pixel is spread over the four pixels around the position its flow points to.

    sum(y)    = Σ_x  b(y - (x + flow(x))) · image(x)          b(d) = max(0, 1 - |d_x|) · max(0, 1 - |d_y|)

    image, flow ──► position = pixel + flow ──► four corners: integer index, bilinear weight
                                                   └──► scatter onto a canvas with a border ──► crop ──► normalise

The mode says how pixels that arrive at the same position are combined (Niklaus and Liu, Softmax Splatting, CVPR 2020):

    summation   sum(image)                                      the sum; brighter where pixels meet
    average     sum(image) / sum(1)                             the mean
    linear      sum(metric · image) / sum(metric)               the mean, weighted by a positive metric
    softmax     sum(exp(metric) · image) / sum(exp(metric))     a large metric occludes a small one

Pixels that nothing reaches are 0. What leaves the image is dropped, and so are pixels whose flow is NaN.

Implementation:

- Positions outside are clamped onto the border of the canvas instead of masked: no pixel needs a test of its own.
- The bilinear fraction comes from the flow and not from pixel + flow, so that it stays exact in a large image.
- Softmax subtracts, at each target pixel, the largest metric that reaches it. The quotient is the same, exp never
  overflows, and, unlike with one maximum for the whole image, no pixel vanishes because another one is far above it.
- Sums are in float32 (float64 for such inputs), whatever the input's type. `scatter_add_` along the pixels needs no
  transposed copy and is as fast on a CPU as any way of adding by index. It adds in a fixed order on a CPU; on CUDA it
  does so under `torch.use_deterministic_algorithms(True)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

from betwixt.layers.precision import at_least_float32

SplatMode = Literal["summation", "average", "linear", "softmax"]


def splat(image: Tensor, flow: Tensor, mode: SplatMode = "average", metric: Tensor | None = None) -> Tensor:
    """Forward-warp `image` by `flow`; differentiable in all three tensors.

    Args:
        image: (N, C, H, W).
        flow: (N, 2, H, W), pixels, channels (x, y): from the image's time to the time of the result.
        mode: How pixels that arrive at the same position are combined; see the module's docstring.
        metric: (N, 1, H, W), for "linear" (positive) and "softmax" (any finite value).

    Returns:
        (N, C, H, W) in the type of `image`; 0 where nothing arrives.

    Raises:
        ValueError: if there is no such mode, or a metric is missing or superfluous.
    """
    if mode not in get_args(SplatMode):
        raise ValueError(f"no splatting by {mode!r}: choose one of {', '.join(get_args(SplatMode))}")
    if (metric is not None) != (mode in ("linear", "softmax")):
        raise ValueError(f"splatting by {mode} {'takes no' if metric is not None else 'needs a'} metric")
    values = at_least_float32(image)
    if mode == "summation":
        return _sums(values, flow).to(image.dtype)
    values = _with_ones(values)
    if metric is not None and mode == "linear":
        values, metric = values * metric, None
    return _quotient(_sums(values, flow, metric))[0].to(image.dtype)


def splat_with_coverage(image: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Splat by average, and measure how much reaches each pixel.

    Returns:
        The splatted image, as of `splat`, and the coverage (N, 1, H, W), at least float32: the sum of the bilinear
        weights that reach a pixel. It is 1 where the flow is constant, more where the image is compressed, 0 in a hole.
    """
    average, coverage = _quotient(_sums(_with_ones(at_least_float32(image)), flow))
    return average.to(image.dtype), coverage


def _with_ones(values: Tensor) -> Tensor:
    return torch.cat((values, torch.ones_like(values[:, :1])), dim=1)


def _quotient(sums: Tensor) -> tuple[Tensor, Tensor]:
    """All channels but the last divided by the last (0 where that is 0), and the last channel."""
    total = sums[:, -1:]
    return sums[:, :-1] / torch.where(total == 0, 1.0, total), total


def _sums(values: Tensor, flow: Tensor, log_weight: Tensor | None = None) -> Tensor:
    """The sum of what arrives at each pixel: (N, C, H, W).

    With `log_weight` (N, 1, H, W), values are weighted by its exponential, up to a factor that differs between target
    pixels.
    """
    batch, channels, height, width = values.shape
    # The canvas has one more row and column before the image and two after it, for the corners of what leaves it.
    rows, columns = height + 3, width + 3
    corners: Iterable[tuple[Tensor, Tensor]] = _corners(flow.to(values.dtype))
    if log_weight is not None:
        corners = _weight_by_exponential(list(corners), log_weight.to(values.dtype).flatten(2), rows * columns)
    values = values.flatten(2)
    canvas = values.new_zeros(batch, channels, rows * columns)
    for index, weight in corners:
        canvas.scatter_add_(2, index.expand(-1, channels, -1), values * weight)
    return canvas.view(batch, channels, rows, columns)[:, :, 1 : height + 1, 1 : width + 1].contiguous()


def _corners(flow: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The four pixels around every pixel + `flow`: index on the canvas and bilinear weight, (N, 1, H·W) each."""
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device, dtype=flow.dtype)
    y = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None]
    # Clamp positions to -1 and to W or H, where nothing of the pixel is inside the image any more.
    flow_x = flow[:, 0].nan_to_num(torch.inf).clamp(-1 - x, width - x)
    flow_y = flow[:, 1].nan_to_num(torch.inf).clamp(-1 - y, height - y)
    left, top = flow_x.detach().floor(), flow_y.detach().floor()
    right_weight, bottom_weight = (flow_x - left).flatten(1)[:, None], (flow_y - top).flatten(1)[:, None]
    first = ((y + top + 1).long() * (width + 3) + (x + left + 1).long()).flatten(1)[:, None]
    for down, weight_y in ((0, 1 - bottom_weight), (1, bottom_weight)):
        for right, weight_x in ((0, 1 - right_weight), (1, right_weight)):
            yield first + (down * (width + 3) + right), weight_y * weight_x


def _weight_by_exponential(
    corners: list[tuple[Tensor, Tensor]], log_weight: Tensor, cells: int
) -> list[tuple[Tensor, Tensor]]:
    """Multiply the corners' weights by exp(`log_weight` - the largest `log_weight` that reaches the same cell)."""
    lowest = torch.finfo(log_weight.dtype).min
    largest = torch.full((len(log_weight), 1, cells), lowest, device=log_weight.device, dtype=log_weight.dtype)
    for index, weight in corners:
        reaching = torch.where(weight.detach() > 0, log_weight.detach(), lowest)
        largest.scatter_reduce_(2, index, reaching, "amax")
    # A corner of weight 0 may stand above the largest; the clamp keeps its exp finite.
    return [(index, weight * (log_weight - largest.gather(2, index)).clamp(max=0).exp()) for index, weight in corners]
