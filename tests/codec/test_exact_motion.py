"""Motion of integers: it finds what moves, alike on every machine."""

import cv2
import numpy as np
import pytest
import torch

from betwixt.codec.exact_motion import ExactMotion, add_exact_residual, search_exact_motion, warp_exactly


def moved(dx, dy, size=(64, 96)):
    """Luma of two frames of a texture that moves by (dx, dy), and of the frame in between."""
    height, width = size
    noise = np.random.default_rng(1).uniform(0, 255, (height + 64, width + 64)).astype(np.float32)
    fine, coarse = cv2.GaussianBlur(noise, (0, 0), 3.0), cv2.GaussianBlur(noise, (0, 0), 10.0)
    scene = np.clip(128 + 3 * (fine - fine.mean()) + 20 * (coarse - coarse.mean()), 0, 255).round()
    frames = [
        scene[32 + y : 32 + y + height, 32 + x : 32 + x + width] for x, y in ((dx, dy), (dx // 2, dy // 2), (0, 0))
    ]
    luma = torch.from_numpy(np.stack(frames))[None].double() / 256 - 0.5
    return luma[:, [0, 2]], luma[:, 1:2]


HALF = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64)
INNER = (..., slice(16, -16), slice(24, -24))


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (6, -4), (-14, 10), (22, 2)])
def test_the_search_finds_the_motion_of_a_texture(dx, dy):
    luma, middle = moved(dx, dy)
    motion = search_exact_motion(luma, HALF)
    assert abs(float(torch.median(motion.offset1[:, 0][INNER])) - dx // 2) <= 1
    assert abs(float(torch.median(motion.offset0[:, 1][INNER])) + dy // 2) <= 1
    warped = warp_exactly(luma, motion)
    assert (warped - middle).abs()[INNER].mean() < 0.25 * max(0.01, (luma - middle).abs()[INNER].mean())
    assert torch.equal(warped * 256, torch.round(warped * 256))


def test_times_divide_the_motion():
    luma, _ = moved(12, 0)
    motion = search_exact_motion(luma, HALF / 2)
    assert torch.median(motion.offset0[:, 0][INNER]) == -3
    assert torch.median(motion.offset1[:, 0][INNER]) == 9


def test_precision_threads_and_batches_make_no_difference():
    luma, _ = moved(6, 2)
    luma = torch.cat((luma, moved(-8, 4)[0]))
    half = HALF.expand(2, 1, 1, 1)
    expected = search_exact_motion(luma, half)
    residual = torch.arange(2 * 4 * 8 * 12, dtype=torch.float64).reshape(2, 4, 8, 12) % 7 - 3
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            for dtype in (torch.float32, torch.float64):
                found = search_exact_motion(luma.to(dtype), half.to(dtype))
                assert torch.equal(found.offset0.double(), expected.offset0)
                assert torch.equal(found.offset1.double(), expected.offset1)
                changed = add_exact_residual(luma.to(dtype), found, residual.to(dtype))
                again = add_exact_residual(luma, expected, residual)
                assert torch.equal(changed.offset0.double(), again.offset0)
    finally:
        torch.set_num_threads(threads)
    alone = search_exact_motion(luma[1:], HALF)
    assert torch.equal(alone.offset0, expected.offset0[1:])


def test_a_coded_residual_is_taken_where_frames_then_match_better():
    luma, _ = moved(6, -4)
    found = search_exact_motion(luma, HALF)
    nothing = ExactMotion(torch.zeros_like(found.offset0), torch.zeros_like(found.offset1))
    residual = torch.tensor([-3.0, 2.0, 3.0, -2.0], dtype=torch.float64).reshape(1, 4, 1, 1).expand(1, 4, 8, 12)
    better = add_exact_residual(luma, nothing, residual)
    assert torch.median(better.offset1[:, 0][INNER]) == 3
    assert torch.median(better.offset0[:, 1][INNER]) == 2
    worse = add_exact_residual(luma, found, residual)
    assert (worse.offset1 == found.offset1)[INNER].double().mean() > 0.95
    assert add_exact_residual(luma, found, 0 * residual) is found
