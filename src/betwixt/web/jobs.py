"""Jobs: conversions that the page has queued, and how they are kept on the disk.

    WORK/jobs/queue.json            the order
    WORK/jobs/ID/job.json           one job
    WORK/jobs/ID/output/NAME        what it has made, and the journal while it is unfinished
    WORK/jobs/ID/thumbnail.jpg      the latest frame

Files are written atomically, so that a server that is killed finds every job again.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from betwixt.errors import OutputError
from betwixt.files import write_atomically
from betwixt.web.conversions import CONVERSIONS

WAITING, RUNNING, PAUSED, DONE, FAILED, CANCELLED = "waiting", "running", "paused", "done", "failed", "cancelled"
"""The states of a job."""

FINISHED = (DONE, FAILED, CANCELLED)
"""States in which nothing more happens by itself."""


@dataclass
class QueuedJob:
    """A conversion in the queue.

    Attributes:
        video: The library's id of the input.
        video_name: The input's name, for people.
        title: What the conversion does, in a few words.
        command: The command of the command line that does the same: a key of `conversions.CONVERSIONS`.
        options: Its options, as JSON holds them.
        output: The file name of the output.
        id: What the page names it by.
        created: When it was added, in seconds since 1970.
        state: One of the states above.
        error: Why it failed, or what was wrong with the input, in one line; "" if nothing.
        summary: What it did (`pipeline.run.Summary.as_dict`); None before it is done.
        finished: When it finished, in seconds since 1970; None before.
    """

    video: str
    video_name: str
    title: str
    command: str
    options: dict[str, Any]
    output: str
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    created: float = field(default_factory=time.time)
    state: str = WAITING
    error: str = ""
    summary: dict[str, Any] | None = None
    finished: float | None = None

    @property
    def is_finished(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.state in FINISHED

    def command_line(self, source: str | Path | None = None) -> str:
        """The command that repeats the conversion, for a POSIX shell; `source` defaults to the input's name."""
        source = source or Path(self.video_name).name
        arguments = CONVERSIONS[self.command].declared.arguments(self.options)
        return shlex.join(["betwixt", self.command, str(source), self.output, *arguments])


class JobStore:
    """Jobs on the disk.

    Args:
        folder: The folder that holds them; it is made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def load(self) -> list[QueuedJob]:
        """All jobs in their order. One whose file is damaged is left out."""
        order: list[str] = []
        with contextlib.suppress(OSError, ValueError):
            order = json.loads((self._folder / "queue.json").read_text(encoding="utf-8"))
        jobs = []
        for path in self._folder.glob("*/job.json"):
            with contextlib.suppress(OSError, ValueError, TypeError):
                jobs.append(_job_from(json.loads(path.read_text(encoding="utf-8"))))
        place = {id_: number for number, id_ in enumerate(order)}
        return sorted(jobs, key=lambda job: (place.get(job.id, len(place)), job.created))

    def save(self, job: QueuedJob) -> None:
        """Write a job, unless its folder has been removed."""
        self.output(job).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._folder / job.id / "job.json", json.dumps(asdict(job), indent=2))

    def save_order(self, jobs: list[QueuedJob]) -> None:
        """Write the order of the jobs."""
        write_atomically(self._folder / "queue.json", json.dumps([job.id for job in jobs]))

    def output(self, job: QueuedJob) -> Path:
        """Where a job writes its output."""
        return self._folder / job.id / "output" / job.output

    def thumbnail(self, job: QueuedJob) -> Path:
        """Where a job writes its latest frame as a small JPEG."""
        return self._folder / job.id / "thumbnail.jpg"

    def side_file(self, job: QueuedJob, name: str) -> Path:
        """A further file of a job, such as a copy of its output that browsers can play."""
        return self._folder / job.id / name

    def discard_output(self, job: QueuedJob) -> None:
        """Remove what a job has written, finished or not, but not the job."""
        shutil.rmtree(self.output(job).parent, ignore_errors=True)

    def remove(self, job: QueuedJob) -> None:
        """Remove a job and all that it has written."""
        # The description goes first: a job that is half removed must not come back.
        with contextlib.suppress(OSError):
            os.unlink(self._folder / job.id / "job.json")
        shutil.rmtree(self._folder / job.id, ignore_errors=True)


def _job_from(values: Mapping[str, Any]) -> QueuedJob:
    """A job as `JobStore.save` wrote it.

    Raises:
        TypeError: if it is none.
    """
    job = QueuedJob(**values)
    if job.command not in CONVERSIONS:
        raise TypeError(f"unknown command {job.command}")
    return job


def require_space(folder: Path, needed: int = 64 << 20) -> None:
    """Refuse to begin where the disk is full.

    Raises:
        OutputError: if fewer than `needed` bytes are free.
    """
    if shutil.disk_usage(folder).free < needed:
        raise OutputError(f"The disk of {folder} is full: remove finished jobs, or free some space.")
