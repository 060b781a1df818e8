"""Numerical precision: what has to stay in float32 under autocast, such as positions, which 16 bits cannot hold."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """`x` in float32 if it has a 16-bit type; float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def without_autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """A context in which autocast is off on `device`."""
    return torch.autocast(device.type, enabled=False) if device.type != "meta" else contextlib.nullcontext()
