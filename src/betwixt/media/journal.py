"""The journal of an unfinished output, from which an interrupted conversion can be resumed.

    encoder ──► packet ─┬─► muxer ──► .name.TOKEN.part ──► name
                        └─► .name.journal

A file that its muxer has not finished is hardly usable. So the packets are kept a second time, one after the other
(`journal_file`). The next run of the same conversion finds the journal, writes its complete packets to a new output,
and encodes from the first missing frame on. For a sequence of images the journal holds no packets, but the name of the
folder with the finished images, and how many of them are safely on the disk.

The journal is removed when the output is complete. Only one process at a time can hold it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

from betwixt.errors import OutputError, UsageError
from betwixt.files import hidden_path, write_error
from betwixt.media.encoded_video import EncodedPacket
from betwixt.media.journal_file import FORMAT, HEADER_SIZE, JournalFile, read_packet
from betwixt.signals import defer_signals

_KEPT = "What was done is kept: run the same command again to continue."

_KEEP_AFTER = 60.0
"""Seconds of work after which a stopped conversion leaves its journal."""

_PROTECT_AFTER = 600.0
"""Seconds of work after which a journal of other settings is replaced only with `overwrite=True`."""

_SYNC_INTERVAL = 10.0
"""Seconds between two flushes of the journal to the disk."""

_NOTES_KEY = "told"
"""Header entry of the noted frames: {reason: [frame number, ..]}."""

_MAX_NOTES = 300
"""The most frames that are noted for one reason."""

_TEMPORARY = re.compile(r"\.[^/\\]*\.(\d+|[0-9a-f]{8})\.part(\.[^/\\.]+)?")
"""Names of unfinished files (`betwixt.files`) and folders (`media.images.writer`)."""


def journal_path(output: Path) -> Path:
    """The path of an output's journal: a hidden file inside an existing folder, else beside the output."""
    output = output.absolute()
    return output / ".betwixt.journal" if output.is_dir() else hidden_path(output, ".journal")


def discard_journal(output: Path) -> None:
    """Remove the journal of a complete output, unless a process holds it."""
    path = journal_path(output)
    with contextlib.suppress(OSError, OutputError):
        if path.is_symlink() or not path.is_file():
            return
        file = JournalFile(path, output)
        if file.is_journal():
            file.remove()
        else:
            file.close()


def abort_output(abort: Callable[[], bool], error: BaseException) -> BaseException:
    """Abort an output after an error.

    Args:
        abort: Aborts it, and returns whether a journal is left.
        error: The error.

    Returns:
        The exception to raise: `error` itself, or one that adds that the work is kept.
    """
    with defer_signals() as came:
        kept = abort()
        if isinstance(error, KeyboardInterrupt):
            came.clear()  # one interrupt is enough
            if kept:
                error.add_note(_KEPT)
    return OutputError(f"{error} {_KEPT}") if kept and isinstance(error, OutputError) else error


class Journal:
    """The journal of one output: a new one, or one that an interrupted run has left.

    Args:
        output: The file or folder to be written.
        settings: All that its frames depend on; values that JSON does not know are stored as text.
        overwrite: Whether a journal with much work and other settings may be replaced.

    Attributes:
        path: The journal's file.
        frames: Number of frames that it holds from an earlier run, from the first on without a gap.
        folder: The unfinished folder of images of an earlier run, or None.
        notes: Messages for the user.

    Raises:
        OutputError: if another process is writing the output, or the journal cannot be written.
        UsageError: if it holds much work with other settings.
    """

    def __init__(self, output: Path, settings: Mapping[str, Any], overwrite: bool = False) -> None:
        self.path, self.frames, self.notes = journal_path(output), 0, list[str]()
        self.folder: Path | None = None
        self._output, self._full = output, False
        self._work_noted = self._synced = time.monotonic()
        self._header: dict[str, Any] = json.loads(
            json.dumps({"format": FORMAT, "settings": dict(settings), "worked": 0.0}, default=str)
        )
        self._file: JournalFile | None = None
        is_new = False
        try:
            self._file = JournalFile(self.path, output)
            earlier = self._file.read_header()
            is_new = earlier is None
            if earlier is not None and self._can_resume(earlier, self._file.is_locked, overwrite):
                self._header = earlier
                self.frames = self._file.find_end()
                self._header[_NOTES_KEY] = {reason: self.noted_frames(reason) for reason in self._notes()}
            self._file.truncate()
            self._file.write_header(self._header)
        except BaseException as error:
            if is_new:
                self.discard()
            self._close()
            if isinstance(error, OSError):
                raise write_error(error, self.path) from None
            raise

    # -- an earlier run

    def _can_resume(self, earlier: dict[str, Any], locked: bool, overwrite: bool) -> bool:
        """Whether an earlier journal belongs to this conversion; removes unusable files of the earlier run."""
        left = self._find_temporary(earlier, locked)
        settings = self._header["settings"]
        changed = [key for key in settings if earlier["settings"].get(key) != settings[key]]
        differs = f"with other settings ({', '.join(changed)})"
        if changed and earlier["worked"] >= _PROTECT_AFTER and not overwrite:
            raise UsageError(
                f"{self.path} holds what is done of {self._output.name} {differs}: use those again to continue, "
                "or pass `overwrite=True` to start again."
            )
        if left is not None and left.is_file():
            left.unlink()  # its muxer is gone
        if not changed:
            self.folder = left if left is not None and left.is_dir() else None
            return True
        self.notes.append(f"What an earlier run had done of {self._output.name} {differs} was discarded.")
        if left is not None and left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        return False

    def _find_temporary(self, earlier: dict[str, Any], locked: bool) -> Path | None:
        """The unfinished file or folder of an earlier run, if it has the name of one."""
        name = earlier.get("temporary")
        match = _TEMPORARY.fullmatch(name) if isinstance(name, str) else None
        if match is None:
            return None
        left = self.path.parent / str(name)
        if left.is_symlink() or not left.exists():
            return None
        process = earlier.get("process")
        if not locked and left.is_file() and isinstance(process, int) and _is_running(process):
            raise OutputError(f"{self._output} is being written by process {process}: let it finish, or stop it.")
        return left

    @property
    def images(self) -> int:
        """Number of images in `folder` that are safely on the disk."""
        count = self._header.get("images", 0)
        return count if isinstance(count, int) else 0

    def packets(self) -> Generator[EncodedPacket, None, None]:
        """Yield the packets of `frames`, in decoding order.

        Raises:
            OutputError: if they can no longer be read.
        """
        try:
            with open(self.path, "rb") as file:
                file.seek(HEADER_SIZE)
                for _ in range(self.frames):
                    packet = read_packet(file)
                    if packet is None:
                        raise OutputError(f"{self.path} has changed while it was read: remove it to start again.")
                    yield packet
        except OSError as error:
            raise write_error(error, self.path) from None

    def noted_frames(self, reason: str) -> list[int]:
        """The frames of an earlier run that were noted for `reason`."""
        numbers = self._notes().get(reason)
        return [n for n in numbers if isinstance(n, int) and n < self.frames] if isinstance(numbers, list) else []

    def _notes(self) -> dict[str, Any]:
        notes = self._header.get(_NOTES_KEY)
        return notes if isinstance(notes, dict) else {}

    # -- writing

    def describe(self, temporary: Path, stream: bytes) -> None:
        """Describe the output before its first packet or image.

        Args:
            temporary: The muxer's unfinished file, or the folder of images; in the journal's own folder.
            stream: The encoder's stream parameters.

        Raises:
            UsageError: if the stream parameters of the earlier run differ.
        """
        description = f"{len(stream)} {zlib.crc32(stream)}"
        if self.frames and self._header.get("stream") != description:
            raise UsageError(
                f"{self.path} holds what another version of the encoder has made of {self._output.name}: "
                "remove it to start again."
            )
        self._header |= {"temporary": temporary.name, "process": os.getpid(), "stream": description}
        self._try(lambda file: file.write_header(self._header))

    def note_frame(self, reason: str, number: int) -> None:
        """Note a frame, before its packet is added."""
        numbers = self._header.setdefault(_NOTES_KEY, {}).setdefault(reason, [])
        if len(numbers) < _MAX_NOTES:
            numbers.append(number)
            self._try(lambda file: file.write_header(self._header))

    def add_packet(self, packet: EncodedPacket) -> None:
        """Keep a packet. If the disk is full, the journal ends here, and the output is written without it."""
        self._try(lambda file: file.append(packet))
        if self._sync_is_due():
            self._try(self._sync)

    def add_images(self, count: int, new: list[Path]) -> bool:
        """Record at intervals how many images are finished; return whether it was done this time.

        Args:
            count: Number of finished images.
            new: Those finished since the last call that returned True.
        """
        if self._file is None or self._full or not self._sync_is_due():
            return False

        def note(file: JournalFile) -> None:
            _sync_files(new)
            self._header["images"] = count
            self._sync(file)

        self._try(note)
        return True

    def _sync_is_due(self) -> bool:
        return time.monotonic() - self._synced >= _SYNC_INTERVAL

    def _sync(self, file: JournalFile) -> None:
        """Note the time of work, and flush the file to the disk."""
        now = self._synced = time.monotonic()
        self._header["worked"] += now - self._work_noted
        self._work_noted = now
        file.write_header(self._header)
        file.sync()

    def _try(self, step: Callable[[JournalFile], None]) -> None:
        """Do one step. If the disk is full, keep nothing more, but leave what was kept before."""
        if self._file is None or self._full:
            return
        try:
            step(self._file)
        except OSError:
            self._full = True
            self.notes.append("The disk is nearly full: only the first part of the work is kept for another run.")
            with contextlib.suppress(OSError):
                self._file.truncate()
            if not self._is_worth_keeping():
                self.discard()  # leave the room to the output

    # -- the end

    def discard(self) -> None:
        """Remove the journal: the output is complete, or there is too little work to keep."""
        if self._file is not None:
            self._file.remove()
            self._file = None

    def suspend(self, images: int = 0, new: list[Path] | None = None) -> bool:
        """Close the journal of a conversion that stops before its end; return whether it was worth keeping.

        Args:
            images: Number of finished images, for a sequence of images.
            new: Those finished since the last `add_images` that returned True.
        """
        if self._file is None:
            return False
        is_empty = self._file.end == HEADER_SIZE and not images and self.folder is None
        if is_empty or not self._is_worth_keeping():
            self.discard()
            return False
        with contextlib.suppress(OSError):
            _sync_files(new or [])
            if images:
                self._header["images"] = images
            self._sync(self._file)
        self._close()
        return True

    def _is_worth_keeping(self) -> bool:
        return bool(self._header["worked"] + time.monotonic() - self._work_noted >= _KEEP_AFTER)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _sync_files(paths: list[Path]) -> None:
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def _is_running(process: int) -> bool:
    """Whether another process with this id runs; always False outside POSIX."""
    if process == os.getpid() or os.name != "posix":
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # the process belongs to another user
    return True
