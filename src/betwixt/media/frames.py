"""Access to the samples of a video frame as numpy arrays, in the frame's own pixel format.

`planes` returns views of a frame's memory, one array per plane, without a copy or a conversion:

    yuv420p       Y (H, W)        U (H/2, W/2)      V (H/2, W/2)      uint8
    yuv422p10le   Y (H, W)        U (H, W/2)        V (H, W/2)        uint16
    nv12          Y (H, W)        UV (H/2, W/2, 2)                    uint8
    rgb48be       RGB (H, W, 3)                                       uint16 (big-endian view)

`frame_from_planes` makes a new frame of the same format from planes. `to_supported_format`, which the readers call on
each frame, converts other formats (palettes, bit streams, packed 4:2:2) without loss to one of these.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import av
import av.error
import av.filter
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import InputError

Plane = NDArray[Any]
"""Samples of one plane: (h, w) or (h, w, channels), uint8 or uint16."""

# Formats that `planes` cannot read, and the format that holds the same samples.
_REPLACEMENTS = {
    "pal8": "rgba", "monow": "gray", "monob": "gray", "yuyv422": "yuv422p", "uyvy422": "yuv422p", "yvyu422": "yuv422p",
    "uyyvyy411": "yuv411p", "y210le": "yuv422p10le", "y212le": "yuv422p12le", "xv30le": "yuv444p10le",
    "x2rgb10le": "gbrp10le", "x2bgr10le": "gbrp10le", "ayuv": "yuva444p", "vuya": "yuva444p", "uyva": "yuva444p",
    "ayuv64le": "yuva444p16le", "ayuv64be": "yuva444p16le", "xyz12le": "rgb48le",
}  # fmt: skip


@cache
def _plane_layout(name: str) -> tuple[tuple[tuple[int, ...], ...], np.dtype[Any]] | None:
    """The planes of a format: (channels, log2 of the subsampling in x, in y) of each, and the type of a sample.

    None if the format has no planes of whole samples.
    """
    side = 64
    fmt = av.VideoFormat(name, side, side)
    if fmt.is_bit_stream or fmt.has_palette or fmt.is_bayer:
        return None
    bits = {c.bits for c in fmt.components}
    if not bits or max(bits) > 16 or min(bits) < 8 or "f16" in name or "f32" in name:
        return None
    size = 1 if max(bits) == 8 else 2
    result = []
    for number in range(1 + max(c.plane for c in fmt.components)):
        parts = [c for c in fmt.components if c.plane == number]
        first = parts[0]
        if any((c.width, c.height) != (first.width, first.height) for c in parts):
            return None  # packed 4:2:2: samples of one plane at two resolutions
        channels = len(parts) + (name in ("0rgb", "rgb0", "0bgr", "bgr0"))
        result.append((channels, (side // first.width).bit_length() - 1, (side // first.height).bit_length() - 1))
    if len(fmt.components) > 1 and not fmt.is_planar:
        if fmt.bits_per_pixel % 8 or fmt.padded_bits_per_pixel != 8 * size * result[0][0]:
            return None
        if not fmt.is_rgb and result[0][0] > 2:
            return None  # packed YUV 4:4:4 in one of many orders
    order = ">" if fmt.is_big_endian and size == 2 else "<"
    return tuple(result), np.dtype(f"{order}u{size}")


@cache
def supported_format(name: str) -> str:
    """The format to which `to_supported_format` converts frames of format `name`; `name` itself where possible.

    Raises:
        InputError: for raw sensor data and floating point, which are not supported.
    """
    if _plane_layout(name) is not None:
        return name
    if name in _REPLACEMENTS:
        return _REPLACEMENTS[name]
    fmt = av.VideoFormat(name, 64, 64)
    if fmt.is_bayer or "f16" in name or "f32" in name:
        raise InputError(f"The pixel format {name} is not supported: convert the input to 16-bit RGB or YUV first.")
    deep = bit_depth(name) > 8
    return ("gbrp16le" if deep else "rgb24") if fmt.is_rgb else ("yuv444p16le" if deep else "yuv444p")


def to_supported_format(frame: av.VideoFrame) -> av.VideoFrame:
    """Convert a frame to a format that `planes` reads; a frame that has one already is returned as it is."""
    name = supported_format(frame.format.name)
    return frame if name == frame.format.name else frame.reformat(format=name)


@cache
def frame_bytes(pixel_format: str, width: int, height: int) -> int:
    """The size of a frame's samples in bytes, in the format to which readers bring `pixel_format`."""
    layout = _plane_layout(supported_format(pixel_format))
    assert layout is not None
    descriptions, dtype = layout
    samples = sum(n * -(-width // (1 << sub_x)) * -(-height // (1 << sub_y)) for n, sub_x, sub_y in descriptions)
    return int(max(1, samples * dtype.itemsize))


def planes(frame: av.VideoFrame) -> list[Plane]:
    """The planes of a frame as views of its memory, each (h, w) or (h, w, channels), uint8 or uint16.

    Samples of big-endian formats keep their byte order, as arrays of big-endian type.

    Raises:
        InputError: if the format is not supported (see `to_supported_format`).
    """
    layout = _plane_layout(frame.format.name)
    if layout is None:
        raise InputError(f"The pixel format {frame.format.name} cannot be read as planes.")
    descriptions, dtype = layout
    result: list[Plane] = []
    for number, (channels, sub_x, sub_y) in enumerate(descriptions):
        height, width = -(-frame.height // (1 << sub_y)), -(-frame.width // (1 << sub_x))
        memory: Any = frame.planes[number]
        line = memory.line_size // dtype.itemsize
        samples = np.frombuffer(memory, dtype)[: line * height].reshape(height, line)[:, : width * channels]
        result.append(samples if channels == 1 else samples.reshape(height, width, channels))
    return result


def frame_from_planes(parts: Sequence[Plane], like: av.VideoFrame) -> av.VideoFrame:
    """Make a frame of the given planes, with the format, size, colour description and metadata of `like`."""
    return copy_description(like, fill_planes(av.VideoFrame(like.width, like.height, like.format.name), parts))


def copy_description(source: av.VideoFrame, target: av.VideoFrame) -> av.VideoFrame:
    """Give a frame the colour description of another one, and its dynamic HDR metadata; return it."""
    target.colorspace, target.color_range = source.colorspace, source.color_range
    target.color_primaries, target.color_trc = source.color_primaries, source.color_trc
    target.opaque = copy.copy(source.opaque)  # PyAV forgets an object that two frames have when one of them goes
    return target


def fill_planes(frame: av.VideoFrame, parts: Sequence[Plane]) -> av.VideoFrame:
    """Copy samples into a frame's planes; return the frame."""
    for target, part in zip(planes(frame), parts, strict=True):
        target[...] = part
    return frame


def drain_graph(graph: av.filter.Graph) -> Iterator[Any]:
    """Yield the frames that a filter graph has finished."""
    with contextlib.suppress(av.error.BlockingIOError, av.error.EOFError):
        while True:
            yield graph.pull()


def bit_depth(pixel_format: str) -> int:
    """Bits per sample of a pixel format."""
    return max((c.bits for c in av.VideoFormat(pixel_format, 16, 16).components), default=8)


def is_rgb(pixel_format: str) -> bool:
    """Whether a pixel format holds RGB samples."""
    return av.VideoFormat(pixel_format, 16, 16).is_rgb


def is_grey(pixel_format: str) -> bool:
    """Whether a pixel format has no colour: luma alone, with or without alpha."""
    fmt = av.VideoFormat(pixel_format, 16, 16)
    return len(fmt.components) < 3 and not fmt.has_palette


def has_alpha(pixel_format: str) -> bool:
    """Whether a pixel format has an alpha channel."""
    return any(c.is_alpha for c in av.VideoFormat(pixel_format, 16, 16).components)


def subsampling(pixel_format: str) -> tuple[int, int]:
    """The number of luma samples per chroma sample, horizontally and vertically; (1, 1) for grey."""
    if is_grey(pixel_format):
        return 1, 1
    parts = av.VideoFormat(pixel_format, 64, 64).components
    if len(parts) < 3:  # a palette
        return 1, 1
    return 64 // parts[1].width, 64 // parts[1].height


def luma8(frame: av.VideoFrame, parts: Sequence[Plane] | None = None) -> NDArray[np.uint8]:
    """The luma of a frame, (H, W) uint8, or for RGB a weighted mean; deeper samples are truncated to 8 bit.

    Args:
        frame: The frame.
        parts: Its planes; None to take them from the frame.
    """
    name = frame.format.name
    if parts is None:
        parts = planes(frame)
    # p010 and similar formats keep their samples in the upper bits.
    shift = 8 if name.startswith(("p0", "p2", "p4")) or "msb" in name else bit_depth(name) - 8
    if not is_rgb(name):
        first = parts[0]
        luma = first if first.ndim == 2 else first[..., 0]
        return np.ascontiguousarray(luma) if shift == 0 else (luma >> shift).astype(np.uint8)
    if name.startswith("gbr"):
        green, blue, red = (np.asarray(p) for p in parts[:3])
    else:
        letters = name[: parts[0].shape[2]]
        red, green, blue = (parts[0][..., letters.index(c)] for c in "rgb")
    mean = (red.astype(np.uint32) * 77 + green.astype(np.uint32) * 150 + blue.astype(np.uint32) * 29) >> (8 + shift)
    return mean.astype(np.uint8)
