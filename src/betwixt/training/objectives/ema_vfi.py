"""EMA-VFI: a Laplacian loss of the frame, and one of the warped frames before and after the second head.

    frames, t ──► EMA-VFI ──► frame t ──────────────────────► Laplacian loss to the truth
                     │ merged frames after either head ─────► + 0.5 · Laplacian loss to the truth, each

All in one stage, any t; nothing teaches the flows but the frames that they warp.

Where the paper is silent, the authors' program is followed: the pyramid has five levels. The bias of the positions'
embedding cancels in the network (`betwixt.models.ema_vfi.network`), so it is left as it is.

Reference: Zhang et al., Extracting Motion and Appearance via Inter-Frame Attention for Efficient Video Frame
Interpolation, CVPR 2023, section 4.1 and its supplement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from betwixt.models.ema_vfi.network import EMA_VFI, EMA_VFI_SMALL, EMAVFI
from betwixt.models.network import Network
from betwixt.training.losses import laplacian
from betwixt.training.objectives.base import Batch, LossTerms, full_precision
from betwixt.training.objectives.common import PaperObjective, read_options, weighted_sum

__all__ = ["EMAVFIObjective"]


@dataclass(frozen=True)
class EMAVFISettings:
    """Of [network].

    Attributes:
        warp: Weight of the loss of either merged frame.
    """

    warp: float = 0.5


class EMAVFIObjective(PaperObjective):
    """EMA-VFI; see the module.

    Args:
        name: "ema-vfi" or "ema-vfi-small".
        options: `EMAVFISettings`.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        settings = read_options(EMAVFISettings, options, name)
        super().__init__(name, "between")
        self.settings = settings
        self.training_network = EMAVFI(EMA_VFI if name == "ema-vfi" else EMA_VFI_SMALL)
        for parameter, value in self.training_network.named_parameters():
            if parameter.endswith(".position.bias"):
                value.requires_grad_(False)

    @property
    def network(self) -> Network:
        """The network."""
        return self.training_network

    def loss(self, batch: Batch, done: float) -> LossTerms:
        """The Laplacian losses."""
        found = self.training_network(batch.frame0, batch.frame1, batch.t)
        with full_precision(batch.truth):
            warped = torch.stack([laplacian(merged.float(), batch.truth) for merged in found.merges])
            parts = {"reconstruction": laplacian(found.frame.float(), batch.truth), "warp": warped.sum()}
        return weighted_sum(parts, {"warp": self.settings.warp})
