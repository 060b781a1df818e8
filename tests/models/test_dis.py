"""DIS on images whose true in-between frame is known."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from betwixt.errors import UsageError
from betwixt.models.dis import interpolator as dis
from betwixt.models.dis.interpolator import DIS

Image = NDArray[np.float32]


def texture(height: int, width: int, seed: int = 0) -> Image:
    """An image with detail at many scales, RGB in [0, 1]."""
    noise = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for sigma in (2, 4, 8, 16):
        layer = cv2.GaussianBlur(noise.standard_normal((height, width, 3)).astype(np.float32), (0, 0), sigma)
        total += layer / layer.std()
    total -= total.min()
    return total / total.max()


def window(image: Image, x: float, y: float, height: int, width: int) -> Image:
    """The window of `image` that starts at (x, y)."""
    matrix = np.array([[1, 0, x], [0, 1, y]], np.float64)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), flags=flags), np.float32)


def rotate(image: Image, degrees: float) -> Image:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT), np.float32)


def scene(t: float) -> Image:
    """A square in front of a background that moves the other way: it occludes some of it and uncovers some."""
    frame = window(texture(200, 300), 20 + 6 * t, 20, 140, 200)
    left = round(60 + 24 * t)
    frame[40:100, left : left + 50] = texture(60, 50, seed=1)
    return frame


def error(made: Image, truth: Image, margin: int = 0) -> float:
    inner = slice(margin, -margin or None)
    return float(np.abs(made - truth)[inner, inner].mean()) * 255


@pytest.mark.parametrize(("x", "y"), [(7.0, -4.0), (1.5, 0.0), (-24.0, 10.0)])
@pytest.mark.parametrize("t", [0.5, 0.2])
def test_translation(x: float, y: float, t: float) -> None:
    world = texture(300, 400)
    first, truth, second = (window(world, 60 + x * s, 60 + y * s, 160, 240) for s in (0, t, 1))
    made = DIS().prepare(first, second).at(t)
    average = (1 - t) * first + t * second
    assert error(made, truth, 30) < 1.0
    assert error(made, truth) < 0.4 * error(average, truth)


def test_scale_changes_the_size_of_the_search() -> None:
    images = [np.asarray(255 * texture(300, 400, seed).mean(axis=2), np.uint8) for seed in (0, 1)]
    plain = DIS().prepare_luma(*images).flows().flow_01.shape
    sizes = {scale: DIS().with_scale(scale).prepare_luma(*images).flows().flow_01.shape for scale in DIS.scales}
    assert sizes[1.0] == plain
    assert sizes[0.5][0] == pytest.approx(plain[0] / 2, abs=1)
    assert sizes[4.0] == (300, 400, 2)  # never more than the frame's


def test_rotation() -> None:
    world = texture(200, 240)
    first, truth, second = (rotate(world, angle) for angle in (0, 3, 6))
    made = DIS().prepare(first, second).at(0.5)
    assert error(made, truth, 30) < 1.0
    assert error((first + second) / 2, truth, 30) > 5.0


@pytest.mark.parametrize("t", [0.25, 0.5, 0.75])
def test_occluded_parts_come_from_the_frame_that_shows_them(t: float) -> None:
    first, truth, second = scene(0), scene(t), scene(1)
    made = DIS().prepare(first, second).at(t)
    average = (1 - t) * first + t * second
    assert error(made, truth) < 0.35 * error(average, truth)


def test_parts_that_leave_the_frame_come_from_the_frame_that_shows_them() -> None:
    world = texture(200, 400)
    first, truth, second = (window(world, 40 + 20 * s, 20, 160, 240) for s in (0, 0.5, 1))
    pair = DIS().prepare(first, second)
    weight = pair.motion(0.5).weight
    assert weight[:, :4].mean() > 0.9
    assert weight[:, -4:].mean() < 0.1
    assert error(pair.at(0.5)[:, -8:], truth[:, -8:]) < 4.0


def test_equal_frames_have_no_motion() -> None:
    image = texture(90, 121)
    pair = DIS().prepare(image, image.copy())
    motion = pair.motion(0.3)
    assert not motion.flow_t0.any()
    assert not motion.flow_t1.any()
    np.testing.assert_array_equal(pair.at(0.3), image)


def test_static_parts_are_copied() -> None:
    first, second = scene(0), scene(1)
    for frame in (first, second):
        frame[:30] = texture(30, 200, seed=2)
    first, second = ((frame * 255).astype(np.uint8) for frame in (first, second))
    (made,) = DIS().between(first, second, [0.5])
    np.testing.assert_array_equal(made[:16], first[:16])


@pytest.mark.parametrize("size", [(1, 1), (1, 60), (2, 3), (7, 9), (16, 16), (17, 33), (479, 31), (41, 853)])
def test_any_size(size: tuple[int, int]) -> None:
    first, second = texture(*size), texture(*size, seed=1)
    pair = DIS().prepare(first, second)
    assert np.isfinite(pair.at(0.5)).all()
    assert pair.at(0.5).shape == (*size, 3)
    np.testing.assert_array_equal(DIS().prepare(first, first).at(0.5), first)


def test_flows_of_downscaled_searches_are_in_pixels_of_the_frame() -> None:
    world = texture(900, 1400)
    first, second = (window(world, 40 + 30 * s, 40, 720, 1280) for s in (0, 1))
    motion = DIS().prepare(first, second).motion(0.5)
    assert motion.weight.shape[0] < 400
    assert motion.flow_t1.shape == (*motion.weight.shape, 2)
    middle = motion.flow_t1[50:-50, 50:-50]
    assert abs(float(np.median(middle[..., 0])) + 15) < 0.3
    assert abs(float(np.median(middle[..., 1]))) < 0.3


def test_swapping_frames_and_time_gives_the_same_frame() -> None:
    first, second = scene(0), scene(1)
    forward = DIS().prepare(first, second).at(0.3)
    backward = DIS().prepare(second, first).at(0.7)
    assert error(forward, backward) < 0.05


def test_time_may_be_a_fraction() -> None:
    pair = DIS().prepare(scene(0), scene(1))
    np.testing.assert_array_equal(pair.at(Fraction(1, 4)), pair.at(0.25))  # type: ignore[arg-type]


def test_luma_alone_gives_the_motion_of_the_rgb_image() -> None:
    first, second = scene(0), scene(1)
    grey = [np.rint(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) * 255).astype(np.uint8) for x in (first, second)]
    of_rgb, of_luma = DIS().prepare(first, second), DIS().prepare_luma(grey[0], grey[1])
    np.testing.assert_allclose(of_luma.motion(0.5).flow_t0, of_rgb.motion(0.5).flow_t0, atol=1e-3)
    made = of_luma.at(0.5)
    assert made.shape == first.shape
    np.testing.assert_array_equal(made[..., 0], made[..., 2])


def test_sizes_must_be_equal() -> None:
    with pytest.raises(UsageError):
        DIS().prepare_luma(np.zeros((20, 20), np.uint8), np.zeros((20, 22), np.uint8))


def test_frames_are_the_same_in_any_thread() -> None:
    model, first, second = DIS(), scene(0), scene(1)
    expected = model.prepare(first, second).at(0.4)
    threads = cv2.getNumThreads()
    try:
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(lambda _: model.prepare(first, second).at(0.4), range(8)))
        for count in (1, 2, 3):
            cv2.setNumThreads(count)
            made.append(model.prepare(first, second).at(0.4))
    finally:
        cv2.setNumThreads(threads)
    for frame in made:
        np.testing.assert_array_equal(frame, expected)


def test_rounding_of_lengths_does_not_depend_on_memory_addresses() -> None:
    # OpenCV rounds a part of an array differently, and which part depends on its address.
    vectors = np.random.default_rng(0).normal(0, 1, (2, 7, 19)).astype(np.float32)
    one_by_one = [[np.sqrt(x * x + y * y) for x, y in zip(*rows, strict=True)] for rows in zip(*vectors, strict=True)]
    np.testing.assert_array_equal(dis._length(vectors), np.array(one_by_one, np.float32))


def accelerate(*times: float, y: float = 0.0) -> list[Image]:
    """An accelerating view: at time t it has moved 5 t + 3 t^2 pixels to the right."""
    world = texture(240, 420)
    return [window(world, 80 + 5 * t + 3 * t * t, 40 + y * t, 140, 240) for t in times]


@pytest.mark.parametrize(
    ("times", "t"), [((-1, 0, 1, 2), 0.5), ((-1, 0, 1, 2), 0.2), ((-0.5, 0, 1, 3), 0.5), ((-2, 0, 1, 1.5), 0.75)]
)
def test_curved_paths_follow_acceleration(times: tuple[float, ...], t: float) -> None:
    before, first, second, after = accelerate(*times)
    (truth,) = accelerate(t)
    pair, spans = DIS().prepare(first, second), (-times[0], times[3] - 1)
    curved = pair.with_neighbours(DIS().prepare(before, first), DIS().prepare(second, after), spans)
    assert error(curved.at(t), truth, 30) < 0.5 * error(pair.at(t), truth, 30)
    # The image moves against the view.
    assert abs(float(np.median(curved.motion(t).flow_t0[..., 0])) - (5 * t + 3 * t * t)) < 0.1
    assert abs(float(np.median(curved.motion(t).flow_t1[..., 0])) - (5 * t + 3 * t * t - 8)) < 0.1


def test_one_neighbour_bends_paths_half_as_much_and_none_not_at_all() -> None:
    before, first, second, after = accelerate(-1, 0, 1, 2)
    pair, past, next_ = DIS().prepare(first, second), DIS().prepare(before, first), DIS().prepare(second, after)
    straight, both, one = (
        float(np.median(p.motion(0.5).flow_t0[..., 0]))
        for p in (pair, pair.with_neighbours(past, next_), pair.with_neighbours(past, None))
    )
    assert abs((one - straight) - (both - straight) / 2) < 0.1
    assert pair.with_neighbours(None, None) is pair
    other = DIS().prepare(first[:-60], second[:-60])
    assert pair.with_neighbours(other, None) is pair  # it has another size
    assert DIS().prepare(first, first).with_neighbours(past, next_).at(0.5).tobytes() == first.tobytes()


def test_static_parts_stay_beside_curved_paths() -> None:
    frames = accelerate(-1, 0, 1, 2)
    for frame in frames:
        frame[:, 150:] = texture(140, 90, seed=3)
    before, first, second, after = frames
    made = (
        DIS().prepare(first, second).with_neighbours(DIS().prepare(before, first), DIS().prepare(second, after)).at(0.5)
    )
    assert (made[:, 175:] == first[:, 175:]).all()


def test_untrusted_flow_bends_no_path() -> None:
    before, first, second, after = accelerate(-1, 0, 1, 2)
    pair, past, next_ = DIS().prepare(first, second), DIS().prepare(before, first), DIS().prepare(second, after)
    past._error_1 = np.full_like(past._error_1, 60.0)
    untrusted, without = (pair.with_neighbours(side, next_).motion(0.5).flow_t0 for side in (past, None))
    assert np.allclose(untrusted, without, atol=1e-3)


def test_neighbouring_frames_of_any_type() -> None:
    frames = [np.rint(frame * 255).astype(np.uint8) for frame in accelerate(-1, 0, 0.5, 1, 2)]
    before, first, truth, second, after = frames
    model = DIS()
    (curved,) = model.between(first, second, [0.5], before=before, after=after)
    (straight,) = model.between(first, second, [0.5])
    assert error(curved / 255, truth / 255, 30) < 0.5 * error(straight / 255, truth / 255, 30)
    (batch,) = model.between(*(np.stack([x, x]) for x in (first, second)), [0.5], before=np.stack([before, before]))
    assert batch.shape == (2, *first.shape)
    assert (batch[0] == batch[1]).all()
    with pytest.raises(UsageError, match="differ in size"):
        model.between(first, second, [0.5], after=after[:-4])
    with pytest.raises(UsageError, match="differ in type"):
        model.between(first, second, [0.5], before=before / 255)


def test_paths_are_straight_where_the_shared_frame_differs_between_two_pairs() -> None:
    before, first, second = accelerate(-1, 0, 1)
    changed = first.copy()
    changed[40:60, 100:140] = 0
    pair = DIS().prepare(first, second)
    straight, whole, part = (
        p.motion(0.5).flow_t0
        for p in (
            pair,
            pair.with_neighbours(DIS().prepare(before, first), None),
            pair.with_neighbours(DIS().prepare(before, changed), None),
        )
    )
    np.testing.assert_array_equal(part[42:58, 104:136], straight[42:58, 104:136])
    assert np.abs(whole - straight)[42:58, 104:136].max() > 0.1
    np.testing.assert_allclose(part[100:], whole[100:], atol=0.2)
