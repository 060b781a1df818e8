"""Correlation volumes: how alike two feature maps are, for every displacement in a window.

`local_correlation` compares a pixel of the first map with the pixels around it in the second (PWC-Net's cost volume).
`fixed_window_matching` compares every pixel of a window in the first map with every pixel of the same window in the
second, as in neighbor correspondence matching (NCM): the frame in between, to which the window's centre belongs, is
not needed, and no flow that may be wrong decides where to look. `multi_scale_matching` does so at several scales.
`AllPairsCorrelation` compares every pixel of one map with every pixel of the other, once, and is then read around the
places that a flow points to, at several scales (RAFT); both ways, as in AMT. `OnDemandCorrelation` reads the same
without ever holding the volume, and `all_pairs_correlation` takes the first of them where it fits into a given memory.

All but all pairs take means over the channels, so on standardised features (mean 0, variance 1 over the channels of a
pixel) the values are cosine similarities; all pairs are sums divided by the root of the number of channels, as in RAFT.
Outside the maps there are zeros.
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

__all__ = [
    "AllPairsCorrelation",
    "OnDemandCorrelation",
    "all_pairs_correlation",
    "fixed_window_matching",
    "local_correlation",
    "multi_scale_matching",
    "pixel_coordinates",
    "shifted_copies",
]

_WORK_BYTES = 1 << 26
"""About how much `OnDemandCorrelation` samples at a time."""

_BAND = 1 << 23
"""Numbers that `multi_scale_matching` gathers of both maps before it multiplies them: 32 MiB in float32."""


def shifted_copies(features: Tensor, radius: int) -> list[Tensor]:
    """`features` (N, C, H, W) at x + d for all d in the window, row displacement slowest."""
    return _window(_padded(features, radius), radius, 1)


def _padded(features: Tensor, border: int) -> Tensor:
    return F.pad(features, (border, border, border, border))


def _window(padded: Tensor, radius: int, step: int) -> list[Tensor]:
    """What a map was before it was padded by radius · step, displaced by all step · d of the window."""
    border = 2 * radius * step
    height, width = padded.shape[-2] - border, padded.shape[-1] - border
    side = range(0, border + 1, step)
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
    return torch.stack([(first * shifted).mean(dim=1) for shifted in shifted_copies(second, radius)], dim=1)


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


def fixed_window_matching(first: Tensor, second: Tensor, radius: int, step: int = 1, rows: int | None = None) -> Tensor:
    """Mean over channels of first(x + step d0) * second(x + step d1) for every d0 and d1 in [-radius, radius]².

    Args:
        first: (N, C, H, W).
        second: The same.
        radius: Of the windows.
        step: Pixels from one place of a window to the next.
        rows: How many rows are matched at a time, which bounds the memory for all but the result; None: all.

    Returns:
        (N, (2 radius + 1)⁴, H, W): d0 slowest, and of each the row displacement slowest.
    """
    height, border = first.shape[2], radius * step
    # Scaled before the product: a sum of half floats could overflow.
    a, b = _padded(first * (1.0 / first.shape[1]), border), _padded(second, border)
    rows = rows or height
    cuts = [slice(top, top + rows + 2 * border) for top in range(0, height, rows)]
    bands = [_pairs(_window(a[:, :, cut], radius, step), _window(b[:, :, cut], radius, step)) for cut in cuts]
    return bands[0] if len(bands) == 1 else torch.cat(bands, dim=2)


def _pairs(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """The products of all of `first` with all of `second`, each (N, C, H, W), summed over the channels."""
    # (N, window, C, H, W) -> (N, H, W, window, C): one small matrix product for every pixel.
    a = torch.stack(first, dim=1).permute(0, 3, 4, 1, 2)
    b = torch.stack(second, dim=1).permute(0, 3, 4, 2, 1)
    return torch.matmul(a, b).flatten(3).permute(0, 3, 1, 2)


def multi_scale_matching(first: Tensor, second: Tensor, radius: int, levels: int, band: int = _BAND) -> Tensor:
    """`fixed_window_matching` of the maps and of the maps averaged over squares of 2, 4, .. 2^(levels - 1) pixels.

    The window of level k lies around x / 2^k in the maps averaged over squares of 2^k pixels, whose values between
    pixels are interpolated bilinearly, and the maps' last value holds to their end. That is a window with steps of 2^k
    in the averaged maps once these are interpolated to full size, and is computed so.

    It takes levels (2 radius + 1)⁴ H W numbers a sample for the result, and about 2 `band` more while it is computed.

    Args:
        first: (N, C, H, W).
        second: The same.
        radius: Of the windows, in pixels of each level.
        levels: How many.
        band: So many numbers at most are gathered of both maps at a time, by matching some rows at a time; but one row.

    Returns:
        (N, levels (2 radius + 1)⁴, H, W), level slowest, finest first.

    Reference: Jia, Lu, Li: Neighbor Correspondence Matching for Flow-based Video Frame Synthesis, ACM MM 2022,
    equations 2 to 4.
    """
    batch, channels, _, width = first.shape
    rows = max(1, band // (2 * batch * (2 * radius + 1) ** 2 * channels * width))
    pyramids = zip(_pooled(first, levels), _pooled(second, levels), strict=True)
    size = first.shape[-2:]
    volumes = [
        fixed_window_matching(_interpolated(a, 2**k, size), _interpolated(b, 2**k, size), radius, 2**k, rows)
        for k, (a, b) in enumerate(pyramids)
    ]
    return torch.cat(volumes, dim=1)


def _interpolated(features: Tensor, factor: int, size: Sequence[int]) -> Tensor:
    """`features` at x / factor for every pixel x of a map of that size."""
    if factor == 1:
        return features
    height, width = features.shape[-2:]
    # From the first pixel to the last there are so many; beyond the last, its value holds.
    whole = ((height - 1) * factor + 1, (width - 1) * factor + 1)
    read = F.interpolate(features, size=whole, mode="bilinear", align_corners=True)
    return F.pad(read, (0, size[1] - whole[1], 0, size[0] - whole[0]), mode="replicate")


def pixel_coordinates(features: Tensor) -> Tensor:
    """Where the pixels of `features` (N, C, H, W) are: (1, 2, H, W), channels (x, y), float32 or better."""
    height, width = features.shape[-2:]
    # Half floats do not count far enough.
    dtype = torch.promote_types(features.dtype, torch.float32)
    x = torch.arange(width, device=features.device, dtype=dtype).expand(height, -1)
    y = torch.arange(height, device=features.device, dtype=dtype)[:, None].expand(-1, width)
    return torch.stack((x, y))[None]


@dataclass(frozen=True)
class AllPairsCorrelation:
    """All-pairs correlation of two feature maps (N, C, H, W), in both directions, each a pyramid.

    Level l holds, for every pixel of one map, its correlation with the other map averaged over squares of 2^l pixels:
    (N H W, 1, H / 2^l, W / 2^l), rounded down, but at least one pixel. Both directions with four levels take about
    8/3 (H W)² numbers a sample.

    Attributes:
        of_first: For every pixel of the first map, the second map.
        of_second: For every pixel of the second map, the first map.

    References: Teed and Deng, RAFT, ECCV 2020, section 3.2; Li et al., AMT, CVPR 2023.
    """

    of_first: tuple[Tensor, ...]
    of_second: tuple[Tensor, ...]

    @staticmethod
    def size(maps: Tensor) -> int:
        """About how many bytes the four-level pyramids of two maps like `maps` (N, C, H, W) take, as float32."""
        return 4 * 8 * len(maps) * math.prod(maps.shape[-2:]) ** 2 // 3

    @classmethod
    def of(cls, first: Tensor, second: Tensor, levels: int = 4) -> AllPairsCorrelation:
        """Correlate two maps (N, C, H, W); the sum over channels is divided by sqrt(C)."""
        batch, channels, height, width = first.shape
        # Scaled before the product: a sum of half floats could overflow.
        a = first.flatten(2).transpose(1, 2) * (1.0 / math.sqrt(channels))
        volume = torch.matmul(a, second.flatten(2))
        # Reading at float32 places wants float32 values.
        volume = volume.to(torch.promote_types(volume.dtype, torch.float32))
        shape = (batch * height * width, 1, height, width)
        return cls(_pooled(volume.reshape(shape), levels), _pooled(volume.transpose(1, 2).reshape(shape), levels))

    def lookup(self, in_second: Tensor, in_first: Tensor, radius: int) -> tuple[Tensor, Tensor]:
        """Read both pyramids in windows of [-radius, radius]² around given places, bilinearly.

        Args:
            in_second: (N, 2, H, W), for every pixel of the first map the place (x, y) in the second, in its pixels.
            in_first: (N, 2, H, W), for every pixel of the second map the place in the first.
            radius: Of the window, in pixels of each level.

        Returns:
            For the pixels of the first map and for those of the second, each (N, levels (2 radius + 1)², H, W):
            finest level slowest, then the displacement in x, then that in y.
        """
        return _read(self.of_first, in_second, radius), _read(self.of_second, in_first, radius)


@dataclass(frozen=True)
class OnDemandCorrelation:
    """What `AllPairsCorrelation` holds, computed only where it is read, in memory that grows with H W alone.

    Correlation is linear in the second map, so its value between pixels and over squares of pixels is the correlation
    with features between pixels and averaged over squares: the pyramids are those of the features, (N, C, H / 2^l,
    W / 2^l). A lookup takes C products for each of its results, again every time, where `AllPairsCorrelation` takes
    them for all (H W)² pairs, once. Its backward pass samples anew what the forward pass sampled, for the same reason.

    Attributes:
        first: The first map at every level, divided by the fourth root of C: products are then as in
        `AllPairsCorrelation`.
        second: The second map likewise.

    References: Teed and Deng, RAFT, ECCV 2020, section 3.2, on images of high resolution.
    """

    first: tuple[Tensor, ...]
    second: tuple[Tensor, ...]

    @classmethod
    def of(cls, first: Tensor, second: Tensor, levels: int = 4) -> OnDemandCorrelation:
        """Prepare two maps (N, C, H, W)."""
        share = first.shape[1] ** -0.25
        first, second = (m.to(torch.promote_types(m.dtype, torch.float32)) * share for m in (first, second))
        return cls(_pooled(first, levels), _pooled(second, levels))

    def lookup(self, in_second: Tensor, in_first: Tensor, radius: int) -> tuple[Tensor, Tensor]:
        """As `AllPairsCorrelation.lookup`."""
        return (
            _read_on_demand(self.first[0], self.second, in_second, radius),
            _read_on_demand(self.second[0], self.first, in_first, radius),
        )


def all_pairs_correlation(
    first: Tensor, second: Tensor, levels: int = 4, limit: int = 3 << 30
) -> AllPairsCorrelation | OnDemandCorrelation:
    """Correlate all pairs of pixels of two maps (N, C, H, W).

    `AllPairsCorrelation` where its volume takes at most `limit` bytes, otherwise `OnDemandCorrelation`.
    """
    if AllPairsCorrelation.size(first) <= limit:
        return AllPairsCorrelation.of(first, second, levels)
    return OnDemandCorrelation.of(first, second, levels)


def _pooled(maps: Tensor, levels: int) -> tuple[Tensor, ...]:
    pyramid = [maps]
    for _ in range(levels - 1):
        # A side of one pixel cannot be halved; it stays.
        kernel = [min(2, side) for side in pyramid[-1].shape[-2:]]
        pyramid.append(F.avg_pool2d(pyramid[-1], kernel))
    return tuple(pyramid)


def _windows(places: Tensor, level: int, radius: int, size: torch.Size) -> Tensor:
    """Where grid_sample reads a map of `size` (H, W) for windows around `places`: (N, places, window, window, 2)."""
    x, y = places.reshape(len(places), 2, -1, 1, 1).unbind(1)  # (N, places, 1, 1)
    steps = torch.arange(-radius, radius + 1, device=places.device, dtype=places.dtype)
    rows, columns = size
    # The window's rows step in x and its columns in y: that is the order in which the networks expect the values.
    at_x = (x / 2**level + steps[:, None]).expand(-1, -1, -1, len(steps))
    at_y = (y / 2**level + steps).expand(-1, -1, len(steps), -1)
    # Corners not aligned: -1 and 1 are the outer edges of the first and the last pixel. With aligned corners a
    # side of one pixel would have no length to divide by.
    return torch.stack(((2.0 * at_x + 1.0) / columns - 1.0, (2.0 * at_y + 1.0) / rows - 1.0), dim=-1)


def _sampled(maps: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(maps, grid, "bilinear", "zeros", align_corners=False)


def _read(pyramid: tuple[Tensor, ...], places: Tensor, radius: int) -> Tensor:
    batch, _, height, width = places.shape
    windows = []
    for level, volume in enumerate(pyramid):
        values = _sampled(volume, _windows(places, level, radius, volume.shape[-2:]).flatten(0, 1))
        windows.append(values.reshape(batch, height, width, -1))
    return torch.cat(windows, dim=-1).permute(0, 3, 1, 2)


def _read_on_demand(maps: Tensor, pyramid: tuple[Tensor, ...], places: Tensor, radius: int) -> Tensor:
    batch, channels, height, width = maps.shape
    rows = max(1, _WORK_BYTES // (4 * batch * channels * width * (2 * radius + 1) ** 2))
    cuts = tuple(range(rows, height, rows))
    bands = []
    for band, at in zip(*(x.tensor_split(cuts, dim=2) for x in (maps, places)), strict=True):
        if torch.is_grad_enabled():
            bands.append(checkpoint(_read_band, band, pyramid, at, radius, use_reentrant=False))
        else:
            bands.append(_read_band(band, pyramid, at, radius))
    return torch.cat(bands, dim=2)


def _read_band(band: Tensor, pyramid: tuple[Tensor, ...], places: Tensor, radius: int) -> Tensor:
    windows = []
    for level, other in enumerate(pyramid):
        # (N, C, pixels of the band, pixels of the window)
        features = _sampled(other, _windows(places, level, radius, other.shape[-2:]).flatten(2, 3))
        windows.append(torch.einsum("ncp,ncpw->nwp", band.flatten(2), features))
    values = torch.cat(windows, dim=1).to(places.dtype)
    return values.reshape(len(band), -1, *band.shape[-2:])
