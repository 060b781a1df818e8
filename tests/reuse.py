"""Models that tests share."""

from __future__ import annotations

import functools
from typing import Any

from betwixt.models.base import Interpolator
from betwixt.models.registry import choose_model
from betwixt.runtime import load

__all__ = ["load_model_once"]


def load_model_once(name: str, device: str = "auto", *, weights: Any = None, runtime: str = "auto") -> Interpolator:
    """Load a model, or return the one that was loaded before, for conversions whose tests are not about models.

    Conversions accept loaded models, so a model serves any number of them. Weights from a file are loaded each time.
    """
    if weights is not None:
        return load.load_model(name, device, weights=weights, runtime=runtime)
    return _load_embedded(choose_model(name), device, runtime)


@functools.cache
def _load_embedded(name: str, device: str, runtime: str) -> Interpolator:
    return load.load_model(name, device, runtime=runtime)
