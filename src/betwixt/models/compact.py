"""compact: the small network that Betwixt ships, made for two CPU cores.

Not a paper's network but the parts of several that cost least for what they give: a recurrent flow pyramid with
shared weights (RAFT, EBME), a correlation volume of standardised features, neighbor correspondence matching where
the motion is largest (NCM), one motion for both directions (BMBC, EBME), a fusion mask and a residual (RIFE).

    frame 0 ──► encoder ──► features at 1/4, 1/8, .. 1/4·2^(L-1)        once a frame
    frame 1 ──► encoder ──► features at 1/4, 1/8, .. 1/4·2^(L-1)        once a frame

    coarsest level:  all pairs of two fixed windows ──► matching ──► motion v, state        once a time t
    every level:     features warped to t by v ──► correlation ──► refinement ──► v + dv, state ──► next finer, x 2
    finest level:    state ──► head ──► at 1/2:  F_{t->0} = -t v + d0,  F_{t->1} = (1 - t) v + d1,  weight of frame 0
    full size:       frames warped by the flows, state ──► detail ──► corrections of flows, weight and colours
    frame t  =  w warp(frame 0, F_{t->0}) + (1 - w) warp(frame 1, F_{t->1}) + colours

Shapes, for frames (N, 3, H, W) at the working size, sides multiples of 4·2^(L-1):

    features     (N, 32, H/4·2^l, W/4·2^l)   l = 0 .. L-1; at every pixel mean 0 and variance 1 over the channels
    v            (N, 2, H/4·2^l, W/4·2^l)    motion from frame 0 to frame 1 of what is seen at t, in pixels of its level
    state        (N, 48, H/4·2^l, W/4·2^l)
    flows        (N, 2, H, W)                working pixels, (x, y)
    weight       (N, 1, H, W)                of warped frame 0

What was chosen, and why:

- The pyramid carries one motion v, not two flows. Along a straight path at constant speed F_{t->0} = -t v and
  F_{t->1} = (1 - t) v hold exactly for any t, so t needs no training of its own. The head adds what that leaves out.
- Features lose their mean over the frame and are standardised at every pixel before they are correlated. A raw volume
  gives no signal to learn from; without the first of the two, all pixels of a frame are alike (cosines near 1).
- Flow steers the warping without a gradient through it, as in RAFT: each level learns from its own residual.
- The fixed windows at the coarsest level are 5x5 in both frames: motion up to 4·4·2^(L-1) working pixels, 256 with five
  levels, without a flow that may point the wrong way.
- Flows at 1/4 lack the precision that PSNR rewards (early weights gained 0.3 dB on Middlebury and 0.4 dB on UCF101 from
  frames enlarged twice), and finer correlation costs four times as much. The detail network looks at the two warped
  frames at 1/2 instead and corrects what the pyramid left. Its corrections begin at zero, so weights trained without
  it go on to train with it.

Cost, in multiply-adds, at 640x384 with five levels (1280x720 at half size, padded): encoder 1.31 G a frame, matching
0.01 G, refinement 3.51 G, head 0.60 G, detail 2.91 G: 8.3 G or 17 GFLOP a new frame, since features serve both pairs
of a frame. 0.52 M parameters. Twenty-five shifted products at radius 2 on 32 channels and two warps a level are kept
few because memory, not arithmetic, bounds them.

References: Sun et al., PWC-Net, CVPR 2018; Teed and Deng, RAFT, ECCV 2020; Park et al., BMBC, ECCV 2020; Huang et al.,
RIFE, ECCV 2022; Jia et al., Neighbor correspondence matching, ACM MM 2022; Jin et al., EBME, WACV 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from betwixt.layers.correlation import fixed_window_matching, local_correlation
from betwixt.layers.warp import backward_warp

__all__ = ["Compact", "CompactConfig", "CompactMotion", "CompactOutput", "pyramid_levels"]


@dataclass(frozen=True)
class CompactConfig:
    """Hyper-parameters; the defaults are those of the shipped weights.

    Attributes:
        encoder: Channels of the encoder at 1/4.
        matching: Channels of the features that are compared.
        hidden: Channels of the estimators.
        state: Channels of what one level hands to the next.
        radius: Of the correlation window around the place that the motion points to.
        window: Radius of the two fixed windows at the coarsest level.
        detail: Channels of the synthesis at 1/2.
    """

    encoder: int = 48
    matching: int = 32
    hidden: int = 80
    state: int = 48
    radius: int = 2
    window: int = 2
    detail: int = 32


@dataclass(frozen=True)
class CompactMotion:
    """The motion seen from frame t.

    Attributes:
        flow_t0: (N, 2, H/2, W/2), F_{t->0}, in pixels of this map.
        flow_t1: (N, 2, H/2, W/2), F_{t->1}.
        logit: (N, 1, H/2, W/2); its sigmoid is the weight of warped frame 0.
        motions: v of every step, coarsest first, in pixels of its own map.
        state: (N, state, H/4, W/4).
    """

    flow_t0: Tensor
    flow_t1: Tensor
    logit: Tensor
    motions: list[Tensor]
    state: Tensor

    @property
    def weight(self) -> Tensor:
        """(N, 1, H/2, W/2) in (0, 1), the weight of warped frame 0."""
        return torch.sigmoid(self.logit)


@dataclass(frozen=True)
class CompactOutput:
    """Frame t, and how it came about, at the working size.

    Attributes:
        frame: (N, 3, H, W), not clamped.
        flow_t0: (N, 2, H, W), F_{t->0}, in pixels.
        flow_t1: (N, 2, H, W), F_{t->1}.
        weight: (N, 1, H, W), the weight of warped frame 0.
        motions: v of every step, coarsest first, in pixels of its own map; for the training loss.
    """

    frame: Tensor
    flow_t0: Tensor
    flow_t1: Tensor
    weight: Tensor
    motions: list[Tensor]


def _conv(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, stride, 1), nn.LeakyReLU(0.1, inplace=True))


def _zero(convolution: nn.Conv2d) -> nn.Conv2d:
    """Start a convolution at zero: what it corrects begins uncorrected."""
    nn.init.zeros_(convolution.weight)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution


class Encoder(nn.Module):
    """(N, 3, H, W) -> standardised features (N, matching, H/4, W/4)."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        width = config.encoder
        self.stem = _conv(12, width // 2)
        self.down = _conv(width // 2, width, 2)
        self.body = nn.Sequential(_conv(width, width), nn.Conv2d(width, width, 3, 1, 1))
        self.project = nn.Conv2d(width, config.matching, 1)

    def forward(self, frame: Tensor) -> Tensor:
        x: Tensor = self.down(self.stem(F.pixel_unshuffle(frame - 0.5, 2)))
        x = F.leaky_relu(x + self.body(x), 0.1)
        x = self.project(x)
        # What all pixels share says nothing of where they went.
        x = x - x.mean(dim=(2, 3), keepdim=True)
        # Mean 0, variance 1 over the channels of a pixel: correlations become cosines, which is what lets a volume
        # train from scratch.
        x = x - x.mean(dim=1, keepdim=True)
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-4)


class Matching(nn.Module):
    """The first motion, at the coarsest level, from all pairs of two fixed windows."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.window = config.window
        pairs = (2 * config.window + 1) ** 4
        self.reduce = nn.Sequential(
            nn.Conv2d(pairs + 2 * config.matching + 1, config.hidden, 1), nn.LeakyReLU(0.1, inplace=True)
        )
        self.body = nn.Sequential(_conv(config.hidden, config.hidden), _conv(config.hidden, config.state))
        self.motion = nn.Conv2d(config.state, 2, 3, 1, 1)

    def forward(self, first: Tensor, second: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        volume = fixed_window_matching(first, second, self.window)
        state = self.body(self.reduce(torch.cat((volume, first, second, t), dim=1)))
        return self.motion(state), state


class Refinement(nn.Module):
    """One step of the recurrent estimator; the same weights at every level."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.radius = config.radius
        inputs = (2 * config.radius + 1) ** 2 + 2 * config.matching + config.state + 3
        hidden = config.hidden
        self.reduce = nn.Sequential(nn.Conv2d(inputs, hidden, 1), nn.LeakyReLU(0.1, inplace=True))
        self.body = nn.Sequential(_conv(hidden, hidden), _conv(hidden, hidden), _conv(hidden, config.state))
        self.motion = nn.Conv2d(config.state, 2, 3, 1, 1)

    def forward(self, first: Tensor, second: Tensor, t: Tensor, motion: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        # The motion found so far steers where to look; it learns from its own level's loss, not through the looking.
        steer = motion.detach()
        first = backward_warp(first, -t * steer)
        second = backward_warp(second, (1.0 - t) * steer)
        volume = local_correlation(first, second, self.radius)
        state = self.body(self.reduce(torch.cat((volume, first, second, state, 0.1 * steer, t), dim=1)))
        return motion + self.motion(state), state


class Head(nn.Module):
    """What the motion pyramid leaves open: occlusion, and where the two flows are not mirror images."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(config.state, 64), _zero(nn.Conv2d(64, 20, 3, 1, 1)))

    def forward(self, state: Tensor) -> Tensor:
        return F.pixel_shuffle(self.body(state), 2)


class Detail(nn.Module):
    """A light U-Net from 1/2 to full size that corrects flows, weight and colours; it begins with no correction."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        width = config.detail
        self.inputs = _conv(2 * 12 + 5, width)
        self.down = _conv(width, 48, 2)
        self.middle = nn.Sequential(_conv(48 + config.state, 48), _conv(48, 48))
        self.up = nn.Conv2d(48, 4 * width, 1)
        self.outputs = nn.Sequential(_conv(width, width), _zero(nn.Conv2d(width, 4 * 8, 3, 1, 1)))

    def forward(self, warped0: Tensor, warped1: Tensor, motion: CompactMotion) -> Tensor:
        """Corrections (N, 8, H, W): of F_{t->0}, F_{t->1} in pixels, of the weight's logit, of the colours."""
        pictures = F.pixel_unshuffle(torch.cat((warped0, warped1), dim=1) - 0.5, 2)
        flows = 0.1 * torch.cat((motion.flow_t0, motion.flow_t1), dim=1).detach()
        x = self.inputs(torch.cat((pictures, flows, motion.weight.detach() - 0.5), dim=1))
        low = self.middle(torch.cat((self.down(x), motion.state), dim=1))
        x = self.outputs(F.leaky_relu(x + F.pixel_shuffle(self.up(low), 2), 0.1))
        return F.pixel_shuffle(x, 2)


class Compact(nn.Module):
    """The network; see the module for what it computes and why."""

    def __init__(self, config: CompactConfig | None = None) -> None:
        super().__init__()
        self.config = config or CompactConfig()
        self.encoder = Encoder(self.config)
        self.matching = Matching(self.config)
        self.refinement = Refinement(self.config)
        self.head = Head(self.config)
        self.detail = Detail(self.config)
        for module in self.modules():
            # All but the last convolutions of head and detail, which are zero.
            if isinstance(module, nn.Conv2d) and module.weight.any() and module.bias is not None:
                nn.init.kaiming_normal_(module.weight, a=0.1)
                nn.init.zeros_(module.bias)
        for estimator in (self.matching, self.refinement):
            estimator.motion.weight.data.mul_(0.1)

    def features(self, frame: Tensor, levels: int) -> list[Tensor]:
        """Features of frames (N, 3, H, W), finest level first; they serve both pairs that a frame belongs to."""
        pyramid = [frame]
        for _ in range(levels - 1):
            pyramid.append(F.avg_pool2d(pyramid[-1], 2))
        return [self.encoder(level) for level in pyramid]

    def motion(self, first: list[Tensor], second: list[Tensor], t: Tensor) -> CompactMotion:
        """The motion between two frames, seen from time t.

        Args:
            first: Features of frame 0.
            second: Features of frame 1.
            t: (N, 1, 1, 1), in (0, 1).
        """
        coarsest = len(first) - 1
        times = t.expand(-1, 1, *first[coarsest].shape[-2:])
        motion, state = self.matching(first[coarsest], second[coarsest], times)
        motions = [motion]
        for level in reversed(range(coarsest + 1)):
            a, b = first[level], second[level]
            if level < coarsest:
                motion, state = _enlarge(motion), F.interpolate(state, scale_factor=2.0, mode="bilinear")
            times = t.expand(-1, 1, *a.shape[-2:])
            # Where a level is small, a second look costs next to nothing.
            for _ in range(1 if level < 2 else 2):
                motion, state = self.refinement(a, b, times, motion, state)
            motions.append(motion)
        residual = self.head(state)
        fine = _enlarge(motion)
        return CompactMotion(
            flow_t0=-t * fine + residual[:, 0:2],
            flow_t1=(1.0 - t) * fine + residual[:, 2:4],
            # With nothing learned, the nearer frame weighs more: 1 - t and t.
            logit=residual[:, 4:5] + torch.log((1.0 - t) / t),
            motions=motions,
            state=state,
        )

    def forward(self, frame0: Tensor, frame1: Tensor, t: Tensor, levels: int = 4, detail: bool = True) -> CompactOutput:
        """Frame t of two frames.

        Args:
            frame0: (N, 3, H, W), RGB in [0, 1]; the sides are multiples of 4·2^(levels - 1).
            frame1: The same.
            t: (N, 1, 1, 1), in (0, 1).
            levels: Of the pyramid; see `pyramid_levels`.
            detail: Whether flows, weight and colours are corrected at full size.
        """
        both = self.features(torch.cat((frame0, frame1)), levels)
        count = len(frame0)
        found = self.motion([f[:count] for f in both], [f[count:] for f in both], t)
        flow_t0, flow_t1 = _enlarge(found.flow_t0), _enlarge(found.flow_t1)
        logit = F.interpolate(found.logit, scale_factor=2.0, mode="bilinear")
        colours = None
        if detail:
            # What the detail network sees is given; it learns from what it changes.
            warped0 = backward_warp(frame0, flow_t0.detach())
            warped1 = backward_warp(frame1, flow_t1.detach())
            correction = self.detail(warped0, warped1, found)
            flow_t0, flow_t1 = flow_t0 + correction[:, 0:2], flow_t1 + correction[:, 2:4]
            logit, colours = logit + correction[:, 4:5], correction[:, 5:8]
        weight = torch.sigmoid(logit)
        frame = weight * backward_warp(frame0, flow_t0) + (1.0 - weight) * backward_warp(frame1, flow_t1)
        if colours is not None:
            frame = frame + colours
        return CompactOutput(frame, flow_t0, flow_t1, weight, found.motions)


def pyramid_levels(height: int, width: int) -> int:
    """How many levels suit frames of this size: so many that the longer side of the coarsest still has six places.

    256 pixels have four levels, 640 five, 1280 six. On DAVIS at 854x480 six levels
    instead of five gave 0.36 dB; more than this rule gives, on Middlebury and UCF101, nothing.
    """
    levels = 1
    while max(height, width) / (4 * 2**levels) >= 6:
        levels += 1
    return levels


def _enlarge(flow: Tensor) -> Tensor:
    """A flow on a map of twice the size, in pixels of that map."""
    return 2.0 * F.interpolate(flow, scale_factor=2.0, mode="bilinear")
