"""The chunks of WebP images: the header, which FFmpeg's decoder cannot read alone, and animations of one frame.

RIFF WEBP { VP8X, ANIM, ANMF { place, [ALPH], VP8 or VP8L } }   an animation
RIFF WEBP { VP8X, [ALPH], VP8 or VP8L }                         a still image
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

OPAQUE = "rgb24"
"""The pixel format of a lossless image without alpha. The decoder returns it with alpha that is not used."""

_ANIMATED = 2  # a flag of VP8X
_FRAME_HEAD = 16  # bytes of an ANMF chunk before its image


class WebPHeader(NamedTuple):
    """Size and pixel format of a WebP image."""

    width: int
    height: int
    format: str


def is_webp(data: bytes) -> bool:
    """Whether a file begins as a WebP image."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def still_image(data: bytes) -> bytes | None:
    """The file as a still image: itself, or the only frame of an animation that fills the canvas; None otherwise."""
    chunks = list(_chunks(data, 12))
    if not (chunks and chunks[0][0] == b"VP8X" and chunks[0][1][:1] and chunks[0][1][0] & _ANIMATED):
        return data
    extended = chunks[0][1]
    frames = [body for kind, body in chunks if kind == b"ANMF"]
    # A frame: its place and its size (each less one), in 3 bytes each; the canvas's size is in VP8X.
    if len(frames) != 1 or frames[0][:6] != bytes(6) or frames[0][6:12] != extended[4:10]:
        return None
    image = frames[0][_FRAME_HEAD:]
    has_alpha = any(kind in (b"ALPH", b"VP8L") for kind, _ in _chunks(image, 0))
    flags = bytes([0x10 if has_alpha else 0])
    content = b"WEBP" + b"VP8X" + struct.pack("<I", 10) + flags + bytes(3) + extended[4:10] + image
    return b"RIFF" + struct.pack("<I", len(content)) + content


def exif(data: bytes) -> bytes:
    """The EXIF data of an image; empty if it has none."""
    found = next((body for kind, body in _chunks(data, 12) if kind == b"EXIF"), b"")
    return found.removeprefix(b"Exif\0\0")


def read_header(data: bytes) -> WebPHeader | None:
    """The header of a still image; None if it is not found."""
    alpha = False
    for kind, body in _chunks(data, 12):
        if kind == b"ALPH":
            alpha = True
        elif kind == b"VP8L" and len(body) >= 5:
            bits = int.from_bytes(body[1:5], "little")  # width, height (each less one), and whether alpha is used
            name = "argb" if bits >> 28 & 1 else OPAQUE
            return WebPHeader((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, name)
        elif kind == b"VP8 " and len(body) >= 10:
            width, height = struct.unpack_from("<HH", body, 6)
            return WebPHeader(width & 0x3FFF, height & 0x3FFF, "yuva420p" if alpha else "yuv420p")
    return None


def _chunks(data: bytes, position: int) -> Iterator[tuple[bytes, bytes]]:
    while position + 8 <= len(data):
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        yield data[position : position + 4], data[position + 8 : position + 8 + size]
        position += 8 + size + (size & 1)
