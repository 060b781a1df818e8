"""Runs `betwixt` commands in processes of their own, and says how each ended."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

PRELOADED = ("betwixt.cli.main", "betwixt.pipeline.interpolate", "betwixt.pipeline.inspect", "cv2", "av")

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["isolation", *PRELOADED])


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int  # its exit code; negative: the signal that ended it
    stdout: str
    stderr: str
    hung: bool  # whether it was stopped for taking too long
    peak: int  # the most memory it used, in bytes

    @property
    def crashed(self) -> bool:
        """Whether it ended by a traceback or a signal."""
        return not self.hung and (self.code < 0 or "Traceback (most recent call last)" in self.stderr)

    @property
    def message(self) -> str:
        """The last line of its messages."""
        return (self.stderr.strip().splitlines() or [""])[-1]


def run(arguments: Sequence[str], seconds: float) -> Outcome:
    """Run `betwixt` with `arguments`, for at most this many seconds."""
    with tempfile.TemporaryDirectory(prefix="betwixt-run-") as name:
        folder = Path(name)
        process = _context.Process(target=_command, args=(list(arguments), folder))
        process.start()
        process.join(seconds)
        hung = process.is_alive()
        peak = _peak_memory(process) if hung else 0
        if hung:
            process.kill()
            process.join()
        files = {path.name: path.read_text(errors="replace") for path in folder.iterdir()}
        return Outcome(
            process.exitcode or 0,
            files.get("stdout", ""),
            files.get("stderr", ""),
            hung,
            int(files.get("peak") or peak),
        )


@contextlib.contextmanager
def working_folder() -> Iterator[Path]:
    """A temporary folder for outputs."""
    folder = Path(tempfile.mkdtemp(prefix="betwixt-real-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _command(arguments: list[str], folder: Path) -> None:
    """In the new process: run the command, with its output and its memory in files."""
    for name, number in (("stdout", 1), ("stderr", 2)):
        file = os.open(folder / name, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    run_command = importlib.import_module("betwixt.cli.main").run
    try:
        sys.exit(run_command(arguments))
    finally:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        (folder / "peak").write_text(str(peak))


def _peak_memory(process: BaseProcess) -> int:
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    return 0
