"""Runs a conversion for the page: the functions of the command line, in a child process (`web.child`)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import cv2

from betwixt.errors import BetwixtError, DamagedInputError, UsageError
from betwixt.media.codecs import container_of
from betwixt.pipeline.options import BLUR, EXTRAPOLATE, INTERPOLATE, OptionSet
from betwixt.web.pictures import THUMBNAIL_WIDTH, FrameViewer, open_viewer

if TYPE_CHECKING:
    from betwixt.pipeline.job import Plan
    from betwixt.pipeline.run import Progress

_REPORT_INTERVAL = 0.5
"""Seconds between two reports of the progress."""


@dataclass(frozen=True)
class _Conversion:
    """A conversion by its command.

    Attributes:
        declared: Its options.
        module: Where its functions are.
        function: The function that converts.
        planner: The function that tells what would be done.
    """

    declared: OptionSet
    module: str
    function: str
    planner: str


CONVERSIONS: Mapping[str, _Conversion] = {
    "interpolate": _Conversion(INTERPOLATE, "betwixt.pipeline.interpolate", "interpolate_video", "plan_video"),
    "blur": _Conversion(BLUR, "betwixt.pipeline.blur", "blur_video", "plan_blur"),
    "extrapolate": _Conversion(
        EXTRAPOLATE, "betwixt.pipeline.extrapolation", "extrapolate_video", "plan_extrapolation"
    ),
}
"""The conversions that the page can queue, by the name of their command."""


@dataclass(frozen=True)
class JobProgress:
    """How far a job is.

    Attributes:
        frames: Frames written.
        total: Frames to write; None if unknown.
        speed: New frames per second, of this run.
        seconds_left: Estimated; None if that is unknown.
        cuts: Cuts found.
    """

    frames: int
    total: int | None
    speed: float
    seconds_left: float | None
    cuts: int


class _Clock:
    """Estimates the speed and the time that is left, as the command line does, without the time spent paused."""

    def __init__(self) -> None:
        self.restart(0)

    def restart(self, frames: int) -> None:
        self._began, self._frames = time.monotonic(), frames

    def skip(self, seconds: float) -> None:
        self._began += seconds

    def estimate(self, p: Progress) -> JobProgress:
        if p.earlier and p.synthesized == p.earlier:
            # Frames of an earlier run are only copied: they say nothing about the time that is left.
            self.restart(p.frames_out)
        elapsed = max(time.monotonic() - self._began, 1e-6)
        written = p.frames_out - self._frames
        left = None if p.total is None or written <= 0 else max(0.0, (p.total - p.frames_out) * elapsed / written)
        return JobProgress(p.frames_out, p.total, (p.synthesized - p.earlier) / elapsed, left, p.cuts)


@dataclass(frozen=True)
class JobResult:
    """What a job did.

    Attributes:
        summary: The conversion's summary, as JSON holds it.
        damage: What was wrong with the input, in one line; "" if nothing.
    """

    summary: dict[str, Any]
    damage: str


class _Thumbnails:
    """Writes the latest frame of a conversion now and then."""

    def __init__(self, source: Path, path: Path) -> None:
        self._source, self._path = source, path
        self._viewer: FrameViewer | None = None
        self._failed = False

    def show(self, frame: av.VideoFrame | None) -> None:
        """Write a frame. One that cannot be shown must not stop the conversion: then there is no thumbnail."""
        if frame is None or self._failed:
            return
        try:
            if self._viewer is None:
                self._viewer = open_viewer(self._source, THUMBNAIL_WIDTH)
            self._viewer.write_jpeg(frame, self._path)
        except (BetwixtError, ValueError, OSError, cv2.error):
            self._failed = True


def run_job(
    report: Callable[[JobProgress], None],
    command: str,
    source: Path,
    target: Path,
    options: Mapping[str, Any],
    thumbnail: Path,
) -> JobResult:
    """Convert `source` to `target`; called in a child process (`web.child`).

    Args:
        report: Called with the progress twice a second.
        command: A key of `CONVERSIONS`.
        source: The input.
        target: The output.
        options: The options of the conversion.
        thumbnail: Where the latest frame is written as a small JPEG.

    Raises:
        BetwixtError: if the conversion cannot be done.
    """
    conversion = CONVERSIONS[command]
    convert = getattr(import_module(conversion.module), conversion.function)
    clock, thumbnails, reported = _Clock(), _Thumbnails(source, thumbnail), 0.0

    def progress(p: Progress) -> None:
        nonlocal reported
        now = time.monotonic()
        if now - reported < _REPORT_INTERVAL and p.frames_out != p.total:
            return
        thumbnails.show(p.frame)
        report(clock.estimate(p))
        reported = time.monotonic()
        clock.skip(reported - now)  # a paused job waits in `report`

    try:
        summary = convert(source, target, progress=progress, **{**options, "overwrite": True})
    except DamagedInputError as error:
        if error.summary is None:
            raise
        return JobResult(_as_dict(error.summary, target), str(error))
    return JobResult(_as_dict(summary, target), "")


def _as_dict(summary: Any, target: Path) -> dict[str, Any]:
    """A summary as JSON holds it, without the path on the server, and with the output's size."""
    return {**summary.as_dict(), "output": target.name, "bytes": os.path.getsize(target)}


def plan_job(command: str, source: Path, target: Path, options: Mapping[str, Any]) -> Plan:
    """What a conversion would do.

    Raises:
        BetwixtError: if it cannot be done.
    """
    conversion = CONVERSIONS[command]
    plan: Plan = getattr(import_module(conversion.module), conversion.planner)(source, target, **options)
    return plan


def output_suffix(video: str, wanted: str = "") -> str:
    """The suffix of an output: the wanted one, else that of the video's name if it can be written, else ".mp4"."""
    suffix = wanted or Path(video).suffix.lower()
    try:
        container_of(Path(f"x{suffix}"))
    except UsageError:
        return ".mp4"
    return suffix
