"""Output files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from betwixt.errors import BetwixtError, OutputError

__all__ = ["check_output", "output_error", "temporary_beside"]


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
    trial = temporary_beside(path)
    try:
        with open(trial, "xb") as file:
            file.write(b"\0")
    except OSError as error:
        raise output_error(error, path) from None
    finally:
        trial.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """The name of the unfinished file: hidden, in the same folder, with the same suffix."""
    return path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")


def output_error(error: BaseException, path: Path | str) -> BetwixtError:
    """What went wrong in writing `path`, in one line."""
    code = getattr(error, "errno", None)
    reasons = {
        errno.ENOSPC: "there is no space left on the disk: free some and start again",
        errno.EDQUOT: "the disk quota is used up: free some space and start again",
        errno.EFBIG: "the file grows too large for the disk or its limit",
        errno.EACCES: "permission denied: choose a folder you may write to",
        errno.EPERM: "permission denied: choose a folder you may write to",
        errno.EROFS: "the file system is read-only: choose another folder",
        errno.EPIPE: "the program reading the output has gone",
        errno.EIO: "input/output error on the disk",
    }
    text = reasons.get(code) if code is not None else None
    if text is None:
        text = (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip().rstrip(".")
    return OutputError(f"{path} cannot be written: {text}.")
