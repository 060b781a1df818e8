"""Masks of training samples: of whole frames, cut and mirrored with the images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from betwixt.errors import InputError, UsageError
from betwixt.masks.regions import find_regions
from betwixt.training.augmentation import Augmentation, augment
from betwixt.training.frame_datasets import open_vimeo90k
from betwixt.training.objectives.registry import make_objective
from betwixt.training.sample_masks import WholeFrameMasks


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BETWIXT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def vimeo(tmp_path: Path) -> Path:
    """A triplet whose red channel is the label of each pixel times 8; its masks are in `masks`."""
    folder, masks = tmp_path / "vimeo_triplet/sequences/00001/0001", tmp_path / "masks/00001/0001"
    folder.mkdir(parents=True)
    masks.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(3):
        image = rng.integers(0, 256, (96, 128, 3), np.uint8)
        image[..., 2] = 8 * rng.integers(0, 20, (96, 128), np.uint8)
        cv2.imwrite(str(folder / f"im{number + 1}.png"), image)
        cv2.imwrite(str(masks / f"{number:06d}.png"), image[..., 2] // 8)
    (tmp_path / "vimeo_triplet/tri_trainlist.txt").write_text("00001/0001\n")
    return tmp_path


def test_masks_follow_their_frames(vimeo: Path) -> None:
    source = open_vimeo90k(vimeo, 3, "middle", enlarge=0.0)
    source.masks = WholeFrameMasks(str(vimeo / "masks"))
    turned = Augmentation(turn=0.75)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        sample = augment(rng, source.draw(rng, 64), turned)
        assert sample.labels is not None
        np.testing.assert_array_equal(sample.labels, sample.images[[0, 2], ..., 0] // 8)


def test_regions_are_those_of_the_whole_frames(vimeo: Path) -> None:
    source = open_vimeo90k(vimeo, 3, "middle")
    frames = [cv2.imread(str(vimeo / f"vimeo_triplet/sequences/00001/0001/im{i}.png"))[..., ::-1] for i in (1, 3)]
    whole = find_regions(*(np.ascontiguousarray(frame) for frame in frames))
    source.masks = WholeFrameMasks("regions")
    for _ in range(2):  # found, then from the cache
        sample = source.draw(np.random.default_rng(3), 96)
        assert sample.labels is not None
        left = next(x for x in range(33) if np.array_equal(frames[0][:, x : x + 96], sample.images[0]))
        np.testing.assert_array_equal(sample.labels[0], whole.labels0[:, left : left + 96])


def test_an_objective_asks_for_masks_and_uses_them(vimeo: Path) -> None:
    assert make_objective({"name": "ifrnet-s+hm"}).masks == "regions"
    for options in ({"masks": "crop"}, {"plug_in": False}, {"ablation": "zero-masks"}):
        assert make_objective({"name": "ifrnet-s+hm", **options}).masks == ""
    objective = make_objective({"name": "ifrnet-s+hm", "masks": str(vimeo / "masks")})
    source = open_vimeo90k(vimeo, 3, "middle")
    source.masks = WholeFrameMasks(objective.masks)
    sample = source.draw(np.random.default_rng(0), 64)
    extra = objective.prepare(np.random.default_rng(0), sample)
    np.testing.assert_array_equal(extra["labels"], np.moveaxis(sample.labels, 0, -1))


def test_masks_that_are_missing_are_named(vimeo: Path) -> None:
    with pytest.raises(UsageError, match="clouds is neither regions, open-world nor a folder"):
        WholeFrameMasks("clouds")
    source = open_vimeo90k(vimeo, 3, "middle")
    source.masks = WholeFrameMasks(str(vimeo / "masks"))
    (vimeo / "masks/00001/0001/000002.png").unlink()
    with pytest.raises(InputError, match="has masks of 2 frames"):
        source.draw(np.random.default_rng(0), 64)
