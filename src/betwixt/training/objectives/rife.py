"""RIFE, and the RIFE 4 that people run: privileged distillation.

    frames ──► student ──► frame t ─────────────────────► Laplacian loss to the truth
                  │ flows after every block ◄─────────── + 0.01 · distillation, where the teacher is better
    frames, truth ┴──► teacher block ──► merged frame ──► + Laplacian loss to the truth

Total loss (equation 6): L = L_rec + L_rec^Tea + 0.01 L_dis, all three at once, in one stage. L_rec is over the frame
after the residual, L_rec^Tea over the teacher's merged frame.

Where the paper is silent:

- The Laplacian pyramid has five levels, as in the authors' program; `rife-m` keeps the weight 0.01 ("other settings
  unchanged"), where a remark in that program speaks of 0.005 or 0.002: `distillation` sets it.
- RIFE 4 has no paper. Known of its training are the data (Vimeo-90K, later Adobe240 and ATD-12K), any t, AdamW with
  weight decay 1e-4, a flow loss of student to teacher of weight 0.01, and that a reconstruction loss in L1, sometimes
  a perceptual one and a smoothness of the flow were added. What was settings: the paper's objective, with a
  teacher block of the last block's width (`betwixt.models.rife.v4`); `smoothness` adds the Sobel gradient of the final
  flows (0.1 in the published program, whose authors found it to matter for repeated patterns alone; 0 here).

Reference: Huang et al., Real-Time Intermediate Flow Estimation for Video Frame Interpolation, ECCV 2022, section 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from betwixt.models.network import Network
from betwixt.models.rife.network import RIFE, RIFE_2R, RIFE_ECCV, RIFE_M
from betwixt.models.rife.v4 import RIFE_4_6, RIFE_4_22_LITE, RIFE_4_25, RIFEv4
from betwixt.training.losses import laplacian, sobel
from betwixt.training.objectives.base import Batch, LossTerms, full_precision
from betwixt.training.objectives.common import PaperObjective, read_options, weighted_sum, without_training_parts

__all__ = ["RIFEObjective"]

_PAPER = {"rife": RIFE_ECCV, "rife-m": RIFE_M, "rife-2r": RIFE_2R}
_FOUR = {"rife-4.6": RIFE_4_6, "rife-4.22-lite": RIFE_4_22_LITE, "rife-4.25": RIFE_4_25}


@dataclass(frozen=True)
class RIFESettings:
    """Of [network].

    Attributes:
        distillation: Weight of the distillation loss, lambda_d.
        smoothness: Weight of the mean Sobel gradient of the final flows, in pixels.
    """

    distillation: float = 0.01
    smoothness: float = 0.0


class RIFEObjective(PaperObjective):
    """RIFE, its variants and its successors; see the module.

    Args:
        name: "rife", "rife-m", "rife-2r", "rife-4.6", "rife-4.22-lite" or "rife-4.25".
        options: `RIFESettings`.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        settings = read_options(RIFESettings, options, name)
        training_network: RIFE | RIFEv4
        if name in _PAPER:
            training_network = RIFE(_PAPER[name])
        else:
            training_network = RIFEv4(replace(_FOUR[name], teacher=True))
        super().__init__(name, "between" if training_network.any_time else "middle")
        self.settings = settings
        self.training_network = training_network

    @property
    def network(self) -> Network:
        """The student."""
        return without_training_parts(
            self.training_network, block_tea=None, config=replace(self.training_network.config, teacher=False)
        )

    def loss(self, batch: Batch, done: float) -> LossTerms:
        """Equation 6."""
        found = self.training_network.distil(batch.frame0, batch.frame1, batch.t, batch.truth)
        student = found.student
        with full_precision(batch.truth):
            parts = {
                "reconstruction": laplacian(student.frame.float(), batch.truth),
                "teacher": laplacian(found.teacher.merged.float(), batch.truth),
                "distillation": found.loss.float(),
            }
            if self.settings.smoothness:
                assert student.flow_t0 is not None
                assert student.flow_t1 is not None
                flows = torch.cat((student.flow_t0, student.flow_t1), dim=1)
                parts["smoothness"] = sobel(flows, torch.zeros_like(flows))
        return weighted_sum(parts, {"distillation": self.settings.distillation, "smoothness": self.settings.smoothness})
