"""The display size in the header of a Matroska or WebM file, which PyAV gives no way to set.

    Tracks { TrackEntry { .. Name "title" + padding, .. Video { PixelWidth, PixelHeight, .. } } }    as FFmpeg writes it
    Tracks { TrackEntry { .. Name "title", .. Video { .., DisplayWidth, DisplayHeight }, Void } }    afterwards

VP9 and AV1 have no field for the shape of a pixel, so it has to be in the container. Nothing in the file may move, as
its index holds positions: `pad_title` makes room in the track's name beforehand, and `write_display_size` uses it.
Elements are those of RFC 9559: an ID, the length of the content, the content.
"""

from __future__ import annotations

import zlib
from fractions import Fraction
from typing import IO, NamedTuple

_PADDING = "\x20" * 24

_SEGMENT, _TRACKS, _TRACK_ENTRY = 0x18538067, 0x1654AE6B, 0xAE
_TRACK_TYPE, _NAME, _VIDEO, _VOID, _CRC = 0x83, 0x536E, 0xE0, 0xEC, 0xBF
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2


def pad_title(title: str) -> str:
    """The title to give to a track's metadata, so that there is room for the display size."""
    return title + _PADDING


def display_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """The size in pixels at which samples of the given aspect ratio are square, of exactly that shape if it can be."""
    shape = aspect * width / height
    if shape.denominator > 2 * height:
        return round(width * aspect), height
    scale = -(-height // shape.denominator)
    return shape.numerator * scale, shape.denominator * scale


def write_display_size(file: IO[bytes], width: int, height: int) -> bool:
    """Write the display size of the first video track of a complete file.

    Args:
        file: The file, open for reading and writing, whose video track has a title made by `pad_title`.
        width: The display width in pixels.
        height: The display height in pixels.

    Returns:
        Whether it was written; the file is unchanged otherwise.
    """
    found = _find_tracks(file)
    if found is None:
        return False
    position, tracks = found
    elements = list(_children(tracks))
    for number, element in enumerate(elements):
        if element.id == _TRACK_ENTRY and any(e.id == _TRACK_TYPE and e.content == b"\1" for e in _children(element)):
            changed = _with_display_size(element, width, height)
            if changed is None:
                return False
            elements[number] = changed
            break
    rest = b"".join(element.encoded for element in elements if element.id != _CRC)
    if elements[0].id == _CRC:
        rest = _element(_CRC, zlib.crc32(rest).to_bytes(4, "little")).encoded + rest
    if len(rest) != len(tracks.content):
        return False
    file.seek(position)
    file.write(rest)
    file.flush()
    return True


class _Element(NamedTuple):
    id: int
    content: bytes
    encoded: bytes


def _with_display_size(entry: _Element, width: int, height: int) -> _Element | None:
    """A track entry with a display size in place of the padding of its name; None if there is no room."""
    parts = []
    for part in _children(entry):
        if part.id == _NAME:
            title = part.content.decode(errors="replace")
            if title.endswith(_PADDING) and (title := title[: -len(_PADDING)]):
                parts.append(_element(_NAME, title.encode()))
        elif part.id == _VIDEO:
            kept = [e.encoded for e in _children(part) if e.id not in (_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT)]
            size = [_element(_DISPLAY_WIDTH, _uint(width)).encoded, _element(_DISPLAY_HEIGHT, _uint(height)).encoded]
            parts.append(_element(_VIDEO, b"".join(kept + size)))
        else:
            parts.append(part)
    room = len(entry.content) - sum(len(part.encoded) for part in parts)
    if not 2 <= room <= 128:
        return None
    parts.append(_element(_VOID, bytes(room - 2)))
    content = b"".join(part.encoded for part in parts)
    head = entry.encoded[: len(entry.encoded) - len(entry.content)]
    return _Element(entry.id, content, head + content)


def _find_tracks(file: IO[bytes]) -> tuple[int, _Element] | None:
    """The Tracks element and the position of its content in the file."""
    end = file.seek(0, 2)
    position = 0
    while position < end:
        file.seek(position)
        head = file.read(12)
        id_length = _vint_length(head[0]) if head else 0
        if not id_length or len(head) <= id_length or not (size_length := _vint_length(head[id_length])):
            return None
        id_ = int.from_bytes(head[:id_length], "big")
        size = int.from_bytes(head[id_length : id_length + size_length], "big") & ((1 << 7 * size_length) - 1)
        start = position + id_length + size_length
        if id_ == _TRACKS:
            file.seek(start)
            content = file.read(size)
            return start, _Element(id_, content, head[: id_length + size_length] + content)
        position = start if id_ == _SEGMENT else start + size
    return None


def _children(element: _Element) -> list[_Element]:
    """The elements that a master element holds."""
    data, position, result = element.content, 0, []
    while position < len(data):
        start = position
        id_length = _vint_length(data[position])
        id_ = int.from_bytes(data[position : position + id_length], "big")
        position += id_length
        size_length = _vint_length(data[position])
        size = int.from_bytes(data[position : position + size_length], "big") & ((1 << 7 * size_length) - 1)
        position += size_length
        result.append(_Element(id_, data[position : position + size], data[start : position + size]))
        position += size
    return result


def _element(id_: int, content: bytes) -> _Element:
    length = 1 if len(content) < 127 else 2
    size = (len(content) | 1 << 7 * length).to_bytes(length, "big")
    return _Element(id_, content, _uint(id_) + size + content)


def _uint(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8 or 1, "big")


def _vint_length(first: int) -> int:
    """The number of bytes of an ID or a length that begins with this byte; 0 if it is none."""
    return 9 - first.bit_length() if first else 0
