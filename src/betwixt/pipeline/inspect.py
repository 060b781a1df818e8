"""What Betwixt sees in a video: exact rate, cuts, duplicates, colour, and what a conversion would cost."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2

from betwixt.errors import InputError, UsageError
from betwixt.machine import available_cores
from betwixt.media.images.paths import is_image_location
from betwixt.media.probe import VideoInfo
from betwixt.media.reader import Frame, Reader
from betwixt.media.sequence import ImageSource
from betwixt.models.registry import choose_model
from betwixt.pipeline.plan import InterpolateStep, Planner, choose_rates
from betwixt.runtime.load import load_model
from betwixt.runtime.synthesis import PairSynthesis, Synthesizer

__all__ = ["Findings", "inspect_video"]

_SAMPLE_PAIRS = 3


@dataclass
class Findings:
    """What there is to know of a video.

    Attributes:
        info: What the container and the first frame say.
        frames: Frames decoded; None without a scan.
        shortest: The shortest distance between two frames in seconds, as seen in the scan.
        longest: The longest.
        cuts: Times of the cuts in seconds from the video's beginning.
        duplicates: How many frames repeat the one before them, and would be filled with ``--duplicates fill``.
        seconds_a_frame: What a new frame costs in a conversion on this machine, which makes one a core at a time, in
            seconds; None if that cannot be told.
        model: What makes it: the default model.
        damage: What is wrong with the file; None if nothing was seen.
        notes: What a person should know.
    """

    info: VideoInfo
    frames: int | None
    shortest: Fraction | None
    longest: Fraction | None
    cuts: list[Fraction] | None
    duplicates: int | None
    seconds_a_frame: float | None
    model: str
    damage: str | None
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: fractions of seconds as numbers, rates as text."""
        info = self.info
        return {
            "name": info.name,
            "container": info.container,
            "codec": info.codec,
            "width": info.width,
            "height": info.height,
            "pixel_format": info.pixel_format,
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
            "hdr": None
            if info.hdr is None
            else {
                "mastering_display": None
                if info.hdr.primaries is None
                else [[float(x), float(y)] for x, y in info.hdr.primaries],
                "luminance": None if info.hdr.luminance is None else [float(v) for v in info.hdr.luminance],
                "content_light": info.hdr.content_light,
            },
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


def inspect_video(
    source: str | Path, *, scan: bool = True, progress: Callable[[int, int | None], None] | None = None
) -> Findings:
    """Look at a video.

    Args:
        source: A video, or a folder or pattern of images.
        scan: Whether to decode all of it, to find cuts, duplicates, damage and the true spacing of frames.
        progress: Called with the number of frames seen and the number expected.

    Raises:
        InputError: if it cannot be read.
    """
    reader: Reader | ImageSource
    if is_image_location(source):
        reader = ImageSource(source, Fraction(25), None, None)
    else:
        reader = Reader(source, interlaced="ignore")
    try:
        info = reader.info
        if not scan:
            pair = list(itertools.islice((i for i in reader if isinstance(i, Frame)), 2))
            cost = _cost([tuple(pair)], info)
            return Findings(info, None, None, None, None, None, cost, choose_model(), None, reader.notes)
        return _scan(reader, info, progress)
    finally:
        reader.close()


def _scan(
    reader: Reader | ImageSource, info: VideoInfo, progress: Callable[[int, int | None], None] | None
) -> Findings:
    times: list[Fraction] = []

    def watched() -> Any:
        for item in reader:
            if isinstance(item, Frame):
                times.append(item.time)
                if progress is not None and len(times) % 10 == 0:
                    progress(len(times), info.frames)
                yield item

    planner = Planner(choose_rates(info.rate, None, None, None), cuts="auto", fill=True)
    pairs: list[tuple[Frame, ...]] = []
    for step in planner.steps(watched()):
        if isinstance(step, InterpolateStep) and len(pairs) < _SAMPLE_PAIRS:
            pairs.append((step.left, step.right))
    steps = [b - a for a, b in itertools.pairwise(times)]
    if not times:
        raise InputError(f"{info.name} holds no picture that can be decoded.")
    return Findings(
        info=info,
        frames=len(times),
        shortest=min(steps, default=None),
        longest=max(steps, default=None),
        cuts=[t - info.start for t in planner.cut_times],
        duplicates=planner.duplicates_filled,
        seconds_a_frame=_cost(pairs, info),
        model=choose_model(),
        damage=reader.damage,
        notes=reader.notes,
    )


def _cost(pairs: list[tuple[Frame, ...]], info: VideoInfo) -> float | None:
    """Seconds for a new frame where each core makes one, measured on the clip itself."""
    usable = [pair for pair in pairs if len(pair) == 2]
    if not usable:
        return None
    try:
        model = load_model()
    except UsageError:
        return None
    synthesizer = Synthesizer(model, usable[0][0].video, info.colour)
    count = available_cores()

    def make(pair: tuple[Frame, ...]) -> None:
        left, right = (synthesizer.source(frame.video) for frame in pair)
        PairSynthesis(synthesizer, left, right).synthesize([Fraction(1, 2)])

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    model.set_concurrency(count)
    try:
        # The first frame waits for the model to be made ready for the size.
        make(usable[0])
        spent = []
        with ThreadPoolExecutor(count) as pool:
            for pair in usable:
                began = time.monotonic()
                list(pool.map(make, [pair] * count))
                spent.append((time.monotonic() - began) / count)
    finally:
        cv2.setNumThreads(threads)
        model.set_concurrency(1)
    return min(spent)
