"""Scores a network on development sets during training, with the code and protocols of `betwixt evaluate`.

The sets are those of `SETS` that are in a folder. Of the larger ones an evenly spaced subset is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from betwixt.errors import InputError
from betwixt.evaluation.datasets import Dataset, DatasetOptions, open_dataset
from betwixt.evaluation.metrics import select_metrics
from betwixt.evaluation.scoring import evaluate
from betwixt.models.base import Interpolator
from betwixt.training.checkpoint import averaged_tensors
from betwixt.training.objectives.base import Objective

SETS: dict[str, tuple[str, str, int]] = {
    "middlebury": ("middlebury", ".", 0),
    "ucf101": ("ucf101", ".", 32),
    "davis": ("frames", "davis_dev", 12),
    "vimeo90k": ("vimeo90k", ".", 48),
}
"""By column of the training curve: the data set, its folder under the root, and how many samples are used (0: all)."""


DevelopmentSets = dict[str, tuple[Dataset, tuple[str, ...] | None]]
"""By column of the training curve: a data set, and the names of the samples that are scored (None: all)."""


def open_development_sets(root: Path, *, extrapolate: bool = False) -> DevelopmentSets:
    """Open the development sets in a folder; `InputError` if there are none.

    Args:
        root: The folder.
        extrapolate: Whether the model predicts the last frame from the two before it.
    """
    sets: DevelopmentSets = {}
    for name, (dataset, folder, count) in SETS.items():
        try:
            opened = open_dataset(dataset, root / folder, DatasetOptions(extrapolate=extrapolate))
            names = sorted(sample.name for sample in opened.samples())
        except InputError:
            continue
        if 0 < count < len(names):
            sets[name] = opened, tuple(names[round(i)] for i in np.linspace(0, len(names) - 1, count))
        elif names:
            sets[name] = opened, None
    if not sets:
        raise InputError(f"{root} has none of the development sets ({', '.join(SETS)}): see docs/how-to/evaluate.md.")
    return sets


@contextmanager
def use_averaged_weights(objective: Objective, average: dict[str, Tensor]) -> Iterator[None]:
    """Within the context, the objective has its averaged weights and is in evaluation mode."""
    current = averaged_tensors(objective)
    saved = {name: tensor.detach().clone() for name, tensor in current.items()}
    modes = {module: module.training for module in objective.modules()}
    try:
        with torch.no_grad():
            for name, tensor in current.items():
                tensor.copy_(average[name])
        objective.eval()
        yield
    finally:
        with torch.no_grad():
            for name, tensor in current.items():
                tensor.copy_(saved[name])
        for module, training in modes.items():
            module.training = training


def validate(model: Interpolator, sets: DevelopmentSets) -> dict[str, float]:
    """Mean PSNR of the 8-bit frames on every set, in dB."""
    metrics = select_metrics("psnr")
    return {
        name: evaluate(model, dataset, metrics, ids=names, jobs=2).summary("psnr").mean
        for name, (dataset, names) in sets.items()
    }
