"""Prints results: for people as text and tables, for programs as JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from betwixt.cli import flags
from betwixt.units import format_bytes, format_count, format_duration, format_rate

if TYPE_CHECKING:
    from rich.console import Console

    from betwixt.codec.decode import Decoded
    from betwixt.codec.encode import Encoded
    from betwixt.evaluation.benchmark import BenchmarkResult
    from betwixt.evaluation.report import Context, FigureComparison
    from betwixt.evaluation.run import EvaluationResult
    from betwixt.evaluation.scores import Evaluation
    from betwixt.pipeline.job import Plan
    from betwixt.pipeline.production import NodeFigures
    from betwixt.pipeline.run import Summary

json_printed = False
"""Whether a JSON document was printed on standard output."""

# -- conversions


def print_plan(plan: Plan, stream: IO[str]) -> None:
    """Print what a conversion would do."""
    # Of a video only the header has been read.
    about = "" if plan.source.container == "images" else "about "
    unknown = "an unknown number of frames"
    frames = unknown if plan.frames_out is None else about + format_count(plan.frames_out, "frame")
    sound = {"copy": "kept", "drop": "left out", "stretch": "stretched"}.get(plan.audio, plan.audio)
    slow = f", {format_rate(plan.rates.slow)} times slower" if plan.rates.slow != 1 else ""
    print(
        f"{plan.source.name} -> {plan.output}\n"
        f"  {format_rate(plan.source.rate)} -> {format_rate(plan.rates.output)} frames per second{slow}, "
        f"{frames}\n"
        f"  model {plan.model}, {plan.encoder} {plan.pixel_format}, sound: {sound}",
        file=stream,
    )


def plan_as_dict(plan: Plan) -> dict[str, Any]:
    """A plan as JSON can hold it."""
    return {
        "output": plan.output,
        "source_rate": str(plan.source.rate),
        "rate": str(plan.rates.output),
        "slow": str(plan.rates.slow),
        "frames_in": plan.source.frames,
        "frames_out": plan.frames_out,
        "model": plan.model,
        "encoder": plan.encoder,
        "pixel_format": plan.pixel_format,
        "audio": plan.audio,
        "notes": plan.notes,
    }


def print_summary(summary: Summary, stream: IO[str]) -> None:
    """Print what a conversion did."""
    s = summary
    cuts = f" at {format_count(s.cuts, 'cut')}" if s.cuts else ""
    duplicates = f", {format_count(s.duplicates, 'duplicate')} filled" if s.duplicates else ""
    untouched = format_count(s.untouched, "source frame")
    print(
        f"{s.output}: {format_count(s.frames_out, 'frame')} at {format_rate(s.rate)} per second, "
        f"{format_duration(float(s.duration))}\n"
        f"  {untouched} untouched, {s.synthesized} new ({s.model}), {s.held} held{cuts}{duplicates}\n"
        f"  {s.encoder} {s.pixel_format}, {format_duration(s.seconds)}, "
        f"{s.speed:.1f} new frames/s, peak memory {format_bytes(s.peak_memory)}",
        file=stream,
    )
    _print_nodes(s.nodes, stream)


def _print_nodes(nodes: Iterable[NodeFigures], stream: IO[str]) -> None:
    for node in nodes:
        lost = f", {node.failures} given to another worker" if node.failures else ""
        print(
            f"  {node.name}: {node.frames} new frames in {format_count(node.pieces, 'piece')}, "
            f"{node.new_frames_per_second:.1f}/s{lost}",
            file=stream,
        )


def print_notes(notes: Iterable[str], lost: Sequence[str] = ()) -> None:
    """Print remarks, and a warning about what was lost, to standard error."""
    for note in notes:
        print(f"note: {flags.translate(note)}", file=sys.stderr)
    if lost:
        print(f"warning: the output cannot hold: {', '.join(lost)}.", file=sys.stderr)


# -- compression


def print_encoded(summary: Encoded, stream: IO[str]) -> None:
    """Print what `betwixt encode` did."""
    s = summary
    parts = [f"{s.sent} sent"] + ([f"{s.below} of them for the floor"] if s.below else [])
    parts += [f"{s.coded} coded by the network"] if s.mode == "bit-need" else []
    parts += [f"{s.synthesized} left to {s.model}"] if s.mode != "base" else []
    frames = format_count(s.frames, "frame")
    print(f"{s.output}: {frames} in {s.size / 1000:.1f} kB ({s.mode})\n  {', '.join(parts)}", file=stream)
    if s.psnr is not None and s.worst is not None:
        print(f"  PSNR of the frames between: {s.psnr:.2f} dB, the worst {s.worst:.2f} dB", file=stream)
    print(
        f"  base stream {s.base_size / 1000:.1f} kB, restore data {s.record_size / 1000:.1f} kB, "
        f"{format_count(s.rounds, 'round')}, {format_duration(s.seconds)}",
        file=stream,
    )


def print_decoded(summary: Decoded, stream: IO[str]) -> None:
    """Print what `betwixt decode` did."""
    s = summary
    coded = f"{s.coded} decoded by the network, " if s.mode == "bit-need" else ""
    print(
        f"{s.output}: {format_count(s.frames, 'frame')} at {format_rate(s.rate)} per second, "
        f"{format_duration(float(s.duration))}\n"
        f"  {s.sent} as they were sent, {coded}{s.synthesized} synthesized ({s.model})\n"
        f"  {s.encoder}, {format_duration(s.seconds)}",
        file=stream,
    )
    _print_nodes(s.nodes, stream)


# -- evaluation


def print_evaluations(outcome: EvaluationResult, stream: IO[str]) -> None:
    """Print the scores of models."""

    console = open_console(stream)
    groups = [list(group) for _, group in groupby(outcome.evaluations, key=lambda item: item[0].dataset)]
    for group in groups:
        _print_scores(console, group)
    if len(groups) > 1:
        _print_means(console, groups)
    for evaluation, context in groups[0]:
        weights = f"weights {context.weights} ({context.weights_hash})" if context.weights_hash else "no weights"
        print_line(console, f"{evaluation.model}: {weights}; {context.machine}")
    for (evaluation, _), comparisons in zip(outcome.evaluations, outcome.comparisons, strict=False):
        _print_comparison(console, evaluation, comparisons)
    print_written(console, outcome.written)
    for evaluation, _ in outcome.evaluations:
        _warn_if_incomplete(evaluation)


def _print_scores(console: Console, evaluations: Sequence[tuple[Evaluation, Context]]) -> None:
    """Print the scores of models on one data set."""
    from betwixt.evaluation.metrics import METRICS

    first, context = evaluations[0]
    options = f", {context.options}" if context.options else ""
    print_line(console, f"{first.dataset}{options}: {first.protocol}")
    rows = []
    for evaluation, _ in evaluations:
        for number, metric in enumerate(evaluation.metrics):
            s = evaluation.summary(metric)
            kind = METRICS[metric]
            figures = (f"{value:.{kind.digits}f}" for value in (s.score, s.low, s.high, s.median))
            model = (evaluation.model, str(len(evaluation.rows))) if number == 0 else ("", "")
            rows.append((*model, metric, kind.better, kind.aggregation, *figures))
    titles = ("model", "frames", "metric", "better", "score is", "score", "95 % from", "to", "median")
    print_table(console, titles, rows, left=(0, 2, 3, 4))
    for evaluation, _ in evaluations:
        if evaluation.seconds is not None:
            print_line(console, f"{evaluation.model}: {1000 * evaluation.seconds:.1f} ms a frame (median)")
        if (routing := evaluation.routing) is not None:
            shares = ", ".join(f"{100 * share:.1f} %" for share in routing.kept)
            print_line(
                console,
                f"{evaluation.model}: blocks pass {shares} of the patches; {routing.gflop:.1f} GFLOP a frame, "
                f"{routing.static_gflop:.1f} if all passed",
            )


def _print_means(console: Console, groups: Sequence[Sequence[tuple[Evaluation, Context]]]) -> None:
    """Print the means over several data sets, as in NCM's tables."""
    from betwixt.evaluation.metrics import METRICS

    rows = []
    for of_model in zip(*groups, strict=True):
        model, metrics = of_model[0][0].model, of_model[0][0].metrics
        for metric in metrics:
            mean = sum(evaluation.summary(metric).score for evaluation, _ in of_model) / len(of_model)
            rows.append((model if metric == metrics[0] else "", metric, f"{mean:.{METRICS[metric].digits}f}"))
    print_table(console, ("model", "metric", f"mean of the {len(groups)} sets"), rows, left=(0, 1))


def _print_comparison(console: Console, evaluation: Evaluation, comparisons: list[FigureComparison]) -> None:
    from betwixt.evaluation.metrics import METRICS

    name = evaluation.model
    if not comparisons:
        console.print(f"{name}: the papers print no figure for {evaluation.dataset} in these metrics.")
        return
    titles = ("published: paper", "table", "method", "metric", "theirs", f"measured: {name}", "difference")
    rows = []
    for c in comparisons:
        p, digits = c.published, METRICS[c.published.metric].digits
        method = f"{p.method} *" if p.note else p.method
        ours, difference = f"{c.ours:.{digits}f}", f"{c.difference:+.{digits}f}"
        rows.append((p.paper, p.table, method, p.metric, p.printed, ours, difference))
    print_table(console, titles, rows, left=(0, 2))
    for note in sorted({c.published.note for c in comparisons if c.published.note}):
        print_line(console, f"* {note}")


def _warn_if_incomplete(evaluation: Evaluation) -> None:
    """Say on standard error which samples a score lacks."""
    if evaluation.complete:
        return
    where = f"{evaluation.model} on {evaluation.dataset}"
    for skip in evaluation.skipped[:20]:
        print(f"skipped: {skip.sample}: {flags.translate(skip.reason)}", file=sys.stderr)
    if len(evaluation.skipped) > 20:
        print(f"skipped: {len(evaluation.skipped) - 20} more (--json names them all)", file=sys.stderr)
    if evaluation.skipped or evaluation.missing:
        lacking = f"{len(evaluation.skipped)} skipped, {evaluation.missing} not there at all"
        print(f"warning: {where} is incomplete: {lacking}.", file=sys.stderr)
    else:
        print(f"note: {where} is a part of the set: {format_count(len(evaluation.rows), 'frame')}.", file=sys.stderr)


def print_costs(outcome: BenchmarkResult, stream: IO[str]) -> None:
    """Print what frames cost."""
    console = open_console(stream)
    titles = ("model", "size", "runs on", "parameters", "GFLOP", "ms a frame", "quartiles", "frames/s", "peak")
    rows = [
        (
            (f"{c.model}, {c.settings}" if c.settings else c.model) + ("" if c.trained else " *"),
            f"{c.width}x{c.height}" + (f", {c.batch} at a time" if c.batch > 1 else ""),
            f"{c.device} {c.runtime} {c.precision}",
            f"{c.parameters / 1e6:.2f} M" if c.parameters else "none",
            "" if c.gflop is None else f"{c.gflop:.1f}",
            f"{1000 * c.seconds:.1f}",
            f"{1000 * c.quartiles[0]:.1f} to {1000 * c.quartiles[1]:.1f}",
            f"{c.frames_per_second:.1f}",
            format_bytes(c.peak_memory),
        )
        for c in outcome.costs
    ]
    if rows:
        print_table(console, titles, rows, left=(0, 1, 2))
        if any(c.gflop is not None for c in outcome.costs):
            console.print("One multiply-add counts as two FLOP; the papers often print half of that.")
        if not all(c.trained for c in outcome.costs):
            console.print("* without trained weights: its frames are worthless, its cost is the same.")
        for c in outcome.costs:
            if c.parts is not None:
                parts = [(name, f"{1000 * seconds:.1f}") for name, seconds in c.parts.items()]
                print_table(console, (f"parts of {c.model}", "ms"), parts)
        print_line(console, outcome.costs[0].machine)
    for r in outcome.end_to_end:
        console.print(
            f"{r.width}x{r.height}, {format_count(r.frames_in, 'frame')} doubled, whole process, encoder {r.encoder}, "
            f"median of {len(r.rounds)}: betwixt "
            f"({r.model}) {r.ours:.1f}, minterpolate {r.theirs:.1f} new frames/s, ratio {r.ratio:.2f}; {r.machine}",
            soft_wrap=True,
        )
    print_written(console, outcome.written)


# -- parts


def print_json(values: Any, stream: IO[str]) -> None:
    """Print one JSON document."""
    global json_printed
    json_printed = json_printed or stream is sys.stdout
    if isinstance(values, dict) and "notes" in values:
        values = values | {"notes": [flags.translate(note) for note in values["notes"]]}
    print(json.dumps(values, indent=2), file=stream)


def open_console(stream: IO[str]) -> Console:
    """A Rich console; where the output is not a terminal, 120 columns wide unless COLUMNS says otherwise."""
    from rich.console import Console

    width = None if stream.isatty() or "COLUMNS" in os.environ else 120
    return Console(file=stream, width=width, highlight=False)


def print_line(console: Console, text: str) -> None:
    """Print a line as it is: neither wrapped nor read as markup."""
    console.print(text, soft_wrap=True, markup=False)


def print_table(
    console: Console,
    titles: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: Sequence[int] = (0,),
    wrap: Sequence[int] | None = None,
) -> None:
    """Print a table without borders.

    Args:
        console: Where to.
        titles: The columns' titles.
        rows: The cells of each row.
        left: Which columns are aligned to the left; the others are to the right.
        wrap: Which columns may be wrapped; None for all.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for number, title in enumerate(titles):
        no_wrap = wrap is not None and number not in wrap
        table.add_column(title, justify="left" if number in left else "right", no_wrap=no_wrap)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # text, since cells may look like markup
    console.print(table)


def print_written(console: Console, paths: Iterable[Path]) -> None:
    """Name the files that were written."""
    for path in paths:
        print_line(console, f"written: {path}")
