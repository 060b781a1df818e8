"""All hard cuts are found; motion, flashes, fades, dissolves and noise are not taken for cuts."""

from functools import cache

import cv2
import numpy as np
import pytest

from betwixt.media.scenes import CutDetector, CutFinder, pair_score, thumbnail_size

WIDTH, HEIGHT = 128, 72
"""Size of a thumbnail; scenes are painted at 1280x720, and 640x360 of them are visible."""
BLACK = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


@cache
def scene(seed, mean=120.0, gain=40.0, colour=True):
    """A scene of 1280x720: soft texture at four scales and thirty shapes."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((720, 1280, 3), np.float32)
    for size, strength in ((64, 1.0), (24, 0.8), (8, 0.6), (3, 0.3)):
        noise = rng.standard_normal((720 // size + 2, 1280 // size + 2, 3)).astype(np.float32)
        picture += strength * cv2.resize(noise, (1280, 720), interpolation=cv2.INTER_LINEAR)
    for _ in range(30):
        shade = tuple(float(v) for v in rng.normal(0, 1.5, 3))
        x, y, a, b = (int(v) for v in rng.integers((0, 0, 20, 20), (1280, 720, 200, 200)))
        if a % 2:
            cv2.circle(picture, (x, y), a // 2, shade, -1)
        else:
            cv2.rectangle(picture, (x, y), (x + a, y + b), shade, -1)
    if not colour:
        picture[:] = picture.mean(axis=2, keepdims=True)
    return np.clip(picture * gain + mean, 0, 255).astype(np.uint8)


def view(picture, x, y, width=640, height=360):
    part = picture[y : y + height, x : x + width]
    assert part.shape[:2] == (height, width)
    return cv2.resize(part, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def shot(seed, count, x=100, y=100, **paint):
    """A slow pan: two of 640 pixels per frame."""
    return [view(scene(seed, **paint), x + 2 * i, y + i) for i in range(count)]


def cuts(frames):
    """The frames that the detector reports; checks that each decision comes `lookahead` frames late."""
    detector, decisions = CutDetector(), []
    for index, frame in enumerate(frames):
        decisions += detector.push(frame)
        assert len(decisions) == max(0, index + 1 - detector.lookahead)
    decisions += detector.flush()
    assert len(decisions) == len(frames)
    assert not detector.flush()
    return [index for index, cut in enumerate(decisions) if cut]


def blend(a, b, share):
    return cv2.addWeighted(a, 1 - share, b, share, 0)


def brighten(frame, levels):
    return np.clip(frame.astype(np.int16) + levels, 0, 255).astype(np.uint8)


# -- cuts


def test_a_hard_cut_is_found():
    assert cuts(shot(0, 12) + shot(1, 12)) == [12]


def test_every_cut_of_many_is_found():
    frames, expected = [], []
    for seed in range(6):
        expected.append(len(frames))
        frames += shot(seed, 3 + seed)
    assert cuts(frames) == expected[1:]


def test_shots_of_one_frame_have_a_cut_on_each_side():
    assert cuts(shot(0, 8) + shot(1, 1) + shot(2, 1) + shot(3, 1) + shot(4, 8)) == [8, 9, 10, 11]


def test_a_video_of_shots_of_one_frame():
    assert cuts([shot(k % 6, 1, x=100 + 37 * k)[0] for k in range(12)]) == list(range(1, 12))


@pytest.mark.parametrize("length", [1, 2])
def test_an_unrelated_inserted_image_is_a_shot_not_a_flash(length):
    frames = shot(0, 12) + shot(1, length) + shot(0, 12, x=124, y=112)
    assert cuts(frames) == [12, 12 + length]


@pytest.mark.parametrize("at", [1, 2, 22, 23])
def test_cuts_on_the_first_and_last_frames_are_found(at):
    assert cuts(shot(0, at) + shot(1, 24 - at)) == [at]


def test_a_cut_to_another_part_of_the_same_set_is_found():
    assert cuts(shot(0, 12) + shot(0, 12, x=420, y=180)) == [12]


def test_a_cut_to_a_close_up_is_found():
    close = [view(scene(0), 260 + i, 190, 320, 180) for i in range(12)]
    assert cuts(shot(0, 12) + close) == [12]


@pytest.mark.parametrize("paint", [{"mean": 14, "gain": 5}, {"mean": 235, "gain": 8}, {"colour": False}], ids=str)
def test_cuts_between_dark_bright_and_grey_scenes_are_found(paint):
    assert cuts(shot(0, 12, **paint) + shot(1, 12, **paint)) == [12]


def test_bars_do_not_hide_a_cut():
    def letterboxed(frame):
        return cv2.copyMakeBorder(frame[14:-14], 14, 14, 0, 0, cv2.BORDER_CONSTANT)

    def pillarboxed(frame):
        return cv2.copyMakeBorder(frame[:, 36:-36], 0, 0, 36, 36, cv2.BORDER_CONSTANT)

    for boxed in (letterboxed, pillarboxed):
        assert cuts([boxed(frame) for frame in shot(0, 12) + shot(1, 12)]) == [12]
        assert cuts([boxed(view(scene(2), 64 * i, 50)) for i in range(10)]) == []


def test_a_cut_to_black_and_from_black():
    assert cuts(shot(0, 12) + [BLACK] * 10) == [12]
    assert cuts([BLACK] * 10 + shot(0, 12)) == [10]


def test_repeated_frames_do_not_hide_a_cut():
    assert cuts([frame for frame in shot(0, 8) + shot(1, 8) for _ in range(3)]) == [24]


def test_grain_does_not_hide_a_cut():
    rng = np.random.default_rng(5)
    grainy = [np.clip(f + rng.normal(0, 8, f.shape), 0, 255).astype(np.uint8) for f in shot(0, 12) + shot(1, 12)]
    assert cuts(grainy) == [12]


@pytest.mark.parametrize("size", [(16, 16), (2, 2), (1, 1), (128, 4), (4, 128), (128, 1), (333, 77)], ids=str)
def test_any_size_works(size):
    frames = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in shot(0, 12) + shot(1, 12)]
    assert cuts(frames) == [12]


def test_a_change_of_size_within_a_video_is_not_a_cut():
    frames = shot(0, 24)
    frames[12:] = [cv2.resize(frame, (96, 96)) for frame in frames[12:]]
    assert cuts(frames) == []


# -- not cuts


@pytest.mark.parametrize("step", [2, 16, 32, 64])
def test_a_pan_of_up_to_a_tenth_of_the_width_per_frame_is_not_a_cut(step):
    assert cuts([view(scene(2), step * i, 50) for i in range(min(20, 640 // step))]) == []


@pytest.mark.parametrize("factor", [1.1, 1.2, 1.3])
def test_a_whip_zoom_is_not_a_cut(factor):
    frames = []
    for i in range(8):
        width, height = int(1200 / factor**i), int(675 / factor**i)
        frames.append(view(scene(3), 640 - width // 2, 360 - height // 2, width, height))
    assert cuts(frames) == []
    assert cuts(frames[::-1]) == []


@pytest.mark.parametrize("amplitude", [40, 70])
def test_a_shaking_camera_is_not_a_cut(amplitude):
    places = np.random.default_rng(3).integers(-amplitude, amplitude, (30, 2))
    assert cuts([view(scene(4), 300 + x, 150 + y) for x, y in places]) == []


def test_a_large_object_that_crosses_the_frame_is_not_a_cut():
    frames = []
    for i in range(14):
        frame = view(scene(5), 100, 100)
        left, right = max(0, 14 * i - 60), min(WIDTH, 14 * i)
        if left < right:
            frame[:, left:right] = view(scene(1), 300, 100)[:, left - 14 * i + 60 : right - 14 * i + 60]
        frames.append(frame)
    assert cuts(frames) == []


@pytest.mark.parametrize("length", [1, 2, 3, 4])
@pytest.mark.parametrize("light", ["bright", "white", "black", "dark"])
def test_a_flash_is_not_a_cut(length, light):
    frames = shot(0, 24)
    for i in range(10, 10 + length):
        frames[i] = {
            "bright": brighten(frames[i], 170),
            "white": np.full_like(BLACK, 255),
            "black": BLACK,
            "dark": frames[i] // 16,
        }[light]
    assert cuts(frames) == []


@pytest.mark.parametrize("period", [1, 2, 3])
def test_strobe_light_is_not_a_cut(period):
    frames = shot(0, 40)
    for i in range(6, 36):
        if i // period % 2:
            frames[i] = brighten(frames[i], 190)
    assert cuts(frames) == []


def test_a_cut_during_strobe_light_is_still_a_cut():
    frames = shot(0, 12) + shot(1, 12)
    for i in (4, 6, 8, 16, 18, 20):
        frames[i] = brighten(frames[i], 190)
    assert cuts(frames) == [12]


def test_a_flash_in_repeated_frames_is_not_a_cut():
    frames = [frame for frame in shot(0, 12) for _ in range(2)]
    frames[10:12] = [np.full_like(BLACK, 255)] * 2
    assert cuts(frames) == []


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10, 25])
def test_a_dissolve_of_any_length_is_not_a_cut(steps):
    a, b = shot(0, 12 + steps), shot(1, 12 + steps)
    between = [blend(a[12 + i], b[i], (i + 1) / (steps + 1)) for i in range(steps)]
    assert cuts(a[:12] + between + b[steps:]) == []


@pytest.mark.parametrize("steps", [2, 4, 8, 16])
def test_fades_to_and_from_black_are_not_cuts(steps):
    out = shot(0, 12 + steps)
    into = shot(1, 12 + steps)
    faded_out = out[:12] + [blend(out[12 + i], BLACK, (i + 1) / steps) for i in range(steps)]
    faded_in = [blend(into[i], BLACK, 1 - (i + 1) / steps) for i in range(steps)] + into[steps:]
    assert cuts(faded_out + [BLACK] * 8) == []
    assert cuts([BLACK] * 8 + faded_in) == []
    assert cuts(faded_out + faded_in) == []


@pytest.mark.parametrize("level", [0, 20, 120])
def test_noise_on_an_empty_frame_is_not_a_cut(level):
    rng = np.random.default_rng(1)
    noise = [np.clip(level + rng.normal(0, 8, BLACK.shape), 0, 255).astype(np.uint8) for _ in range(20)]
    assert cuts(noise) == []


def test_still_and_short_videos_have_no_cuts():
    assert cuts([shot(0, 1)[0]] * 20) == []
    for count in range(4):
        assert cuts(shot(0, count)) == []


def test_memory_is_bounded():
    detector = CutDetector()
    for frame in shot(0, 3) * 30:
        detector.push(frame)
    assert len(detector._frames) <= 2 * detector.lookahead + 2


def test_the_caller_may_reuse_the_memory_of_a_thumbnail():
    buffer = np.empty_like(BLACK)
    detector, decisions = CutDetector(), []
    for frame in shot(0, 12) + shot(1, 12):
        buffer[:] = frame
        decisions += detector.push(buffer)
    decisions += detector.flush()
    assert [i for i, cut in enumerate(decisions) if cut] == [12]


@pytest.mark.parametrize(
    "thumbnail", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_other_arrays_are_refused(thumbnail):
    with pytest.raises(ValueError, match="thumbnail"):
        CutDetector().push(thumbnail)


def test_scores_separate_motion_from_a_cut():
    a, b = shot(0, 2)
    assert pair_score(a, a) == pytest.approx(1, abs=0.1)
    assert pair_score(a, b) > 0.6
    assert pair_score(a, shot(1, 1)[0]) < 0.3


def test_a_decision_does_not_depend_on_what_was_scored_long_before():
    pan = [view(scene(5), 40 + 40 * k, 100) for k in range(12)]
    alone, after_cuts = CutDetector(), CutDetector()
    for thumbnail in [view(scene(seed), 100, 100) for seed in (1, 2, 3)] + [pan[0]] * 12:
        after_cuts.push(thumbnail)
    for thumbnail in pan:
        alone.push(thumbnail)
        after_cuts.push(thumbnail)
    assert [frame.score for frame in after_cuts._frames[-6:]] == [frame.score for frame in alone._frames[-6:]]


def test_thumbnails_are_small_and_never_empty():
    assert thumbnail_size(1920, 1080) == (128, 72)
    assert thumbnail_size(1080, 1920) == (72, 128)
    assert thumbnail_size(16, 16) == (16, 16)
    assert thumbnail_size(4000, 1) == (128, 1)
    with pytest.raises(ValueError, match="0 x 5"):
        thumbnail_size(0, 5)


@pytest.mark.parametrize("order", ["forward", "backward", "shuffled"])
def test_any_order_gives_the_same_decisions(order):
    flash = brighten(shot(3, 9)[-1], 90)
    frames = [*shot(1, 9), *shot(2, 1), *shot(3, 8), flash, *shot(3, 9), BLACK, BLACK, *shot(4, 7)]
    finder = CutFinder(len(frames))
    numbers = list(range(len(frames)))
    if order == "backward":
        numbers.reverse()
    elif order == "shuffled":
        np.random.default_rng(0).shuffle(numbers)
    found = [n for n in numbers if finder.is_cut(n, [frames[k] for k in finder.window(n)])]
    assert sorted(found) == cuts(frames)
    assert len(found) > 2
