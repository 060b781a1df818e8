"""Opening input containers, and turning FFmpeg's errors into errors that say what to do.

`media.reader` opens files and pipes here. A pipe is wrapped in `InterruptiblePipe` first, so that another thread can
end the wait for its next bytes. The writers use `write_errors`.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
import av.container
import av.error
import av.logging
from av.format import Flags

from betwixt.errors import InputError
from betwixt.files import error_text, file_url, write_error
from betwixt.media.ffmpeg_log import capture_log
from betwixt.media.raw_video import find_raw_format, is_raw_video


class InterruptiblePipe:
    """A pipe that one thread reads, and that another thread can stop.

    Attributes:
        stopped: Whether to stop waiting: `read` then returns no more bytes.
        interrupt: The Ctrl-C that ended a wait. FFmpeg, which calls `read`, would swallow it, so the reader raises it
            afterwards.
    """

    def __init__(self, file: io.FileIO) -> None:
        self._file, self.stopped = file, False
        self.interrupt: KeyboardInterrupt | None = None
        self._ready = select.poll()
        self._ready.register(file, select.POLLIN)

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes; an empty result is the end."""
        try:
            while not self.stopped:
                if self._ready.poll(100):
                    return self._file.read(size) or b""
        except KeyboardInterrupt as error:
            self.stopped, self.interrupt = True, error
        return b""


def open_container(source: str | Path | IO[bytes] | InterruptiblePipe, name: str) -> av.container.InputContainer:
    """Open a container for reading.

    Args:
        source: A path, a URL, or an open binary file. The name of a raw video (.yuv) states its format.
        name: Its name in error messages.

    Raises:
        InputError: if it is not a readable video.
    """
    address = source
    raw_options: dict[str, str] | None = None
    if isinstance(source, (str, Path)):
        path = Path(source)
        if os.path.isdir(path):
            raise InputError(
                f"{name} is a folder without images: give a video, or a folder of PNG, JPEG, TIFF or WebP."
            )
        if os.path.exists(path):
            if path.is_file() and path.stat().st_size == 0:
                raise InputError(f"{name} is empty (0 bytes): it contains no video.")
            if not os.access(path, os.R_OK):
                raise InputError(f"{name} cannot be read: check its permissions.")
            address = file_url(path)
            if is_raw_video(path):
                raw_options = find_raw_format(path).options
        elif "://" not in name:
            raise InputError(f"{name} does not exist: check the path.")
    try:
        if raw_options is not None:
            return av.open(address, mode="r", format="rawvideo", options=raw_options)
        return av.open(address, mode="r", metadata_errors="replace")
    except av.error.FFmpegError as error:
        if isinstance(source, (str, Path)) and _lacks_index(Path(source)):
            text = "is cut off: its index (moov) is missing, so no player can read it; copy or record it again"
        elif isinstance(error, av.error.EOFError):
            text = "contains no video: it ends right after its header"
        elif isinstance(error, av.error.InvalidDataError):
            text = "is not a video that can be read: its content fits no known format"
        else:
            text = f"cannot be read: {error_text(error)}"
        raise InputError(f"{name} {text}.") from None
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}.") from None


def has_no_times(container: av.container.InputContainer) -> bool:
    """Whether frames follow each other at the stated rate: a bare stream, or AVI, whose times are those of decoding."""
    return container.format.name == "avi" or is_raw(container)


def is_raw(container: av.container.InputContainer) -> bool:
    """Whether the format is a bare stream (.h264, .hevc, .m2v, .mjpeg): without times, its length a guess."""
    no_timestamps: Any = Flags.no_timestamps
    return bool(container.format.flags & no_timestamps.value) or container.format.name.endswith("_pipe")


@contextlib.contextmanager
def named_causes() -> Iterator[None]:
    """Let FFmpeg's errors carry the line of its log that names their cause, which `files.error_text` shows.

    This is for the steps that open an output: see `capture_log`.
    """
    with capture_log(av.logging.ERROR, all_threads=True):  # which keeps the lines from the loggers of Python
        yield


@contextlib.contextmanager
def write_errors(output: Path | str) -> Iterator[None]:
    """Turn errors of the system and of FFmpeg into an `OutputError` that names the output."""
    try:
        yield
    except (OSError, av.error.FFmpegError) as error:
        raise write_error(error, output) from None


def _lacks_index(path: Path) -> bool:
    """Whether an ISO media file (mp4, mov) has no complete moov box.

    Each top-level box begins with its length in 4 bytes (1: the length is in the 8 bytes after the type) and its type
    in 4 letters.
    """
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        position = 0
        while position + 8 <= size:
            file.seek(position)
            head = file.read(16)
            length, box = int.from_bytes(head[:4], "big"), head[4:8]
            if position == 0 and box != b"ftyp":
                return False
            if box == b"moov":
                return position + length > size
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if length < 8:
                return box == b"mdat"
            position += length
    return position > 0


def riff_is_cut_off(path: Path) -> bool:
    """Whether a RIFF file (AVI) is shorter than its parts state: "RIFF", the length in 4 bytes, content; and again."""
    size = path.stat().st_size
    position = 0
    with open(path, "rb") as file:
        while position + 8 <= size:
            file.seek(position)
            head = file.read(8)
            if head[:4] != b"RIFF":
                return False
            position += 8 + int.from_bytes(head[4:], "little")
    return position > size


def container_start(container: av.container.InputContainer) -> Fraction:
    """The time from which a container counts its duration, in seconds."""
    if "matroska" in container.format.name or container.start_time is None:
        return Fraction(0)
    return Fraction(container.start_time, av.time_base)


def may_jump(container: av.container.InputContainer) -> bool:
    """Whether the format's clock may be discontinuous, so that joined files are valid: MPEG-TS, MPEG-PS."""
    return Flags.ts_discont in Flags(container.format.flags)
