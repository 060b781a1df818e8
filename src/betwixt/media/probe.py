"""The description of an input video (`VideoInfo`), and access to metadata that only decoded frames carry.

`media.reader` and `media.sequence` make a `VideoInfo` from the container and the first decoded frame; the pipeline, the
writer and the command `info` use it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
from av.sidedata.sidedata import Type as SideDataType

from betwixt.media.colour import Colour, chroma_location, colour_of
from betwixt.media.frames import bit_depth
from betwixt.media.orientation import without_stretch


@dataclass(frozen=True)
class HDR:
    """Static HDR metadata (SMPTE ST 2086 and CTA-861.3); None for what is not stated."""

    primaries: tuple[tuple[Fraction, Fraction], ...] | None = None  # (x, y) of red, green, blue and the white point
    luminance: tuple[Fraction, Fraction] | None = None  # lowest and highest of the mastering display, cd/m2
    content_light: tuple[int, int] | None = None  # MaxCLL and MaxFALL, cd/m2


@dataclass(frozen=True)
class StreamInfo:
    """One stream of a container."""

    index: int
    kind: str  # video, audio, subtitle, data or attachment
    codec: str  # the codec's name, or the attachment's file name
    language: str | None = None  # ISO 639 code
    title: str | None = None

    def __str__(self) -> str:
        extra = f" ({self.language})" if self.language else ""
        return f"{self.kind} {self.codec}{extra}"


@dataclass(frozen=True)
class VideoInfo:
    """The properties of a video, known before it is read."""

    name: str  # the file's name as given
    container: str  # FFmpeg's name of the format, or "images"
    codec: str
    width: int  # in pixels, as coded (before rotation)
    height: int
    pixel_format: str  # FFmpeg's name, e.g. yuv420p10le
    rate: Fraction  # frames per second: the exact constant rate, or the mean of a variable one
    variable: bool  # whether the rate is variable
    start: Fraction  # when the first frame is shown, in seconds on the container's clock
    duration: Fraction | None  # in seconds, as stated by the container; None if it states none (a pipe)
    frames: int | None  # as stated, or computed from duration and rate; None if unknown
    colour: Colour
    hdr: HDR | None = None
    hdr10_plus: bool = False  # whether the first frame carries HDR10+ metadata
    dolby_vision: int | None = None  # the Dolby Vision profile of the first frame's metadata, or None
    rotation: tuple[int, ...] | None = None  # the display matrix as nine integers; None if the video is upright
    aspect: Fraction | None = None  # the sample aspect ratio; None for square samples or if unknown
    interlaced: bool = False  # whether the first frames are interlaced
    streams: tuple[StreamInfo, ...] = ()  # all streams of the container
    metadata: dict[str, str] = field(default_factory=dict)  # the tags of the container

    @property
    def depth(self) -> int:
        """Bits per sample."""
        return bit_depth(self.pixel_format)


def describe_video(
    name: str,
    container: Any,
    stream: Any,
    frame: av.VideoFrame,
    *,
    rate: Fraction,
    variable: bool,
    start: Fraction,
    duration: Fraction | None,
    interlaced: bool,
) -> VideoInfo:
    """Describe a video by its open container, its stream and its first frame; the rest are attributes of the result."""
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return VideoInfo(
        name=name,
        container=container.format.name,
        codec=stream.codec_context.codec.canonical_name,
        width=frame.width,
        height=frame.height,
        pixel_format=frame.format.name,
        rate=rate,
        variable=variable,
        start=start,
        duration=duration,
        frames=stream.frames or (round(duration * rate) if duration else None),
        colour=colour_of(frame, chroma_location(frame)),
        hdr=hdr_of(frame),
        hdr10_plus=has_hdr10_plus(frame),
        dolby_vision=dolby_vision_profile(frame),
        rotation=rotation_matrix(frame),
        aspect=aspect if aspect and aspect != 1 else None,
        interlaced=interlaced,
        streams=tuple(map(describe_stream, container.streams)),
        metadata=dict(container.metadata),
    )


def describe_stream(stream: Any) -> StreamInfo:
    """Describe a stream of an open container."""
    context = getattr(stream, "codec_context", None)
    codec = context.codec.canonical_name if context is not None else (getattr(stream, "name", None) or "")
    tags = stream.metadata
    if stream.type == "attachment":
        codec = tags.get("filename", codec)
    if not codec:
        codec = tags.get("handler_name", "").strip()
    return StreamInfo(stream.index, stream.type, codec or "unknown", tags.get("language"), tags.get("title"))


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
            matrix = without_stretch(struct.unpack_from("9i", raw))
            upright = (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
            return None if matrix == upright else matrix
    return None


def has_hdr10_plus(frame: av.VideoFrame) -> bool:
    """Whether a decoded frame carries HDR10+ metadata."""
    return any(data.type == SideDataType.DYNAMIC_HDR_PLUS for data in _side_data(frame))


def dolby_vision_profile(frame: av.VideoFrame) -> int | None:
    """The Dolby Vision profile that a decoded frame's metadata is of, or None.

    As FFmpeg guesses it: 5 (no base layer that others can show), 7 or 4 (two layers), 8 (one layer, HDR10 or HLG).
    """
    for data in _side_data(frame):
        raw = bytes(data)
        if data.type == SideDataType.DOVI_METADATA and len(raw) >= 8:
            # AVDOVIMetadata begins with the offset of its AVDOVIRpuDataHeader.
            start = struct.unpack_from("N", raw)[0]
            if start + 17 > len(raw):
                return None
            header = raw[start : start + 17]
            profile, full_range, depth, enhanced, no_residual = (header[i] for i in (4, 10, 13, 15, 16))
            if profile == 0:
                return 5 if full_range else None
            return 8 if not enhanced or no_residual else 7 if depth == 12 else 4
    return None


def _side_data(frame: av.VideoFrame) -> list[Any]:
    # Unlike a mapping, it iterates over its values. It raises ValueError for types that PyAV does not know.
    try:
        return list(iter(frame.side_data))
    except ValueError:
        return []
