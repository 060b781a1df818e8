"""Region means and attention inside regions, for feature maps whose pixels have labels.

    labels (N, H, W) ──► `downsample_labels` ──► labels (N, h, w) ──► `Regions`

    maps (N, C, h, w), Regions ──► `region_means` ──► (N, count, C) ──► `broadcast_to_pixels` ──► (N, C, h, w)
    queries, keys, values, Regions ──► `region_attention` ──► (N, C, h, w)

Attention between the pixels of two maps that have the same label costs the sum of S_i S_i', the products of the region
sizes of each label in the two maps, instead of (h w)². It is computed in chunks of queries, which bounds the memory
whatever a region's size; for gradients, the scores of a chunk are recomputed in the backward pass.

Scores, softmax and sums are float32 whatever type the maps have: 16 bits do not hold a position.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from betwixt.layers.precision import without_autocast

SCORES_AT_A_TIME = 1 << 24
"""Scores that `region_attention` holds at a time: 64 MiB, and as much again for the softmax."""


def downsample_labels(labels: Tensor, stride: int, count: int) -> Tensor:
    """Labels (N, H, W) of pixels -> labels (N, H/stride, W/stride) of cells, by a weighted vote of a cell's pixels.

    Pixels near the middle have larger weights, and all weights differ, so that ties are rare and a label's number
    hardly ever decides.

    Args:
        labels: Integers from 0 to `count` - 1; H and W are multiples of `stride`.
        stride: The side of a cell in pixels.
        count: Number of labels.
    """
    if stride == 1 or count == 1:
        return labels[:, ::stride, ::stride].long()
    batch, height, width = labels.shape
    h, w = height // stride, width // stride
    cells = labels.reshape(batch, h, stride, w, stride).transpose(2, 3).reshape(-1, stride * stride).long()
    position = torch.arange(stride, device=labels.device, dtype=torch.float64)
    # Centred a little off the middle, else pixels that lie symmetrically would weigh the same.
    y2, x2 = (((position - 0.5 * (stride - 1) - shift) / stride).square() for shift in (0.0437, 0.1123))
    weight = torch.exp(-(y2[:, None] + x2)).flatten()
    # Integers, so that sums are exact in any order.
    weight = (weight * 2**30).long().expand(len(cells), -1)
    votes = torch.zeros(len(cells), count, dtype=torch.long, device=labels.device).scatter_add_(1, cells, weight)
    return votes.argmax(dim=1).reshape(batch, h, w)


class Regions:
    """The region of every pixel of a batch of maps, with the pixels sorted by region.

    Args:
        labels: (N, h, w), integers from 0 to `count` - 1.
        count: Number of labels.

    Attributes:
        shape: (N, h, w).
        labels: (N, h w), int64.
        count: Number of labels.
        order: (N h w), the indices of the pixels of all samples, sorted by sample and label; None for a single label.
        sizes: Number of pixels of each label in each sample, N lists of `count`.
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
        """A single region that covers the maps (N, C, h, w)."""
        return cls(torch.zeros(len(maps), *maps.shape[-2:], dtype=torch.long, device=maps.device), 1)


def region_means(maps: Tensor, regions: Regions) -> Tensor:
    """The mean over every region: (N, C, h, w) -> (N, count, C), float32; 0 for a label that is absent from a map."""
    with without_autocast(maps.device):
        tokens = maps.flatten(2).transpose(1, 2).float()
        labels = torch.arange(regions.count, device=maps.device)
        member = (regions.labels[:, None] == labels[:, None]).float()
        return (member @ tokens) / member.sum(dim=2, keepdim=True).clamp(min=1.0)


def broadcast_to_pixels(means: Tensor, regions: Regions) -> Tensor:
    """Write the value of every region to each of its pixels: (N, count, C) -> (N, C, h, w)."""
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
    """Attention from every pixel of one map to the pixels of another map that have the same label.

        out(x) = sum over y with the label of x of softmax_y(query(x) · key(y) / sqrt(D)) value(y)

    Args:
        queries: (N, D, h, w).
        keys: (N, D, h', w').
        values: (N, C, h', w').
        regions: Regions of the queries.
        others: Regions of keys and values, with the same number of labels.
        absent: (N, C, h, w), the result where a pixel's label is absent from the other map.
        scores_at_a_time: Most scores to compute at a time (at least those of one query).

    Returns:
        (N, C, h, w), float32.
    """
    if regions.count != others.count:
        raise ValueError(f"The two maps have {regions.count} and {others.count} labels, where both need the same.")
    with without_autocast(queries.device):
        q, k, v, missing = (x.flatten(2).transpose(1, 2).float() for x in (queries, keys, values, absent))
        q = q * (1.0 / math.sqrt(q.shape[2]))
        if regions.order is None or others.order is None:
            out = _chunked_attention(q, k, v, scores_at_a_time)
        else:
            # Sort the pixels by sample and label, attend within each label, and undo the sorting.
            q, missing = (x.flatten(0, 1)[regions.order] for x in (q, missing))
            k, v = (x.flatten(0, 1)[others.order] for x in (k, v))
            q_sizes, k_sizes = ([n for sample in r.sizes for n in sample] for r in (regions, others))
            groups = zip(
                *(torch.split(x, n) for x, n in ((q, q_sizes), (missing, q_sizes), (k, k_sizes), (v, k_sizes))),
                strict=True,
            )
            parts = [
                _chunked_attention(qi[None], ki[None], vi[None], scores_at_a_time)[0] if len(ki) else mi
                for qi, mi, ki, vi in groups
                if len(qi)
            ]
            inverse = torch.empty_like(regions.order)
            inverse[regions.order] = torch.arange(len(inverse), device=inverse.device)
            out = torch.cat(parts)[inverse].reshape(len(queries), -1, values.shape[1])
        return out.transpose(1, 2).reshape(len(queries), -1, *queries.shape[2:])


def _chunked_attention(q: Tensor, k: Tensor, v: Tensor, scores_at_a_time: int) -> Tensor:
    """softmax(q kᵀ) v of (B, S, D), (B, S', D) and (B, S', C), a chunk of the queries at a time."""
    rows = max(1, scores_at_a_time // (len(k) * k.shape[1]))
    if rows >= q.shape[1]:
        return _attention(q, k, v)
    needs_gradients = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)
    chunks = []
    for chunk in torch.split(q, rows, dim=1):
        if needs_gradients:
            chunks.append(checkpoint(_attention, chunk, k, v, use_reentrant=False))
        else:
            chunks.append(_attention(chunk, k, v))
    return torch.cat(chunks, dim=1)


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.transpose(1, 2), dim=2) @ v
