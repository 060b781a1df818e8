"""Hierarchical motion estimation ("Aligning Anything"): a plug-in that adds target-level motion to a host network.

A network that estimates motion pixel by pixel can give every pixel any motion; one that moves whole targets fails where
they deform. The plug-in does both in turn. Masks say which pixels of both frames belong to the same target. The plug-in
combines the features of every pixel with the mean over its target (HCE), attends from each pixel to all pixels of the
same target in the other frame, however far it moved (HIR-L), and then to a window around the result (HIR-S). The host
network then starts from the intermediate flows and the mask or features of frame t that the plug-in predicts.

    features F_0, F_1 of the host's encoder, at its coarsest level        masks M_0, M_1
        │                                                                     │
        ▼ HCE-S   H_q^s = PConv(F_q, U_q),  U_q = gate(F_q) · mean of the target in the same frame       (5 to 7)
        ▼ HCE-T   H_q   = PConv(H_q^s, U_q), U_q = gate(H_q^s) · mean of the target in the other frame
        ▼ HIR-L   attention from a target to the same target in the other frame                          (9)
        │         ├► F_q^h       own values plus attended values
        │         └► f_01, f_10  attended positions less own positions                             once a pair ▲
        ├────────────────────────────────────────────────────────────────────────────────────────────────────────
        ▼ f_t0 = t f_10,  f_t1 = (1 - t) f_01,  F_t = Fuse(W(F_0^h, f_t0), W(F_1^h, f_t1))   (8)    once a time ▼
        ▼ HIR-S   attention from a pixel of frame t to a window of each warped map ──► F_0t, F_1t, residuals of f
        ▼ Inter   F_0t, F_1t, f_t0, f_t1 ──► F_t^h, f_t0^h, f_t1^h (10)   or   m_t^h, f_t0^h, f_t1^h (11)
        │
        ▼ host    RIFE: block 0      EMA-VFI: head 0      IFRNet, AMT: decoder 4
                  refine the flows and m_t^h              refines the flows and F_t^h

Shapes, for frames (N, 3, H, W) and a host whose coarsest features have C channels at 1/s of the size:

    F, H, F^h, F_t    (N, C, H/s, W/s)   s = 16; 8 for RIFE at twice the feature resolution
    masks             (N, H, W)          integers, the same for the same target in both frames
    f                 (N, 2, H/s, W/s)   pixels of that map
    attention         sum over the targets of S_i^0 S_i^1 scores, computed in chunks

Equations 5 to 11, the inputs, the outputs for each host and the ablations follow the paper. Where the paper is silent,
this was chosen:

- Interface. The plug-in works on the coarsest features of the host. The host's coarsest estimator takes the plug-in's
  result as the finer ones take the previous estimate: its inputs are the frames (features) warped by the flows, the
  flows and the mask (the features of frame t), and it predicts residuals. Only that one layer of the host is wider. The
  widths below match the FLOPs of the paper's table 1 (docs/models/hierarchical.md).
- A cell of the coarse map has the label of most of its pixels.
- Weights are shared by the two frames and by the two directions. Keys and values are 1x1 convolutions. The mean over
  the map is subtracted from the keys, since what all pixels share does not distinguish them; then they are standardised
  over their channels (mean 0, variance 1) and scaled by one learnable gain, so that K K^T / sqrt(D) is a cosine times a
  number.
- Positions are in pixels of the coarse map. A target that is absent from the other frame gets no motion and no attended
  value.
- "Spatial attention" of equation 7 has the shape of the features: one weight for every channel of a pixel.
- HIR-S is short-range: a pixel of frame t attends to 5x5 pixels of each map.

Where the default deviates from the paper, with a switch for what it writes:

- HIR-S attends in the maps warped by the long-range flow, and the attended displacement is added to that flow. Equation
  8 has the maps before warping (`warped_pixels=False`): then the displacement alone is the flow, of at most two pixels.
- Keys: see above. Equation 9 has none of the standardisation (`plain_keys=True`).

Further choices:

- Inter is one of IFRNet's residual blocks between two convolutions; it predicts residuals of the flows at the scale of
  the features.
- The plug-in's own estimate of frame t, a term of the loss (equation 13), is fused by m_t^h; for IFRNet and AMT, whose
  plug-in has no such mask, by 1 - t.
- HIR_3, the reverse order of the two steps: HIR-S between the frames, then HIR-L between frame t and each warped frame,
  whose masks are warped with it.

Reference: Aligning Anything: Hierarchical Motion Estimation for Video Frame Interpolation.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from betwixt.layers.blocks import conv_prelu
from betwixt.layers.correlation import local_correlation, pixel_coordinates, shifted_copies
from betwixt.layers.ifblock import FlowEstimate
from betwixt.layers.region_attention import (
    SCORES_AT_A_TIME,
    Regions,
    broadcast_to_pixels,
    downsample_labels,
    region_attention,
    region_means,
)
from betwixt.layers.resize import resize, resize_flow
from betwixt.layers.warp import backward_warp
from betwixt.models.amt.network import AMT, AMTConfig
from betwixt.models.ema_vfi.network import EMAVFI, EMAVFIConfig
from betwixt.models.ifrnet.network import FeaturePrior, IFRNet, IFRNetConfig, ResBlock
from betwixt.models.network import MaskedNetwork, MaskPair, Network, Synthesis
from betwixt.models.references import resolve
from betwixt.models.rife.network import RIFE, RIFEConfig

Steps = Literal["target-pixel", "target", "pixel", "pixel-target"]


@dataclass(frozen=True)
class HierarchicalConfig:
    """Hyper-parameters of the plug-in; the defaults are the paper's."""

    spatial: bool = True  # whether it has HCE-S
    temporal: bool = True  # whether it has HCE-T
    steps: Steps = "target-pixel"  # which of HIR-L ("target") and HIR-S ("pixel") it has, and in which order
    masks: bool = True  # whether it uses the masks; otherwise a frame is one target, as with masks of zeros
    warped_pixels: bool = True  # whether HIR-S attends in maps warped by the long-range flow; False: equation 8
    plain_keys: bool = False  # whether keys are neither centred nor standardised; True: equation 9
    radius: int = 2  # radius of HIR-S, which attends to (2 radius + 1)² pixels
    scores_at_a_time: int = SCORES_AT_A_TIME  # most attention scores to compute at a time

    def __post_init__(self) -> None:
        if self.steps not in ("target-pixel", "target", "pixel", "pixel-target"):
            raise ValueError(f"`steps` is '{self.steps}': choose target-pixel, target, pixel or pixel-target.")


ABLATIONS: dict[str, HierarchicalConfig] = {
    "full": HierarchicalConfig(),
    "hce-0": HierarchicalConfig(spatial=False, temporal=False),
    "hce-1": HierarchicalConfig(temporal=False),
    "hce-2": HierarchicalConfig(spatial=False),
    "hir-1": HierarchicalConfig(steps="target"),
    "hir-2": HierarchicalConfig(steps="pixel"),
    "hir-3": HierarchicalConfig(steps="pixel-target"),
    "zero-masks": HierarchicalConfig(masks=False),
    "unwarped": HierarchicalConfig(warped_pixels=False),
    "plain-keys": HierarchicalConfig(plain_keys=True),
    "as-written": HierarchicalConfig(warped_pixels=False, plain_keys=True),
}
"""The cases of tables 2 and 3: hce-0 is the baseline of table 2(a); zero-masks is case 1 of table 3 at test time. The
last three undo the deviations from the paper that the module's docstring lists."""


class HybridContextBlock(nn.Module):
    """HCE: combines the features of a pixel with the mean over its target; CS and CT of equation 5."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.select = nn.Sequential(conv_prelu(channels, channels), nn.Conv2d(channels, channels, 3, 1, 1))
        self.aggregate = conv_prelu(2 * channels, channels)

    def forward(self, features: Tensor, regions: Regions, other: Tensor, other_regions: Regions) -> Tensor:
        """Hybrid features (N, C, h, w) of `features` (N, C, h, w), whose targets are `regions`.

        `other` (N, C, h, w), with its `other_regions`, is averaged over the targets: the same features (HCE-S) or those
        of the other frame (HCE-T).
        """
        targets = broadcast_to_pixels(region_means(other, other_regions), regions).to(features.dtype)
        gated = torch.sigmoid(self.select(features)) * targets
        hybrid: Tensor = self.aggregate(torch.cat((features, gated), dim=1))
        return hybrid


class _Attention(nn.Module, ABC):
    """Base class of HIR-L and HIR-S: keys and values of the features, and the flow to the attended positions."""

    def __init__(self, channels: int, plain_keys: bool = False) -> None:
        super().__init__()
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gain = None if plain_keys else nn.Parameter(torch.ones(()))

    def keys(self, features: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w): less the mean of the map, standardised over the channels, times the gain.

        Plain keys are the convolution's output.
        """
        keys: Tensor = self.key(features).float()
        if self.gain is None:
            return keys
        keys = keys - keys.mean(dim=(2, 3), keepdim=True)
        keys = keys - keys.mean(dim=1, keepdim=True)
        return self.gain * keys * torch.rsqrt(keys.square().mean(dim=1, keepdim=True) + 1e-6)

    def forward(
        self, features: Tensor, regions: Regions, other: Tensor, other_regions: Regions
    ) -> tuple[Tensor, Tensor]:
        """Attend from one map (N, C, h, w) to another, each with its targets.

        Returns:
            Enhanced features (N, C, h, w), and the flow (N, 2, h, w) to the attended positions, float32.
        """
        value, other_value = self.value(features), self.value(other)
        attended, flow = self.attend(self.keys(features), regions, self.keys(other), other_value, other_regions)
        return value + attended.to(value.dtype), flow

    @abstractmethod
    def attend(
        self, queries: Tensor, regions: Regions, keys: Tensor, values: Tensor, other_regions: Regions
    ) -> tuple[Tensor, Tensor]:
        """The attended values (N, C, h, w), 0 where there are none, and the flow (N, 2, h, w)."""


class TargetAttention(_Attention):
    """HIR-L: a pixel attends to all pixels of its target in the other map (equation 9)."""

    def __init__(self, channels: int, scores_at_a_time: int = SCORES_AT_A_TIME, plain_keys: bool = False) -> None:
        super().__init__(channels, plain_keys)
        self.scores_at_a_time = scores_at_a_time

    def attend(
        self, queries: Tensor, regions: Regions, keys: Tensor, values: Tensor, other_regions: Regions
    ) -> tuple[Tensor, Tensor]:
        count, channels = values.shape[:2]
        position = pixel_coordinates(values.float()).expand(count, -1, -1, -1)
        values_and_positions = torch.cat((values.float(), position), dim=1)
        # A pixel whose target is absent from the other map keeps its position, and gets no value.
        absent = torch.cat((torch.zeros_like(values, dtype=torch.float32), position), dim=1)
        attended = region_attention(
            queries, keys, values_and_positions, regions, other_regions, absent, self.scores_at_a_time
        )
        return attended[:, :channels], attended[:, channels:] - position


class PixelAttention(_Attention):
    """HIR-S: a pixel attends to a window around its own position, whatever the targets."""

    def __init__(self, channels: int, radius: int, plain_keys: bool = False) -> None:
        super().__init__(channels, plain_keys)
        self.radius = radius

    def attend(
        self, queries: Tensor, regions: Regions, keys: Tensor, values: Tensor, other_regions: Regions
    ) -> tuple[Tensor, Tensor]:
        # The mean over C channels times sqrt(C) is their sum over sqrt(C).
        scores = local_correlation(queries, keys, self.radius) * math.sqrt(queries.shape[1])
        inside = torch.cat(shifted_copies(torch.ones_like(scores[:1, :1]), self.radius), dim=1)
        attention = torch.softmax(scores.masked_fill(inside == 0.0, -math.inf), dim=1)
        attended = torch.zeros_like(values, dtype=torch.float32)
        weights, neighbours = torch.split(attention, 1, dim=1), shifted_copies(values.float(), self.radius)
        for weight, neighbour in zip(weights, neighbours, strict=True):
            attended = attended + weight * neighbour
        offsets = torch.arange(-self.radius, self.radius + 1, device=values.device, dtype=torch.float32)
        dx, dy = offsets.repeat(len(offsets)), offsets.repeat_interleave(len(offsets))
        flow = [(attention * displacement[:, None, None]).sum(dim=1) for displacement in (dx, dy)]
        return attended, torch.stack(flow, dim=1)


class Interaction(nn.Module):
    """Inter of equations 10 and 11: refines the flows to both frames from the features, and predicts F_t^h or m_t^h.

    `width` are the channels of its residual block; `channels_out` those of F_t^h, or 1 for the logit of m_t^h.
    """

    def __init__(self, channels: int, width: int, channels_out: int) -> None:
        super().__init__()
        self.enter = conv_prelu(2 * channels + 4, width)
        self.block = ResBlock(width, width // 4)
        self.leave = nn.Conv2d(width, 4 + channels_out, 3, 1, 1)

    def forward(self, features0: Tensor, features1: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        """Flows (N, 4, h, w), float32, and F_t^h or the logit of m_t^h (N, channels_out, h, w)."""
        maps = torch.cat((features0, features1, flow.to(features0.dtype)), dim=1)
        residual, features_or_logit = self.leave(self.block(self.enter(maps))).tensor_split((4,), dim=1)
        return flow + residual.float(), features_or_logit


@dataclass(frozen=True)
class LongRangeMotion:
    """The result of HCE and of the first step of HIR; frame 0 is the first half of the batch, frame 1 the second."""

    features: Tensor  # (2N, C, h, w), F_0^h and F_1^h
    flow: Tensor  # (2N, 2, h, w), f_01 and f_10, in pixels of this map
    labels: Tensor  # (2N, h, w), the labels of the cells
    count: int  # number of labels


@dataclass(frozen=True)
class HierarchicalMotion:
    """The result of the plug-in for frame t."""

    flow: Tensor  # (N, 4, h, w), f_t0^h and f_t1^h, in pixels of this map
    features_or_logit: Tensor  # F_t^h, (N, C, h, w); or the logit of m_t^h, (N, 1, h, w)


class PlugIn(nn.Module):
    """HCE and HIR.

    Args:
        channels: C, channels of the host's features.
        width: Channels of the interactive block.
        features: Whether it predicts F_t^h; otherwise the logit of m_t^h.
        config: Hyper-parameters.
    """

    def __init__(
        self, channels: int, width: int, features: bool, config: HierarchicalConfig = HierarchicalConfig()
    ) -> None:
        super().__init__()
        self.config = config
        self.spatial = HybridContextBlock(channels) if config.spatial else None
        self.temporal = HybridContextBlock(channels) if config.temporal else None
        self.target = self.pixel = None
        if "target" in config.steps:
            self.target = TargetAttention(channels, config.scores_at_a_time, config.plain_keys)
        if "pixel" in config.steps:
            self.pixel = PixelAttention(channels, config.radius, config.plain_keys)
        # Features of frame t are the queries of the second step.
        self.fuse = conv_prelu(2 * channels, channels) if self.second_step is not None else None
        self.interaction = Interaction(channels, width, channels if features else 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # The signal has to keep its variance through the seven convolutions before the keys.
                nn.init.kaiming_normal_(module.weight, a=0.25)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.interaction.leave.weight.mul_(0.1)

    @property
    def first_step(self) -> TargetAttention | PixelAttention | None:
        """The step of HIR between the two frames."""
        return {"target-pixel": self.target, "target": self.target, "pixel-target": self.pixel}.get(self.config.steps)

    @property
    def second_step(self) -> TargetAttention | PixelAttention | None:
        """The step of HIR between frame t and each frame."""
        return {"target-pixel": self.pixel, "pixel": self.pixel, "pixel-target": self.target}.get(self.config.steps)

    def pair(self, features0: Tensor, features1: Tensor, masks: MaskPair | None) -> LongRangeMotion:
        """HCE and the first step of HIR.

        Args:
            features0: (N, C, h, w), F_0.
            features1: (N, C, h, w), F_1.
            masks: Label maps (N, H, W) at a multiple of the features' size; None for a single target.
        """
        features = torch.cat((features0, features1))
        if masks is None or not self.config.masks or masks.count == 1:
            regions = Regions.whole(features)
            other_regions = regions
        else:
            stride = masks.labels0.shape[-1] // features.shape[-1]
            labels = downsample_labels(torch.cat((masks.labels0, masks.labels1)), stride, masks.count)
            regions = Regions(labels, masks.count)
            other_regions = Regions(_swap_frames(labels), masks.count)
        if self.spatial is not None:
            features = self.spatial(features, regions, features, regions)
        if self.temporal is not None:
            features = self.temporal(features, regions, _swap_frames(features), other_regions)
        flow = torch.zeros_like(features[:, :2], dtype=torch.float32)
        if self.first_step is not None:
            features, flow = self.first_step(features, regions, _swap_frames(features), other_regions)
        return LongRangeMotion(features, flow, regions.labels.reshape(regions.shape), regions.count)

    def at(self, pair: LongRangeMotion, t: Tensor) -> HierarchicalMotion:
        """The second step of HIR, and the interactive block, for frame t; `t` is (N, 1, 1, 1)."""
        f01, f10 = pair.flow.chunk(2)
        flow = torch.cat((t * f10, (1.0 - t) * f01))
        features = backward_warp(pair.features, flow)
        if self.second_step is not None and self.fuse is not None:
            features_t = self.fuse(torch.cat(features.chunk(2), dim=1))
            regions = self._warp_regions(pair, flow)
            both_t = torch.cat((features_t, features_t))
            if self.config.warped_pixels or self.second_step is self.target:
                features, residual = self.second_step(both_t, regions, features, regions)
                flow = flow + residual
            else:
                features, flow = self.second_step(both_t, regions, pair.features, regions)
        return HierarchicalMotion(*self.interaction(*features.chunk(2), torch.cat(flow.chunk(2), dim=1)))

    def _warp_regions(self, pair: LongRangeMotion, flow: Tensor) -> Regions:
        """The regions of both frames, warped to frame t; HIR-S uses none."""
        if pair.count == 1 or self.second_step is self.pixel:
            return Regions.whole(pair.features)
        labels = backward_warp(pair.labels[:, None].float(), flow, mode="nearest")[:, 0].round()
        return Regions(labels, pair.count)


def _swap_frames(maps: Tensor) -> Tensor:
    """(2N, ..) of frames 0 and 1 -> (2N, ..) of frames 1 and 0."""
    maps0, maps1 = maps.chunk(2)
    return torch.cat((maps1, maps0))


@dataclass(frozen=True)
class _HostInterface:
    """How the plug-in connects to a host.

    Attributes:
        channels: Channels of the host's coarsest features.
        width: Channels of the interactive block, which match the FLOPs of the paper.
        features: Whether the host takes features of frame t; otherwise it takes a mask.
        coarsest: From the result of the host's `pair`, the coarsest features of both frames.
        frames: From the result of the host's `pair`, the frames at the size at which the host estimates flow.
    """

    channels: int
    width: int
    features: bool
    coarsest: Callable[[Any], tuple[Tensor, Tensor]]
    frames: Callable[[Any], tuple[Tensor, Tensor]]


def _host_interface(host: Network) -> _HostInterface:
    if isinstance(host, RIFE):
        channels = 8 * host.config.context
        return _HostInterface(
            channels, 2 * channels, False, lambda p: (p.context0[3], p.context1[3]), lambda p: (p.frame0, p.frame1)
        )
    if isinstance(host, EMAVFI):
        channels = 16 * host.config.channels
        return _HostInterface(
            channels,
            21 * channels // 8,
            False,
            lambda p: p.flow_appearance[4].chunk(2),
            lambda p: p.flow_frames.chunk(2),
        )
    if isinstance(host, IFRNet | AMT):
        channels = host.config.channels[3]
        return _HostInterface(
            channels,
            3 * channels,
            True,
            lambda p: (p.features0[3], p.features1[3]),
            # These hosts subtract the mean from the frames, but the loss compares with the true frame.
            lambda p: (p.frame0 + p.mean, p.frame1 + p.mean),
        )
    raise ValueError(f"The plug-in does not work with {type(host).__name__}: use RIFE, EMA-VFI, IFRNet or AMT.")


@dataclass(frozen=True)
class HierarchicalPair:
    """The results of `pair` of the host and of the plug-in."""

    host: Any
    motion: LongRangeMotion


class HierarchicalNetwork(MaskedNetwork):
    """A host with the plug-in; the module's docstring describes it.

    Args:
        host: RIFE, EMA-VFI, IFRNet or AMT, with prior=True in its configuration; see `build_hierarchical`.
        config: Hyper-parameters of the plug-in.

    Raises:
        ValueError: if the host takes no prior.
    """

    def __init__(self, host: Network, config: HierarchicalConfig = HierarchicalConfig()) -> None:
        super().__init__()
        if not getattr(getattr(host, "config", None), "prior", False):
            raise ValueError(f"This {type(host).__name__} takes no prior: its configuration needs prior=True.")
        self.config = config
        self.host: Any = host
        self.multiple, self.any_time = host.multiple, host.any_time
        interface = _host_interface(host)
        self.plugin = PlugIn(interface.channels, interface.width, interface.features, config)

    @property
    def _interface(self) -> _HostInterface:
        return _host_interface(self.host)

    def pair(self, frame0: Tensor, frame1: Tensor, masks: MaskPair | None = None) -> HierarchicalPair:
        """The features of the host, and the long-range motion of the plug-in."""
        host_pair = self.host.pair(frame0, frame1)
        if masks is not None:
            masks = self._downsample_masks(masks, frame0, host_pair)
        return HierarchicalPair(host_pair, self.plugin.pair(*self._interface.coarsest(host_pair), masks))

    def _downsample_masks(self, masks: MaskPair, frame: Tensor, host_pair: Any) -> MaskPair:
        """The masks at the size at which the host estimates flow."""
        if masks.labels0.shape[-2:] != frame.shape[-2:] or masks.labels1.shape[-2:] != frame.shape[-2:]:
            raise ValueError(f"Masks of {tuple(masks.labels0.shape)} do not fit frames of {tuple(frame.shape)}.")
        factor = frame.shape[-1] // self._interface.frames(host_pair)[0].shape[-1]
        return masks.apply(lambda labels: downsample_labels(labels, factor, masks.count))

    def at(self, pair: HierarchicalPair, t: Tensor) -> Synthesis:
        """Frame t of a prepared pair, as the host returns it."""
        motion = self.plugin.at(pair.motion, t)
        return self._synthesize(pair, motion, t, None if self._interface.features else self._estimate(pair, motion, t))

    def at_with_estimate(self, pair: HierarchicalPair, t: Tensor) -> tuple[Synthesis, FlowEstimate]:
        """`at`, and the plug-in's own estimate of frame t for the loss of equation 13.

        The estimate has the size at which the host estimates flow; its mask for IFRNet and AMT is 1 - t.
        """
        motion = self.plugin.at(pair.motion, t)
        estimate = self._estimate(pair, motion, t)
        return self._synthesize(pair, motion, t, estimate), estimate

    def _synthesize(
        self, pair: HierarchicalPair, motion: HierarchicalMotion, t: Tensor, estimate: FlowEstimate | None
    ) -> Synthesis:
        """Frame t of the host, which starts from features or from an estimate."""
        prior = FeaturePrior(motion.flow, motion.features_or_logit) if self._interface.features else estimate
        result: Synthesis = self.host.at(pair.host, t, prior)
        return result

    def _estimate(self, pair: HierarchicalPair, motion: HierarchicalMotion, t: Tensor) -> FlowEstimate:
        """The plug-in's own estimate of frame t, at the size at which the host estimates flow."""
        frames = self._interface.frames(pair.host)
        stride = frames[0].shape[-1] // motion.flow.shape[-1]
        flow = resize_flow(motion.flow, stride)
        if self._interface.features:
            logit = torch.logit((1.0 - t).float(), eps=1e-6).expand(len(flow), 1, *flow.shape[-2:])
        else:
            logit = resize(motion.features_or_logit.float(), stride)
        return FlowEstimate.from_flow(*frames, flow, logit)

    def load_host_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Load the weights of a host without the plug-in; weights of inputs that such a host lacks become zero.

        Args:
            weights: The state dict of a host of the same configuration but for `prior`.

        Raises:
            ValueError: if names or shapes do not fit.
        """
        own = dict(self.host.named_parameters())
        if own.keys() != weights.keys():
            name = sorted(own.keys() ^ weights.keys())[0]
            raise ValueError(f"These are weights of another network: only one of the two has {name}.")
        with torch.no_grad():
            for name, parameter in own.items():
                loaded = weights[name]
                fits = loaded.ndim == parameter.ndim and all(
                    axis == 1 or a == b for axis, (a, b) in enumerate(zip(loaded.shape, parameter.shape, strict=True))
                )
                if not fits or (loaded.ndim > 1 and loaded.shape[1] > parameter.shape[1]):
                    raise ValueError(f"{name} is {tuple(loaded.shape)}, where {tuple(parameter.shape)} is needed.")
                if loaded.shape == parameter.shape:
                    parameter.copy_(loaded)
                else:
                    parameter.zero_()
                    parameter[:, : loaded.shape[1]].copy_(loaded)


HostConfig = RIFEConfig | EMAVFIConfig | IFRNetConfig | AMTConfig

_HOSTS: dict[type, Callable[[Any], Network]] = {
    RIFEConfig: RIFE,
    EMAVFIConfig: EMAVFI,
    IFRNetConfig: IFRNet,
    AMTConfig: AMT,
}


def build_hierarchical(config: HierarchicalConfig, host: HostConfig | str) -> HierarchicalNetwork:
    """Build a host with the plug-in.

    Args:
        config: The configuration of the plug-in.
        host: The configuration of the host; or a reference to it, as in `betwixt.models.model_info`, for a host without
            its teacher.
    """
    host_config: Any = resolve(host) if isinstance(host, str) else host
    if isinstance(host, str) and isinstance(host_config, RIFEConfig):
        host_config = replace(host_config, teacher=False)
    return HierarchicalNetwork(_HOSTS[type(host_config)](replace(host_config, prior=True)), config)
