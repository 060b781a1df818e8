"""Which frames the base encoder carries, and which are made from them. No input or output here, only arithmetic.

    frames   0  1  2  3  4  5 | 6  7  8  9        | a cut
    keep 2   I  b  P  b  P  P | I  b  P  P
    keep 4   I  b  b  b  P  P | I  b  b  P

In each shot, one of `keep` frames is kept, beginning with the first, and so is the last one, so that no frame is ever
made from frames of two shots. The others are B frames, made from the nearest two frames that are sent. A B frame may be
sent as well: where an interval has several and they are not good enough, the middle one is sent first, and the two
halves are tried again, as in a hierarchy of B frames.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from av.video.frame import PictureType


@dataclass(frozen=True)
class Interval:
    """Two sent frames, by number, with no sent frame between them."""

    left: int
    right: int

    @property
    def between(self) -> range:
        """The numbers of the frames between them."""
        return range(self.left + 1, self.right)

    @property
    def middle(self) -> int:
        """The number of the middle frame."""
        return (self.left + self.right) // 2


def kept_frames(count: int, shots: Sequence[int], keep: int) -> list[bool]:
    """For each of `count` frames, whether it is kept; `shots` are the numbers of the frames that begin a shot."""
    kept = [False] * count
    for start, end in itertools.pairwise([*shots, count]):
        for number in range(start, end, keep):
            kept[number] = True
        kept[end - 1] = True
    return kept


def intervals(sent: Sequence[bool], shots: Sequence[int]) -> Iterator[Interval]:
    """The intervals, within one shot each, that have frames between their two sent frames."""
    shot_starts = set(shots)
    left: int | None = None
    for number, is_sent in enumerate(sent):
        if number in shot_starts:
            left = None
        if is_sent:
            if left is not None and number - left > 1:
                yield Interval(left, number)
            left = number


def frame_types(kept: Sequence[bool], sent: Sequence[bool], shots: Sequence[int], intra: int) -> list[PictureType]:
    """The type that each frame is coded as; NONE for frames that are not sent.

    Kept frames are I or P frames, other sent frames B frames. Each shot begins with an I frame, and other I frames are
    at least `intra` frames of the source after the last one.
    """
    shot_starts = set(shots)
    last_intra = 0
    types = []
    for number, (is_kept, is_sent) in enumerate(zip(kept, sent, strict=True)):
        if number in shot_starts or (is_kept and number - last_intra >= intra):
            last_intra = number
            types.append(PictureType.I)
        elif is_kept:
            types.append(PictureType.P)
        else:
            types.append(PictureType.B if is_sent else PictureType.NONE)
    return types
