"""Hosts with hierarchical motion, and without it, by one loss: how the paper compares them.

    frames, masks ──► host with the plug-in ──► frame t ─────────────────► Charbonnier to the truth
                          └► flows and mask of the plug-in alone ──► frames warped and fused ──► + 0.1 · Charbonnier

That is equation 13; without the plug-in (`plug_in = false`) only the first line is left, equation 12, by which the
paper trains every host anew. All in one stage, from random weights, or from a host's (`host`).

Masks are the regions of both frames of a crop (`betwixt.masks.regions`), found where the samples are drawn.

Where the paper is silent: the exponent of the Charbonnier loss is 1/2, as in IFRNet's; the loss is over the frame after
the host's clamp to [0, 1].

Reference: Aligning Anything: Hierarchical Motion Estimation for Video Frame Interpolation, appendix A.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import Tensor

from betwixt.layers.ifblock import FlowEstimate
from betwixt.masks.regions import find_regions
from betwixt.models.hierarchical.network import ABLATIONS, Hierarchical
from betwixt.models.network import MaskPair, Network, Synthesis
from betwixt.models.registry import load_network
from betwixt.training.losses import charbonnier
from betwixt.training.objectives.base import Batch, LossTerms, full_precision
from betwixt.training.objectives.common import PaperObjective, read_options, weighted_sum
from betwixt.weights.load import load_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from betwixt.training.sample import TrainingSample

__all__ = ["HierarchicalObjective", "hierarchical_loss"]

Ablation = Literal["full", "hce-0", "hce-1", "hce-2", "hir-1", "hir-2", "hir-3", "zero-masks"]


@dataclass(frozen=True)
class HierarchicalSettings:
    """Of [network].

    Attributes:
        plug_in: Whether there is one; without it the host alone learns, by the same loss.
        weight: Of the plug-in's own result in the loss.
        ablation: One of `betwixt.models.hierarchical.network.ABLATIONS`.
        host: A file of the host's weights to start from; what the plug-in has beside starts at random.
    """

    plug_in: bool = True
    weight: float = 0.1
    ablation: Ablation = "full"
    host: str = ""


def hierarchical_loss(found: Synthesis, alone: FlowEstimate | None, truth: Tensor) -> dict[str, Tensor]:
    """The parts of equation 13, the second unweighed; of equation 12 where there is no plug-in.

    Args:
        found: What the network makes of the frames.
        alone: What the plug-in alone would make, `Hierarchical.trained`.
        truth: (N, 3, H, W), the true frame t.
    """
    with full_precision(truth):
        parts = {"reconstruction": charbonnier(found.frame.float(), truth)}
        if alone is not None:
            parts["plug-in"] = charbonnier(alone.merged.float(), truth)
    return parts


class HierarchicalObjective(PaperObjective):
    """A host with the plug-in; see the module.

    Args:
        name: Of a model whose name ends in "+hm".
        options: `HierarchicalSettings`.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        settings = read_options(HierarchicalSettings, options, name)
        host = name.removesuffix("+hm")
        network: Network = load_network(name if settings.plug_in else host)
        if isinstance(network, Hierarchical) and settings.ablation != "full":
            network = Hierarchical(network.host, ABLATIONS[settings.ablation])
        super().__init__(name if settings.plug_in else host, "between" if network.any_time else "middle")
        self.settings = settings
        self.training_network = network
        if settings.host:
            plain = load_network(host) if settings.plug_in else network
            load_weights(plain, Path(settings.host).expanduser())
            if isinstance(network, Hierarchical):
                network.adopt(plain.state_dict())

    @property
    def network(self) -> Network:
        """The network."""
        return self.training_network

    def prepare(self, rng: np.random.Generator, sample: TrainingSample) -> dict[str, NDArray[Any]]:
        """The label maps of both frames, (S, S, 2)."""
        super().prepare(rng, sample)
        if not isinstance(self.training_network, Hierarchical) or not self.training_network.config.masks:
            return {}
        first, _, second = (np.ascontiguousarray(image) for image in sample.images)
        masks = find_regions(first, second)
        return {"labels": np.stack((masks.labels0, masks.labels1), axis=-1)}

    def loss(self, batch: Batch, done: float) -> LossTerms:
        """Equation 13, or 12."""
        if not isinstance(self.training_network, Hierarchical):
            found = self.training_network(batch.frame0, batch.frame1, batch.t)
            return weighted_sum(hierarchical_loss(found, None, batch.truth))
        labels = batch.extra.get("labels")
        masks = None
        if labels is not None:
            masks = MaskPair(labels[:, 0], labels[:, 1], int(labels.max()) + 1)
        pair = self.training_network.pair(batch.frame0, batch.frame1, masks)
        found, alone = self.training_network.trained(pair, batch.t)
        return weighted_sum(hierarchical_loss(found, alone, batch.truth), {"plug-in": self.settings.weight})
