"""AMT: IFRNet's losses, with flow distillation that heeds all of a pixel's flows.

    frames, t ──► AMT ──► frame t ──────────────────────────► Charbonnier + census to the truth
                   │ features of frame t at 3 levels ───────► + 0.01 · census to the encoder's of the truth
                   │ flows at 3 levels ─────────────────────► + 0.002 · distance to the teacher's, softened where the
    truth, frames ──► teacher ──► F_{t->0}, F_{t->1}            worst of the final flows disagrees with them

All in one stage, any t; the teacher is as for IFRNet (`betwixt.training.objectives.ifrnet`).

Where the paper is silent, the authors' program is followed: the losses see the frame after its clamp to [0, 1], the
census loss is over 7x7 on the mean of the channels, features and flows are those after the updates.

Reference: Li et al., AMT: All-Pairs Multi-Field Transforms for Efficient Frame Interpolation, CVPR 2023, section 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from betwixt.models.amt.network import AMT, CONFIGS, AMTSynthesis
from betwixt.training.objectives.common import read_options
from betwixt.training.objectives.ifrnet import IFRNetSettings, IntermediateObjective

__all__ = ["AMTObjective"]


@dataclass(frozen=True)
class AMTSettings(IFRNetSettings):
    """Of [network]: IFRNet's, with another weight of the flow distillation."""

    flow: float = 0.002


class AMTObjective(IntermediateObjective[AMT]):
    """AMT; see the module: the reconstruction, 0.01 times the geometry consistency, 0.002 times the flow distillation.

    Args:
        name: "amt-s", "amt-l" or "amt-g".
        options: `AMTSettings`.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(name, AMT(CONFIGS[name]), read_options(AMTSettings, options, name))

    @staticmethod
    def finest(found: AMTSynthesis) -> tuple[Tensor, Tensor]:
        """All flows of a pixel."""
        return found.flows_t0, found.flows_t1
