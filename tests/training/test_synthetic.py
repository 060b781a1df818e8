from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betwixt.errors import InputError, UsageError
from betwixt.training import synthetic
from betwixt.training.sample import TrainingSample
from betwixt.training.synthetic import SceneRules, SyntheticBank, SyntheticScenes, build_bank, make_scene

CLEAN = SceneRules(top=12.0, blur=0.0, brightness=0.0, noise=0.0)


def smooth_textures() -> list[np.ndarray]:
    """Coarse noise: bilinear interpolation of it is exact to a few grey levels."""
    noise = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    return [np.asarray(cv2.resize(noise, (600, 400), interpolation=cv2.INTER_CUBIC), np.uint8)]


TEXTURES = smooth_textures()


def scene(seed: int, rules: SceneRules, size: int = 96) -> TrainingSample:
    return make_scene(np.random.default_rng((5, seed)), TEXTURES, size, rules)


def warping_errors(sample: TrainingSample) -> tuple[np.ndarray, np.ndarray]:
    """For both frames: the error of the frame warped by the motion, in grey levels; NaN outside the frame."""
    assert sample.motion is not None
    height, width = sample.motion.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    errors = []
    for frame, part in ((sample.images[0], -sample.t), (sample.images[2], 1 - sample.t)):
        u, v = x + part * sample.motion[..., 0], y + part * sample.motion[..., 1]
        warped = cv2.remap(frame.astype(np.float32), u, v, cv2.INTER_LINEAR)
        error = np.abs(warped - sample.images[1]).max(axis=-1)
        error[(u < 0) | (u > width - 1) | (v < 0) | (v > height - 1)] = np.nan
        errors.append(error)
    return errors[0], errors[1]


def explained_fraction(sample: TrainingSample, tolerance: float = 8.0) -> float:
    """The fraction of the pixels that are predicted by at least one of the warped frames."""
    errors = np.stack(warping_errors(sample))
    inside = ~np.isnan(errors).all(axis=0)
    return float((np.nanmin(errors[:, inside], axis=0) <= tolerance).mean())


@pytest.mark.parametrize("times", ["middle", "between", "next"])
@pytest.mark.parametrize(
    "kinds", [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)], ids=["affine", "perspective", "elastic", "all"]
)
def test_the_motion_of_a_layer_is_exact(kinds: tuple[float, float], times: str) -> None:
    rules = replace(CLEAN, layers=0, perspective=kinds[0], elastic=kinds[1], times=times)
    for seed in range(6):
        for error in warping_errors(scene(seed, rules)):
            # There is no occlusion: every pixel inside the frame is predicted up to 8-bit quantization.
            assert np.nanquantile(error, 0.99) <= 5.0
            assert np.nanmean(error) <= 1.5


def visible_masks(seed: int, rules: SceneRules) -> tuple[np.ndarray, np.ndarray]:
    """For both frames: where a pixel of the target shows a single layer that is also visible in the frame."""
    numbers: dict[int, int] = {}
    paint = synthetic._SceneLayer.paint

    def paint_number(
        layer: synthetic._SceneLayer, positions: np.ndarray, size: int
    ) -> tuple[np.ndarray, np.ndarray | None]:
        colours, alpha = paint(layer, positions, size)
        return np.full_like(colours, 40 * numbers.setdefault(id(layer), len(numbers))), alpha

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic._SceneLayer, "paint", paint_number)
        numbered = scene(seed, rules)
    assert numbered.motion is not None
    planes = [image[..., 0].astype(np.float32) for image in numbered.images]
    around = np.ones((3, 3), np.uint8)
    single = [(cv2.erode(plane, around) == plane) & (cv2.dilate(plane, around) == plane) for plane in planes]
    y, x = np.mgrid[: len(planes[1]), : len(planes[1])].astype(np.float32)
    result = []
    for k, part in ((0, -numbered.t), (2, 1 - numbered.t)):
        u, v = x + part * numbered.motion[..., 0], y + part * numbered.motion[..., 1]
        same = cv2.remap(planes[k], u, v, cv2.INTER_NEAREST, borderValue=255) == planes[1]
        alone = cv2.remap(single[k].astype(np.uint8), u, v, cv2.INTER_NEAREST) == 1
        result.append(same & alone & single[1])
    return result[0], result[1]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), thin=st.sampled_from([0.0, 0.2, 0.8]))
def test_the_motion_is_exact_where_a_layer_is_visible_in_both_frames(seed: int, thin: float) -> None:
    rules = replace(CLEAN, thin=thin)
    for error, mask in zip(warping_errors(scene(seed, rules)), visible_masks(seed, rules), strict=True):
        visible = error[mask & ~np.isnan(error)]
        if len(visible) > 100:
            assert np.quantile(visible, 0.98) <= 4.0


def test_the_motion_explains_most_of_a_scene_and_a_wrong_one_does_not() -> None:
    true, wrong, visible = [], [], []
    for seed in range(20):
        sample = scene(seed, CLEAN)
        assert sample.motion is not None
        true.append(explained_fraction(sample))
        wrong.append(explained_fraction(replace(sample, motion=sample.motion + np.float32(6.0))))
        visible.append(np.logical_or(*visible_masks(seed, CLEAN)).mean())
    assert np.median(true) > 0.9
    assert np.median(wrong) < 0.3
    assert np.median(visible) > 0.6


def test_perspective_and_elastic_motion_are_not_affine() -> None:
    def deviation(rules: SceneRules) -> float:
        """The largest difference of the motion from the best-fitting affine one, pixels."""
        motion = scene(3, rules).motion
        assert motion is not None
        y, x = np.mgrid[: len(motion), : len(motion)]
        basis = np.stack([np.ones(x.size), x.ravel(), y.ravel()], axis=1)
        flat = motion.reshape(-1, 2)
        return float(np.abs(flat - basis @ np.linalg.lstsq(basis, flat, rcond=None)[0]).max())

    plain = replace(CLEAN, layers=0, perspective=0.0, elastic=0.0)
    assert deviation(plain) < 0.01
    assert deviation(replace(plain, perspective=1.0)) > 0.1
    assert deviation(replace(plain, elastic=1.0)) > 0.5


def test_thin_structures_are_a_few_pixels_wide() -> None:
    rules = replace(CLEAN, layers=1, thin=0.8)
    count = 0
    for seed in range(30):
        motion = scene(seed, rules).motion
        assert motion is not None
        # The motion is discontinuous at the outline of the layer in front of the background.
        jump = np.abs(np.diff(motion, axis=1)).max(axis=-1) > 0.3
        fraction = float(jump.mean())
        thick = cv2.morphologyEx(cv2.dilate(jump.astype(np.uint8), np.ones((1, 7))), cv2.MORPH_OPEN, np.ones((9, 9)))
        count += fraction > 0.005 and float(thick.mean()) < 0.03
    assert count >= 5


def test_motion_blur_is_along_the_motion_and_keeps_it_exact() -> None:
    sharp = replace(CLEAN, layers=0, perspective=0.0, elastic=0.0, top=40.0)
    grain = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    fine = [np.asarray(cv2.resize(grain, (600, 450), interpolation=cv2.INTER_CUBIC), np.uint8)]
    ratios = []
    for seed in range(60):
        if seed < 10:
            assert explained_fraction(scene(seed, replace(sharp, blur=1.0))) > 0.97
        clear, blurred = (
            make_scene(np.random.default_rng(seed), fine, 64, rules) for rules in (sharp, replace(sharp, blur=1.0))
        )
        assert clear.motion is not None
        np.testing.assert_array_equal(clear.motion, blurred.motion)
        x, y = np.abs(clear.motion.mean(axis=(0, 1)))
        if clear.t != blurred.t or max(x, y) < 15 or min(x, y) > 0.3 * max(x, y):
            continue
        axis = 2 if x > y else 1
        along, across = (
            np.abs(np.diff(blurred.images[1].astype(int), axis=k)).mean()
            / np.abs(np.diff(clear.images[1].astype(int), axis=k)).mean()
            for k in (axis - 1, 2 - axis)
        )
        ratios.append(along / across)
    assert len(ratios) >= 3
    assert np.mean(ratios) < 0.9


def test_brightness_changes_from_frame_to_frame() -> None:
    rules = replace(CLEAN, layers=0, top=0.5, perspective=0.0, elastic=0.0)
    changes = []
    for seed in range(12):
        for brightness in (0.0, 1.0):
            means = scene(seed, replace(rules, brightness=brightness)).images[[0, 2]].mean(axis=(1, 2, 3))
            changes.append(abs(means[1] / means[0] - 1))
    assert np.mean(changes[0::2]) < 0.02
    assert np.mean(changes[1::2]) > 0.03


def test_target_times() -> None:
    between = [scene(i, CLEAN).t for i in range(30)]
    assert 0.5 in between
    assert len(set(between)) > 5
    assert all(0 < t < 1 for t in between)
    assert {scene(i, replace(CLEAN, times="middle")).t for i in range(5)} == {0.5}
    assert {scene(i, replace(CLEAN, times="next")).t for i in range(5)} == {2.0}


def test_a_scene_depends_on_its_seed_only() -> None:
    first, second = (SyntheticScenes(TEXTURES).draw(np.random.default_rng(3), 64) for _ in range(2))
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.motion, second.motion)


def test_a_bank_returns_crops_of_its_scenes(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        SyntheticBank(tmp_path)
    build_bank(tmp_path, TEXTURES, [0], size=64, scenes=3)
    bank = SyntheticBank(tmp_path)
    build_bank(tmp_path, TEXTURES, [0, 1], size=64, scenes=3)
    assert len(bank) == 3
    assert len(SyntheticBank(tmp_path)) == 6
    sample = bank.draw(np.random.default_rng(0), 32)
    assert sample.images.shape == (3, 32, 32, 3)
    assert sample.motion is not None
    assert sample.motion.shape == (32, 32, 2)
    assert 0 < sample.t < 1
    with pytest.raises(UsageError, match="64x64, smaller than 80x80"):
        bank.draw(np.random.default_rng(0), 80)


def test_a_bank_can_be_restricted_to_middle_frames(tmp_path: Path) -> None:
    build_bank(tmp_path, TEXTURES, [0], size=48, scenes=12)
    every, middle = SyntheticBank(tmp_path), SyntheticBank(tmp_path, "middle")
    assert 0 < len(middle) < len(every)
    assert {middle.draw(np.random.default_rng(i), 32).t for i in range(12)} == {0.5}
    with pytest.raises(InputError, match="no synthetic scenes"):
        SyntheticBank(tmp_path, "next")


def test_an_unpickled_bank_has_the_same_shards(tmp_path: Path) -> None:
    build_bank(tmp_path, TEXTURES, [0], size=48, scenes=3)
    bank = SyntheticBank(tmp_path)
    message = pickle.dumps(bank)
    build_bank(tmp_path, TEXTURES, [1], size=48, scenes=3)
    other = pickle.loads(message)
    for i in range(8):
        ours, theirs = (b.draw(np.random.default_rng(i), 32) for b in (bank, other))
        np.testing.assert_array_equal(ours.images, theirs.images)
    assert len(message) < 1_000


def test_a_bank_with_other_rules_is_refused(tmp_path: Path) -> None:
    build_bank(tmp_path, TEXTURES, [0], size=48, scenes=2)
    assert json.loads((tmp_path / "rules.json").read_text())["blur"] == 0.2
    with pytest.raises(InputError, match=r"made with blur = 0\.2, not 0\.0"):
        build_bank(tmp_path, TEXTURES, [1], size=48, scenes=2, rules=SceneRules(blur=0.0))
    with pytest.raises(InputError, match="size"):
        build_bank(tmp_path, TEXTURES, [1], size=64, scenes=2)
    # A bank without rules.json is used as it is.
    (tmp_path / "rules.json").unlink()
    build_bank(tmp_path, TEXTURES, [0], size=48, scenes=2, rules=SceneRules(blur=0.0))
    assert not (tmp_path / "rules.json").exists()


@pytest.mark.parametrize("setting", [{"blur": 1.5}, {"thin": 0.9}, {"top": 0.2}, {"layers": -1}])
def test_invalid_rules_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(setting))):
        SceneRules(**setting)


def test_no_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images"):
        SyntheticScenes([])
    with pytest.raises(InputError, match="no images"):
        build_bank(tmp_path, [], [0])
