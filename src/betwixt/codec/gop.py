"""Which frames the base encoder carries, and which are made from them: plain arithmetic.

    frames   0  1  2  3  4  5 | 6  7  8  9        | a cut
    keep 2   I  b  P  b  P  P | I  b  P  P
    keep 4   I  b  b  b  P  P | I  b  b  P

In each shot, one of `keep` frames is kept, beginning with the first, and the last one is kept too, so that no frame is
ever made from frames of two shots. The rest are B frames: made from the nearest two frames that are sent. A B frame may
be sent as well. Where an interval holds several and they are not good enough, the middle one is sent first, and the two
halves are tried anew: the hierarchy of B frames that codecs know.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from av.video.frame import PictureType

__all__ = ["Interval", "frame_types", "intervals", "kept_frames"]


@dataclass(frozen=True)
class Interval:
    """Two frames that are sent, and those between them that are not.

    Attributes:
        left: The number of the frame before.
        right: The number of the frame after.
    """

    left: int
    right: int

    @property
    def between(self) -> range:
        """The numbers of the frames between them."""
        return range(self.left + 1, self.right)

    @property
    def middle(self) -> int:
        """The number of the middle one."""
        return (self.left + self.right) // 2


def kept_frames(count: int, shots: Sequence[int], keep: int) -> list[bool]:
    """For each of `count` frames, whether it is kept; `shots` are the numbers of the frames that begin a shot."""
    sent = [False] * count
    for start, end in itertools.pairwise([*shots, count]):
        for number in range(start, end, keep):
            sent[number] = True
        sent[end - 1] = True
    return sent


def intervals(sent: Sequence[bool], shots: Sequence[int]) -> Iterator[Interval]:
    """The intervals of two successive sent frames of one shot that have frames between them."""
    begins = set(shots)
    left: int | None = None
    for number, here in enumerate(sent):
        if number in begins:
            left = None
        if here:
            if left is not None and number - left > 1:
                yield Interval(left, number)
            left = number


def frame_types(kept: Sequence[bool], sent: Sequence[bool], shots: Sequence[int], intra: int) -> list[PictureType]:
    """As what each sent frame is coded: I at the beginning of a shot and `intra` frames after the last, P, or B.

    Args:
        kept: What `kept_frames` gave.
        sent: What is sent; all of what is kept is.
        shots: The numbers of the frames that begin a shot.
        intra: How many frames of the source lie between two I frames at least.

    Returns:
        A type for each frame; NONE for what is not sent.
    """
    begins = set(shots)
    last = 0
    result = []
    for number, (anchor, here) in enumerate(zip(kept, sent, strict=True)):
        if number in begins or (anchor and number - last >= intra):
            last = number
            result.append(PictureType.I)
        elif anchor:
            result.append(PictureType.P)
        else:
            result.append(PictureType.B if here else PictureType.NONE)
    return result
