"""betwixt interpolate: a video at another frame rate, or slower."""

from __future__ import annotations

from typing import Any

from betwixt.cli.conversion import conversion_command, run_conversion
from betwixt.pipeline.options import INTERPOLATE


@conversion_command(INTERPOLATE)
def interpolate(**arguments: Any) -> None:
    """Interpolate a video to another frame rate, or slow it down. By default the rate doubles.

    Every source frame that falls on an output time is passed on untouched; audio, subtitles, chapters and tags are
    copied; duration and sync stay; nothing is blended across a scene cut.

    Examples:
        betwixt interpolate film.mkv smooth.mkv --fps 60
        betwixt interpolate clip.mp4 --slow 4 --audio stretch
        betwixt interpolate holiday/ --recursive --output-dir smooth/ --config phone
    """
    from betwixt.pipeline.interpolate import interpolate_video, plan_video

    run_conversion(INTERPOLATE, interpolate_video, plan_video, **arguments)
