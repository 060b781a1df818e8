"""Reading a file of weights into a network: safetensors, a PyTorch state dict, or an ncnn model.

    file ──► read_tensors ──► names and tensors ──► fit ──► every parameter of the network, checked ──► load_weights

Nothing in a file is ever run, and what a file says of its own sizes is checked against what it holds before memory is
taken for it. Names may carry the prefixes that multi-GPU training and nesting leave; parameters that inference does not
use (a teacher, masks of the last training size) may be there and are left out.
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
from betwixt.weights.ncnn import MismatchError, is_ncnn, match_layers, read_ncnn
from betwixt.weights.store import SHARED_WEIGHTS

__all__ = [
    "MatchedWeights",
    "check_model",
    "load_weights",
    "match_file",
    "match_tensors",
    "read_metadata",
    "read_tensors",
    "reference_renaming",
]

_NESTS = ("state_dict", "model_state_dict", "params_ema", "params", "model", "network", "net", "weights")
"""Under what names programs put the state dict beside what else they keep."""

_UNUSED = re.compile(
    r"(^|\.)(block_tea|teacher|caltime|tag_encoder|text_decoder|label_enc|text_backbone\.pooler)\."
    r"|\.(attn_mask|HW|num_batches_tracked|relative_position_index|position_ids)$"
)
"""What the authors' checkpoints hold beyond the network: RIFE's teachers and the helper of its later training,
EMA-VFI's and Swin's masks and sizes, RAM's captions, what Grounding DINO only trains with."""


_REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""What weights are kept in. Types of 8 bits need factors that lie beside them."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or a PyTorch checkpoint by name, without the prefix `module.`.

    Tensors may be views of the file itself: they are read when they are used.

    Raises:
        InputError: if it is not there, is damaged, holds something else, or code.
    """
    if not path.is_file():
        raise InputError(f"There is no file of weights {path}.")
    content = _table(_read(path, _kind(path)))
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


def read_metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says of itself; nothing for other files.

    Raises:
        InputError: if it is damaged, or no more than named as one.
    """
    from safetensors import safe_open

    if not path.is_file() or not _is_safetensors(path, _head(path)) or _kind(path) != "safetensors":
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except Exception as error:
        raise _bad_safetensors(path, error) from None


def check_model(path: Path, name: str) -> None:
    """Refuse a file that was imported as weights of another model, though names and shapes may fit.

    Raises:
        InputError: if it was.
    """
    written = read_metadata(path).get("model", name)
    if written not in (name, SHARED_WEIGHTS.get(name)):
        raise InputError(f"{path} holds weights of {written}, not of {name}.")


@dataclass(frozen=True)
class MatchedWeights:
    """A file's tensors, as a network takes them.

    Attributes:
        tensors: Every parameter of the network, by its own name, in its own shape; in the file's type.
        unused: Names in the file that are known not to be needed.
        extra: Names in the file that the network does not know.
        encoding: How the file keeps the numbers, where that is not their type ("ncnn fp16").
    """

    tensors: dict[str, Tensor]
    unused: tuple[str, ...]
    extra: tuple[str, ...]
    encoding: str = ""


def reference_renaming(network: nn.Module) -> Callable[[str], str]:
    """What turns the authors' names of a network's parameters into ours; ours stay as they are."""
    rename: Callable[[str], str] = getattr(import_module(type(network).__module__), "from_reference_name", str)
    return rename


def match_file(network: nn.Module, path: Path, rename: Callable[[str], str] | None = None) -> MatchedWeights:
    """Read a file of weights, of any kind, for a network.

    Args:
        network: Its names and shapes are what counts; it may be on the meta device.
        path: The file; of an ncnn model either of the two.
        rename: Turns a name in the authors' files into ours; by default what the network's module says.

    Raises:
        InputError: if the file cannot be read, or its names or shapes are another network's.
    """
    if is_ncnn(path) and path.is_file():
        nets = read_ncnn(path)
        matched = match_layers(nets, network)
        _check_numbers(path, matched)
        return MatchedWeights(matched, (), (), "ncnn " + "+".join(sorted({net.encoding for net in nets.values()})))
    tensors = read_tensors(path)
    if (convert := getattr(import_module(type(network).__module__), "from_reference", None)) is not None:
        # The authors keep together what is apart here.
        tensors = convert(tensors)
    return match_tensors(network, tensors, path, rename or reference_renaming(network))


def match_tensors(
    network: nn.Module, tensors: Mapping[str, Tensor], path: Path, rename: Callable[[str], str] = str
) -> MatchedWeights:
    """Find a network's parameters among tensors; `path` is for the message.

    Raises:
        MismatchError: if one is missing or has another shape.
        InputError: if one is not of finite numbers.
    """
    own = network.state_dict()
    named: dict[str, Tensor] = {}
    used: dict[str, str] = {}
    # A state dict of a program that holds the network as one of its parts has that part's name before every name.
    for prefix in ("", *dict.fromkeys(f"{name.split('.')[0]}." for name in tensors)):
        ours = {rename(name.removeprefix(prefix)): name for name in tensors if name.startswith(prefix)}
        if not prefix or all(name in ours for name in own):
            named, used = {name: tensors[theirs] for name, theirs in ours.items()}, ours
        if all(name in ours for name in own):
            break
    missing = [name for name in own if name not in named]
    wrong = [name for name in own if name in named and named[name].shape != own[name].shape]
    if missing or wrong:
        what = (
            f"{wrong[0]} has the shape {tuple(named[wrong[0]].shape)}, not {tuple(own[wrong[0]].shape)}"
            if wrong
            else f"{len(missing)} of {len(own)} tensors are missing, {missing[0]} for one"
        )
        raise MismatchError(f"{path} holds weights of another network: {what}.")
    found = {name: named[name] for name in own}
    _check_numbers(path, found)
    taken = {used[name] for name in own}
    rest = [name for name in tensors if name not in taken]
    return MatchedWeights(
        found,
        unused=tuple(name for name in rest if _UNUSED.search(name)),
        extra=tuple(name for name in rest if not _UNUSED.search(name)),
    )


def load_weights(network: nn.Module, path: Path, rename: Callable[[str], str] | None = None) -> None:
    """Give a network the weights of a file.

    Args:
        network: What the weights are for.
        path: The file: safetensors, a PyTorch state dict, or either file of an ncnn model.
        rename: Turns a name in the authors' files into ours; by default what the network's module says.

    Raises:
        InputError: if the file cannot be read, or its names or shapes do not fit.
    """
    network.load_state_dict(match_file(network, path, rename).tensors)


def _check_numbers(path: Path, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype not in _REAL:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise InputError(f"{path} cannot be used: its {name} is of {kind}, not of real numbers of 16 bits or more.")
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{path} cannot be used: its {name} has values that are infinite or not a number.")


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError as error:
        raise read_error(path, error) from None


def _is_safetensors(path: Path, head: bytes) -> bool:
    return path.suffix == ".safetensors" or head[8:9] == b"{"


def _kind(path: Path) -> str:
    """What a file is, by how it begins."""
    head = _head(path)
    if not head:
        raise InputError(f"{path} is empty.")
    if head.startswith(b"version https://git-lfs"):
        raise InputError(f"{path} is a pointer of Git LFS, not the file itself: fetch it with git lfs pull.")
    if head.lstrip()[:5].lower() in (b"<!doc", b"<html"):
        raise InputError(f"{path} is a web page, not a file of weights: download the file that the page offers.")
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        if path.suffix == ".safetensors":
            # PyTorch itself would go by the name.
            raise InputError(f"{path} is an archive, as PyTorch writes, not safetensors: end its name in .pth.")
        return "zip"
    if _is_safetensors(path, head):
        return "safetensors"
    if head[0] == 0x80 or path.suffix in (".pkl", ".pth", ".pt", ".ckpt", ".tar"):
        return "pickle"
    raise InputError(
        f"{path} is no file of weights that Betwixt reads: safetensors, a PyTorch state dict (.pth, .pkl), or an ncnn "
        "model (.param with .bin)."
    )


def _read(path: Path, kind: str) -> Any:
    if kind == "safetensors":
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except Exception as error:
            raise _bad_safetensors(path, error) from None
    if kind == "zip":
        _check_archive(path)
    try:
        # Mapped, an archive gives its tensors no more memory than they have in the file.
        with warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=kind == "zip")
    except Exception as error:
        raise _bad_checkpoint(path, error) from None


def _bad_safetensors(path: Path, error: Exception) -> InputError:
    if isinstance(error, OSError) and error.strerror:
        return read_error(path, error)
    what = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return InputError(
        f"{path} is no safetensors file, or damaged or cut short: its header does not agree with what follows ({what})."
    )


def _bad_checkpoint(path: Path, error: Exception) -> InputError:
    if isinstance(error, OSError) and error.strerror:
        return read_error(path, error)
    text = str(error)
    named = re.search(r"GLOBAL (\S+)", text)
    if named:
        return InputError(
            f"{path} holds code, or objects that need it ({named[1]}), which is never run: "
            "save its state dict alone, as safetensors or with torch.save."
        )
    if isinstance(error, pickle.UnpicklingError) and "Unsupported oper" in text:
        return InputError(
            f"{path} is no PyTorch checkpoint, or one of something else than tensors: it may hold code, which is never "
            "run. Save a state dict alone, as safetensors or with torch.save."
        )
    # Some errors say no more than a number or a name.
    why = (text.strip().splitlines() or [""])[0].split(". ")[0].rstrip(".:")
    said = f" ({why[:150]})" if " " in why else ""
    return InputError(f"{path} is no PyTorch checkpoint, or damaged or cut short{said}.")


def _check_archive(path: Path) -> None:
    """Refuse an archive that PyTorch would not have written: compressed (a zip bomb), overlapping, damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if any("/code/" in name for name in names):
                raise InputError(f"{path} is a TorchScript program, which is never run: save its state dict alone.")
            packed = [e for e in entries if e.compress_type != zipfile.ZIP_STORED or e.file_size != e.compress_size]
            size = path.stat().st_size
            total = sum(entry.file_size for entry in entries)
            if packed or total > size:
                raise InputError(
                    f"{path} would unpack from {size / 1e6:.1f} to {total / 1e6:.1f} MB: PyTorch writes no such file."
                )
            if not any(name.endswith("/data.pkl") for name in names):
                raise InputError(f"{path} is an archive of something else: PyTorch's have a data.pkl.")
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError):
        raise InputError(f"{path} is damaged or cut short: its table of contents is not whole.") from None
    except OSError as error:
        raise read_error(path, error) from None
    if damaged is not None:
        raise InputError(f"{path} is damaged: {damaged} in it is not what was written.")


def _table(content: Any, depth: int = 0, seen: set[int] | None = None) -> Mapping[str, Tensor] | None:
    """The table of names and tensors in what a file holds, on its own or beside other things."""
    seen = set() if seen is None else seen
    # A small pickle can hold the same table in a table, thousands of times over.
    if not isinstance(content, Mapping) or depth > 3 or id(content) in seen:
        return None
    if content and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()):
        return content
    seen.add(id(content))
    for name in _NESTS:
        if (found := _table(content.get(name), depth + 1, seen)) is not None:
            return found
    nested = [found for value in content.values() if (found := _table(value, depth + 1, seen)) is not None]
    return nested[0] if len(nested) == 1 else None
