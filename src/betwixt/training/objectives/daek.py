"""DAEK: enhanced knowledge distillation, by a teacher of a motion estimation and a motion refinement block.

    frames ──► student: three times MEB, MRB ──► middle frame ──► Laplacian loss to the truth
                  │ flows after every MRB ◄──────────────────── + 0.01 · distillation (equation 6)
    frames, truth ┴──► teacher's MEB, MRB ──► merged frame ─────► + Laplacian loss to the truth

Total loss (equation 7): L = L_rec + L_rec^tea + 0.01 L_dis, in one stage. The ablations of Tables II and III are
options: F, CA and SFA (both together are DA) switch parts of the student, `teacher` the teacher: "own" is the paper's,
"rife" RIFE's with its masked loss, "none" leaves L_rec alone.

Where the paper is silent: the pyramid has five levels, as RIFE's; see `betwixt.models.daek.network` for the rest.

Reference: Zhang, Lou et al., Dual Motion Attention and Enhanced Knowledge Distillation for Video Frame Interpolation,
sections III.D and IV.B.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from betwixt.models.daek.network import DAEK, DAEKConfig
from betwixt.models.network import Network
from betwixt.training.losses import laplacian
from betwixt.training.objectives.base import Batch, LossTerms, full_precision
from betwixt.training.objectives.common import PaperObjective, read_options, weighted_sum, without_training_parts

__all__ = ["DAEKObjective"]


@dataclass(frozen=True)
class DAEKSettings:
    """Of [network].

    Attributes:
        F: Whether there are intermediate features.
        CA: Whether the student pays attention to the correlation.
        SFA: Whether it pays attention to shallow features.
        teacher: Whose; see the module.
        distillation: Weight of the distillation loss, lambda.
    """

    F: bool = True
    CA: bool = True
    SFA: bool = True
    teacher: Literal["own", "rife", "none"] = "own"
    distillation: float = 0.01


class DAEKObjective(PaperObjective):
    """DAEK and its ablations; see the module.

    Args:
        name: "daek".
        options: `DAEKSettings`.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        settings = read_options(DAEKSettings, options, name)
        super().__init__(name, "middle")
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
        """The student."""
        training_network, config = self.training_network, replace(self.training_network.config, teacher="none")
        return without_training_parts(
            training_network,
            config=config,
            teacher_meb=None,
            teacher_mrb=None,
            # The teacher has both attentions even where the student lacks one.
            appearance_encoder=training_network.appearance_encoder if config.correlation_attention else None,
            context_encoder=training_network.context_encoder if config.shallow_attention else None,
        )

    def loss(self, batch: Batch, done: float) -> LossTerms:
        """Equation 7."""
        if self.settings.teacher == "none":
            frame = self.training_network(batch.frame0, batch.frame1, batch.t).frame
            with full_precision(batch.truth):
                return weighted_sum({"reconstruction": laplacian(frame.float(), batch.truth)})
        found = self.training_network.distil(batch.frame0, batch.frame1, batch.t, batch.truth)
        with full_precision(batch.truth):
            parts = {
                "reconstruction": laplacian(found.student.frame.float(), batch.truth),
                "teacher": laplacian(found.teacher.merged.float(), batch.truth),
                "distillation": found.loss.float(),
            }
        return weighted_sum(parts, {"distillation": self.settings.distillation})
