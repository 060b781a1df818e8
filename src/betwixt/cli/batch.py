"""Conversions of many files: a line for each, and a sum at the end."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from betwixt.cli import report
from betwixt.cli.flags import translate
from betwixt.cli.progress import BatchPosition, conversion_progress
from betwixt.errors import BetwixtError, Interrupted
from betwixt.pipeline.batch import Batch, BatchInput, BatchResult, find_inputs, input_sizes, watch_inputs
from betwixt.pipeline.options import OptionSet
from betwixt.pipeline.output_names import output_folder
from betwixt.units import format_count

if TYPE_CHECKING:
    from betwixt.pipeline.job import Plan
    from betwixt.pipeline.run import Summary

_FAILED = 3
"""The exit code if an input was not converted, or only in part."""

_INTERRUPTED = "interrupted; what was finished is kept."


def run_batch(
    declared: OptionSet,
    convert: Callable[..., Summary],
    plan: Callable[..., Plan],
    sources: Sequence[str],
    output_dir: Path,
    *,
    recursive: bool,
    watch: bool,
    dry_run: bool,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """Convert all `sources` to a folder, or say what would be done; the arguments are those of `run_conversion`.

    Raises:
        typer.Exit: with code 3 if one of them failed, else 0.
        Interrupted: if the user ends it while a file is converted.
    """
    batch = Batch(convert, declared, options)
    if dry_run:
        failed = _print_plans(batch, find_inputs(sources, output_dir, recursive), plan, options, as_json)
        raise typer.Exit(_FAILED if failed else 0)
    inputs: Iterable[BatchInput]
    shares: list[float] | None = None
    if watch:
        inputs = watch_inputs(sources, output_dir, recursive)
        if not as_json:
            print(f"Waiting for videos in {', '.join(sources)}; Ctrl-C ends it.", file=sys.stderr, flush=True)
    else:
        inputs = known = find_inputs(sources, output_dir, recursive)
        shares = input_sizes(known)
    results: list[BatchResult] = []
    error: str | None = None
    try:
        _convert_all(batch, inputs, shares, results, as_json)
    except Interrupted as interrupt:
        error = str(interrupt)
        raise
    except KeyboardInterrupt:  # between two files: there a watch ends
        if not watch:
            error = _INTERRUPTED
            raise Interrupted(error) from None
    finally:
        if as_json:
            files = [_as_dict(result) for result in results]
            report.print_json({"files": files, **_count(results), "error": error}, sys.stdout)
        else:
            _print_sum(results)
    raise typer.Exit(_FAILED if any(r.failed for r in results) else 0)


def _convert_all(
    batch: Batch, inputs: Iterable[BatchInput], shares: list[float] | None, results: list[BatchResult], as_json: bool
) -> None:
    """Convert inputs and append what became of them to `results`."""
    from betwixt.cli.conversion import report_kept_work

    quiet = as_json and not sys.stderr.isatty()
    began = time.monotonic()
    for number, item in enumerate(inputs):
        count, done, share = (None, 0.0, 0.0) if shares is None else (len(shares), sum(shares[:number]), shares[number])
        position = BatchPosition(Path(item.source).name, number + 1, count, done, share, began)
        try:
            with conversion_progress(quiet, position) as progress, report_kept_work("-"):
                result = batch.convert(item, progress)
        except KeyboardInterrupt:
            raise Interrupted(_INTERRUPTED) from None
        results.append(result)
        if not as_json:
            _print_result(result)


def _print_result(result: BatchResult) -> None:
    if result.summary is not None:
        report.print_summary(result.summary, sys.stdout)
        report.print_notes(result.summary.notes, result.summary.lost)
    if result.error is not None:
        _print_error(result.status, result.source, translate(result.error))
    sys.stdout.flush()


def _print_error(status: str, source: str, error: str) -> None:
    """Print what happened to an input, in one line that names it once."""
    print(f"{status}: {error if error.startswith(source) else f'{source}: {error}'}", file=sys.stderr)


def _print_sum(results: list[BatchResult]) -> None:
    parts = [f"{number} {status}" for status, number in _count(results).items() if number]
    print(f"{format_count(len(results), 'file')}{': ' if parts else ''}{', '.join(parts)}")
    for result in results:
        if result.failed:
            print(f"  {result.status}: {result.source}")


def _count(results: list[BatchResult]) -> dict[str, int]:
    counts = Counter(result.status for result in results)
    return {status: counts[status] for status in ("done", "skipped", "damaged", "failed")}


def _as_dict(result: BatchResult) -> dict[str, Any]:
    values = result.as_dict()
    if values["error"] is not None:
        values["error"] = translate(values["error"])
    return values


def _print_plans(
    batch: Batch, inputs: list[BatchInput], plan: Callable[..., Plan], options: dict[str, Any], as_json: bool
) -> bool:
    """Say what would be done with each input; returns whether one of them could not be converted."""
    plans: list[dict[str, Any]] = []
    for item in inputs:
        status, error, planned = "planned", None, None
        try:
            output = batch.name_output(item)
            if batch.is_done(output):
                status, error = "skipped", f"{output} exists: pass `overwrite=True` to replace it."
            else:
                with output_folder(item.folder):
                    planned = plan(item.source, output, **options)
        except BetwixtError as failure:
            status, error = "failed", str(failure)
        error = None if error is None else translate(error)
        details = {} if planned is None else report.plan_as_dict(planned)
        plans.append({"source": item.source, "status": status, "error": error, **details})
        if planned is not None and not as_json:
            report.print_plan(planned, sys.stdout)
            report.print_notes(planned.notes)
        if error is not None:
            _print_error(status, item.source, error)
    if as_json:
        report.print_json({"files": plans}, sys.stdout)
    return any(planned["status"] == "failed" for planned in plans)
