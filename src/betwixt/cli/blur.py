"""betwixt blur: motion blur."""

from __future__ import annotations

from typing import Any

from betwixt.cli.conversion import conversion_command, run_conversion
from betwixt.pipeline.options import BLUR


@conversion_command(BLUR)
def blur(**arguments: Any) -> None:
    """Add motion blur to a video, at its own frame rate, at another one, or in slow motion.

    Each frame becomes the mean, in linear light, of frames made over the time that a shutter is open. Static parts stay
    as they are; no exposure reaches across a scene cut.

    Examples:
        betwixt blur game.mp4 film-look.mp4 --shutter 180
        betwixt blur clip60.mp4 clip24.mp4 --fps 24 --shutter 360
    """
    from betwixt.pipeline.blur import blur_video, plan_blur

    run_conversion(BLUR, blur_video, plan_blur, **arguments)
