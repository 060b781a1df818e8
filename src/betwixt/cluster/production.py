"""Makes the frames of a job with the workers of a cluster.

    reader ──► director ──► pieces ──► scheduler ──► workers
                  │                                     │ new frames
                  └──► what is shown, in order ─► queue ─┴─► frames ◄── source frames

The director runs ahead by as many pieces as the workers can take. Source frames wait in memory until the new frames
between them have come back. Those for which `HELD_BYTES` has no room are decoded a second time when they are written.

Where the workers encode (`SegmentProduction`), pieces hold the source frames that are shown, too, and packets come
back.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av

from betwixt.cluster.pieces import FrameData, JobDescription, Mark, Piece
from betwixt.cluster.planning import MAX_SPAN, SEGMENT_FRAMES, begins_piece, needed_frames, piece_size
from betwixt.cluster.scheduler import Scheduler, Work
from betwixt.cluster.source import SourceFile, frame_digest
from betwixt.cluster.worker import IdleWorkers
from betwixt.errors import InputError, OutputError, UsageError
from betwixt.media.encoded_video import EncodedPacket
from betwixt.media.frames import frame_bytes
from betwixt.media.reader import Frame, Reader, StreamPacket
from betwixt.media.retimed import RetimedReader
from betwixt.media.segment import SegmentEncoder, segment_parameters
from betwixt.media.sequence import ImageSource
from betwixt.media.source import VideoSource
from betwixt.pipeline.channel import Channel
from betwixt.pipeline.director import Director, SynthesisTask
from betwixt.pipeline.frame_job import FrameJob
from betwixt.pipeline.job import Job
from betwixt.pipeline.marker import MarkedFrame
from betwixt.pipeline.planner import ShowStep
from betwixt.pipeline.production import Kind, MadeFrame, NodeFigures, Production

HELD_BYTES = 256 << 20
"""The most memory that waiting source frames may take, in bytes."""

MAX_LINE = 20_000
"""How many frames the director may be ahead of the encoder where none of them is new."""

_OPTIONS = (
    "model", "device", "runtime", "weights", "masks", "stream", "interlaced",
    "overlays", "duplicates", "at_cuts", "paths",
)  # fmt: skip
"""The options that workers need."""

_EXTRA = (
    "samples", "grid", "linear", "shutter", "phase", "new_frames", "only", "data", "damaged", "codec_weights", "noted",
)  # fmt: skip
"""Attributes of a job that only the directors of blur, extrapolation and restoration read."""

_MANY_MARKS = 1024
"""How many marks of source frames are kept before those that no later piece needs are dropped."""

_LOOK_BACK = 8
"""How many source frames are kept when they are read a second time, as one may be shown more than once."""


@dataclass(frozen=True)
class _Shown:
    """A source frame in the queue.

    Attributes:
        index: Its number in the output.
        number: Its number in the source.
        held: As in `ShowStep`.
        video: The frame; None if it is to be decoded a second time.
    """

    index: int
    number: int
    held: bool
    video: av.VideoFrame | None


@dataclass
class _OpenPiece:
    """A piece: it is filled, submitted as soon as all source frames that it needs are known, and taken.

    Attributes:
        first: The time of its first frame, in seconds.
        last: The time of its last one, in seconds.
        read_before: How many source frames had been read when it began.
        cuts: How many cuts lie before its last frame.
        indices: Its frames, by their numbers in the output.
        new: How many of them are new.
        is_full: Whether no more frames are added.
        work: The piece as it is scheduled; None before.
        made: What has come back and is not written yet, in order; None before.
    """

    first: Fraction
    last: Fraction
    read_before: int
    cuts: int
    indices: list[int] = field(default_factory=list)
    new: int = 0
    is_full: bool = False
    work: Work | None = None
    made: deque[FrameData | EncodedPacket] | None = None


@dataclass(frozen=True)
class _InPiece:
    """Frames in the queue that belong to a piece."""

    indices: tuple[int, ...]
    kind: Kind
    piece: _OpenPiece


@dataclass(frozen=True)
class _Own:
    """New frames in the queue that the driver makes; `videos` is None for those that an interrupted run has encoded."""

    indices: tuple[int, ...]
    videos: Future[list[av.VideoFrame]] | None


_Item = _Shown | _InPiece | _Own | StreamPacket


class ClusterProduction(Production):
    """The frames of a job, whose new frames a cluster makes.

    Args:
        job: What is to be made.
        director: Decides on each frame of the output.
        resumed: How many frames, from the first on, an interrupted run has encoded.
        idle: As for `Scheduler`.

    Raises:
        UsageError: if the job cannot be spread, or no node of the cluster can take part.
    """

    def __init__(self, job: FrameJob, director: type[Director], resumed: int, idle: IdleWorkers) -> None:
        super().__init__(job, director, resumed)
        self._steps: Channel[_Item] = Channel(MAX_LINE)
        self._tail: deque[_Item] = deque()  # behind a piece that is not submitted yet
        self._open: deque[_OpenPiece] = deque()  # pieces that are not submitted yet
        self._marks: list[Mark] = []
        self._shot_starts: list[Fraction] = []  # where, between the frames around a cut, the new shot begins
        self._waiting: deque[int] = deque()  # the source frames that are kept, by their numbers in the output
        self._read_count = 0
        self._number = 0
        self._shown: _ShownFrames | None = None
        self.director.planner.marker.observe = self._note
        info = job.reader.info
        self._segments = job.segments if isinstance(job, Job) else None
        self._frame_bytes = frame_bytes(info.pixel_format, info.width, info.height)
        description = self._describe(director)
        self._scheduler = Scheduler(description, self._describe_piece, idle)

    def _describe(self, director: type[Director]) -> JobDescription:
        """What workers need to know of the job."""
        job, segments, source = self._job, self._segments, _find_source(self._job)
        options = dict(job.options)
        for name in ("weights", "masks"):
            options[name] = None if options[name] is None else str(Path(options[name]).absolute())
        assert job.weights_hash is not None
        return JobDescription(
            source=source,
            options={name: options[name] for name in _OPTIONS},
            precision=getattr(job, "precision", "auto"),
            director=director,
            info=job.reader.info,
            rates=job.rates,
            pace=job.reader.pace if isinstance(job.reader, RetimedReader) else Fraction(1),
            end_time=job.end_time,
            extra={name: getattr(job, name) for name in _EXTRA if hasattr(job, name)},
            chunk=self.chunk,
            weights=job.weights_hash,
            arithmetic=job.model.arithmetic,
            segments=segments,
            parameters=b"" if segments is None else segment_parameters(segments),
        )

    # -- the thread that directs

    def _note(self, marked: MarkedFrame) -> None:
        """Keep what workers need to know of a source frame."""
        frame = marked.frame
        if marked.cut and self._marks:
            self._shot_starts.append((self._marks[-1].time + frame.time) / 2)
        self._read_count += 1
        digest = frame_digest(frame.video)
        self._marks.append(Mark(frame.index, frame.time, frame.duration, marked.cut, marked.duplicate, digest))

    def direct(self, report: Callable[[], None] | None = None) -> None:
        try:
            self._direct(report or (lambda: None))
        except OutputError as error:  # no worker is left: what they have made is written first
            self.fail(error)

    def _direct(self, report: Callable[[], None]) -> None:
        empty = True
        for step in self.director.steps(iter(self._read)):
            if isinstance(step, StreamPacket):
                self._add(step)
            else:
                empty = False
                if isinstance(step, ShowStep):
                    last = step.index
                    self._add(self._show(step))
                else:
                    last = step.indices[-1]
                    self._add(self._plan(step))
                if len(self._marks) > _MANY_MARKS:
                    self._forget(last + 1)
            self._submit(report, is_end=False)
            report()
        if empty:
            raise UsageError("There is no frame between `start` and `end`: choose other times.")
        if self._open:
            self._open[-1].is_full = True
        self._submit(report, is_end=True)
        self._steps.close()

    def _show(self, step: ShowStep) -> _Item:
        """Keep a source frame until its turn comes, if there is room."""
        keeps = step.index >= self._resumed and len(self._waiting) < HELD_BYTES // self._frame_bytes
        if keeps:
            self._waiting.append(step.index)
        return _Shown(step.index, step.frame.index, step.held, step.frame.video if keeps else None)

    def _plan(self, task: SynthesisTask) -> _InPiece | _Own:
        """Decide who makes new frames."""
        if task.indices[-1] < self._resumed:
            return _Own(task.indices, None)
        loops = self._job.options["loop"] and self.director.time(task.indices[-1]) > self._marks[-1].time
        if loops or len(task.indices) > self.chunk:
            # Between the last frame and the first one: no part of the video holds both. Or frames of which each is made
            # from the one before.
            videos: Future[list[av.VideoFrame]] = Future()
            self._pool.submit(self._work, task, videos)
            return _Own(task.indices, videos)
        return self._put(task.indices, "synthesized")

    def _put(self, indices: tuple[int, ...], kind: Kind) -> _InPiece:
        """Put frames into the last piece, or begin another one."""
        first = self.director.time(indices[0])
        cuts = bisect_right(self._shot_starts, first)
        piece = self._open[-1] if self._open else None
        if piece is not None and not piece.is_full:
            span, at_cut = self._read_count - piece.read_before, cuts > piece.cuts
            piece.is_full = begins_piece(len(piece.indices), span, at_cut, self._target(indices[0]))
        if piece is None or piece.is_full:
            piece = _OpenPiece(first, first, self._read_count, cuts)
            self._open.append(piece)
        piece.indices += indices
        piece.new += len(indices) if kind == "synthesized" else 0
        piece.last, piece.cuts = self.director.time(indices[-1]), cuts
        return _InPiece(indices, kind, piece)

    def _target(self, index: int) -> int:
        """How many frames a piece that goes on with output frame `index` is to have."""
        total = self._job.frames_out
        left = None if total is None else total - index
        return self._size(self._scheduler.speed, self._scheduler.workers, left)

    def _size(self, speed: float | None, workers: int, left: int | None) -> int:
        return piece_size(speed, workers, left, self._frame_bytes)

    def _add(self, item: _Item) -> None:
        """Put an item into the queue, behind the pieces that are not submitted yet."""
        if self._open:
            self._tail.append(item)
        else:
            self._steps.put(item)

    def _submit(self, report: Callable[[], None], is_end: bool) -> None:
        """Submit the pieces that are full and whose source frames are all known, and pass on what was behind them."""
        while self._open:
            piece = self._open[0]
            piece.is_full |= self._read_count - piece.read_before >= MAX_SPAN
            if not piece.is_full:
                return
            times = [mark.time for mark in self._marks]
            needed = needed_frames(times, piece.first, piece.last, self.director.reach, is_end)
            if needed is None:
                return
            marks = [self._marks[number] for number in needed]
            clock, end = self.director.planner.clock, self._job.reader.stated_end
            assert clock is not None
            planned = Piece(self._number, piece.indices, piece.new, marks, clock.start, end)
            piece.work = self._scheduler.submit(planned, report)
            self._number += 1
            self._open.popleft()
            self._pass_on()

    def _pass_on(self) -> None:
        """Put what no longer waits for a piece into the queue."""
        while self._tail:
            item = self._tail[0]
            if isinstance(item, _InPiece) and item.piece.work is None:
                return
            self._steps.put(self._tail.popleft())

    def _forget(self, next_frame: int) -> None:
        """Drop the marks of source frames that no later piece needs."""
        first = self._open[0].first if self._open else self.director.time(next_frame)
        needed = needed_frames([mark.time for mark in self._marks], first, first, self.director.reach, True)
        if needed is not None:
            del self._marks[: needed.start]

    def _describe_piece(self, piece: Piece) -> str:
        first, last = piece.indices[0], piece.indices[-1]
        seconds = first / self._job.rates.output
        return f"The piece from frame {first} to {last} of the output (at {float(seconds):.1f} s)"

    # -- the thread that writes

    def frames(self) -> Iterator[MadeFrame | StreamPacket]:
        for item in self._steps:
            if isinstance(item, StreamPacket):
                yield item
            elif isinstance(item, _Shown):
                yield MadeFrame(item.index, self._source_frame(item), _kind(item.held))
            elif isinstance(item, _Own):
                videos = [None] * len(item.indices) if item.videos is None else item.videos.result()
                for index, video in zip(item.indices, videos, strict=True):
                    yield MadeFrame(index, video, "synthesized")
            else:
                for index in item.indices:
                    yield self._from_piece(item, index)

    def _source_frame(self, item: _Shown) -> av.VideoFrame | None:
        if item.index < self._resumed:
            return None
        if item.video is not None:
            self._waiting.popleft()
            return item.video
        self._shown = self._shown or _ShownFrames(self._job.open_reader())
        return self._shown.frame(item.number)

    def _from_piece(self, item: _InPiece, index: int) -> MadeFrame:
        """Frame `index` of a piece, once that has come back."""
        piece = item.piece
        assert piece.work is not None
        if piece.made is None:
            report, made = self._scheduler.take(piece.work)
            self.director.findings += report.findings
            piece.made = deque(made)
        part = piece.made.popleft()
        if isinstance(part, EncodedPacket):
            return MadeFrame(index, None, item.kind, part)
        return MadeFrame(index, part.to_frame(), item.kind)

    # -- both

    def fail(self, error: BaseException) -> None:
        self._steps.close(error)

    def nodes(self) -> tuple[NodeFigures, ...]:
        return self._scheduler.figures()

    def pieces(self) -> int:
        return self._scheduler.pieces

    def notes(self) -> tuple[str, ...]:
        return (*super().notes(), *self._scheduler.notes)

    def stop(self) -> None:
        super().stop()
        self._scheduler.stop()
        self._steps.stop()

    def close(self) -> None:
        super().close()
        self._scheduler.close()
        if self._shown is not None:
            self._shown.close()


class SegmentProduction(ClusterProduction):
    """The frames of a job that a cluster makes and encodes; this machine joins the packets.

    The arguments are those of `ClusterProduction`.
    """

    def _show(self, step: ShowStep) -> _Item:
        return super()._show(step) if step.index < self._resumed else self._put((step.index,), _kind(step.held))

    def _put(self, indices: tuple[int, ...], kind: Kind) -> _InPiece:
        earlier = tuple(index for index in indices if index < self._resumed)
        if earlier:
            self._add(_Own(earlier, None))
        return super()._put(indices[len(earlier) :], kind)

    def _size(self, speed: float | None, workers: int, left: int | None) -> int:
        least = SEGMENT_FRAMES
        if left is not None:  # at the end every worker is to have something to do
            least = max(SEGMENT_FRAMES // 4, min(least, left // max(1, workers)))
        return piece_size(speed, workers, left, frame_bytes=0, least=least)

    def frames(self) -> Iterator[MadeFrame | StreamPacket]:
        """The frames of pieces, with their packets; those that this machine has made come last, and it encodes them."""
        assert self._segments is not None
        own: list[int] = []
        encoder: SegmentEncoder | None = None
        for item in super().frames():
            if isinstance(item, StreamPacket) or item.video is None or item.index < self._resumed:
                yield item
            else:
                encoder = encoder or SegmentEncoder(self._segments)
                encoder.write(item.video, item.index)
                own.append(item.index)
        if encoder is not None:
            for index, packet in zip(own, encoder.finish(), strict=True):
                yield MadeFrame(index, None, "synthesized", packet)


def _kind(held: bool) -> Kind:
    return "held" if held else "untouched"


class _ShownFrames:
    """The source frames, read a second time.

    Args:
        reader: The source.
    """

    def __init__(self, reader: VideoSource) -> None:
        self._reader = reader
        self._items = iter(reader)
        self._recent: deque[Frame] = deque(maxlen=_LOOK_BACK)

    def frame(self, number: int) -> av.VideoFrame:
        """Source frame `number`: a later one than the last, or one of the `_LOOK_BACK` read last."""
        while not self._recent or self._recent[-1].index < number:
            item = next(self._items, None)
            if item is None:
                raise InputError(f"{self._reader.name} changed while it was read: convert it again.")
            if isinstance(item, Frame):
                self._recent.append(item)
        return next(frame.video for frame in reversed(self._recent) if frame.index == number)

    def close(self) -> None:
        """Close the source."""
        self._reader.close()


def _find_source(job: FrameJob) -> SourceFile:
    """The input of a job that can be spread.

    Raises:
        UsageError: if it cannot.
    """
    if job.weights_hash is None:
        raise UsageError("`cluster` needs the name of a model, which each node loads for itself.")
    if ":" in job.options["device"]:
        raise UsageError("With `cluster` a device has no number: Ray gives each worker a GPU of its own.")
    if not isinstance(job.reader, Reader | RetimedReader | ImageSource) or not isinstance(job.source, str | Path):
        raise UsageError("`cluster` reads the input several times: give a file or images.")
    path = Path(job.source).absolute()
    if not isinstance(job.reader, ImageSource) and not path.is_file():
        raise UsageError("`cluster` reads the input several times: give a file or images.")
    return SourceFile.of(str(path))
