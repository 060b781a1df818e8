"""Reports of a training run: mean loss terms, speed and scores, for the caller and for TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor


class ProgressReporter(Protocol):
    """Receives the progress of a run; only the first process reports."""

    def note(self, text: str) -> None:
        """A remark, once."""

    def prepare(self, task: str, done: int, total: int, unit: str) -> None:
        """How far the preparation of the data is; called from another thread."""

    def step(self, samples: int, end: int, stage: str, figures: Mapping[str, float]) -> None:
        """The position in the run, and the mean loss terms and speed since the last call."""

    def scores(self, row: Mapping[str, Any]) -> None:
        """A row that was added to the training curve."""


class SilentReporter:
    """A `ProgressReporter` that does nothing."""

    def note(self, text: str) -> None:
        pass

    def prepare(self, task: str, done: int, total: int, unit: str) -> None:
        pass

    def step(self, samples: int, end: int, stage: str, figures: Mapping[str, float]) -> None:
        pass

    def scores(self, row: Mapping[str, Any]) -> None:
        pass


class LossMeter:
    """Mean loss terms and speed since it was last read."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget all values and restart the clock."""
        self._sums: dict[str, Tensor] = {}
        self._samples = self._count = 0
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since it was last read."""
        return time.monotonic() - self._start

    def add(self, terms: Mapping[str, Tensor], samples: int) -> None:
        """Add the loss terms of `samples` samples; their values are not waited for."""
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach()
        self._count += 1
        self._samples += samples

    def read(self, processes: int) -> dict[str, float]:
        """The means, and the samples per second of all `processes`; then restart."""
        figures = {name: float(value) / self._count for name, value in self._sums.items()}
        figures["samples/s"] = self._samples * processes / max(self.seconds, 1e-6)
        self.restart()
        return figures


class TensorBoardLog:
    """The TensorBoard log of a run; without TensorBoard, or without a folder, it does nothing.

    Attributes:
        writer: TensorBoard's; None if nothing is written.
    """

    def __init__(self, folder: Path | None) -> None:
        self.writer: Any = None
        if folder is not None:
            with suppress(ImportError):
                from torch.utils.tensorboard import SummaryWriter

                self.writer = SummaryWriter(str(folder))

    def add(self, samples: int, figures: Mapping[str, float]) -> None:
        """Write values at a sample; names without a slash go into the group "training"."""
        if self.writer is not None:
            for name, value in figures.items():
                self.writer.add_scalar(name if "/" in name else f"training/{name}", value, samples)

    def close(self) -> None:
        """Flush and close the log."""
        if self.writer is not None:
            self.writer.close()
