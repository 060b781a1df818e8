"""Files: outputs that are written whole or not at all, hashes, and one-line errors."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import unquote

from filelock import lock_descriptor

from betwixt.errors import InputError, OutputError
from betwixt.signals import defer_signals

_MAX_NAME = 255
"""The longest name of a file, in bytes, on all common file systems."""

_MAX_SUFFIX = 16
"""The longest suffix that the working file's name repeats, in bytes."""


class AtomicOutput(ABC):
    """An output that is written whole or not at all; as a context manager it commits, or aborts if the block raises."""

    @abstractmethod
    def commit(self) -> None:
        """Finish the output and move it into place."""

    @abstractmethod
    def abort(self) -> None:
        """Remove the unfinished output; does nothing after `commit`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.abort()


def check_output(path: Path, source: str | Path | None, overwrite: bool) -> None:
    """Refuse an output that must not or cannot be written, before any work is done.

    Args:
        path: The output file.
        source: The input, which is never overwritten; None for a pipe.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: in one line.
    """
    if (size := len(os.fsencode(path.name))) > _MAX_NAME:
        raise OutputError(f"The name of the output has {size} bytes, more than the {_MAX_NAME} that a file may have.")
    source = None if source is None else local_path(source)
    if source is not None and os.path.exists(path) and os.path.exists(source) and path.samefile(source):
        raise OutputError(f"{path} is the input itself: give the output another name.")
    if os.path.isdir(path):
        raise OutputError(f"{path} is a folder: give a file name, e.g. {path / 'out.mp4'}.")
    if os.path.exists(path) and not overwrite:
        raise OutputError(f"{path} exists: pass `overwrite=True` to replace it, or give another name.")
    folder = path.parent
    if not os.path.isdir(folder):
        raise OutputError(f"The folder {folder} does not exist: make it first.")
    remove_leftovers(path)
    # Permission bits do not tell about read-only file systems, quotas and root: writing a file does.
    try:
        with WorkingFile(path) as trial:
            trial.file.write(b"\0")
            trial.file.flush()
    except OSError as error:
        raise write_error(error, path) from None


def local_path(location: str | Path) -> str | Path:
    """The path in an address such as file:clip.mp4 or file:///home/a%20b.mp4; others are returned as they are."""
    if not isinstance(location, str) or not location.startswith("file:") or os.path.exists(location):
        return location
    path = location.removeprefix("file:")
    path = path.removeprefix("//") if path.startswith("///") else path
    return path if os.path.exists(path) or not os.path.exists(unquote(path)) else unquote(path)


def file_url(path: str | Path) -> str:
    """The address by which FFmpeg opens a file, whatever its name: a colon in a name alone would end a protocol's."""
    return f"file:{os.fspath(path)}"


def files_fingerprint(files: Sequence[Path]) -> str:
    """A hash of the names, sizes and modification times of files, which changes when a file does."""
    digest = hashlib.sha256()
    for path in files:
        fact = path.stat()
        digest.update(repr((str(path.absolute()), fact.st_size, fact.st_mtime_ns)).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def hidden_path(path: Path, ending: str) -> Path:
    """The path of a hidden file beside `path`: its name and `ending`, cut to a length that file systems allow."""
    if len(os.fsencode(f".{path.name}{ending}")) <= _MAX_NAME:
        return path.with_name(f".{path.name}{ending}")
    kept, mark = path.name, "~" + hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]
    while len(os.fsencode(f".{kept}{mark}{ending}")) > _MAX_NAME:
        kept = kept[:-1]
    return path.with_name(f".{kept}{mark}{ending}")


class WorkingFile:
    """The file that an output is written to until it is complete: hidden, beside the output, and locked.

    The lock, which ends with the process, tells a live run's file from what a killed run has left. As a context manager
    it discards the file, unless it was published.

    Args:
        output: The output.

    Attributes:
        path: The working file.
        file: It, open for reading and writing.

    Raises:
        OSError: if it cannot be created.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        for _ in range(100):
            self.path = _working_path(output, secrets.token_hex(4))
            # An interrupt may come before the owner has this object: it is then discarded with the object.
            with defer_signals():
                self.file: IO[bytes] = open(self.path, "x+b", buffering=1 << 20)  # noqa: SIM115
                # A second descriptor holds the lock while `publish` closes and moves the file.
                self._lock = os.fdopen(os.dup(self.file.fileno()), "rb")
                self._discard = weakref.finalize(self, _discard_file, self.file, self.path, self._lock)
            # Another run may have taken the file for a leftover before it was locked.
            if try_lock(self._lock.fileno()) is not False and self.path.exists():
                return
            self.discard()
        raise OSError("its working file is removed as soon as it is made")

    def publish(self) -> None:
        """Close the file and move it to the output's name.

        Raises:
            OSError: if that fails.
        """
        self.file.close()
        if os.name == "nt":  # which moves no file that is open
            self._lock.close()
        os.replace(self.path, self._output)
        self._discard.detach()
        self._lock.close()

    def discard(self) -> None:
        """Close and remove the file; does nothing after `publish`."""
        self._discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


def _discard_file(file: IO[bytes], path: Path, lock: IO[bytes]) -> None:
    with contextlib.suppress(OSError):
        file.close()
    if os.name == "nt":  # which removes no file that is open
        lock.close()
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    lock.close()


def remove_leftovers(output: Path) -> None:
    """Remove the working files of an output that killed runs have left; those of live runs are locked and stay."""
    before, _, after = _working_path(output, "?" * 8).name.rpartition("?" * 8)
    name = re.escape(before) + r"(\d+|[0-9a-f]{8})" + re.escape(after)
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(output.absolute().parent)):
            if re.fullmatch(name, entry.name) and entry.is_file(follow_symlinks=False):
                _remove_unlocked(Path(entry.path))


def _remove_unlocked(path: Path) -> None:
    """Remove a file that no process has locked; where the file system has no locks it stays."""
    with contextlib.suppress(OSError), open(path, "r+b") as file:
        if try_lock(file.fileno()):
            if os.name == "nt":
                file.close()
            path.unlink()


def _working_path(output: Path, token: str) -> Path:
    suffix = output.suffix if len(os.fsencode(output.suffix)) <= _MAX_SUFFIX else ""
    return hidden_path(output.with_name(output.name.removesuffix(suffix)), f".{token}.part{suffix}")


def try_lock(descriptor: int) -> bool | None:
    """Lock an open file for this process; False if another one holds it, None where the file system has no locks."""
    try:
        return lock_descriptor(descriptor, blocking=False)
    except OSError:
        return None


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a small file, whole or not at all.

    Raises:
        OutputError: if it cannot be written.
    """
    try:
        with WorkingFile(path) as working:
            # File names may hold bytes that are not text: they are written back unchanged.
            working.file.write(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)
            working.publish()
    except OSError as error:
        raise write_error(error, path) from None


def write_error(error: BaseException, path: Path | str) -> OutputError:
    """The error to raise where `path` cannot be written."""
    code = getattr(error, "errno", None)
    known = {
        errno.ENOSPC: "the disk is full; free some space or choose another place",
        getattr(errno, "EDQUOT", errno.ENOSPC): "the disk quota is used up; free some space or choose another place",
        errno.EFBIG: "the file grows too large for the disk or its limit",
        errno.EACCES: "no permission; choose another place",
        errno.EPERM: "no permission; choose another place",
        errno.EROFS: "the file system is read-only; choose another place",
        errno.EPIPE: "the program that reads it has gone",
        errno.EIO: "input/output error on the disk",
    }
    text = known.get(code) if code is not None else None
    return OutputError(f"{path} cannot be written: {text or error_text(error)}.")


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise read_error(path, error) from None


def read_error(path: Path, error: OSError) -> InputError:
    """The error to raise where `path` cannot be read."""
    return InputError(f"{path} cannot be read: {(error.strerror or 'error').lower()}.")


def error_text(error: BaseException) -> str:
    """The text of an error of the system or of FFmpeg, with the cause if FFmpeg's log names it, as a sentence's end."""
    text = str(getattr(error, "strerror", None) or str(error) or type(error).__name__).strip().rstrip(".").lower()
    log = getattr(error, "log", None)  # level, component and message
    cause = " ".join(log[2].split()).rstrip(".!") if log else ""
    return f"{text} ({cause})" if cause and cause.lower() != text else text
