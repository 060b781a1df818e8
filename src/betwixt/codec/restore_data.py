"""What a file made by `betwixt encode` says of the frames that a player does not see.

The file is a Matroska that any player plays; the record is an attachment in it, so players leave it alone.

    magic "BTWX" | version | length | CRC-32 | body | payloads
                              u32      u32
    body      length u32 | description (JSON, zlib) | mask, a bit a frame | CRC-32 of each packet of the base stream
              | for each coded B frame: length, CRC-32 of its payload, CRC-32 of the frame it gives   (bit-need only)
    payloads  one after the other                                                                     (bit-need only)

Integers are little-endian, u32. The body has one checksum, each payload its own: a flipped bit in a payload costs one
frame, and one anywhere else is found before anything is made of it. Nothing of a file is trusted before that.

Times are exact: frame k stands `ticks[k]` ticks after frame 0, a tick being a fraction of a second, and the steps
between frames are kept as runs, so that a film of constant rate says it in a few bytes.
"""

from __future__ import annotations

import itertools
import json
import struct
import zlib
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from betwixt.errors import InputError

__all__ = ["FORMAT", "CodedFrame", "RestoreData", "pack", "unpack"]

FORMAT = 3
"""The version of what this module writes; it reads no other. What decodes depends on what predicts, too: on the weights
and on the search of `compact`."""

_MAGIC = b"BTWX"
_HEAD = struct.Struct("<4sBII")
_CODED = struct.Struct("<III")
_MOST_FRAMES = 1 << 26
_MOST_TEXT = 1 << 26


@dataclass(frozen=True)
class CodedFrame:
    """A B frame that is coded by a network.

    Attributes:
        payload: Its bits.
        checksum: CRC-32 of the frame's planes as the encoder reconstructed them.
    """

    payload: bytes
    checksum: int


@dataclass(frozen=True)
class RestoreData:
    """How to restore a video.

    Attributes:
        mode: "bit-free" or "bit-need".
        model: The model that synthesizes.
        weights: The first twelve digits of the SHA-256 of its weights; "" where it has none.
        paths: "curved" if it is told of the sent frames around the two, "straight" if not.
        writer: The version of Betwixt that wrote it.
        base: The base codec's short name.
        rate: Frames a second of the source: the constant rate, or the mean of a variable one.
        variable: Whether the source's frames do not lie on a constant grid.
        tick: What times are counted in, in seconds.
        ticks: When each frame stands, in ticks after frame 0; strictly increasing.
        last: How long the last frame stands, in ticks.
        start: When frame 0 stands on the file's own clock, in seconds.
        shots: The numbers of the frames that begin a shot; the first is 0.
        sent: For each frame, whether the base encoder carries it.
        packets: CRC-32 of each packet of the base stream, in the order of their frames.
        coded: The coded B frames by number (bit-need).
        codec_weights: As `weights`, of the network that codes (bit-need).
    """

    mode: str
    model: str
    weights: str
    paths: str
    writer: str
    base: str
    rate: Fraction
    variable: bool
    tick: Fraction
    ticks: tuple[int, ...]
    last: int
    shots: tuple[int, ...]
    start: Fraction
    sent: tuple[bool, ...]
    packets: tuple[int, ...] = ()
    coded: dict[int, CodedFrame] = field(default_factory=dict)
    codec_weights: str = ""

    def time(self, frame: int) -> Fraction:
        """When a frame stands, in seconds after frame 0."""
        return self.ticks[frame] * self.tick

    @property
    def duration(self) -> Fraction:
        """How long the video is, in seconds."""
        return (self.ticks[-1] + self.last) * self.tick


def pack(record: RestoreData) -> bytes:
    """A record as bytes; `unpack` gives it back."""
    steps = [
        [step, len(list(run))] for step, run in itertools.groupby(b - a for a, b in itertools.pairwise(record.ticks))
    ]
    description: dict[str, Any] = {
        "mode": record.mode,
        "model": record.model,
        "weights": record.weights,
        "paths": record.paths,
        "writer": record.writer,
        "base": record.base,
        "rate": str(record.rate),
        "variable": record.variable,
        "tick": str(record.tick),
        "steps": steps,
        "last": record.last,
        "shots": record.shots,
        "start": str(record.start),
        "coded": sorted(record.coded),
        "codec_weights": record.codec_weights,
    }
    text = zlib.compress(json.dumps(description, separators=(",", ":")).encode(), 9)
    body = [
        struct.pack("<I", len(text)),
        text,
        np.packbits(np.array(record.sent, np.uint8)).tobytes(),
        np.array(record.packets, "<u4").tobytes(),
    ]
    payloads = [record.coded[k] for k in sorted(record.coded)]
    body += [_CODED.pack(len(c.payload), zlib.crc32(c.payload), c.checksum) for c in payloads]
    whole = b"".join(body)
    head = _HEAD.pack(_MAGIC, FORMAT, len(whole), zlib.crc32(whole))
    return b"".join([head, whole, *(c.payload for c in payloads)])


def unpack(data: bytes, name: str) -> tuple[RestoreData, list[int]]:
    """A record from bytes, and the numbers of the coded B frames whose payload is damaged (they are left out of it).

    Args:
        data: What `pack` made, as it was found in a file.
        name: The file's name, for messages.

    Raises:
        InputError: if it was made by another version of the format, or is damaged.
    """
    if len(data) < _HEAD.size or data[:4] != _MAGIC:
        raise _damaged(name)
    _, version, length, checksum = _HEAD.unpack_from(data)
    body = data[_HEAD.size : _HEAD.size + length]
    whole = len(body) == length and zlib.crc32(body) == checksum
    if version != FORMAT:
        # A flipped bit of the version leaves a body that this version reads.
        if whole and _readable(body):
            raise _damaged(name)
        raise InputError(
            f"{name} has restore data of version {version}, and this Betwixt reads version {FORMAT}: "
            f"decode it with the Betwixt that made it{', or a newer one' if version > FORMAT else ''}."
        )
    if not whole:
        raise _damaged(name)
    try:
        return _read(body, data[_HEAD.size + length :])
    except (ValueError, KeyError, TypeError, OverflowError, ZeroDivisionError, struct.error, zlib.error):
        # Its checksum is right: it was written so.
        raise InputError(
            f"{name} has restore data that this Betwixt does not understand: decode it with the Betwixt that made it."
        ) from None


def _readable(body: bytes) -> bool:
    try:
        _read(body, b"")
    except (ValueError, KeyError, TypeError, OverflowError, ZeroDivisionError, struct.error, zlib.error):
        return False
    return True


def _damaged(name: str) -> InputError:
    return InputError(
        f"{name}: its restore data is damaged, so only the frames that every player shows are left: "
        "copy the file again, or play it as it is."
    )


def _read(body: bytes, rest: bytes) -> tuple[RestoreData, list[int]]:
    (length,) = struct.unpack_from("<I", body)
    inflate = zlib.decompressobj()
    text = inflate.decompress(body[4 : 4 + length], _MOST_TEXT)
    if inflate.unconsumed_tail:
        raise ValueError("more text than any film has")
    d = json.loads(text)
    ticks = [0]
    for step, count in d["steps"]:
        if not (isinstance(step, int) and isinstance(count, int) and step > 0 and count > 0):
            raise ValueError("steps that lead nowhere")
        if len(ticks) + count > _MOST_FRAMES:
            raise ValueError("more frames than any film has")
        first = ticks[-1]
        ticks += range(first + step, first + step * count + 1, step)
    frames = len(ticks)
    place = 4 + length
    mask = np.frombuffer(body, np.uint8, -(-frames // 8), place)
    sent = tuple(bool(b) for b in np.unpackbits(mask, count=frames))
    place += len(mask)
    packets = tuple(int(c) for c in np.frombuffer(body, "<u4", sum(sent), place))
    place += 4 * len(packets)
    coded: dict[int, CodedFrame] = {}
    broken: list[int] = []
    at = 0
    for number in d["coded"]:
        if not isinstance(number, int) or not 0 <= number < frames or sent[number]:
            raise ValueError("a coded frame that is none")
        size, checksum, result = _CODED.unpack_from(body, place)
        place += _CODED.size
        payload = rest[at : at + size]
        at += size
        if len(payload) == size and zlib.crc32(payload) == checksum:
            coded[number] = CodedFrame(payload, result)
        else:
            broken.append(number)
    if place != len(body):
        raise ValueError("a body of another length")
    record = RestoreData(
        mode=str(d["mode"]),
        model=str(d["model"]),
        weights=str(d["weights"]),
        paths=str(d["paths"]),
        writer=str(d["writer"]),
        base=str(d["base"]),
        rate=Fraction(d["rate"]),
        variable=bool(d["variable"]),
        tick=Fraction(d["tick"]),
        ticks=tuple(ticks),
        last=int(d["last"]),
        shots=tuple(int(s) for s in d["shots"]),
        start=Fraction(d["start"]),
        sent=sent,
        packets=packets,
        coded=coded,
        codec_weights=str(d["codec_weights"]),
    )
    if record.rate <= 0 or record.tick <= 0 or record.last <= 0 or record.mode not in ("bit-free", "bit-need"):
        raise ValueError("figures that no video has")
    if record.paths not in ("curved", "straight"):
        raise ValueError("paths of no kind")
    if not record.shots or record.shots[0] != 0 or not all(0 <= s < frames for s in record.shots) or not any(sent):
        raise ValueError("shots that are none")
    return record, broken
