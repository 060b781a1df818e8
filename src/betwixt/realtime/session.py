"""A simulated call as a person asks for it: a clip in; a table, a plot and a side-by-side video out.

clip ── read, scaled ──► `compare_schemes` ──► comparison.csv, comparison.json, comparison.png, comparison.mp4
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import InputError, OutputError, UsageError
from betwixt.evaluation.report import update_table
from betwixt.files import temporary_path, write_atomically, write_error
from betwixt.machine import available_cores, describe_machine
from betwixt.media.colour import Colour
from betwixt.media.probe import VideoInfo
from betwixt.media.reader import Frame
from betwixt.media.source import open_source
from betwixt.media.timeline import parse_rate, parse_time
from betwixt.media.writer import VideoWriter
from betwixt.models.base import Interpolator
from betwixt.models.registry import EFFECTS_MODEL
from betwixt.realtime.network import network_by_name
from betwixt.realtime.simulation import SCHEMES, Comparison, Scores, compare_schemes
from betwixt.runtime.load import hash_weights, load_model

__all__ = ["BITS_A_PIXEL", "MOST_FRAMES", "RECORD_KEY", "Outcome", "simulate_video", "table"]

Picture = NDArray[np.uint8]

BITS_A_PIXEL = 0.03
"""The bitrate, if none is given, in bits for each pixel of each frame: where all frames look coded."""

MOST_FRAMES = 300
"""Frames of the clip that are taken at most: they are all in memory."""

RECORD_KEY = ("clip", "size", "model", "factor", "network", "seed", "bits_per_pixel", "scheme")
"""What tells a line of results/realtime.csv from the others."""

_LABEL = 22
"""Lines of the label above each picture of the video."""


@dataclass
class Outcome:
    """What came out.

    Attributes:
        comparison: The comparison.
        rows: A line for each scheme, as in the table.
        written: The files that were written.
    """

    comparison: Comparison
    rows: list[dict[str, Any]]
    written: list[Path] = field(default_factory=list)


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
) -> Outcome:
    """Compare four ways to show a clip as a call over a network (`realtime.simulation`).

    Args:
        source: A video, or a folder or pattern of images.
        target: A folder for what comes out; made whole or not at all.
        factor: One frame of so many is sent at high quality.
        bitrate: Bits a second of the streams, as a number or as 300k or 1.2M; by default 0.03 bits a pixel.
        network: A name out of `realtime.network.NETWORKS`.
        seed: Of the network.
        margin: Seconds that interpolation waits beyond what it needs.
        height: Larger pictures are shrunk to so many lines.
        limit: Frames of the clip that are taken at most.
        model: A model's name or a loaded model.
        device: Where it runs.
        weights: A file of weights, for a network.
        start: Begin here.
        end: Stop here.
        input_fps: The rate of a folder of images; 25 if not given.
        overwrite: Replace files of an earlier run in the folder.
        record_to: A table of results to put the scores into as well.
        progress: Called with what is being done.

    Raises:
        BetwixtError: in one line.
    """
    folder = Path(target)
    names = [folder / f"comparison.{suffix}" for suffix in ("csv", "json", "png", "mp4")]
    _check(folder, names, overwrite)
    chosen = network_by_name(network)
    if not 4 * factor <= limit <= MOST_FRAMES:
        raise UsageError(f"--limit {limit} is out of range: give {4 * factor} to {MOST_FRAMES}.")
    if not 16 <= height <= 4320:
        raise UsageError(f"--height {height} is out of range: give 16 to 4320.")
    if margin < 0:
        raise UsageError("The margin must not be negative.")
    _need_matplotlib()
    maker = load_model(model, device, weights=weights) if isinstance(model, str) else model
    if progress is not None:
        progress("reading")
    busy = _busy()
    frames, rate = _read(source, height, limit, start, end, input_fps)
    pixels = frames[0].shape[0] * frames[0].shape[1]
    bits = BITS_A_PIXEL * pixels * float(rate) if bitrate is None else _bits(bitrate)
    comparison = compare_schemes(
        frames, rate, maker, factor=factor, bitrate=bits, network=chosen, seed=seed, margin=margin, progress=progress
    )
    clip = Path(source).name
    digest = hash_weights(maker.name, weights) if isinstance(model, str) else ""
    rows = [_row(clip, comparison, scores, digest, busy) for scores in comparison.scores.values()]
    if progress is not None:
        progress("writing")
    outcome = Outcome(comparison, rows)
    partial = temporary_path(folder / "comparison")
    made_folder = not folder.exists()
    try:
        folder.mkdir(exist_ok=True)
        partial.mkdir()
        parts = [partial / name.name for name in names]
        write_atomically(parts[0], _csv(rows))
        write_atomically(parts[1], json.dumps({"results": rows, "ticks": _ticks(comparison)}, indent=2) + "\n")
        write_atomically(parts[2], _plot(comparison))
        _video(parts[3], comparison)
        for part, name in zip(parts, names, strict=True):
            part.replace(name)
    except OSError as error:
        raise write_error(error, folder) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if made_folder and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    outcome.written = names
    if record_to is not None:
        update_table(record_to, rows, RECORD_KEY)
        outcome.written = [*names, record_to]
    return outcome


def _check(folder: Path, names: Sequence[Path], overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file: give a folder for the comparison.")
    if not folder.parent.is_dir():
        raise OutputError(f"The folder {folder.parent} does not exist: make it first.")
    taken = [name for name in names if name.exists()]
    if taken and not overwrite:
        raise OutputError(f"{taken[0]} exists: pass --overwrite to replace it, or give another folder.")


def _need_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError("The plot needs matplotlib: pip install 'betwixt[evaluation]'.") from None


def _bits(text: str | float) -> float:
    """A bitrate as written by a person: 300000, 300k, 1.2M."""
    plain = str(text).strip()
    scale = {"k": 1e3, "m": 1e6}.get(plain[-1:].lower(), 1.0)
    try:
        value = float(plain[:-1] if scale != 1.0 else plain) * scale
    except ValueError:
        value = 0.0
    if not 0 < value < 1e12:
        raise UsageError(f"The bitrate '{text}' is no number of bits a second: write 300000, 300k or 1.2M.")
    return value


def _read(
    source: str | Path, height: int, limit: int, start: Any, end: Any, input_fps: Any
) -> tuple[list[Picture], Fraction]:
    """The clip's frames, (H, W, 3) RGB uint8, of even sides, and its rate."""
    begin = None if start is None else parse_time(start, "start")
    finish = None if end is None else parse_time(end, "end")
    image_rate = None if input_fps is None else parse_rate(input_fps)
    reader = open_source(source, input_fps=image_rate, start=begin, end=finish)
    frames: list[Picture] = []
    try:
        for item in reader:
            if not isinstance(item, Frame):
                continue
            if len(frames) >= limit:
                break
            frames.append(_scaled(item.video, height))
        rate = reader.info.rate
    finally:
        reader.close()
    if not frames:
        raise InputError(f"{source} has no frame between --start and --end.")
    return frames, rate


def _scaled(video: av.VideoFrame, height: int) -> Picture:
    factor = min(1.0, height / video.height)
    size = [max(2, round(side * factor) // 2 * 2) for side in (video.width, video.height)]
    picture = np.asarray(video.to_ndarray(format="rgb24"), np.uint8)
    if picture.shape[:2] != (size[1], size[0]):
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.ascontiguousarray(picture)


# -- the table


def _busy() -> bool:
    """Whether the machine has more to do than cores to do it with, so that times would say nothing."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > 1.5 * available_cores()


def _row(clip: str, comparison: Comparison, scores: Scores, weights_hash: str, busy: bool) -> dict[str, Any]:
    height, width = comparison.frames[0].shape[:2]
    seconds = len(comparison.frames) / comparison.rate
    makes = scores.scheme in ("interpolation", "extrapolation") and not busy
    milliseconds = np.array(scores.seconds) * 1000
    return {
        "clip": clip,
        "size": f"{width}x{height}",
        "model": comparison.model,
        "factor": comparison.factor,
        "network": comparison.network.name,
        "seed": comparison.seed,
        "bits_per_pixel": f"{comparison.bitrate / float(comparison.rate) / (width * height):.4f}",
        "scheme": scores.scheme,
        "frames": len(comparison.frames),
        "rate": f"{float(comparison.rate):.3f}",
        "kbit_per_second": f"{scores.bits / float(seconds) / 1000:.1f}",
        "crf": f"{scores.crf:.2f}",
        "psnr": f"{np.mean(scores.psnr):.3f}",
        "ssim": f"{np.mean(scores.ssim):.4f}",
        "flicker": f"{scores.flicker:.3f}",
        "delay_ms": f"{1000 * scores.delay:.0f}",
        "standing": f"{scores.standing:.3f}",
        "arrived": f"{scores.arrived}/{scores.sent}",
        "ms_median": f"{np.median(milliseconds):.1f}" if makes else "",
        "ms_95": f"{np.quantile(milliseconds, 0.95):.1f}" if makes else "",
        "missed": f"{scores.missed:.3f}" if makes else "",
        "weights_hash": weights_hash if scores.scheme in ("interpolation", "extrapolation") else "",
        "date": date.today().isoformat(),
        "machine": describe_machine(),
    }


def table(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """The header and the lines of the table that people read."""
    header = ["scheme", "kbit/s", "PSNR", "SSIM", "flicker", "delay, ms", "standing", "ms a picture", "missed"]
    lines = []
    for row in rows:
        cost = f"{row['ms_median']} (95 %: {row['ms_95']})" if row["ms_median"] else ""
        missed = f"{100 * float(row['missed']):.0f} %" if row["missed"] else ""
        standing = f"{100 * float(row['standing']):.0f} %"
        lines.append(
            [
                *(row[name] for name in ("scheme", "kbit_per_second", "psnr", "ssim", "flicker", "delay_ms")),
                standing,
                cost,
                missed,
            ]
        )
    return header, lines


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _ticks(comparison: Comparison) -> dict[str, list[dict[str, Any]]]:
    """What was shown at each tick, by scheme."""
    return {
        scheme: [{"now": float(t.now), "due": t.due, "kind": t.kind, "ms": round(1000 * t.seconds, 1)} for t in ticks]
        for scheme, ticks in comparison.ticks.items()
    }


# -- the plot


def _plot(comparison: Comparison) -> bytes:
    """Quality over the frames of the clip, and for each scheme how smooth and how late it is."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    halves: Any = figure.subfigures(2, 1, height_ratios=(3, 2))
    over, below = halves
    axes = over.subplots()
    for scheme, scores in comparison.scores.items():
        dashed = "--" if scheme.startswith("scheme") else "-"
        axes.plot(scores.due, scores.psnr, dashed, label=f"{scheme}: {SCHEMES[scheme]}", linewidth=1.4)
    axes.set_xlabel("frame of the clip")
    axes.set_ylabel("PSNR, dB")
    height, width = comparison.frames[0].shape[:2]
    axes.set_title(
        f"{width}x{height} at {float(comparison.rate):g} frames/s, {comparison.bitrate / 1000:.0f} kbit/s, one frame "
        f"of {comparison.factor}, {comparison.model}, network {comparison.network.name}, seed {comparison.seed}"
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=2)
    names = list(comparison.scores)
    panels = (
        ("PSNR, dB", [float(np.mean(s.psnr)) for s in comparison.scores.values()]),
        ("flicker (lower is smoother)", [s.flicker for s in comparison.scores.values()]),
        ("delay, ms", [1000 * s.delay for s in comparison.scores.values()]),
    )
    for panel, (title, values) in zip(below.subplots(1, 3), panels, strict=True):
        bars = panel.bar(names, values, color=[f"C{i}" for i in range(len(names))])
        panel.bar_label(bars, fmt="%.1f", fontsize=8)
        panel.set_title(title, fontsize=9)
        panel.tick_params(axis="x", labelrotation=20, labelsize=8)
        panel.margins(y=0.15)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
    return data.getvalue()


# -- the video


def _video(path: Path, comparison: Comparison) -> None:
    """The four schemes side by side, at each tick of the display what each shows then."""
    height, width = comparison.frames[0].shape[:2]
    size = 2 * width, 2 * (height + _LABEL)
    info = VideoInfo(
        name="comparison", container="mp4", codec="h264", width=size[0], height=size[1], pixel_format="yuv420p",
        rate=comparison.rate, variable=False, start=Fraction(0), duration=None, frames=None,
        colour=Colour(primaries=1, transfer=1, matrix=1, range=1),
    )  # fmt: skip
    titles = {s: f"{s}: {SCHEMES[s]}, {1000 * comparison.scores[s].delay:.0f} ms" for s in SCHEMES}
    labels = [_label(titles[scheme], width) for scheme in SCHEMES]
    # all begin with the same moment of the call, each with what it shows then
    begin = max(ticks[0].now for ticks in comparison.ticks.values())
    shown = [[tick.picture for tick in comparison.ticks[s] if tick.now >= begin] for s in SCHEMES]
    with VideoWriter(path, info, comparison.rate, codec="h264", quality="14") as writer:
        for number in range(min(map(len, shown))):
            cells = [np.concatenate([label, cell[number]]) for label, cell in zip(labels, shown, strict=True)]
            picture = np.concatenate([np.concatenate(cells[:2], axis=1), np.concatenate(cells[2:], axis=1)])
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
            writer.write(frame.reformat(format="yuv420p", dst_colorspace="ITU709"), number)
        writer.commit()


def _label(text: str, width: int) -> Picture:
    label = np.zeros((_LABEL, width, 3), np.uint8)
    return np.asarray(
        cv2.putText(label, text, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (235, 235, 235), 1, cv2.LINE_AA), np.uint8
    )
