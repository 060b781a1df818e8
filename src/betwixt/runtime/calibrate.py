"""Measuring, on videos, what Betwixt's own networks need to run in eight bits.

videos ─► pairs of frames ─► the model in float32, observed ─► reaches ─► NAME.int8.json beside its weights
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from betwixt.errors import InputError, UsageError
from betwixt.media.files import check_output
from betwixt.media.reader import Frame, Reader
from betwixt.models.base import Image
from betwixt.models.registry import model_info, need_torch
from betwixt.runtime.load import load_model
from betwixt.weights.reaches import place_of, read_reaches, write_reaches

if TYPE_CHECKING:
    from torch import nn

__all__ = ["calibrate"]

_APART = 24
"""How many frames there are from one pair to the next."""

_PAIRS = 8
"""How many pairs are taken of a video at the most."""

_TIMES = 0.5, 0.25, 0.75
"""When the frames are made, in turns."""


def calibrate(
    name: str,
    videos: Sequence[Path],
    *,
    weights: Path | None = None,
    folder: Path | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> list[Path]:
    """Measure how far a model's convolutions reach, and keep that where the model finds it.

    Args:
        name: One of Betwixt's own networks.
        videos: What to make frames of: the more kinds of motion, the better.
        weights: A file of weights; by default those that come with Betwixt.
        folder: Where the files go; by default beside the weights.
        device: Where the network runs meanwhile.
        overwrite: Measure again what is known.
        progress: Is told of each pair that is done: of what, how many, None.

    Returns:
        The files that were written, one for each file of weights that the model is made of.

    Raises:
        UsageError: if the model is none of those, or all is known.
        InputError: if a video cannot be read, or none has three frames.
        OutputError: if the files cannot be written.
    """
    if not model_info(name).own:
        raise UsageError(f"The model {name} does not run in int8: only Betwixt's own networks do, such as hybrid.")
    need_torch("Measuring a network")
    model: Any = load_model(name, device, weights=weights, runtime="torch", precision="fp32")
    networks: dict[Path, nn.Module] = model.rounded_networks()
    wanted = {path: network for path, network in networks.items() if overwrite or read_reaches(path) is None}
    if not wanted:
        raise UsageError(f"What {name} needs for int8 is known: pass --overwrite to measure it again.")
    targets = {path: place_of(path if folder is None else folder / path.name) for path in wanted}
    for path, target in targets.items():
        # What is there is of other weights, or is to be replaced.
        check_output(target, path, overwrite=True)

    from betwixt.layers.rounding import observed, reaches_of

    count = 0
    with ExitStack() as stack:
        found = {path: stack.enter_context(observed(network)) for path, network in wanted.items()}
        for video in videos:
            for number, (first, second) in enumerate(_pairs(video)):
                model.prepare(first, second).motion(_TIMES[number % len(_TIMES)])
                count += 1
                if progress is not None:
                    progress("measured", count, None)
    if not count:
        raise InputError("No video has three frames: give longer ones.")
    origin = f"{count} pairs of frames of {', '.join(video.name for video in videos)}"
    for path, target in targets.items():
        write_reaches(path, reaches_of(found[path]), origin, target)
    return list(targets.values())


def _pairs(video: Path) -> Iterator[tuple[Image, Image]]:
    """Pairs of frames with one between them, (H, W, 3) float32, RGB in [0, 1]."""
    first: Image | None = None
    with closing(Reader(video, interlaced="ignore")) as reader:
        for frame in reader:
            if not isinstance(frame, Frame) or frame.index % _APART not in (0, 2):
                continue
            picture: Image = frame.video.to_ndarray(format="rgb24").astype(np.float32) / np.float32(255)
            if frame.index % _APART == 0:
                first = picture
                continue
            if first is not None and first.shape == picture.shape:
                yield first, picture
            if frame.index >= _APART * (_PAIRS - 1):
                return
