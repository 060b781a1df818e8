"""IFRNet: one encoder-decoder that refines the flows and the middle frame's own features together, coarse to fine.

Kong et al., IFRNet: Intermediate Feature Refine Network for Efficient Frame Interpolation, CVPR 2022. Flow and
synthesis share one decoder: what a decoder hands to the next finer one is not only the flow but a guess of the features
that the encoder would find in frame t, and that guess is what the finer decoder aligns the two frames with.

    frame 0 - mean ──► encoder ──► features at 1/2, 1/4, 1/8, 1/16                         once a pair
    frame 1 - mean ──► encoder ──► features at 1/2, 1/4, 1/8, 1/16                         once a pair

    decoder 4:  features at 1/16, t                                    ──► flows, features of frame t at 1/8
    decoder 3:  features at 1/8 warped by the flows, those of frame t  ──► + flows, features of frame t at 1/4
    decoder 2:  the same at 1/4                                        ──► + flows, features of frame t at 1/2
    decoder 1:  the same at 1/2                                        ──► + flows, mask, residual at full size
    frame t  =  mask warp(frame 0, F_{t->0}) + (1 - mask) warp(frame 1, F_{t->1}) + mean + residual

Shapes, for frames (N, 3, H, W) with sides that are multiples of 16, and encoder channels c1 .. c4:

    features         (N, cl, H/2^l, W/2^l)     l = 1 .. 4, of frames 0 and 1; l = 1 .. 3, of frame t
    flows            (N, 4, H/2^l, W/2^l)      l = 3, 2, 1, then full size: F_{t->0}, F_{t->1}, in pixels of that level
    mask             (N, 1, H, W)
    residual         (N, 3, H, W)

What to know beyond the paper:

- The mean is one number a sample: over the colours, over space, and over both frames. So the features of a frame depend
  on its neighbour, and do not serve the next pair.
- The time enters once, as a constant channel of the coarsest decoder.
- Flows stay in float32 under autocast: half floats cannot place a pixel in a large frame.
- `IFRNetSynthesis.features` and `encode_truth` are the two sides of the paper's geometry consistency loss: the
  decoders' features of frame t, and the encoder's features of the true frame t.

- The decoders' residual block passes its last channels alone through two more convolutions, which saves more than a
  third of what five full ones would cost.

References: Kong et al., IFRNet, CVPR 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from betwixt.layers.warp import backward_warp
from betwixt.models.network import Network, Synthesis

__all__ = [
    "CONFIGS",
    "CoarsestDecoder",
    "Decoder",
    "FeaturePrior",
    "IFRNet",
    "IFRNetConfig",
    "IFRNetPair",
    "IFRNetSynthesis",
    "PyramidEncoder",
    "SideBlock",
    "at_least_float32",
    "enlarge_flow",
    "pair_mean",
]


@dataclass(frozen=True)
class IFRNetConfig:
    """Hyper-parameters; the defaults are those of the middle size.

    Attributes:
        channels: Of the encoder at 1/2, 1/4, 1/8 and 1/16.
        side: How many of a decoder's channels pass through the convolutions of their own.
        kernel: Of the encoder's first convolution.
        prior: Whether the coarsest decoder starts from flows and features of frame t that another part gives, as the
            finer ones do, instead of from nothing.
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
    """What depends on the two frames alone.

    Attributes:
        frame0: (N, 3, H, W), without the mean.
        frame1: (N, 3, H, W), without the mean.
        mean: (N, 1, 1, 1), of both frames together.
        first: Features of frame 0, at 1/2, 1/4, 1/8, 1/16.
        second: Features of frame 1.
    """

    frame0: Tensor
    frame1: Tensor
    mean: Tensor
    first: tuple[Tensor, ...]
    second: tuple[Tensor, ...]


@dataclass(frozen=True)
class FeaturePrior:
    """What a coarsest decoder can start from.

    Attributes:
        flow: (N, 4, H/16, W/16), F_{t->0}, then F_{t->1}, in pixels of that map.
        features: (N, c4, H/16, W/16), of frame t.
    """

    flow: Tensor
    features: Tensor


@dataclass(frozen=True, kw_only=True)
class IFRNetSynthesis(Synthesis):
    """Frame t, and what the training losses need besides.

    Attributes:
        flow_t0: (N, 2, H, W), F_{t->0} in pixels.
        flow_t1: (N, 2, H, W), F_{t->1} in pixels.
        mask: (N, 1, H, W) in (0, 1), the weight of warped frame 0.
        merged: (N, 3, H, W), the two warped frames under the mask, before the residual.
        unclamped: (N, 3, H, W), with the residual, before the clamp to [0, 1].
        level_flows: At 1/2, 1/4, 1/8, each (N, 4, h, w): F_{t->0}, then F_{t->1}, in pixels of its level.
        features: Of frame t as the decoders see it, at 1/2, 1/4, 1/8; see `IFRNet.encode_truth`.
    """

    flow_t0: Tensor
    flow_t1: Tensor
    mask: Tensor
    merged: Tensor
    unclamped: Tensor
    level_flows: tuple[Tensor, Tensor, Tensor]
    features: tuple[Tensor, Tensor, Tensor]


def at_least_float32(x: Tensor) -> Tensor:
    """`x`, or `x` in float32 if it is of half floats."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def enlarge_flow(flow: Tensor) -> Tensor:
    """A flow (N, C, H, W) on a map of twice the size, in pixels of that map."""
    return 2.0 * F.interpolate(flow, scale_factor=2.0, mode="bilinear", align_corners=False)


def pair_mean(frame0: Tensor, frame1: Tensor) -> Tensor:
    """The mean of two frames (N, 3, H, W) over colours, space and both frames: (N, 1, 1, 1)."""
    return 0.5 * (frame0.mean(dim=(1, 2, 3), keepdim=True) + frame1.mean(dim=(1, 2, 3), keepdim=True))


def _conv(channels_in: int, channels_out: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2), nn.PReLU(channels_out))


class PyramidEncoder(nn.Module):
    """(N, 3, H, W) -> features (N, channels[l], H/2^(l+1), W/2^(l+1)), finest first.

    Args:
        channels: Of each level.
        kernel: Of the first convolution.
    """

    def __init__(self, channels: tuple[int, int, int, int], kernel: int) -> None:
        super().__init__()
        c1, c2, c3, c4 = channels
        self.pyramid1 = nn.Sequential(_conv(3, c1, 2, kernel), _conv(c1, c1))
        self.pyramid2 = nn.Sequential(_conv(c1, c2, 2), _conv(c2, c2))
        self.pyramid3 = nn.Sequential(_conv(c2, c3, 2), _conv(c3, c3))
        self.pyramid4 = nn.Sequential(_conv(c3, c4, 2), _conv(c4, c4))

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        """The features of frames (N, 3, H, W), at 1/2, 1/4, 1/8, 1/16."""
        features = []
        for level in (self.pyramid1, self.pyramid2, self.pyramid3, self.pyramid4):
            frame = level(frame)
            features.append(frame)
        return tuple(features)


class SideBlock(nn.Module):
    """A residual block whose last `side` channels pass through two more convolutions; the others skip those."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.main = channels - side
        self.conv1 = _conv(channels, channels)
        self.conv2 = _conv(side, side)
        self.conv3 = _conv(channels, channels)
        self.conv4 = _conv(side, side)
        self.conv5 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.prelu = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, h, w), of a map of that shape."""
        y = self._on_side(self.conv2, self.conv1(x))
        y = self._on_side(self.conv4, self.conv3(y))
        result: Tensor = self.prelu(x + self.conv5(y))
        return result

    def _on_side(self, convolution: nn.Module, x: Tensor) -> Tensor:
        main, side = x.tensor_split((self.main,), dim=1)
        return torch.cat((main, convolution(side)), dim=1)


def _convblock(channels_in: int, width: int, side: int, channels_out: int) -> nn.Sequential:
    """A decoder: (N, channels_in, h, w) -> (N, channels_out, 2 h, 2 w)."""
    return nn.Sequential(
        _conv(channels_in, width), SideBlock(width, side), nn.ConvTranspose2d(width, channels_out, 4, 2, 1)
    )


class CoarsestDecoder(nn.Module):
    """The first guess: features of both frames and t -> flows and features of frame t, twice the size.

    Args:
        channels: Of the features at this level.
        finer: Of the features at the next.
        side: As in `IFRNetConfig`.
        prior: Likewise. Then the features of both frames are warped by the prior's flows, and what is found is added
            to them.
    """

    def __init__(self, channels: int, finer: int, side: int, prior: bool = False) -> None:
        super().__init__()
        self.prior = prior
        seen = 2 * channels + 1 + (channels + 4 if prior else 0)
        self.convblock = _convblock(seen, 2 * channels, side, 4 + finer)

    def forward(
        self, first: Tensor, second: Tensor, t: Tensor, prior: FeaturePrior | None = None
    ) -> tuple[Tensor, Tensor]:
        """Flows (N, 4, 2 h, 2 w) and features (N, finer, 2 h, 2 w), of features (N, channels, h, w), t (N, 1, 1, 1)."""
        if (prior is not None) != self.prior:
            raise ValueError("A decoder starts from a prior if it was made for one (prior=True), or from none.")
        time = t.to(first.dtype).expand(-1, -1, *first.shape[-2:])
        if prior is None:
            flow, features = self.convblock(torch.cat((first, second, time), dim=1)).tensor_split((4,), dim=1)
            return at_least_float32(flow), features
        first, second = backward_warp(first, prior.flow[:, :2]), backward_warp(second, prior.flow[:, 2:])
        seen = torch.cat((first, second, time, prior.features, prior.flow), dim=1)
        change, features = self.convblock(seen).tensor_split((4,), dim=1)
        return enlarge_flow(prior.flow) + change, features


class Decoder(nn.Module):
    """One step finer: what `flow` and the features of frame t lack, twice the size.

    Args:
        channels: Of the features at this level.
        channels_out: Of the result.
        side: As in `IFRNetConfig`.
    """

    def __init__(self, channels: int, channels_out: int, side: int) -> None:
        super().__init__()
        self.convblock = _convblock(3 * channels + 4, 3 * channels, side, channels_out)

    def forward(self, features: Tensor, first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
        """(N, channels_out, 2 h, 2 w), of three feature maps (N, channels, h, w) and flows (N, 4, h, w)."""
        warped0, warped1 = backward_warp(first, flow[:, :2]), backward_warp(second, flow[:, 2:])
        result: Tensor = self.convblock(torch.cat((features, warped0, warped1, flow), dim=1))
        return result


class IFRNet(Network):
    """The network; see the module for what it computes and why.

    Args:
        config: Its size, one of `CONFIGS` or your own.
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
        """The features of both frames, in one pass of the encoder."""
        mean = pair_mean(frame0, frame1)
        frame0, frame1 = frame0 - mean, frame1 - mean
        both = [level.chunk(2) for level in self.encoder(torch.cat((frame0, frame1)))]
        return IFRNetPair(frame0, frame1, mean, tuple(a for a, _ in both), tuple(b for _, b in both))

    def encode_truth(self, pair: IFRNetPair, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The encoder's features of the true frame t (N, 3, H, W), at 1/2, 1/4, 1/8, like `IFRNetSynthesis.features`.

        For the geometry consistency loss; the pair lends its mean.
        """
        level1, level2, level3, _ = self.encoder(truth - pair.mean)
        return level1, level2, level3

    def at(self, pair: IFRNetPair, t: Tensor, prior: FeaturePrior | None = None) -> IFRNetSynthesis:
        """Frame t of a prepared pair; `t` is (N, 1, 1, 1). `prior` is given where the configuration has one."""
        first, second = pair.first, pair.second
        flow3, features3 = self.decoder4(first[3], second[3], t, prior)
        change, features2 = self.decoder3(features3, first[2], second[2], flow3).tensor_split((4,), dim=1)
        flow2 = enlarge_flow(flow3) + change
        change, features1 = self.decoder2(features2, first[1], second[1], flow2).tensor_split((4,), dim=1)
        flow1 = enlarge_flow(flow2) + change
        change, logit, residual = self.decoder1(features1, first[0], second[0], flow1).tensor_split((4, 5), dim=1)
        flow_t0, flow_t1 = (enlarge_flow(flow1) + change).chunk(2, dim=1)
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
