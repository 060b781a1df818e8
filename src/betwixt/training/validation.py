"""Scores of a network on development sets while it trains: PSNR of the frame in the middle, rounded to 8 bit.

The sets are folders as published: `middlebury_other` (input/, gt/), `ucf101_interp_ours` and `davis_dev` (frame
sequences). Of the larger ones an even subset is taken, the same every time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from betwixt.errors import InputError
from betwixt.models.compact import search

__all__ = ["Triplet", "development_sets", "psnr", "validate"]

Triplet = tuple[Path, Path, Path]
"""First, second, truth."""


def psnr(prediction: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """Over all pixels and channels, in dB; equal pictures give 100."""
    error = float(np.mean((prediction.astype(np.float64) - truth.astype(np.float64)) ** 2))
    return 100.0 if error == 0.0 else 10.0 * float(np.log10(255.0**2 / error))


def development_sets(root: Path, ucf101: int = 32, davis: int = 12) -> dict[str, list[Triplet]]:
    """Triplets of each set that is there; `ucf101` and `davis` say how many, 0 for all."""
    middlebury = [
        (d / "frame10.png", d / "frame11.png", root / "middlebury_other/gt" / d.name / "frame10i11.png")
        for d in sorted((root / "middlebury_other/input").glob("*"))
    ]
    frames = [sorted(d.glob("frame_0*")) for d in sorted((root / "ucf101_interp_ours").glob("*"))]
    triplets = [(a, c, b) for a, b, c in frames]
    sequences = []
    for folder in sorted((root / "davis_dev").glob("*")):
        names = sorted(folder.glob("*.jpg"))
        sequences += [(names[i], names[i + 2], names[i + 1]) for i in range(len(names) - 2)]
    sets = {"middlebury": middlebury, "ucf101": _even(triplets, ucf101), "davis": _even(sequences, davis)}
    return {name: items for name, items in sets.items() if items}


def _even(items: Sequence[Triplet], count: int) -> list[Triplet]:
    if count == 0 or count >= len(items):
        return list(items)
    return [items[round(i)] for i in np.linspace(0, len(items) - 1, count)]


def _read(path: Path) -> NDArray[np.uint8]:
    picture = cv2.imread(str(path))
    if picture is None:
        raise InputError(f"{path} is not a picture.")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def _tensor(picture: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255.0


def middle(model: nn.Module, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Tensor:
    """The frame at t = 1/2, (1, 3, H, W), padded to what the network needs and cut back."""
    height, width = first.shape[:2]
    pad = (0, -width % 16, 0, -height % 16)
    found, logit = (torch.from_numpy(x).permute(2, 0, 1)[None] for x in search(first, second, 0.5))
    a, b, u, w = (
        F.pad(x, pad, mode="replicate").to(memory_format=torch.channels_last)
        for x in (_tensor(first), _tensor(second), found, logit)
    )
    frame: Tensor = model(a, b, torch.full((1, 1, 1, 1), 0.5), u, w).frame
    return frame[..., :height, :width]


def validate(
    model: nn.Module,
    sets: Mapping[str, Sequence[Triplet]],
    frame_between: Callable[[nn.Module, NDArray[np.uint8], NDArray[np.uint8]], Tensor] = middle,
) -> dict[str, float]:
    """Mean PSNR of every set."""
    scores = {}
    with torch.inference_mode():
        for name, triplets in sets.items():
            values = []
            for first, second, truth in triplets:
                frame = frame_between(model, _read(first), _read(second))
                picture = (frame[0].permute(1, 2, 0) * 255.0 + 0.5).clamp(0, 255).byte().numpy()
                values.append(psnr(picture, _read(truth)))
            scores[name] = float(np.mean(values))
    return scores
