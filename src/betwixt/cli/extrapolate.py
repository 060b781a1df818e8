"""betwixt extrapolate: the frames after the last one."""

from __future__ import annotations

from typing import Any

from betwixt.cli.conversion import conversion_command, run_conversion
from betwixt.pipeline.options import EXTRAPOLATE


@conversion_command(EXTRAPOLATE, without=("audio",))
def extrapolate(**arguments: Any) -> None:
    """Make the frames after the last one, from the last two.

    OUT holds the source, untouched, and the new frames. A network made for extrapolation goes from frame to frame; with
    any other model, the motion that dis finds is continued.

    Examples:
        betwixt extrapolate clip.mp4 longer.mp4 --frames 3
        betwixt extrapolate clip.mp4 next.png --only
    """
    from betwixt.pipeline.extrapolation import extrapolate_video, plan_extrapolation

    run_conversion(EXTRAPOLATE, extrapolate_video, plan_extrapolation, **arguments)
