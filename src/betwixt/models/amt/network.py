"""AMT: all-pairs multi-field transforms (Li et al., CVPR 2023).

AMT adds two things to IFRNet, whose encoder and decoders it uses. All flows but the last are updated from the
correlation of all pixels of one frame with all pixels of the other, as in RAFT. And the last decoder predicts several
fields of flows, masks and residuals, whose frames a small network combines.

    frames - mean ──► encoder ──► features at 1/2, 1/4, 1/8, 1/16                             once a pair
    frames - mean ──► matching encoder ──► bidirectional correlation at 1/8, 4 levels         once a pair

    decoder 4:  features at 1/16, t        ──► flows, features of frame t at 1/8  ──► update
    decoder 3:  as in IFRNet               ──► flows, features of frame t at 1/4  ──► update
    decoder 2:  as in IFRNet               ──► flows, features of frame t at 1/2  ──► update
    decoder 1:  as in IFRNet               ──► fields: flows, masks, residuals at full size
    field k  =  mask_k warp(frame 0, F_{t->0,k}) + (1 - mask_k) warp(frame 1, F_{t->1,k}) + mean + residual_k
    frame t  =  mean of the fields + combination(the fields)

    update:     flows at 1/8 ──► flows between the frames ──► correlation around them
                correlation, flows, features of frame t, all at 1/8 ──► + flows, + features

Shapes, for frames (N, 3, H, W) with sides that are multiples of 16, encoder channels c1 .. c4 and K fields:

    features         (N, cl, H/2^l, W/2^l)        l = 1 .. 4, of frames 0 and 1; l = 1 .. 3, of frame t
    correlation      (N H/8 W/8, 1, h, w)         h, w = H/8, W/8, and 1/2, 1/4, 1/8 of that
    flows            (N, 4, H/2^l, W/2^l)         l = 3, 2, 1: F_{t->0}, F_{t->1}, in pixels of that level
    fields           flows (N, K, 2, H, W), masks (N, K, H, W), residuals (N, K, 3, H, W)

Implementation, beyond what the paper says:

- Correlation is looked up at 1/8 whatever the decoder's size. The update of a finer decoder downsamples its features to
  1/8 and upsamples its residuals. In the largest network a second update follows at the decoder's own size, with the
  same correlation upsampled.
- The lookup needs flows between the frames. Along a straight path at constant speed, F_{0->1} = F_{t->1} / (1 - t) and
  F_{1->0} = F_{t->0} / t; the flow of a pixel of frame t stands in for that of the same pixel of frame 0 or 1. The
  authors' code divides the other way round, F_{t->1} by t and F_{t->0} by 1 - t, which is the same at t = 1/2, where
  most of its weights were trained. Weights trained that way for other times (GoPro) need `AMTConfig.exchanged_scales`.
- The coarsest level of the correlation has sides of H/64, W/64, rounded down. Where a side has one pixel (frames under
  128 pixels), the authors' sampling divides by zero. Here sampling does not align corners, which needs no such division
  and reads the same values elsewhere; a side of one pixel (frames under 64 pixels) is not halved again.
- The correlation volume grows with the square of the frame's area: 2.2 GB for a pair of 1280x720 frames. Above 3 GiB it
  is not stored but computed piece by piece where it is read.
- The block named `gru`, after RAFT, is two convolutions. Parameters keep the names of the published checkpoints.

References: Li et al., AMT: All-Pairs Multi-Field Transforms for Efficient Frame Interpolation, CVPR 2023; Kong et al.,
IFRNet, CVPR 2022; Teed and Deng, RAFT, ECCV 2020.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from betwixt.layers.correlation import (
    AllPairsCorrelation,
    OnDemandCorrelation,
    all_pairs_correlation,
    pixel_coordinates,
)
from betwixt.layers.precision import at_least_float32
from betwixt.layers.resize import resize, resize_flow
from betwixt.layers.warp import backward_warp
from betwixt.models.ifrnet.network import (
    CoarsestDecoder,
    Decoder,
    FeaturePrior,
    IFRNetPair,
    IFRNetSynthesis,
    PyramidEncoder,
    encode_pair,
)
from betwixt.models.network import Network


@dataclass(frozen=True)
class UpdateConfig:
    """Channels of the update of flows and features."""

    correlation: tuple[int, ...] = (64,)  # channels of the convolutions of the correlation branch, one or two
    flow: int = 20  # channels of the flow branch
    motion: int = 68  # channels of the convolution that joins both branches
    hidden: int = 76  # channels of the block `gru` and of the heads


@dataclass(frozen=True)
class AMTConfig:
    """Hyper-parameters; the defaults are those of the small size.

    Attributes:
        channels: Channels of the encoder at 1/2, 1/4, 1/8 and 1/16.
        kernel: Kernel size of the encoder's first convolution.
        combination: Kernel size of the two convolutions that combine the fields.
        fields: Number of fields, each with two flows, a mask and a residual.
        matching: Channels of the matching encoder at 1/2, 1/4 and 1/8, and of its output.
        bottleneck: Whether the matching encoder's blocks are bottlenecks, with a quarter of the channels inside.
        deep: Whether the matching encoder has two more blocks at 1/8.
        update: Channels of the updates.
        fine: Whether a second update at the decoder's own size follows that at 1/8.
        radius: Radius of the window in which correlation is looked up.
        levels: Levels of the correlation pyramid.
        exchanged_scales: Whether flows are scaled for the lookup as in the authors' code; see the module's docstring.
        prior: Whether the coarsest decoder refines flows and features of frame t from elsewhere; see `IFRNetConfig`.
    """

    channels: tuple[int, int, int, int] = (20, 32, 44, 56)
    kernel: int = 3
    combination: int = 3
    fields: int = 3
    matching: tuple[int, int, int, int] = (32, 64, 96, 84)
    bottleneck: bool = True
    deep: bool = False
    update: UpdateConfig = UpdateConfig()
    fine: bool = False
    radius: int = 3
    levels: int = 4
    exchanged_scales: bool = False
    prior: bool = False


CONFIGS = {
    "amt-s": AMTConfig(),
    "amt-l": AMTConfig(
        channels=(48, 64, 72, 128),
        kernel=7,
        combination=7,
        fields=5,
        matching=(64, 72, 128, 128),
        bottleneck=False,
        update=UpdateConfig(correlation=(256, 160), flow=48, motion=124, hidden=128),
    ),
    "amt-g": AMTConfig(
        channels=(84, 96, 112, 128),
        kernel=7,
        combination=7,
        fields=5,
        matching=(64, 112, 160, 128),
        bottleneck=False,
        deep=True,
        update=UpdateConfig(correlation=(256, 192), flow=64, motion=188, hidden=192),
        fine=True,
    ),
}
"""The three sizes of the paper, by name."""


@dataclass(frozen=True)
class AMTPair(IFRNetPair):
    """The two frames, their features and their correlation."""

    correlation: AllPairsCorrelation | OnDemandCorrelation  # All-pairs correlation of both frames at 1/8


@dataclass(frozen=True, kw_only=True)
class AMTSynthesis(IFRNetSynthesis):
    """Frame t, its fields, and the intermediate results that the training losses need.

    Of the attributes shared with IFRNet, `flow_t0`, `flow_t1` and `mask` are means over the fields; `merged` is the
    mean of the fields' frames, before the combination is added; `level_flows` and `features` are those after the
    updates.
    """

    flows_t0: Tensor  # (N, fields, 2, H, W), F_{t->0} of every field
    flows_t1: Tensor  # (N, fields, 2, H, W), F_{t->1} of every field
    masks: Tensor  # (N, fields, H, W) in (0, 1), the weights of warped frame 0


def from_reference_name(name: str) -> str:
    """The name here of a parameter that is called `name` in the authors' code."""
    return name.replace("_low.", ".").replace("_high.", "_fine.")


def _warp_fields(frame: Tensor, flows: Tensor) -> Tensor:
    """Warp `frame` (N, 3, H, W) by each of `flows` (N, fields, 2, H, W): (N, fields, 3, H, W)."""
    batch, fields, _, height, width = flows.shape
    warped = backward_warp(frame.repeat_interleave(fields, dim=0), flows.flatten(0, 1))
    return warped.reshape(batch, fields, -1, height, width)


class _MatchingBlock(nn.Module):
    """A residual block of the matching encoder: two 3x3 convolutions, or a bottleneck of 1x1, 3x3 and 1x1."""

    def __init__(self, channels_in: int, channels: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        narrow = channels // 4
        if bottleneck:
            self.conv1 = nn.Conv2d(channels_in, narrow, 1)
            self.conv2 = nn.Conv2d(narrow, narrow, 3, stride, 1)
            self.conv3 = nn.Conv2d(narrow, channels, 1)
        else:
            self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1)
            self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.convolutions = 3 if bottleneck else 2
        self.downsample: nn.Sequential | None = None
        if stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(F.instance_norm(self.conv1(x)))
        y = F.relu(F.instance_norm(self.conv2(y)))
        if self.convolutions == 3:
            y = F.relu(F.instance_norm(self.conv3(y)))
        if self.downsample is not None:
            x = F.instance_norm(self.downsample(x))
        return F.relu(x + y)


class MatchingEncoder(nn.Module):
    """RAFT's feature encoder, with instance norms: (N, 3, H, W) -> features to correlate (N, matching[3], H/8, W/8)."""

    def __init__(self, config: AMTConfig) -> None:
        super().__init__()
        c1, c2, c3, channels_out = config.matching

        def layer(channels_in: int, channels: int, stride: int) -> nn.Sequential:
            return nn.Sequential(
                _MatchingBlock(channels_in, channels, stride, config.bottleneck),
                _MatchingBlock(channels, channels, 1, config.bottleneck),
            )

        self.conv1 = nn.Conv2d(3, c1, 7, 2, 3)
        self.layer1 = layer(c1, c1, 1)
        self.layer2 = layer(c1, c2, 2)
        self.layer3 = layer(c2, c3, 2)
        self.layer3_2 = layer(c3, c3, 1) if config.deep else nn.Identity()
        self.conv2 = nn.Conv2d(c3, channels_out, 1)

    def forward(self, frame: Tensor) -> Tensor:
        x = F.relu(F.instance_norm(self.conv1(frame)))
        x = self.layer3_2(self.layer3(self.layer2(self.layer1(x))))
        result: Tensor = self.conv2(x)
        return result


class Update(nn.Module):
    """Predicts residuals of the features of frame t and of its flows, from the correlation around the flows.

    Args:
        channels: Channels of the features.
        config: The network's configuration.
        scale: The size of the features over that of the flows and the correlation.
    """

    def __init__(self, channels: int, config: AMTConfig, scale: int = 1) -> None:
        super().__init__()
        update = config.update
        self.scale = scale
        correlation = 2 * config.levels * (2 * config.radius + 1) ** 2
        self.convc1 = nn.Conv2d(correlation, update.correlation[0], 1)
        self.convc2: nn.Conv2d | None = None
        if len(update.correlation) > 1:
            self.convc2 = nn.Conv2d(update.correlation[0], update.correlation[1], 3, 1, 1)
        self.convf1 = nn.Conv2d(4, 2 * update.flow, 7, 1, 3)
        self.convf2 = nn.Conv2d(2 * update.flow, update.flow, 3, 1, 1)
        self.conv = nn.Conv2d(update.correlation[-1] + update.flow, update.motion, 3, 1, 1)
        self.gru = _two_convolutions(update.motion + 4 + channels, update.hidden, update.hidden)
        self.feat_head = _two_convolutions(update.hidden, update.hidden, channels)
        self.flow_head = _two_convolutions(update.hidden, update.hidden, 4)

    def forward(self, features: Tensor, flow: Tensor, correlation: Tensor) -> tuple[Tensor, Tensor]:
        """Residuals of the features (N, channels, scale h, scale w) and of the flows (N, 4, scale h, scale w).

        `flow` (N, 4, h, w) is in pixels of its map; `correlation` is (N, 2 levels (2 radius + 1)², h, w).
        """
        features = resize(features, 1.0 / self.scale)
        correlation = _leaky_relu(self.convc1(correlation))
        if self.convc2 is not None:
            correlation = _leaky_relu(self.convc2(correlation))
        motion = _leaky_relu(self.convf2(_leaky_relu(self.convf1(flow))))
        motion = _leaky_relu(self.conv(torch.cat((correlation, motion), dim=1)))
        state = self.gru(torch.cat((motion, flow, features), dim=1))
        flow_residual = resize_flow(at_least_float32(self.flow_head(state)), self.scale)
        return resize(self.feat_head(state), self.scale), flow_residual


def _leaky_relu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)


def _two_convolutions(channels_in: int, width: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, width, 3, 1, 1), nn.LeakyReLU(0.1), nn.Conv2d(width, channels_out, 3, 1, 1)
    )


class AMT(Network):
    """The network of AMT; the module's docstring describes it.

    Args:
        config: The size, one of `CONFIGS` or your own.
    """

    multiple = 16
    any_time = True

    def __init__(self, config: AMTConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or AMTConfig()
        c1, c2, c3, c4 = config.channels
        self.feat_encoder = MatchingEncoder(config)
        self.encoder = PyramidEncoder(config.channels, config.kernel)
        self.decoder4 = CoarsestDecoder(c4, c3, c1, config.prior)
        self.decoder3 = Decoder(c3, 4 + c2, c1)
        self.decoder2 = Decoder(c2, 4 + c1, c1)
        self.decoder1 = Decoder(c1, 8 * config.fields, c1)
        self.update4 = Update(c3, config)
        self.update3 = Update(c2, config, 2)
        self.update2 = Update(c1, config, 4)
        self.update3_fine = Update(c2, config) if config.fine else None
        self.update2_fine = Update(c1, config) if config.fine else None
        width, kernel = 6 * config.fields, config.combination
        self.comb_block = nn.Sequential(
            nn.Conv2d(3 * config.fields, width, kernel, 1, kernel // 2),
            nn.PReLU(width),
            nn.Conv2d(width, 3, kernel, 1, kernel // 2),
        )

    def pair(self, frame0: Tensor, frame1: Tensor) -> AMTPair:
        """The frames, their features and their correlation."""
        pair = encode_pair(self.encoder, frame0, frame1)
        matching0, matching1 = self.feat_encoder(torch.cat((pair.frame0, pair.frame1))).chunk(2)
        correlation = all_pairs_correlation(matching0, matching1, self.config.levels)
        return AMTPair(pair.frame0, pair.frame1, pair.mean, pair.features0, pair.features1, correlation)

    def encode_truth(self, pair: AMTPair, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The encoder's features of the true frame t (N, 3, H, W), at 1/2, 1/4, 1/8.

        They are the targets of `AMTSynthesis.features` in IFRNet's geometry consistency loss.
        """
        level1, level2, level3, _ = self.encoder(truth - pair.mean)
        return level1, level2, level3

    def at(self, pair: AMTPair, t: Tensor, prior: FeaturePrior | None = None) -> AMTSynthesis:
        """Frame t of a prepared pair; `t` is (N, 1, 1, 1). `prior` is needed if and only if `config.prior` is true."""
        f0, f1 = pair.features0, pair.features1
        flow, features = self.decoder4(f0[3], f1[3], t, prior)
        features3, flow3 = self._update(pair, t, features, flow, self.update4, None)
        flow_residual, features = self.decoder3(features3, f0[2], f1[2], flow3).tensor_split((4,), dim=1)
        flow = resize_flow(flow3, 2.0) + flow_residual
        features2, flow2 = self._update(pair, t, features, flow, self.update3, self.update3_fine)
        flow_residual, features = self.decoder2(features2, f0[1], f1[1], flow2).tensor_split((4,), dim=1)
        flow = resize_flow(flow2, 2.0) + flow_residual
        features1, flow1 = self._update(pair, t, features, flow, self.update2, self.update2_fine)
        fields = self.decoder1(features1, f0[0], f1[0], flow1)
        return self._combine_fields(pair, fields, (flow1, flow2, flow3), (features1, features2, features3))

    def _update(
        self, pair: AMTPair, t: Tensor, features: Tensor, flow: Tensor, update: Update, fine: Update | None
    ) -> tuple[Tensor, Tensor]:
        """Update features and flows from the correlation around the flows."""
        coarse = resize_flow(flow, 1.0 / update.scale)
        to_frame1, to_frame0 = (t, 1.0 - t) if self.config.exchanged_scales else (1.0 - t, t)
        pixels = pixel_coordinates(coarse)
        in_frame1, in_frame0 = pixels + coarse[:, 2:] / to_frame1, pixels + coarse[:, :2] / to_frame0
        correlation = torch.cat(pair.correlation.lookup(in_frame1, in_frame0, self.config.radius), dim=1)
        features_residual, flow_residual = update(features, coarse, correlation)
        features, flow = features + features_residual, flow + flow_residual
        if fine is not None:
            features_residual, flow_residual = fine(features, flow, resize(correlation, update.scale))
            features, flow = features + features_residual, flow + flow_residual
        return features, flow

    def _combine_fields(
        self,
        pair: AMTPair,
        output: Tensor,
        level_flows: tuple[Tensor, Tensor, Tensor],
        features: tuple[Tensor, Tensor, Tensor],
    ) -> AMTSynthesis:
        """Make frame t from the output of the last decoder, (N, 8 fields, H, W)."""
        count = self.config.fields
        batch, _, height, width = output.shape
        flow_residuals, logits, residuals = at_least_float32(output).tensor_split((4 * count, 5 * count), dim=1)
        # (N, direction, field, 2, H, W): all fields start from the same flow.
        flow = resize_flow(level_flows[0], 2.0).reshape(batch, 2, 1, 2, height, width)
        flows_t0, flows_t1 = (flow + flow_residuals.reshape(batch, 2, count, 2, height, width)).unbind(1)
        masks = torch.sigmoid(logits)
        warped0, warped1 = _warp_fields(pair.frame0, flows_t0), _warp_fields(pair.frame1, flows_t1)
        weights = masks[:, :, None]
        fields = weights * warped0 + (1.0 - weights) * warped1 + pair.mean[:, None]
        fields = fields + residuals.reshape(batch, count, 3, height, width)
        merged = fields.mean(dim=1)
        unclamped = merged + self.comb_block(fields.flatten(1, 2))
        return AMTSynthesis(
            frame=unclamped.clamp(0.0, 1.0),
            flow_t0=flows_t0.mean(dim=1),
            flow_t1=flows_t1.mean(dim=1),
            mask=masks.mean(dim=1, keepdim=True),
            flows_t0=flows_t0,
            flows_t1=flows_t1,
            masks=masks,
            merged=merged,
            unclamped=unclamped,
            level_flows=level_flows,
            features=features,
        )
