"""Importing, listing and verifying files of weights.

    FILE (.pkl, .pth, .safetensors, .param + .bin) ──► fit to the network ──► NAME.safetensors, with where it is from

What is written holds the network's own names, float32, and in its metadata

    model            the name it was imported as
    source           the file or files it was made of, by name
    source_sha256    their SHA-256
    source_format    how they kept the numbers, if not as float32
    content_sha256   of all names, shapes and numbers, by which `verify` knows damage
    date, converter  when, and by which version
    origin, licence  of a download
    tags, ..         what a network of masks needs beside its weights, as text

and it appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from betwixt.errors import BetwixtError, InputError, OutputError, UsageError
from betwixt.files import check_output, file_hash, temporary_path, write_error
from betwixt.masks.networks import NETWORKS, companion_texts, need_transformers
from betwixt.models.registry import MODELS, load_network, model_info
from betwixt.version import __version__
from betwixt.weights.catalog import catalog, git_blob_hash
from betwixt.weights.load import check_model, match_file, read_metadata, read_tensors
from betwixt.weights.ncnn import PARTS, MismatchError, is_ncnn
from betwixt.weights.store import embedded_file, weights_folder

__all__ = [
    "ImportResult",
    "Verification",
    "WeightsFile",
    "build_meta_mask_network",
    "build_meta_network",
    "import_weights",
    "list_weights",
    "verify_weights",
]


@dataclass(frozen=True)
class ImportResult:
    """What an import did.

    Attributes:
        model: The model that the weights are for.
        path: The file written.
        tensors: How many tensors it holds.
        parameters: How many numbers.
        sources: The files it was made of.
        unused: Names in them that are known not to be needed, and were left out.
        extra: Names in them that the network does not know, left out as asked.
        licence: Of the weights, where it is known.
    """

    model: str
    path: Path
    tensors: int
    parameters: int
    sources: tuple[Path, ...]
    unused: tuple[str, ...]
    extra: tuple[str, ...]
    licence: str


def build_meta_network(model: str) -> nn.Module:
    """The network that the weights of a model are of, without memory for them: names and shapes.

    Raises:
        UsageError: if there is no such model, or it is no network.
    """
    shipped = model_info(model).trained_part or "network"
    with torch.device("meta"):
        network = load_network(model)
    inner: nn.Module = getattr(network, shipped, network)
    return inner


def build_meta_mask_network(name: str, source: Path) -> nn.Module:
    """The network of masks that the tensors of a file are of, without memory for its weights.

    Raises:
        UsageError: if it needs transformers, and that is not installed.
        InputError: if the file cannot be read, or holds none of the published sizes.
    """
    kind = NETWORKS[name]
    if kind.transformers:
        need_transformers(f"The network {name}")
    tensors = read_tensors(source)
    with torch.device("meta"):
        return kind.build(tensors, source)


def import_weights(
    source: Path,
    model: str,
    target: Path | None = None,
    *,
    overwrite: bool = False,
    ignore_extra: bool = False,
    facts: Mapping[str, str] | None = None,
) -> ImportResult:
    """Check a file of weights and write it as safetensors.

    Args:
        source: A PyTorch checkpoint, safetensors, or either file of an ncnn model.
        model: Which model it is for, or which network of masks.
        target: What to write; by default the model's file in the user's folder.
        overwrite: Whether an existing file may be replaced.
        ignore_extra: Leave out tensors that the network does not have, instead of refusing the file.
        facts: What to add to the metadata.

    Raises:
        UsageError: if the model takes no weights.
        InputError: if the file cannot be used.
        OutputError: if the target must not or cannot be written.
    """
    network: nn.Module
    texts: dict[str, str] = {}
    if model not in NETWORKS:
        network = build_meta_network(model)
        if target is None and model_info(model).is_own:
            raise UsageError(f"The model {model} has its weights with it: name a file to write with -o.")
    if not source.is_file():
        raise InputError(f"There is no file of weights {source}.")
    if read_metadata(source).get("model") in {**MODELS, **NETWORKS}:
        check_model(source, model)
    if model in NETWORKS:
        if is_ncnn(source):
            raise InputError(f"{source} is an ncnn model: {model} is imported from its authors' checkpoint.")
        network = build_meta_mask_network(model, source)
        texts = _companions(model, source)
    if target is None:
        target = weights_folder() / f"{model}.safetensors"
        _make(target.parent)
    elif target.suffix != ".safetensors":
        raise OutputError(f"{target} would be safetensors: end its name in .safetensors.")
    if target.is_dir():
        raise OutputError(f"{target} is a folder: name a file.")
    check_output(target, source, overwrite)
    try:
        found = match_file(network, source)
    except MismatchError as error:
        raise MismatchError(str(error) + _hint(source, model)) from None
    if found.extra and not ignore_extra:
        raise MismatchError(
            f"{source} holds {len(found.extra)} tensors that {model} does not have, {found.extra[0]} for one: "
            f"if they are not needed, pass --ignore-extra.{_hint(source, model)}"
        )
    sources = _sources(source)
    tensors = _apart({name: tensor.to(torch.float32).contiguous() for name, tensor in sorted(found.tensors.items())})
    metadata = {
        "format": "pt",
        "model": model,
        "source": ", ".join(path.name for path in sources),
        "source_sha256": ", ".join(file_hash(path) for path in sources),
        "source_format": found.encoding or _types(found.tensors.values()),
        "content_sha256": content_hash(tensors),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "converter": f"betwixt {__version__}",
        **texts,
        **(facts or {}),
    }
    write_weights(target, tensors, metadata)
    return ImportResult(
        model=model,
        path=target,
        tensors=len(tensors),
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        sources=sources,
        unused=found.unused,
        extra=found.extra,
        licence=metadata.get("licence") or catalog().licence(model),
    )


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """`tensors`, each with memory of its own: a checkpoint keeps once what several parts of a network share."""
    seen: set[int] = set()
    for name, tensor in tensors.items():
        if tensor.data_ptr() in seen:
            tensors[name] = tensor.clone()
        seen.add(tensor.data_ptr())
    return tensors


def _companions(model: str, source: Path) -> dict[str, str]:
    """The texts that a network needs, from beside its checkpoint, or from it where it was written here."""
    kept = companion_texts(read_metadata(source))
    texts = {}
    for companion in NETWORKS[model].companions:
        path = source.with_name(companion.file)
        if path.is_file():
            try:
                text = path.read_text("utf-8")
            except (OSError, UnicodeDecodeError):
                raise InputError(f"{path} cannot be read as text: take it from {companion.where}.") from None
        elif companion.key in kept:
            text = kept[companion.key]
        elif companion.needed:
            raise InputError(
                f"{model} needs {companion.file} beside its weights: put it into {source.parent}, "
                f"from {companion.where}."
            )
        else:
            continue
        companion.check(text)
        texts[companion.key] = text
    return texts


def write_weights(target: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write safetensors whole or not at all."""
    from safetensors.torch import save

    partial = temporary_path(target)
    try:
        with partial.open("xb") as file:
            file.write(save(dict(tensors), dict(metadata)))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        raise write_error(error, target) from None
    finally:
        partial.unlink(missing_ok=True)


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of names, types, shapes and numbers, whatever the order in a file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        numbers: Any = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
        digest.update(numbers)
    return digest.hexdigest()


_NO_FILE = "is no file, but a folder, or a link to what is not there"


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights that is at hand.

    Attributes:
        name: The name of the file without its suffix.
        model: The model that it is for.
        path: Where it lies.
        embedded: Whether it comes with Betwixt.
        size: In bytes.
        metadata: What it says of itself.
        problem: Why it cannot be used, or "".
    """

    name: str
    model: str
    path: Path
    embedded: bool
    size: int
    metadata: dict[str, str]
    problem: str = ""


def list_weights() -> list[WeightsFile]:
    """The files of weights that come with Betwixt, and those in the user's folder."""
    models = {info.embedded: info.name for info in MODELS.values() if info.embedded}
    found = [
        _stored(path, models.get(name, ""), embedded=True)
        for name in sorted(catalog().embedded)
        if (path := embedded_file(name)).is_file()
    ]
    folder = weights_folder()
    if folder.is_dir():
        found += [_stored(path, "", embedded=False) for path in sorted(folder.glob("*.safetensors"))]
    return found


def _stored(path: Path, model: str, *, embedded: bool) -> WeightsFile:
    metadata: dict[str, str] = {}
    problem, size = "", 0
    try:
        if not path.is_file():
            raise InputError(f"{path} {_NO_FILE}.")
        size = path.stat().st_size
        metadata = read_metadata(path)
    except InputError as error:
        problem = str(error)
    model = model or metadata.get("model", path.stem)
    # Thousands of lines of words say nothing in a list.
    shown = {key: value for key, value in metadata.items() if key not in companion_texts(metadata)}
    return WeightsFile(path.stem, model, path, embedded, size, shown, problem)


@dataclass(frozen=True)
class Verification:
    """What is to be said of a file of weights.

    Attributes:
        path: The file.
        good: Whether it is what its hash says.
        text: What it is, or what is wrong.
    """

    path: Path
    good: bool
    text: str


def verify_weights(names: Iterable[str] = ()) -> list[Verification]:
    """Compare files of weights with their hashes.

    Args:
        names: Names of installed files, or files: what `import_weights` wrote is compared with the hash in its
            metadata, anything else with those of the catalog. Without any: all that is at hand.

    Raises:
        UsageError: if a name is of nothing.
    """
    stored = list_weights()
    names = list(names)
    if not names:
        return [_verify(item.path, item.model, item.embedded) for item in stored]
    verdicts = []
    for name in names:
        # One of that name may come with Betwixt, and another be the user's, which then is the one in use.
        if items := [item for item in stored if item.name == name]:
            verdicts += [_verify(item.path, item.model, item.embedded) for item in items]
        elif Path(name).is_file():
            verdicts.append(_verify(Path(name), "", False))
        else:
            raise UsageError(f"There are no weights '{name}', neither installed nor as a file (betwixt weights list).")
    return verdicts


def _verify(path: Path, model: str, embedded: bool) -> Verification:
    if embedded:
        expected = catalog().embedded.get(path.name)
        if expected is None:
            return Verification(path, False, "comes with Betwixt, but no hash of it is recorded")
        if file_hash(path) != expected:
            return Verification(path, False, "comes with Betwixt, but is not what was shipped: install Betwixt again")
        return Verification(path, True, f"comes with Betwixt, as shipped (SHA-256 {expected[:12]})")
    if not path.is_file():
        return Verification(path, False, _NO_FILE)
    try:
        metadata = read_metadata(path)
        if "content_sha256" in metadata:
            return _verify_imported(path, metadata, model or metadata.get("model", ""))
    except BetwixtError as error:
        return Verification(path, False, str(error).removeprefix(f"{path} "))
    digest = git_blob_hash(path)
    for known in catalog().files:
        if known.git_blob_sha1 == digest:
            return Verification(path, True, f"is {known.path} of {known.repository}, as published ({known.licence})")
    return Verification(path, False, f"is not known here: SHA-256 {file_hash(path)}")


def _verify_imported(path: Path, metadata: Mapping[str, str], model: str) -> Verification:
    expected = metadata["content_sha256"]
    tensors = read_tensors(path)
    if content_hash(tensors) != expected:
        return Verification(path, False, "is damaged: its numbers are not those that were written; import it again")
    if model in MODELS:
        match_file(build_meta_network(model), path)
    elif model in NETWORKS:
        match_file(build_meta_mask_network(model, path), path)
    source = metadata.get("source", "an unknown file")
    return Verification(path, True, f"{model}, made of {source}, as written (SHA-256 of its content {expected[:12]})")


def _hint(source: Path, model: str) -> str:
    """What a file that does not fit is instead, as far as that can be known."""
    # Numbers say which model it is; layers are shared by several.
    for path in sorted(_sources(source), key=lambda path: path.suffix):
        digest = git_blob_hash(path)
        for known in catalog().files:
            if known.git_blob_sha1 == digest and known.model.why:
                return f" It is {known.model.name} of {known.repository}: {known.model.why}."
    fitting = []
    for info in MODELS.values():
        if not info.has_network or info.is_own or info.name == model:
            continue
        if is_ncnn(source) and not info.name.startswith(("rife", "ifrnet")):
            continue
        try:
            if not match_file(build_meta_network(info.name), source).extra:
                fitting.append(info.name)
        except BetwixtError:
            continue
    for name in NETWORKS:
        if name == model or is_ncnn(source):
            continue
        try:
            if not match_file(build_meta_mask_network(name, source), source).extra:
                fitting.append(name)
        except BetwixtError:
            continue
    return f" It fits --as {' or '.join(fitting)}." if fitting else ""


def _sources(source: Path) -> tuple[Path, ...]:
    """All files that belong to a file of weights."""
    if not is_ncnn(source):
        return (source,)
    stems = [source.stem]
    if source.stem in PARTS and all(source.with_name(f"{part}.bin").exists() for part in PARTS):
        stems = list(PARTS)
    files = (source.with_name(stem + suffix) for stem in stems for suffix in (".param", ".bin"))
    return tuple(path for path in files if path.is_file())


def _types(tensors: Iterable[Tensor]) -> str:
    return "+".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors}))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(error, folder) from None
