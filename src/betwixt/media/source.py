"""Opens a source of frames: a video file, a pipe or a sequence of images."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import IO

from betwixt.errors import UsageError
from betwixt.files import local_path
from betwixt.media.images.paths import is_image_location
from betwixt.media.reader import Reader
from betwixt.media.retimed import RetimedReader
from betwixt.media.sequence import ImageSource

DEFAULT_IMAGE_RATE = Fraction(25)
"""Frames per second of a sequence of images, unless `input_fps` is given."""

VideoSource = Reader | RetimedReader | ImageSource


def open_source(
    source: str | Path | IO[bytes],
    *,
    input_fps: Fraction | None = None,
    start: Fraction | None = None,
    end: Fraction | None = None,
    stream: int | None = None,
    interlaced: str = "refuse",
    threads: int = 0,
    retime: bool = False,
) -> VideoSource:
    """Open a source of frames; the other arguments are those of `Reader`.

    Args:
        source: A video, a folder or pattern of images, or an open binary file.
        input_fps: The rate of a sequence of images, or of a video with `retime`; None for the video's own.
        retime: Whether `input_fps` may be given for a video, whose frames then come at other times than its sound.

    Raises:
        UsageError: if `input_fps` is given for a video without `retime`, or `stream` for images.
        InputError: if the source cannot be read.
    """
    if isinstance(source, (str, Path)):
        source = local_path(source)
    if isinstance(source, (str, Path)) and is_image_location(source):
        if stream is not None:
            raise UsageError("`stream` is for videos: images have no streams.")
        return ImageSource(source, input_fps or DEFAULT_IMAGE_RATE, start, end)
    if input_fps is not None and retime:
        return RetimedReader(
            source, input_fps, start=start, end=end, stream=stream, interlaced=interlaced, threads=threads
        )
    if input_fps is not None:
        raise UsageError("`input_fps` is for folders and patterns of images: a video states its own rate.")
    return Reader(source, start=start, end=end, stream=stream, interlaced=interlaced, threads=threads)
