"""The step that every IFNet repeats: look at frames, warps and flow at one resolution, and correct the flow.

    maps (frames, warped frames, t, mask, ..) ──► 1/K ──┐
    flow so far ────────────────────────────────► 1/K ──┴► body ──► xK·stride ──► flow residual, mask logit, state

K is the block's scale: a block with K = 4 sees the frames at a quarter of their size. What the body is made of differs
between the networks of the RIFE family; what goes around it does not.

Flows and mask logits are float32 whatever the convolutions compute in: sixteen bits do not hold a position.

Reference: Huang et al., Real-Time Intermediate Flow Estimation for Video Frame Interpolation, ECCV 2022, section 3.2.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from betwixt.layers.resize import resize, resize_flow
from betwixt.layers.warp import backward_warp

__all__ = ["FlowEstimate", "IFBlock", "concatenate"]


@dataclass(frozen=True)
class FlowEstimate:
    """What is known of frame t after a block.

    Attributes:
        flow: (N, 4, H, W), F_{t->0} and then F_{t->1}, in pixels.
        logit: (N, 1, H, W), the fusion mask before the sigmoid.
        warped0: (N, 3, H, W), frame 0 warped by F_{t->0}.
        warped1: (N, 3, H, W), frame 1 warped by F_{t->1}.
    """

    flow: Tensor
    logit: Tensor
    warped0: Tensor
    warped1: Tensor

    @classmethod
    def of(cls, frame0: Tensor, frame1: Tensor, flow: Tensor, logit: Tensor) -> FlowEstimate:
        """Warp the two frames by `flow`."""
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
    """Base of the blocks.

    Attributes:
        stride: Size of what the body takes over size of what it returns.
    """

    stride: int = 1

    @abstractmethod
    def body(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 5 or more, h/stride, w/stride): 4 of flow, 1 of the mask, the rest is state."""

    def forward(self, maps: Tensor, flow: Tensor | None, scale: float) -> tuple[Tensor, Tensor, Tensor | None]:
        """One step.

        Args:
            maps: (N, C, H, W), all that the block sees but the flow.
            flow: (N, 4, H, W), the flow so far in pixels; None at the first block.
            scale: K, the factor by which the block sees less.

        Returns:
            The flow residual (N, 4, H, W) in pixels and the mask logit (N, 1, H, W), both float32, and the state
            (N, ·, H, W), None if the body returns none.
        """
        return self.enlarge(self.body(self.shrink(maps, flow, scale)), scale)

    @staticmethod
    def shrink(maps: Tensor, flow: Tensor | None, scale: float) -> Tensor:
        """What the body takes, (N, C + 4, H/K, W/K); without flow, C channels."""
        return concatenate(resize(maps, 1.0 / scale), None if flow is None else resize_flow(flow, 1.0 / scale))

    def enlarge(self, found: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor | None]:
        """What `forward` returns, from what the body returned."""
        factor = scale * self.stride
        motion = resize(found[:, 0:5].float(), factor)
        state = resize(found[:, 5:], factor) if found.shape[1] > 5 else None
        return motion[:, 0:4] * factor, motion[:, 4:5], state


def concatenate(first: Tensor, *maps: Tensor | None) -> Tensor:
    """Concatenate along the channels what is there, all in the type of the first."""
    return torch.cat((first, *(m.to(first.dtype) for m in maps if m is not None)), dim=1)
