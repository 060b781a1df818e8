"""All models by name, collected from the packages that define them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from betwixt.errors import InputError, UsageError
from betwixt.machine import is_installed, require_torch, torch_version
from betwixt.models import (
    amt,
    apr,
    baselines,
    compact,
    daek,
    dis,
    ebme,
    ema_vfi,
    hierarchical,
    hybrid,
    ifrnet,
    ncm,
    rife,
)
from betwixt.models.model_info import ModelInfo
from betwixt.tables import parse_table

if TYPE_CHECKING:
    from betwixt.models.network import Network

__all__ = ["DEFAULT_MODEL", "EFFECTS_MODEL", "MODELS", "choose_model", "load_network", "model_info"]

DEFAULT_MODEL = "auto"
"""The best model that can run here; see `choose_model`."""

EFFECTS_MODEL = "compact"
"""The default model of effects and of real-time video."""

_PACKAGES = (dis, compact, hybrid, rife, ifrnet, amt, ema_vfi, daek, ncm, apr, ebme, hierarchical, baselines)
"""In the order in which `betwixt models` lists them."""

MODELS: dict[str, ModelInfo] = {info.name: info for package in _PACKAGES for info in package.MODELS}


def choose_model(name: str = DEFAULT_MODEL, weights: object = None) -> str:
    """The model that a name stands for: "auto" is `hybrid`, or `dis` where the packages for networks are missing.

    Args:
        name: A model's name, or "auto".
        weights: The weights to load into it, if any were given.

    Raises:
        UsageError: if weights are given for "auto".
    """
    if name != DEFAULT_MODEL:
        return name
    if weights is not None:
        raise UsageError("Say which model the weights are for: pass `model`, a name that `betwixt models` lists.")
    return "hybrid" if torch_version() and is_installed("safetensors") else "dis"


def model_info(name: str) -> ModelInfo:
    """The entry of a model, or of the one that "auto" stands for.

    Raises:
        UsageError: if there is no such model.
    """
    name = choose_model(name)
    if name not in MODELS:
        raise UsageError(f"There is no model '{name}': choose one of {', '.join(sorted(MODELS))}.")
    return MODELS[name]


def load_network(name: str, hyperparameters: Mapping[str, Any] | None = None) -> Network:
    """Build the network of a model, without trained weights.

    Args:
        name: The model.
        hyperparameters: Fields of its configuration that differ from the registered ones, as JSON holds them (lists
            for tuples).

    Raises:
        UsageError: if the model has no network, or PyTorch is not installed.
        InputError: if a hyper-parameter is unknown or its value makes no network.
    """
    info = model_info(name)
    if not info.has_network:
        raise UsageError(f"The model {name} has no network: it learns nothing.")
    require_torch(f"The model {name}")
    if not hyperparameters:
        return info.build()
    where = f"the hyper-parameters of {name}"
    registered = info.registered_config()
    try:
        config = parse_table(type(registered), {**asdict(registered), **hyperparameters}, where)
        return info.build(config)
    except (UsageError, ValueError, TypeError) as error:
        text = str(error).rstrip(".")
        raise InputError(f"No network can be built: {text}.") from None
