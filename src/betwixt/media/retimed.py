"""A video whose frames are shown at another rate than it states."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO, Self

from av.audio.stream import AudioStream

from betwixt.errors import UsageError
from betwixt.media.reader import Frame, Reader, StreamPacket
from betwixt.media.timeline import parse_time

_BEHIND = 10
"""Seconds that packets of one stream may be stored behind those of another."""


def _length(stream: AudioStream) -> Fraction | None:
    """The length of a stream in seconds, as stated by its container; None if unknown."""
    if stream.duration and stream.time_base:
        return stream.duration * stream.time_base
    try:
        return parse_time(stream.metadata["DURATION"])  # Matroska
    except (KeyError, UsageError):
        return None


class RetimedReader:
    """A video read with its frames evenly spaced at `rate`, whatever times it states. It has the interface of `Reader`.

    The first frame keeps its time. The packets of the other streams keep theirs: `to_stream_time` leads from the new
    times of frames to these.

    Args:
        source: A path, or an open binary file.
        rate: Frames per second; of interlaced video that becomes frames, the fields have twice this rate.
        start: Where to begin, in seconds of the new times.
        end: Where to stop, in seconds of the new times; None for the end.
        stream: As for `Reader`.
        interlaced: As for `Reader`.
        threads: As for `Reader`.

    Attributes:
        stated: The video as it states its times.
        pace: How many times longer the video lasts at this rate.
        stream_pace: How many times longer the other streams are to last: `pace`, or 1 to leave them as they are.

    Raises:
        InputError: if it is not a readable video.
    """

    def __init__(
        self,
        source: str | Path | IO[bytes],
        rate: Fraction,
        *,
        start: Fraction | None = None,
        end: Fraction | None = None,
        stream: int | None = None,
        interlaced: str = "refuse",
        threads: int = 0,
    ) -> None:
        self.stated = reader = Reader(source, stream=stream, interlaced=interlaced, threads=threads)
        info = reader.info
        fields = 2 if info.interlaced and interlaced == "deinterlace" else 1
        self._rate = rate * fields
        self.pace = self.stream_pace = info.rate / self._rate
        self.info = dataclasses.replace(
            info,
            rate=self._rate,
            variable=False,
            duration=None if info.frames is None else info.frames / self._rate,
        )
        self.name, self.container = reader.name, reader.container
        self._begin = self.info.start + (start or 0)
        self._end = None if end is None else self.info.start + end

    @property
    def damage(self) -> str | None:
        """A description of the first damage found so far, or None."""
        return self.stated.damage

    @property
    def notes(self) -> list[str]:
        """Other messages for the user."""
        return [note for note in self.stated.notes if "`input_fps`" not in note]  # an assumed rate is not used

    @property
    def earliest_start(self) -> Fraction:
        """When the first of all streams begins, on the clock of the new times."""
        start = self.info.start
        return start + (self.stated.earliest_start - start) * self.stream_pace

    @property
    def stated_end(self) -> Fraction | None:
        """None: the last frame is as long as the others."""
        return None

    @property
    def sound_fits(self) -> bool:
        """Whether the sound is as long as the frames at their new rate rather than at the stated one."""
        lengths = [length for s in self.container.streams.audio if (length := _length(s)) is not None]
        new = self.info.duration
        return bool(lengths) and new is not None and abs(max(lengths) - new) < abs(max(lengths) - new / self.pace)

    def to_stream_time(self, time: Fraction) -> Fraction:
        """The time of the other streams that is shown at `time`."""
        return self.info.start + (time - self.info.start) / self.stream_pace

    def __iter__(self) -> Iterator[Frame | StreamPacket]:
        """The frames and the other streams' packets between start and end, in file order, as by `Reader`."""
        step = 1 / self._rate
        first = self._begin, self.to_stream_time(self._begin)
        last = None if self._end is None else (self._end, self.to_stream_time(self._end))
        index = 0
        finished = False
        for item in self.stated:
            if isinstance(item, StreamPacket):
                early = self._begin > self.info.start and item.time is not None and item.time < first[1]
                late = last is not None and item.time is not None and item.time >= last[1]
                if not early and not late:
                    yield item
                elif finished and last is not None and item.time is not None and item.time > last[1] + _BEHIND:
                    return
                continue
            time = self.info.start + index * step
            index += 1
            # The last frame at or before the start and the first one at or after the end are among them.
            if time + step > first[0] and not finished:
                yield Frame(index - 1, item.video, time, step)
                finished = last is not None and time >= last[0]
            if finished and not self.info.streams[1:]:
                return

    def stop(self) -> None:
        """Stop waiting for a pipe, as if it had ended. May be called from any thread."""
        self.stated.stop()

    def close(self) -> None:
        """Close the file."""
        self.stated.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
