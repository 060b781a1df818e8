"""Writing weights files: safetensors, whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from betwixt.files import WorkingFile, write_error


def write_weights(target: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, whole or not at all.

    Args:
        target: The file.
        tensors: Contiguous tensors on the CPU, none of which share memory, by name.
        metadata: Texts by key.

    Raises:
        OutputError: if it cannot be written.
    """
    try:
        with WorkingFile(target) as working:
            working.file.write(save(dict(tensors), dict(metadata)))
            working.file.flush()
            os.fsync(working.file.fileno())
            working.publish()
    except OSError as error:
        raise write_error(error, target) from None


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of names, types, shapes and numbers, whatever their order in a file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        numbers: Any = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
        digest.update(numbers)
    return digest.hexdigest()
