"""RIFE and RIFE 4: privileged distillation.

    frames ──► student ──► frame t ─────────────────────► Laplacian loss against the truth
                  │ flows after every block ◄─────────── + 0.01 · distillation, where the teacher is better
    frames, truth ┴──► teacher block ──► merged frame ──► + Laplacian loss against the truth

Total loss (equation 6): L = L_rec + L_rec^Tea + 0.01 L_dis, in one stage. L_rec is on the frame after the residual,
L_rec^Tea on the teacher's merged frame.

What the paper leaves open:

- The Laplacian pyramid has five levels, as in the authors' code. `rife-m` keeps the distillation weight 0.01 ("other
  settings unchanged"), where a comment in that code mentions 0.005 or 0.002: set `distillation`.
- RIFE 4 has no paper. Its authors name the data (Vimeo-90K, later Adobe240 and ATD-12K), any t, AdamW with weight decay
  1e-4, a flow loss from student to teacher of weight 0.01, and an L1 reconstruction loss, sometimes with a perceptual
  loss and a smoothness of the flow. Chosen here: the paper's objective, with a teacher block as wide as the last block
  (`betwixt.models.rife.v4`); `smoothness` adds the Sobel gradient of the final flows (0.1 in the published code, whose
  authors found that it matters only for repeated patterns; 0 here).

Reference: Huang et al., Real-Time Intermediate Flow Estimation for Video Frame Interpolation, ECCV 2022, section 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from betwixt.models.network import Network
from betwixt.models.registry import model_info
from betwixt.models.rife.network import RIFE, RIFE_2R, RIFE_ECCV, RIFE_M
from betwixt.models.rife.v4 import RIFEv4
from betwixt.tables import parse_table
from betwixt.training.losses import sobel
from betwixt.training.objectives.base import Batch, LossTerms, full_precision
from betwixt.training.objectives.common import PaperObjective, distillation_terms, weighted_sum, without_training_parts

_PAPER_CONFIGS = {"rife": RIFE_ECCV, "rife-m": RIFE_M, "rife-2r": RIFE_2R}


@dataclass(frozen=True)
class RIFESettings:
    """Settings in [network]."""

    distillation: float = 0.01  # weight of the distillation loss, lambda_d
    smoothness: float = 0.0  # weight of the mean Sobel gradient of the final flows, in pixels


class RIFEObjective(PaperObjective):
    """RIFE, its variants and RIFE 4 in training; the options are `RIFESettings`."""

    training_network: RIFE | RIFEv4

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        network: RIFE | RIFEv4
        if name in _PAPER_CONFIGS:
            network = RIFE(_PAPER_CONFIGS[name])
        else:
            network = RIFEv4(replace(model_info(name).registered_config(), teacher=True))
        super().__init__(name, "between" if network.any_time else "middle")
        self.settings = parse_table(RIFESettings, options, f"[network] of {name}")
        self.training_network = network

    @property
    def network(self) -> Network:
        config = replace(self.training_network.config, teacher=False)
        return without_training_parts(self.training_network, block_tea=None, config=config)

    def loss(self, batch: Batch, progress: float) -> LossTerms:
        """Equation 6, and the smoothness of the flows."""
        output = self.training_network.distil(batch.frame0, batch.frame1, batch.t, batch.truth)
        student = output.student
        with full_precision(batch.truth):
            terms = distillation_terms(student.frame, output, batch.truth)
            if self.settings.smoothness:
                assert student.flow_t0 is not None
                assert student.flow_t1 is not None
                flows = torch.cat((student.flow_t0, student.flow_t1), dim=1)
                terms["smoothness"] = sobel(flows, torch.zeros_like(flows))
        return weighted_sum(terms, {"distillation": self.settings.distillation, "smoothness": self.settings.smoothness})
