"""The description of an input video (`VideoInfo`), and the readers of metadata that only decoded frames carry.

`media.reader` and `media.sequence` fill a `VideoInfo` from the container and the first decoded frame; the pipeline, the
writer and the command `info` read it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
from av.sidedata.sidedata import Type as SideDataType

from betwixt.media.colour import Colour
from betwixt.media.frames import bit_depth


@dataclass(frozen=True)
class HDR:
    """Static HDR metadata (SMPTE ST 2086 and CTA-861.3).

    Attributes:
        primaries: Red, green, blue and white point as (x, y) chromaticities; None if not stated.
        luminance: Lowest and highest luminance of the mastering display in cd/m2; None if not stated.
        content_light: MaxCLL and MaxFALL in cd/m2; None if not stated.
    """

    primaries: tuple[tuple[Fraction, Fraction], ...] | None = None
    luminance: tuple[Fraction, Fraction] | None = None
    content_light: tuple[int, int] | None = None


@dataclass(frozen=True)
class StreamInfo:
    """One stream of a container.

    Attributes:
        index: Its number in the container.
        kind: video, audio, subtitle, data or attachment.
        codec: The codec's name, or the attachment's file name.
        language: ISO 639 code, or None.
        title: Its title, or None.
    """

    index: int
    kind: str
    codec: str
    language: str | None = None
    title: str | None = None

    def __str__(self) -> str:
        extra = f" ({self.language})" if self.language else ""
        return f"{self.kind} {self.codec}{extra}"


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before it is read.

    Attributes:
        name: The file's name as given.
        container: FFmpeg's name of the format, or "images".
        codec: The video codec.
        width: Width in pixels, as coded (before rotation).
        height: Height in pixels.
        pixel_format: FFmpeg's name, e.g. yuv420p10le.
        rate: Frames a second: the exact constant rate, or the mean of a variable one.
        variable: Whether the rate is variable.
        start: When the first frame is shown, in seconds on the container's clock.
        duration: The duration in seconds that the container states; None if it states none (a pipe).
        frames: How many frames there are, as stated or computed from duration and rate; None if unknown.
        colour: Primaries, transfer, matrix, range, chroma location.
        hdr: Static HDR metadata, or None.
        rotation: The display matrix as nine integers, or None if the video is upright.
        aspect: The sample aspect ratio; None for square samples or if unknown.
        interlaced: Whether the first frames are interlaced.
        streams: All streams of the container.
        metadata: The tags of the container.
    """

    name: str
    container: str
    codec: str
    width: int
    height: int
    pixel_format: str
    rate: Fraction
    variable: bool
    start: Fraction
    duration: Fraction | None
    frames: int | None
    colour: Colour
    hdr: HDR | None = None
    rotation: tuple[int, ...] | None = None
    aspect: Fraction | None = None
    interlaced: bool = False
    streams: tuple[StreamInfo, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        """How many bits a sample has."""
        return bit_depth(self.pixel_format)


def hdr_of(frame: av.VideoFrame) -> HDR | None:
    """The static HDR metadata that a decoded frame carries, or None."""
    primaries = luminance = light = None
    for data in _side_data(frame):
        raw = bytes(data)
        if data.type == SideDataType.MASTERING_DISPLAY_METADATA and len(raw) >= 88:
            # AVMasteringDisplayMetadata: three primaries, the white point, the lowest and the highest luminance as
            # AVRational, then a flag each for chromaticities and luminance.
            numbers = struct.unpack_from("20i2i", raw)
            values = [
                Fraction(a, b) if b else Fraction(0) for a, b in zip(numbers[0:20:2], numbers[1:20:2], strict=True)
            ]
            if numbers[20]:
                primaries = tuple((values[i], values[i + 1]) for i in (0, 2, 4, 6))
            if numbers[21]:
                luminance = (values[8], values[9])
        elif data.type == SideDataType.CONTENT_LIGHT_LEVEL and len(raw) >= 8:
            most, average = struct.unpack_from("2I", raw)
            light = (most, average)
    if primaries is None and luminance is None and light is None:
        return None
    return HDR(primaries, luminance, light)


def rotation_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    """The display matrix of a decoded frame, or None if it is upright."""
    for data in _side_data(frame):
        raw = bytes(data)
        if data.type == SideDataType.DISPLAYMATRIX and len(raw) >= 36:
            matrix = struct.unpack_from("9i", raw)
            upright = (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
            return None if matrix == upright else matrix
    return None


def dynamic_hdr(frame: av.VideoFrame) -> str | None:
    """The name of the frame's dynamic HDR metadata (HDR10+, Dolby Vision), which new frames cannot have, or None."""
    names = {"DYNAMIC_HDR_PLUS": "HDR10+", "DOVI_METADATA": "Dolby Vision", "DOVI_RPU_BUFFER": "Dolby Vision"}
    for data in _side_data(frame):
        if data.type.name in names:
            return names[data.type.name]
    return None


def _side_data(frame: av.VideoFrame) -> list[Any]:
    # Unlike a mapping, it iterates over its values. It raises ValueError for types that PyAV does not know.
    try:
        return list(iter(frame.side_data))
    except ValueError:
        return []
