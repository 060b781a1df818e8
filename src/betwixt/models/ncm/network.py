"""NCM: neighbor correspondence matching, for interpolation and extrapolation up to 4K (Jia, Lu, Li, ACM MM 2022).

Correspondences cannot be matched with frame t, which does not exist yet. For every pixel of frame t, NCM compares all
pixels of a window around that position in frame 0 with all pixels of the same window in frame 1. This needs nothing of
frame t and no flow, which might be wrong, and the result serves every block and every time. The flow is estimated with
it at a working size, at which motion is as large as in training, and then refined at full size without it.

    frames ──► (h, w) ──► pyramid f^1 .. f^4 ──► matching of f^4 in windows, 4 scales ──► corr         once a pair
                               │ image feature              motion feature │
                               ▼                                           ▼
    coarse-scale module:    block, K = 4 ──► F, M ──► block, K = 2 ──► F, M ──► block, K = 1 ──► F, M     at (h, w)
                                                                                                  │ upsampled
    fine-scale module:      frames ──► block, K = 2 or 1 ──► F, M ──► block, K = 1 ──► F, M  ◄────┘       at (H, W)
    synthesis:              ContextNet and RefineNet of RIFE ──► residual ──► + warped frames, merged ──► frame t
    teacher (training):     true frame t, F, M of the last block ──► block, K = 1 ──► F, M

Shapes, for frames (N, 3, H, W):

    f^l          (N, 16 | 32 | 64 | 96, h/2^(l-1), w/2^(l-1)), l = 1 .. 4
    corr         (N, 4 · 3^4 = 324, h/8, w/8)      windows of 3x3 (d = 3) in f^4 at 1, 1/2, 1/4, 1/8 (K = 3)
    f_I          (N, 2 C_l, h/K, w/K)              f^3, f^2, f^1 of both frames, warped, for K = 4, 2, 1
    f_M          (N, 64, h/8, w/8)                 of corr and F
    F            (N, 4, h, w) or (N, 4, H, W)      F_{t->0} and F_{t->1}, pixels of that size
    M            (N, 1, ..)                        logit; its sigmoid is the weight of warped frame 0

Working size. "Assume H < W": (h, w) = (a, W/H · a), and K_f = (2, 1) if a/H < 1/2, otherwise (1, 1); K_c = (4, 2, 1).
The paper's a is 384 for X4K1000FPS and 256 elsewhere. Here H is the shorter side, whichever it is; w is rounded to the
nearest multiple of 16 (448x256 for 1920x1088, 672x384 for 3840x2176); 4K means a longer side of at least 3840; and a
frame smaller than a is upsampled, as the formula says. `coarse_size` and `fine_scales` are these rules.

Times. The paper trains on the triplets of Vimeo-90K, hence for t = 1/2 alone, and t is no input. It does not say how it
makes the 8x of X4K1000FPS and the 31 frames of appendix D. So `any_time` is False, and other times are made by
recursion. For extrapolation, frame t is frame 2.

Variants, by `NCMConfig`:

    NCM_BASE, NCM_LARGE      large: the first convolution and the last transposed one of every block, of ContextNet and
                             of RefineNet have no stride (appendix A.1); the paper's Large is
                             `betwixt.models.augmented.TestTimeAugmented(NCM(NCM_LARGE))`
    extrapolation            blocks estimate (dF_01, F_{t->1}), F_{t->0} = 2 F_{t->1} + dF_01; no distillation (A.3)
    table 3                  motion_feature, then image_feature, then progressive off
    table 4                  heterogeneous off ("normal coarse-to-fine"); flow_guided on

Training. Stage I trains the coarse-scale module alone (`distil_coarse`, or `coarse` for extrapolation); stage II trains
the rest with that module fixed (`distil`, or `coarse` and `fine`). Equation 8 is `NCMDistillation`.

Where the paper is silent, choices had to meet its count of 12.1 M parameters without the teacher:

    ContextNet and RefineNet as in RIFE                    3.252 M
    coarse blocks as in RIFE, c = 240, 150, 90             6.820 M      4.437 + 1.748 + 0.635
    fine blocks as RIFE's last, c = 90, 90                 1.271 M
    pyramid, C = 16, 32, 64, 96, a residual block each     0.343 M
    f_I into the coarse blocks                             0.194 M      9 · (128 · 120 + 64 · 75 + 32 · 45)
    f_M, three times                                       0.244 M      corr 1x1 64, F 3x3 32, both 3x3 64, 1x1 c
    total                                                 12.124 M      and 0.637 M of the teacher

- Blocks with features also have all inputs of RIFE's. f_I is concatenated with the frames; f_M is resized and added to
  the features before the eight convolutions. The first block has no flow, mask or warped frames as inputs.
- Equation 2 has a dot product; here it is divided by C_4, a factor that the next convolution can undo. f^4 is averaged
  over squares of 2^k pixels, and outside the map there are zeros.
- Without a stride, a transposed 4x4 convolution makes one row and one column too many; the last ones are cropped. So
  the large model has the base model's shapes, and its parameter count.
- Frames are downsampled with antialiasing.
- Flow-guided matching is as in PWC-Net: f^4 is warped by the flow so far and then matched.
- The fine blocks of "normal coarse-to-fine" have a pyramid of their own, and all use f^1, since K_f changes.
- In stage I, L_rec compares the fused frame with the truth: the synthesis network belongs to stage II. One teacher
  block serves both stages. Equation 7 is a mean over the pixels, without RIFE's condition that the teacher be better.
- Without progressive learning the blocks are at 1/16, 1/8, 1/4, 1/2 and 1 ("upsampling rate 2").

Reference: Jia, Lu, Li: Neighbor Correspondence Matching for Flow-based Video Frame Synthesis, ACM MM 2022.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from betwixt.layers.blocks import conv_prelu
from betwixt.layers.correlation import multi_scale_matching
from betwixt.layers.ifblock import FlowEstimate, IFBlock, concatenate
from betwixt.layers.resize import resize, resize_flow, resize_flow_to, resize_to
from betwixt.layers.warp import backward_warp
from betwixt.models.network import Network
from betwixt.models.rife.network import ContextNet, RefineNet, RIFEPair, RIFESynthesis, encode_both, refine

COARSE_SCALES = (4, 2, 1)
"""K_c."""

RADIUS = 1
"""Radius of the windows: d = 3."""

MATCHING_SCALES = 4
"""K + 1 of the paper, K = 3: f^4 at 1, 1/2, 1/4 and 1/8 of its size."""

CORRESPONDENCES = MATCHING_SCALES * (2 * RADIUS + 1) ** 4
"""Channels of corr, 4 · 3⁴ = 324."""

DISTILLATION_WEIGHT = 0.01
"""lambda_d of equation 8."""

_PYRAMID = (16, 32, 64, 96)
_CORRESPONDENCE, _FLOW, _MOTION = 64, 32, 64
_COARSE_WIDTHS, _FINE_WIDTHS, _TEACHER_WIDTH = (240, 150, 90), (90, 90), 90
_CELL = 16
"""The sides of the working size are multiples of this: the coarsest block has a stride of 4 at a quarter of it."""


@dataclass(frozen=True)
class NCMConfig:
    """Hyper-parameters; the defaults are the base model of the paper, for interpolation.

    Attributes:
        double_resolution: Whether features in the IFBlocks and the synthesis network have twice the resolution, as in
            the large model (appendix A.1).
        extrapolation: Whether frame t is the one after the two (t = 2), and flows are estimated as in appendix A.3.
        short_side: a, a multiple of 16; None chooses by the frame's size, see the function `short_side`.
        image_feature: Whether the blocks with matching use the features of the pyramid (table 3).
        motion_feature: Whether the blocks with matching use correspondences (table 3).
        flow_guided: Whether features are warped by the flow so far before they are matched (table 4).
        heterogeneous: Whether the fine-scale module has neither features nor matching (table 4).
        progressive: Whether the working size follows from a and the two modules are trained one after the other (table
            3). Otherwise it is always a quarter of the frame's height and width, and everything is trained at once.
        teacher: Whether the network has the teacher block, which only training needs; never for extrapolation.
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
            raise ValueError(f"`short_side` is {self.short_side}: it has to be a positive multiple of {_CELL}.")
        if self.flow_guided and not self.motion_feature:
            raise ValueError("`flow_guided` concerns matching: it needs `motion_feature`.")


NCM_BASE = NCMConfig()
NCM_LARGE = NCMConfig(double_resolution=True)


def short_side(height: int, width: int) -> int:
    """The paper's a: 384 for 4K (here a longer side of at least 3840), otherwise 256."""
    return 384 if max(height, width) >= 3840 else 256


def coarse_size(height: int, width: int, a: int) -> tuple[int, int]:
    """The working size (h, w) of the coarse-scale module for frames of (H, W).

    The shorter side becomes a; the longer one keeps the aspect ratio, rounded to the nearest multiple of 16, halves up.
    The paper has (h, w) = (a, W/H · a), for H < W and without rounding. Smaller frames are upsampled.

    Example:
        >>> coarse_size(1088, 1920, 256), coarse_size(1920, 1088, 256)
        ((256, 448), (448, 256))
    """
    short, long = sorted((height, width))
    other = (2 * long * a + _CELL * short) // (2 * _CELL * short) * _CELL
    return (a, other) if height <= width else (other, a)


def fine_scales(height: int, width: int, a: int) -> tuple[int, int]:
    """K_f: (2, 1) if a/H < 1/2, otherwise (1, 1), where H is the shorter side."""
    return (2, 1) if 2 * a < min(height, width) else (1, 1)


def extrapolation_flows(output: Tensor) -> Tensor:
    """(N, 4, H, W): dF_01 and F_{t->1} -> F_{t->0} = 2 F_{t->1} + dF_01 and F_{t->1} (appendix A.3).

    Frame t is as far from frame 1 as frame 1 is from frame 0, so dF_01 = 0 for motion at constant speed.
    """
    return torch.cat((2.0 * output[:, 2:4] + output[:, 0:2], output[:, 2:4]), dim=1)


@dataclass(frozen=True)
class ModuleInput:
    """Two frames at the size of a module, their features and their correspondences.

    Attributes:
        frame0: (N, 3, h, w).
        frame1: (N, 3, h, w).
        features0: f^l of frame 0, (N, C_l, h/2^(l-1), w/2^(l-1)), l = 1 .. 4; three levels without matching, none
            without image features as well.
        features1: f^l of frame 1, as many levels as of frame 0.
        correspondences: corr, (N, 324, h/8, w/8); None without matching, and for flow-guided matching.
    """

    frame0: Tensor
    frame1: Tensor
    features0: tuple[Tensor, ...] = ()
    features1: tuple[Tensor, ...] = ()
    correspondences: Tensor | None = None


@dataclass(frozen=True)
class NCMPair:
    """The inputs of both modules and of the synthesis network."""

    coarse: ModuleInput  # the input of the coarse-scale module, at the working size
    fine: ModuleInput  # the input of the fine-scale module, at full size
    context0: tuple[Tensor, ...]  # four levels of frame 0's context, finest first
    context1: tuple[Tensor, ...]  # four levels of frame 1's context, finest first


@dataclass(frozen=True, kw_only=True)
class NCMSynthesis(RIFESynthesis):
    """Frame t and the intermediate results of NCM; `stages` are the estimates of the fine-scale module's blocks."""

    start: FlowEstimate  # the coarse estimate that the fine-scale module refines, at its own size


@dataclass(frozen=True)
class NCMDistillation:
    """The output of a forward pass in training.

    The loss of equation 8 is L = L_rec(frame) + L_rec(teacher.merged) + DISTILLATION_WEIGHT · loss, where L_rec(x) is
    the L1 distance of the Laplacian pyramids of x and of the true frame.

    Attributes:
        frame: (N, 3, H, W), the student's frame: in stage I the fused frame of the coarse-scale module, in stage II
            that of the synthesis network.
        stages: The student's estimates after each block that is trained, each in its own pixels.
        teacher: The estimate of the teacher block, which refines the last of these and also sees the true frame.
        loss: A scalar, L_dis (equation 7).
    """

    frame: Tensor
    stages: tuple[FlowEstimate, ...]
    teacher: FlowEstimate
    loss: Tensor


class _Upsampling(nn.ConvTranspose2d):
    """A transposed 4x4 convolution that doubles the size, or with stride 1 keeps it."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__(channels_in, channels_out, 4, stride, 1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        x = super().forward(x, output_size)
        # With stride 1, a 4x4 kernel adds a row and a column.
        return x[..., :-1, :-1] if self.stride[0] == 1 else x


class _ResBlock(nn.Module):
    """PReLU(x + two convolutions of x)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_prelu(width, width), nn.Conv2d(width, width, 3, 1, 1))
        self.activation = nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.activation(x + self.body(x))
        return result


class FeaturePyramid(nn.Module):
    """(N, 3, h, w) -> f^l (N, C_l, h/2^(l-1), w/2^(l-1)), l = 1 .. levels, finest first."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        widths = (3, *_PYRAMID[:levels])
        self.levels = nn.ModuleList(
            nn.Sequential(conv_prelu(finer, width, stride=1 if finer == 3 else 2), _ResBlock(width))
            for finer, width in pairwise(widths)
        )

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        features = [frame]
        for level in self.levels:
            features.append(level(features[-1]))
        return tuple(features[1:])


class MotionFeature(nn.Module):
    """f_M (N, 64, h/8, w/8), from the correspondences and the flow so far.

    Args:
        first: Whether it belongs to the first block, which has no flow.
    """

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.correspondence = conv_prelu(CORRESPONDENCES, _CORRESPONDENCE, kernel=1)
        self.flow = None if first else conv_prelu(4, _FLOW)
        self.fusion = conv_prelu(_CORRESPONDENCE + (0 if first else _FLOW), _MOTION)

    def forward(self, correspondences: Tensor, flow: Tensor | None) -> Tensor:
        """Fuse correspondences (N, 324, h/8, w/8) and a flow (N, 4, h, w), in pixels; None in the first block."""
        features: Tensor = self.correspondence(correspondences)
        if self.flow is not None and flow is not None:
            features = concatenate(features, self.flow(resize_flow(flow, 1 / 8).to(correspondences.dtype)))
        motion: Tensor = self.fusion(features)
        return motion


class Block(IFBlock):
    """An IFBlock of RIFE, optionally with image and motion features as further inputs (figure 5).

    Args:
        channels_in: Channels of the inputs, including the flow, without image and motion features.
        width: c.
        double_resolution: Whether its features have twice the resolution.
        image: Channels of the image feature; 0 for none.
        motion: Whether it has a motion feature.
        first: Whether it is the first block, which has no flow.
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
            conv_prelu(channels_in + image, width // 2, stride=stride), conv_prelu(width // 2, width, stride=2)
        )
        self.convblock = nn.Sequential(*(conv_prelu(width, width) for _ in range(8)))
        self.lastconv = _Upsampling(width, 5, stride)
        self.motion_feature = MotionFeature(first) if motion else None
        self.join = nn.Conv2d(_MOTION, width, 1) if motion else None

    def body(self, x: Tensor, motion: Tensor | None = None) -> Tensor:
        """(N, C, h, w) -> (N, 5, h/2, w/2); a motion feature is added before the eight convolutions."""
        features = self.conv0(x)
        if self.join is not None and motion is not None:
            features = features + self.join(motion)
        flow_and_logit: Tensor = self.lastconv(self.convblock(features) + features)
        return flow_and_logit

    def forward(
        self,
        maps: Tensor,
        flow: Tensor | None,
        scale: float,
        image: Tensor | None = None,
        correspondences: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """`IFBlock.forward` without a state; `image` is (N, C_I, h/K, w/K), `correspondences` (N, 324, h/8, w/8)."""
        x = concatenate(self.downsample(maps, flow, scale), image)
        motion = None
        if self.motion_feature is not None and correspondences is not None:
            motion = resize(self.motion_feature(correspondences, flow), 8 / (self.inner * scale))
        return self.upsample(self.body(x, motion), scale)


class NeighbourMatching(nn.Module):
    """Matches f^4 of two frames at all scales (equation 4). A module without parameters, so that it can be timed."""

    def forward(self, features0: Tensor, features1: Tensor) -> Tensor:
        """(N, C, h/8, w/8) of each frame -> corr, (N, 324, h/8, w/8)."""
        return multi_scale_matching(features0, features1, RADIUS, MATCHING_SCALES)


class FlowModule(nn.Module):
    """A sequence of blocks that refine the flow at one frame size: the coarse-scale or the fine-scale module.

    Args:
        config: The network's configuration.
        widths: c of the blocks.
        levels: For each block, the l whose f^l is its image feature.
        matching: Whether it has the image and motion features that `config` allows.
        first: Whether its first block starts without a flow.
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
        self.matching = NeighbourMatching() if self.motion else None
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

    def prepare(self, frame0: Tensor, frame1: Tensor) -> ModuleInput:
        """The features and correspondences of two frames (N, 3, h, w), computed once a pair."""
        if self.pyramid is None:
            return ModuleInput(frame0, frame1)
        features0, features1 = encode_both(self.pyramid, frame0, frame1)
        correspondences = None
        if self.matching is not None and not self.flow_guided:
            correspondences = self.matching(features0[-1], features1[-1])
        return ModuleInput(frame0, frame1, features0, features1, correspondences)

    def forward(
        self, inputs: ModuleInput, scales: Sequence[int], estimate: FlowEstimate | None = None
    ) -> Iterator[FlowEstimate]:
        """The estimate of each block, in pixels of the frames of `inputs`.

        Args:
            inputs: The two frames and their features.
            scales: K of each block.
            estimate: The estimate to refine, at the size of these frames; None to start without one.
        """
        frame0, frame1 = inputs.frame0, inputs.frame1
        for block, level, scale in zip(self.blocks, self.levels, scales, strict=True):
            flow = None if estimate is None else estimate.flow
            warped = [] if estimate is None else [estimate.warped0, estimate.warped1, estimate.logit]
            image = self._image_feature(inputs, flow, level, scale) if self.image else None
            correspondences = None if self.matching is None else self._correspondences(inputs, flow, self.matching)
            maps = concatenate(frame0, frame1, *warped)
            residual, logit, _ = block(maps, flow, scale, image, correspondences)
            estimate = _add_residual(frame0, frame1, estimate, residual, logit, self.extrapolation)
            yield estimate

    def _image_feature(self, inputs: ModuleInput, flow: Tensor | None, level: int, scale: int) -> Tensor:
        """f_I: f^l of both frames, warped and concatenated."""
        warped = _warp_both(inputs.features0[level - 1], inputs.features1[level - 1], flow, 2 ** (level - 1))
        return resize(torch.cat(warped, dim=1), 2 ** (level - 1) / scale)

    def _correspondences(self, inputs: ModuleInput, flow: Tensor | None, matching: NeighbourMatching) -> Tensor:
        """corr; flow-guided matching computes it anew for every block."""
        if inputs.correspondences is not None:
            return inputs.correspondences
        warped = _warp_both(inputs.features0[-1], inputs.features1[-1], flow, 8)
        correspondences: Tensor = matching(*warped)
        return correspondences


def _warp_both(features0: Tensor, features1: Tensor, flow: Tensor | None, factor: int) -> tuple[Tensor, Tensor]:
    """Warp features at 1/`factor` of the frames' size to t, by a flow in pixels of the frames."""
    if flow is None:
        return features0, features1
    flow = resize_flow(flow, 1 / factor)
    return backward_warp(features0, flow[:, 0:2]), backward_warp(features1, flow[:, 2:4])


def _add_residual(
    frame0: Tensor, frame1: Tensor, previous: FlowEstimate | None, residual: Tensor, logit: Tensor, extrapolation: bool
) -> FlowEstimate:
    """Equations 5 and 6. Appendix A.3 is linear, so it is applied to the residuals instead of to their sum."""
    flow = extrapolation_flows(residual) if extrapolation else residual
    if previous is not None:
        flow, logit = previous.flow + flow, previous.logit + logit
    return FlowEstimate.from_flow(frame0, frame1, flow, logit)


class Refine(RefineNet):
    """RIFE's RefineNet; at double resolution, the last transposed convolution keeps the size (appendix A.1)."""

    def __init__(self, double_resolution: bool, width: int = 16) -> None:
        super().__init__(double_resolution, width)
        if double_resolution:
            self.up3 = nn.Sequential(_Upsampling(4 * width, width, 1), nn.PReLU(width))
            self.conv = nn.Conv2d(width, 3, 3, 1, 1)


class NCM(Network):
    """The network of NCM; the module's docstring describes it.

    Args:
        config: The variant; by default `NCM_BASE`.
    """

    # The working size of the coarse-scale module depends on that of the frames.
    fixed_graph = False

    def __init__(self, config: NCMConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or NCMConfig()
        # ContextNet and RefineNet have a total stride of 16, and so does the coarsest block at the working size.
        self.multiple = _CELL if config.progressive else 4 * _CELL
        self.extrapolates = config.extrapolation
        twice = config.double_resolution
        self.coarse_scale = FlowModule(config, _COARSE_WIDTHS, (3, 2, 1), matching=True, first=True)
        self.fine_scale = FlowModule(config, _FINE_WIDTHS, (1, 1), matching=not config.heterogeneous, first=False)
        self.contextnet = ContextNet(twice)
        self.unet = Refine(twice)
        has_teacher = config.teacher and not config.extrapolation
        self.teacher = Block(20, _TEACHER_WIDTH, twice) if has_teacher else None
        matching = {"feature pyramid": "pyramid", "matching": "matching"}
        self.parts = {
            **{
                part: (f"coarse_scale.{name}",)
                for part, name in matching.items()
                if getattr(self.coarse_scale, name) is not None
            },
            "coarse-scale blocks": ("coarse_scale.blocks",),
            "fine-scale blocks": ("fine_scale.blocks",),
            "synthesis network": ("contextnet", "unet"),
        }

    def coarse_size(self, height: int, width: int) -> tuple[int, int]:
        """The working size (h, w) of the coarse-scale module for frames of (H, W)."""
        if not self.config.progressive:
            return height // 4, width // 4
        return coarse_size(height, width, self.config.short_side or short_side(height, width))

    def pair(self, frame0: Tensor, frame1: Tensor) -> NCMPair:
        """Features, correspondences and context of two frames."""
        coarse = self.coarse_scale.prepare(*self._downsample(frame0, frame1))
        return NCMPair(coarse, *self._prepare_fine(frame0, frame1))

    def at(self, pair: NCMPair, t: Tensor) -> NCMSynthesis:
        """Frame t of a prepared pair: the middle frame, or for extrapolation the next one, whatever `t` is."""
        *_, start = self.coarse_scale(pair.coarse, COARSE_SCALES)
        return self._refine(pair.fine, pair.context0, pair.context1, start)

    def coarse(self, frame0: Tensor, frame1: Tensor, t: Tensor) -> tuple[FlowEstimate, ...]:
        """The estimates of the coarse-scale module's blocks, at the size of the frames given.

        Stage I trains it on patches of 256 x 256, which stand for larger frames after downsampling. Sides have to be
        multiples of 16; `t` is not used.
        """
        return tuple(self.coarse_scale(self.coarse_scale.prepare(frame0, frame1), COARSE_SCALES))

    def fine(self, frame0: Tensor, frame1: Tensor, t: Tensor, start: FlowEstimate) -> NCMSynthesis:
        """Make frame t from a coarse estimate, by the fine-scale module and the synthesis network.

        In stage II the frames are 256 x 256, and the coarse estimate has a size of 64, 128 or 256.

        Args:
            frame0: (N, 3, H, W), sides multiples of 16.
            frame1: (N, 3, H, W).
            t: Not used.
            start: The coarse estimate, of any size (h, w), in its own pixels; its shorter side is a.
        """
        return self._refine(*self._prepare_fine(frame0, frame1), start)

    def distil_coarse(self, frame0: Tensor, frame1: Tensor, t: Tensor, truth: Tensor) -> NCMDistillation:
        """Stage I: `coarse`, the teacher's estimate and the distillation loss."""
        stages = self.coarse(frame0, frame1, t)
        return self._distil(frame0, frame1, truth, stages[-1].merged, stages)

    def distil(
        self, frame0: Tensor, frame1: Tensor, t: Tensor, truth: Tensor, size: tuple[int, int] | None = None
    ) -> NCMDistillation:
        """Stage II: the student's frame, the teacher's estimate and the distillation loss.

        The coarse-scale module is fixed: it gets no gradient. Without progressive learning it is trained as well, and
        the estimates of its blocks are among the stages.

        Args:
            frame0: (N, 3, H, W).
            frame1: (N, 3, H, W).
            t: Not used.
            truth: (N, 3, H, W).
            size: (h, w), multiples of 16, of the coarse-scale module's frames: the paper draws 64, 128 or 256 for each
                batch of 256 x 256. By default the working size.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.progressive):
            coarse = self.coarse(*self._downsample(frame0, frame1, size), t)
        student = self.fine(frame0, frame1, t, coarse[-1])
        stages = student.stages if self.config.progressive else coarse + student.stages
        return self._distil(frame0, frame1, truth, student.frame, stages)

    def _downsample(self, frame0: Tensor, frame1: Tensor, size: tuple[int, int] | None = None) -> tuple[Tensor, Tensor]:
        height, width = frame0.shape[-2:]
        size = size or self.coarse_size(height, width)
        return resize_to(frame0, size, antialias=True), resize_to(frame1, size, antialias=True)

    def _prepare_fine(
        self, frame0: Tensor, frame1: Tensor
    ) -> tuple[ModuleInput, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """The input of the fine-scale module, and the context of both frames."""
        return self.fine_scale.prepare(frame0, frame1), *encode_both(self.contextnet, frame0, frame1)

    def _refine(
        self, inputs: ModuleInput, context0: tuple[Tensor, ...], context1: tuple[Tensor, ...], start: FlowEstimate
    ) -> NCMSynthesis:
        """Refine a coarse estimate at full size, and synthesize frame t as RIFE does."""
        frame0, frame1 = inputs.frame0, inputs.frame1
        height, width = size = frame0.shape[-2:]
        estimate = FlowEstimate.from_flow(
            frame0, frame1, resize_flow_to(start.flow, size), resize_to(start.logit, size)
        )
        scales = fine_scales(height, width, min(start.flow.shape[-2:]))
        stages = tuple(self.fine_scale(inputs, scales, estimate))
        pair = RIFEPair(frame0, frame1, context0, context1)
        return NCMSynthesis(**vars(refine(self.contextnet, self.unet, pair, stages)), start=start)

    def _distil(
        self, frame0: Tensor, frame1: Tensor, truth: Tensor, frame: Tensor, stages: tuple[FlowEstimate, ...]
    ) -> NCMDistillation:
        """Let the teacher refine the last of `stages`, and compute the distillation loss (equation 7)."""
        if self.teacher is None:
            raise ValueError("This NCM has no teacher block: create it with teacher=True and extrapolation=False.")
        last = stages[-1]
        maps = concatenate(frame0, frame1, truth, last.warped0, last.warped1, last.logit)
        residual, logit, _ = self.teacher(maps, last.flow, 1.0)
        teacher = _add_residual(frame0, frame1, last, residual, logit, extrapolation=False)
        target, loss = teacher.flow.detach(), torch.zeros((), device=frame0.device)
        for stage in stages:
            difference = target - resize_flow_to(stage.flow, target.shape[-2:])
            for flow in (difference[:, 0:2], difference[:, 2:4]):
                loss = loss + torch.linalg.vector_norm(flow, dim=1).mean()
        return NCMDistillation(frame, stages, teacher, loss)
