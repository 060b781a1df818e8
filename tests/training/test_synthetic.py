from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from betwixt.errors import InputError
from betwixt.training.augmentation import augment, compress
from betwixt.training.synthetic import Scene, SyntheticBank, build_bank, make_scene


@pytest.fixture(scope="module")
def sources() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return [np.asarray(cv2.resize(noise, (600, 400), interpolation=cv2.INTER_CUBIC), np.uint8)]


def warped(frame: np.ndarray, flow: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]].astype(np.float32)
    return cv2.remap(frame, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def prediction_error(frames: np.ndarray, motion: np.ndarray, t: float) -> tuple[float, float]:
    """Median difference to frame t of what the exact flows predict, and of the nearer frame as it is."""
    truth = frames[1].astype(int)
    a, b = warped(frames[0], -t * motion), warped(frames[2], (1 - t) * motion)
    best = np.minimum(np.abs(a - truth).max(axis=-1), np.abs(b - truth).max(axis=-1))
    still = np.minimum(np.abs(frames[0] - truth).max(axis=-1), np.abs(frames[2] - truth).max(axis=-1))
    return float(np.median(best)), float(np.median(still))


def scenes(sources: list[np.ndarray], count: int) -> list[Scene]:
    return [make_scene(np.random.default_rng((5, i)), sources, 96, top=12.0) for i in range(count)]


def test_the_motion_explains_the_frames(sources: list[np.ndarray]) -> None:
    errors = np.array([prediction_error(s.frames, s.motion, s.t) for s in scenes(sources, 12)])
    assert np.median(errors[:, 0]) <= 4
    assert np.median(errors[:, 1]) > 4 * np.median(errors[:, 0])


def test_augmentation_moves_frames_and_motion_alike(sources: list[np.ndarray]) -> None:
    for i, scene in enumerate(scenes(sources, 8)):
        before = prediction_error(scene.frames, scene.motion, scene.t)[0]
        frames, motion, t = augment(np.random.default_rng(i), scene.frames, scene.motion, scene.t)
        assert prediction_error(frames, motion, t)[0] == pytest.approx(before, abs=1.0)


def test_compression_changes_little(sources: list[np.ndarray]) -> None:
    frames = scenes(sources, 1)[0].frames
    result = compress(np.random.default_rng(0), frames)
    difference = np.abs(result.astype(int) - frames).mean()
    assert 0 < difference < 10


def test_a_scene_depends_on_its_seed_alone(sources: list[np.ndarray]) -> None:
    first, second = (make_scene(np.random.default_rng(3), sources, 64) for _ in range(2))
    np.testing.assert_array_equal(first.frames, second.frames)
    np.testing.assert_array_equal(first.motion, second.motion)


def test_the_bank_grows_and_gives_crops(tmp_path: Path, sources: list[np.ndarray]) -> None:
    with pytest.raises(InputError):
        SyntheticBank(tmp_path)
    build_bank(tmp_path, sources, [0], size=64, scenes=3)
    bank = SyntheticBank(tmp_path)
    build_bank(tmp_path, sources, [0, 1], size=64, scenes=3)
    assert bank.refresh() == 6
    frames, motion, t = bank.draw(np.random.default_rng(0), 32)
    assert frames.shape == (3, 32, 32, 3)
    assert motion.shape == (32, 32, 2)
    assert 0 < t < 1
