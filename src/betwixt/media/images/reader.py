"""Reading image files: one at a time, or a sequence of them as a video.

    paths ── header of each ──► size, common pixel format
          ── decode ──► upright ──► common format ──► av.VideoFrame

PNG, JPEG, TIFF, WebP, BMP and EXR are read, recognized by a file's content, not its name. Frames keep the pixel format
of the codec, with three exceptions:

- images are turned upright by their EXIF orientation;
- floating-point samples become 16-bit integers (linear light gets the sRGB transfer; values are clipped to [0, 1] and
  NaN becomes 0);
- a sequence that mixes grey, palette and RGB images of 8 and 16 bits, as optimizers write them, is converted without
  loss to the smallest format that holds them all.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import InputError
from betwixt.files import error_text
from betwixt.media.colour import FULL
from betwixt.media.frames import bit_depth, has_alpha, is_rgb, supported_format, to_supported_format
from betwixt.media.images import webp
from betwixt.media.images.convert import frame_to_image, image_codec, image_to_jpeg_frame, pack_frame, packed_format
from betwixt.media.images.paths import READABLE, find_images, join_suffixes
from betwixt.media.images.tiff import SIGNATURES, TIFF, exif_orientation
from betwixt.media.orientation import UPRIGHT, is_sideways, turn_upright, upright_format
from betwixt.media.transfer import transfer_of

_SQUARE = 0.01
"""How far a sample aspect ratio may be from 1 to count as square: densities are rounded to integers."""

_LINEAR, _SRGB = 8, 13  # H.273 transfer characteristics


def read_image(path: str | Path) -> av.VideoFrame:
    """Read one image as an upright frame without a time.

    Raises:
        InputError: naming the file, if it is missing, damaged or not an image.
    """
    data, codec = _load(path)
    if codec == "tiff" and (tiff := TIFF(data, path)).is_for_opencv:
        return tiff.decode()
    if codec == "mjpeg" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise _damaged(path, codec)  # no end marker after the last scan: cut off, which the decoder does not report
    frame = _decode(data, codec, path)
    if _is_opaque(frame.format.name, data, codec):
        frame = _convert_to(frame, "rgb24")
    if _is_float(frame.format.name):
        frame = _float_to_16_bit(frame)
    if not is_rgb(frame.format.name) and len(frame.format.components) < 3:
        frame.color_range = FULL  # a grey image is full range whether or not it says so
    orientation = tiff.orientation if codec == "tiff" else _orientation(data, codec)
    if orientation == UPRIGHT:
        return frame
    frame = to_supported_format(frame)
    if upright_format(frame.format.name, orientation) != frame.format.name:
        frame = image_to_jpeg_frame(frame_to_image(frame)[0], "444")
    return turn_upright(frame, orientation)


class _Header(NamedTuple):
    width: int
    height: int
    format: str
    aspect: Fraction | None = None


class ImageReader:
    """The frames of a sequence of images, read one at a time; it can be iterated over more than once.

    Args:
        location: A folder, pattern, glob or file, as for `find_images`.

    Attributes:
        paths: The files, in order.
        width: Width in pixels.
        height: Height in pixels.
        format: FFmpeg's name of the pixel format of all frames.
        aspect: The sample aspect ratio of the first image; None for square pixels or if it states none.

    Raises:
        InputError: if there are no images, or their sizes or formats do not fit together; and, while reading, for a
            damaged file.
    """

    def __init__(self, location: str | Path) -> None:
        self.paths = find_images(location)
        first = _read_header(self.paths[0])
        self.width, self.height, self.format, self.aspect = first
        formats = {first.format}
        for path in self.paths[1:]:
            header = _read_header(path)
            self._check_size(path, header)
            if header.format not in formats:
                formats.add(header.format)
                if (wider := _common_format(formats)) is None:
                    raise InputError(
                        f"{path} has the pixel format {header.format}, {self.paths[0]} has {first.format}: "
                        "bring all images to one format."
                    )
                self.format = wider

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[av.VideoFrame]:
        for path in self.paths:
            frame = read_image(path)
            self._check_size(path, frame)
            yield frame if frame.format.name == self.format else _convert_to(frame, self.format)

    def _check_size(self, path: Path, image: Any) -> None:
        if (image.width, image.height) != (self.width, self.height):
            raise InputError(
                f"{path} is {image.width}x{image.height}, {self.paths[0]} is {self.width}x{self.height}: "
                "bring all images to one size."
            )


# -- size and format


def _common_format(formats: Iterable[str]) -> str | None:
    """The smallest packed format that holds images of two or more `formats` without loss, or None."""
    colour = alpha = deep = False
    for name in formats:
        fmt = av.VideoFormat(name, 16, 16)
        if not fmt.has_palette and not fmt.is_rgb and len(fmt.components) >= 3:
            return None  # YUV: converting it is lossy
        colour = colour or fmt.is_rgb or fmt.has_palette
        alpha = alpha or fmt.has_palette or has_alpha(name)
        deep = deep or bit_depth(name) > 8
    return packed_format(colour, alpha, deep)


def _convert_to(frame: av.VideoFrame, name: str) -> av.VideoFrame:
    image, alpha = frame_to_image(frame)
    if bit_depth(name) > 8 and image.dtype == np.uint8:
        # swscale shifts by eight bits, which would turn white into grey.
        image = image.astype(np.uint16) * np.uint16(257)
        alpha = None if alpha is None else alpha.astype(np.uint16) * np.uint16(257)
    return pack_frame(image, alpha, name)


def _read_header(path: Path) -> _Header:
    """The size and format of the frame that `read_image` will return, if possible without decoding the image."""
    data, codec = _load(path)
    orientation = UPRIGHT if codec == "tiff" else _orientation(data, codec)
    if codec == "webp" and (header := webp.read_header(data)):
        size = header[:2] if not is_sideways(orientation) else header[1::-1]
        return _Header(*size, header.format)
    if codec == "tiff":
        tiff = TIFF(data, path)
        orientation = tiff.orientation
        if tiff.is_for_opencv:
            return _Header(*tiff.size, tiff.format)
    if codec == "png" and (end := data.find(b"IDAT")) > 0:
        # What precedes the image data, then empty image data and the end (each chunk: length, type, checksum).
        empty = (bytes(4) + kind + struct.pack(">I", zlib.crc32(kind)) for kind in (b"IDAT", b"IEND"))
        data = data[: end - 4] + b"".join(empty)
    context = image_codec(codec, "r")
    context.skip_frame = "ALL"
    try:
        context.decode(av.Packet(data))
    except av.error.FFmpegError:
        raise _damaged(path, codec) from None
    name = context.pix_fmt
    if not name or not context.width:
        raise _damaged(path, codec)
    if _is_opaque(name, data, codec):
        name = "rgb24"
    if _is_float(name):
        name = packed_format("gray" not in name, has_alpha(name), deep=True)
    width, height, aspect = context.width, context.height, context.sample_aspect_ratio
    if not aspect or abs(aspect - 1) < _SQUARE:
        aspect = None
    if orientation != UPRIGHT:
        name = supported_format(name)
    if is_sideways(orientation):
        width, height, aspect = height, width, 1 / aspect if aspect else None
    return _Header(width, height, upright_format(name, orientation), aspect)


# -- decoding


def _load(path: str | Path) -> tuple[bytes, str]:
    """The content of a file, and FFmpeg's name of its codec."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: check the path.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error_text(error)}.") from None
    if not data:
        raise InputError(f"{path} is empty (0 bytes): it holds no image.")
    codec = _codec_of(data, path)
    if codec == "webp":
        still = webp.still_image(data)
        if still is None:
            raise InputError(f"{path} is an animated WebP, which cannot be read: convert it to a video first.")
        data = still
    return data, codec


def _codec_of(data: bytes, path: str | Path) -> str:
    """FFmpeg's name of the codec, from the first bytes of the file."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "mjpeg"
    if data[:4] in SIGNATURES:
        return "tiff"
    if webp.is_webp(data):
        return "webp"
    if data.startswith(b"BM"):
        return "bmp"
    if data.startswith(b"\x76\x2f\x31\x01"):
        return "exr"
    raise InputError(f"{path} is not an image that can be read: expected {join_suffixes(READABLE)}.")


def _decode(data: bytes, codec: str, path: str | Path) -> av.VideoFrame:
    context = image_codec(codec, "r")
    if codec in ("png", "mjpeg"):  # other decoders would reject valid but unusual files
        context.options = {"err_detect": "explode+crccheck+bitstream+buffer"}
    try:
        frames = context.decode(av.Packet(data)) or context.decode(None)
    except av.error.FFmpegError:
        raise _damaged(path, codec) from None
    if not frames or frames[0].is_corrupt:
        raise _damaged(path, codec)
    return frames[0]


def _damaged(path: str | Path, codec: str) -> InputError:
    if codec in ("png", "mjpeg"):
        return InputError(f"{path} is damaged or cut off: replace it.")
    # FFmpeg does not decode every kind of these.
    return InputError(f"{path} is damaged, or {codec.upper()} of an unsupported kind: replace it, or save it as PNG.")


def _is_opaque(name: str, data: bytes, codec: str) -> bool:
    """Whether a format with alpha, or with a palette, holds an image that has no transparency by its header."""
    if name == "argb" and codec == "webp":
        header = webp.read_header(data)
        return header is not None and header.format == webp.OPAQUE
    # Of the formats with palettes PNG alone has transparency, in a chunk before the image.
    return name == "pal8" and not (codec == "png" and b"tRNS" in data[: data.find(b"IDAT")])


def _is_float(name: str) -> bool:
    return "f32" in name or "f16" in name


def _float_to_16_bit(frame: av.VideoFrame) -> av.VideoFrame:
    name = frame.format.name
    grey, has_opacity = "gray" in name, has_alpha(name)
    if grey:
        values: NDArray[Any] = frame.reformat(format="grayf32le").to_ndarray()[..., None]
    else:
        values = frame.reformat(format="gbrapf32le" if has_opacity else "gbrpf32le").to_ndarray()
    values = np.clip(np.nan_to_num(values), 0.0, 1.0)
    colour, alpha = values[..., : 1 if grey else 3], values[..., 3:]
    if int(frame.color_trc) == _LINEAR:
        colour = transfer_of(_SRGB).from_light(colour)
    samples = np.rint(np.concatenate([colour, alpha], axis=2) * 65535).astype(np.uint16)
    image = np.repeat(samples, 3, axis=2) if grey else samples[..., :3]
    return pack_frame(image, samples[..., 3] if has_opacity else None, packed_format(not grey, has_opacity, deep=True))


# -- orientation


def _orientation(data: bytes, codec: str) -> int:
    """The EXIF orientation of a JPEG, PNG or WebP, 1 to 8; 1 (upright) if none is stated."""
    # Not left to PyAV, which reports a mirrored image as one turned by 180 degrees.
    if codec == "mjpeg":
        start = data.find(b"Exif\0\0", 0, 4096)
        return 1 if start < 0 else exif_orientation(data[start + 6 : start + (1 << 16)])
    if codec == "webp":
        return exif_orientation(webp.exif(data))
    start = data.find(b"eXIf") if codec == "png" else -1
    return (
        1
        if start < 4
        else exif_orientation(data[start + 4 : start + 4 + int.from_bytes(data[start - 4 : start], "big")])
    )
