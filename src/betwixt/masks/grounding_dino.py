"""Grounding DINO: detection of objects by words.

    image (1, 3, H, W) ─► Swin ─► four scales ─┐
                                               ├─► feature enhancer: self- and cross-attention
    tokens (1, T) ─────► BERT ─► (1, T, 256) ──┘        │
                                                        └─► 900 queries ─► decoder ─► boxes (900, 4), logits (900, T)

The network is that of transformers (`GroundingDinoForObjectDetection`). This module converts the authors' checkpoints
to it: it detects which of the two sizes a checkpoint has, renames its parameters, and splits stacked projections.

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
from betwixt.masks.checkpoint_names import apply_first_rule


@dataclass(frozen=True)
class GroundingDINOConfig:
    """Hyper-parameters of the network."""

    channels: int = 96  # channels of the first stage of the Swin backbone
    depths: tuple[int, ...] = (2, 2, 6, 2)  # blocks of the backbone's stages
    heads: tuple[int, ...] = (3, 6, 12, 24)  # attention heads of the backbone's stages
    window: int = 7  # side of the backbone's attention windows
    layers: int = 6  # layers of the enhancer, and of the decoder
    width: int = 256  # channels of enhancer and decoder
    mlp: int = 2048  # channels of the MLPs of enhancer and decoder
    queries: int = 900  # number of predicted boxes
    text_width: int = 768  # channels of BERT
    text_layers: int = 12  # layers of BERT
    text_mlp: int = 3072  # channels of BERT's MLPs
    words: int = 30522  # size of BERT's vocabulary


SWIN_T = GroundingDINOConfig()
SWIN_B = GroundingDINOConfig(128, (2, 2, 18, 2), (4, 8, 16, 32), 12)
"""The published networks."""


def config_of(tensors: Mapping[str, Tensor], path: object = "The file") -> GroundingDINOConfig:
    """The configuration of the published network that tensors belong to, under the authors' names or ours.

    Raises:
        InputError: if they belong to none.
    """
    pattern = r"(backbone\.0\.patch_embed\.proj|embeddings\.patch_embeddings\.projection)\.weight$"
    channels = [int(tensor.shape[0]) for name, tensor in tensors.items() if re.search(pattern, name)]
    if not channels:
        raise InputError(f"{path} holds weights of another network than Grounding DINO: it has no such backbone.")
    for config in (SWIN_T, SWIN_B):
        if channels[0] == config.channels:
            return config
    raise InputError(
        f"{path} holds a Grounding DINO whose backbone has {channels[0]} channels, which is neither Swin-T nor Swin-B."
    )


_SWIN = "model.backbone.conv_encoder.model."
_NAMES = (
    (r"^backbone\.0\.patch_embed\.proj\.", f"{_SWIN}swin.embeddings.patch_embeddings.projection."),
    (r"^backbone\.0\.patch_embed\.norm\.", f"{_SWIN}swin.embeddings.norm."),
    # The authors' stages count from 0, those of transformers from 1.
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
_REFERENCE_PREFIXES = ("backbone.0.", "input_proj.", "bert.", "feat_map.", "transformer.", "bbox_embed.")
_STACKED = re.compile(r"^(.*?)\.(?:attn\.qkv\.|in_proj_)(weight|bias)$")


def from_reference_name(name: str) -> str:
    """The name in transformers of a parameter of the authors' network; other names are returned unchanged."""
    if not name.startswith(_REFERENCE_PREFIXES):
        return name
    return f"dino.{apply_first_rule(apply_first_rule(name, _NAMES), _PARTS)}"


def from_reference(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the authors' tensors, and split stacked projections of query, key and value; others are unchanged."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        stacked = _STACKED.match(name) if name.startswith(_REFERENCE_PREFIXES) else None
        if stacked is None or tensor.shape[0] % 3:
            renamed[from_reference_name(name)] = tensor
            continue
        prefix, kind = from_reference_name(f"{stacked[1]}."), stacked[2]
        attention = ("attention.q_proj", "attention.k_proj", "attention.v_proj")
        projections = attention if prefix.startswith(f"dino.{_SWIN}") else ("query", "key", "value")
        for projection, part in zip(projections, tensor.chunk(3), strict=True):
            renamed[f"{prefix}{projection}.{kind}"] = part
    return renamed


class GroundingDINO(nn.Module):
    """Grounding DINO, as implemented in transformers.

    Args:
        config: Hyper-parameters.

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
                # Use PyTorch operators: transformers would download compiled kernels.
                disable_custom_kernels=True,
            )
        )  # fmt: skip
        # The norm of the backbone's last output is unused, and absent from the authors' checkpoints.
        self.dino.model.backbone.conv_encoder.model.swin.layernorm = nn.Identity()

    def forward(self, image: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Detect the objects that a text names.

        Args:
            image: (1, 3, H, W), RGB, normalised by ImageNet's mean and standard deviation.
            tokens: (1, T), T <= 256, token ids of BERT: "[CLS] dog . grey horse . [SEP]".

        Returns:
            Logits (queries, T), and boxes (queries, 4): centre (x, y), width and height relative to the image.
        """
        output = self.dino(pixel_values=image, input_ids=tokens)
        return output.logits[0, :, : tokens.shape[1]], output.pred_boxes[0]


def build_from_checkpoint(tensors: Mapping[str, Tensor], path: object) -> GroundingDINO:
    """Build the network that a checkpoint's tensors belong to, without loading them; `path` is for error messages."""
    return GroundingDINO(config_of(tensors, path))
