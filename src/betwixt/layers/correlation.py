"""Correlation volumes: the similarity of two feature maps for the displacements in a window.

- `local_correlation` compares each pixel of the first map with the pixels around it in the second (the cost volume of
  PWC-Net).
- `fixed_window_matching` compares every pixel of a window in the first map with every pixel of the same window in the
  second, as neighbor correspondence matching does (NCM). The window's centre is a pixel of the frame in between, which
  is not needed, and no flow, which might be wrong, decides where to look. `multi_scale_matching` does this at several
  scales.
- `AllPairsCorrelation` compares every pixel of one map with every pixel of the other once, and is then read around the
  positions that a flow points to, at several scales (RAFT); in both directions, as in AMT. `OnDemandCorrelation` reads
  the same values without storing the volume. `all_pairs_correlation` chooses between them by the memory they need.

Except for all-pairs correlation, values are means over the channels, so for standardised features (mean 0, variance 1
over the channels of a pixel) they are cosine similarities. All-pairs values are sums divided by the square root of the
number of channels, as in RAFT. Outside the maps there are zeros.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from betwixt.layers.precision import at_least_float32

_LOOKUP_BYTES = 1 << 26
"""Approximate memory of the features that `OnDemandCorrelation` samples at a time."""

_BAND = 1 << 23
"""Numbers that `multi_scale_matching` gathers from both maps before it multiplies them: 32 MiB in float32."""


def shifted_copies(features: Tensor, radius: int) -> list[Tensor]:
    """`features` (N, C, H, W) at x + d for every d in [-radius, radius]², row displacement slowest; 0 outside."""
    return _window(_pad(features, radius), radius, 1)


def _pad(features: Tensor, border: int) -> Tensor:
    return F.pad(features, (border, border, border, border))


def _window(padded: Tensor, radius: int, step: int) -> list[Tensor]:
    """The map at x + step · d for every d in [-radius, radius]², of a map that was padded by radius · step."""
    border = 2 * radius * step
    height, width = padded.shape[-2] - border, padded.shape[-1] - border
    side = range(0, border + 1, step)
    return [padded[:, :, dy : dy + height, dx : dx + width] for dy in side for dx in side]


def local_correlation(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """Mean over channels of first(x) · second(x + d), |d| <= radius: (N, (2 radius + 1)², H, W), rows of d slowest."""
    if torch.is_grad_enabled() and (first.requires_grad or second.requires_grad):
        volume: Tensor = _LocalCorrelation.apply(first, second, radius)  # type: ignore[no-untyped-call]
        return volume
    return _local_correlation(first, second, radius)


def _local_correlation(first: Tensor, second: Tensor, radius: int) -> Tensor:
    return torch.stack([(first * shifted).mean(dim=1) for shifted in shifted_copies(second, radius)], dim=1)


class _LocalCorrelation(torch.autograd.Function):
    """`_local_correlation` with a backward pass that accumulates in place, several times faster than autograd's."""

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
        padded = _pad(second, radius)
        to_first, to_padded = torch.zeros_like(first), torch.zeros_like(padded)
        for i in range((2 * radius + 1) ** 2):
            dy, dx = divmod(i, 2 * radius + 1)
            window = (..., slice(dy, dy + height), slice(dx, dx + width))
            weight = gradient[:, i : i + 1]
            to_first.addcmul_(weight, padded[window])
            to_padded[window].addcmul_(weight, first)
        inside = slice(radius, radius + height), slice(radius, radius + width)
        return to_first, to_padded[(..., *inside)], None


def fixed_window_matching(first: Tensor, second: Tensor, radius: int, step: int = 1, rows: int | None = None) -> Tensor:
    """Mean over channels of first(x + step d0) * second(x + step d1) for every d0 and d1 in [-radius, radius]².

    Args:
        first: (N, C, H, W).
        second: (N, C, H, W).
        radius: Radius of the windows.
        step: Distance of neighbouring positions in a window, in pixels.
        rows: Number of rows that are matched at a time, which bounds the working memory; None for all.

    Returns:
        (N, (2 radius + 1)⁴, H, W): d0 slowest, and within d0 and d1 the row displacement slowest.
    """
    height, border = first.shape[2], radius * step
    # Scaled before the product: a sum of half floats could overflow.
    a, b = _pad(first * (1.0 / first.shape[1]), border), _pad(second, border)
    rows = rows or height
    cuts = [slice(top, top + rows + 2 * border) for top in range(0, height, rows)]
    bands = [_products(_window(a[:, :, cut], radius, step), _window(b[:, :, cut], radius, step)) for cut in cuts]
    return bands[0] if len(bands) == 1 else torch.cat(bands, dim=2)


def _products(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """The products of each of `first` with each of `second`, all (N, C, H, W), summed over the channels."""
    # (N, window, C, H, W) -> (N, H, W, window, C): one small matrix product for every pixel.
    a = torch.stack(first, dim=1).permute(0, 3, 4, 1, 2)
    b = torch.stack(second, dim=1).permute(0, 3, 4, 2, 1)
    return torch.matmul(a, b).flatten(3).permute(0, 3, 1, 2)


def multi_scale_matching(first: Tensor, second: Tensor, radius: int, levels: int, band: int = _BAND) -> Tensor:
    """`fixed_window_matching` of the maps and of the maps averaged over squares of 2, 4, .. 2^(levels - 1) pixels.

    The window of level k lies around x / 2^k in the maps averaged over squares of 2^k pixels, interpolated bilinearly
    between pixels and constant beyond the last one. This equals a window with steps of 2^k in the averaged maps after
    they are interpolated to full size, which is how it is computed.

    The result has levels · (2 radius + 1)⁴ · H · W numbers a sample; computing it takes about 2 · `band` more.

    Args:
        first: (N, C, H, W).
        second: (N, C, H, W).
        radius: Radius of the windows, in pixels of each level.
        levels: Number of levels.
        band: Most numbers to gather from both maps at a time, which sets how many rows are matched at a time (one at
            least).

    Returns:
        (N, levels (2 radius + 1)⁴, H, W), level slowest, finest first.

    Reference: Jia, Lu, Li: Neighbor Correspondence Matching for Flow-based Video Frame Synthesis, ACM MM 2022,
    equations 2 to 4.
    """
    batch, channels, _, width = first.shape
    rows = max(1, band // (2 * batch * (2 * radius + 1) ** 2 * channels * width))
    pyramids = zip(_average_pyramid(first, levels), _average_pyramid(second, levels), strict=True)
    size = first.shape[-2:]
    volumes = [
        fixed_window_matching(_interpolate(a, 2**k, size), _interpolate(b, 2**k, size), radius, 2**k, rows)
        for k, (a, b) in enumerate(pyramids)
    ]
    return torch.cat(volumes, dim=1)


def _interpolate(features: Tensor, factor: int, size: Sequence[int]) -> Tensor:
    """`features` at x / factor for every pixel x of a map of `size` (H, W)."""
    if factor == 1:
        return features
    height, width = features.shape[-2:]
    # The pixels from the first to the last of `features`; beyond the last, its value is repeated.
    inside = ((height - 1) * factor + 1, (width - 1) * factor + 1)
    interpolated = F.interpolate(features, size=inside, mode="bilinear", align_corners=True)
    return F.pad(interpolated, (0, size[1] - inside[1], 0, size[0] - inside[0]), mode="replicate")


def pixel_coordinates(features: Tensor) -> Tensor:
    """The coordinates of the pixels of `features` (N, C, H, W): (1, 2, H, W), channels (x, y), at least float32."""
    height, width = features.shape[-2:]
    # Half floats cannot count the pixels of a large map.
    dtype = torch.promote_types(features.dtype, torch.float32)
    x = torch.arange(width, device=features.device, dtype=dtype).expand(height, -1)
    y = torch.arange(height, device=features.device, dtype=dtype)[:, None].expand(-1, width)
    return torch.stack((x, y))[None]


@dataclass(frozen=True)
class AllPairsCorrelation:
    """All-pairs correlation of two feature maps (N, C, H, W), in both directions, each a pyramid.

    Level l holds, for every pixel of one map, its correlation with the other map averaged over squares of 2^l pixels:
    (N H W, 1, H / 2^l, W / 2^l), rounded down, at least one pixel. Both directions with four levels take about
    8/3 (H W)² numbers a sample.

    Attributes:
        of_first: Correlation of every pixel of the first map with the second map, finest level first.
        of_second: Correlation of every pixel of the second map with the first map, finest level first.

    References: Teed and Deng, RAFT, ECCV 2020, section 3.2; Li et al., AMT, CVPR 2023.
    """

    of_first: tuple[Tensor, ...]
    of_second: tuple[Tensor, ...]

    @staticmethod
    def size(maps: Tensor) -> int:
        """Approximate bytes of the four-level pyramids of two maps like `maps` (N, C, H, W), in float32."""
        return 4 * 8 * len(maps) * math.prod(maps.shape[-2:]) ** 2 // 3

    @classmethod
    def of(cls, first: Tensor, second: Tensor, levels: int = 4) -> AllPairsCorrelation:
        """Correlate two maps (N, C, H, W); the sum over channels is divided by sqrt(C)."""
        batch, channels, height, width = first.shape
        # Scaled before the product: a sum of half floats could overflow.
        a = first.flatten(2).transpose(1, 2) * (1.0 / math.sqrt(channels))
        # Sampling at float32 coordinates needs float32 values.
        volume = at_least_float32(torch.matmul(a, second.flatten(2)))
        shape = (batch * height * width, 1, height, width)
        return cls(
            _average_pyramid(volume.reshape(shape), levels),
            _average_pyramid(volume.transpose(1, 2).reshape(shape), levels),
        )

    def lookup(self, in_second: Tensor, in_first: Tensor, radius: int) -> tuple[Tensor, Tensor]:
        """Read both pyramids in windows of [-radius, radius]² around given positions, bilinearly.

        Args:
            in_second: (N, 2, H, W), the position (x, y) in the second map for every pixel of the first, in pixels.
            in_first: (N, 2, H, W), the position (x, y) in the first map for every pixel of the second, in pixels.
            radius: Radius of the window, in pixels of each level.

        Returns:
            For the pixels of the first map and for those of the second, each (N, levels (2 radius + 1)², H, W):
            level slowest, finest first, then the displacement in x, then that in y.
        """
        return _look_up(self.of_first, in_second, radius), _look_up(self.of_second, in_first, radius)


@dataclass(frozen=True)
class OnDemandCorrelation:
    """The values of `AllPairsCorrelation`, computed only where they are read, in memory proportional to H W.

    Correlation is linear in the second map, so its value between pixels and over squares of pixels is the correlation
    with features interpolated between pixels and averaged over squares. The pyramids are therefore those of the
    features, (N, C, H / 2^l, W / 2^l). Every lookup computes C products for each of its values, whereas
    `AllPairsCorrelation` computes them once for all (H W)² pairs. To save memory, the backward pass samples the
    features again.

    Attributes:
        first: The first map at every level, divided by the fourth root of C, so that products are those of
            `AllPairsCorrelation`.
        second: The second map at every level, divided by the fourth root of C.

    References: Teed and Deng, RAFT, ECCV 2020, section 3.2, on images of high resolution.
    """

    first: tuple[Tensor, ...]
    second: tuple[Tensor, ...]

    @classmethod
    def of(cls, first: Tensor, second: Tensor, levels: int = 4) -> OnDemandCorrelation:
        """Prepare two maps (N, C, H, W)."""
        scale = first.shape[1] ** -0.25
        return cls(*(_average_pyramid(at_least_float32(features) * scale, levels) for features in (first, second)))

    def lookup(self, in_second: Tensor, in_first: Tensor, radius: int) -> tuple[Tensor, Tensor]:
        return (
            _look_up_on_demand(self.first[0], self.second, in_second, radius),
            _look_up_on_demand(self.second[0], self.first, in_first, radius),
        )


def all_pairs_correlation(
    first: Tensor, second: Tensor, levels: int = 4, limit: int = 3 << 30
) -> AllPairsCorrelation | OnDemandCorrelation:
    """`AllPairsCorrelation` of two maps where its volume takes at most `limit` bytes, else `OnDemandCorrelation`."""
    if AllPairsCorrelation.size(first) <= limit:
        return AllPairsCorrelation.of(first, second, levels)
    return OnDemandCorrelation.of(first, second, levels)


def _average_pyramid(maps: Tensor, levels: int) -> tuple[Tensor, ...]:
    """`maps` (N, C, H, W) and their averages over squares of 2, 4, .. 2^(levels - 1) pixels."""
    pyramid = [maps]
    for _ in range(levels - 1):
        # A side of one pixel cannot be halved.
        kernel = [min(2, side) for side in pyramid[-1].shape[-2:]]
        pyramid.append(F.avg_pool2d(pyramid[-1], kernel))
    return tuple(pyramid)


def _sampling_grid(positions: Tensor, level: int, radius: int, size: torch.Size) -> Tensor:
    """The grid for `grid_sample` of windows around `positions` (N, 2, H, W) in a map of `size` (h, w) at `level`.

    Returns:
        (N, H W, 2 radius + 1, 2 radius + 1, 2).
    """
    x, y = positions.reshape(len(positions), 2, -1, 1, 1).unbind(1)  # (N, H W, 1, 1)
    offsets = torch.arange(-radius, radius + 1, device=positions.device, dtype=positions.dtype)
    rows, columns = size
    # The rows of the window step in x and its columns in y: the networks expect the values in that order.
    window_x = (x / 2**level + offsets[:, None]).expand(-1, -1, -1, len(offsets))
    window_y = (y / 2**level + offsets).expand(-1, -1, len(offsets), -1)
    # Corners are not aligned: -1 and 1 are the outer edges of the first and the last pixel. With aligned corners, a
    # side of one pixel would have no length to divide by.
    return torch.stack(((2.0 * window_x + 1.0) / columns - 1.0, (2.0 * window_y + 1.0) / rows - 1.0), dim=-1)


def _sample(maps: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(maps, grid, "bilinear", "zeros", align_corners=False)


def _look_up(pyramid: tuple[Tensor, ...], positions: Tensor, radius: int) -> Tensor:
    batch, _, height, width = positions.shape
    windows = []
    for level, volume in enumerate(pyramid):
        values = _sample(volume, _sampling_grid(positions, level, radius, volume.shape[-2:]).flatten(0, 1))
        windows.append(values.reshape(batch, height, width, -1))
    return torch.cat(windows, dim=-1).permute(0, 3, 1, 2)


def _look_up_on_demand(features: Tensor, pyramid: tuple[Tensor, ...], positions: Tensor, radius: int) -> Tensor:
    batch, channels, height, width = features.shape
    rows = max(1, _LOOKUP_BYTES // (4 * batch * channels * width * (2 * radius + 1) ** 2))
    cuts = tuple(range(rows, height, rows))
    bands = []
    for band, at in zip(*(x.tensor_split(cuts, dim=2) for x in (features, positions)), strict=True):
        if torch.is_grad_enabled():
            bands.append(checkpoint(_look_up_band, band, pyramid, at, radius, use_reentrant=False))
        else:
            bands.append(_look_up_band(band, pyramid, at, radius))
    return torch.cat(bands, dim=2)


def _look_up_band(features: Tensor, pyramid: tuple[Tensor, ...], positions: Tensor, radius: int) -> Tensor:
    windows = []
    for level, other in enumerate(pyramid):
        # (N, C, pixels of the band, pixels of the window)
        sampled = _sample(other, _sampling_grid(positions, level, radius, other.shape[-2:]).flatten(2, 3))
        windows.append(torch.einsum("ncp,ncpw->nwp", features.flatten(2), sampled))
    values = torch.cat(windows, dim=1).to(positions.dtype)
    return values.reshape(len(features), -1, *features.shape[-2:])
