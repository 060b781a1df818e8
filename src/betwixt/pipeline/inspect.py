"""Inspects a video: exact rate, cuts, duplicates, colour, and what a conversion would cost."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from betwixt.errors import InputError, UsageError
from betwixt.machine import available_cores
from betwixt.media.probe import HDR, VideoInfo
from betwixt.media.reader import Frame
from betwixt.media.source import VideoSource, open_source
from betwixt.models.registry import choose_model
from betwixt.pipeline.planner import InterpolateStep, Planner, Rates
from betwixt.runtime.load import load_model
from betwixt.runtime.synthesis import PairSynthesis, Synthesizer, one_frame_per_thread

_TIMED_PAIRS = 3


@dataclass
class Findings:
    """What an inspection found.

    Attributes:
        info: What the container and the first frame state.
        model: The default model, which was measured.
        seconds_a_frame: Seconds that a new frame takes on this machine, with one frame at a time on each core; None if
            that cannot be measured.
        notes: Remarks for the user.
        frames: Frames decoded; None without a scan.
        shortest: The shortest interval between two frames in seconds; None without a scan.
        longest: The longest interval between two frames in seconds; None without a scan.
        cuts: Times of the cuts in seconds from the video's beginning; None without a scan.
        duplicates: How many repeated frames ``duplicates="fill"`` would replace; None without a scan.
        damage: What is wrong with the file; None if nothing was found.
    """

    info: VideoInfo
    model: str
    seconds_a_frame: float | None
    notes: list[str]
    frames: int | None = None
    shortest: Fraction | None = None
    longest: Fraction | None = None
    cuts: list[Fraction] | None = None
    duplicates: int | None = None
    damage: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The findings as JSON can hold them: times as numbers, rates as text."""
        info = self.info
        return {
            **{k: getattr(info, k) for k in ("name", "container", "codec", "width", "height", "pixel_format")},
            "bit_depth": info.depth,
            "rate": str(info.rate),
            "variable": info.variable,
            "start": float(info.start),
            "duration": None if info.duration is None else float(info.duration),
            "frames": self.frames if self.frames is not None else info.frames,
            "interlaced": info.interlaced,
            "rotation": info.rotation,
            "sample_aspect_ratio": None if info.aspect is None else str(info.aspect),
            "colour": asdict(info.colour),
            "hdr": None if info.hdr is None else _hdr_as_dict(info.hdr),
            "hdr10_plus": info.hdr10_plus,
            "dolby_vision": info.dolby_vision,
            "streams": [asdict(s) for s in info.streams],
            "shortest_interval": None if self.shortest is None else float(self.shortest),
            "longest_interval": None if self.longest is None else float(self.longest),
            "cuts": None if self.cuts is None else [float(t) for t in self.cuts],
            "duplicates": self.duplicates,
            "seconds_a_frame": self.seconds_a_frame,
            "model": self.model,
            "damage": self.damage,
            "notes": self.notes,
        }


def _hdr_as_dict(hdr: HDR) -> dict[str, Any]:
    primaries, luminance = hdr.primaries, hdr.luminance
    return {
        "mastering_display": None if primaries is None else [[float(x), float(y)] for x, y in primaries],
        "luminance": None if luminance is None else [float(v) for v in luminance],
        "content_light": hdr.content_light,
    }


def inspect_video(
    source: str | Path,
    *,
    scan: bool = True,
    stream: int | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Findings:
    """Inspect a video.

    Args:
        source: A video, or a folder or pattern of images.
        scan: Whether to decode all of it, to find cuts, duplicates, damage and the true spacing of frames.
        stream: The number of the video stream; None for the default one.
        progress: Called with the number of frames decoded and the number expected, None if that is unknown.

    Raises:
        InputError: if it cannot be read.
    """
    reader = open_source(source, stream=stream, interlaced="ignore")
    try:
        if scan:
            return _scan(reader, progress)
        frames = list(itertools.islice((item for item in reader if isinstance(item, Frame)), 2))
        cost = _seconds_per_frame([(frames[0], frames[1])], reader.info) if len(frames) == 2 else None
        return Findings(reader.info, choose_model(), cost, reader.notes)
    finally:
        reader.close()


def _scan(reader: VideoSource, progress: Callable[[int, int | None], None] | None) -> Findings:
    info = reader.info
    times: list[Fraction] = []

    def frames() -> Iterator[Frame]:
        for item in reader:
            if isinstance(item, Frame):
                times.append(item.time)
                if progress is not None and len(times) % 10 == 0:
                    progress(len(times), info.frames)
                yield item

    planner = Planner(Rates(2 * info.rate, 2 * info.rate, Fraction(1)), cuts="auto", fill=True)
    pairs: list[tuple[Frame, Frame]] = []
    for step in planner.steps(frames()):
        if isinstance(step, InterpolateStep) and len(pairs) < _TIMED_PAIRS:
            pairs.append((step.left, step.right))
    if not times:
        raise InputError(f"{info.name} holds no picture that can be decoded.")
    intervals = [b - a for a, b in itertools.pairwise(times)]
    return Findings(
        info=info,
        frames=len(times),
        shortest=min(intervals, default=None),
        longest=max(intervals, default=None),
        cuts=[t - info.start for t in planner.cut_times],
        duplicates=planner.duplicates_filled,
        seconds_a_frame=_seconds_per_frame(pairs, info),
        model=choose_model(),
        damage=reader.damage,
        notes=reader.notes,
    )


def _seconds_per_frame(pairs: list[tuple[Frame, Frame]], info: VideoInfo) -> float | None:
    """Seconds that a new frame takes where each core makes one at a time, measured on pairs of the video itself."""
    if not pairs:
        return None
    try:
        model = load_model()
    except UsageError:
        return None
    synthesizer = Synthesizer(model, pairs[0][0].video, info.colour)
    cores = available_cores()

    def synthesize(pair: tuple[Frame, Frame]) -> None:
        left, right = (synthesizer.source(frame.video) for frame in pair)
        PairSynthesis(synthesizer, left, right).synthesize([Fraction(1, 2)])

    with one_frame_per_thread(model, cores), ThreadPoolExecutor(cores) as pool:
        synthesize(pairs[0])  # the first frame includes preparing the model for this size
        durations = []
        for pair in pairs:
            began = time.monotonic()
            list(pool.map(synthesize, [pair] * cores))
            durations.append((time.monotonic() - began) / cores)
    return min(durations)
