"""Reading a file of weights into a network: safetensors, or a PyTorch state dict read with `weights_only=True`.

Nothing in a file is ever run. Every name and shape has to fit; names may carry the prefix `module.` that multi-GPU
training leaves, and parameters that inference does not use (a teacher) may be missing or left over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from betwixt.errors import InputError

__all__ = ["file_hash", "load_weights", "read_tensors"]


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {(error.strerror or 'error').lower()}.") from None
    return digest.hexdigest()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, without the prefix `module.`.

    Raises:
        InputError: if it is not there, is damaged, or holds something else.
    """
    if not path.is_file():
        raise InputError(f"There is no file of weights {path}.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} cannot be read as weights (safetensors or a PyTorch state dict): {why}") from None
    for key in ("state_dict", "model", "params"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()) or not content:
        raise InputError(f"{path} holds no weights: expected a table of names and tensors.")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def load_weights(network: nn.Module, path: Path, rename: Callable[[str], str] = str) -> None:
    """Give a network the weights of a file.

    Args:
        network: What the weights are for.
        path: The file.
        rename: Turns a name in the authors' files into ours.

    Raises:
        InputError: if names or shapes do not fit.
    """
    tensors = {rename(name): value for name, value in read_tensors(path).items()}
    own = network.state_dict()
    missing = [name for name in own if name not in tensors]
    wrong = [name for name in own if name in tensors and tensors[name].shape != own[name].shape]
    if missing or wrong:
        what = (
            f"{wrong[0]} has the shape {tuple(tensors[wrong[0]].shape)}, not {tuple(own[wrong[0]].shape)}"
            if wrong
            else f"{len(missing)} of {len(own)} tensors are missing, {missing[0]} for one"
        )
        raise InputError(f"{path} holds weights of another network: {what}.")
    network.load_state_dict({name: tensors[name] for name in own})
