"""Scores of a network on development sets while it trains, by the code and the protocols of `betwixt evaluate`.

The sets are those of `SETS` that lie under a folder. Of the larger ones an even subset is taken, the same every time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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

__all__ = ["SETS", "DevelopmentSet", "development_sets", "use_averaged_weights", "validate"]

SETS: dict[str, tuple[str, str, int]] = {
    "middlebury": ("middlebury", ".", 0),
    "ucf101": ("ucf101", ".", 32),
    "davis": ("frames", "davis_dev", 12),
    "vimeo90k": ("vimeo90k", ".", 48),
}
"""By column of the curve: the data set, its folder under the root, and how many of its samples are taken; 0 for all."""


@dataclass(frozen=True)
class DevelopmentSet:
    """A data set, and which of its samples are scored; None for all."""

    dataset: Dataset
    ids: tuple[str, ...] | None


def development_sets(root: Path, *, extrapolate: bool = False) -> dict[str, DevelopmentSet]:
    """The development sets under a folder.

    Args:
        root: The folder.
        extrapolate: Whether the last frame is to be restored from the two before it.

    Raises:
        InputError: if there is none.
    """
    sets = {}
    for name, (dataset, folder, count) in SETS.items():
        try:
            opened = open_dataset(dataset, root / folder, DatasetOptions(extrapolate=extrapolate))
            names = sorted(sample.name for sample in opened.samples())
        except InputError:
            continue
        if names:
            sets[name] = DevelopmentSet(opened, _even(names, count))
    if not sets:
        raise InputError(f"{root} holds none of the development sets ({', '.join(SETS)}): see docs/how-to/evaluate.md.")
    return sets


def _even(names: Sequence[str], count: int) -> tuple[str, ...] | None:
    if count == 0 or count >= len(names):
        return None
    return tuple(names[round(i)] for i in np.linspace(0, len(names) - 1, count))


@contextmanager
def use_averaged_weights(objective: Objective, average: dict[str, Tensor]) -> Iterator[None]:
    """Give the objective its averaged weights for a while, and evaluation's mode; afterwards all is as it was."""
    own = averaged_tensors(objective)
    kept = {name: tensor.detach().clone() for name, tensor in own.items()}
    modes = {module: module.training for module in objective.modules()}
    try:
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(average[name])
        objective.eval()
        yield
    finally:
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(kept[name])
        for module, training in modes.items():
            module.training = training


def validate(model: Interpolator, sets: dict[str, DevelopmentSet]) -> dict[str, float]:
    """Mean PSNR, of frames rounded to 8 bit, on every set."""
    metrics = select_metrics("psnr")
    return {
        name: evaluate(model, chosen.dataset, metrics, ids=chosen.ids, jobs=2).summary("psnr").mean
        for name, chosen in sets.items()
    }
