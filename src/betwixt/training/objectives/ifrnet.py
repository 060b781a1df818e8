"""IFRNet and AMT: reconstruction, geometry consistency, and task-oriented flow distillation.

    frames, t ──► network ──► frame t ──────────────────────► Charbonnier + census against the truth
                     │ features of frame t at 3 levels ─────► + 0.01 · census against the encoder's of the truth
                     │ flows at 3 levels ───────────────────► + weight · distance to the teacher's flows, with less
    truth, frames ──► teacher ──► F_{t->0}, F_{t->1}            weight where the final flow disagrees with them

One stage, any t. The weight of the flow distillation is 0.01 for IFRNet and 0.002 for AMT. AMT predicts several flows
per pixel; the one that disagrees most with the teacher counts. The teacher is a flow network applied to the true frame
and each input frame. The papers use LiteFlowNet; here it is EBME's network (`flow_teacher = "ebme"`), or the known
motion of synthetic samples ("exact"), or none ("off", as IFRNet's authors train on GoPro).

Details that the papers leave open follow the authors' code: the losses are on the frame after its clamp to [0, 1], the
census loss is over 7x7 on the mean of the channels, the features of the truth get a gradient, too, and AMT's features
and flows are those after the updates.

References: Kong et al., IFRNet: Intermediate Feature Refine Network for Efficient Frame Interpolation, CVPR 2022,
section 3.3. Li et al., AMT: All-Pairs Multi-Field Transforms for Efficient Frame Interpolation, CVPR 2023, section 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from betwixt.models.amt.network import AMT, AMTSynthesis
from betwixt.models.amt.network import CONFIGS as AMT_CONFIGS
from betwixt.models.ifrnet.network import CONFIGS, IFRNet
from betwixt.tables import parse_table
from betwixt.training.losses import census, charbonnier, geometry
from betwixt.training.objectives.base import Batch, LossTerms, full_precision
from betwixt.training.objectives.common import FlowTeacher, PaperObjective, TeacherName, weighted_sum


@dataclass(frozen=True)
class IFRNetSettings:
    """Settings in [network] of IFRNet."""

    geometry: float = 0.01  # weight of the geometry consistency loss
    flow: float = 0.01  # weight of the flow distillation loss
    flow_teacher: TeacherName = "ebme"  # where supervision of the flows comes from; see the module
    flow_weights: str = ""  # the weights of EBME, the teacher; "": the installed ones


@dataclass(frozen=True)
class AMTSettings(IFRNetSettings):
    """Settings in [network] of AMT: those of IFRNet, with another default weight of the flow distillation."""

    flow: float = 0.002


class IFRNetObjective(PaperObjective):
    """IFRNet or AMT in training; the options are `IFRNetSettings` or `AMTSettings`."""

    training_network: IFRNet | AMT

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(name, "between")
        kind = AMTSettings if name in AMT_CONFIGS else IFRNetSettings
        self.settings = parse_table(kind, options, f"[network] of {name}")
        self.training_network = AMT(AMT_CONFIGS[name]) if name in AMT_CONFIGS else IFRNet(CONFIGS[name])
        self.flow_teacher = FlowTeacher(self.settings.flow_teacher, self.settings.flow_weights)

    def loss(self, batch: Batch, progress: float) -> LossTerms:
        """L_r + `geometry` L_g + `flow` L_d."""
        network: Any = self.training_network
        pair = network.pair(batch.frame0, batch.frame1)
        output = network.at(pair, batch.t)
        true_features = network.encode_truth(pair, batch.truth)
        with full_precision(batch.truth):
            frame = output.frame.float()
            consistency = [geometry(a.float(), b.float()) for a, b in zip(output.features, true_features, strict=True)]
            terms = {
                "reconstruction": charbonnier(frame, batch.truth),
                "census": census(frame, batch.truth, form="ifrnet"),
                "geometry": torch.stack(consistency).sum(),
            }
            if self.flow_teacher.name != "off":
                # IFRNet: (N, 2, H, W). AMT: (N, fields, 2, H, W).
                multi_field = isinstance(output, AMTSynthesis)
                flow_t0 = output.flows_t0 if multi_field else output.flow_t0
                flow_t1 = output.flows_t1 if multi_field else output.flow_t1
                terms["flow"] = self.flow_teacher.distillation(
                    batch,
                    [flow_t0, *(flow[:, :2] for flow in output.level_flows)],
                    [flow_t1, *(flow[:, 2:] for flow in output.level_flows)],
                )
        return weighted_sum(terms, {"geometry": self.settings.geometry, "flow": self.settings.flow})
