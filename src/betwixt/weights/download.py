"""Downloading published weights: fetched by pooch, resumed after an interruption, verified, imported.

    catalog ──► URL, hash ──► .downloads/NAME/*.part ──► verified ──► imported ──► NAME.safetensors

A partial download is kept and resumed. A file whose hash differs from the catalog's is deleted. Nothing is installed
before all files are verified and match their network.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from betwixt.errors import BetwixtError, InputError, OutputError, UsageError, did_you_mean
from betwixt.files import file_hash, write_error
from betwixt.machine import require_torch
from betwixt.models.registry import MODELS
from betwixt.models.rife import SAME_LAYERS
from betwixt.weights.catalog import PublishedFile, catalog, git_blob_hash
from betwixt.weights.install import ImportResult, import_weights
from betwixt.weights.store import weights_folder

DownloadProgress = Callable[[str, int, int], None]
"""Called with the name of a file, the bytes downloaded so far, and its size in bytes (0 if unknown)."""

_CONNECT_TIMEOUT, _READ_TIMEOUT = 15.0, 30.0  # seconds
_ATTEMPTS = 3
_SIZE_LIMIT = 512 << 20
"""The largest download, in bytes, of a file whose size is unknown."""


def download_weights(
    name: str, target: Path | None = None, *, overwrite: bool = False, progress: DownloadProgress | None = None
) -> ImportResult:
    """Download published weights and import them.

    Args:
        name: Their name in the catalog.
        target: The file to write; by default NAME.safetensors in the user's folder.
        overwrite: Whether an existing file may be replaced.
        progress: Called as the download proceeds.

    Raises:
        UsageError: if the catalog has no such weights, or no network for them.
        InputError: if they cannot be downloaded, or are not what was published.
        OutputError: if they cannot be written.
    """
    files = catalog().files_of(name)
    if not files:
        raise UsageError(_explain_missing(name))
    entry = files[0].model
    if not entry.model:
        raise UsageError(f"{name} of {entry.repository} fits no network here: it is {entry.unsupported}.")
    require_torch("Importing weights")
    target = target or weights_folder() / f"{name}.safetensors"
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists: pass `overwrite=True` to download it again.")
    folder = weights_folder() / ".downloads" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(error, folder) from None
    try:
        paths = [download_file(file, folder / Path(file.path).name, progress) for file in files]
        origin = f"{entry.repository}@{entry.commit[:12]}/{Path(files[0].path).parent}"
        metadata = {"origin": origin, "licence": entry.licence}
        result = import_weights(paths[0], entry.model, target, overwrite=overwrite, metadata=metadata)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        for empty in (folder, folder.parent):
            with suppress(OSError):
                empty.rmdir()
    return result


def download_file(file: PublishedFile, target: Path, progress: DownloadProgress | None = None) -> Path:
    """Download one file and verify it; a partial download is resumed.

    Raises:
        InputError: if it cannot be downloaded, or is not what was published.
    """
    if target.is_file() and file.is_content_of(target):
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
    """The downloader that pooch calls; it leaves a file only if its hash is the catalog's."""

    file: PublishedFile
    target: Path
    progress: DownloadProgress | None

    def __call__(self, url: str, output_file: Any, _: Any, check_only: bool = False) -> None:
        import requests

        part = self.target.with_name(f"{self.target.name}.part")
        host = urlsplit(url).netloc
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._resume(url, part)
                break
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                offline = _failed_to_connect(error)
                if offline or attempt == _ATTEMPTS:
                    raise InputError(f"{self._describe_failure(error, host, part, offline)} {self._advice()}") from None
            except requests.TooManyRedirects:
                raise InputError(f"{url} redirects too often. {self._advice()}") from None
            except requests.RequestException as error:
                detail = (str(error).splitlines() or [type(error).__name__])[0]
                raise InputError(f"{url} cannot be downloaded ({detail[:150]}). {self._advice()}") from None
        if not self.file.is_content_of(part):
            size, digest = part.stat().st_size, git_blob_hash(part)
            expected, kind = self.file.git_blob_sha1, "git hash"
            if self.file.sha256:
                digest, expected, kind = file_hash(part), self.file.sha256, "SHA-256"
            part.unlink()
            raise InputError(
                f"The download from {url} is not what was published: {size} bytes with the {kind} {digest[:12]}, not "
                f"{expected[:12]}. It was deleted."
            )
        part.replace(output_file)

    def _resume(self, url: str, part: Path) -> None:
        """Request the missing bytes and append them."""
        import requests

        size = part.stat().st_size if part.exists() else 0
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={size}-"} if size else {})
        timeouts = _CONNECT_TIMEOUT, _READ_TIMEOUT
        with requests.get(url, stream=True, timeout=timeouts, headers=headers) as response:
            if response.status_code == 416:
                # The file is complete, or too long: the hash decides.
                return
            if response.status_code in (404, 410):
                raise InputError(f"{url} does not exist any more ({response.status_code}). {self._advice()}")
            if not response.ok:
                raise InputError(
                    f"{url} cannot be downloaded: the server answers {response.status_code}. {self._advice()}"
                )
            ranged = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(
                f"bytes {size}-"
            )
            size = size if ranged else 0
            length = response.headers.get("Content-Length", "")
            total = size + int(length) if length.isdigit() else 0
            limit = self.file.size or 2 * self.file.estimated_size or _SIZE_LIMIT
            if total > limit:
                raise InputError(f"{url} is too large: {total} bytes, where at most {limit} were expected.")
            with part.open("ab" if ranged else "wb") as out:
                for block in response.iter_content(1 << 16):
                    size += len(block)
                    if size > limit:
                        part.unlink()
                        raise InputError(f"{url} is too large: more than {limit} bytes. It was deleted.")
                    out.write(block)
                    if self.progress is not None:
                        self.progress(self.target.name, size, total)

    def _describe_failure(self, error: Exception, host: str, part: Path, offline: bool) -> str:
        if offline:
            return f"There is no connection to {host}: is this machine online?"
        event = f"{host} stopped sending" if "timed out" in str(error) else f"The connection to {host} broke off"
        size = part.stat().st_size if part.exists() else 0
        kept = f" {size} bytes are kept: run it again to resume." if size else ""
        return f"{event}, {_ATTEMPTS} times.{kept}"

    def _advice(self) -> str:
        model = self.file.model
        place = f"{model.host}/{model.repository} at {model.commit[:12]}"
        return f"Or download {self.file.path} from {place} by hand and use betwixt weights import."


def _failed_to_connect(error: Exception) -> bool:
    import requests

    if isinstance(error, requests.exceptions.SSLError | requests.exceptions.ProxyError | requests.ConnectTimeout):
        return True
    return any(word in str(error) for word in ("NewConnectionError", "NameResolutionError", "Failed to establish"))


def _explain_missing(name: str) -> str:
    """Why no weights of a name can be downloaded."""
    downloads = [entry.name for entry in catalog().published.values() if entry.model]
    available = ", ".join(downloads)
    model = SAME_LAYERS.get(name, name)
    place = catalog().manual_download(model)
    if place is not None:
        terms = place.licence if place.commercial else f"{place.licence}: not for commercial use"
        also = f" Unverified: {place.unverified[name]}." if name in place.unverified else ""
        return (
            f"The weights of {name} have no address that could be verified: {place.page} says where its authors keep "
            f"them ({terms}).{also} Download them, then betwixt weights import FILE --as {model}."
        )
    if name in MODELS:
        return f"No weights of {name} are published; there are {available}."
    hint = did_you_mean(name, downloads, f"choose one of {available}")
    return f"There are no weights '{name}' to download: {hint}"
