"""DAEK: enhanced knowledge distillation from a teacher of one motion estimation and one motion refinement block.

    frames ──► student: three times MEB, MRB ──► middle frame ──► Laplacian loss against the truth
                  │ flows after every MRB ◄──────────────────── + 0.01 · distillation (equation 6)
    frames, truth ┴──► teacher's MEB, MRB ──► merged frame ─────► + Laplacian loss against the truth

Total loss (equation 7): L = L_rec + L_rec^tea + 0.01 L_dis, in one stage. The ablations of Tables II and III are
settings: F, CA and SFA (together DA) switch parts of the student; `teacher` is "own" for the paper's, "rife" for
RIFE's with its masked loss, "none" for L_rec alone.

The paper does not give the number of pyramid levels: five, as for RIFE. See `betwixt.models.daek.network` for the rest.

Reference: Zhang, Lou et al., Dual Motion Attention and Enhanced Knowledge Distillation for Video Frame Interpolation,
sections III.D and IV.B.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from betwixt.models.daek.network import DAEK, DAEKConfig
from betwixt.models.network import Network
from betwixt.tables import parse_table
from betwixt.training.losses import laplacian
from betwixt.training.objectives.base import Batch, LossTerms, full_precision
from betwixt.training.objectives.common import PaperObjective, distillation_terms, weighted_sum, without_training_parts


@dataclass(frozen=True)
class DAEKSettings:
    """Settings in [network]."""

    F: bool = True  # whether intermediate features are used
    CA: bool = True  # whether the student has correlation attention
    SFA: bool = True  # whether the student has shallow feature attention
    teacher: Literal["own", "rife", "none"] = "own"  # the kind of teacher; see the module
    distillation: float = 0.01  # weight of the distillation loss, lambda; 0 for no teacher


class DAEKObjective(PaperObjective):
    """DAEK and its ablations in training; the options are `DAEKSettings`."""

    training_network: DAEK

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(name, "middle")
        settings = parse_table(DAEKSettings, options, f"[network] of {name}")
        if settings.distillation == 0:
            # The reconstruction loss of a teacher would train the student as well.
            settings = replace(settings, teacher="none")
        self.settings = settings
        self.training_network = DAEK(
            DAEKConfig(
                features=DAEKConfig.features if settings.F else 0,
                correlation_attention=settings.CA,
                shallow_attention=settings.SFA,
                teacher=settings.teacher,
            )
        )

    @property
    def network(self) -> Network:
        network = self.training_network
        config = replace(network.config, teacher="none")
        return without_training_parts(
            network,
            config=config,
            teacher_meb=None,
            teacher_mrb=None,
            # The teacher has both attentions even if the student lacks one.
            appearance_encoder=network.appearance_encoder if config.correlation_attention else None,
            context_encoder=network.context_encoder if config.shallow_attention else None,
        )

    def loss(self, batch: Batch, progress: float) -> LossTerms:
        if self.settings.teacher == "none":
            frame = self.training_network(batch.frame0, batch.frame1, batch.t).frame
            with full_precision(batch.truth):
                return weighted_sum({"reconstruction": laplacian(frame.float(), batch.truth)})
        output = self.training_network.distil(batch.frame0, batch.frame1, batch.t, batch.truth)
        with full_precision(batch.truth):
            terms = distillation_terms(output.student.frame, output, batch.truth)
        return weighted_sum(terms, {"distillation": self.settings.distillation})
