"""Importing weights: a file of any supported format becomes NAME.safetensors in the user's folder.

    FILE (.pkl, .pth, .safetensors, .param + .bin) ──► match to the network ──► NAME.safetensors

The written file holds the network's own parameter names, float32, and this metadata:

    model             the name it was imported as
    hyperparameters   the configuration of the network (`betwixt.weights.metadata`)
    source            the file or files it was made from, by name
    source_sha256     their SHA-256
    source_format     how they stored the numbers
    content_sha256    of all names, shapes and numbers; `verify_weights` checks it
    date, converter   when, and by which version
    origin, licence   of a download
    tags, ..          texts that a mask network needs

It is written whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor, nn

from betwixt.errors import BetwixtError, InputError, OutputError, UsageError
from betwixt.files import check_output, file_hash, write_error
from betwixt.models.registry import MODELS, model_info
from betwixt.models.rife import SAME_LAYERS
from betwixt.version import __version__
from betwixt.weights.catalog import catalog, git_blob_hash
from betwixt.weights.export import content_hash, write_weights
from betwixt.weights.load import build_trained_part, match_file, read_tensors
from betwixt.weights.mask_networks import MASK_NETWORKS, companion_texts, require_transformers
from betwixt.weights.metadata import check_model, hyperparameter_metadata, read_hyperparameters, read_metadata
from betwixt.weights.ncnn import PARTS, MismatchError, is_ncnn, match_layers, read_ncnn
from betwixt.weights.store import SHARED_WEIGHTS, weights_folder


@dataclass(frozen=True)
class ImportResult:
    """The result of an import."""

    model: str  # the model that the weights are for
    path: Path  # the file written
    tensors: int  # the number of tensors in it
    parameters: int  # the number of values in them
    sources: tuple[Path, ...]  # the files it was made from
    unused: tuple[str, ...]  # names in them that are known not to be needed, and were left out
    extra: tuple[str, ...]  # names in them that the network does not have, left out on request
    licence: str  # the licence of the weights, where it is known
    same_layers: tuple[str, ...]  # other models and versions whose weights cannot be told apart from these


def build_meta_network(model: str, source: Path | None = None) -> nn.Module:
    """The network that the weights of a model are for, on the meta device: names and shapes without memory.

    Args:
        model: The model.
        source: A weights file whose hyper-parameters apply, if it states any.

    Raises:
        UsageError: if there is no such model, or it has no network.
        InputError: if the file is damaged, or its hyper-parameters make no network.
    """
    hyperparameters = None if source is None else read_hyperparameters(source, model)
    with torch.device("meta"):
        return build_trained_part(model, hyperparameters)


def build_meta_mask_network(name: str, source: Path) -> nn.Module:
    """The mask network that the tensors of a file are for, on the meta device.

    Raises:
        UsageError: if it needs transformers, and that is not installed.
        InputError: if the file cannot be read, or holds none of the published sizes.
    """
    info = MASK_NETWORKS[name]
    if info.needs_transformers:
        require_transformers(f"The network {name}")
    tensors = read_tensors(source)
    with torch.device("meta"):
        return info.build(tensors, source)


def import_weights(
    source: Path,
    model: str,
    target: Path | None = None,
    *,
    overwrite: bool = False,
    ignore_extra: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> ImportResult:
    """Check a weights file and write it as safetensors.

    Args:
        source: A PyTorch checkpoint, safetensors, or either file of an ncnn model.
        model: The model or mask network it is for.
        target: The file to write; by default the model's file in the user's folder.
        overwrite: Whether an existing file may be replaced.
        ignore_extra: Leave out tensors that the network does not have, instead of refusing the file.
        metadata: Entries to add to the metadata.

    Raises:
        UsageError: if the model takes no weights.
        InputError: if the file cannot be used.
        OutputError: if the target must not or cannot be written.
    """
    if model not in MASK_NETWORKS and model_info(model).is_own and target is None:
        raise UsageError(f"The weights of {model} come with Betwixt: name a file to write as `target`.")
    if not source.is_file():
        raise InputError(f"There is no weights file {source}.")
    if read_metadata(source).get("model") in {**MODELS, **MASK_NETWORKS}:
        check_model(source, model)
    texts: dict[str, str] = {}
    if model in MASK_NETWORKS:
        if is_ncnn(source):
            raise InputError(f"{source} is an ncnn model: {model} is imported from its authors' checkpoint.")
        network = build_meta_mask_network(model, source)
        texts = _read_companions(model, source)
    else:
        network = build_meta_network(model, source)
        texts = hyperparameter_metadata(network)
    target = _check_target(target, model, source, overwrite)
    try:
        matched = match_file(network, source)
    except MismatchError as error:
        raise MismatchError(str(error) + _suggest_model(source, model)) from None
    if matched.extra and not ignore_extra:
        raise MismatchError(
            f"{source} holds {len(matched.extra)} tensors that {model} does not have, {matched.extra[0]} for one: "
            f"if they are not needed, pass `ignore_extra=True`.{_suggest_model(source, model)}"
        )
    sources = _source_files(source)
    tensors = _unshare(
        {name: tensor.to(torch.float32).contiguous() for name, tensor in sorted(matched.tensors.items())}
    )
    entries = {
        "format": "pt",
        "model": model,
        "source": ", ".join(path.name for path in sources),
        "source_sha256": ", ".join(file_hash(path) for path in sources),
        "source_format": matched.encoding or _type_names(matched.tensors.values()),
        "content_sha256": content_hash(tensors),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "converter": f"betwixt {__version__}",
        **texts,
        **(metadata or {}),
    }
    write_weights(target, tensors, entries)
    return ImportResult(
        model=model,
        path=target,
        tensors=len(tensors),
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        sources=sources,
        unused=matched.unused,
        extra=matched.extra,
        licence=entries.get("licence") or catalog().licence(model),
        same_layers=() if read_metadata(source).get("model") else find_same_layers(model, network),
    )


def find_same_layers(model: str, network: nn.Module) -> tuple[str, ...]:
    """The models, and versions of RIFE 4, whose weights have the names and shapes of this one's.

    Args:
        model: A model, or a mask network, for which there are none.
        network: The network that its weights are for; only names and shapes are used.
    """
    info = MODELS.get(model)
    if info is None:
        return ()
    versions = [name for name, same in SAME_LAYERS.items() if same == model]
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    for name, other in MODELS.items():
        if name == model or name in SHARED_WEIGHTS or (other.parameters, other.paper) != (info.parameters, info.paper):
            continue
        if {key: tensor.shape for key, tensor in build_meta_network(name).state_dict().items()} == shapes:
            versions.append(name)
    return tuple(versions)


def _check_target(target: Path | None, model: str, source: Path, overwrite: bool) -> Path:
    """The file to write, in a folder that exists."""
    if target is None:
        target = weights_folder() / f"{model}.safetensors"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(error, target.parent) from None
    elif target.suffix != ".safetensors":
        raise OutputError(f"{target} would be safetensors: end its name in .safetensors.")
    if target.is_dir():
        raise OutputError(f"{target} is a folder: name a file.")
    check_output(target, source, overwrite)
    return target


def _unshare(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give each tensor its own memory: a checkpoint stores once what several parts of a network share."""
    addresses: set[int] = set()
    for name, tensor in tensors.items():
        if tensor.data_ptr() in addresses:
            tensors[name] = tensor.clone()
        addresses.add(tensor.data_ptr())
    return tensors


def _read_companions(model: str, source: Path) -> dict[str, str]:
    """The texts that a mask network needs, from beside its checkpoint or from the metadata of an imported file."""
    stored = companion_texts(read_metadata(source))
    texts = {}
    for companion in MASK_NETWORKS[model].companions:
        path = source.with_name(companion.file)
        if path.is_file():
            try:
                text = path.read_text("utf-8")
            except (OSError, UnicodeDecodeError):
                raise InputError(f"{path} cannot be read as text: take it from {companion.source}.") from None
        elif companion.key in stored:
            text = stored[companion.key]
        elif companion.required:
            raise InputError(
                f"{model} needs {companion.file} beside its weights: put it into {source.parent}, "
                f"from {companion.source}."
            )
        else:
            continue
        companion.check(text)
        texts[companion.key] = text
    return texts


def _suggest_model(source: Path, model: str) -> str:
    """A sentence that says what a file that does not match is instead, as far as that can be found out."""
    # A hash identifies a published model; several models share the same layers.
    for path in sorted(_source_files(source), key=lambda path: path.suffix):
        digest = git_blob_hash(path)
        for file in catalog().files:
            if file.git_blob_sha1 == digest and file.model.unsupported:
                return f" It is {file.model.name} of {file.repository}: {file.model.unsupported}."
    candidates = [
        info.name
        for info in MODELS.values()
        if info.has_network and not info.is_own and (not is_ncnn(source) or info.name.startswith(("rife", "ifrnet")))
    ]
    candidates += [] if is_ncnn(source) else list(MASK_NETWORKS)
    nets = read_ncnn(source) if is_ncnn(source) else None
    matching = []
    for name in candidates:
        if name == model:
            continue
        try:
            network = build_meta_mask_network(name, source) if name in MASK_NETWORKS else build_meta_network(name)
            if nets is not None:
                match_layers(nets, network)
            elif match_file(network, source).extra:
                continue
            matching.append(name)
        except BetwixtError:
            continue
    choices = " or ".join(f'`model="{name}"`' for name in matching)
    return f" It fits {choices}." if matching else ""


def _source_files(source: Path) -> tuple[Path, ...]:
    """All files that belong to a weights file: itself, or the pairs of an ncnn model."""
    if not is_ncnn(source):
        return (source,)
    stems = [source.stem]
    if source.stem in PARTS and all(source.with_name(f"{part}.bin").exists() for part in PARTS):
        stems = list(PARTS)
    files = (source.with_name(stem + suffix) for stem in stems for suffix in (".param", ".bin"))
    return tuple(path for path in files if path.is_file())


def _type_names(tensors: Iterable[Tensor]) -> str:
    return "+".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors}))
