"""Output files that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from betwixt.errors import InputError, OutputError


class AtomicOutput(ABC):
    """An output that appears whole or not at all; as a context manager it commits, or aborts if the block raises."""

    @abstractmethod
    def commit(self) -> None:
        """Finish it and move it into its place."""

    @abstractmethod
    def abort(self) -> None:
        """Leave nothing behind; does nothing after `commit`."""

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
        source: The input, which is never written over; None for a pipe.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: in one line.
    """
    if source is not None and path.exists() and Path(source).exists() and path.samefile(source):
        raise OutputError(f"{path} is the input itself: give the output another name.")
    if path.is_dir():
        raise OutputError(f"{path} is a folder: give a file name, e.g. {path / 'out.mp4'}.")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists: pass --overwrite to replace it, or give another name.")
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(f"The folder {folder} does not exist: make it first.")
    # a trial says more than the permission bits do (read-only file systems, quotas, root)
    trial = temporary_path(path)
    try:
        with open(trial, "xb") as file:
            file.write(b"\0")
    except OSError as error:
        raise write_error(error, path) from None
    finally:
        trial.unlink(missing_ok=True)


def files_fingerprint(files: Sequence[Path]) -> str:
    """What tells files on the disk from others, and from themselves after a change: names, sizes, times of change."""
    digest = hashlib.sha256()
    for path in files:
        fact = path.stat()
        digest.update(repr((str(path.absolute()), fact.st_size, fact.st_mtime_ns)).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def temporary_path(path: Path) -> Path:
    """The name of the unfinished file: hidden, in the same folder, with the same suffix."""
    return path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a small file, whole or not at all.

    Raises:
        OutputError: if it cannot be written.
    """
    partial = temporary_path(path)
    try:
        # Names of files may hold bytes that are no text: they go out as they came.
        partial.write_bytes(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise write_error(error, path) from None


def write_error(error: BaseException, path: Path | str) -> OutputError:
    """What went wrong in writing `path`, in one line."""
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
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise read_error(path, error) from None
    return digest.hexdigest()


def read_error(path: Path, error: OSError) -> InputError:
    """What went wrong in reading `path`, in one line."""
    return InputError(f"{path} cannot be read: {(error.strerror or 'error').lower()}.")


def error_text(error: BaseException) -> str:
    """What an error of the system or of FFmpeg says, as the end of a sentence."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).strip().rstrip(".").lower()
