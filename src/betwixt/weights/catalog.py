"""The catalog: where authors publish weights, under what licence, and by which hash a file is known.

`catalog.toml` names files of public repositories at one commit. git knows a file by the SHA-1 of "blob SIZE", a zero
byte and its content; so a download can be verified that nobody here has seen.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from betwixt.errors import InputError

__all__ = [
    "Catalog",
    "ManualDownload",
    "PublishedFile",
    "PublishedWeights",
    "catalog",
    "git_blob_hash",
    "parse_catalog",
]


@dataclass(frozen=True)
class PublishedFile:
    """A file of a repository.

    Attributes:
        model: What it is part of.
        path: In the repository.
        git_blob_sha1: As git knows it.
        size: In bytes, where it is known; else 0.
        about: In bytes, what the sizes of the network say, where no file has been seen; else 0.
        url: Where it can be downloaded.
    """

    model: PublishedWeights
    path: str
    git_blob_sha1: str
    size: int
    about: int
    url: str

    @property
    def repository(self) -> str:
        """Where it is from."""
        return self.model.repository

    @property
    def licence(self) -> str:
        """Of it."""
        return self.model.licence


@dataclass(frozen=True)
class PublishedWeights:
    """Weights that are published as files of a repository.

    Attributes:
        name: What `betwixt weights download` takes.
        model: Which model they are for; "" for none here.
        why: Why for none.
        repository: Of GitHub.
        commit: Of that repository.
        licence: Of the weights.
    """

    name: str
    model: str
    why: str
    repository: str
    commit: str
    licence: str


@dataclass(frozen=True)
class ManualDownload:
    """Weights that are published in a way that cannot be verified here: a person has to fetch them.

    Attributes:
        models: Which models they are for.
        page: Where the authors say where they are.
        licence: Of the weights.
        commercial: Whether the licence lets them be used commercially.
    """

    models: tuple[str, ...]
    page: str
    licence: str
    commercial: bool


@dataclass(frozen=True)
class Catalog:
    """All that is known.

    Attributes:
        published: Weights in repositories, by name.
        files: Their files.
        elsewhere: Weights elsewhere.
        embedded: The SHA-256 of the files that come with Betwixt.
    """

    published: dict[str, PublishedWeights]
    files: tuple[PublishedFile, ...]
    elsewhere: tuple[ManualDownload, ...]
    embedded: dict[str, str]

    def files_of(self, name: str) -> tuple[PublishedFile, ...]:
        """The files of published weights."""
        return tuple(file for file in self.files if file.model.name == name)

    def manual_download(self, model: str) -> ManualDownload | None:
        """Where a person finds the authors' weights of a model."""
        return next((place for place in self.elsewhere if model in place.models), None)

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
    known: list[PublishedFile] = []
    for source in content.get("source", []):
        base = source.get("url") or f"https://raw.githubusercontent.com/{source['repository']}/{source['commit']}"
        for entry in source["model"]:
            model = PublishedWeights(
                name=entry["name"],
                model=entry.get("model", ""),
                why=entry.get("why", ""),
                repository=source["repository"],
                commit=source["commit"],
                licence=source["licence"],
            )
            published[model.name] = model
            known += [
                PublishedFile(
                    model, f["path"], f["git_blob_sha1"], f.get("size", 0), f.get("about", 0), f"{base}/{f['path']}"
                )
                for f in entry["files"]
            ]
    elsewhere = tuple(
        ManualDownload(tuple(place["models"]), place["page"], place["licence"], place.get("commercial", True))
        for place in content.get("elsewhere", [])
    )
    return Catalog(published, tuple(known), elsewhere, dict(content.get("embedded", {})))


def git_blob_hash(path: Path) -> str:
    """The SHA-1 by which git knows a file's content."""
    try:
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {(error.strerror or 'error').lower()}.") from None
    return digest.hexdigest()
