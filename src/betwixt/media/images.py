"""Folders and patterns of images as a video, and single pictures as arrays.

    folder, pattern, glob ── list_images ──► paths ── ImageReader ──► av.VideoFrame, as the codec gives it
    av.VideoFrame ── ImageWriter ──► numbered files in a hidden folder ── commit ──► all of them in their place

Read: PNG, JPEG, TIFF, WebP, BMP, EXR. Written: PNG and TIFF (8 or 16 bit, as the source), JPEG, WebP, BMP (8 bit).
What an image file is follows from its content, not from its name.

Frames keep the pixel format that the codec gives, with three exceptions that a video needs: a photograph is turned
upright as its EXIF orientation says; floating-point samples become 16 bit ones (linear light with the sRGB transfer,
clipped to [0, 1], what is no number as 0); and where a sequence mixes grey, palette and RGB pictures of 8 and 16 bit,
as optimizers write them, all are brought, without loss, to the least format that holds them all.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import secrets
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from betwixt.errors import InputError, OutputError, UsageError
from betwixt.files import AtomicOutput, error_text, write_error
from betwixt.media.colour import FULL, RGBConverter, colour_of
from betwixt.media.frames import bit_depth, has_alpha, is_rgb, planes, to_supported_format

__all__ = [
    "READABLE",
    "WRITABLE",
    "Alpha",
    "ImageReader",
    "ImageWriter",
    "Picture",
    "from_picture",
    "images_place",
    "is_image_location",
    "list_images",
    "read_image",
    "to_8_bit",
    "to_picture",
]

Picture = NDArray[np.uint8] | NDArray[np.uint16]
"""A picture: (H, W, 3), RGB, uint8 (0 to 255) or uint16 (0 to 65535)."""

Alpha = NDArray[np.uint8] | NDArray[np.uint16]
"""How opaque a picture is: (H, W), of the picture's type; 0 is transparent."""

READABLE = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".exr")
"""Suffixes of images that are read."""

WRITABLE = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
"""Suffixes of images that are written."""

_NUMBER = re.compile(r"%(?:0(\d+))?d")
_BT601 = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)
_LINEAR, _PQ, _HLG = 8, 16, 18  # H.273 transfer characteristics


# -- where images are


def is_image_location(location: str | Path, *, output: bool = False) -> bool:
    """Whether `location` stands for images rather than for a video file.

    Args:
        location: For input: a folder, a pattern (``dir/frame_%05d.png``), a glob (``dir/*.png``) or one image file.
            For output: a folder (it exists, ends with a slash or has no suffix), a pattern or one image file.
        output: Whether it is to be written.
    """
    text = os.fspath(location)
    if "://" in text or text == "-":
        return False
    path = Path(text)
    if path.is_dir():
        return True
    if path.suffix.lower() in (WRITABLE if output else READABLE):
        return True
    if output:
        return text.endswith(("/", os.sep)) or not path.suffix
    return not path.exists() and has_magic(text) and any(_is_image(Path(p)) for p in glob(text))


def list_images(location: str | Path) -> list[Path]:
    """The images at `location`, in order.

    Args:
        location: A folder (its images in natural order, img2 before img10; hidden files and other files are left
            out), a pattern with one number (``dir/frame_%05d.png``; it may begin anywhere and has to be without a
            gap), a glob (``dir/*.png``, in natural order) or one image file.

    Raises:
        InputError: if there are none, one is missing or read_error, or sizes or formats do not fit together.
    """
    paths = _find(location)
    _survey(paths)
    return paths


def _find(location: str | Path) -> list[Path]:
    text = os.fspath(location)
    path = Path(text)
    if path.is_dir():
        try:
            found = [p for p in path.iterdir() if _is_image(p)]
        except OSError as error:
            raise InputError(f"The folder {text} cannot be read: {error_text(error)}.") from None
        if not found:
            raise InputError(f"The folder {text} holds no images: expected {_suffixes(READABLE)}.")
        return sorted(found, key=_natural)
    if path.exists():
        return [path]
    if _NUMBER.search(path.name):
        return _find_numbered(path)
    if has_magic(text):
        found = [p for p in map(Path, glob(text)) if _is_image(p)]
        if not found:
            raise InputError(f"No image matches {text}: check the path, and quote the pattern in the shell.")
        return sorted(found, key=_natural)
    raise InputError(f"{text} does not exist: check the path.")


def _find_numbered(pattern: Path) -> list[Path]:
    try:
        numbers = sorted(_numbered(pattern))
    except OSError as error:
        raise InputError(f"The folder {pattern.parent} cannot be read: {error_text(error)}.") from None
    if not numbers:
        raise InputError(f"No image matches {pattern}: check the folder and the number of digits.")
    for number, after in itertools.pairwise(numbers):
        if after != number + 1:
            everything = pattern.parent / f"*{pattern.suffix}"
            raise InputError(
                f"{_member(pattern, number + 1)} is missing: add it, or pass '{everything}' to go on without it."
            )
    return [_member(pattern, number) for number in numbers]


def _member(pattern: Path, number: int) -> Path:
    return pattern.with_name(_NUMBER.sub(lambda m: f"{number:0{int(m[1] or 1)}d}", pattern.name))


def _numbered(pattern: Path) -> Iterator[int]:
    """The numbers for which a file of the pattern exists."""
    found = _NUMBER.findall(pattern.name)
    if len(found) != 1:
        raise UsageError(f"{pattern} has more than one number: use one, such as frame_%05d.png.")
    before, after = (re.escape(part) for part in re.split(r"%\d*d", pattern.name))
    exact = re.compile(f"{before}(\\d+){after}")
    width = int(found[0] or 1)
    for name in os.listdir(pattern.parent):
        match = exact.fullmatch(name)
        if match and match[1] == f"{int(match[1]):0{width}d}":
            yield int(match[1])


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in READABLE and not path.name.startswith(".") and path.is_file()


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"(\d+)", path.name)
    key = [(int(p), "") if i % 2 else (-1, p.casefold()) for i, p in enumerate(parts)]
    return key, path.name


def _suffixes(suffixes: Sequence[str]) -> str:
    return ", ".join(sorted({s[1:] for s in suffixes if s not in (".jpeg", ".tiff")}))


# -- reading


def read_image(path: str | Path) -> av.VideoFrame:
    """One image as the frame that its codec gives, upright, without a time.

    Raises:
        InputError: naming the file, if it is missing, damaged or no image.
    """
    data = _load(path)
    codec = _codec_of(data, path)
    if codec == "mjpeg" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise _damaged(path)  # no end of image after the last scan: cut off, which the decoder would not tell
    frame = _decode(data, codec, path)
    if "f32" in frame.format.name or "f16" in frame.format.name:
        frame = _from_float(frame)
    if not is_rgb(frame.format.name) and len(frame.format.components) < 3:
        frame.color_range = FULL  # a grey image is full range whether or not it says so
    if codec == "mjpeg":
        frame = _upright(frame, _orientation(data))
    return frame


class ImageReader:
    """The frames of a sequence of images, read one at a time.

    Args:
        location: As for `list_images`.

    Attributes:
        paths: The files, in order.
        width: Width in pixels.
        height: Height in pixels.
        format: FFmpeg's name of the pixel format that all frames have.
        count: How many there are.

    Raises:
        InputError: as `list_images` does; and, while reading, for a damaged file.
    """

    def __init__(self, location: str | Path) -> None:
        self.paths = _find(location)
        first = _survey(self.paths)
        self.width, self.height, self.format = first.width, first.height, first.format
        self.count = len(self.paths)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[av.VideoFrame]:
        for path in self.paths:
            frame = read_image(path)
            if (frame.width, frame.height) != (self.width, self.height):
                raise InputError(_size_differs(path, frame, self.paths[0], self))
            yield frame if frame.format.name == self.format else _promote(frame, self.format)


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    format: str


def _survey(paths: Sequence[Path]) -> _Header:
    """The size and the format that all of `paths` share; only headers are decoded."""
    first = _header(paths[0])
    formats = {first.format: paths[0]}
    for path in paths[1:]:
        header = _header(path)
        if (header.width, header.height) != (first.width, first.height):
            raise InputError(_size_differs(path, header, paths[0], first))
        if header.format not in formats:
            formats[header.format] = path
            if _common(formats) is None:
                raise InputError(
                    f"{path} has the pixel format {header.format}, {paths[0]} has {first.format}: "
                    "bring all images to one format."
                )
    common = _common(formats)
    if common is None:
        raise AssertionError("formats were checked one by one")
    return _Header(first.width, first.height, common)


def _size_differs(path: Path, header: Any, first: Path, expected: Any) -> str:
    return (
        f"{path} is {header.width}x{header.height}, {first} is {expected.width}x{expected.height}: "
        "bring all images to one size."
    )


def _common(formats: Sequence[str] | dict[str, Path]) -> str | None:
    """The format that holds pictures of all `formats` without loss, or None."""
    names = list(formats)
    if len(names) == 1:
        return names[0]
    colour = alpha = deep = False
    for name in names:
        fmt = av.VideoFormat(name, 16, 16)
        if not fmt.has_palette and not fmt.is_rgb and len(fmt.components) >= 3:
            return None  # YUV: another format is a conversion with a loss
        colour = colour or fmt.is_rgb or fmt.has_palette
        alpha = alpha or fmt.has_palette or has_alpha(name)
        deep = deep or bit_depth(name) > 8
    return _packed_name(colour, alpha, deep)


def _packed_name(colour: bool, alpha: bool, deep: bool) -> str:
    if colour:
        return ("rgba64le" if alpha else "rgb48le") if deep else ("rgba" if alpha else "rgb24")
    return ("ya16le" if alpha else "gray16le") if deep else ("ya8" if alpha else "gray")


def _promote(frame: av.VideoFrame, name: str) -> av.VideoFrame:
    picture, alpha = to_picture(frame)
    if bit_depth(name) > 8 and picture.dtype == np.uint8:
        # swscale shifts by eight bits, which makes white grey
        picture = picture.astype(np.uint16) * np.uint16(257)
        alpha = None if alpha is None else alpha.astype(np.uint16) * np.uint16(257)
    return _pack(picture, alpha, name)


def _load(path: str | Path) -> bytes:
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: check the path.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error_text(error)}.") from None
    if not data:
        raise InputError(f"{path} is empty (0 bytes): it holds no picture.")
    return data


def _codec_of(data: bytes, path: str | Path) -> str:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "mjpeg"
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "tiff"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        if data[12:16] == b"VP8X" and data[20:21] and data[20] & 2:
            raise InputError(f"{path} is an animated WebP, which cannot be read: convert it to a video first.")
        return "webp"
    if data.startswith(b"BM"):
        return "bmp"
    if data.startswith(b"\x76\x2f\x31\x01"):
        return "exr"
    raise InputError(f"{path} is not an image that can be read: expected {_suffixes(READABLE)}.")


def _context(codec: str, mode: Any) -> VideoCodecContext:
    context = av.CodecContext.create(codec, mode)
    if not isinstance(context, VideoCodecContext):
        raise AssertionError(codec)
    context.thread_count = 1  # starting threads takes longer than an image does
    return context


def _decode(data: bytes, codec: str, path: str | Path) -> av.VideoFrame:
    context = _context(codec, "r")
    if codec in ("png", "mjpeg"):  # elsewhere it rejects files that are merely unusual
        context.options = {"err_detect": "explode+crccheck+bitstream+buffer"}
    try:
        frames = context.decode(av.Packet(data)) or context.decode(None)
    except av.error.FFmpegError:
        raise _damaged(path) from None
    if not frames or frames[0].is_corrupt:
        raise _damaged(path)
    return frames[0]


def _damaged(path: str | Path) -> InputError:
    return InputError(f"{path} is damaged or cut off: replace it.")


def _header(path: Path) -> _Header:
    """Size and format of an image as `read_image` will give it, without decoding the picture where possible."""
    data = _load(path)
    codec = _codec_of(data, path)
    orientation = _orientation(data) if codec == "mjpeg" else 1
    if codec == "webp" and (header := _webp_header(data)):
        return header
    if codec == "png":
        # all that stands before the picture, and then an empty one
        end = data.find(b"IDAT")
        if end > 0:
            data = data[: end - 4] + _png_chunk(b"IDAT") + _png_chunk(b"IEND")
    context = _context(codec, "r")
    context.skip_frame = "ALL"
    try:
        context.decode(av.Packet(data))
    except av.error.FFmpegError:
        raise _damaged(path) from None
    name = context.pix_fmt
    if not name or not context.width:
        raise _damaged(path)
    if "f32" in name or "f16" in name:
        name = _packed_name("gray" not in name, has_alpha(name), deep=True)
    turned = orientation >= 5
    size = (context.height, context.width) if turned else (context.width, context.height)
    return _Header(*size, _turned_name(name) if turned else name)


def _png_chunk(kind: bytes) -> bytes:
    return struct.pack(">I", 0) + kind + struct.pack(">I", zlib.crc32(kind))


def _webp_header(data: bytes) -> _Header | None:
    """As `_header`: the WebP decoder has no way to skip the picture."""
    alpha, position = False, 12
    while position + 18 <= len(data):
        kind, size = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        body = data[position + 8 : position + 18]
        if kind == b"ALPH":
            alpha = True
        elif kind == b"VP8L":
            bits = int.from_bytes(body[1:5], "little")
            return _Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, "argb")
        elif kind == b"VP8 ":
            width, height = struct.unpack_from("<HH", body, 6)
            return _Header(width & 0x3FFF, height & 0x3FFF, "yuva420p" if alpha else "yuv420p")
        position += 8 + size + (size & 1)
    return None


def _from_float(frame: av.VideoFrame) -> av.VideoFrame:
    name = frame.format.name
    grey, alpha = "gray" in name, has_alpha(name)
    linear = int(frame.color_trc) == _LINEAR
    if grey:
        values: NDArray[Any] = frame.reformat(format="grayf32le").to_ndarray()[..., None]
    else:
        values = frame.reformat(format="gbrapf32le" if alpha else "gbrpf32le").to_ndarray()
    values = np.clip(np.nan_to_num(values), 0.0, 1.0)
    colour, opacity = values[..., : 1 if grey else 3], values[..., 3:]
    if linear:
        colour = np.where(colour <= 0.0031308, 12.92 * colour, 1.055 * colour ** (1 / 2.4) - 0.055)
    samples = np.rint(np.concatenate([colour, opacity], axis=2) * 65535).astype(np.uint16)
    picture = np.repeat(samples, 3, axis=2) if grey else samples[..., :3]
    return _pack(picture, samples[..., 3] if alpha else None, _packed_name(not grey, alpha, deep=True))


# -- orientation


def _orientation(jpeg: bytes) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) if none is stated."""
    # read here because PyAV's rotation takes a mirrored picture for one turned by 180 degrees
    start = jpeg.find(b"Exif\0\0", 0, 4096) + 6
    if start < 6 or jpeg[start : start + 2] not in (b"II", b"MM"):
        return 1
    order = "<" if jpeg[start : start + 2] == b"II" else ">"
    try:
        entry = start + struct.unpack_from(order + "I", jpeg, start + 4)[0]
        count = struct.unpack_from(order + "H", jpeg, entry)[0]
        for position in range(entry + 2, entry + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(order + "HHIH", jpeg, position)
            if tag == 0x0112:
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _turned_name(name: str) -> str:
    """The format of a picture on its side: subsampling has to be the same in both directions."""
    return "yuvj444p" if name in ("yuvj422p", "yuvj440p", "yuvj411p") else name


def _upright(frame: av.VideoFrame, orientation: int) -> av.VideoFrame:
    if orientation == 1:
        return frame
    turned = orientation >= 5
    if turned and frame.format.name != _turned_name(frame.format.name):
        picture, _ = to_picture(frame)
        frame = _to_jpeg_planes(picture, "444")
    # EXIF: 2 mirrored, 3 by 180, 4 upside down, 5 transposed, 6 by 90 clockwise, 7 anti-transposed, 8 by 90 back
    size = (frame.height, frame.width) if turned else (frame.width, frame.height)
    result = av.VideoFrame(*size, frame.format.name)
    for target, source in zip(planes(result), planes(frame), strict=True):
        part = np.swapaxes(source, 0, 1) if turned else source
        if orientation in (3, 4, 7, 8):
            part = part[::-1]
        if orientation in (2, 3, 6, 7):
            part = part[:, ::-1]
        target[...] = part
    result.colorspace, result.color_range = frame.colorspace, frame.color_range
    return result


# -- pictures as arrays


def to_picture(frame: av.VideoFrame) -> tuple[Picture, Alpha | None]:
    """The picture of a frame in RGB, and its alpha.

    YUV is converted with the frame's own matrix and range (`colour.RGBConverter`).

    Args:
        frame: A frame of any integer pixel format.

    Returns:
        (H, W, 3) RGB, uint8 for samples of up to 8 bit, else uint16 over its whole range; and (H, W) alpha of the
        same type, or None if the format has none.

    Raises:
        InputError: for a pixel format that cannot be read (raw sensor data, floating point).
    """
    frame = to_supported_format(frame)
    name, parts = frame.format.name, planes(frame)
    depth = bit_depth(name)
    dtype: Any = np.uint8 if depth == 8 else np.uint16
    if name == "rgb24":
        return np.array(parts[0], np.uint8), None
    if name in ("gray", "gray16le", "gray16be") and int(frame.color_range) == FULL:
        grey: Any = parts[0].astype(dtype)
        return np.repeat(grey[..., None], 3, axis=2), None
    top = np.iinfo(dtype).max
    rgb = RGBConverter(name, frame.width, frame.height, colour_of(frame)).to_rgb(parts)
    picture = np.rint(rgb * np.float32(top)).astype(dtype)
    if not has_alpha(name):
        return picture, None
    # the fourth plane, or the place of the letter a: rgba, argb, ya8
    opacity = parts[3] if len(parts) == 4 else parts[0][..., name.index("a")]
    scale = np.float32(top / ((1 << depth) - 1))
    return picture, np.rint(opacity.astype(np.float32) * scale).astype(dtype)


def from_picture(picture: Picture, alpha: Alpha | None = None) -> av.VideoFrame:
    """A frame of a picture: rgb24, rgba, rgb48le or rgba64le.

    Args:
        picture: (H, W, 3), RGB, uint8 or uint16.
        alpha: (H, W), of the same type, or None.

    Raises:
        UsageError: for arrays of another shape or type.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype not in (np.uint8, np.uint16):
        raise UsageError(
            f"A picture of shape {picture.shape} and type {picture.dtype} cannot be written: "
            "give (height, width, 3), RGB, uint8 or uint16."
        )
    if alpha is not None and (alpha.shape != picture.shape[:2] or alpha.dtype != picture.dtype):
        raise UsageError("The alpha does not fit the picture: give (height, width) of the picture's type.")
    return _pack(picture, alpha, _packed_name(True, alpha is not None, picture.dtype == np.uint16))


def _pack(picture: Picture, alpha: Alpha | None, name: str) -> av.VideoFrame:
    """A frame of a packed format (grey formats take the red channel; alpha is left out where there is no room)."""
    frame = av.VideoFrame(picture.shape[1], picture.shape[0], name)
    target = planes(frame)[0]
    if target.ndim == 2:
        target[...] = picture[..., 0]
    else:
        letters = [c for c in name if c in "yrgba"][: target.shape[2]]
        for channel, letter in enumerate(letters):
            if letter == "a":
                target[..., channel] = np.iinfo(target.dtype).max if alpha is None else alpha
            else:
                target[..., channel] = picture[..., "rgb".index(letter) if letter != "y" else 0]
    frame.color_range = FULL
    return frame


# -- writing


@dataclass(frozen=True)
class _Encoder:
    codec: str
    # what it takes as it is, by (colour, alpha, deep)
    formats: dict[tuple[bool, bool, bool], str]
    options: dict[str, str]


def _table(names: str) -> dict[tuple[bool, bool, bool], str]:
    keys = [(c, a, d) for d in (False, True) for c in (False, True) for a in (False, True)]
    return dict(zip(keys, names.split(), strict=True))


_ENCODERS = {
    ".png": _Encoder("png", _table("gray ya8 rgb24 rgba gray16be ya16be rgb48be rgba64be"), {"compression_level": "3"}),
    ".tif": _Encoder(
        "tiff",
        _table("gray ya8 rgb24 rgba gray16le ya16le rgb48le rgba64le"),
        {"compression_algo": "deflate"},
    ),
    ".webp": _Encoder("libwebp", _table("bgra bgra bgra bgra bgra bgra bgra bgra"), {}),
    ".bmp": _Encoder("bmp", _table("bgr24 bgra bgr24 bgra bgr24 bgra bgr24 bgra"), {}),
    ".jpg": _Encoder("mjpeg", _table("rgb24 rgb24 rgb24 rgb24 rgb24 rgb24 rgb24 rgb24"), {}),
}
_ENCODERS |= {".jpeg": _ENCODERS[".jpg"], ".tiff": _ENCODERS[".tif"]}

ToPicture = Callable[[av.VideoFrame], tuple[Picture, Alpha | None]]
"""How a frame becomes RGB; see `to_picture`."""


def images_place(location: str | Path) -> tuple[Path, bool]:
    """The folder that images written to `location` make or fill, and whether it is a single image.

    Args:
        location: As for `ImageWriter`.
    """
    path = Path(os.fspath(location))
    if path.is_dir() or os.fspath(location).endswith(("/", os.sep)) or not path.suffix:
        return path, False
    return path.parent, not _NUMBER.search(path.name)


class ImageWriter(AtomicOutput):
    """Writes frames as numbered images, all of them or none.

    Files are written into a hidden folder beside their place; `commit` moves them into it, `abort` removes them. As a
    context manager it commits when the block ends and aborts when it raises.

    Samples of more than 8 bit are written as 16 bit where the format can, grey stays grey, alpha stays where the
    format has it (JPEG does not). Frames that are already in a format of the codec are written without a conversion.

    Args:
        location: A folder (it exists, ends with a slash or has no suffix), which gets ``frame_000001.png`` and so on;
            a pattern (``dir/frame_%05d.png``), numbered from 1; or a file name for a single picture.
        suffix: What to write into a folder, one of `WRITABLE`; a pattern and a file name bring their own.
        quality: 1 to 100 for JPEG (default 97) and WebP (default: without loss).
        overwrite: Whether a folder that is not empty, or files that exist, are accepted: images of that sequence are
            then replaced on commit (left-over numbers too), other files stay.
        to_picture: How frames become RGB.
        unfinished: The folder that a writer of the same images has left unfinished, to go on in, and how many of the
            images in it are whole.
        keeps: Whether what is finished stays for another writer where `commit` fails.

    Attributes:
        count: How many frames have been written, those of an unfinished folder included.
        temporary: The folder in which they are until `commit`.

    Raises:
        UsageError: for a suffix or a quality that cannot be.
        OutputError: if the place is taken, missing, not writable or full; also from `write` and `commit`.
    """

    def __init__(
        self,
        location: str | Path,
        *,
        suffix: str = ".png",
        quality: int | None = None,
        overwrite: bool = False,
        to_picture: ToPicture = to_picture,
        unfinished: tuple[Path, int] | None = None,
        keeps: bool = False,
    ) -> None:
        path = Path(os.fspath(location))
        self.count = 0
        self._location = path
        self._to_picture = to_picture
        self._pending = False
        self._keeps = keeps
        # which existing files belong to this sequence
        self._folder, self._single = images_place(location)
        if self._folder == path:
            self._name = f"frame_%06d{suffix}"
            sequence = rf"frame_\d{{6,}}({'|'.join(map(re.escape, READABLE))})"
        else:
            self._name = path.name
            suffix = path.suffix
            if len(_NUMBER.findall(path.name)) > 1:
                raise UsageError(f"{path} has more than one number: use one, such as frame_%05d.png.")
            pieces = [re.escape(p) for p in re.split(r"%\d*d", path.name)]
            sequence = r"\d+".join(pieces)
        self._sequence = re.compile(sequence)
        self._suffix = suffix.lower()
        self._options = _options(self._suffix, quality)
        self._prepare(overwrite, unfinished)

    def _prepare(self, overwrite: bool, unfinished: tuple[Path, int] | None) -> None:
        folder = self._folder
        try:
            exists = folder.is_dir()
            if not exists and folder.exists():
                raise OutputError(f"{folder} is a file, not a folder: choose another name.")
            if exists and not overwrite:
                if self._location == folder and any(p.name[:9] != ".betwixt." for p in folder.iterdir()):
                    raise OutputError(f"The folder {folder} is not empty: choose another, or pass --overwrite.")
                if (taken := next(self._taken(), None)) is not None:
                    raise OutputError(f"{taken} exists: choose another name, or pass --overwrite.")
            if not exists and not folder.parent.is_dir():
                raise OutputError(f"The folder {folder.parent} does not exist: create it first.")
            # beside its place, so that moving it there is one step; within a folder that exists, as that may be
            # another file system than the one above it
            parent = folder if exists else folder.parent
            if unfinished is not None:
                self.temporary, whole = unfinished
                while self.count < whole and self.member(self.count + 1).is_file():
                    self.count += 1
            else:
                self.temporary = parent / f".{folder.name if not exists else 'betwixt'}.{secrets.token_hex(4)}.part"
                self.temporary.mkdir()
            self._new_folder = not exists
            self._pending = True
        except OSError as error:
            raise write_error(error, self._location) from None

    def _taken(self) -> Iterator[Path]:
        return (p for p in sorted(self._folder.iterdir()) if self._sequence.fullmatch(p.name))

    def write(self, frame: av.VideoFrame) -> None:
        """Write the next image."""
        if self._single and self.count:
            raise UsageError(
                f"{self._location} holds one picture: give a folder, or a pattern such as "
                f"{self._location.stem}_%05d{self._location.suffix}, for more."
            )
        data = self._encode(frame)
        try:
            self.member(self.count + 1).write_bytes(data)
        except OSError as error:
            raise write_error(error, self._location) from None
        self.count += 1

    def commit(self) -> None:
        """Move the finished images into their place."""
        if not self._pending:
            return
        try:
            if self._new_folder and not self._folder.exists():
                os.rename(self.temporary, self._folder)
            else:
                self._merge()
        except OSError as error:
            if not self._keeps:
                self.abort()
            raise write_error(error, self._location) from None
        self._pending = False

    def _merge(self) -> None:
        written = set(os.listdir(self.temporary))
        old = {p.name for p in self._taken()} - written
        moved: list[str] = []
        try:
            for name in sorted(written):
                os.replace(self.temporary / name, self._folder / name)
                moved.append(name)
        except OSError:
            # All of them stay together.
            with contextlib.suppress(OSError):
                for name in moved:
                    os.replace(self._folder / name, self.temporary / name)
            raise
        for name in old:
            (self._folder / name).unlink()
        self.temporary.rmdir()

    def abort(self) -> None:
        """Remove what has been written; what was there before stays as it is."""
        if self._pending:
            shutil.rmtree(self.temporary, ignore_errors=True)
            self._pending = False

    def keep(self) -> None:
        """Stop, and leave what has been written for another writer to go on with."""
        self._pending = False

    def member(self, number: int) -> Path:
        """Where image `number` is until `commit`, from 1 on."""
        return _member(self.temporary / self._name, number)

    # -- encoding

    def _encode(self, frame: av.VideoFrame) -> bytes:
        encoder = _ENCODERS[self._suffix]
        picture = self._jpeg_frame(frame) if encoder.codec == "mjpeg" else self._packed_frame(frame, encoder)
        context = _context(encoder.codec, "w")
        context.width, context.height = picture.width, picture.height
        context.pix_fmt = picture.format.name
        context.time_base = Fraction(1, 25)
        context.options = encoder.options | self._options
        picture.pts = 0
        try:
            packets = context.encode(picture) + context.encode(None)
        except av.error.FFmpegError as error:
            size = f"{picture.width}x{picture.height}"
            raise OutputError(
                f"A picture of {size} cannot be written as {self._suffix[1:].upper()} ({error_text(error)}): use PNG."
            ) from None
        return b"".join(bytes(packet) for packet in packets)

    def _packed_frame(self, frame: av.VideoFrame, encoder: _Encoder) -> av.VideoFrame:
        name = frame.format.name
        full = is_rgb(name) or int(frame.color_range) == FULL
        if full and name in encoder.formats.values():
            return _copy(frame)
        picture, alpha = self._to_picture(frame)
        fmt = frame.format
        colour = fmt.has_palette or fmt.is_rgb or len(fmt.components) >= 3
        target = encoder.formats[colour, alpha is not None, picture.dtype == np.uint16]
        if bit_depth(target) == 8 and picture.dtype == np.uint16:
            picture = to_8_bit(picture)
            alpha = None if alpha is None else to_8_bit(alpha)
        result = _pack(picture, alpha, target)
        if int(frame.color_trc) in (_PQ, _HLG):  # else a viewer takes it for sRGB, which ordinary video is close to
            result.color_trc, result.color_primaries = frame.color_trc, frame.color_primaries
        return result

    def _jpeg_frame(self, frame: av.VideoFrame) -> av.VideoFrame:
        name = frame.format.name
        if name in ("yuvj420p", "yuvj422p", "yuvj444p") and int(frame.colorspace) in (2, 5, 6):
            return _copy(frame)
        picture, _ = self._to_picture(frame)
        if picture.dtype == np.uint16:
            picture = to_8_bit(picture)
        like = next((s for s in ("420", "422") if s in name), "420" if "gray" in name else "444")
        return _to_jpeg_planes(picture, like)


def _to_jpeg_planes(picture: Picture, subsampling: str) -> av.VideoFrame:
    """An 8-bit picture as JPEG has it: BT.601, full range, chroma in the middle of its block."""
    # swscale would round chroma down and place it at the left of its block, as MPEG does
    height, width = picture.shape[:2]
    result = av.VideoFrame(width, height, f"yuvj{subsampling}p")
    result.colorspace, result.color_range = 5, FULL
    luma, cb, cr = cv2.split(cv2.transform(picture.astype(np.float32), _BT601))
    rows, columns = {"444": (1, 1), "422": (1, 2), "420": (2, 2)}[subsampling]
    targets = planes(result)
    targets[0][...] = np.rint(luma)
    for target, chroma in zip(targets[1:], (cb, cr), strict=True):
        even = np.pad(chroma, [(0, height % rows), (0, width % columns)], mode="edge")
        blocks = even.reshape(even.shape[0] // rows, rows, even.shape[1] // columns, columns)
        target[...] = np.rint(np.minimum(blocks.mean(axis=(1, 3)) + 128, 255))
    return result


def _copy(frame: av.VideoFrame) -> av.VideoFrame:
    """`frame` without what an encoder would take into the file: times, picture type, colour tags."""
    result = av.VideoFrame(frame.width, frame.height, frame.format.name)
    for target, source in zip(planes(result), planes(frame), strict=True):
        target[...] = source
    result.color_range = FULL
    return result


def to_8_bit(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """Samples of 16 bit as 8 bit, rounded."""
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _options(suffix: str, quality: int | None) -> dict[str, str]:
    encoder = _ENCODERS.get(suffix)
    if encoder is None:
        raise UsageError(f"Images cannot be written as '{suffix}': use {_suffixes(WRITABLE)}.")
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"The quality {quality} lies outside 1 to 100: 100 is best.")
    if encoder.codec == "mjpeg":
        # libjpeg's scale of its matrices; FFmpeg's are alike at a quantizer of 8
        percent = 6 if quality is None else 5000 / quality if quality < 50 else 200 - 2 * quality
        quantizer = str(min(31, max(1, round(percent * 8 / 100))))
        return {"qmin": quantizer, "qmax": quantizer}
    if encoder.codec == "libwebp":
        if quality is None:
            return {"lossless": "1", "compression_level": "1"}
        return {"lossless": "0", "quality": str(quality)}
    if quality is not None:
        raise UsageError(f"{suffix[1:].upper()} is without loss and has no quality: use JPEG or WebP, or leave it.")
    return {}
