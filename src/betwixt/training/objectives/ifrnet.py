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

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from betwixt.models.amt.network import AMT
from betwixt.models.ifrnet.network import CONFIGS, IFRNet, IFRNetSynthesis
from betwixt.training.losses import census, charbonnier, geometry
from betwixt.training.objectives.base import Batch, LossTerms, full_precision
from betwixt.training.objectives.common import (
    FlowTeacher,
    PaperObjective,
    TeacherName,
    read_options,
    weighted_sum,
)

__all__ = ["IFRNetObjective", "IFRNetSettings", "IntermediateObjective"]

NetworkT = TypeVar("NetworkT", IFRNet, AMT)


@dataclass(frozen=True)
class IFRNetSettings:
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


class IntermediateObjective(PaperObjective, Generic[NetworkT]):
    """A network that guesses features of frame t: reconstruction, geometry consistency, flow distillation.

    Args:
        name: The network's.
        network: The network.
        options: The weights of the losses, and the teacher.
    """

    def __init__(self, name: str, network: NetworkT, options: IFRNetSettings) -> None:
        super().__init__(name, "between")
        self.settings = options
        self.training_network: NetworkT = network
        self.flow_teacher = FlowTeacher(options.flow_teacher, options.flow_weights)

    @property
    def network(self) -> NetworkT:
        """The network."""
        return self.training_network

    @staticmethod
    @abstractmethod
    def finest(found: Any) -> tuple[Tensor, Tensor]:
        """F_{t->0} and F_{t->1} at full size, (N, 2, H, W), or (N, fields, 2, H, W), of what the network makes."""

    def loss(self, batch: Batch, done: float) -> LossTerms:
        """L_r + `geometry` L_g + `flow` L_d."""
        pair = self.training_network.pair(batch.frame0, batch.frame1)
        found: Any = self.training_network.at(pair, batch.t)
        features = self.training_network.encode_truth(pair, batch.truth)
        with full_precision(batch.truth):
            frame = found.frame.float()
            consistency = [geometry(a.float(), b.float()) for a, b in zip(found.features, features, strict=True)]
            parts = {
                "reconstruction": charbonnier(frame, batch.truth),
                "census": census(frame, batch.truth, form="ifrnet"),
                "geometry": torch.stack(consistency).sum(),
            }
            if self.flow_teacher.name != "off":
                to_0, to_1 = self.finest(found)
                parts["flow"] = self.flow_teacher.distillation(
                    batch,
                    [to_0, *(flow[:, :2] for flow in found.level_flows)],
                    [to_1, *(flow[:, 2:] for flow in found.level_flows)],
                )
        return weighted_sum(parts, {"geometry": self.settings.geometry, "flow": self.settings.flow})


class IFRNetObjective(IntermediateObjective[IFRNet]):
    """IFRNet; see the module.

    Args:
        name: "ifrnet-s", "ifrnet" or "ifrnet-l".
        options: `IFRNetSettings`.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(name, IFRNet(CONFIGS[name]), read_options(IFRNetSettings, options, name))

    @staticmethod
    def finest(found: IFRNetSynthesis) -> tuple[Tensor, Tensor]:
        """The two flows."""
        return found.flow_t0, found.flow_t1
