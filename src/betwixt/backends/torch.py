"""Running networks in PyTorch: device, precision, arrays in and out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str) -> torch.device:
    """The device of a name; "auto" is the first CUDA device if there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def precision_context(device: torch.device, precision: str) -> torch.autocast:
    """A context in which networks on `device` run in a precision: "bf16" and "fp16" by autocast."""
    return torch.autocast(device.type, _DTYPES[precision], enabled=precision != "fp32")


def run_module(
    module: nn.Module,
    device: torch.device,
    precision: str,
    images: Sequence[NDArray[np.float32]],
    maps: Sequence[NDArray[np.float32]],
) -> list[NDArray[np.float32]]:
    """Run a module on images (h, w, 3), then maps (c, h, w), without gradients.

    Args:
        module: Takes (1, c, h, w) tensors and returns one or a tuple of them.
        device: The device it is on.
        precision: "fp32", "bf16" or "fp16".
        images: Its first arguments.
        maps: Its further arguments.

    Returns:
        Its results, (c, h, w) float32.
    """
    with torch.inference_mode(), precision_context(device, precision):
        tensors = [torch.from_numpy(image).permute(2, 0, 1) for image in images]  # channels stay last in memory
        tensors += [torch.from_numpy(np.ascontiguousarray(x, np.float32)) for x in maps]
        results: Any = module(*(x[None].to(device) for x in tensors))
        return [x[0].float().cpu().numpy() for x in (results if isinstance(results, tuple) else (results,))]
