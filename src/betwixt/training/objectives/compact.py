"""compact: the motion that a search found, mended; trained on the finished frame and, where it is known, the motion.

    prepare   dis on the sample's pictures ──► found motion u, logit of the weight of frame 0
    loss      reconstruction + fidelity_weight · fidelity + flow_weight · flow

    reconstruction   four-level Laplacian loss + Charbonnier loss
    fidelity         logarithm of the mean squared error of every sample: scores are means of PSNR
    flow             over samples whose motion is known: the square root of the end-point error, which gives small
                     motions, the common ones, as much weight as large ones; the mean over both flows before and after
                     the detail network

The search sees a margin around the crop, so a crop need not be large: what it cannot see has been found already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from betwixt.models.compact import CompactNetwork, CompactOutput, search
from betwixt.training.losses import charbonnier, endpoint_error, laplacian, log_error
from betwixt.training.objective import Batch, Objective, Terms, full_precision
from betwixt.training.settings import from_table

if TYPE_CHECKING:
    from betwixt.runtime.compact import CompactInterpolator
    from betwixt.training.sample import Sample

__all__ = ["CompactObjective", "CompactSettings"]


@dataclass(frozen=True)
class CompactSettings:
    """Options of [network].

    Attributes:
        margin: Pixels around the crop that the search sees and the network does not.
        fidelity_weight: Of the logarithm of the squared error, beside the reconstruction loss.
        flow_weight: Of the flow loss, beside the reconstruction loss.
    """

    margin: int = 32
    fidelity_weight: float = 0.02
    flow_weight: float = 0.02


class CompactObjective(Objective):
    """`betwixt.models.compact.Compact` in training."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.settings = from_table(CompactSettings, options, "[network]")
        self.margin = self.settings.margin
        self.learner = CompactNetwork()

    @property
    def network(self) -> CompactNetwork:
        """The network; at work, the search comes before it."""
        return self.learner

    @property
    def shipped(self) -> nn.Module:
        """The two small networks."""
        return self.learner.compact

    @property
    def model(self) -> str:
        """Of `betwixt models`."""
        return "compact"

    def interpolator(self, device: str = "auto") -> CompactInterpolator:
        """Search, networks and warps, as at work."""
        from betwixt.runtime.compact import CompactInterpolator

        return CompactInterpolator(self.learner.compact, device, engine="torch")

    def prepare(self, rng: np.random.Generator, sample: Sample) -> dict[str, NDArray[Any]]:
        """What the search finds: `found` (S, S, 2) in pixels, `logit` (S, S, 1)."""
        # Large frames are searched at a part of their size: see `models.dis`.
        ratio = 1.0 if rng.random() < 0.5 else float(rng.uniform(0.4, 0.8))
        found, logit = search(sample.pictures[0], sample.pictures[2], sample.t, ratio)
        return {"found": found, "logit": logit}

    def loss(self, batch: Batch, done: float) -> Terms:
        """See the module."""
        extra = batch.extra
        output: CompactOutput = self.learner.compact(
            batch.frame0, batch.frame1, batch.t, extra["found"], extra["logit"]
        )
        with full_precision(batch.frame0):
            prediction = output.frame.float()
            reconstruction = laplacian(prediction, batch.truth, 4) + charbonnier(prediction, batch.truth)
            fidelity = log_error(prediction, batch.truth)
            flow, error = _flow_loss(output, batch)
            total = reconstruction + self.settings.fidelity_weight * fidelity + self.settings.flow_weight * flow
        parts = {"reconstruction": reconstruction, "fidelity": fidelity, "flow": flow, "end-point error": error}
        return Terms(total, {name: value.detach() for name, value in parts.items()})


def _flow_loss(output: CompactOutput, batch: Batch) -> tuple[Tensor, Tensor]:
    """The flow loss, and the end-point error of the whole motion in pixels."""
    errors = [
        endpoint_error(estimate.float(), part * batch.motion)
        for estimate, part in (
            (output.coarse_t0, -batch.t),
            (output.coarse_t1, 1.0 - batch.t),
            (output.flow_t0, -batch.t),
            (output.flow_t1, 1.0 - batch.t),
        )
    ]
    both = (errors[-1] + errors[-2]).detach()  # |t| + |1 - t| = 1: of the whole motion
    finest = (batch.exact * both).sum() / (batch.exact.sum() * both[0].numel() + 1e-6)
    flow = torch.stack([(batch.exact * torch.sqrt(error + 0.01)).mean() for error in errors]).mean()
    return flow, finest
