"""RIFE and RIFE 4: privileged distillation, and the ablations of table 4.

    frames ──► student ──► frame t ─────────────────────► Laplacian loss against the truth
                  │ flows after every block ◄─────────── + 0.01 · distillation, where the teacher is better
    frames, truth ┴──► teacher block ──► merged frame ──► + Laplacian loss against the truth

Total loss (equation 6): L = L_rec + L_rec^Tea + 0.01 L_dis, in one stage. L_rec is on the frame after the residual,
L_rec^Tea on the teacher's merged frame.

The rows of table 4, by `teacher`:

    own    the paper's privileged teacher, as above
    none   L_rec alone; `distillation` = 0 means the same, since L_rec^Tea alone would train the student as well
    last   the last block teaches the others: L = L_rec + 0.01 L_dis
    flow   a pretrained flow network teaches, from the true frame t to both frames: L = L_rec + 0.01 L_dis
    daek   DAEK's teacher ("RIFE w/ OT" of its table III), with DAEK's unmasked loss

by `loss`, L1 instead of Laplacian; by `blocks`, one or two blocks instead of three (the first are left out); and by
`reversal`, flow between the frames and its reversal in place of IFNet, trained by L_rec alone with the estimator frozen
(`betwixt.models.rife.reversal`). Substitution: the paper's flow networks, RAFT and PWC-Net, are EBME's here.

What the paper leaves open:

- The Laplacian pyramid has five levels, as in the authors' code. `rife-m` keeps the distillation weight 0.01 ("other
  settings unchanged"), where a comment in that code mentions 0.005 or 0.002: set `distillation`.
- With `reversal`, whether the flow network is trained with the rest: here it is frozen.
- With the teachers "last" and "flow", L_dis counts where the teacher's fused frame is better, as with the paper's own.
- RIFE for extrapolation is NCM's (appendix A.4): without distillation, and a smaller learning rate.
- RIFE 4 has no paper. Its authors name the data (Vimeo-90K, later Adobe240 and ATD-12K), any t, AdamW with weight decay
  1e-4, a flow loss from student to teacher of weight 0.01, and an L1 reconstruction loss, sometimes with a perceptual
  loss and a smoothness of the flow. Chosen here: the paper's objective, with a teacher block as wide as the last block
  (`betwixt.models.rife.v4`); `smoothness` adds the Sobel gradient of the final flows (0.1 in the published code, whose
  authors found that it matters only for repeated patterns; 0 here).

Reference: Huang et al., Real-Time Intermediate Flow Estimation for Video Frame Interpolation, ECCV 2022, sections 3.4
and 4.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from betwixt.errors import UsageError
from betwixt.layers.ifblock import FlowEstimate
from betwixt.models.daek.network import DAEKTeacher, enhanced_distillation_loss
from betwixt.models.network import Network, Synthesis
from betwixt.models.registry import model_info
from betwixt.models.rife.network import (
    RIFE,
    RIFE_2R,
    RIFE_2R_NEXT,
    RIFE_ECCV,
    RIFE_M,
    RIFE_NEXT,
    RIFEConfig,
    distillation_loss,
)
from betwixt.models.rife.reversal import Reversal
from betwixt.models.rife.v4 import RIFEv4
from betwixt.tables import parse_table
from betwixt.training.losses import laplacian, sobel
from betwixt.training.objectives.base import Batch, LossTerms, full_precision
from betwixt.training.objectives.common import (
    FlowTeacher,
    PaperObjective,
    load_ebme,
    weighted_sum,
    without_training_parts,
)

_PAPER_CONFIGS = {
    "rife": RIFE_ECCV,
    "rife-m": RIFE_M,
    "rife-2r": RIFE_2R,
    "rife-next": RIFE_NEXT,
    "rife-2r-next": RIFE_2R_NEXT,
}

Teacher = Literal["own", "none", "last", "flow", "daek"]
"""What supervises the flows; see the module."""


@dataclass(frozen=True)
class RIFESettings:
    """Settings in [network].

    Attributes:
        distillation: Weight of the distillation loss, lambda_d; 0 for no teacher.
        smoothness: Weight of the mean Sobel gradient of the final flows, in pixels.
        teacher: What supervises the flows. RIFE 4 has "own" and "none".
        loss: The reconstruction loss.
        blocks: The number of IFNet's blocks, 1 to 3.
        reversal: What replaces IFNet; "none" for IFNet.
        widths: Channels of the blocks, for a smaller network than the paper's; () for the paper's.
        context: Channels of ContextNet's finest level.
        flow_weights: The weights of EBME, for the teacher "flow" and for `reversal`; "": the installed ones.
    """

    distillation: float = 0.01
    smoothness: float = 0.0
    teacher: Teacher = "own"
    loss: Literal["laplacian", "l1"] = "laplacian"
    blocks: int = 3
    reversal: Reversal = "none"
    widths: tuple[int, ...] = ()
    context: int = RIFEConfig.context
    flow_weights: str = ""


class RIFEObjective(PaperObjective):
    """RIFE, its variants and RIFE 4 in training; the options are `RIFESettings`."""

    training_network: RIFE | RIFEv4

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        settings = parse_table(RIFESettings, options, f"[network] of {name}")
        extrapolates = name.endswith("-next")
        teacher: Teacher = settings.teacher
        without = "reversal" if settings.reversal != "none" else "extrapolation" if extrapolates else ""
        if without and teacher not in ("own", "none"):
            raise UsageError(f"[network] of {name}: {without} is trained without a teacher: leave out `teacher`.")
        if without or settings.distillation == 0:
            teacher = "none"
        network: RIFE | RIFEv4
        if name in _PAPER_CONFIGS:
            network = RIFE(_paper_config(name, settings, teacher))
        else:
            fixed = ("blocks", "reversal", "widths", "context", "flow_weights")
            changed = any(getattr(settings, key) != getattr(RIFESettings, key) for key in fixed)
            if changed or teacher not in ("own", "none"):
                raise UsageError(
                    f"[network] of {name}: {', '.join(fixed)} and other teachers are for the paper's RIFE."
                )
            network = RIFEv4(replace(model_info(name).registered_config(), teacher=teacher == "own"))
        super().__init__(name, "next" if extrapolates else "between" if network.any_time else "middle")
        self.settings, self.teacher, self.training_network = settings, teacher, network
        self.daek_teacher = DAEKTeacher() if teacher == "daek" else None
        self.flow_teacher = FlowTeacher("ebme", settings.flow_weights) if teacher == "flow" else None
        if isinstance(network, RIFE) and network.reversal is not None:
            network.reversal.estimator.load_state_dict(load_ebme(settings.flow_weights).estimator.state_dict())
            network.reversal.estimator.requires_grad_(False)

    @property
    def crop_multiple(self) -> int:
        """The network's multiple; with a flow reversal 32, which suffices for its estimator on crops."""
        return 32 if self.settings.reversal != "none" else super().crop_multiple

    @property
    def network(self) -> Network:
        config = replace(self.training_network.config, teacher=False)
        return without_training_parts(self.training_network, block_tea=None, config=config)

    def loss(self, batch: Batch, progress: float) -> LossTerms:
        """Equation 6 by the settings, and the smoothness of the flows."""
        student, teacher, distillation = self._forward(batch)
        with full_precision(batch.truth):
            terms = {"reconstruction": self._distance(student.frame, batch.truth)}
            if teacher is not None:
                terms["teacher"] = self._distance(teacher.merged, batch.truth)
            if distillation is not None:
                terms["distillation"] = distillation.float()
            if self.settings.smoothness:
                assert student.flow_t0 is not None
                assert student.flow_t1 is not None
                flows = torch.cat((student.flow_t0, student.flow_t1), dim=1)
                terms["smoothness"] = sobel(flows, torch.zeros_like(flows))
        return weighted_sum(terms, {"distillation": self.settings.distillation, "smoothness": self.settings.smoothness})

    def _distance(self, frame: Tensor, truth: Tensor) -> Tensor:
        """The reconstruction loss of a frame."""
        if self.settings.loss == "l1":
            return (frame.float() - truth).abs().mean()
        return laplacian(frame.float(), truth)

    def _forward(self, batch: Batch) -> tuple[Synthesis, FlowEstimate | None, Tensor | None]:
        """Frame t; the estimate of the teacher, if that is trained as well; the distillation loss, if there is one."""
        network, frames = self.training_network, (batch.frame0, batch.frame1, batch.t)
        if self.teacher == "own":
            output = network.distil(*frames, batch.truth)
            return output.student, output.teacher, output.loss
        if self.teacher == "none":
            return network(*frames), None, None
        student = network(*frames)
        stages: tuple[FlowEstimate, ...] = student.stages
        if self.daek_teacher is not None:
            teacher = self.daek_teacher(batch.frame0, batch.frame1, batch.truth, stages[-1])
            return student, teacher, enhanced_distillation_loss(stages, teacher)
        if self.flow_teacher is None:
            return student, None, distillation_loss(stages[:-1], stages[-1], batch.truth)
        flows = self.flow_teacher.flows(batch)
        assert flows is not None
        logit = stages[-1].logit.detach()
        teacher = FlowEstimate.from_flow(batch.frame0, batch.frame1, torch.cat(flows, dim=1), logit)
        return student, None, distillation_loss(stages, teacher, batch.truth)


def _paper_config(name: str, settings: RIFESettings, teacher: Teacher) -> RIFEConfig:
    """The configuration of the paper's network, with what the settings change."""
    config, blocks = _PAPER_CONFIGS[name], settings.blocks
    if not 1 <= blocks <= len(config.widths):
        raise UsageError(f"'blocks' in [network] of {name} has to be 1 to {len(config.widths)}, not {blocks}.")
    if teacher == "last" and blocks == 1:
        raise UsageError(f"[network] of {name}: with one block, there is none for the last to teach.")
    try:
        config = replace(config, widths=settings.widths or config.widths, context=settings.context)
    except ValueError:
        raise UsageError(f"'widths' in [network] of {name} has to be three numbers.") from None
    return replace(
        config,
        scales=config.scales[-blocks:],
        widths=config.widths[-blocks:],
        reversal=settings.reversal,
        teacher=teacher == "own",
    )
