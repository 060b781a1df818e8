"""Timecodes at another rate, against a count of every frame."""

from fractions import Fraction
from itertools import product

import pytest

from betwixt.media.timecode import shift_timecode

NTSC, NTSC_DOUBLE, FILM = Fraction(30000, 1001), Fraction(60000, 1001), Fraction(24000, 1001)


def drop_frame_numbers(nominal, minutes):
    """The drop-frame timecodes of the first `minutes` minutes of an hour, one for each frame, in order."""
    dropped = nominal // 15
    for minute, second, frame in product(range(minutes), range(60), range(nominal)):
        if minute % 10 == 0 or second or frame >= dropped:
            yield f"01:{minute:02}:{second:02};{frame:02}"


def test_drop_frame_timecodes_count_every_frame_at_twice_the_rate():
    every = list(drop_frame_numbers(30, 11))
    doubled = list(drop_frame_numbers(60, 11))
    assert len(doubled) == 2 * len(every)
    places = [0, 1, 1799, 1800, 1801, 17981, 17982, 17983, len(every) - 1]
    for place in places:
        assert shift_timecode(every[place], NTSC, Fraction(0), NTSC_DOUBLE) == doubled[2 * place]
        assert shift_timecode(doubled[2 * place], NTSC_DOUBLE, Fraction(0), NTSC) == every[place]
        # So many frames after the beginning.
        assert shift_timecode("01:00:00;00", NTSC, place / NTSC, NTSC) == every[place]


@pytest.mark.parametrize(
    ("timecode", "rate", "seconds", "output_rate", "expected"),
    [
        ("23:59:59:24", 25, 1, 25, "00:00:00:24"),  # past midnight
        ("23:59:59:20", 25, 0, 50, "23:59:59:40"),
        ("01:00:59;20", NTSC, 0, FILM, "01:00:59:18"),  # 23.976 has no drop frame: the time of day is kept
        ("01:00:00:00", FILM, 0, 2 * FILM, "01:00:00:00"),
        ("10:00:00:05", 25, Fraction(2, 25), 50, "10:00:00:14"),
        ("10:00:00:00", 25, 0, 300, None),  # more than a timecode track can state
        ("morning", 25, 0, 50, None),
    ],
)
def test_timecodes_at_another_rate(timecode, rate, seconds, output_rate, expected):
    assert shift_timecode(timecode, Fraction(rate), Fraction(seconds), Fraction(output_rate)) == expected
