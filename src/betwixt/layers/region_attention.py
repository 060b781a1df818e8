"""Maps that are divided into regions: what a region looks like on average, and attention inside a region.

    labels (N, H, W) ──► `downsample_labels` ──► labels (N, h, w) ──► `Regions`

    maps (N, C, h, w), Regions ──► `region_means` ──► (N, count, C) ──► `broadcast_to_pixels` ──► (N, C, h, w)
    queries, keys, values, Regions ──► `region_attention` ──► (N, C, h, w)

Attention between the pixels of two maps that bear the same label costs the sum of S_i S_i', the products of the sizes
of each label's regions, instead of the square of a map. It is computed a part of the queries at a time, so that memory
is bounded whatever a region's size; where gradients are wanted, a part's scores are computed again on the way back.

Scores, softmax and sums are float32 whatever the maps are: sixteen bits do not hold a position.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

__all__ = [
    "SCORES_AT_A_TIME",
    "Regions",
    "broadcast_to_pixels",
    "downsample_labels",
    "region_attention",
    "region_means",
]

SCORES_AT_A_TIME = 1 << 24
"""Scores that `region_attention` holds at a time: 64 MiB, and as much again for the softmax."""


def downsample_labels(labels: Tensor, stride: int, count: int) -> Tensor:
    """Labels (N, H, W) of pixels -> labels (N, H/stride, W/stride) of cells: the label of most of a cell's pixels.

    Pixels near the middle count for more, by weights that differ from pixel to pixel: so there is hardly a tie, and the
    number of a label decides nothing.

    Args:
        labels: Whole numbers from 0 to `count` - 1; H and W are multiples of `stride`.
        stride: The side of a cell.
        count: How many labels there are.
    """
    if stride == 1 or count == 1:
        return labels[:, ::stride, ::stride].long()
    batch, height, width = labels.shape
    h, w = height // stride, width // stride
    cells = labels.reshape(batch, h, stride, w, stride).transpose(2, 3).reshape(-1, stride * stride).long()
    place = torch.arange(stride, device=labels.device, dtype=torch.float64)
    # Off the middle by odd parts of a pixel, else pixels that lie symmetrically would weigh the same.
    down, across = (((place - 0.5 * (stride - 1) - shift) / stride).square() for shift in (0.0437, 0.1123))
    weight = torch.exp(-(down[:, None] + across)).flatten()
    # Whole numbers, so that sums are exact and depend on no order.
    weight = (weight * 2**30).long().expand(len(cells), -1)
    votes = torch.zeros(len(cells), count, dtype=torch.long, device=labels.device).scatter_add_(1, cells, weight)
    return votes.argmax(dim=1).reshape(batch, h, w)


class Regions:
    """Which region every pixel of a map belongs to.

    Args:
        labels: (N, h, w), whole numbers from 0 to `count` - 1.
        count: How many labels there are.

    Attributes:
        labels: (N, h w), int64.
        count: As given.
        order: (N h w), the pixels of all samples, sorted by sample and label; None where there is one label.
        sizes: How many pixels each label has in each sample, N lists of `count`.
    """

    def __init__(self, labels: Tensor, count: int) -> None:
        self.shape = labels.shape
        self.labels = labels.flatten(1).long()
        self.count = count
        batch, size = self.labels.shape
        self.order: Tensor | None = None
        self.sizes = [[size]] * batch
        if count > 1:
            key = self.labels + count * torch.arange(batch, device=labels.device)[:, None]
            self.order = key.flatten().argsort(stable=True)
            self.sizes = torch.bincount(key.flatten(), minlength=batch * count).reshape(batch, count).tolist()

    @classmethod
    def whole(cls, maps: Tensor) -> Regions:
        """One region that is all of the maps (N, C, h, w)."""
        return cls(torch.zeros(len(maps), *maps.shape[-2:], dtype=torch.long, device=maps.device), 1)


def _exactly(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """No autocast."""
    return torch.autocast(device.type, enabled=False) if device.type != "meta" else contextlib.nullcontext()


def region_means(maps: Tensor, regions: Regions) -> Tensor:
    """The mean of every region: (N, C, h, w) -> (N, count, C), float32; 0 for a label that a map does not show."""
    with _exactly(maps.device):
        tokens = maps.flatten(2).transpose(1, 2).float()
        labels = torch.arange(regions.count, device=maps.device)
        member = (regions.labels[:, None] == labels[:, None]).float()
        return (member @ tokens) / member.sum(dim=2, keepdim=True).clamp(min=1.0)


def broadcast_to_pixels(means: Tensor, regions: Regions) -> Tensor:
    """What every region has, at each of its pixels: (N, count, C) -> (N, C, h, w)."""
    channels = means.shape[2]
    tokens = means.gather(1, regions.labels[:, :, None].expand(-1, -1, channels))
    return tokens.transpose(1, 2).reshape(len(means), channels, *regions.shape[1:])


def region_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    regions: Regions,
    others: Regions,
    absent: Tensor,
    scores_at_a_time: int = SCORES_AT_A_TIME,
) -> Tensor:
    """For every pixel of one map, the mean of the values of its label's pixels in another, weighed by their likeness.

        out(x) = sum over y in region of x of softmax_y(query(x) · key(y) / sqrt(D)) value(y)

    Args:
        queries: (N, D, h, w).
        keys: (N, D, h', w').
        values: (N, C, h', w').
        regions: Of the queries.
        others: Of keys and values; as many labels.
        absent: (N, C, h, w), the result where the other map does not show a pixel's label.
        scores_at_a_time: How many numbers a part of the scores has at most, one query's at least.

    Returns:
        (N, C, h, w), float32.
    """
    with _exactly(queries.device):
        q, k, v, missing = (x.flatten(2).transpose(1, 2).float() for x in (queries, keys, values, absent))
        q = q * (1.0 / math.sqrt(q.shape[2]))
        if regions.count != others.count:
            raise ValueError(f"Regions of {regions.count} labels cannot be looked for among those of {others.count}.")
        if regions.order is None or others.order is None:
            found = _in_parts(q, k, v, scores_at_a_time)
        else:
            q, missing = (x.flatten(0, 1)[regions.order] for x in (q, missing))
            k, v = (x.flatten(0, 1)[others.order] for x in (k, v))
            size, other = ([n for sample in r.sizes for n in sample] for r in (regions, others))
            tokens = zip(
                *(torch.split(x, n) for x, n in ((q, size), (missing, size), (k, other), (v, other))), strict=True
            )
            parts = [
                _in_parts(qi[None], ki[None], vi[None], scores_at_a_time)[0] if len(ki) else mi
                for qi, mi, ki, vi in tokens
                if len(qi)
            ]
            back = torch.empty_like(regions.order)
            back[regions.order] = torch.arange(len(back), device=back.device)
            found = torch.cat(parts)[back].reshape(len(queries), -1, values.shape[1])
        return found.transpose(1, 2).reshape(len(queries), -1, *queries.shape[2:])


def _in_parts(q: Tensor, k: Tensor, v: Tensor, scores_at_a_time: int) -> Tensor:
    """softmax(q kᵀ) v, of (B, S, D), (B, S', D) and (B, S', C), for a part of the queries at a time."""
    rows = max(1, scores_at_a_time // (len(k) * k.shape[1]))
    if rows >= q.shape[1]:
        return _softmax_product(q, k, v)
    again = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)
    parts = []
    for part in torch.split(q, rows, dim=1):
        if again:
            parts.append(checkpoint(_softmax_product, part, k, v, use_reentrant=False))
        else:
            parts.append(_softmax_product(part, k, v))
    return torch.cat(parts, dim=1)


def _softmax_product(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.transpose(1, 2), dim=2) @ v
