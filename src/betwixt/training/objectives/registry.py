"""The objectives by the names of the networks that they train."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from betwixt.errors import UsageError
from betwixt.training.objectives.base import Objective
from betwixt.weights.store import RIFE

__all__ = ["EMBEDDED_WEIGHTS", "OBJECTIVES", "make_objective"]


def _late(module: str, name: str) -> Callable[[Mapping[str, Any]], Objective]:
    """A maker that imports when it is called; `name` is a class or function that takes the options of [network]."""

    def make(options: Mapping[str, Any]) -> Objective:
        objective: Objective = getattr(import_module(f"betwixt.training.objectives.{module}"), name)(options)
        return objective

    return make


def _paper(module: str, kind: str, *networks: str) -> dict[str, Callable[[Mapping[str, Any]], Objective]]:
    """Makers of one class for several networks of `betwixt models`, whose name it takes before the options."""

    def maker(network: str) -> Callable[[Mapping[str, Any]], Objective]:
        def make(options: Mapping[str, Any]) -> Objective:
            objective: Objective = getattr(import_module(f"betwixt.training.objectives.{module}"), kind)(
                network, options
            )
            return objective

        return make

    return {network: maker(network) for network in networks}


OBJECTIVES: dict[str, Callable[[Mapping[str, Any]], Objective]] = {
    "codec": _late("codec", "CodecObjective"),
    **_paper("compact", "CompactObjective", "compact", "compact-large"),
    **_paper("hybrid", "HybridObjective", "hybrid"),
    **_paper("rife", "RIFEObjective", "rife", "rife-m", "rife-2r", "rife-4.6", "rife-4.22-lite", "rife-4.25"),
    **_paper("daek", "DAEKObjective", "daek"),
    **_paper("ncm", "NCMObjective", "ncm-base", "ncm-large", "ncm-base-next", "ncm-large-next"),
    **_paper("apr", "APRObjective", "apr-static", "apr"),
    **_paper("ifrnet", "IFRNetObjective", "ifrnet-s", "ifrnet", "ifrnet-l"),
    **_paper("amt", "AMTObjective", "amt-s", "amt-l", "amt-g"),
    **_paper("ema_vfi", "EMAVFIObjective", "ema-vfi-small", "ema-vfi"),
    **_paper("ebme", "EBMEObjective", "ebme"),
    **_paper(
        "hierarchical",
        "HierarchicalObjective",
        *("rife+hm", "rife-m+hm", "rife-2r+hm", "ifrnet-s+hm", "ifrnet+hm", "ifrnet-l+hm"),
        *("amt-s+hm", "amt-l+hm", "amt-g+hm", "ema-vfi-small+hm", "ema-vfi+hm"),
    ),
}
"""By the `name` of a recipe's [network]: what makes the objective from the other settings of that table.

A maker refuses unknown options with `UsageError` (`betwixt.tables.parse_table` does).
"""


EMBEDDED_WEIGHTS: dict[str, tuple[str, ...]] = {
    "codec": ("compact.safetensors",),
    "hybrid": ("compact.safetensors", RIFE),
}
"""Files of weights/embedded that a network learns beside or begins with, by its name; they travel with it
(`betwixt.training.pack`)."""


def make_objective(table: Mapping[str, Any]) -> Objective:
    """The objective of a recipe's [network] table: its `name`, and that objective's options.

    Raises:
        UsageError: if there is no such objective, or an option is unknown or of the wrong type.
    """
    options = dict(table)
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in OBJECTIVES:
        raise UsageError(f"No objective is called {name!r}: [network] takes name = one of {', '.join(OBJECTIVES)}.")
    return OBJECTIVES[name](options)
