"""The main job: a video in, a smooth one out.

    reader thread ──► planner (calling thread) ──► worker pool ──► writer thread
      decode            cuts, duplicates, slots       frames          encode, copy, mux

All four work at the same time, joined by bounded queues, so memory does not grow with length. The order of the output
is fixed by the planner; workers finish in any order and the writer waits for the next in line. Whatever goes wrong
anywhere stops all of it, and nothing is left under the output's name.

The other conversions (`betwixt.effects`) are jobs of the same kind: what differs is which frames are shown and which
are made of what, which a `Director` decides.
"""

from __future__ import annotations

import functools
import inspect
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, Protocol, TypedDict

import av
import cv2

from betwixt.errors import BetwixtError, DamagedInputError, OutputError, UsageError
from betwixt.files import check_output, files_fingerprint
from betwixt.machine import available_cores, peak_memory
from betwixt.masks.store import MaskFolder, open_masks
from betwixt.media import codecs
from betwixt.media.cut_list import CutList, read_cuts
from betwixt.media.gif import MAX_RATE as MAX_GIF_RATE
from betwixt.media.images.paths import image_folder, is_image_location
from betwixt.media.journal import Journal, abort_output, journal_path
from betwixt.media.probe import VideoInfo
from betwixt.media.reader import Frame, Reader, StreamPacket
from betwixt.media.sequence import GifSink, ImageSink, ImageSource
from betwixt.media.timeline import TimeMap, frame_count, parse_rate, parse_time
from betwixt.media.writer import VideoWriter, can_keep_journal
from betwixt.models.base import Interpolator, check_interpolates, masks_unsupported
from betwixt.models.registry import DEFAULT_MODEL
from betwixt.pipeline.channel import Channel, Stopped
from betwixt.pipeline.plan import InterpolateStep, Planner, Rates, ShowStep, choose_rates
from betwixt.runtime.load import hash_weights, load_model, suggest_packages
from betwixt.runtime.synthesis import PairSynthesis, SourceFrame, Synthesizer
from betwixt.signals import defer_signals
from betwixt.version import __version__

__all__ = [
    "Director",
    "Job",
    "Options",
    "Plan",
    "Progress",
    "Summary",
    "Task",
    "convert",
    "default_output",
    "defaults",
    "interpolate_video",
    "plan_video",
    "planned",
]

FLIGHT_BYTES = 96 << 20
"""How much memory finished and half-finished frames may take between the stages."""


@dataclass
class Progress:
    """How far a conversion is.

    Attributes:
        frames_in: Source frames read.
        frames_out: Frames written.
        synthesized: New frames among them.
        cuts: Cuts found.
        total: Frames that will be written, as far as can be told; None if not.
        earlier: New frames that an earlier run, which was broken off, had made.
        kept: How many frames, from the first on, that run has left.
    """

    frames_in: int = 0
    frames_out: int = 0
    synthesized: int = 0
    earlier: int = 0
    kept: int = 0
    cuts: int = 0
    total: int | None = None


@dataclass
class Plan:
    """What a conversion will do, before it does it.

    Attributes:
        source: The input.
        rates: The rates.
        frames_out: How many frames will be written; None if the input does not say how long it is.
        output: Where to.
        encoder: FFmpeg's encoder, or what else writes the frames.
        pixel_format: In which format.
        model: The model's name.
        audio: What happens to the sound: "copy", "drop", "stretch" or "none".
        notes: What a person should know.
    """

    source: VideoInfo
    rates: Rates
    frames_out: int | None
    output: str
    encoder: str
    pixel_format: str
    model: str
    audio: str
    notes: list[str] = field(default_factory=list)


@dataclass
class Summary:
    """What a conversion did.

    Attributes:
        output: The finished file or folder.
        frames_in: Source frames read.
        frames_out: Frames written: untouched + held + synthesized.
        untouched: Source frames shown as they are.
        held: Frames that repeat a source frame because a cut follows (or the video ends) before the next one.
        synthesized: New frames.
        earlier: Those among them that an earlier run, which was broken off, had made.
        cuts: Cuts found.
        duplicates: Duplicates replaced by new frames.
        rate: The output's rate in frames a second.
        duration: The output's duration in seconds.
        seconds: How long it took.
        peak_memory: The process's peak memory in bytes.
        model: The model's name.
        encoder: What encoded the frames.
        pixel_format: In which format.
        lost: What the output's container could not hold.
        notes: What a person should know.
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
    lost: list[str]
    notes: list[str]
    damage: str | None

    @property
    def speed(self) -> float:
        """New frames a second, of this run alone."""
        return (self.synthesized - self.earlier) / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON: fractions as text and as numbers."""
        values = asdict(self)
        values["rate"] = str(self.rate)
        values["duration"] = float(self.duration)
        values["new_frames_per_second"] = self.speed
        return values


class Options(TypedDict, total=False):
    """The options that every conversion has; `interpolate_video` says what they mean and what holds without them."""

    model: str | Interpolator
    start: str | float | Fraction | None
    end: str | float | Fraction | None
    scene_cuts: str | Path
    duplicates: str
    codec: str | None
    quality: str | int | None
    pixel_format: str | None
    device: str
    weights: str | Path | None
    threads: int
    overwrite: bool
    audio: str
    interlaced: str
    input_fps: str | float | Fraction | None
    journal: bool


@dataclass(frozen=True)
class Task:
    """Output frames to be made by a worker.

    Attributes:
        indices: Their numbers, in order.
        make: Makes them; called once, in any thread.
    """

    indices: tuple[int, ...]
    make: Callable[[], list[av.VideoFrame]]


class _Sink(Protocol):
    lost: list[str]
    notes: list[str]

    def write(self, frame: av.VideoFrame, index: int) -> None: ...
    def copy(self, item: StreamPacket) -> None: ...
    def commit(self) -> None: ...
    def abort(self) -> bool: ...


class Job:
    """An input opened, an output checked, everything decided; nothing written yet.

    Attributes:
        copies: Whether the input's other streams go along.
    """

    copies = True

    def __init__(
        self,
        source: str | Path | IO[bytes],
        target: str | Path | IO[bytes],
        *,
        fps: str | float | Fraction | None,
        factor: str | float | Fraction | None,
        slow: str | float | Fraction | None,
        model: str | Interpolator,
        start: str | float | Fraction | None,
        end: str | float | Fraction | None,
        scene_cuts: str | Path,
        duplicates: str,
        loop: bool,
        codec: str | None,
        quality: str | int | None,
        pixel_format: str | None,
        device: str,
        weights: str | Path | None,
        threads: int,
        overwrite: bool,
        audio: str,
        interlaced: str,
        input_fps: str | float | Fraction | None,
        masks: str | Path | None = None,
        paths: str = "curved",
        journal: bool = True,
    ) -> None:
        self._began = time.monotonic()
        self.source, self.target = source, target
        self.fps = None if fps is None else parse_rate(fps)
        self.factor = None if factor is None else parse_rate(factor, "factor")
        self.slow = None if slow is None else parse_rate(slow, "slow-down")
        self.input_fps = None if input_fps is None else parse_rate(input_fps)
        self.start = None if start is None else parse_time(start, "start")
        self.end = None if end is None else parse_time(end, "end")
        if self.end is not None and self.end <= (self.start or 0):
            raise UsageError(f"The end ({end}) is not after the start ({start or 0}).")
        self.cuts: CutList | str = str(scene_cuts)
        if self.cuts not in ("auto", "off"):
            self.cuts = read_cuts(scene_cuts)
        _one_of(duplicates, ("keep", "fill"), "duplicates")
        _one_of(audio, ("auto", "copy", "drop", "stretch"), "audio")
        _one_of(interlaced, ("refuse", "deinterlace", "ignore"), "interlaced")
        _one_of(paths, ("curved", "straight"), "paths")
        self.paths = paths
        self.fill, self.loop = duplicates == "fill", loop
        self.codec, self.quality, self.pixel_format = codec, None if quality is None else str(quality), pixel_format
        if threads < 0:
            raise UsageError(f"The number of threads ({threads}) must not be negative.")
        self.threads = threads or available_cores()
        self.overwrite, self.interlaced = overwrite, interlaced
        self._journal, self._masks = journal, masks
        self._lacks = suggest_packages(model, device) if isinstance(model, str) else []
        self._check_target()
        self.reader: Reader | ImageSource = self._open()
        try:
            # It takes longer than all else that can be wrong.
            self.model = load_model(model, device, weights=weights) if isinstance(model, str) else model
            # What is loaded already may be anything: only a name and a file tell that it is the same again.
            self._weights = hash_weights(model, weights) if isinstance(model, str) else None
            self.check_model()
            self.masks = None if masks is None else self._open_masks(masks)
            self._decide(audio)
            if self.masks is not None:
                self.masks.check(None, self.reader.info.height, self.reader.info.width)
        except BaseException:
            self.reader.close()
            raise

    def _open_masks(self, folder: str | Path) -> MaskFolder:
        if not self.model.takes_masks:
            raise masks_unsupported(self.model.name)
        if self.loop:
            raise UsageError("--masks and --loop: no masks lead from the last frame back to the first; leave one out.")
        return open_masks(folder)

    def _check_target(self) -> None:
        target = self.target
        self.kind = "stream"
        if isinstance(target, (str, Path)):
            path = Path(target)
            self.kind = "images" if is_image_location(target, output=True) else "file"
            if self.kind == "file":
                named = isinstance(self.source, (str, Path))
                check_output(path, self.source if named else None, self.overwrite)  # type: ignore[arg-type]
                if codecs.container_of(path) == "gif":
                    self.kind = "gif"
                    if self.codec is not None or self.quality is not None or self.pixel_format is not None:
                        raise UsageError("A GIF has no --codec, --quality or --pixel-format: leave them out.")
        if self.kind == "images" and self.codec is not None:
            raise UsageError("Images have no --codec: the suffix says how they are written.")

    def _open(self) -> Reader | ImageSource:
        source = self.source
        if isinstance(source, (str, Path)) and is_image_location(source):
            return ImageSource(source, self.input_fps or Fraction(25), self.start, self.end)
        if self.input_fps is not None:
            raise UsageError("--input-fps is for folders and patterns of images: a video states its own rate.")
        return Reader(source, start=self.start, end=self.end, interlaced=self.interlaced, threads=min(self.threads, 16))

    def _decide(self, audio: str) -> None:
        info = self.reader.info
        limit = MAX_GIF_RATE if self.kind == "gif" else None
        self.rates = choose_rates(info.rate, self.fps, self.factor, self.slow, limit)
        if self.kind == "gif" and self.rates.output > MAX_GIF_RATE:
            raise UsageError(f"A GIF cannot show more than {MAX_GIF_RATE} frames a second: pass --fps {MAX_GIF_RATE}.")
        begin = info.start + (self.start or 0)
        if self.start and info.duration is not None and self.start >= info.duration:
            raise UsageError(f"The start lies behind the end of the video ({float(info.duration):.3f} s).")
        # the clock starts with the first frame, or where the user says
        self.begin = begin if self.start else None
        self.finish = None if self.end is None else info.start + self.end
        has_sound = any(s.kind == "audio" for s in info.streams)
        if audio == "auto":
            audio = "copy" if self.rates.slow == 1 else "drop"
        elif audio == "copy" and self.rates.slow != 1:
            raise UsageError("The sound cannot be copied into slow motion: pass --audio stretch or drop.")
        elif audio == "stretch" and self.rates.slow == 1:
            audio = "copy"
        self.notes: list[str] = list(self.reader.notes)
        self.notes += self._lacks
        if has_sound and audio == "drop" and self.rates.slow != 1:
            self.notes.append("The sound is left out of the slow motion; --audio stretch keeps it, at the same pitch.")
        self.audio = audio if has_sound else "none"
        if self.loop and self.end is not None:
            self.notes.append("--loop leads from the last frame before --end back to the first.")

    def check_model(self) -> None:
        """Refuse a model that cannot do the job."""
        check_interpolates(self.model)

    def planner(self) -> Planner:
        """The planner for the input's frames."""
        return Planner(
            self.rates,
            cuts=self.cuts,
            fill=self.fill,
            loop=self.loop,
            start=self.begin,
            end=self.finish,
            stated_end=self.reader.stated_end,
        )

    def director(self, chunk: int) -> Director:
        """What decides on the output's frames; `chunk` is how many a task should have at most."""
        return Director(self, chunk)

    def elapsed(self) -> float:
        """Seconds since it was begun."""
        return time.monotonic() - self._began

    def closing_notes(self) -> list[str]:
        """What a person should know of it afterwards."""
        return []

    @property
    def frames_out(self) -> int | None:
        """How many frames will be written, as far as can be told."""
        info = self.reader.info
        duration = info.duration
        if duration is None and info.frames is not None:
            duration = info.frames / info.rate
        if duration is None and self.end is None:
            return None
        stop = min(x for x in (duration, self.end) if x is not None)
        return frame_count(max(Fraction(0), stop - (self.start or 0)), self.rates.sampling)

    def make_sink(self) -> _Sink:
        """Open the output."""
        info, reader = self.reader.info, self.reader
        if self.kind == "images":
            place: Any = self.target
            return ImageSink(place, info, self.quality, self.overwrite, self._open_journal())
        if self.kind == "gif":
            return GifSink(Path(self.target), info, self.rates.output, self.overwrite)  # type: ignore[arg-type]
        zero, offset = info.start, Fraction(0)
        if isinstance(reader, Reader) and not self.start:
            # streams keep their distances; the earliest begins at 0, as players expect
            zero = reader.earliest_start
            offset = (info.start - zero) * self.rates.slow
            if offset < Fraction(1, 90000):
                offset = Fraction(0)
        elif self.start:
            zero = info.start + self.start
        target = Path(self.target) if isinstance(self.target, (str, Path)) else self.target
        writer = VideoWriter(
            target,
            info,
            self.rates.output,
            start=offset,
            codec=self.codec,
            quality=self.quality,
            pixel_format=self.pixel_format,
            threads=self.threads,
            journal=self._open_journal(),
        )
        if isinstance(reader, Reader) and self.copies:
            mode = "drop" if self.audio == "none" else self.audio
            try:
                writer.copy_streams(reader.container, reader.stream, TimeMap(zero, self.rates.slow), mode)
            except BaseException:
                writer.abort()
                raise
        return writer

    def _open_journal(self) -> Journal | None:
        """Where a run that is broken off leaves what it has done; None where none can be gone on with."""
        encoder, pixel_format = self._encoding()
        keeps = can_keep_journal(encoder, pixel_format)
        if not (self._journal and keeps and self._weights is not None and self._files()):
            return None
        if not isinstance(self.target, (str, Path)):
            return None
        place = Path(self.target)
        if self.kind == "images":
            place, single = image_folder(place)
            if single or not journal_path(place).parent.is_dir():
                return None
        return Journal(place, self.settings(), self.overwrite)

    def _files(self) -> list[Path]:
        """The files that the frames come from; none where they come through a pipe or a network."""
        if isinstance(self.reader, ImageSource):
            return self.reader.paths
        path = Path(self.source) if isinstance(self.source, (str, Path)) else None
        return [path] if path is not None and path.is_file() else []

    def settings(self) -> dict[str, Any]:
        """What the output's frames depend on, for a journal: runs alike in these make the same."""
        encoder, pixel_format = self._encoding()
        return {
            "version": __version__,
            "conversion": type(self).__module__.rpartition(".")[2],
            "source": files_fingerprint(self._files()),
            "start": self.start,
            "end": self.end,
            "input-fps": self.input_fps,
            "interlaced": self.interlaced,
            "rate": (self.rates.output, self.rates.slow),
            "scene-cuts": self.cuts if isinstance(self.cuts, str) else self.cuts.digest(),
            "duplicates": self.fill,
            "loop": self.loop,
            "model": self.model.name,
            "weights": self._weights,
            "arithmetic": self.model.arithmetic,
            "masks": None if self._masks is None else files_fingerprint(sorted(Path(self._masks).rglob("*.png"))),
            "paths": self.paths,
            "codec": encoder,
            "pixel-format": pixel_format,
            "quality": self.quality,
            "name": Path(self.target_name).name,
        }

    def describe(self) -> Plan:
        """The plan, for a person."""
        info = self.reader.info
        encoder, pixel_format = self._encoding()
        return Plan(
            source=info,
            rates=self.rates,
            frames_out=self.frames_out,
            output=self.target_name,
            encoder=encoder,
            pixel_format=pixel_format,
            model=self.model.name,
            audio=self.audio,
            notes=self.notes,
        )

    def _encoding(self) -> tuple[str, str]:
        info = self.reader.info
        if self.kind == "images":
            return "images", info.pixel_format
        if self.kind == "gif":
            return "gif", "pal8"
        container = "yuv4mpegpipe" if self.kind == "stream" else codecs.container_of(Path(self.target))  # type: ignore[arg-type]
        return codecs.resolve_encoding(self.codec, container, self.quality, self.pixel_format, info, self.threads)

    @property
    def target_name(self) -> str:
        """The output's name for messages."""
        return str(self.target) if isinstance(self.target, (str, Path)) else "standard output"


class Director:
    """Turns the stream of frames into what is shown and what is made: here, one frame for each slot between two.

    Attributes:
        planner: What it has seen of the stream.
        abandoned: Set when nobody waits for the frames any more: a long task should look at it.
    """

    def __init__(self, job: Job, chunk: int) -> None:
        self.planner = job.planner()
        self.abandoned = threading.Event()
        self._job, self._chunk = job, chunk
        self._synthesizer: Synthesizer | None = None
        self._sources: dict[int, SourceFrame] = {}

    def steps(self, items: Iterable[Frame | StreamPacket]) -> Iterator[ShowStep | Task | StreamPacket]:
        """The output in order; packets of other streams pass through in place.

        Where paths are curved, an interval waits until the one after it is known, or that there is none.
        """
        waits = self._job.paths == "curved" and self._job.model.uses_neighbours
        last: tuple[InterpolateStep, PairSynthesis] | None = None  # what waits, and what comes behind it
        held: list[ShowStep | Task | StreamPacket] = []
        for step in self.planner.steps(items):
            if isinstance(step, InterpolateStep):
                work = self.pair(step.left, step.right)
                if last is not None and last[0].right.index == step.left.index:
                    work.link_previous(last[1], float(last[0].length), float(step.length))
                yield from held
                last, held = (step, work), list(self._tasks(step, work))
            else:
                held.append(step)
                if last is not None and isinstance(step, ShowStep):
                    # Where another frame than the interval's is shown, none begins where it ends.
                    last = last if step.frame.index in (last[0].left.index, last[0].right.index) else None
            if last is None or not waits:
                yield from held
                last, held = None, []
        yield from held

    def _tasks(self, between: InterpolateStep, work: PairSynthesis) -> Iterator[Task]:
        for k in range(0, len(between.slots), self._chunk):
            part = between.slots[k : k + self._chunk]
            yield Task(tuple(i for i, _ in part), functools.partial(work.synthesize, [t for _, t in part]))

    def pair(self, left: Frame, right: Frame, keep: Iterable[Frame] = ()) -> PairSynthesis:
        """Two frames, to be prepared once; of other frames only those to `keep` stay in memory."""
        if self._synthesizer is None:
            self._synthesizer = Synthesizer(self._job.model, left.video, self._job.reader.info.colour)
        synthesizer = self._synthesizer
        wanted = [left, right, *keep]
        # a frame serves as the right of one pair and the left of the next
        self._sources = {f.index: self._sources.get(f.index) or synthesizer.source(f.video) for f in wanted}
        masks = self._job.masks
        find = None if masks is None else functools.partial(masks.pair, left.index, right.index, *synthesizer.size)
        return PairSynthesis(synthesizer, self._sources[left.index], self._sources[right.index], find)


def defaults() -> dict[str, Any]:
    """A job's options as `interpolate_video` has them if they are not given."""
    keywords = inspect.signature(interpolate_video).parameters.values()
    return {p.name: p.default for p in keywords if p.kind is p.KEYWORD_ONLY and p.name != "progress"}


def plan_video(source: str | Path | IO[bytes], target: str | Path | IO[bytes], **options: Any) -> Plan:
    """What `interpolate_video` would do with the same arguments; writes nothing.

    Raises:
        BetwixtError: whatever can be told to go wrong beforehand.
    """
    return planned(Job(source, target, **(defaults() | options)))


def planned(job: Job) -> Plan:
    """What a job would do; closes its input."""
    try:
        return job.describe()
    finally:
        job.reader.close()


def interpolate_video(
    source: str | Path | IO[bytes],
    target: str | Path | IO[bytes],
    *,
    fps: str | float | Fraction | None = None,
    factor: str | float | Fraction | None = None,
    slow: str | float | Fraction | None = None,
    model: str | Interpolator = DEFAULT_MODEL,
    start: str | float | Fraction | None = None,
    end: str | float | Fraction | None = None,
    scene_cuts: str | Path = "auto",
    duplicates: str = "keep",
    loop: bool = False,
    codec: str | None = None,
    quality: str | int | None = None,
    pixel_format: str | None = None,
    device: str = "auto",
    weights: str | Path | None = None,
    threads: int = 0,
    overwrite: bool = False,
    audio: str = "auto",
    interlaced: str = "refuse",
    input_fps: str | float | Fraction | None = None,
    masks: str | Path | None = None,
    paths: str = "curved",
    journal: bool = True,
    progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Make a video smooth: interpolate it to another frame rate.

    Every source frame that has a place in the output is passed on untouched; audio, subtitles, chapters and tags are
    copied; duration and sync stay as they are; nothing is blended across a scene cut.

    Args:
        source: A video in any container FFmpeg reads, a folder or pattern of images, or an open binary file.
        target: A video file (the suffix says which container), a GIF, a folder or pattern of images, or an open
            binary file, to which y4m is written.
        fps: The output's rate in frames a second: 60, "60000/1001", "59.94".
        factor: Or the multiple of the source's rate. Without either the rate doubles.
        slow: Play this many times slower, at the source's rate unless `fps` or `factor` say otherwise.
        model: A model's name (`betwixt models`) or a loaded model.
        start: Begin here, in seconds or "HH:MM:SS.mmm" from the video's beginning.
        end: Stop here, likewise.
        scene_cuts: "auto", "off", or a file with a cut (frame number or time) in each line.
        duplicates: "keep", or "fill" to replace repeated frames by interpolated ones.
        loop: Lead from the last frame back to the first, for clips that repeat.
        codec: h264, hevc, av1, vp9, prores, ffv1 or any of FFmpeg's encoders.
        quality: A number on the encoder's own scale (lower is better), or "lossless".
        pixel_format: What to encode in; by default what the source has, or the nearest that the encoder takes.
        device: Where the model runs: "auto", "cpu", "cuda" or "cuda:1".
        weights: A file of weights, for a network: safetensors, or the authors' own.
        threads: How many threads to use; 0 for one a core.
        overwrite: Replace an existing output.
        audio: "copy", "drop" or "stretch" (slow motion); "auto" copies, and drops in slow motion.
        interlaced: What to do with interlaced video: "refuse", "deinterlace" or "ignore".
        input_fps: The rate of a folder of images; 25 if not given.
        masks: A folder of masks (`betwixt masks`, or one map a frame), for a model that takes them; by default it finds
            its own.
        paths: "curved" lets things move as the frames before and after say, for models that heed them (`dis`,
            `compact` and `hybrid`); "straight" looks at no other frames than the two.
        journal: Keep the packets of the video a second time until it is whole, in a hidden file beside it, so that the
            same call goes on where an earlier one was broken off (`media.journal`). Only from file to file, with a
            model that is named.
        progress: Called now and then with how far it is, from another thread.

    Returns:
        What was done, in figures.

    Raises:
        UsageError: for arguments that are wrong.
        InputError: if the source cannot be used.
        OutputError: if the target cannot be written.
        DamagedInputError: if the source ends in damage; what could be read has been written. Its `summary` says what.

    Example:
        >>> import betwixt
        >>> summary = betwixt.interpolate_video("in.mp4", "out.mp4", fps=50)
        >>> summary.frames_in, summary.frames_out, str(summary.rate)
        (25, 50, '50')
    """
    job = Job(
        source, target, fps=fps, factor=factor, slow=slow, model=model, start=start, end=end, scene_cuts=scene_cuts,
        duplicates=duplicates, loop=loop, codec=codec, quality=quality, pixel_format=pixel_format, device=device,
        weights=weights, threads=threads, overwrite=overwrite, audio=audio, interlaced=interlaced, input_fps=input_fps,
        masks=masks, paths=paths, journal=journal,
    )  # fmt: skip
    return convert(job, progress)


def convert(job: Job, progress: Callable[[Progress], None] | None = None) -> Summary:
    """Do a job.

    Raises:
        BetwixtError: as `interpolate_video`.
    """
    try:
        sink: _Sink | None = None
        try:
            with defer_signals():
                sink = job.make_sink()
            summary = Run(job, sink, progress).run()
        except BaseException as error:
            if sink is not None and (told := abort_output(sink.abort, error)) is not error:
                raise told from None
            raise
    finally:
        job.reader.close()
    if summary.damage is not None:
        damaged = DamagedInputError(
            f"{job.reader.name} is damaged: {summary.damage}. "
            f"What could be read was written to {job.target_name}: {summary.frames_out} frames."
        )
        damaged.summary = summary
        raise damaged
    return summary


@dataclass(frozen=True)
class _Shown:
    index: int
    video: av.VideoFrame
    held: bool


@dataclass(frozen=True)
class _Repeated:
    """Made frames that an earlier run has encoded."""

    indices: tuple[int, ...]


@dataclass(frozen=True)
class _Made:
    indices: tuple[int, ...]
    videos: Future[list[av.VideoFrame]]


class Run:
    """One conversion in progress."""

    def __init__(self, job: Job, sink: _Sink, progress: Callable[[Progress], None] | None) -> None:
        self._job, self._sink, self._report = job, sink, progress
        info = job.reader.info
        self._progress = Progress(total=job.frames_out)
        pixels = info.width * info.height
        self._frame_bytes = max(1, pixels * (3 if info.depth <= 8 else 6) // 2)
        self._window = max(2, min(64, FLIGHT_BYTES // self._frame_bytes))
        self._chunk = max(1, min(4, self._window // (2 * job.threads)))
        self._read: Channel[Frame | StreamPacket] = Channel(max(2, self._window // 4))
        self._write: Channel[_Shown | _Made | _Repeated | StreamPacket] = Channel(self._window)
        self._counts = {"shown": 0, "held": 0, "made": 0}
        # What an earlier run has encoded already, the first so many frames, is written again as it is.
        self._earlier = sink if isinstance(sink, (VideoWriter, ImageSink)) and sink.resumed_frames else None
        self._done = self._progress.kept = 0 if self._earlier is None else self._earlier.resumed_frames
        self._failure: BaseException | None = None
        self._director = job.director(self._chunk)

    def run(self) -> Summary:
        job = self._job
        planner = self._director.planner
        reader = threading.Thread(target=self._read_all, name="betwixt-read", daemon=True)
        writer = threading.Thread(target=self._write_all, name="betwixt-write", daemon=True)
        # one pair a thread: OpenCV's own threads would split single pairs, and make results depend on their number
        opencv_threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        job.model.set_concurrency(job.threads)
        pool = ThreadPoolExecutor(job.threads, thread_name_prefix="betwixt-make")
        done = False
        try:
            with defer_signals():
                reader.start()
                writer.start()
            self._direct(self._director, pool)
            self._write.close()
            while writer.is_alive():
                writer.join(0.2)  # in turns, so that Ctrl-C gets through
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
                    self._director.abandoned.set()
                    self._write.stop()
                pool.shutdown(wait=True)
                for thread in (reader, writer):
                    if thread.ident is not None:  # an interrupt can come before they are started
                        thread.join()
                cv2.setNumThreads(opencv_threads)
                job.model.set_concurrency(1)
        if planner.frames == 0:
            raise OutputError("There is no frame between --start and --end: nothing was written.")
        self._sink.commit()
        shown, held, made = (self._counts[key] for key in ("shown", "held", "made"))
        total = shown + held + made
        encoder, pixel_format = job._encoding()
        summary = Summary(
            output=job.target_name,
            frames_in=planner.frames,
            frames_out=total,
            untouched=shown,
            held=held,
            synthesized=made,
            earlier=self._progress.earlier,
            cuts=planner.cuts_found,
            duplicates=planner.duplicates_filled,
            rate=job.rates.output,
            duration=total / job.rates.output,
            seconds=job.elapsed(),
            peak_memory=peak_memory(),
            model=job.model.name,
            encoder=encoder,
            pixel_format=pixel_format,
            lost=list(self._sink.lost),
            notes=[
                *([] if not self._done else [f"{self._done} frames are those of an earlier run that was broken off."]),
                *job.notes,
                *(n for n in job.reader.notes if n not in job.notes),
                *self._sink.notes,
                *job.closing_notes(),
            ],
            damage=job.reader.damage,
        )
        self._tell(planner)
        return summary

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

    def _direct(self, director: Director, pool: ThreadPoolExecutor) -> None:
        for step in director.steps(iter(self._read)):
            if isinstance(step, StreamPacket):
                self._write.put(step, 0)
                continue
            if isinstance(step, ShowStep):
                self._write.put(_Shown(step.index, step.frame.video, step.held), 1)
            elif step.indices[-1] < self._done:
                self._write.put(_Repeated(step.indices), len(step.indices))
            else:
                # room first: what is asked for but not yet written must stay bounded too
                ready: Future[list[av.VideoFrame]] = Future()
                self._write.put(_Made(step.indices, ready), len(step.indices))
                pool.submit(self._fulfil, ready, step.make)
            self._tell(director.planner)

    def _write_all(self) -> None:
        try:
            for item in self._write:
                if isinstance(item, StreamPacket):
                    self._sink.copy(item)
                elif isinstance(item, _Shown):
                    self._encode(item.video, item.index)
                    self._counts["held" if item.held else "shown"] += 1
                elif isinstance(item, _Repeated):
                    assert self._earlier is not None
                    for _ in item.indices:
                        self._earlier.write_from_journal()
                        self._counts["made"] += 1
                        self._progress.earlier += 1
                else:
                    for index, video in zip(item.indices, item.videos.result(), strict=True):
                        self._encode(video, index)
                        self._counts["made"] += 1
        except Stopped:
            pass
        except BaseException as error:
            self._failure = error
            self._write.stop()

    def _encode(self, video: av.VideoFrame, index: int) -> None:
        """Write frame `index`: the one given, or what an earlier run has encoded of it."""
        if self._earlier is not None and index < self._done:
            self._earlier.write_from_journal()
        else:
            self._sink.write(video, index)

    def _fulfil(self, ready: Future[list[av.VideoFrame]], make: Callable[[], list[av.VideoFrame]]) -> None:
        try:
            if self._director.abandoned.is_set():
                raise Stopped
            ready.set_result(make())
        except BaseException as error:
            ready.set_exception(error)

    def _tell(self, planner: Planner) -> None:
        if self._report is None:
            return
        p = self._progress
        p.frames_in, p.cuts = planner.frames, planner.cuts_found
        p.synthesized = self._counts["made"]
        p.frames_out = sum(self._counts.values())
        self._report(p)


def default_output(source: str) -> str:
    """A name for the output beside the input's."""
    path = Path(source)
    return f"{path.stem}-smooth{path.suffix or '.mp4'}"


def _one_of(value: str, choices: tuple[str, ...], what: str) -> None:
    if value not in choices:
        raise UsageError(f"--{what} is '{value}': choose {', '.join(choices[:-1])} or {choices[-1]}.")
