"""Weights of the mask networks: importing the authors' checkpoints."""

import json
import math

import pytest
import torch

from betwixt.errors import InputError
from betwixt.masks import ram
from betwixt.weights.install import build_meta_mask_network, import_weights
from betwixt.weights.load import read_tensors
from betwixt.weights.metadata import read_metadata
from betwixt.weights.verify import list_weights, verify_weights
from parity import fixture, make_weight

TINY_RAM = ram.RAMConfig(96, 4, 16, (2, 2, 2), (2, 4, 8), 6, 24, 32, 2, 4, 64, 9)
TAGS = 4585


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The user's folder, for one test."""
    monkeypatch.setenv("BETWIXT_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def checkpoint(path, arrays, more=None):
    """What the authors would publish."""
    names = [str(name) for name in arrays["param_names"]]
    shapes = json.loads(str(arrays["param_shapes"]))
    state = {n: torch.from_numpy(make_weight(n, tuple(s), 1.0)) for n, s in zip(names, shapes, strict=True)}
    torch.save({"model": {**state, **(more or {})}}, path)
    return path


@pytest.fixture
def ram_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(ram, "RAM_SWIN_L", TINY_RAM)
    more = {
        "visual_encoder.layers.0.blocks.1.attn_mask": torch.zeros(16, 36, 36),
        "visual_encoder.layers.0.blocks.0.attn.relative_position_index": torch.zeros(36, 36, dtype=torch.int64),
        "tag_encoder.embeddings.word_embeddings.weight": torch.zeros(30, 32),
        "text_decoder.cls.predictions.bias": torch.zeros(30),
    }
    return checkpoint(tmp_path / "ram.pth", fixture("ram_tiny"), more)


def test_ram_is_imported_with_its_tags(ram_checkpoint, tmp_path):
    (tmp_path / "ram_tag_list.txt").write_text("\n".join(f"tag {i}" for i in range(TAGS)) + "\n")
    imported = import_weights(ram_checkpoint, "ram")
    assert imported.tensors == 129
    assert len(imported.unused) == 4
    assert not imported.extra
    assert imported.licence == "Apache-2.0"
    kept = read_metadata(imported.path)
    assert kept["model"] == "ram"
    assert kept["tags"].splitlines()[4584] == "tag 4584"
    assert "thresholds" not in kept
    assert [v.good for v in verify_weights(["ram"])] == [True]
    (mine,) = (s for s in list_weights() if s.name == "ram")
    assert "tags" not in mine.metadata
    # What was written can be brought in again, from anywhere.
    again = import_weights(imported.path, "ram", tmp_path / "again.safetensors")
    assert read_metadata(again.path)["tags"] == kept["tags"]


def test_thresholds_are_imported_if_present(ram_checkpoint, tmp_path):
    (tmp_path / "ram_tag_list.txt").write_text("\n".join(f"tag {i}" for i in range(TAGS)))
    (tmp_path / "ram_tag_list_threshold.txt").write_text("0.65\n" * TAGS)
    assert read_metadata(import_weights(ram_checkpoint, "ram").path)["thresholds"].startswith("0.65")
    (tmp_path / "ram_tag_list_threshold.txt").write_text("high\n" * TAGS)
    with pytest.raises(InputError, match="is not a list of numbers from 0 to 1"):
        import_weights(ram_checkpoint, "ram", overwrite=True)


def test_ram_without_its_tags_is_refused(ram_checkpoint, tmp_path, folder):
    with pytest.raises(
        InputError, match=r"ram needs ram_tag_list.txt beside its weights: put it into .*, from ram/data"
    ):
        import_weights(ram_checkpoint, "ram")
    (tmp_path / "ram_tag_list.txt").write_text("dog\ncat\n")
    with pytest.raises(InputError, match="has 2 lines, not 4585"):
        import_weights(ram_checkpoint, "ram")
    assert not list(folder.glob("*")) if folder.exists() else True


def test_wrong_shapes_are_reported(ram_checkpoint, tmp_path):
    (tmp_path / "ram_tag_list.txt").write_text("\n".join(f"tag {i}" for i in range(TAGS)))
    state = torch.load(ram_checkpoint, weights_only=True)["model"]
    torch.save({**state, "fc.bias": torch.zeros(2)}, ram_checkpoint)
    with pytest.raises(InputError, match=r"fc.bias has the shape \(2,\), not \(1,\)"):
        import_weights(ram_checkpoint, "ram")


def test_extra_tensors_are_refused(ram_checkpoint, tmp_path):
    (tmp_path / "ram_tag_list.txt").write_text("\n".join(f"tag {i}" for i in range(TAGS)))
    state = torch.load(ram_checkpoint, weights_only=True)["model"]
    torch.save({**state, "surprise": torch.zeros(2)}, ram_checkpoint)
    with pytest.raises(InputError, match="1 tensors that ram does not have, surprise for one"):
        import_weights(ram_checkpoint, "ram")


def test_hq_sam(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    from betwixt.masks import hq_sam

    tiny = hq_sam.HQSAMConfig(32, 4, 4, (1, 3), 64, 8, 3, 32, 4, 64, 32)
    monkeypatch.setattr(hq_sam, "VIT_B", tiny)
    arrays = fixture("hq_sam_tiny")
    matrix = torch.from_numpy(arrays["positional_gaussian_matrix"])
    path = checkpoint(
        tmp_path / "sam_hq_vit_b.pth", arrays, {"prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": matrix}
    )
    imported = import_weights(path, "hq-sam")
    assert imported.tensors == 228
    assert not imported.unused
    assert not imported.extra
    tensors = read_tensors(imported.path)
    assert torch.equal(tensors["sam.shared_image_embedding.positional_embedding"], matrix)
    assert tensors.keys() == build_meta_mask_network("hq-sam", imported.path).state_dict().keys()
    assert [v.good for v in verify_weights(["hq-sam"])] == [True]
    # Another network's file says what it is instead.
    (tmp_path / "ram_tag_list.txt").write_text("\n".join(f"tag {i}" for i in range(TAGS)))
    with pytest.raises(InputError, match=r'another network.* It fits `model="hq-sam"`'):
        import_weights(path, "ram")


def test_grounding_dino(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    from betwixt.masks import grounding_dino

    tiny = grounding_dino.GroundingDINOConfig(8, (1, 1, 1, 1), (1, 2, 2, 2), 4, 2, 32, 32, 20, 64, 1, 64, 30)
    monkeypatch.setattr(grounding_dino, "SWIN_T", tiny)
    # Its enhancer's MLPs follow transformers' defaults.
    with torch.device("meta"):
        shapes = {n: tuple(v.shape) for n, v in grounding_dino.GroundingDINO(tiny).state_dict().items()}
    state = {n: torch.full(s, 1 / (1 + math.prod(s))) for n, s in shapes.items()}
    # The authors' six layers share one head for boxes.
    for i in range(2):
        state[f"dino.bbox_embed.{i}.layers.0.bias"] = state["dino.model.decoder.bbox_embed.0.layers.0.bias"]
    state["module.label_enc.weight"] = torch.zeros(2)
    state["module.bert.embeddings.position_ids"] = torch.zeros(1, 512, dtype=torch.int64)
    path = tmp_path / "groundingdino_swint_ogc.pth"
    torch.save({"model": state}, path)
    with pytest.raises(InputError, match=r"needs vocab.txt beside its weights.*bert-base-uncased"):
        import_weights(path, "grounding-dino")
    (tmp_path / "vocab.txt").write_text("\n".join(f"w{i}" for i in range(30522)))
    imported = import_weights(path, "grounding-dino")
    assert imported.tensors == len(shapes)
    assert len(imported.unused) == 2
    assert read_metadata(imported.path)["vocabulary"].endswith("w30521")
