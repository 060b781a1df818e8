"""Writes the results of a simulated call: the table of scores, every tick as JSON, a plot and a side-by-side video.

`realtime.simulation` explains the scores. *ms* is the time to make an image (median and 95th percentile), and *missed*
is the share of images that took longer than a tick.
"""

from __future__ import annotations

import csv
import io
import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from betwixt.files import write_error
from betwixt.machine import describe_machine
from betwixt.media.colour import Colour
from betwixt.media.encoder_options import EncoderSettings
from betwixt.media.probe import VideoInfo
from betwixt.media.writer import VideoWriter
from betwixt.realtime.simulation import SCHEMES, SMOOTHED, Comparison, SchemeScores

FILES = ("comparison.csv", "comparison.json", "comparison.png", "comparison.mp4")

RECORD_KEY = ("clip", "size", "model", "factor", "network", "seed", "bits_per_pixel", "scheme")
"""The columns that together identify a row of results/realtime.csv."""

_LABEL_HEIGHT = 22
"""Height of the label above each image of the video, in pixels."""


def write_files(folder: Path, comparison: Comparison, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the four files of a comparison, all or none.

    Args:
        folder: Is made if it does not exist; its parent exists.
        comparison: The comparison.
        rows: A `result_row` for each scheme.

    Raises:
        OutputError: if a file cannot be written.
    """
    partial = folder / f".comparison.{secrets.token_hex(4)}.part"
    table_path, json_path, plot_path, video_path = (partial / name for name in FILES)
    ticks = {
        scheme: [{"now": float(t.now), "due": t.due, "kind": t.kind, "ms": round(1000 * t.seconds, 1)} for t in shown]
        for scheme, shown in comparison.ticks.items()
    }
    is_new = not folder.exists()
    try:
        folder.mkdir(exist_ok=True)
        partial.mkdir()
        with table_path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        json_path.write_text(json.dumps({"results": rows, "ticks": ticks}, indent=2) + "\n", encoding="utf-8")
        plot_path.write_bytes(_plot(comparison))
        _write_video(video_path, comparison)
        for name in FILES:
            (partial / name).replace(folder / name)
    except OSError as error:
        raise write_error(error, folder) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if is_new and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


# -- the table


def result_row(
    clip: str, comparison: Comparison, scores: SchemeScores, weights_hash: str, with_times: bool
) -> dict[str, Any]:
    """The scores of one scheme as a row of the table of results; `with_times` for reliable times of the model."""
    height, width = comparison.frames[0].shape[:2]
    duration = len(comparison.frames) / comparison.rate
    smoothed = scores.scheme in SMOOTHED
    with_times = with_times and smoothed
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
        "kbit_per_second": f"{scores.bits / float(duration) / 1000:.1f}",
        "crf": f"{scores.crf:.2f}",
        "psnr": f"{np.mean(scores.psnr):.3f}",
        "ssim": f"{np.mean(scores.ssim):.4f}",
        "flicker": f"{scores.flicker:.3f}",
        "delay_ms": f"{1000 * scores.delay:.0f}",
        "standing": f"{scores.standing:.3f}",
        "arrived": f"{scores.arrived}/{scores.sent}",
        "ms_median": f"{np.median(milliseconds):.1f}" if with_times else "",
        "ms_95": f"{np.quantile(milliseconds, 0.95):.1f}" if with_times else "",
        "missed": f"{scores.missed:.3f}" if with_times else "",
        "weights_hash": weights_hash if smoothed else "",
        "date": date.today().isoformat(),
        "machine": describe_machine(),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """The header and the lines of the table that `betwixt realtime` prints."""
    header = ["scheme", "kbit/s", "PSNR", "SSIM", "flicker", "delay, ms", "standing", "ms a picture", "missed"]
    lines = []
    for row in rows:
        plain = [row[name] for name in ("scheme", "kbit_per_second", "psnr", "ssim", "flicker", "delay_ms")]
        standing = f"{100 * float(row['standing']):.0f} %"
        cost = f"{row['ms_median']} (95 %: {row['ms_95']})" if row["ms_median"] else ""
        missed = f"{100 * float(row['missed']):.0f} %" if row["missed"] else ""
        lines.append([*plain, standing, cost, missed])
    return header, lines


# -- the plot


def _plot(comparison: Comparison) -> bytes:
    """A PNG. Above: PSNR over the clip's frames. Below: bars of each scheme's mean PSNR, flicker and delay."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=(3, 2))
    upper, lower = halves
    axes = upper.subplots()
    for scheme, scores in comparison.scores.items():
        style = "--" if scheme.startswith("scheme") else "-"
        axes.plot(scores.due, scores.psnr, style, label=f"{scheme}: {SCHEMES[scheme]}", linewidth=1.4)
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
    for panel, (title, values) in zip(lower.subplots(1, 3), panels, strict=True):
        bars = panel.bar(names, values, color=[f"C{i}" for i in range(len(names))])
        panel.bar_label(bars, fmt="%.1f", fontsize=8)
        panel.set_title(title, fontsize=9)
        panel.tick_params(axis="x", labelrotation=20, labelsize=8)
        panel.margins(y=0.15)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
    return data.getvalue()


# -- the video


def _write_video(path: Path, comparison: Comparison) -> None:
    """Write a video of what the four schemes show at each tick, side by side."""
    height, width = comparison.frames[0].shape[:2]
    info = VideoInfo(
        name="comparison", container="mp4", codec="h264", width=2 * width, height=2 * (height + _LABEL_HEIGHT),
        pixel_format="yuv420p", rate=comparison.rate, variable=False, start=Fraction(0), duration=None, frames=None,
        colour=Colour(primaries=1, transfer=1, matrix=1, range=1),
    )  # fmt: skip
    labels = []
    for scheme, description in SCHEMES.items():
        text = f"{scheme}: {description}, {1000 * comparison.scores[scheme].delay:.0f} ms"
        label = np.zeros((_LABEL_HEIGHT, width, 3), np.uint8)
        labels.append(cv2.putText(label, text, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (235,) * 3, 1, cv2.LINE_AA))
    # All begin at the same moment of the call.
    begin = max(ticks[0].now for ticks in comparison.ticks.values())
    shown = [[tick.image for tick in comparison.ticks[s] if tick.now >= begin] for s in SCHEMES]
    with VideoWriter(path, info, comparison.rate, settings=EncoderSettings(codec="h264", quality="14")) as writer:
        for number in range(min(map(len, shown))):
            cells = [np.concatenate([label, images[number]]) for label, images in zip(labels, shown, strict=True)]
            image = np.concatenate([np.concatenate(cells[:2], axis=1), np.concatenate(cells[2:], axis=1)])
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
            writer.write(frame.reformat(format="yuv420p", dst_colorspace="ITU709"), number)
        writer.commit()
