"""Grounding DINO of transformers: the authors' checkpoints match all of its parameters."""

import itertools

import pytest
import torch

pytest.importorskip("transformers")

from betwixt.errors import InputError
from betwixt.masks.grounding_dino import SWIN_B, SWIN_T, GroundingDINO, GroundingDINOConfig, config_of, from_reference

TINY = GroundingDINOConfig(8, (1, 1, 1, 1), (1, 2, 2, 2), 4, 2, 32, 32, 20, 64, 1, 64, 30)


def linear(name, rows, columns):
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def stacked(name, width):
    return {
        f"{name}.in_proj_weight": (3 * width, width),
        f"{name}.in_proj_bias": (3 * width,),
        **linear(f"{name}.out_proj", width, width),
    }


def deformable(name, width):
    # 8 heads, 4 scales, 4 points each
    found = {}
    for part, rows in (("sampling_offsets", 256), ("attention_weights", 128), ("value_proj", width)):
        found |= linear(f"{name}.{part}", rows, width)
    return found | linear(f"{name}.output_proj", width, width)


def mlp(name, sizes):
    found = {}
    for i, (columns, rows) in enumerate(itertools.pairwise(sizes)):
        found |= linear(f"{name}.layers.{i}", rows, columns)
    return found


def authors_table(c):
    """Names and shapes of the authors' network, as their modules spell them."""
    d, text = c.width, c.text_width
    table = {
        "backbone.0.patch_embed.proj.weight": (c.channels, 3, 4, 4),
        "backbone.0.patch_embed.proj.bias": (c.channels,),
    }
    table |= norm("backbone.0.patch_embed.norm", c.channels)
    for stage, (depth, heads) in enumerate(zip(c.depths, c.heads, strict=True)):
        width = c.channels << stage
        for block in range(depth):
            name = f"backbone.0.layers.{stage}.blocks.{block}"
            table |= norm(f"{name}.norm1", width) | norm(f"{name}.norm2", width)
            table[f"{name}.attn.relative_position_bias_table"] = ((2 * c.window - 1) ** 2, heads)
            table |= linear(f"{name}.attn.qkv", 3 * width, width) | linear(f"{name}.attn.proj", width, width)
            table |= linear(f"{name}.mlp.fc1", 4 * width, width) | linear(f"{name}.mlp.fc2", width, 4 * width)
        if stage < 3:
            table[f"backbone.0.layers.{stage}.downsample.reduction.weight"] = (2 * width, 4 * width)
            table |= norm(f"backbone.0.layers.{stage}.downsample.norm", 4 * width)
        if stage > 0:
            table |= norm(f"backbone.0.norm{stage}", width)
            table |= {f"input_proj.{stage - 1}.0.weight": (d, width, 1, 1), f"input_proj.{stage - 1}.0.bias": (d,)}
            table |= norm(f"input_proj.{stage - 1}.1", d)
    table |= {"input_proj.3.0.weight": (d, c.channels << 3, 3, 3), "input_proj.3.0.bias": (d,)}
    table |= norm("input_proj.3.1", d)
    table |= {
        "bert.embeddings.word_embeddings.weight": (c.words, text),
        "bert.embeddings.position_embeddings.weight": (512, text),
        "bert.embeddings.token_type_embeddings.weight": (2, text),
        **norm("bert.embeddings.LayerNorm", text),
        **linear("feat_map", d, text),
        "transformer.level_embed": (4, d),
        "transformer.tgt_embed.weight": (c.queries, d),
        **norm("transformer.decoder.norm", d),
        **linear("transformer.enc_output", d, d),
        **norm("transformer.enc_output_norm", d),
        **mlp("transformer.enc_out_bbox_embed", (d, d, d, 4)),
        **mlp("transformer.decoder.ref_point_head", (2 * d, d, d)),
    }
    for i in range(c.text_layers):
        name = f"bert.encoder.layer.{i}"
        for part in ("query", "key", "value"):
            table |= linear(f"{name}.attention.self.{part}", text, text)
        table |= linear(f"{name}.attention.output.dense", text, text) | norm(f"{name}.attention.output.LayerNorm", text)
        table |= linear(f"{name}.intermediate.dense", c.text_mlp, text) | linear(
            f"{name}.output.dense", text, c.text_mlp
        )
        table |= norm(f"{name}.output.LayerNorm", text)
    for i in range(c.layers):
        name = f"transformer.encoder.layers.{i}"
        table |= deformable(f"{name}.self_attn", d) | norm(f"{name}.norm1", d) | norm(f"{name}.norm2", d)
        table |= linear(f"{name}.linear1", c.mlp, d) | linear(f"{name}.linear2", d, c.mlp)
        name = f"transformer.encoder.text_layers.{i}"
        table |= stacked(f"{name}.self_attn", d) | norm(f"{name}.norm1", d) | norm(f"{name}.norm2", d)
        table |= linear(f"{name}.linear1", c.mlp // 2, d) | linear(f"{name}.linear2", d, c.mlp // 2)
        name = f"transformer.encoder.fusion_layers.{i}"
        table |= {f"{name}.gamma_v": (d,), f"{name}.gamma_l": (d,)}
        table |= norm(f"{name}.layer_norm_v", d) | norm(f"{name}.layer_norm_l", d)
        for part in ("v_proj", "l_proj", "values_v_proj", "values_l_proj"):
            table |= linear(f"{name}.attn.{part}", c.mlp // 2, d)
        for part in ("out_v_proj", "out_l_proj"):
            table |= linear(f"{name}.attn.{part}", d, c.mlp // 2)
        name = f"transformer.decoder.layers.{i}"
        table |= deformable(f"{name}.cross_attn", d) | stacked(f"{name}.ca_text", d) | stacked(f"{name}.self_attn", d)
        for part in ("norm1", "catext_norm", "norm2", "norm3"):
            table |= norm(f"{name}.{part}", d)
        table |= linear(f"{name}.linear1", c.mlp, d) | linear(f"{name}.linear2", d, c.mlp)
        for place in ("bbox_embed", "transformer.decoder.bbox_embed"):
            table |= mlp(f"{place}.{i}", (d, d, d, 4))
    return table


@pytest.mark.parametrize("config", [SWIN_T, SWIN_B, TINY], ids=["swin-t", "swin-b", "tiny"])
def test_the_authors_checkpoint_fits_the_network(config):
    with torch.device("meta"):
        theirs = {name: torch.empty(shape) for name, shape in authors_table(config).items()}
        ours = {name: tuple(value.shape) for name, value in GroundingDINO(config).state_dict().items()}
    found = {name: tuple(value.shape) for name, value in from_reference(theirs).items()}
    if config is TINY:  # its enhancer is as wide as that of transformers says, not half the MLP
        assert found.keys() == ours.keys()
    else:
        assert found == ours
        assert config_of(theirs) == config
        assert config_of(from_reference(theirs)) == config


def test_query_key_and_value_are_split_in_that_order():
    table = {"transformer.decoder.layers.0.ca_text.in_proj_bias": torch.arange(9.0)}
    table["backbone.0.layers.0.blocks.0.attn.qkv.weight"] = torch.arange(12.0).reshape(6, 2)
    found = from_reference(table)
    assert found["dino.model.decoder.layers.0.encoder_attn_text.key.bias"].tolist() == [3, 4, 5]
    block = "dino.model.backbone.conv_encoder.model.swin.encoder.layers.0.blocks.0.attention"
    assert found[f"{block}.q_proj.weight"].tolist() == [[0, 1], [2, 3]]
    assert found[f"{block}.v_proj.weight"].tolist() == [[8, 9], [10, 11]]


def test_own_names_are_unchanged():
    names = ["dino.model.level_embed", "dino.bbox_embed.0.layers.0.bias"]
    assert list(from_reference(dict.fromkeys(names, torch.zeros(3)))) == names


def test_it_detects_boxes():
    torch.manual_seed(0)
    network = GroundingDINO(TINY).eval()
    with torch.inference_mode():
        logits, boxes = network(torch.randn(1, 3, 96, 128), torch.tensor([[2, 7, 4, 8, 9, 4, 3]]))
    assert logits.shape == (20, 7)
    assert boxes.shape == (20, 4)
    assert bool(((boxes >= 0) & (boxes <= 1)).all())


def test_another_network_is_rejected():
    with pytest.raises(InputError, match="another network than Grounding DINO"):
        config_of({"a": torch.zeros(1)})
    with pytest.raises(InputError, match="5 channels, which is neither"):
        config_of({"backbone.0.patch_embed.proj.weight": torch.zeros(5, 3, 4, 4)})
