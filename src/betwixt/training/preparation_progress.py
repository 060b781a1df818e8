"""How far the preparation of data is: several processes write files, and their number tells."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PreparationProgress = Callable[[str, int, int, str], None]
"""Called with what is being done, how much of it is done, how much there is, and the unit of both."""

_INTERVAL = 1.0
"""Seconds between two reports."""


def count_files(files: Sequence[Path]) -> int:
    """How many of the files exist."""
    return sum(file.exists() for file in files)


@contextmanager
def watch_files(
    task: str, files: Sequence[Path], unit: str, progress: PreparationProgress | None, size: int = 1
) -> Iterator[None]:
    """Report while the block runs, from a thread, how many of the files that it makes exist.

    Args:
        task: What is being done.
        files: The files.
        unit: What is counted.
        progress: Called now and then, and at the beginning and the end; None to report nothing.
        size: How many units a file holds.
    """
    if progress is None:
        yield
        return
    report, done = progress, threading.Event()

    def watch() -> None:
        while True:
            report(task, size * count_files(files), size * len(files), unit)
            if done.wait(_INTERVAL):
                return

    thread = threading.Thread(target=watch, name="betwixt-preparation", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    report(task, size * len(files), size * len(files), unit)
