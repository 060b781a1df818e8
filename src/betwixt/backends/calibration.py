"""Calibration of networks for int8: the activation ranges of their convolutions (`activation_ranges`).

Each forward pass records, for every convolution, the range with which quantization of its input has the smallest
squared error: a wider one would waste levels on a few large values, a narrower one would clip too many. The activation
range is the 95th percentile of these records, so that large motion, which is rare, is not clipped. Two kinds of
convolutions stay in floating point: the first of each part of a network, whose input mixes images and flows, for which
one scale cannot serve, and the heads of our own networks. (RIFE's output layers lose nothing: their inputs are no
larger than the layers before.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from betwixt.backends.activation_ranges import ACTIVATION_LEVELS

_RANGES = 2.0 ** np.arange(-6, 10, 0.25)
"""The activation ranges that are compared: 0.016 to 431."""

_SAMPLE_SIZE = 10_000
"""How many values of an input are used at most to estimate an error."""

_PASS_QUANTILE = 0.95
"""Which part of the forward passes has no larger range."""

_HEAD = "head"
"""The name of the last convolutions of our own networks."""


@contextmanager
def observe_activations(network: nn.Module) -> Iterator[dict[str, list[float]]]:
    """Record, at every forward pass, the best range for the input of each convolution that can be quantized."""
    ranges: dict[str, list[float]] = {}

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            values = inputs[0].detach().flatten()
            values = values[:: max(1, values.numel() // _SAMPLE_SIZE)].float().cpu()
            ranges.setdefault(name, []).append(_best_range(values.numpy()))

        return record

    hooks = [module.register_forward_pre_hook(hook(name)) for name, module in _quantizable(network)]
    try:
        yield ranges
    finally:
        for handle in hooks:
            handle.remove()


def estimate_ranges(ranges: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The activation range of each convolution, from what `observe_activations` recorded.

    Raises:
        ValueError: if the network computed NaN or infinity.
    """
    result = {name: float(np.quantile(values, _PASS_QUANTILE)) for name, values in ranges.items()}
    if not all(math.isfinite(value) for value in result.values()):
        raise ValueError("The network computed NaN or infinity.")
    return result


def _best_range(values: NDArray[np.float32]) -> float:
    """Which of `_RANGES` has the smallest squared error when values are quantized with it; NaN if one is not finite."""
    if not np.isfinite(values).all():
        return math.nan
    steps = (_RANGES / -ACTIVATION_LEVELS[0]).astype(np.float32)
    errors = [np.square(np.clip(np.rint(values / step), *ACTIVATION_LEVELS) * step - values).sum() for step in steps]
    return float(_RANGES[np.argmin(errors)])


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
