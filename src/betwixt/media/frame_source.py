"""Frames that a program hands over, in place of a file.

    iterable ──► images or video frames, with or without times ──► av.VideoFrame, exact time ──► Frame

Each item of the iterable is an image (`betwixt.images`: a numpy array, a PyTorch tensor, a PIL image), an
`av.VideoFrame`, a pair of either and its time in seconds, or an object with attributes `video` and `time`, such as
`betwixt.OutputFrame`. Images become RGB frames of 8 or 16 bits without a change, floats of 16 bits. Video frames are
copied, bit by bit, since a conversion sets the time stamps of its frames.

The iterable is read once, a few frames ahead, from a thread of the conversion.
"""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np

from betwixt.errors import InputError, UsageError
from betwixt.images import read_images
from betwixt.media.colour import chroma_location, colour_of
from betwixt.media.frames import frame_from_planes, planes, to_supported_format
from betwixt.media.images.convert import image_to_frame
from betwixt.media.probe import HDR, VideoInfo, hdr_of, rotation_matrix
from betwixt.media.reader import Frame, StreamPacket
from betwixt.media.timeline import Grid, find_grid

_PREVIEWED = 8
"""How many frames are read ahead to tell a constant rate from a variable one."""

_FLOAT_TICK = Fraction(1, 1_000_000)
"""How exact times are that are given as floats, in seconds."""


@dataclass(frozen=True)
class _TimedFrame:
    """A frame with the time that it was given.

    Attributes:
        index: Its number.
        video: The frame.
        time: Its time in seconds; None if it has none.
        tick: The resolution of the time.
    """

    index: int
    video: av.VideoFrame
    time: Fraction | None
    tick: Fraction


class FrameSource:
    """The frames of an iterable as a video. It has the interface of `Reader`.

    Args:
        frames: The frames, all of one size and format.
        rate: Frames per second, whatever times the frames have; None for their own times.
        default_rate: The rate of frames without times.
        start: Where to begin, in seconds from the first frame; earlier frames are left out.
        end: Where to stop, in seconds from the first frame; None for the end.
        interlaced: What to do with interlaced frames: "refuse" or "ignore".

    Raises:
        UsageError: if the frames cannot be used; also while reading.
        InputError: if there is none.
    """

    name = "the iterable"
    damage: str | None = None
    stated_end: Fraction | None = None

    def __init__(
        self,
        frames: Iterable[Any],
        rate: Fraction | None,
        default_rate: Fraction,
        start: Fraction | None,
        end: Fraction | None,
        interlaced: str = "refuse",
    ) -> None:
        if interlaced == "deinterlace":
            raise UsageError("Frames of an iterable cannot be deinterlaced: deinterlace them before, or read the file.")
        self.notes: list[str] = []
        self._start, self._end, self._interlaced = start, end, interlaced
        self._hdr: HDR | None = None
        self._rotation: tuple[int, ...] | None = None
        # Frames are converted when they are read: the caller may use an array again for the next one.
        items = self._read(frames)
        preview = list(itertools.islice(items, 1))
        if not preview:
            raise InputError("The iterable has no frames.")
        self._timed = rate is None and preview[0].time is not None
        self._grid: Grid | None = None
        if self._timed:
            preview += itertools.islice(items, _PREVIEWED - 1)
            self._grid, rate = _find_rate(preview)
        self._items: Iterator[_TimedFrame] = itertools.chain(preview, items)
        self._rate = rate or default_rate
        begin = preview[0].time if self._timed and preview[0].time is not None else Fraction(0)
        end = self._find_end(frames)
        first = preview[0].video
        self.info = VideoInfo(
            name=self.name,
            container="frames",
            codec="frames",
            width=first.width,
            height=first.height,
            pixel_format=first.format.name,
            rate=self._rate,
            variable=self._timed and len(preview) > 1 and self._grid is None,
            start=begin,
            duration=None if end is None else end - begin,
            frames=len(frames) if isinstance(frames, Sized) else None,
            colour=colour_of(first, chroma_location(first)),
            hdr=self._hdr,
            rotation=self._rotation,
        )

    def _find_end(self, frames: Iterable[Any]) -> Fraction | None:
        """When the last frame ends; None if that is not known before."""
        if not self._timed:
            return len(frames) / self._rate if isinstance(frames, Sized) else None
        last = _split(frames[-1])[1] if isinstance(frames, Sequence) else None
        return None if last is None else self._snap(last) + 1 / self._rate

    @property
    def earliest_start(self) -> Fraction:
        """When the first frame is shown: there are no other streams."""
        return self.info.start

    def __iter__(self) -> Iterator[Frame | StreamPacket]:
        """The frames from the last one at or before `start` to the first one at or after `end`."""
        begin = self.info.start + (self._start or 0)
        end = None if self._end is None else self.info.start + self._end
        before: Frame | None = None  # the last one at or before the start
        for frame in self._placed():
            if self._start and frame.time <= begin:
                before = frame
                continue
            if before is not None:
                yield before
                before = None
            yield frame
            if end is not None and frame.time >= end:
                return
        if before is not None:
            yield before

    def _placed(self) -> Iterator[Frame]:
        """The frames with their exact times."""
        step = 1 / self._rate
        previous: Fraction | None = None
        for item in self._items:
            time = item.index * step
            if self._timed:
                if item.time is None:
                    raise UsageError(
                        f"Frame {item.index} has no time, but the first one has: give times with all, or none."
                    )
                time = self._snap(item.time)
                if previous is not None and time <= previous:
                    raise UsageError(
                        f"Frame {item.index} is at {float(time):g} s, the one before at {float(previous):g} s: give "
                        "increasing times."
                    )
                previous = time
            yield Frame(item.index, item.video, time, step)

    def _snap(self, time: Fraction) -> Fraction:
        return time if self._grid is None else self._grid.snap(time)

    def _read(self, frames: Iterable[Any]) -> Iterator[_TimedFrame]:
        """The items of the iterable as video frames, all of one size and format."""
        first: tuple[int, int, str] | None = None
        for index, item in enumerate(frames):
            given, time, tick = _split(item)
            video = self._read_video(given, index) if isinstance(given, av.VideoFrame) else _read_image(given, index)
            shape = video.width, video.height, video.format.name
            first = first or shape
            if shape != first:
                raise UsageError(
                    f"Frame {index} is {shape[0]}x{shape[1]}, {shape[2]}, the first one {first[0]}x{first[1]}, "
                    f"{first[2]}: bring all to one size and format."
                )
            yield _TimedFrame(index, video, time, tick)

    def _read_video(self, given: av.VideoFrame, index: int) -> av.VideoFrame:
        """A copy of a video frame, in a format that `frames.planes` reads."""
        if given.interlaced_frame and self._interlaced == "refuse":
            raise UsageError(
                f'Frame {index} is interlaced: pass `interlaced="ignore"` if it is progressive after all, or '
                "deinterlace it before."
            )
        if index == 0:
            self._hdr, self._rotation = hdr_of(given), rotation_matrix(given)
        video = to_supported_format(given)
        return video if video is not given else frame_from_planes(planes(given), given)

    def stop(self) -> None:
        """Nothing to do: nobody can interrupt the caller's iterable."""

    def close(self) -> None:
        """Let go of the iterable."""
        self._items = iter(())


def _read_image(given: Any, index: int) -> av.VideoFrame:
    array = read_images(given, f"Frame {index}").array
    if len(array) != 1:
        raise UsageError(f"Frame {index} is a batch of {len(array)} frames: give one after the other.")
    if array.dtype == np.float32:
        array = np.rint(array * np.float32(65535)).astype(np.uint16)
    return image_to_frame(array[0])


def _split(item: Any) -> tuple[Any, Fraction | None, Fraction]:
    """The frame of an item, its time, None if it has none, and the resolution of the time."""
    if isinstance(item, tuple) and len(item) == 2:
        return item[0], *_read_time(item[1])
    if isinstance(item, av.VideoFrame):
        if item.pts is None or not item.time_base:
            return item, None, Fraction(0)
        return item, item.pts * item.time_base, item.time_base
    if hasattr(item, "video") and hasattr(item, "time"):
        return item.video, *_read_time(item.time)
    return item, None, Fraction(0)


def _read_time(given: Any) -> tuple[Fraction, Fraction]:
    """A time in seconds, and its resolution."""
    if isinstance(given, numbers.Rational):
        return Fraction(given), Fraction(0)
    try:
        return Fraction(str(float(given))), _FLOAT_TICK
    except (TypeError, ValueError):
        raise UsageError(f"The time {given!r} of a frame is not a number of seconds.") from None


def _find_rate(frames: Sequence[_TimedFrame]) -> tuple[Grid | None, Fraction | None]:
    """The constant rate of the first frames, if there is one, and that or their mean rate."""
    times = [frame.time for frame in frames if frame.time is not None]
    steps = [after - before for before, after in itertools.pairwise(times)]
    if not steps or min(steps) <= 0:
        return None, None  # a single frame, or frames that are refused when they are reached
    tick = max(frame.tick for frame in frames)
    mean = len(steps) / (times[-1] - times[0])
    # A usual rate explains rounded times better than their mean does.
    grid = find_grid(times, tick, []) or find_grid(times, tick, [1 / steps[0], mean])
    return grid, mean if grid is None else grid.rate
