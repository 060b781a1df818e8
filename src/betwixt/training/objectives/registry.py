"""The objectives by the names of the networks that they train."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

from betwixt.errors import UsageError
from betwixt.models.rife import V4_MODELS
from betwixt.training.objectives.base import Objective
from betwixt.weights.store import RIFE

_CLASSES = {
    "codec.CodecObjective": ("codec",),
    "compact.CompactObjective": ("compact", "compact-psnr", "compact-large"),
    "hybrid.HybridObjective": ("hybrid", "hybrid-psnr", "hybrid-large"),
    "rife.RIFEObjective": ("rife", "rife-m", "rife-2r", "rife-next", "rife-2r-next", *V4_MODELS),
    "daek.DAEKObjective": ("daek",),
    "ncm.NCMObjective": ("ncm-base", "ncm-large", "ncm-base-next", "ncm-large-next"),
    "apr.APRObjective": ("apr-static", "apr"),
    "ifrnet.IFRNetObjective": ("ifrnet-s", "ifrnet", "ifrnet-l", "amt-s", "amt-l", "amt-g"),
    "ema_vfi.EMAVFIObjective": ("ema-vfi-small", "ema-vfi"),
    "ebme.EBMEObjective": ("ebme",),
    "hierarchical.HierarchicalObjective": (
        *("rife+hm", "rife-m+hm", "rife-2r+hm", "ifrnet-s+hm", "ifrnet+hm", "ifrnet-l+hm"),
        *("amt-s+hm", "amt-l+hm", "amt-g+hm", "ema-vfi-small+hm", "ema-vfi+hm"),
    ),
}


def _construct(path: str, name: str, options: Mapping[str, Any]) -> Objective:
    """Import a class of this package by "module.Class" and call it."""
    module, kind = path.split(".")
    objective: Objective = getattr(import_module(f"betwixt.training.objectives.{module}"), kind)(name, options)
    return objective


OBJECTIVES: dict[str, Callable[[str, Mapping[str, Any]], Objective]] = {
    network: partial(_construct, path) for path, networks in _CLASSES.items() for network in networks
}
"""By the `name` in a recipe's [network]: makes the objective from that name and the other settings of the table.

Unknown settings are refused with `UsageError`.
"""

EMBEDDED_WEIGHTS: dict[str, tuple[str, ...]] = {
    "codec": ("compact.safetensors",),
    "hybrid": ("compact.safetensors", RIFE),
    "hybrid-psnr": ("compact.safetensors", RIFE),
    "hybrid-large": ("compact.safetensors", RIFE),
}
"""By network: the weight files shipped with Betwixt that its training needs (`betwixt.training.pack` includes them)."""


def make_objective(table: Mapping[str, Any]) -> Objective:
    """Make the objective of a recipe's [network] table: its `name`, and the options of that objective.

    Raises:
        UsageError: if there is no such objective, or an option is unknown or of the wrong type.
    """
    options = dict(table)
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in OBJECTIVES:
        raise UsageError(f"There is no objective {name!r}: [network] needs name = one of {', '.join(OBJECTIVES)}.")
    return OBJECTIVES[name](name, options)
