"""Divides a conversion into pieces. No input or output here, only arithmetic.

    new frames   |■■■|■■■|   |■■■|■■■| cut |■■■|■■■|■■■|
    pieces       ├─ piece 0 ─────────┤     ├─ piece 1 ─┤
    source frames   that piece 0 needs: those between which its frames lie, and `MARGIN` more on either side

A piece is a run of frames that one machine makes at a time. It begins at a cut where there is one, otherwise between
any two groups of frames. Source frames that are shown belong to a piece only where it is encoded by the machine that
makes it; otherwise the machine that encodes passes them on.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from fractions import Fraction

from betwixt.media.overlays import LOOK_AHEAD

MARGIN = LOOK_AHEAD + 2
"""Source frames before and after an interval that its frames may depend on: of the neighbouring interval, whose motion
bends the paths, the other frame and those in which its overlays are found."""

MAX_SPAN = 256
"""The most source frames over which a piece extends, where few frames of the output are new."""

PIECE_SECONDS = 10.0
"""How long a worker is to take for a piece. A lost worker costs about as much time; each piece costs a seek."""

MIN_FRAMES = 8
"""The fewest new frames of a piece, apart from the last one: fewer are not worth the seek."""

MAX_BYTES = 128 << 20
"""The most memory that a piece's new frames may take, in bytes."""

SEGMENT_FRAMES = 240
"""The fewest frames of a piece that its worker encodes, but at the end of a film: each begins with a key frame, which
takes room. Encoders set key frames about as far apart themselves (x264: 250 frames)."""


def begins_piece(frames: int, span: int, at_cut: bool, target: int) -> bool:
    """Whether the next frames begin another piece.

    Args:
        frames: How many frames the current piece has.
        span: Over how many source frames it extends.
        at_cut: Whether a cut lies before the next frames.
        target: How many frames a piece is to have.
    """
    return frames >= target or span >= MAX_SPAN or (at_cut and 2 * frames >= target)


def piece_size(speed: float | None, workers: int, left: int | None, frame_bytes: int, least: int = MIN_FRAMES) -> int:
    """How many frames a piece is to have.

    Args:
        speed: Frames per second of one worker; None if that is not yet known.
        workers: How many there are.
        left: How many frames the output still lacks; None if unknown. Pieces get smaller towards the end, so that the
            last ones finish at about the same time.
        frame_bytes: The size of what comes back of a frame, in bytes.
        least: The fewest frames.
    """
    size = least if speed is None else round(speed * PIECE_SECONDS)
    if left is not None:
        size = min(size, left // (2 * max(1, workers)))
    return max(1, min(max(size, least), MAX_BYTES // max(1, frame_bytes)))


def needed_frames(
    times: Sequence[Fraction], first: Fraction, last: Fraction, reach: tuple[Fraction, Fraction], is_end: bool
) -> range | None:
    """Which source frames a piece depends on.

    Args:
        times: The times of the source frames known so far, in seconds, increasing.
        first: The time of the piece's first new frame, in seconds.
        last: The time of its last one, in seconds.
        reach: As in `Director`.
        is_end: Whether the last of the times is that of the last source frame.

    Returns:
        Their numbers in `times`; None if some of them are not known yet.
    """
    begin = bisect_right(times, first - reach[0]) - 1 - MARGIN
    end = bisect_left(times, last + reach[1]) + 1 + MARGIN
    if end > len(times) and not is_end:
        return None
    return range(max(0, begin), min(end, len(times)))
