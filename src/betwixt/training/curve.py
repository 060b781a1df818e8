"""The training curve: scores on the development sets over samples and hours, one CSV row per measurement.

    recipe,samples,hours,middlebury,ucf101,davis
    compact,152000,2.6044,35.651,34.783,28.122

The column of a set that was not measured is empty; a new set adds a column.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from betwixt.errors import InputError
from betwixt.files import read_error, write_atomically, write_error
from betwixt.machine import require_matplotlib

_FIXED = ("recipe", "samples", "hours")


def read_curve(path: Path) -> list[dict[str, str]]:
    """Read the rows of a curve; `InputError` if the file is not a training curve, or has no rows."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise read_error(path, error) from None
    except (UnicodeDecodeError, csv.Error):
        raise InputError(f"{path} is not a training curve: it is not CSV.") from None
    if not rows or tuple(rows[0])[: len(_FIXED)] != _FIXED:
        raise InputError(f"{path} is not a training curve: its columns do not begin with {', '.join(_FIXED)}.")
    try:
        for row in rows:
            for name, value in list(row.items())[1:]:
                if value or name in _FIXED:
                    float(value)
    except (TypeError, ValueError):
        raise InputError(f"{path} is not a training curve: the {name} of a row is {value!r}, not a number.") from None
    return rows


def add_row(path: Path, row: Mapping[str, Any]) -> None:
    """Append a measurement to a curve; the file is created if it does not exist."""
    rows: list[Mapping[str, Any]] = [*read_curve(path), row] if path.exists() else [row]
    columns = dict.fromkeys(name for each in rows for name in each)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(error, path) from None
    write_atomically(path, text.getvalue())


def curve_hash(path: Path) -> str:
    """The text that a plot of the curve carries in its metadata, to tell whether it is up to date."""
    return f"curve {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"


def draw_curve(curve: Path, plot: Path) -> None:
    """Draw a curve as PNG: a row for each set, over samples on the left and over hours on the right."""
    rows = read_curve(curve)
    require_matplotlib("Drawing")
    import matplotlib
    from matplotlib.figure import Figure

    sets = [name for name in rows[0] if name not in _FIXED and any(row[name] for row in rows)]
    recipes = list(dict.fromkeys(row["recipe"] for row in rows))
    if not sets:
        raise InputError(f"{curve} has no scores.")
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(8, 1 + 1.9 * len(sets)), layout="constrained")
        grid = figure.subplots(len(sets), 2, sharex="col", sharey="row", squeeze=False)
        for name, line in zip(sets, grid, strict=True):
            for axes, over, unit in ((line[0], "samples", 1e3), (line[1], "hours", 1.0)):
                for recipe in recipes:
                    points = [
                        (float(r[over]) / unit, float(r[name])) for r in rows if r["recipe"] == recipe and r[name]
                    ]
                    if points:
                        axes.plot(*zip(*points, strict=True), "o-", markersize=3.5, linewidth=1.2, label=recipe)
                axes.grid(alpha=0.3)
            line[0].set_ylabel(f"{name}, dB")
        grid[-1][0].set_xlabel("thousand samples")
        grid[-1][1].set_xlabel("hours")
        grid[0][0].legend(loc="lower right", frameon=False)
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=130, metadata={"Software": None, "Description": curve_hash(curve)})
    write_atomically(plot, data.getvalue())
