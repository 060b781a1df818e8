"""The frames after the last: a video in, the same video out with some more frames at its end.

    planner ──► source frames as they are ──► the last two ──► model that extrapolates: frame by frame    ─┐
                                                         └──► any other: the motion of dis goes on        ─┴─► output

The pipeline is that of the main job: the same options, everything else in the file copied, nothing half-written. Only
two frames are looked at, as in the paper (Z. Jia et al., Neighbor Correspondence Matching for Flow-based Video Frame
Synthesis, ACM MM 2022, section 3 and appendix A.3): no frame sequence to warm up. A cut between those two leaves
nothing to go on with, which is an error, not a guess.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, Unpack

from betwixt.errors import InputError, UsageError
from betwixt.media.reader import Frame, StreamPacket
from betwixt.models.registry import EFFECTS_MODEL
from betwixt.pipeline.interpolate import (
    Director,
    Job,
    Options,
    Plan,
    Progress,
    Summary,
    Task,
    convert,
    defaults,
    planned,
)
from betwixt.pipeline.plan import ShowStep, Tail

__all__ = ["MOST_FRAMES", "extrapolate_video", "plan_extrapolation"]

MOST_FRAMES = 1000
"""As many frames as are taken for meant: what is made after one second of guessing has little to do with the video."""


class _Job(Job):
    def __init__(self, source: Any, target: Any, frames: int, only: bool, **options: Any) -> None:
        if not 1 <= frames <= MOST_FRAMES:
            raise UsageError(f"--frames {frames} is out of range: give 1 to {MOST_FRAMES}.")
        self.more, self.only = frames, only
        self.copies = not only
        super().__init__(source, target, **(defaults() | {"factor": 1, "model": EFFECTS_MODEL} | options))
        if only:
            self.audio = "none"
        if not self.model.extrapolates and self.model.name != "dis":
            self.notes.append(f"{self.model.name} only interpolates: the motion that dis finds is continued.")
        if self.reader.info.variable and not only:
            self.notes.append(
                f"The rate of {self.reader.name} varies: the output has {float(self.rates.output):.6g} frames a second "
                "throughout, some of them new or held between the source's. --only makes those after the last alone."
            )

    def check_model(self) -> None:
        """Any model will do."""

    def settings(self) -> dict[str, Any]:
        """How many frames as well."""
        return super().settings() | {"frames": self.more, "only": self.only}

    def director(self, chunk: int) -> Director:
        """Shows the source, then makes the frames after it."""
        return _Director(self, chunk, self.more, self.only)

    @property
    def frames_out(self) -> int | None:
        """The source's frames and the new ones."""
        shown = super().frames_out
        return self.more if self.only else None if shown is None else shown + self.more


class _Director(Director):
    def __init__(self, job: Job, chunk: int, more: int, only: bool) -> None:
        super().__init__(job, chunk)
        self._more, self._only = more, only

    def steps(self, items: Iterable[Frame | StreamPacket]) -> Iterator[ShowStep | Task | StreamPacket]:
        """The source as it is, then the frames after it."""
        count = 0
        for step in super().steps(items):
            if isinstance(step, (ShowStep, Task)):
                count = (step.index if isinstance(step, ShowStep) else step.indices[-1]) + 1
            if not self._only:
                yield step
        if count == 0:
            return
        tail, clock = self._end(), self.planner.clock
        assert clock is not None
        interval = tail.last.time - tail.first.time
        slots = [(index, (now - tail.last.time) / interval) for index, now in islice(clock.onwards(), self._more)]
        work = self.pair(tail.first, tail.last)
        first = slots[0][0] if self._only else 0
        size = len(slots) if self._job.model.extrapolates else self._chunk
        for k in range(0, len(slots), size):
            part = slots[k : k + size]
            steps = [s for _, s in part]
            yield Task(tuple(index - first for index, _ in part), functools.partial(work.extrapolate, steps))

    def _end(self) -> Tail:
        name, tail = self._job.reader.name, self.planner.tail
        if tail is None:
            raise InputError(f"{name} has one frame only: it takes two to see how things move.")
        if tail.cut:
            raise InputError(
                f"{name} has a cut between its last two frames, so there is no motion to go on with: "
                "choose an earlier --end, or pass --scene-cuts off."
            )
        return tail


def extrapolate_video(
    source: str | Path | IO[bytes],
    target: str | Path | IO[bytes],
    *,
    frames: int = 1,
    only: bool = False,
    progress: Callable[[Progress], None] | None = None,
    **options: Unpack[Options],
) -> Summary:
    """Make the frames after the last.

    Args:
        source: As `betwixt.interpolate_video`.
        target: Likewise. It holds the source's frames, untouched, and the new ones.
        frames: How many, 1 to 1000.
        only: Whether the output holds the new frames alone, without sound.
        progress: Called now and then with how far it is.
        **options: As `betwixt.interpolate_video`; the model is `compact` unless another is given.

    Raises:
        InputError: if the source has one frame only, or a cut between its last two.
        BetwixtError: as `betwixt.interpolate_video`.

    Example:
        >>> from betwixt.pipeline.extrapolation import extrapolate_video
        >>> summary = extrapolate_video("in.mp4", "out.mp4", frames=3)
        >>> summary.untouched, summary.synthesized
        (25, 3)
    """
    return convert(_Job(source, target, frames, only, **options), progress)


def plan_extrapolation(
    source: str | Path | IO[bytes],
    target: str | Path | IO[bytes],
    *,
    frames: int = 1,
    only: bool = False,
    **options: Unpack[Options],
) -> Plan:
    """What `extrapolate_video` would do; writes nothing."""
    return planned(_Job(source, target, frames, only, **options))
