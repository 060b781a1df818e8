"""Measures what a conversion of a video takes, by converting about a second of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from betwixt.errors import DamagedInputError
from betwixt.web.conversions import CONVERSIONS, plan_job
from betwixt.web.suggestions import Measurement, source_rate

if TYPE_CHECKING:
    from betwixt.pipeline.run import Progress

_FIRST_FRAMES = 5
"""Source frames of the first, short measurement."""

_MAX_SECONDS = 6.0
"""A second of the video is measured only if that takes no longer than this."""


def measure(
    command: str, source: Path, suffix: str, options: Mapping[str, Any], findings: Mapping[str, Any]
) -> Measurement:
    """Convert a part of a video, and tell what that took: a second from its middle, or a few frames where that is slow.

    Args:
        command: A key of `CONVERSIONS`.
        source: The video.
        suffix: Of the output.
        options: Of the conversion.
        findings: What an inspection of the video found (`pipeline.inspect.Findings.as_dict`).

    Raises:
        BetwixtError: if the conversion cannot be done; a damaged input is no error here.
    """
    duration = findings["duration"] or 1.0
    short = min(1.0, duration, _FIRST_FRAMES / float(source_rate(findings)))
    measured = _convert_part(command, source, suffix, options, duration / 2, short)
    whole = min(1.0, duration)
    if (measured.seconds - measured.startup) / short * whole > _MAX_SECONDS:
        return measured
    return _convert_part(command, source, suffix, options, (duration - whole) / 2, whole)


def _convert_part(
    command: str, source: Path, suffix: str, options: Mapping[str, Any], begin: float, length: float
) -> Measurement:
    conversion = CONVERSIONS[command]
    convert = getattr(import_module(conversion.module), conversion.function)
    part = {"start": round(begin, 3), "end": round(begin + length, 3), "journal": False}
    first: float | None = None

    def progress(_: Progress) -> None:
        nonlocal first
        first = first or time.monotonic()

    with tempfile.TemporaryDirectory(prefix="betwixt-measure-") as folder:
        target = Path(folder, f"part{suffix}")
        notes = plan_job(command, source, target, options).notes
        began = time.monotonic()
        try:
            summary = convert(source, target, progress=progress, **{**options, **part})
        except DamagedInputError as error:
            if error.summary is None:
                raise
            summary = error.summary
        ended = time.monotonic()
        size = target.stat().st_size
    working = first or began
    return Measurement(
        seconds=ended - began,
        startup=working - began,
        seconds_per_frame=(ended - working) / max(1, summary.synthesized),
        bytes_per_frame=size / max(1, summary.frames_out),
        lost=list(summary.lost),
        notes=list(notes),
    )
