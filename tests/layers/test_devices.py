"""Layers give the same results and gradients on other devices as on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from betwixt.layers.correlation import (
    AllPairsCorrelation,
    OnDemandCorrelation,
    local_correlation,
    multi_scale_matching,
    pixel_coordinates,
)
from betwixt.layers.splatting import splat
from betwixt.layers.warp import backward_warp
from fake_device import FAKE_DEVICE, fake_device

Layer = Callable[[Tensor, Tensor, Tensor], Tensor]


def pairs(kind: type[AllPairsCorrelation] | type[OnDemandCorrelation]) -> Layer:
    """All-pairs correlation, looked up around the positions that the flow points to."""

    def read(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
        places = pixel_coordinates(first) + flow
        return torch.cat(kind.of(first, second, 2).lookup(places, places, 2))

    return read


LAYERS: dict[str, Layer] = {
    "backward warp": lambda first, second, flow: backward_warp(first, flow),
    "summation": lambda first, second, flow: splat(first, flow, "summation"),
    "average": lambda first, second, flow: splat(first, flow, "average"),
    "linear": lambda first, second, flow: splat(first, flow, "linear", second[:, :1].abs()),
    "softmax": lambda first, second, flow: splat(first, flow, "softmax", second[:, :1]),
    "local correlation": lambda first, second, flow: local_correlation(first, second, 3),
    "neighbour matching": lambda first, second, flow: multi_scale_matching(first, second, 1, 3),
    "all pairs": pairs(AllPairsCorrelation),
    "all pairs on demand": pairs(OnDemandCorrelation),
}


def computed(layer: Layer, device: str | torch.device, dtype: torch.dtype) -> list[Tensor]:
    """The result of a layer for random maps and flows, and its gradients."""
    generator = torch.Generator().manual_seed(0)
    inputs = [
        (scale * torch.randn(2, channels, 24, 40, generator=generator)).to(device, kind).requires_grad_()
        for channels, scale, kind in ((8, 1.0, dtype), (8, 1.0, dtype), (2, 3.0, torch.float32))
    ]
    result = layer(*inputs)
    weights = torch.randn(result.shape, generator=generator).to(result)
    gradients = torch.autograd.grad((result * weights).sum(), inputs, allow_unused=True)
    return [x.detach().float().cpu() for x in (result, *gradients) if x is not None]


DTYPES = torch.float32, torch.bfloat16


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_run_on_other_devices(name: str, dtype: torch.dtype) -> None:
    expected = computed(LAYERS[name], "cpu", dtype)
    with fake_device():
        found = computed(LAYERS[name], FAKE_DEVICE, dtype)
    assert len(found) == len(expected)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


def test_layers_that_need_the_cpu_are_detected() -> None:
    def bound(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
        return first + torch.arange(float(first.shape[-1]))

    with fake_device(), pytest.raises(RuntimeError, match="two devices"):
        computed(bound, FAKE_DEVICE, torch.float32)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize(("dtype", "tolerance"), list(zip(DTYPES, (1e-4, 3e-2), strict=True)))
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_computes_the_same_on_a_gpu(name: str, dtype: torch.dtype, tolerance: float) -> None:
    expected, found = (computed(LAYERS[name], device, dtype) for device in ("cpu", "cuda"))
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        # Sums have another order, so the tolerance is relative to the largest number.
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * float(theirs.abs().max()))
