"""DAEK: dual motion attention and enhanced knowledge distillation, on top of RIFE.

RIFE estimates the flows from the middle frame with convolutions alone. DAEK lets every estimate be refined at once, by
two kinds of attention: to how well the frames match where the flows point (bidirectional correlation, as in AMT), and
to shallow features of the frames, whose texture deep layers have lost. While training, a teacher made of the same two
kinds of blocks, which is shown the true middle frame, says what the flows should have been.

    frame 0, frame 1 ──► appearance encoder ──► correlation of all pairs at 1/8, both ways         once a pair
    frame 0, frame 1 ──► context encoder ──► shallow features at 1/8                               once a pair

    frames ──► MEB 1/8 ──► MRB ──► F, M, feat ──► MEB 1/4 ──► MRB ──► F, M, feat ──► MEB 1/2 ──► MRB ──► F, M, feat
                                                                                                         │
    true middle frame ──► teacher's MEB 1/2 ──► teacher's MRB ──► F (training)  ◄────────────────────────┤
                                                                                                         ▼
                                      RIFE's synthesis: frames warped and merged, ContextNet, RefineNet ──► frame t

    MEB    frames, warped frames, M, F, feat, all at its scale ──► convolutions ──► + F, + M, new feat
    MRB    F at 1/8 ────────────────────► convolutions ──┐
           correlation around F ────────► convolutions ──┴─► CMF (equation 1)
           CFCM:  Q, K = linear(shallow features),  Score = softmax(Q ⊙ K)
                  Attn = Conv(CMF) + Para Score            (equations 2 to 5)
           Attn, F, feat at 1/8 ────────► convolutions ──► + F, + feat

Shapes, for frames (N, 3, H, W) with sides that are multiples of 16:

    F              (N, 4, H, W)              F_{t->0} and F_{t->1}, pixels
    M              (N, 1, H, W)              logit; its sigmoid is the weight of warped frame 0
    feat           (N, 32, H s, W s)         the intermediate feature, s = 1/8, 1/4, 1/2
    appearance     (N, 128, H/8, W/8)        of each frame
    shallow        (N, 256, H/8, W/8)        of both frames
    correlation    (N, 392, H/8, W/8)        read in windows of 7x7 at four levels, both ways
    CMF, Q, K, V   (N, 256, H/8, W/8)

Parameters. The paper prints 22.48 M and not one number of channels. What the paper calls the baseline scores in
Table II what RIFE does in Table I, to the digit (35.32 and 35.29 dB), so the parts that both have are given RIFE's
channels: 10.05 M, in RIFE 10.07 M. The two encoders are RAFT's (2.10 M), from which AMT, "the design" of the
correlation, has its own. That leaves 10.33 M: three MRBs whose branches are nearly those of the largest AMT and whose
four convolutions then have the width of the motion, 256 (10.10 M), and 32 channels of intermediate feature. Here
a -> b is a convolution 3x3 with its PReLU where nothing else is said:

    MEB 1/8      6 -> 120 -> 240, eight of 240 around which there is a skip, 240 -> 37 without PReLU     4,497,397
    MEB 1/4      49 -> 75 -> 150, eight of 150, 150 -> 37                                                1,807,162
    MEB 1/2      49 -> 45 -> 90, eight of 90, 90 -> 37                                                     671,212
    MRB, three                                                                     3,367,461 each       10,102,383
       flow          4 -> 128 (7x7) -> 64                                             99,200
       correlation   392 -> 256 (1x1) -> 192                                         543,616
       CFCM          linear 256 -> 2 · 256, convolution 256 -> 256 (1x1), Para       197,377
       trunk         256 + 4 + 32 -> 256 -> 256 -> 256 -> 256                      2,444,288
       head          256 -> 36 without PReLU                                          82,980
    encoders, two: residual, 64 at 1/2, 96 at 1/4, 128 at 1/8, to 128 (1x1)        1,050,336 each        2,100,672
    ContextNet and RefineNet, as in RIFE                                           294,000 + 2,957,875   3,251,875
    together: the network that interpolates                                                             22,430,701

This is 0.2 % less than printed. The teacher does not count, as it is "discarded during inference": its MEB
(52 -> 45 -> 90, ..) has 672,427, its MRB, whose head gives 4 channels, 3,293,701; with them there are 26.40 M.

FLOPs: 189 G at 256x448, 1564 G at 1280x720, of which the encoders take a third. Memory: the correlation volume grows
with the square of the area, 2.2 GB at 1280x720. Above `DAEKConfig.volume_limit`, 3 GiB, correlation is computed piece
by piece where it is read: 0.2 GB at 1920x1088 instead of 11.4 GB. Where both fit, at 1280x720, that takes about twice
as long on a CPU core.

What the paper says, what it leaves open, and what was chosen:

- Scales. The MEBs see the frames "after bilinear interpolation downsampling", at 1/8, 1/4 and 1/2, their convolutions
  have "a stride of 1", and their outputs are then brought to 1/8. RIFE's blocks, which stride by 4, would have nothing
  finer than 1/8 to bring there. So no block strides; features have the size of those of RIFE-2R.
- Figure 2 has eight convolutions. Stem, skip and head around them are RIFE's, without strides. As there, flow and mask
  are corrected (equation 3 of RIFE), the frames are warped at full size, and the widths fall as the scale grows.
- Intermediate feature. It is "predicted by the previous MEB" and used in the update and in the next estimation: each
  MEB makes it anew at its own scale, seeing the last one; the MRB adds to it.
- MRB. Outputs of the MEB come down to 1/8 and are, "after updates", restored. Restoring the updated flow itself would
  leave a flow of 1/8 at full size; the residual is restored and added to the flow as it was, as in AMT. The mask is
  not refined. Each MRB has its own weights.
- Correlation. "We adopt the design of AMT": all pairs, four levels, windows of 7x7 around twice the flows from the
  middle. BCF in equation 1 is what is read.
- Shallow feature. The context features come from "the same residual structure" as the appearance features, with its
  own weights. The paper does not say of which frame: of both, each by itself, not warped, concatenated.
- CFCM. Score is added to V, so it has V's shape, and the product of Q and K ("feature point multiplication") can only
  be that of their elements. The axis of the softmax is open; it runs over the channels. Over the pixels a score would
  be about 8² / (H W), another size of frame another magnitude, and next to nothing anywhere. Para is one number.
- The refined feature of the last MRB has no reader but the teacher's MEB; the synthesis is RIFE's, which the paper
  does not describe at all.
- Ablations. F, CA and SFA are switches. Without SFA, CMF takes the place of Attn; without CA, CMF is of the flow
  alone; without both nothing is left to attend to, and there is no MRB: that is the baseline, RIFE without strides.
- Teacher. "Ours" (OT) is a MEB at the last scale and a MRB for the flow, always with both attentions, since it is to
  teach RIFE, too; RIFE's (RT) is a MEB alone. Its mask is its MEB's, its frame is merged without synthesis, as RIFE's.
- Distillation. Equation 6 is a mean over pixels and channels ("L1 loss"), summed over both flows and the three scales,
  after refinement; nothing is masked. With RT the loss is RIFE's, masked. The paper does not speak of gradients: as in
  RIFE the loss does not reach the teacher, while the teacher's reconstruction loss does reach the student.
- t is 1/2, "set by default"; no block sees it.

References: Zhang, Lou et al., Dual Motion Attention and Enhanced Knowledge Distillation for Video Frame Interpolation;
Huang et al., RIFE, ECCV 2022; Li et al., AMT, CVPR 2023; Teed and Deng, RAFT, ECCV 2020.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from betwixt.layers.correlation import (
    AllPairsCorrelation,
    OnDemandCorrelation,
    all_pairs_correlation,
    pixel_coordinates,
)
from betwixt.layers.ifblock import FlowEstimate, concatenate
from betwixt.layers.resize import resize, resize_flow
from betwixt.models.amt.network import AMTConfig, MatchingEncoder
from betwixt.models.network import Network
from betwixt.models.rife.network import (
    ContextNet,
    Distillation,
    RefineNet,
    RIFEPair,
    RIFESynthesis,
    distillation_loss,
    refine,
)

__all__ = ["ABLATIONS", "DAEK", "DAEKConfig", "DAEKPair", "enhanced_distillation_loss"]


@dataclass(frozen=True)
class DAEKConfig:
    """Switches of the ablations, and channels; the defaults are DAEK-F-DA with its own teacher, the paper's network.

    Attributes:
        features: F: channels C' of the intermediate feature; 0 for none.
        correlation_attention: CA: whether the student's MRBs see the bidirectional correlation.
        shallow_attention: SFA: whether the student's MRBs have their CFCM. With neither attention there are no MRBs.
        teacher: "own", a MEB and a MRB with both attentions; "rife", a MEB and RIFE's distillation loss; or "none".
        scales: At what share of the frames' size each MEB works, coarsest first; the teacher as the last.
        widths: Channels within each MEB, coarsest first; the teacher as the last.
        encoder: Of both encoders: channels at 1/2, 1/4 and 1/8, and of the features.
        correlation: Channels of the two convolutions of the correlation in a MRB.
        flow: Of the two convolutions of the coarse flow.
        hidden: Of the convolutions that end in the residuals.
        radius: Of the window in which correlation is looked up.
        levels: Of the correlation.
        volume_limit: Bytes that the correlation volume may take; a larger one is computed piecewise where it is read.
    """

    features: int = 32
    correlation_attention: bool = True
    shallow_attention: bool = True
    teacher: Literal["own", "rife", "none"] = "own"
    scales: tuple[float, float, float] = (1 / 8, 1 / 4, 1 / 2)
    widths: tuple[int, int, int] = (240, 150, 90)
    encoder: tuple[int, int, int, int] = (64, 96, 128, 128)
    correlation: tuple[int, int] = (256, 192)
    flow: tuple[int, int] = (128, 64)
    hidden: int = 256
    radius: int = 3
    levels: int = 4
    volume_limit: int = 3 << 30


ABLATIONS = {
    "baseline": DAEKConfig(features=0, correlation_attention=False, shallow_attention=False, teacher="rife"),
    "daek-f-ca": DAEKConfig(shallow_attention=False),
    "daek-f-sfa": DAEKConfig(correlation_attention=False),
    "daek-f-da": DAEKConfig(),
    "daek-da": DAEKConfig(features=0),
    "daek without distillation": DAEKConfig(teacher="none"),
    "daek with rt": DAEKConfig(teacher="rife"),
    "daek with ot": DAEKConfig(),
    "rife with ot": DAEKConfig(features=0, correlation_attention=False, shallow_attention=False),
}
"""The rows of Tables II and III."""


@dataclass(frozen=True)
class DAEKPair(RIFEPair):
    """Two frames and what the synthesis module and the MRBs see of them.

    Attributes:
        correlation: Of the appearance features, both ways, at 1/8; None where no MRB sees it.
        shallow: (N, 2 encoder[3], H/8, W/8), the context features of frame 0 and of frame 1; None likewise.
    """

    correlation: AllPairsCorrelation | OnDemandCorrelation | None
    shallow: Tensor | None


def _conv(channels_in: int, channels_out: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, kernel, 1, kernel // 2), nn.PReLU(channels_out))


class MotionEstimation(nn.Module):
    """MEB: looks at everything at one scale and corrects flow and mask; its features are made anew.

    Args:
        channels_in: Of all that it sees.
        width: Of its convolutions.
        features: C', of the intermediate feature that it returns; 0 for none.
    """

    def __init__(self, channels_in: int, width: int, features: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(channels_in, width // 2), _conv(width // 2, width))
        self.body = nn.Sequential(*(_conv(width, width) for _ in range(8)))
        self.head = nn.Conv2d(width, 5 + features, 3, 1, 1)

    def forward(
        self, maps: Tensor, flow: Tensor | None, features: Tensor | None, scale: float
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """One estimation.

        Args:
            maps: (N, C, H, W), all that it sees but flow and features.
            flow: (N, 4, H, W), the flow so far in pixels; None at the first block.
            features: (N, C', ·, ·), of the block before at its scale; None if there are none.
            scale: The share of H and W at which it looks.

        Returns:
            The flow residual (N, 4, H, W) in pixels and that of the mask logit (N, 1, H, W), both float32; the
            features (N, C', H scale, W scale), None if it has none.
        """
        maps = resize(maps, scale)
        if features is not None:
            features = resize(features, maps.shape[-1] / features.shape[-1])
        x = self.stem(concatenate(maps, None if flow is None else resize_flow(flow, scale), features))
        found = self.head(self.body(x) + x)
        motion = resize(found[:, 0:5].float(), 1.0 / scale)
        return motion[:, 0:4] / scale, motion[:, 4:5], found[:, 5:] if found.shape[1] > 5 else None


class ContextualComplement(nn.Module):
    """CFCM: adds to the motion what the context, each channel weighed against the others, says (equations 2 to 5).

    Args:
        context: Channels of the context feature.
        motion: Channels of the motion information, before and after.
    """

    def __init__(self, context: int, motion: int) -> None:
        super().__init__()
        self.query_key = nn.Linear(context, 2 * motion)
        self.value = nn.Conv2d(motion, motion, 1)
        self.para = nn.Parameter(torch.zeros(1))

    def forward(self, context: Tensor, motion: Tensor) -> Tensor:
        """(N, context, h, w) and (N, motion, h, w) -> Attn (N, motion, h, w)."""
        query, key = self.query_key(context.flatten(2).transpose(1, 2)).chunk(2, dim=2)
        score = torch.softmax(query * key, dim=2).transpose(1, 2).reshape(motion.shape)
        attended: Tensor = self.value(motion) + self.para * score
        return attended


class MotionRefinement(nn.Module):
    """MRB: corrects the flow and the intermediate feature at 1/8, by dual motion attention.

    Args:
        config: The network's.
        correlation: Whether it sees the correlation (CA).
        shallow: Whether it has a CFCM (SFA).
        keeps_features: Whether it corrects the features, too, and not the flow alone.
    """

    def __init__(self, config: DAEKConfig, correlation: bool, shallow: bool, keeps_features: bool) -> None:
        super().__init__()
        self.radius = config.radius
        hidden, motion = config.hidden, config.flow[1]
        self.flow = nn.Sequential(_conv(4, config.flow[0], 7), _conv(*config.flow))
        self.correlation: nn.Sequential | None = None
        if correlation:
            read = 2 * config.levels * (2 * config.radius + 1) ** 2
            self.correlation = nn.Sequential(_conv(read, config.correlation[0], 1), _conv(*config.correlation))
            motion += config.correlation[1]
        self.cfcm = ContextualComplement(2 * config.encoder[3], motion) if shallow else None
        self.trunk = nn.Sequential(
            _conv(motion + 4 + config.features, hidden), *(_conv(hidden, hidden) for _ in range(3))
        )
        self.head = nn.Conv2d(hidden, 4 + (config.features if keeps_features else 0), 3, 1, 1)

    def forward(self, pair: DAEKPair, flow: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What to add to flow (N, 4, H, W) and features (N, C', ·, ·); None for the features if nothing."""
        dtype = pair.frame0.dtype
        coarse = resize_flow(flow, 1 / 8)
        # Along a straight path the flow from frame to frame is twice the flow from the middle.
        places, motion = pixel_coordinates(coarse), self.flow(coarse.to(dtype))
        if self.correlation is not None:
            assert pair.correlation is not None
            found = pair.correlation.lookup(places + 2.0 * coarse[:, 2:4], places + 2.0 * coarse[:, 0:2], self.radius)
            motion = torch.cat((motion, self.correlation(torch.cat(found, dim=1).to(dtype))), dim=1)
        if self.cfcm is not None:
            assert pair.shallow is not None
            motion = self.cfcm(pair.shallow, motion)
        enlarged = 1.0
        seen = None
        if features is not None:
            enlarged = features.shape[-1] / coarse.shape[-1]
            seen = resize(features, 1.0 / enlarged)
        change = self.head(self.trunk(concatenate(motion, coarse, seen)))
        flow_change = resize_flow(change[:, 0:4].float(), 8.0)
        return flow_change, resize(change[:, 4:], enlarged) if change.shape[1] > 4 else None


class DAEK(Network):
    """DAEK, in the variant that `config` says."""

    # RefineNet strides by 16, the MRBs work at 1/8.
    multiple = 16

    def __init__(self, config: DAEKConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DAEKConfig()
        count, features = len(config.scales), config.features
        own = config.teacher == "own"
        refines = config.correlation_attention or config.shallow_attention
        # Frames; then also warped frames, mask, flow and features; the teacher sees the true frame besides.
        seen = 6 + 6 + 1 + 4 + features
        self.mebs = nn.ModuleList(MotionEstimation(seen if k else 6, config.widths[k], features) for k in range(count))
        self.mrbs = nn.ModuleList(
            MotionRefinement(config, config.correlation_attention, config.shallow_attention, features > 0)
            for _ in range(count if refines else 0)
        )
        self.appearance_encoder = _encoder(config) if own or config.correlation_attention else None
        self.context_encoder = _encoder(config) if own or config.shallow_attention else None
        self.contextnet = ContextNet(double_resolution=False)
        self.unet = RefineNet(double_resolution=False)
        self.teacher_meb: MotionEstimation | None = None
        if config.teacher != "none":
            self.teacher_meb = MotionEstimation(seen + 3, config.widths[-1], features)
        self.teacher_mrb = MotionRefinement(config, True, True, keeps_features=False) if own else None

    def pair(self, frame0: Tensor, frame1: Tensor) -> DAEKPair:
        """The frames, their context, and what the student's MRBs need."""
        return self._pair(frame0, frame1, self.config.correlation_attention, self.config.shallow_attention)

    def estimates(self, pair: DAEKPair, t: Tensor) -> Iterator[FlowEstimate]:
        """What is known of the middle frame after every scale, coarsest first; `t` is not looked at."""
        return (estimate for estimate, _ in self._stages(pair))

    def at(self, pair: DAEKPair, t: Tensor) -> RIFESynthesis:
        """The middle frame of a prepared pair, whatever `t` is."""
        return refine(self.contextnet, self.unet, pair, tuple(self.estimates(pair, t)))

    def forward(self, frame0: Tensor, frame1: Tensor, t: Tensor) -> RIFESynthesis:
        """The middle frame of two frames (N, 3, H, W), RGB in [0, 1]."""
        return self.at(self.pair(frame0, frame1), t)

    def distil(self, frame0: Tensor, frame1: Tensor, t: Tensor, truth: Tensor) -> Distillation:
        """What `forward` returns, what the teacher says to it, and the distillation loss.

        The loss is that of equation 6 with DAEK's own teacher, that of RIFE with RIFE's. It moves the student alone;
        the teacher learns from the reconstruction loss of its merged frame (equation 9), which reaches the student
        through the flow and the features that the teacher starts from.

        Args:
            frame0: (N, 3, H, W), RGB in [0, 1].
            frame1: The same.
            t: (N, 1, 1, 1), one half.
            truth: (N, 3, H, W), the true middle frame.

        Raises:
            ValueError: if the network was made without a teacher.
        """
        if self.teacher_meb is None:
            raise ValueError('This DAEK was made without a teacher: DAEKConfig(teacher="own") has it.')
        config, own = self.config, self.teacher_mrb is not None
        pair = self._pair(frame0, frame1, own or config.correlation_attention, own or config.shallow_attention)
        found = list(self._stages(pair))
        stages = tuple(estimate for estimate, _ in found)
        teacher, _ = self._look(self.teacher_meb, self.teacher_mrb, config.scales[-1], pair, *found[-1], truth)
        if own:
            loss = enhanced_distillation_loss(stages, teacher)
        else:
            loss = distillation_loss(stages, teacher, truth)
        return Distillation(refine(self.contextnet, self.unet, pair, stages), teacher, loss)

    def _pair(self, frame0: Tensor, frame1: Tensor, correlation: bool, shallow: bool) -> DAEKPair:
        frames = torch.cat((frame0, frame1))
        levels = [level.chunk(2) for level in self.contextnet(frames)]
        volume, context = None, None
        if correlation and self.appearance_encoder is not None:
            first, second = self.appearance_encoder(frames).chunk(2)
            volume = all_pairs_correlation(first, second, self.config.levels, self.config.volume_limit)
        if shallow and self.context_encoder is not None:
            context = torch.cat(self.context_encoder(frames).chunk(2), dim=1)
        return DAEKPair(
            frame0,
            frame1,
            context0=tuple(level for level, _ in levels),
            context1=tuple(level for _, level in levels),
            correlation=volume,
            shallow=context,
        )

    def _stages(self, pair: DAEKPair) -> Iterator[tuple[FlowEstimate, Tensor | None]]:
        """Estimate and features after every scale."""
        before: FlowEstimate | None = None
        features: Tensor | None = None
        for k, (meb, scale) in enumerate(zip(self.mebs, self.config.scales, strict=True)):
            mrb = self.mrbs[k] if len(self.mrbs) else None
            before, features = self._look(meb, mrb, scale, pair, before, features)
            yield before, features

    def _look(
        self,
        meb: nn.Module,
        mrb: nn.Module | None,
        scale: float,
        pair: DAEKPair,
        before: FlowEstimate | None,
        features: Tensor | None,
        *shown: Tensor,
    ) -> tuple[FlowEstimate, Tensor | None]:
        """Estimate at one scale and refine; `shown` is what the MEB sees beside."""
        seen = [pair.frame1, *shown]
        if before is None:
            flow, logit, features = meb(concatenate(pair.frame0, *seen), None, None, scale)
        else:
            seen += [before.warped0, before.warped1, before.logit]
            flow, logit, features = meb(concatenate(pair.frame0, *seen), before.flow, features, scale)
            flow, logit = before.flow + flow, before.logit + logit
        if mrb is not None:
            flow_change, features_change = mrb(pair, flow, features)
            flow = flow + flow_change
            if features is not None and features_change is not None:
                features = features + features_change
        return FlowEstimate.from_flow(pair.frame0, pair.frame1, flow, logit), features


def enhanced_distillation_loss(stages: tuple[FlowEstimate, ...], teacher: FlowEstimate) -> Tensor:
    """Equation 6: the mean absolute difference from the teacher's flows, both ways added, summed over the stages.

    The teacher learns nothing from it.
    """
    target = teacher.flow.detach()
    # A mean over four channels is half the sum of the means over two and two.
    return torch.stack([2.0 * (target - stage.flow).abs().mean() for stage in stages]).sum()


def _encoder(config: DAEKConfig) -> MatchingEncoder:
    return MatchingEncoder(AMTConfig(matching=config.encoder, bottleneck=False))
