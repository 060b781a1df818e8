"""The maps that a paper's network returns besides the frame, taken from its `Synthesis` by the names of the fields.

Estimates of several stages, levels or fields get a number: `stages_1_flow_t0` is that of the first stage. Features,
which have many channels, are left out.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from betwixt.models.maps import IntermediateMap, MapKind, Maps
from betwixt.models.network import Synthesis

_LEVEL_UNIT = "pixels of its level, (x, y)"


def network_maps(synthesis: Synthesis, size: tuple[int, int]) -> Maps:
    """The maps of the first sample of a batch, without padding.

    Args:
        synthesis: What the network returned, for padded frames.
        size: The height and width of the frames without padding.
    """
    padded = synthesis.frame.shape[-2:]
    maps: Maps = {}
    for name, tensor in _tensors("", synthesis):
        height, width = (
            -(-length * part // whole) for length, part, whole in zip(size, tensor.shape[-2:], padded, strict=True)
        )
        for part_name, kind, part in _split(name, tensor[0].float()):
            values = np.ascontiguousarray(part[:, :height, :width].permute(1, 2, 0).cpu().numpy())
            unit = _LEVEL_UNIT if kind == "flow" and part.shape[-2:] != padded else ""
            maps[part_name] = IntermediateMap(kind, values if values.shape[2] > 1 else values[..., 0], unit)
    return maps


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors within a value by name, without the frame itself and without features."""
    prefix = f"{name}_" if name else ""
    if isinstance(value, Tensor):
        if value.ndim >= 4:
            yield name, value
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            if field.name not in ("frame", "features"):
                yield from _tensors(f"{prefix}{field.name}", getattr(value, field.name))
    elif isinstance(value, tuple | list):
        for number, item in enumerate(value, 1):
            yield from _tensors(f"{prefix}{number}", item)


def _split(name: str, tensor: Tensor) -> Iterator[tuple[str, MapKind, Tensor]]:
    """The maps in a tensor (C, h, w) or (fields, C, h, w) of the field `name`, each (C, h, w)."""
    if tensor.ndim == 4:
        for number, field in enumerate(tensor, 1):
            yield from _split(f"{name}_{number}", field)
    elif "flow" in name and len(tensor) == 4:
        yield f"{name}_t0", "flow", tensor[:2]
        yield f"{name}_t1", "flow", tensor[2:]
    elif "flow" in name and len(tensor) == 2:
        yield name, "flow", tensor
    elif name.endswith("logit"):
        yield name.removesuffix("logit") + "mask", "weight", tensor.sigmoid()
    elif re.search(r"mask|covered|routes", name):
        for number, channel in enumerate(tensor, 1):
            yield name if len(tensor) == 1 else f"{name}_{number}", "weight", channel[None]
    elif len(tensor) == 3:
        yield name, "residual" if name.endswith("residual") else "image", tensor
