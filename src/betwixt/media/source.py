"""Opens a source of frames: a video file, a pipe, a sequence of images, or frames in memory."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, TypeGuard

from betwixt.errors import UsageError
from betwixt.files import local_path
from betwixt.media.frame_source import FrameSource
from betwixt.media.images.paths import is_image_location
from betwixt.media.reader import Reader
from betwixt.media.retimed import RetimedReader
from betwixt.media.sequence import ImageSource

DEFAULT_IMAGE_RATE = Fraction(25)
"""Frames per second of a sequence of images, unless `input_fps` is given."""

Source = str | Path | IO[bytes] | Iterable[Any]
"""What a conversion reads: a video, a folder or pattern of images, an open binary file, or an iterable of frames
(`betwixt.media.frame_source`)."""

VideoSource = Reader | RetimedReader | ImageSource | FrameSource


def open_source(
    source: Source,
    *,
    input_fps: Fraction | None = None,
    start: Fraction | None = None,
    end: Fraction | None = None,
    stream: int | None = None,
    interlaced: str = "refuse",
    threads: int = 0,
    retime: bool = False,
    by_clock: bool = False,
) -> VideoSource:
    """Open a source of frames; the other arguments are those of `Reader`.

    Args:
        source: A video, a folder or pattern of images, an open binary file, or an iterable of frames.
        input_fps: The rate of images or other frames, or of a video with `retime`; None for the video's own.
        retime: Whether `input_fps` may be given for a video, whose frames then come at other times than its sound.

    Raises:
        UsageError: if `input_fps` is given for a video without `retime`, `stream` for something else than a video, or
            frames of an iterable do not fit.
        InputError: if the source cannot be read.
    """
    if isinstance(source, (str, Path)):
        source = local_path(source)
    if not _is_file(source):
        if not isinstance(source, Iterable):
            raise UsageError(f"The source is a {type(source).__name__}: give a path, an open binary file or frames.")
        _refuse_stream(stream, "frames")
        return FrameSource(source, input_fps, DEFAULT_IMAGE_RATE, start, end, interlaced)
    if isinstance(source, (str, Path)) and is_image_location(source):
        _refuse_stream(stream, "images")
        return ImageSource(source, input_fps or DEFAULT_IMAGE_RATE, start, end)
    if input_fps is not None and retime:
        return RetimedReader(
            source, input_fps, start=start, end=end, stream=stream, interlaced=interlaced, threads=threads
        )
    if input_fps is not None:
        raise UsageError("`input_fps` is for folders and patterns of images: a video states its own rate.")
    return Reader(
        source, start=start, end=end, stream=stream, interlaced=interlaced, threads=threads, by_clock=by_clock
    )


def _is_file(source: Source) -> TypeGuard[str | Path | IO[bytes]]:
    return isinstance(source, (str, Path)) or hasattr(source, "read")


def _refuse_stream(stream: int | None, what: str) -> None:
    if stream is not None:
        raise UsageError(f"`stream` is for videos: {what} have no streams.")
