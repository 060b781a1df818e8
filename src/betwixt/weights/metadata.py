"""What a weights file says about itself: its format, its metadata, the hyper-parameters of its network.

Metadata of a safetensors file is a table of texts. Betwixt reads and writes, among others,

    model             the model that the weights are for
    hyperparameters   the configuration of the network, as a JSON table

so that weights of a variant (another patch size, an ablation) load by the name of their model. A file without
`hyperparameters` is loaded with the registered configuration. Nothing here imports PyTorch.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from betwixt.errors import InputError
from betwixt.files import read_error
from betwixt.models.registry import MODELS
from betwixt.weights.store import SHARED_WEIGHTS

_KEY = "hyperparameters"


def hyperparameter_metadata(network: Any) -> dict[str, str]:
    """The metadata entry that holds the configuration of a network; empty if it has none.

    Args:
        network: A network, or the part of one whose weights are written: its `config` is a dataclass or None.
    """
    config = getattr(network, "config", None)
    return {} if config is None else {_KEY: json.dumps(asdict(config))}


def read_hyperparameters(path: Path, model: str) -> dict[str, Any]:
    """The hyper-parameters of a weights file that differ from those its model is registered with.

    Args:
        path: The file.
        model: The model it is loaded as, which counts where the file does not name one.

    Raises:
        InputError: if the file is damaged.
    """
    metadata = read_metadata(path)
    info = MODELS.get(metadata.get("model") or model)
    if _KEY not in metadata or info is None or not info.config:
        return {}
    try:
        stored = json.loads(metadata[_KEY])
        registered = json.loads(json.dumps(asdict(info.registered_config())))
        return {name: value for name, value in stored.items() if name not in registered or registered[name] != value}
    except (ValueError, AttributeError, RecursionError):
        raise InputError(f"{path} is damaged: its hyper-parameters are not a JSON table.") from None


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; empty for other files.

    Raises:
        InputError: if the file is damaged, or is safetensors by name alone.
    """
    from safetensors import safe_open

    if not path.is_file() or not _is_safetensors(path, _first_bytes(path)) or weights_format(path) != "safetensors":
        return {}
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except Exception as error:
        raise safetensors_error(path, error) from None


def named_model(path: Path | None) -> str:
    """The model that a weights file names; "" if it names none, or there is no file.

    Raises:
        InputError: if the file is damaged.
    """
    return "" if path is None else read_metadata(path).get("model", "")


def check_model(path: Path, name: str) -> None:
    """Refuse a file that says it holds weights of another model, even if names and shapes match.

    Raises:
        InputError: if it does.
    """
    model = read_metadata(path).get("model") or name
    if model not in (name, SHARED_WEIGHTS.get(name)):
        raise InputError(f"{path} holds weights of {model}, not of {name}.")


def weights_format(path: Path) -> str:
    """The format of a weights file, by its first bytes: "safetensors", "zip" or "pickle" (both PyTorch's).

    Raises:
        InputError: if it is none of these.
    """
    head = _first_bytes(path)
    if not head:
        raise InputError(f"{path} is empty.")
    if head.startswith(b"version https://git-lfs"):
        raise InputError(f"{path} is a Git LFS pointer, not the file itself: fetch it with git lfs pull.")
    if head.lstrip()[:5].lower() in (b"<!doc", b"<html"):
        raise InputError(f"{path} is a web page, not a weights file: download the file that the page offers.")
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        if path.suffix == ".safetensors":
            # PyTorch itself would go by the name.
            raise InputError(f"{path} is a PyTorch archive, not safetensors: end its name in .pth.")
        return "zip"
    if _is_safetensors(path, head):
        return "safetensors"
    if head[0] == 0x80 or path.suffix in (".pkl", ".pth", ".pt", ".ckpt", ".tar"):
        return "pickle"
    raise InputError(
        f"{path} is not a weights file that Betwixt reads: safetensors, a PyTorch state dict (.pth, .pkl), or an ncnn "
        "model (.param with .bin)."
    )


def safetensors_error(path: Path, error: Exception) -> InputError:
    """The error to raise where the safetensors library fails to read a file."""
    if isinstance(error, OSError) and error.strerror:
        return read_error(path, error)
    detail = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return InputError(
        f"{path} is not a safetensors file, or is damaged or cut short: its header does not match its content "
        f"({detail})."
    )


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError as error:
        raise read_error(path, error) from None


def _is_safetensors(path: Path, head: bytes) -> bool:
    return path.suffix == ".safetensors" or head[8:9] == b"{"
