"""The journal of an unfinished video: its packets as they left the encoder, so that hours of work are never lost.

    encoder ──► packet ─┬─► muxer ──► .name.PID.part ──► name
                        └─► .name.journal

A file that its muxer has not finished is worth little, and each format breaks in its own way; so the packets are kept a
second time, one after the other, each with its length and checksum. Whoever converts the same again finds the journal,
hands the muxer the packets that are whole, and lets the encoder begin with the first frame that is missing. Any first
part of a stream, in the order of decoding, can be decoded by itself; its frames have no gap between them where the
highest number among the first n packets is n - 1. What is taken ends at the last such place.

    {"settings": {..}, "temporary": "..", ..}, 16 KiB     what the frames depend on; the muxer's unfinished file
    "BTJP", pts, dts, duration, key, length, CRC, data    a packet; times in ticks of the writer's clock
    ..

The journal goes when the video is whole. One process at a time can hold it. Of a sequence of images it has no packets,
but says in which folder those are that are finished.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from betwixt.errors import OutputError
from betwixt.media.files import output_error

__all__ = ["Journal", "Kept", "journal_of"]

_FORMAT = 1
_HEAD = 16 << 10
_PACKET = struct.Struct("<4sqqqBII")
_MAGIC = b"BTJP"
_NO_DTS = -(1 << 63)

_WORTH = 60.0
"""Seconds of work from which on a journal is kept when a conversion is stopped."""

_DEAR = 600.0
"""And from which on it is not thrown away for other settings without being told to."""

_SYNC = 10.0
"""Seconds between two times that the system is made to bring it to the disk."""

_ROOM = 256 << 20
"""Free bytes under which the journal is given up, for the video's sake."""


@dataclass(frozen=True)
class Kept:
    """A packet of the journal.

    Attributes:
        data: Its bytes.
        pts: In ticks.
        dts: Likewise; None if it has none.
        duration: Likewise.
        key: Whether it can be decoded without those before it.
    """

    data: bytes
    pts: int
    dts: int | None
    duration: int
    key: bool


def journal_of(output: Path) -> Path:
    """Where the journal of an output lies: beside it, hidden."""
    return output.with_name(f".{output.name}.journal")


class Journal:
    """The journal of one output, new or found.

    Args:
        output: The file that is to be written.
        settings: What its frames depend on; what JSON does not know goes in as text.
        overwrite: Whether a journal of other settings may be thrown away, however much work is in it.

    Attributes:
        path: The file.
        frames: How many frames of an earlier run it holds, from the first on without a gap.
        folder: The unfinished folder of images that an earlier run has left; None if there is none.
        notes: What a person should know.

    Raises:
        OutputError: if another process is at work on it, if it holds much work of other settings, or if it cannot be
            written.
    """

    def __init__(self, output: Path, settings: Mapping[str, Any], overwrite: bool = False) -> None:
        self.path, self.frames, self.notes = journal_of(output), 0, list[str]()
        self.folder: Path | None = None
        self._output, self._end = output, _HEAD
        self._began = self._synced = time.monotonic()
        self._earlier = 0.0
        fresh = {"format": _FORMAT, "settings": dict(settings), "begun": time.time()}
        self._head: dict[str, Any] = json.loads(json.dumps(fresh, default=str))
        try:
            self._file: IO[bytes] | None = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644), "r+b", 0)
            if not _locked(self._file):
                raise OutputError(f"{output} is being written by another process: let it finish, or stop it.")
            found = self._read_head()
            if found is not None and self._goes_on(found, overwrite):
                self._head = found
                self._end, self.frames = self._whole()
            self._file.truncate(self._end)
            self._write_head()
        except OSError as error:
            self._close()
            raise output_error(error, self.path) from None
        except BaseException:
            self._close()
            raise

    def _goes_on(self, found: dict[str, Any], overwrite: bool) -> bool:
        """Whether a journal that was found is of this conversion; removes the muxer's unfinished file beside it."""
        assert self._file is not None
        left = self._output.parent / str(found.get("temporary"))
        if left.is_file():
            left.unlink()
        self._earlier = max(0.0, os.fstat(self._file.fileno()).st_mtime - found["begun"])
        wanted = self._head["settings"]
        other = [key for key in wanted if found["settings"].get(key) != wanted[key]]
        if not other:
            self.folder = left if left.is_dir() else None
            return True
        told = f"with other settings ({', '.join(other)})"
        if self._earlier >= _DEAR and not overwrite:
            raise OutputError(
                f"{self.path} holds what is done of {self._output.name} {told}: choose those again to go on with it, "
                "or pass --overwrite to begin anew."
            )
        self.notes.append(f"What an earlier run had done of {self._output.name} {told} is thrown away.")
        if left.is_dir() and left.name.endswith(".part"):
            shutil.rmtree(left, ignore_errors=True)
        self._earlier = 0.0
        return False

    # -- what was found

    def packets(self) -> Iterator[Kept]:
        """The packets of `frames`, in the order of decoding.

        Raises:
            OutputError: if they can no longer be read.
        """
        try:
            with open(self.path, "rb") as file:
                file.seek(_HEAD)
                for _ in range(self.frames):
                    kept = _next(file)
                    if kept is None:
                        raise OutputError(f"{self.path} has changed while it was read: remove it to begin anew.")
                    yield kept
        except OSError as error:
            raise output_error(error, self.path) from None

    def _read_head(self) -> dict[str, Any] | None:
        """What the journal says of itself; None if it says nothing that can be read."""
        assert self._file is not None
        self._file.seek(0)
        with contextlib.suppress(ValueError, KeyError, TypeError):
            head = json.loads(self._file.read(_HEAD))
            if head["format"] == _FORMAT and isinstance(head["settings"], dict) and float(head["begun"]) >= 0:
                return dict(head)
        return None

    def _whole(self) -> tuple[int, int]:
        """Where the last place without a gap is, and how many frames are before it."""
        count = frames = 0
        highest, end = -1, _HEAD
        with open(self.path, "rb") as file:
            file.seek(_HEAD)
            while (kept := _next(file)) is not None:
                count += 1
                highest = max(highest, kept.pts)
                if highest == count - 1:
                    end, frames = file.tell(), count
        return end, frames

    # -- writing

    def describe(self, temporary: Path, stream: bytes) -> None:
        """Say what goes with the packets.

        Args:
            temporary: The muxer's unfinished file, which is worth nothing without the muxer, or a folder of images.
            stream: The encoder's description of its stream, which has to be the same for all of it.

        Raises:
            OutputError: if what was found is described otherwise.
        """
        told = f"{len(stream)} {zlib.crc32(stream)}"
        if self.frames and self._head.get("stream") != told:
            raise OutputError(
                f"{self.path} holds what another version of the encoder has made of {self._output.name}: "
                "remove it to begin anew."
            )
        self._head |= {"temporary": os.path.relpath(temporary, self._output.parent), "stream": told}
        try:
            self._write_head()
        except OSError:
            self.give_up()

    def add(self, data: bytes, pts: int, dts: int | None, duration: int, key: bool) -> None:
        """Keep a packet. Where there is no room for it the journal is given up, and the video goes on without."""
        if self._file is None:
            return
        head = _PACKET.pack(_MAGIC, pts, _NO_DTS if dts is None else dts, duration, key, len(data), zlib.crc32(data))
        try:
            self._file.seek(self._end)
            written = self._file.write(head + data)
            if written != len(head) + len(data):
                self.give_up()
                return
            self._end += written
            if time.monotonic() - self._synced >= _SYNC:
                self._synced = time.monotonic()
                os.fsync(self._file.fileno())
                if shutil.disk_usage(self.path).free < _ROOM:
                    self.give_up()
        except OSError:
            self.give_up()

    def give_up(self) -> None:
        """Go on without: the disk is full."""
        if self._file is not None:
            self.discard()
            self.notes.append("The disk is nearly full: what is done cannot be gone on with if this is broken off.")

    # -- the end

    def discard(self) -> None:
        """Remove it: the video is whole, or worth nothing."""
        if self._file is not None:
            self._close()
            self.path.unlink(missing_ok=True)

    def leave(self, images: int = 0) -> bool:
        """Close it where the conversion stops before its end; returns whether it was worth keeping.

        Args:
            images: How many images are finished, where they are what there is to keep.
        """
        if self._file is None:
            return False
        if self._earlier + time.monotonic() - self._began < _WORTH or (self._end == _HEAD and not images):
            self.discard()
            return False
        with contextlib.suppress(OSError):
            os.fsync(self._file.fileno())
        self._close()
        return True

    def _write_head(self) -> None:
        assert self._file is not None
        text = json.dumps(self._head).encode()
        if len(text) >= _HEAD:
            raise OutputError(f"{self.path} cannot hold settings of {len(text)} bytes: use shorter names.")
        self._file.seek(0)
        self._file.write(text.ljust(_HEAD - 1) + b"\n")

    def _close(self) -> None:
        file = self.__dict__.get("_file")
        if file is not None:
            self._file = None
            with contextlib.suppress(OSError):
                file.close()


def _next(file: IO[bytes]) -> Kept | None:
    """The packet that begins here; None where there is none that is whole."""
    head = file.read(_PACKET.size)
    if len(head) < _PACKET.size:
        return None
    magic, pts, dts, duration, key, length, checksum = _PACKET.unpack(head)
    if magic != _MAGIC:
        return None
    data = file.read(length)
    if len(data) < length or zlib.crc32(data) != checksum:
        return None
    return Kept(data, pts, None if dts == _NO_DTS else dts, duration, bool(key))


def _locked(file: IO[bytes]) -> bool:
    """Take the file for this process, where the system can; False if another one has it."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # file systems that know no locks
    return True
