"""EBME's bi-directional motion estimator, trained on the frames that its flows splat.

    frames ──► BiFlowNet ──► F_{0->1}, F_{1->0} ──► frames splatted to t, fused ──► Charbonnier + 0.1 census
                                                                                      against the truth

The paper trains estimator and synthesis network together, with this loss on the synthesised frame. Betwixt has no
synthesis network of EBME: the loss is on the frame of `models.ebme.network.EBMESplat`, so the flows alone have to
explain the truth. The pyramid has the paper's three levels; the same weights serve more levels at larger sizes.

Details that the paper leaves open follow the authors' code: the census loss is over 7x7 on the luma.

Reference: Jin et al., Enhanced Bi-directional Motion Estimation for Video Frame Interpolation, WACV 2023, section 4.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from betwixt.models.ebme.network import EBMESplat
from betwixt.tables import parse_table
from betwixt.training.losses import census, charbonnier
from betwixt.training.objectives.base import Batch, LossTerms, full_precision
from betwixt.training.objectives.common import PaperObjective, weighted_sum


@dataclass(frozen=True)
class EBMESettings:
    """Settings in [network]: `census` is the weight of the census loss."""

    census: float = 0.1


class EBMEObjective(PaperObjective):
    """EBME's motion estimator in training; the options are `EBMESettings`."""

    training_network: EBMESplat

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(name, "between")
        self.settings = parse_table(EBMESettings, options, f"[network] of {name}")
        # The number of levels depends on the size of the frames: three for crops of up to 448 pixels.
        self.training_network = EBMESplat()

    def loss(self, batch: Batch, progress: float) -> LossTerms:
        frame = self.training_network(batch.frame0, batch.frame1, batch.t).frame
        with full_precision(batch.truth):
            frame = frame.float()
            terms = {"reconstruction": charbonnier(frame, batch.truth), "census": census(frame, batch.truth)}
        return weighted_sum(terms, {"census": self.settings.census})
