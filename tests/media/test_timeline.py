"""Output times are exact at any length, for constant and variable rates."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betwixt.errors import UsageError
from betwixt.media.timeline import (
    Clock,
    Spreader,
    TimeMap,
    find_grid,
    frame_count,
    nearest_rate,
    nominal_rate,
    parse_rate,
    parse_time,
)

RATES = [Fraction(24000, 1001), Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(60)]
NTSC = RATES[3]
TARGETS = [Fraction(60), Fraction(60000, 1001), Fraction(50), Fraction(144), Fraction(48000, 1001), Fraction(24)]


def output_frames(times, end, rate):
    """The output frames for source frames at `times`: (number, time, number of the source frame before it)."""
    clock = Clock(times[0], rate)
    for left, right in enumerate([*times[1:], end]):
        for index, time in clock.until(right):
            yield index, time, left


rates = st.sampled_from(RATES) | st.fractions(Fraction(1), Fraction(240), max_denominator=1001)


@settings(max_examples=60, deadline=None)
@given(source=rates, target=rates, start=st.fractions(0, 20, max_denominator=90000), data=st.data())
def test_two_hours_stay_exact_to_the_last_frame(source, target, start, data):
    frames = int(7200 * source)
    end = start + frames / source
    count = frame_count(end - start, target)
    assert 0 <= count / target - (end - start) < 1 / target
    # Any frame, also the last one, has the time that its number states: no error accumulates.
    k = data.draw(st.integers(0, count - 1))
    clock = Clock(start, target)
    clock.index = k
    ((index, time),) = clock.until(start + (k + 1) / target)
    assert (index, time) == (k, start + k / target)
    assert not list(clock.until(start + (k + 1) / target))


@pytest.mark.parametrize("source", RATES)
@pytest.mark.parametrize("target", TARGETS)
def test_every_output_frame_lies_in_its_interval(source, target):
    times = [Fraction(7, 3) + n / source for n in range(100)]
    end = Fraction(7, 3) + 100 / source
    frames = list(output_frames(times, end, target))
    assert [index for index, _, _ in frames] == list(range(frame_count(100 / source, target)))
    for index, time, left in frames:
        assert times[left] <= time < [*times, end][left + 1]
        assert time == times[0] + index / target
    # Where both rates have a frame, its time is that of the source frame.
    for n, time in enumerate(times):
        k = (time - times[0]) * target
        if k.denominator == 1 and k < len(frames):
            assert frames[int(k)] == (k, time, n)


@given(steps=st.lists(st.fractions(Fraction(1, 240), Fraction(2), max_denominator=1000), min_size=1, max_size=30))
def test_variable_rates_keep_their_duration(steps):
    times = list(itertools.accumulate(steps[:-1], initial=Fraction(0)))
    end = sum(steps, Fraction(0))
    frames = list(output_frames(times, end, Fraction(60)))
    assert 0 <= len(frames) / Fraction(60) - end < Fraction(1, 60)
    assert all(times[left] <= time < [*times, end][left + 1] for _, time, left in frames)


def test_a_clock_without_an_end_goes_on_where_it_stopped():
    clock = Clock(Fraction(1), Fraction(4))
    assert len(list(clock.until(Fraction(3, 2)))) == 2
    assert list(itertools.islice(clock.until(None), 2)) == [(2, Fraction(3, 2)), (3, Fraction(7, 4))]


def test_a_time_map_shifts_and_scales():
    assert TimeMap()(Fraction(5)) == 5
    assert TimeMap(Fraction(2), Fraction(3))(Fraction(5)) == 9


@pytest.mark.parametrize("rate", RATES)
def test_a_constant_rate_is_found_despite_millisecond_rounding(rate):
    exact = [Fraction(1, 7) + n / rate for n in range(200)]
    rounded = [Fraction(round(time * 1000), 1000) for time in exact]
    declared = Fraction(round(rate * 1000), 1000)  # containers round the rate, too
    grid = find_grid(rounded, Fraction(1, 1000), [declared])
    assert grid is not None
    assert grid.rate == rate
    later = rounded[0] + 100_000 / rate
    assert grid.snap(Fraction(round(later * 1000), 1000)) == later


def test_a_dropped_frame_does_not_make_a_rate_variable():
    times = [Fraction(n, 30) for n in range(100) if n != 50]
    grid = find_grid(times, Fraction(1, 90000), [Fraction(30)])
    assert grid is not None
    assert grid.rate == 30


@pytest.mark.parametrize(("rate", "every"), [(60, 6), (60, 3), (NTSC, 5), (120, 4)])
def test_a_constant_rate_is_found_where_many_frames_are_missing(rate, every):
    exact = [n / Fraction(rate) for n in range(200) if n % every != every - 1]
    rounded = [Fraction(round(time * 1000), 1000) for time in exact]
    grid = find_grid(rounded, Fraction(1, 1000), [len(rounded) / (rounded[-1] - rounded[0])])
    assert grid is not None
    assert grid.rate == rate
    assert [grid.snap(time) for time in rounded] == exact


def test_times_that_lie_on_a_fine_grid_by_chance_have_a_variable_rate():
    random = [Fraction(round(1000 * (n / 100 + (n * 7919 % 13) / 3000)), 1000) for n in range(8)]
    assert find_grid(random, Fraction(1, 1000), [Fraction(1000), Fraction(240)]) is None


@pytest.mark.parametrize(
    ("stated", "spread"),
    [
        ([0, 0, 2, 2, 4, 4], [0, 1, 2, 3, 4, 5]),
        ([0, 1, 1, 1, 4, 5], [0, 1, 2, 3, 4, 5]),
        ([0, 1, 5, 2, 3, 8], [0, 1, 5, 6, 7, 8]),
        ([None, None, 2, None, 4], [0, 1, 2, 3, 4]),
        ([3, 3, 3], [3, 4, 5]),
    ],
)
def test_frames_of_equal_unknown_or_earlier_times_get_their_own(stated, spread):
    spreader = Spreader(Fraction(1), Fraction(0))
    given = [None if time is None else Fraction(time) for time in stated]
    placed = [pair for n, time in enumerate(given) for pair in spreader.push(n, time, Fraction(1))]
    placed += spreader.flush()
    assert placed == list(enumerate(spread))


def test_the_frames_that_wait_for_a_next_time_are_bounded():
    spreader = Spreader(Fraction(1), Fraction(0))
    placed = [pair for n in range(1000) for pair in spreader.push(n, Fraction(7), Fraction(1))]
    assert len(placed) > 900
    times = [time for _, time in placed]
    assert times == sorted(set(times))


@pytest.mark.parametrize("rate", [Fraction(30), Fraction(24000, 1001), Fraction(60)])
@pytest.mark.parametrize("tick", [Fraction(1, 16000), Fraction(1, 15360), Fraction(1, 90000)])
def test_milliseconds_copied_into_a_finer_clock_are_put_back_on_their_grid(rate, tick):
    milliseconds = [Fraction(round(1000 * n / rate), 1000) for n in range(100)]
    times = [round(time / tick) * tick for time in milliseconds]
    grid = find_grid(times, tick, [rate * Fraction(10001, 10000), rate])
    assert grid is not None
    assert grid.rate == rate
    assert [grid.snap(time) for time in times] == [n / rate for n in range(100)]


def test_variable_milliseconds_in_a_finer_clock_stay_variable():
    times = [Fraction(n * 33 + n % 7 * 4, 1000) for n in range(100)]
    assert find_grid(times, Fraction(1, 16000), [Fraction(30)]) is None


def test_phone_footage_has_a_variable_rate():
    times = [Fraction(n, 30) + Fraction(n % 7, 400) for n in range(100)]
    assert find_grid(times, Fraction(1, 90000), [Fraction(30), Fraction(60)]) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("60", 60),
        ("60000/1001", Fraction(60000, 1001)),
        ("23.976", Fraction(24000, 1001)),
        ("12.5", Fraction(25, 2)),
    ],
)
def test_rates_are_parsed(text, value):
    assert parse_rate(text) == value


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "abc", "", "1/0"])
def test_bad_rates_are_refused_in_one_line(text):
    with pytest.raises(UsageError) as caught:
        parse_rate(text)
    assert "\n" not in str(caught.value)


def test_times_are_parsed():
    assert parse_time("1:02:03.5") == Fraction(7447, 2)
    for text in ("-1", "1:2:3:4", "x"):
        with pytest.raises(UsageError):
            parse_time(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("33.3333333333", Fraction(100, 3)),
        (100 / 3, Fraction(100, 3)),
        ("59.94005994005994", Fraction(60000, 1001)),
        ("49.95004995", Fraction(50000, 1001)),
        ("49.95005", Fraction(50000, 1001)),
        ("143.856", Fraction(144000, 1001)),
        ("23.98", Fraction(24000, 1001)),
        ("47.95", Fraction(48000, 1001)),
        ("49.95", Fraction(999, 20)),
        ("59.95", Fraction(1199, 20)),
        ("24.97", Fraction(2497, 100)),
        ("0.333333333333", Fraction(1, 3)),
        ("123456789012345678901/4115226300411522630", Fraction(30)),
    ],
)
def test_rates_of_many_decimals_are_what_they_were_rounded_from(text, value):
    assert parse_rate(text) == value


def test_factors_of_many_decimals_are_what_they_were_rounded_from():
    assert parse_rate("2.5025025025025", "factor") == Fraction(2500, 999)
    assert parse_rate("59.94", "factor") == Fraction(2997, 50)


@given(st.fractions(min_value=Fraction(1, 60), max_value=1000))
def test_every_rate_fits_into_32_bits(rate):
    near = nearest_rate(rate)
    assert max(near.numerator, near.denominator) <= 10**9
    assert abs(near - rate) <= rate / 10**9


def test_a_stated_rate_of_large_terms_is_brought_to_one_whose_multiples_can_be_held():
    stated = Fraction(2147483647, 71657009)
    times = [n / stated for n in range(100)]
    grid = find_grid(times, Fraction(1, 1200000), [stated])
    assert grid is not None
    assert grid.rate.numerator <= 10**7
    assert abs(grid.rate - stated) < stated / 10**9


@pytest.mark.parametrize(
    ("mean", "nominal"),
    [
        (Fraction(1620000, 54017), 30),
        (Fraction(2996, 100), Fraction(30000, 1001)),
        (Fraction(17234, 1000), 17),
        (Fraction(1234, 1000), Fraction(123, 100)),
        (Fraction(1, 1000), Fraction(1, 100)),
    ],
)
def test_the_mean_of_a_variable_rate_is_brought_to_a_usual_one(mean, nominal):
    assert nominal_rate(mean) == nominal
