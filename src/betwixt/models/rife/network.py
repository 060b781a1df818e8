"""RIFE: real-time intermediate flow estimation.

Flow from a frame that does not exist yet is usually made in two steps: flow between the frames that exist, then its
reversal. RIFE's IFNet estimates the intermediate flows F_{t->0}, F_{t->1} and a fusion mask directly, from coarse to
fine; ContextNet and RefineNet then correct what warping and fusing leave wrong. While training, one more block that is
shown the true middle frame, the teacher, tells the others where to go (privileged distillation).

    frame 0, frame 1 ──► block 0, K = 4 ──► F, M ──► block 1, K = 2 ──► F, M ──► block 2, K = 1 ──► F, M
                                                                                                     │
    true frame t ───────────────────────────────────────────► teacher block, K = 1 ◄─────────────────┤
                                                                └► F, M (training)                   ▼
                                                                                         warped frames, merged
    frame 0 ──► ContextNet ──► 4 levels ──► warp by F_{t->0} ──┐                                     │
    frame 1 ──► ContextNet ──► 4 levels ──► warp by F_{t->1} ──┴──► RefineNet ◄──────────────────────┤
                                                                       └► residual in [-1, 1] ──► + ─┴─► frame t

Every block sees the frames, the frames warped so far, the mask so far and the flow so far at 1/K of the size, and
adds to flow and mask:  (F, M)^i = (F, M)^{i-1} + g^i(..)  (equation 3), with M before its sigmoid.

Shapes, for frames (N, 3, H, W):

    F            (N, 4, H, W)      F_{t->0} and F_{t->1}, pixels
    M            (N, 1, H, W)      logit; its sigmoid is the weight of warped frame 0
    in a block   (N, c, H/4K, W/4K), c = 240, 150, 90; twice that size in the 2R variant
    context      (N, 16·2^l, H/2^(l+1), W/2^(l+1)), l = 0 .. 3; in the 2R variant H/2^l, W/2^l

Variants, by `RIFEConfig`:

    RIFE         the network of the paper for t = 1/2
    RIFE_M       for any t: every block sees t as one more channel
    RIFE_2R      features at twice the resolution: the first stride of every block, of ContextNet and of RefineNet is 1
                 instead of 2, and RefineNet's last convolution strides instead

RIFE-2T (test-time augmentation) is `betwixt.models.augmented.TestTimeAugmented(RIFE(..))`, and RIFE-Large, 2T2R, the
same around RIFE_2R. Larger scales, such as 16, 4, 1 for 4K, need no other weights.

Where the paper is silent, or the authors' implementation does otherwise, the implementation is followed:

- The network for t = 1/2 has no channel for t, whatever t is asked for.
- The distillation loss (equation 5) is the root mean square over the four channels of F - F^Tea, and counts only where
  the teacher's merged frame is better than the stage's by more than 0.01; it is summed over the stages.
- RefineNet is shown M before its sigmoid. Its residual is 2 sigmoid(·) - 1.
- The deepest block of RefineNet is followed by the deepest context too, before the first upsampling.

The features of ContextNet depend on a frame alone, so `pair` holds them and every further t of a pair saves them.

Parameters: 10.71 M with the teacher, 10.07 M without. FLOPs at 1280x736: 239 G; 953 G for the 2R variant.

Reference: Huang, Zhang, Heng, Shi, Zhou: Real-Time Intermediate Flow Estimation for Video Frame Interpolation,
ECCV 2022.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from betwixt.layers.ifblock import FlowEstimate, IFBlock, concatenate
from betwixt.layers.resize import resize_flow
from betwixt.layers.warp import backward_warp
from betwixt.models.network import Network, Synthesis

__all__ = [
    "RIFE",
    "RIFE_2R",
    "RIFE_ECCV",
    "RIFE_M",
    "ContextNet",
    "Distillation",
    "RIFEConfig",
    "RIFEPair",
    "RIFESynthesis",
    "RefineNet",
    "distillation_loss",
    "synthesise",
]


@dataclass(frozen=True)
class RIFEConfig:
    """Which of the variants; the defaults are the paper's network.

    Attributes:
        scales: K of the three blocks, coarsest first. Weights do not depend on it.
        any_time: Whether the blocks see t.
        double_resolution: Whether features have twice the resolution (2R).
        teacher: Whether the teacher block, which only training needs, is there.
        prior: Whether block 0 starts from an estimate that another part gives, as the other blocks do, instead of from
            nothing.
        widths: Channels of the three blocks.
        context: Channels of ContextNet's finest level; RefineNet follows it.
    """

    scales: tuple[float, float, float] = (4, 2, 1)
    any_time: bool = False
    double_resolution: bool = False
    teacher: bool = True
    prior: bool = False
    widths: tuple[int, int, int] = (240, 150, 90)
    context: int = 16


RIFE_ECCV = RIFEConfig()
RIFE_M = RIFEConfig(any_time=True)
RIFE_2R = RIFEConfig(double_resolution=True)


@dataclass(frozen=True)
class RIFEPair:
    """Two frames, (N, 3, H, W), and the four levels of their context, finest first."""

    frame0: Tensor
    frame1: Tensor
    context0: tuple[Tensor, ...]
    context1: tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class RIFESynthesis(Synthesis):
    """Frame t, and how RIFE came to it.

    Attributes:
        merged: (N, 3, H, W), the fused frame before the residual.
        residual: (N, 3, H, W) in [-1, 1].
        stages: What was known after each block; the last is what `flow_t0`, `flow_t1`, `mask` and `merged` say.
    """

    merged: Tensor
    residual: Tensor
    stages: tuple[FlowEstimate, ...]


@dataclass(frozen=True)
class Distillation:
    """What training sees.

    Attributes:
        student: What the network makes of the two frames.
        teacher: What the teacher block makes of them with the true frame before its eyes.
        loss: A scalar, the distillation loss; the paper weighs it by 0.01.
    """

    student: Synthesis
    teacher: FlowEstimate
    loss: Tensor


def _conv(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, stride, 1), nn.PReLU(channels_out))


def _deconv(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(channels_in, channels_out, 4, 2, 1), nn.PReLU(channels_out))


class _Block(IFBlock):
    """An IFBlock: two strided convolutions, eight more with one skip around them, one upsampling to 5 channels."""

    def __init__(self, channels_in: int, width: int, double_resolution: bool) -> None:
        super().__init__()
        self.stride = 1 if double_resolution else 2
        self.conv0 = nn.Sequential(_conv(channels_in, width // 2, self.stride), _conv(width // 2, width, 2))
        self.convblock = nn.Sequential(*(_conv(width, width) for _ in range(8)))
        self.lastconv = nn.ConvTranspose2d(width, 5, 4, 2, 1)

    def body(self, x: Tensor) -> Tensor:
        features = self.conv0(x)
        found: Tensor = self.lastconv(self.convblock(features) + features)
        return found


class _TwoConvolutions(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, stride: int = 2) -> None:
        super().__init__()
        self.conv1 = _conv(channels_in, channels_out, stride)
        self.conv2 = _conv(channels_out, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.conv2(self.conv1(x))
        return features


class ContextNet(nn.Module):
    """Features of one frame at four resolutions, and their warping."""

    def __init__(self, double_resolution: bool, width: int = 16) -> None:
        super().__init__()
        self.first_stride = 1 if double_resolution else 2
        self.conv1 = _TwoConvolutions(3, width, self.first_stride)
        self.conv2 = _TwoConvolutions(width, 2 * width)
        self.conv3 = _TwoConvolutions(2 * width, 4 * width)
        self.conv4 = _TwoConvolutions(4 * width, 8 * width)

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> four levels, finest first."""
        level1 = self.conv1(frame)
        level2 = self.conv2(level1)
        level3 = self.conv3(level2)
        return level1, level2, level3, self.conv4(level3)

    def warp(self, levels: Sequence[Tensor], flow: Tensor) -> list[Tensor]:
        """The levels, warped by a flow (N, 2, H, W) in pixels of the frame."""
        flow = resize_flow(flow, 1.0 / self.first_stride)
        warped = [backward_warp(levels[0], flow)]
        for level in levels[1:]:
            flow = resize_flow(flow, 0.5)
            warped.append(backward_warp(level, flow))
        return warped


class RefineNet(nn.Module):
    """A U-Net that takes the warped context in at every level and returns the residual of the merged frame."""

    def __init__(self, double_resolution: bool, width: int = 16) -> None:
        super().__init__()
        self.down0 = _TwoConvolutions(17, 2 * width, 1 if double_resolution else 2)
        self.down1 = _TwoConvolutions(4 * width, 4 * width)
        self.down2 = _TwoConvolutions(8 * width, 8 * width)
        self.down3 = _TwoConvolutions(16 * width, 16 * width)
        self.up0 = _deconv(32 * width, 8 * width)
        self.up1 = _deconv(16 * width, 4 * width)
        self.up2 = _deconv(8 * width, 2 * width)
        self.up3 = _deconv(4 * width, width)
        self.conv = nn.Conv2d(width, 3, 3, 2 if double_resolution else 1, 1)

    def forward(self, seen: Tensor, context0: Sequence[Tensor], context1: Sequence[Tensor]) -> Tensor:
        """The residual, (N, 3, H, W) in [-1, 1].

        Args:
            seen: (N, 17, H, W): frames, warped frames, mask logit, flows.
            context0: Four levels of frame 0's context, warped to t.
            context1: The same of frame 1.
        """
        down0 = self.down0(seen)
        down1 = self.down1(torch.cat((down0, context0[0], context1[0]), 1))
        down2 = self.down2(torch.cat((down1, context0[1], context1[1]), 1))
        down3 = self.down3(torch.cat((down2, context0[2], context1[2]), 1))
        x = self.up0(torch.cat((down3, context0[3], context1[3]), 1))
        x = self.up1(torch.cat((x, down2), 1))
        x = self.up2(torch.cat((x, down1), 1))
        x = self.up3(torch.cat((x, down0), 1))
        # Between 0.5 and 1, where the sigmoid lies, bfloat16 knows no finer step than 1/256.
        return torch.sigmoid(self.conv(x).float()) * 2.0 - 1.0


class RIFE(Network):
    """RIFE, in the variant that `config` says."""

    def __init__(self, config: RIFEConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or RIFEConfig()
        self.any_time = config.any_time
        # The coarsest block strides by 4 at 1/K; ContextNet and RefineNet stride by 16 in all.
        self.multiple = max(32, int(4 * max(config.scales)))
        twice, seen = config.double_resolution, 7 if config.any_time else 6
        coarse, middle, fine = config.widths
        self.block0 = _Block(seen + (11 if config.prior else 0), coarse, twice)
        self.block1 = _Block(seen + 11, middle, twice)
        self.block2 = _Block(seen + 11, fine, twice)
        self.block_tea = _Block(seen + 14, fine, twice) if config.teacher else None
        self.contextnet = ContextNet(twice, config.context)
        self.unet = RefineNet(twice, config.context)

    def pair(self, frame0: Tensor, frame1: Tensor) -> RIFEPair:
        """The frames and their context features."""
        levels = self.contextnet(torch.cat((frame0, frame1)))
        count = len(frame0)
        return RIFEPair(
            frame0,
            frame1,
            context0=tuple(level[:count] for level in levels),
            context1=tuple(level[count:] for level in levels),
        )

    def estimates(self, pair: RIFEPair, t: Tensor, prior: FlowEstimate | None = None) -> Iterator[FlowEstimate]:
        """IFNet: what is known of frame t after each block, coarsest first.

        Args:
            pair: What `pair` returned.
            t: (N, 1, 1, 1).
            prior: What block 0 starts from, at full size; given where the configuration has a `prior`, and only there.
        """
        if (prior is not None) != self.config.prior:
            raise ValueError("A RIFE starts from an estimate if it was made for one (prior=True), or from none.")
        estimate = prior
        for block, scale in zip((self.block0, self.block1, self.block2), self.config.scales, strict=True):
            estimate = self._look(block, scale, pair, t, estimate)
            yield estimate

    def at(self, pair: RIFEPair, t: Tensor, prior: FlowEstimate | None = None) -> RIFESynthesis:
        """Frame t of a prepared pair; without `any_time`, the middle frame whatever `t` is.

        `prior` is what block 0 starts from; see `estimates`.
        """
        return self._refined(pair, tuple(self.estimates(pair, t, prior)))

    def forward(self, frame0: Tensor, frame1: Tensor, t: Tensor) -> RIFESynthesis:
        """Frame t of two frames (N, 3, H, W), RGB in [0, 1]."""
        return self.at(self.pair(frame0, frame1), t)

    def distil(self, frame0: Tensor, frame1: Tensor, t: Tensor, truth: Tensor) -> Distillation:
        """What `forward` returns, what the teacher says to it, and the distillation loss (equations 4 and 5).

        The loss moves the student alone; the teacher learns from the reconstruction loss of its merged frame, which
        reaches the student through the flow that the teacher starts from.

        Args:
            frame0: (N, 3, H, W), RGB in [0, 1].
            frame1: The same.
            t: (N, 1, 1, 1).
            truth: (N, 3, H, W), the true frame t.
        """
        if self.block_tea is None:
            raise ValueError("This RIFE was made without its teacher block: RIFEConfig(teacher=True) has it.")
        pair = self.pair(frame0, frame1)
        stages = tuple(self.estimates(pair, t))
        teacher = self._look(self.block_tea, 1.0, pair, t, stages[-1], truth)
        return Distillation(self._refined(pair, stages), teacher, distillation_loss(stages, teacher, truth))

    def _look(
        self, block: _Block, scale: float, pair: RIFEPair, t: Tensor, before: FlowEstimate | None, *shown: Tensor
    ) -> FlowEstimate:
        """Let a block correct what is known; `shown` is what it sees beside."""
        frame0, frame1 = pair.frame0, pair.frame1
        seen = [frame1]
        if self.config.any_time:
            seen.append(t.expand(len(frame0), 1, *frame0.shape[-2:]))
        if before is None:
            flow, logit, _ = block(concatenate(frame0, *seen, *shown), None, scale)
        else:
            seen += [before.warped0, before.warped1, before.logit]
            flow, logit, _ = block(concatenate(frame0, *seen, *shown), before.flow, scale)
            flow, logit = before.flow + flow, before.logit + logit
        return FlowEstimate.from_flow(frame0, frame1, flow, logit)

    def _refined(self, pair: RIFEPair, stages: tuple[FlowEstimate, ...]) -> RIFESynthesis:
        return synthesise(self.contextnet, self.unet, pair, stages)


def synthesise(
    contextnet: ContextNet, unet: RefineNet, pair: RIFEPair, stages: tuple[FlowEstimate, ...]
) -> RIFESynthesis:
    """Frame t of the last of `stages`, corrected by what `unet` sees in it and in the warped context."""
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
    """Equation 5 as the authors' implementation has it: how far the flows are from the teacher's where it is better.

    Args:
        stages: Of the student.
        teacher: Learns nothing from this loss.
        truth: (N, 3, H, W), the true frame t.
    """
    target = teacher.flow.detach()
    teacher_error = _error(teacher.merged, truth).detach()
    loss = torch.zeros((), device=target.device)
    for stage in stages:
        to_learn = _error(stage.merged, truth).detach() > teacher_error + 0.01
        # A norm, since the root of a mean square has no gradient where both agree.
        distance = torch.linalg.vector_norm(target - stage.flow, dim=1, keepdim=True) * 0.5
        loss = loss + (distance * to_learn).mean()
    return loss


def _error(frame: Tensor, truth: Tensor) -> Tensor:
    return (frame - truth).abs().mean(dim=1, keepdim=True)
