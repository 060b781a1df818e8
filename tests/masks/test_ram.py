"""RAM against the authors' network, and against the names of its checkpoint."""

import json
import re

import pytest
import torch

from betwixt.masks.ram import RAM, RAM_SWIN_L, RAMConfig, from_reference_name
from parity import FOLDER, distance, fill, fixture, tensor


def test_it_matches_the_reference():
    arrays = fixture("ram_tiny")
    c = json.loads(str(arrays["config"]))
    config = RAMConfig(
        size=c["img_size"], patch=c["patch_size"], channels=c["embed_dim"], depths=tuple(c["depths"]),
        heads=tuple(c["num_heads"]), window=c["window_size"], projection=c["proj_dim"], hidden=c["hidden_size"],
        head_layers=c["num_hidden_layers"], head_heads=c["num_attention_heads"], head_mlp=c["intermediate_size"],
        tags=c["num_class"],
    )  # fmt: skip
    network = RAM(config).eval()
    fill(network, arrays, from_reference_name)
    with torch.inference_mode():
        found = network(tensor(arrays["image"]))
    assert distance(found.tokens, arrays["visual_tokens"]) < 1e-5
    assert distance(found.projected, arrays["image_embeds"]) < 2e-5
    assert distance(found.tags, arrays["tagging_embed"]) < 1e-5
    assert distance(found.logits, arrays["logits"]) < 1e-5


def test_names_and_shapes_are_those_of_the_checkpoint():
    path = FOLDER / "names_ram_swin_large.json"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    entries = json.loads(path.read_text())["entries"]
    theirs = {from_reference_name(name): tuple(shape) for name, shape, _ in entries}
    with torch.device("meta"):
        ours = {name: tuple(value.shape) for name, value in RAM(RAM_SWIN_L).state_dict().items()}
    assert {name: theirs.get(name) for name in ours} == ours
    # The rest belongs to the captioning path, or are buffers.
    rest = set(theirs) - set(ours)
    assert all(re.match(r"tag_encoder\.|text_decoder\.|.*\.(relative_position_index|attn_mask)$", n) for n in rest)
