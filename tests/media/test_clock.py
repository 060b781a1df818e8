"""Continuous times of joined recordings."""

import itertools
from fractions import Fraction
from types import SimpleNamespace

import pytest

from betwixt.media.clock import ContinuousClock, Join

TICKS = 90000


def _recording(start, frames, *, sound=True, lead=0.0, at=0, step=0.04):
    """Packets of video and sound of a recording, in the order of their times. Times in seconds; `at` in bytes."""
    video, audio = SimpleNamespace(type="video"), SimpleNamespace(type="audio")
    packets = [_packet(0, video, start + n * step, step) for n in range(frames)]
    if sound:
        packets += [_packet(1, audio, start - lead + n * 0.02, 0.02) for n in range(round(frames * step / 0.02))]
    packets.sort(key=lambda packet: packet.dts)
    for number, packet in enumerate(packets):
        packet.pos = at + 100 * number
    return packets


def _packet(index, stream, time, duration):
    ticks = round(time * TICKS)
    return SimpleNamespace(
        stream_index=index, stream=stream, pts=ticks, dts=ticks, duration=round(duration * TICKS), size=100, pos=None,
        time_base=Fraction(1, TICKS), is_corrupt=False,
    )  # fmt: skip


def _corrected(packets, may_jump=True):
    damaged = []
    clock = ContinuousClock(iter(packets), 0, may_jump, damaged.append)
    items = list(clock)
    times = {0: [], 1: []}
    for item in items:
        if not isinstance(item, Join):
            times[item.stream_index].append(None if item.pts is None else item.pts / TICKS)
    return clock, times, damaged


@pytest.mark.parametrize("second", [0.5, 4.0, 7.0, 36000.0, 2**33 / TICKS - 50])
@pytest.mark.parametrize("sound", [True, False])
def test_a_clock_that_begins_anew_or_jumps_goes_on(second, sound):
    packets = [*_recording(10, 100, sound=sound), *_recording(second, 50, sound=sound, at=10**6)]
    clock, times, _ = _corrected(packets)
    assert clock.joins == [14]
    for track in times.values():
        assert track == sorted(track)
    assert times[0] == pytest.approx([10 + n * 0.04 for n in range(150)], abs=1e-4)
    if sound:
        assert times[1][-50:] == pytest.approx([14 + n * 0.02 for n in range(50, 100)], abs=1e-4)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 8])
def test_recordings_of_a_few_frames_are_joined(frames):
    parts = [_recording(10 + 40000 * n, frames, sound=False, at=n * 10**6) for n in range(5)]
    clock, times, _ = _corrected(itertools.chain(*parts))
    placed = [time for time in times[0] if time is not None]
    assert placed == pytest.approx([10 + n * 0.04 for n in range(len(placed))], abs=1e-4)
    assert len(clock.joins) == (4 if frames > 1 else 1)  # a jump that nothing goes on from is a wrong time stamp


def test_pictures_at_long_distances_are_no_joins():
    stills = [_recording(10 + 3 * n, 1, sound=False) for n in range(20)]
    assert _corrected(itertools.chain(*stills))[0].joins == []
    time_lapse = [_recording(10 + 7200 * n, 1, sound=False) for n in range(20)]
    assert _corrected(itertools.chain(*time_lapse), may_jump=False)[0].joins in ([], [10 + 7200 * 18 + 0.04])


def test_sound_and_picture_that_join_at_different_places_get_the_same_shift():
    first, second = _recording(10, 100), _recording(2, 100, lead=0.3, at=10**6)
    # the last sound of the first recording comes after the first pictures of the second, as in MPEG-TS
    late = [p for p in first if p.stream_index == 1][-10:]
    early = [p for p in second if p.stream_index == 0][:3]
    packets = [p for p in first if p not in late] + early + late + [p for p in second if p not in early]
    _, times, _ = _corrected(packets)
    assert times[1] == sorted(times[1])
    # sound of the second recording that would overlap that of the first is left out
    assert all(b - a < 0.031 for a, b in itertools.pairwise(times[1]))
    assert times[0][-1] - times[1][-1] == pytest.approx(5.96 - 5.68)  # as in the second recording


def test_much_sound_is_not_lost_where_a_recording_begins_with_sound_alone():
    first, second = _recording(10, 100), _recording(500, 100, at=10**6)
    packets = first + [p for p in second if p.stream_index == 1 or p.dts >= 503 * TICKS]
    clock, times, _ = _corrected(packets)
    assert clock.joins == [17]
    assert times[1] == pytest.approx([10 + n * 0.02 for n in range(400)], abs=1e-4)
    assert times[0] == pytest.approx([10 + n * 0.04 for n in (*range(100), *range(175, 200))], abs=1e-4)


def test_sound_that_leaps_before_the_picture_joins_with_it():
    first, second = _recording(10, 100), _recording(500, 100, at=10**6)
    early = [p for p in second if p.stream_index == 1][:8]
    late = [p for p in first if p.stream_index == 0][-4:]
    packets = [p for p in first if p not in late] + early + late + [p for p in second if p not in early]
    clock, times, _ = _corrected(packets)
    assert clock.joins == [14]
    assert times[1] == pytest.approx([10 + n * 0.02 for n in range(400)], abs=1e-4)


@pytest.mark.parametrize("by", [-1, -100, 5, 80000])
def test_a_single_wrong_time_stamp_is_removed(by):
    packets = _recording(10, 100)
    wrong = [p for p in packets if p.stream_index == 0][50]
    wrong.pts += by * TICKS
    wrong.dts += by * TICKS
    clock, times, _ = _corrected(packets)
    assert not clock.joins
    expected = [10 + n * 0.04 for n in range(100)]
    expected[50] = None
    assert times[0] == pytest.approx(expected, abs=1e-4)


def test_a_picture_that_stands_still_while_the_sound_goes_on_is_no_join():
    packets = _recording(10, 200)
    packets = [p for p in packets if p.stream_index == 1 or not 12 < p.pts / TICKS < 16]
    clock, times, _ = _corrected(packets)
    assert not clock.joins
    assert times[0][-1] == pytest.approx(17.96)


def test_formats_of_one_clock_may_leave_long_times_without_frames():
    packets = [*_recording(0, 50, sound=False), *_recording(600, 50, sound=False)]
    clock, times, _ = _corrected(packets, may_jump=False)
    assert not clock.joins
    assert times[0][50] == 600


def test_a_packet_that_lasts_until_another_recording_is_no_long_frame():
    first = _recording(0, 20)
    first[-1].duration = first[-2].duration = 40000 * TICKS
    clock, times, _ = _corrected([*first, *_recording(40000, 20, at=10**6)], may_jump=False)
    assert clock.joins == [Fraction(8, 10)]
    assert times[0] == pytest.approx([n * 0.04 for n in range(40)], abs=1e-4)
    assert times[1][-1] < 1.6


def test_small_steps_back_of_guessed_decoding_times_are_no_join():
    packets = _recording(0, 60, sound=False)
    for packet in packets[20:25]:
        packet.dts -= round(0.12 * TICKS)
    clock, times, _ = _corrected(packets)
    assert not clock.joins
    assert times[0] == pytest.approx([n * 0.04 for n in range(60)], abs=1e-4)


def test_a_packet_that_a_join_cuts_off_is_no_damage():
    first, second = _recording(10, 50), _recording(1, 50, at=10**6)
    first[-1].is_corrupt = True
    assert _corrected([*first, *second])[2] == []
    first, second = _recording(10, 50), _recording(1, 50, at=10**6)
    first[20].is_corrupt = True
    assert _corrected([*first, *second])[2] == [first[20]]
