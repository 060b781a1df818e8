"""RIFE: real-time intermediate flow estimation (Huang et al., ECCV 2022).

Intermediate flow is usually made in two steps: flow between the given frames, then its reversal. RIFE's IFNet estimates
the intermediate flows F_{t->0}, F_{t->1} and a fusion mask directly, from coarse to fine. ContextNet and RefineNet then
correct the fused frame. In training, a teacher block that also sees the true frame t supervises the flows of the other
blocks (privileged distillation).

    frame 0, frame 1 ──► block 0, K = 4 ──► F, M ──► block 1, K = 2 ──► F, M ──► block 2, K = 1 ──► F, M
                                                                                                     │
    true frame t ───────────────────────────────────────────► teacher block, K = 1 ◄─────────────────┤
                                                                └► F, M (training)                   ▼
                                                                                         warped frames, merged
    frame 0 ──► ContextNet ──► 4 levels ──► warp by F_{t->0} ──┐                                     │
    frame 1 ──► ContextNet ──► 4 levels ──► warp by F_{t->1} ──┴──► RefineNet ◄──────────────────────┤
                                                                       └► residual in [-1, 1] ──► + ─┴─► frame t

The input of a block is the two frames, the warped frames, mask and flow of the previous block, all at 1/K of the size.
Its output is added to flow and mask:  (F, M)^i = (F, M)^{i-1} + g^i(..)  (equation 3), with M before its sigmoid.

Shapes, for frames (N, 3, H, W):

    F            (N, 4, H, W)      F_{t->0} and F_{t->1}, pixels
    M            (N, 1, H, W)      logit; its sigmoid is the weight of warped frame 0
    in a block   (N, c, H/4K, W/4K), c = 240, 150, 90; twice that size in the 2R variant
    context      (N, 16·2^l, H/2^(l+1), W/2^(l+1)), l = 0 .. 3; in the 2R variant H/2^l, W/2^l

Variants, by `RIFEConfig`:

    RIFE_ECCV    the network of the paper for t = 1/2
    RIFE_M       for any t: t is one more input channel of every block
    RIFE_2R      features at twice the resolution: the first stride of every block, of ContextNet and of RefineNet is 1
                 instead of 2, and RefineNet's last convolution has a stride of 2 instead
    RIFE_NEXT    for the frame after the two, as NCM (appendix A.4) trains it for comparison; RIFE_2R_NEXT
    table 4      one or two blocks: the first are left out; `reversal` instead of IFNet (`betwixt.models.rife.reversal`)
    table 1      refine=False: IFNet alone, which the table times

RIFE-2T (test-time augmentation) is `betwixt.models.augmented.TestTimeAugmented(RIFE(..))`, and RIFE-Large (2T2R) is
that of RIFE_2R. Larger scales, such as 16, 4, 1 for 4K, use the same weights.

Where the paper is silent or differs from the authors' implementation, this module follows the implementation:

- The network for t = 1/2 has no channel for t and always makes the middle frame.
- The distillation loss (equation 5) is the root mean square over the four channels of F - F^Tea, counted only where
  the teacher's fused frame is better than the block's by more than 0.01, and summed over the blocks.
- RefineNet's input contains M before its sigmoid. Its residual is 2 sigmoid(·) - 1.
- RefineNet takes the deepest level of the context as well, right before its first upsampling.

The features of ContextNet depend on a frame alone, so `pair` computes them once for all times of a pair.

Parameters: 10.71 M with the teacher, 10.07 M without. FLOPs at 1280x736: 239 G; 953 G for the 2R variant.

Reference: Huang, Zhang, Heng, Shi, Zhou: Real-Time Intermediate Flow Estimation for Video Frame Interpolation,
ECCV 2022.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from betwixt.layers.blocks import DoubleConv, conv_prelu, deconv_prelu
from betwixt.layers.ifblock import FlowEstimate, IFBlock, concatenate
from betwixt.layers.resize import resize_flow
from betwixt.layers.warp import backward_warp
from betwixt.models.network import Network, Synthesis
from betwixt.models.rife.reversal import FlowReversal, Reversal


@dataclass(frozen=True)
class RIFEConfig:
    """Hyper-parameters; the defaults are the paper's network.

    Attributes:
        scales: K of the blocks, coarsest first. Weights do not depend on it.
        any_time: Whether t is an input of the blocks.
        double_resolution: Whether features have twice the resolution (2R).
        teacher: Whether the network has the teacher block, which only training needs.
        prior: Whether block 0 refines a flow estimate from elsewhere, as the other blocks refine that of the previous
            block, instead of starting without one.
        widths: Channels of the blocks. The ablations with one or two blocks keep the last ones.
        context: Channels of ContextNet's finest level, which also set the channels of RefineNet.
        refine: Whether ContextNet and RefineNet follow IFNet; otherwise frame t is the fused frame.
        reversal: What replaces IFNet's blocks: an estimator of the flows between the frames and their reversal.
        extrapolation: Whether frame t is the one after the two.
    """

    scales: tuple[float, ...] = (4, 2, 1)
    any_time: bool = False
    double_resolution: bool = False
    teacher: bool = True
    prior: bool = False
    widths: tuple[int, ...] = (240, 150, 90)
    context: int = 16
    refine: bool = True
    reversal: Reversal = "none"
    extrapolation: bool = False

    def __post_init__(self) -> None:
        if len(self.scales) != len(self.widths) or not self.widths:
            raise ValueError(f"`scales` has {len(self.scales)} numbers for {len(self.widths)} blocks.")
        if self.reversal != "none" and (self.teacher or self.prior):
            raise ValueError("`reversal` replaces the blocks: it excludes `teacher` and `prior`.")


RIFE_ECCV = RIFEConfig()
RIFE_M = RIFEConfig(any_time=True)
RIFE_2R = RIFEConfig(double_resolution=True)
RIFE_NEXT = RIFEConfig(teacher=False, extrapolation=True)
RIFE_2R_NEXT = RIFEConfig(teacher=False, extrapolation=True, double_resolution=True)


@dataclass(frozen=True)
class RIFEPair:
    """Two frames, (N, 3, H, W), and the four levels of their context, finest first."""

    frame0: Tensor
    frame1: Tensor
    context0: tuple[Tensor, ...]
    context1: tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class RIFESynthesis(Synthesis):
    """Frame t and the intermediate results of RIFE.

    Attributes:
        merged: (N, 3, H, W), the fused frame before the residual.
        residual: (N, 3, H, W) in [-1, 1].
        stages: The estimate of each block; `flow_t0`, `flow_t1`, `mask` and `merged` are those of the last.
    """

    merged: Tensor
    residual: Tensor
    stages: tuple[FlowEstimate, ...]


@dataclass(frozen=True)
class Distillation:
    """The output of a forward pass in training, with privileged distillation."""

    student: Synthesis  # frame t, made from the two frames alone
    teacher: FlowEstimate  # the estimate of the teacher block, which also sees the true frame t
    loss: Tensor  # a scalar, the distillation loss; the paper weights it by 0.01


class PaperBlock(IFBlock):
    """The paper's IFBlock: two strided convolutions, eight with one skip around them, and a transposed one."""

    def __init__(self, channels_in: int, width: int, double_resolution: bool = False) -> None:
        super().__init__()
        self.stride = 1 if double_resolution else 2
        self.conv0 = nn.Sequential(
            conv_prelu(channels_in, width // 2, stride=self.stride), conv_prelu(width // 2, width, stride=2)
        )
        self.convblock = nn.Sequential(*(conv_prelu(width, width) for _ in range(8)))
        self.lastconv = nn.ConvTranspose2d(width, 5, 4, 2, 1)

    def body(self, x: Tensor) -> Tensor:
        features = self.conv0(x)
        flow_and_logit: Tensor = self.lastconv(self.convblock(features) + features)
        return flow_and_logit


class ContextNet(nn.Module):
    """Features of a frame at four resolutions.

    Args:
        double_resolution: Whether the finest level has the frame's size instead of half of it.
        width: Channels of the finest level.
    """

    def __init__(self, double_resolution: bool, width: int = 16) -> None:
        super().__init__()
        self.first_stride = 1 if double_resolution else 2
        self.conv1 = DoubleConv(3, width, self.first_stride)
        self.conv2 = DoubleConv(width, 2 * width)
        self.conv3 = DoubleConv(2 * width, 4 * width)
        self.conv4 = DoubleConv(4 * width, 8 * width)

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> four levels (N, C·2^l, h/2^l, w/2^l), finest first."""
        level1 = self.conv1(frame)
        level2 = self.conv2(level1)
        level3 = self.conv3(level2)
        return level1, level2, level3, self.conv4(level3)

    def warp(self, levels: Sequence[Tensor], flow: Tensor) -> list[Tensor]:
        """Warp the four levels by a flow (N, 2, H, W) in pixels of the frame."""
        flow = resize_flow(flow, 1.0 / self.first_stride)
        warped = [backward_warp(levels[0], flow)]
        for level in levels[1:]:
            flow = resize_flow(flow, 0.5)
            warped.append(backward_warp(level, flow))
        return warped


class RefineNet(nn.Module):
    """A U-Net with the warped context as an input of every level, which predicts the residual of the fused frame.

    Args:
        double_resolution: Whether features have twice the resolution.
        width: Channels of the finest level of the context.
    """

    def __init__(self, double_resolution: bool, width: int = 16) -> None:
        super().__init__()
        self.down0 = DoubleConv(17, 2 * width, 1 if double_resolution else 2)
        self.down1 = DoubleConv(4 * width, 4 * width)
        self.down2 = DoubleConv(8 * width, 8 * width)
        self.down3 = DoubleConv(16 * width, 16 * width)
        self.up0 = deconv_prelu(32 * width, 8 * width)
        self.up1 = deconv_prelu(16 * width, 4 * width)
        self.up2 = deconv_prelu(8 * width, 2 * width)
        self.up3 = deconv_prelu(4 * width, width)
        self.conv = nn.Conv2d(width, 3, 3, 2 if double_resolution else 1, 1)

    def forward(self, maps: Tensor, context0: Sequence[Tensor], context1: Sequence[Tensor]) -> Tensor:
        """The residual, (N, 3, H, W) in [-1, 1].

        Args:
            maps: (N, 17, H, W): frames, warped frames, mask logit, flows.
            context0: Four levels of frame 0's context, warped to t, finest first.
            context1: Four levels of frame 1's context, warped to t, finest first.
        """
        down0 = self.down0(maps)
        down1 = self.down1(torch.cat((down0, context0[0], context1[0]), 1))
        down2 = self.down2(torch.cat((down1, context0[1], context1[1]), 1))
        down3 = self.down3(torch.cat((down2, context0[2], context1[2]), 1))
        x = self.up0(torch.cat((down3, context0[3], context1[3]), 1))
        x = self.up1(torch.cat((x, down2), 1))
        x = self.up2(torch.cat((x, down1), 1))
        x = self.up3(torch.cat((x, down0), 1))
        # In float32: bfloat16 has steps of 1/256 between 0.5 and 1, where the sigmoid lies.
        return torch.sigmoid(self.conv(x).float()) * 2.0 - 1.0


class RIFE(Network):
    """The network of RIFE; the module's docstring describes it.

    Args:
        config: The variant; by default `RIFE_ECCV`.
    """

    block0: PaperBlock

    def __init__(self, config: RIFEConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or RIFEConfig()
        self.any_time = config.any_time
        self.extrapolates = config.extrapolation
        # The coarsest block has a stride of 4 at 1/K; ContextNet and RefineNet have a total stride of 16.
        self.multiple = max(32, int(4 * max(config.scales)))
        twice = config.double_resolution
        # Both frames and perhaps t; then also two warped frames, mask and flow (11); the teacher: the true frame (3).
        channels = 7 if config.any_time else 6
        self.reversal: FlowReversal | None = None
        if config.reversal == "none":
            for number, width in enumerate(config.widths):
                setattr(
                    self, f"block{number}", PaperBlock(channels + (11 if number or config.prior else 0), width, twice)
                )
        else:
            self.reversal = FlowReversal(config.reversal)
            self.multiple, self.fixed_graph = 64, False
        self.block_tea = PaperBlock(channels + 14, config.widths[-1], twice) if config.teacher else None
        self.contextnet = ContextNet(twice, config.context) if config.refine else None
        self.unet = RefineNet(twice, config.context) if config.refine else None

    def pair(self, frame0: Tensor, frame1: Tensor) -> RIFEPair:
        """The frames and their context features."""
        if self.contextnet is None:
            return RIFEPair(frame0, frame1, (), ())
        return RIFEPair(frame0, frame1, *encode_both(self.contextnet, frame0, frame1))

    def estimates(self, pair: RIFEPair, t: Tensor, prior: FlowEstimate | None = None) -> Iterator[FlowEstimate]:
        """IFNet: the estimate of each block, coarsest first.

        Args:
            pair: The result of `pair`.
            t: (N, 1, 1, 1).
            prior: The estimate that block 0 refines, at full size; needed if and only if `config.prior` is true.
        """
        if (prior is not None) != self.config.prior:
            raise ValueError("A RIFE takes a `prior` estimate if and only if its configuration has prior=True.")
        if self.reversal is not None:
            yield FlowEstimate.from_flow(pair.frame0, pair.frame1, *self.reversal(pair.frame0, pair.frame1, t))
            return
        estimate = prior
        for number, scale in enumerate(self.config.scales):
            estimate = self._apply_block(getattr(self, f"block{number}"), scale, pair, t, estimate)
            yield estimate

    def at(self, pair: RIFEPair, t: Tensor, prior: FlowEstimate | None = None) -> RIFESynthesis:
        """Frame t of a prepared pair; without `any_time`, the middle frame whatever `t` is.

        `prior` is the estimate that block 0 refines, as in `estimates`.
        """
        return self._finish(pair, tuple(self.estimates(pair, t, prior)))

    def _finish(self, pair: RIFEPair, stages: tuple[FlowEstimate, ...]) -> RIFESynthesis:
        """Frame t from the estimates of the blocks."""
        if self.contextnet is not None and self.unet is not None:
            return refine(self.contextnet, self.unet, pair, stages)
        last = stages[-1]
        merged = last.merged
        frame = merged.clamp(0.0, 1.0).to(pair.frame0.dtype)
        flows = {"flow_t0": last.flow_t0, "flow_t1": last.flow_t1}
        return RIFESynthesis(
            frame=frame, **flows, mask=last.mask, merged=merged, residual=torch.zeros_like(merged), stages=stages
        )

    def distil(self, frame0: Tensor, frame1: Tensor, t: Tensor, truth: Tensor) -> Distillation:
        """`forward`, the teacher's estimate and the distillation loss (equations 4 and 5).

        The loss has no gradient for the teacher's own output. The teacher learns from the reconstruction loss of its
        fused frame, whose gradient also reaches the student through the flow that the teacher refines.

        Raises:
            ValueError: if the network has no teacher block.
        """
        if self.block_tea is None:
            raise ValueError("This RIFE has no teacher block: create it with RIFEConfig(teacher=True).")
        pair = self.pair(frame0, frame1)
        stages = tuple(self.estimates(pair, t))
        teacher = self._apply_block(self.block_tea, 1.0, pair, t, stages[-1], truth)
        return Distillation(self._finish(pair, stages), teacher, distillation_loss(stages, teacher, truth))

    def _apply_block(
        self,
        block: PaperBlock,
        scale: float,
        pair: RIFEPair,
        t: Tensor,
        previous: FlowEstimate | None,
        truth: Tensor | None = None,
    ) -> FlowEstimate:
        """Refine the `previous` estimate by a block (equation 3); `truth` is given to the teacher alone."""
        frame0, frame1 = pair.frame0, pair.frame1
        time = t.expand(len(frame0), 1, *frame0.shape[-2:]) if self.config.any_time else None
        if previous is None:
            flow, logit, _ = block(concatenate(frame0, frame1, time, truth), None, scale)
        else:
            maps = concatenate(frame0, frame1, time, previous.warped0, previous.warped1, previous.logit, truth)
            flow, logit, _ = block(maps, previous.flow, scale)
            flow, logit = previous.flow + flow, previous.logit + logit
        return FlowEstimate.from_flow(frame0, frame1, flow, logit)


def encode_both(encoder: nn.Module, frame0: Tensor, frame1: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The feature levels of each of two frames, from one pass of an encoder that returns several levels."""
    levels = [level.chunk(2) for level in encoder(torch.cat((frame0, frame1)))]
    return tuple(level for level, _ in levels), tuple(level for _, level in levels)


def refine(contextnet: ContextNet, unet: RefineNet, pair: RIFEPair, stages: tuple[FlowEstimate, ...]) -> RIFESynthesis:
    """Fuse the warped frames of the last of `stages`, and add the residual that RefineNet (`unet`) predicts."""
    last = stages[-1]
    residual = unet(
        concatenate(pair.frame0, pair.frame1, last.warped0, last.warped1, last.logit, last.flow),
        contextnet.warp(pair.context0, last.flow_t0),
        contextnet.warp(pair.context1, last.flow_t1),
    )
    merged = last.merged
    return RIFESynthesis(
        frame=(merged + residual).clamp(0.0, 1.0).to(pair.frame0.dtype),
        flow_t0=last.flow_t0,
        flow_t1=last.flow_t1,
        mask=last.mask,
        merged=merged,
        residual=residual,
        stages=stages,
    )


def distillation_loss(stages: Sequence[FlowEstimate], teacher: FlowEstimate, truth: Tensor) -> Tensor:
    """Equation 5, as in the authors' implementation: the distance to the teacher's flow where the teacher is better.

    The result is a scalar, without a gradient for the teacher.
    """
    target = teacher.flow.detach()
    teacher_error = _absolute_error(teacher.merged, truth).detach()
    loss = torch.zeros((), device=target.device)
    for stage in stages:
        teacher_is_better = _absolute_error(stage.merged, truth).detach() > teacher_error + 0.01
        # By `vector_norm`, whose gradient is 0 where both flows are equal; that of sqrt would be NaN.
        distance = torch.linalg.vector_norm(target - stage.flow, dim=1, keepdim=True) * 0.5
        loss = loss + (distance * teacher_is_better).mean()
    return loss


def _absolute_error(frame: Tensor, truth: Tensor) -> Tensor:
    return (frame - truth).abs().mean(dim=1, keepdim=True)
