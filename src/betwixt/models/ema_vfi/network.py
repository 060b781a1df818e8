"""EMA-VFI: motion and appearance from one inter-frame attention (Zhang et al., CVPR 2023).

A network that interpolates needs to know how things move and what they look like. EMA-VFI takes both from the same
attention map: a window of one frame asks the same window of the other frame where its content is. The map, applied to
the other frame's values, gives appearance that knows of the other frame; applied to the other frame's coordinates, it
gives where the content is, and with its own coordinates subtracted, the motion. Both are found once a pair. Only
their use depends on t: along straight paths the motion from t to frame 0 is t times the whole, to frame 1 (1 - t)
times.

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
    mask         (N, 1, H, W)                summed over the heads before the sigmoid; the heads exchange it so, too

What the paper leaves open, and what its authors' network does, which this one reproduces:

- Windows of 7x7 tile the frame from its centre: half of the padding on each side, an odd pixel at the end. Padding is
  zero before the norm, hence the norm's bias after it, and its coordinates are (0, 0).
- Every second block shifts its windows by 3. Pixels from opposite borders that meet in a window do not see each other.
  Nor do content and padding, but there the mask stays where it was before the shift, although the content has moved.
  That is a slip, and weights are trained with it.
- The residual of the attention is added to the normed tokens, not to those before the norm.
- The flows of head k are estimated at 1/4 (k = 0) and 1/2 (k = 1) of the frame from features brought there by two
  pixel shuffles.
- The published networks train without stochastic depth. Weights trained for t = 1/2 alone have the same layers as
  those for any time, but serve 1/2 alone.

What is our own:

- Coordinates are taken relative to the window's middle pixel, and the bias of their embedding is left out of the
  computation. Both cancel, since an attention row sums to one and motion is a difference. The small numbers that
  remain keep their precision in 16 bits: in bfloat16 at 640x384 the error of the motion falls to a half or a third.
  Positions are embedded once for both frames and the whole batch. Flows and masks are float32 also under autocast.
- `flow_scale`, the test-time choice of the authors' 4K evaluation, for motion beyond what training has seen: flows and
  mask are estimated on smaller frames, enlarged, and used for a synthesis at full size, which takes the appearance of
  the full frames. The attention then runs at both sizes.

Sides need to be multiples of 16 only; 32 is what the published figures were measured with.

Two sizes: `EMA_VFI_SMALL` with 14.49 M parameters and 415 GFLOP at 1280x736, `EMA_VFI` with 65.66 M and 1817 GFLOP; a
multiply-add counts as two.

References: Zhang et al., Extracting Motion and Appearance via Inter-Frame Attention for Efficient Video Frame
Interpolation, CVPR 2023; Liu et al., Swin Transformer, ICCV 2021 (shifted windows); Wang et al., PVTv2, CVMJ 2022
(depthwise convolution in the MLP); Wang et al., CrossFormer, ICLR 2022 (cross-scale embedding); Huang et al., RIFE,
ECCV 2022 (heads and refinement).
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from betwixt.layers.ifblock import FlowEstimate
from betwixt.layers.warp import backward_warp
from betwixt.models.network import Network, Synthesis

__all__ = [
    "EMAVFI",
    "EMA_VFI",
    "EMA_VFI_SMALL",
    "EMAVFIConfig",
    "EMAVFIPair",
    "EMAVFISynthesis",
    "from_reference_name",
]


@dataclass(frozen=True)
class EMAVFIConfig:
    """Hyper-parameters.

    Attributes:
        channels: F, of the appearance at full size; doubled at every level.
        depths: Convolutions at 1, 1/2 and 1/4; attention blocks at 1/8 and 1/16.
        window: Side of the attention windows.
        prior: Whether head 0 starts from an estimate that another part gives, as head 1 does, instead of from nothing.
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
    """Two frames, and all that depends on them alone. Frame 0 is the first half of every batch, frame 1 the second.

    Attributes:
        frames: (2N, 3, H, W).
        appearance: Five levels, (2N, F·2^l, H/2^l, W/2^l).
        flow_frames: The frames at the size at which flow is estimated; `frames` itself with a flow scale of 1.
        flow_appearance: Their appearance; `appearance` itself with a flow scale of 1.
        motion: Of `flow_frames`: (2N, 8F, h/8, w/8) and (2N, 16F, h/16, w/16).
    """

    frames: Tensor
    appearance: list[Tensor]
    flow_frames: Tensor
    flow_appearance: list[Tensor]
    motion: list[Tensor]


@dataclass(frozen=True, kw_only=True)
class EMAVFISynthesis(Synthesis):
    """Frame t, and what training looks at.

    Attributes:
        flows: (N, 4, H, W) after each head, F_{t->0} then F_{t->1}; the first at the size of the estimation.
        merges: (N, 3, H, W) after each head, the warped frames fused by the mask; sizes likewise.
        residual: (N, 3, H, W) in (-1, 1), which the refinement adds to the last of `merges`.
    """

    flows: list[Tensor]
    merges: list[Tensor]
    residual: Tensor


def from_reference_name(name: str) -> str:
    """Our name of a parameter of the authors' network.

    Their checkpoints also hold buffers, whose names end in `.attn_mask` and `.HW`: masks of the last training size,
    which have no counterpart here.
    """
    name = re.sub(r"^feature_bone\.", "backbone.", name)
    name = re.sub(r"^block\.", "heads.", name)
    name = re.sub(r"^unet\.", "refinement.", name)
    name = re.sub(r"\.(block[123])\.conv\.", r".\1.", name)
    return name.replace(".mlp.dwconv.dwconv.", ".mlp.depthwise.").replace(".cor_embed.", ".position.")


class Windows:
    """How a map is cut into square windows, and which pixels of a window may see each other.

    Args:
        height: Of the map.
        width: Of the map.
        side: Of the windows.
        shift: By how many pixels, up and left, the map is rolled before it is cut.
        device: Of the map.
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
        position = self.cut(torch.stack((x.expand(height, -1), y[:, None].expand(-1, width)), dim=-1)[None])
        # (windows, side², 2), (x, y), relative to the pixel in the middle of the window.
        self.position = position - position[:, side * side // 2, None]

        # (windows, 1, side², side²), whether the second pixel is hidden from the first; None where nothing is.
        self.hidden: Tensor | None = None
        if rows or columns or shift:
            row = self._labels(height, self.top, self.rows, device)
            column = self._labels(width, self.left, self.columns, device)
            label = self._tile((9 * row[:, None] + column)[None, :, :, None])[..., 0]
            self.hidden = (label[:, :, None] != label[:, None, :])[:, None]

    def _labels(self, length: int, before: int, count: int, device: torch.device) -> Tensor:
        """A number for each padded row (or column): rows that have different ones do not see each other."""
        i = torch.arange(count * self.side, device=device)
        # Padding is told from content by the place before the roll, the two ends of the map by that after it.
        label = (i >= before).long() + (i >= before + length).long()
        if self.shift:
            end = count * self.side
            label = 3 * label + (i >= end - self.side).long() + (i >= end - self.shift).long()
        return label

    def _tile(self, x: Tensor) -> Tensor:
        x = x.reshape(-1, self.rows, self.side, self.columns, self.side, x.shape[-1])
        return x.transpose(2, 3).reshape(-1, self.side * self.side, x.shape[-1])

    def cut(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B · windows, side², C)."""
        x = F.pad(x, self.padding)
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
        return self._tile(x)

    def join(self, x: Tensor) -> Tensor:
        """(B · windows, side², C) -> (B, H, W, C), what `cut` cut."""
        x = x.reshape(-1, self.rows, self.columns, self.side, self.side, x.shape[-1])
        x = x.transpose(2, 3).reshape(-1, self.rows * self.side, self.columns * self.side, x.shape[-1])
        if self.shift:
            x = x.roll((self.shift, self.shift), (1, 2))
        return x[:, self.top : self.top + self.height, self.left : self.left + self.width]


class InterFrameAttention(nn.Module):
    """A window asks the same window of the other frame: what is there, and where (the paper's section 3).

    The bias of `position` is kept for the sake of checkpoints; it cancels and is not used.
    """

    def __init__(self, channels: int, motion: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(channels, channels)
        self.kv = nn.Linear(channels, 2 * channels)
        self.proj = nn.Linear(channels, channels)
        self.position = nn.Linear(2, motion)
        self.motion_proj = nn.Linear(motion, motion)

    def _split(self, x: Tensor) -> Tensor:
        """(B, tokens, C) -> (B, heads, tokens, C / heads)."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def forward(self, tokens: Tensor, other: Tensor, windows: Windows) -> tuple[Tensor, Tensor]:
        """Appearance and motion of `tokens` (B · windows, side², C), given the other frame's."""
        key, value = (self._split(x) for x in self.kv(other).chunk(2, dim=-1))
        query = self._split(self.q(tokens))
        score = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        score = score.reshape(-1, len(windows.position), *score.shape[1:])
        if windows.hidden is not None:
            score = score.masked_fill(windows.hidden, -math.inf)
        attention = score.softmax(dim=-1)
        appearance = (attention.flatten(0, 1) @ value).transpose(1, 2).flatten(2)
        # Without the bias, which the difference cancels: beside it, small positions would drown in 16 bits.
        weight = self.position.weight
        here = self._split(F.linear(windows.position.to(weight.dtype), weight))
        motion = (attention @ here - here).flatten(0, 1).transpose(1, 2).flatten(2)
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
        tokens = self.norm1(windows.cut(x))
        appearance, motion = self.attn(tokens, torch.cat(tokens.chunk(2)[::-1]), windows)
        x = windows.join(tokens + appearance)
        return x + self.mlp(self.norm2(x)), windows.join(motion)


class CrossScaleEmbedding(nn.Module):
    """Tokens at 1/8 from all that is finer: (2N, F·2^l, H/2^l, W/2^l), l = 0 .. 2 -> (2N, H/8, W/8, 8F)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # The finer the level, the more dilations reach for what lies between the strides.
        self.places = [(level, dilation) for level in (2, 1, 0) for dilation in range(1, 2 ** (2 - level) + 1)]
        self.layers = nn.ModuleList(
            nn.Conv2d(channels * 2**level, channels, 3, 2 ** (3 - level), dilation, dilation)
            for level, dilation in self.places
        )
        self.proj = nn.Conv2d(channels * len(self.places), 8 * channels, 1)
        self.norm = nn.LayerNorm(8 * channels)

    def forward(self, levels: list[Tensor]) -> Tensor:
        x = torch.cat([layer(levels[level]) for layer, (level, _) in zip(self.layers, self.places, strict=True)], dim=1)
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


def _conv(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, stride, 1), nn.PReLU(channels_out))


def _convs(channels_in: int, channels_out: int, depth: int) -> nn.Sequential:
    """`depth` convolutions in one flat sequence."""
    layers = [_conv(channels_in if i == 0 else channels_out, channels_out) for i in range(depth)]
    return nn.Sequential(*(module for layer in layers for module in layer))


class Backbone(nn.Module):
    """Stacked frames (2N, 3, H, W) -> appearance at five levels, motion at the two coarsest."""

    def __init__(self, config: EMAVFIConfig) -> None:
        super().__init__()
        f = config.channels
        self.window = config.window
        self.block1 = _convs(3, f, config.depths[0])
        self.patch_embed2 = _conv(f, 2 * f, 2)
        self.block2 = _convs(2 * f, 2 * f, config.depths[1])
        self.patch_embed3 = _conv(2 * f, 4 * f, 2)
        self.block3 = _convs(4 * f, 4 * f, config.depths[2])
        self.patch_embed4 = CrossScaleEmbedding(f)
        self.block4 = self._attention(8 * f, config.depths[3])
        self.norm4 = nn.LayerNorm(8 * f, eps=1e-6)
        self.patch_embed5 = PatchEmbedding(8 * f)
        self.block5 = self._attention(16 * f, config.depths[4])
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
    def _attention(channels: int, depth: int) -> nn.ModuleList:
        # Heads of 32 channels; the motion of all blocks together has as many channels as the appearance.
        return nn.ModuleList(AttentionBlock(channels, channels // depth, channels // 32) for _ in range(depth))

    def _attend(self, x: Tensor, blocks: nn.ModuleList, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
        """(2N, H, W, C) -> appearance and motion, (2N, C, H, W)."""
        height, width = x.shape[1:3]
        cuts = [Windows(height, width, self.window, shift, x.device) for shift in (0, self.window // 2)]
        motions = []
        for i, block in enumerate(blocks):
            x, motion = block(x, cuts[i % 2])
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
    """Flows and mask from the motion and appearance of one level, or what to add to those found so far.

    Args:
        features: Channels of motion and appearance, both frames together.
        pictures: Channels of all that is given at full size.
        hidden: Channels of the convolutions.
        ratio: The frame's size over the size at which the convolutions work, a quarter of the level's stride.
    """

    def __init__(self, features: int, pictures: int, hidden: int, ratio: int) -> None:
        super().__init__()
        self.ratio = ratio
        self.conv = nn.Sequential(_conv(features // 16 + pictures, hidden), _conv(hidden, hidden), _conv(hidden, 5))

    def forward(self, features: Tensor, pictures: Tensor, flow: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Flows (N, 4, H, W) in pixels and the mask's logit (N, 1, H, W), given the flows so far."""
        inputs = [F.pixel_shuffle(F.pixel_shuffle(features, 2), 2), _resize(pictures, 1, self.ratio)]
        if flow is not None:
            inputs.append(_resize(flow, 1, self.ratio) / self.ratio)
        # From here on in full precision: 16 bits cannot tell places in a frame apart.
        x = _resize(self.conv(torch.cat(inputs, dim=1)).float(), self.ratio, 1)
        return x[:, :4] * self.ratio, x[:, 4:]


class Refinement(nn.Module):
    """A U-Net from the frames, the warped frames and the warped appearance to a residual (N, 3, H, W) in (-1, 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        f = channels
        self.down0 = self._down(17 + 2 * f, 4 * f)
        self.down1 = self._down(8 * f, 8 * f)
        self.down2 = self._down(16 * f, 16 * f)
        self.down3 = self._down(32 * f, 32 * f)
        self.up0 = self._up(64 * f, 16 * f)
        self.up1 = self._up(32 * f, 8 * f)
        self.up2 = self._up(16 * f, 4 * f)
        self.up3 = self._up(8 * f, 2 * f)
        self.conv = nn.Conv2d(2 * f, 3, 3, 1, 1)

    @staticmethod
    def _down(channels_in: int, channels_out: int) -> nn.Sequential:
        return nn.Sequential(
            OrderedDict(conv1=_conv(channels_in, channels_out, 2), conv2=_conv(channels_out, channels_out))
        )

    @staticmethod
    def _up(channels_in: int, channels_out: int) -> nn.Sequential:
        return nn.Sequential(nn.ConvTranspose2d(channels_in, channels_out, 4, 2, 1), nn.PReLU(channels_out))

    def forward(self, pictures: Tensor, context: list[Tensor]) -> Tensor:
        """The residual from all pictures (N, 17, H, W) and the warped appearance of both frames at five levels."""
        x0 = self.down0(torch.cat((pictures, context[0]), dim=1))
        x1 = self.down1(torch.cat((x0, context[1]), dim=1))
        x2 = self.down2(torch.cat((x1, context[2]), dim=1))
        x3 = self.down3(torch.cat((x2, context[3]), dim=1))
        x = self.up0(torch.cat((x3, context[4]), dim=1))
        x = self.up1(torch.cat((x, x2), dim=1))
        x = self.up2(torch.cat((x, x1), dim=1))
        x = self.up3(torch.cat((x, x0), dim=1))
        return 2.0 * torch.sigmoid(self.conv(x)) - 1.0


class EMAVFI(Network):
    """The network; see the module for what it computes and why.

    Args:
        config: `EMA_VFI` unless given.
        flow_scale: 1/k, k = 1, 2, ..: the size at which flow is estimated, as a part of the frame's. On X4K1000FPS the
            authors take 1/2 at 2K and 1/4 at 4K. Sides have to be multiples of 32 k.

    Raises:
        ValueError: if `flow_scale` is no 1/k.
    """

    any_time = True

    def __init__(self, config: EMAVFIConfig = EMA_VFI, flow_scale: float = 1.0) -> None:
        super().__init__()
        self.config = config
        self.flow_down = round(1.0 / flow_scale) if 0.0 < flow_scale <= 1.0 else 0
        if not math.isclose(self.flow_down * flow_scale, 1.0, rel_tol=1e-3):
            raise ValueError(f"flow_scale is {flow_scale:g}: it has to be 1, 1/2, 1/3, ..")
        self.multiple = 32 * self.flow_down
        f = config.channels
        self.backbone = Backbone(config)
        # Motion and appearance of two frames; the frames, and for head 1 the warped frames, the mask and the flows.
        self.heads = nn.ModuleList(
            (Head(4 * 16 * f, 17 if config.prior else 6, 4 * f, 4), Head(4 * 8 * f, 17, 4 * f, 2))
        )
        self.refinement = Refinement(f)

    def pair(self, frame0: Tensor, frame1: Tensor) -> EMAVFIPair:
        """Appearance and motion of two frames (N, 3, H, W): all of the attention."""
        frames = torch.cat((frame0, frame1))
        appearance, motion = self.backbone(frames)
        if self.flow_down == 1:
            return EMAVFIPair(frames, appearance, frames, appearance, motion)
        small = _resize(frames, 1, self.flow_down)
        small_appearance, motion = self.backbone(small)
        return EMAVFIPair(frames, appearance, small, small_appearance, motion)

    def at(self, pair: EMAVFIPair, t: Tensor, prior: FlowEstimate | None = None) -> EMAVFISynthesis:
        """Frame t of a prepared pair; t (N, 1, 1, 1), 0 < t < 1.

        `prior` is what head 0 starts from, at the size of `pair.flow_frames`; given where the configuration has one.
        """
        if (prior is not None) != self.config.prior:
            raise ValueError("An EMA-VFI starts from an estimate if it was made for one (prior=True), or from none.")
        frames = pair.flow_frames.chunk(2)
        features = _features(pair.motion[1], pair.flow_appearance[4], t)
        if prior is None:
            coarse, logit = self.heads[0](features, torch.cat(frames, dim=1))
        else:
            pictures = torch.cat((*frames, prior.warped0, prior.warped1, prior.logit), dim=1)
            coarse, logit = self.heads[0](features, pictures, prior.flow)
            coarse, logit = prior.flow + coarse, prior.logit + logit
        warped = _warp(pair.flow_frames, coarse)
        coarse_merged = _merge(warped, torch.sigmoid(logit))
        flow, more_logit = self.heads[1](
            _features(pair.motion[0], pair.flow_appearance[3], t), torch.cat((*frames, *warped, logit), dim=1), coarse
        )
        flow, logit = coarse + flow, logit + more_logit
        flow, logit = self.flow_down * _resize(flow, self.flow_down, 1), _resize(logit, self.flow_down, 1)
        warped = _warp(pair.frames, flow)
        mask = torch.sigmoid(logit)
        merged = _merge(warped, mask)
        context, smaller = [], flow
        for level, appearance in enumerate(pair.appearance):
            if level > 0:
                smaller = 0.5 * _resize(smaller, 1, 2)
            context.append(torch.cat(_warp(appearance, smaller), dim=1))
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


def _features(motion: Tensor, appearance: Tensor, t: Tensor) -> Tensor:
    """What a head looks at: motion from frame t to either frame, and the appearance of both."""
    motion0, motion1 = motion.chunk(2)
    return torch.cat((t * motion0, (1.0 - t) * motion1, *appearance.chunk(2)), dim=1)


def _warp(both: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Frame 0 and frame 1 of `both` (2N, C, H, W), warped by the first and the last two channels of `flow`."""
    first, second = both.chunk(2)
    return backward_warp(first, flow[:, :2]), backward_warp(second, flow[:, 2:])


def _merge(warped: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
    return mask * warped[0] + (1.0 - mask) * warped[1]


def _resize(x: Tensor, up: int, down: int) -> Tensor:
    """`x` (N, C, H, W) at up / down times its size, bilinear."""
    if up == down:
        return x
    height, width = x.shape[-2:]
    return F.interpolate(x, (height * up // down, width * up // down), mode="bilinear")
