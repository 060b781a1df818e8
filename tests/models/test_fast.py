"""`fast` on images whose true in-between frame is known; what it shares with `dis` is tested there."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import betwixt
from betwixt.models.base import MotionPair
from betwixt.models.fast.interpolator import Fast

Image = NDArray[np.uint8]


def view(x: float, height: int = 240, width: int = 320) -> Image:
    """A textured world, seen from `x`."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width + 80, 3), dtype=np.uint8)
    world = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)
    matrix = np.array([[1, 0, 20 + x], [0, 1, 0]], np.float64)
    return np.asarray(cv2.warpAffine(world, matrix, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP))


def error(made: Image, truth: Image) -> float:
    return float(np.abs(made.astype(float) - truth)[20:-20, 30:-30].mean())


@pytest.mark.parametrize("t", [0.5, 0.25])
def test_motion_is_followed(t: float) -> None:
    first, truth, second = view(0), view(12 * t), view(12)
    (made,) = Fast().between(first, second, [t])
    assert error(made, truth) < 2.0
    assert error((first // 2 + second // 2), truth) > 6.0


def test_new_frames_are_sharp_where_bilinear_sampling_blurs() -> None:
    first, truth, second = view(0), view(0.5), view(1)
    (made,) = Fast().between(first, second, [0.5])
    assert cv2.Laplacian(made, cv2.CV_64F).var() > 0.7 * cv2.Laplacian(truth, cv2.CV_64F).var()


def test_static_parts_are_copied() -> None:
    first, second = view(0), view(12)
    first[:, :120] = second[:, :120] = view(30)[:, :120]
    (made,) = Fast().between(first, second, [0.5])
    np.testing.assert_array_equal(made[:, :80], first[:, :80])


def test_curved_paths_follow_acceleration() -> None:
    before, first, truth, second, after = (view(5 * t + 3 * t * t) for t in (-1, 0, 0.5, 1, 2))
    (straight,) = Fast().between(first, second, [0.5])
    (curved,) = Fast().between(first, second, [0.5], before=before, after=after)
    assert error(curved, truth) < 0.7 * error(straight, truth)


@pytest.mark.parametrize("size", [(1, 1), (1, 60), (9, 7), (33, 17), (41, 853)])
def test_any_size(size: tuple[int, int]) -> None:
    first, second = view(0, *size), view(5, *size)
    (made,) = Fast().between(first, second, [0.5])
    assert made.shape == (*size, 3)
    (copy,) = Fast().between(first, first, [0.5])
    np.testing.assert_array_equal(copy, first)


def test_maps_are_coarser_than_those_of_dis() -> None:
    frames = [image.astype(np.float32) / 255 for image in (view(0, 480, 640), view(8, 480, 640))]
    shapes = []
    for name in ("fast", "dis"):
        pair = betwixt.load_model(name).prepare(*frames)
        assert isinstance(pair, MotionPair)
        shapes.append(pair.motion(0.5).weight.shape)
    assert shapes[0] == (80, 107)
    assert shapes[1][0] > 240


def test_conversion(tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), view(4 * number, 96, 128))
    (tmp_path / "out").mkdir()
    summary = betwixt.interpolate_video(tmp_path / "%d.png", tmp_path / "out" / "%02d.png", factor=2, model="fast")
    assert summary.synthesized == 2
    made = cv2.imread(str(tmp_path / "out" / "02.png"))
    assert made is not None
    assert error(np.asarray(made, np.uint8), view(2, 96, 128)) < 3.0
