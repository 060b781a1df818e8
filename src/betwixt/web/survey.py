"""What is found out about a whole video before it is previewed: where it moves most, and where its cuts are.

These functions run in a process of their own (`web.worker`, `web.child`).
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from betwixt.media.reader import Frame, Reader
from betwixt.media.sampling import read_windows
from betwixt.media.scenes import SAME_SCENE, CutDetector, Thumbnail, make_thumbnail, pair_score
from betwixt.media.source import VideoSource, open_source
from betwixt.web.pictures import RGB, FrameViewer

STRIP_WIDTH = 200
"""The width of the frames at cuts, in pixels."""

_BEGINNING_TIME = 1.0
"""Seconds in which the beginning is decoded to look for motion; a short video is decoded whole."""

_WINDOWS, _WINDOW_FRAMES, _WINDOWS_TIME = 16, 4, 2.0
"""Further places, the frames decoded at each, and the seconds that may take."""

_REPORT_EVERY = 25
"""Frames between two reports of the progress."""


@dataclass(frozen=True)
class Survey:
    """A video at a glance.

    Attributes:
        duration: In seconds; of what could be decoded, if the file does not say.
        liveliest: When most moves, in seconds from the video's beginning.
    """

    duration: float
    liveliest: float

    def best_start(self, seconds: float) -> float:
        """When an excerpt of so many seconds begins, with the liveliest moment in its middle."""
        return round(min(max(self.liveliest - seconds / 2, 0.0), max(self.duration - seconds, 0.0)), 2)


def survey_video(source: Path) -> Survey:
    """Look for motion in the beginning and in a few other places of a video.

    Raises:
        InputError: if it cannot be read.
    """
    with closing(open_source(source, interlaced="ignore")) as reader:
        info, began = reader.info, time.monotonic()
        last = end = info.start
        thumbnails: list[tuple[Fraction, Thumbnail]] = []
        for frame in frames_of(reader):
            thumbnails.append((frame.time, make_thumbnail(frame.video)))
            last, end = frame.time, frame.time + frame.duration
            if time.monotonic() - began > _BEGINNING_TIME:
                break
        amounts = _motion(thumbnails)
        duration = info.duration or end - info.start
        if isinstance(reader, Reader):
            places = [info.start + duration * n / (_WINDOWS + 1) for n in range(1, _WINDOWS + 1)]
            places = [place for place in places if place > last]
            until = time.monotonic() + _WINDOWS_TIME
            for window in read_windows(reader, places, last, _WINDOW_FRAMES, until):
                amounts += _motion([(frame.time, make_thumbnail(frame.video)) for frame in window])
        liveliest = max(amounts, default=(0.0, info.start))[1] - info.start
        return Survey(float(duration), round(float(max(liveliest, Fraction(0))), 2))


def frames_of(reader: VideoSource) -> Iterator[Frame]:
    """The frames of a source, without the packets of other streams."""
    return (item for item in reader if isinstance(item, Frame))


def _motion(frames: list[tuple[Fraction, Thumbnail]]) -> list[tuple[float, Fraction]]:
    """How much changes between neighbouring frames of one shot, each with the time of the first."""
    return [
        (float(np.mean(cv2.absdiff(before, after))), at)
        for (at, before), (_, after) in itertools.pairwise(frames)
        if before.shape == after.shape and pair_score(before, after) > SAME_SCENE
    ]


def find_cuts(report: Callable[[float], None], folder: Path, source: Path) -> dict[str, Any]:
    """Look for cuts in a whole video, as a conversion does.

    For a cut before frame N it writes ``cut_N.jpg``, the last frame of the old shot and the first of the new one.

    Args:
        report: Called with the share of the video that has been searched, 0 to 1, now and then.
        folder: Where the pictures are written.
        source: The video.

    Returns:
        The numbers of the frames that begin a new shot, and the times of all frames, in seconds from the beginning.

    Raises:
        InputError: if it cannot be read.
    """
    with closing(open_source(source, interlaced="ignore")) as reader:
        viewer, detector = FrameViewer(reader.info, STRIP_WIDTH), CutDetector()
        times, found = list[float](), list[int]()
        latest: deque[RGB] = deque(maxlen=detector.lookahead + 2)  # a decision comes so many frames later
        decided = 0

        def decide(decisions: list[bool]) -> None:
            nonlocal decided
            for is_cut in decisions:
                if is_cut:
                    found.append(decided)
                    after = decided - len(times)  # from the end
                    write_cut(folder / f"cut_{decided}.jpg", latest[after - 1], latest[after])
                decided += 1

        for frame in frames_of(reader):
            times.append(float(frame.time - reader.info.start))
            latest.append(viewer.rgb(frame.video))
            decide(detector.push(make_thumbnail(frame.video)))
            if len(times) % _REPORT_EVERY == 0:
                report(min(1.0, len(times) / reader.info.frames) if reader.info.frames else 0.0)
        decide(detector.flush())
        return {"found": found, "times": times}


def write_cut(path: Path, before: RGB, after: RGB) -> None:
    """Write the two frames at a cut as one picture."""
    joined = np.concatenate([before, np.full((before.shape[0], 4, 3), 255, np.uint8), after], axis=1)
    path.write_bytes(cv2.imencode(".jpg", cv2.cvtColor(joined, cv2.COLOR_RGB2BGR))[1].tobytes())


def draw_cut(folder: Path, source: Path, before: float) -> dict[str, Any]:
    """Write ``cut.jpg``, the frame at the time `before` and the one after it.

    Raises:
        InputError: if they cannot be read.
    """
    strip = read_strip(source, before, 2)
    write_cut(folder / "cut.jpg", strip[0][1], strip[-1][1])
    return {}


def read_strip(source: Path, time: float, count: int) -> list[tuple[float, RGB]]:
    """A few frames from the one at a time on, small, with their times in seconds from the beginning.

    Raises:
        InputError: if the video cannot be read.
    """
    start = Fraction(time + 1e-4).limit_denominator(100000)  # rounded down it would be the time of the frame before
    with closing(open_source(source, start=start, interlaced="ignore")) as reader:
        viewer, begin = FrameViewer(reader.info, STRIP_WIDTH), reader.info.start
        return [(float(f.time - begin), viewer.rgb(f.video)) for f in itertools.islice(frames_of(reader), count)]
