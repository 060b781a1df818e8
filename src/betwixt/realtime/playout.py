"""When what is shown: the clock between a sender and a display, in exact arithmetic.

    captured at ──(network: at least `transit`, often more)──► arrived at
    shown at    = captured + transit + delay        a display tick, every 1 / rate

The sender's clock and the receiver's need not agree. The smallest difference between arrival and capture that was seen
stands for clock offset and transit together; what comes later than that is late. The picture due at a tick is that of
the content time `tick - transit - delay`, put on the display's grid, which begins with the first frame: where the
display's rate is a multiple of the stream's, every frame of the stream falls on a tick.
"""

from __future__ import annotations

import math
from collections import deque
from fractions import Fraction

from betwixt.errors import UsageError

__all__ = ["Playout", "delay_of"]

_SEEN = 256
"""Arrivals whose smallest transit counts: clocks drift, routes change."""


def delay_of(rate: Fraction, source_rate: Fraction) -> Fraction:
    """The least delay, in seconds, with which every picture lies between two frames that have arrived in time.

    A frame is due as its neighbour's interval ends, less the tick on which it is shown: (n - 1) ticks for a display of
    n times the stream's rate; three at 4x, as in the paper.

    Example:
        >>> delay_of(Fraction(60), Fraction(15)) * 60
        Fraction(3, 1)
    """
    ticks = math.ceil(rate / source_rate) - 1
    return max(0, ticks) / rate


class Playout:
    """The content time that is due at each moment.

    Args:
        rate: Ticks of the display a second.
        delay: How much later than the fastest frame could be, in seconds.
    """

    def __init__(self, rate: Fraction, delay: Fraction) -> None:
        if delay < 0:
            raise UsageError(f"The delay ({float(delay):g} s) must not be negative.")
        self.rate, self.delay = rate, delay
        self._transits: deque[Fraction] = deque(maxlen=_SEEN)
        self._origin: Fraction | None = None
        self._shown: Fraction | None = None

    @property
    def transit(self) -> Fraction | None:
        """The smallest difference of arrival and capture, in seconds; None before the first frame."""
        return min(self._transits) if self._transits else None

    def arrived(self, captured: Fraction, now: Fraction) -> None:
        """Note the arrival of a frame."""
        if self._origin is None:
            self._origin = captured
        self._transits.append(now - captured)

    def due(self, now: Fraction) -> Fraction | None:
        """The content time due at `now`; None before the first frame. It never goes back."""
        transit = self.transit
        if transit is None or self._origin is None:
            return None
        tick = math.floor((now - transit - self.delay - self._origin) * self.rate + Fraction(1, 1000))
        content = self._origin + tick / self.rate
        if self._shown is not None:
            # a clock that is set right goes on by steps that nobody sees as a jump: two ticks at most, none back
            content = min(max(content, self._shown), self._shown + 2 / self.rate)
        self._shown = content
        return content
