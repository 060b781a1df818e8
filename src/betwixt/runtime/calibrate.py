"""Calibration: measuring, on videos, the activation ranges that Betwixt's own networks need to run in int8.

videos ─► pairs of frames ─► the model in fp32, observed ─► activation ranges ─► NAME.int8.json beside its weights
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

_MIN_DISTANCE = 24
"""The least number of frames from one pair to the next."""

_PAIRS = 8
"""The most pairs taken from a video."""

_TIMES = 0.5, 0.25, 0.75
"""The times of the frames that are made, in turns."""


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
    """Measure the activation ranges of a model and write them to files.

    Args:
        name: One of Betwixt's own networks.
        videos: Videos to make frames of: the more kinds of motion, the better.
        weights: A weights file; by default the one that comes with Betwixt.
        folder: The folder to write to; by default that of `weights`, where the ranges are looked for.
        device: The device on which the network runs.
        overwrite: Whether existing files may be replaced.
        progress: Called after each pair with "measured", the number of pairs so far, and None.

    Returns:
        The files written: one for `weights`, or one for each weights file that comes with Betwixt for the model.

    Raises:
        UsageError: if the model is not one of those, or neither `weights` nor `folder` is given.
        InputError: if a video cannot be read, none has three frames, or the network computes NaN or infinity.
        OutputError: if the files cannot be written.
    """
    name = choose_model(name, weights)
    if not model_info(name).is_own:
        raise UsageError(f"The model {name} does not run in int8: only Betwixt's own networks do, such as hybrid.")
    if weights is None and folder is None:
        raise UsageError(
            f"The embedded weights of {name} are calibrated already: give your own weights (`weights`), or a folder "
            "to calibrate them again into (`folder`)."
        )
    require_torch("Calibrating a network")
    model: Any = load_model(name, device, weights=weights, runtime="torch", precision="fp32")
    networks: dict[Path, nn.Module] = model.networks()
    if weights is not None:
        networks = dict(list(networks.items())[:1])
    hashes = {path: file_hash(path) for path in networks}
    targets = {path: ranges_file(path if folder is None else folder / path.name) for path in networks}
    for path, target in targets.items():
        check_output(target, path, overwrite)
    for video in videos:
        with Reader(video, interlaced="ignore"):
            pass  # report unreadable videos before any work is done

    from betwixt.backends.calibration import estimate_ranges, observe_activations

    count = 0
    with ExitStack() as stack:
        observed = {path: stack.enter_context(observe_activations(network)) for path, network in networks.items()}
        for video in videos:
            for number, (first, second) in enumerate(_read_pairs(video)):
                model.prepare(first, second).motion(_TIMES[number % len(_TIMES)])
                count += 1
                if progress is not None:
                    progress("measured", count, None)
    if not count:
        raise InputError("No video has three frames: give longer ones.")
    origin = f"{count} pairs of frames of {', '.join(video.name for video in videos)}"
    try:
        ranges = {path: estimate_ranges(values) for path, values in observed.items()}
    except ValueError as error:
        raise InputError(f"{weights or name} cannot be calibrated. {error}") from None
    for path, target in targets.items():
        write_activation_ranges(target, hashes[path], ranges[path], origin)
    return list(targets.values())


def _read_pairs(video: Path) -> Iterator[tuple[Image, Image]]:
    """Pairs of frames with one frame between them, (H, W, 3) float32, RGB in [0, 1], spread over the video."""
    first: Image | None = None
    with Reader(video, interlaced="ignore") as reader:
        distance = max(_MIN_DISTANCE, (reader.info.frames or 0) // _PAIRS)
        for frame in reader:
            if not isinstance(frame, Frame) or frame.index % distance not in (0, 2):
                continue
            image: Image = frame.video.to_ndarray(format="rgb24").astype(np.float32) / np.float32(255)
            if frame.index % distance == 0:
                first = image
                continue
            if first is not None and first.shape == image.shape:
                yield first, image
            if frame.index >= distance * (_PAIRS - 1):
                return
