"""IFRNet: intermediate feature refine network (Kong et al., CVPR 2022).

One encoder-decoder refines the flows and the intermediate features (those of frame t) together, coarse to fine. Each
decoder predicts the flows and an estimate of the features that the encoder would find in frame t; the next finer one
refines both, from the features of the two frames warped by the flows.

    frame 0 - mean ──► encoder ──► features at 1/2, 1/4, 1/8, 1/16                         once a pair
    frame 1 - mean ──► encoder ──► features at 1/2, 1/4, 1/8, 1/16                         once a pair

    decoder 4:  features at 1/16, t                                    ──► flows, features of frame t at 1/8
    decoder 3:  features at 1/8 warped by the flows, those of frame t  ──► + flows, features of frame t at 1/4
    decoder 2:  features at 1/4 warped by the flows, those of frame t  ──► + flows, features of frame t at 1/2
    decoder 1:  features at 1/2 warped by the flows, those of frame t  ──► + flows, mask, residual at full size
    frame t  =  mask warp(frame 0, F_{t->0}) + (1 - mask) warp(frame 1, F_{t->1}) + mean + residual

Shapes, for frames (N, 3, H, W) with sides that are multiples of 16, and encoder channels c1 .. c4:

    features         (N, cl, H/2^l, W/2^l)     l = 1 .. 4, of frames 0 and 1; l = 1 .. 3, of frame t
    flows            (N, 4, H/2^l, W/2^l)      l = 3, 2, 1, then full size: F_{t->0}, F_{t->1}, in pixels of that level
    mask             (N, 1, H, W)
    residual         (N, 3, H, W)

Implementation, beyond what the paper says:

- The mean is one number a sample: over the colours, over space, and over both frames. The features of a frame therefore
  depend on the other frame, and cannot be reused for the next pair.
- The time is an input of the coarsest decoder alone, as a constant channel.
- Flows stay in float32 under autocast: 16 bits cannot place a pixel in a large frame.
- `IFRNetSynthesis.features` and `encode_truth` are the two arguments of the paper's geometry consistency loss: the
  decoders' features of frame t, and the encoder's features of the true frame t.
- Two of the five convolutions of the decoders' residual block apply to its last ("side") channels only, which saves
  more than a third of the cost of five full convolutions.

Reference: Kong et al., IFRNet: Intermediate Feature Refine Network for Efficient Frame Interpolation, CVPR 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from betwixt.layers.blocks import conv_prelu
from betwixt.layers.precision import at_least_float32
from betwixt.layers.resize import resize_flow
from betwixt.layers.warp import backward_warp
from betwixt.models.network import Network, Synthesis


@dataclass(frozen=True)
class IFRNetConfig:
    """Hyper-parameters; the defaults are those of the middle size.

    Attributes:
        channels: Channels of the encoder at 1/2, 1/4, 1/8 and 1/16.
        side: Number of side channels of the decoders' residual blocks.
        kernel: Kernel size of the encoder's first convolution.
        prior: Whether the coarsest decoder refines flows and features of frame t from elsewhere, as the finer ones
            refine those of the previous decoder, instead of starting without them.
    """

    channels: tuple[int, int, int, int] = (32, 48, 72, 96)
    side: int = 32
    kernel: int = 3
    prior: bool = False


CONFIGS = {
    "ifrnet-s": IFRNetConfig(channels=(24, 36, 54, 72), side=24),
    "ifrnet": IFRNetConfig(),
    "ifrnet-l": IFRNetConfig(channels=(64, 96, 144, 192), side=64, kernel=7),
}
"""The three sizes of the paper, by name."""


@dataclass(frozen=True)
class IFRNetPair:
    """The two frames and their features."""

    frame0: Tensor  # (N, 3, H, W), less the mean
    frame1: Tensor  # (N, 3, H, W), less the mean
    mean: Tensor  # (N, 1, 1, 1), the mean of both frames together
    features0: tuple[Tensor, ...]  # features of frame 0, at 1/2, 1/4, 1/8, 1/16
    features1: tuple[Tensor, ...]  # features of frame 1, at 1/2, 1/4, 1/8, 1/16


@dataclass(frozen=True)
class FeaturePrior:
    """Flows and features of frame t from elsewhere, for a coarsest decoder to refine."""

    flow: Tensor  # (N, 4, H/16, W/16), F_{t->0}, then F_{t->1}, in pixels of that map
    features: Tensor  # (N, c4, H/16, W/16), of frame t


@dataclass(frozen=True, kw_only=True)
class IFRNetSynthesis(Synthesis):
    """Frame t and the intermediate results that the training losses need.

    Attributes:
        merged: (N, 3, H, W), the two warped frames fused by the mask, before the residual.
        unclamped: (N, 3, H, W), with the residual, before the clamp to [0, 1].
        level_flows: Flows at 1/2, 1/4, 1/8, each (N, 4, h, w): F_{t->0}, then F_{t->1}, in pixels of its level.
        features: The decoders' features of frame t at 1/2, 1/4, 1/8; `IFRNet.encode_truth` gives their targets.
    """

    flow_t0: Tensor
    flow_t1: Tensor
    mask: Tensor
    merged: Tensor
    unclamped: Tensor
    level_flows: tuple[Tensor, Tensor, Tensor]
    features: tuple[Tensor, Tensor, Tensor]


class PyramidEncoder(nn.Module):
    """(N, 3, H, W) -> features (N, channels[l], H/2^(l+1), W/2^(l+1)), finest first; `kernel` is that of the first."""

    def __init__(self, channels: tuple[int, int, int, int], kernel: int) -> None:
        super().__init__()
        c1, c2, c3, c4 = channels
        self.pyramid1 = nn.Sequential(conv_prelu(3, c1, kernel, stride=2), conv_prelu(c1, c1))
        self.pyramid2 = nn.Sequential(conv_prelu(c1, c2, stride=2), conv_prelu(c2, c2))
        self.pyramid3 = nn.Sequential(conv_prelu(c2, c3, stride=2), conv_prelu(c3, c3))
        self.pyramid4 = nn.Sequential(conv_prelu(c3, c4, stride=2), conv_prelu(c4, c4))

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        features = []
        for level in (self.pyramid1, self.pyramid2, self.pyramid3, self.pyramid4):
            frame = level(frame)
            features.append(frame)
        return tuple(features)


class ResBlock(nn.Module):
    """A residual block of five convolutions, two of which apply to the last `side` channels only."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.main = channels - side
        self.conv1 = conv_prelu(channels, channels)
        self.conv2 = conv_prelu(side, side)
        self.conv3 = conv_prelu(channels, channels)
        self.conv4 = conv_prelu(side, side)
        self.conv5 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.prelu = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self._apply_to_side(self.conv2, self.conv1(x))
        y = self._apply_to_side(self.conv4, self.conv3(y))
        result: Tensor = self.prelu(x + self.conv5(y))
        return result

    def _apply_to_side(self, convolution: nn.Module, x: Tensor) -> Tensor:
        main, side = x.tensor_split((self.main,), dim=1)
        return torch.cat((main, convolution(side)), dim=1)


def _convblock(channels_in: int, width: int, side: int, channels_out: int) -> nn.Sequential:
    """The layers of a decoder: (N, channels_in, h, w) -> (N, channels_out, 2 h, 2 w)."""
    return nn.Sequential(
        conv_prelu(channels_in, width), ResBlock(width, side), nn.ConvTranspose2d(width, channels_out, 4, 2, 1)
    )


class CoarsestDecoder(nn.Module):
    """Predicts flows and features of frame t from the coarsest features of both frames and t.

    With a prior, the features of both frames are first warped by the prior's flows, and the prediction is added to
    these flows.

    Args:
        channels: Channels of the features at this level.
        finer: Channels of the features at the next finer level.
        side: Number of side channels.
        prior: Whether there is a prior.
    """

    def __init__(self, channels: int, finer: int, side: int, prior: bool = False) -> None:
        super().__init__()
        self.prior = prior
        channels_in = 2 * channels + 1 + (channels + 4 if prior else 0)
        self.convblock = _convblock(channels_in, 2 * channels, side, 4 + finer)

    def forward(
        self, features0: Tensor, features1: Tensor, t: Tensor, prior: FeaturePrior | None = None
    ) -> tuple[Tensor, Tensor]:
        """Features of both frames (N, channels, h, w) and t -> flows (N, 4, 2 h, 2 w), features (N, finer, 2 h, 2 w).

        `prior` is needed if and only if the decoder was created with `prior`.
        """
        if (prior is not None) != self.prior:
            raise ValueError("A decoder takes a `prior` if and only if it was created with prior=True.")
        time = t.to(features0.dtype).expand(-1, -1, *features0.shape[-2:])
        if prior is None:
            flow, features = self.convblock(torch.cat((features0, features1, time), dim=1)).tensor_split((4,), dim=1)
            return at_least_float32(flow), features
        warped0, warped1 = backward_warp(features0, prior.flow[:, :2]), backward_warp(features1, prior.flow[:, 2:])
        maps = torch.cat((warped0, warped1, time, prior.features, prior.flow), dim=1)
        flow_residual, features = self.convblock(maps).tensor_split((4,), dim=1)
        return resize_flow(prior.flow, 2.0) + flow_residual, features


class Decoder(nn.Module):
    """Predicts a flow residual and further maps from the flows and the features of frame t, at twice their size.

    Args:
        channels: Channels of the features at this level.
        channels_out: Channels of the prediction.
        side: Number of side channels.
    """

    def __init__(self, channels: int, channels_out: int, side: int) -> None:
        super().__init__()
        self.convblock = _convblock(3 * channels + 4, 3 * channels, side, channels_out)

    def forward(self, features: Tensor, features0: Tensor, features1: Tensor, flow: Tensor) -> Tensor:
        """Features of frames t, 0 and 1 (N, channels, h, w) and flows (N, 4, h, w) -> (N, channels_out, 2 h, 2 w).

        The first four channels of the result are the flow residual.
        """
        warped0, warped1 = backward_warp(features0, flow[:, :2]), backward_warp(features1, flow[:, 2:])
        result: Tensor = self.convblock(torch.cat((features, warped0, warped1, flow), dim=1))
        return result


def encode_pair(encoder: PyramidEncoder, frame0: Tensor, frame1: Tensor) -> IFRNetPair:
    """Subtract the mean of both frames (N, 3, H, W), and encode them in one pass."""
    mean = 0.5 * (frame0.mean(dim=(1, 2, 3), keepdim=True) + frame1.mean(dim=(1, 2, 3), keepdim=True))
    frame0, frame1 = frame0 - mean, frame1 - mean
    levels = [level.chunk(2) for level in encoder(torch.cat((frame0, frame1)))]
    return IFRNetPair(frame0, frame1, mean, tuple(a for a, _ in levels), tuple(b for _, b in levels))


class IFRNet(Network):
    """The network of IFRNet; the module's docstring describes it.

    Args:
        config: The size, one of `CONFIGS` or your own.
    """

    multiple = 16
    any_time = True

    def __init__(self, config: IFRNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or IFRNetConfig()
        c1, c2, c3, c4 = self.config.channels
        side = self.config.side
        self.encoder = PyramidEncoder(self.config.channels, self.config.kernel)
        self.decoder4 = CoarsestDecoder(c4, c3, side, self.config.prior)
        self.decoder3 = Decoder(c3, 4 + c2, side)
        self.decoder2 = Decoder(c2, 4 + c1, side)
        self.decoder1 = Decoder(c1, 4 + 1 + 3, side)

    def pair(self, frame0: Tensor, frame1: Tensor) -> IFRNetPair:
        return encode_pair(self.encoder, frame0, frame1)

    def encode_truth(self, pair: IFRNetPair, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The encoder's features of the true frame t (N, 3, H, W), at 1/2, 1/4, 1/8.

        They are the targets of `IFRNetSynthesis.features` in the geometry consistency loss.
        """
        level1, level2, level3, _ = self.encoder(truth - pair.mean)
        return level1, level2, level3

    def at(self, pair: IFRNetPair, t: Tensor, prior: FeaturePrior | None = None) -> IFRNetSynthesis:
        """Frame t of a prepared pair; `t` is (N, 1, 1, 1). `prior` is needed if and only if `config.prior` is true."""
        f0, f1 = pair.features0, pair.features1
        flow3, features3 = self.decoder4(f0[3], f1[3], t, prior)
        flow_residual, features2 = self.decoder3(features3, f0[2], f1[2], flow3).tensor_split((4,), dim=1)
        flow2 = resize_flow(flow3, 2.0) + flow_residual
        flow_residual, features1 = self.decoder2(features2, f0[1], f1[1], flow2).tensor_split((4,), dim=1)
        flow1 = resize_flow(flow2, 2.0) + flow_residual
        flow_residual, logit, residual = self.decoder1(features1, f0[0], f1[0], flow1).tensor_split((4, 5), dim=1)
        flow_t0, flow_t1 = (resize_flow(flow1, 2.0) + flow_residual).chunk(2, dim=1)
        mask = torch.sigmoid(at_least_float32(logit))
        warped0, warped1 = backward_warp(pair.frame0, flow_t0), backward_warp(pair.frame1, flow_t1)
        merged = mask * warped0 + (1.0 - mask) * warped1 + pair.mean
        unclamped = merged + residual
        return IFRNetSynthesis(
            frame=unclamped.clamp(0.0, 1.0),
            flow_t0=flow_t0,
            flow_t1=flow_t1,
            mask=mask,
            merged=merged,
            unclamped=unclamped,
            level_flows=(flow1, flow2, flow3),
            features=(features1, features2, features3),
        )
