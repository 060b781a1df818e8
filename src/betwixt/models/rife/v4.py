"""RIFE 4 (Practical-RIFE): the versions of RIFE in wide use, for any time.

The authors continued after the paper: no ContextNet and no RefineNet, four or five blocks from 1/8, 1/16 or 1/32 to
full size, t as an input of every block. There is no paper on these versions; this module computes what the published
networks compute.

    frame 0 ──► encoder ──► features ──┐
    frame 1 ──► encoder ──► features ──┤ once a pair (from 4.7 on)
                                       ▼
    frames, features, t ──► block 0, K = 8 ──► flow F, mask M, state S
                                       │
                                       ▼  frames and features warped by F, t, M, S, F
                            block 1, K = 4 ──► F + dF, M, S ──► .. ──► block 3, K = 1 ──► F, M
    frame t  =  sigmoid(M) warp(frame 0, F_{t->0}) + (1 - sigmoid(M)) warp(frame 1, F_{t->1})

Shapes, for frames (N, 3, H, W):

    features     (N, 4, H, W)      of a frame; encoded at half the size; 8 or 16 channels in some versions
    F            (N, 4, H, W)      F_{t->0} and F_{t->1}, pixels
    M            (N, 1, H, W)      logit
    S            (N, 8, H, W)      state passed from block to block, from 4.21 on
    in a block   (N, c, H/4K, W/4K)

Versions, by `RIFEv4Config`; those in one line have the same layers and differ in their weights alone:

    configuration    versions                      c, coarsest first         K                 encoder   otherwise
    RIFE_4_0         4.0, 4.1                      192, 128, 96, 64          8, 4, 2, 1        none      block "paper"
    RIFE_4_2         4.2 to 4.4                    192, 128, 96, 64          8, 4, 2, 1        none      block "plain"
    RIFE_4_5         4.5                           192, 128, 96, 64          8, 4, 2, 1        none
    RIFE_4_6         4.6                           192, 128, 96, 64          8, 4, 2, 1        none      a spare output
    RIFE_4_7         4.7 to 4.9                    192, 128, 96, 64          8, 4, 2, 1        4 of 16   2 layers
    RIFE_4_10        4.10 to 4.15, 4.17 to 4.19,
                     4.24                          192, 128, 96, 64          8, 4, 2, 1        8 of 32
    RIFE_4_12_LITE   4.12-lite, 4.13-lite          128, 96, 64, 48           8, 4, 2, 1        4 of 32
    RIFE_4_14_LITE   4.14-lite                     192, 128, 96, 64          8, 4, 2, 1        8 of 32   2 groups
    RIFE_4_15_LITE   4.15-lite to 4.17-lite        128, 96, 64, 48           8, 4, 2, 1        4 of 16
    RIFE_4_20        4.20                          384, 192, 96, 48          8, 4, 2, 1        8 of 32
    RIFE_4_21        4.21 to 4.23                  256, 192, 96, 48          8, 4, 2, 1        8 of 32   state
    RIFE_4_22_LITE   4.22-lite                     192, 128, 64, 32          8, 4, 2, 1        4 of 16   state
    RIFE_4_25        4.25, 4.26                    192, 128, 96, 64, 32      16, 8, 4, 2, 1    4 of 16   state
    RIFE_4_25_LITE   4.25-lite                     192, 128, 96, 64, 24      32, 16, 8, 4, 1   4 of 16   state
    RIFE_4_25_HEAVY  4.25-heavy                    384, 256, 192, 128, 64    16, 8, 4, 2, 1    4 of 16   state
    RIFE_4_26_HEAVY  4.26-heavy                    192, 128, 96, 64, 32      16, 8, 4, 2, 1    16 of 16  state

Up to 4.6 mask logits are summed over the blocks; from 4.7 on each block predicts a new mask.

Differences from the paper's IFNet inside a block: each of the eight convolutions has its own skip connection and a
learned scale per channel; LeakyReLU instead of PReLU; the last transposed convolution is followed by a pixel shuffle. A
"plain" block has LeakyReLU, but neither skips nor the shuffle. Blocks after the first take the warped frames, but not
the frames.

Not done here: the authors' program for 4.0 and 4.1 starts again at half the resolution where block 1 finds motion of
more than 32 px, for the whole batch at once; `scale=0.5` does so for all frames.

`scale` is the resolution at which all blocks work. 0.5 doubles K, for larger frames (such as 4K) or faster motion than
in training; 2 and 4 are for small frames with fine motion.

Training. `RIFEv4Config(teacher=True)` adds a teacher block, as in the paper: one more block at K = 1 with the width of
the last, whose input contains the true frame t; `distil` is the paper's distillation with it. The published networks
have none, and only parts of their training are known: see `betwixt.training.objectives.rife`.

References: Huang et al., Real-Time Intermediate Flow Estimation for Video Frame Interpolation, ECCV 2022; the project
Practical-RIFE by the same authors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from betwixt.layers.blocks import conv_leaky_relu
from betwixt.layers.ifblock import FlowEstimate, IFBlock, concatenate
from betwixt.layers.warp import backward_warp
from betwixt.models.network import Network, Synthesis
from betwixt.models.rife.network import Distillation, PaperBlock, distillation_loss

SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Allowed values of `scale`."""

BLOCKS = ("residual", "plain", "paper")
"""What may be inside a block."""


@dataclass(frozen=True)
class RIFEv4Config:
    """Hyper-parameters of a version.

    Attributes:
        widths: c of the blocks, coarsest first.
        scales: K of the blocks, coarsest first.
        encoder: Whether encoded features of the frames are inputs of the blocks.
        features: Channels of these features.
        encoder_width: Channels inside the encoder.
        encoder_layers: 4, with LeakyReLU between them, or 2 without.
        state: Channels of the state that a block passes to the next.
        sum_masks: Whether the mask logits of the blocks are summed; otherwise each replaces the previous one.
        block: "residual", "plain" or "paper": what is inside a block.
        groups: Groups of the eight convolutions of a residual block.
        unused_channel: Whether a residual block without a state has a sixth output channel that nothing reads.
        teacher: Whether the network has the teacher block, which only training needs.
    """

    widths: tuple[int, ...]
    scales: tuple[int, ...]
    encoder: bool = True
    features: int = 4
    encoder_width: int = 16
    encoder_layers: int = 4
    state: int = 8
    sum_masks: bool = False
    block: str = "residual"
    groups: int = 1
    unused_channel: bool = True
    teacher: bool = False


_K4, _K5 = (8, 4, 2, 1), (16, 8, 4, 2, 1)

RIFE_4_6 = RIFEv4Config((192, 128, 96, 64), _K4, encoder=False, state=0, sum_masks=True)
RIFE_4_5 = replace(RIFE_4_6, unused_channel=False)
RIFE_4_2 = replace(RIFE_4_6, block="plain")
RIFE_4_0 = replace(RIFE_4_6, block="paper")
RIFE_4_7 = RIFEv4Config((192, 128, 96, 64), _K4, encoder_layers=2, state=0)
RIFE_4_10 = RIFEv4Config((192, 128, 96, 64), _K4, features=8, encoder_width=32, state=0)
RIFE_4_12_LITE = RIFEv4Config((128, 96, 64, 48), _K4, encoder_width=32, state=0)
RIFE_4_14_LITE = replace(RIFE_4_10, groups=2)
RIFE_4_15_LITE = RIFEv4Config((128, 96, 64, 48), _K4, state=0)
RIFE_4_20 = replace(RIFE_4_10, widths=(384, 192, 96, 48))
RIFE_4_21 = RIFEv4Config((256, 192, 96, 48), _K4, features=8, encoder_width=32)
RIFE_4_22_LITE = RIFEv4Config((192, 128, 64, 32), _K4)
RIFE_4_25 = RIFEv4Config((192, 128, 96, 64, 32), _K5)
RIFE_4_25_LITE = RIFEv4Config((192, 128, 96, 64, 24), (32, 16, 8, 4, 1))
RIFE_4_25_HEAVY = RIFEv4Config((384, 256, 192, 128, 64), _K5)
RIFE_4_26_HEAVY = replace(RIFE_4_25, features=16)


def from_reference_name(name: str) -> str:
    """Our name of a parameter in a published checkpoint; our own names stay as they are.

    Up to 4.12 and in 4.13-lite the encoder's layers are numbered with their activations; ComfyUI numbers the blocks
    after a dot.
    """
    name = re.sub(r"^blocks\.(\d+)\.", r"block\1.", name)
    found = re.match(r"encode\.(\d)\.", name)
    if found is None:
        return name
    layer = {"0": 0, "2": 1, "4": 2}.get(found[1], 3)  # the last one is number 1 of 2 layers, number 6 of 4
    return f"encode.cnn{layer}.{name[found.end() :]}"


@dataclass(frozen=True)
class RIFEv4Pair:
    """Two frames, (N, 3, H, W), and their features, (N, C, H, W), or None in a version without an encoder."""

    frame0: Tensor
    frame1: Tensor
    features0: Tensor | None = None
    features1: Tensor | None = None


class _ResConv(nn.Module):
    """LeakyReLU(beta · conv(x) + x) with one factor beta per channel."""

    def __init__(self, width: int, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, 1, 1, groups=groups)
        self.beta = nn.Parameter(torch.ones(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.conv(x) * self.beta + x, 0.2)


def _strided_convolutions(channels_in: int, width: int) -> nn.Sequential:
    """(N, channels_in, H, W) -> (N, width, H/4, W/4)."""
    return nn.Sequential(
        conv_leaky_relu(channels_in, width // 2, stride=2, slope=0.2),
        conv_leaky_relu(width // 2, width, stride=2, slope=0.2),
    )


class _Block(IFBlock):
    """An IFBlock: two strided convolutions, eight residual ones, a transposed one and a pixel shuffle."""

    def __init__(self, channels_in: int, width: int, state: int, groups: int = 1, unused: bool = True) -> None:
        super().__init__()
        channels_out = 5 + max(state, int(unused))
        self.conv0 = _strided_convolutions(channels_in, width)
        self.convblock = nn.Sequential(*(_ResConv(width, groups) for _ in range(8)))
        self.lastconv = nn.Sequential(nn.ConvTranspose2d(width, 4 * channels_out, 4, 2, 1), nn.PixelShuffle(2))
        self.channels = 5 + state

    def body(self, x: Tensor) -> Tensor:
        output: Tensor = self.lastconv(self.convblock(self.conv0(x)))
        return output[:, : self.channels]


class _PlainBlock(IFBlock):
    """An IFBlock without skip connections: two strided convolutions, eight others, a transposed one."""

    stride = 2

    def __init__(self, channels_in: int, width: int) -> None:
        super().__init__()
        self.conv0 = _strided_convolutions(channels_in, width)
        self.convblock = nn.Sequential(*(conv_leaky_relu(width, width, slope=0.2) for _ in range(8)))
        self.lastconv = nn.ConvTranspose2d(width, 5, 4, 2, 1)

    def body(self, x: Tensor) -> Tensor:
        output: Tensor = self.lastconv(self.convblock(self.conv0(x)))
        return output


def _make_block(config: RIFEv4Config, channels_in: int, width: int, state: int) -> IFBlock:
    if config.block == "paper":
        return PaperBlock(channels_in, width)
    if config.block == "plain":
        return _PlainBlock(channels_in, width)
    return _Block(channels_in, width, state, config.groups, config.unused_channel)


class _Encoder(nn.Module):
    """Features of a frame: (N, 3, H, W) -> (N, features, H, W), in 4 or 2 layers."""

    def __init__(self, features: int = 4, width: int = 16, layers: int = 4) -> None:
        super().__init__()
        self.cnn0 = nn.Conv2d(3, width, 3, 2, 1)
        if layers == 4:
            self.cnn1 = nn.Conv2d(width, width, 3, 1, 1)
            self.cnn2 = nn.Conv2d(width, width, 3, 1, 1)
        self.cnn3 = nn.ConvTranspose2d(width, features, 4, 2, 1)
        self.layers = layers

    def forward(self, frame: Tensor) -> Tensor:
        x = self.cnn0(frame)
        if self.layers == 4:
            for convolution in (self.cnn1, self.cnn2):
                x = convolution(F.leaky_relu(x, 0.2))
            x = F.leaky_relu(x, 0.2)
        features: Tensor = self.cnn3(x)
        return features


class RIFEv4(Network):
    """A network of RIFE 4; the module's docstring describes it.

    Args:
        config: The version: `RIFE_4_25`, another of this module, or your own.
        scale: The resolution at which the blocks work: 0.25, 0.5, 1, 2 or 4.

    Raises:
        ValueError: if `scale` is another number, or the configuration is inconsistent.
    """

    any_time = True
    scales = SCALES

    def __init__(self, config: RIFEv4Config = RIFE_4_25, scale: float = 1.0) -> None:
        super().__init__()
        _check(config)
        self.config = config
        self.set_scale(scale)
        features = 2 * config.features if config.encoder else 0
        # The first block takes both frames and t; the others take both warped frames, t, mask, flow and state.
        channels = [7 + features] + [12 + features + config.state] * (len(config.widths) - 1)
        for i, (channels_in, width) in enumerate(zip(channels, config.widths, strict=True)):
            self.add_module(f"block{i}", _make_block(config, channels_in, width, config.state))
        self.block_tea = _make_block(config, channels[-1] + 3, config.widths[-1], 0) if config.teacher else None
        encoder = config.features, config.encoder_width, config.encoder_layers
        self.encode = _Encoder(*encoder) if config.encoder else None

    def set_scale(self, scale: float) -> None:
        """Let the blocks work at another resolution.

        Raises:
            ValueError: if `scale` is not one of `SCALES`.
        """
        if scale not in SCALES:
            raise ValueError(f"`scale` is {scale}: choose one of {', '.join(map(str, SCALES))}.")
        self.scale = scale
        # The coarsest block has a stride of 4 at K / scale.
        coarsest = 4 * max(self.config.scales)
        self.multiple = max(coarsest, int(coarsest / scale))

    def pair(self, frame0: Tensor, frame1: Tensor) -> RIFEv4Pair:
        """The frames and their features."""
        if self.encode is None:
            return RIFEv4Pair(frame0, frame1)
        features0, features1 = self.encode(torch.cat((frame0, frame1))).chunk(2)
        return RIFEv4Pair(frame0, frame1, features0, features1)

    def estimates(self, pair: RIFEv4Pair, t: Tensor) -> Iterator[FlowEstimate]:
        """The estimate of each block, coarsest first."""
        return (estimate for estimate, _ in self._stages(pair, t))

    def refine(
        self, pair: RIFEv4Pair, t: Tensor, motion: Tensor | None, first: int = 0, end: int | None = None
    ) -> Tensor:
        """The motion after the blocks `first` to `end` (exclusive; None: to the last), of a version without a state.

        Args:
            pair: The frames.
            t: The time, (N, 1, 1, 1), in (0, 1).
            motion: (N, 5, H, W), F_{t->0} and F_{t->1} in pixels and the mask logit, to refine; None if there is none.
            first: The number of the first block.
            end: The number after that of the last block.

        Raises:
            ValueError: if the blocks pass a state on.
        """
        if self.config.state:
            raise ValueError("The blocks of this version need the state of the block before.")
        frames = pair.frame0, pair.frame1
        estimate = None if motion is None else FlowEstimate.from_flow(*frames, motion[:, :4], motion[:, 4:])
        for i, scale in list(enumerate(self.config.scales))[first:end]:
            block = self.get_submodule(f"block{i}")
            estimate, _ = self._apply_block(block, scale / self.scale, pair, t, estimate, None)
        if estimate is None:
            raise ValueError("There is no motion, and no block to find it.")
        return torch.cat((estimate.flow, estimate.logit), dim=1)

    def at(self, pair: RIFEv4Pair, t: Tensor) -> Synthesis:
        for estimate in self.estimates(pair, t):
            last = estimate
        return _to_synthesis(pair, last)

    def distil(self, frame0: Tensor, frame1: Tensor, t: Tensor, truth: Tensor) -> Distillation:
        """`forward`, the teacher's estimate and the distillation loss of RIFE.

        Raises:
            ValueError: if the network has no teacher block.
        """
        if self.block_tea is None:
            raise ValueError("This RIFE has no teacher block: create it with RIFEv4Config(teacher=True).")
        pair = self.pair(frame0, frame1)
        outputs = list(self._stages(pair, t))
        stages = tuple(estimate for estimate, _ in outputs)
        teacher, _ = self._apply_block(self.block_tea, 1.0, pair, t, *outputs[-1], truth)
        return Distillation(_to_synthesis(pair, stages[-1]), teacher, distillation_loss(stages, teacher, truth))

    def _stages(self, pair: RIFEv4Pair, t: Tensor) -> Iterator[tuple[FlowEstimate, Tensor | None]]:
        """The estimate and the state after each block."""
        estimate = state = None
        for i, scale in enumerate(self.config.scales):
            block = self.get_submodule(f"block{i}")
            estimate, state = self._apply_block(block, scale / self.scale, pair, t, estimate, state)
            yield estimate, state

    def _apply_block(
        self,
        block: nn.Module,
        scale: float,
        pair: RIFEv4Pair,
        t: Tensor,
        previous: FlowEstimate | None,
        state: Tensor | None,
        truth: Tensor | None = None,
    ) -> tuple[FlowEstimate, Tensor | None]:
        """Refine the `previous` estimate by a block; `truth` is given to the teacher alone."""
        frame0, frame1 = pair.frame0, pair.frame1
        time = t.expand(len(frame0), 1, *frame0.shape[-2:])
        if previous is None:
            maps = concatenate(frame0, frame1, pair.features0, pair.features1, time, truth)
            flow, logit, state = block(maps, None, scale)
        else:
            features0 = _warp(pair.features0, previous.flow_t0)
            features1 = _warp(pair.features1, previous.flow_t1)
            warped = previous.warped0, previous.warped1
            maps = concatenate(*warped, features0, features1, time, previous.logit, state, truth)
            residual, logit, state = block(maps, previous.flow, scale)
            flow = previous.flow + residual
            if self.config.sum_masks:
                logit = previous.logit + logit
        return FlowEstimate.from_flow(frame0, frame1, flow, logit), state


def _check(config: RIFEv4Config) -> None:
    if config.block not in BLOCKS:
        raise ValueError(f"`block` is {config.block!r}: choose one of {', '.join(BLOCKS)}.")
    if config.block != "residual" and config.state:
        raise ValueError(f"A {config.block} block passes no state on: set `state` to 0.")
    if config.encoder_layers not in (2, 4):
        raise ValueError(f"`encoder_layers` is {config.encoder_layers}: choose 2 or 4.")


def _to_synthesis(pair: RIFEv4Pair, last: FlowEstimate) -> Synthesis:
    return Synthesis(last.merged.to(pair.frame0.dtype), last.flow_t0, last.flow_t1, last.mask)


def _warp(features: Tensor | None, flow: Tensor) -> Tensor | None:
    return None if features is None else backward_warp(features, flow)
