"""Grounding DINO: where in a picture a word applies.

    image (1, 3, H, W) ─► Swin ─► four scales ─┐
                                               ├─► enhancer: each attends to itself and to the other
    tokens (1, T) ─────► BERT ─► (1, T, 256) ──┘        │
                                                        └─► 900 queries ─► decoder ─► boxes (900, 4), logits (900, T)

The network is that of transformers (`GroundingDinoForObjectDetection`); here is what leads from the authors'
checkpoints to it: which of their two sizes one is, the names, and the projections that transformers keeps apart.

Reference: S. Liu et al., "Grounding DINO: Marrying DINO with Grounded Pre-Training for Open-Set Object Detection",
ECCV 2024.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from betwixt.errors import InputError

__all__ = [
    "SWIN_B",
    "SWIN_T",
    "GroundingDINO",
    "GroundingDINOConfig",
    "build_from_checkpoint",
    "config_of",
    "from_reference",
]


@dataclass(frozen=True)
class GroundingDINOConfig:
    """Sizes of the network.

    Attributes:
        channels: Of the first stage of the Swin backbone.
        depths: Blocks of its stages.
        heads: Attention heads of its stages.
        window: Side of its attention windows.
        layers: Of the enhancer, and of the decoder.
        width: Channels from the backbones on.
        mlp: Channels of the MLPs there.
        queries: How many boxes are found.
        text_width: Channels of BERT.
        text_layers: Its layers.
        text_mlp: Channels of its MLPs.
        words: Size of its vocabulary.
    """

    channels: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 7
    layers: int = 6
    width: int = 256
    mlp: int = 2048
    queries: int = 900
    text_width: int = 768
    text_layers: int = 12
    text_mlp: int = 3072
    words: int = 30522


SWIN_T = GroundingDINOConfig()
SWIN_B = GroundingDINOConfig(128, (2, 2, 18, 2), (4, 8, 16, 32), 12)
"""The published networks."""


def config_of(tensors: Mapping[str, Tensor], path: object = "The file") -> GroundingDINOConfig:
    """Which of the published networks tensors are of, by the authors' names or by ours.

    Raises:
        InputError: if of none.
    """
    pattern = r"(backbone\.0\.patch_embed\.proj|embeddings\.patch_embeddings\.projection)\.weight$"
    found = [int(tensor.shape[0]) for name, tensor in tensors.items() if re.search(pattern, name)]
    if not found:
        raise InputError(f"{path} holds weights of another network than Grounding DINO: it has no such backbone.")
    for config in (SWIN_T, SWIN_B):
        if found[0] == config.channels:
            return config
    raise InputError(
        f"{path} holds a Grounding DINO whose backbone has {found[0]} channels, which is neither Swin-T nor Swin-B."
    )


_SWIN = "model.backbone.conv_encoder.model."
_NAMES = (
    (r"^backbone\.0\.patch_embed\.proj\.", f"{_SWIN}swin.embeddings.patch_embeddings.projection."),
    (r"^backbone\.0\.patch_embed\.norm\.", f"{_SWIN}swin.embeddings.norm."),
    # Their stages count from 0, those of transformers from 1: 0 is the patches.
    (r"^backbone\.0\.norm1\.", f"{_SWIN}hidden_states_norms.stage2."),
    (r"^backbone\.0\.norm2\.", f"{_SWIN}hidden_states_norms.stage3."),
    (r"^backbone\.0\.norm3\.", f"{_SWIN}hidden_states_norms.stage4."),
    (r"^backbone\.0\.", f"{_SWIN}swin.encoder."),
    (r"^input_proj\.", "model.input_proj_vision."),
    (r"^bert\.", "model.text_backbone."),
    (r"^feat_map\.", "model.text_projection."),
    (r"^transformer\.encoder\.layers\.(\d+)\.", r"model.encoder.layers.\1.deformable_layer."),
    (r"^transformer\.encoder\.text_layers\.(\d+)\.", r"model.encoder.layers.\1.text_enhancer_layer."),
    (r"^transformer\.encoder\.fusion_layers\.(\d+)\.", r"model.encoder.layers.\1.fusion_layer."),
    (r"^transformer\.decoder\.norm\.", "model.decoder.layer_norm."),
    (r"^transformer\.decoder\.ref_point_head\.", "model.decoder.reference_points_head."),
    (r"^transformer\.tgt_embed\.", "model.query_position_embeddings."),
    (r"^transformer\.enc_out_bbox_embed\.", "model.encoder_output_bbox_embed."),
    (r"^transformer\.", "model."),
)
_PARTS = (
    (r"(swin\.encoder\..*)\.norm1\.", r"\1.layernorm_before."),
    (r"(swin\.encoder\..*)\.norm2\.", r"\1.layernorm_after."),
    (r"(swin\.encoder\..*)\.attn\.proj\.", r"\1.attention.o_proj."),
    (r"(swin\.encoder\..*)\.attn\.relative_position", r"\1.attention.relative_position_bias.relative_position"),
    (r"\.deformable_layer\.norm1\.", ".deformable_layer.self_attn_layer_norm."),
    (r"\.deformable_layer\.norm2\.", ".deformable_layer.final_layer_norm."),
    (r"\.text_enhancer_layer\.norm1\.", ".text_enhancer_layer.layer_norm_before."),
    (r"\.text_enhancer_layer\.norm2\.", ".text_enhancer_layer.layer_norm_after."),
    (r"(deformable_layer|text_enhancer_layer|model\.decoder\.layers\.\d+)\.linear([12])\.", r"\1.fc\2."),
    (r"\.fusion_layer\.gamma_v$", ".fusion_layer.vision_param"),
    (r"\.fusion_layer\.gamma_l$", ".fusion_layer.text_param"),
    (r"\.fusion_layer\.layer_norm_v\.", ".fusion_layer.layer_norm_vision."),
    (r"\.fusion_layer\.layer_norm_l\.", ".fusion_layer.layer_norm_text."),
    (r"\.fusion_layer\.attn\.(values_|out_|)v_proj\.", r".fusion_layer.attn.\1vision_proj."),
    (r"\.fusion_layer\.attn\.(values_|out_|)l_proj\.", r".fusion_layer.attn.\1text_proj."),
    (r"(model\.decoder\.layers\.\d+)\.cross_attn\.", r"\1.encoder_attn."),
    (r"(model\.decoder\.layers\.\d+)\.norm1\.", r"\1.encoder_attn_layer_norm."),
    (r"(model\.decoder\.layers\.\d+)\.ca_text\.", r"\1.encoder_attn_text."),
    (r"(model\.decoder\.layers\.\d+)\.catext_norm\.", r"\1.encoder_attn_text_layer_norm."),
    (r"(model\.decoder\.layers\.\d+)\.norm2\.", r"\1.self_attn_layer_norm."),
    (r"(model\.decoder\.layers\.\d+)\.norm3\.", r"\1.final_layer_norm."),
)
_THEIRS = ("backbone.0.", "input_proj.", "bert.", "feat_map.", "transformer.", "bbox_embed.")
_STACKED = re.compile(r"^(.*?)\.(?:attn\.qkv\.|in_proj_)(weight|bias)$")


def from_reference_name(name: str) -> str:
    """The name in transformers of a parameter of the authors' network; other names stay as they are."""
    if not name.startswith(_THEIRS):
        return name
    for pattern, replacement in _NAMES:
        name, count = re.subn(pattern, replacement, name)
        if count:
            break
    for pattern, replacement in _PARTS:
        name, count = re.subn(pattern, replacement, name)
        if count:
            break
    return f"dino.{name}"


def from_reference(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' tensors by our names, query, key and value apart; what has other names is handed on."""
    ours: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        stacked = _STACKED.match(name) if name.startswith(_THEIRS) else None
        if stacked is None or tensor.shape[0] % 3:
            ours[from_reference_name(name)] = tensor
            continue
        place, kind = from_reference_name(f"{stacked[1]}."), stacked[2]
        attention = ("attention.q_proj", "attention.k_proj", "attention.v_proj")
        parts = attention if place.startswith(f"dino.{_SWIN}") else ("query", "key", "value")
        for part, third in zip(parts, tensor.chunk(3), strict=True):
            ours[f"{place}{part}.{kind}"] = third
    return ours


class GroundingDINO(nn.Module):
    """The network of transformers.

    Raises:
        ImportError: if transformers is not installed.
    """

    def __init__(self, config: GroundingDINOConfig = SWIN_T) -> None:
        super().__init__()
        from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig

        self.config = config
        self.dino: Any = GroundingDinoForObjectDetection(
            GroundingDinoConfig(
                backbone_config=SwinConfig(
                    embed_dim=config.channels, depths=list(config.depths), num_heads=list(config.heads),
                    window_size=config.window, out_indices=[2, 3, 4],
                ),
                text_config={
                    "model_type": "bert", "hidden_size": config.text_width, "num_hidden_layers": config.text_layers,
                    "num_attention_heads": max(1, config.text_width // 64), "intermediate_size": config.text_mlp,
                    "vocab_size": config.words,
                },
                d_model=config.width, encoder_layers=config.layers, decoder_layers=config.layers,
                encoder_ffn_dim=config.mlp, decoder_ffn_dim=config.mlp, num_queries=config.queries,
                # Written in PyTorch: transformers would fetch compiled ones.
                disable_custom_kernels=True,
            )
        )  # fmt: skip
        # The norm of the backbone's own last output, which nothing here reads and the authors do not have.
        self.dino.model.backbone.conv_encoder.model.swin.layernorm = nn.Identity()

    def forward(self, image: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Find what tokens say.

        Args:
            image: (1, 3, H, W), RGB, less ImageNet's mean over its standard deviation.
            tokens: (1, T), T <= 256, of BERT's vocabulary: "[CLS] dog . grey horse . [SEP]".

        Returns:
            Logits (queries, T), and boxes (queries, 4): centre (x, y), width, height, as parts of the picture.
        """
        found = self.dino(pixel_values=image, input_ids=tokens)
        return found.logits[0, :, : tokens.shape[1]], found.pred_boxes[0]


def build_from_checkpoint(tensors: Mapping[str, Tensor], path: object) -> GroundingDINO:
    """The network, without weights, that a checkpoint's tensors are for; `path` is for messages."""
    return GroundingDINO(config_of(tensors, path))
