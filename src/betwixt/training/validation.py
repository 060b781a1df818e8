"""Scores of a network on development sets while it trains, by the code and the protocols of `betwixt evaluate`.

The sets are `middlebury`, `ucf101` and `frames` (a folder `davis_dev`), as published. Of the larger ones an even subset
is taken, the same every time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from betwixt.errors import InputError
from betwixt.evaluation.datasets import Sample, open_dataset
from betwixt.evaluation.metrics import Picture, psnr, rounded
from betwixt.models.compact import search

__all__ = ["development_sets", "validate"]


def development_sets(root: Path, ucf101: int = 32, davis: int = 12) -> dict[str, list[Sample]]:
    """Samples of each set that is under `root`; `ucf101` and `davis` say how many, 0 for all."""
    sets = {}
    for name, dataset, folder, count in (
        ("middlebury", "middlebury", root, 0),
        ("ucf101", "ucf101", root, ucf101),
        ("davis", "frames", root / "davis_dev", davis),
    ):
        try:
            samples = list(open_dataset(dataset, folder).samples())
        except InputError:
            continue
        sets[name] = _even(sorted(samples, key=lambda sample: sample.name), count)
    return sets


def _even(samples: Sequence[Sample], count: int) -> list[Sample]:
    if count == 0 or count >= len(samples):
        return list(samples)
    return [samples[round(i)] for i in np.linspace(0, len(samples) - 1, count)]


def middle(model: nn.Module, first: Picture, second: Picture) -> Tensor:
    """The frame at t = 1/2, (1, 3, H, W), padded to what the network needs and cut back."""
    height, width = first.shape[:2]
    pad = (0, -width % 16, 0, -height % 16)
    found, logit = (torch.from_numpy(x).permute(2, 0, 1)[None] for x in search(first, second, 0.5))
    pictures = (torch.from_numpy(x).permute(2, 0, 1)[None].float() / 255.0 for x in (first, second))
    a, b, u, w = (
        F.pad(x, pad, mode="replicate").to(memory_format=torch.channels_last) for x in (*pictures, found, logit)
    )
    frame: Tensor = model(a, b, torch.full((1, 1, 1, 1), 0.5), u, w).frame
    return frame[..., :height, :width]


def validate(model: nn.Module, sets: Mapping[str, Sequence[Sample]]) -> dict[str, float]:
    """Mean PSNR, of frames rounded to 8 bit, on every set."""
    scores = {}
    with torch.inference_mode():
        for name, samples in sets.items():
            values = []
            for sample in samples:
                frames = sample.load()
                made = middle(model, frames.first, frames.second)[0].permute(1, 2, 0).numpy()
                values.append(psnr(rounded(made), frames.truths[0]))
            scores[name] = float(np.mean(values))
    return scores
