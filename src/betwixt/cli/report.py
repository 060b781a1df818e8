"""How the command line shows progress and results."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from betwixt.codec.decode import Decoded
    from betwixt.codec.encode import Encoded
    from betwixt.evaluation.benchmark import BenchmarkResult
    from betwixt.evaluation.report import FigureComparison
    from betwixt.evaluation.run import EvaluationResult
    from betwixt.evaluation.scores import Evaluation
    from betwixt.pipeline.interpolate import Plan, Progress, Summary

__all__ = [
    "ByteReport",
    "CountReport",
    "ProgressReport",
    "StageReport",
    "StepReport",
    "TrainingReport",
    "duration",
    "print_costs",
    "print_decoded",
    "print_encoded",
    "print_evaluations",
    "print_json",
    "print_plan",
    "print_summary",
    "size",
]


class ProgressReport:
    """Shows how far a conversion is: a bar on a terminal, a plain line every ten seconds elsewhere.

    Args:
        stream: Where to; standard error if not given.
        quiet: Show nothing.
    """

    def __init__(self, stream: IO[str] | None = None, quiet: bool = False) -> None:
        stream = stream or sys.stderr
        self._stream, self._quiet = stream, quiet
        self._began = self._last = time.monotonic()
        self._repeated, self._told = 0, False
        self._bar: Any = None
        self._task: Any = None
        if not quiet and stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.fields[frames]}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
                TextColumn("{task.fields[rate]:.1f} new frames/s"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[cuts]} cuts"),
                console=Console(file=stream),
                transient=True,
            )

    def __enter__(self) -> ProgressReport:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("", total=None, frames="0 frames", rate=0.0, cuts=0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Show `progress`."""
        now = time.monotonic()
        if progress.kept and not self._told and not self._quiet:
            self._told = True
            text = f"Going on after {progress.kept} frames of an earlier run that was broken off."
            if self._bar is not None:
                self._bar.console.print(text)
            else:
                print(text, file=self._stream, flush=True)
        if progress.earlier and progress.synthesized == progress.earlier:
            # What an earlier run had made goes by quickly, and says nothing of what is still to be made.
            self._began, self._repeated = now, progress.frames_out
        rate = (progress.synthesized - progress.earlier) / max(now - self._began, 1e-6)
        if self._bar is not None:
            total = f"/{progress.total}" if progress.total else ""
            self._bar.update(
                self._task,
                total=progress.total,
                completed=progress.frames_out,
                frames=f"{progress.frames_out}{total} frames",
                rate=rate,
                cuts=progress.cuts,
            )
        elif not self._quiet and now - self._last >= 10:
            self._last = now
            left = ""
            if progress.total and progress.frames_out > self._repeated:
                spent = (now - self._began) / (progress.frames_out - self._repeated)
                seconds = (progress.total - progress.frames_out) * spent
                left = f", {duration(max(0.0, seconds))} left"
            of = f" of {progress.total}" if progress.total else ""
            print(
                f"{progress.frames_out}{of} frames, {rate:.1f} new frames/s{left}, {progress.cuts} cuts",
                file=self._stream,
                flush=True,
            )


class StepReport:
    """Shows what is being done: on a terminal only, since each step is short."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._status: Any = None

    def __enter__(self) -> StepReport:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(file=sys.stderr).status("starting")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, step: str) -> None:
        """Show `step`."""
        if self._status is not None:
            self._status.update(step)


class CountReport:
    """Shows how many samples are done: a bar on a terminal, a plain line every ten seconds elsewhere."""

    def __init__(self, stream: IO[str] | None = None, quiet: bool = False) -> None:
        self._stream, self._quiet = stream or sys.stderr, quiet
        self._last = time.monotonic()
        self._status: Any = None

    def __enter__(self) -> CountReport:
        if not self._quiet and self._stream.isatty():
            from rich.console import Console

            self._status = Console(file=self._stream).status("reading")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, name: str, done: int, total: int | None) -> None:
        """Show that `done` samples of `total` are done."""
        text = f"{name}: {done}{f' of {total}' if total else ''} samples"
        now = time.monotonic()
        if self._status is not None:
            self._status.update(text)
        elif not self._quiet and now - self._last >= 10:
            self._last = now
            print(text, file=self._stream, flush=True)


class StageReport:
    """Shows what is being done, and how many frames are done: a line on a terminal, one every ten seconds elsewhere."""

    def __init__(self, stream: IO[str] | None = None, quiet: bool = False) -> None:
        self._stream, self._quiet = stream or sys.stderr, quiet
        self._last = time.monotonic()
        self._status: Any = None

    def __enter__(self) -> StageReport:
        if not self._quiet and self._stream.isatty():
            from rich.console import Console

            self._status = Console(file=self._stream).status("opening")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Show that `done` frames of `total` are done."""
        text = f"{what}: {done}{f' of {total}' if total else ''} frames"
        if self._status is not None:
            self._status.update(text)
        elif not self._quiet and time.monotonic() - self._last >= 10:
            self._last = time.monotonic()
            print(text, file=self._stream, flush=True)


class ByteReport:
    """Shows how much of a download is there: a bar on a terminal, a plain line every ten seconds elsewhere."""

    def __init__(self, stream: IO[str] | None = None, quiet: bool = False) -> None:
        self._stream, self._quiet = stream or sys.stderr, quiet
        self._last = time.monotonic()
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> ByteReport:
        if not self._quiet and self._stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
            self._bar = Progress(*columns, console=Console(file=self._stream), transient=True)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, name: str, have: int, total: int) -> None:
        """Show that `have` bytes of `total` (0: unknown) of a file are there."""
        if self._bar is not None:
            if name not in self._tasks:
                self._tasks[name] = self._bar.add_task(name, total=total or None)
            self._bar.update(self._tasks[name], completed=have)
        elif not self._quiet and time.monotonic() - self._last >= 10:
            self._last = time.monotonic()
            of = f" of {total / 1e6:.1f}" if total else ""
            print(f"{name}: {have / 1e6:.1f}{of} MB", file=self._stream, flush=True)


class TrainingReport:
    """Shows how a training run goes: a bar on a terminal, a plain line now and then elsewhere."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stderr
        self._bar: Any = None
        self._task: Any = None
        self._last = -math.inf

    def __enter__(self) -> TrainingReport:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def note(self, text: str) -> None:
        """Something worth knowing, once."""
        self._print(text)

    def step(self, samples: int, end: int, stage: str, figures: Mapping[str, float]) -> None:
        """Where the run is, and the means of the loss's parts and the speed since the last time."""
        text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        if self._stream.isatty():
            if self._bar is None:
                self._begin()
            self._bar.update(self._task, completed=samples, total=end, description=stage or "samples", figures=text)
        elif time.monotonic() - self._last >= 10:
            self._last = time.monotonic()
            print(f"{samples} of {end}{f', {stage}' if stage else ''}:  {text}", file=self._stream, flush=True)

    def scores(self, row: Mapping[str, Any]) -> None:
        """A measurement."""
        self._print("  ".join(f"{name} {value}" for name, value in row.items()))

    def _begin(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = ("{task.description}", BarColumn(None), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, TextColumn("{task.fields[figures]}"), console=Console(file=self._stream))
        self._task = self._bar.add_task("samples", total=None, figures="")
        self._bar.start()

    def _print(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self._stream, flush=True)


def print_evaluations(outcome: EvaluationResult, stream: IO[str]) -> None:
    """Scores, for a person."""
    from rich.console import Console
    from rich.table import Table

    from betwixt.evaluation.metrics import METRICS

    console = Console(file=stream, width=None if stream.isatty() else 120, highlight=False)
    first, context = outcome.evaluations[0]
    options = f", {context.options}" if context.options else ""
    console.print(f"{first.dataset}{options}: {first.protocol}", soft_wrap=True, markup=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("model")
    table.add_column("frames", justify="right")
    table.add_column("metric")
    for title in ("mean", "95 % from", "to", "median"):
        table.add_column(title, justify="right")
    for evaluation, _ in outcome.evaluations:
        for number, metric in enumerate(evaluation.metrics):
            s = evaluation.summary(metric)
            figures = (f"{value:.{METRICS[metric].digits}f}" for value in (s.mean, s.low, s.high, s.median))
            table.add_row(*(("", "") if number else (evaluation.model, str(len(evaluation.rows)))), metric, *figures)
    console.print(table)
    for evaluation, context in outcome.evaluations:
        weights = f"weights {context.weights} ({context.weights_hash})" if context.weights_hash else "no weights"
        console.print(f"{evaluation.model}: {weights}; {context.machine}", soft_wrap=True, markup=False)
    for name, comparisons in outcome.comparisons.items():
        _print_comparison(console, name, comparisons)
    for path in outcome.written:
        console.print(f"written: {path}", soft_wrap=True, markup=False)
    for evaluation, _ in outcome.evaluations:
        _print_incomplete(evaluation)


def _print_comparison(console: Any, name: str, comparisons: list[FigureComparison]) -> None:
    from rich.table import Table

    from betwixt.evaluation.metrics import METRICS

    if not comparisons:
        console.print(f"{name}: the papers print no figure for this data set in these metrics.")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("published: paper", "table", "method", "metric", "theirs", f"measured: {name}", "difference"):
        table.add_column(title, justify="right" if title[0] in "tmd" and title != "method" else "left")
    for c in comparisons:
        p, digits = c.published, METRICS[c.published.metric].digits
        mark = " *" if p.note else ""
        table.add_row(
            p.paper,
            p.table,
            p.method + mark,
            p.metric,
            p.printed,
            f"{c.ours:.{digits}f}",
            f"{c.difference:+.{digits}f}",
        )
    console.print(table)
    notes = {c.published.note for c in comparisons if c.published.note}
    for note in sorted(notes):
        console.print(f"* {note}", soft_wrap=True, markup=False)


def print_costs(outcome: BenchmarkResult, stream: IO[str]) -> None:
    """What frames cost, for a person."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=stream, width=None if stream.isatty() else 120, highlight=False)
    table = Table(box=None, pad_edge=False)
    for title in ("model", "size", "runs on", "parameters", "GFLOP", "ms a frame", "quartiles", "frames/s", "peak"):
        table.add_column(title, justify="left" if title in ("model", "size", "runs on") else "right")
    for c in outcome.costs:
        table.add_row(
            c.model if c.trained else f"{c.model} *",
            f"{c.width}x{c.height}",
            f"{c.device} {c.runtime} {c.precision}",
            f"{c.parameters / 1e6:.2f} M" if c.parameters else "none",
            "" if c.gflop is None else f"{c.gflop:.1f}",
            f"{1000 * c.seconds:.1f}",
            f"{1000 * c.quartiles[0]:.1f} to {1000 * c.quartiles[1]:.1f}",
            f"{c.frames_per_second:.1f}",
            size(c.peak_memory),
        )
    if outcome.costs:
        console.print(table)
        if any(c.gflop is not None for c in outcome.costs):
            console.print("One multiply-add counts as two FLOP; the papers often print half of that.")
        if not all(c.trained for c in outcome.costs):
            console.print("* without trained weights: what it makes is worthless, what it costs is the same.")
        console.print(outcome.costs[0].machine, soft_wrap=True, markup=False)
    for r in outcome.end_to_end:
        console.print(
            f"{r.width}x{r.height}, {r.frames_in} frames doubled, whole process, encoder {r.encoder}, "
            f"median of {len(r.rounds)}: betwixt "
            f"({r.model}) {r.ours:.1f}, minterpolate {r.theirs:.1f} new frames/s, ratio {r.ratio:.2f}; {r.machine}",
            soft_wrap=True,
        )
    for path in outcome.written:
        console.print(f"written: {path}", soft_wrap=True, markup=False)


def _print_incomplete(evaluation: Evaluation) -> None:
    """What is not in the score, to standard error."""
    if evaluation.complete:
        return
    where = f"{evaluation.model} on {evaluation.dataset}"
    if evaluation.skipped:
        for skip in evaluation.skipped[:20]:
            print(f"skipped: {skip.sample}: {skip.reason}", file=sys.stderr)
        if len(evaluation.skipped) > 20:
            print(f"skipped: {len(evaluation.skipped) - 20} more (--json names them all)", file=sys.stderr)
    if evaluation.skipped or evaluation.missing:
        lacking = f"{len(evaluation.skipped)} skipped, {evaluation.missing} not there at all"
        print(f"warning: {where} is incomplete: {lacking}.", file=sys.stderr)
    else:
        print(f"note: {where} is a part of the set: {len(evaluation.rows)} frames.", file=sys.stderr)


def print_summary(summary: Summary, stream: IO[str]) -> None:
    """What a conversion did, for a person."""
    s = summary
    print(
        f"{s.output}: {s.frames_out} frames at {_rate(s.rate)} per second, {duration(float(s.duration))}\n"
        f"  {s.untouched} source frames untouched, {s.synthesized} new ({s.model}), {s.held} held"
        f"{_cuts(s.cuts)}{_filled(s.duplicates)}\n"
        f"  {s.encoder} {s.pixel_format}, {duration(s.seconds)}, "
        f"{s.speed:.1f} new frames/s, peak memory {size(s.peak_memory)}",
        file=stream,
    )


def print_encoded(summary: Encoded, stream: IO[str]) -> None:
    """What an encoding did, for a person."""
    s = summary
    left = [f"{s.sent} sent"] + ([f"{s.below} of them for the floor"] if s.below else [])
    left += [f"{s.coded} coded by the network"] if s.mode == "bit-need" else []
    left += [f"{s.synthesized} left to {s.model}"] if s.mode != "base" else []
    print(f"{s.output}: {s.frames} frames in {s.size / 1000:.1f} kB ({s.mode})\n  {', '.join(left)}", file=stream)
    if s.psnr is not None and s.worst is not None:
        print(f"  PSNR of the frames between: {s.psnr:.2f} dB, the worst {s.worst:.2f} dB", file=stream)
    print(
        f"  base stream {s.base_size / 1000:.1f} kB, restore data {s.record_size / 1000:.1f} kB, "
        f"{s.rounds} round{'s' if s.rounds != 1 else ''}, {duration(s.seconds)}",
        file=stream,
    )


def print_decoded(summary: Decoded, stream: IO[str]) -> None:
    """What a decoding did, for a person."""
    s = summary
    coded = f"{s.coded} decoded by the network, " if s.mode == "bit-need" else ""
    print(
        f"{s.output}: {s.frames} frames at {_rate(s.rate)} per second, {duration(float(s.duration))}\n"
        f"  {s.sent} as they were sent, {coded}{s.synthesized} synthesized ({s.model})\n"
        f"  {s.encoder}, {duration(s.seconds)}",
        file=stream,
    )


def print_notes(notes: list[str], lost: list[str]) -> None:
    """Notices and the one warning of what was lost, to standard error."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if lost:
        print(f"warning: the output cannot hold: {', '.join(lost)}.", file=sys.stderr)


def print_plan(plan: Plan, stream: IO[str]) -> None:
    """What a conversion would do, for a person."""
    frames = "an unknown number of" if plan.frames_out is None else plan.frames_out
    slow = f", {_rate(plan.rates.slow)} times slower" if plan.rates.slow != 1 else ""
    print(
        f"{plan.source.name} -> {plan.output}\n"
        f"  {_rate(plan.source.rate)} -> {_rate(plan.rates.output)} frames per second{slow}, {frames} frames\n"
        f"  model {plan.model}, {plan.encoder} {plan.pixel_format}, sound: {plan.audio}",
        file=stream,
    )


def plan_dict(plan: Plan) -> dict[str, Any]:
    """A plan as JSON."""
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


def print_json(values: Any, stream: IO[str]) -> None:
    """One JSON document."""
    print(json.dumps(values, indent=2), file=stream)


def duration(seconds: float) -> str:
    """Seconds for a person: 4.2 s, 3:07, 1:02:03."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def size(count: int) -> str:
    """Bytes for a person."""
    return f"{count / (1 << 30):.2f} GB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MB"


def _rate(value: Any) -> str:
    return str(value) if value.denominator == 1 else f"{float(value):.6g} ({value})"


def _cuts(count: int) -> str:
    return f" at {count} cut{'s' if count != 1 else ''}" if count else ""


def _filled(count: int) -> str:
    return f", {count} duplicates filled" if count else ""
