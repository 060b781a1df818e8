"""TIFF images that FFmpeg does not decode correctly: JPEG compression, floating point, CMYK, YCbCr, tiles, BigTIFF.

`TIFF` reads the tags that say which kind an image is. Those kinds are decoded by OpenCV, which turns them upright and
converts them to RGB. What neither can decode is refused by name.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from betwixt.errors import InputError
from betwixt.media.images.convert import Image, pack_frame, packed_format

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""The first bytes of TIFF and BigTIFF."""

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION = 256, 257, 258, 259, 262, 274
_SAMPLES, _TILE_WIDTH, _SAMPLE_FORMAT = 277, 322, 339

_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}  # of the tags' values

# Photometric interpretations.
_GREYS, _RGB, _PALETTE = (0, 1), 2, 3
_LAB = (8, 9, 10)

_COMPRESSIONS_BY_FFMPEG = (1, 2, 3, 4, 5, 8, 32773, 32946)  # none, fax, LZW, deflate, PackBits
_UNREADABLE = {
    33003: "JPEG 2000",
    34712: "JPEG 2000",
    34887: "LERC",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
}
_UNSIGNED, _FLOAT = 1, 3  # sample formats


class TIFF:
    """The first image of a TIFF file.

    Args:
        data: The content of the file.
        path: The file.

    Attributes:
        is_for_opencv: Whether OpenCV decodes it rather than FFmpeg.
        orientation: The EXIF orientation, 1 to 8.
    """

    def __init__(self, data: bytes, path: str | Path) -> None:
        self._data, self._path = data, path
        try:
            self._tags = _read_tags(data)
        except (struct.error, KeyError):
            raise self._damaged() from None
        self._compression, self._photometric = self._tag(_COMPRESSION, 1), self._tag(_PHOTOMETRIC, 1)
        self._kinds, self._bits = set(self._tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))), self._tag(_BITS, 1)
        self.orientation = _orientation(self._tags)
        self.is_for_opencv = (
            data[2:4] in (b"+\0", b"\0+")
            or self._compression not in _COMPRESSIONS_BY_FFMPEG
            or self._photometric not in (*_GREYS, _RGB, _PALETTE)
            or self._kinds != {_UNSIGNED}
            or self._bits > 16
            or _TILE_WIDTH in self._tags
            or (self.orientation != 1 and (self._bits < 8 or self._photometric == _PALETTE))
        )
        if self._photometric in _LAB:
            raise InputError(f"{path} is a TIFF in L*a*b* colours, which cannot be read: save it as RGB first.")
        if self._kinds == {_FLOAT} and self._bits < 32:
            raise InputError(f"{path} has {self._bits}-bit floating-point samples: save it with 16-bit integers first.")
        if name := _UNREADABLE.get(self._compression):
            raise InputError(f"{path} is a TIFF with {name} compression, which cannot be read: save it with LZW first.")

    def _tag(self, number: int, default: int) -> int:
        return self._tags.get(number, (default,))[0]

    @property
    def size(self) -> tuple[int, int]:
        """The width and height in pixels, once it is upright."""
        width, height = self._tag(_WIDTH, 0), self._tag(_HEIGHT, 0)
        return (height, width) if self.orientation >= 5 else (width, height)

    @property
    def format(self) -> str:
        """The pixel format of the frame that `decode` returns."""
        colour = self._photometric not in _GREYS
        alpha = self._photometric == _RGB and self._tag(_SAMPLES, 1) > 3
        return packed_format(colour, alpha, self._bits > 8)

    def decode(self) -> av.VideoFrame:
        """Decode it by OpenCV, upright, as RGB or grey."""
        pixels: Any = self._to_integers(np.atleast_3d(self._read()))
        if pixels.shape[2] < 3:
            pixels = np.repeat(pixels[..., :1], 3, axis=2)
        else:
            pixels = pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]]
        alpha = pixels[..., 3] if pixels.shape[2] == 4 and self.format in ("rgba", "rgba64le") else None
        image: Image = np.ascontiguousarray(pixels[..., :3])
        colour = self._photometric not in _GREYS
        return pack_frame(image, alpha, packed_format(colour, alpha is not None, image.dtype == np.uint16))

    def _read(self) -> Any:
        # From memory OpenCV cannot read tiles, from a file it cannot turn an image on its side.
        ways: list[Callable[[], Any]] = [
            lambda: cv2.imdecode(np.frombuffer(self._data, np.uint8), cv2.IMREAD_UNCHANGED),
            lambda: cv2.imread(str(self._path), cv2.IMREAD_UNCHANGED),
        ]
        with _quiet_opencv():
            for read in ways:
                with contextlib.suppress(cv2.error):
                    if (pixels := read()) is not None:
                        return pixels
        raise InputError(
            f"{self._path} cannot be read: it is damaged, or a TIFF of an unsupported kind; save it as PNG first."
        )

    def _to_integers(self, pixels: Any) -> Any:
        if pixels.dtype in (np.uint8, np.uint16):
            return pixels
        if pixels.dtype.kind != "f":
            raise InputError(f"{self._path} has samples of the type {pixels.dtype}: save it with 8 or 16 bits first.")
        values = np.nan_to_num(pixels)
        if np.median(values) > 1:
            raise InputError(
                f"{self._path} has floating-point samples up to {float(values.max()):g}, and white is expected at 1: "
                "divide them, or save it with 16 bits."
            )
        return np.rint(np.clip(values, 0, 1) * 65535).astype(np.uint16)

    def _damaged(self) -> InputError:
        return InputError(f"{self._path} is damaged or cut off: replace it.")


def exif_orientation(exif: bytes) -> int:
    """The orientation in EXIF data, 1 to 8, which is written as a TIFF; 1 (upright) if none is stated."""
    try:
        return _orientation(_read_tags(exif)) if exif[:4] in SIGNATURES else 1
    except (struct.error, KeyError):
        return 1


def _orientation(tags: dict[int, tuple[int, ...]]) -> int:
    value = tags.get(_ORIENTATION, (1,))[0]
    return value if 1 <= value <= 8 else 1


def _read_tags(data: bytes) -> dict[int, tuple[int, ...]]:
    """The integer tags of the first image."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    offset_type, count_type, entry_size = ("Q", "Q", 20) if big else ("I", "H", 12)
    position = struct.unpack_from(order + offset_type, data, 8 if big else 4)[0]
    count = struct.unpack_from(order + count_type, data, position)[0]
    start = position + struct.calcsize(count_type)
    tags = {}
    for entry in range(start, start + entry_size * min(count, 1000), entry_size):
        number, type_, length = struct.unpack_from(order + "HH" + offset_type, data, entry)
        if type_ not in _TYPES or not 0 < length <= 16:
            continue
        format_ = order + str(length) + _TYPES[type_]
        place = entry + entry_size - struct.calcsize(offset_type)
        if struct.calcsize(format_) > struct.calcsize(offset_type):
            place = struct.unpack_from(order + offset_type, data, place)[0]
        tags[number] = struct.unpack_from(format_, data, place)
    return tags


class _quiet_opencv:
    """Keeps OpenCV from printing what an exception says."""

    def __enter__(self) -> None:
        self._level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

    def __exit__(self, *_: object) -> None:
        cv2.utils.logging.setLogLevel(self._level)
