"""Intermediate flow in two steps, flow between the frames and its reversal: the baselines of RIFE's IFNet.

    frame 0, frame 1 ──► estimator ──► F_{0->1}, F_{1->0} ──► reversal ──► F_{t->0}, F_{t->1}, mask

Three ways to reverse:

    linear   F_{t->0} = -(1 - t) t F_{0->1} + t² F_{1->0},  F_{t->1} = (1 - t)² F_{0->1} - t (1 - t) F_{1->0}
             (SuperSloMo, equation 4)
    splat    -t F_{0->1} is splatted along t F_{0->1}, and -(1 - t) F_{1->0} along (1 - t) F_{1->0}; the linear flow
             where nothing arrives (the reversal of QVI, without its learned filter)
    cnn      the linear flow, refined by three convolutions with 128 hidden channels, which see frames and flows and
             also predict the mask

RIFE's table 4 has PWC-Net and RAFT with a linear reversal, a CNN of 128 channels, and EQVI's. Substitution: the
estimator is EBME's (`BiFlowNet`), whose weights Betwixt can import. The fusion mask of "linear" and "splat" is 1 - t.

Reference: Huang et al., Real-Time Intermediate Flow Estimation for Video Frame Interpolation, ECCV 2022, section 4.4.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from betwixt.layers.blocks import conv_prelu
from betwixt.layers.ifblock import concatenate
from betwixt.layers.splatting import splat_with_coverage
from betwixt.models.ebme.network import BiFlowNet

Reversal = Literal["none", "linear", "splat", "cnn"]
"""How flow between the frames is reversed; "none": IFNet estimates the intermediate flow directly."""

_HIDDEN = 128


def linear_reversal(flow_01: Tensor, flow_10: Tensor, t: Tensor) -> Tensor:
    """F_{t->0} and F_{t->1} (N, 4, H, W), pixels, as linear combinations of F_{0->1} and F_{1->0} (N, 2, H, W)."""
    return torch.cat(
        (t * t * flow_10 - (1 - t) * t * flow_01, (1 - t) * (1 - t) * flow_01 - t * (1 - t) * flow_10), dim=1
    )


def splat_reversal(flow_01: Tensor, flow_10: Tensor, t: Tensor) -> Tensor:
    """F_{t->0} and F_{t->1} (N, 4, H, W), pixels, splatted to frame t; the linear reversal where nothing arrives."""
    forward = torch.cat((t * flow_01, (1 - t) * flow_10))
    splatted, coverage = splat_with_coverage(-forward, forward)
    linear = torch.cat(linear_reversal(flow_01, flow_10, t).chunk(2, dim=1))
    flow = torch.where(coverage > 0, splatted, linear)
    return torch.cat(flow.chunk(2), dim=1)


class FlowReversal(nn.Module):
    """An estimator of the flows between two frames, and their reversal.

    Args:
        method: How they are reversed.
    """

    def __init__(self, method: Reversal) -> None:
        super().__init__()
        self.method = method
        self.estimator = BiFlowNet()
        self.refine: nn.Sequential | None = None
        if method == "cnn":
            # Frames (6), flows between them (4), the linear flow (4), t.
            self.refine = nn.Sequential(
                conv_prelu(15, _HIDDEN), conv_prelu(_HIDDEN, _HIDDEN), nn.Conv2d(_HIDDEN, 5, 3, 1, 1)
            )

    def forward(self, frame0: Tensor, frame1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """F_{t->0} and F_{t->1} (N, 4, H, W), pixels, and the mask's logit (N, 1, H, W)."""
        flow_01, flow_10 = self.estimator(frame0, frame1)
        t = t.to(flow_01.dtype)
        logit = torch.logit(1 - t, eps=1e-3).expand(len(frame0), 1, *frame0.shape[-2:])
        if self.method == "splat":
            return splat_reversal(flow_01, flow_10, t), logit
        flow = linear_reversal(flow_01, flow_10, t)
        if self.refine is None:
            return flow, logit
        time = t.expand(len(frame0), 1, *frame0.shape[-2:])
        residual = self.refine(concatenate(frame0, frame1, flow_01, flow_10, flow, time)).to(flow.dtype)
        return flow + residual[:, 0:4], logit + residual[:, 4:5]
