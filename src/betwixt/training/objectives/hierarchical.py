"""Hierarchical motion: a host network with the plug-in, and the host alone with the same loss for comparison.

    frames, masks ──► host with the plug-in ──► frame t ─────────────────────────► Charbonnier against the truth
                          └► the plug-in's flows and mask ──► frames warped, fused ──► + 0.1 · Charbonnier

That is equation 13. Without the plug-in (`plug_in = false`) only the first line is left: equation 12, with which the
paper retrains every host. One stage, from random weights or from a host's (`host`).

Masks are those of whole frames (`betwixt.training.sample_masks`), cut, mirrored, turned and reversed with the images:
by default their regions. Synthetic scenes, of which only the crop exists, get the regions of the crop.

What the paper leaves open: the exponent of the Charbonnier loss is 1/2, as in IFRNet; the loss is on the frame after
the host's clamp to [0, 1].

Reference: Aligning Anything: Hierarchical Motion Estimation for Video Frame Interpolation, appendix A.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from betwixt.layers.ifblock import FlowEstimate
from betwixt.masks.regions import find_regions
from betwixt.models.hierarchical.network import ABLATIONS, HierarchicalNetwork
from betwixt.models.network import MaskPair, Network, Synthesis
from betwixt.models.registry import load_network
from betwixt.tables import parse_table
from betwixt.training.losses import charbonnier
from betwixt.training.objectives.base import Batch, LossTerms, full_precision
from betwixt.training.objectives.common import PaperObjective, weighted_sum
from betwixt.training.sample import TrainingSample
from betwixt.weights.load import load_weights

Ablation = Literal[
    "full",
    "hce-0",
    "hce-1",
    "hce-2",
    "hir-1",
    "hir-2",
    "hir-3",
    "zero-masks",
    "unwarped",
    "plain-keys",
    "as-written",
]
"""The names of `ABLATIONS`."""


@dataclass(frozen=True)
class HierarchicalSettings:
    """Settings in [network]."""

    plug_in: bool = True  # whether the host has the plug-in; without it the host alone is trained, with the same loss
    weight: float = 0.1  # weight of the loss of the plug-in's own frame
    ablation: Ablation = "full"  # one of `betwixt.models.hierarchical.network.ABLATIONS`
    masks: str = "regions"  # masks of whole frames: regions, open-world, a folder; or "crop": regions of the crop alone
    host: str = ""  # a weights file of the host to start from; the plug-in starts from random weights


def hierarchical_loss(output: Synthesis, plug_in: FlowEstimate | None, truth: Tensor) -> dict[str, Tensor]:
    """The terms of equation 13, unweighted; those of equation 12 without the estimate of the plug-in."""
    with full_precision(truth):
        terms = {"reconstruction": charbonnier(output.frame.float(), truth)}
        if plug_in is not None:
            terms["plug-in"] = charbonnier(plug_in.merged.float(), truth)
    return terms


class HierarchicalObjective(PaperObjective):
    """A host with the plug-in in training; the options are `HierarchicalSettings`."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        settings = parse_table(HierarchicalSettings, options, f"[network] of {name}")
        host = name.removesuffix("+hm")
        model = name if settings.plug_in else host
        network: Network = load_network(model)
        if isinstance(network, HierarchicalNetwork) and settings.ablation != "full":
            network = HierarchicalNetwork(network.host, ABLATIONS[settings.ablation])
        super().__init__(model, "between" if network.any_time else "middle")
        self.settings = settings
        self.training_network = network
        if isinstance(network, HierarchicalNetwork) and network.config.masks and settings.masks != "crop":
            self.masks = settings.masks
        if settings.host:
            plain = load_network(host) if isinstance(network, HierarchicalNetwork) else network
            load_weights(plain, Path(settings.host).expanduser())
            if isinstance(network, HierarchicalNetwork):
                network.load_host_weights(plain.state_dict())

    def prepare(self, rng: np.random.Generator, sample: TrainingSample) -> dict[str, NDArray[Any]]:
        """The label maps of both frames, (S, S, 2): the sample's, or the regions of the crop."""
        super().prepare(rng, sample)
        if not isinstance(self.training_network, HierarchicalNetwork) or not self.training_network.config.masks:
            return {}
        if sample.labels is not None:
            return {"labels": np.ascontiguousarray(np.moveaxis(sample.labels, 0, -1))}
        frame0, _, frame1 = (np.ascontiguousarray(image) for image in sample.images)
        masks = find_regions(frame0, frame1)
        return {"labels": np.stack((masks.labels0, masks.labels1), axis=-1)}

    def loss(self, batch: Batch, progress: float) -> LossTerms:
        """Equation 13; without the plug-in equation 12."""
        network = self.training_network
        if not isinstance(network, HierarchicalNetwork):
            output = network(batch.frame0, batch.frame1, batch.t)
            return weighted_sum(hierarchical_loss(output, None, batch.truth))
        labels = batch.extra.get("labels")
        masks = None if labels is None else MaskPair(labels[:, 0], labels[:, 1], int(labels.max()) + 1)
        pair = network.pair(batch.frame0, batch.frame1, masks)
        output, plug_in = network.at_with_estimate(pair, batch.t)
        return weighted_sum(hierarchical_loss(output, plug_in, batch.truth), {"plug-in": self.settings.weight})
