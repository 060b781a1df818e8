"""The playout clock: which moment of the stream a display shows at each of its ticks, in exact arithmetic.

    frame captured ──(network: at least `transit`, often more)──► frame arrived
    shown at = capture time + transit + delay, on a display tick, every 1 / rate

The clocks of sender and receiver need not agree: the smallest difference between arrival and capture so far stands for
clock offset and transit time together, and a frame that takes longer is late. The image due at a tick is that of the
content time `tick - transit - delay`, moved to the display's grid, which begins with the first frame. If the display's
rate is a multiple of the stream's, every frame of the stream falls on a tick.

If no frame arrives within a second of its expected time for two seconds, the sender's clock has been set to another
time, and the playout clock restarts with the stream. (A burst of late frames after a pause is over sooner.) A display
that asked for no image for a second continues at once with the image that is due.

`Smoother` uses this clock, and so does the simulation for its schemes without a smoother.
"""

from __future__ import annotations

import math
from collections import deque
from fractions import Fraction
from typing import Literal

from betwixt.errors import UsageError

_TRANSIT_WINDOW = 256
"""Number of latest frames whose smallest transit counts, because clocks drift and routes change."""

MAX_JUMP = Fraction(1)
"""In seconds: a frame that is off by more is not early or late, but has a wrong time."""

_RESTART_SECONDS, _RESTART_FRAMES = Fraction(2), 8
"""Seconds and number of frames for which times must be wrong before the clock restarts."""


def minimum_delay(rate: Fraction, source_rate: Fraction) -> Fraction:
    """The shortest delay, in seconds, with which every image lies between two frames that have arrived in time.

    On a display of n times the stream's rate, the next frame is needed n - 1 ticks after the one before it: 3 at 4x, as
    in NCM's paper.

    Args:
        rate: The display's ticks per second.
        source_rate: The stream's frames per second.

    Example:
        >>> minimum_delay(Fraction(60), Fraction(15)) * 60
        Fraction(3, 1)
    """
    return max(0, math.ceil(rate / source_rate) - 1) / rate


class PlayoutClock:
    """Computes the content time that is due at each moment.

    Args:
        rate: The display's ticks per second.
        delay: Seconds by which the display lags behind the fastest frame.

    Raises:
        UsageError: if the delay is negative.
    """

    def __init__(self, rate: Fraction, delay: Fraction) -> None:
        if delay < 0:
            raise UsageError(f"The delay ({float(delay):g} s) must not be negative.")
        self.rate, self.delay = rate, delay
        self._transits: deque[Fraction] = deque(maxlen=_TRANSIT_WINDOW)
        self._outliers: list[Fraction] = []  # arrival times of the latest frames, as long as all have wrong times
        self._origin: Fraction | None = None
        self._last_due: Fraction | None = None

    @property
    def transit(self) -> Fraction | None:
        """The smallest difference between arrival and capture, in seconds; None before the first frame."""
        return min(self._transits) if self._transits else None

    def note_arrival(self, captured: Fraction, now: Fraction) -> Literal["usual", "ahead", "restart"]:
        """Note the arrival of a frame.

        Args:
            captured: When it was captured, in seconds on the sender's clock.
            now: When it arrived, in seconds on the receiver's clock.

        Returns:
            "ahead" for a frame from so far in the future that it must be ignored; "restart" if the clock restarts
            with this frame, whose time has nothing to do with those before; otherwise "usual".
        """
        transit, difference = self.transit, now - captured
        kind: Literal["usual", "restart"] = "usual"
        if transit is not None and len(self._transits) >= _RESTART_FRAMES and abs(difference - transit) > MAX_JUMP:
            self._outliers.append(now)
            if len(self._outliers) < _RESTART_FRAMES or now - self._outliers[0] < _RESTART_SECONDS:
                return "ahead" if difference < transit else "usual"
            self._transits.clear()
            self._origin, self._last_due, kind = captured, None, "restart"
        self._outliers.clear()
        if self._origin is None:
            self._origin = captured
        self._transits.append(difference)
        return kind

    def due_time(self, now: Fraction) -> Fraction | None:
        """The content time due at `now`; None before the first frame. It never decreases, except at a restart."""
        transit = self.transit
        if transit is None or self._origin is None:
            return None
        tick = math.floor((now - transit - self.delay - self._origin) * self.rate + Fraction(1, 1000))
        content = self._origin + tick / self.rate
        if self._last_due is not None and content - self._last_due <= MAX_JUMP:
            # A corrected clock catches up in steps too small to be seen as a jump: two ticks at most, never back.
            content = min(max(content, self._last_due), self._last_due + 2 / self.rate)
        self._last_due = content
        return content
