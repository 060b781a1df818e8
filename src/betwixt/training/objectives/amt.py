"""AMT: IFRNet's losses, with flow distillation to all fields of a pixel.

    frames, t ──► AMT ──► frame t ──────────────────────────► Charbonnier + census against the truth
                   │ features of frame t at 3 levels ───────► + 0.01 · census against the encoder's of the truth
                   │ flows at 3 levels ─────────────────────► + 0.002 · distance to the teacher's flows, with less
    truth, frames ──► teacher ──► F_{t->0}, F_{t->1}            weight where the worst of the final flows disagrees

One stage, any t. The teacher is as for IFRNet (`betwixt.training.objectives.ifrnet`).

Details that the paper leaves open follow the authors' code: the losses are on the frame after its clamp to [0, 1], the
census loss is over 7x7 on the mean of the channels, features and flows are those after the updates.

Reference: Li et al., AMT: All-Pairs Multi-Field Transforms for Efficient Frame Interpolation, CVPR 2023, section 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from betwixt.models.amt.network import AMT, CONFIGS, AMTSynthesis
from betwixt.tables import parse_table
from betwixt.training.objectives.ifrnet import IFRNetSettings, IntermediateFeatureObjective


@dataclass(frozen=True)
class AMTSettings(IFRNetSettings):
    """Settings in [network]: those of IFRNet, with another default weight of the flow distillation."""

    flow: float = 0.002


class AMTObjective(IntermediateFeatureObjective[AMT]):
    """AMT in training; see the module.

    Args:
        name: "amt-s", "amt-l" or "amt-g".
        options: The settings, see `AMTSettings`.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(name, AMT(CONFIGS[name]), parse_table(AMTSettings, options, f"[network] of {name}"))

    @staticmethod
    def finest_flows(output: AMTSynthesis) -> tuple[Tensor, Tensor]:
        """All fields, (N, fields, 2, H, W) for each direction."""
        return output.flows_t0, output.flows_t1
