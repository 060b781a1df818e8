"""Makes the frames of a job, in order.

    reader thread ──► director ──► worker pool ──► frames
      decode          cuts, duplicates, slots   synthesize

All work at the same time and are joined by bounded queues, so memory does not grow with the video's length. The
director fixes the order of the output; workers finish in any order, and `frames` waits for the next one in line.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol

import av

from betwixt.errors import BetwixtError, UsageError
from betwixt.media.encoded_video import EncodedPacket
from betwixt.media.frame_source import FrameSource
from betwixt.media.frames import frame_bytes
from betwixt.media.reader import Frame, StreamPacket
from betwixt.pipeline.channel import Channel, Stopped
from betwixt.pipeline.director import Director, SynthesisTask
from betwixt.pipeline.frame_job import FrameJob
from betwixt.pipeline.planner import ShowStep
from betwixt.signals import defer_signals

IN_FLIGHT_BYTES = 96 << 20
"""How much memory the frames between the stages may take, finished or not."""

_CALLER_PATIENCE = 1.0
"""Seconds to wait for the iterable of a caller to yield its next frame, once no more are needed."""


Kind = Literal["untouched", "held", "synthesized"]
"""What a frame of the output is."""


@dataclass(frozen=True)
class MadeFrame:
    """A frame of the output.

    Attributes:
        index: Its number.
        video: The frame; None if an interrupted run, or another machine, has encoded it.
        kind: "untouched", a source frame at its own time; "held", a source frame in place of one that cannot be
            interpolated; "synthesized", a new frame.
        packet: If another machine has encoded the frames: the next packet in decoding order, of this or another frame.
    """

    index: int
    video: av.VideoFrame | None
    kind: Kind
    packet: EncodedPacket | None = None


@dataclass(frozen=True)
class _PendingFrames:
    """New frames in line: made by a worker, or None if an interrupted run has encoded them."""

    indices: tuple[int, ...]
    videos: Future[list[av.VideoFrame]] | None


@dataclass(frozen=True)
class NodeFigures:
    """What a machine of a cluster has done for a conversion.

    Attributes:
        name: Its name.
        frames: New frames made.
        pieces: Pieces finished.
        failures: Pieces that it did not finish, because it failed or did not answer.
        new_frames_per_second: The mean over the time in which it worked.
    """

    name: str
    frames: int
    pieces: int
    failures: int
    new_frames_per_second: float


class Production:
    """The frames of a job in the making: `direct` in one thread, `frames` in another, then `close`.

    Args:
        job: What is to be made.
        director: Decides on each frame of the output.
        resumed: How many frames, from the first on, an interrupted run has encoded.

    Attributes:
        director: Decides on each frame of the output.
        chunk: The most frames of one task of the director.
    """

    def __init__(self, job: FrameJob, director: type[Director], resumed: int = 0) -> None:
        self._job, self._resumed = job, resumed
        info = job.reader.info
        window = max(2, min(64, IN_FLIGHT_BYTES // frame_bytes(info.pixel_format, info.width, info.height)))
        self.chunk = max(1, min(4, window // (2 * job.threads)))
        self.director = director(job, self.chunk)
        self._read: Channel[Frame | StreamPacket] = Channel(max(2, window // 4))
        self._line: Channel[ShowStep | _PendingFrames | StreamPacket] = Channel(window)
        self._reader = threading.Thread(target=self._read_all, name="betwixt-read", daemon=True)
        self._pool = ThreadPoolExecutor(job.threads, thread_name_prefix="betwixt-synthesize")
        self._settings = contextlib.ExitStack()

    def start(self) -> None:
        """Begin to read."""
        self._settings.enter_context(self.director.kernels(self._job.threads))
        with defer_signals():
            self._reader.start()

    def direct(self, report: Callable[[], None] | None = None) -> None:
        """Direct the production to its end; call `report` after each step.

        Raises:
            Stopped: if `stop` was called.
            UsageError: if there is no frame between `start` and `end`.
            BetwixtError: if the input cannot be read.
        """
        empty = True
        for step in self.director.steps(iter(self._read)):
            if isinstance(step, StreamPacket):
                self._line.put(step, 0)
                continue
            empty = False
            if isinstance(step, ShowStep):
                self._line.put(step, 1)
            elif step.indices[-1] < self._resumed:
                self._line.put(_PendingFrames(step.indices, None), len(step.indices))
            else:
                # Wait for room before submitting: frames that are synthesized but not yet taken are bounded too.
                videos: Future[list[av.VideoFrame]] = Future()
                self._line.put(_PendingFrames(step.indices, videos), len(step.indices))
                self._pool.submit(self._work, step, videos)
            if report is not None:
                report()
        if empty:
            raise UsageError("There is no frame between `start` and `end`: choose other times.")
        self._line.close()

    def frames(self) -> Iterator[MadeFrame | StreamPacket]:
        """The frames in order, and the packets of other streams in their place; waits for each.

        Raises:
            Stopped: if `stop` was called.
            BetwixtError: if a frame cannot be made.
        """
        for item in self._line:
            if isinstance(item, StreamPacket):
                yield item
            elif isinstance(item, ShowStep):
                yield MadeFrame(item.index, item.frame.video, "held" if item.held else "untouched")
            else:
                videos = [None] * len(item.indices) if item.videos is None else item.videos.result()
                for index, video in zip(item.indices, videos, strict=True):
                    yield MadeFrame(index, video, "synthesized")

    def fail(self, error: BaseException) -> None:
        """Let `frames` raise an error after the last frame in line."""
        self._line.close(error)

    def notes(self) -> tuple[str, ...]:
        """Remarks for the user, so far."""
        job = self._job
        later = (note for note in job.reader.notes if note not in job.notes)
        return (*job.notes, *later, *self.director.closing_notes())

    def nodes(self) -> tuple[NodeFigures, ...]:
        """What each machine of a cluster has done so far."""
        return ()

    def pieces(self) -> int:
        """How many pieces a cluster is working on."""
        return 0

    def stop(self) -> None:
        """Give up; may be called from any thread."""
        self.director.cancelled.set()
        self._line.stop()
        self._read.stop()
        self._job.reader.stop()

    def close(self) -> None:
        """Wait for the frames that are being made, and end all threads; called by the thread that directs."""
        self._read.stop()
        self._job.reader.stop()
        self._pool.shutdown(wait=True)
        if self._reader.ident is not None:  # an interrupt may have come before it was started
            # The iterable of a caller may wait for something that never comes.
            self._reader.join(_CALLER_PATIENCE if isinstance(self._job.reader, FrameSource) else None)
        self._settings.close()

    def _read_all(self) -> None:
        try:
            for item in self._job.reader:
                self._read.put(item, 1 if isinstance(item, Frame) else 0)
            self._read.close()
        except Stopped:
            pass
        except BaseException as error:
            self._read.close(error)

    def _work(self, task: SynthesisTask, videos: Future[list[av.VideoFrame]]) -> None:
        try:
            if self.director.cancelled.is_set():
                raise Stopped
            videos.set_result(task.synthesize())
        except BaseException as error:
            videos.set_exception(error)


def run_production(
    production: Production, write: Callable[[MadeFrame | StreamPacket], None], report: Callable[[], None]
) -> None:
    """Run a production to its end: directed by this thread, written by another.

    Args:
        production: Not yet started.
        write: Called for each of its frames and packets, in order.
        report: Called now and then in this thread.

    Raises:
        BetwixtError: if a frame cannot be made or written.
    """
    failures: list[BaseException] = []

    def write_all() -> None:
        try:
            for item in production.frames():
                write(item)
        except Stopped:
            pass
        except BaseException as error:
            failures.append(error)
            production.stop()

    writer = threading.Thread(target=write_all, name="betwixt-write", daemon=True)
    done = False
    try:
        with defer_signals():
            production.start()
            writer.start()
        production.direct(report)
        while writer.is_alive():
            writer.join(0.2)  # in short waits, so that Ctrl-C gets through
            report()
        if failures:
            raise failures[0]
        done = True
    except Stopped:
        production.stop()  # or the writer may wait for what does not come any more
        writer.join()
        raise (failures or [BetwixtError("The conversion stopped without a reason.")])[0] from None
    finally:
        with defer_signals():
            if not done:
                production.stop()
            production.close()
            if writer.ident is not None:  # an interrupt may have come before it was started
                writer.join()


class Cluster(Protocol):
    """Machines that make the frames of conversions (`betwixt.cluster`)."""

    def produce(self, job: FrameJob, director: type[Director], resumed: int) -> Production:
        """A production whose new frames these machines make; the arguments are those of `Production`."""


def check_cluster(cluster: object) -> None:
    """Refuse the address of a cluster in the place of a connection.

    Raises:
        UsageError: if it is one.
    """
    if isinstance(cluster, str):
        raise UsageError('In Python, `cluster` is an object: pass cluster=betwixt.Cluster("auto").')
