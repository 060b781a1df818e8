"""EBME: bi-directional motion by a recurrent pyramid that warps both frames to the middle.

Jin et al., Enhanced Bi-directional Motion Estimation for Video Frame Interpolation, WACV 2023. Its estimator is also
that of APR-VFI (Chen et al., Alignment-aware Patch-level Routing for Dynamic Video Frame Interpolation).

`BiFlowNet` finds F_{0->1} and F_{1->0} together. The same weights serve every level, coarsest first:

    frame 0, frame 1 at 1/2^l ──► splatted to the middle by F/2 ──► encoder ──► features at 1/4
    correlation of both, both features, state, F ──► six convolutions ──► new F, new state ──► next finer: x 2, F · 2

    finest level:  F at 1/4, in pixels of the frame ──► x 4 ──► F_{0->1}, F_{1->0}

`EBMESplat` makes the frames in between by that motion alone, without the paper's synthesis network:

    frame 0, t · F_{0->1}       ──► splat ──► colour, coverage ──┐
                                                                 ├──► weighed by time and coverage ──► frame t
    frame 1, (1 - t) · F_{1->0} ──► splat ──► colour, coverage ──┘

Shapes, for frames (N, 3, H, W), sides multiples of 4·2^(L-1) at L levels:

    images       (2N, 3, H/2^l, W/2^l)        l = L-1 .. 0; both frames, splatted
    features     (2N, 48, H/(4·2^l), ..)
    correlation  (N, 81, H/(4·2^l), ..)       means over channels, displacements -4 .. 4
    state        (N, 64, H/(4·2^l), ..)       what the last hidden convolution of a level hands to the next finer
    F            (N, 4, H/(4·2^l), ..)        F_{0->1} (x, y), F_{1->0} (x, y)

Details, as the authors' network has them:

- At the coarsest level F and state are 0.
- F is found anew at every level, not as a residual to what the coarser one found, which the estimator merely sees.
- F is in pixels of the level's image although its map has a quarter of the image's size.
- The images are warped, not their features: average splatting, holes are black, then the encoder.
- The images of the pyramid are bilinear samples of the full frames (from level 2 on, not every pixel is looked at).
- The correlation passes through the same leaky ReLU as everything else, of slope 0.1.

What EBMESplat chooses: a frame counts at a pixel by its time weight times its coverage, the sum of the bilinear weights
that reach the pixel, up to 1. So what only one frame shows comes from that frame, and a thinly covered pixel gives way
to a better one. What neither reaches is filled by a backward warp of both frames along the motion estimated at that
pixel, weighed by time.

Parameters: 632,900. Cost at 3 levels: 135 kFLOP a pixel, 15.5 GFLOP at 448x256.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from betwixt.layers.correlation import local_correlation
from betwixt.layers.resize import resize, resize_flow
from betwixt.layers.splatting import splat, splat_with_coverage
from betwixt.layers.warp import backward_warp
from betwixt.models.network import Network, Synthesis

__all__ = ["BiFlow", "BiFlowNet", "EBMESplat", "from_reference_name", "pyramid_levels"]

_FEATURES = 48
_STATE = 64
_RADIUS = 4


def from_reference_name(name: str) -> str:
    """What `EBMESplat` calls a parameter of the authors' estimator; its own names stay as they are."""
    return name if name.startswith("estimator.") else "estimator." + name.removeprefix("module.")


def pyramid_levels(height: int, width: int) -> int:
    """How many levels frames of this size get: ceil(3 + log2(width / 448)), and never less than 3.

    Training is on 3 levels, on Vimeo90K of 448x256; every doubling of the size adds one, so that the coarsest level
    sees about as many pixels as in training. These are the levels that the authors test with: 3 on Vimeo90K and UCF101,
    5 on SNU-FILM (1280x720), 7 on 4K1000FPS. The longer side stands for the width, so upright frames get what the same
    frames on their side do.
    """
    levels = 3
    while max(height, width) > 448 * 2 ** (levels - 3):
        levels += 1
    return levels


class FeaturePyramid(nn.Module):
    """(N, 3, H, W) -> (N, 48, H/4, W/4)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stage1 = self._stage(3, _FEATURES // 2, convolutions=3)
        self.conv_stage2 = self._stage(_FEATURES // 2, _FEATURES, convolutions=6)

    @staticmethod
    def _stage(channels_in: int, channels: int, convolutions: int) -> nn.Sequential:
        """`convolutions` 3x3 convolutions, the first of which halves the sides."""
        layers: list[nn.Module] = [nn.Conv2d(channels_in, channels, 3, 2, 1), nn.LeakyReLU(0.1)]
        for _ in range(convolutions - 1):
            layers += [nn.Conv2d(channels, channels, 3, 1, 1), nn.LeakyReLU(0.1)]
        return nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.conv_stage2(self.conv_stage1(image))
        return features


class FlowEstimator(nn.Module):
    """Correlation, features, state and flow of one level -> its flow (N, 4, h, w) and its state (N, 64, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        inputs = (2 * _RADIUS + 1) ** 2 + 2 * _FEATURES + _STATE + 4
        self.conv_layer1 = self._layer(inputs, 160, kernel=1)
        self.conv_layer2 = self._layer(160, 128)
        self.conv_layer3 = self._layer(128, 112)
        self.conv_layer4 = self._layer(112, 96)
        self.conv_layer5 = self._layer(96, _STATE)
        self.conv_layer6 = nn.Sequential(nn.Conv2d(_STATE, 4, 3, 1, 1))

    @staticmethod
    def _layer(channels_in: int, channels_out: int, kernel: int = 3) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(channels_in, channels_out, kernel, 1, kernel // 2), nn.LeakyReLU(0.1))

    def forward(self, features0: Tensor, features1: Tensor, state: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        correlation = F.leaky_relu(local_correlation(features0, features1, _RADIUS), 0.1)
        x = torch.cat((correlation, features0, features1, state, flow.to(state.dtype)), dim=1)
        state = self.conv_layer5(self.conv_layer4(self.conv_layer3(self.conv_layer2(self.conv_layer1(x)))))
        return self.conv_layer6(state), state


class BiFlowNet(nn.Module):
    """The estimator of both flows; see the module.

    Args:
        levels: Of the pyramid; H and W must be multiples of 4·2^(levels - 1). None: as many as `pyramid_levels` says
            or the sides allow, but at least 3.
    """

    def __init__(self, levels: int | None = None) -> None:
        super().__init__()
        self.levels = levels
        self.feat_pyramid = FeaturePyramid()
        self.flow_estimator = FlowEstimator()

    def _levels(self, height: int, width: int) -> int:
        levels = self.levels or pyramid_levels(height, width)
        if self.levels is None:
            while levels > 3 and (height % (2 << levels) or width % (2 << levels)):
                levels -= 1
        if height % (2 << levels) or width % (2 << levels):
            raise ValueError(f"{levels} levels need sides that are multiples of {2 << levels}, not {width}x{height}")
        return levels

    def forward(self, frame0: Tensor, frame1: Tensor) -> tuple[Tensor, Tensor]:
        """F_{0->1} and F_{1->0}, (N, 2, H, W) in pixels, at least float32, of frames (N, 3, H, W), RGB in [0, 1]."""
        levels = self._levels(*frame0.shape[-2:])
        frames = torch.cat((frame0, frame1))
        flow = state = None
        for level in reversed(range(levels)):
            images = resize(frames, 0.5**level)
            if flow is not None and state is not None:
                flow, state = resize_flow(flow, 2.0), resize(state, 2.0)
                images = splat(images, torch.cat((0.5 * resize(flow, 4.0)).chunk(2, dim=1)))
            features0, features1 = self.feat_pyramid(images).chunk(2)
            if flow is None or state is None:
                size = (len(features0), 4 + _STATE, *features0.shape[-2:])
                flow, state = features0.new_zeros(size).split((4, _STATE), dim=1)
            flow, state = self.flow_estimator(features0, features1, state, flow)
            # Half precision would cost tenths of a pixel in a large flow.
            flow = flow.to(torch.promote_types(flow.dtype, torch.float32))
        assert flow is not None
        flow_01, flow_10 = resize(flow, 4.0).chunk(2, dim=1)
        return flow_01, flow_10


@dataclass(frozen=True)
class BiFlow:
    """Two frames and the motion between them.

    Attributes:
        frame0: (N, 3, H, W), RGB in [0, 1].
        frame1: The same.
        flow_01: (N, 2, H, W), F_{0->1}, in pixels: where a pixel of frame 0 is found in frame 1.
        flow_10: (N, 2, H, W), F_{1->0}.
    """

    frame0: Tensor
    frame1: Tensor
    flow_01: Tensor
    flow_10: Tensor


class EBMESplat(Network):
    """Frames in between by EBME's motion and splatting alone; see the module.

    Args:
        levels: Of the pyramid; None: by the size of the frames. Sides then are multiples of 64, which is enough for
            the 5 levels of frames up to 1792 pixels; larger ones get more levels where their sides allow, or by name.
    """

    any_time = True

    def __init__(self, levels: int | None = None) -> None:
        super().__init__()
        self.multiple = 64 if levels is None else 2 << levels
        self.estimator = BiFlowNet(levels)

    def pair(self, frame0: Tensor, frame1: Tensor) -> BiFlow:
        """The flows of two frames (N, 3, H, W), RGB in [0, 1]."""
        return BiFlow(frame0, frame1, *self.estimator(frame0, frame1))

    def at(self, pair: BiFlow, t: Tensor) -> Synthesis:
        """Frame t, t (N, 1, 1, 1) in [0, 1], with the weight of splatted frame 0 as its mask."""
        dtype = pair.flow_01.dtype
        frames, t = torch.cat((pair.frame0, pair.frame1)).to(dtype), t.to(dtype)
        colour, coverage = splat_with_coverage(frames, torch.cat((t * pair.flow_01, (1 - t) * pair.flow_10)))
        (colour0, colour1), (coverage0, coverage1) = colour.chunk(2), coverage.clamp(max=1).chunk(2)
        weight0, weight1 = (1 - t) * coverage0, t * coverage1
        total = weight0 + weight1
        hole = total == 0
        mask = torch.where(hole, 1 - t, weight0 / torch.where(hole, 1.0, total))

        # What neither frame reaches: read both where the motion of that very pixel comes from and goes to.
        motion = (1 - t) * pair.flow_01 - t * pair.flow_10
        read0, read1 = backward_warp(frames, torch.cat((-t * motion, (1 - t) * motion))).chunk(2)
        frame = mask * torch.where(hole, read0, colour0) + (1 - mask) * torch.where(hole, read1, colour1)
        return Synthesis(frame.to(pair.frame0.dtype), mask=mask)
