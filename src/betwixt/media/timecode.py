"""SMPTE timecodes (hh:mm:ss:ff) of an output's first frame.

A timecode counts frames: its last field runs up to the nominal rate, which is the rate rounded to an integer.
Drop-frame timecodes, written with a semicolon before the frames, leave out 2 (at 30 frames per second) or 4 (at 60)
numbers at the beginning of each minute but every tenth one, to stay with the clock at 1000/1001 of the nominal rate
(SMPTE 12M).
"""

from __future__ import annotations

import re
from fractions import Fraction

_MAX_NOMINAL = 255
"""The highest nominal rate that a timecode track of QuickTime can state."""


def shift_timecode(timecode: str, rate: Fraction, seconds: Fraction, output_rate: Fraction) -> str | None:
    """The timecode of a moment after the first frame, counted at another rate.

    Args:
        timecode: That of the source's first frame.
        rate: The source's rate in frames per second.
        seconds: How long after the source's first frame the output begins.
        output_rate: The output's rate in frames per second.

    Returns:
        The output's timecode; None if `timecode` is not one, or if it cannot be stated at the output's rate.
    """
    found = re.fullmatch(r"(\d\d):(\d\d):(\d\d)([:;.])(\d{2,3})", timecode.strip())
    if found is None or not 1 <= round(output_rate) <= _MAX_NOMINAL:
        return None
    hours, minutes, whole, frames = (int(found[n]) for n in (1, 2, 3, 5))
    nominal, output_nominal = round(rate), round(output_rate)
    total_minutes = 60 * hours + minutes
    count = (60 * total_minutes + whole) * nominal + frames
    if found[4] != ":":
        count -= _dropped_per_minute(nominal) * (total_minutes - total_minutes // 10)
    count += round(seconds * rate)
    # Both rates count the same time; the nominal rates differ from it by the same factor, or else the clock decides.
    count = round(count * Fraction(output_nominal, nominal) if found[4] == ":" else count / rate * output_rate)
    dropping = found[4] != ":" and output_nominal in (30, 60) and output_rate.denominator == 1001
    if dropping:
        count = _number_with_dropped(count, output_nominal)
    elif found[4] != ":":
        count = round(count * Fraction(output_nominal) / output_rate)
    whole, frames = divmod(count, output_nominal)
    minutes, whole = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours % 24:02}:{minutes:02}:{whole:02}{';' if dropping else ':'}{frames:02}"


def _dropped_per_minute(nominal: int) -> int:
    return nominal // 15


def _number_with_dropped(count: int, nominal: int) -> int:
    """The number that a drop-frame timecode gives to frame `count`."""
    dropped = _dropped_per_minute(nominal)
    minute = 60 * nominal - dropped
    tens, rest = divmod(count, 10 * 60 * nominal - 9 * dropped)
    count += 9 * dropped * tens
    if rest >= 60 * nominal:
        count += dropped * (1 + (rest - 60 * nominal) // minute)
    return count
