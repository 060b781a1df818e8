"""betwixt blur: motion blur."""

from __future__ import annotations

from typing import Any

from betwixt.cli.options import conversion_command, run_conversion
from betwixt.pipeline.options import BLUR


@conversion_command(BLUR)
def blur(source: str, target: str, **options: Any) -> None:
    """Add motion blur to a video, at its own frame rate, at another one, or in slow motion.

    Each frame becomes the mean, in linear light, of frames made over the time that a shutter is open. Static parts stay
    as they are; no exposure reaches across a scene cut.
    """
    from betwixt.pipeline.blur import blur_video, plan_blur

    run_conversion(source, target, blur_video, plan_blur, **options)
