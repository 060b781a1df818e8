"""APR-VFI: a curriculum of three stages, the last with routing.

    stage      synthesis over      trained                     loss
    "frame"    whole frames        motion, context, synthesis  Charbonnier + 0.1 census
    "patches"  patches of 64x64    context, synthesis          Charbonnier + 0.1 census
    "routed"   routed patches      context, synthesis, router  Charbonnier + 0.1 census + 0.01 |M - M'|   (equation 4)

In the last stage the routes M are a straight-through Gumbel-softmax sample; M' is the reference route map, which
depends on how much the splatted frames differ, or on another difference (`supervision`, table 4). `keep` sets the
fractions of the patches that M' lets pass.

The paper trains the motion estimator from scratch in the first stage and freezes it in the others. With `weights`, the
estimator is a trained one (EBME's, whose design it follows) and frozen in all stages.

`apr-static` is the network without a router; a recipe trains it in the first stage, or in the first two. `apr` can
start from its weights (`static`), with only the router untrained.

What the paper leaves open: the census loss is that of EBME, by the same authors: 7x7 on the luma; the route loss is a
mean. See `betwixt.models.apr.network` for the rest.

Reference: Chen et al., Alignment-aware Patch-level Routing for Dynamic Video Frame Interpolation, section 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from betwixt.errors import UsageError
from betwixt.models.apr.network import (
    APR,
    CONFIGS,
    APRSynthesis,
    Fusion,
    patch_difference,
    rank_routes,
    route_loss,
)
from betwixt.tables import parse_table
from betwixt.training.losses import census, charbonnier
from betwixt.training.objectives.base import Batch, LossTerms, full_precision
from betwixt.training.objectives.common import PaperObjective, load_ebme, weighted_sum
from betwixt.weights.load import match_tensors, read_tensors

_STAGES = ("frame", "patches", "routed")


@dataclass(frozen=True)
class APRSettings:
    """Settings in [network].

    Attributes:
        keep: For blocks 1 to 4, the fraction of the patches that the reference routes let pass (table 3).
        patch: Side of a patch, a multiple of 4 (table 2).
        fusion: The inputs of the last convolution (table 5).
        census: Weight of the census loss, lambda_1.
        route: Weight of the route loss, lambda_2.
        supervision: What the reference routes rank patches by (table 4): how much the warped frames differ ("warped"),
            how much the two frames differ ("image"), or the error of the network's own frame ("reconstruction").
        temperature: Of the Gumbel-softmax.
        weights: A weights file of EBME for the estimator, which is then frozen; "installed": the installed weights; "":
            the estimator is trained in the first stage.
        static: A weights file of `apr-static` to start from.
    """

    keep: tuple[float, ...] = (0.1, 0.4, 0.6, 0.9)
    patch: int = 64
    fusion: Fusion = "add&norm"
    census: float = 0.1
    route: float = 0.01
    supervision: Literal["warped", "image", "reconstruction"] = "warped"
    temperature: float = 1.0
    weights: str = ""
    static: str = ""


class APRObjective(PaperObjective):
    """APR-VFI in training; the options are `APRSettings`."""

    training_network: APR

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(name, "between")
        self.settings = settings = parse_table(APRSettings, options, f"[network] of {name}")
        self.stages = _STAGES if name == "apr" else _STAGES[:2]
        config = replace(CONFIGS[name], keep=settings.keep, patch=settings.patch, fusion=settings.fusion)
        try:
            self.training_network = APR(config)
        except ValueError as error:
            raise UsageError(f"[network] of {name} is not valid: {error}") from None
        if self.training_network.router is not None:
            self.training_network.router.temperature = settings.temperature
        if settings.static:
            # These weights have no router; ours keeps its initial values.
            path, network = Path(settings.static).expanduser(), self.training_network
            router = {name: value for name, value in network.state_dict().items() if name.startswith("router.")}
            network.load_state_dict(match_tensors(network, {**router, **read_tensors(path)}, path).tensors)
        if settings.weights:
            ebme = load_ebme("" if settings.weights == "installed" else settings.weights)
            self.training_network.estimator.load_state_dict(ebme.estimator.state_dict())
        self.begin_stage(self.stages[0])

    def begin_stage(self, stage: str) -> None:
        """Set the mode, and freeze what the stage does not train."""
        self.training_network.stage(1 + _STAGES.index(stage))
        if self.settings.weights:
            self.training_network.estimator.requires_grad_(False)

    def loss(self, batch: Batch, progress: float) -> LossTerms:
        """Equation 4; without its last term before the stage "routed"."""
        network = self.training_network
        output = network(batch.frame0, batch.frame1, batch.t)
        with full_precision(batch.truth):
            frame = output.frame.float()
            terms = {"reconstruction": charbonnier(frame, batch.truth), "census": census(frame, batch.truth)}
            if network.mode == "routed":
                terms["route"] = route_loss(output.routes, self._reference(batch, output))
        loss = weighted_sum(terms, {"census": self.settings.census, "route": self.settings.route})
        if network.mode == "routed":
            loss.parts.update({f"kept {k + 1}": kept for k, kept in enumerate(output.kept.mean(dim=0))})
        return loss

    def _reference(self, batch: Batch, output: APRSynthesis) -> Tensor:
        """The reference routes M' (N, blocks, n_h, n_w), by the difference that `supervision` names."""
        network, supervision = self.training_network, self.settings.supervision
        if supervision == "warped":
            return network.reference(output.warped)
        with torch.no_grad():
            if supervision == "image":
                difference = batch.frame0 - batch.frame1
            else:
                difference = output.frame.float() - batch.truth
            return rank_routes(patch_difference(difference, network.config.patch), network.config.keep)
