"""Calibration."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from betwixt.backends.calibration import estimate_ranges, observe_activations


def network() -> nn.Module:
    torch.manual_seed(1)
    part = nn.ModuleDict({"first": nn.Conv2d(1, 4, 3, 1, 1), "second": nn.Conv2d(4, 4, 3, 1, 1)})
    part["head"] = nn.Conv2d(4, 1, 3, 1, 1)
    return nn.ModuleDict({"part": part})


def test_the_activation_range_has_the_smallest_quantization_error() -> None:
    made = network()
    torch.manual_seed(2)
    with torch.no_grad(), observe_activations(made) as found:
        for k in range(41):
            values = torch.rand(1, 4, 100, 100) * 2 - 1
            values[0, 0, 0, 0] = 1.05  # one alone
            made["part"]["second"](values * (100 if k == 7 else 1))
    # Neither the one value nor the one time in forty counts.
    assert estimate_ranges(found) == {"part.second": 1.0}
    assert len(found["part.second"]) == 41
    made["part"]["second"](torch.zeros(1, 4, 8, 8))
    assert len(found["part.second"]) == 41


def test_nan_is_an_error() -> None:
    made = network()
    with torch.no_grad(), observe_activations(made) as found:
        made["part"]["second"](torch.full((1, 4, 8, 8), float("nan")))
    with pytest.raises(ValueError, match="NaN"):
        estimate_ranges(found)


def test_other_convolutions_stay_in_floating_point() -> None:
    kinds = (
        {"groups": 2},
        {"dilation": 2},
        {"padding_mode": "reflect", "padding": 1},
    )
    made = nn.ModuleDict({"part": nn.ModuleList([nn.Conv2d(4, 4, 3, **kind) for kind in ({}, *kinds, {})])})  # type: ignore[arg-type]
    with observe_activations(made) as found:
        for layer in made["part"]:  # type: ignore[attr-defined]
            layer(torch.ones(1, 4, 8, 8))
    assert list(found) == ["part.4"]
