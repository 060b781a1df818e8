"""RAM (Recognize Anything): image tagging with thousands of tags.

    image (N, 3, 384, 384)
       │
       ▼
    Swin-L: patches of 4x4 ─► 4 stages of windowed attention, each at half the size ─► norm ─► tokens (N, 144, 1536)
       │                                                               their mean is prepended ─► (N, 145, 1536)
       ▼
    image_proj ─► (N, 145, 512) ── keys and values ─────────────┐
                                                                ▼
    label_embed (4585, 512) ─► wordvec_proj ─► ReLU ─► 2 x (cross-attention, MLP) ─► fc ─► logits (N, 4585)

Each tag is a query, made from the embedding of its name, that attends to the image tokens: BERT layers without
self-attention, as in Query2Label. Only the tagging path of the paper is implemented; its checkpoints also hold an
encoder and a decoder for captions, which tags do not need.

The sides of the input image must be a multiple of the patch, the windows and all downsampling: 384 for the published
weights.

References: Y. Zhang, X. Huang et al., "Recognize Anything: A Strong Image Tagging Model", CVPR Workshops 2024;
Z. Liu et al., "Swin Transformer", ICCV 2021; S. Liu et al., "Query2Label", 2021.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class RAMConfig:
    """Hyper-parameters of the network."""

    size: int = 384  # side of the square input image, in pixels
    patch: int = 4  # side of a patch, in pixels
    channels: int = 192  # channels of the first stage of the backbone; each further stage has twice as many
    depths: tuple[int, ...] = (2, 2, 18, 2)  # blocks of each stage
    heads: tuple[int, ...] = (6, 12, 24, 48)  # attention heads of each stage
    window: int = 12  # side of an attention window, in patches
    projection: int = 512  # channels of the projected image tokens and of the tag embeddings
    hidden: int = 768  # channels of the tagging head
    head_layers: int = 2  # layers of the tagging head
    head_heads: int = 4  # attention heads of the tagging head
    head_mlp: int = 3072  # channels of the tagging head's MLPs
    tags: int = 4585  # number of tags


RAM_SWIN_L = RAMConfig()
"""The published network."""


@dataclass(frozen=True)
class RAMOutput:
    """The tag logits and the intermediate results of the network."""

    logits: Tensor  # (N, tags), before the sigmoid
    tokens: Tensor  # (N, 1 + patches, C), the tokens of the backbone, their mean first
    projected: Tensor  # (N, 1 + patches, projection), the keys and values of the tagging head
    tags: Tensor  # (N, tags, hidden), the queries after the last layer


def from_reference_name(name: str) -> str:
    """The name here of a parameter of the authors' network."""
    name = name.replace("visual_encoder.", "backbone.", 1)
    name = name.replace(".attn.relative_position_bias_table", ".attn.bias_table")
    name = re.sub(r"^tagging_head\.encoder\.layer\.", "head.", name)
    name = re.sub(r"^(head\.\d+)\.crossattention\.self\.", r"\1.attention.", name)
    name = re.sub(r"^(head\.\d+)\.crossattention\.output\.dense\.", r"\1.attention.proj.", name)
    name = re.sub(r"^(head\.\d+)\.crossattention\.output\.LayerNorm\.", r"\1.norm1.", name)
    name = re.sub(r"^(head\.\d+)\.intermediate\.dense\.", r"\1.fc1.", name)
    name = re.sub(r"^(head\.\d+)\.output\.dense\.", r"\1.fc2.", name)
    return re.sub(r"^(head\.\d+)\.output\.LayerNorm\.", r"\1.norm2.", name)


class WindowAttention(nn.Module):
    """Attention inside windows, with a learned bias for each relative position: (B, side², C) -> (B, side², C)."""

    def __init__(self, channels: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.bias_table = nn.Parameter(torch.zeros((2 * side - 1) ** 2, heads))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        row, column = torch.arange(side).repeat_interleave(side), torch.arange(side).repeat(side)
        index = (row[:, None] - row + side - 1) * (2 * side - 1) + column[:, None] - column + side - 1
        self.register_buffer("index", index, persistent=False)
        self.index: Tensor

    def forward(self, x: Tensor, masked: Tensor | None) -> Tensor:
        """Attend; `masked` (windows, side², side²) is True where a pixel may not attend to another."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.bias_table[self.index.reshape(-1)].reshape(*self.index.shape, -1).permute(2, 0, 1)[None]
        if masked is not None:
            mask = torch.zeros(masked.shape, dtype=x.dtype, device=x.device).masked_fill(masked, -100.0)
            bias = (bias + mask[:, None]).repeat(len(x) // len(mask), 1, 1, 1)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(len(x), -1, -1, -1))
        out: Tensor = self.proj(x.transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """A block of Swin: (N, H, W, C) -> (N, H, W, C); the sides are multiples of the window's."""

    def __init__(self, channels: int, heads: int, side: int, window: int, shifted: bool) -> None:
        super().__init__()
        # A single window that covers the map is not shifted.
        self.window = min(window, side)
        self.shift = window // 2 if shifted and side > window else 0
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, self.window)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = MLP(channels)

    def _partition(self, x: Tensor) -> Tensor:
        """(N, H, W, C) -> (N windows, side², C)."""
        n, h, w, c = x.shape
        x = x.reshape(n, h // self.window, self.window, w // self.window, self.window, c)
        return x.transpose(2, 3).reshape(-1, self.window**2, c)

    def _attention_mask(self, h: int, w: int, device: torch.device) -> Tensor:
        """(windows, side², side²): True for pixels from opposite ends of the map, which the shift brings together."""
        groups = []
        for length in (h, w):
            i = torch.arange(length, device=device)
            groups.append((i >= length - self.window).long() + (i >= length - self.shift).long())
        group = self._partition((3 * groups[0][:, None] + groups[1])[None, :, :, None])[..., 0]
        return group[:, :, None] != group[:, None, :]

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        y, masked = self.norm1(x), None
        if self.shift:
            y = y.roll((-self.shift, -self.shift), (1, 2))
            masked = self._attention_mask(h, w, x.device)
        y = self.attn(self._partition(y), masked)
        y = y.reshape(n, h // self.window, w // self.window, self.window, self.window, c)
        y = y.transpose(2, 3).reshape(n, h, w, c)
        if self.shift:
            y = y.roll((self.shift, self.shift), (1, 2))
        x = x + y
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class MLP(nn.Module):
    """Two linear layers with four times the channels between them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class PatchMerging(nn.Module):
    """Merges 2x2 pixels: (N, H, W, C) -> (N, H/2, W/2, 2C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        # In the order (0, 0), (1, 0), (0, 1), (1, 1) of (row, column).
        pixels = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        out: Tensor = self.reduction(self.norm(torch.cat(pixels, dim=-1)))
        return out


class Stage(nn.Module):
    """The blocks of one resolution, and the downsampling to the next."""

    def __init__(self, channels: int, depth: int, heads: int, side: int, window: int, last: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(channels, heads, side, window, i % 2 == 1) for i in range(depth))
        self.downsample = None if last else PatchMerging(channels)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class PatchEmbedding(nn.Module):
    """(N, 3, H, W) -> (N, H/p, W/p, C)."""

    def __init__(self, channels: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, patch, patch)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return out


class Swin(nn.Module):
    """The backbone: (N, 3, H, W) -> (N, 1 + patches, C), the mean of all tokens first."""

    def __init__(self, config: RAMConfig) -> None:
        super().__init__()
        count, side = len(config.depths), config.size // config.patch
        self.patch_embed = PatchEmbedding(config.channels, config.patch)
        self.layers = nn.ModuleList(
            Stage(config.channels << i, depth, heads, side >> i, config.window, i == count - 1)
            for i, (depth, heads) in enumerate(zip(config.depths, config.heads, strict=True))
        )
        self.norm = nn.LayerNorm(config.channels << (count - 1))

    def forward(self, image: Tensor) -> Tensor:
        x = self.patch_embed(image)
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x).flatten(1, 2)
        return torch.cat((x.mean(dim=1, keepdim=True), x), dim=1)


class CrossAttention(nn.Module):
    """Cross-attention from queries (N, Q, hidden) to tokens (N, T, projection)."""

    def __init__(self, hidden: int, projection: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(projection, hidden)
        self.value = nn.Linear(projection, hidden)
        self.proj = nn.Linear(hidden, hidden)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        q, k, v = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x in (self.query(queries), self.key(tokens), self.value(tokens))
        )
        out: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


class TagLayer(nn.Module):
    """A layer of the tagging head, with norms after the residual sums, as in BERT."""

    def __init__(self, config: RAMConfig) -> None:
        super().__init__()
        self.attention = CrossAttention(config.hidden, config.projection, config.head_heads)
        self.norm1 = nn.LayerNorm(config.hidden, eps=1e-12)
        self.fc1 = nn.Linear(config.hidden, config.head_mlp)
        self.fc2 = nn.Linear(config.head_mlp, config.hidden)
        self.norm2 = nn.LayerNorm(config.hidden, eps=1e-12)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        x = self.norm1(queries + self.attention(queries, tokens))
        out: Tensor = self.norm2(x + self.fc2(F.gelu(self.fc1(x))))
        return out


class RAM(nn.Module):
    """The tagging network of RAM; the module's docstring describes it."""

    def __init__(self, config: RAMConfig = RAM_SWIN_L) -> None:
        super().__init__()
        self.config = config
        self.backbone = Swin(config)
        self.image_proj = nn.Linear(config.channels << (len(config.depths) - 1), config.projection)
        self.label_embed = nn.Parameter(torch.zeros(config.tags, config.projection))
        self.wordvec_proj = nn.Linear(config.projection, config.hidden)
        self.head = nn.ModuleList(TagLayer(config) for _ in range(config.head_layers))
        self.fc = nn.Linear(config.hidden, 1)

    def forward(self, image: Tensor) -> RAMOutput:
        """Tag images (N, 3, size, size), RGB, normalised by ImageNet's mean and standard deviation."""
        tokens = self.backbone(image)
        projected = self.image_proj(tokens)
        tags = F.relu(self.wordvec_proj(self.label_embed)).expand(len(image), -1, -1)
        for layer in self.head:
            tags = layer(tags, projected)
        return RAMOutput(self.fc(tags).squeeze(-1), tokens, projected, tags)


def build_from_checkpoint(tensors: Mapping[str, Tensor], path: object) -> RAM:
    """Build the network that a checkpoint's tensors belong to, without loading them; `path` is for error messages."""
    return RAM(RAM_SWIN_L)
