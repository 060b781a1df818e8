"""HQ-SAM of transformers against the authors' network, and against the names of their checkpoints."""

import json

import pytest
import torch

pytest.importorskip("transformers")

from betwixt.errors import InputError
from betwixt.masks.hq_sam import HQSAM, VIT_B, VIT_H, VIT_L, HQSAMConfig, config_of, from_reference, from_reference_name
from parity import FOLDER, distance, fill, fixture, tensor


@pytest.fixture(scope="module")
def arrays():
    return fixture("hq_sam_tiny")


@pytest.fixture(scope="module")
def network(arrays):
    c = json.loads(str(arrays["config"]))
    config = HQSAMConfig(
        c["embed_dim"], c["depth"], c["num_heads"], tuple(c["global_attn_indexes"]), c["image_size"], c["patch_size"],
        c["window_size"], c["transformer_dim"], c["transformer_heads"], c["mlp_dim"], c["iou_head_hidden_dim"],
    )  # fmt: skip
    network = HQSAM(config).eval()
    network.sam.shared_image_embedding.positional_embedding.copy_(tensor(arrays["positional_gaussian_matrix"]))
    fill(network, arrays, from_reference_name)
    return network


def test_the_encoder_matches_the_reference(network, arrays):
    with torch.inference_mode():
        embedding, early = network.encode(tensor(arrays["image"]))
    assert distance(embedding, arrays["image_embedding"]) < 1e-5
    assert distance(early[0], arrays["intermediate0"]) < 1e-5
    assert distance(early[1], arrays["intermediate1"]) < 1e-5


def test_masks_of_boxes_match_the_reference(network, arrays):
    with torch.inference_mode():
        logits = network(network.encode(tensor(arrays["image"])), tensor(arrays["boxes"]))
    assert distance(logits, arrays["box/masks_multi0_hqonly0"][:, 0]) < 2e-5


@pytest.mark.parametrize("prompt", ["points", "box", "all"])
def test_every_token_of_every_prompt_matches_the_reference(network, arrays, prompt):
    boxes = tensor(arrays["boxes"])[None] if prompt != "points" else None
    points = tensor(arrays["points"])[None] if prompt != "box" else None
    kinds = tensor(arrays["point_labels"])[None] if prompt != "box" else None
    given = tensor(arrays["mask_input"]) if prompt == "all" else None
    with torch.inference_mode():
        sparse, dense = network.sam.prompt_encoder(
            input_points=points, input_labels=kinds, input_boxes=boxes, input_masks=given
        )
        masks, scores = network.decode(network.encode(tensor(arrays["image"])), sparse[0], dense)
    assert distance(sparse[0], arrays[f"{prompt}/sparse"]) < 1e-5
    assert distance(dense.mean(dim=(2, 3)).expand(2, -1), arrays[f"{prompt}/dense_mean"]) < 1e-5
    assert distance(masks, arrays[f"{prompt}/all_masks"]) < 2e-5
    assert distance(scores, arrays[f"{prompt}/all_iou"]) < 1e-5
    assert distance(masks[:, :1] + masks[:, 4:], arrays[f"{prompt}/masks_multi0_hqonly0"]) < 2e-5


@pytest.mark.parametrize(("name", "config"), [("vit_b", VIT_B), ("vit_l", VIT_L), ("vit_h", VIT_H)])
def test_names_and_shapes_are_those_of_the_checkpoints(name, config):
    path = FOLDER / "names_hq_sam.json"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    with torch.device("meta"):
        theirs = {n: torch.empty(shape) for n, shape, _ in json.loads(path.read_text())["models"][name]["entries"]}
        ours = {n: tuple(value.shape) for n, value in HQSAM(config).state_dict().items()}
    assert config_of(theirs) == config
    renamed = from_reference(theirs)
    assert len(renamed) == len(theirs) + 1
    assert {n: tuple(value.shape) for n, value in renamed.items()} == ours
    assert config_of(renamed) == config


def test_another_network_is_rejected():
    with pytest.raises(InputError, match="another network than HQ-SAM"):
        config_of({"image_encoder.pos": torch.zeros(1)})
    odd = {"image_encoder.pos_embed": torch.zeros(1, 2, 2, 5), "image_encoder.blocks.3.attn.qkv.weight": torch.zeros(1)}
    with pytest.raises(InputError, match="5 channels and 4 blocks"):
        config_of(odd)
