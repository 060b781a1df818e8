"""Repeated frames are found despite codec noise; a frame in which anything moved is never one."""

import cv2
import numpy as np
import pytest

from betwixt.media.duplicates import DuplicateDetector

HEIGHT, WIDTH = 180, 320


def texture(seed=0, height=HEIGHT, width=WIDTH):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 200, (height // 8 + 2, width // 8 + 2)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def compress(plane, quality):
    _, data = cv2.imencode(".jpg", plane, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)


def detect(planes, bit_depth=8):
    detector = DuplicateDetector(bit_depth)
    return [detector.push(plane) for plane in planes]


def pan(count, step=3):
    wide = texture(1, width=WIDTH + step * count)
    return [np.ascontiguousarray(wide[:, step * i : step * i + WIDTH]) for i in range(count)]


def test_an_exact_repeat_is_a_duplicate_and_the_first_frame_is_not():
    plane = texture()
    assert detect([plane, plane.copy(), plane.copy()]) == [False, True, True]


def test_repeated_black_frames_are_duplicates():
    assert detect([np.zeros((HEIGHT, WIDTH), np.uint8)] * 3) == [False, True, True]


@pytest.mark.parametrize("pattern", [(2,), (3, 2), (1, 2, 3), (5, 5, 2)], ids=str)
def test_repeats_in_moving_video_are_found_despite_codec_noise(pattern):
    planes, expected = [], []
    for index, plane in enumerate(pan(12)):
        for repeat in range(pattern[index % len(pattern)]):
            planes.append(compress(plane, 90 - 5 * repeat))
            expected.append(repeat > 0)
    assert detect(planes) == expected


@pytest.mark.parametrize("step", [1, 2, 8])
def test_a_pan_has_no_duplicates(step):
    assert not any(detect(pan(10, step)))


@pytest.mark.parametrize("place", [(60, 100), (0, 4), (HEIGHT - 4, WIDTH - 6), (HEIGHT - 4, 3)], ids=str)
@pytest.mark.parametrize(
    "background", [np.full((HEIGHT, WIDTH), 90, np.uint8), texture() // 2], ids=["flat", "texture"]
)
def test_a_small_moving_ball_is_noticed_anywhere(place, background):
    planes = []
    for shift in range(2):
        plane = background.copy()
        y, x = place[0], max(0, place[1] - 4 * shift)
        plane[y : y + 4, x : x + 4] = 230
        planes.append(plane)
    assert detect(planes) == [False, False]


@pytest.mark.parametrize("size", [(183, 325), (7, 9), (1, 1), (16, 16), (721, 1283), (2, 500)])
def test_the_last_sample_of_any_size_counts(size):
    plane = np.full(size, 100, np.uint8)
    changed = plane.copy()
    changed[-4:, -4:] = 255
    assert detect([plane, plane.copy(), changed, changed.copy()]) == [False, True, False, True]


def test_grain_does_not_hide_a_small_motion():
    rng = np.random.default_rng(3)
    planes = []
    for shift in range(8):
        plane = texture()
        plane[80:110, 100 + 3 * shift : 130 + 3 * shift] = 220
        planes.append(np.clip(plane + rng.normal(0, 2, plane.shape), 0, 255).astype(np.uint8))
    assert not any(detect(planes))


def test_a_slow_fade_is_not_taken_for_repeats():
    plane = texture().astype(np.int16)
    fade = [np.clip(plane - level, 0, 255).astype(np.uint8) for level in range(60)]
    flags = detect(fade)
    longest = max(len(run) for run in "".join("d" if flag else " " for flag in flags).split())
    assert longest <= 3, "four levels must count as a change"
    assert not any(detect(fade[::4]))


def test_slow_drift_adds_up_until_it_is_found():
    wide = cv2.resize(texture(5, width=400), None, fx=8, fy=1, interpolation=cv2.INTER_CUBIC)
    planes = [
        cv2.resize(np.ascontiguousarray(wide[:, i : i + 8 * WIDTH]), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        for i in range(40)
    ]
    flags = detect(planes)
    assert sum(not flag for flag in flags) >= 4, "an eighth of a sample per frame adds up to five samples"


def test_a_cut_is_not_a_duplicate():
    assert detect([texture(1), texture(2), texture(2)]) == [False, False, True]


@pytest.mark.parametrize("depth", [10, 12, 16])
def test_samples_of_more_than_8_bits_give_the_same_decisions(depth):
    rng = np.random.default_rng(0)
    planes = []
    for plane in pan(5):
        for _ in range(2):
            noisy = np.clip(plane + rng.integers(-2, 3, plane.shape), 0, 255)
            planes.append((noisy << (depth - 8)).astype(np.uint16))
    assert detect(planes, depth) == [False, True] * 5


def test_the_plane_is_copied_and_may_be_a_view():
    padded = np.zeros((HEIGHT, WIDTH + 32), np.uint8)
    view = padded[:, :WIDTH]
    view[:] = texture()
    detector = DuplicateDetector()
    assert not detector.push(view)
    assert detector.push(view)
    view[:] = texture(9)
    assert not detector.push(view)


def test_a_change_of_size_starts_again():
    small = cv2.resize(texture(), (160, 90), interpolation=cv2.INTER_AREA)
    assert detect([texture(), small, small, texture()]) == [False, False, True, False]


def test_other_arrays_are_refused():
    with pytest.raises(ValueError, match="bit depth 7"):
        DuplicateDetector(7)
    for plane in (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32), np.zeros((0, 4), np.uint8)):
        with pytest.raises(ValueError, match="luma plane"):
            DuplicateDetector().push(plane)


def test_the_byte_order_does_not_matter():
    planes = [texture(1).astype(np.uint16) << 8, texture(1).astype(np.uint16) << 8, texture(2).astype(np.uint16) << 8]
    assert detect([plane.astype(">u2") for plane in planes], 16) == detect(planes, 16) == [False, True, False]
