"""DAEK: dual motion attention and enhanced knowledge distillation (Zhang, Lou et al.), on top of RIFE.

RIFE estimates the flows of the middle frame by convolutions alone. DAEK refines the estimate of each block at once, by
two kinds of attention: to how well the frames match where the flows point (bidirectional correlation, as in AMT), and
to shallow features of the frames, which keep texture that deep layers lose. In training, a teacher of the same two
kinds of blocks, which also sees the true middle frame, supervises the flows.

    frame 0, frame 1 ──► appearance encoder ──► bidirectional all-pairs correlation at 1/8         once a pair
    frame 0, frame 1 ──► context encoder ──► shallow features at 1/8                               once a pair

    frames ──► MEB 1/8 ──► MRB ──► F, M, feat ──► MEB 1/4 ──► MRB ──► F, M, feat ──► MEB 1/2 ──► MRB ──► F, M, feat
                                                                                                         │
    true middle frame ──► teacher's MEB 1/2 ──► teacher's MRB ──► F (training)  ◄────────────────────────┤
                                                                                                         ▼
                                      RIFE's synthesis: frames warped and merged, ContextNet, RefineNet ──► frame t

    MEB    frames, warped frames, M, F, feat, all at its scale ──► convolutions ──► + F, + M, new feat
           (motion estimation block)

    MRB    F at 1/8 ────────────────────► convolutions ──┐                                 (motion refinement block)
           correlation around F ────────► convolutions ──┴─► CMF (equation 1)
           CFCM:  Q, K = linear(shallow features),  Score = softmax(Q ⊙ K)
                  Attn = Conv(CMF) + Para Score    (equations 2 to 5; contextual feature complement module)
           Attn, F, feat at 1/8 ────────► convolutions ──► + F, + feat

Shapes, for frames (N, 3, H, W) with sides that are multiples of 16:

    F              (N, 4, H, W)              F_{t->0} and F_{t->1}, pixels
    M              (N, 1, H, W)              logit; its sigmoid is the weight of warped frame 0
    feat           (N, 32, H s, W s)         the intermediate feature, s = 1/8, 1/4, 1/2
    appearance     (N, 128, H/8, W/8)        of each frame
    shallow        (N, 256, H/8, W/8)        of both frames
    correlation    (N, 392, H/8, W/8)        looked up in windows of 7x7 at four levels, in both directions
    CMF, Q, K, V   (N, 256, H/8, W/8)

Parameters. The paper reports 22.48 M parameters but no channel counts; this network has 22,430,701. Its baseline scores
in Table II exactly what RIFE scores in Table I, so the parts that both have get RIFE's channels (10.05 M). The two
encoders are those of RAFT (2.10 M), as in AMT. That leaves 10.33 M for three MRBs with branches close to those of the
largest AMT and four convolutions of the motion's width, 256, and for 32 channels of intermediate feature. The teacher
does not count, as it is "discarded during inference". docs/models/daek.md adds up every block.

What the paper says, where it is silent, and what was chosen:

- Scales. The inputs of the MEBs are the frames "after bilinear interpolation downsampling", at 1/8, 1/4 and 1/2; their
  convolutions have "a stride of 1"; their outputs are then resized to 1/8. RIFE's blocks have a stride of 4 and would
  have no features finer than 1/8. So no block has a stride, and features have the size of those of RIFE-2R.
- MEB. Figure 2 shows eight convolutions. Stem, skip and head around them are RIFE's, without strides. As in RIFE,
  residuals of flow and mask are predicted (its equation 3), the frames are warped at full size, and the widths fall as
  the scale grows.
- Intermediate feature. It is "predicted by the previous MEB" and used in the update and in the next estimation: each
  MEB predicts it anew at its own scale, with the previous one as an input; the MRB adds a residual.
- MRB. The outputs of the MEB are downsampled to 1/8 and, "after updates", restored. Restoring the updated flow itself
  would leave the detail of 1/8 at full size; so the residual is restored and added to the flow, as in AMT. The mask is
  not refined. Each MRB has its own weights.
- Correlation. "We adopt the design of AMT": all pairs, four levels, windows of 7x7 around twice the flows from the
  middle. BCF in equation 1 is the result of the lookup.
- Shallow feature. The context features come from "the same residual structure" as the appearance features, with its
  own weights. The paper does not say of which frame: here of both, encoded separately, not warped, and concatenated.
- CFCM. Score is added to V, so it has V's shape, and the product of Q and K ("feature point multiplication") must be
  element by element. The axis of the softmax is not given; here it is the channels. Over the pixels, a score would be
  about 8² / (H W): tiny, and dependent on the frame size. Para is one number.
- Synthesis. It is RIFE's; the paper does not describe it. The refined feature of the last MRB is used by the teacher's
  MEB only.
- Ablations. F, CA and SFA are switches. Without SFA, CMF replaces Attn; without CA, CMF is made from the flow alone;
  without both there is no MRB: that is the baseline, RIFE without strides.
- Teacher. The paper's own (OT) is a MEB at the last scale and a MRB for the flow, always with both attentions, since it
  also has to teach RIFE; RIFE's (RT) is a MEB alone. Its mask comes from its MEB; its frame is fused without synthesis,
  as in RIFE.
- Distillation. Equation 6 is a mean over pixels and channels ("L1 loss"), summed over both flows and the three scales,
  after refinement, without a mask. With RT the loss is RIFE's, masked. The paper does not mention gradients: as in RIFE
  the loss has none for the teacher, while the teacher's reconstruction loss has gradients for the student.
- t is 1/2, "set by default", and no input of any block.

References: Zhang, Lou et al., Dual Motion Attention and Enhanced Knowledge Distillation for Video Frame Interpolation;
Huang et al., RIFE, ECCV 2022; Li et al., AMT, CVPR 2023; Teed and Deng, RAFT, ECCV 2020.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from betwixt.layers.blocks import conv_prelu
from betwixt.layers.correlation import (
    AllPairsCorrelation,
    OnDemandCorrelation,
    all_pairs_correlation,
    pixel_coordinates,
)
from betwixt.layers.ifblock import FlowEstimate, concatenate
from betwixt.layers.resize import resize, resize_flow, resize_to
from betwixt.models.amt.network import AMTConfig, MatchingEncoder
from betwixt.models.network import Network
from betwixt.models.rife.network import (
    ContextNet,
    Distillation,
    RefineNet,
    RIFEPair,
    RIFESynthesis,
    distillation_loss,
    encode_both,
    refine,
)


@dataclass(frozen=True)
class DAEKConfig:
    """Hyper-parameters; the defaults are the paper's network, DAEK-F-DA with its own teacher.

    Attributes:
        features: F: channels C' of the intermediate feature; 0 for none.
        correlation_attention: CA: whether the student's MRBs use the bidirectional correlation.
        shallow_attention: SFA: whether the student's MRBs have a CFCM. With neither attention there are no MRBs.
        teacher: "own", a MEB and a MRB with both attentions; "rife", a MEB and RIFE's distillation loss; or "none".
        scales: The scale at which each MEB works, coarsest first; the teacher works at the last.
        widths: Channels of each MEB, coarsest first; the teacher has those of the last.
        encoder: Channels of both encoders at 1/2, 1/4 and 1/8, and of their output.
        correlation: Channels of the two convolutions of the correlation in a MRB.
        flow: Channels of the two convolutions of the coarse flow in a MRB.
        hidden: Channels of the trunk of a MRB.
        radius: Radius of the window in which correlation is looked up.
        levels: Levels of the correlation pyramid.
        volume_limit: Most bytes of the correlation volume; above it, correlation is computed where it is read.
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
}
"""The configurations of tables II and III by row; "RIFE w/ OT" is RIFE with a `DAEKTeacher`."""


@dataclass(frozen=True)
class DAEKPair(RIFEPair):
    """Two frames, their context for the synthesis, and the inputs of the MRBs.

    Attributes:
        correlation: Bidirectional correlation of the appearance features at 1/8; None where no MRB uses it.
        shallow: (N, 2 encoder[3], H/8, W/8), the context features of both frames; None where no MRB uses them.
    """

    correlation: AllPairsCorrelation | OnDemandCorrelation | None
    shallow: Tensor | None


class MotionEstimationBlock(nn.Module):
    """MEB: predicts residuals of flow and mask, and a new intermediate feature, at one scale.

    Args:
        channels_in: Channels of all inputs.
        width: Channels of its convolutions.
        features: C', channels of the intermediate feature; 0 for none.
    """

    def __init__(self, channels_in: int, width: int, features: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_prelu(channels_in, width // 2), conv_prelu(width // 2, width))
        self.body = nn.Sequential(*(conv_prelu(width, width) for _ in range(8)))
        self.head = nn.Conv2d(width, 5 + features, 3, 1, 1)

    def forward(
        self, maps: Tensor, flow: Tensor | None, features: Tensor | None, scale: float
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Residuals of flow (N, 4, H, W) and mask logit (N, 1, H, W), float32; the feature (N, C', H scale, W scale).

        The inputs are `maps` (N, C, H, W), the flow so far (N, 4, H, W) in pixels, and the previous block's feature
        (N, C', h, w) at its own scale; the last two are None in the first block.
        """
        maps = resize(maps, scale)
        if features is not None:
            features = resize_to(features, maps.shape[-2:])
        x = self.stem(concatenate(maps, None if flow is None else resize_flow(flow, scale), features))
        output = self.head(self.body(x) + x)
        residual = resize(output[:, 0:5].float(), 1.0 / scale)
        return residual[:, 0:4] / scale, residual[:, 4:5], output[:, 5:] if output.shape[1] > 5 else None


class ContextualFeatureComplement(nn.Module):
    """CFCM: adds channel attention, computed from the context feature, to the motion feature (equations 2 to 5).

    Args:
        context: Channels of the context feature.
        motion: Channels of the motion feature CMF and of the result.
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


class MotionRefinementBlock(nn.Module):
    """MRB: predicts residuals of the flow and of the intermediate feature at 1/8, by dual motion attention.

    Args:
        config: The network's configuration.
        correlation: Whether it uses the correlation (CA).
        shallow: Whether it has a CFCM (SFA).
        refines_features: Whether it refines the intermediate feature as well as the flow.
    """

    def __init__(self, config: DAEKConfig, correlation: bool, shallow: bool, refines_features: bool) -> None:
        super().__init__()
        self.radius = config.radius
        hidden, motion = config.hidden, config.flow[1]
        self.flow = nn.Sequential(conv_prelu(4, config.flow[0], 7), conv_prelu(*config.flow))
        self.correlation: nn.Sequential | None = None
        if correlation:
            channels = 2 * config.levels * (2 * config.radius + 1) ** 2
            self.correlation = nn.Sequential(
                conv_prelu(channels, config.correlation[0], 1), conv_prelu(*config.correlation)
            )
            motion += config.correlation[1]
        self.cfcm = ContextualFeatureComplement(2 * config.encoder[3], motion) if shallow else None
        self.trunk = nn.Sequential(
            conv_prelu(motion + 4 + config.features, hidden), *(conv_prelu(hidden, hidden) for _ in range(3))
        )
        self.head = nn.Conv2d(hidden, 4 + (config.features if refines_features else 0), 3, 1, 1)

    def forward(self, pair: DAEKPair, flow: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Residuals of flow (N, 4, H, W), in pixels, and features (N, C', h, w); None for features not refined."""
        dtype = pair.frame0.dtype
        coarse = resize_flow(flow, 1 / 8)
        motion = self.flow(coarse.to(dtype))
        if self.correlation is not None:
            assert pair.correlation is not None
            # Along a straight path, the flow between the frames is twice the flow from the middle.
            pixels = pixel_coordinates(coarse)
            in_frame1, in_frame0 = pixels + 2.0 * coarse[:, 2:4], pixels + 2.0 * coarse[:, 0:2]
            correlation = torch.cat(pair.correlation.lookup(in_frame1, in_frame0, self.radius), dim=1)
            motion = torch.cat((motion, self.correlation(correlation.to(dtype))), dim=1)
        if self.cfcm is not None:
            assert pair.shallow is not None
            motion = self.cfcm(pair.shallow, motion)
        coarse_features = None if features is None else resize_to(features, coarse.shape[-2:])
        residual = self.head(self.trunk(concatenate(motion, coarse, coarse_features)))
        flow_residual = resize_flow(residual[:, 0:4].float(), 8.0)
        if features is None or residual.shape[1] == 4:
            return flow_residual, None
        return flow_residual, resize_to(residual[:, 4:], features.shape[-2:])


class DAEK(Network):
    """The network of DAEK; the module's docstring describes it.

    Args:
        config: The variant; by default the paper's network with its teacher.
    """

    # RefineNet has a total stride of 16; the MRBs work at 1/8.
    multiple = 16

    def __init__(self, config: DAEKConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DAEKConfig()
        count, features = len(config.scales), config.features
        own = config.teacher == "own"
        refines = config.correlation_attention or config.shallow_attention
        # The first MEB takes the frames, the others also warped frames, mask, flow and features.
        channels = 6 + 6 + 1 + 4 + features
        self.mebs = nn.ModuleList(
            MotionEstimationBlock(channels if k else 6, config.widths[k], features) for k in range(count)
        )
        self.mrbs = nn.ModuleList(
            MotionRefinementBlock(config, config.correlation_attention, config.shallow_attention, features > 0)
            for _ in range(count if refines else 0)
        )
        self.appearance_encoder = _encoder(config) if own or config.correlation_attention else None
        self.context_encoder = _encoder(config) if own or config.shallow_attention else None
        self.contextnet = ContextNet(double_resolution=False)
        self.unet = RefineNet(double_resolution=False)
        self.teacher_meb: MotionEstimationBlock | None = None
        if config.teacher != "none":
            self.teacher_meb = MotionEstimationBlock(channels + 3, config.widths[-1], features)
        self.teacher_mrb = MotionRefinementBlock(config, True, True, refines_features=False) if own else None

    def pair(self, frame0: Tensor, frame1: Tensor) -> DAEKPair:
        """The frames, their context, and the inputs of the student's MRBs."""
        return self._pair(frame0, frame1, self.config.correlation_attention, self.config.shallow_attention)

    def estimates(self, pair: DAEKPair, t: Tensor) -> Iterator[FlowEstimate]:
        """The estimate of the middle frame at each scale, coarsest first; `t` is not used."""
        return (estimate for estimate, _ in self._stages(pair))

    def at(self, pair: DAEKPair, t: Tensor) -> RIFESynthesis:
        """The middle frame of a prepared pair, whatever `t` is."""
        return refine(self.contextnet, self.unet, pair, tuple(self.estimates(pair, t)))

    def distil(self, frame0: Tensor, frame1: Tensor, t: Tensor, truth: Tensor) -> Distillation:
        """`forward`, the teacher's estimate and the distillation loss.

        The loss is that of equation 6 with DAEK's own teacher, and RIFE's with RIFE's teacher. It has no gradient for
        the teacher's own output. The teacher learns from the reconstruction loss of its fused frame (equation 9), whose
        gradient also reaches the student through the flow and the features that the teacher refines.

        Raises:
            ValueError: if the network has no teacher.
        """
        if self.teacher_meb is None:
            raise ValueError('This DAEK has no teacher: create it with DAEKConfig(teacher="own").')
        config, own = self.config, self.teacher_mrb is not None
        pair = self._pair(frame0, frame1, own or config.correlation_attention, own or config.shallow_attention)
        outputs = list(self._stages(pair))
        stages = tuple(estimate for estimate, _ in outputs)
        teacher, _ = _apply_blocks(self.teacher_meb, self.teacher_mrb, config.scales[-1], pair, *outputs[-1], truth)
        if own:
            loss = enhanced_distillation_loss(stages, teacher)
        else:
            loss = distillation_loss(stages, teacher, truth)
        return Distillation(refine(self.contextnet, self.unet, pair, stages), teacher, loss)

    def _pair(self, frame0: Tensor, frame1: Tensor, correlation: bool, shallow: bool) -> DAEKPair:
        frames = torch.cat((frame0, frame1))
        volume, context = None, None
        if correlation and self.appearance_encoder is not None:
            first, second = self.appearance_encoder(frames).chunk(2)
            volume = all_pairs_correlation(first, second, self.config.levels, self.config.volume_limit)
        if shallow and self.context_encoder is not None:
            context = torch.cat(self.context_encoder(frames).chunk(2), dim=1)
        contexts = encode_both(self.contextnet, frame0, frame1)
        return DAEKPair(frame0, frame1, *contexts, correlation=volume, shallow=context)

    def _stages(self, pair: DAEKPair) -> Iterator[tuple[FlowEstimate, Tensor | None]]:
        """The estimate and the intermediate feature after each scale."""
        estimate: FlowEstimate | None = None
        features: Tensor | None = None
        for k, (meb, scale) in enumerate(zip(self.mebs, self.config.scales, strict=True)):
            mrb = self.mrbs[k] if len(self.mrbs) else None
            estimate, features = _apply_blocks(meb, mrb, scale, pair, estimate, features)
            yield estimate, features


def _apply_blocks(
    meb: nn.Module,
    mrb: nn.Module | None,
    scale: float,
    pair: DAEKPair,
    previous: FlowEstimate | None,
    features: Tensor | None,
    truth: Tensor | None = None,
) -> tuple[FlowEstimate, Tensor | None]:
    """Refine the `previous` estimate at one scale; `truth` is given to the teacher alone."""
    frame0, frame1 = pair.frame0, pair.frame1
    if previous is None:
        flow, logit, features = meb(concatenate(frame0, frame1, truth), None, None, scale)
    else:
        maps = concatenate(frame0, frame1, truth, previous.warped0, previous.warped1, previous.logit)
        flow, logit, features = meb(maps, previous.flow, features, scale)
        flow, logit = previous.flow + flow, previous.logit + logit
    if mrb is not None:
        flow_residual, features_residual = mrb(pair, flow, features)
        flow = flow + flow_residual
        if features is not None and features_residual is not None:
            features = features + features_residual
    return FlowEstimate.from_flow(frame0, frame1, flow, logit), features


class DAEKTeacher(nn.Module):
    """DAEK's own teacher (OT) for another student, such as RIFE (table III): a MEB and a MRB with both attentions.

    The student has no intermediate feature, so the teacher takes none.

    Args:
        config: Its channels; the last scale and width are the teacher's.
    """

    def __init__(self, config: DAEKConfig | None = None) -> None:
        super().__init__()
        self.config = config = replace(config or DAEKConfig(), features=0)
        self.appearance_encoder, self.context_encoder = _encoder(config), _encoder(config)
        self.meb = MotionEstimationBlock(20, config.widths[-1], 0)
        self.mrb = MotionRefinementBlock(config, True, True, refines_features=False)

    def forward(self, frame0: Tensor, frame1: Tensor, truth: Tensor, estimate: FlowEstimate) -> FlowEstimate:
        """Refine a student's last estimate for frames (N, 3, H, W); `truth` is the true frame t, (N, 3, H, W)."""
        frames, config = torch.cat((frame0, frame1)), self.config
        first, second = self.appearance_encoder(frames).chunk(2)
        volume = all_pairs_correlation(first, second, config.levels, config.volume_limit)
        context = torch.cat(self.context_encoder(frames).chunk(2), dim=1)
        pair = DAEKPair(frame0, frame1, (), (), correlation=volume, shallow=context)
        refined, _ = _apply_blocks(self.meb, self.mrb, config.scales[-1], pair, estimate, None, truth)
        return refined


def enhanced_distillation_loss(stages: tuple[FlowEstimate, ...], teacher: FlowEstimate) -> Tensor:
    """Equation 6: the mean absolute difference from the teacher's flows, summed over both flows and over the stages.

    The teacher gets no gradient.
    """
    target = teacher.flow.detach()
    # A mean over four channels is half the sum of the means over two and two.
    return torch.stack([2.0 * (target - stage.flow).abs().mean() for stage in stages]).sum()


def _encoder(config: DAEKConfig) -> MatchingEncoder:
    return MatchingEncoder(AMTConfig(matching=config.encoder, bottleneck=False))
