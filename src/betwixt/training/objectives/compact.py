"""compact and compact-large: refinement of the flow of an optical flow search.

    prepare   optical flow search on the sample's images ──► motion u, logit of the weight of frame 0
    loss      reconstruction + fidelity_weight · fidelity + flow_weight · flow

    reconstruction   four-level Laplacian loss + Charbonnier loss + structure_weight · structural dissimilarity
                     + detail_weight · difference of detail energy. Of these only the last does not reward blur where
                     the motion is uncertain
    fidelity         logarithm of the mean squared error of each sample: benchmarks report mean PSNR
    flow             where the motion is known: the square root of the end-point error, which weights small motions, the
                     common ones, as much as large ones; the mean over both flows before and after the detail network.
                     It is known for synthetic samples. With `flow_teacher` it is also supervised in real samples,
                     wherever warping by the teacher's flows gives a smaller error than by the network's own (RIFE's
                     rule of privileged distillation)

The search sees a margin around the crop, so crops can be small: motion from outside the crop is in its result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from betwixt.backends.network_runner import TrainedNetwork
from betwixt.layers.warp import backward_warp
from betwixt.models.compact.config import CONFIGS
from betwixt.models.compact.initial_motion import search_motion
from betwixt.models.compact.interpolator import CompactInterpolator
from betwixt.models.compact.network import CompactNetwork, CompactOutput
from betwixt.models.dis.interpolator import Effort
from betwixt.tables import parse_table
from betwixt.training.losses import (
    charbonnier,
    detail_energy,
    endpoint_error,
    laplacian,
    log_error,
    structural_dissimilarity,
)
from betwixt.training.objectives.base import Batch, LossTerms, Objective, full_precision
from betwixt.training.objectives.common import FlowTeacher
from betwixt.training.sample import TrainingSample


@dataclass(frozen=True)
class RefinementSettings:
    """Settings in [network] of hybrid, and some of those of compact."""

    margin: int = 32  # pixels around the crop that the search (and RIFE, for hybrid) sees and the network does not
    fidelity_weight: float = 0.02  # weight of the logarithm of the squared error
    structure_weight: float = 0.0  # weight of the structural dissimilarity
    detail_weight: float = 0.0  # weight of the difference of detail energy
    flow_weight: float = 0.02  # weight of the flow loss


@dataclass(frozen=True)
class CompactSettings(RefinementSettings):
    """Settings in [network] of compact: those of `RefinementSettings`, and a teacher.

    Attributes:
        flow_teacher: Supervision of the flows of real samples: none ("exact") or EBME's flow network ("ebme").
        flow_teacher_weights: The weights file of EBME; "": the installed weights.
    """

    flow_teacher: Literal["exact", "ebme"] = "exact"
    flow_teacher_weights: str = ""


class CompactObjective(Objective):
    """compact or compact-large in training; the options are `CompactSettings`."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(name)
        self.settings = parse_table(CompactSettings, options, f"[network] of {name}")
        self.margin = self.settings.margin
        self.training_network = CompactNetwork(CONFIGS[name])
        self.teacher = FlowTeacher(self.settings.flow_teacher, self.settings.flow_teacher_weights)

    @property
    def network(self) -> CompactNetwork:
        return self.training_network

    @property
    def exported_module(self) -> nn.Module:
        """The trained part, without the search."""
        return self.training_network.compact

    def interpolator(self, device: str = "auto") -> CompactInterpolator:
        network = TrainedNetwork.in_memory(self.training_network.compact)
        return CompactInterpolator(network, network.choose_backend(device), self.model_name)

    def prepare(self, rng: np.random.Generator, sample: TrainingSample) -> dict[str, NDArray[Any]]:
        """Run the search: `search_motion` (S, S, 2) in pixels, and `logit` (S, S, 1)."""
        motion, logit = search_sample(rng, sample, CONFIGS[self.model_name].search_effort)
        return {"search_motion": motion, "logit": logit}

    def loss(self, batch: Batch, progress: float) -> LossTerms:
        extra = batch.extra
        output: CompactOutput = self.training_network.compact(
            batch.frame0, batch.frame1, batch.t, extra["search_motion"], extra["logit"]
        )
        with full_precision(batch.frame0):
            stages = (output.coarse_t0, output.coarse_t1), (output.flow_t0, output.flow_t1)
            flow, error = flow_loss(stages, batch, self.teacher)
            return refinement_loss(output.frame.float(), batch.truth, flow, self.settings, {"end-point error": error})


def search_sample(
    rng: np.random.Generator, sample: TrainingSample, effort: Effort
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The result of `models.compact.initial_motion.search_motion` for a sample, at a random scale.

    In use, large frames are downscaled for the search (`models.dis`); half of the samples are, too.
    """
    scale = 1.0 if rng.random() < 0.5 else float(rng.uniform(0.4, 0.8))
    return search_motion(sample.images[0], sample.images[2], sample.t, scale, effort)


def refinement_loss(
    frame: Tensor, truth: Tensor, flow: Tensor, settings: RefinementSettings, errors: Mapping[str, Tensor]
) -> LossTerms:
    """The module's loss, with the result `flow` of `flow_loss`; `errors` are further values for the log."""
    reconstruction = laplacian(frame, truth, 4) + charbonnier(frame, truth)
    if settings.structure_weight:
        reconstruction = reconstruction + settings.structure_weight * structural_dissimilarity(frame, truth)
    if settings.detail_weight:
        reconstruction = reconstruction + settings.detail_weight * detail_energy(frame, truth)
    fidelity = log_error(frame, truth)
    total = reconstruction + settings.fidelity_weight * fidelity + settings.flow_weight * flow
    terms = {"reconstruction": reconstruction, "fidelity": fidelity, "flow": flow, **errors}
    return LossTerms(total, {name: value.detach() for name, value in terms.items()})


def flow_loss(
    stages: Sequence[tuple[Tensor, Tensor]], batch: Batch, teacher: FlowTeacher | None = None
) -> tuple[Tensor, Tensor]:
    """The flow loss, and the end-point error of the motion in pixels, over the samples with known motion.

    Each stage of the network gives F_{t->0} and F_{t->1}, (N, 2, S, S). The teacher supervises real samples.
    """
    targets = -batch.t * batch.motion, (1.0 - batch.t) * batch.motion
    weights: tuple[Tensor, Tensor] = (batch.exact, batch.exact)
    teacher_flows = None if teacher is None else teacher.flows(batch)
    if teacher_flows is not None:
        real = 1.0 - batch.exact
        sides = zip((batch.frame0, batch.frame1), teacher_flows, stages[0], strict=True)
        better = [real * _teacher_is_better(frame, batch.truth, flow, own.detach()) for frame, flow, own in sides]
        targets = (
            batch.exact * targets[0] + real * teacher_flows[0],
            batch.exact * targets[1] + real * teacher_flows[1],
        )
        weights = batch.exact + better[0], batch.exact + better[1]
    terms, errors = [], []
    for flows in stages:
        for flow, target, weight in zip(flows, targets, weights, strict=True):
            error = endpoint_error(flow.float(), target)
            terms.append((weight * torch.sqrt(error + 0.01)).mean())
            errors.append(error.detach())
    # The lengths of the two flows add up to that of the motion, since |t| + |1 - t| = 1.
    motion_error = errors[-1] + errors[-2]
    mean_error = (batch.exact * motion_error).sum() / (batch.exact.sum() * motion_error[0].numel() + 1e-6)
    return torch.stack(terms).mean(), mean_error


def _teacher_is_better(frame: Tensor, truth: Tensor, teacher_flow: Tensor, own_flow: Tensor) -> Tensor:
    """(N, 1, H, W): 1 where warping by the teacher's flow has a smaller error in 7x7 pixels than by our own, else 0."""
    teacher_error, own_error = (
        F.avg_pool2d((backward_warp(frame, flow.float()) - truth).abs().mean(dim=1, keepdim=True), 7, 1, 3)
        for flow in (teacher_flow, own_flow)
    )
    return (teacher_error + 1.0 / 255.0 < own_error).float()
