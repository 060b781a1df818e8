"""Reading a weights file into a network: safetensors, a PyTorch state dict, or an ncnn model.

    file ──► read_tensors ──► names and tensors ──► match_tensors ──► every parameter of the network, checked

Nothing in a file is ever executed, and the sizes a file states are checked against its length before memory is
allocated for them. Names may carry the prefixes that multi-GPU training and nesting leave. Tensors that inference does
not use (a teacher, masks of the last training size) may be present and are left out.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from betwixt.errors import InputError
from betwixt.files import read_error
from betwixt.models.network import Network
from betwixt.models.registry import load_network, model_info
from betwixt.weights.metadata import check_model, read_hyperparameters, safetensors_error, weights_format
from betwixt.weights.ncnn import MismatchError, is_ncnn, match_layers, read_ncnn

_NESTED_KEYS = ("state_dict", "model_state_dict", "params_ema", "params", "model", "network", "net", "weights")
"""Keys under which programs put the state dict beside other contents of a checkpoint."""

_UNUSED = re.compile(
    r"(^|\.)(block_tea|teacher|caltime|tag_encoder|text_decoder|label_enc|text_backbone\.pooler)\."
    r"|\.(attn_mask|HW|num_batches_tracked|relative_position_index|position_ids)$"
)
"""Tensors in the authors' checkpoints that inference does not need: RIFE's teachers and the helper of its later
training, EMA-VFI's and Swin's masks and sizes, RAM's captions, parts that only Grounding DINO's training uses."""

_FLOAT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types that weights may have. 8-bit types would need scales that lie beside them."""


def load_trained_network(name: str, path: Path) -> Network:
    """The network of a model with the weights of a file, built with the hyper-parameters that the file states.

    Raises:
        UsageError: if the model has no network, or PyTorch is not installed.
        InputError: if the file cannot be read, holds another model, or its names or shapes do not fit.
    """
    check_model(path, name)
    hyperparameters = read_hyperparameters(path, name)
    if hyperparameters:
        # The file decides the sizes of this network: they are compared with its tensors before memory is allocated.
        try:
            with torch.device("meta"):
                expected = build_trained_part(name, hyperparameters)
        except InputError as error:
            raise InputError(f"{path} cannot be used. {error}") from None
        match_file(expected, path)
    network = load_network(name, hyperparameters)
    load_weights(model_info(name).trained_module(network), path)
    return network


def build_trained_part(name: str, hyperparameters: Mapping[str, Any] | None = None) -> nn.Module:
    """The part of a model's network whose weights its file holds, without trained weights.

    Raises:
        UsageError: if the model has no network, or PyTorch is not installed.
        InputError: if the hyper-parameters make no network.
    """
    part: nn.Module = model_info(name).trained_module(load_network(name, hyperparameters))
    return part


def load_weights(network: nn.Module, path: Path, rename: Callable[[str], str] | None = None) -> None:
    """Load the weights of a file into a network.

    Args:
        network: The network.
        path: The file: safetensors, a PyTorch state dict, or either file of an ncnn model.
        rename: Turns a name of the authors' files into ours; by default the one that the network's module defines.

    Raises:
        InputError: if the file cannot be read, or its names or shapes do not fit.
    """
    network.load_state_dict(match_file(network, path, rename).tensors)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or a PyTorch checkpoint by name, without the prefix `module.`.

    Tensors may be views of the file, which are read when they are used.

    Raises:
        InputError: if the file does not exist, is damaged, or holds anything but tensors.
    """
    if not path.is_file():
        raise InputError(f"There is no weights file {path}.")
    content = _find_state_dict(_read(path, weights_format(path)))
    if content is None:
        raise InputError(f"{path} holds no weights: expected a table of names and tensors.")
    tensors: dict[str, Tensor] = {}
    for name, value in content.items():
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise InputError(f"{path} cannot be used: its tensor {name} is sparse, quantized or empty.")
        tensors[name.removeprefix("module.")] = value
    if len(tensors) < len(content):
        raise InputError(f"{path} cannot be used: it holds some names twice, with and without the prefix 'module.'.")
    return tensors


@dataclass(frozen=True)
class MatchedWeights:
    """The tensors of a file, matched to a network."""

    tensors: dict[str, Tensor]  # every parameter of the network, by its own name, in its own shape; in the file's type
    unused: tuple[str, ...]  # names in the file that are known not to be needed
    extra: tuple[str, ...]  # names in the file that the network does not have
    encoding: str = ""  # how the file stores numbers, where that is not the tensors' type ("ncnn fp16")


def reference_renaming(network: nn.Module) -> Callable[[str], str]:
    """The function that turns the authors' parameter names of a network into ours, and leaves ours as they are."""
    rename: Callable[[str], str] = getattr(import_module(type(network).__module__), "from_reference_name", str)
    return rename


def match_file(network: nn.Module, path: Path, rename: Callable[[str], str] | None = None) -> MatchedWeights:
    """Read a weights file of any kind for a network.

    Args:
        network: Only its names and shapes are used; it may be on the meta device.
        path: The file; of an ncnn model either of the two.
        rename: Turns a name of the authors' files into ours; by default the one that the network's module defines.

    Raises:
        InputError: if the file cannot be read, or its names or shapes are those of another network.
    """
    if is_ncnn(path) and path.is_file():
        nets = read_ncnn(path)
        tensors = match_layers(nets, network)
        _check_numbers(path, tensors)
        return MatchedWeights(tensors, (), (), "ncnn " + "+".join(sorted({net.encoding for net in nets.values()})))
    tensors = read_tensors(path)
    if (convert := getattr(import_module(type(network).__module__), "from_reference", None)) is not None:
        # The authors' tensors are split up differently.
        tensors = convert(tensors)
    return match_tensors(network, tensors, path, rename or reference_renaming(network))


def match_tensors(
    network: nn.Module, tensors: Mapping[str, Tensor], path: Path, rename: Callable[[str], str] = str
) -> MatchedWeights:
    """Match tensors to the parameters of a network by name and shape.

    Args:
        network: Only its names and shapes are used.
        tensors: By their names in the file.
        path: The file, for messages.
        rename: Turns a name of the file into the network's.

    Raises:
        MismatchError: if a tensor is missing or has another shape.
        InputError: if a tensor is not of finite real numbers.
    """
    parameters = network.state_dict()
    renamed: dict[str, Tensor] = {}
    names_in_file: dict[str, str] = {}
    # The state dict of a program that holds the network as a part has that part's name in front of every name.
    for prefix in ("", *dict.fromkeys(f"{name.split('.')[0]}." for name in tensors)):
        candidates = {rename(name.removeprefix(prefix)): name for name in tensors if name.startswith(prefix)}
        complete = all(name in candidates for name in parameters)
        if not prefix or complete:
            renamed = {name: tensors[in_file] for name, in_file in candidates.items()}
            names_in_file = candidates
        if complete:
            break
    missing = [name for name in parameters if name not in renamed]
    wrong = [name for name in parameters if name in renamed and renamed[name].shape != parameters[name].shape]
    if missing or wrong:
        difference = (
            f"{wrong[0]} has the shape {tuple(renamed[wrong[0]].shape)}, not {tuple(parameters[wrong[0]].shape)}"
            if wrong
            else f"{len(missing)} of {len(parameters)} tensors are missing, {missing[0]} for one"
        )
        raise MismatchError(f"{path} holds weights of another network: {difference}.")
    matched = {name: renamed[name] for name in parameters}
    _check_numbers(path, matched)
    taken = {names_in_file[name] for name in parameters}
    rest = [name for name in tensors if name not in taken]
    return MatchedWeights(
        matched,
        unused=tuple(name for name in rest if _UNUSED.search(name)),
        extra=tuple(name for name in rest if not _UNUSED.search(name)),
    )


def _check_numbers(path: Path, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype not in _FLOAT_TYPES:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise InputError(f"{path} cannot be used: its {name} is of {kind}, not of real numbers of 16 bits or more.")
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{path} cannot be used: its {name} contains NaN or infinity.")


def _read(path: Path, file_format: str) -> Any:
    if file_format == "safetensors":
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except Exception as error:
            raise safetensors_error(path, error) from None
    if file_format == "zip":
        _check_archive(path)
    try:
        # Memory-mapped, the tensors of an archive take no more memory than they have bytes in the file.
        with warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=file_format == "zip")
    except Exception as error:
        raise _checkpoint_error(path, error) from None


def _checkpoint_error(path: Path, error: Exception) -> InputError:
    if isinstance(error, OSError) and error.strerror:
        return read_error(path, error)
    text = str(error)
    code = re.search(r"GLOBAL (\S+)", text)
    if code:
        return InputError(
            f"{path} holds code, or objects that need it ({code[1]}), which is never run: "
            "save its state dict alone, as safetensors or with torch.save."
        )
    if isinstance(error, pickle.UnpicklingError) and "Unsupported oper" in text:
        return InputError(
            f"{path} is not a PyTorch checkpoint, or holds something else than tensors: it may hold code, which is "
            "never run. Save a state dict alone, as safetensors or with torch.save."
        )
    # Some errors say no more than a number or a name.
    detail = (text.strip().splitlines() or [""])[0].split(". ")[0].rstrip(".:")
    suffix = f" ({detail[:150]})" if " " in detail else ""
    return InputError(f"{path} is not a PyTorch checkpoint, or is damaged or cut short{suffix}.")


def _check_archive(path: Path) -> None:
    """Refuse an archive that PyTorch would not have written: compressed (a zip bomb), overlapping, damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if any("/code/" in name for name in names):
                raise InputError(f"{path} is a TorchScript program, which is never run: save its state dict alone.")
            compressed = [e for e in entries if e.compress_type != zipfile.ZIP_STORED or e.file_size != e.compress_size]
            size = path.stat().st_size
            total = sum(entry.file_size for entry in entries)
            if compressed or total > size:
                raise InputError(
                    f"{path} would unpack from {size / 1e6:.1f} to {total / 1e6:.1f} MB: PyTorch writes no such file."
                )
            if not any(name.endswith("/data.pkl") for name in names):
                raise InputError(f"{path} is an archive of something else: PyTorch's have a data.pkl.")
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError):
        raise InputError(f"{path} is damaged or cut short: its table of contents is incomplete.") from None
    except OSError as error:
        raise read_error(path, error) from None
    if damaged is not None:
        raise InputError(f"{path} is damaged: the checksum of {damaged} in it is wrong.")


def _find_state_dict(content: Any, depth: int = 0, visited: set[int] | None = None) -> Mapping[str, Tensor] | None:
    """The table of names and tensors in the content of a file, on its own or nested beside other things."""
    visited = set() if visited is None else visited
    # A small pickle can nest the same table thousands of times.
    if not isinstance(content, Mapping) or depth > 3 or id(content) in visited:
        return None
    if content and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()):
        return content
    visited.add(id(content))
    for key in _NESTED_KEYS:
        if (table := _find_state_dict(content.get(key), depth + 1, visited)) is not None:
            return table
    tables = [t for value in content.values() if (t := _find_state_dict(value, depth + 1, visited)) is not None]
    return tables[0] if len(tables) == 1 else None
