"""When what is shown: clocks, ticks, delays; and what a network does to frames."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betwixt.errors import UsageError
from betwixt.realtime.network import NETWORKS, Network, network_by_name
from betwixt.realtime.playout import Playout, delay_of

quick = settings(max_examples=60, deadline=None)
rates = st.sampled_from([Fraction(24), Fraction(30), Fraction(60), Fraction(60000, 1001)])


@pytest.mark.parametrize(("factor", "frames"), [(1, 0), (2, 1), (4, 3), (Fraction(5, 2), 2), (Fraction(1, 2), 0)])
def test_the_delay_is_what_the_paper_says(factor, frames):
    assert delay_of(Fraction(60), 60 / Fraction(factor)) * 60 == frames


@quick
@given(rates, st.integers(2, 8), st.integers(0, 1000), st.integers(0, 500))
def test_with_that_delay_every_picture_lies_between_frames_that_are_there(rate, factor, shift, transit):
    clock = Playout(rate, delay_of(rate, rate / factor))
    offset = Fraction(transit - 250, 1000)  # the two clocks need not agree
    begin = Fraction(shift, 7)
    newest = begin
    for tick in range(5 * factor):
        content = begin + tick / rate
        if tick % factor == 0:
            clock.arrived(content, content + offset)
            newest = content
        due = clock.due(content + offset)
        if tick >= factor:
            assert due == content - (factor - 1) / rate
            assert due <= newest


@quick
@given(rates, st.lists(st.integers(0, 400), min_size=2, max_size=40))
def test_content_never_goes_back_and_lies_on_the_grid(rate, lateness):
    clock = Playout(rate, Fraction(0))
    shown = []
    for number, late in enumerate(lateness):
        captured = number / rate
        clock.arrived(captured, captured + Fraction(late, 1000))
        due = clock.due(captured + Fraction(400, 1000))
        shown.append(due)
        assert (due * rate).denominator == 1
        # nothing is due before it could have arrived by the fastest way
        assert due <= captured + Fraction(400, 1000) - clock.transit + Fraction(1, 1000) / rate
    assert shown == sorted(shown)


def test_nothing_is_due_before_the_first_frame():
    clock = Playout(Fraction(60), Fraction(0))
    assert clock.due(Fraction(5)) is None
    with pytest.raises(UsageError, match="delay"):
        Playout(Fraction(60), Fraction(-1))


@quick
@given(
    st.sampled_from(sorted(NETWORKS)), st.integers(0, 50), st.lists(st.integers(100, 90_000), min_size=2, max_size=60)
)
def test_frames_arrive_in_order_after_they_left_and_by_the_seed(name, seed, bits):
    network = NETWORKS[name]
    captured = [Fraction(n, 15) for n in range(len(bits))]
    rate = 15 * sum(bits) / len(bits)
    found = network.arrivals(captured, bits, rate, seed)
    assert found == network.arrivals(captured, bits, rate, seed)
    assert found[0] is not None
    there = [(c, a) for c, a in zip(captured, found, strict=True) if a is not None]
    assert all(a >= c + Fraction(network.transit).limit_denominator(1_000_000) - Fraction(1, 10**5) for c, a in there)
    assert [a for _, a in there] == sorted(a for _, a in there)
    if name == "clean":
        assert len(there) == len(bits)


def test_losses_come_as_often_and_in_bursts_as_asked():
    network = Network("x", loss=0.2, burst=3.0)
    count = 20_000
    found = network.arrivals([Fraction(n) for n in range(count)], [1] * count, 1.0, 7)
    lost = [a is None for a in found]
    runs = sum(b and not a for a, b in zip([False, *lost], lost, strict=False))
    assert sum(lost) / count == pytest.approx(0.2, abs=0.02)
    assert sum(lost) / runs == pytest.approx(3.0, abs=0.3)


def test_a_slow_link_holds_frames_up():
    captured, bits = [Fraction(n, 10) for n in range(20)], [1000] * 20
    wide = Network("wide", capacity=2.0).arrivals(captured, bits, 10_000, 0)
    narrow = Network("narrow", capacity=0.5).arrivals(captured, bits, 10_000, 0)
    assert [float(a - c) for a, c in zip(wide, captured, strict=True)] == pytest.approx([0.07] * 20)
    assert float(narrow[-1] - captured[-1]) == pytest.approx(0.02 + 20 * 0.2 - 1.9)
    with pytest.raises(UsageError, match="no network 'dream'"):
        network_by_name("dream")
