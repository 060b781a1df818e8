"""Fixed-point networks, which give the same numbers on every machine.

If one probability differs from the encoder's in its last bit, a range decoder reads wrong symbols from there on, and
floating-point convolutions do differ between processors, libraries and numbers of threads. So everything that
probabilities depend on is computed with integers (Balle, Johnston, Minnen: Integer networks for data compression with
latent-variable models, ICLR 2019):

    activations   multiples of 1/16 in [-32, 32]       10 bits
    weights       multiples of 1/256 in [-4, 4]        11 bits
    sums          multiples of 1/4096; fewer than 2^12 products of less than 2^19 steps: below 2^31 in any order

In double precision, which represents integers up to 2^53, every sum is exact, whatever the order of its terms:
`to_double_precision` makes a network compute this way. In training the same quantization happens in single precision,
and gradients pass through it (straight-through estimation).
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ACTIVATION_STEPS = 16.0
_MAX_ACTIVATION = 32.0
_WEIGHT_STEPS = 256.0
_MAX_WEIGHT = 4.0

M = TypeVar("M", bound=nn.Module)


def quantize(values: Tensor, steps: float) -> Tensor:
    """The nearest multiples of 1/steps, with straight-through gradients."""
    return values + (torch.round(values * steps) / steps - values).detach()


def quantize_activations(values: Tensor, rectify: bool = True) -> Tensor:
    """Values as the next layer takes them: multiples of 1/16 in [-32, 32], or in [0, 32] if rectified."""
    return quantize(values.clamp(0.0 if rectify else -_MAX_ACTIVATION, _MAX_ACTIVATION), _ACTIVATION_STEPS)


class FixedPointConv2d(nn.Conv2d):
    """A convolution whose weights are multiples of 1/256 in [-4, 4], and biases multiples of 1/4096 in [-32, 32].

    Its input (N, C, H, W) has to be multiples of 1/256 of at most 32 in magnitude; its output has to go through
    `quantize_activations`.
    """

    def forward(self, input: Tensor) -> Tensor:
        weight = quantize(self.weight.clamp(-_MAX_WEIGHT, _MAX_WEIGHT), _WEIGHT_STEPS)
        assert self.bias is not None
        bias = quantize(self.bias.clamp(-_MAX_ACTIVATION, _MAX_ACTIVATION), _WEIGHT_STEPS * _ACTIVATION_STEPS)
        return F.conv2d(input, weight, bias, self.stride, self.padding)


def to_double_precision(network: M) -> M:
    """A copy of a network of `FixedPointConv2d` for inference, in which every sum is exact."""
    return copy.deepcopy(network).cpu().double().eval().requires_grad_(False)
