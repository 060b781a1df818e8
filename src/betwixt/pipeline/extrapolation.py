"""Extrapolation: a video in, the same video with new frames after its last one out.

    planner ──► source frames, unchanged ──► the last two ──┬─► a model that extrapolates: frame by frame ──┬─► output
                                                            └─► any other: motion found by DIS, continued ──┘

The options are those of every conversion. As in the paper only the last two frames are used (Z. Jia et al., Neighbor
Correspondence Matching for Flow-based Video Frame Synthesis, ACM MM 2022, section 3 and appendix A.3). A cut between
them is an error: there is no motion to continue.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import IO, Unpack

from betwixt.errors import InputError, UsageError
from betwixt.media.reader import Frame, StreamPacket
from betwixt.media.source import Source
from betwixt.pipeline.director import Director, Step, SynthesisTask
from betwixt.pipeline.job import Job, Plan
from betwixt.pipeline.options import EXTRAPOLATE, ExtrapolateOptions, takes_options
from betwixt.pipeline.planner import ShowStep
from betwixt.pipeline.run import Progress, Summary, convert

MAX_FRAMES = 1000
"""The most new frames; beyond that a request is taken for a mistake."""


class ExtrapolationJob(Job):
    """A conversion that adds frames after the last one. The frame rate stays."""

    conversion = "extrapolation"
    declared = EXTRAPOLATE

    def __init__(self, source: Source, target: str | Path | IO[bytes], options: ExtrapolateOptions) -> None:
        values: ExtrapolateOptions = EXTRAPOLATE.resolve(options)
        self.new_frames, self.only = values["frames"], values["only"]
        if not 1 <= self.new_frames <= MAX_FRAMES:
            raise UsageError(f"`frames={self.new_frames}` is out of range: give 1 to {MAX_FRAMES}.")
        super().__init__(source, target, options)

    def check(self) -> None:
        """Any model will do: where it does not extrapolate, DIS does."""
        if self.only:
            self.audio = "none"
        if not self.model.extrapolates and self.model.name != "dis":
            self.notes.append(f"{self.model.name} only interpolates: the motion that dis finds is continued.")
        if self.reader.info.variable and not self.only:
            self.notes.append(
                f"The rate of {self.reader.name} varies: the output has a constant rate of "
                f"{float(self.rates.output):.6g} frames per second, so some frames between the source's are new or "
                "held. `only=True` writes just the frames after the last."
            )

    @property
    def copies_streams(self) -> bool:
        return not self.only

    @property
    def frames_out(self) -> int | None:
        source_frames = super().frames_out
        return self.new_frames if self.only else None if source_frames is None else source_frames + self.new_frames


class _ExtrapolationDirector(Director):
    """Shows the source's frames, then makes the frames after them."""

    def __init__(self, job: ExtrapolationJob, chunk: int) -> None:
        super().__init__(job, chunk)
        self._new_frames, self._only = job.new_frames, job.only

    def steps(self, items: Iterable[Frame | StreamPacket]) -> Iterator[Step]:
        empty = True
        for step in super().steps(items):
            empty = empty and not isinstance(step, (ShowStep, SynthesisTask))
            if not self._only:
                yield step
        if empty:
            return
        (left, right), clock = self._last_pair(), self.planner.clock
        assert clock is not None
        interval = right.time - left.time
        # Each new frame, and how many intervals after the last source frame it lies.
        slots = [(index, (now - right.time) / interval) for index, now in islice(clock.until(None), self._new_frames)]
        self.left_out = first = slots[0][0] if self._only else 0
        self.reach = slots[-1][1] * interval + interval, Fraction(0)
        pair = self.pair(left, right)
        # A model that extrapolates goes from frame to frame, so one task makes them all.
        size = len(slots) if self._job.model.extrapolates else self._chunk
        for k in range(0, len(slots), size):
            indices = tuple(index - first for index, _ in slots[k : k + size])
            distances = [distance for _, distance in slots[k : k + size]]
            yield SynthesisTask(indices, functools.partial(pair.extrapolate, distances))

    def _last_pair(self) -> tuple[Frame, Frame]:
        name = self._job.reader.info.name
        if self.planner.last_pair is None:
            raise InputError(f"{name} has one frame only: it takes two to find motion.")
        left, right = self.planner.last_pair
        if right.cut:
            raise InputError(
                f"{name} has a cut between its last two frames, so there is no motion to continue: "
                'choose an earlier `end`, or pass `scene_cuts="off"`.'
            )
        return left, right.frame


@takes_options(EXTRAPOLATE)
def extrapolate_video(
    source: Source,
    target: str | Path | IO[bytes],
    *,
    progress: Callable[[Progress], None] | None = None,
    **options: Unpack[ExtrapolateOptions],
) -> Summary:
    """Make the frames after the last one.

    The output holds the source's frames, untouched, and the new ones.

    Args:
        source: As for `betwixt.interpolate_video`.
        target: As for `betwixt.interpolate_video`.
        **options: See `betwixt.pipeline.options.ExtrapolateOptions`.
        progress: Called now and then with the progress so far, which cannot be changed.

    Raises:
        InputError: if the source has one frame only, or a cut between its last two.
        BetwixtError: as `betwixt.interpolate_video`.

    Example:
        >>> import betwixt
        >>> summary = betwixt.extrapolate_video("in.mp4", "out.mp4", frames=3)
        >>> summary.untouched, summary.synthesized
        (25, 3)
    """
    EXTRAPOLATE.check(options, "extrapolate_video")
    job = ExtrapolationJob(source, target, options)
    return convert(job, _ExtrapolationDirector, progress)


@takes_options(EXTRAPOLATE)
def plan_extrapolation(source: Source, target: str | Path | IO[bytes], **options: Unpack[ExtrapolateOptions]) -> Plan:
    """What `extrapolate_video` would do; writes nothing. It takes the same options."""
    EXTRAPOLATE.check(options, "plan_extrapolation")
    with ExtrapolationJob(source, target, options) as job:
        return job.describe()
