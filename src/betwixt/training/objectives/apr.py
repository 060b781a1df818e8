"""APR-VFI: a curriculum of three stages, the last with routes.

    stage      synthesis over      trained                     loss
    "frame"    whole frames        motion, context, synthesis  Charbonnier + 0.1 census
    "patches"  patches of 64x64    context, synthesis          the same
    "routed"   patches and routes  context, synthesis, router  the same + 0.01 |M - M'|        (equation 4)

In the last stage the routes are a straight-through Gumbel-softmax sample; M' is the reference route map, by how much
the splatted frames differ. `keep` sets which shares of the patches M' lets pass.

The paper trains the motion estimator from scratch in the first stage and freezes it in the others. With `weights`, the
estimator is a trained one (that of EBME, whose design it follows), and frozen in all stages.

`apr-static` is the network without a router; a recipe trains it in the first stage, or in the first two. What it has
learned can begin `apr` (`static`), whose router then is all that is new.

Where the paper is silent: the census loss is that of EBME, by the same authors: 7x7 on the luma; the route loss is a
mean; see `betwixt.models.apr.network` for the rest.

Reference: Chen et al., Alignment-aware Patch-level Routing for Dynamic Video Frame Interpolation, section 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from betwixt.errors import UsageError
from betwixt.models.apr.network import APR, CONFIGS, Fusion, route_loss
from betwixt.models.network import Network
from betwixt.training.losses import census, charbonnier
from betwixt.training.objectives.base import Batch, LossTerms, full_precision
from betwixt.training.objectives.common import PaperObjective, load_estimator, read_options, weighted_sum
from betwixt.weights.load import match_tensors, read_tensors

__all__ = ["APRObjective"]

_STAGES = ("frame", "patches", "routed")


@dataclass(frozen=True)
class APRSettings:
    """Of [network].

    Attributes:
        keep: For blocks 1 .. 4, what share of the patches the reference routes let pass (table 3).
        patch: Side of a patch, a multiple of 4 (table 2).
        fusion: What the last convolution sees (table 5).
        census: Weight of the census loss, lambda_1.
        route: Weight of the route loss, lambda_2.
        temperature: Of the Gumbel-softmax.
        weights: A file of weights of EBME's estimator, which then is frozen; "installed" for what `betwixt weights` has
            installed; "" trains the estimator in the first stage.
        static: A file of weights of `apr-static` to begin with.
    """

    keep: tuple[float, ...] = (0.1, 0.4, 0.6, 0.9)
    patch: int = 64
    fusion: Fusion = "add&norm"
    census: float = 0.1
    route: float = 0.01
    temperature: float = 1.0
    weights: str = ""
    static: str = ""


class APRObjective(PaperObjective):
    """APR-VFI; see the module.

    Args:
        name: "apr" or "apr-static".
        options: `APRSettings`.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        settings = read_options(APRSettings, options, name)
        super().__init__(name, "between")
        self.settings = settings
        self.stages = _STAGES if name == "apr" else _STAGES[:2]
        config = replace(CONFIGS[name], keep=settings.keep, patch=settings.patch, fusion=settings.fusion)
        try:
            self.training_network = APR(config)
        except ValueError as error:
            raise UsageError(f"[network] of {name} does not make a network: {error}.") from None
        if self.training_network.router is not None:
            self.training_network.router.temperature = settings.temperature
        if settings.static:
            self._begin_with(Path(settings.static).expanduser())
        if settings.weights:
            trained = load_estimator("" if settings.weights == "installed" else settings.weights)
            self.training_network.estimator.load_state_dict(trained.estimator.state_dict())
        self.begin_stage(self.stages[0])

    @property
    def network(self) -> Network:
        """The network, in the mode of the stage."""
        return self.training_network

    def begin_stage(self, stage: str) -> None:
        """Set the mode, and freeze what the stage does not train."""
        self.training_network.stage(1 + _STAGES.index(stage))
        if self.settings.weights:
            self.training_network.estimator.requires_grad_(False)

    def loss(self, batch: Batch, done: float) -> LossTerms:
        """Equation 4."""
        found = self.training_network(batch.frame0, batch.frame1, batch.t)
        with full_precision(batch.truth):
            frame = found.frame.float()
            parts = {"reconstruction": charbonnier(frame, batch.truth), "census": census(frame, batch.truth)}
            if self.training_network.mode == "routed":
                parts["route"] = route_loss(found.routes, self.training_network.reference(found.warped))
        terms = weighted_sum(parts, {"census": self.settings.census, "route": self.settings.route})
        if self.training_network.mode == "routed":
            terms.parts.update({f"kept {k + 1}": kept for k, kept in enumerate(found.kept.mean(dim=0))})
        return terms

    def _begin_with(self, path: Path) -> None:
        """Load the weights of the network without a router."""
        own = {name: value for name, value in self.training_network.state_dict().items() if name.startswith("router.")}
        self.training_network.load_state_dict(
            match_tensors(self.training_network, {**own, **read_tensors(path)}, path).tensors
        )
