"""The main conversion: a video in, the same video at another frame rate out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO, Unpack

from betwixt.media.source import Source
from betwixt.pipeline.director import Director
from betwixt.pipeline.job import Job, Plan
from betwixt.pipeline.options import INTERPOLATE, InterpolateOptions, takes_options
from betwixt.pipeline.run import Progress, Summary, convert


@takes_options(INTERPOLATE)
def interpolate_video(
    source: Source,
    target: str | Path | IO[bytes],
    *,
    progress: Callable[[Progress], None] | None = None,
    **options: Unpack[InterpolateOptions],
) -> Summary:
    """Interpolate a video to another frame rate, or slow it down.

    Without `fps`, `factor` and `slow` the frame rate doubles. Every source frame that falls on an output time is passed
    on untouched; audio, subtitles, chapters and tags are copied; duration and sync stay the same; nothing is blended
    across a scene cut.

    Args:
        source: A video in any container FFmpeg reads, a folder or pattern of images, an open binary file, or an
            iterable of frames as for `betwixt.frames`.
        target: A video file (the suffix says which container), a GIF, a folder or pattern of images, or an open
            binary file, to which y4m is written.
        **options: See `betwixt.pipeline.options.InterpolateOptions`.
        progress: Called now and then with the progress so far, which cannot be changed.

    Raises:
        UsageError: for a wrong argument.
        InputError: if the source cannot be used.
        OutputError: if the target cannot be written.
        DamagedInputError: if the source is damaged; what could be read has been written, as its `summary` says.

    Example:
        >>> import betwixt
        >>> summary = betwixt.interpolate_video("in.mp4", "out.mp4", fps=50)
        >>> summary.frames_in, summary.frames_out, str(summary.rate)
        (25, 50, '50')
    """
    INTERPOLATE.check(options, "interpolate_video")
    job = Job(source, target, options)
    return convert(job, Director, progress)


@takes_options(INTERPOLATE)
def plan_video(source: Source, target: str | Path | IO[bytes], **options: Unpack[InterpolateOptions]) -> Plan:
    """What `interpolate_video` would do; writes nothing. It takes the same options."""
    INTERPOLATE.check(options, "plan_video")
    with Job(source, target, options) as job:
        return job.describe()
