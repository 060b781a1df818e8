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


def test_activation_ranges_are_quantiles() -> None:
    made = network()
    with torch.no_grad(), observe_activations(made) as found:
        for k in range(51):
            values = torch.linspace(-1, 1, 4 * 100 * 100).reshape(1, 4, 100, 100)
            values[0, 0, 0, 0] = 1000  # one alone
            made["part"]["second"](values * (100 if k == 7 else 1))
    activation_ranges = estimate_ranges(found)
    assert list(activation_ranges) == ["part.second"]
    # Neither the one value nor the one time in fifty counts.
    assert activation_ranges["part.second"] == pytest.approx(1, abs=0.01)
    with pytest.raises(ValueError, match="NaN"):
        estimate_ranges({"part.second": [1.0, float("nan")]})
    assert len(found["part.second"]) == 51
    made["part"]["second"](torch.zeros(1, 4, 8, 8))
    assert len(found["part.second"]) == 51


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
