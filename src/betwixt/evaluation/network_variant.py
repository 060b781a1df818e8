"""A paper's network, changed for a measurement: other hyper-parameters, or test-time augmentation.

    weights file ──► its hyper-parameters ──┐
    --set scales=16,4,1 ────────────────────┴──► network ──► its weights ──► --tta ──► Interpolator

What can be changed without new weights depends on the network: RIFE's `scales`, the `patch` and `mode` of APR-VFI, the
`short_side` of NCM, the `masks` of hierarchical motion. A change that needs other weights is refused when they do not
fit.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from betwixt.errors import UsageError
from betwixt.machine import require_torch
from betwixt.models.base import Interpolator
from betwixt.models.model_info import ModelInfo
from betwixt.models.references import resolve
from betwixt.models.registry import model_info, network_config
from betwixt.runtime.load import find_weights
from betwixt.tables import parse_value
from betwixt.weights.metadata import check_model, read_hyperparameters

if TYPE_CHECKING:
    from betwixt.models.network import Network


@dataclass(frozen=True)
class NetworkVariant:
    """How a network differs from the registered one, or from the one that its weights file describes.

    Attributes:
        hyperparameters: Values by the names of fields of the configuration, or of arguments of the network.
        augmented: Whether results are averaged over the frames and the frames flipped both ways.
        text: The same as text, for tables of results; "" for no difference.
    """

    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    augmented: bool = False
    text: str = ""

    def build(self, name: str, stored: Mapping[str, Any] | None = None) -> Network:
        """The network of a model without trained weights and without augmentation.

        Args:
            name: The model.
            stored: Hyper-parameters of its weights file, where this variant states none.

        Raises:
            UsageError: if it is not the network of a paper, or no network can be built with these values.
            InputError: if the hyper-parameters of the file are not those of the network.
        """
        info = self.check(name)
        require_torch(f"The model {name}")
        registered = info.registered_config()
        known = set() if registered is None else {f.name for f in fields(registered)}
        builder = set(inspect.signature(resolve(info.network)).parameters) - {"config", *info.arguments}
        arguments = {key: value for key, value in self.hyperparameters.items() if key in builder - known}
        own = {key: value for key, value in self.hyperparameters.items() if key not in arguments}
        if registered is None and own:
            raise UsageError(f"`settings`: the network of {name} has nothing called '{next(iter(own))}'.")
        config = network_config(name, {**(stored or {}), **own})
        try:
            return replace(info, arguments={**info.arguments, **arguments}).build(config)
        except (ValueError, TypeError) as error:
            raise UsageError(f"`settings`: no network can be built: {str(error).rstrip('.')}.") from None

    def load(
        self, name: str, device: str = "auto", weights: str | Path | None = None, precision: str = "fp32"
    ) -> Interpolator:
        """The model with this network and trained weights.

        Raises:
            BetwixtError: as for `build`; or if there are no weights, or they do not fit.
        """
        info = self.check(name)
        path = find_weights(name, weights)
        if path.suffix == ".onnx":
            raise UsageError("The network of a graph cannot be changed: leave `settings` and `tta` out.")
        require_torch(f"The model {name}")
        import torch

        from betwixt.weights.load import load_weights, match_file

        check_model(path, name)
        stored = read_hyperparameters(path, name)
        with torch.device("meta"):  # compares sizes with the file before memory is allocated
            match_file(info.trained_module(self.build(name, stored)), path)
        network = self.build(name, stored)
        load_weights(info.trained_module(network), path)
        return self.interpolator(name, network, device, precision)

    def interpolator(self, name: str, network: Network, device: str, precision: str) -> Interpolator:
        """A network as a model, with test-time augmentation if this variant has it."""
        from betwixt.models.augmented import TestTimeAugmented
        from betwixt.models.network import MaskedNetwork
        from betwixt.runtime.network_interpolator import NetworkInterpolator

        if self.augmented:
            if isinstance(network, MaskedNetwork):
                raise UsageError(f"The model {name} takes masks, which `tta` does not flip: leave `tta` out.")
            network = TestTimeAugmented(network)
        return NetworkInterpolator(name, network, device, precision)

    def check(self, name: str) -> ModelInfo:
        """The registry entry of a model.

        Raises:
            UsageError: if it is not the network of a paper.
        """
        info = model_info(name)
        if not info.has_network or info.is_own:
            raise UsageError(f"`settings` and `tta` change the networks of papers: {name} is not one of them.")
        return info

    def __bool__(self) -> bool:
        return bool(self.hyperparameters) or self.augmented


UNCHANGED = NetworkVariant()
"""The network as it is registered, or as its weights file describes it."""


def parse_variant(settings: Sequence[str], augmented: bool = False) -> NetworkVariant:
    """A variant from texts "key=value", with the value as in TOML, or a list of numbers with commas.

    Raises:
        UsageError: if a text has no "=".

    Example:
        >>> parse_variant(["scales=16,4,1"], augmented=True)
        NetworkVariant(hyperparameters={'scales': [16, 4, 1]}, augmented=True, text='scales=16,4,1, tta')
    """
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"`settings`: '{setting}' is not of the form key=value.")
        values[key.strip()] = parse_value(text)
    return NetworkVariant(values, augmented, ", ".join([*settings, *(["tta"] if augmented else [])]))
