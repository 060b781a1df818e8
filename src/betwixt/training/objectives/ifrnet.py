"""IFRNet: reconstruction, geometry consistency, and task-oriented flow distillation.

    frames, t ──► IFRNet ──► frame t ───────────────────────► Charbonnier + census against the truth
                     │ features of frame t at 3 levels ─────► + 0.01 · census against the encoder's of the truth
                     │ flows at 3 levels ───────────────────► + 0.01 · distance to the teacher's flows, with less
    truth, frames ──► teacher ──► F_{t->0}, F_{t->1}            weight where the final flow disagrees with them

One stage, any t. The teacher is a flow network applied to the true frame and each input frame. The paper uses
LiteFlowNet; here it is EBME's network (`flow_teacher = "ebme"`), or the known motion of synthetic samples ("exact"), or
none ("off", as the authors train on GoPro).

Details that the paper leaves open follow the authors' code: the losses are on the frame after its clamp to [0, 1], the
census loss is over 7x7 on the mean of the channels, and the features of the truth get a gradient, too.

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
from betwixt.tables import parse_table
from betwixt.training.losses import census, charbonnier, geometry
from betwixt.training.objectives.base import Batch, LossTerms, full_precision
from betwixt.training.objectives.common import FlowTeacher, PaperObjective, TeacherName, weighted_sum

NetworkT = TypeVar("NetworkT", IFRNet, AMT)


@dataclass(frozen=True)
class IFRNetSettings:
    """Settings in [network].

    Attributes:
        geometry: Weight of the geometry consistency loss.
        flow: Weight of the flow distillation loss.
        flow_teacher: Where supervision of the flows comes from; see the module.
        flow_weights: The weights of EBME, the teacher; "": the installed ones.
    """

    geometry: float = 0.01
    flow: float = 0.01
    flow_teacher: TeacherName = "ebme"
    flow_weights: str = ""


class IntermediateFeatureObjective(PaperObjective, Generic[NetworkT]):
    """A network that predicts features of frame t: reconstruction, geometry consistency, flow distillation.

    Args:
        name: The model in `betwixt models`.
        network: The network.
        settings: Loss weights and teacher.
    """

    training_network: NetworkT

    def __init__(self, name: str, network: NetworkT, settings: IFRNetSettings) -> None:
        super().__init__(name, "between")
        self.settings = settings
        self.training_network = network
        self.flow_teacher = FlowTeacher(settings.flow_teacher, settings.flow_weights)

    @staticmethod
    @abstractmethod
    def finest_flows(output: Any) -> tuple[Tensor, Tensor]:
        """F_{t->0} and F_{t->1} at full size, (N, 2, H, W) or (N, fields, 2, H, W), in an output of the network."""

    def loss(self, batch: Batch, progress: float) -> LossTerms:
        """L_r + `geometry` L_g + `flow` L_d."""
        pair = self.training_network.pair(batch.frame0, batch.frame1)
        output: Any = self.training_network.at(pair, batch.t)
        true_features = self.training_network.encode_truth(pair, batch.truth)
        with full_precision(batch.truth):
            frame = output.frame.float()
            consistency = [geometry(a.float(), b.float()) for a, b in zip(output.features, true_features, strict=True)]
            terms = {
                "reconstruction": charbonnier(frame, batch.truth),
                "census": census(frame, batch.truth, form="ifrnet"),
                "geometry": torch.stack(consistency).sum(),
            }
            if self.flow_teacher.name != "off":
                flow_t0, flow_t1 = self.finest_flows(output)
                terms["flow"] = self.flow_teacher.distillation(
                    batch,
                    [flow_t0, *(flow[:, :2] for flow in output.level_flows)],
                    [flow_t1, *(flow[:, 2:] for flow in output.level_flows)],
                )
        return weighted_sum(terms, {"geometry": self.settings.geometry, "flow": self.settings.flow})


class IFRNetObjective(IntermediateFeatureObjective[IFRNet]):
    """IFRNet in training; see the module.

    Args:
        name: "ifrnet-s", "ifrnet" or "ifrnet-l".
        options: The settings, see `IFRNetSettings`.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(name, IFRNet(CONFIGS[name]), parse_table(IFRNetSettings, options, f"[network] of {name}"))

    @staticmethod
    def finest_flows(output: IFRNetSynthesis) -> tuple[Tensor, Tensor]:
        """The two final flows, (N, 2, H, W) each."""
        return output.flow_t0, output.flow_t1
