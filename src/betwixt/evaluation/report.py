"""The outputs of an evaluation: JSON, tables by sequence and by frame, the table of results, and a comparison with the
papers' figures.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from betwixt.errors import InputError, UsageError
from betwixt.evaluation.metrics import METRICS
from betwixt.evaluation.published import PublishedFigure, find_published_figures
from betwixt.evaluation.scores import Evaluation
from betwixt.files import check_output, write_atomically


@dataclass(frozen=True)
class Context:
    """The conditions of a measurement."""

    weights: str  # the weights file, or "none" for a model without weights
    weights_hash: str  # the first twelve digits of its SHA-256, or ""
    machine: str  # see `machine.describe_machine`
    options: str = ""  # the options of the data set: "clean", "stride 2", or ""
    precision: str = ""  # the precision that a network computes in; "" for a model without a network


def check_outputs(outputs: Sequence[Path | None], inputs: Sequence[Path | None] = ()) -> None:
    """Raise UsageError if two outputs are one file or one is an input, OutputError if one cannot be written."""
    paths = [path for path in outputs if path is not None]
    targets = {path.resolve() for path in paths}
    if len(targets) != len(paths):
        raise UsageError("Two outputs have the same name: give each a file of its own.")
    for source in inputs:
        if source is not None and source.resolve() in targets:
            raise UsageError(f"{source} is an input: give the output another name.")
    for path in paths:
        check_output(path, None, overwrite=True)


def evaluation_dict(evaluation: Evaluation, context: Context) -> dict[str, Any]:
    """An evaluation as plain numbers and strings: the mean (or the median, by `metrics`) of each metric, with its
    confidence interval.
    """
    statistics = {metric: evaluation.summary(metric) for metric in evaluation.metrics}
    return {
        "model": evaluation.model,
        "dataset": evaluation.dataset,
        "options": context.options,
        "precision": context.precision,
        "count": len(evaluation.rows),
        "skipped": len(evaluation.skipped) + evaluation.missing,
        "complete": evaluation.complete,
        **{metric: s.score for metric, s in statistics.items()},
        "metrics": {m: {"aggregation": METRICS[m].aggregation, "better": METRICS[m].better} for m in statistics},
        "median": {metric: s.median for metric, s in statistics.items()},
        "confidence_95": {metric: [s.low, s.high] for metric, s in statistics.items()},
        "sequences": {
            name: {"count": len(rows), **{m: evaluation.aggregate(m, rows) for m in evaluation.metrics}}
            for name, rows in evaluation.sequences().items()
        },
        "seconds_per_frame": evaluation.seconds,
        "routing": None if evaluation.routing is None else asdict(evaluation.routing),
        "skipped_samples": [{"sample": skip.sample, "reason": skip.reason} for skip in evaluation.skipped],
        "missing": evaluation.missing,
        "protocol": evaluation.protocol,
        "weights": context.weights,
        "weights_hash": context.weights_hash,
        "machine": context.machine,
        "date": datetime.date.today().isoformat(),
    }


def to_json(evaluations: Sequence[tuple[Evaluation, Context]]) -> str:
    """{"results": [..]}, one entry for each model."""
    return json.dumps({"results": [evaluation_dict(e, c) for e, c in evaluations]}, indent=2, allow_nan=False) + "\n"


def write_sequence_table(path: Path, evaluations: Sequence[Evaluation]) -> None:
    """Write a CSV with a row for each sequence: model, dataset, sequence, count, and the mean of each metric (or its
    median, which the column's name then says).
    """
    metrics = evaluations[0].metrics
    rows = [
        [e.model, e.dataset, name, len(group), *(f"{e.aggregate(m, group):.6f}" for m in metrics)]
        for e in evaluations
        for name, group in e.sequences().items()
    ]
    write_atomically(
        path, to_csv(["model", "dataset", "sequence", "count", *(METRICS[m].column for m in metrics)], rows)
    )


def write_frame_table(path: Path, evaluations: Sequence[Evaluation]) -> None:
    """Write a CSV with a row for each frame; skipped samples are listed with the reason."""
    metrics = evaluations[0].metrics
    rows: list[list[Any]] = []
    for e in evaluations:
        rows += [
            [e.model, e.dataset, r.group, r.sample, f"{r.t:.6g}", *(f"{r.scores[m]:.6f}" for m in metrics), ""]
            for r in e.rows
        ]
        rows += [[e.model, e.dataset, "", s.sample, "", *("" for _ in metrics), s.reason] for s in e.skipped]
    write_atomically(path, to_csv(["model", "dataset", "sequence", "sample", "t", *metrics, "skipped"], rows))


def to_csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as CSV text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def read_table(path: Path, key: Sequence[str]) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and rows of a table of results; none if there is no file yet.

    Raises:
        InputError: if the file is not a table with the columns `key`.
    """
    if not path.exists():
        return [], []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns, rows = list(reader.fieldnames or []), [dict(row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error):
        raise InputError(f"{path} cannot be read as a table of results: pass another file.") from None
    missing = [name for name in key if name not in columns]
    if missing:
        raise InputError(f"{path} is no table of these results: it lacks the column '{missing[0]}'.")
    return columns, rows


def update_table(path: Path, entries: Sequence[Mapping[str, Any]], key: Sequence[str]) -> None:
    """Add entries to a CSV of results; an entry replaces the row that has the same values in the columns `key`.

    Columns that the file does not have yet are added, each after the one that precedes it in the entry.

    Raises:
        InputError: if the file exists but is no such table.
    """
    columns, rows = read_table(path, key)
    for entry in entries:
        for place, name in enumerate(names := list(entry)):
            if name not in columns:
                columns.insert(columns.index(names[place - 1]) + 1 if place else 0, name)
        texts = {name: str(value) for name, value in entry.items()}
        rows = [row for row in rows if any((row.get(name) or "") != texts[name] for name in key)]
        rows.append(texts)
    rows.sort(key=lambda row: tuple(row.get(name) or "" for name in key))
    write_atomically(path, to_csv(columns, [[row.get(name) or "" for name in columns] for row in rows]))


QUALITY_KEY = ("dataset", "options", "model", "precision", "weights_hash")
"""The columns that identify a row of results/quality.csv."""


def quality_entry(evaluation: Evaluation, context: Context) -> dict[str, str]:
    """An evaluation as a row of results/quality.csv."""
    result = evaluation_dict(evaluation, context)
    entry = {name: str(result[name]) for name in ("model", "dataset", "options", "precision", "count", "skipped")}
    entry["complete"] = "yes" if evaluation.complete else "no"
    for metric in evaluation.metrics:
        column, digits = METRICS[metric].column, METRICS[metric].digits + 2
        low, high = result["confidence_95"][metric]
        entry[column] = f"{result[metric]:.{digits}f}"
        entry[f"{column}_low"], entry[f"{column}_high"] = f"{low:.{digits}f}", f"{high:.{digits}f}"
    for name in ("weights", "weights_hash", "protocol", "date", "machine"):
        entry[name] = str(result[name])
    return entry


@dataclass(frozen=True)
class FigureComparison:
    """A published figure beside the measured one."""

    published: PublishedFigure
    ours: float  # the measured score on the same data set, in the same metric

    @property
    def difference(self) -> float:
        return self.ours - self.published.value


def compare_with_published(evaluation: Evaluation, options: str = "") -> list[FigureComparison]:
    """The measured scores beside every figure that the papers print for the data set, in their order."""
    is_clean = "clean" in options.split(", ")
    name = evaluation.dataset.replace("ucf101", "ucf101-clean") if is_clean else evaluation.dataset
    scores = {metric: evaluation.summary(metric).score for metric in evaluation.metrics}
    return [FigureComparison(figure, scores[figure.metric]) for figure in find_published_figures(name, scores)]
