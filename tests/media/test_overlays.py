"""Overlays are found where they are, and nowhere else."""

import cv2
import numpy as np
import pytest

from betwixt.media.overlays import LOOK_AHEAD, RUN, OverlayView, find_overlays
from overlay_clips import pan, text_mask, write

FILL, WHOLE = text_mask()


def find(lumas, first=LOOK_AHEAD):
    """The mask of the pair that begins with frame `first`; zero if nothing is found."""
    mask = find_overlays([OverlayView(luma) for luma in lumas], first)
    return np.zeros(lumas[0].shape, np.uint8) if mask is None else mask


@pytest.mark.parametrize("noise", [0, 2])
def test_text_over_a_pan_is_found_with_its_outline(noise):
    rng = np.random.default_rng(1)
    lumas = [write(pan(k)) for k in range(6)]
    lumas = [np.clip(luma + rng.normal(0, noise, luma.shape), 0, 255).astype(np.uint8) for luma in lumas]
    mask = find(lumas)
    assert (mask[WHOLE] == 255).mean() > 0.98
    assert (mask[~WHOLE] > 0).mean() < 0.2


def test_a_pan_without_text_has_no_overlay():
    for speed in (0, 1, 3, 9, 20):
        assert not find([pan(k, speed) for k in range(6)]).any()


@pytest.mark.parametrize("step", [1, 3, 8])
def test_text_that_moves_is_not_found(step):
    assert not find([write(pan(k), step * k - 16) for k in range(6)]).any()


@pytest.mark.parametrize("step", [(0.2, 0), (0, 0.2), (0.5, 0), (0, 0.5)])
def test_antialiased_text_that_moves_by_a_fraction_of_a_pixel_is_not_found(step):
    text = write(np.full(WHOLE.shape, 128, np.uint8))
    lumas = []
    for k in range(6):
        move = np.array([[1, 0, k * step[0]], [0, 1, k * step[1]]])
        moved, opacity = (
            cv2.warpAffine(cv2.GaussianBlur(image, (3, 3), 0), move, text.shape[::-1])
            for image in (text.astype(np.float32), WHOLE.astype(np.float32))
        )
        lumas.append(np.rint(pan(k) + opacity * (moved - pan(k))).astype(np.uint8))
    assert not find(lumas).any()


def test_text_is_found_from_its_first_frame_to_its_last():
    lumas = [write(pan(k)) if 3 <= k < 3 + RUN else pan(k) for k in range(12)]
    for first in range(11):
        window = range(max(0, first - LOOK_AHEAD), min(12, first + 2 + LOOK_AHEAD))
        mask = find([lumas[k] for k in window], first - window[0])
        both = first >= 3 and first + 1 < 3 + RUN
        assert ((mask[WHOLE] == 255).mean() > 0.98) == both
        assert mask.any() == both


def test_text_of_fewer_frames_is_not_found():
    assert not find([write(pan(k)) if 1 <= k < RUN else pan(k) for k in range(6)]).any()
    assert not find([write(pan(k)) for k in range(RUN - 1)], 1).any()


def test_a_still_picture_with_text_needs_no_overlay():
    assert not find([write(pan(0)) for _ in range(6)]).any()


def test_a_still_background_that_an_object_passes_is_not_found():
    lumas = [write(pan(0)) for _ in range(6)]
    for k, luma in enumerate(lumas):
        luma[40:120, 20 + 34 * k : 30 + 34 * k] = 128
    assert not find(lumas).any()


def test_flat_areas_beside_text_are_not_found():
    lumas = [write(pan(k)) for k in range(6)]
    for luma in lumas:
        luma[110:] = 90
    mask = find(lumas)
    assert mask[WHOLE].any()
    assert not mask[120:].any()


def test_the_ground_of_a_box_is_found():
    lumas = [pan(k) for k in range(6)]
    for luma in lumas:
        luma[50:110, 20:236] = 60
        write(luma)
    assert (find(lumas)[52:108, 22:234] == 255).mean() > 0.97


@pytest.mark.parametrize("slope", [0, 1, -1])
def test_lines_along_which_the_picture_moves_are_not_found(slope):
    lumas = []
    for k in range(6):
        luma = np.roll(pan(0), (8 * slope * k, 8 * k), (0, 1))
        for colour, thickness in ((16, 12), (235, 4)):
            cv2.line(luma, (-100, 80 - 228 * slope), (400, 80 + 272 * slope), colour, thickness)
        lumas.append(luma)
    assert not find(lumas).any()


def test_large_frames_are_searched_at_a_smaller_size():
    lumas = [cv2.resize(pan(k), (1536, 960)) for k in range(6)]
    fill = np.zeros(lumas[0].shape, np.uint8)
    cv2.putText(fill, "Keep whole", (300, 700), cv2.FONT_HERSHEY_SIMPLEX, 2.2, 255, 6, cv2.LINE_AA)
    outline = cv2.dilate(fill, np.ones((9, 9), np.uint8))
    for luma in lumas:
        luma[outline > 127], luma[fill > 127] = 16, 235
    mask = find_overlays([OverlayView(luma) for luma in lumas], LOOK_AHEAD)
    assert mask is not None
    assert mask.shape == (480, 768)
    bright = cv2.resize(lumas[0], (768, 480), interpolation=cv2.INTER_AREA) > 225
    assert (mask[bright] == 255).mean() > 0.98
