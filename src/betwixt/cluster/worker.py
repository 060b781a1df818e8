"""A worker: a process on one machine of the cluster that makes the frames of pieces, and may encode them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import cv2

from betwixt.cluster.pieces import FrameData, JobDescription, Made, Mark, Piece, PieceReport, Readiness, versions
from betwixt.cluster.replay import piece_director
from betwixt.cluster.source import FrameFinder, RemoteFile
from betwixt.errors import BetwixtError, InputError
from betwixt.masks.store import MaskFolder
from betwixt.media.reader import Frame, StreamPacket
from betwixt.media.segment import SegmentEncoder, segment_parameters
from betwixt.media.source import VideoSource, open_source
from betwixt.models.base import Interpolator
from betwixt.pipeline.director import SynthesisTask
from betwixt.pipeline.planner import ShowStep
from betwixt.runtime.load import hash_weights, load_model

IdleWorkers = dict[tuple[str, int, int, bool], Any]
"""Ray's handles of workers that no conversion uses, by node, number, threads, and whether they have a GPU."""


@dataclass
class _Job:
    """The conversion that the worker is taking part in."""

    description: JobDescription
    model: Interpolator
    finder: FrameFinder


class Worker:
    """Makes frames; an actor.

    Args:
        threads: How many threads work.
        device: Where the model runs; None for the device that the conversion names.
    """

    def __init__(self, threads: int, device: str | None = None) -> None:
        self._threads, self._device = threads, device
        self._models: dict[tuple[Any, ...], Interpolator] = {}
        self._job: _Job | None = None

    def greet(self) -> dict[str, str]:
        """The versions that the worker runs, and the instruction sets of its CPU."""
        return versions() | {"instructions": cv2.getCPUFeaturesLine()}

    def prepare(
        self, description: JobDescription, request: Callable[[int], Callable[[], bytes]] | None = None
    ) -> Readiness:
        """Take part in a conversion: load its model and look for its input.

        Args:
            description: The conversion.
            request: Asks for a block of the input, for `RemoteFile`; None if the worker is to open the input itself.
        """
        source = description.source
        if request is None and not source.is_seen():
            return Readiness(False)
        try:
            if (folder := description.options["masks"]) is not None:
                MaskFolder(folder)
            model = self._load_model(description)
            if hash_weights(description.options["model"], description.options["weights"]) != description.weights:
                return Readiness(True, "has other weights of the model")
            segments = description.segments
            if segments is not None and segment_parameters(segments) != description.parameters:
                return Readiness(True, "has an encoder whose packets cannot be joined with those of the driver")
        except BetwixtError as error:
            return Readiness(True, f"cannot take part: {str(error).rstrip('.')}")
        if model.arithmetic != description.arithmetic:
            return Readiness(
                True,
                f"computes in another arithmetic ({model.arithmetic}) than the driver ({description.arithmetic}), so "
                "that its frames would differ",
            )
        if self._job is not None:
            self._job.finder.close()
        self._job = _Job(description, model, FrameFinder(self._opener(description, request)))
        return Readiness(True)

    def _load_model(self, description: JobDescription) -> Interpolator:
        values = description.options
        device = self._device or values["device"]
        key = values["model"], device, str(values["weights"]), values["runtime"], description.precision
        if key not in self._models:
            self._models.clear()
            self._models[key] = load_model(
                values["model"],
                device,
                weights=values["weights"],
                precision=description.precision,
                runtime=values["runtime"],
            )
        return self._models[key]

    def _opener(
        self, description: JobDescription, request: Callable[[int], Callable[[], bytes]] | None
    ) -> Callable[[Fraction | None, bool], VideoSource]:
        source, values = description.source, description.options
        remote = None if request is None or source.size is None else RemoteFile(request, source.size)

        def open_at(start: Fraction | None, by_clock: bool) -> VideoSource:
            place: Any = source.path
            if remote is not None:
                remote.seek(0)
                place = remote
            return open_source(
                place,
                input_fps=description.info.rate if source.size is None else None,
                start=start,
                stream=values["stream"],
                interlaced=values["interlaced"],
                threads=min(self._threads, 16),
                by_clock=by_clock,
            )

        return open_at

    def make(self, piece: Piece) -> tuple[PieceReport, Made]:
        """Make the frames of a piece.

        Raises:
            BetwixtError: if they cannot be made.
        """
        job = self._job
        assert job is not None, "prepare the worker first"
        director = piece_director(job.description, piece, job.model)
        segments = job.description.segments
        collector = _NewFrames() if segments is None else SegmentEncoder(segments)
        wanted, missing = set(piece.indices), set(piece.indices)
        running: deque[tuple[tuple[int, ...], Future[list[av.VideoFrame]]]] = deque()

        def take(count: int) -> None:
            """Take finished frames until `count` tasks are left."""
            while len(running) > count:
                indices, frames = running.popleft()
                for index, video in zip(indices, frames.result(), strict=True):
                    if index in wanted:
                        collector.write(video, index)
                        missing.remove(index)

        with director.kernels(self._threads), ThreadPoolExecutor(self._threads) as pool:
            for step in director.steps(_frames(job, piece.marks)):
                if isinstance(step, SynthesisTask) and not wanted.isdisjoint(step.indices):
                    running.append((step.indices, pool.submit(step.synthesize)))
                elif isinstance(step, ShowStep) and segments is not None and step.index in wanted:
                    shown: Future[list[av.VideoFrame]] = Future()
                    shown.set_result([step.frame.video])
                    running.append(((step.index,), shown))
                take(2 * self._threads)
                if not isinstance(step, StreamPacket) and _last_index(step) >= piece.indices[-1]:
                    break
            take(0)
        if missing:
            raise InputError(f"the frames {min(missing)} to {max(missing)} were not planned as on the driver")
        return PieceReport(director.findings), collector.finish()


def _last_index(step: ShowStep | SynthesisTask) -> int:
    return step.index if isinstance(step, ShowStep) else step.indices[-1]


class _NewFrames:
    """Collects the new frames of a piece, in order."""

    def __init__(self) -> None:
        self._frames: list[FrameData] = []

    def write(self, frame: av.VideoFrame, index: int) -> None:
        self._frames.append(FrameData.of(frame))

    def finish(self) -> list[FrameData]:
        return self._frames


def _frames(job: _Job, marks: Sequence[Mark]) -> Iterator[Frame]:
    """The source frames of a piece, with the times that the driver has given them."""
    first = marks[0]
    pace, begin = job.description.pace, job.description.info.start
    start, length = (first.time - begin) / pace, (marks[-1].time - first.time) / pace
    videos = job.finder.find([mark.digest for mark in marks], start, length)
    for mark, video in zip(marks, videos, strict=True):
        yield Frame(mark.index, video, mark.time, mark.duration)
