"""compact and compact-large: the motion that a search found, mended; trained on the finished frame and the motion.

    prepare   dis on the sample's pictures ──► found motion u, logit of the weight of frame 0
    loss      reconstruction + fidelity_weight · fidelity + flow_weight · flow

    reconstruction   four-level Laplacian loss + Charbonnier loss
    fidelity         logarithm of the mean squared error of every sample: scores are means of PSNR
    flow             where the motion is known: the square root of the end-point error, which gives small motions, the
                     common ones, as much weight as large ones; the mean over both flows before and after the detail
                     network. It is known of synthetic samples; with a flow_teacher also of real ones, wherever the
                     frames read by the teacher's flows from the truth are nearer the truth than by the network's
                     (RIFE's rule of privileged distillation)

The search sees a margin around the crop, so a crop need not be large: what it cannot see has been found already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from betwixt.layers.warp import backward_warp
from betwixt.models.compact.config import CONFIGS, search
from betwixt.models.compact.network import CompactNetwork, CompactOutput
from betwixt.models.dis.interpolator import Effort
from betwixt.tables import parse_table
from betwixt.training.losses import charbonnier, endpoint_error, laplacian, log_error
from betwixt.training.objectives.base import Batch, LossTerms, Objective, full_precision
from betwixt.training.objectives.common import FlowTeacher

if TYPE_CHECKING:
    from betwixt.models.compact.interpolator import CompactInterpolator
    from betwixt.training.sample import TrainingSample

__all__ = ["CompactObjective", "CompactSettings", "flow_loss", "search_motion"]


@dataclass(frozen=True)
class CompactSettings:
    """Options of [network].

    Attributes:
        margin: Pixels around the crop that the search sees and the network does not.
        fidelity_weight: Of the logarithm of the squared error, beside the reconstruction loss.
        flow_weight: Of the flow loss, beside the reconstruction loss.
        flow_teacher: Who says where the truth's pixels lie in the two frames of real samples: nobody ("exact"), or
            EBME's flow network ("ebme").
        flow_teacher_weights: The file of its weights; "" for those that are installed.
    """

    margin: int = 32
    fidelity_weight: float = 0.02
    flow_weight: float = 0.02
    flow_teacher: Literal["exact", "ebme"] = "exact"
    flow_teacher_weights: str = ""


class CompactObjective(Objective):
    """`betwixt.models.compact.network.Compact` in training.

    Args:
        name: "compact" or "compact-large".
        options: `CompactSettings`.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__()
        self._name = name
        self.settings = parse_table(CompactSettings, options, f"[network] of {name}")
        self.margin = self.settings.margin
        self.training_network = CompactNetwork(CONFIGS[name])
        self.teacher = FlowTeacher(self.settings.flow_teacher, self.settings.flow_teacher_weights)

    @property
    def network(self) -> CompactNetwork:
        """The network; at work, the search comes before it."""
        return self.training_network

    @property
    def exported_module(self) -> nn.Module:
        """The two small networks."""
        return self.training_network.compact

    @property
    def model_name(self) -> str:
        """Of `betwixt models`."""
        return self._name

    def interpolator(self, device: str = "auto") -> CompactInterpolator:
        """Search, networks and warps, as at work."""
        from betwixt.models.compact.interpolator import CompactInterpolator

        return CompactInterpolator(self.training_network.compact, device, engine="torch", name=self._name)

    def prepare(self, rng: np.random.Generator, sample: TrainingSample) -> dict[str, NDArray[Any]]:
        """What the search finds: `found` (S, S, 2) in pixels, `logit` (S, S, 1)."""
        found, logit = search_motion(rng, sample, CONFIGS[self._name].search)
        return {"found": found, "logit": logit}

    def loss(self, batch: Batch, done: float) -> LossTerms:
        """See the module."""
        extra = batch.extra
        output: CompactOutput = self.training_network.compact(
            batch.frame0, batch.frame1, batch.t, extra["found"], extra["logit"]
        )
        with full_precision(batch.frame0):
            prediction = output.frame.float()
            reconstruction = laplacian(prediction, batch.truth, 4) + charbonnier(prediction, batch.truth)
            fidelity = log_error(prediction, batch.truth)
            stages = (output.coarse_t0, output.coarse_t1), (output.flow_t0, output.flow_t1)
            flow, error = flow_loss(stages, batch, self.teacher)
            total = reconstruction + self.settings.fidelity_weight * fidelity + self.settings.flow_weight * flow
        parts = {"reconstruction": reconstruction, "fidelity": fidelity, "flow": flow, "end-point error": error}
        return LossTerms(total, {name: value.detach() for name, value in parts.items()})


def search_motion(
    rng: np.random.Generator, sample: TrainingSample, effort: Effort
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the search finds in a sample: see `models.compact_start.search`."""
    # Large frames are searched at a part of their size: see `models.dis`.
    ratio = 1.0 if rng.random() < 0.5 else float(rng.uniform(0.4, 0.8))
    return search(sample.images[0], sample.images[2], sample.t, ratio, effort)


def flow_loss(
    stages: Sequence[tuple[Tensor, Tensor]], batch: Batch, teacher: FlowTeacher | None = None
) -> tuple[Tensor, Tensor]:
    """The flow loss, and the end-point error of the whole motion in pixels, of samples whose motion is known.

    Args:
        stages: F_{t->0} and F_{t->1}, (N, 2, S, S) each, of every stage, the last one last.
        batch: The samples.
        teacher: Who knows of real samples.
    """
    targets = -batch.t * batch.motion, (1.0 - batch.t) * batch.motion
    known: tuple[Tensor, Tensor] = (batch.exact, batch.exact)
    found = None if teacher is None else teacher.flows(batch)
    if found is not None:
        real = 1.0 - batch.exact
        sides = zip((batch.frame0, batch.frame1), found, stages[0], strict=True)
        better = [real * _better(frame, batch.truth, theirs, ours.detach()) for frame, theirs, ours in sides]
        targets = batch.exact * targets[0] + real * found[0], batch.exact * targets[1] + real * found[1]
        known = batch.exact + better[0], batch.exact + better[1]
    terms, lengths = [], []
    for flows in stages:
        for flow, target, where in zip(flows, targets, known, strict=True):
            error = endpoint_error(flow.float(), target)
            terms.append((where * torch.sqrt(error + 0.01)).mean())
            lengths.append(error.detach())
    both = lengths[-1] + lengths[-2]  # |t| + |1 - t| = 1: of the whole motion
    finest = (batch.exact * both).sum() / (batch.exact.sum() * both[0].numel() + 1e-6)
    return torch.stack(terms).mean(), finest


def _better(frame: Tensor, truth: Tensor, theirs: Tensor, ours: Tensor) -> Tensor:
    """(N, 1, H, W): 1 where a frame read by their flows is nearer the truth than by ours, around a pixel; else 0."""
    errors = [
        F.avg_pool2d((backward_warp(frame, flow.float()) - truth).abs().mean(dim=1, keepdim=True), 7, 1, 3)
        for flow in (theirs, ours)
    ]
    return (errors[0] + 1.0 / 255.0 < errors[1]).float()
