"""The classical interpolator, on pictures whose true frame in between is known."""

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

Picture = NDArray[np.float32]


def texture(height: int, width: int, seed: int = 0) -> Picture:
    """A picture with detail at many scales, RGB in [0, 1]."""
    noise = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for sigma in (2, 4, 8, 16):
        layer = cv2.GaussianBlur(noise.standard_normal((height, width, 3)).astype(np.float32), (0, 0), sigma)
        total += layer / layer.std()
    total -= total.min()
    return total / total.max()


def shifted(picture: Picture, x: float, y: float, height: int, width: int) -> Picture:
    """The window of `picture` that starts at (x, y)."""
    matrix = np.array([[1, 0, x], [0, 1, y]], np.float64)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(picture, matrix, (width, height), flags=flags), np.float32)


def turned(picture: Picture, degrees: float) -> Picture:
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT), np.float32)


def scene(t: float) -> Picture:
    """A square that crosses a background moving the other way: it hides some of it and uncovers some."""
    frame = shifted(texture(200, 300), 20 + 6 * t, 20, 140, 200)
    left = round(60 + 24 * t)
    frame[40:100, left : left + 50] = texture(60, 50, seed=1)
    return frame


def error(made: Picture, truth: Picture, margin: int = 0) -> float:
    inner = slice(margin, -margin or None)
    return float(np.abs(made - truth)[inner, inner].mean()) * 255


@pytest.mark.parametrize(("x", "y"), [(7.0, -4.0), (1.5, 0.0), (-24.0, 10.0)])
@pytest.mark.parametrize("t", [0.5, 0.2])
def test_translation(x: float, y: float, t: float) -> None:
    world = texture(300, 400)
    first, truth, second = (shifted(world, 60 + x * s, 60 + y * s, 160, 240) for s in (0, t, 1))
    made = DIS().prepare(first, second).at(t)
    average = (1 - t) * first + t * second
    assert error(made, truth, 30) < 1.0
    assert error(made, truth) < 0.4 * error(average, truth)


def test_rotation() -> None:
    world = texture(200, 240)
    first, truth, second = (turned(world, angle) for angle in (0, 3, 6))
    made = DIS().prepare(first, second).at(0.5)
    assert error(made, truth, 30) < 1.0
    assert error((first + second) / 2, truth, 30) > 5.0


@pytest.mark.parametrize("t", [0.25, 0.5, 0.75])
def test_what_one_frame_hides_comes_from_the_other(t: float) -> None:
    first, truth, second = scene(0), scene(t), scene(1)
    made = DIS().prepare(first, second).at(t)
    average = (1 - t) * first + t * second
    assert error(made, truth) < 0.35 * error(average, truth)


def test_content_that_leaves_the_frame_comes_from_the_frame_that_has_it() -> None:
    world = texture(200, 400)
    first, truth, second = (shifted(world, 40 + 20 * s, 20, 160, 240) for s in (0, 0.5, 1))
    pair = DIS().prepare(first, second)
    weight = pair.motion(0.5).weight
    assert weight[:, :4].mean() > 0.9
    assert weight[:, -4:].mean() < 0.1
    assert error(pair.at(0.5)[:, -8:], truth[:, -8:]) < 4.0


def test_equal_frames_have_no_motion() -> None:
    picture = texture(90, 121)
    pair = DIS().prepare(picture, picture.copy())
    motion = pair.motion(0.3)
    assert not motion.flow_t0.any()
    assert not motion.flow_t1.any()
    np.testing.assert_array_equal(pair.at(0.3), picture)


def test_a_still_part_of_a_moving_picture_is_copied() -> None:
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


def test_large_frames_are_searched_at_a_smaller_size_in_pixels_of_the_frame() -> None:
    world = texture(900, 1400)
    first, second = (shifted(world, 40 + 30 * s, 40, 720, 1280) for s in (0, 1))
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


def test_luma_alone_gives_the_motion_of_the_picture() -> None:
    first, second = scene(0), scene(1)
    grey = [np.rint(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) * 255).astype(np.uint8) for x in (first, second)]
    of_picture, of_luma = DIS().prepare(first, second), DIS().prepare_luma(grey[0], grey[1])
    np.testing.assert_allclose(of_luma.motion(0.5).flow_t0, of_picture.motion(0.5).flow_t0, atol=1e-3)
    made = of_luma.at(0.5)
    assert made.shape == first.shape
    np.testing.assert_array_equal(made[..., 0], made[..., 2])


def test_sizes_must_be_equal() -> None:
    with pytest.raises(UsageError):
        DIS().prepare_luma(np.zeros((20, 20), np.uint8), np.zeros((20, 22), np.uint8))


def test_the_same_frame_every_time_in_any_thread() -> None:
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


def test_lengths_are_rounded_alike_wherever_they_lie_in_memory() -> None:
    # OpenCV rounds a part of an array otherwise than the rest, and which part depends on its address.
    vectors = np.random.default_rng(0).normal(0, 1, (7, 19, 2)).astype(np.float32)
    one_by_one = [[np.sqrt(x * x + y * y) for x, y in row] for row in vectors]
    np.testing.assert_array_equal(dis._length(vectors), np.array(one_by_one, np.float32))


def flight(*times: float, y: float = 0.0) -> list[Picture]:
    """A view that gathers speed: at time t it has gone 5 t + 3 t^2 pixels to the right."""
    world = texture(240, 420)
    return [shifted(world, 80 + 5 * t + 3 * t * t, 40 + y * t, 140, 240) for t in times]


@pytest.mark.parametrize(
    ("times", "t"), [((-1, 0, 1, 2), 0.5), ((-1, 0, 1, 2), 0.2), ((-0.5, 0, 1, 3), 0.5), ((-2, 0, 1, 1.5), 0.75)]
)
def test_what_gathers_speed_is_where_it_was(times: tuple[float, ...], t: float) -> None:
    before, first, second, after = flight(*times)
    (truth,) = flight(t)
    pair, spans = DIS().prepare(first, second), (-times[0], times[3] - 1)
    bent = pair.with_neighbours(DIS().prepare(before, first), DIS().prepare(second, after), spans)
    assert error(bent.at(t), truth, 30) < 0.5 * error(pair.at(t), truth, 30)
    # F_{t->0} as the places say; the picture moves against the view
    assert abs(float(np.median(bent.motion(t).flow_t0[..., 0])) - (5 * t + 3 * t * t)) < 0.1
    assert abs(float(np.median(bent.motion(t).flow_t1[..., 0])) - (5 * t + 3 * t * t - 8)) < 0.1


def test_one_pair_beside_bends_half_as_much_and_none_not_at_all() -> None:
    before, first, second, after = flight(-1, 0, 1, 2)
    pair, past, next_ = DIS().prepare(first, second), DIS().prepare(before, first), DIS().prepare(second, after)
    straight, both, one = (
        float(np.median(p.motion(0.5).flow_t0[..., 0]))
        for p in (pair, pair.with_neighbours(past, next_), pair.with_neighbours(past, None))
    )
    assert abs((one - straight) - (both - straight) / 2) < 0.1
    assert pair.with_neighbours(None, None) is pair
    other = DIS().prepare(first[:-60], second[:-60])
    assert pair.with_neighbours(other, None) is pair  # of another size
    assert DIS().prepare(first, first).with_neighbours(past, next_).at(0.5).tobytes() == first.tobytes()


def test_what_stands_still_stays_beside_what_bends() -> None:
    frames = flight(-1, 0, 1, 2)
    for frame in frames:
        frame[:, 150:] = texture(140, 90, seed=3)
    before, first, second, after = frames
    made = (
        DIS().prepare(first, second).with_neighbours(DIS().prepare(before, first), DIS().prepare(second, after)).at(0.5)
    )
    assert (made[:, 175:] == first[:, 175:]).all()


def test_a_flow_that_is_not_trusted_bends_no_path() -> None:
    before, first, second, after = flight(-1, 0, 1, 2)
    pair, past, next_ = DIS().prepare(first, second), DIS().prepare(before, first), DIS().prepare(second, after)
    past._error_1 = np.full_like(past._error_1, 60.0)
    wary, without = (pair.with_neighbours(side, next_).motion(0.5).flow_t0 for side in (past, None))
    assert np.allclose(wary, without, atol=1e-3)


def test_frames_around_may_be_given_with_frames_of_any_kind() -> None:
    frames = [np.rint(frame * 255).astype(np.uint8) for frame in flight(-1, 0, 0.5, 1, 2)]
    before, first, truth, second, after = frames
    model = DIS()
    (bent,) = model.between(first, second, [0.5], before=before, after=after)
    (straight,) = model.between(first, second, [0.5])
    assert error(bent / 255, truth / 255, 30) < 0.5 * error(straight / 255, truth / 255, 30)
    (batch,) = model.between(*(np.stack([x, x]) for x in (first, second)), [0.5], before=np.stack([before, before]))
    assert batch.shape == (2, *first.shape)
    assert (batch[0] == batch[1]).all()
    with pytest.raises(UsageError, match="differ in size"):
        model.between(first, second, [0.5], after=after[:-4])
    with pytest.raises(UsageError, match="differ in type"):
        model.between(first, second, [0.5], before=before / 255)
