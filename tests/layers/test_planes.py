"""Synthesis of frames plane by plane, in the pixel formats of videos."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from betwixt.errors import UsageError
from betwixt.layers.motion import FrameMotion
from betwixt.layers.planes import _blur, synthesize_planes

SIZE = (96, 128)
LAYOUTS = {
    "yuv420p": [(96, 128), (48, 64), (48, 64)],
    "yuv422p": [(96, 128), (96, 64), (96, 64)],
    "yuv444p": [(96, 128)] * 3,
    "yuv411p": [(96, 128), (96, 32), (96, 32)],
    "yuva420p": [(96, 128), (48, 64), (48, 64), (96, 128)],
    "nv12": [(96, 128), (48, 64, 2)],
    "rgb24": [(96, 128, 3)],
    "rgba": [(96, 128, 4)],
    "gray": [(96, 128)],
    "gray, one channel": [(96, 128, 1)],
}


def wave(shape: tuple[int, ...], dx: float, dy: float, low: float, high: float, dtype: Any) -> NDArray[Any]:
    """A smooth pattern over a frame of `SIZE`, moved by (dx, dy) pixels of the frame, sampled at `shape`."""
    height, width = shape[:2]
    y = (np.arange(height) + 0.5) * (SIZE[0] / height) - dy
    x = (np.arange(width) + 0.5) * (SIZE[1] / width) - dx
    pattern = 0.5 + 0.25 * np.sin(x / 7)[None, :] + 0.25 * np.cos(y / 6)[:, None]
    pattern = pattern.reshape(height, width, *(1,) * (len(shape) - 2)) * np.ones(shape)
    return np.rint(low + (high - low) * pattern).astype(dtype)


def steady(dx: float, dy: float, t: float = 0.5, shape: tuple[int, int] = (48, 64)) -> FrameMotion:
    """Everything moves by (dx, dy) from frame 0 to frame 1."""
    whole = np.empty((*shape, 2), np.float32)
    whole[...] = dx, dy
    return FrameMotion(whole * np.float32(-t), whole * np.float32(1 - t), np.full(shape, 1 - t, np.float32))


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize(("dtype", "top"), [("u1", 255), ("<u2", 1023), (">u2", 65535)])
def test_planes_of_all_formats_are_warped(name: str, dtype: str, top: int) -> None:
    shapes = LAYOUTS[name]
    first, truth, second = ([wave(s, 6 * t, -4 * t, 0.1 * top, 0.9 * top, dtype) for s in shapes] for t in (0, 0.5, 1))
    made = synthesize_planes(first, second, steady(6, -4), SIZE)
    for result, expected in zip(made, truth, strict=True):
        assert result.dtype == expected.dtype
        assert result.shape == expected.shape
        inner = (slice(8, -8), slice(8, -8))
        difference = result[inner].astype(float) - expected[inner]
        assert np.abs(difference).max() < 0.012 * top


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "f4"])
@pytest.mark.parametrize("shape", [(96, 128), (96, 128, 3), (95, 127), (1, 1), (5, 1, 2)])
def test_equal_planes_without_motion_are_unchanged(dtype: str, shape: tuple[int, ...]) -> None:
    noise = np.random.default_rng(0).integers(0, 65536, shape)
    plane = (noise if "2" in dtype else noise % 256).astype(dtype)
    (made,) = synthesize_planes([plane], [plane.copy()], steady(0, 0, 0.3), (shape[0], shape[1]))
    assert made.dtype == plane.dtype
    np.testing.assert_array_equal(made, plane)


def test_flow_is_scaled_to_odd_chroma() -> None:
    size = (95, 127)
    first = [np.zeros(size, np.uint8), np.zeros((48, 64), np.uint8)]
    second = [plane.copy() for plane in first]
    first[0][:, 50:] = second[0][:, 70:] = 200
    first[1][:, 25:] = second[1][:, 35:] = 200
    luma, chroma = synthesize_planes(first, second, steady(20, 0, shape=(47, 63)), size)
    assert luma[40, 54:66].tolist() == [0] * 6 + [200] * 6
    assert chroma[20, 26:34].tolist() == [0] * 4 + [200] * 4


def test_values_stay_in_the_range_of_the_sources() -> None:
    first = np.full((64, 64), 16, np.uint8)
    first[:, ::8] = first[:, 1::8] = 235
    second = np.roll(first, 3, axis=1)
    (made,) = synthesize_planes([first], [second], steady(3, 0), (64, 64))
    assert made.min() >= 16
    assert made.max() <= 235


def test_weights_select_the_frame() -> None:
    first, second = np.full((32, 40), 40, np.uint8), np.full((32, 40), 200, np.uint8)
    zero = np.zeros((16, 20, 2), np.float32)
    weight = np.zeros((16, 20), np.float32)
    weight[:, :10] = 1
    (made,) = synthesize_planes([first], [second], FrameMotion(zero, zero, weight), (32, 40))
    assert (made[:, :17] == 40).all()
    assert (made[:, 23:] == 200).all()


def test_values_are_rounded_to_the_nearest() -> None:
    first, second = np.full((8, 8), 10, np.uint8), np.full((8, 8), 13, np.uint8)
    for t, expected in ((0.1, 10), (0.2, 11), (0.5, 12), (0.8, 12), (0.9, 13)):
        (made,) = synthesize_planes([first], [second], steady(0, 0, t, (8, 8)), (8, 8))
        assert (made == expected).all(), t


def test_detail_is_blurred_by_softness_alone() -> None:
    noise = np.random.default_rng(0)
    base = cv2.GaussianBlur(noise.random((64, 128)).astype(np.float32), (0, 0), 1.5)
    first = np.clip(base * 800 - 272, 0, 255).astype(np.uint8)
    other = cv2.GaussianBlur(noise.random((64, 128)).astype(np.float32), (0, 0), 1.5)
    second = first.copy()
    second[:, 64:] = np.clip(other * 800 - 272, 0, 255)[:, 64:]
    sharp = steady(0, 0, shape=(64, 128))
    (made,) = synthesize_planes([first], [second], sharp, (64, 128))
    blend = (first.astype(float) + second) / 2
    np.testing.assert_allclose(made, blend, atol=0.51)
    amount = np.zeros((64, 128), np.float32)
    amount[:, 64:] = 1
    (soft,) = synthesize_planes([first], [second], replace(sharp, softness=((2.0, amount),)), (64, 128))
    np.testing.assert_array_equal(soft[:, :48], first[:, :48])
    assert soft[:, 80:].std() < 0.8 * blend[:, 80:].std()


def test_bilinear_frames_are_sharpened_where_something_moves() -> None:
    noise = np.random.default_rng(0).integers(16, 236, (64, 128), dtype=np.uint8)
    first = cv2.GaussianBlur(noise, (0, 0), 1)
    second = np.roll(first, 1, axis=1)
    zero = steady(0, 0, shape=(64, 128))
    half = steady(1, 0, shape=(64, 128))
    flows = [
        np.where(np.arange(128)[:, None] < 64, a, b)
        for a, b in ((zero.flow_t0, half.flow_t0), (zero.flow_t1, half.flow_t1))
    ]
    second[:, :64] = first[:, :64]
    motion = FrameMotion(flows[0], flows[1], half.weight, sampling="bilinear")
    (blurred,) = synthesize_planes([first], [second], motion, (64, 128))
    (sharp,) = synthesize_planes([first], [second], replace(motion, sharpening=0.6), (64, 128))
    np.testing.assert_array_equal(sharp[:, :64], first[:, :64])
    assert sharp[:, 70:].std() > 1.05 * blurred[:, 70:].std()
    assert sharp.min() >= first.min()
    assert sharp.max() <= first.max()


def test_bands_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0)
    first, second = (noise.integers(0, 256, (200, 90, 3), dtype=np.uint8) for _ in range(2))
    motion = steady(5, 3, shape=(70, 33))
    (whole,) = synthesize_planes([first], [second], motion, (200, 90))
    monkeypatch.setattr("betwixt.layers.planes._BAND", 90 * 12)
    (banded,) = synthesize_planes([first], [second], motion, (200, 90))
    np.testing.assert_array_equal(whole, banded)


def test_views_of_read_only_memory_are_accepted() -> None:
    memory = np.random.default_rng(0).integers(0, 256, (64, 160), dtype=np.uint8)
    memory.flags.writeable = False
    view, mirrored = memory[:, :120], memory[::-1, :120][::-1]
    (made,) = synthesize_planes([view], [mirrored], steady(0, 0), (64, 120))
    np.testing.assert_array_equal(made, view)
    upside = memory[::-1, :120]
    (made,) = synthesize_planes([upside], [upside], steady(0, 0), (64, 120))
    np.testing.assert_array_equal(made, upside)


def test_frames_must_match() -> None:
    plane = np.zeros((8, 8), np.uint8)
    for other in ([], [plane[:4]], [plane.astype(np.uint16)], [plane, plane]):
        with pytest.raises(UsageError):
            synthesize_planes([plane], other, steady(0, 0), (8, 8))


@pytest.mark.parametrize("brightness", [0.95, 0.6])
def test_a_fade_keeps_its_detail(brightness: float) -> None:
    noise = cv2.GaussianBlur(np.random.default_rng(0).random((96, 128)).astype(np.float32), (0, 0), 1.5)
    first = np.clip(noise * 800 - 272, 0, 255).astype(np.uint8)
    second = (first * brightness).astype(np.uint8)
    (made,) = synthesize_planes([first], [second], steady(0, 0), (96, 128))
    truth = (first.astype(float) + second) / 2
    assert np.abs(made - truth).mean() < 1.0


def test_a_wide_blur_at_half_the_size_matches_the_full_one() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 81), dtype=np.uint8)
    noise = np.asarray(cv2.resize(noise, (161, 120), interpolation=cv2.INTER_CUBIC), np.uint8)
    for sigma in (2.5, 5.0):
        size = 2 * int(np.ceil(3 * sigma)) + 1
        exact = cv2.GaussianBlur(noise.astype(np.float32), (size, size), sigma, borderType=cv2.BORDER_REPLICATE)
        made = _blur(noise, (sigma, sigma))
        assert made.dtype == noise.dtype
        assert np.abs(made - exact).mean() < 0.1 * exact.std()
    narrow = _blur(noise, (1.0, 1.0))
    np.testing.assert_array_equal(narrow, cv2.GaussianBlur(noise, (7, 7), 1.0, borderType=cv2.BORDER_REPLICATE))


@pytest.mark.parametrize("name", ["yuv420p", "nv12", "rgb24"])
def test_two_motions_are_blended_by_their_share(name: str) -> None:
    shapes = LAYOUTS[name]
    first, second = ([wave(s, 6 * t, -4 * t, 10, 240, "f4") for s in shapes] for t in (0, 1))
    one, other = (steady(*way) for way in ((6, -4), (-8, 4)))
    share = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (48, 1))
    both = synthesize_planes(first, second, replace(one, other=other, share=share), SIZE)
    a, b = (synthesize_planes(first, second, motion, SIZE) for motion in (one, other))
    for made, x, y, shape in zip(both, a, b, shapes, strict=True):
        m = cv2.resize(share, shape[1::-1], interpolation=cv2.INTER_LINEAR).reshape(
            *shape[:2], *(1,) * (len(shape) - 2)
        )
        np.testing.assert_allclose(made, m * x + (1 - m) * y, atol=0.05)
        assert np.abs(x - y).mean() > 1
    moved = replace(one, other=other, share=share).displacement()
    np.testing.assert_allclose(moved[:, [0, -1]], np.tile([[-8.0, 4.0], [6.0, -4.0]], (48, 1, 1)), atol=1e-5)


def test_two_motions_need_a_share() -> None:
    with pytest.raises(ValueError, match="needs `share`"):
        replace(steady(1, 1), other=steady(2, 2))
