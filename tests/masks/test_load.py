"""The three networks of open-world masks in tiny sizes, from weights on disk to the masks of a clip."""

import json

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from betwixt.cli.main import run
from betwixt.errors import UsageError
from betwixt.masks import grounding_dino, hq_sam, inference, ram
from betwixt.masks.inference import GroundingDINODetector, HQSAMSegmenter, RAMTagger
from betwixt.masks.load import load_mask_source
from betwixt.masks.store import MaskFolder
from betwixt.weights import mask_networks
from betwixt.weights.export import write_weights
from clips import make_clip
from fake_device import FAKE_DEVICE, fake_device

TINY_RAM = ram.RAMConfig(96, 4, 16, (2, 2, 2), (2, 4, 8), 6, 24, 32, 2, 4, 64, 9)
TINY_SAM = hq_sam.HQSAMConfig(32, 4, 4, (1, 3), 64, 8, 3, 32, 4, 64, 32)
TINY_DINO = grounding_dino.GroundingDINOConfig(8, (1, 1, 1, 1), (1, 2, 2, 2), 4, 2, 32, 32, 20, 64, 1, 64, 30)
TAGS = ["dog", "cat", "grey horse", "sky", "tree", "car", "road", "man", "boat"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "grey", *(t for t in TAGS if " " not in t), "horse"]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """Temporary folders for weights and cache."""
    monkeypatch.setenv("BETWIXT_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("BETWIXT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "weights"


@pytest.fixture
def weights(folders, monkeypatch):
    """Networks with random weights, in the folder of imported weights."""
    for module, name, value in (
        (ram, "RAM_SWIN_L", TINY_RAM), (hq_sam, "VIT_B", TINY_SAM), (grounding_dino, "SWIN_T", TINY_DINO),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    torch.manual_seed(0)
    networks = {
        "ram": ram.RAM(TINY_RAM), "hq-sam": hq_sam.HQSAM(TINY_SAM),
        "grounding-dino": grounding_dino.GroundingDINO(TINY_DINO),
    }  # fmt: skip
    texts = {"ram": {"tags": "\n".join(TAGS), "thresholds": "\n".join(["0.4"] * 9)}, "hq-sam": {}}
    texts["grounding-dino"] = {"vocabulary": "\n".join(WORDS)}
    folders.mkdir()
    for name, network in networks.items():
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(0.3 * torch.randn_like(parameter))
        tensors = {key: value.clone() for key, value in network.state_dict().items()}
        metadata = {"model": name, "content_sha256": name, **texts[name]}
        write_weights(folders / f"{name}.safetensors", tensors, metadata)
    return networks


def frame(height=48, width=80):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_tags_are_those_above_their_thresholds(weights):
    network = weights["ram"].eval()
    facts = {"tags": "\n".join(TAGS)}
    likely = torch.sigmoid(network(inference._preprocess(frame(), 96, 96, *inference._IMAGENET)).logits[0]).tolist()
    middle = sorted(likely)[4]
    tags = RAMTagger(network, {**facts, "thresholds": "\n".join([str(middle)] * 9)}, CPU)(frame())
    assert tags == [tag for tag, p in zip(TAGS, likely, strict=True) if p > middle]
    assert len(tags) == 4


class Boxes:
    """Detects boxes at fixed positions for the words of two tags."""

    def __init__(self):
        self.texts = []

    def __call__(self, image, tokens):
        self.shape = image.shape
        ids = tokens[0].tolist()
        self.texts.append(" ".join(WORDS[i] for i in ids))
        logits = torch.full((5, len(ids)), -9.0)
        horse = ids.index(WORDS.index("horse")) if WORDS.index("horse") in ids else 1
        dog = ids.index(WORDS.index("dog")) if WORDS.index("dog") in ids else 1
        logits[0, horse], logits[1, horse], logits[2, horse] = 2.0, 1.0, 0.5
        logits[3, dog], logits[4, dog] = 3.0, -2.0
        boxes = [[0.5, 0.5, 0.2, 0.4], [0.52, 0.5, 0.2, 0.4], [0.1, 0.1, 0.4, 0.4], [0.5, 0.5, 0.2, 0.4], [0.5] * 4]
        return logits, torch.tensor(boxes)


def test_boxes_belong_to_the_tag_with_the_highest_score():
    network = Boxes()
    detect = GroundingDINODetector(network, {"vocabulary": "\n".join(WORDS)}, CPU, short=96, long=128)
    found = detect(frame(), ["dog", "grey horse", "cat"])
    assert network.texts == ["[CLS] dog . grey horse . cat . [SEP]"]
    assert network.shape == (1, 3, 77, 128)
    # Of two boxes of the horse that overlap by more than half, the better one is kept. Boxes are clipped to the frame.
    np.testing.assert_allclose(found["grey horse"], [[32, 14.4, 48, 33.6], [0, 0, 24, 14.4]], atol=1e-4)
    np.testing.assert_allclose(found["dog"], [[32, 14.4, 48, 33.6]], atol=1e-4)
    assert found.keys() == {"dog", "grey horse"}


def test_many_tags_are_split_into_groups():
    network = Boxes()
    detect = GroundingDINODetector(network, {"vocabulary": "\n".join(WORDS)}, CPU, short=96, long=128)
    detect(frame(), [TAGS[i % 9] for i in range(300)])
    assert len(network.texts) == 3
    assert all(len(text.split()) <= 256 for text in network.texts)
    assert sum(text.count(" .") for text in network.texts) == 300


def test_masks_of_boxes_have_the_size_of_the_frame(weights):
    segment = HQSAMSegmenter(weights["hq-sam"].eval(), CPU)
    two = segment(frame(), np.array([[5, 5, 30, 30], [40, 10, 70, 40]], np.float32))
    one = segment(frame(), np.array([[5, 5, 30, 30]], np.float32))
    assert two.shape == (48, 80)
    assert two.dtype == bool
    assert not (one & ~two).any()


def test_a_clip_from_weights_to_masks(weights, tmp_path, capsys, monkeypatch):
    clip = make_clip(tmp_path / "in.mkv", frames=3)
    # Random weights give low scores.
    monkeypatch.setattr(inference, "_BOX_THRESHOLD", 0.0)
    assert (
        run(["masks", str(clip), str(tmp_path / "masks"), "--source", "open-world", "--device", "cpu", "--json"]) == 0
    )
    report = json.loads(capsys.readouterr().out)
    assert (report["source"], report["frames"], report["known"]) == ("open-world", 3, 0)
    found = MaskFolder(tmp_path / "masks")
    assert found.source == "open-world"
    assert found.pair(0, 1, 64, 96).names[0] == "the rest"
    again = ["masks", str(clip), str(tmp_path / "again"), "--source", "open-world", "--json", "--no-overlay"]
    assert run(again) == 0
    assert json.loads(capsys.readouterr().out)["known"] == 3
    assert sorted(p.name for p in (tmp_path / "again").iterdir())[-1] == "masks.json"


def test_missing_weights_are_named(weights, folders):
    (folders / "hq-sam.safetensors").unlink()
    with pytest.raises(
        UsageError,
        match=r"not installed: hq-sam. Import them with `betwixt weights import FILE --as hq-sam` .*SysCV/sam-hq",
    ):
        load_mask_source("open-world")


def test_the_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(mask_networks, "is_installed", lambda name: name != "transformers")
    with pytest.raises(UsageError, match=r"open-world needs PyTorch and transformers: pip install 'betwixt\[masks\]'"):
        load_mask_source("open-world")


def test_an_unknown_source_is_rejected():
    with pytest.raises(UsageError, match="no mask source 'clouds': choose regions or open-world"):
        load_mask_source("clouds")


@pytest.mark.parametrize(
    ("network", "given"),
    [
        (lambda: ram.RAM(TINY_RAM), [torch.rand(1, 3, 96, 96)]),
        (lambda: grounding_dino.GroundingDINO(TINY_DINO), [torch.rand(1, 3, 96, 128), torch.tensor([[2, 7, 4, 8, 3]])]),
        (lambda: hq_sam.HQSAM(TINY_SAM), [torch.rand(1, 3, 64, 64), torch.tensor([[4.0, 5.0, 30.0, 40.0]])]),
    ],
    ids=["ram", "grounding dino", "hq-sam"],
)
def test_networks_run_on_other_devices(network, given):
    torch.manual_seed(0)
    made = network().eval()

    def found(given):
        if isinstance(made, hq_sam.HQSAM):
            given = made.encode(given[0]), given[1]
        results = made(*given)
        if isinstance(results, torch.Tensor):
            return [results]
        return list(results if isinstance(results, tuple) else vars(results).values())

    with torch.no_grad():
        expected = found(given)
        with fake_device():
            made.to(FAKE_DEVICE)
            results = [x.cpu() for x in found([x.to(FAKE_DEVICE) for x in given])]
    # PyTorch uses another implementation of attention there.
    torch.testing.assert_close(results, expected, rtol=1e-4, atol=1e-4)
