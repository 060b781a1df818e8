"""The restore data of an encoded file: how to make the frames that a player does not show.

The file is a Matroska that any player plays. The restore data is an attachment in it, which players ignore.

    magic "BTWX" | version | length | CRC-32 | body | payloads
                              u32      u32
    body      length u32 | description (JSON, zlib) | mask, a bit a frame | CRC-32 of each packet of the base stream
              | for each coded B frame: length, CRC-32 of its payload, CRC-32 of the frame it gives   (bit-need only)
    payloads  one after the other                                                                     (bit-need only)

Integers are little-endian, u32. The body has one checksum, each payload its own: a flipped bit in a payload costs one
frame, and one anywhere else is found before any frame is made. Nothing in a file is trusted before its checksum is.

Times are exact: frame k stands `ticks[k]` ticks after frame 0, a tick being a fraction of a second. The steps between
frames are run-length coded, so a video of constant rate needs only a few bytes for them.
"""

from __future__ import annotations

import itertools
import json
import struct
import zlib
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np

from betwixt.errors import InputError
from betwixt.media.frames import planes

ATTACHMENT = "betwixt-restore.bin"
"""The name of the restore data among the attachments of a file."""

TAG = "BETWIXT"
"""The metadata tag that tells a person what the file is."""

FORMAT = 6
"""The version that this module writes, and the only one that it reads. It also changes when the prediction changes: the
weights of Betwixt's own models, or the motion that they start from."""

_TEXTS = ("mode", "model", "weights", "paths", "writer", "base")
_MAGIC = b"BTWX"
_HEAD = struct.Struct("<4sBII")
_CODED = struct.Struct("<III")
_MAX_FRAMES = 1 << 26
_MAX_DESCRIPTION = 1 << 26
_PARSE_ERRORS = (ValueError, KeyError, TypeError, OverflowError, ZeroDivisionError, struct.error, zlib.error)


@dataclass(frozen=True)
class CodedFrame:
    """A B frame that is coded by the network."""

    payload: bytes  # its bits
    checksum: int  # `frame_checksum` of the frame as the encoder reconstructed it


def frame_checksum(frame: av.VideoFrame) -> int:
    """CRC-32 of a frame's samples, plane by plane."""
    value = 0
    for plane in planes(frame):
        value = zlib.crc32(plane.tobytes(), value)
    return value


@dataclass(frozen=True)
class RestoreData:
    """How to restore a video."""

    mode: str  # "bit-free" or "bit-need"
    model: str
    weights: str  # the first twelve digits of the SHA-256 of its weights; "" if it has none
    paths: str  # "curved" if the model uses the sent frames around the two, "straight" if not
    writer: str  # the version of Betwixt that wrote it
    base: str  # the base codec's name
    rate: Fraction  # frames per second of the source: the constant rate, or the mean of a variable one
    variable: bool  # whether the source has a variable frame rate
    tick: Fraction  # the unit of times, in seconds
    ticks: tuple[int, ...]  # the time of each frame, in ticks after frame 0; strictly increasing
    last: int  # the duration of the last frame, in ticks
    shots: tuple[int, ...]  # the numbers of the frames that begin a shot; the first is 0
    start: Fraction  # the time of frame 0 in the file, in seconds
    sent: tuple[bool, ...]  # for each frame, whether the base encoder carries it
    packets: tuple[int, ...] = ()  # CRC-32 of each packet of the base stream, in the order of their frames
    coded: dict[int, CodedFrame] = field(default_factory=dict)  # the coded B frames by number (bit-need)
    codec_weights: str = ""  # as `weights`, for the network that codes B frames (bit-need)

    def time(self, frame: int) -> Fraction:
        """The time of a frame, in seconds after frame 0."""
        return self.ticks[frame] * self.tick

    @property
    def duration(self) -> Fraction:
        """The duration of the video, in seconds."""
        return (self.ticks[-1] + self.last) * self.tick

    @property
    def sent_frames(self) -> list[int]:
        """The numbers of the sent frames."""
        return [number for number, is_sent in enumerate(self.sent) if is_sent]


def pack(data: RestoreData) -> bytes:
    """Restore data as bytes, which `unpack` reads."""
    steps = itertools.groupby(b - a for a, b in itertools.pairwise(data.ticks))
    description: dict[str, Any] = {
        **{name: getattr(data, name) for name in _TEXTS},
        "rate": str(data.rate),
        "variable": data.variable,
        "tick": str(data.tick),
        "steps": [[step, len(list(run))] for step, run in steps],
        "last": data.last,
        "shots": data.shots,
        "start": str(data.start),
        "coded": sorted(data.coded),
        "codec_weights": data.codec_weights,
    }
    text = zlib.compress(json.dumps(description, separators=(",", ":")).encode(), 9)
    coded = [data.coded[number] for number in sorted(data.coded)]
    body = b"".join(
        [
            struct.pack("<I", len(text)),
            text,
            np.packbits(np.array(data.sent, np.uint8)).tobytes(),
            np.array(data.packets, "<u4").tobytes(),
            *(_CODED.pack(len(frame.payload), zlib.crc32(frame.payload), frame.checksum) for frame in coded),
        ]
    )
    head = _HEAD.pack(_MAGIC, FORMAT, len(body), zlib.crc32(body))
    return b"".join([head, body, *(frame.payload for frame in coded)])


def unpack(content: bytes, name: str) -> tuple[RestoreData, list[int]]:
    """Restore data from bytes, and the numbers of the coded B frames whose payload is damaged (`coded` lacks them).

    `name` is the file's, for messages.

    Raises:
        InputError: if it was made by another version of the format, or is damaged.
    """
    if len(content) < _HEAD.size or content[:4] != _MAGIC:
        raise _damaged(name)
    _, version, length, checksum = _HEAD.unpack_from(content)
    body = content[_HEAD.size : _HEAD.size + length]
    is_intact = len(body) == length and zlib.crc32(body) == checksum
    if version != FORMAT:
        if is_intact:
            # With a flipped bit in the version alone, the body is one that this version reads.
            try:
                _read(body, b"")
            except _PARSE_ERRORS:
                pass
            else:
                raise _damaged(name)
        raise InputError(
            f"{name} has restore data of version {version}, and this Betwixt reads version {FORMAT}: "
            f"decode it with the Betwixt that made it{', or a newer one' if version > FORMAT else ''}."
        )
    if not is_intact:
        raise _damaged(name)
    try:
        return _read(body, content[_HEAD.size + length :])
    except _PARSE_ERRORS:
        # Its checksum is right: it was written like this.
        raise InputError(
            f"{name} has restore data that this Betwixt does not understand: decode it with the Betwixt that made it."
        ) from None


def _damaged(name: str) -> InputError:
    return InputError(
        f"{name}: its restore data is damaged, so only the frames that every player shows are left: "
        "copy the file again, or play it as it is."
    )


def _read(body: bytes, payloads: bytes) -> tuple[RestoreData, list[int]]:
    """Parse a body; raises one of `_PARSE_ERRORS` if it is not one."""
    (length,) = struct.unpack_from("<I", body)
    inflate = zlib.decompressobj()
    text = inflate.decompress(body[4 : 4 + length], _MAX_DESCRIPTION)
    if inflate.unconsumed_tail:
        raise ValueError("the description is too long")
    d = json.loads(text)
    ticks = _read_ticks(d["steps"])
    frames = len(ticks)

    position = 4 + length
    mask = np.frombuffer(body, np.uint8, -(-frames // 8), position)
    sent = tuple(bool(bit) for bit in np.unpackbits(mask, count=frames))
    position += len(mask)
    packets = tuple(int(crc) for crc in np.frombuffer(body, "<u4", sum(sent), position))
    position += 4 * len(packets)

    coded: dict[int, CodedFrame] = {}
    damaged: list[int] = []
    payload_start = 0
    for number in d["coded"]:
        if not isinstance(number, int) or not 0 <= number < frames or sent[number]:
            raise ValueError("a coded frame does not exist or is sent")
        size, payload_checksum, frame_checksum = _CODED.unpack_from(body, position)
        position += _CODED.size
        payload = payloads[payload_start : payload_start + size]
        payload_start += size
        if len(payload) == size and zlib.crc32(payload) == payload_checksum:
            coded[number] = CodedFrame(payload, frame_checksum)
        else:
            damaged.append(number)
    if position != len(body):
        raise ValueError("the body has another length")

    texts: dict[str, Any] = {name: str(d[name]) for name in _TEXTS}
    data = RestoreData(
        **texts,
        rate=Fraction(d["rate"]),
        variable=bool(d["variable"]),
        tick=Fraction(d["tick"]),
        ticks=ticks,
        last=int(d["last"]),
        shots=tuple(int(s) for s in d["shots"]),
        start=Fraction(d["start"]),
        sent=sent,
        packets=packets,
        coded=coded,
        codec_weights=str(d["codec_weights"]),
    )
    if data.mode not in ("bit-free", "bit-need") or data.paths not in ("curved", "straight"):
        raise ValueError("an unknown mode or kind of path")
    if data.rate <= 0 or data.tick <= 0 or data.last <= 0 or not any(sent):
        raise ValueError("impossible times, or no sent frame")
    if not data.shots or data.shots[0] != 0 or not all(0 <= s < frames for s in data.shots):
        raise ValueError("impossible shots")
    return data, damaged


def _read_ticks(steps: list[tuple[int, int]]) -> tuple[int, ...]:
    """The times of the frames from their run-length coded steps."""
    ticks = [0]
    for step, count in steps:
        if not (isinstance(step, int) and isinstance(count, int) and step > 0 and count > 0):
            raise ValueError("impossible steps")
        if len(ticks) + count > _MAX_FRAMES:
            raise ValueError("too many frames")
        first = ticks[-1]
        ticks += range(first + step, first + step * count + 1, step)
    return tuple(ticks)
