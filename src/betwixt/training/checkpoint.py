"""Checkpoints: everything that a run needs to be resumed, in one safetensors file that is written atomically.

    model.NAME       current weights of the exported module                      float32
    objective.NAME   everything else in the objective: teachers, buffers         float32
    ema.NAME         moving average of the exported module                       float32, or float16 in a small one
    first.NAME       first moment of the optimizer (NAME without `model.`)       float32, or bfloat16
    second.NAME      second moment, or the infinity norm of Adamax               float32, or bfloat16
    step.NAME        the optimizer's step count                                  float32
    metadata         `TrainingProgress` as JSON, under the key `state`

The random numbers of a step come from the seed and the step's number, so there is no generator state to save. A run
resumed from a float32 checkpoint continues bit for bit on the same device. A small checkpoint has ten bytes per
parameter: small enough to be kept in the repository.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from betwixt.errors import InputError
from betwixt.files import write_error
from betwixt.training.objectives.base import Objective
from betwixt.training.objectives.registry import make_objective
from betwixt.version import __version__
from betwixt.weights.export import write_weights
from betwixt.weights.metadata import hyperparameter_metadata


@dataclass
class TrainingProgress:
    """The progress of a run, and what it is."""

    step: int = 0  # number of steps so far
    samples: int = 0  # number of samples so far
    seconds: float = 0.0  # training time so far, over all resumes
    recipe: dict[str, Any] = field(default_factory=dict)  # the table of the recipe
    stage: str = ""  # the stage of the last step
    stage_step: int = 0  # number of steps in that stage
    code: str = ""  # hash of the code that trained last
    data: list[str] = field(default_factory=list)  # the data, one line per source

    @property
    def name(self) -> str:
        """The name of the recipe; "" in checkpoints from before recipes had names."""
        return str(self.recipe.get("name", ""))


@dataclass(frozen=True)
class Checkpoint:
    """The contents of the checkpoint file `path`; tensors by their names in the file."""

    path: Path
    tensors: dict[str, Tensor]
    progress: TrainingProgress


@functools.cache
def code_hash() -> str:
    """The first twelve digits of the SHA-256 of the package's Python files."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def averaged_tensors(objective: Objective) -> dict[str, Tensor]:
    """The tensors that are averaged: floating-point parameters and buffers of the exported module, not copied."""
    return {n: t for n, t in objective.exported_module.state_dict(keep_vars=True).items() if t.is_floating_point()}


def _named_tensors(objective: Objective) -> dict[str, Tensor]:
    """Every parameter and persistent buffer, by its name in a checkpoint."""
    exported = {id(t): f"model.{name}" for name, t in objective.exported_module.state_dict(keep_vars=True).items()}
    return {exported.get(id(t), f"objective.{name}"): t for name, t in objective.state_dict(keep_vars=True).items()}


def write_checkpoint(
    path: Path,
    objective: Objective,
    average: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    progress: TrainingProgress,
    *,
    small: bool = False,
) -> None:
    """Write a checkpoint, replacing the file atomically; `OutputError` if it cannot be written."""
    average_type, moment_type = (torch.float16, torch.bfloat16) if small else (torch.float32, torch.float32)
    tensors: dict[str, Tensor] = {}
    for name, tensor in _named_tensors(objective).items():
        tensors[name] = tensor.detach()
        state = optimizer.state.get(tensor)
        if state:
            short = name.removeprefix("model.")
            tensors[f"first.{short}"] = state["exp_avg"].to(moment_type)
            tensors[f"second.{short}"] = state["exp_avg_sq" if "exp_avg_sq" in state else "exp_inf"].to(moment_type)
            tensors[f"step.{short}"] = state["step"].reshape(1)
    tensors |= {f"ema.{name}": tensor.to(average_type) for name, tensor in average.items()}
    _write(path, tensors, {"state": json.dumps(asdict(progress))})


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(error, path) from None
    # Cloned, since safetensors refuses tensors that share memory, such as tied weights.
    write_weights(path, {n: t.detach().contiguous().cpu().clone() for n, t in tensors.items()}, metadata)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; `InputError` if it does not exist, is damaged, or is not a checkpoint."""
    if not path.is_file():
        raise InputError(f"There is no checkpoint {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {})["state"])
            known = {f.name for f in fields(TrainingProgress)}
            progress = TrainingProgress(**{key: value for key, value in state.items() if key in known})
            if "stage_step" not in state:
                progress.stage_step = progress.step
            # Older checkpoints call the trained network `taught`.
            tensors = {
                name.replace("objective.taught.", "objective.training_network."): file.get_tensor(name)
                for name in file.keys()  # noqa: SIM118 (not a dict)
            }
    except KeyError:
        raise InputError(f"{path} is not a checkpoint of a training run: it may be a weights file.") from None
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(f"{path} is not a checkpoint, or damaged or truncated ({reason[:150]}).") from None
    return Checkpoint(path, tensors, progress)


def check_checkpoint(checkpoint: Checkpoint, recipe: Mapping[str, Any]) -> None:
    """Raise `InputError` if a checkpoint belongs to a recipe with another name or another network."""
    path, progress = checkpoint.path, checkpoint.progress
    if progress.name != recipe["name"]:
        raise InputError(f"{path} is of the recipe {progress.name}, not of {recipe['name']}: use that recipe.")
    network = progress.recipe.get("network", {}).get("name")
    if network is not None and network != recipe["network"].get("name"):
        raise InputError(f"{path} is of the network {network}, not of {recipe['network'].get('name')}.")


def restore(
    checkpoint: Checkpoint,
    objective: Objective,
    average: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer | None = None,
) -> list[str]:
    """Load the values of a checkpoint.

    Parameters, buffers, moving average and moments of the optimizer are overwritten. The optimizer is None at the start
    of a stage, which begins without moments. Tensors that are not in the file keep their values, and their names are
    returned: a network to which a part was added continues from the weights of the smaller one.

    Raises:
        InputError: if the file is of another network.
    """
    tensors, path = checkpoint.tensors, checkpoint.path
    own = _named_tensors(objective)
    present = [name for name in own if name in tensors]
    unknown = [n for n in tensors if n.startswith(("model.", "objective.")) and n not in own]
    mismatched = [name for name in present if tensors[name].shape != own[name].shape]
    if unknown or not present:
        reason = f"the recipe's has no {unknown[0]}" if unknown else "no tensor has a matching name"
        raise InputError(f"{path} is of another network: {reason}.")
    if mismatched:
        name = mismatched[0]
        shapes = f"{tuple(tensors[name].shape)}, not {tuple(own[name].shape)}"
        raise InputError(f"{path} is of another network: its {name} has the shape {shapes}.")
    with torch.no_grad():
        for name in present:
            own[name].copy_(tensors[name])
        for name, value in average.items():
            if f"ema.{name}" in tensors:
                value.copy_(tensors[f"ema.{name}"])
    if optimizer is not None:
        second = "exp_inf" if isinstance(optimizer, torch.optim.Adamax) else "exp_avg_sq"
        for group in optimizer.param_groups:
            trainable = {id(parameter) for parameter in group["params"]}
            for name, parameter in own.items():
                short = name.removeprefix("model.")
                if id(parameter) in trainable and f"first.{short}" in tensors:
                    optimizer.state[parameter] = {
                        "step": tensors[f"step.{short}"].reshape(()).clone(),
                        "exp_avg": torch.zeros_like(parameter).copy_(tensors[f"first.{short}"]),
                        second: torch.zeros_like(parameter).copy_(tensors[f"second.{short}"]),
                    }
    return [name for name in own if name not in tensors]


_TEACHER_PREFIX = "objective.training_network."
"""Of parts of the network that only training has: everything else in it is exported, and called `model.`."""


def export_weights(source: Path, target: Path, *, with_teacher: bool = False) -> TrainingProgress:
    """Write only the averaged weights of a checkpoint, in float16, with their origin as metadata.

    Args:
        source: The checkpoint.
        target: The file to write.
        with_teacher: Whether to add the teacher block, as `predictor_weights` of the codec needs it. Its weights are
            not averaged. Everything else reads the file as one without it.

    Raises:
        InputError: if the source is no checkpoint, or has no teacher block to add.
        OutputError: if the target cannot be written.
    """
    checkpoint = read_checkpoint(source)
    progress = checkpoint.progress
    network = progress.recipe.get("network", {"name": progress.name})
    names = [name for name in checkpoint.tensors if name.startswith("ema.")]
    if not names:
        raise InputError(f"{source} has no averaged weights.")
    teacher = {n: t.half() for n, t in checkpoint.tensors.items() if with_teacher and n.startswith(_TEACHER_PREFIX)}
    if with_teacher and not teacher:
        raise InputError(f"{source} has no teacher block: its network was trained without one.")
    with torch.random.fork_rng(devices=[]):
        objective = make_objective(network)
    metadata = {
        "model": objective.model_name,
        "recipe": progress.name,
        "network": json.dumps(network),
        **hyperparameter_metadata(objective.exported_module),
        "samples": str(progress.samples),
        "hours": f"{progress.seconds / 3600:.2f}",
        "data": json.dumps(progress.data),
        "code": progress.code,
        "version": __version__,
        "origin": f"betwixt train {progress.name}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    tensors = objective.export_tensors({n.removeprefix("ema."): checkpoint.tensors[n] for n in names})
    tensors |= {name.removeprefix(_TEACHER_PREFIX): tensor for name, tensor in teacher.items()}
    _write(target, tensors, metadata)
    return progress
