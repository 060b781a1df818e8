"""EMA-VFI: Laplacian losses of the frame and of the warped frames before and after the second head.

    frames, t ──► EMA-VFI ──► frame t ──────────────────────► Laplacian loss against the truth
                     │ merged frames after each head ───────► + 0.5 · Laplacian loss against the truth, each

One stage, any t; the flows are supervised only by the frames that they warp.

Details that the paper leaves open follow the authors' code: the pyramid has five levels. The bias of the position
embedding cancels in the network (`betwixt.models.ema_vfi.network`), so it is frozen.

Reference: Zhang et al., Extracting Motion and Appearance via Inter-Frame Attention for Efficient Video Frame
Interpolation, CVPR 2023, section 4.1 and its supplement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from betwixt.models.ema_vfi.network import EMA_VFI, EMA_VFI_SMALL, EMAVFI
from betwixt.tables import parse_table
from betwixt.training.losses import laplacian
from betwixt.training.objectives.base import Batch, LossTerms, full_precision
from betwixt.training.objectives.common import PaperObjective, weighted_sum


@dataclass(frozen=True)
class EMAVFISettings:
    """Settings in [network]: `warp` is the weight of the loss of each merged frame."""

    warp: float = 0.5


class EMAVFIObjective(PaperObjective):
    """EMA-VFI in training; the options are `EMAVFISettings`."""

    training_network: EMAVFI

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(name, "between")
        self.settings = parse_table(EMAVFISettings, options, f"[network] of {name}")
        self.training_network = EMAVFI(EMA_VFI if name == "ema-vfi" else EMA_VFI_SMALL)
        for parameter, value in self.training_network.named_parameters():
            if parameter.endswith(".position.bias"):
                value.requires_grad_(False)

    def loss(self, batch: Batch, progress: float) -> LossTerms:
        output = self.training_network(batch.frame0, batch.frame1, batch.t)
        with full_precision(batch.truth):
            warped = torch.stack([laplacian(merged.float(), batch.truth) for merged in output.merges])
            terms = {"reconstruction": laplacian(output.frame.float(), batch.truth), "warp": warped.sum()}
        return weighted_sum(terms, {"warp": self.settings.warp})
