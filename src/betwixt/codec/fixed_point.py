"""Networks in fixed point: the same numbers on every machine.

A range decoder goes astray for good if one probability differs from the encoder's in its last bit, and convolutions in
floating point do differ, between processors, libraries and numbers of threads. So whatever probabilities depend on is
computed in whole numbers (Balle, Johnston, Minnen: Integer networks for data compression with latent-variable models,
ICLR 2019):

    activations   multiples of 1/16 in [-32, 32]       10 bits
    weights       multiples of 1/256 in [-4, 4]        11 bits
    sums          multiples of 1/4096; fewer than 2^12 products of less than 2^19 steps: below 2^31 in any order

Carried out in double precision, which holds whole numbers up to 2^53, every sum is exact, whatever the order of its
terms: `to_double_precision` turns a network into one that computes so. In training the same rounding happens in
single precision, and gradients pass through it (straight-through estimation).
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["FixedConv2d", "activation", "on_grid", "to_double_precision"]

_ACTIVATION = 16.0
_WEIGHT = 256.0
_LARGEST = 32.0
_LARGEST_WEIGHT = 4.0

M = TypeVar("M", bound=nn.Module)


def on_grid(values: Tensor, steps: float) -> Tensor:
    """The nearest multiples of 1/steps; gradients pass as if nothing had happened."""
    return values + (torch.round(values * steps) / steps - values).detach()


def activation(values: Tensor, rectify: bool = True) -> Tensor:
    """Values as the next layer takes them: multiples of 1/16 in [-32, 32], or in [0, 32] if rectified."""
    return on_grid(values.clamp(0.0 if rectify else -_LARGEST, _LARGEST), _ACTIVATION)


class FixedConv2d(nn.Conv2d):
    """A convolution whose weights are multiples of 1/256 in [-4, 4], and biases multiples of 1/4096."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W), multiples of 1/256 at most 32 in size, to sums that `activation` brings back to the grid."""
        weight = on_grid(self.weight.clamp(-_LARGEST_WEIGHT, _LARGEST_WEIGHT), _WEIGHT)
        assert self.bias is not None
        bias = on_grid(self.bias.clamp(-_LARGEST, _LARGEST), _WEIGHT * _ACTIVATION)
        return F.conv2d(input, weight, bias, self.stride, self.padding)


def to_double_precision(network: M) -> M:
    """A copy of a network of `FixedConv2d` that computes without any rounding but its own."""
    return copy.deepcopy(network).cpu().double().eval().requires_grad_(False)
