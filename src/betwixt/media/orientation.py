"""Turning frames upright: by a display matrix (mp4, Matroska) or by an EXIF orientation (photographs).

Orientations are EXIF's: 1 upright, 2 mirrored, 3 by 180, 4 upside down, 5 transposed, 6 by 90 clockwise, 7
anti-transposed, 8 by 90 back. Samples are moved, never computed, with one exception: a frame whose chroma is subsampled
in one direction only cannot be turned on its side, and gets chroma at full resolution first.
"""

from __future__ import annotations

from collections.abc import Sequence

import av
import numpy as np
from av.video.reformatter import Interpolation

from betwixt.media.frames import Plane, bit_depth, copy_description, fill_planes, planes, subsampling

UPRIGHT = 1

_BY_MATRIX: dict[tuple[float, ...], int] = {
    (1, 0, 0, 1): 1, (-1, 0, 0, 1): 2, (-1, 0, 0, -1): 3, (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5, (0, 1, -1, 0): 6, (0, -1, -1, 0): 7, (0, -1, 1, 0): 8,
}  # fmt: skip

_LOCATIONS = {"left": (0.0, 0.5), "center": (0.5, 0.5), "topleft": (0.0, 0.0), "top": (0.5, 0.0)}

_EXACT = int(Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT)


def orientation_of(matrix: Sequence[int] | None) -> int | None:
    """The orientation of a display matrix (nine integers; None is upright), or None if it turns by another angle."""
    if matrix is None:
        return UPRIGHT
    a, b, c, d = (round(matrix[i] / 65536, 2) for i in (0, 1, 3, 4))
    return _BY_MATRIX.get((a, b, c, d))


def without_stretch(matrix: tuple[int, ...]) -> tuple[int, ...]:
    """A display matrix that turns by a multiple of 90 degrees without its stretching, which is in the pixel aspect."""
    corner = [matrix[i] for i in (0, 1, 3, 4)]
    a, b, c, d = (65536 * ((value > 0) - (value < 0)) for value in corner)
    if (a // 65536, b // 65536, c // 65536, d // 65536) not in _BY_MATRIX:
        return matrix
    return (a, b, matrix[2], c, d, *matrix[5:])


def is_sideways(orientation: int) -> bool:
    """Whether turning a frame upright exchanges its width and height."""
    return orientation >= 5


def upright_format(name: str, orientation: int) -> str:
    """The pixel format of a frame of format `name` once it is upright."""
    x, y = subsampling(name)
    if x == y or not is_sideways(orientation):
        return name
    if name.startswith("yuvj"):
        return "yuvj444p"
    depth = bit_depth(name)
    return ("yuva444p" if name.startswith("yuva") else "yuv444p") + ("" if depth == 8 else f"{depth}le")


def upright_location(location: str, orientation: int) -> str:
    """Where the chroma samples of a 2x2 block are once the frame is upright."""
    x, y = _LOCATIONS.get(location, _LOCATIONS["left"])
    if is_sideways(orientation):
        x, y = y, x
    if orientation in (2, 3, 6, 7):
        x = 1 - x
    if orientation in (3, 4, 7, 8):
        y = 1 - y
    return next((name for name, place in _LOCATIONS.items() if place == (x, y)), "center")


def turn_upright(frame: av.VideoFrame, orientation: int) -> av.VideoFrame:
    """Turn a frame (in a format of `frames.planes`) upright."""
    if orientation == UPRIGHT:
        return frame
    name = upright_format(frame.format.name, orientation)
    if name != frame.format.name:
        frame = frame.reformat(format=name, interpolation=_EXACT)
    parts: list[Plane] = planes(frame)
    if is_sideways(orientation):
        parts = [np.swapaxes(part, 0, 1) for part in parts]
    if orientation in (3, 4, 7, 8):
        parts = [part[::-1] for part in parts]
    if orientation in (2, 3, 6, 7):
        parts = [part[:, ::-1] for part in parts]
    size = (frame.height, frame.width) if is_sideways(orientation) else (frame.width, frame.height)
    return copy_description(frame, fill_planes(av.VideoFrame(*size, name), parts))
