"""A cache of masks on disk, by a hash of everything that they depend on.

    frames, source, settings ──► key ──► FOLDER/ke/key….npz

The folder is in the system's cache folder (Linux: ~/.cache/betwixt/masks); BETWIXT_CACHE replaces the folder of all of
Betwixt's caches. Above 2 GB, the least recently used entries are deleted. Entries are written atomically; unreadable
ones count as absent.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from betwixt.errors import OutputError
from betwixt.files import write_atomically
from betwixt.machine import cache_folder

_LIMIT = 2_000_000_000
"""Largest size of the cache, in bytes."""


def cache_key(*parts: Any) -> str:
    """The hash of a sequence of arrays and JSON values."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype} {part.shape}\n".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(json.dumps(part, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


class MaskCache:
    """A cache of named arrays.

    Args:
        folder: The folder; by default that of the user.
        limit: Its largest size, in bytes.
    """

    def __init__(self, folder: Path | None = None, limit: int = _LIMIT) -> None:
        self.folder = folder or cache_folder("masks")
        self._limit = limit

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.npz"

    def get(self, key: str) -> dict[str, NDArray[Any]] | None:
        """The arrays stored under `key`, or None."""
        path = self._path(key)
        try:
            # Opened here, because NumPy does not close a file that it cannot read.
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        return arrays

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Store arrays under `key`. A full or read-only disk is not an error: they will be computed again."""
        path, content = self._path(key), io.BytesIO()
        np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
        with contextlib.suppress(OSError, OutputError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content.getvalue())

    def prune(self) -> None:
        """Delete the least recently used entries until the cache is within its limit."""
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
