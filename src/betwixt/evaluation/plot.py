"""Draws quality against time per frame, one point for each model."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from betwixt.errors import InputError, UsageError
from betwixt.evaluation.metrics import METRICS
from betwixt.evaluation.report import read_table
from betwixt.files import write_atomically
from betwixt.machine import require_matplotlib


@dataclass(frozen=True)
class PlotPoint:
    """A model in the plot."""

    model: str
    seconds: float  # time for one frame
    quality: float  # the score, in the plot's metric


def read_quality(path: Path, dataset: str, metric: str) -> dict[str, float]:
    """The scores by model on a whole data set, from a table of results such as results/quality.csv.

    Raises:
        InputError: if the file is no such table or has no score of that data set in that metric.
    """
    if not path.exists():
        raise InputError(f"{path} cannot be read: there is no such file.")
    column = METRICS[metric].column if metric in METRICS else metric
    scores = {}
    for row in read_table(path, ())[1]:
        if row.get("dataset") == dataset and not row.get("options") and row.get(column):
            try:
                scores[row["model"]] = float(row[column])
            except (KeyError, ValueError):
                raise InputError(f"{path} has a score that is not a number: {row[column]}.") from None
    if not scores:
        raise InputError(
            f"{path} has no {metric} on {dataset}: run betwixt evaluate first and record its scores there."
        )
    return scores


def draw_plot(path: Path, points: Sequence[PlotPoint], *, title: str, metric: str) -> list[Path]:
    """Draw the plot as `path` with the suffixes .svg and .png; returns the files written.

    Raises:
        UsageError: if matplotlib is not installed, or there is nothing to draw.
    """
    if not points:
        raise UsageError("Nothing to draw: no model has both a score and a time.")
    require_matplotlib("Drawing")
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    with matplotlib.rc_context({"font.size": 10, "svg.hashsalt": "betwixt", "svg.fonttype": "none"}):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("log")
        milliseconds = {point.model: max(1000 * point.seconds, 1e-2) for point in points}
        middle = (min(milliseconds.values()) * max(milliseconds.values())) ** 0.5
        for point in sorted(points, key=lambda p: p.seconds):
            x = milliseconds[point.model]
            axes.plot(x, point.quality, "o", markersize=7)
            # Labels point inwards, so that none leaves the plot.
            offset, side = ((-6, 6), "right") if x > middle else ((6, 6), "left")
            axes.annotate(point.model, (x, point.quality), offset, textcoords="offset points", ha=side)
        axes.margins(0.15)
        plain_numbers: Any = FuncFormatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_major_formatter(plain_numbers)
        axes.set_xlabel("milliseconds per new frame (log)")
        axes.set_ylabel("PSNR, dB" if metric.startswith("psnr") else metric)
        axes.set_title(title)
        axes.grid(alpha=0.3)
        written = []
        for suffix, metadata in ((".svg", {"Date": None}), (".png", {"Software": None})):
            data = io.BytesIO()
            figure.savefig(data, format=suffix[1:], dpi=150, metadata=metadata)
            target = path.with_suffix(suffix)
            write_atomically(target, data.getvalue())
            written.append(target)
    return written
