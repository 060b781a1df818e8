"""Measuring, on videos, what Betwixt's own networks need to run in eight bits.

videos ─► pairs of frames ─► the model in float32, observed ─► reaches ─► NAME.int8.json beside its weights
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from betwixt.backends.activation_ranges import ranges_file, write_activation_ranges
from betwixt.errors import InputError, UsageError
from betwixt.files import check_output, file_hash
from betwixt.machine import require_torch
from betwixt.media.reader import Frame, Reader
from betwixt.models.frame_view import Image
from betwixt.models.registry import choose_model, model_info
from betwixt.runtime.load import load_model

if TYPE_CHECKING:
    from torch import nn

_APART = 24
"""How many frames there are at least from one pair to the next."""

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
    """Measure how far a model's convolutions reach, and keep that.

    Args:
        name: One of Betwixt's own networks.
        videos: What to make frames of: the more kinds of motion, the better.
        weights: A file of weights; by default those that come with Betwixt.
        folder: Where to; by default beside `weights`, where it is found.
        device: Where the network runs meanwhile.
        overwrite: Replace what is there.
        progress: Is told of each pair that is done: of what, how many, None.

    Returns:
        The files that were written: of the weights given, or one for each file that comes with Betwixt for the model.

    Raises:
        UsageError: if the model is none of those, or neither weights nor a folder are given.
        InputError: if a video cannot be read, none has three frames, or the network computes what is no number.
        OutputError: if the files cannot be written.
    """
    name = choose_model(name, weights)
    if not model_info(name).is_own:
        raise UsageError(f"The model {name} does not run in int8: only Betwixt's own networks do, such as hybrid.")
    if weights is None and folder is None:
        raise UsageError(
            f"What comes with Betwixt of {name} is measured already: give your own weights (--weights FILE), or a "
            "folder (-o FOLDER) to measure it anew."
        )
    require_torch("Measuring a network")
    model: Any = load_model(name, device, weights=weights, runtime="torch", precision="fp32")
    networks: dict[Path, nn.Module] = model.networks()
    if weights is not None:
        networks = dict(list(networks.items())[:1])
    digests = {path: file_hash(path) for path in networks}
    targets = {path: ranges_file(path if folder is None else folder / path.name) for path in networks}
    for path, target in targets.items():
        check_output(target, path, overwrite)
    for video in videos:
        with Reader(video, interlaced="ignore"):
            pass  # it can be read

    from betwixt.backends.fake_quant import estimate_ranges, observe_activations

    count = 0
    with ExitStack() as stack:
        found = {path: stack.enter_context(observe_activations(network)) for path, network in networks.items()}
        for video in videos:
            for number, (first, second) in enumerate(_pairs(video)):
                model.prepare(first, second).motion(_TIMES[number % len(_TIMES)])
                count += 1
                if progress is not None:
                    progress("measured", count, None)
    if not count:
        raise InputError("No video has three frames: give longer ones.")
    origin = f"{count} pairs of frames of {', '.join(video.name for video in videos)}"
    try:
        activation_ranges = {path: estimate_ranges(values) for path, values in found.items()}
    except ValueError as error:
        raise InputError(f"{weights or name} cannot be measured. {error}") from None
    for path, target in targets.items():
        write_activation_ranges(target, digests[path], activation_ranges[path], origin)
    return list(targets.values())


def _pairs(video: Path) -> Iterator[tuple[Image, Image]]:
    """Pairs of frames with one between them, (H, W, 3) float32, RGB in [0, 1]; spread over the video."""
    first: Image | None = None
    with Reader(video, interlaced="ignore") as reader:
        apart = max(_APART, (reader.info.frames or 0) // _PAIRS)
        for frame in reader:
            if not isinstance(frame, Frame) or frame.index % apart not in (0, 2):
                continue
            picture: Image = frame.video.to_ndarray(format="rgb24").astype(np.float32) / np.float32(255)
            if frame.index % apart == 0:
                first = picture
                continue
            if first is not None and first.shape == picture.shape:
                yield first, picture
            if frame.index >= apart * (_PAIRS - 1):
                return
