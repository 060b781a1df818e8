"""Downloading published weights: fetched through pooch, resumed where it broke off, verified, imported.

    catalog ──► url, git blob hash ──► .downloads/NAME/*.part ──► verified ──► import ──► NAME.safetensors

A part that is cut off stays and is gone on with. What comes with another hash than the catalog's is deleted. Nothing is
installed before all of it is verified and fits its network.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from betwixt.errors import BetwixtError, InputError, OutputError, UsageError
from betwixt.files import write_error
from betwixt.machine import require_torch
from betwixt.models.registry import MODELS
from betwixt.weights.catalog import PublishedFile, catalog, git_blob_hash
from betwixt.weights.install import ImportResult, import_weights
from betwixt.weights.store import weights_folder

__all__ = ["Progress", "download_weights", "fetch"]

Progress = Callable[[str, int, int], None]
"""Told the name of a file, how many bytes of it are there, and how many it has (0: unknown)."""

_CONNECT, _SILENCE = 15.0, 30.0
"""Seconds to wait for a connection, and for the next bytes."""
_ATTEMPTS = 3
_UNKNOWN_LIMIT = 512 << 20
"""The most that is taken of a file whose size nobody knows."""


def download_weights(
    name: str, target: Path | None = None, *, overwrite: bool = False, progress: Progress | None = None
) -> ImportResult:
    """Fetch published weights and import them.

    Args:
        name: In the catalog.
        target: The file to write; by default NAME.safetensors in the user's folder.
        overwrite: Whether an existing file may be replaced.
        progress: Told how far it is.

    Raises:
        UsageError: if the catalog has no such weights, or none that can be fetched.
        InputError: if they cannot be fetched, or are not what was published.
        OutputError: if they cannot be written.
    """
    files = catalog().files_of(name)
    if not files:
        raise UsageError(_refusal(name))
    entry = files[0].model
    if not entry.model:
        raise UsageError(f"{name} of {entry.repository} fits no network here: it is {entry.why}.")
    require_torch("Importing weights")
    target = target or weights_folder() / f"{name}.safetensors"
    if target.exists() and not overwrite:
        raise OutputError(f"{target} is there: pass --overwrite to fetch it again.")
    folder = weights_folder() / ".downloads" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(error, folder) from None
    try:
        paths = [fetch(file, folder / Path(file.path).name, progress) for file in files]
        origin = f"{entry.repository}@{entry.commit[:12]}/{Path(files[0].path).parent}"
        facts = {"origin": origin, "licence": entry.licence}
        imported = import_weights(paths[0], entry.model, target, overwrite=overwrite, facts=facts)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        for empty in (folder, folder.parent):
            with suppress(OSError):
                empty.rmdir()
    return imported


def fetch(file: PublishedFile, target: Path, progress: Progress | None = None) -> Path:
    """Fetch one file, whole and verified; what is there of it already is not fetched again.

    Raises:
        InputError: if it cannot be fetched, or is not what was published.
    """
    if target.is_file() and git_blob_hash(target) == file.git_blob_sha1:
        return target
    target.unlink(missing_ok=True)
    try:
        import pooch
    except ImportError:
        raise UsageError("Downloading needs pooch: pip install 'betwixt[torch]'.") from None
    pooch.get_logger().setLevel("ERROR")
    try:
        pooch.retrieve(
            file.url,
            known_hash=None,
            fname=target.name,
            path=target.parent,
            downloader=_Download(file, target, progress),
        )
    except BetwixtError:
        raise
    except OSError as error:
        raise write_error(error, target) from None
    return target


@dataclass
class _Download:
    """What pooch calls to fetch a file; it hands over a file only when its hash is the catalog's."""

    file: PublishedFile
    target: Path
    progress: Progress | None

    def __call__(self, url: str, output_file: Any, _: Any, check_only: bool = False) -> None:
        import requests

        part = self.target.with_name(f"{self.target.name}.part")
        host = urlsplit(url).netloc
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._go_on(url, part)
                break
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                never = _never_connected(error)
                if never or attempt == _ATTEMPTS:
                    raise InputError(f"{self._what_broke(error, host, part, never)} {self._by_hand()}") from None
            except requests.TooManyRedirects:
                raise InputError(f"{url} leads in circles. {self._by_hand()}") from None
            except requests.RequestException as error:
                why = (str(error).splitlines() or [type(error).__name__])[0]
                raise InputError(f"{url} cannot be fetched ({why[:150]}). {self._by_hand()}") from None
        found = git_blob_hash(part)
        if found != self.file.git_blob_sha1:
            size = part.stat().st_size
            part.unlink()
            raise InputError(
                f"What came from {url} is not what was published: {size} bytes with the git hash {found[:12]}, not "
                f"{self.file.git_blob_sha1[:12]}. It was deleted."
            )
        part.replace(output_file)

    def _go_on(self, url: str, part: Path) -> None:
        """Ask for what is missing, and add it."""
        import requests

        have = part.stat().st_size if part.exists() else 0
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, stream=True, timeout=(_CONNECT, _SILENCE), headers=headers) as response:
            if response.status_code == 416:
                # It is all there, or more than all: the hash will tell.
                return
            if response.status_code in (404, 410):
                raise InputError(f"{url} is not there any more ({response.status_code}). {self._by_hand()}")
            if not response.ok:
                raise InputError(
                    f"{url} cannot be fetched: the server answers {response.status_code}. {self._by_hand()}"
                )
            ranged = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(
                f"bytes {have}-"
            )
            have = have if ranged else 0
            length = response.headers.get("Content-Length", "")
            total = have + int(length) if length.isdigit() else 0
            limit = self.file.size or (2 * self.file.about if self.file.about else _UNKNOWN_LIMIT)
            if total > limit:
                raise InputError(f"{url} is too large: {total} bytes, where at most {limit} were expected.")
            with part.open("ab" if ranged else "wb") as out:
                for block in response.iter_content(1 << 16):
                    have += len(block)
                    if have > limit:
                        part.unlink()
                        raise InputError(f"{url} is too large: more than {limit} bytes. It was deleted.")
                    out.write(block)
                    if self.progress is not None:
                        self.progress(self.target.name, have, total)

    def _what_broke(self, error: Exception, host: str, part: Path, never: bool) -> str:
        if never:
            return f"There is no connection to {host}: is this machine online?"
        what = f"{host} stopped sending" if "timed out" in str(error) else f"The connection to {host} broke off"
        have = part.stat().st_size if part.exists() else 0
        kept = f" {have} bytes are kept: run it again to go on from there." if have else ""
        return f"{what}, {_ATTEMPTS} times.{kept}"

    def _by_hand(self) -> str:
        model = self.file.model
        place = f"github.com/{model.repository} at {model.commit[:12]}"
        return f"Or fetch {self.file.path} of {place} by hand (betwixt weights import takes it)."


def _never_connected(error: Exception) -> bool:
    import requests

    if isinstance(error, requests.exceptions.SSLError | requests.exceptions.ProxyError | requests.ConnectTimeout):
        return True
    return any(word in str(error) for word in ("NewConnectionError", "NameResolutionError", "Failed to establish"))


def _refusal(name: str) -> str:
    """Why there is nothing to download under a name."""
    known = [entry.name for entry in catalog().published.values() if entry.model]
    place = catalog().manual_download(name)
    if place is not None:
        terms = place.licence if place.commercial else f"{place.licence}: not for commercial use"
        return (
            f"The weights of {name} have no address that could be verified: {place.page} says where its authors keep "
            f"them ({terms}). Fetch them, then betwixt weights import FILE --as {name}."
        )
    if name in MODELS:
        return f"No weights of {name} are published; there are {', '.join(known)}."
    return f"There are no weights '{name}' to download: choose one of {', '.join(known)}."
