"""Any time between two frames by networks that make the middle alone: by halving intervals."""

from __future__ import annotations

from fractions import Fraction

_HALVINGS = 5
"""How often the interval is halved: times are rounded to multiples of 2^-5."""


def halve_towards(t: float) -> list[tuple[Fraction, Fraction]]:
    """The intervals to halve, one after the other: the frame in the middle of the last one is that at `t`.

    Each end of an interval is 0, 1 or the middle of an interval before it.

    Example:
        >>> [(str(start), str(end)) for start, end in halve_towards(0.375)]
        [('0', '1'), ('0', '1/2'), ('1/4', '1/2')]
    """
    steps = 2**_HALVINGS
    target = Fraction(min(max(round(t * steps), 1), steps - 1), steps)
    intervals = [(Fraction(0), Fraction(1))]
    while (middle := sum(intervals[-1], Fraction(0)) / 2) != target:
        start, end = intervals[-1]
        intervals.append((middle, end) if target > middle else (start, middle))
    return intervals
