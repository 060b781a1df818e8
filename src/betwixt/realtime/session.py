"""`simulate_video`: reads a clip, simulates a call with it, and writes a table, a plot and a side-by-side video.

clip ── read and downscale ──► `compare_schemes` ──► comparison.csv, .json, .png and .mp4 (`realtime.report`)
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from betwixt.errors import InputError, OutputError, UsageError
from betwixt.evaluation.report import update_table
from betwixt.machine import available_cores, require_matplotlib
from betwixt.media.reader import Frame
from betwixt.media.source import open_source
from betwixt.media.timeline import parse_rate, parse_time
from betwixt.models.base import Interpolator
from betwixt.models.registry import EFFECTS_MODEL
from betwixt.realtime.frame_maker import Image
from betwixt.realtime.network import NETWORKS
from betwixt.realtime.report import FILES, RECORD_KEY, result_row, write_files
from betwixt.realtime.simulation import Comparison, compare_schemes
from betwixt.runtime.load import hash_weights, load_model

BITS_PER_PIXEL = 0.03
"""The default bitrate, in bits per pixel of each frame: so low that coding artefacts are visible in all frames."""

MAX_FRAMES = 300
"""The most frames of a clip; all are held in memory."""


@dataclass
class SimulationResult:
    """The result of `simulate_video`: the comparison, a row of scores for each scheme, and the files written."""

    comparison: Comparison
    rows: list[dict[str, Any]]
    written: list[Path]


def simulate_video(
    source: str | Path,
    target: str | Path,
    *,
    factor: int = 4,
    bitrate: str | float | None = None,
    network: str = "clean",
    seed: int = 0,
    margin: float = 0.0,
    height: int = 480,
    limit: int = 120,
    model: str | Interpolator = EFFECTS_MODEL,
    device: str = "auto",
    weights: str | Path | None = None,
    extrapolator: str | Interpolator | None = None,
    extrapolator_weights: str | Path | None = None,
    start: str | float | Fraction | None = None,
    end: str | float | Fraction | None = None,
    input_fps: str | float | Fraction | None = None,
    overwrite: bool = False,
    record_to: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> SimulationResult:
    """Compare four ways to show a clip sent in a call over a network (`realtime.simulation`).

    Args:
        source: A video, or a folder or pattern of images.
        target: The folder for the results; all files are written, or none.
        factor: Every `factor`-th frame is sent at high quality.
        bitrate: Bits per second of each stream, as a number or as 300k or 1.2M; by default 0.03 bits per pixel.
        network: A name in `realtime.network.NETWORKS`.
        seed: The seed of the network.
        margin: Seconds that interpolation waits beyond what it needs.
        height: Frames with more lines are downscaled to this height.
        limit: The most frames of the clip to use.
        model: A model's name or a loaded model.
        device: Where the model runs.
        weights: A weights file of the model.
        extrapolator: The model that makes the frames after the last one; None for `model`, or dis where that only
            interpolates.
        extrapolator_weights: A weights file of `extrapolator`.
        start: Where to begin in the clip.
        end: Where to stop.
        input_fps: The rate of a folder of images; 25 if not given.
        overwrite: Replace the files of an earlier run.
        record_to: A table of results to which the scores are added.
        progress: Called with a description of each step.

    Raises:
        BetwixtError: in one line.
    """
    folder = Path(target)
    written = [folder / name for name in FILES]
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file: give a folder for the comparison.")
    if not folder.parent.is_dir():
        raise OutputError(f"The folder {folder.parent} does not exist: make it first.")
    if not overwrite and (existing := next((path for path in written if path.exists()), None)):
        raise OutputError(f"{existing} exists: pass `overwrite=True` to replace it, or give another folder.")
    if network not in NETWORKS:
        raise UsageError(f"There is no network '{network}': choose from {', '.join(NETWORKS)}.")
    if not 4 * factor <= limit <= MAX_FRAMES:
        raise UsageError(f"`limit={limit}` is out of range: give {4 * factor} to {MAX_FRAMES}.")
    if not 16 <= height <= 4320:
        raise UsageError(f"`height={height}` is out of range: give 16 to 4320.")
    if margin < 0:
        raise UsageError("The margin must not be negative.")
    require_matplotlib("The plot")
    if extrapolator_weights is not None and not isinstance(extrapolator, str):
        raise UsageError("`extrapolator_weights` needs the name of a model: pass `extrapolator`.")
    loaded = load_model(model, device, weights=weights) if isinstance(model, str) else model
    if isinstance(extrapolator, str):
        extrapolator = load_model(extrapolator, device, weights=extrapolator_weights)

    report = progress or (lambda _: None)
    report("reading")
    # Times measured while other processes use the machine would be wrong.
    is_busy = hasattr(os, "getloadavg") and os.getloadavg()[0] > 1.5 * available_cores()
    frames, rate = _read(source, height, limit, start, end, input_fps)
    pixels = frames[0].shape[0] * frames[0].shape[1]
    bits = BITS_PER_PIXEL * pixels * float(rate) if bitrate is None else _parse_bitrate(bitrate)
    comparison = compare_schemes(
        frames, rate, loaded, factor=factor, bitrate=bits, network=NETWORKS[network], seed=seed, margin=margin,
        extrapolator=extrapolator, progress=progress,
    )  # fmt: skip
    weights_hash = hash_weights(loaded.name, weights) if isinstance(model, str) else ""
    rows = [
        result_row(Path(source).name, comparison, scores, weights_hash, with_times=not is_busy)
        for scores in comparison.scores.values()
    ]
    report("writing")
    write_files(folder, comparison, rows)
    if record_to is not None:
        update_table(record_to, rows, RECORD_KEY)
        written.append(record_to)
    return SimulationResult(comparison, rows, written)


def _parse_bitrate(text: str | float) -> float:
    """Parse a bitrate in bits per second: 300000, 300k or 1.2M."""
    plain = str(text).strip()
    scale = {"k": 1e3, "m": 1e6}.get(plain[-1:].lower(), 1.0)
    try:
        value = float(plain[:-1] if scale != 1.0 else plain) * scale
    except ValueError:
        value = 0.0
    if not 0 < value < 1e12:
        raise UsageError(f"The bitrate '{text}' is not a number of bits per second: write 300000, 300k or 1.2M.")
    return value


def _read(
    source: str | Path, height: int, limit: int, start: Any, end: Any, input_fps: Any
) -> tuple[list[Image], Fraction]:
    """The frames of the clip, (H, W, 3) RGB uint8 with even sides, and its rate."""
    reader = open_source(
        source,
        input_fps=None if input_fps is None else parse_rate(input_fps),
        start=None if start is None else parse_time(start, "start"),
        end=None if end is None else parse_time(end, "end"),
    )
    with contextlib.closing(reader):
        videos = (item.video for item in reader if isinstance(item, Frame))
        frames = [_to_image(video, height) for video in itertools.islice(videos, limit)]
    if not frames:
        raise InputError(f"{source} has no frame between `start` and `end`.")
    return frames, reader.info.rate


def _to_image(video: av.VideoFrame, height: int) -> Image:
    """A frame as RGB, downscaled to at most `height` lines, with even sides."""
    factor = min(1.0, height / video.height)
    size = [max(2, round(side * factor) // 2 * 2) for side in (video.width, video.height)]
    image = np.asarray(video.to_ndarray(format="rgb24"), np.uint8)
    if image.shape[:2] != (size[1], size[0]):
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.ascontiguousarray(image)
