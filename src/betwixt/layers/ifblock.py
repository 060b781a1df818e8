"""The step that every IFNet repeats: refine the flow at one resolution, from the frames warped by the flow so far.

    maps (frames, warped frames, t, mask, ..) ──► 1/K ──┐
    flow so far ────────────────────────────────► 1/K ──┴► body ──► xK·stride ──► flow residual, mask logit, state

K is the block's scale: a block with K = 4 works at a quarter of the frames' size. The body differs between the networks
of the RIFE family; what is around it does not.

Flows and mask logits are float32 whatever type the convolutions compute in: 16 bits do not hold a position.

Reference: Huang et al., Real-Time Intermediate Flow Estimation for Video Frame Interpolation, ECCV 2022, section 3.2.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from betwixt.layers.resize import resize, resize_flow
from betwixt.layers.warp import backward_warp


@dataclass(frozen=True)
class FlowEstimate:
    """The flows and fusion mask of frame t after a block, and the frames warped by them."""

    flow: Tensor  # (N, 4, H, W), F_{t->0} and then F_{t->1}, in pixels
    logit: Tensor  # (N, 1, H, W), the fusion mask before the sigmoid
    warped0: Tensor  # (N, 3, H, W), frame 0 warped by F_{t->0}
    warped1: Tensor  # (N, 3, H, W), frame 1 warped by F_{t->1}

    @classmethod
    def from_flow(cls, frame0: Tensor, frame1: Tensor, flow: Tensor, logit: Tensor) -> FlowEstimate:
        """The estimate of given flows and mask logit, with the two frames (N, 3, H, W) warped by the flows."""
        return cls(flow, logit, backward_warp(frame0, flow[:, 0:2]), backward_warp(frame1, flow[:, 2:4]))

    @property
    def flow_t0(self) -> Tensor:
        """(N, 2, H, W), F_{t->0}."""
        return self.flow[:, 0:2]

    @property
    def flow_t1(self) -> Tensor:
        """(N, 2, H, W), F_{t->1}."""
        return self.flow[:, 2:4]

    @property
    def mask(self) -> Tensor:
        """(N, 1, H, W) in (0, 1), the weight of warped frame 0."""
        return torch.sigmoid(self.logit)

    @property
    def merged(self) -> Tensor:
        """(N, 3, H, W), the two warped frames fused (equation 1)."""
        mask = self.mask
        return mask * self.warped0 + (1.0 - mask) * self.warped1


class IFBlock(nn.Module):
    """Base class of the blocks.

    Attributes:
        stride: Input size of the body over its output size.
    """

    stride: int = 1

    @abstractmethod
    def body(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 5 + S, h/stride, w/stride): 4 channels of flow, 1 of the mask logit, S of state."""

    def forward(self, maps: Tensor, flow: Tensor | None, scale: float) -> tuple[Tensor, Tensor, Tensor | None]:
        """Estimate the flow residual at 1/K of the frames' size, K = `scale`.

        Args:
            maps: (N, C, H, W), the inputs other than the flow.
            flow: (N, 4, H, W), the flow so far in pixels; None in the first block.
            scale: K.

        Returns:
            The flow residual (N, 4, H, W) in pixels and the mask logit (N, 1, H, W), both float32, and the state
            (N, S, H, W), or None if the body returns none.
        """
        return self.upsample(self.body(self.downsample(maps, flow, scale)), scale)

    @staticmethod
    def downsample(maps: Tensor, flow: Tensor | None, scale: float) -> Tensor:
        """The body's input, (N, C + 4, H/K, W/K); without flow, (N, C, H/K, W/K)."""
        return concatenate(resize(maps, 1.0 / scale), None if flow is None else resize_flow(flow, 1.0 / scale))

    def upsample(self, output: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor | None]:
        """The body's output, split and resized to (H, W) as `forward` returns it."""
        factor = scale * self.stride
        flow_and_logit = resize(output[:, 0:5].float(), factor)
        state = resize(output[:, 5:], factor) if output.shape[1] > 5 else None
        return flow_and_logit[:, 0:4] * factor, flow_and_logit[:, 4:5], state


def concatenate(first: Tensor, *maps: Tensor | None) -> Tensor:
    """Concatenate maps (N, C, H, W) along the channels, in the type of `first`; None is left out."""
    return torch.cat((first, *(m.to(first.dtype) for m in maps if m is not None)), dim=1)
