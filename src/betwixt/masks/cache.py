"""Masks that were computed once: kept on disk under a hash of all that they depend on.

    frames, source, settings ──► key ──► FOLDER/ke/key….npz

The folder is the one of the system for caches (Linux: ~/.cache/betwixt/masks); BETWIXT_CACHE names another for all
that Betwixt keeps. What has not been used for longest goes when there is more than 2 GB. Entries appear whole or not at
all; one that cannot be read counts as absent.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from betwixt.machine import cache_folder

__all__ = ["MaskCache", "cache_key"]

_LIMIT = 2_000_000_000
"""Bytes."""


def cache_key(*parts: Any) -> str:
    """A hash of arrays, texts and settings (what JSON holds), in their order."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype} {part.shape}\n".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(json.dumps(part, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


class MaskCache:
    """Arrays by key.

    Args:
        folder: Where; by default the user's.
        limit: How many bytes may lie there.
    """

    def __init__(self, folder: Path | None = None, limit: int = _LIMIT) -> None:
        self.folder = folder or cache_folder("masks")
        self._limit = limit

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.npz"

    def get(self, key: str) -> dict[str, NDArray[Any]] | None:
        """What was kept under `key`, or None."""
        path = self._path(key)
        try:
            # Opened here: NumPy leaves a file open that it cannot read.
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                found = {name: file[name] for name in file.files}
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        return found

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep arrays under `key`. A disk that is full or read-only is no error: they will be computed again."""
        path = self._path(key)
        partial = path.with_name(f".{key}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
            partial.replace(path)
        except OSError:
            pass
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)

    def prune(self) -> None:
        """Take away what has not been used for longest, down to the limit."""
        entries = []
        for path in self.folder.glob("*/*.npz"):
            with contextlib.suppress(OSError):
                status = path.stat()
                entries.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self._limit:
                return
            with contextlib.suppress(OSError):
                path.unlink()
                total -= size
