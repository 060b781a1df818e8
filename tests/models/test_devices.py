"""Networks are not bound to the CPU: on another device they compute the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from betwixt.backends.backend import Backend
from betwixt.backends.network_runner import TrainedNetwork
from betwixt.models.base import Interpolator
from betwixt.models.compact.interpolator import CompactInterpolator
from betwixt.models.compact.network import Compact
from betwixt.models.hybrid.interpolator import HybridInterpolator
from betwixt.models.hybrid.network import Fusion
from betwixt.models.network import MaskedNetwork, MaskPair
from betwixt.models.registry import MODELS, load_network
from betwixt.models.rife import V4_MODELS
from betwixt.runtime.load import trained_network
from betwixt.runtime.network_interpolator import NetworkInterpolator
from fake_device import FAKE_DEVICE, fake_device

SAME_CODE = set(V4_MODELS) - {"rife-4.0", "rife-4.2", "rife-4.6", "rife-4.25"}
"""Models that run no code on the device that the others do not run."""


@pytest.mark.parametrize("name", [n for n, info in MODELS.items() if info.has_network and n not in SAME_CODE])
def test_networks_run_on_any_device(name: str) -> None:
    torch.manual_seed(0)
    network = load_network(name).eval()
    side = max(64, network.multiple)
    inputs = [torch.rand(1, 3, side, side), torch.rand(1, 3, side, side), torch.full((1, 1, 1, 1), 0.5)]
    labels = torch.randint(0, 3, (2, 1, side, side))
    masks = [MaskPair(*labels, 3)] if isinstance(network, MaskedNetwork) else []
    with torch.no_grad():
        expected = network(*inputs, *masks).frame
        with fake_device():
            network.to(FAKE_DEVICE)
            moved = [x.to(FAKE_DEVICE) for x in inputs], [m.apply(lambda x: x.to(FAKE_DEVICE)) for m in masks]
            result = network(*moved[0], *moved[1]).frame
            assert result.device == FAKE_DEVICE
            assert torch.equal(result.cpu(), expected)


def models(device: str) -> list[Interpolator]:
    """Interpolators of all kinds: with recursion, with masks, with a motion search."""
    torch.manual_seed(0)
    networks = load_network("rife"), load_network("rife-m+hm")
    return [
        *(NetworkInterpolator("network", network, device) for network in networks),
        CompactInterpolator(TrainedNetwork.in_memory(Compact()), Backend(device=device)),
        HybridInterpolator(TrainedNetwork.in_memory(Fusion()), trained_network("rife-4.6"), Backend(device=device)),
    ]


@pytest.mark.parametrize("number", range(4))
def test_interpolators_run_on_any_device(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # The fake device supports no in-place operations on inference tensors.
    monkeypatch.setattr(torch, "inference_mode", torch.no_grad)
    images = np.random.default_rng(0).random((2, 50, 70, 3), np.float32)
    expected = models("cpu")[number].prepare(*images).at(0.25)
    with fake_device():
        result = models(str(FAKE_DEVICE))[number].prepare(*images).at(0.25)
    np.testing.assert_array_equal(result, expected)
