"""Runs a prepared conversion.

    reader thread ──► director (calling thread) ──► worker pool ──► writer thread
      decode            cuts, duplicates, slots       synthesize      encode, copy, mux

All four work at the same time and are joined by bounded queues, so memory does not grow with the video's length. The
director fixes the order of the output; workers finish in any order, and the writer waits for the next frame in line.
An error anywhere stops all of them, and nothing is left under the output's name.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any

import av

from betwixt.errors import BetwixtError, DamagedInputError, OutputError
from betwixt.machine import peak_memory
from betwixt.media.journal import abort_output
from betwixt.media.reader import Frame, StreamPacket
from betwixt.pipeline.channel import Channel, Stopped
from betwixt.pipeline.director import Director, SynthesisTask
from betwixt.pipeline.job import Job
from betwixt.pipeline.planner import ShowStep
from betwixt.pipeline.targets import Sink
from betwixt.runtime.synthesis import one_frame_per_thread
from betwixt.signals import defer_signals

IN_FLIGHT_BYTES = 96 << 20
"""How much memory the frames between the stages may take, finished or not."""


@dataclass(frozen=True)
class Progress:
    """How far a conversion is at one moment.

    Attributes:
        frames_in: Source frames read.
        frames_out: Frames written.
        synthesized: New frames among them.
        earlier: New frames that were taken over from an interrupted run.
        kept: How many frames, from the first on, the interrupted run had finished.
        cuts: Cuts found.
        total: How many frames will be written; None if unknown.
        frame: The latest frame written, to be shown; None before the first, and while an earlier run's are copied.
    """

    frames_in: int = 0
    frames_out: int = 0
    synthesized: int = 0
    earlier: int = 0
    kept: int = 0
    cuts: int = 0
    total: int | None = None
    frame: av.VideoFrame | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Summary:
    """What a conversion did.

    Attributes:
        output: The finished file or folder.
        frames_in: Source frames read.
        frames_out: Frames written: untouched + held + synthesized.
        untouched: Source frames passed on unchanged.
        held: Frames that repeat a source frame, because a cut or the end of the video comes before the next one.
        synthesized: New frames.
        earlier: New frames that were taken over from an interrupted run.
        cuts: Cuts found.
        duplicates: Duplicates replaced by new frames.
        rate: The output's rate in frames per second.
        duration: The output's duration in seconds.
        seconds: How long the conversion took.
        peak_memory: The process's peak memory in bytes.
        model: The model's name.
        encoder: What encoded the frames.
        pixel_format: The pixel format that the frames were encoded in.
        lost: What the output's container could not hold.
        notes: Remarks for the user.
        damage: What was wrong with the input; None if nothing.
    """

    output: str
    frames_in: int
    frames_out: int
    untouched: int
    held: int
    synthesized: int
    earlier: int
    cuts: int
    duplicates: int
    rate: Fraction
    duration: Fraction
    seconds: float
    peak_memory: int
    model: str
    encoder: str
    pixel_format: str
    lost: tuple[str, ...]
    notes: tuple[str, ...]
    damage: str | None

    @property
    def speed(self) -> float:
        """New frames per second, of this run alone."""
        return (self.synthesized - self.earlier) / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """The values as JSON can hold them."""
        values = asdict(self)
        values["rate"] = str(self.rate)
        values["duration"] = float(self.duration)
        values["new_frames_per_second"] = self.speed
        return values


def convert(
    job: Job,
    make_director: Callable[[int], Director],
    progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Run a job and close it.

    Args:
        job: The prepared conversion.
        make_director: Creates the job's director, given the largest number of frames of a task.
        progress: Called with the progress now and then, from another thread.

    Raises:
        DamagedInputError: if the input is damaged; what could be read has been written.
        BetwixtError: if the conversion cannot be completed; nothing is left under the output's name.
    """
    with job:
        sink: Sink | None = None
        try:
            with defer_signals():
                sink = job.open_sink()
            summary = _Run(job, sink, make_director, progress).run()
        except BaseException as error:
            if sink is not None and (raised := abort_output(sink.abort, error)) is not error:
                raise raised from None
            raise
    if summary.damage is not None:
        damaged = DamagedInputError(
            f"{job.reader.name} is damaged: {summary.damage}. "
            f"What could be read was written to {job.target.name}: {summary.frames_out} frames."
        )
        damaged.summary = summary
        raise damaged
    return summary


@dataclass(frozen=True)
class _PendingFrames:
    """New frames in the writer's queue: made by a worker, or None if an interrupted run has encoded them."""

    indices: tuple[int, ...]
    frames: Future[list[av.VideoFrame]] | None


class _Run:
    """One conversion in progress."""

    def __init__(
        self,
        job: Job,
        sink: Sink,
        make_director: Callable[[int], Director],
        report: Callable[[Progress], None] | None,
    ) -> None:
        self._job, self._sink, self._report = job, sink, report
        info = job.reader.info
        frame_bytes = max(1, info.width * info.height * (3 if info.depth <= 8 else 6) // 2)
        window = max(2, min(64, IN_FLIGHT_BYTES // frame_bytes))
        self._director = make_director(max(1, min(4, window // (2 * job.threads))))
        self._read: Channel[Frame | StreamPacket] = Channel(max(2, window // 4))
        self._write: Channel[ShowStep | _PendingFrames | StreamPacket] = Channel(window)
        self._untouched = self._held = self._synthesized = self._earlier = 0
        self._latest: av.VideoFrame | None = None
        self._failure: BaseException | None = None

    def run(self) -> Summary:
        job = self._job
        reader = threading.Thread(target=self._read_all, name="betwixt-read", daemon=True)
        writer = threading.Thread(target=self._write_all, name="betwixt-write", daemon=True)
        pool = ThreadPoolExecutor(job.threads, thread_name_prefix="betwixt-synthesize")
        done = False
        with one_frame_per_thread(job.model, job.threads):
            try:
                with defer_signals():
                    reader.start()
                    writer.start()
                self._direct(pool)
                self._write.close()
                while writer.is_alive():
                    writer.join(0.2)  # in short waits, so that Ctrl-C gets through
                if self._failure is not None:
                    raise self._failure
                done = True
            except Stopped:
                writer.join()
                raise self._failure or BetwixtError("The conversion stopped without a reason.") from None
            finally:
                with defer_signals():
                    self._read.stop()
                    if not done:
                        job.reader.stop()
                        self._director.cancelled.set()
                        self._write.stop()
                    pool.shutdown(wait=True)
                    for thread in (reader, writer):
                        if thread.ident is not None:  # an interrupt may have come before it was started
                            thread.join()
        if self._director.planner.marker.frames == 0:
            raise OutputError("There is no frame between `start` and `end`: nothing was written.")
        self._sink.commit()
        self._report_progress()
        return self._summary()

    def _summary(self) -> Summary:
        job, planner = self._job, self._director.planner
        encoder, pixel_format = job.encoding
        resumed = f"{self._sink.resumed_frames} frames are those of an earlier run that was interrupted."
        return Summary(
            output=job.target.name,
            frames_in=planner.marker.frames,
            frames_out=self._frames_out,
            untouched=self._untouched,
            held=self._held,
            synthesized=self._synthesized,
            earlier=self._earlier,
            cuts=len(planner.marker.cut_times),
            duplicates=planner.marker.duplicates_filled,
            rate=job.rates.output,
            duration=self._frames_out / job.rates.output,
            seconds=time.monotonic() - job.began,
            peak_memory=peak_memory(),
            model=job.model.name,
            encoder=encoder,
            pixel_format=pixel_format,
            lost=tuple(self._sink.lost),
            notes=(
                *([resumed] if self._sink.resumed_frames else []),
                *job.notes,
                *(note for note in job.reader.notes if note not in job.notes),
                *self._sink.notes,
                *self._director.closing_notes(),
            ),
            damage=job.reader.damage,
        )

    @property
    def _frames_out(self) -> int:
        return self._untouched + self._held + self._synthesized

    # -- the stages

    def _read_all(self) -> None:
        try:
            for item in self._job.reader:
                self._read.put(item, 1 if isinstance(item, Frame) else 0)
            self._read.close()
        except Stopped:
            pass
        except BaseException as error:
            self._read.close(error)

    def _direct(self, pool: ThreadPoolExecutor) -> None:
        for step in self._director.steps(iter(self._read)):
            if isinstance(step, StreamPacket):
                self._write.put(step, 0)
                continue
            if isinstance(step, ShowStep):
                self._write.put(step, 1)
            elif step.indices[-1] < self._sink.resumed_frames:
                self._write.put(_PendingFrames(step.indices, None), len(step.indices))
            else:
                # Wait for room before submitting: frames that are synthesized but not yet written are bounded too.
                frames: Future[list[av.VideoFrame]] = Future()
                self._write.put(_PendingFrames(step.indices, frames), len(step.indices))
                pool.submit(self._work, step, frames)
            self._report_progress()

    def _work(self, task: SynthesisTask, frames: Future[list[av.VideoFrame]]) -> None:
        try:
            if self._director.cancelled.is_set():
                raise Stopped
            frames.set_result(task.synthesize())
        except BaseException as error:
            frames.set_exception(error)

    def _write_all(self) -> None:
        try:
            for item in self._write:
                if isinstance(item, StreamPacket):
                    self._sink.copy(item)
                elif isinstance(item, ShowStep):
                    self._write_frame(item.frame.video, item.index)
                    self._held += item.held
                    self._untouched += not item.held
                else:
                    frames = [None] * len(item.indices) if item.frames is None else item.frames.result()
                    for index, video in zip(item.indices, frames, strict=True):
                        self._write_frame(video, index)
                        self._synthesized += 1
                        self._earlier += video is None
        except Stopped:
            pass
        except BaseException as error:
            self._failure = error
            self._write.stop()

    def _write_frame(self, video: av.VideoFrame | None, index: int) -> None:
        """Write frame `index`, from the journal if an interrupted run has encoded it."""
        if index < self._sink.resumed_frames:
            self._sink.write_from_journal()
        else:
            assert video is not None
            self._sink.write(video, index)
            self._latest = video

    def _report_progress(self) -> None:
        if self._report is None:
            return
        planner = self._director.planner
        self._report(
            Progress(
                frames_in=planner.marker.frames,
                frames_out=self._frames_out,
                synthesized=self._synthesized,
                earlier=self._earlier,
                kept=self._sink.resumed_frames,
                cuts=len(planner.marker.cut_times),
                total=self._job.frames_out,
                frame=self._latest,
            )
        )
