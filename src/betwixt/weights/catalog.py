"""The catalog: where authors publish weights, under which licence, and the hashes that identify each file.

`catalog.toml` names files of public repositories at one commit. On GitHub, git identifies a file by the SHA-1 of "blob
SIZE", a zero byte and its content; on Hugging Face, large files are identified by their SHA-256. So each download
can be verified.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from betwixt.files import file_hash, read_error


@dataclass(frozen=True)
class PublishedWeights:
    """Weights that are published as files of a repository."""

    name: str  # the name that `betwixt weights download` takes
    model: str  # the model they are for; "" if they fit no network here
    unsupported: str  # why they fit none
    host: str  # where the repository is: github.com or huggingface.co
    repository: str  # its OWNER/NAME
    commit: str  # the commit of that repository
    licence: str  # the licence of the weights
    verified: str  # what is known of the files besides their names: "hash", "layers, hash" or "file, hash"


@dataclass(frozen=True)
class PublishedFile:
    """A file of published weights."""

    model: PublishedWeights  # the weights it belongs to
    path: str  # its path in the repository
    git_blob_sha1: str  # the hash by which git identifies it; "" if unknown
    sha256: str  # the SHA-256 of its content; "" if unknown
    size: int  # in bytes; 0 if unknown
    estimated_size: int  # in bytes, from the sizes of the network; 0 if unknown
    url: str  # where it can be downloaded

    def is_content_of(self, path: Path) -> bool:
        """Whether a file on disk has the hash of this one.

        Raises:
            InputError: if it cannot be read.
        """
        if self.sha256:
            return file_hash(path) == self.sha256
        return git_blob_hash(path) == self.git_blob_sha1

    @property
    def repository(self) -> str:
        """The repository it belongs to."""
        return self.model.repository

    @property
    def licence(self) -> str:
        """The licence of the weights."""
        return self.model.licence


@dataclass(frozen=True)
class ManualDownload:
    """Weights that are published in a way that cannot be verified here: the user has to fetch them."""

    models: tuple[str, ...]  # the models they are for
    page: str  # the page on which the authors link to them
    licence: str  # the licence of the weights
    commercial: bool  # whether the licence permits commercial use
    unverified: dict[str, str]  # by model: where else its file is published, without a known hash


@dataclass(frozen=True)
class Catalog:
    """The content of `catalog.toml`."""

    published: dict[str, PublishedWeights]  # weights in repositories, by name
    files: tuple[PublishedFile, ...]  # their files
    manual: tuple[ManualDownload, ...]  # weights published elsewhere
    embedded: dict[str, str]  # the SHA-256 of the files that come with Betwixt, by name

    def files_of(self, name: str) -> tuple[PublishedFile, ...]:
        """The files of published weights."""
        return tuple(file for file in self.files if file.model.name == name)

    def manual_download(self, model: str) -> ManualDownload | None:
        """Where a user finds the authors' weights of a model."""
        return next((place for place in self.manual if model in place.models), None)

    def licence(self, model: str) -> str:
        """The licence of the authors' weights of a model, or ""."""
        place = self.manual_download(model)
        return place.licence if place is not None else ""


@cache
def catalog() -> Catalog:
    """The catalog that comes with Betwixt."""
    return parse_catalog((files("betwixt.weights") / "catalog.toml").read_text("utf-8"))


def parse_catalog(text: str) -> Catalog:
    """Read a catalog from TOML."""
    content: dict[str, Any] = tomllib.loads(text)
    published: dict[str, PublishedWeights] = {}
    known_files: list[PublishedFile] = []
    for source in content.get("source", []):
        host = source.get("host", "github.com")
        base = source.get("url") or _address(host, source["repository"], source["commit"])
        for entry in source["model"]:
            model = PublishedWeights(
                name=entry["name"],
                model=entry.get("model", ""),
                unsupported=entry.get("unsupported", ""),
                host=host,
                repository=source["repository"],
                commit=source["commit"],
                licence=source["licence"],
                verified=source.get("verified", "hash"),
            )
            published[model.name] = model
            known_files += [
                PublishedFile(
                    model,
                    file["path"],
                    file.get("git_blob_sha1", ""),
                    file.get("sha256", ""),
                    file.get("size", 0),
                    file.get("estimated_size", 0),
                    f"{base}/{file['path']}",
                )
                for file in entry["files"]
            ]
    manual = tuple(
        ManualDownload(
            tuple(place["models"]),
            place["page"],
            place["licence"],
            place.get("commercial", True),
            dict(place.get("unverified", {})),
        )
        for place in content.get("manual", [])
    )
    return Catalog(published, tuple(known_files), manual, dict(content.get("embedded", {})))


def _address(host: str, repository: str, commit: str) -> str:
    """What the addresses of a repository's files begin with."""
    if host == "huggingface.co":
        return f"https://huggingface.co/{repository}/resolve/{commit}"
    return f"https://raw.githubusercontent.com/{repository}/{commit}"


def git_blob_hash(path: Path) -> str:
    """The SHA-1 by which git identifies a file's content.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise read_error(path, error) from None
    return digest.hexdigest()
