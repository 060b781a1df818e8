"""The queue: one conversion after another, each in a child process.

    add ──► waiting ──► running ──► done, failed or cancelled
                          │  ▲
                          ▼  │
                         paused

The order is that of the list. A paused job keeps its place and holds up those behind it. If the server ends, its child
ends with it; the next server finds the job as waiting, or as paused, and the conversion's journal resumes its work.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from betwixt.errors import BetwixtError, OutputError, UsageError
from betwixt.web.child import Child
from betwixt.web.conversions import JobProgress, JobResult, run_job
from betwixt.web.jobs import CANCELLED, DONE, FAILED, PAUSED, RUNNING, WAITING, JobStore, QueuedJob, require_space

MAX_JOBS = 500
"""The most jobs that the queue keeps, finished or not."""


@dataclass(frozen=True)
class _Current:
    """The job that runs, with its process."""

    job: QueuedJob
    child: Child[JobProgress, JobResult]


class JobQueue:
    """Runs queued conversions one after another, in a thread of its own.

    Args:
        work: The work folder, in which the jobs are kept; those of an earlier server are taken up.
        resolve: Turns the id of a video into its path (`Library.resolve`).
        memory: The most memory that a conversion may take, in bytes; None for no limit.
    """

    def __init__(self, work: Path, resolve: Callable[[str], Path], memory: int | None = None) -> None:
        self._store = JobStore(work / "jobs")
        self._resolve, self._memory = resolve, memory
        self._changed = threading.Condition()
        self._jobs = self._store.load()
        self._progress: dict[str, JobProgress] = {}
        self._current: _Current | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run_all, name="betwixt queue", daemon=True)
        for job in self._jobs:
            if job.state == RUNNING:  # its server was ended
                with self._changed:
                    self._set(job, WAITING)

    def start(self) -> None:
        """Begin to run jobs."""
        self._thread.start()

    def stop(self) -> None:
        """End the running conversion, so that the next server resumes it, and run no more."""
        with self._changed:
            self._stopping = True
            if self._current is not None:
                self._current.child.kill()
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    # -- what the page asks

    def jobs(self) -> list[QueuedJob]:
        """Copies of all jobs, in their order."""
        with self._changed:
            return [replace(job) for job in self._jobs]

    def find(self, id_: str | None) -> QueuedJob | None:
        """A copy of a job; None if it is not there any more."""
        return next((job for job in self.jobs() if job.id == id_), None)

    def progress(self, id_: str) -> JobProgress | None:
        """How far a job is; None before its first frame and after its end."""
        with self._changed:
            return self._progress.get(id_)

    def output(self, job: QueuedJob) -> Path:
        """The file that a job writes."""
        return self._store.output(job)

    def thumbnail(self, job: QueuedJob) -> Path:
        """Its latest frame as a small JPEG; the file may not exist."""
        return self._store.thumbnail(job)

    def side_file(self, job: QueuedJob, name: str) -> Path:
        """A further file of a job, such as a copy of its output that browsers can play; it may not exist."""
        return self._store.side_file(job, name)

    def videos_in_use(self) -> frozenset[str]:
        """The ids of the videos that unfinished jobs need."""
        return frozenset(job.video for job in self.jobs() if not job.is_finished)

    # -- what the page changes

    def add(self, job: QueuedJob) -> QueuedJob:
        """Add a job at the end.

        Raises:
            UsageError: if the queue is full.
            InputError: if its video is not there.
            OutputError: if the disk is full.
        """
        self._resolve(job.video)
        with self._changed:
            if len(self._jobs) >= MAX_JOBS:
                raise UsageError(f"The queue holds {MAX_JOBS} jobs: remove finished ones first.")
            self._store.save(job)
            self._jobs.append(job)
            self._save_order()
        return job

    def pause(self, id_: str) -> None:
        """Pause the running job; it waits after the frame it is at."""
        with self._changed:
            if (current := self._current) is not None and current.job.id == id_ and current.job.state == RUNNING:
                current.child.pause()
                self._set(current.job, PAUSED)

    def resume(self, id_: str) -> None:
        """Let a paused job go on."""
        with self._changed:
            for job in self._jobs:
                if job.id == id_ and job.state == PAUSED:
                    if self._current is not None and self._current.job is job:
                        self._current.child.resume()
                        self._set(job, RUNNING)
                    else:
                        self._set(job, WAITING)  # it was paused when an earlier server ended

    def cancel(self, id_: str) -> None:
        """Give up a job that is not finished, with what it has written."""
        with self._changed:
            for job in self._jobs:
                if job.id == id_ and not job.is_finished:
                    self._finish(job, CANCELLED)
                    if self._current is not None and self._current.job is job:
                        self._current.child.kill()  # its thread discards the output
                    else:
                        self._store.discard_output(job)

    def retry(self, id_: str) -> None:
        """Queue a job again that failed or was cancelled, at the end."""
        with self._changed:
            for job in self._jobs:
                running = self._current is not None and self._current.job is job
                if job.id == id_ and job.state in (FAILED, CANCELLED) and not running:
                    job.error, job.finished, job.summary = "", None, None
                    self._jobs.remove(job)
                    self._jobs.append(job)
                    self._set(job, WAITING)
                    self._save_order()
                    return

    def move(self, id_: str, step: int) -> None:
        """Move a waiting job by one place among the waiting ones: -1 forward, 1 back."""
        with self._changed:
            waiting = [number for number, job in enumerate(self._jobs) if job.state == WAITING]
            for place, number in enumerate(waiting):
                if self._jobs[number].id == id_ and 0 <= place + step < len(waiting):
                    other = waiting[place + step]
                    self._jobs[number], self._jobs[other] = self._jobs[other], self._jobs[number]
                    self._save_order()
                    return

    def remove(self, id_: str) -> None:
        """Remove a finished job with its files."""
        with self._changed:
            for job in [job for job in self._jobs if job.id == id_ and job.is_finished]:
                if self._current is None or self._current.job is not job:
                    self._jobs.remove(job)
                    self._store.remove(job)
                    self._save_order()

    def remove_expired(self, days: float) -> None:
        """Remove jobs that finished longer ago than that."""
        oldest = time.time() - days * 86400
        for job in self.jobs():
            if job.finished is not None and job.finished < oldest:
                self.remove(job.id)

    # -- the thread

    def _run_all(self) -> None:
        while (job := self._next_job()) is not None:
            try:
                self._run(job)
            except (BetwixtError, OSError) as error:
                with self._changed:
                    if not job.is_finished:
                        self._finish(job, FAILED, str(error))
            finally:
                with self._changed:
                    self._current = None
                    self._progress.pop(job.id, None)
                    if job.state in (FAILED, CANCELLED):
                        self._store.discard_output(job)
                    self._changed.notify_all()

    def _next_job(self) -> QueuedJob | None:
        """Wait for a job to run; None if the queue is stopping."""
        with self._changed:
            while not self._stopping:
                job = next((job for job in self._jobs if not job.is_finished), None)
                if job is not None and job.state == WAITING:
                    self._set(job, RUNNING)
                    return job
                self._changed.wait()
            return None

    def _run(self, job: QueuedJob) -> None:
        source, target = self._resolve(job.video), self._store.output(job)
        require_space(target.parent)
        child = self._start_child(job, source, target)
        try:
            for progress in child.messages():
                with self._changed:
                    self._progress[job.id] = progress
        except BetwixtError:
            if self._stopping:
                return  # a job whose child was ended with the server is taken up by the next one
            raise
        with self._changed:
            if not job.is_finished:
                job.summary = child.result.summary
                self._finish(job, DONE, child.result.damage)

    def _start_child(self, job: QueuedJob, source: Path, target: Path) -> Child[JobProgress, JobResult]:
        with self._changed:
            arguments = job.command, source, target, job.options, self._store.thumbnail(job)
            child: Child[JobProgress, JobResult] = Child(run_job, *arguments, memory=self._memory)
            self._current = _Current(job, child)
            if job.is_finished or self._stopping:  # meanwhile
                child.kill()
            return child

    # -- with the lock held

    def _set(self, job: QueuedJob, state: str) -> None:
        job.state = state
        with contextlib.suppress(OutputError):  # a full disk must not end the queue
            self._store.save(job)
        self._changed.notify_all()

    def _finish(self, job: QueuedJob, state: str, error: str = "") -> None:
        job.error, job.finished = error, time.time()
        self._set(job, state)

    def _save_order(self) -> None:
        with contextlib.suppress(OutputError):
            self._store.save_order(self._jobs)
        self._changed.notify_all()
