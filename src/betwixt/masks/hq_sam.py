"""HQ-SAM: segmentation of the object in a box.

    image (1, 3, 1024, 1024) ─► ViT ─┬─► embedding (1, 256, 64, 64) ───────────────┐
                                     └─► early features of the first global block ─┤
    boxes (n, 4) ─► prompt encoder ─► two tokens a box ────────────────────────────┴─► decoder ─► logits (n, 256, 256)

HQ-SAM is SAM with one more output token, whose mask is computed from features of the decoder and of the last and an
early layer of the encoder, and added to SAM's own mask. The network is that of transformers (`SamHQModel`). This module
converts the authors' checkpoints to it: it detects which of the three sizes a checkpoint has, and renames its
parameters.

Reference: L. Ke et al., "Segment Anything in High Quality", NeurIPS 2023.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from betwixt.errors import InputError
from betwixt.masks.checkpoint_names import apply_first_rule


@dataclass(frozen=True)
class HQSAMConfig:
    """Hyper-parameters of the network.

    Attributes:
        channels: Channels of the ViT.
        depth: Blocks of the ViT.
        heads: Attention heads of the ViT.
        whole: The indices of the blocks with global attention; the others attend to windows.
        size: Side of the square input image, in pixels.
        patch: Side of a patch, in pixels.
        window: Side of an attention window, in patches.
        prompt: Channels of prompts and decoder.
        decoder_heads: Attention heads of the decoder.
        decoder_mlp: Channels of the decoder's MLPs.
        quality: Channels of the head that predicts the IoU of a mask.
    """

    channels: int = 768
    depth: int = 12
    heads: int = 12
    whole: tuple[int, ...] = (2, 5, 8, 11)
    size: int = 1024
    patch: int = 16
    window: int = 14
    prompt: int = 256
    decoder_heads: int = 8
    decoder_mlp: int = 2048
    quality: int = 256


VIT_B = HQSAMConfig()
VIT_L = HQSAMConfig(1024, 24, 16, (5, 11, 17, 23))
VIT_H = HQSAMConfig(1280, 32, 16, (7, 15, 23, 31))
"""The published networks."""


def config_of(tensors: Mapping[str, Tensor], path: object = "The file") -> HQSAMConfig:
    """The configuration of the published network that tensors belong to, under the authors' names or ours.

    Raises:
        InputError: if they belong to none.
    """
    positions = [t for name, t in tensors.items() if re.search(r"(image|vision)_encoder\.pos_embed$", name)]
    blocks = [
        m for name in tensors if (m := re.search(r"_encoder\.(?:blocks|layers)\.(\d+)\.attn\.qkv\.weight$", name))
    ]
    if not positions or not blocks:
        raise InputError(f"{path} holds weights of another network than HQ-SAM: it has no such image encoder.")
    channels, depth = int(positions[0].shape[-1]), 1 + max(int(m[1]) for m in blocks)
    for config in (VIT_B, VIT_L, VIT_H):
        if (channels, depth) == (config.channels, config.depth):
            return config
    raise InputError(
        f"{path} holds an HQ-SAM of {channels} channels and {depth} blocks, which is none of ViT-B, ViT-L and ViT-H."
    )


_CONVOLUTIONS = {
    "image_encoder.neck": ("vision_encoder.neck", {0: "conv1", 1: "layer_norm1", 2: "conv2", 3: "layer_norm2"}),
    "prompt_encoder.mask_downscaling": (
        "prompt_encoder.mask_embed", {0: "conv1", 1: "layer_norm1", 3: "conv2", 4: "layer_norm2", 6: "conv3"},
    ),
    "mask_decoder.output_upscaling": (
        "mask_decoder", {0: "upscale_conv1", 1: "upscale_layer_norm", 3: "upscale_conv2"},
    ),
    **{
        f"mask_decoder.{theirs}": ("mask_decoder", {0: f"{ours}_conv1", 1: f"{ours}_norm", 3: f"{ours}_conv2"})
        for theirs, ours in (
            ("compress_vit_feat", "compress_vit"), ("embedding_encoder", "encoder"), ("embedding_maskfeature", "mask"),
        )
    },
}  # fmt: skip
"""Sequences of layers: the authors' name, and in transformers the module and the name of each layer by its index."""
_NAMES = (
    *(
        (rf"^{re.escape(theirs)}\.{index}\.", f"{module}.{layer}.")
        for theirs, (module, layers) in _CONVOLUTIONS.items()
        for index, layer in layers.items()
    ),
    (r"^image_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
    (r"^image_encoder\.blocks\.(\d+)\.norm([12])\.", r"vision_encoder.layers.\1.layer_norm\2."),
    (r"^image_encoder\.blocks\.", "vision_encoder.layers."),
    (r"^image_encoder\.", "vision_encoder."),
    (r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$", "shared_image_embedding.positional_embedding"),
    (r"^prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
    (r"^mask_decoder\.transformer\.layers\.(\d+)\.norm([1-4])\.", r"mask_decoder.transformer.layers.\1.layer_norm\2."),
    (r"^mask_decoder\.transformer\.norm_final_attn\.", "mask_decoder.transformer.layer_norm_final_attn."),
    (r"^mask_decoder\.hf_token\.", "mask_decoder.hq_token."),
    (r"^mask_decoder\.hf_mlp\.", "mask_decoder.hq_mask_mlp."),
)
_MLP = re.compile(
    r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|hq_mask_mlp|iou_prediction_head))\.layers\.([012])\."
)
_MATRIX = "sam.shared_image_embedding.positional_embedding"
_MLP_LAYERS = ("proj_in", "layers.0", "proj_out")


def from_reference_name(name: str) -> str:
    """The name in transformers of a parameter of the authors' network; other names are returned unchanged."""
    if not name.startswith(("image_encoder.", "prompt_encoder.", "mask_decoder.")):
        return name
    name = _MLP.sub(lambda m: f"{m[1]}.{_MLP_LAYERS[int(m[2])]}.", apply_first_rule(name, _NAMES))
    return f"sam.{name}"


def from_reference(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the authors' tensors; others are unchanged."""
    renamed = {from_reference_name(name): tensor for name, tensor in tensors.items()}
    # A state dict lists a shared tensor under both of its names.
    if (matrix := renamed.get(_MATRIX)) is not None:
        renamed["sam.prompt_encoder.shared_embedding.positional_embedding"] = matrix
    return renamed


class HQSAM(nn.Module):
    """HQ-SAM, as implemented in transformers, with a shared positional encoding.

    Args:
        config: Hyper-parameters.

    Raises:
        ImportError: if transformers is not installed.
    """

    def __init__(self, config: HQSAMConfig = VIT_B) -> None:
        super().__init__()
        from transformers import SamHQConfig, SamHQModel

        self.config = config
        self.sam: Any = SamHQModel(
            SamHQConfig(
                vision_config={
                    "hidden_size": config.channels, "num_hidden_layers": config.depth,
                    "num_attention_heads": config.heads, "image_size": config.size, "patch_size": config.patch,
                    "window_size": config.window, "global_attn_indexes": list(config.whole),
                    "output_channels": config.prompt, "num_pos_feats": config.prompt // 2,
                },
                prompt_encoder_config={
                    "hidden_size": config.prompt, "image_size": config.size, "patch_size": config.patch,
                },
                mask_decoder_config={
                    "hidden_size": config.prompt, "vit_dim": config.channels, "mlp_dim": config.decoder_mlp,
                    "num_attention_heads": config.decoder_heads, "iou_head_hidden_dim": config.quality,
                },
            )
        )  # fmt: skip
        # The matrix of the positional encoding is shared, and a buffer as in the authors' network.
        shared = self.sam.shared_image_embedding
        matrix = shared.positional_embedding.data
        del shared.positional_embedding
        shared.register_buffer("positional_embedding", matrix)
        self.sam.prompt_encoder.shared_embedding = shared

    def encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The embedding and the early features of an image.

        Args:
            image: (1, 3, size, size), RGB, normalised by SAM's mean and standard deviation.
        """
        output = self.sam.vision_encoder(image)
        return output.last_hidden_state, list(output.intermediate_embeddings)

    def decode(self, encoded: tuple[Tensor, list[Tensor]], sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        """The masks of all output tokens, and the predicted IoU of SAM's own masks.

        This calls the layers of transformers in the authors' order. The decoder of transformers (5.23) computes the
        masks from the image features before the attention, transposed, and so gives other results.

        Args:
            encoded: The result of `encode`.
            sparse: Prompts as tokens, (n, tokens, prompt).
            dense: Prompts as a map, (1 or n, prompt, size / 16, size / 16).

        Returns:
            Logits (n, 5, size / 4, size / 4), the last of the HQ token, and IoU scores (n, 4).
        """
        decoder = self.sam.mask_decoder
        embedding, early = encoded[0], encoded[1][0].permute(0, 3, 1, 2)
        n = len(sparse)
        tokens = torch.cat((decoder.iou_token.weight, decoder.mask_tokens.weight, decoder.hq_token.weight))
        tokens = torch.cat((tokens.expand(n, -1, -1), sparse), dim=1)
        positions = self.sam.get_image_wide_positional_embeddings()
        tokens, features = decoder.transformer(
            point_embeddings=tokens[:, None],
            image_embeddings=(embedding + dense).expand(n, -1, -1, -1),
            image_positional_embeddings=positions.expand(n, -1, -1, -1),
            attention_similarity=None,
        )
        tokens, features = tokens[:, 0], features[:, 0].transpose(1, 2).unflatten(2, embedding.shape[-2:])
        gelu = decoder.activation
        upscaled = gelu(decoder.upscale_layer_norm(decoder.upscale_conv1(features)))
        upscaled = gelu(decoder.upscale_conv2(upscaled))
        encoder_features = decoder.encoder_conv2(gelu(decoder.encoder_norm(decoder.encoder_conv1(embedding))))
        encoder_features = encoder_features + decoder.compress_vit_conv2(
            gelu(decoder.compress_vit_norm(decoder.compress_vit_conv1(early)))
        )
        hq_features = decoder.mask_conv2(gelu(decoder.mask_norm(decoder.mask_conv1(upscaled)))) + encoder_features
        count = len(decoder.mask_tokens.weight)
        kernels = [mlp(tokens[:, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)]
        masks = torch.einsum("nkc,nchw->nkhw", torch.stack(kernels, dim=1), upscaled)
        hq_mask = torch.einsum("nc,nchw->nhw", decoder.hq_mask_mlp(tokens[:, 1 + count]), hq_features)
        scores: Tensor = decoder.iou_prediction_head(tokens[:, 0])
        return torch.cat((masks, hq_mask[:, None]), dim=1), scores

    def forward(self, encoded: tuple[Tensor, list[Tensor]], boxes: Tensor) -> Tensor:
        """The logits (n, size / 4, size / 4) of the masks of boxes.

        They are the sum of SAM's single mask and the mask of the HQ token, as in the authors' demos.

        Args:
            encoded: The result of `encode`.
            boxes: (n, 4): left, top, right, bottom, in pixels of the input image.
        """
        sparse, dense = self.sam.prompt_encoder(
            input_points=None, input_labels=None, input_boxes=boxes[None], input_masks=None
        )
        masks, _ = self.decode(encoded, sparse[0], dense)
        return masks[:, 0] + masks[:, -1]


def build_from_checkpoint(tensors: Mapping[str, Tensor], path: object) -> HQSAM:
    """Build the network that a checkpoint's tensors belong to, without loading them; `path` is for error messages."""
    return HQSAM(config_of(tensors, path))
