"""Overlays are taken off planes, and put back."""

import numpy as np
import pytest

from betwixt.layers.overlays import Overlay

MASK = np.zeros((48, 64), np.uint8)
MASK[19:29, 9:51] = 127
MASK[20:28, 10:50] = 255


def test_an_overlay_is_filled_from_around_it():
    y, x = np.mgrid[:48, :64]
    plane = (40 + 2 * x + y).astype(np.uint8)
    covered = plane.copy()
    covered[20:28, 10:50] = 255
    (filled,) = Overlay(MASK).fill([covered])
    assert np.abs(filled.astype(int) - plane).max() < 12
    assert (filled[MASK < 255] == plane[MASK < 255]).all()
    assert covered[24, 30] == 255


@pytest.mark.parametrize("dtype", [np.uint8, "<u2", ">u2", np.float32])
@pytest.mark.parametrize("shape", [(48, 64), (24, 32), (24, 32, 2), (12, 64)])
def test_equal_samples_come_back_bit_by_bit(dtype, shape):
    rng = np.random.default_rng(0)
    first = rng.integers(0, 255, shape).astype(dtype)
    second = first.copy()
    made = np.zeros(shape, dtype)
    overlay = Overlay(MASK)
    (filled,) = overlay.fill([first])
    assert (filled.dtype, filled.shape) == (first.dtype, shape)
    overlay.restore([made], [first], [second], 0.3)
    rows, columns = slice(shape[0] * 22 // 48, shape[0] * 26 // 48), slice(shape[1] * 12 // 64, shape[1] * 48 // 64)
    assert (made[rows, columns] == first[rows, columns]).all()
    assert not made[-shape[0] // 4 :].any()


def test_between_frames_that_differ_the_overlay_is_blended_by_time():
    first, second = np.full((48, 64), 100, np.uint8), np.full((48, 64), 104, np.uint8)
    made = np.zeros((48, 64), np.uint8)
    Overlay(MASK).restore([made], [first], [second], 0.75)
    assert made[24, 30] == 103
    assert made[19, 30] in (51, 52)  # the soft edge
    assert made[10, 30] == 0


def test_a_mask_of_half_the_size_serves_large_frames():
    plane = np.full((96, 128), 90, np.uint8)
    plane[40:56, 20:100] = 255
    (filled,) = Overlay(MASK).fill([plane])
    assert (filled == 90).mean() > 0.98
