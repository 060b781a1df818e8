"""Previews of conversions: a few seconds, converted in one way or in two, in one video that shows both.

    source ──► excerpt, small, in SDR ─┬─► version A ─┬─► both in one picture ──► preview.mp4
                                       └─► version B ─┘

Both halves are one video, so that they stay in step however it is played. The functions run in the worker's process.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import av
import numpy as np

from betwixt.errors import InputError, UsageError
from betwixt.media.colour import Colour
from betwixt.media.encoder_options import EncoderSettings
from betwixt.media.probe import VideoInfo
from betwixt.media.source import VideoSource, open_source
from betwixt.media.writer import VideoWriter
from betwixt.web.conversions import CONVERSIONS
from betwixt.web.pictures import RGB, FrameViewer
from betwixt.web.survey import frames_of

LAYOUTS = {
    "side": "Side by side",
    "stack": "One above the other",
    "split": "Left half by A, right half by B",
}
"""How two videos are shown in one."""

MAX_SECONDS = 5.0
_MAX_WIDTH = 640
"""The width of a half, at most; previews are to be quick."""

_MAX_EXCERPT = 600
"""The most source frames of a preview."""

_SETTINGS = EncoderSettings(codec="h264", quality="14", preset="veryfast")
"""The encoding of the excerpt and of the preview."""

_TICK = Fraction(1, 90000)


@dataclass(frozen=True)
class Excerpt:
    """What is previewed.

    Attributes:
        start: In seconds from the beginning of the video.
        seconds: How long it is.
        cuts: The times of the cuts in the video, in seconds from its beginning; None to look for them.
    """

    start: float
    seconds: float
    cuts: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Version:
    """One way to convert an excerpt.

    Attributes:
        command: The conversion, a key of `web.conversions.CONVERSIONS`; "" for the excerpt as it is.
        options: Its options.
    """

    command: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


def make_preview(
    folder: Path, source: Path, excerpt: Excerpt, versions: Sequence[Version], layout: str
) -> dict[str, Any]:
    """Write ``preview.mp4``: an excerpt of a video in one or two versions.

    Args:
        folder: Where it is written.
        source: The video.
        excerpt: What of it.
        versions: What is shown.
        layout: One of `LAYOUTS`, for two versions.

    Returns:
        The size of the video, its rate, and when the excerpt begins in the source.

    Raises:
        BetwixtError: if the video cannot be read, or a model cannot be used.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"There is no layout '{layout}': choose one of {', '.join(LAYOUTS)}.")
    with tempfile.TemporaryDirectory(dir=folder) as work:
        cut = Path(work, "excerpt.mp4")
        begin = _write_excerpt(source, excerpt, cut)
        fixed: dict[str, Any] = {"journal": False, "codec": "h264", "quality": "14", "preset": "veryfast"}
        if excerpt.cuts is not None:
            times = [at - begin for at in excerpt.cuts if begin < at <= begin + excerpt.seconds]
            Path(work, "cuts.txt").write_text("".join(f"{at:.6f}\n" for at in times), encoding="utf-8")
            fixed["scene_cuts"] = str(Path(work, "cuts.txt"))
        outputs = [_convert(cut, version, fixed, Path(work, f"{n}.mp4")) for n, version in enumerate(versions)]
        return _join(outputs, folder / "preview.mp4", layout) | {"start": begin}


def _convert(excerpt: Path, version: Version, fixed: Mapping[str, Any], target: Path) -> Path:
    """The file of a version."""
    if not version.command:
        return excerpt
    conversion = CONVERSIONS[version.command]
    convert = getattr(import_module(conversion.module), conversion.function)
    convert(excerpt, target, **{**version.options, **fixed})
    return target


def _write_excerpt(source: Path, excerpt: Excerpt, path: Path) -> float:
    """Write a part of a video, small, upright and in SDR; return when its first frame is shown in the video."""
    start = Fraction(excerpt.start).limit_denominator(1000)
    end = start + Fraction(min(excerpt.seconds, MAX_SECONDS)).limit_denominator(1000)
    with closing(open_source(source, start=start, end=end, interlaced="ignore")) as reader:
        viewer = FrameViewer(reader.info, _MAX_WIDTH)
        # The reader goes on to the first frame after the end.
        within = itertools.takewhile(lambda frame: frame.time < reader.info.start + end, frames_of(reader))
        frames = itertools.islice(within, _MAX_EXCERPT)
        first = next(frames, None)
        if first is None:
            raise InputError("There is no frame at this time: choose an earlier one.")
        image = _even(viewer.rgb(first.video))
        info = _plain_info(reader.info, image)
        regular = not reader.info.variable
        tick = 1 / reader.info.rate if regular else _TICK
        with VideoWriter(path, info, reader.info.rate, settings=_SETTINGS, tick=tick) as writer:
            for frame in itertools.chain([first], frames):
                number = round((frame.time - first.time) / tick)
                writer.write(_to_frame(_even(viewer.rgb(frame.video))), number)
            writer.commit()
        return float(first.time - reader.info.start)


def _join(sources: list[Path], path: Path, layout: str) -> dict[str, Any]:
    """Write the videos as one; return its size and rate."""
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(closing(open_source(source))) for source in sources]
        info = readers[0].info
        viewer = FrameViewer(info, info.width)
        joined = (
            _even(_arrange(list(images), layout))
            for images in zip(*(_pictures(r, viewer) for r in readers), strict=False)
        )
        first = next(joined)
        with VideoWriter(path, _plain_info(info, first), info.rate, settings=_SETTINGS) as writer:
            for number, image in enumerate(itertools.chain([first], joined)):
                writer.write(_to_frame(image), number)
            writer.commit()
        return {"width": first.shape[1], "height": first.shape[0], "rate": float(info.rate)}


def _pictures(reader: VideoSource, viewer: FrameViewer) -> Iterator[RGB]:
    return (viewer.rgb(frame.video) for frame in frames_of(reader))


def _arrange(images: list[RGB], layout: str) -> RGB:
    """Images of one size as one."""
    if len(images) == 1:
        return images[0]
    if layout == "split":
        middle = images[0].shape[1] // 2
        joined = np.concatenate([images[0][:, :middle], images[1][:, middle:]], axis=1)
        joined[:, middle - 1 : middle + 1] = 255
        return joined
    return np.concatenate(images, axis=1 if layout == "side" else 0)


def _even(image: RGB) -> RGB:
    """An image without its last row or column where their number is odd, as 4:2:0 needs it."""
    height, width = image.shape[:2]
    return image[: height - height % 2 or 1, : width - width % 2 or 1]


def _to_frame(image: RGB) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")


def _plain_info(info: VideoInfo, image: RGB) -> VideoInfo:
    """The description of such images in 4:2:0."""
    return replace(
        info, width=image.shape[1], height=image.shape[0], pixel_format="yuv420p", colour=Colour(), hdr=None,
        hdr10_plus=False, dolby_vision=None, rotation=None, aspect=None, interlaced=False, streams=(), metadata={},
    )  # fmt: skip
