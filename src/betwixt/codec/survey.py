"""The first pass over the source: the exact time of every frame, and the shots."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from betwixt.errors import InputError
from betwixt.media.cut_list import CutList
from betwixt.media.reader import Reader, StreamPacket
from betwixt.media.scenes import CutDetector, make_thumbnail
from betwixt.media.source import VideoSource, open_source

_MIN_DISTANCE = Fraction(2, 1000)
"""The smallest distance of two frames, in seconds: Matroska counts whole milliseconds."""

_MAX_TICKS_PER_SECOND = 1 << 31


@dataclass(frozen=True)
class ReopenableSource:
    """A source that is read several times: a video, or a folder or pattern of images."""

    location: str | Path
    input_fps: Fraction | None
    stream: int | None
    interlaced: str
    threads: int

    def open(self) -> VideoSource:
        """Open the source at its beginning."""
        return open_source(
            self.location,
            input_fps=self.input_fps,
            stream=self.stream,
            interlaced=self.interlaced,
            threads=min(self.threads, 16),
        )


@dataclass(frozen=True)
class Survey:
    """The times of a source's frames, and its shots."""

    rate: Fraction  # frames per second: the constant rate, or the mean of a variable one
    variable: bool  # whether the frame rate is variable
    tick: Fraction  # the unit of times, in seconds
    ticks: tuple[int, ...]  # the time of each frame, in ticks after frame 0
    last: int  # the duration of the last frame, in ticks
    start: Fraction  # the time of frame 0 after the earliest stream's beginning, in seconds
    shots: tuple[int, ...]  # the numbers of the frames that begin a shot
    notes: tuple[str, ...]  # notices of the reader

    def common_unit(self, sent: Sequence[bool]) -> int:
        """The largest number of ticks of which the times of all sent frames are multiples."""
        return math.gcd(*(tick for tick, is_sent in zip(self.ticks, sent, strict=True) if is_sent))


def survey_source(
    source: ReopenableSource, scene_cuts: CutList | str, progress: Callable[[int, int | None], None]
) -> Survey:
    """Read the whole source once; `scene_cuts` is a list of cuts, "auto" to detect them, or "off".

    Raises:
        InputError: if the source is damaged, has a single frame, or has times that cannot be kept.
    """
    times: list[Fraction] = []
    cuts: list[bool] = []
    last_duration = Fraction(1)
    detector = CutDetector() if scene_cuts == "auto" else None
    reader = source.open()
    try:
        info = reader.info
        for item in reader:
            if isinstance(item, StreamPacket):
                continue
            if detector is not None:
                cuts += detector.push(make_thumbnail(item.video))
            elif isinstance(scene_cuts, CutList):
                cuts.append(bool(times) and scene_cuts.contains(item.index, item.time, times[-1]))
            times.append(item.time)
            last_duration = item.duration
            progress(len(times), info.frames)
        if reader.damage:
            raise InputError(f"{reader.name} is damaged: {reader.damage}. Repair it first (ffmpeg -i IN -c copy OUT).")
        notes = tuple(reader.notes)
        stated_end = reader.stated_end
        earliest = reader.earliest_start if isinstance(reader, Reader) else info.start
    finally:
        reader.close()
    if detector is not None:
        cuts += detector.flush()
    if len(times) < 2:
        raise InputError(f"{info.name} has a single frame: there is nothing between frames to leave out.")
    if stated_end is not None and times[-1] < stated_end < times[-1] + last_duration + 1:
        last_duration = stated_end - times[-1]
    start = times[0] - earliest
    times = [time - times[0] for time in times]
    tick = 1 / info.rate
    variable = info.variable or any((time / tick).denominator > 1 for time in times)
    if variable:
        tick = Fraction(1, math.lcm(*(time.denominator for time in times), last_duration.denominator))
        if tick.denominator >= _MAX_TICKS_PER_SECOND:
            raise InputError(f"{info.name} has times too fine to be kept: convert it to a constant rate first.")
    distance = min(b - a for a, b in itertools.pairwise(times))
    if distance < _MIN_DISTANCE:
        raise InputError(
            f"{info.name} has frames {float(1000 * distance):.2g} ms apart, and Matroska counts whole milliseconds: "
            "lower its frame rate first."
        )
    return Survey(
        rate=info.rate,
        variable=variable,
        tick=tick,
        ticks=tuple(int(time / tick) for time in times),
        last=max(1, round(last_duration / tick)),
        start=start if start >= Fraction(1, 1000) else Fraction(0),
        shots=(0, *(number for number, is_cut in enumerate(cuts) if is_cut and number)),
        notes=notes,
    )
