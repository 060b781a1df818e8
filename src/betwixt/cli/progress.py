"""Progress on standard error: bars on a terminal, a plain line every ten seconds elsewhere."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Self

from betwixt.units import format_count, format_duration

if TYPE_CHECKING:
    from betwixt.pipeline.run import Progress

_LINE_INTERVAL = 10.0
"""Seconds between two plain lines."""


@dataclass(frozen=True)
class BatchPosition:
    """The place of a file among those of a batch.

    Attributes:
        name: The file.
        number: Its number, from 1 on.
        count: How many files there are; None if that is unknown.
        done: How much of the batch is done when the file begins, from 0 to 1.
        share: How much of the batch the file is, from 0 to 1.
        began: When the batch began, by `time.monotonic`.
    """

    name: str
    number: int
    count: int | None
    done: float
    share: float
    began: float


class ProgressDisplay:
    """Shows how far a command is. Call it with each advance; use it as a context manager.

    Args:
        unit: What is counted: "frames", "samples" or "bytes".
        quiet: Whether to show nothing.
        stream: Where to; standard error by default.
        position: The file's place in a batch, whose progress is shown, too.
    """

    def __init__(
        self,
        unit: str = "frames",
        *,
        quiet: bool = False,
        stream: IO[str] | None = None,
        position: BatchPosition | None = None,
    ) -> None:
        self._unit, self._quiet, self._stream, self._position = unit, quiet, stream or sys.stderr, position
        self._task: str | None = None
        self._start_time = self._last_line = time.monotonic()
        self._start_count = self._count = 0
        self._advanced = self._start_time  # when the count last changed
        self._step = 0  # and by how much
        self._bars: Any = None
        if not quiet and self._stream.isatty():
            from betwixt.cli.bars import open_bars

            self._bars = open_bars(self._stream)
            name = "" if position is None else position.name
            self._bar = self._bars.add_task(name, total=None, percentage="", left="", count="", details="")
            if position is not None and position.count is not None:
                of_all = f"{position.number} of {format_count(position.count, 'file')}"
                self._batch_bar = self._bars.add_task(
                    "all",
                    total=1,
                    completed=position.done,
                    percentage=_percentage(position.done),
                    left="",
                    count=of_all,
                    details="",
                )

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

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
        is_new = task != self._task
        if is_new:
            self._task = task
            self.restart_clock(done)
        details = details or self._transfer_speed(done)
        count = _format_count(done, total, unit or self._unit)
        now = time.monotonic()
        if done != self._count:
            self._count, self._step, self._advanced = done, done - self._count, now
        if self._bars is not None:
            self._update_bars(task, done, total, count, details)
            if is_new:
                self._bars.refresh()
        elif not self._quiet and now - self._last_line >= _LINE_INTERVAL:
            self._last_line = now
            parts = (count, details, _left(self._seconds_left(done, total)))
            self.print(": ".join(filter(None, (self._place(), task, ", ".join(filter(None, parts))))))

    def _update_bars(self, task: str, done: int, total: int | None, count: str, details: str) -> None:
        position = self._position
        self._bars.update(
            self._bar,
            description=position.name if position is not None else task,
            completed=done,
            total=total or None,
            percentage=_percentage(done / total) if total else "",
            left=_left(self._seconds_left(done, total)),
            count=count,
            details=details,
        )
        if position is not None and position.count is not None:
            whole = position.done + position.share * min(1.0, done / total if total else 0.0)
            left = (time.monotonic() - position.began) * (1 / whole - 1) if whole else None
            self._bars.update(self._batch_bar, completed=whole, percentage=_percentage(whole), left=_left(left))

    def _seconds_left(self, done: int, total: int | None) -> float | None:
        """How long the rest takes at the mean speed so far; None if that is unknown."""
        if not total or done <= self._start_count:
            return None
        count = done - self._start_count
        # The first steps may have been quick ones: while the next one, of the same size, lasts, the mean rises.
        seconds_each = max((self._advanced - self._start_time) / count, self.elapsed / (count + self._step))
        return max(0.0, (total - done) * seconds_each - (time.monotonic() - self._advanced))

    def _transfer_speed(self, done: int) -> str:
        """The mean speed of a transfer so far; "" where no bytes are counted."""
        if self._unit != "bytes" or done <= self._start_count or self.elapsed < 1:
            return ""
        return f"{(done - self._start_count) / 1e6 / self.elapsed:.1f} MB/s"

    def _place(self) -> str:
        """The file that a plain line is about, if it is one of several."""
        if self._position is None:
            return ""
        of_all = "" if self._position.count is None else f" of {self._position.count}"
        return f"[{self._position.number}{of_all}] {self._position.name}"

    def restart_clock(self, done: int) -> None:
        """Estimate the remaining time from now on, with `done` already done."""
        self._start_time = self._advanced = time.monotonic()
        self._start_count = self._count = done

    @property
    def elapsed(self) -> float:
        """Seconds since the task began, or since the clock was restarted."""
        return time.monotonic() - self._start_time

    def print(self, text: str) -> None:
        """Print a line above the bars."""
        if self._bars is not None:
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
        elif not self._quiet:
            print(text, file=self._stream, flush=True)


def _format_count(done: int, total: int | None, unit: str) -> str:
    if not done and not total:
        return ""
    if unit == "bytes":
        return f"{done / 1e6:.1f}{f' of {total / 1e6:.1f}' if total else ''} MB"
    noun = unit.removesuffix("s")
    return f"{done} of {format_count(total, noun)}" if total else format_count(done, noun)


def _left(seconds: float | None) -> str:
    """The remaining time, in whole seconds; "" if it is unknown."""
    if seconds is None:
        return ""
    return f"{math.ceil(seconds)} s left" if seconds <= 59 else f"{format_duration(seconds)} left"


def _percentage(fraction: float) -> str:
    return f"{int(100 * min(1.0, fraction))} %"


@contextlib.contextmanager
def conversion_progress(
    quiet: bool = False, position: BatchPosition | None = None
) -> Iterator[Callable[[Progress], None]]:
    """Show how far a conversion is: gives the function to call with its `Progress`."""
    with ProgressDisplay("frames", quiet=quiet, position=position) as display:
        announced = False

        def show(p: Progress) -> None:
            nonlocal announced
            if p.kept and not announced:
                announced = True
                display.print(f"Resuming after {format_count(p.kept, 'frame')} of an earlier run that was interrupted.")
            if p.earlier and p.synthesized == p.earlier:
                # Frames of the earlier run are only copied: they say nothing about the time that is left.
                display.restart_clock(p.frames_out)
            speed = (p.synthesized - p.earlier) / max(display.elapsed, 1e-6)
            details = [f"{speed:.1f} new frames/s", format_count(p.cuts, "cut")]
            if p.nodes:
                details += [format_count(len(p.nodes), "node"), format_count(p.pieces, "piece")]
            display("", p.frames_out, p.total, ", ".join(details))

        yield show
