"""The journal of an unfinished output: what is needed to go on with it, so that hours of work are never lost.

    encoder ──► packet ─┬─► muxer ──► .name.PID.part ──► name
                        └─► .name.journal

A file that its muxer has not finished is worth little, and each format breaks in its own way; so the packets are kept a
second time, one after the other, each with its length and checksum. Whoever converts the same again finds the journal,
hands the muxer the packets that are whole, and lets the encoder begin with the first frame that is missing. Any first
part of a stream, in the order of decoding, can be decoded by itself; its frames have no gap between them where the
highest number among the first n packets is n - 1. What is taken ends at the last such place.

    {"settings": {..}, "temporary": "..", ..}, 16 KiB     what the frames depend on; the muxer's unfinished file
    "BTJP", number, dts, duration, key, length, CRC, data a packet; times in ticks of the writer's clock
    ..

Of a sequence of images it has no packets, but says in which folder those are that are finished, and how many of them
are on the disk for sure. The journal goes when the output is whole. One process at a time can hold it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import struct
import time
import zlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from betwixt.errors import OutputError, UsageError
from betwixt.files import write_error
from betwixt.signals import defer_signals

__all__ = ["Journal", "JournalPacket", "abort_output", "discard_journal", "journal_path"]

_KEPT = "What was done is kept: the same command goes on from there."

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

_BEGINS = b'{"format": '

_TOLD = 300
"""Of how many frames something is told at the most."""

_ROOM = 256 << 20
"""Free bytes under which nothing more is kept."""

_TEMPORARY = re.compile(r"\.[^/\\]*\.(\d+|[0-9a-f]{8})\.part(\.[^/\\.]+)?")
"""How unfinished files (`media.files`) and folders (`media.images`) are called."""


@dataclass(frozen=True)
class JournalPacket:
    """A packet of the journal.

    Attributes:
        data: Its bytes.
        number: Of its frame.
        dts: In ticks; None if it has none.
        duration: Likewise.
        key: Whether it can be decoded without those before it.
    """

    data: bytes
    number: int
    dts: int | None
    duration: int
    key: bool


def abort_output(abort: Callable[[], bool], error: BaseException) -> BaseException:
    """End an output that an error breaks off.

    Args:
        abort: Ends it, and returns whether a journal is left.
        error: What happened.

    Returns:
        What is to be raised: the error, which says that something is kept, or another one that does.
    """
    with defer_signals() as came:
        kept = abort()
        if isinstance(error, KeyboardInterrupt):
            came.clear()  # it is being interrupted already
            if kept:
                error.add_note(_KEPT)
    return OutputError(f"{error} {_KEPT}") if kept and isinstance(error, OutputError) else error


def discard_journal(output: Path) -> None:
    """Remove the journal of an output that is whole, if there is one that no process holds."""
    path = journal_path(output)
    with contextlib.suppress(OSError):
        if path.is_symlink() or not path.is_file():
            return
        with open(path, "r+b", 0) as file:
            if _locked(file) is not False and file.read(len(_BEGINS)) == _BEGINS:
                path.unlink()


def journal_path(output: Path) -> Path:
    """Where the journal of an output lies: hidden, in a folder that exists, else beside the output."""
    output = output.absolute()
    return output / ".betwixt.journal" if output.is_dir() else output.with_name(f".{output.name}.journal")


class Journal:
    """The journal of one output, new or found.

    Args:
        output: The file or folder that is to be written.
        settings: What its frames depend on; what JSON does not know goes in as text.
        overwrite: Whether a journal of other settings may be thrown away, however much work is in it.

    Attributes:
        path: The file.
        frames: How many frames of an earlier run it holds, from the first on without a gap.
        folder: The unfinished folder of images that an earlier run has left; None if there is none.
        notes: What a person should know.

    Raises:
        OutputError: if another process is at work on it, or it cannot be written.
        UsageError: if it holds much work of other settings.
    """

    def __init__(self, output: Path, settings: Mapping[str, Any], overwrite: bool = False) -> None:
        self.path, self.frames, self.notes = journal_path(output), 0, list[str]()
        self.folder: Path | None = None
        self._output, self._end, self._full = output, _HEAD, False
        self._began = self._synced = time.monotonic()
        self._head: dict[str, Any] = json.loads(
            json.dumps({"format": _FORMAT, "settings": dict(settings), "worked": 0.0}, default=str)
        )
        self._file: IO[bytes] | None = None
        self._lock: bool | None = None
        new = False
        try:
            self._file = self._opened()
            found = self._read_head()
            new = found is None
            if found is not None and self._goes_on(found, overwrite):
                self._head = found
                self._end, self.frames = self._whole()
                self._head["told"] = {what: self.noted_frames(what) for what in _names(found.get("told"))}
            self._file.truncate(self._end)
            self._write_head()
        except BaseException as error:
            if new:
                self.discard()
            self._close()
            if isinstance(error, OSError):
                raise write_error(error, self.path) from None
            raise

    def _opened(self) -> IO[bytes]:
        """The file, for this process alone."""
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        while True:
            file = os.fdopen(os.open(self.path, flags, 0o644), "r+b", 0)
            self._lock = _locked(file)
            if self._lock is False:
                file.close()
                raise OutputError(f"{self._output} is being written by another process: let it finish, or stop it.")
            # Whoever had it may have finished, and removed it, between the two.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), os.stat(self.path)):
                    return file
            file.close()

    def _goes_on(self, found: dict[str, Any], overwrite: bool) -> bool:
        """Whether a journal that was found is of this conversion; removes what is worth nothing beside it."""
        left = self._left(found)
        wanted = self._head["settings"]
        other = [key for key in wanted if found["settings"].get(key) != wanted[key]]
        told = f"with other settings ({', '.join(other)})"
        if other and found["worked"] >= _DEAR and not overwrite:
            raise UsageError(
                f"{self.path} holds what is done of {self._output.name} {told}: choose those again to go on with it, "
                "or pass --overwrite to begin anew."
            )
        if left is not None and left.is_file():
            left.unlink()
        if not other:
            self.folder = left if left is not None and left.is_dir() else None
            return True
        self.notes.append(f"What an earlier run had done of {self._output.name} {told} was thrown away.")
        if left is not None and left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        return False

    def _left(self, found: dict[str, Any]) -> Path | None:
        """The unfinished file or folder of an earlier run: nothing but what is called like one, and is not at work."""
        name = found.get("temporary")
        match = _TEMPORARY.fullmatch(name) if isinstance(name, str) else None
        if match is None:
            return None
        left = self.path.parent / str(name)
        if left.is_symlink() or not left.exists():
            return None
        if self._lock is None and left.is_file() and match[1].isdigit() and _alive(int(match[1])):
            raise OutputError(f"{self._output} is being written by process {match[1]}: let it finish, or stop it.")
        return left

    # -- what was found

    @property
    def images(self) -> int:
        """How many images of `folder` are on the disk for sure."""
        count = self._head.get("images", 0)
        return count if isinstance(count, int) else 0

    def packets(self) -> Generator[JournalPacket, None, None]:
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
            raise write_error(error, self.path) from None

    def _read_head(self) -> dict[str, Any] | None:
        """What the journal says of itself; None if it says nothing that can be read."""
        assert self._file is not None
        self._file.seek(0)
        with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError):
            head = json.loads(self._file.read(_HEAD))
            head["worked"] = float(head["worked"])
            if head["format"] == _FORMAT and isinstance(head["settings"], dict) and math.isfinite(head["worked"]):
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
                highest = max(highest, kept.number)
                if highest == count - 1:
                    end, frames = file.tell(), count
        return end, frames

    # -- writing

    def describe(self, temporary: Path, stream: bytes) -> None:
        """Say what goes with the packets.

        Args:
            temporary: The muxer's unfinished file, which is worth nothing without the muxer, or the folder of images;
                in the journal's own folder.
            stream: The encoder's description of its stream, which has to be the same for all of it.

        Raises:
            UsageError: if what was found is described otherwise.
        """
        told = f"{len(stream)} {zlib.crc32(stream)}"
        if self.frames and self._head.get("stream") != told:
            raise UsageError(
                f"{self.path} holds what another version of the encoder has made of {self._output.name}: "
                "remove it to begin anew."
            )
        self._head |= {"temporary": temporary.name, "stream": told}
        self._try(self._write_head)

    def note_frame(self, what: str, number: int) -> None:
        """Note something of a frame that is not seen in its packet, before that comes."""
        numbers = self._head.setdefault("told", {}).setdefault(what, [])
        if len(numbers) < _TOLD:
            numbers.append(number)
            self._try(self._write_head)

    def noted_frames(self, what: str) -> list[int]:
        """The frames of an earlier run of which it was told."""
        numbers = _names(self._head.get("told")).get(what)
        return [n for n in numbers if isinstance(n, int) and n < self.frames] if isinstance(numbers, list) else []

    def add_packet(self, data: bytes, number: int, dts: int | None, duration: int, key: bool) -> None:
        """Keep a packet. Where there is no room for it the journal ends here, and the video goes on without."""
        if self._file is None or self._full:
            return
        head = _PACKET.pack(_MAGIC, number, _NO_DTS if dts is None else dts, duration, key, len(data), zlib.crc32(data))
        self._try(lambda: self._append(head + data))
        if self._due():
            self._try(self._sync)

    def add_images(self, count: int, fresh: list[Path]) -> bool:
        """Note from time to time that so many images are finished; returns whether it was done.

        Args:
            count: How many there are.
            fresh: Those since the last time that it was done.
        """
        if self._file is None or self._full or not self._due():
            return False

        def note() -> None:
            _bring_to_disk(fresh)
            self._head["images"] = count
            self._sync()

        self._try(note)
        return True

    def _append(self, record: bytes) -> None:
        assert self._file is not None
        self._file.seek(self._end)
        if self._file.write(record) != len(record):
            raise OSError("no room for all of it")
        self._end += len(record)

    def _due(self) -> bool:
        return time.monotonic() - self._synced >= _SYNC

    def _sync(self) -> None:
        """Bring what is there to the disk."""
        assert self._file is not None
        self._synced = time.monotonic()
        self._note_work()
        os.fsync(self._file.fileno())
        if shutil.disk_usage(self.path.parent).free < _ROOM:
            raise OSError("hardly any room left")

    def _note_work(self) -> None:
        """Add the work since the last time to what the head says."""
        now = time.monotonic()
        self._head["worked"] += now - self._began
        self._began = now
        self._write_head()

    def _try(self, step: Any) -> None:
        """Take a step, or stop keeping: what was kept before stays as it is."""
        if self._file is None or self._full:
            return
        try:
            step()
        except OSError:
            self._full = True
            self.notes.append("The disk is nearly full: from some frame on nothing was kept to go on with.")
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
            if not self._worth():
                # For the video's sake.
                self.discard()

    # -- the end

    def discard(self) -> None:
        """Remove it: the output is whole, or worth nothing."""
        if self._file is None:
            return
        # While it is held: else it might be another process's by then.
        try:
            self.path.unlink(missing_ok=True)
            self._close()
        except PermissionError:
            # Windows removes no file that is open.
            self._close()
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)

    def suspend(self, images: int = 0, fresh: list[Path] | None = None) -> bool:
        """Close it where the conversion stops before its end; returns whether it was worth keeping.

        Args:
            images: How many images are finished, where they are what there is to keep.
            fresh: Those that `add_images` has not been told of.
        """
        if self._file is None:
            return False
        if not self._worth() or (self._end == _HEAD and not images and self.folder is None):
            self.discard()
            return False
        with contextlib.suppress(OSError):
            _bring_to_disk(fresh or [])
            if images:
                self._head["images"] = images
            self._note_work()
            os.fsync(self._file.fileno())
        self._close()
        return True

    def _worth(self) -> bool:
        return bool(self._head["worked"] + time.monotonic() - self._began >= _WORTH)

    def _write_head(self) -> None:
        assert self._file is not None
        text = json.dumps(self._head).encode()
        if len(text) >= _HEAD:
            raise UsageError(f"{self.path} cannot hold settings of {len(text)} bytes: use shorter names.")
        self._file.seek(0)
        self._file.write(text.ljust(_HEAD - 1) + b"\n")

    def _close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


def _next(file: IO[bytes]) -> JournalPacket | None:
    """The packet that begins here; None where there is none that is whole."""
    head = file.read(_PACKET.size)
    if len(head) < _PACKET.size:
        return None
    magic, number, dts, duration, key, length, checksum = _PACKET.unpack(head)
    if magic != _MAGIC:
        return None
    data = file.read(length)
    if len(data) < length or zlib.crc32(data) != checksum:
        return None
    return JournalPacket(data, number, None if dts == _NO_DTS else dts, duration, bool(key))


def _names(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _bring_to_disk(paths: list[Path]) -> None:
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def _locked(file: IO[bytes]) -> bool | None:
    """Take the file for this process; False if another one has it, None where the system or the disk knows no locks."""
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _alive(process: int) -> bool:
    """Whether a process of this number runs, other than this one; elsewhere than on POSIX it cannot be asked."""
    if process == os.getpid() or os.name != "posix":
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # it is somebody else's
    return True
