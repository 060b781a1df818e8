"""The file of a journal, locked for one process.

{"format": 1, "settings": {..}, "temporary": "..", ..}    header: JSON, padded to 16 KiB
"BTJP", number, dts, duration, key, length, CRC, data     one record per packet; times in ticks of the writer's clock
..
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import shutil
import struct
import zlib
from pathlib import Path
from typing import IO, Any

from betwixt.errors import OutputError, UsageError
from betwixt.files import try_lock
from betwixt.media.encoded_video import EncodedPacket

FORMAT = 1
HEADER_SIZE = 16 << 10

_MIN_FREE_SPACE = 256 << 20
"""Free bytes on the disk below which no more packets are kept."""

_HEADER_START = b'{"format": '
_PACKET = struct.Struct("<4sqqqBII")
_MAGIC = b"BTJP"
_NO_DTS = -(1 << 63)


class JournalFile:
    """An open journal, locked until `close` or until this process ends.

    Args:
        path: The file; created if it does not exist, never opened through a link.
        output: The output it belongs to, for messages.

    Attributes:
        end: The position of the next packet, in bytes.
        is_locked: Whether the lock is held; False where the file system has no locks.

    Raises:
        OutputError: if another process holds it.
        OSError: if it cannot be opened.
    """

    def __init__(self, path: Path, output: Path) -> None:
        self.path, self.end = path, HEADER_SIZE
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        while True:
            self._file = os.fdopen(os.open(path, flags, 0o644), "r+b", 0)
            locked = try_lock(self._file.fileno())
            if locked is False:
                self._file.close()
                raise OutputError(f"{output} is being written by another process: let it finish, or stop it.")
            self.is_locked = bool(locked)
            # The process that held the lock may have removed the file between the two calls.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._file.fileno()), os.stat(path)):
                    return
            self._file.close()

    def is_journal(self) -> bool:
        """Whether the file begins as a journal of any format does."""
        self._file.seek(0)
        return self._file.read(len(_HEADER_START)) == _HEADER_START

    def read_header(self) -> dict[str, Any] | None:
        """The header; None if the file holds no valid one."""
        self._file.seek(0)
        with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError):
            header = json.loads(self._file.read(HEADER_SIZE))
            header["worked"] = float(header["worked"])
            if header["format"] == FORMAT and isinstance(header["settings"], dict) and math.isfinite(header["worked"]):
                return dict(header)
        return None

    def write_header(self, header: dict[str, Any]) -> None:
        """Replace the header.

        Raises:
            UsageError: if it does not fit.
        """
        text = json.dumps(header).encode()
        if len(text) >= HEADER_SIZE:
            raise UsageError(f"{self.path} cannot hold settings of {len(text)} bytes: use shorter names.")
        self._file.seek(0)
        self._file.write(text.ljust(HEADER_SIZE - 1) + b"\n")

    def find_end(self) -> int:
        """Set `end` after the last usable packet, and return the number of usable packets.

        Packets are in decoding order. The first n of them hold frames without a gap if the highest frame number is
        n - 1.
        """
        usable, highest = 0, -1
        with open(self.path, "rb") as file:
            file.seek(HEADER_SIZE)
            for count in itertools.count(1):
                packet = read_packet(file)
                if packet is None:
                    break
                highest = max(highest, packet.number)
                if highest == count - 1:
                    self.end, usable = file.tell(), count
        return usable

    def append(self, packet: EncodedPacket) -> None:
        """Write a packet at `end`; an OSError leaves `end` where it is."""
        data, dts = packet.data, _NO_DTS if packet.dts is None else packet.dts
        head = _PACKET.pack(_MAGIC, packet.number, dts, packet.duration, packet.key, len(data), zlib.crc32(data))
        record = head + data
        self._file.seek(self.end)
        if self._file.write(record) != len(record):
            raise OSError("no room for the whole record")
        self.end += len(record)

    def truncate(self) -> None:
        """Cut the file off at `end`."""
        self._file.truncate(self.end)

    def sync(self) -> None:
        """Flush the file to the disk; raise an OSError if the disk is nearly full."""
        os.fsync(self._file.fileno())
        if shutil.disk_usage(self.path.parent).free < _MIN_FREE_SPACE:
            raise OSError("the disk is nearly full")

    def close(self) -> None:
        """Close it and release the lock."""
        with contextlib.suppress(OSError):
            self._file.close()

    def remove(self) -> None:
        """Remove it and release the lock."""
        try:
            # Before the lock is released: afterwards the file might be another process's.
            self.path.unlink(missing_ok=True)
            self.close()
        except PermissionError:
            # Windows cannot remove an open file.
            self.close()
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


def read_packet(file: IO[bytes]) -> EncodedPacket | None:
    """The next packet, or None if no complete one follows."""
    head = file.read(_PACKET.size)
    if len(head) < _PACKET.size:
        return None
    magic, number, dts, duration, key, length, checksum = _PACKET.unpack(head)
    if magic != _MAGIC:
        return None
    data = file.read(length)
    if len(data) < length or zlib.crc32(data) != checksum:
        return None
    return EncodedPacket(data, number, None if dts == _NO_DTS else dts, duration, bool(key))
