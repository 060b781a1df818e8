"""Listing the weights files at hand, and verifying them by their hashes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from betwixt.errors import BetwixtError, InputError, UsageError
from betwixt.files import file_hash
from betwixt.models.registry import MODELS
from betwixt.weights.catalog import catalog, git_blob_hash
from betwixt.weights.export import content_hash
from betwixt.weights.install import build_meta_mask_network, build_meta_network
from betwixt.weights.load import match_file, read_tensors
from betwixt.weights.mask_networks import MASK_NETWORKS, companion_texts
from betwixt.weights.metadata import read_metadata
from betwixt.weights.store import SHARED_WEIGHTS, embedded_file, weights_folder

_NOT_A_FILE = "is not a file, but a folder or a broken link"


@dataclass(frozen=True)
class WeightsFile:
    """A weights file that can be loaded."""

    name: str  # the name of the file without its suffix
    model: str  # the model that it is for
    path: Path  # the file
    embedded: bool  # whether it comes with Betwixt
    size: int  # in bytes
    metadata: dict[str, str]  # its metadata, without the long texts of mask networks
    problem: str = ""  # why it cannot be used, or ""


def list_weights() -> list[WeightsFile]:
    """The weights files that come with Betwixt, and those in the user's folder."""
    models = {info.embedded: name for name, info in MODELS.items() if info.embedded and name not in SHARED_WEIGHTS}
    files = [
        _describe(path, models.get(name, ""), embedded=True)
        for name in sorted(catalog().embedded)
        if (path := embedded_file(name)).is_file()
    ]
    folder = weights_folder()
    if folder.is_dir():
        files += [_describe(path, "", embedded=False) for path in sorted(folder.glob("*.safetensors"))]
    return files


def _describe(path: Path, model: str, *, embedded: bool) -> WeightsFile:
    metadata: dict[str, str] = {}
    problem, size = "", 0
    try:
        if not path.is_file():
            raise InputError(f"{path} {_NOT_A_FILE}.")
        size = path.stat().st_size
        metadata = read_metadata(path)
    except InputError as error:
        problem = str(error)
    short = {key: value for key, value in metadata.items() if key not in companion_texts(metadata)}
    model = model or metadata.get("model") or path.stem
    return WeightsFile(path.stem, model, path, embedded, size, short, problem)


@dataclass(frozen=True)
class Verification:
    """The result of verifying a weights file."""

    path: Path  # the file
    good: bool  # whether its content has the hash that it should have
    text: str  # what it is, or what is wrong with it


def verify_weights(names: Iterable[str] = ()) -> list[Verification]:
    """Compare weights files with their hashes.

    Args:
        names: Names of installed weights, or files. A file that `import_weights` wrote is compared with the hash in
            its metadata, any other with those of the catalog. Without names: all weights at hand.

    Raises:
        UsageError: if there are no weights of a name.
    """
    files = list_weights()
    names = list(names)
    if not names:
        return [_verify(file.path, file.model, file.embedded) for file in files]
    results = []
    for name in names:
        # Two files may have one name: one that comes with Betwixt, and the user's, which is the one in use.
        if named := [file for file in files if file.name == name]:
            results += [_verify(file.path, file.model, file.embedded) for file in named]
        elif Path(name).is_file():
            results.append(_verify(Path(name), "", False))
        else:
            raise UsageError(f"There are no weights '{name}', neither installed nor as a file (betwixt weights list).")
    return results


def _verify(path: Path, model: str, embedded: bool) -> Verification:
    if embedded:
        expected = catalog().embedded.get(path.name)
        if expected is None:
            return Verification(path, False, "comes with Betwixt, but no hash of it is recorded")
        if file_hash(path) != expected:
            return Verification(path, False, "comes with Betwixt, but is not what was shipped: install Betwixt again")
        return Verification(path, True, f"comes with Betwixt, as shipped (SHA-256 {expected[:12]})")
    if not path.is_file():
        return Verification(path, False, _NOT_A_FILE)
    try:
        metadata = read_metadata(path)
        if "content_sha256" in metadata:
            return _verify_imported(path, metadata, model or metadata.get("model", ""))
    except BetwixtError as error:
        return Verification(path, False, str(error).removeprefix(f"{path} "))
    git_hash, sha256 = git_blob_hash(path), file_hash(path)
    for file in catalog().files:
        if file.sha256 == sha256 or file.git_blob_sha1 == git_hash:
            return Verification(path, True, f"is {file.path} of {file.repository}, as published ({file.licence})")
    return Verification(path, False, f"is not known here: SHA-256 {sha256}")


def _verify_imported(path: Path, metadata: Mapping[str, str], model: str) -> Verification:
    expected = metadata["content_sha256"]
    if content_hash(read_tensors(path)) != expected:
        return Verification(path, False, "is damaged: its numbers are not those that were written; import it again")
    if model in MODELS:
        match_file(build_meta_network(model, path), path)
    elif model in MASK_NETWORKS:
        match_file(build_meta_mask_network(model, path), path)
    source = metadata.get("source", "an unknown file")
    return Verification(path, True, f"{model}, imported from {source}, unchanged (SHA-256 of content {expected[:12]})")
