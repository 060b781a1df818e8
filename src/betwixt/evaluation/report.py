"""What comes out of an evaluation: JSON, tables by sequence and by frame, the record that the results page is made of,
and the papers' figures beside ours.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from betwixt.errors import InputError
from betwixt.evaluation.metrics import METRICS
from betwixt.evaluation.published import PublishedFigure, find_published_figures
from betwixt.evaluation.scoring import Evaluation
from betwixt.files import write_atomically

__all__ = [
    "QUALITY_KEY",
    "Comparison",
    "Context",
    "as_dict",
    "compare",
    "quality_entry",
    "read_table",
    "record",
    "to_json",
    "write_frames",
    "write_sequences",
]


@dataclass(frozen=True)
class Context:
    """What a score was measured with.

    Attributes:
        weights: The file of weights, "none" for a model that learns nothing.
        weights_hash: The first twelve digits of its SHA-256, or "".
        machine: See `machine.describe_machine`.
        options: What was chosen of the data set: "clean", "stride 2", or "".
        precision: In what a network computed; "" for what is no network.
    """

    weights: str
    weights_hash: str
    machine: str
    options: str = ""
    precision: str = ""


def as_dict(evaluation: Evaluation, context: Context) -> dict[str, Any]:
    """An evaluation as plain numbers and texts: the means by metric, and how sure they are."""
    summaries = {metric: evaluation.summary(metric) for metric in evaluation.metrics}
    return {
        "model": evaluation.model,
        "dataset": evaluation.dataset,
        "options": context.options,
        "precision": context.precision,
        "count": len(evaluation.rows),
        "skipped": len(evaluation.skipped) + evaluation.missing,
        "complete": evaluation.complete,
        **{metric: summary.mean for metric, summary in summaries.items()},
        "median": {metric: summary.median for metric, summary in summaries.items()},
        "confidence_95": {metric: [summary.low, summary.high] for metric, summary in summaries.items()},
        "sequences": {
            name: {"count": len(rows), **{m: _mean([row.scores[m] for row in rows]) for m in evaluation.metrics}}
            for name, rows in evaluation.sequences().items()
        },
        "skipped_samples": [{"sample": skip.sample, "reason": skip.reason} for skip in evaluation.skipped],
        "missing": evaluation.missing,
        "protocol": evaluation.protocol,
        "weights": context.weights,
        "weights_hash": context.weights_hash,
        "machine": context.machine,
        "date": datetime.date.today().isoformat(),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def write_sequences(path: Path, evaluations: Sequence[Evaluation]) -> None:
    """A CSV with a line a sequence: model, dataset, sequence, count, then the mean of each metric."""
    metrics = evaluations[0].metrics
    rows = [
        [e.model, e.dataset, name, len(group), *(_text(_mean([r.scores[m] for r in group])) for m in metrics)]
        for e in evaluations
        for name, group in e.sequences().items()
    ]
    write_atomically(path, _table(["model", "dataset", "sequence", "count", *metrics], rows))


def write_frames(path: Path, evaluations: Sequence[Evaluation]) -> None:
    """A CSV with a line a frame; what was skipped stands in it with its reason."""
    metrics = evaluations[0].metrics
    rows: list[list[Any]] = []
    for e in evaluations:
        rows += [
            [e.model, e.dataset, r.group, r.sample, f"{r.t:.6g}", *(_text(r.scores[m]) for m in metrics), ""]
            for r in e.rows
        ]
        rows += [[e.model, e.dataset, "", s.sample, "", *("" for _ in metrics), s.reason] for s in e.skipped]
    write_atomically(path, _table(["model", "dataset", "sequence", "sample", "t", *metrics, "skipped"], rows))


def _text(value: float) -> str:
    return f"{value:.6f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def read_table(path: Path, key: Sequence[str]) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and rows of a table of results; none where there is no file yet.

    Raises:
        InputError: if the file is no table that has the columns `key`.
    """
    if not path.exists():
        return [], []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns, rows = list(reader.fieldnames or []), [dict(row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error):
        raise InputError(f"{path} cannot be read as a table of results: give another file to --record.") from None
    lost = [name for name in key if name not in columns]
    if lost:
        raise InputError(f"{path} is no table of these results: it lacks the column '{lost[0]}'.")
    return columns, rows


def record(path: Path, entries: Sequence[Mapping[str, Any]], key: Sequence[str]) -> None:
    """Put entries into a CSV of results; one that agrees with an older one in the columns `key` takes its place.

    Columns that the file does not have yet are added.

    Raises:
        InputError: if the file is there but is no such table.
    """
    columns, rows = read_table(path, key)
    for entry in entries:
        columns += [name for name in entry if name not in columns]
        texts = {name: str(value) for name, value in entry.items()}
        place = tuple(texts[name] for name in key)
        rows = [row for row in rows if tuple(row.get(name) or "" for name in key) != place]
        rows.append(texts)
    rows.sort(key=lambda row: tuple(row.get(name) or "" for name in key))
    write_atomically(path, _table(columns, [[row.get(name) or "" for name in columns] for row in rows]))


QUALITY_KEY = ("dataset", "options", "model", "precision", "weights_hash")
"""What tells one line of results/quality.csv from another."""


def quality_entry(evaluation: Evaluation, context: Context) -> dict[str, str]:
    """An evaluation as a line of results/quality.csv."""
    result = as_dict(evaluation, context)
    entry = {name: str(result[name]) for name in ("model", "dataset", "options", "precision", "count", "skipped")}
    entry["complete"] = "yes" if evaluation.complete else "no"
    for metric in evaluation.metrics:
        digits = METRICS[metric].digits + 2
        low, high = result["confidence_95"][metric]
        entry[metric] = f"{result[metric]:.{digits}f}"
        entry[f"{metric}_low"], entry[f"{metric}_high"] = f"{low:.{digits}f}", f"{high:.{digits}f}"
    for name in ("weights", "weights_hash", "protocol", "date", "machine"):
        entry[name] = str(result[name])
    return entry


@dataclass(frozen=True)
class Comparison:
    """A published figure beside ours.

    Attributes:
        published: The published one.
        ours: Ours on the same data set, in the same metric.
    """

    published: PublishedFigure
    ours: float

    @property
    def difference(self) -> float:
        """Ours minus theirs."""
        return self.ours - self.published.value


def compare(evaluation: Evaluation, options: str = "") -> list[Comparison]:
    """Ours beside every figure that the papers print for the data set, in their order."""
    name = evaluation.dataset.replace("ucf101", "ucf101-clean") if options == "clean" else evaluation.dataset
    means = {metric: evaluation.summary(metric).mean for metric in evaluation.metrics}
    return [Comparison(row, means[row.metric]) for row in find_published_figures(name, means)]


def to_json(evaluations: Sequence[tuple[Evaluation, Context]]) -> str:
    """{"results": [..]}, one entry a model."""
    return json.dumps({"results": [as_dict(e, c) for e, c in evaluations]}, indent=2, allow_nan=False) + "\n"
