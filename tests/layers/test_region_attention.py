from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from betwixt.layers.region_attention import (
    Regions,
    broadcast_to_pixels,
    downsample_labels,
    region_attention,
    region_means,
)


def plain_attention(q: Tensor, k: Tensor, v: Tensor, labels: Tensor, others: Tensor, absent: Tensor) -> Tensor:
    """The definition, pixel by pixel."""
    result = absent.clone()
    for n in range(len(q)):
        for y in range(q.shape[2]):
            for x in range(q.shape[3]):
                same = others[n] == labels[n, y, x]
                if same.any():
                    scores = (k[n][:, same] * q[n, :, y, x, None]).sum(0) / q.shape[1] ** 0.5
                    result[n, :, y, x] = (v[n][:, same] * scores.softmax(0)).sum(1)
    return result


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 2), st.integers(1, 60))
def test_attention_stays_within_a_label(seed: int, count: int, batch: int, at_a_time: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    q, k = (torch.randn(batch, 3, 4, 5, generator=rng) for _ in range(2))
    v, absent = (torch.randn(batch, 2, 4, 5, generator=rng) for _ in range(2))
    labels, others = (torch.randint(count, (batch, 4, 5), generator=rng) for _ in range(2))
    regions, other_regions = Regions(labels, count), Regions(others, count)
    expected = plain_attention(q, k, v, labels, others, absent)
    torch.testing.assert_close(
        region_attention(q, k, v, regions, other_regions, absent), expected, atol=1e-5, rtol=1e-5
    )
    # Neither a permutation of the labels nor the chunk size changes the result.
    order = torch.randperm(count, generator=rng)
    permuted = region_attention(
        q, k, v, Regions(order[labels], count), Regions(order[others], count), absent, at_a_time
    )
    torch.testing.assert_close(permuted, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 3])
def test_chunked_attention_has_the_same_gradients(count: int) -> None:
    torch.manual_seed(0)
    tensors = [torch.randn(2, 4, 6, 6) for _ in range(3)]
    labels = torch.randint(count, (2, 6, 6))
    regions = Regions(labels, count)
    gradients = []
    for at_a_time in (1 << 20, 50):
        leaves = [x.clone().requires_grad_() for x in tensors]
        out = region_attention(*leaves, regions, regions, torch.zeros(2, 4, 6, 6), at_a_time)
        out.square().sum().backward()
        gradients.append([x.grad for x in leaves])
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, parts, atol=1e-5, rtol=1e-5)


def test_the_mean_of_an_empty_region_is_zero() -> None:
    maps = torch.arange(8.0).reshape(1, 1, 2, 4)
    regions = Regions(torch.tensor([[[0, 0, 2, 2], [0, 0, 2, 3]]]), 4)
    means = region_means(maps, regions)
    assert means.flatten().tolist() == [2.5, 0.0, pytest.approx(11 / 3), 7.0]
    assert broadcast_to_pixels(means, regions)[0, 0, 0].tolist() == [
        2.5,
        2.5,
        pytest.approx(11 / 3),
        pytest.approx(11 / 3),
    ]


def test_regions_need_the_same_number_of_labels() -> None:
    maps = torch.zeros(1, 2, 2, 2)
    with pytest.raises(ValueError, match="labels"):
        region_attention(maps, maps, maps, Regions.whole(maps), Regions(torch.zeros(1, 2, 2), 2), maps)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 64))
def test_downsampling_labels_commutes_with_renumbering(seed: int, count: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(count, (2, 16, 32), generator=rng)
    small = downsample_labels(labels, 8, count)
    assert small.shape == (2, 2, 4)
    order = torch.randperm(count, generator=rng)
    assert torch.equal(downsample_labels(order[labels], 8, count), order[small])


def test_cells_with_two_equal_halves_are_no_ties() -> None:
    labels = torch.zeros(1, 16, 16, dtype=torch.long)
    labels[:, :, 8:] = 1
    for turned in (labels, labels.transpose(1, 2), labels.flip(2), labels.transpose(1, 2).flip(1)):
        assert torch.equal(downsample_labels(1 - turned, 16, 2), 1 - downsample_labels(turned, 16, 2))
    labels[:, :, :9] = 0
    assert downsample_labels(labels, 16, 2).item() == 0
