"""IFRNet: reconstruction, geometry consistency, and task-oriented flow distillation.

    frames, t ──► IFRNet ──► frame t ───────────────────────► Charbonnier + census to the truth
                     │ features of frame t at 3 levels ─────► + 0.01 · census to the encoder's of the truth
                     │ flows at 3 levels ───────────────────► + 0.01 · distance to the teacher's, softened where the
    truth, frames ──► teacher ──► F_{t->0}, F_{t->1}            final flow disagrees with them

All in one stage, any t. The teacher is a given flow network, between the true frame and either frame. The paper's is
LiteFlowNet; here it is EBME's (`flow_teacher = "ebme"`), or the exact motion where the data knows it ("exact":
synthetic samples), or none ("off", as the authors train on GoPro).

Where the paper is silent, the authors' program is followed: the losses see the frame after its clamp to [0, 1], the
census loss is over 7x7 on the mean of the channels, the features of the truth get a gradient too.

Reference: Kong et al., IFRNet: Intermediate Feature Refine Network for Efficient Frame Interpolation, CVPR 2022,
section 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from betwixt.models.amt import AMTSynthesis
from betwixt.models.ifrnet import CONFIGS, IFRNet, IFRNetSynthesis
from betwixt.models.network import Network
from betwixt.training.losses import census, charbonnier, geometry
from betwixt.training.objective import Batch, Terms, full_precision
from betwixt.training.objectives.common import (
    FlowTeacher,
    PaperObjective,
    TeacherName,
    read_options,
    summed,
)

__all__ = ["IFRNetObjective", "IFRNetOptions", "intermediate_loss"]


@dataclass(frozen=True)
class IFRNetOptions:
    """Of [network].

    Attributes:
        geometry: Weight of the geometry consistency.
        flow: Weight of the flow distillation.
        flow_teacher: Whose flows are learned; see the module.
        flow_weights: A file of weights of EBME for it; "" for what `betwixt weights` has installed.
    """

    geometry: float = 0.01
    flow: float = 0.01
    flow_teacher: TeacherName = "ebme"
    flow_weights: str = ""


class IFRNetObjective(PaperObjective):
    """IFRNet; see the module.

    Args:
        name: "ifrnet-s", "ifrnet" or "ifrnet-l".
        options: `IFRNetOptions`.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        chosen = read_options(IFRNetOptions, options, name)
        super().__init__(name, "between")
        self.options = chosen
        self.taught = IFRNet(CONFIGS[name])
        self.flow_teacher = FlowTeacher(chosen.flow_teacher, chosen.flow_weights)

    @property
    def network(self) -> Network:
        """The network."""
        return self.taught

    def loss(self, batch: Batch, done: float) -> Terms:
        """L_r + 0.01 L_g + 0.01 L_d."""
        pair = self.taught.pair(batch.frame0, batch.frame1)
        found = self.taught.at(pair, batch.t)
        features = self.taught.encode_truth(pair, batch.truth)
        finest = found.flow_t0, found.flow_t1
        return intermediate_loss(found, finest, features, batch, self.flow_teacher, self.options)


def intermediate_loss(
    found: IFRNetSynthesis | AMTSynthesis,
    finest: tuple[Tensor, Tensor],
    features: Sequence[Tensor],
    batch: Batch,
    teacher: FlowTeacher,
    options: IFRNetOptions,
) -> Terms:
    """The loss of a network that guesses features of frame t: reconstruction, geometry consistency, flow distillation.

    Args:
        found: What the network makes of the batch.
        finest: The flows F_{t->0} and F_{t->1} at full size, (N, 2, H, W), or (N, fields, 2, H, W) for AMT.
        features: The encoder's of the true frame t, as `found.features`.
        batch: What it was made of.
        teacher: Of the flows.
        options: The weights.
    """
    with full_precision(batch.truth):
        frame = found.frame.float()
        consistency = [geometry(a.float(), b.float()) for a, b in zip(found.features, features, strict=True)]
        parts = {
            "reconstruction": charbonnier(frame, batch.truth),
            "census": census(frame, batch.truth, form="ifrnet"),
            "geometry": torch.stack(consistency).sum(),
        }
        if teacher.name != "off":
            parts["flow"] = teacher.distillation(
                batch,
                [finest[0], *(flow[:, :2] for flow in found.level_flows)],
                [finest[1], *(flow[:, 2:] for flow in found.level_flows)],
            )
    return summed(parts, {"geometry": options.geometry, "flow": options.flow})
