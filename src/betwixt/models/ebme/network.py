"""EBME: enhanced bi-directional motion estimation (Jin et al., WACV 2023).

`BiFlowNet` estimates F_{0->1} and F_{1->0} together by a recurrent pyramid, which warps both frames to the middle. It
is also the estimator of APR-VFI (Chen et al., Alignment-aware Patch-level Routing for Dynamic Video Frame
Interpolation). The same weights serve every level, coarsest first:

    frame 0, frame 1 at 1/2^l ──► splatted to the middle by F/2 ──► encoder ──► features at 1/4
    correlation of both, both features, state, F ──► six convolutions ──► new F, new state ──► next finer level: x 2

    finest level:  F at 1/4, in pixels of the frame ──► x 4 ──► F_{0->1}, F_{1->0}

`EBMESplat` makes the frames in between by splatting along that motion, without the paper's synthesis network:

    frame 0, t · F_{0->1}       ──► splat ──► colour, coverage ──┐
                                                                 ├──► weighted by time and coverage ──► frame t
    frame 1, (1 - t) · F_{1->0} ──► splat ──► colour, coverage ──┘

Shapes, for frames (N, 3, H, W), sides multiples of 4·2^(L-1) at L levels:

    images       (2N, 3, H/2^l, W/2^l)        l = L-1 .. 0; both frames, splatted
    features     (2N, 48, H/(4·2^l), ..)
    correlation  (N, 81, H/(4·2^l), ..)       means over channels, displacements -4 .. 4
    state        (N, 64, H/(4·2^l), ..)       the last hidden features of a level, an input of the next finer one
    F            (N, 4, H/(4·2^l), ..)        F_{0->1} (x, y), F_{1->0} (x, y)

Details, as in the authors' network:

- At the coarsest level F and state are 0.
- Each level predicts F anew, with the coarser F as an input, and not a residual.
- F is in pixels of the level's image although its map has a quarter of the image's size.
- The images are warped, not their features: average splatting with black holes, then the encoder.
- The images of the pyramid are bilinear samples of the full frames without antialiasing.
- A LeakyReLU follows the correlation as well; all have a slope of 0.1.

Splatting, which is our own: the weight of a frame at a pixel is its time weight times its coverage, the sum of the
bilinear weights that reach the pixel, at most 1. So a region visible in one frame alone comes from that frame, and a
sparsely covered pixel yields to a better covered one. Pixels that neither frame reaches are filled by backward warping
of both frames along the motion estimated at that pixel, weighted by time.

Parameters: 632,900. Cost at 3 levels: 135 kFLOP a pixel, 15.5 GFLOP at 448x256.

Reference: Jin et al., Enhanced Bi-directional Motion Estimation for Video Frame Interpolation, WACV 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from betwixt.layers.blocks import conv_leaky_relu
from betwixt.layers.correlation import local_correlation
from betwixt.layers.precision import at_least_float32
from betwixt.layers.resize import resize, resize_flow
from betwixt.layers.splatting import splat, splat_with_coverage
from betwixt.layers.warp import backward_warp
from betwixt.models.network import Network, Synthesis

_FEATURES = 48
_STATE = 64
_RADIUS = 4


def from_reference_name(name: str) -> str:
    """The name in `EBMESplat` of a parameter of the authors' estimator; its own names are returned unchanged."""
    return name if name.startswith("estimator.") else "estimator." + name.removeprefix("module.")


def pyramid_levels(height: int, width: int) -> int:
    """The number of pyramid levels for frames of a size: ceil(3 + log2(width / 448)), but at least 3.

    Training uses 3 levels at 448x256 (Vimeo90K); every doubling of the size adds one, so that the coarsest level has
    about as many pixels as in training. The authors test with these levels: 3 on Vimeo90K and UCF101, 5 on SNU-FILM
    (1280x720), 7 on 4K1000FPS. The longer side counts as the width, so that portrait and landscape frames get the same.
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
        """`convolutions` 3x3 convolutions, the first of which has a stride of 2."""
        layers: list[nn.Module] = [nn.Conv2d(channels_in, channels, 3, 2, 1), nn.LeakyReLU(0.1)]
        for _ in range(convolutions - 1):
            layers += [nn.Conv2d(channels, channels, 3, 1, 1), nn.LeakyReLU(0.1)]
        return nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.conv_stage2(self.conv_stage1(image))
        return features


class FlowEstimator(nn.Module):
    """Predicts the flow (N, 4, h, w) and the state (N, 64, h, w) of a level from features, coarser state and flow."""

    def __init__(self) -> None:
        super().__init__()
        inputs = (2 * _RADIUS + 1) ** 2 + 2 * _FEATURES + _STATE + 4
        self.conv_layer1 = conv_leaky_relu(inputs, 160, kernel=1)
        self.conv_layer2 = conv_leaky_relu(160, 128)
        self.conv_layer3 = conv_leaky_relu(128, 112)
        self.conv_layer4 = conv_leaky_relu(112, 96)
        self.conv_layer5 = conv_leaky_relu(96, _STATE)
        self.conv_layer6 = nn.Sequential(nn.Conv2d(_STATE, 4, 3, 1, 1))

    def forward(self, features0: Tensor, features1: Tensor, state: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        correlation = F.leaky_relu(local_correlation(features0, features1, _RADIUS), 0.1)
        x = torch.cat((correlation, features0, features1, state, flow.to(state.dtype)), dim=1)
        state = self.conv_layer5(self.conv_layer4(self.conv_layer3(self.conv_layer2(self.conv_layer1(x)))))
        return self.conv_layer6(state), state


class BiFlowNet(nn.Module):
    """The estimator of both flows; the module's docstring describes it.

    Args:
        levels: Levels of the pyramid; H and W must be multiples of 4·2^(levels - 1). None for `pyramid_levels`, or as
            many as the sides allow, but at least 3.
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
            raise ValueError(f"{levels} levels need sides that are multiples of {2 << levels}, not {width}x{height}.")
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
            # In 16 bits, a large flow would be off by tenths of a pixel.
            flow = at_least_float32(flow)
        assert flow is not None
        flow_01, flow_10 = resize(flow, 4.0).chunk(2, dim=1)
        return flow_01, flow_10


@dataclass(frozen=True)
class BiFlow:
    """Two frames and the motion between them."""

    frame0: Tensor  # (N, 3, H, W), RGB in [0, 1]
    frame1: Tensor  # (N, 3, H, W), RGB in [0, 1]
    flow_01: Tensor  # (N, 2, H, W), F_{0->1} in pixels, from a pixel of frame 0 to its position in frame 1
    flow_10: Tensor  # (N, 2, H, W), F_{1->0} in pixels


class EBMESplat(Network):
    """Frames in between by EBME's motion and splatting; the module's docstring describes it.

    Args:
        levels: Levels of the pyramid; None chooses by the size of the frames. Sides then have to be multiples of 64,
            which suffices for the 5 levels of frames up to 1792 pixels; larger frames get more levels if their sides
            allow it.
    """

    any_time = True

    def __init__(self, levels: int | None = None) -> None:
        super().__init__()
        self.multiple = 64 if levels is None else 2 << levels
        self.fixed_graph = levels is not None
        self.estimator = BiFlowNet(levels)

    def pair(self, frame0: Tensor, frame1: Tensor) -> BiFlow:
        """The flows of two frames (N, 3, H, W), RGB in [0, 1]."""
        return BiFlow(frame0, frame1, *self.estimator(frame0, frame1))

    def at(self, pair: BiFlow, t: Tensor) -> Synthesis:
        """Frame t of a prepared pair, t (N, 1, 1, 1) in [0, 1]; its mask is the weight of splatted frame 0."""
        dtype = pair.flow_01.dtype
        frames, t = torch.cat((pair.frame0, pair.frame1)).to(dtype), t.to(dtype)
        colour, coverage = splat_with_coverage(frames, torch.cat((t * pair.flow_01, (1 - t) * pair.flow_10)))
        (colour0, colour1), (coverage0, coverage1) = colour.chunk(2), coverage.clamp(max=1).chunk(2)
        weight0, weight1 = (1 - t) * coverage0, t * coverage1
        total = weight0 + weight1
        hole = total == 0
        mask = torch.where(hole, 1 - t, weight0 / torch.where(hole, 1.0, total))

        # Holes of both frames: backward-warp the frames along the motion at the pixel itself.
        motion = (1 - t) * pair.flow_01 - t * pair.flow_10
        warped0, warped1 = backward_warp(frames, torch.cat((-t * motion, (1 - t) * motion))).chunk(2)
        frame = mask * torch.where(hole, warped0, colour0) + (1 - mask) * torch.where(hole, warped1, colour1)
        return Synthesis(frame.to(pair.frame0.dtype), mask=mask)
