"""Checkpoints: all that a training run needs to go on, in one safetensors file, written whole or not at all.

    model.NAME       the weights as they train           float32
    ema.NAME         their exponential moving average    float32, or float16 in a small checkpoint
    first.NAME       AdamW's first moment                float32, or bfloat16
    second.NAME      AdamW's second moment               float32, or bfloat16
    metadata: step, samples, seconds and the recipe, as JSON under the key `state`

A float32 checkpoint continues bit for bit on the same device. A small one is what travels from machine to machine in
the repository: ten bytes a parameter.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

__all__ = ["Progress", "export_weights", "load_checkpoint", "save_checkpoint"]


@dataclass
class Progress:
    """How far a run has come."""

    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    recipe: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(
    path: Path,
    model: nn.Module,
    ema: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    *,
    small: bool = False,
) -> None:
    """Write a checkpoint; `path` holds the old file or the new one, never half of either."""
    average, moment = (torch.float16, torch.bfloat16) if small else (torch.float32, torch.float32)
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        tensors[f"model.{name}"] = parameter.detach()
        tensors[f"ema.{name}"] = ema[name].to(average)
        state = optimizer.state.get(parameter)
        if state:
            tensors[f"first.{name}"] = state["exp_avg"].to(moment)
            tensors[f"second.{name}"] = state["exp_avg_sq"].to(moment)
            tensors[f"step.{name}"] = state["step"].reshape(1)
    tensors = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    save_file(tensors, partial, metadata={"state": json.dumps(asdict(progress))})
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def load_checkpoint(
    path: Path, model: nn.Module, ema: dict[str, Tensor], optimizer: torch.optim.Optimizer | None
) -> Progress:
    """Restore a checkpoint in place.

    Parameters that the file does not have keep their values: a network that has grown a part goes on from the
    weights of the smaller one.
    """
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        progress = Progress(**json.loads(file.metadata()["state"]))
        for name, parameter in model.named_parameters():
            if f"model.{name}" not in names:
                continue
            with torch.no_grad():
                parameter.copy_(file.get_tensor(f"model.{name}"))
            ema[name].copy_(file.get_tensor(f"ema.{name}"))
            if optimizer is not None and f"first.{name}" in names:
                like = torch.zeros_like(parameter)
                optimizer.state[parameter] = {
                    "step": file.get_tensor(f"step.{name}").reshape(()),
                    "exp_avg": like.clone().copy_(file.get_tensor(f"first.{name}")),
                    "exp_avg_sq": like.clone().copy_(file.get_tensor(f"second.{name}")),
                }
    return progress


def export_weights(checkpoint: Path, target: Path) -> None:
    """Write the averaged weights of a checkpoint alone, in float16, as they ship."""
    with safe_open(checkpoint, framework="pt") as file:
        progress = json.loads(file.metadata()["state"])
        names = [name for name in file.keys() if name.startswith("ema.")]  # noqa: SIM118 (not a dict)
        tensors = {name.removeprefix("ema."): file.get_tensor(name).half().contiguous() for name in names}
    metadata = {"recipe": progress["recipe"]["name"], "samples": str(progress["samples"])}
    partial = target.with_name(f"{target.name}.partial")
    save_file(tensors, partial, metadata=metadata)
    partial.replace(target)
