"""Frames of VapourSynth as planes, and back.

8 to 16 bit          the same samples in FFmpeg's planar format of the same depth; RGB planes in another order
32-bit float         16 bit: 0 to 1 is 0 to 65535, for chroma -0.5 to 0.5
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import av
import numpy as np
import vapoursynth as vs
from numpy.typing import NDArray

from betwixt.errors import InputError
from betwixt.media.colour import FULL, LIMITED, UNSPECIFIED, Colour
from betwixt.media.frames import Plane

_SUBSAMPLING = {(0, 0): "444", (1, 0): "422", (1, 1): "420", (0, 1): "440", (2, 0): "411", (2, 2): "410"}
"""By the logarithms of the subsampling in x and in y."""

_LOCATIONS = ("left", "center", "topleft", "top")
"""Chroma locations by the frame property _ChromaLocation."""

_TOLERANCE = 1e-3
"""How far float samples may lie outside of their range; rounding in other filters takes them there."""


class FrameFormat:
    """A format of VapourSynth, and how its samples are read.

    Args:
        format_: The format.

    Attributes:
        pixel_format: The format of FFmpeg in which frames are processed.
        is_float: Whether samples are floating point.

    Raises:
        InputError: if it is not supported.
    """

    def __init__(self, format_: vs.VideoFormat) -> None:
        self.is_float = format_.sample_type == vs.FLOAT
        self._is_rgb = format_.color_family == vs.RGB
        bits = 16 if self.is_float else format_.bits_per_sample
        name = {
            vs.GRAY: "gray",
            vs.RGB: "gbrp",
            vs.YUV: f"yuv{_SUBSAMPLING.get((format_.subsampling_w, format_.subsampling_h))}p",
        }.get(format_.color_family, "")
        self.pixel_format = name + ("" if bits == 8 else f"{bits}le")
        try:
            av.VideoFormat(self.pixel_format, 16, 16)
            supported = bits <= 16 and (not self.is_float or format_.bits_per_sample == 32)
        except ValueError:
            supported = False
        if not supported:
            raise InputError(
                f"The format {format_.name} is not supported: convert the clip to YUV, RGB or GRAY of 8 to 16 bit, or "
                "32-bit float."
            )

    def read(self, frame: vs.VideoFrame) -> list[Plane]:
        """The planes of a frame in the order of `pixel_format`.

        Raises:
            InputError: if float samples lie outside of their range.
        """
        return [self._from_float(plane, number) if self.is_float else plane for number, plane in self._planes(frame)]

    def write(self, parts: Sequence[Plane], frame: vs.VideoFrame) -> None:
        """Put planes in the order of `pixel_format` into a frame."""
        for (number, plane), part in zip(self._planes(frame), parts, strict=True):
            if self.is_float:
                part = part.astype(np.float32) / np.float32(65535) - self._offset(number)
            np.copyto(plane, part)

    def _planes(self, frame: vs.VideoFrame) -> list[tuple[int, NDArray[Any]]]:
        """The number and the samples of each plane; FFmpeg has green first."""
        order = (1, 2, 0) if self._is_rgb else range(frame.format.num_planes)
        return [(number, np.asarray(frame[number])) for number in order]

    def _offset(self, number: int) -> np.float32:
        return np.float32(0.5 if number and not self._is_rgb else 0)

    def _from_float(self, plane: NDArray[Any], number: int) -> Plane:
        values = plane + self._offset(number)
        if not (values.min() >= -_TOLERANCE and values.max() <= 1 + _TOLERANCE):  # NaN fails both
            raise InputError(
                f"samples lie outside of the range of their format ({float(plane.min()):.4g} to "
                f"{float(plane.max()):.4g}): limit the clip first."
            )
        return np.rint(values.clip(0, 1) * np.float32(65535)).astype(np.uint16)


def colour_of_props(props: Mapping[str, Any], format_: FrameFormat) -> Colour:
    """The colour description that frame properties state; _ColorSpace is mpv's name of the matrix."""
    is_full = format_.pixel_format.startswith("gbr") or format_.is_float
    if "_Range" in props:
        is_full = is_full or props["_Range"] == 1
    elif "_ColorRange" in props:
        is_full = is_full or props["_ColorRange"] == 0
    location = props.get("_ChromaLocation", 0)
    return Colour(
        primaries=int(props.get("_Primaries", UNSPECIFIED)),
        transfer=int(props.get("_Transfer", UNSPECIFIED)),
        matrix=int(props.get("_Matrix", props.get("_ColorSpace", UNSPECIFIED))),
        range=FULL if is_full else LIMITED,
        location=_LOCATIONS[location] if location < len(_LOCATIONS) else "left",
    )
