"""hybrid: two motions, the search's and RIFE 4.6's, fused; trained on the finished frame and on both motions.

    prepare   dis on the sample's pictures ──► motion A;  RIFE 4.6 on them ──► motion B
    loss      as of compact (see there): reconstruction, fidelity, flow of both motions where it is known

The search and RIFE see a margin around the crop. RIFE 4.6 does not learn. What the networks know of motion A they begin
with from the weights of `compact` that come with Betwixt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from betwixt.models.hybrid.config import HYBRID
from betwixt.models.hybrid.interpolator import RIFEMotion
from betwixt.models.hybrid.network import Fusion, FusionOutput, HybridNetwork, init_from_compact
from betwixt.tables import parse_table
from betwixt.training.losses import charbonnier, laplacian, log_error
from betwixt.training.objectives.base import Batch, LossTerms, Objective, full_precision
from betwixt.training.objectives.compact import flow_loss, search_motion
from betwixt.weights.load import read_tensors
from betwixt.weights.store import RIFE, embedded_file

if TYPE_CHECKING:
    from betwixt.models.hybrid.interpolator import HybridInterpolator
    from betwixt.training.sample import TrainingSample

__all__ = ["HybridObjective", "HybridSettings"]


@dataclass(frozen=True)
class HybridSettings:
    """Options of [network].

    Attributes:
        margin: Pixels around the crop that the search and RIFE see and the network does not.
        fidelity_weight: Of the logarithm of the squared error, beside the reconstruction loss.
        flow_weight: Of the flow loss, beside the reconstruction loss.
    """

    margin: int = 32
    fidelity_weight: float = 0.02
    flow_weight: float = 0.02


class HybridObjective(Objective):
    """`betwixt.models.hybrid.network.Fusion` in training.

    Args:
        name: "hybrid".
        options: `HybridSettings`.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__()
        self._name = name
        self.settings = parse_table(HybridSettings, options, f"[network] of {name}")
        self.margin = self.settings.margin
        self.training_network = Fusion()
        if not next(self.training_network.parameters()).is_meta:
            init_from_compact(self.training_network, read_tensors(embedded_file("compact.safetensors")))

    @property
    def network(self) -> HybridNetwork:
        """The networks, beside a RIFE without weights; at work, its motion and that of the search come first."""
        with torch.device("meta"):
            return HybridNetwork(fusion=self.training_network)

    @property
    def exported_module(self) -> nn.Module:
        """The networks that fuse."""
        return self.training_network

    @property
    def model_name(self) -> str:
        """Of `betwixt models`."""
        return self._name

    def interpolator(self, device: str = "auto") -> HybridInterpolator:
        """Search, RIFE, networks and warps, as at work."""
        from betwixt.models.hybrid.interpolator import HybridInterpolator

        return HybridInterpolator(self.training_network, device, engine="torch", rife=embedded_file(RIFE))

    def prepare(self, rng: np.random.Generator, sample: TrainingSample) -> dict[str, NDArray[Any]]:
        """What the search and RIFE find: `first` and `second`, (S, S, 5)."""
        found, logit = search_motion(rng, sample, HYBRID.search)
        t = np.float32(sample.t)
        first = np.concatenate((-t * found, (1 - t) * found, logit), axis=-1)
        frame0, frame1 = (sample.images[i].astype(np.float32) / np.float32(255) for i in (0, 2))
        second = _rife()(frame0, frame1, sample.t)
        return {"first": first, "second": np.moveaxis(second, 0, 2)}

    def loss(self, batch: Batch, done: float) -> LossTerms:
        """See the module."""
        extra = batch.extra
        output: FusionOutput = self.training_network(
            batch.frame0, batch.frame1, batch.t, extra["first"], extra["second"]
        )
        with full_precision(batch.frame0):
            prediction = output.frame.float()
            reconstruction = laplacian(prediction, batch.truth, 4) + charbonnier(prediction, batch.truth)
            fidelity = log_error(prediction, batch.truth)
            both = [
                flow_loss([(motion[:, 0:2], motion[:, 2:4]) for motion in stages], batch)
                for stages in zip(output.coarse, output.motions, strict=True)
            ]
            flow = torch.stack([loss for loss, _ in both]).mean()
            total = reconstruction + self.settings.fidelity_weight * fidelity + self.settings.flow_weight * flow
        parts = {"reconstruction": reconstruction, "fidelity": fidelity, "flow": flow}
        parts |= {f"end-point error, {name}": error for name, (_, error) in zip("AB", both, strict=True)}
        return LossTerms(total, {name: value.detach() for name, value in parts.items()})


@cache
def _rife() -> RIFEMotion:
    """RIFE, once a process: workers have no values of parameters, and compute on a CPU.

    Through PyTorch, in float32: the same on every machine, on as many threads as a worker has.
    """
    return RIFEMotion(embedded_file(RIFE), "cpu")
