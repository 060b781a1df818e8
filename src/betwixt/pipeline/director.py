"""Turns the stream of source frames into the output: frames to show, and tasks that synthesize frames.

    frames ──► planner ──► steps ──► tasks, each with up to `chunk` frames of one interval

A model that uses the neighbouring frames needs to know the interval after one before that one's frames are made; a task
is held back until then. Whether motion is continued at a cut is decided before there is a task, so that the summary
also counts the frames of an interrupted run rightly.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

from betwixt.media.reader import Frame, StreamPacket
from betwixt.pipeline.frame_job import FrameJob
from betwixt.pipeline.planner import ExtrapolateStep, InterpolateStep, ShowStep
from betwixt.runtime.synthesis import PairSynthesis, SourceFrame, Synthesizer
from betwixt.runtime.threads import one_frame_per_thread


@dataclass(frozen=True)
class SynthesisTask:
    """Output frames for a worker to synthesize.

    Attributes:
        indices: Their numbers, in order.
        synthesize: Makes them; called once, in any thread.
    """

    indices: tuple[int, ...]
    synthesize: Callable[[], list[av.VideoFrame]]


Step = ShowStep | SynthesisTask | StreamPacket


class Director:
    """Decides on each output frame. This one interpolates a frame for each slot between two source frames.

    Args:
        job: What is to be made.
        chunk: How many frames a task has at most.

    Attributes:
        planner: Counts the frames, cuts and duplicates seen so far.
        cancelled: Set when the frames are no longer needed; a long task should check it.
        reach: How many seconds before and after a new frame the source frames lie that it depends on, besides the two
            around it and their neighbours.
        findings: What came out while frames were made: of how many moments a blurred frame is the mean.
        left_out: How many frames of the planner's clock lie before frame 0 of the output.
    """

    def __init__(self, job: FrameJob, chunk: int) -> None:
        self.planner = job.make_planner()
        self.cancelled = threading.Event()
        self.findings: list[Any] = []
        self.reach = Fraction(0), Fraction(0)
        self.left_out = 0
        self._job, self._chunk = job, chunk
        self._synthesizer: Synthesizer | None = None
        self._sources: dict[int, SourceFrame] = {}
        self._continued = 0  # frames next to a cut that continue a motion

    def steps(self, items: Iterable[Frame | StreamPacket]) -> Iterator[Step]:
        """The output, in order; packets of other streams pass through in place."""
        waits = self._job.curved and self._job.model.uses_neighbours
        last: tuple[InterpolateStep, PairSynthesis] | None = None  # the interval whose tasks are held back
        held: list[Step] = []  # its tasks, and the steps after them
        for step in self.planner.steps(items):
            if isinstance(step, InterpolateStep):
                pair = self.pair(step.left, step.right, around=step.around)
                if last is not None and last[0].right.index == step.left.index:
                    pair.link_previous(last[1], float(last[0].length), float(step.length))
                yield from held
                last, held = (step, pair), list(self._tasks(step.slots, pair.synthesize))
            elif isinstance(step, ExtrapolateStep):
                held += self._continue(step)
                last = None
            else:
                held.append(step)
                # After a frame that is not one of the interval's two, no interval begins where this one ends.
                if last is not None and isinstance(step, ShowStep):
                    last = last if step.frame.index in (last[0].left.index, last[0].right.index) else None
            if last is None or not waits:
                yield from held
                last, held = None, []
        yield from held

    def _continue(self, step: ExtrapolateStep) -> Iterator[ShowStep | SynthesisTask]:
        """Frames next to a cut: its nearest frame, moved on if the motion is reliable, otherwise as it is."""
        pair = self.pair(step.first, step.second, around=step.around)
        if pair.can_continue():
            self._continued += len(step.slots)
            yield from self._tasks(step.slots, pair.move_second)
        else:
            for index, _ in step.slots:
                yield ShowStep(index, step.second, held=True)

    def _tasks(
        self, slots: Sequence[tuple[int, Fraction]], synthesize: Callable[[list[Fraction]], list[av.VideoFrame]]
    ) -> Iterator[SynthesisTask]:
        for k in range(0, len(slots), self._chunk):
            part = slots[k : k + self._chunk]
            times = [time for _, time in part]
            yield SynthesisTask(tuple(index for index, _ in part), functools.partial(synthesize, times))

    def pair(
        self, left: Frame, right: Frame, keep: Iterable[Frame] = (), around: Sequence[Frame] = ()
    ) -> PairSynthesis:
        """Synthesis between two frames. Of the frames used before, only those in `keep` and `around` stay in memory.

        Args:
            left: The first frame.
            right: The second frame.
            keep: Frames that other pairs need.
            around: The two and the frames of their shot around them, in order of time, in which overlays are found;
                empty to find none.
        """
        if self._synthesizer is None:
            self._synthesizer = Synthesizer(self._job.model, left.video, self._job.reader.info.colour)
        synthesizer = self._synthesizer
        # A frame serves as the right one of a pair and as the left one of the next.
        frames = [left, right, *keep, *around]
        self._sources = {f.index: self._sources.get(f.index) or synthesizer.source(f.video) for f in frames}
        masks = None
        if self._job.masks is not None:
            masks = functools.partial(self._job.masks.pair, left.index, right.index, *synthesizer.size)
        return PairSynthesis(
            synthesizer,
            self._sources[left.index],
            self._sources[right.index],
            masks,
            [self._sources[frame.index] for frame in around],
        )

    def time(self, index: int) -> Fraction:
        """The time of frame `index` of the output on the source's clock, in seconds, once the first frame is read."""
        clock = self.planner.clock
        assert clock is not None
        return clock.start + (index + self.left_out) / clock.rate

    def kernels(self, threads: int) -> contextlib.AbstractContextManager[None]:
        """The settings of libraries under which `threads` threads make frames."""
        return one_frame_per_thread(self._job.model, threads)

    def closing_notes(self) -> list[str]:
        """Remarks for the user, once all frames are made."""
        notes = self.repeat_notes()
        if self._continued:
            verb = "continues" if self._continued == 1 else "continue"
            notes.append(f"Next to cuts, {self._continued} of the new frames {verb} the motion that dis finds.")
        return notes

    def repeat_notes(self) -> list[str]:
        """A remark on source frames that repeat the one before, unless they are replaced."""
        marker = self.planner.marker
        note = None if marker.fills else marker.repeats.note(self._job.reader.info.rate)
        return [] if note is None else [note]
