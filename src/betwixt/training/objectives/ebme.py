"""EBME's estimator of both flows, trained by the frames that its splatting makes.

    frames ──► BiFlowNet ──► F_{0->1}, F_{1->0} ──► frames splatted to t, fused ──► Charbonnier + 0.1 census
                                                                                      to the truth

The paper trains estimator and synthesis network together, by this loss on the synthesised frame. Betwixt has no
synthesis network of EBME: here the loss is on `models.ebme.network.EBMESplat`'s frame, so the flows alone have to
explain the truth. The levels of the pyramid are the paper's three; the same weights serve more levels at other sizes.

Where the paper is silent, the authors' program is followed: the census loss is over 7x7 on the luma.

Reference: Jin et al., Enhanced Bi-directional Motion Estimation for Video Frame Interpolation, WACV 2023, section 4.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from betwixt.models.ebme.network import EBMESplat
from betwixt.models.network import Network
from betwixt.training.losses import census, charbonnier
from betwixt.training.objectives.base import Batch, LossTerms, full_precision
from betwixt.training.objectives.common import PaperObjective, read_options, weighted_sum

__all__ = ["EBMEObjective"]


@dataclass(frozen=True)
class EBMESettings:
    """Of [network].

    Attributes:
        census: Weight of the census loss.
    """

    census: float = 0.1


class EBMEObjective(PaperObjective):
    """EBME's estimator; see the module.

    Args:
        name: "ebme".
        options: `EBMESettings`.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        settings = read_options(EBMESettings, options, name)
        super().__init__(name, "between")
        self.settings = settings
        # As many levels as the size of the frames says: three for crops of 448 pixels and less.
        self.training_network = EBMESplat()

    @property
    def network(self) -> Network:
        """The network."""
        return self.training_network

    def loss(self, batch: Batch, done: float) -> LossTerms:
        """Charbonnier + 0.1 census."""
        frame = self.training_network(batch.frame0, batch.frame1, batch.t).frame
        with full_precision(batch.truth):
            frame = frame.float()
            parts = {"reconstruction": charbonnier(frame, batch.truth), "census": census(frame, batch.truth)}
        return weighted_sum(parts, {"census": self.settings.census})
