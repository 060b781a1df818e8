"""`simulate_video`: a clip goes in; a table, a plot and a side-by-side video of the simulated call come out.

clip ── read and downscale ──► `compare_schemes` ──► comparison.csv, .json, .png and .mp4 (`realtime.report`)
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from betwixt.errors import InputError, OutputError, UsageError
from betwixt.evaluation.report import update_table
from betwixt.files import temporary_path, write_error
from betwixt.machine import available_cores
from betwixt.media.reader import Frame
from betwixt.media.source import open_source
from betwixt.media.timeline import parse_rate, parse_time
from betwixt.models.base import Interpolator
from betwixt.models.registry import EFFECTS_MODEL
from betwixt.realtime.frame_maker import Image
from betwixt.realtime.network import find_network
from betwixt.realtime.report import FILES, RECORD_KEY, result_row, write_files
from betwixt.realtime.simulation import Comparison, compare_schemes
from betwixt.runtime.load import hash_weights, load_model

BITS_PER_PIXEL = 0.03
"""The default bitrate, in bits for each pixel of each frame: low enough for coding to be visible in all frames."""

MAX_FRAMES = 300
"""How many frames of a clip are taken at most; all are in memory."""


@dataclass
class SimulationResult:
    """The result of `simulate_video`.

    Attributes:
        comparison: The comparison.
        rows: The scores, one row for each scheme.
        written: The files that were written.
    """

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
    start: str | float | Fraction | None = None,
    end: str | float | Fraction | None = None,
    input_fps: str | float | Fraction | None = None,
    overwrite: bool = False,
    record_to: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> SimulationResult:
    """Compare four ways to show a clip as a call over a network (`realtime.simulation`).

    Args:
        source: A video, or a folder or pattern of images.
        target: The folder for the results; all files are written, or none.
        factor: One frame of so many is sent at high quality.
        bitrate: Bits a second of the streams, as a number or as 300k or 1.2M; by default 0.03 bits a pixel.
        network: A name in `realtime.network.NETWORKS`.
        seed: The seed of the network.
        margin: How many seconds interpolation waits beyond what it needs.
        height: Frames with more lines are downscaled to so many.
        limit: How many frames of the clip are taken at most.
        model: A model's name or a loaded model.
        device: Where a network runs.
        weights: A weights file, for a network.
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
    _check_target(folder, written, overwrite)
    chosen_network = find_network(network)
    if not 4 * factor <= limit <= MAX_FRAMES:
        raise UsageError(f"`limit={limit}` is out of range: give {4 * factor} to {MAX_FRAMES}.")
    if not 16 <= height <= 4320:
        raise UsageError(f"`height={height}` is out of range: give 16 to 4320.")
    if margin < 0:
        raise UsageError("The margin must not be negative.")
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("The plot needs matplotlib: pip install 'betwixt[evaluation]'.")
    loaded = load_model(model, device, weights=weights) if isinstance(model, str) else model

    report = progress or (lambda _: None)
    report("reading")
    is_busy = _is_busy()
    frames, rate = _read(source, height, limit, start, end, input_fps)
    pixels = frames[0].shape[0] * frames[0].shape[1]
    bits = BITS_PER_PIXEL * pixels * float(rate) if bitrate is None else _parse_bitrate(bitrate)
    comparison = compare_schemes(
        frames,
        rate,
        loaded,
        factor=factor,
        bitrate=bits,
        network=chosen_network,
        seed=seed,
        margin=margin,
        progress=progress,
    )
    weights_hash = hash_weights(loaded.name, weights) if isinstance(model, str) else ""
    rows = [
        result_row(Path(source).name, comparison, scores, weights_hash, with_times=not is_busy)
        for scores in comparison.scores.values()
    ]
    report("writing")
    _write(folder, comparison, rows)
    if record_to is not None:
        update_table(record_to, rows, RECORD_KEY)
        written.append(record_to)
    return SimulationResult(comparison, rows, written)


def _check_target(folder: Path, files: Sequence[Path], overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file: give a folder for the comparison.")
    if not folder.parent.is_dir():
        raise OutputError(f"The folder {folder.parent} does not exist: make it first.")
    existing = [path for path in files if path.exists()]
    if existing and not overwrite:
        raise OutputError(f"{existing[0]} exists: pass `overwrite=True` to replace it, or give another folder.")


def _parse_bitrate(text: str | float) -> float:
    """Parse a bitrate in bits a second: 300000, 300k or 1.2M."""
    plain = str(text).strip()
    scale = {"k": 1e3, "m": 1e6}.get(plain[-1:].lower(), 1.0)
    try:
        value = float(plain[:-1] if scale != 1.0 else plain) * scale
    except ValueError:
        value = 0.0
    if not 0 < value < 1e12:
        raise UsageError(f"The bitrate '{text}' is not a number of bits a second: write 300000, 300k or 1.2M.")
    return value


def _is_busy() -> bool:
    """Whether other processes use the machine so much that times measured on it would be wrong."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > 1.5 * available_cores()


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
    frames: list[Image] = []
    try:
        for item in reader:
            if not isinstance(item, Frame):
                continue
            if len(frames) >= limit:
                break
            frames.append(_to_image(item.video, height))
        rate = reader.info.rate
    finally:
        reader.close()
    if not frames:
        raise InputError(f"{source} has no frame between `start` and `end`.")
    return frames, rate


def _to_image(video: av.VideoFrame, height: int) -> Image:
    """A frame as RGB, downscaled to at most `height` lines, with even sides."""
    factor = min(1.0, height / video.height)
    size = [max(2, round(side * factor) // 2 * 2) for side in (video.width, video.height)]
    image = np.asarray(video.to_ndarray(format="rgb24"), np.uint8)
    if image.shape[:2] != (size[1], size[0]):
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.ascontiguousarray(image)


def _write(folder: Path, comparison: Comparison, rows: Sequence[dict[str, Any]]) -> None:
    """Write all files to a temporary folder, then move them to the target."""
    partial = temporary_path(folder / "comparison")
    is_new = not folder.exists()
    try:
        folder.mkdir(exist_ok=True)
        partial.mkdir()
        write_files(partial, comparison, rows)
        for name in FILES:
            (partial / name).replace(folder / name)
    except OSError as error:
        raise write_error(error, folder) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if is_new and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
