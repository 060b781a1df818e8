"""All models by name, collected from the packages that define them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from betwixt.errors import InputError, UsageError, did_you_mean
from betwixt.machine import require_torch
from betwixt.models import (
    amt,
    apr,
    baselines,
    compact,
    daek,
    dis,
    ebme,
    ema_vfi,
    fast,
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

DEFAULT_MODEL = "auto"
"""The best model that can run here; see `choose_model`."""

EFFECTS_MODEL = "compact"
"""The default model of effects and of real-time video."""

_PACKAGES = (fast, dis, compact, hybrid, rife, ifrnet, amt, ema_vfi, daek, ncm, apr, ebme, hierarchical, baselines)
"""In the order in which `betwixt models` lists them."""

MODELS: dict[str, ModelInfo] = {info.name: info for package in _PACKAGES for info in package.MODELS}


def choose_model(name: str = DEFAULT_MODEL, weights: object = None) -> str:
    """The model that a name stands for: "auto" is `hybrid`.

    Raises:
        UsageError: if weights are given for "auto".
    """
    if name != DEFAULT_MODEL:
        return name
    if weights is not None:
        raise UsageError("Say which model the weights are for: pass `model`, a name that `betwixt models` lists.")
    return "hybrid"


def model_info(name: str) -> ModelInfo:
    """The entry of a model, or of the one that "auto" stands for.

    Raises:
        UsageError: if there is no such model.
    """
    name = choose_model(name)
    if name in rife.SAME_LAYERS:
        same = rife.SAME_LAYERS[name]
        raise UsageError(f"{name} has the layers of {same}, and is run by its name: {same}, with weights of {name}.")
    if name not in MODELS:
        raise UsageError(f"There is no model '{name}': {did_you_mean(name, MODELS, 'see `betwixt models`')}")
    return MODELS[name]


def network_config(name: str, hyperparameters: Mapping[str, Any] | None = None) -> Any:
    """The configuration of a model's network; None if it takes none.

    `hyperparameters` are fields that differ from the registered configuration, as JSON holds them (lists for tuples).

    Raises:
        InputError: if a hyper-parameter is unknown or has a value that makes no network.
    """
    registered = model_info(name).registered_config()
    if not hyperparameters or registered is None:
        return registered
    table = {**asdict(registered), **hyperparameters}
    try:
        return parse_table(type(registered), table, f"the hyper-parameters of {name}")
    except (UsageError, ValueError, TypeError) as error:
        raise _no_network(error) from None


def load_network(name: str, hyperparameters: Mapping[str, Any] | None = None) -> Network:
    """Build the network of a model, without trained weights; `hyperparameters` are as for `network_config`.

    Raises:
        UsageError: if the model has no network, or PyTorch is not installed.
        InputError: if the hyper-parameters make no network.
    """
    info = model_info(name)
    if not info.has_network:
        raise UsageError(f"The model {name} has no network: it learns nothing.")
    require_torch(f"The model {name}")
    config = network_config(name, hyperparameters)
    try:
        return info.build(config)
    except (ValueError, TypeError) as error:
        if not hyperparameters:
            raise
        raise _no_network(error) from None


def _no_network(error: Exception) -> InputError:
    return InputError(f"No network can be built: {str(error).rstrip('.')}.")
