"""Regions: their number, consistency between two frames, and persistence along a video."""

import itertools

import cv2
import numpy as np
import pytest

from betwixt.errors import UsageError
from betwixt.masks.regions import RegionTracker, find_regions
from sample import render


def scene(step, size=(160, 240)):
    """A textured background that pans, and a disc that moves against it."""
    rng = np.random.default_rng(3)
    h, w = size
    canvas = cv2.resize(
        rng.integers(60, 200, (h // 8, w // 4, 3), dtype=np.uint8), (2 * w, h), interpolation=cv2.INTER_CUBIC
    )
    canvas[: h // 3] //= 3
    frame = np.ascontiguousarray(canvas[:, 2 * step : 2 * step + w])
    centre = 60 + 5 * step, 90
    cv2.circle(frame, centre, 28, (230, 40, 30), -1)
    noise = np.random.default_rng(step).integers(0, 6, frame.shape, dtype=np.uint8)
    disc = np.zeros(size, np.uint8)
    cv2.circle(disc, centre, 28, 1, -1)
    return cv2.add(frame, noise), disc > 0


@pytest.fixture(scope="module")
def pairs():
    tracker = RegionTracker()
    frames = [scene(step)[0] for step in range(8)]
    return [tracker.pair(a, b) for a, b in itertools.pairwise(frames)]


def label_of(labels, where):
    return int(np.bincount(labels[where]).argmax())


def test_a_frame_has_4_to_16_regions_and_frame_1_has_no_further_labels(pairs):
    for masks in pairs:
        found = set(np.unique(masks.labels0))
        assert 4 <= len(found) <= 16
        assert set(np.unique(masks.labels1)) <= found
        assert masks.count == max(found) + 1
        assert masks.source == "regions"


def test_an_object_keeps_its_label_along_the_video(pairs):
    label = label_of(pairs[0].labels0, scene(0)[1])
    for k, masks in enumerate(pairs):
        for step, labels in ((k, masks.labels0), (k + 1, masks.labels1)):
            disc = scene(step)[1]
            mine = labels == label
            assert (mine & disc).sum() / (mine | disc).sum() > 0.8


def test_labels_last_from_pair_to_pair(pairs):
    for before, after in itertools.pairwise(pairs):
        assert (before.labels1 == after.labels0).mean() > 0.9


def test_a_single_pair_has_consistent_labels():
    masks = find_regions(scene(0)[0], scene(1)[0])
    label = label_of(masks.labels0, scene(0)[1])
    assert label_of(masks.labels1, scene(1)[1]) == label


def test_it_is_deterministic():
    a, b = scene(0)[0], scene(1)[0]
    one, two = find_regions(a, b), find_regions(a, b)
    assert np.array_equal(one.labels0, two.labels0)
    assert np.array_equal(one.labels1, two.labels1)


def test_an_unrelated_frame_resets_the_tracker():
    tracker = RegionTracker()
    tracker.pair(scene(0)[0], scene(1)[0])
    found = tracker.pair(scene(5)[0], scene(6)[0])
    alone = find_regions(scene(5)[0], scene(6)[0])
    assert np.array_equal(found.labels0, alone.labels0)


def test_a_tracker_resumes_from_a_saved_state():
    frames = [scene(step)[0] for step in range(4)]
    whole = RegionTracker()
    for a, b in itertools.pairwise(frames[:3]):
        whole.pair(a, b)
    other = RegionTracker()
    other.resume(frames[2], whole.state())
    one, two = whole.pair(frames[2], frames[3]), other.pair(frames[2], frames[3])
    assert np.array_equal(one.labels0, two.labels0)
    assert np.array_equal(one.labels1, two.labels1)


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (17, 17), (18, 18), (40, 31), (97, 1003)])
def test_frames_of_any_size(size):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(3)]
    tracker = RegionTracker()
    for a, b in itertools.pairwise(frames):
        masks = tracker.pair(a, b)
        masks.check_size(*size)
        assert masks.count <= 16


@pytest.mark.parametrize("value", [0, 128, 255])
def test_equal_frames_of_one_colour(value):
    flat = np.full((90, 120, 3), value, np.uint8)
    masks = find_regions(flat, flat)
    assert masks.count == 4
    assert np.array_equal(masks.labels0, masks.labels1)


def test_a_cut_resets_the_labels():
    tracker = RegionTracker()
    a, b = scene(0)[0], np.ascontiguousarray(render(1.0, width=240, height=160))
    c = np.ascontiguousarray(render(1.05, width=240, height=160))
    noise = np.random.default_rng(0).integers(0, 256, a.shape, dtype=np.uint8)
    tracker.pair(a, noise)
    tracker.pair(noise, b)
    assert np.array_equal(tracker.pair(b, c).labels0 > 16, np.zeros((160, 240), bool))
    tracker = RegionTracker()
    tracker.pair(noise, b)
    found, alone = tracker.pair(b, c), find_regions(b, c)
    assert np.array_equal(found.labels0, alone.labels0)


@pytest.mark.parametrize(
    "frame", [np.zeros((40, 40), np.uint8), np.zeros((40, 40, 3), np.float32), np.zeros((40, 40, 4), np.uint8)]
)
def test_other_arrays_are_rejected(frame):
    with pytest.raises(UsageError, match=r"shape \(height, width, 3\), uint8"):
        find_regions(frame, frame)


def test_frames_of_two_sizes_are_rejected():
    with pytest.raises(UsageError, match="differ in size"):
        find_regions(np.zeros((40, 40, 3), np.uint8), np.zeros((40, 44, 3), np.uint8))
