"""Metadata of single HEVC frames: HDR10+ (SMPTE ST 2094-40) and Dolby Vision (RPU), from one video into another.

    packets ── read_metadata ──► FrameMetadata ── frame.opaque ──► new packets ◄── write_metadata
                (`media.decoder`)                 (`frames`, `runtime`)          (`media.writer`)

The metadata of a source frame travels with the frame, as it is in the source. A new frame gets that of the frame before
it: tone curves change slowly within a shot, and new frames do not cross cuts. Nothing is interpreted but the place.

HEVC (ITU-T H.265, annex B) consists of NAL units, each with a type in the upper bits of its first byte. HDR10+ is a
message in a unit of supplemental information (SEI) before the picture; a Dolby Vision RPU is a unit after the picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_PREFIX_SEI, _RPU = 39, 62  # types of NAL units
_FIRST_NOT_PICTURE = 32  # the lowest type that is no part of a picture

_REGISTERED = 4  # the type of an SEI message whose content ITU-T T.35 registers
_HDR10_PLUS = b"\xb5\x00\x3c\x00\x01\x04"  # United States, Samsung, ST 2094-40, application 4

_START = b"\x00\x00\x01"


@dataclass(frozen=True)
class FrameMetadata:
    """The dynamic HDR metadata of one frame."""

    hdr10_plus: bytes | None = None  # the registered message, from its country code on
    rpu: bytes | None = None  # the NAL unit, with its header


def read_metadata(data: bytes, length_size: int = 0) -> FrameMetadata | None:
    """The metadata in a packet of HEVC, or None.

    Args:
        data: The packet.
        length_size: The number of bytes of each unit's length, as in mp4 and Matroska; 0 for start codes.
    """
    hdr10_plus = rpu = None
    for unit in _units(data, length_size):
        kind = unit[0] >> 1 & 63 if unit else 0
        if kind == _PREFIX_SEI:
            hdr10_plus = next((m for m in _messages(unit) if m.startswith(_HDR10_PLUS)), hdr10_plus)
        elif kind == _RPU:
            rpu = unit
    return None if hdr10_plus is None and rpu is None else FrameMetadata(hdr10_plus, rpu)


def write_metadata(data: bytes, metadata: FrameMetadata) -> bytes:
    """Add metadata to a packet of HEVC with start codes, as x265 writes it."""
    if metadata.hdr10_plus is not None:
        place = _first_picture(data)
        data = data[:place] + b"\0" + _START + _sei_unit(metadata.hdr10_plus) + data[place:]
    if metadata.rpu is not None:
        data += b"\0" + _START + metadata.rpu
    return data


def length_size_of(extradata: bytes | None) -> int:
    """The number of bytes of each unit's length, from a stream's configuration (hvcC); 0 for start codes."""
    return 0 if not extradata or len(extradata) < 23 or extradata[0] != 1 else (extradata[21] & 3) + 1


def _units(data: bytes, length_size: int) -> Iterator[bytes]:
    if length_size:
        position = 0
        while position + length_size < len(data):
            size = int.from_bytes(data[position : position + length_size], "big")
            position += length_size
            yield data[position : position + size]
            position += size
        return
    start = data.find(_START)
    while start >= 0:
        end = data.find(_START, start + 3)
        yield data[start + 3 : len(data) if end < 0 else end].rstrip(b"\0")
        start = end


def _messages(unit: bytes) -> Iterator[bytes]:
    """The registered messages of an SEI unit."""
    content = re.sub(rb"\x00\x00\x03(?=[\x00-\x03]|$)", b"\x00\x00", unit[2:])
    position = 0
    while position + 2 < len(content):
        values = []
        for _ in range(2):  # type and size: bytes of 255, then a last one, add up
            value = 0
            while position < len(content) and content[position] == 255:
                value, position = value + 255, position + 1
            if position >= len(content):
                return
            values.append(value + content[position])
            position += 1
        kind, size = values
        if kind == _REGISTERED:
            yield content[position : position + size]
        position += size


def _sei_unit(message: bytes) -> bytes:
    """An SEI unit of one registered message."""
    size = b"\xff" * (len(message) // 255) + bytes([len(message) % 255])
    content = bytes([_REGISTERED]) + size + message + b"\x80"
    # Three bytes that look like a start code, or nearly, are set apart.
    return bytes([_PREFIX_SEI << 1, 1]) + re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", content)


def _first_picture(data: bytes) -> int:
    """Where the first unit that is a part of the picture begins, with its start code."""
    start = data.find(_START)
    while start >= 0:
        if start + 3 < len(data) and data[start + 3] >> 1 & 63 < _FIRST_NOT_PICTURE:
            return start - 1 if start and data[start - 1] == 0 else start
        start = data.find(_START, start + 3)
    return len(data)
