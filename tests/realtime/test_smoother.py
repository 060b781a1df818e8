"""`Smoother` turns an irregular stream into a steady one."""

import threading
from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import betwixt
from betwixt.errors import UsageError
from betwixt.realtime import Smoother


class Linear(betwixt.Interpolator):
    """A model that blends two frames linearly, and extrapolates them linearly."""

    name = "linear"
    extrapolates = True

    def prepare(self, first, second):
        class Pair:
            def at(self, t):
                return (1 - t) * first + t * second

        return Pair()

    def next_frame(self, first, second):
        return np.clip(2 * second - first, 0, 1)


SIZE = 64, 96

TEXTURE = cv2.GaussianBlur(np.random.default_rng(1).uniform(0, 255, (*SIZE, 1)).repeat(3, 2), (0, 0), 3) - 127
TEXTURE *= 20 / TEXTURE.std()


def grey(value, size=SIZE):
    """An image of a mean level, with a texture by which the scene is recognized at any brightness."""
    return np.rint(60 + value + TEXTURE[: size[0], : size[1]] - TEXTURE.mean()).clip(0, 255).astype(np.uint8)


def level(shown):
    return float(shown.image.astype(float).mean()) - 60


def play(smoother, arrivals, ticks, rate=20, value=lambda n: 10 + 2 * n):
    """Push frame n, captured at n / rate, at its arrival in ticks; return what is shown at each tick."""
    result = []
    waiting = sorted(arrivals.items(), key=lambda item: item[1])
    for tick in range(ticks):
        while waiting and waiting[0][1] <= tick:
            number, at = waiting.pop(0)
            smoother.push(grey(value(number)), captured=Fraction(number, rate), now=Fraction(at) / rate)
        result.append(smoother.pull(Fraction(tick, rate)))
    return result


def test_interpolation_waits_three_frames_at_4x():
    smoother = Smoother(Linear(), rate=20, source_rate=5)
    assert smoother.delay == Fraction(3, 20)
    shown = play(smoother, {n: n for n in range(0, 21, 4)}, 21)
    kinds = [s.kind for s in shown]
    assert kinds[:4] == ["held", "held", "held", "source"]
    assert kinds[4:12] == ["interpolated"] * 3 + ["source"] + ["interpolated"] * 3 + ["source"]
    for tick in range(3, 21):
        assert shown[tick].time == Fraction(tick - 3, 20)
        assert level(shown[tick]) == pytest.approx(10 + 2 * (tick - 3), abs=0.6)


def test_another_model_may_extrapolate():
    class Bright(Linear):
        name = "bright"
        interpolates = False

        def next_frame(self, first, second):
            return np.ones_like(second)

    smoother = Smoother(Linear(), rate=20, source_rate=20, mode="extrapolate", extrapolator=Bright(), seam=False)
    shown = play(smoother, {0: 0, 1: 1}, 3)
    assert shown[2].kind == "extrapolated"
    assert (shown[2].image == 255).all()
    with pytest.raises(UsageError, match="makes the frame after two frames"):
        Smoother(Bright(), rate=20, source_rate=20)
    with pytest.raises(UsageError, match="average only interpolates"):
        Smoother(Linear(), rate=20, source_rate=20, extrapolator="average")


def test_extrapolation_adds_no_delay():
    smoother = Smoother(Linear(), rate=20, source_rate=5, mode="extrapolate")
    assert smoother.delay == 0
    shown = play(smoother, {n: n for n in range(0, 25, 4)}, 25)
    kinds = [s.kind for s in shown]
    assert kinds[4:9] == ["source"] + ["extrapolated"] * 3 + ["seam"]
    for tick in range(4, 25):
        assert shown[tick].time == Fraction(tick, 20)
        assert level(shown[tick]) == pytest.approx(10 + 2 * tick, abs=0.6)


def test_the_seam_is_halfway_between_the_images_around_it():
    def value(n):  # the speed changes at frame 8, so that every extrapolation is wrong once
        return 10 + 2 * n if n <= 8 else 26 + 6 * (n - 8)

    arrivals = {n: n for n in range(0, 21, 4)}
    blended = play(Smoother(Linear(), rate=20, source_rate=5, mode="extrapolate"), arrivals, 21, value=value)
    plain = play(Smoother(Linear(), rate=20, source_rate=5, mode="extrapolate", seam=False), arrivals, 21, value=value)
    assert (blended[12].kind, plain[12].kind) == ("seam", "source")
    assert level(plain[12]) == pytest.approx(value(12), abs=0.6)
    assert level(blended[12]) == pytest.approx((level(plain[11]) + level(plain[13])) / 2, abs=1)
    jumps = [abs(level(b) - level(a)) for a, b in ((plain[11], plain[12]), (blended[11], blended[12]))]
    assert jumps[1] < 0.8 * jumps[0]


def test_a_late_frame_is_replaced_by_extrapolation():
    arrivals = {n: n for n in range(0, 33, 4)} | {12: 15}
    shown = play(Smoother(Linear(), rate=20, source_rate=5), arrivals, 33)
    # Images 9, 10 and 11 are due at ticks 12, 13 and 14, before frame 12 has arrived.
    assert [shown[t].kind for t in range(12, 17)] == ["extrapolated"] * 3 + ["seam", "seam"]
    for tick in range(4, 33):
        assert level(shown[tick]) == pytest.approx(10 + 2 * (tick - 3), abs=0.8)


def test_a_lost_frame_is_bridged():
    arrivals = {n: n for n in range(0, 33, 4) if n != 16}
    shown = play(Smoother(Linear(), rate=20, source_rate=5), arrivals, 33)
    for tick in range(4, 33):
        assert level(shown[tick]) == pytest.approx(10 + 2 * (tick - 3), abs=0.8)


def test_beyond_the_horizon_the_image_is_held_until_frames_arrive():
    arrivals = {0: 0, 4: 4, 8: 30, 12: 30, 16: 30, 20: 30, 24: 30, 28: 30, 32: 32, 36: 36}
    shown = play(Smoother(Linear(), rate=20, source_rate=5, mode="extrapolate", horizon=1), arrivals, 40)
    assert [s.kind for s in shown[5:9]] == ["extrapolated"] * 4
    assert {s.kind for s in shown[9:30]} == {"held"}
    assert level(shown[20]) == pytest.approx(10 + 2 * 8, abs=0.6)
    for tick in range(32, 40):
        assert level(shown[tick]) == pytest.approx(10 + 2 * tick, abs=1)


def test_nothing_is_interpolated_across_a_cut():
    rng = np.random.default_rng(5)
    scenes = [rng.integers(0, 255, (12, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(2)]
    for mode in ("interpolate", "extrapolate"):
        smoother = Smoother(Linear(), rate=20, source_rate=5, mode=mode)
        shown = []
        for tick in range(24):
            if tick % 4 == 0:
                smoother.push(scenes[tick >= 12], captured=Fraction(tick, 20), now=Fraction(tick, 20))
            shown.append(smoother.pull(Fraction(tick, 20)))
        for s in shown:
            assert any(np.array_equal(s.image, scene) for scene in scenes), (mode, s.time, s.kind)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.integers(0, 20)), min_size=3, max_size=12),
    st.sampled_from(["interpolate", "extrapolate"]),
    st.integers(2, 5),
)
def test_whatever_arrives_an_image_is_shown_and_time_does_not_go_back(lateness, mode, factor):
    smoother = Smoother(Linear(), rate=20, source_rate=Fraction(20, factor), mode=mode)
    arrivals = {0: 0} | {n * factor: n * factor + late for n, late in enumerate(lateness) if n and late is not None}
    shown = play(smoother, arrivals, len(lateness) * factor + 20)
    assert all(s is not None and s.image.shape == (*SIZE, 3) for s in shown)
    times = [s.time for s in shown]
    assert times == sorted(times)
    assert len(smoother._frames) <= len(arrivals)


def test_working_ahead_does_not_change_the_images():
    arrivals = {n: n + n % 3 for n in range(0, 41, 4)}
    for mode in ("interpolate", "extrapolate"):
        alone = play(Smoother(Linear(), rate=20, source_rate=5, mode=mode), arrivals, 41)
        with Smoother(Linear(), rate=20, source_rate=5, mode=mode, ahead=2) as smoother:
            ahead = play(smoother, arrivals, 41)
        for a, b in zip(alone, ahead, strict=True):
            assert (a.time, a.kind) == (b.time, b.kind)
            np.testing.assert_array_equal(a.image, b.image)


def test_two_threads_can_push_and_pull():
    smoother = Smoother("dis", rate=50, source_rate=25)
    done = threading.Event()

    def send():
        for n in range(40):
            smoother.push(grey(n), captured=Fraction(n, 25))
        done.set()

    thread = threading.Thread(target=send)
    thread.start()
    shown = 0
    while not done.is_set() or shown == 0:
        shown += smoother.pull() is not None
    thread.join()
    assert shown > 0


@pytest.mark.parametrize("name", ["dis", "average"])
def test_motion_models_and_image_models_work(name):
    for mode in ("interpolate", "extrapolate"):
        smoother = Smoother(name, rate=20, source_rate=5, mode=mode)
        shown = play(smoother, {n: n for n in range(0, 17, 4)}, 17)
        assert all(s.image.dtype == np.uint8 for s in shown)
        assert abs(level(shown[-1]) - (10 + 2 * 16)) < 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "guess"}, "no mode 'guess'"),
        ({"rate": 0}, "greater than 0"),
        ({"source_rate": "fast"}, "not a number"),
        ({"margin": -1}, "negative"),
        ({"model": "no-such"}, "no model"),
    ],
)
def test_bad_arguments_raise_one_line(options, message):
    with pytest.raises(UsageError, match=message):
        Smoother(**({"model": "dis", "rate": 60, "source_rate": 15} | options))


def test_bad_frames_raise_one_line():
    smoother = Smoother(Linear(), rate=20, source_rate=5)
    for frame in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), [[1]]):
        with pytest.raises(UsageError, match="RGB, uint8"):
            smoother.push(frame, captured=0, now=0)
    smoother.push(grey(5), captured=0, now=0)
    with pytest.raises(UsageError, match="changes its size from 96x64 to 50x30"):
        smoother.push(grey(5, (30, 50)), captured=1, now=1)


@pytest.mark.parametrize("jump", [30, -30, -3])
def test_a_changed_clock_of_the_sender_is_followed(jump):
    smoother = Smoother(Linear(), rate=20, source_rate=5)
    shown = []
    for tick in range(20 * 14):
        now = Fraction(tick, 20)
        if tick % 4 == 0:
            smoother.push(grey(tick % 80), captured=now + (jump if now >= 5 else 0), now=now)
        shown.append(smoother.pull(now))
    # Some three seconds later, everything is as before.
    for tick in range(20 * 9, 20 * 14):
        assert shown[tick].kind in ("source", "interpolated")
        assert shown[tick].time == Fraction(tick - 3, 20) + jump


def test_one_frame_with_a_wrong_time_is_ignored():
    plain, disturbed = (Smoother(Linear(), rate=20, source_rate=5) for _ in range(2))
    shown = []
    for tick in range(20 * 8):
        now = Fraction(tick, 20)
        for smoother in (plain, disturbed):
            if tick % 4 == 0:
                smoother.push(grey(tick % 80), captured=now, now=now)
        if tick == 60:
            disturbed.push(grey(200), captured=now + 1000, now=now)
        shown.append((plain.pull(now), disturbed.pull(now)))
    assert all(a.time == b.time and (a.image == b.image).all() for a, b in shown)


def test_a_display_that_paused_continues_with_what_is_due():
    smoother = Smoother(Linear(), rate=20, source_rate=5)
    for tick in range(20 * 40):
        now = Fraction(tick, 20)
        if tick % 4 == 0:
            smoother.push(grey(tick % 80), captured=now, now=now)
        if now <= 3 or now >= 30:
            shown = smoother.pull(now)
            if now > 1:
                assert shown.time == now - smoother.delay
                assert shown.kind in ("source", "interpolated")


def test_frames_are_copied_and_images_are_read_only():
    smoother, buffer = Smoother(Linear(), rate=20, source_rate=20), grey(0)
    for n in range(3):
        buffer[...] = grey(20 * n)
        smoother.push(buffer, captured=Fraction(n, 20), now=Fraction(n, 20))
        shown = smoother.pull(Fraction(n, 20))
        assert level(shown) == pytest.approx(20 * n, abs=0.6)
        with pytest.raises(ValueError, match="read-only"):
            shown.image[...] = 0


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), None, "soon"])
def test_invalid_times_are_refused(wrong):
    smoother = Smoother(Linear(), rate=20, source_rate=5)
    with pytest.raises(UsageError, match="not a time"):
        smoother.push(grey(0), captured=wrong, now=0)
    with pytest.raises(UsageError, match="array"):
        smoother.push(grey(0)[:0], captured=0, now=0)
    for option in ("margin", "horizon", "delay"):
        with pytest.raises(UsageError, match="not a number"):
            Smoother(Linear(), rate=20, source_rate=5, **{option: float("nan")})


def test_pull_works_after_close():
    smoother = Smoother(Linear(), rate=20, source_rate=5, ahead=2)
    for n in range(3):
        smoother.push(grey(10 * n), captured=Fraction(n, 5), now=Fraction(n, 5))
    smoother.pull(Fraction(2, 5))
    smoother.close()
    assert smoother.pull(Fraction(9, 20)) is not None
