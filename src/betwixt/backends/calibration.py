"""Calibration of networks for int8: the activation ranges of their convolutions (`activation_ranges`).

Each forward pass records, for every convolution, the 99.99th percentile of its input's magnitude; the range is the 98th
percentile of these records. Two kinds of convolutions stay in floating point: the first of each part of a network,
whose input mixes images and flows, for which one scale cannot serve, and the heads of our own networks. (RIFE's output
layers lose nothing: their inputs are no larger than the layers before.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from torch import Tensor, nn

_SAMPLE_SIZE = 100_000
"""How many values of an input are used at most to estimate a percentile."""

_VALUE_QUANTILE, _PASS_QUANTILE = 0.9999, 0.98
"""Which part of an input's values, and of the forward passes, lies within the activation range."""

_HEAD = "head"
"""The name of the last convolutions of our own networks."""


@contextmanager
def observe_activations(network: nn.Module) -> Iterator[dict[str, list[float]]]:
    """Record, at every forward pass, the magnitude of the input of each convolution that can be quantized."""
    magnitudes: dict[str, list[float]] = {}

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            values = inputs[0].detach().flatten()
            values = values[:: max(1, values.numel() // _SAMPLE_SIZE)].float().abs()
            magnitudes.setdefault(name, []).append(float(np.quantile(values.cpu().numpy(), _VALUE_QUANTILE)))

        return record

    hooks = [module.register_forward_pre_hook(hook(name)) for name, module in _quantizable(network)]
    try:
        yield magnitudes
    finally:
        for handle in hooks:
            handle.remove()


def estimate_ranges(magnitudes: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The activation range of each convolution, from what `observe_activations` recorded.

    Raises:
        ValueError: if the network computed NaN or infinity.
    """
    ranges = {name: max(float(np.quantile(values, _PASS_QUANTILE)), 1e-6) for name, values in magnitudes.items()}
    if not all(math.isfinite(value) for value in ranges.values()):
        raise ValueError("The network computed NaN or infinity.")
    return ranges


def _quantizable(network: nn.Module) -> Iterator[tuple[str, nn.Conv2d | nn.ConvTranspose2d]]:
    """The convolutions that can be quantized: not the first of each part of the network, and no heads."""
    parts_with_convolutions: set[str] = set()
    for name, module in network.named_modules():
        if not isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            continue
        part = name.partition(".")[0]
        plain = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
        if (
            part in parts_with_convolutions
            and plain
            and not any(module.output_padding)
            and name.rpartition(".")[2] != _HEAD
        ):
            yield name, module
        parts_with_convolutions.add(part)
