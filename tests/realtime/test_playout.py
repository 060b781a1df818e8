"""The playout clock and the simulated network."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betwixt.errors import UsageError
from betwixt.realtime.network import NETWORKS, SimulatedNetwork
from betwixt.realtime.playout import PlayoutClock, minimum_delay

quick = settings(max_examples=60, deadline=None)
rates = st.sampled_from([Fraction(24), Fraction(30), Fraction(60), Fraction(60000, 1001)])


@pytest.mark.parametrize(("factor", "frames"), [(1, 0), (2, 1), (4, 3), (Fraction(5, 2), 2), (Fraction(1, 2), 0)])
def test_the_delay_is_that_of_the_paper(factor, frames):
    assert minimum_delay(Fraction(60), 60 / Fraction(factor)) * 60 == frames


@quick
@given(rates, st.integers(2, 8), st.integers(0, 1000), st.integers(0, 500))
def test_with_that_delay_every_image_lies_between_frames_that_have_arrived(rate, factor, shift, transit):
    clock = PlayoutClock(rate, minimum_delay(rate, rate / factor))
    offset = Fraction(transit - 250, 1000)  # the two clocks need not agree
    begin = Fraction(shift, 7)
    newest = begin
    for tick in range(5 * factor):
        content = begin + tick / rate
        if tick % factor == 0:
            clock.note_arrival(content, content + offset)
            newest = content
        due = clock.due_time(content + offset)
        if tick >= factor:
            assert due == content - (factor - 1) / rate
            assert due <= newest


@quick
@given(rates, st.lists(st.integers(0, 400), min_size=2, max_size=40))
def test_content_times_never_decrease_and_lie_on_the_grid(rate, lateness):
    clock = PlayoutClock(rate, Fraction(0))
    due_times = []
    for number, late in enumerate(lateness):
        captured = number / rate
        clock.note_arrival(captured, captured + Fraction(late, 1000))
        due = clock.due_time(captured + Fraction(400, 1000))
        due_times.append(due)
        assert (due * rate).denominator == 1
        # Nothing is due before it could have arrived by the fastest way.
        assert due <= captured + Fraction(400, 1000) - clock.transit + Fraction(1, 1000) / rate
    assert due_times == sorted(due_times)


def test_nothing_is_due_before_the_first_frame():
    clock = PlayoutClock(Fraction(60), Fraction(0))
    assert clock.due_time(Fraction(5)) is None
    with pytest.raises(UsageError, match="delay"):
        PlayoutClock(Fraction(60), Fraction(-1))


@quick
@given(
    st.sampled_from(sorted(NETWORKS)), st.integers(0, 50), st.lists(st.integers(100, 90_000), min_size=2, max_size=60)
)
def test_arrivals_are_in_order_and_depend_on_the_seed(name, seed, bits):
    network = NETWORKS[name]
    captured = [Fraction(n, 15) for n in range(len(bits))]
    rate = 15 * sum(bits) / len(bits)
    arrivals = network.arrivals(captured, bits, rate, seed)
    assert arrivals == network.arrivals(captured, bits, rate, seed)
    assert arrivals[0] is not None
    arrived = [(c, a) for c, a in zip(captured, arrivals, strict=True) if a is not None]
    assert all(a >= c + Fraction(network.transit).limit_denominator(1_000_000) - Fraction(1, 10**5) for c, a in arrived)
    assert [a for _, a in arrived] == sorted(a for _, a in arrived)
    if name == "clean":
        assert len(arrived) == len(bits)


def test_losses_have_the_stated_rate_and_burst_length():
    network = SimulatedNetwork("x", loss=0.2, burst=3.0)
    count = 20_000
    arrivals = network.arrivals([Fraction(n) for n in range(count)], [1] * count, 1.0, 7)
    lost = [a is None for a in arrivals]
    runs = sum(b and not a for a, b in zip([False, *lost], lost, strict=False))
    assert sum(lost) / count == pytest.approx(0.2, abs=0.02)
    assert sum(lost) / runs == pytest.approx(3.0, abs=0.3)


def test_a_slow_link_delays_frames():
    captured, bits = [Fraction(n, 10) for n in range(20)], [1000] * 20
    wide = SimulatedNetwork("wide", capacity=2.0).arrivals(captured, bits, 10_000, 0)
    narrow = SimulatedNetwork("narrow", capacity=0.5).arrivals(captured, bits, 10_000, 0)
    assert [float(a - c) for a, c in zip(wide, captured, strict=True)] == pytest.approx([0.07] * 20)
    assert float(narrow[-1] - captured[-1]) == pytest.approx(0.02 + 20 * 0.2 - 1.9)
