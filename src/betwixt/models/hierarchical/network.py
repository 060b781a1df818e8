"""Hierarchical motion: a plug-in that finds the motion of targets first, and the motion of pixels within it.

A network that estimates motion pixel by pixel may give every pixel any motion; one that moves whole targets fails where
they deform. The plug-in does one after the other. It is told which pixels of both frames belong together (masks), gives
the features of every pixel the mean of its target beside its own (HCE), lets the pixels of a target find themselves
among the pixels of the same target in the other frame, however far they went (HIR-L), and then looks around the places
so found (HIR-S). What comes out, intermediate flows and a mask or features of frame t, is what a host network starts
from, where it would start from nothing.

    features F_0, F_1 of the host's encoder, at its coarsest level        masks M_0, M_1
        │                                                                     │
        ▼ HCE-S   H_q^s = PConv(F_q, U_q),  U_q = gate(F_q) · mean of the target in the same frame       (5 to 7)
        ▼ HCE-T   H_q   = PConv(H_q^s, U_q), U_q = gate(H_q^s) · mean of the target in the other frame
        ▼ HIR-L   attention of a target to the same target of the other frame                            (9)
        │         ├► F_q^h       values, its own and those it attends to
        │         └► f_01, f_10  places it attends to, less its own                                once a pair ▲
        ├────────────────────────────────────────────────────────────────────────────────────────────────────────
        ▼ f_t0 = t f_10,  f_t1 = (1 - t) f_01,  F_t = Fuse(W(F_0^h, f_t0), W(F_1^h, f_t1))   (8)    once a time ▼
        ▼ HIR-S   attention of a pixel of frame t to a window of either warped map ──► F_0t, F_1t, changes of f
        ▼ Inter   F_0t, F_1t, f_t0, f_t1 ──► F_t^h, f_t0^h, f_t1^h (10)   or   m_t^h, f_t0^h, f_t1^h (11)
        │
        ▼ host    RIFE: block 0      EMA-VFI: head 0      IFRNet, AMT: decoder 4
                  starts from flows and m_t^h             from flows and F_t^h

Shapes, for frames (N, 3, H, W) and a host whose coarsest features have C channels at 1/s of the size:

    F, H, F^h, F_t    (N, C, H/s, W/s)   s = 16; 8 for RIFE at twice the feature resolution
    masks             (N, H, W)          whole numbers, the same for the same target in both frames
    f                 (N, 2, H/s, W/s)   pixels of that map
    attention         sum over the targets of S_i^0 S_i^1 scores, a part of them at a time

What follows the paper: equations 5 to 11, which features and which masks go in, what comes out for which host, and the
ablations. What was chosen where it is silent:

- The place. The plug-in works on the coarsest features that the host has, and the host's coarsest estimator takes its
  result as the finer ones take what was found before them: the frames (features) warped by it, the flows, the mask (the
  features of frame t), and it adds to flows and mask. Only that one layer of the host is wider. The widths below are
  such that the sums of the paper's table 1 are met (docs/models/hierarchical.md).
- A cell of the coarse map bears the label of most of its pixels.
- Weights are shared by the two frames and by the two directions. Keys and values are 1x1 convolutions. From keys the
  mean over the map is taken, since what all pixels share tells none from another; then they are standardised over their
  channels (mean 0, variance 1) and have one learnable gain, so that K K^T / sqrt(D) is a cosine times a number.
- Places are pixels of the coarse map. A target that the other frame does not show stays where it is: no motion and no
  value beside its own.
- "Spatial attention" of equation 7 is as large as the features: one weight for every channel of a pixel.
- HIR-S is short-range: a pixel of frame t attends to the 5x5 pixels around it in either map, once that is warped by the
  long-range flow, and its displacement there is added to the flow.
- Inter is one of IFRNet's residual blocks between two convolutions; it adds to the flows, and works at the scale of the
  features, since the host's own estimator brings them to the next.
- The result of the plug-in alone, which the loss looks at (equation 13), is fused by m_t^h; for IFRNet and AMT, whose
  plug-in has no such mask, by 1 - t.
- HIR_3, the two steps exchanged: HIR-S between the frames, then HIR-L between frame t and either warped frame, whose
  masks are warped with it.

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

from betwixt.layers.correlation import local_correlation, shifted_copies
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
from betwixt.models.model_info import resolve
from betwixt.models.network import MaskedNetwork, MaskPair, Network, Synthesis
from betwixt.models.rife.network import RIFE, RIFEConfig

__all__ = [
    "ABLATIONS",
    "Hierarchical",
    "HierarchicalConfig",
    "HierarchicalMotion",
    "HierarchicalPair",
    "HybridContext",
    "Interaction",
    "LongRange",
    "PixelAttention",
    "PlugIn",
    "TargetAttention",
    "build_hierarchical",
    "hierarchical",
]

Steps = Literal["target-pixel", "target", "pixel", "pixel-target"]


@dataclass(frozen=True)
class HierarchicalConfig:
    """The plug-in; the defaults are the paper's.

    Attributes:
        spatial: Whether there is HCE-S.
        temporal: Whether there is HCE-T.
        steps: Which of HIR-L ("target") and HIR-S ("pixel") there are, and in which order.
        masks: Whether the masks are heeded; otherwise a frame is one target, as with masks of zeros.
        radius: Of HIR-S: it looks at (2 radius + 1)² pixels.
        scores_at_a_time: How many numbers of an attention are held at a time.
    """

    spatial: bool = True
    temporal: bool = True
    steps: Steps = "target-pixel"
    masks: bool = True
    radius: int = 2
    scores_at_a_time: int = SCORES_AT_A_TIME

    def __post_init__(self) -> None:
        if self.steps not in ("target-pixel", "target", "pixel", "pixel-target"):
            raise ValueError(f"There are no steps '{self.steps}': target-pixel, target, pixel or pixel-target.")


ABLATIONS: dict[str, HierarchicalConfig] = {
    "full": HierarchicalConfig(),
    "hce-0": HierarchicalConfig(spatial=False, temporal=False),
    "hce-1": HierarchicalConfig(temporal=False),
    "hce-2": HierarchicalConfig(spatial=False),
    "hir-1": HierarchicalConfig(steps="target"),
    "hir-2": HierarchicalConfig(steps="pixel"),
    "hir-3": HierarchicalConfig(steps="pixel-target"),
    "zero-masks": HierarchicalConfig(masks=False),
}
"""The cases of tables 2 and 3: hce-0 is the baseline of table 2(a); zero-masks is case 1 of table 3 at test."""


def _pconv(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, 1, 1), nn.PReLU(channels_out))


class HybridContext(nn.Module):
    """HCE: what a pixel shows, and what its target is like on the whole; CS and CT of equation 5."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.select = nn.Sequential(_pconv(channels, channels), nn.Conv2d(channels, channels, 3, 1, 1))
        self.aggregate = _pconv(2 * channels, channels)

    def forward(self, features: Tensor, regions: Regions, other: Tensor, other_regions: Regions) -> Tensor:
        """Hybrid features (N, C, h, w).

        Args:
            features: (N, C, h, w), of the pixels.
            regions: Theirs.
            other: (N, C, h, w), whose targets are averaged: the same features (HCE-S) or the other frame's (HCE-T).
            other_regions: Theirs.
        """
        targets = broadcast_to_pixels(region_means(other, other_regions), regions).to(features.dtype)
        useful = torch.sigmoid(self.select(features)) * targets
        hybrid: Tensor = self.aggregate(torch.cat((features, useful), dim=1))
        return hybrid


class _Attention(nn.Module, ABC):
    """What HIR-L and HIR-S share: keys and values of features, and the form of their result."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gain = nn.Parameter(torch.ones(()))

    def keys(self, features: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w): less the map's mean, standardised over a pixel's channels, times the gain."""
        keys: Tensor = self.key(features).float()
        keys = keys - keys.mean(dim=(2, 3), keepdim=True)
        keys = keys - keys.mean(dim=1, keepdim=True)
        return self.gain * keys * torch.rsqrt(keys.square().mean(dim=1, keepdim=True) + 1e-6)

    def forward(
        self, features: Tensor, regions: Regions, other: Tensor, other_regions: Regions
    ) -> tuple[Tensor, Tensor]:
        """Enhanced features (N, C, h, w), and flow (N, 2, h, w) to where in the other map they were found, float32.

        Args:
            features: (N, C, h, w).
            regions: Theirs.
            other: (N, C, h, w), the map that is searched.
            other_regions: Its regions.
        """
        value, other_value = self.value(features), self.value(other)
        found, flow = self.search(self.keys(features), regions, self.keys(other), other_value, other_regions)
        return value + found.to(value.dtype), flow

    @abstractmethod
    def search(
        self, queries: Tensor, regions: Regions, keys: Tensor, values: Tensor, other_regions: Regions
    ) -> tuple[Tensor, Tensor]:
        """The attended values (N, C, h, w), 0 where there are none, and the flow (N, 2, h, w)."""


class TargetAttention(_Attention):
    """HIR-L: a pixel is looked for among all pixels of its target in the other map (equation 9)."""

    def __init__(self, channels: int, scores_at_a_time: int = SCORES_AT_A_TIME) -> None:
        super().__init__(channels)
        self.scores_at_a_time = scores_at_a_time

    def search(
        self, queries: Tensor, regions: Regions, keys: Tensor, values: Tensor, other_regions: Regions
    ) -> tuple[Tensor, Tensor]:
        """See the base: each pixel attends to its label's pixels."""
        count, channels, height, width = values.shape
        y, x = (torch.arange(side, device=values.device, dtype=torch.float32) for side in (height, width))
        grid = torch.stack((x.expand(height, -1), y[:, None].expand(-1, width))).expand(count, -1, -1, -1)
        both = torch.cat((values.float(), grid), dim=1)
        # Of what the other map does not show: no value, and the place where it is.
        absent = torch.cat((torch.zeros_like(values, dtype=torch.float32), grid), dim=1)
        found = region_attention(queries, keys, both, regions, other_regions, absent, self.scores_at_a_time)
        return found[:, :channels], found[:, channels:] - grid


class PixelAttention(_Attention):
    """HIR-S: a pixel is looked for in a window around its own place."""

    def __init__(self, channels: int, radius: int) -> None:
        super().__init__(channels)
        self.radius = radius

    def search(
        self, queries: Tensor, regions: Regions, keys: Tensor, values: Tensor, other_regions: Regions
    ) -> tuple[Tensor, Tensor]:
        """See the base: each pixel attends to the pixels around it, whatever their labels."""
        # The mean over C channels, C / sqrt(C) times: the sum over them, divided by sqrt(C).
        scores = local_correlation(queries, keys, self.radius) * math.sqrt(queries.shape[1])
        inside = torch.cat(shifted_copies(torch.ones_like(scores[:1, :1]), self.radius), dim=1)
        attention = torch.softmax(scores.masked_fill(inside == 0.0, -math.inf), dim=1)
        found = torch.zeros_like(values, dtype=torch.float32)
        for weight, moved in zip(
            torch.split(attention, 1, dim=1), shifted_copies(values.float(), self.radius), strict=True
        ):
            found = found + weight * moved
        side = torch.arange(-self.radius, self.radius + 1, device=values.device, dtype=torch.float32)
        across, down = side.repeat(len(side)), side.repeat_interleave(len(side))
        flow = [(attention * step[:, None, None]).sum(dim=1) for step in (across, down)]
        return found, torch.stack(flow, dim=1)


class Interaction(nn.Module):
    """Inter of equations 10 and 11: features and flows from frame t to both frames correct each other.

    Args:
        channels: Of the features.
        width: Of the block.
        channels_out: Beside the flows: those of F_t^h, or one for the logit of m_t^h.
    """

    def __init__(self, channels: int, width: int, channels_out: int) -> None:
        super().__init__()
        self.enter = _pconv(2 * channels + 4, width)
        self.block = ResBlock(width, width // 4)
        self.leave = nn.Conv2d(width, 4 + channels_out, 3, 1, 1)

    def forward(self, features0: Tensor, features1: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        """Flows (N, 4, h, w), float32, and what else was asked for (N, channels_out, h, w)."""
        seen = torch.cat((features0, features1, flow.to(features0.dtype)), dim=1)
        change, rest = self.leave(self.block(self.enter(seen))).tensor_split((4,), dim=1)
        return flow + change.float(), rest


@dataclass(frozen=True)
class LongRange:
    """What the plug-in knows of two frames, whatever the time; frame 0 first, then frame 1, along the batch.

    Attributes:
        features: (2N, C, h, w), F_0^h and F_1^h.
        flow: (2N, 2, h, w), f_01 and f_10, in pixels of this map.
        labels: (2N, h, w), the labels of the cells.
        count: How many labels there are.
    """

    features: Tensor
    flow: Tensor
    labels: Tensor
    count: int


@dataclass(frozen=True)
class HierarchicalMotion:
    """What the plug-in says of frame t.

    Attributes:
        flow: (N, 4, h, w), f_t0^h and f_t1^h, in pixels of this map.
        rest: (N, C, h, w), F_t^h; or (N, 1, h, w), the logit of m_t^h.
    """

    flow: Tensor
    rest: Tensor


class PlugIn(nn.Module):
    """HCE and HIR.

    Args:
        channels: C, of the features that come in.
        width: Of the interactive block.
        features: Whether F_t^h comes out beside the flows; otherwise the logit of m_t^h.
        config: See there.
    """

    def __init__(
        self, channels: int, width: int, features: bool, config: HierarchicalConfig = HierarchicalConfig()
    ) -> None:
        super().__init__()
        self.config = config
        self.spatial = HybridContext(channels) if config.spatial else None
        self.temporal = HybridContext(channels) if config.temporal else None
        self.target = TargetAttention(channels, config.scores_at_a_time) if "target" in config.steps else None
        self.pixel = PixelAttention(channels, config.radius) if "pixel" in config.steps else None
        # Features of frame t are there to be compared with those of both frames.
        self.fuse = _pconv(2 * channels, channels) if self.within is not None else None
        self.interaction = Interaction(channels, width, channels if features else 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # What tells pixels apart has to reach the keys through seven convolutions: it must not fade.
                nn.init.kaiming_normal_(module.weight, a=0.25)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.interaction.leave.weight.mul_(0.1)

    @property
    def between(self) -> TargetAttention | PixelAttention | None:
        """The step between the two frames."""
        return {"target-pixel": self.target, "target": self.target, "pixel-target": self.pixel}.get(self.config.steps)

    @property
    def within(self) -> TargetAttention | PixelAttention | None:
        """The step between frame t and either frame."""
        return {"target-pixel": self.pixel, "pixel": self.pixel, "pixel-target": self.target}.get(self.config.steps)

    def pair(self, features0: Tensor, features1: Tensor, masks: MaskPair | None) -> LongRange:
        """HCE, and the first step of HIR.

        Args:
            features0: (N, C, h, w), F_0.
            features1: F_1.
            masks: At the frames' size, a multiple of the map's; None for one target.
        """
        both = torch.cat((features0, features1))
        if masks is None or not self.config.masks or masks.count == 1:
            regions = Regions.whole(both)
            other_regions = regions
        else:
            stride = masks.labels0.shape[-1] // both.shape[-1]
            labels = downsample_labels(torch.cat((masks.labels0, masks.labels1)), stride, masks.count)
            regions = Regions(labels, masks.count)
            other_regions = Regions(_exchanged(labels), masks.count)
        if self.spatial is not None:
            both = self.spatial(both, regions, both, regions)
        if self.temporal is not None:
            both = self.temporal(both, regions, _exchanged(both), other_regions)
        flow = torch.zeros_like(both[:, :2], dtype=torch.float32)
        if self.between is not None:
            both, flow = self.between(both, regions, _exchanged(both), other_regions)
        return LongRange(both, flow, regions.labels.reshape(regions.shape), regions.count)

    def at(self, pair: LongRange, t: Tensor) -> HierarchicalMotion:
        """Frame t: the second step of HIR, and the interactive block. `t` is (N, 1, 1, 1)."""
        f01, f10 = pair.flow.chunk(2)
        to_both = torch.cat((t * f10, (1.0 - t) * f01))
        features = backward_warp(pair.features, to_both)
        if self.within is not None and self.fuse is not None:
            middle = self.fuse(torch.cat(features.chunk(2), dim=1))
            regions = self._warped(pair, to_both)
            features, change = self.within(torch.cat((middle, middle)), regions, features, regions)
            to_both = to_both + change
        flow, rest = self.interaction(*features.chunk(2), torch.cat(to_both.chunk(2), dim=1))
        return HierarchicalMotion(flow, rest)

    def _warped(self, pair: LongRange, flow: Tensor) -> Regions:
        """The regions of both frames, warped to frame t; HIR-S heeds none."""
        if pair.count == 1 or self.within is self.pixel:
            return Regions.whole(pair.features)
        labels = backward_warp(pair.labels[:, None].float(), flow, mode="nearest")[:, 0].round()
        return Regions(labels, pair.count)


def _exchanged(both: Tensor) -> Tensor:
    """Frame 1 before frame 0."""
    first, second = both.chunk(2)
    return torch.cat((second, first))


@dataclass(frozen=True)
class _Seat:
    """Where in a host the plug-in sits.

    Attributes:
        channels: Of the host's coarsest features.
        width: Of the interactive block, chosen after the paper's sums.
        features: Whether the host takes features of frame t; otherwise a mask.
        coarsest: Those features of both frames, of what the host's `pair` returns.
        frames: The frames at the size at which the host estimates flow, likewise; as they are given but for the size.
    """

    channels: int
    width: int
    features: bool
    coarsest: Callable[[Any], tuple[Tensor, Tensor]]
    frames: Callable[[Any], tuple[Tensor, Tensor]]


def _seat(host: Network) -> _Seat:
    if isinstance(host, RIFE):
        channels = 8 * host.config.context
        return _Seat(
            channels, 2 * channels, False, lambda p: (p.context0[3], p.context1[3]), lambda p: (p.frame0, p.frame1)
        )
    if isinstance(host, EMAVFI):
        channels = 16 * host.config.channels
        return _Seat(
            channels,
            21 * channels // 8,
            False,
            lambda p: p.flow_appearance[4].chunk(2),
            lambda p: p.flow_frames.chunk(2),
        )
    if isinstance(host, IFRNet | AMT):
        channels = host.config.channels[3]
        return _Seat(
            channels,
            3 * channels,
            True,
            lambda p: (p.features0[3], p.features1[3]),
            # These hosts take the mean off their frames; the truth that the loss looks at has it.
            lambda p: (p.frame0 + p.mean, p.frame1 + p.mean),
        )
    raise ValueError(f"The plug-in has no place in a {type(host).__name__}.")


@dataclass(frozen=True)
class HierarchicalPair:
    """Two frames and their masks, prepared.

    Attributes:
        host: What the host's `pair` returned.
        motion: What the plug-in knows of both.
    """

    host: Any
    motion: LongRange


class Hierarchical(MaskedNetwork):
    """A host with the plug-in; see the module for what it computes and why.

    Args:
        host: RIFE, EMA-VFI, IFRNet or AMT, whose configuration has `prior`; `hierarchical` makes it so.
        config: Of the plug-in.

    Raises:
        ValueError: if the host takes no prior.
    """

    def __init__(self, host: Network, config: HierarchicalConfig = HierarchicalConfig()) -> None:
        super().__init__()
        if not getattr(getattr(host, "config", None), "prior", False):
            raise ValueError(f"This {type(host).__name__} starts from nothing: its configuration needs prior=True.")
        self.config = config
        self.host: Any = host
        self.multiple, self.any_time = host.multiple, host.any_time
        seat = _seat(host)
        self.plugin = PlugIn(seat.channels, seat.width, seat.features, config)

    @property
    def _seat(self) -> _Seat:
        return _seat(self.host)

    def pair(self, frame0: Tensor, frame1: Tensor, masks: MaskPair | None = None) -> HierarchicalPair:
        """What the host makes of the frames, and the plug-in of the host's features and the masks."""
        prepared = self.host.pair(frame0, frame1)
        if masks is not None:
            masks = self._as_seen(masks, frame0, prepared)
        return HierarchicalPair(prepared, self.plugin.pair(*self._seat.coarsest(prepared), masks))

    def _as_seen(self, masks: MaskPair, frame: Tensor, prepared: Any) -> MaskPair:
        """The masks at the size at which the host estimates flow."""
        if masks.labels0.shape[-2:] != frame.shape[-2:] or masks.labels1.shape[-2:] != frame.shape[-2:]:
            raise ValueError(f"Masks of {tuple(masks.labels0.shape)} do not fit frames of {tuple(frame.shape)}.")
        shrunk = frame.shape[-1] // self._seat.frames(prepared)[0].shape[-1]
        return masks.apply(lambda labels: downsample_labels(labels, shrunk, masks.count))

    def at(self, pair: HierarchicalPair, t: Tensor) -> Synthesis:
        """Frame t of a prepared pair; what the host returns."""
        motion = self.plugin.at(pair.motion, t)
        prior = FeaturePrior(motion.flow, motion.rest) if self._seat.features else self._alone(pair, motion, t)
        result: Synthesis = self.host.at(pair.host, t, prior)
        return result

    def trained(self, pair: HierarchicalPair, t: Tensor) -> tuple[Synthesis, FlowEstimate]:
        """What `at` returns, and what the plug-in alone would make of frame t, for the loss of equation 13.

        The estimate is at the size at which the host estimates flow; its mask for IFRNet and AMT is 1 - t.
        """
        motion = self.plugin.at(pair.motion, t)
        alone = self._alone(pair, motion, t)
        prior = FeaturePrior(motion.flow, motion.rest) if self._seat.features else alone
        return self.host.at(pair.host, t, prior), alone

    def _alone(self, pair: HierarchicalPair, motion: HierarchicalMotion, t: Tensor) -> FlowEstimate:
        frames = self._seat.frames(pair.host)
        stride = frames[0].shape[-1] // motion.flow.shape[-1]
        flow = resize_flow(motion.flow, stride)
        if self._seat.features:
            logit = torch.logit((1.0 - t).float(), eps=1e-6).expand(len(flow), 1, *flow.shape[-2:])
        else:
            logit = resize(motion.rest.float(), stride)
        return FlowEstimate.from_flow(*frames, flow, logit)

    def adopt(self, weights: Mapping[str, Tensor]) -> None:
        """Start the host from the weights of one without a plug-in; what sees the plug-in's result starts at zero.

        Args:
            weights: The state dict of a host of the same configuration but for `prior`.

        Raises:
            ValueError: if names or shapes do not fit.
        """
        own = dict(self.host.named_parameters())
        if own.keys() != weights.keys():
            raise ValueError(f"Weights of another network: {sorted(own.keys() ^ weights.keys())[0]} is not in both.")
        with torch.no_grad():
            for name, parameter in own.items():
                given = weights[name]
                same = given.ndim == parameter.ndim and all(
                    axis == 1 or a == b for axis, (a, b) in enumerate(zip(given.shape, parameter.shape, strict=True))
                )
                if not same or (given.ndim > 1 and given.shape[1] > parameter.shape[1]):
                    raise ValueError(f"{name} is {tuple(given.shape)}, where {tuple(parameter.shape)} is needed.")
                if given.shape == parameter.shape:
                    parameter.copy_(given)
                else:
                    parameter.zero_()
                    parameter[:, : given.shape[1]].copy_(given)


def hierarchical(
    host: RIFEConfig | EMAVFIConfig | IFRNetConfig | AMTConfig, config: HierarchicalConfig = HierarchicalConfig()
) -> Hierarchical:
    """The host of a configuration, with the plug-in."""
    kinds: dict[type, Callable[[Any], Network]] = {
        RIFEConfig: RIFE,
        EMAVFIConfig: EMAVFI,
        IFRNetConfig: IFRNet,
        AMTConfig: AMT,
    }
    return Hierarchical(kinds[type(host)](replace(host, prior=True)), config)


def build_hierarchical(config: HierarchicalConfig, host: str) -> Hierarchical:
    """A host with the plug-in, without the host's teacher.

    Args:
        config: The configuration of the plug-in.
        host: Reference to the configuration of the host, as in `betwixt.models.model_info`.
    """
    host_config = resolve(host)
    if hasattr(host_config, "teacher"):
        host_config = replace(host_config, teacher=False)
    return hierarchical(host_config, config)
