"""NCM: neighbor correspondence matching, for interpolation and extrapolation up to 4K.

Correspondence needs two frames that exist, and frame t does not. NCM compares, for every pixel of frame t, all pixels
of a window around that place in frame 0 with all of the same window in frame 1: nothing of frame t is needed, no flow
that may be wrong says where to look, and what was found serves every block and every time. The flow is estimated with
it at a size that motion and training can be matched to, and then refined at full size without it.

    frames ──► (h, w) ──► pyramid f^1 .. f^4 ──► matching of f^4 in windows, 4 scales ──► corr         once a pair
                               │ image feature              motion feature │
                               ▼                                           ▼
    coarse-scale module:    block, K = 4 ──► F, M ──► block, K = 2 ──► F, M ──► block, K = 1 ──► F, M     at (h, w)
                                                                                                  │ enlarged
    fine-scale module:      frames ──► block, K = 2 or 1 ──► F, M ──► block, K = 1 ──► F, M  ◄────┘       at (H, W)
    synthesis:              ContextNet and RefineNet of RIFE ──► residual ──► + warped frames, merged ──► frame t
    teacher (training):     true frame t, what the last block knew ──► block, K = 1 ──► F, M

Shapes, for frames (N, 3, H, W):

    f^l          (N, 16 | 32 | 64 | 96, h/2^(l-1), w/2^(l-1)), l = 1 .. 4
    corr         (N, 4 · 3^4 = 324, h/8, w/8)      windows of 3x3 (d = 3) in f^4 at 1, 1/2, 1/4, 1/8 (K = 3)
    f_I          (N, 2 C_l, h/K, w/K)              f^3, f^2, f^1 of both frames, warped, for K = 4, 2, 1
    f_M          (N, 64, h/8, w/8)                 of corr and F
    F            (N, 4, h, w) or (N, 4, H, W)      F_{t->0} and F_{t->1}, pixels of that size
    M            (N, 1, ..)                        logit; its sigmoid is the weight of warped frame 0

Working size. "Assume H < W": (h, w) = (a, W/H · a), and K_f = (2, 1) if a/H < 1/2, otherwise (1, 1); K_c = (4, 2, 1).
The paper's a is 384 for X4K1000FPS and 256 elsewhere. Here H is the shorter side, whichever it is; w is rounded to the
nearest multiple of 16 (1920x1088 is seen at 448x256, 3840x2176 at 672x384); 4K begins at a longer side of 3840; and a
frame smaller than a is enlarged to it, as the formula has it. `working_size` and `fine_scales` are these rules.

Times. The paper trains on the triplets of Vimeo-90K, so for t = 1/2 alone, and no block sees t; how it makes the 8x of
X4K1000FPS and the 31 frames of appendix D it does not say. So `any_time` is False and other times are by recursion.
For extrapolation, frame t is frame 2.

Variants, by `NCMConfig`:

    NCM_BASE, NCM_LARGE      large: the first convolution and the last transposed one of every block, of ContextNet and
                             of RefineNet lose their stride (appendix A.1); the paper's Large is
                             `betwixt.models.augmented.TestTimeAugmented(NCM(NCM_LARGE))`
    extrapolation            blocks estimate (dF_01, F_{t->1}), F_{t->0} = 2 F_{t->1} + dF_01; no distillation (A.3)
    table 3                  motion_feature, then image_feature, then progressive off
    table 4                  heterogeneous off ("normal coarse-to-fine"); flow_guided on

Training. Stage I: the coarse-scale module alone on 256x256, `distil_coarse`, or `coarse` for extrapolation, with the
parameters of `coarse_scale` and `teacher`. Stage II: the rest, with the coarse-scale module fixed and its frames drawn
from 64x64, 128x128 and 256x256, `distil` with that size, or `coarse` and `fine`, with the parameters of `fine_scale`,
`contextnet`, `unet` and `teacher`. Equation 8 is `NCMDistillation`.

Where the paper is silent, what was chosen. Its count of 12.1 M, without the teacher, is what the choices have to meet:

    ContextNet and RefineNet as in RIFE                    3.252 M
    coarse blocks as in RIFE, c = 240, 150, 90             6.820 M      4.437 + 1.748 + 0.635
    fine blocks as RIFE's last, c = 90, 90                 1.271 M
    pyramid, C = 16, 32, 64, 96, a residual block each     0.343 M
    f_I into the coarse blocks                             0.194 M      9 · (128 · 120 + 64 · 75 + 32 · 45)
    f_M, three times                                       0.244 M      corr 1x1 64, F 3x3 32, both 3x3 64, 1x1 c
    together                                              12.124 M      and 0.637 M of the teacher

- Blocks with features see all that RIFE's see beside. f_I joins the frames; f_M the features before the eight
  convolutions, brought to their size. The first block knows no flow yet, and sees neither flow, mask nor warped frames.
- Equation 2 has a dot product; here it is divided by C_4, a factor that the next convolution can undo. f^4 is averaged
  over squares of 2^k pixels, and outside the map there are zeros.
- Without its stride, a transposed convolution of 4x4 makes one row and one column too many: the last are cut off. So
  the large model has the base model's shapes, and count.
- Frames are shrunk with antialiasing.
- Flow guides the matching as in PWC-Net: f^4 is warped by the flow so far and then matched.
- The fine blocks of "normal coarse-to-fine" have a pyramid of their own, and all see f^1, since K_f changes.
- In stage I, the fused frame is what L_rec compares with the truth: the synthesis network belongs to stage II. One
  teacher block serves both stages. Equation 7 is a mean over the pixels, without RIFE's condition that the teacher be
  better.
- Without progressive learning the blocks are at 1/16, 1/8, 1/4, 1/2 and 1 ("upsampling rate 2").

Memory. corr takes 324 · h/8 · w/8 numbers a sample: 5.2 MB in float32 at 4K (a = 384), where the features that it is
made of are matched some rows at a time in about 64 MiB, whatever the size. "Normal coarse-to-fine" matches at full size
too: 169 MB for 3840x2176.

FLOPs:               448x256    864x480    1280x720    1920x1088    3840x2176
    base               59.9 G    134.5 G     201.1 G      415.5 G     1606.4 G
    large, one pass   209.1 G    505.9 G     771.8 G     1626.5 G     6336.1 G

The paper's 38 ms (480p) and 82 ms (1080p) are 3.2 and 1.5 times those of RIFE, whose FLOPs are 105 G and 530 G: at
480p it takes more time than its FLOPs explain, as many small layers do, and from 480p to 1080p it adds 44 ms where at
RIFE's speed these FLOPs would add 29. So the authors' fine blocks may be wider than RIFE's last, of about 125 channels,
and their coarse ones narrower for it.

Reference: Jia, Lu, Li: Neighbor Correspondence Matching for Flow-based Video Frame Synthesis, ACM MM 2022.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from betwixt.layers.correlation import multi_scale_matching
from betwixt.layers.ifblock import FlowEstimate, IFBlock, concatenate
from betwixt.layers.resize import resize, resize_flow, resize_flow_to, resize_to
from betwixt.layers.warp import backward_warp
from betwixt.models.network import Network, Synthesis
from betwixt.models.rife.network import ContextNet, RefineNet

__all__ = [
    "DISTILLATION_WEIGHT",
    "NCM",
    "NCM_BASE",
    "NCM_LARGE",
    "NCMConfig",
    "NCMDistillation",
    "NCMPair",
    "NCMSynthesis",
    "extrapolated",
    "fine_scales",
    "short_side",
    "working_size",
]

COARSE_SCALES = (4, 2, 1)
"""K_c."""

RADIUS = 1
"""Of the windows: d = 3."""

MATCHING_SCALES = 4
"""K + 1 of the paper, K = 3: f^4 at 1, 1/2, 1/4 and 1/8 of its size."""

PAIRS = MATCHING_SCALES * (2 * RADIUS + 1) ** 4
"""Channels of the correspondences, 4 · 3⁴ = 324."""

DISTILLATION_WEIGHT = 0.01
"""lambda_d of equation 8."""

_PYRAMID = (16, 32, 64, 96)
_CORRESPONDENCE, _FLOW, _MOTION = 64, 32, 64
_COARSE_WIDTHS, _FINE_WIDTHS, _TEACHER_WIDTH = (240, 150, 90), (90, 90), 90
_CELL = 16
"""The sides of the working size are multiples of this: the coarsest block strides by 4 at a quarter of that size."""


@dataclass(frozen=True)
class NCMConfig:
    """Which of the variants; the defaults are the base model of the paper, for interpolation.

    Attributes:
        double_resolution: Whether features in the IFBlocks and the synthesis network have twice the resolution, as in
            the large model (appendix A.1).
        extrapolation: Whether frame t is the one after the two (t = 2), and the flows are found as in appendix A.3.
        short_side: a, a multiple of 16; None chooses by the frame's size, see the function `short_side`.
        image_feature: Whether the blocks with matching see the features of the pyramid (table 3).
        motion_feature: Whether they see correspondences (table 3).
        flow_guided: Whether the flow found so far says where to match (table 4).
        heterogeneous: Whether the fine-scale module does without features and matching (table 4).
        progressive: Whether the working size follows a and the two modules are trained one after the other (table 3);
            otherwise it is a quarter of the frame in each direction, always, and all is trained at once.
        teacher: Whether the teacher block, which only training needs, is there. It never is for extrapolation.
    """

    double_resolution: bool = False
    extrapolation: bool = False
    short_side: int | None = None
    image_feature: bool = True
    motion_feature: bool = True
    flow_guided: bool = False
    heterogeneous: bool = True
    progressive: bool = True
    teacher: bool = True

    def __post_init__(self) -> None:
        if self.short_side is not None and (self.short_side <= 0 or self.short_side % _CELL):
            raise ValueError(f"short_side is {self.short_side}: it has to be a positive multiple of {_CELL}.")
        if self.flow_guided and not self.motion_feature:
            raise ValueError("flow_guided says where to match: it needs motion_feature.")


NCM_BASE = NCMConfig()
NCM_LARGE = NCMConfig(double_resolution=True)


def short_side(height: int, width: int) -> int:
    """a as the paper sets it: 384 for 4K, which is taken to be a longer side of at least 3840, and 256 for the rest."""
    return 384 if max(height, width) >= 3840 else 256


def working_size(height: int, width: int, a: int) -> tuple[int, int]:
    """The size (h, w) at which the coarse-scale module sees frames of (H, W).

    The shorter side becomes a and the longer one keeps the ratio, rounded to the nearest multiple of 16, halves up.
    The paper has (h, w) = (a, W/H · a), for H < W and without rounding. Frames smaller than that are enlarged.

    Example:
        >>> working_size(1088, 1920, 256), working_size(1920, 1088, 256)
        ((256, 448), (448, 256))
    """
    short, long = sorted((height, width))
    other = (2 * long * a + _CELL * short) // (2 * _CELL * short) * _CELL
    return (a, other) if height <= width else (other, a)


def fine_scales(height: int, width: int, a: int) -> tuple[int, int]:
    """K_f: (2, 1) if a/H < 1/2, otherwise (1, 1), where H is the shorter side."""
    return (2, 1) if 2 * a < min(height, width) else (1, 1)


def extrapolated(found: Tensor) -> Tensor:
    """(N, 4, H, W), dF_01 and F_{t->1}, to F_{t->0} = 2 F_{t->1} + dF_01 and F_{t->1} (appendix A.3).

    t is as far from frame 1 as that is from frame 0, so what moves at constant speed has dF_01 = 0.
    """
    return torch.cat((2.0 * found[:, 2:4] + found[:, 0:2], found[:, 2:4]), dim=1)


@dataclass(frozen=True)
class Clues:
    """What one module sees of two frames, at one size; it depends on nothing else.

    Attributes:
        frame0: (N, 3, h, w).
        frame1: The same.
        features0: f^l of frame 0, (N, C_l, h/2^(l-1), w/2^(l-1)), l = 1 .. 4; empty without matching and image
            features, three without matching.
        features1: The same of frame 1.
        correspondences: (N, 324, h/8, w/8); None without matching, and where flow guides it.
    """

    frame0: Tensor
    frame1: Tensor
    features0: tuple[Tensor, ...] = ()
    features1: tuple[Tensor, ...] = ()
    correspondences: Tensor | None = None


@dataclass(frozen=True)
class NCMPair:
    """What depends on two frames alone.

    Attributes:
        coarse: What the coarse-scale module sees, at the working size.
        fine: What the fine-scale module sees, at full size: the frames, and if not heterogeneous their matching.
        context0: Four levels of frame 0's context, finest first.
        context1: The same of frame 1.
    """

    coarse: Clues
    fine: Clues
    context0: tuple[Tensor, ...]
    context1: tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class NCMSynthesis(Synthesis):
    """Frame t, and how NCM came to it.

    Attributes:
        merged: (N, 3, H, W), the fused frame before the residual.
        residual: (N, 3, H, W) in [-1, 1].
        start: The coarse flow that the fine-scale module was given, at whatever size that was.
        stages: What was known after each block of the fine-scale module, at full size; the last is what `flow_t0`,
            `flow_t1`, `mask` and `merged` say.
    """

    merged: Tensor
    residual: Tensor
    start: FlowEstimate
    stages: tuple[FlowEstimate, ...]


@dataclass(frozen=True)
class NCMDistillation:
    """What training sees: L = L_rec(frame) + L_rec(teacher.merged) + DISTILLATION_WEIGHT · loss (equation 8).

    L_rec(x) is the L1 distance of the Laplacian pyramids of x and of the true frame.

    Attributes:
        frame: (N, 3, H, W), what the student makes: in stage I the fused frame of the coarse-scale module, then what
            the synthesis network returns.
        stages: What the student knew after each block that learns, in its own pixels.
        teacher: What the teacher block makes of the last of these with the true frame before its eyes.
        loss: A scalar, L_dis (equation 7).
    """

    frame: Tensor
    stages: tuple[FlowEstimate, ...]
    teacher: FlowEstimate
    loss: Tensor


def _conv(channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2)
    return nn.Sequential(convolution, nn.PReLU(channels_out))


class _Upsampling(nn.ConvTranspose2d):
    """A transposed convolution of 4x4 that doubles the size; with stride 1, the same weights keep it."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__(channels_in, channels_out, 4, stride, 1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        x = super().forward(x, output_size)
        # Without a stride, four taps give one pixel more than they are given.
        return x[..., :-1, :-1] if self.stride[0] == 1 else x


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(width, width), nn.Conv2d(width, width, 3, 1, 1))
        self.activation = nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.activation(x + self.body(x))
        return found


class FeaturePyramid(nn.Module):
    """(N, 3, h, w) -> f^l (N, C_l, h/2^(l-1), w/2^(l-1)), l = 1 .. levels, finest first."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        widths = (3, *_PYRAMID[:levels])
        self.levels = nn.ModuleList(
            nn.Sequential(_conv(before, width, stride=1 if before == 3 else 2), _Residual(width))
            for before, width in pairwise(widths)
        )

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        features = [frame]
        for level in self.levels:
            features.append(level(features[-1]))
        return tuple(features[1:])


class MotionFeature(nn.Module):
    """f_M (N, 64, h/8, w/8), of the correspondences and the flow so far."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.correspondence = _conv(PAIRS, _CORRESPONDENCE, kernel=1)
        self.flow = None if first else _conv(4, _FLOW)
        self.fusion = _conv(_CORRESPONDENCE + (0 if first else _FLOW), _MOTION)

    def forward(self, correspondences: Tensor, flow: Tensor | None) -> Tensor:
        """Fuse (N, 324, h/8, w/8) and a flow (N, 4, h, w) in pixels of the frames, which the first block lacks."""
        seen: Tensor = self.correspondence(correspondences)
        if self.flow is not None and flow is not None:
            seen = concatenate(seen, self.flow(resize_flow(flow, 1 / 8).to(correspondences.dtype)))
        motion: Tensor = self.fusion(seen)
        return motion


class Block(IFBlock):
    """An IFBlock of RIFE, and the same with image and motion features beside (figure 5).

    Args:
        channels_in: Channels of what it sees, flow included.
        width: c.
        double_resolution: Whether its features have twice the resolution.
        image: Channels of the image feature; 0: it sees none.
        motion: Whether it sees a motion feature.
        first: Whether no flow was found before.
    """

    stride = 2

    def __init__(
        self,
        channels_in: int,
        width: int,
        double_resolution: bool,
        image: int = 0,
        motion: bool = False,
        first: bool = False,
    ) -> None:
        super().__init__()
        stride = 1 if double_resolution else 2
        self.inner = 2 * stride
        self.conv0 = nn.Sequential(
            _conv(channels_in + image, width // 2, stride=stride), _conv(width // 2, width, stride=2)
        )
        self.convblock = nn.Sequential(*(_conv(width, width) for _ in range(8)))
        self.lastconv = _Upsampling(width, 5, stride)
        self.motion_feature = MotionFeature(first) if motion else None
        self.join = nn.Conv2d(_MOTION, width, 1) if motion else None

    def body(self, x: Tensor, motion: Tensor | None = None) -> Tensor:
        """(N, C, h, w) -> (N, 5, h/2, w/2); a motion feature joins the features before the eight convolutions."""
        features = self.conv0(x)
        if self.join is not None and motion is not None:
            features = features + self.join(motion)
        found: Tensor = self.lastconv(self.convblock(features) + features)
        return found

    def forward(
        self,
        maps: Tensor,
        flow: Tensor | None,
        scale: float,
        image: Tensor | None = None,
        correspondences: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """One step.

        Args:
            maps: (N, C, h, w), all that the block sees but flow and features.
            flow: (N, 4, h, w), the flow so far in pixels; None at the first block.
            scale: K.
            image: (N, ·, h/K, w/K), the image feature.
            correspondences: (N, 324, h/8, w/8).

        Returns:
            As the base: residual of the flow, of the mask logit, and None.
        """
        x = concatenate(self.downsample(maps, flow, scale), image)
        motion = None
        if self.motion_feature is not None and correspondences is not None:
            motion = resize(self.motion_feature(correspondences, flow), 8 / (self.inner * scale))
        return self.upsample(self.body(x, motion), scale)


class FlowModule(nn.Module):
    """Blocks that look at two frames of one size, one after the other: the coarse- or the fine-scale module.

    Args:
        config: Of the network.
        widths: c of the blocks.
        levels: The l whose f^l each block sees as image feature.
        matching: Whether it has image and motion features at all, as far as `config` allows them.
        first: Whether nothing is known before the first block.
    """

    def __init__(
        self, config: NCMConfig, widths: Sequence[int], levels: Sequence[int], matching: bool, first: bool
    ) -> None:
        super().__init__()
        self.extrapolation, self.flow_guided = config.extrapolation, config.flow_guided
        self.image, self.motion = matching and config.image_feature, matching and config.motion_feature
        self.levels = tuple(levels)
        self.pyramid = None
        if self.image or self.motion:
            self.pyramid = FeaturePyramid(len(_PYRAMID) if self.motion else max(levels))
        self.blocks = nn.ModuleList(
            Block(
                6 if first and i == 0 else 17,
                width,
                config.double_resolution,
                image=2 * _PYRAMID[level - 1] if self.image else 0,
                motion=self.motion,
                first=first and i == 0,
            )
            for i, (width, level) in enumerate(zip(widths, levels, strict=True))
        )

    def clues(self, frame0: Tensor, frame1: Tensor) -> Clues:
        """What it sees of two frames (N, 3, h, w): features and matching, once a pair."""
        if self.pyramid is None:
            return Clues(frame0, frame1)
        features0, features1 = _both(self.pyramid, frame0, frame1)
        matched = None
        if self.motion and not self.flow_guided:
            matched = multi_scale_matching(features0[-1], features1[-1], RADIUS, MATCHING_SCALES)
        return Clues(frame0, frame1, features0, features1, matched)

    def forward(
        self, clues: Clues, scales: Sequence[int], estimate: FlowEstimate | None = None
    ) -> Iterator[FlowEstimate]:
        """What is known of frame t after each block, in pixels of these frames.

        Args:
            clues: Of the two frames.
            scales: K of each block.
            estimate: What was known before, at the size of these frames.
        """
        frame0, frame1 = clues.frame0, clues.frame1
        for block, level, scale in zip(self.blocks, self.levels, scales, strict=True):
            flow = None if estimate is None else estimate.flow
            seen = [] if estimate is None else [estimate.warped0, estimate.warped1, estimate.logit]
            image = self._image_feature(clues, flow, level, scale) if self.image else None
            matched = self._correspondences(clues, flow) if self.motion else None
            change, logit, _ = block(concatenate(frame0, frame1, *seen), flow, scale, image, matched)
            estimate = _corrected(frame0, frame1, estimate, change, logit, self.extrapolation)
            yield estimate

    def _image_feature(self, clues: Clues, flow: Tensor | None, level: int, scale: int) -> Tensor:
        """f_I: f^l of both frames, warped."""
        both = _warped(clues.features0[level - 1], clues.features1[level - 1], flow, 2 ** (level - 1))
        return resize(torch.cat(both, dim=1), 2 ** (level - 1) / scale)

    def _correspondences(self, clues: Clues, flow: Tensor | None) -> Tensor:
        if clues.correspondences is not None:
            return clues.correspondences
        both = _warped(clues.features0[-1], clues.features1[-1], flow, 8)
        return multi_scale_matching(*both, RADIUS, MATCHING_SCALES)


def _both(network: nn.Module, frame0: Tensor, frame1: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The levels that a network finds in each of two frames."""
    levels, count = network(torch.cat((frame0, frame1))), len(frame0)
    return tuple(level[:count] for level in levels), tuple(level[count:] for level in levels)


def _warped(first: Tensor, second: Tensor, flow: Tensor | None, factor: int) -> tuple[Tensor, Tensor]:
    """Features at 1/factor of the frames' size, warped to t by a flow in pixels of the frames."""
    if flow is None:
        return first, second
    flow = resize_flow(flow, 1 / factor)
    return backward_warp(first, flow[:, 0:2]), backward_warp(second, flow[:, 2:4])


def _corrected(
    frame0: Tensor, frame1: Tensor, before: FlowEstimate | None, change: Tensor, logit: Tensor, extrapolation: bool
) -> FlowEstimate:
    """Equations 5 and 6. What is linear may be done to the changes as well as to their sum: so for extrapolation."""
    if extrapolation:
        change = extrapolated(change)
    if before is not None:
        change, logit = before.flow + change, before.logit + logit
    return FlowEstimate.from_flow(frame0, frame1, change, logit)


class Refine(RefineNet):
    """RIFE's RefineNet; at double resolution, the last transposed convolution keeps the size (appendix A.1)."""

    def __init__(self, double_resolution: bool, width: int = 16) -> None:
        super().__init__(double_resolution, width)
        if double_resolution:
            self.up3 = nn.Sequential(_Upsampling(4 * width, width, 1), nn.PReLU(width))
            self.conv = nn.Conv2d(width, 3, 3, 1, 1)


class NCM(Network):
    """NCM, in the variant that `config` says."""

    def __init__(self, config: NCMConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or NCMConfig()
        # ContextNet and RefineNet stride by 16 in all; the coarsest block too, at the working size.
        self.multiple = _CELL if config.progressive else 4 * _CELL
        self.extrapolates = config.extrapolation
        twice = config.double_resolution
        self.coarse_scale = FlowModule(config, _COARSE_WIDTHS, (3, 2, 1), matching=True, first=True)
        self.fine_scale = FlowModule(config, _FINE_WIDTHS, (1, 1), matching=not config.heterogeneous, first=False)
        self.contextnet = ContextNet(twice)
        self.unet = Refine(twice)
        taught = config.teacher and not config.extrapolation
        self.teacher = Block(20, _TEACHER_WIDTH, twice) if taught else None

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """The size (h, w) at which the coarse-scale module sees frames of (H, W)."""
        if not self.config.progressive:
            return height // 4, width // 4
        return working_size(height, width, self.config.short_side or short_side(height, width))

    def pair(self, frame0: Tensor, frame1: Tensor) -> NCMPair:
        """Features, matching and context of two frames."""
        return NCMPair(self.coarse_scale.clues(*self._shrunk(frame0, frame1)), *self._full(frame0, frame1))

    def at(self, pair: NCMPair, t: Tensor) -> NCMSynthesis:
        """Frame t of a prepared pair: the middle frame, or for extrapolation the next one, whatever `t` is."""
        *_, start = self.coarse_scale(pair.coarse, COARSE_SCALES)
        return self._finished(pair.fine, pair.context0, pair.context1, start)

    def forward(self, frame0: Tensor, frame1: Tensor, t: Tensor) -> NCMSynthesis:
        """Frame t of two frames (N, 3, H, W), RGB in [0, 1]."""
        return self.at(self.pair(frame0, frame1), t)

    def coarse(self, frame0: Tensor, frame1: Tensor, t: Tensor) -> tuple[FlowEstimate, ...]:
        """What the coarse-scale module knows after each block, of frames as large as they are given.

        Stage I trains it so on patches of 256 x 256, which stand for larger frames shrunk.

        Args:
            frame0: (N, 3, h, w), RGB in [0, 1], sides multiples of 16.
            frame1: The same.
            t: (N, 1, 1, 1), not looked at.
        """
        return tuple(self.coarse_scale(self.coarse_scale.clues(frame0, frame1), COARSE_SCALES))

    def fine(self, frame0: Tensor, frame1: Tensor, t: Tensor, start: FlowEstimate) -> NCMSynthesis:
        """Frame t, from a coarse flow that is given: fine-scale module and synthesis network.

        Stage II trains it so; the frames are then 256 x 256, and the coarse flow was found at 64, 128 or 256.

        Args:
            frame0: (N, 3, H, W), RGB in [0, 1], sides multiples of 16.
            frame1: The same.
            t: (N, 1, 1, 1), not looked at.
            start: Flow and mask of any size (N, ·, h, w), in its own pixels; its shorter side is a.
        """
        return self._finished(*self._full(frame0, frame1), start)

    def distil_coarse(self, frame0: Tensor, frame1: Tensor, t: Tensor, truth: Tensor) -> NCMDistillation:
        """Stage I: what the coarse-scale module makes of two frames, and what the teacher says to it.

        Args:
            frame0: (N, 3, h, w), RGB in [0, 1], sides multiples of 16.
            frame1: The same.
            t: (N, 1, 1, 1), not looked at.
            truth: (N, 3, h, w), the true frame t.
        """
        stages = self.coarse(frame0, frame1, t)
        return self._taught(frame0, frame1, truth, stages[-1].merged, stages)

    def distil(
        self, frame0: Tensor, frame1: Tensor, t: Tensor, truth: Tensor, size: tuple[int, int] | None = None
    ) -> NCMDistillation:
        """Stage II: what the whole network makes of two frames, and what the teacher says to it.

        The coarse-scale module is fixed: it gets no gradient. Without progressive learning it does, and its blocks are
        among the stages.

        Args:
            frame0: (N, 3, H, W), RGB in [0, 1].
            frame1: The same.
            t: (N, 1, 1, 1), not looked at.
            truth: (N, 3, H, W), the true frame t.
            size: (h, w), multiples of 16, of the coarse-scale module's frames: the paper draws 64, 128 or 256 for each
                batch of 256 x 256. None: the working size.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.progressive):
            coarse = self.coarse(*self._shrunk(frame0, frame1, size), t)
        student = self.fine(frame0, frame1, t, coarse[-1])
        learning = student.stages if self.config.progressive else coarse + student.stages
        return self._taught(frame0, frame1, truth, student.frame, learning)

    def _shrunk(self, frame0: Tensor, frame1: Tensor, size: tuple[int, int] | None = None) -> tuple[Tensor, Tensor]:
        height, width = frame0.shape[-2:]
        size = size or self.working_size(height, width)
        return resize_to(frame0, size, antialias=True), resize_to(frame1, size, antialias=True)

    def _full(self, frame0: Tensor, frame1: Tensor) -> tuple[Clues, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """What is known of two frames at full size."""
        return self.fine_scale.clues(frame0, frame1), *_both(self.contextnet, frame0, frame1)

    def _finished(
        self, clues: Clues, context0: tuple[Tensor, ...], context1: tuple[Tensor, ...], start: FlowEstimate
    ) -> NCMSynthesis:
        frame0, frame1 = clues.frame0, clues.frame1
        height, width = size = frame0.shape[-2:]
        enlarged = FlowEstimate.from_flow(
            frame0, frame1, resize_flow_to(start.flow, size), resize_to(start.logit, size)
        )
        scales = fine_scales(height, width, min(start.flow.shape[-2:]))
        stages = tuple(self.fine_scale(clues, scales, enlarged))
        last = stages[-1]
        residual = self.unet(
            concatenate(frame0, frame1, last.warped0, last.warped1, last.logit, last.flow),
            self.contextnet.warp(context0, last.flow_t0),
            self.contextnet.warp(context1, last.flow_t1),
        )
        return NCMSynthesis(
            frame=(last.merged + residual).clamp(0.0, 1.0).to(frame0.dtype),
            flow_t0=last.flow_t0,
            flow_t1=last.flow_t1,
            mask=last.mask,
            merged=last.merged,
            residual=residual,
            start=start,
            stages=stages,
        )

    def _taught(
        self, frame0: Tensor, frame1: Tensor, truth: Tensor, frame: Tensor, stages: tuple[FlowEstimate, ...]
    ) -> NCMDistillation:
        if self.teacher is None:
            raise ValueError(
                "This NCM has no teacher block: NCMConfig(teacher=True) has it, but not for extrapolation."
            )
        last = stages[-1]
        seen = concatenate(frame0, frame1, truth, last.warped0, last.warped1, last.logit)
        change, logit, _ = self.teacher(seen, last.flow, 1.0)
        teacher = _corrected(frame0, frame1, last, change, logit, False)
        target, loss = teacher.flow.detach(), torch.zeros((), device=frame0.device)
        for stage in stages:
            away = target - resize_flow_to(stage.flow, target.shape[-2:])
            for one in (away[:, 0:2], away[:, 2:4]):
                loss = loss + torch.linalg.vector_norm(one, dim=1).mean()
        return NCMDistillation(frame, stages, teacher, loss)
