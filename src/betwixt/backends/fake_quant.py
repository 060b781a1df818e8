"""Convolutions whose inputs and weights are rounded to eight bits, and what has to be known of a network for it.

A value x becomes the whole number nearest to 128 x / reach, cut at -128 and 127; each filter's weights w become those
nearest to 127 w / max |w|. OpenVINO recognizes this in a graph, and computes such a convolution in whole numbers.

How far an input reaches is measured: of each time that the network works, what all but one in ten thousand values stay
below; of those, what all but one in fifty stay below. Two kinds of convolutions are left as they are: the first of each
part of a network, which see pictures and flows side by side, for which one scale cannot serve, and the heads of our own
networks. (Those of RIFE, which are no larger than what comes before them, lose nothing.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["FakeQuantConv", "estimate_ranges", "observe_activations", "quantize_network"]

_SAMPLE = 100_000
"""Of how many values of an input their distribution is told."""

_VALUES, _TIMES = 0.9999, 0.98
"""Which part of the values, and of the times that a network works, stays within the reach."""

_HEAD = "head"
"""What our own networks call their last convolutions."""


class FakeQuantConv(nn.Module):
    """A convolution whose input and weights are rounded.

    Args:
        convolution: What it computes.
        reach: The largest magnitude of its input; what goes beyond is cut. Positive.
    """

    scales: Tensor
    zeros: Tensor

    def __init__(self, convolution: nn.Conv2d | nn.ConvTranspose2d, reach: float) -> None:
        super().__init__()
        self.convolution = convolution
        self.step = reach / 128
        self._filters = 1 if isinstance(convolution, nn.ConvTranspose2d) else 0
        others = [axis for axis in range(4) if axis != self._filters]
        largest = convolution.weight.detach().float().abs().amax(others)
        self.register_buffer("scales", largest.clamp(min=1e-12) / 127)
        self.register_buffer("zeros", torch.zeros(len(largest), dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        """What the convolution makes of (N, C, H, W)."""
        x = torch.fake_quantize_per_tensor_affine(x, self.step, 0, -128, 127)
        weight = torch.fake_quantize_per_channel_affine(
            self.convolution.weight, self.scales, self.zeros, self._filters, -127, 127
        )
        how: Any = self.convolution.stride, self.convolution.padding
        convolve = F.conv_transpose2d if isinstance(self.convolution, nn.ConvTranspose2d) else F.conv2d
        return convolve(x, weight, self.convolution.bias, *how)


def quantize_network(network: nn.Module, reaches: Mapping[str, float]) -> None:
    """Round the convolutions of a network, in place.

    Args:
        network: Any.
        reaches: How far the input of a convolution reaches, by its name in the network.

    Raises:
        ValueError: if there is no convolution of a name.
    """
    known = dict(_convolutions(network))
    for name, reach in reaches.items():
        if name not in known:
            raise ValueError(f"There is no convolution '{name}' that could be rounded.")
        parent, _, last = name.rpartition(".")
        setattr(network.get_submodule(parent), last, FakeQuantConv(known[name], reach))


@contextmanager
def observe_activations(network: nn.Module) -> Iterator[dict[str, list[float]]]:
    """Note, each time the network works, how far the input of each convolution that can be rounded reaches."""
    found: dict[str, list[float]] = {}

    def noting(name: str) -> Any:
        def note(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            values = given[0].detach().flatten()
            values = values[:: max(1, values.numel() // _SAMPLE)].float().abs()
            found.setdefault(name, []).append(float(np.quantile(values.cpu().numpy(), _VALUES)))

        return note

    hooks = [module.register_forward_pre_hook(noting(name)) for name, module in _convolutions(network)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def estimate_ranges(found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """What to take for the reaches, of what `observe_activations` has noted.

    Raises:
        ValueError: if the network has computed what is no number.
    """
    reaches = {name: max(float(np.quantile(values, _TIMES)), 1e-6) for name, values in found.items()}
    if not all(math.isfinite(reach) for reach in reaches.values()):
        raise ValueError("The network has computed what is no number.")
    return reaches


def _convolutions(network: nn.Module) -> Iterator[tuple[str, nn.Conv2d | nn.ConvTranspose2d]]:
    """Those that can be rounded: of each part of the network all but the first, and no heads."""
    seen: set[str] = set()
    for name, module in network.named_modules():
        if not isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            continue
        part = name.partition(".")[0]
        plain = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
        if part in seen and plain and not any(module.output_padding) and name.rpartition(".")[2] != _HEAD:
            yield name, module
        seen.add(part)
