"""The figure that every paper has: quality over the time a frame takes."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from betwixt.errors import InputError, UsageError
from betwixt.files import write_atomically

__all__ = ["PlotPoint", "draw", "read_quality"]


@dataclass(frozen=True)
class PlotPoint:
    """A model in the figure.

    Attributes:
        model: Its name.
        seconds: For one frame.
        quality: In the metric of the figure.
    """

    model: str
    seconds: float
    quality: float


def read_quality(path: Path, dataset: str, metric: str, options: str = "") -> dict[str, float]:
    """The scores by model out of a table of results, such as `betwixt evaluate --record` writes.

    Raises:
        InputError: if the file is no such table or has nothing of that data set and metric.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error):
        raise InputError(f"{path} cannot be read as a table of results (see betwixt evaluate --record).") from None
    found = {}
    for row in rows:
        if row.get("dataset") == dataset and (row.get("options") or "") == options and row.get(metric):
            try:
                found[row["model"]] = float(row[metric])
            except (KeyError, ValueError):
                raise InputError(f"{path} has a score that is no number: {row[metric]}.") from None
    if not found:
        which = f"{dataset} ({options})" if options else dataset
        raise InputError(f"{path} has no {metric} on {which}: evaluate first, with --record {path}.")
    return found


def draw(path: Path, points: Sequence[PlotPoint], *, title: str, metric: str) -> list[Path]:
    """Draw the figure as `path` with the suffixes .svg and .png; both are written whole or not at all.

    Raises:
        UsageError: if matplotlib is not there, or there is nothing to draw.
    """
    if not points:
        raise UsageError("Nothing to draw: no model has both a score and a time.")
    try:
        import matplotlib
    except ImportError:
        raise UsageError("Drawing needs matplotlib: pip install 'betwixt[evaluation]'.") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter

    with matplotlib.rc_context({"font.size": 10, "svg.hashsalt": "betwixt", "svg.fonttype": "none"}):
        figure, axes = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
        axes.set_xscale("log")
        places = {point.model: max(1000 * point.seconds, 1e-2) for point in points}
        middle = (min(places.values()) * max(places.values())) ** 0.5
        for point in sorted(points, key=lambda p: p.seconds):
            place = places[point.model]
            axes.plot(place, point.quality, "o", markersize=7)
            # Names lean inwards, so that none leaves the figure.
            offset, side = ((-6, 6), "right") if place > middle else ((6, 6), "left")
            axes.annotate(point.model, (place, point.quality), offset, textcoords="offset points", ha=side)
        axes.margins(0.15)
        plain: Any = FuncFormatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_major_formatter(plain)
        axes.set_xlabel("milliseconds a new frame (log)")
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
        pyplot.close(figure)
    return written
