"""No network is bound to the CPU: on another device it computes the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from betwixt.backends.network_runner import TrainedNetwork
from betwixt.models.base import Interpolator
from betwixt.models.compact.interpolator import CompactInterpolator
from betwixt.models.compact.network import Compact
from betwixt.models.hybrid.interpolator import HybridInterpolator
from betwixt.models.hybrid.network import Fusion
from betwixt.models.network import MaskedNetwork, MaskPair
from betwixt.models.registry import MODELS, load_network
from betwixt.runtime.load import trained_network
from betwixt.runtime.network_interpolator import NetworkInterpolator
from elsewhere import ELSEWHERE, elsewhere


@pytest.mark.parametrize("name", [name for name, info in MODELS.items() if info.has_network])
def test_a_network(name: str) -> None:
    torch.manual_seed(0)
    network = load_network(name).eval()
    side = max(64, network.multiple)
    given = [torch.rand(1, 3, side, side), torch.rand(1, 3, side, side), torch.full((1, 1, 1, 1), 0.5)]
    labels = torch.randint(0, 3, (2, 1, side, side))
    masks = [MaskPair(*labels, 3)] if isinstance(network, MaskedNetwork) else []
    with torch.no_grad():
        expected = network(*given, *masks).frame
        with elsewhere():
            network.to(ELSEWHERE)
            moved = [x.to(ELSEWHERE) for x in given], [m.apply(lambda x: x.to(ELSEWHERE)) for m in masks]
            found = network(*moved[0], *moved[1]).frame
            assert found.device == ELSEWHERE
            assert torch.equal(found.cpu(), expected)


def models(device: str) -> list[Interpolator]:
    """What carries networks between pictures and a device: with recursion, with masks, with the search of compact."""
    torch.manual_seed(0)
    networks = load_network("rife"), load_network("rife-m+hm")
    return [
        *(NetworkInterpolator("network", network, device) for network in networks),
        CompactInterpolator(TrainedNetwork.in_memory(Compact()), device),
        HybridInterpolator(TrainedNetwork.in_memory(Fusion()), trained_network("rife-4.6"), device, engine="torch"),
    ]


@pytest.mark.parametrize("number", range(4))
def test_a_model(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # The device that is none knows no operations in place without versions of tensors.
    monkeypatch.setattr(torch, "inference_mode", torch.no_grad)
    pictures = np.random.default_rng(0).random((2, 50, 70, 3), np.float32)
    expected = models("cpu")[number].prepare(*pictures).at(0.25)
    with elsewhere():
        found = models(str(ELSEWHERE))[number].prepare(*pictures).at(0.25)
    np.testing.assert_array_equal(found, expected)
