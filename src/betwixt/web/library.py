"""The files that the page may read: what was uploaded, and the videos of one folder.

A browser names a file by an opaque id, never by a path. `Library.resolve` is the only way from such an id to a file.
Uploads lie in a folder each, `uploads/ID/NAME`, under a name that is safe on every file system. Files of the shared
folder get an id by their path in it; whatever leads out of the folder, such as a symbolic link, is not listed and not
resolved.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import threading
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from betwixt.errors import InputError
from betwixt.files import read_error

VIDEO_SUFFIXES = frozenset({
    ".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut",
    ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
})  # fmt: skip
"""Suffixes of the files that are listed as videos."""

PICTURE_SUFFIXES = frozenset({".avif", ".bmp", ".exr", ".jpeg", ".jpg", ".jxl", ".png", ".tif", ".tiff", ".webp"})
"""Suffixes of the files that are listed as pictures."""

_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"v=0\r", b"v=0\n")
"""How files begin that name other files or addresses: HLS, concat, SDP."""

_MAX_LISTED = 2000
"""The most files of the shared folder that are listed."""

_RECEIVED_SECONDS = 3600.0
"""How long a received file is kept that is not added to the library."""

_MAX_NAME = 120
"""The longest name of an upload, in bytes: the output's name adds to it."""


@dataclass(frozen=True)
class Limits:
    """What uploads may take.

    Attributes:
        file_bytes: The size of one upload.
        total_bytes: The size of all uploads together.
        count: The number of uploads that are kept; the oldest make room for new ones.
        days: How long uploads and finished jobs are kept.
    """

    file_bytes: int = 4 << 30
    total_bytes: int = 16 << 30
    count: int = 100
    days: float = 7.0


@dataclass(frozen=True)
class LibraryFile:
    """A file that the page may read.

    Attributes:
        id: What the browser names it by.
        name: Its name, for people; in the shared folder with the folders on the way.
        size: In bytes.
        uploaded: Whether it was uploaded; otherwise it lies in the shared folder.
    """

    id: str
    name: str
    size: int
    uploaded: bool

    @property
    def is_picture(self) -> bool:
        """Whether it is a picture, by its suffix."""
        return Path(self.name).suffix.lower() in PICTURE_SUFFIXES


class Library:
    """The files that the page may read.

    Args:
        work: The work folder, in which uploads are kept.
        folder: A folder of videos to choose from, which is only read; None for uploads alone.
        limits: What uploads may take.

    Attributes:
        folder: The shared folder without symbolic links, or None.
        received: Where the server puts uploads before they are added.
        limits: What uploads may take.

    Raises:
        InputError: if the shared folder does not exist.
    """

    def __init__(self, work: Path, folder: Path | None = None, limits: Limits | None = None) -> None:
        if folder is not None and not folder.is_dir():
            raise InputError(f"{folder} is not a folder.")
        self.folder = None if folder is None else folder.resolve()
        self.limits = limits or Limits()
        self.received, self._uploads = work / "received", work / "uploads"
        for place in (self.received, self._uploads):
            place.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()

    def files(self, pictures: bool = False) -> list[LibraryFile]:
        """The videos, or the pictures: uploads, the newest first, then those of the shared folder by name."""
        uploads = [file for _, file in sorted(self._uploaded(), key=lambda pair: -pair[0])]
        return [file for file in [*uploads, *self._shared(pictures)] if file.is_picture == pictures]

    def find(self, id_: str | None) -> LibraryFile:
        """The file of an id.

        Raises:
            InputError: if there is none.
        """
        for file in [*(file for _, file in self._uploaded()), *self._shared(None)]:
            if file.id == id_:
                return file
        raise InputError("This file is not there any more: upload it again, or choose another one.")

    def resolve(self, id_: str | None) -> Path:
        """The path of the file that an id names. No other path from a browser is ever opened.

        Raises:
            InputError: if there is none, or it is a playlist.
        """
        file = self.find(id_)
        path = self._uploads / file.id / file.name
        if not file.uploaded:
            assert self.folder is not None
            path = self.folder / file.name
        _refuse_playlist(path, file.name)
        return path

    def add_upload(self, path: Path, name: str) -> LibraryFile:
        """Move a file that the server has received into the library.

        Args:
            path: Where the server has put it, inside `received`.
            name: The name that the browser gave, which is not trusted.

        Raises:
            InputError: if it is too large, uploads take too much already, or it is a playlist.
        """
        if not path.resolve().is_relative_to(self.received.resolve()):
            raise InputError(f"{safe_name(name)} was not uploaded.")
        _refuse_playlist(path, safe_name(name))
        size = path.stat().st_size
        if size > self.limits.file_bytes:
            raise InputError(
                f"{safe_name(name)} is larger than the {self.limits.file_bytes / 1e9:.3g} GB of one upload."
            )
        with self._lock:
            self._make_room(size)
            id_ = secrets.token_hex(8)
            folder = self._uploads / id_
            folder.mkdir()
            shutil.move(path, folder / safe_name(name))
        return self.find(id_)

    def remove(self, id_: str) -> None:
        """Remove an upload; files of the shared folder are never touched."""
        if any(file.id == id_ for _, file in self._uploaded()):
            shutil.rmtree(self._uploads / id_, ignore_errors=True)

    def remove_expired(self, in_use: frozenset[str] = frozenset()) -> None:
        """Remove uploads that are older than `limits.days`, except those that jobs still need, and what was received
        but never added."""
        oldest = time.time() - self.limits.days * 86400
        for added, file in list(self._uploaded()):
            if added < oldest and file.id not in in_use:
                self.remove(file.id)
        for path in self.received.iterdir():
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < time.time() - _RECEIVED_SECONDS:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _make_room(self, size: int) -> None:
        uploads = sorted(self._uploaded(), key=lambda pair: pair[0])
        while len(uploads) >= self.limits.count:
            self.remove(uploads.pop(0)[1].id)
        if sum(file.size for _, file in uploads) + size > self.limits.total_bytes:
            raise InputError(f"Uploads may take {self.limits.total_bytes / 1e9:.3g} GB together: remove some first.")

    def _uploaded(self) -> Iterator[tuple[float, LibraryFile]]:
        """The uploads with the times at which they came."""
        for folder in self._uploads.iterdir():
            with contextlib.suppress(OSError):
                for path in folder.iterdir():
                    if path.is_file() and not path.is_symlink():
                        yield folder.stat().st_mtime, LibraryFile(folder.name, path.name, path.stat().st_size, True)

    def _shared(self, pictures: bool | None) -> list[LibraryFile]:
        """The videos (or pictures, or both) of the shared folder."""
        if self.folder is None:
            return []
        suffixes = {None: VIDEO_SUFFIXES | PICTURE_SUFFIXES, False: VIDEO_SUFFIXES, True: PICTURE_SUFFIXES}[pictures]
        files: list[LibraryFile] = []
        for place, folders, names in os.walk(self.folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(place, name)
                if path.suffix.lower() not in suffixes or name.startswith(".") or not self._is_inside(path):
                    continue
                relative = path.relative_to(self.folder).as_posix()
                id_ = "folder-" + hashlib.sha256(os.fsencode(relative)).hexdigest()[:24]
                files.append(LibraryFile(id_, relative, path.stat().st_size, False))
                if len(files) == _MAX_LISTED:
                    return files
        return files

    def _is_inside(self, path: Path) -> bool:
        """Whether a path is a regular file of the shared folder, wherever symbolic links lead."""
        assert self.folder is not None
        real = Path(os.path.realpath(path))
        return real.is_relative_to(self.folder) and real.is_file()


def _refuse_playlist(path: Path, name: str) -> None:
    """Refuse a file that is a list of other files, which FFmpeg would open wherever they are.

    Raises:
        InputError: if it is one.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError as error:
        raise read_error(Path(name), error) from None
    if beginning.startswith(_PLAYLISTS) or b"<MPD" in beginning:
        raise InputError(f"{name} is a list of other files, not a video.")


def safe_name(name: str) -> str:
    """A file name that keeps the letters of one that a browser gave, and nothing that can do harm.

    Folders, control characters, marks that change the direction of writing and characters that some file systems
    refuse are left out; the suffix stays.
    """
    name = unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1])
    kept = "".join(c for c in name if unicodedata.category(c)[0] != "C" and c not in '<>:"|?*')
    stem, suffix = os.path.splitext(kept.strip(" ."))
    suffix = suffix if re.fullmatch(r"\.\w{1,10}", suffix) else ""
    while len(os.fsencode(stem + suffix)) > _MAX_NAME:
        stem = stem[:-1]
    return (stem.strip(" .-") or "video") + suffix
