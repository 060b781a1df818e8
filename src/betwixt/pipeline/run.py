"""Runs a prepared conversion: a production makes its frames, a writer thread encodes, copies and muxes them.

An error anywhere stops all of it, and nothing is left under the output's name.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any

import av

from betwixt.errors import DamagedInputError
from betwixt.machine import peak_memory
from betwixt.media.journal import abort_output
from betwixt.media.reader import StreamPacket
from betwixt.media.writer import VideoWriter
from betwixt.pipeline.director import Director
from betwixt.pipeline.job import Job
from betwixt.pipeline.production import MadeFrame, NodeFigures, Production, run_production
from betwixt.pipeline.targets import Sink
from betwixt.signals import defer_signals
from betwixt.units import format_count


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
        nodes: What each machine of a cluster has done so far.
        pieces: How many pieces the cluster is working on.
        frame: The latest frame that was encoded here, to be shown; None before the first.
    """

    frames_in: int = 0
    frames_out: int = 0
    synthesized: int = 0
    earlier: int = 0
    kept: int = 0
    cuts: int = 0
    total: int | None = None
    nodes: tuple[NodeFigures, ...] = ()
    pieces: int = 0
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
        nodes: What each machine of a cluster has done; empty without a cluster.
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
    nodes: tuple[NodeFigures, ...] = ()

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
    director: type[Director],
    progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Run a job and close it.

    Args:
        job: The prepared conversion.
        director: Decides on each frame of the output.
        progress: Called now and then with the progress so far, which cannot be changed.

    Raises:
        DamagedInputError: if the input is damaged; what could be read has been written.
        BetwixtError: if the conversion cannot be completed; nothing is left under the output's name.
    """
    with job:
        sink: Sink | None = None
        try:
            with defer_signals():
                sink = job.open_sink()
            summary = _Run(job, sink, director, progress).run()
        except BaseException as error:
            if sink is not None and (raised := abort_output(sink.abort, error)) is not error:
                raise raised from None
            raise
    if summary.damage is not None:
        damaged = DamagedInputError(
            f"{job.reader.name} is damaged: {summary.damage}. "
            f"What could be read was written to {job.target.name}: "
            f"{format_count(summary.frames_out, 'frame')}."
        )
        damaged.summary = summary
        raise damaged
    return summary


class _Run:
    """One conversion in progress."""

    def __init__(
        self,
        job: Job,
        sink: Sink,
        director: type[Director],
        report: Callable[[Progress], None] | None,
    ) -> None:
        self._job, self._sink, self._report = job, sink, report
        produce = Production if job.cluster is None else job.cluster.produce
        self._production = produce(job, director, sink.resumed_frames)
        self._marker = self._production.director.planner.marker
        self._untouched = self._held = self._synthesized = self._earlier = 0
        self._latest: av.VideoFrame | None = None

    def run(self) -> Summary:
        run_production(self._production, self._write, self._report_progress)
        self._sink.commit()
        self._report_progress()
        return self._summary()

    def _summary(self) -> Summary:
        job, marker = self._job, self._marker
        encoder, pixel_format = job.encoding
        resumed = f"{self._sink.resumed_frames} frames are those of an earlier run that was interrupted."
        return Summary(
            output=job.target.name,
            frames_in=marker.frames,
            frames_out=self._frames_out,
            untouched=self._untouched,
            held=self._held,
            synthesized=self._synthesized,
            earlier=self._earlier,
            cuts=len(marker.cut_times),
            duplicates=marker.duplicates_filled,
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
                *self._production.notes(),
                *self._sink.notes,
            ),
            damage=job.reader.damage,
            nodes=self._production.nodes(),
        )

    @property
    def _frames_out(self) -> int:
        return self._untouched + self._held + self._synthesized

    def _write(self, frame: MadeFrame | StreamPacket) -> None:
        """Write a frame: from the journal if an interrupted run has encoded it, or as another machine has."""
        if isinstance(frame, StreamPacket):
            self._sink.copy(frame)
            return
        if frame.index < self._sink.resumed_frames:
            self._sink.write_from_journal()
            self._earlier += frame.kind == "synthesized"
        elif frame.packet is not None:
            assert isinstance(self._sink, VideoWriter)
            self._sink.write_encoded(frame.packet)
        else:
            assert frame.video is not None
            self._sink.write(frame.video, frame.index)
            self._latest = frame.video
        self._untouched += frame.kind == "untouched"
        self._held += frame.kind == "held"
        self._synthesized += frame.kind == "synthesized"

    def _report_progress(self) -> None:
        if self._report is None:
            return
        self._report(
            Progress(
                frames_in=self._marker.frames,
                frames_out=self._frames_out,
                synthesized=self._synthesized,
                earlier=self._earlier,
                kept=self._sink.resumed_frames,
                cuts=len(self._marker.cut_times),
                total=self._job.frames_out,
                nodes=self._production.nodes(),
                pieces=self._production.pieces(),
                frame=self._latest,
            )
        )
