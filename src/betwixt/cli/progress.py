"""Progress on standard error: a bar on a terminal, a plain line every ten seconds elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, Self

from betwixt.units import format_duration

if TYPE_CHECKING:
    from betwixt.pipeline.run import Progress

_LINE_INTERVAL = 10.0
"""Seconds between two plain lines."""

_ESTIMATE_PERIOD = 180.0
"""How many seconds of the past the bar's remaining time is estimated from: some tasks advance in long steps."""


class ProgressDisplay:
    """Shows how far a command is. Call it with each advance; use it as a context manager.

    Args:
        unit: What is counted: "frames", "samples" or "bytes".
        quiet: Whether to show nothing.
        stream: Where to; standard error by default.
    """

    def __init__(self, unit: str = "frames", *, quiet: bool = False, stream: IO[str] | None = None) -> None:
        self._unit, self._quiet, self._stream = unit, quiet, stream or sys.stderr
        self._task: str | None = None
        self._start_time = self._last_line = time.monotonic()
        self._start_count = self._count = 0
        self._advanced = self._start_time  # when the count last changed
        self._bar: Any = None
        if not quiet and self._stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

            columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}")]
            columns.append(TransferSpeedColumn() if unit == "bytes" else TimeRemainingColumn())
            columns.append(TextColumn("{task.fields[details]}"))
            console = Console(file=self._stream)
            self._bar = Progress(*columns, console=console, transient=True, speed_estimate_period=_ESTIMATE_PERIOD)
            self._bar_task = self._bar.add_task("", total=None, count="", details="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(
        self, task: str, done: int = 0, total: int | None = None, details: str = "", unit: str | None = None
    ) -> None:
        """Show an advance.

        Args:
            task: What is being done.
            done: How much of it is done.
            total: How much there is; None or 0 if that is unknown.
            details: What else to show.
            unit: What is counted, if not what the display counts otherwise.
        """
        if task != self._task:
            self._task = task
            self.restart_clock(done)
            if self._bar is not None:
                self._bar.reset(self._bar_task)
        count = _format_count(done, total, unit or self._unit)
        now = time.monotonic()
        if done != self._count:
            self._count, self._advanced = done, now
        if self._bar is not None:
            self._bar.update(
                self._bar_task, description=task, completed=done, total=total or None, count=count, details=details
            )
        elif not self._quiet and now - self._last_line >= _LINE_INTERVAL:
            self._last_line = now
            left = ""
            if total and done > self._start_count:
                seconds_each = (self._advanced - self._start_time) / (done - self._start_count)
                seconds = (total - done) * seconds_each - (now - self._advanced)
                left = f"{format_duration(max(0.0, seconds))} left"
            line = ", ".join(part for part in (count, details, left) if part)
            self.print(": ".join(part for part in (task, line) if part))

    def restart_clock(self, done: int) -> None:
        """Estimate the remaining time from now on, with `done` already done."""
        self._start_time = self._advanced = time.monotonic()
        self._start_count = self._count = done

    @property
    def elapsed(self) -> float:
        """Seconds since the task began, or since the clock was restarted."""
        return time.monotonic() - self._start_time

    def print(self, text: str) -> None:
        """Print a line above the bar."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        elif not self._quiet:
            print(text, file=self._stream, flush=True)


def _format_count(done: int, total: int | None, unit: str) -> str:
    if not done and not total:
        return ""
    if unit == "bytes":
        return f"{done / 1e6:.1f}{f' of {total / 1e6:.1f}' if total else ''} MB"
    return f"{done}{f' of {total}' if total else ''} {unit}"


@contextlib.contextmanager
def conversion_progress(quiet: bool = False) -> Iterator[Callable[[Progress], None]]:
    """Show how far a conversion is: gives the function to call with its `Progress`."""
    with ProgressDisplay("frames", quiet=quiet) as display:
        announced = False

        def show(p: Progress) -> None:
            nonlocal announced
            if p.kept and not announced:
                announced = True
                display.print(f"Resuming after {p.kept} frames of an earlier run that was interrupted.")
            if p.earlier and p.synthesized == p.earlier:
                # Frames of the earlier run are only copied: they say nothing about the time that is left.
                display.restart_clock(p.frames_out)
            speed = (p.synthesized - p.earlier) / max(display.elapsed, 1e-6)
            display("", p.frames_out, p.total, f"{speed:.1f} new frames/s, {p.cuts} cut{'s' if p.cuts != 1 else ''}")

        yield show
