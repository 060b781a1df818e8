"""Files: outputs that are written whole or not at all, hashes, and one-line errors."""

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
    if source is not None and path.exists() and Path(source).exists() and path.samefile(source):
        raise OutputError(f"{path} is the input itself: give the output another name.")
    if path.is_dir():
        raise OutputError(f"{path} is a folder: give a file name, e.g. {path / 'out.mp4'}.")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists: pass `overwrite=True` to replace it, or give another name.")
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(f"The folder {folder} does not exist: make it first.")
    # Permission bits do not tell about read-only file systems, quotas and root: writing a file does.
    trial = temporary_path(path)
    try:
        with open(trial, "xb") as file:
            file.write(b"\0")
    except OSError as error:
        raise write_error(error, path) from None
    finally:
        trial.unlink(missing_ok=True)


def files_fingerprint(files: Sequence[Path]) -> str:
    """A hash of the names, sizes and modification times of files, which changes when a file does."""
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
        # File names may hold bytes that are not text: they are written back unchanged.
        partial.write_bytes(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
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
    """The text of an error of the system or of FFmpeg, as the end of a sentence."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).strip().rstrip(".").lower()
