"""Checkpoints: all that a training run needs to go on, in one safetensors file, written whole or not at all.

    model.NAME       the network's weights as they train, by the names that ship     float32
    objective.NAME   what else the objective holds: teachers, buffers                float32
    ema.NAME         the moving average of what ships                                float32, or float16 in a small one
    first.NAME       the optimizer's first moment; NAME as above                     float32, or bfloat16
    second.NAME      its second moment, or Adamax's infinity norm                    float32, or bfloat16
    step.NAME        how many steps it has made                                      float32
    metadata: samples, steps, time, stage, the recipe, hash of the code, the data, as JSON under the key `state`

A run draws all chance of a step from the seed and the step's number, so there is no generator whose state would have
to be kept. A float32 checkpoint goes on bit for bit on the same device. A small one is what travels from machine to
machine in the repository: ten bytes a parameter.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from betwixt.errors import InputError
from betwixt.files import temporary_path, write_error
from betwixt.training.objectives.base import Objective
from betwixt.training.objectives.registry import make_objective
from betwixt.version import __version__
from betwixt.weights.metadata import hyperparameter_metadata

__all__ = [
    "Checkpoint",
    "TrainingProgress",
    "averaged_tensors",
    "check_checkpoint",
    "code_hash",
    "export_weights",
    "read_checkpoint",
    "restore",
    "write_checkpoint",
]


@dataclass
class TrainingProgress:
    """How far a run has come, and what it is.

    Attributes:
        step: Steps made.
        samples: Samples seen.
        seconds: Time spent, over all legs.
        recipe: The recipe's table.
        stage: The name of the stage in which the last step lay.
        stage_step: Steps made in it.
        code: Hash of the code that trained last.
        data: What it learned from, a line for each source.
    """

    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    recipe: dict[str, Any] = field(default_factory=dict)
    stage: str = ""
    stage_step: int = 0
    code: str = ""
    data: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The recipe's."""
        # Recipes once were a single table.
        return str(self.recipe.get("name", ""))


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        path: Of the file.
        tensors: By the names above.
        progress: How far the run had come.
    """

    path: Path
    tensors: dict[str, Tensor]
    progress: TrainingProgress


@functools.cache
def code_hash() -> str:
    """The first twelve digits of the SHA-256 over the package's Python files: which code it was."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def averaged_tensors(objective: Objective) -> dict[str, Tensor]:
    """What is averaged, by the names that ship: parameters and persistent buffers of real numbers, not copied."""
    return {n: t for n, t in objective.exported_module.state_dict(keep_vars=True).items() if t.is_floating_point()}


def _names(objective: Objective) -> dict[str, Tensor]:
    """Every parameter and persistent buffer, by its name in a checkpoint."""
    exported_module = {
        id(tensor): f"model.{name}" for name, tensor in objective.exported_module.state_dict(keep_vars=True).items()
    }
    return {
        exported_module.get(id(t), f"objective.{name}"): t for name, t in objective.state_dict(keep_vars=True).items()
    }


def write_checkpoint(
    path: Path,
    objective: Objective,
    average: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    progress: TrainingProgress,
    *,
    small: bool = False,
) -> None:
    """Write a checkpoint; `path` holds the old file or the new one, never half of either.

    Raises:
        OutputError: if it cannot be written.
    """
    kept, moment = (torch.float16, torch.bfloat16) if small else (torch.float32, torch.float32)
    tensors: dict[str, Tensor] = {}
    for name, tensor in _names(objective).items():
        tensors[name] = tensor.detach()
        state = optimizer.state.get(tensor)
        if state:
            plain = name.removeprefix("model.")
            tensors[f"first.{plain}"] = state["exp_avg"].to(moment)
            tensors[f"second.{plain}"] = state["exp_avg_sq" if "exp_avg_sq" in state else "exp_inf"].to(moment)
            tensors[f"step.{plain}"] = state["step"].reshape(1)
    tensors |= {f"ema.{name}": tensor.to(kept) for name, tensor in average.items()}
    _write(path, tensors, {"state": json.dumps(asdict(progress))})


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    partial = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Tensors that share memory, such as tied weights, are written apart.
        content = save({n: t.detach().contiguous().cpu().clone() for n, t in tensors.items()}, metadata=metadata)
        with partial.open("wb") as file:
            file.write(content)
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise write_error(error, path) from None
    finally:
        partial.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        InputError: if there is none, it cannot be read, or it is something else.
    """
    if not path.is_file():
        raise InputError(f"There is no checkpoint {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {})["state"])
            known = {f.name for f in fields(TrainingProgress)}
            progress = TrainingProgress(**{key: value for key, value in state.items() if key in known})
            if "stage_step" not in state:
                progress.stage_step = progress.step
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except KeyError:
        raise InputError(f"{path} is no checkpoint of a training run: it may be weights alone.") from None
    except Exception as error:
        what = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(f"{path} is no checkpoint, or damaged or cut short ({what[:150]}).") from None
    return Checkpoint(path, tensors, progress)


def check_checkpoint(checkpoint: Checkpoint, recipe: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of another recipe.

    Raises:
        InputError: if its recipe has another name, or another network.
    """
    theirs, progress = checkpoint.path, checkpoint.progress
    if progress.name != recipe["name"]:
        raise InputError(f"{theirs} is of the recipe {progress.name}, not of {recipe['name']}: give that recipe.")
    network = progress.recipe.get("network", {}).get("name")
    if network is not None and network != recipe["network"].get("name"):
        raise InputError(f"{theirs} is of the network {network}, not of {recipe['network'].get('name')}.")


def restore(
    checkpoint: Checkpoint,
    objective: Objective,
    average: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer | None = None,
) -> list[str]:
    """Put a checkpoint's values into place.

    Parameters that the file does not have keep theirs: a network that has grown a part goes on from the weights of the
    smaller one.

    Args:
        checkpoint: What was read.
        objective: Its parameters and buffers are overwritten.
        average: Overwritten, too.
        optimizer: Its moments are set; None where a stage begins, which begins without any.

    Returns:
        The names of parameters that the file does not have.

    Raises:
        InputError: if the file is another network's.
    """
    tensors, path = checkpoint.tensors, checkpoint.path
    own = _names(objective)
    present = [name for name in own if name in tensors]
    foreign = [n for n in tensors if n.startswith(("model.", "objective.")) and n not in own]
    wrong = [name for name in present if tensors[name].shape != own[name].shape]
    if foreign or not present:
        what = f"it has {foreign[0]}, which the recipe's has not" if foreign else "not a name is the same"
        raise InputError(f"{path} holds another network: {what}.")
    if wrong:
        shapes = f"{tuple(tensors[wrong[0]].shape)}, not {tuple(own[wrong[0]].shape)}"
        raise InputError(f"{path} holds another network: its {wrong[0]} has the shape {shapes}.")
    with torch.no_grad():
        for name in present:
            own[name].copy_(tensors[name])
        for name, value in average.items():
            if f"ema.{name}" in tensors:
                value.copy_(tensors[f"ema.{name}"])
    if optimizer is not None:
        for group in optimizer.param_groups:
            learning = {id(parameter) for parameter in group["params"]}
            for name, parameter in own.items():
                plain = name.removeprefix("model.")
                if id(parameter) in learning and f"first.{plain}" in tensors:
                    optimizer.state[parameter] = _moments(optimizer, parameter, tensors, plain)
    return [name for name in own if name not in tensors]


def _moments(
    optimizer: torch.optim.Optimizer, parameter: Tensor, tensors: Mapping[str, Tensor], name: str
) -> dict[str, Tensor]:
    def like(value: Tensor) -> Tensor:
        return torch.zeros_like(parameter).copy_(value)

    second = "exp_inf" if isinstance(optimizer, torch.optim.Adamax) else "exp_avg_sq"
    return {
        "step": tensors[f"step.{name}"].reshape(()).clone(),
        "exp_avg": like(tensors[f"first.{name}"]),
        second: like(tensors[f"second.{name}"]),
    }


def export_weights(source: Path, target: Path) -> TrainingProgress:
    """Write the averaged weights of a checkpoint alone, in float16, as they ship, with where they come from.

    The metadata: `model` (the name in `betwixt models`), `hyperparameters`, `recipe`, `network`, `samples`, `hours`,
    `data`, `code` (hash of the code that trained), `version`, `date`.

    Raises:
        InputError: if it is no checkpoint.
        OutputError: if the weights cannot be written.
    """
    checkpoint = read_checkpoint(source)
    progress = checkpoint.progress
    network = progress.recipe.get("network", {"name": progress.name})
    names = [name for name in checkpoint.tensors if name.startswith("ema.")]
    if not names:
        raise InputError(f"{source} holds no averaged weights.")
    with torch.random.fork_rng(devices=[]):
        objective = make_objective(network)
    metadata = {
        "model": objective.model_name,
        "recipe": progress.name,
        "network": json.dumps(network),
        **hyperparameter_metadata(objective.network),
        "samples": str(progress.samples),
        "hours": f"{progress.seconds / 3600:.2f}",
        "data": json.dumps(progress.data),
        "code": progress.code,
        "version": __version__,
        "origin": f"betwixt train {progress.name}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    _write(target, objective.finish({n.removeprefix("ema."): checkpoint.tensors[n] for n in names}), metadata)
    return progress
