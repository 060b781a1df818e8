"""Smooth playback in mpv, through its VapourSynth filter.

    mpv --vf="vapoursynth=$(python -m betwixt.integrations.mpv):buffered-frames=16:concurrent-frames=8" film.mkv

The module prints the path of `betwixt.vpy`, the script that mpv loads. mpv gives it variables, and loads it again after
every seek:

    video_in ──────► the decoded frames; the clip states no rate, and a length that is not the file's
    container_fps ─► the rate that the file states, 0 or NaN if it states none ─┐
    display_fps ───► the rate of the display, 0 or NaN if it is not known ──────┴─► frames for each of the file's

mpv buffers few frames, and playback ends at the first frame that depends on a source frame after the last. So static
overlays, which need two more source frames, are off by default.
"""

from __future__ import annotations

import functools
import inspect
import math
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from betwixt.errors import BetwixtError, UsageError, did_you_mean
from betwixt.machine import available_cores
from betwixt.models.base import Interpolator
from betwixt.runtime.load import load_model

if TYPE_CHECKING:
    import vapoursynth as vs

SCRIPT = Path(__file__).with_name("betwixt.vpy")
"""The script for mpv."""

USUAL_DISPLAY = 60.0
"""Frames per second of a display whose rate is not known."""

_SET_BY_PLAYER = ("clip", "factor_num", "factor_den", "fps_num", "fps_den")
"""The arguments of `betwixt.integrations.vapoursynth.interpolate` that follow from mpv's variables."""

_NEAR_ENOUGH = Fraction(1, 200)
"""The largest relative change that makes a factor a simple one, so that more source frames fall on output times."""


def interpolate(
    video_in: vs.VideoNode,
    container_fps: float,
    display_fps: float,
    *,
    fps: float | None = None,
    model: str = "fast",
    **options: Any,
) -> vs.VideoNode:
    """New frames for playback at the display's rate.

    Args:
        video_in: mpv's variable of that name.
        container_fps: mpv's variable of that name. If it is 0 or no number, the rate is doubled.
        display_fps: mpv's variable of that name. If it is 0 or no number, it counts as 60.
        fps: The rate to play at, in place of the display's.
        model: A model that is fast enough for playback.
        **options: Further options of `betwixt.integrations.vapoursynth.interpolate`.

    Returns:
        The clip to play: `video_in` itself if its rate is already as high.

    Raises:
        vapoursynth.Error: in one line, as for `betwixt.integrations.vapoursynth.interpolate`.
    """
    import vapoursynth as vs

    from betwixt.integrations import vapoursynth

    # A thread that asks mpv for a source frame waits until it is decoded: as many others make frames meanwhile.
    vs.core.num_threads = max(vs.core.num_threads, 2 * available_cores())
    options = {"overlays": "off", "device": "auto", "weights": None, **options}
    try:
        _check_options(fps, model, options)
        target = fps or (display_fps if _is_known(display_fps) else USUAL_DISPLAY)
        factor = playback_factor(container_fps, target)
        if factor == 1:
            return video_in
        loaded = _loaded(model, options.pop("device"), options.pop("weights"))
    except BetwixtError as error:
        raise vs.Error(f"betwixt: {error}") from None
    return vapoursynth.interpolate(video_in, loaded, factor.numerator, factor.denominator, **options)


def _check_options(fps: float | None, model: str, options: dict[str, Any]) -> None:
    """Refuse what the script cannot take.

    Raises:
        UsageError: naming the option.
    """
    from betwixt.integrations import vapoursynth

    names = [name for name in inspect.signature(vapoursynth.interpolate).parameters if name not in _SET_BY_PLAYER]
    for name in options:
        if name not in names:
            every = f"choose among fps, {', '.join(names)}"
            raise UsageError(f"There is no option `{name}`: {did_you_mean(name, names, every)}")
    vapoursynth.check_type(float, True, fps=fps)
    if fps is not None and not _is_known(fps):
        raise UsageError(f"`fps` is {fps}: it has to be greater than 0.")
    vapoursynth.check_type(str, model=model, device=options["device"])
    vapoursynth.check_type(Path, True, weights=options["weights"])


def playback_factor(source: float, target: float) -> Fraction:
    """How many frames to show for each source frame, at least 1; 2 if the source's rate is not known.

    23.976 to 60 frames per second gives 5/2, and 25 to 144 gives 23/4.

    Args:
        source: The source's rate, frames per second; 0, infinity or NaN if it is not known.
        target: The rate to play at, frames per second.
    """
    if not _is_known(source):
        return Fraction(2)
    factor = Fraction(target) / Fraction(source)
    for denominator in range(1, 6):
        simple = Fraction(round(factor * denominator), denominator)
        if abs(simple / factor - 1) <= _NEAR_ENOUGH:
            return max(Fraction(1), simple)
    return max(Fraction(1), factor.limit_denominator(1001))


def _is_known(fps: float) -> bool:
    return math.isfinite(fps) and fps > 0


@functools.cache
def _loaded(model: str, device: str, weights: str | None) -> Interpolator:
    """A model, loaded once and not after every seek."""
    return load_model(model, device, weights=weights)


if __name__ == "__main__":
    print(SCRIPT)
