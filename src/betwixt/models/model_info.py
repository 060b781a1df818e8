"""`ModelInfo`: what a paper's package registers about each of its models.

A package `betwixt.models.<paper>` lists its models in `MODELS`. Nothing there imports PyTorch or OpenCV: networks,
configurations and interpolators are named by reference, `"module:name"` or `"module:name[key]"`, and imported when a
model is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from betwixt.models.references import resolve

if TYPE_CHECKING:
    from betwixt.models.base import Interpolator
    from betwixt.models.network import Network


@dataclass(frozen=True)
class ModelInfo:
    """A model, before it is loaded.

    Attributes:
        name: The name that `load_model` takes.
        summary: What it is, in a few words.
        parameters: The number of parameters at inference; 0 without a network.
        config: Reference to the configuration, a frozen dataclass; "" if `network` takes none.
        paper: The paper it implements, or "none: .." for a method of Betwixt's own.
        weights: "not needed", "embedded" (they come with Betwixt) or "yours" (the user brings them).
        licence: The licence of the implementation here.
        network: Reference to what builds the network from a configuration; "" for a model without a network.
        changes: Fields of the configuration that differ at inference, e.g. no teacher.
        arguments: Further keyword arguments of `network`.
        trained_part: The submodule of the network whose weights the file holds; "" for the whole network.
        embedded: The name of its weights file in weights/embedded, or "".
        interpolator: Reference to its `Interpolator` class, for models without a network and for Betwixt's own
            networks; the papers' networks all run in one class, `betwixt.runtime`'s.
        components: Other models whose trained networks its interpolator needs.
        sequences_only: Whether it works on whole sequences: it can be evaluated, but not used for conversions.
        extrapolates: Whether it makes the frame after two frames, and none between them.
        takes_masks: Whether it takes masks with the frames.
    """

    name: str
    summary: str
    parameters: int = 0
    config: str = ""
    _: KW_ONLY
    paper: str
    weights: str = "not needed"
    licence: str = "MIT"
    network: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    trained_part: str = ""
    embedded: str = ""
    interpolator: str = ""
    components: tuple[str, ...] = ()
    sequences_only: bool = False
    extrapolates: bool = False
    takes_masks: bool = False

    @property
    def has_network(self) -> bool:
        """Whether it is a neural network, with weights."""
        return bool(self.network)

    @property
    def is_own(self) -> bool:
        """Whether it is one of Betwixt's own networks, whose weights and graphs are embedded."""
        return bool(self.network and self.interpolator)

    @property
    def runtimes(self) -> tuple[str, ...]:
        """What can run it: "openvino", "onnxruntime", "torch"; "native" without a network."""
        if not self.has_network:
            return ("native",)
        return ("openvino", "onnxruntime", "torch")

    def make_interpolator(self, *arguments: Any) -> Interpolator:
        """Import its interpolator class and create one; `arguments` are passed on."""
        interpolator: Interpolator = resolve(self.interpolator)(*arguments)
        return interpolator

    def registered_config(self) -> Any:
        """The configuration it is registered with; None if its network takes none."""
        return replace(resolve(self.config), **self.changes) if self.config else None

    def trained_module(self, network: Network) -> Any:
        """The part of its network whose weights its file holds."""
        return network.get_submodule(self.trained_part)

    def build(self, config: Any) -> Network:
        """Its network without trained weights, with a configuration; None for a network that takes none."""
        positional = () if config is None else (config,)
        network: Network = resolve(self.network)(*positional, **self.arguments)
        return network
