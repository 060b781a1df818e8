"""EMA-VFI: motion and appearance from one inter-frame attention (Zhang et al., CVPR 2023).

Interpolation needs both motion and appearance. EMA-VFI takes both from the same attention map, between a window of one
frame and the same window of the other frame. Applied to the other frame's values, the map gives appearance features
enhanced by the other frame. Applied to the other frame's coordinates, less the window's own coordinates, it gives the
motion. Both are computed once a pair. Only their use depends on t: along straight paths, the motion from t to frame 0
is t times the whole, and to frame 1 (1 - t) times.

    frame 0 ─┐  convolutions          cross-scale   inter-frame attention     inter-frame attention
             ├► at 1, 1/2, 1/4  ────► embedding ──► at 1/8              ────► at 1/16                     once a pair
    frame 1 ─┘   │                                   │ motion, appearance      │ motion, appearance
                 │                                   │                         ▼
                 │                                   │      head 0 ◄── t·m0, (1 - t)·m1, a0, a1           once a time
                 │                                   ▼        │ flows, mask
                 │        head 1 ◄── t·m0, (1 - t)·m1, a0, a1 ◄┘
                 ▼          │ flows, mask
    frames and the appearance of all five levels, warped by the flows ──► refinement ──► residual
    frame t  =  m warp(frame 0, F_{t->0}) + (1 - m) warp(frame 1, F_{t->1}) + residual, clamped to [0, 1]

Shapes, for frames (N, 3, H, W), sides multiples of 32, F channels; the two frames are stacked in the batch:

    appearance   (2N, F·2^l, H/2^l, W/2^l)   l = 0 .. 4
    motion       (2N, 8F, H/8, W/8) and (2N, 16F, H/16, W/16); from frame 0 to frame 1 in the first half, back in the
                 second; coordinates run from -1 to 1 over the whole frame
    flows        (N, 4, H, W)                pixels, F_{t->0} then F_{t->1}, each (x, y)
    mask         (N, 1, H, W)                logit, summed over the heads

Where the paper is silent, this network does what its authors' does:

- Windows of 7x7 tile the frame from its centre: half of the padding on each side, an odd pixel at the end. Padding is
  zero before the norm, hence the norm's bias after it, and its coordinates are (0, 0).
- Every second block shifts its windows by 3. Pixels from opposite borders that meet in a window do not attend to each
  other. Nor do content and padding, but there the mask is that before the shift, although the content has moved: a slip
  in the authors' code with which the weights were trained.
- The residual of the attention is added to the normalised tokens, not to those before the norm.
- Head 0 estimates the flows at 1/4 and head 1 at 1/2 of the frame's size, from features upsampled by two pixel
  shuffles.
- The published networks are trained without stochastic depth. Weights trained for t = 1/2 alone have the same layers as
  those for any time.

What differs from the authors' network:

- Coordinates are relative to the window's middle pixel, and the bias of their embedding is left out of the computation.
  Both cancel, since an attention row sums to one and motion is a difference. The small numbers that remain keep their
  precision in 16 bits: in bfloat16 at 640x384 the error of the motion falls to a half or a third. Positions are
  embedded once for both frames and the whole batch. Flows and masks are float32 also under autocast.
- `flow_scale`, from the authors' 4K evaluation, for motion larger than in training: flows and mask are estimated on
  downsampled frames, upsampled, and used for a synthesis at full size with the appearance of the full frames. The
  attention then runs at both sizes.

References: Zhang et al., Extracting Motion and Appearance via Inter-Frame Attention for Efficient Video Frame
Interpolation, CVPR 2023; Liu et al., Swin Transformer, ICCV 2021 (shifted windows); Wang et al., PVTv2, CVMJ 2022
(depthwise convolution in the MLP); Wang et al., CrossFormer, ICLR 2022 (cross-scale embedding); Huang et al., RIFE,
ECCV 2022 (heads and refinement).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from betwixt.layers.blocks import DoubleConv, conv_prelu, deconv_prelu
from betwixt.layers.ifblock import FlowEstimate
from betwixt.layers.resize import resize_to
from betwixt.layers.warp import backward_warp
from betwixt.models.network import Network, Synthesis


@dataclass(frozen=True)
class EMAVFIConfig:
    """Hyper-parameters.

    Attributes:
        channels: F, channels of the appearance at full size; doubled at every level.
        depths: Number of convolutions at 1, 1/2 and 1/4, and of attention blocks at 1/8 and 1/16.
        window: Side of the attention windows.
        prior: Whether head 0 refines a flow estimate from elsewhere, as head 1 refines that of head 0, instead of
            starting without one.
    """

    channels: int = 32
    depths: tuple[int, int, int, int, int] = (2, 2, 2, 4, 4)
    window: int = 7
    prior: bool = False


EMA_VFI = EMAVFIConfig()
"""The paper's network, "Ours"."""

EMA_VFI_SMALL = EMAVFIConfig(channels=16, depths=(2, 2, 2, 2, 2))
"""The paper's small network, "Ours-small"."""


@dataclass(frozen=True)
class EMAVFIPair:
    """Two frames, their appearance and their motion; frame 0 is the first half of every batch, frame 1 the second.

    Attributes:
        frames: (2N, 3, H, W).
        appearance: Five levels, (2N, F·2^l, H/2^l, W/2^l).
        flow_frames: (2N, 3, h, w), the frames at the size at which flow is estimated; with a flow scale of 1, `frames`.
        flow_appearance: The appearance of `flow_frames`; with a flow scale of 1, `appearance`.
        motion: The motion of `flow_frames`: (2N, 8F, h/8, w/8) and (2N, 16F, h/16, w/16).
    """

    frames: Tensor
    appearance: list[Tensor]
    flow_frames: Tensor
    flow_appearance: list[Tensor]
    motion: list[Tensor]


@dataclass(frozen=True, kw_only=True)
class EMAVFISynthesis(Synthesis):
    """Frame t and the intermediate results that the training losses need.

    Attributes:
        flows: F_{t->0}, then F_{t->1} after each head: (N, 4, h, w) at the size at which flow is estimated, and
            (N, 4, H, W).
        merges: The warped frames fused by the mask after each head: (N, 3, h, w) and (N, 3, H, W).
        residual: (N, 3, H, W) in (-1, 1), which the refinement adds to the last of `merges`.
    """

    flows: list[Tensor]
    merges: list[Tensor]
    residual: Tensor


def from_reference_name(name: str) -> str:
    """The name here of a parameter of the authors' network.

    Their checkpoints also hold buffers whose names end in `.attn_mask` and `.HW`: masks for the last training size,
    which have no counterpart here.
    """
    name = re.sub(r"^feature_bone\.", "backbone.", name)
    name = re.sub(r"^block\.", "heads.", name)
    name = re.sub(r"^unet\.", "refinement.", name)
    name = re.sub(r"\.(block[123])\.conv\.", r".\1.", name)
    return name.replace(".mlp.dwconv.dwconv.", ".mlp.depthwise.").replace(".cor_embed.", ".position.")


class Windows:
    """The partition of a map into square windows, with the coordinates and the attention mask of their pixels.

    Args:
        height: Height of the map.
        width: Width of the map.
        side: Side of the windows.
        shift: Number of pixels, up and left, by which the map is rolled before it is partitioned.
        device: Device of the map.

    Attributes:
        position: (windows, side², 2), (x, y) relative to the window's middle pixel, of coordinates from -1 to 1.
        masked: (windows, 1, side², side²), True where a pixel may not attend to another; None if all may.
    """

    def __init__(self, height: int, width: int, side: int, shift: int, device: torch.device) -> None:
        self.side, self.shift = side, shift
        rows, columns = -height % side, -width % side
        self.top, self.left = rows // 2, columns // 2
        self.height, self.width = height, width
        self.padding = (0, 0, self.left, columns - self.left, self.top, rows - self.top)
        self.rows, self.columns = (height + rows) // side, (width + columns) // side

        y = torch.linspace(-1.0, 1.0, height, device=device)
        x = torch.linspace(-1.0, 1.0, width, device=device)
        position = self.partition(torch.stack((x.expand(height, -1), y[:, None].expand(-1, width)), dim=-1)[None])
        self.position = position - position[:, side * side // 2, None]

        self.masked: Tensor | None = None
        # An exported graph takes frames of other sizes than this one, which may need padding.
        if rows or columns or shift or torch.onnx.is_in_onnx_export():
            row = self._groups(height, self.top, self.rows, device)
            column = self._groups(width, self.left, self.columns, device)
            group = self._tile((9 * row[:, None] + column)[None, :, :, None])[..., 0]
            self.masked = (group[:, :, None] != group[:, None, :])[:, None]

    def _groups(self, length: int, before: int, count: int, device: torch.device) -> Tensor:
        """The group number of each padded row (or column); pixels attend to pixels of the same group alone."""
        i = torch.arange(count * self.side, device=device)
        # Padding and content differ by their position before the roll, the two ends of the map by that after it.
        group = (i >= before).long() + (i >= before + length).long()
        if self.shift:
            end = count * self.side
            group = 3 * group + (i >= end - self.side).long() + (i >= end - self.shift).long()
        return group

    def _tile(self, x: Tensor) -> Tensor:
        x = x.reshape(-1, self.rows, self.side, self.columns, self.side, x.shape[-1])
        return x.transpose(2, 3).reshape(-1, self.side * self.side, x.shape[-1])

    def partition(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B · windows, side², C)."""
        x = F.pad(x, self.padding)
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
        return self._tile(x)

    def merge(self, x: Tensor) -> Tensor:
        """(B · windows, side², C) -> (B, H, W, C): the inverse of `partition`."""
        x = x.reshape(-1, self.rows, self.columns, self.side, self.side, x.shape[-1])
        x = x.transpose(2, 3).reshape(-1, self.rows * self.side, self.columns * self.side, x.shape[-1])
        if self.shift:
            x = x.roll((self.shift, self.shift), (1, 2))
        return x[:, self.top : self.top + self.height, self.left : self.left + self.width]


class InterFrameAttention(nn.Module):
    """Attention from a window of one frame to the same window of the other frame (section 3 of the paper).

    `channels` are those of the appearance, `motion` those of the motion. The bias of `position` exists for checkpoints
    alone; it cancels and is not used.
    """

    def __init__(self, channels: int, motion: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(channels, channels)
        self.kv = nn.Linear(channels, 2 * channels)
        self.proj = nn.Linear(channels, channels)
        self.position = nn.Linear(2, motion)
        self.motion_proj = nn.Linear(motion, motion)

    def _split_heads(self, x: Tensor) -> Tensor:
        """(B, tokens, C) -> (B, heads, tokens, C / heads)."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def forward(self, tokens: Tensor, other: Tensor, windows: Windows) -> tuple[Tensor, Tensor]:
        """Attend from `tokens` of one frame to those of the `other`, both (B · windows, side², C).

        Returns:
            Appearance (B · windows, side², C) and motion (B · windows, side², M).
        """
        key, value = (self._split_heads(x) for x in self.kv(other).chunk(2, dim=-1))
        query = self._split_heads(self.q(tokens))
        score = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        score = score.reshape(-1, windows.position.shape[0], *score.shape[1:])
        if windows.masked is not None:
            score = score.masked_fill(windows.masked, -math.inf)
        attention = score.softmax(dim=-1)
        appearance = (attention.flatten(0, 1) @ value).transpose(1, 2).flatten(2)
        # Without the bias, which cancels in the difference: added to it, small positions would lose their precision.
        weight = self.position.weight
        position = self._split_heads(F.linear(windows.position.to(weight.dtype), weight))
        motion = (attention @ position - position).flatten(0, 1).transpose(1, 2).flatten(2)
        return self.proj(appearance), self.motion_proj(motion)


class MLP(nn.Module):
    """Two linear layers with a depthwise convolution between them, on maps (B, H, W, C)."""

    def __init__(self, channels: int, ratio: int = 4) -> None:
        super().__init__()
        hidden = ratio * channels
        self.fc1 = nn.Linear(channels, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, 1, 1, groups=hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(self.fc1(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        out: Tensor = self.fc2(F.gelu(x))
        return out


class AttentionBlock(nn.Module):
    """(2N, H, W, C) -> appearance (2N, H, W, C) and motion (2N, H, W, M)."""

    def __init__(self, channels: int, motion: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = InterFrameAttention(channels, motion, heads)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = MLP(channels)

    def forward(self, x: Tensor, windows: Windows) -> tuple[Tensor, Tensor]:
        tokens = self.norm1(windows.partition(x))
        appearance, motion = self.attn(tokens, torch.cat(tokens.chunk(2)[::-1]), windows)
        x = windows.merge(tokens + appearance)
        return x + self.mlp(self.norm2(x)), windows.merge(motion)


class CrossScaleEmbedding(nn.Module):
    """Tokens at 1/8 from the three finer levels: (2N, F·2^l, H/2^l, W/2^l), l = 0 .. 2 -> (2N, H/8, W/8, 8F)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # The finer the level, the more dilations cover the pixels between the strides.
        self.inputs = [(level, dilation) for level in (2, 1, 0) for dilation in range(1, 2 ** (2 - level) + 1)]
        self.layers = nn.ModuleList(
            nn.Conv2d(channels * 2**level, channels, 3, 2 ** (3 - level), dilation, dilation)
            for level, dilation in self.inputs
        )
        self.proj = nn.Conv2d(channels * len(self.inputs), 8 * channels, 1)
        self.norm = nn.LayerNorm(8 * channels)

    def forward(self, levels: list[Tensor]) -> Tensor:
        x = torch.cat([layer(levels[level]) for layer, (level, _) in zip(self.layers, self.inputs, strict=True)], dim=1)
        tokens: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return tokens


class PatchEmbedding(nn.Module):
    """Overlapping patches: (2N, C, H, W) -> (2N, H/2, W/2, 2C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, 2 * channels, 3, 2, 1)
        self.norm = nn.LayerNorm(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return tokens


def _convs(channels_in: int, channels_out: int, depth: int) -> nn.Sequential:
    """`depth` convolutions with PReLU in one flat sequence."""
    layers = [conv_prelu(channels_in if i == 0 else channels_out, channels_out) for i in range(depth)]
    return nn.Sequential(*(module for layer in layers for module in layer))


class Backbone(nn.Module):
    """Stacked frames (2N, 3, H, W) -> appearance at five levels, motion at the two coarsest."""

    def __init__(self, config: EMAVFIConfig) -> None:
        super().__init__()
        f = config.channels
        self.window = config.window
        self.block1 = _convs(3, f, config.depths[0])
        self.patch_embed2 = conv_prelu(f, 2 * f, stride=2)
        self.block2 = _convs(2 * f, 2 * f, config.depths[1])
        self.patch_embed3 = conv_prelu(2 * f, 4 * f, stride=2)
        self.block3 = _convs(4 * f, 4 * f, config.depths[2])
        self.patch_embed4 = CrossScaleEmbedding(f)
        self.block4 = self._attention_blocks(8 * f, config.depths[3])
        self.norm4 = nn.LayerNorm(8 * f, eps=1e-6)
        self.patch_embed5 = PatchEmbedding(8 * f)
        self.block5 = self._attention_blocks(16 * f, config.depths[4])
        self.norm5 = nn.LayerNorm(16 * f, eps=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d) and module.bias is not None:
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
                nn.init.zeros_(module.bias)

    @staticmethod
    def _attention_blocks(channels: int, depth: int) -> nn.ModuleList:
        # Heads have 32 channels; the motion of all blocks together has as many channels as the appearance.
        return nn.ModuleList(AttentionBlock(channels, channels // depth, channels // 32) for _ in range(depth))

    def _attend(self, x: Tensor, blocks: nn.ModuleList, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
        """(2N, H, W, C) -> appearance and motion, (2N, C, H, W) each."""
        height, width = x.shape[1:3]
        windows = [Windows(height, width, self.window, shift, x.device) for shift in (0, self.window // 2)]
        motions = []
        for i, block in enumerate(blocks):
            x, motion = block(x, windows[i % 2])
            motions.append(motion)
        return norm(x).permute(0, 3, 1, 2), torch.cat(motions, dim=-1).permute(0, 3, 1, 2)

    def forward(self, frames: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        fine = [self.block1(frames)]
        fine.append(self.block2(self.patch_embed2(fine[-1])))
        fine.append(self.block3(self.patch_embed3(fine[-1])))
        appearance8, motion8 = self._attend(self.patch_embed4(fine), self.block4, self.norm4)
        appearance16, motion16 = self._attend(self.patch_embed5(appearance8), self.block5, self.norm5)
        return [*fine, appearance8, appearance16], [motion8, motion16]


class Head(nn.Module):
    """Predicts flows and mask, or residuals of both, from the motion and the appearance of one level.

    Args:
        features: Channels of motion and appearance of both frames together.
        maps: Channels of the inputs at full size.
        hidden: Channels of the convolutions.
        ratio: The frame's size over that at which the convolutions work; a quarter of the level's stride.
    """

    def __init__(self, features: int, maps: int, hidden: int, ratio: int) -> None:
        super().__init__()
        self.ratio = ratio
        self.conv = nn.Sequential(
            conv_prelu(features // 16 + maps, hidden), conv_prelu(hidden, hidden), conv_prelu(hidden, 5)
        )

    def forward(self, features: Tensor, maps: Tensor, flow: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Predict flows (N, 4, H, W) in pixels and the mask logit (N, 1, H, W), or with `flow` the residuals of both.

        `features` (N, features, H/s, W/s) are motion and appearance at the level's stride s; `maps` (N, maps, H, W) the
        frames, and perhaps warped frames and mask logit.
        """
        inputs = [F.pixel_shuffle(F.pixel_shuffle(features, 2), 2), _resize(maps, 1, self.ratio)]
        if flow is not None:
            inputs.append(_resize(flow, 1, self.ratio) / self.ratio)
        # From here on in float32: 16 bits do not hold a position.
        x = _resize(self.conv(torch.cat(inputs, dim=1)).float(), self.ratio, 1)
        return x[:, :4] * self.ratio, x[:, 4:]


class Refinement(nn.Module):
    """A U-Net from the frames, the warped frames and the warped appearance to a residual (N, 3, H, W) in (-1, 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        f = channels
        self.down0 = DoubleConv(17 + 2 * f, 4 * f)
        self.down1 = DoubleConv(8 * f, 8 * f)
        self.down2 = DoubleConv(16 * f, 16 * f)
        self.down3 = DoubleConv(32 * f, 32 * f)
        self.up0 = deconv_prelu(64 * f, 16 * f)
        self.up1 = deconv_prelu(32 * f, 8 * f)
        self.up2 = deconv_prelu(16 * f, 4 * f)
        self.up3 = deconv_prelu(8 * f, 2 * f)
        self.conv = nn.Conv2d(2 * f, 3, 3, 1, 1)

    def forward(self, maps: Tensor, context: list[Tensor]) -> Tensor:
        """Predict the residual.

        Args:
            maps: (N, 17, H, W): frames, warped frames, mask logit, flows.
            context: The warped appearance of both frames, five levels (N, 2F·2^l, H/2^l, W/2^l).
        """
        x0 = self.down0(torch.cat((maps, context[0]), dim=1))
        x1 = self.down1(torch.cat((x0, context[1]), dim=1))
        x2 = self.down2(torch.cat((x1, context[2]), dim=1))
        x3 = self.down3(torch.cat((x2, context[3]), dim=1))
        x = self.up0(torch.cat((x3, context[4]), dim=1))
        x = self.up1(torch.cat((x, x2), dim=1))
        x = self.up2(torch.cat((x, x1), dim=1))
        x = self.up3(torch.cat((x, x0), dim=1))
        return 2.0 * torch.sigmoid(self.conv(x)) - 1.0


class EMAVFI(Network):
    """The network of EMA-VFI; the module's docstring describes it.

    Args:
        config: The size; by default `EMA_VFI`.
        flow_scale: 1/k, k = 1, 2, ..: the size at which flow is estimated over the frame's size. On X4K1000FPS the
            authors take 1/2 at 2K and 1/4 at 4K. Sides have to be multiples of 32 k.

    Raises:
        ValueError: if `flow_scale` is not 1/k.
    """

    any_time = True
    scales = 0.25, 0.5, 1.0

    def __init__(self, config: EMAVFIConfig = EMA_VFI, flow_scale: float = 1.0) -> None:
        super().__init__()
        self.config = config
        self.set_scale(flow_scale)
        f = config.channels
        self.backbone = Backbone(config)
        # Motion and appearance of both frames; the frames (6), and for head 1 also the warped frames, mask and flows.
        self.heads = nn.ModuleList(
            (Head(4 * 16 * f, 17 if config.prior else 6, 4 * f, 4), Head(4 * 8 * f, 17, 4 * f, 2))
        )
        self.refinement = Refinement(f)

    def set_scale(self, scale: float) -> None:
        """Estimate flow at `scale` times the frame's size.

        Raises:
            ValueError: if `scale` is not 1/k.
        """
        self.flow_down = round(1.0 / scale) if 0.0 < scale <= 1.0 else 0
        if not math.isclose(self.flow_down * scale, 1.0, rel_tol=1e-3):
            raise ValueError(f"`flow_scale` is {scale:g}: it has to be 1, 1/2, 1/3, ..")
        self.multiple = 32 * self.flow_down

    def pair(self, frame0: Tensor, frame1: Tensor) -> EMAVFIPair:
        """Appearance and motion of two frames (N, 3, H, W)."""
        frames = torch.cat((frame0, frame1))
        appearance, motion = self.backbone(frames)
        if self.flow_down == 1:
            return EMAVFIPair(frames, appearance, frames, appearance, motion)
        flow_frames = _resize(frames, 1, self.flow_down)
        flow_appearance, motion = self.backbone(flow_frames)
        return EMAVFIPair(frames, appearance, flow_frames, flow_appearance, motion)

    def at(self, pair: EMAVFIPair, t: Tensor, prior: FlowEstimate | None = None) -> EMAVFISynthesis:
        """Frame t of a prepared pair; t (N, 1, 1, 1), 0 < t < 1.

        `prior` is the estimate that head 0 refines, at the size of `pair.flow_frames`; needed if and only if
        `config.prior` is true.
        """
        if (prior is not None) != self.config.prior:
            raise ValueError("An EMA-VFI takes a `prior` estimate if and only if its configuration has prior=True.")
        frames = pair.flow_frames.chunk(2)
        # Head 0, at 1/4 of the size.
        features = _head_input(pair.motion[1], pair.flow_appearance[4], t)
        if prior is None:
            coarse, logit = self.heads[0](features, torch.cat(frames, dim=1))
        else:
            maps = torch.cat((*frames, prior.warped0, prior.warped1, prior.logit), dim=1)
            coarse, logit = self.heads[0](features, maps, prior.flow)
            coarse, logit = prior.flow + coarse, prior.logit + logit
        warped = _warp(pair.flow_frames, coarse)
        coarse_merged = _merge(warped, torch.sigmoid(logit))
        # Head 1, at 1/2 of the size.
        features = _head_input(pair.motion[0], pair.flow_appearance[3], t)
        flow_residual, logit_residual = self.heads[1](features, torch.cat((*frames, *warped, logit), dim=1), coarse)
        flow, logit = coarse + flow_residual, logit + logit_residual
        # Synthesis at full size.
        flow, logit = self.flow_down * _resize(flow, self.flow_down, 1), _resize(logit, self.flow_down, 1)
        warped = _warp(pair.frames, flow)
        mask = torch.sigmoid(logit)
        merged = _merge(warped, mask)
        context, level_flow = [], flow
        for level, appearance in enumerate(pair.appearance):
            if level > 0:
                level_flow = 0.5 * _resize(level_flow, 1, 2)
            context.append(torch.cat(_warp(appearance, level_flow), dim=1))
        residual = self.refinement(torch.cat((*pair.frames.chunk(2), *warped, logit, flow), dim=1), context)
        return EMAVFISynthesis(
            frame=(merged + residual).clamp(0.0, 1.0),
            flow_t0=flow[:, :2],
            flow_t1=flow[:, 2:],
            mask=mask,
            flows=[coarse, flow],
            merges=[coarse_merged, merged],
            residual=residual,
        )


def _head_input(motion: Tensor, appearance: Tensor, t: Tensor) -> Tensor:
    """The features of a head: motion from frame t to both frames, and the appearance of both."""
    motion0, motion1 = motion.chunk(2)
    return torch.cat((t * motion0, (1.0 - t) * motion1, *appearance.chunk(2)), dim=1)


def _warp(maps: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Warp the maps of frame 0 and frame 1, (2N, C, H, W), by F_{t->0} and F_{t->1}, (N, 4, H, W)."""
    maps0, maps1 = maps.chunk(2)
    return backward_warp(maps0, flow[:, :2]), backward_warp(maps1, flow[:, 2:])


def _merge(warped: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
    return mask * warped[0] + (1.0 - mask) * warped[1]


def _resize(x: Tensor, up: int, down: int) -> Tensor:
    """Resize `x` (N, C, H, W) to `up` / `down` times its size."""
    height, width = x.shape[-2:]
    return resize_to(x, (height * up // down, width * up // down))
