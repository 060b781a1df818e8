"""When what is shown: the clock between a sender and a display, in exact arithmetic.

    captured at ──(network: at least `transit`, often more)──► arrived at
    shown at    = captured + transit + delay        a display tick, every 1 / rate

The sender's clock and the receiver's need not agree. The smallest difference between arrival and capture that was seen
stands for clock offset and transit together; what comes later than that is late. The picture due at a tick is that of
the content time `tick - transit - delay`, put on the display's grid, which begins with the first frame: where the
display's rate is a multiple of the stream's, every frame of the stream falls on a tick.

A clock that is set to another time is told from late frames by how long it lasts: a burst after a pause is soon over.
Where for two seconds no frame comes that is less than a second off, the stream is joined anew. A display that was not
asked for pictures for a second goes on at once with what is due.
"""

from __future__ import annotations

import math
from collections import deque
from fractions import Fraction

from betwixt.errors import UsageError

__all__ = ["Playout", "delay_of"]

_SEEN = 256
"""Arrivals whose smallest transit counts: clocks drift, routes change."""

JUMP = Fraction(1)
"""Seconds by which a frame is off that is no longer taken for early or late."""

_LASTING = Fraction(2), 8
"""For how many seconds, and how many frames, this has to go on before the sender's clock counts as set anew."""


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
        self._strange: list[Fraction] = []  # when frames came that were off, since the last that was not
        self._origin: Fraction | None = None
        self._shown: Fraction | None = None

    @property
    def transit(self) -> Fraction | None:
        """The smallest difference of arrival and capture, in seconds; None before the first frame."""
        return min(self._transits) if self._transits else None

    def arrived(self, captured: Fraction, now: Fraction) -> str:
        """Note the arrival of a frame.

        Returns:
            "usual"; "ahead" for a frame from so far ahead that it means nothing yet; "anew" where the stream is joined
            anew with this frame, whose times have nothing to do with those before.
        """
        transit, off, arrival = self.transit, now - captured, "usual"
        seconds, frames = _LASTING
        if transit is not None and len(self._transits) >= frames and abs(off - transit) > JUMP:
            self._strange.append(now)
            if len(self._strange) < frames or now - self._strange[0] < seconds:
                return "ahead" if off < transit else "usual"
            self._transits.clear()
            self._origin, self._shown, arrival = captured, None, "anew"
        self._strange.clear()
        if self._origin is None:
            self._origin = captured
        self._transits.append(off)
        return arrival

    def due(self, now: Fraction) -> Fraction | None:
        """The content time due at `now`; None before the first frame. It never goes back, but where it begins anew."""
        transit = self.transit
        if transit is None or self._origin is None:
            return None
        tick = math.floor((now - transit - self.delay - self._origin) * self.rate + Fraction(1, 1000))
        content = self._origin + tick / self.rate
        if self._shown is not None and content - self._shown <= JUMP:
            # a clock that is set right goes on by steps that nobody sees as a jump: two ticks at most, none back
            content = min(max(content, self._shown), self._shown + 2 / self.rate)
        self._shown = content
        return content
