"""Tells from which frames repeat the one before them what kind of material a video is.

    duplicates ──► holds: how many frames in a row show each picture ──► counts, and what the pattern looks like

| holds                          | material                                                                   |
|--------------------------------|----------------------------------------------------------------------------|
| 1 1 1 1 1 1                    | video: no frame repeats                                                    |
| 2 2 2 2, 3 3 3 3               | up to 31 frames per second: animation on twos, on threes; above: a lower   |
|                                | rate stored at a higher one (30 as 60)                                     |
| 2 3 2 3, 1 1 1 2               | a lower rate that does not divide the stored one (24 as 60, 24 as 30)      |
| 1 2 2 3 2, without a rhythm    | animation on ones, twos and threes, if few pictures are shown only once    |
| 1 1 40 1 1                     | a still picture among video: not repeats                                   |

Holds that a cut rate of frames makes are spread evenly: of any few in a row the sum is the same, give or take one.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate

MAX_PLACEHOLDERS = 4
"""The most duplicates in a row that are placeholders to be filled; a longer run is a still picture."""

_MIN_REPEATS, _MIN_HOLDS = 3, 6
"""How many repeats, and how many holds, it takes to say something."""

_MIN_SHARE = 0.1
"""The share of repeats, without a rhythm, that is worth a word: video that stutters, or animation."""

_ANIMATION_SHARE = 0.8
"""Without a rhythm: the share of frames in holds of two or more from which on it looks like animation."""

_EVEN_SHARE = 0.9
"""The share of sums of holds in a row that must be even for a rhythm."""

_HIGHEST_DRAWN_RATE = 31
"""Frames per second up to which holds of one length look like animation."""

_USUAL_RATES = (12, 15, 18, 24, 25, 30, 48, 50)
_RATE_TOLERANCE = 0.005
"""Relative: 24000/1001 counts as 24, and the first and the last hold of few may be missing."""

_NUMERALS = {2: "twos", 3: "threes", 4: "fours", 5: "fives"}


class RepeatCounter:
    """Counts the frames of a video that repeat the one before them.

    Attributes:
        frames: Number of frames, but for still pictures.
        repeats: How many of them repeat the one before.
    """

    def __init__(self) -> None:
        self._closed_frames = self._closed_repeats = 0
        self._holds = bytearray()  # those whose beginning and end were seen
        self._hold = 0
        self._whole = False  # whether the beginning of the current hold was seen

    @property
    def frames(self) -> int:
        return self._closed_frames + (0 if self._is_still else self._hold)

    @property
    def repeats(self) -> int:
        return self._closed_repeats + (0 if self._is_still else max(0, self._hold - 1))

    @property
    def _is_still(self) -> bool:
        return self._hold > MAX_PLACEHOLDERS + 1

    def push(self, duplicate: bool) -> None:
        """Take the next frame, and whether it repeats the one before it."""
        if duplicate:
            self._hold += 1
            return
        began = self._hold > 0
        self._close(self._whole)
        self._hold, self._whole = 1, began

    def interrupt(self) -> None:
        """The next frame does not follow the last one: the video goes on at another place."""
        self._close(whole=False)

    def _close(self, whole: bool) -> None:
        self._closed_frames, self._closed_repeats = self.frames, self.repeats
        if whole and not self._is_still:
            self._holds.append(self._hold)
        self._hold, self._whole = 0, False

    def note(self, rate: Fraction) -> str | None:
        """What to tell the user about a video of this rate; None if nothing is worth a word."""
        if not self._is_enough:
            return None
        pattern = self.pattern(rate)
        if pattern is None and self.repeats < _MIN_SHARE * self.frames:
            return None
        guess = "" if pattern is None else f", which looks like {pattern}"
        return (
            f"{self.repeats} of {self.frames} frames repeat the one before{guess}: "
            '`duplicates="fill"` replaces them by new frames.'
        )

    @property
    def _is_enough(self) -> bool:
        """Whether there were enough repeats to say something."""
        return self.repeats >= _MIN_REPEATS and len(self._holds) >= _MIN_HOLDS

    def pattern(self, rate: Fraction) -> str | None:
        """What kind of material a video of this rate looks like, such as "animation on twos"; None if nothing."""
        if not self._is_enough:
            return None
        holds = self._holds
        mean = sum(holds) / len(holds)
        if _is_even(holds, mean):
            length = round(mean)
            if length > 1 and abs(mean - length) < 0.1 and rate <= _HIGHEST_DRAWN_RATE:
                return f"animation on {_NUMERALS[length]}"
            shown = float(rate) / mean
            tolerance = _RATE_TOLERANCE + 0.5 / len(holds)
            usual = min(_USUAL_RATES, key=lambda candidate: abs(shown / candidate - 1))
            is_usual = abs(shown / usual - 1) < tolerance < mean - 1
            return f"{usual} frames per second stored as {float(rate):.4g}" if is_usual else None
        if sum(hold for hold in holds if hold > 1) >= _ANIMATION_SHARE * sum(holds):
            return "animation"
        return None


def _is_even(holds: bytearray, mean: float) -> bool:
    """Whether holds of this mean length are spread evenly."""
    ends = [0, *accumulate(holds)]
    for count in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89):
        sums = [b - a for a, b in zip(ends, ends[count:], strict=False)]
        even = sum(abs(total - count * mean) < 1.05 for total in sums)
        if sums and even < _EVEN_SHARE * len(sums):
            return False
    return True
