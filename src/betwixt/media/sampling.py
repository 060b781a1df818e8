"""What can be learnt about a video within a given time: the times of its packets, and frames from several places.

Neither reads the whole of a long file. The file is read through `_TimedFile`, which seems to end when the time is
up, so that FFmpeg never searches on for a place to seek to.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container
import av.error

from betwixt.media.clock import ContinuousClock, Join
from betwixt.media.container import has_no_times, may_jump
from betwixt.media.decoder import Decoder
from betwixt.media.frames import to_supported_format
from betwixt.media.reader import Frame, Reader

_BUFFER = 256 << 10
"""Bytes that FFmpeg reads at a time."""


@dataclass(frozen=True)
class PacketTimes:
    """What the packets of a video stream say, without decoding them.

    Attributes:
        frames: How many packets were read.
        times: When their frames are shown, in seconds, in order; empty if the format does not say.
        end: When the last of these frames ends; None if `times` is empty.
        complete: Whether these are all packets of the stream.
    """

    frames: int
    times: list[Fraction]
    end: Fraction | None
    complete: bool


def read_packet_times(video: Reader, until: float) -> PacketTimes:
    """Read the packets of a video file, up to its end or to the moment `until` of `time.monotonic`."""
    count, stamps = 0, list[Fraction]()
    end: Fraction | None = None
    stamped = not has_no_times(video.container)
    with _open(video, until) as (container, file):
        if container is None:
            return PacketTimes(0, [], None, False)
        stream: Any = container.streams[video.stream.index]
        streams = [s for s in container.streams if s.type in ("video", "audio")]
        clock = ContinuousClock(_packets(container, streams), stream.index, may_jump(container), lambda _: None)
        for packet in clock:
            if isinstance(packet, Join) or packet.stream_index != stream.index:
                continue
            if not packet.size or packet.is_discard:
                continue
            count += 1
            if packet.pts is None:
                stamped = False
                continue
            begin = packet.pts * stream.time_base
            stamps.append(begin)
            last = begin + (packet.duration or 0) * stream.time_base
            end = last if end is None else max(end, last)
        complete = not file.expired
    return PacketTimes(count, sorted(stamps) if stamped else [], end if stamped else None, complete)


def read_windows(
    video: Reader, places: list[Fraction], after: Fraction, frames: int, until: float
) -> Iterator[list[Frame]]:
    """Decode a few frames from each of several places in a file, as long as there is time.

    Args:
        video: The file; what it reads itself is not touched.
        places: Times in seconds, on the container's clock, in order; a window begins at the key frame before its place.
        after: Only windows that begin after this time, and after the window before, are decoded.
        frames: How many frames a window has at most.
        until: When to stop, by `time.monotonic`.

    Yields:
        The frames of each window, whose times are approximate where the container has none.
    """
    with _open(video, until) as (container, _), contextlib.ExitStack() as stack:
        if container is None:
            return
        stream: Any = container.streams[video.stream.index]
        step = 1 / video.info.rate
        decoder = Decoder(stream, 0)
        stack.callback(decoder.close)
        for number, place in enumerate(places):
            if time.monotonic() >= until:
                return
            # Each window has an equal share of the time that is left.
            share = time.monotonic() + (until - time.monotonic()) / (len(places) - number)
            window: list[Frame] = []
            try:
                container.seek(int(place / stream.time_base), stream=stream)
                decoder.flush()
            except av.error.FFmpegError:
                return
            for packet in _packets(container, stream):
                stamp = packet.dts if packet.pts is None else packet.pts
                if not window and stamp is not None and stamp * stream.time_base <= after:
                    break  # the key frame is one that is known already
                try:
                    decoded = decoder.decode(packet)
                except (av.error.FFmpegError, EOFError):
                    continue
                for frame in decoded:
                    at = place + len(window) * step
                    if frame.pts is not None and frame.time_base is not None:
                        at = frame.pts * frame.time_base
                    if not window or at > window[-1].time:
                        window.append(Frame(len(window), to_supported_format(frame), at, step))
                if len(window) >= frames or time.monotonic() >= share:
                    break
            if len(window) > 1:
                after = window[-1].time
                yield window


class _TimedFile(io.RawIOBase):
    """A file that ends when the time is up.

    Attributes:
        expired: Whether it has ended for that reason.
    """

    def __init__(self, path: Path, until: float) -> None:
        self._file, self._until, self.expired = open(path, "rb", buffering=0), until, False  # noqa: SIM115

    def read(self, size: int = -1) -> bytes:
        if time.monotonic() >= self._until:
            self.expired = True
            return b""
        return self._file.read(size) or b""

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()


@contextlib.contextmanager
def _open(video: Reader, until: float) -> Iterator[tuple[av.container.InputContainer | None, _TimedFile]]:
    """Open a video once more, on a `_TimedFile`; the container is None if the time is up before it is open."""
    file = _TimedFile(Path(video.name), until)
    name = video.container.format.name.split(",")[0]
    container: av.container.InputContainer | None = None
    try:
        with contextlib.suppress(av.error.FFmpegError):
            container = av.open(file, "r", format=name, metadata_errors="replace", buffer_size=_BUFFER)
        if container is not None and len(container.streams) <= video.stream.index:
            container.close()
            container = None
        yield container, file
    finally:
        if container is not None:
            container.close()
        file.close()


def _packets(container: av.container.InputContainer, streams: Any) -> Iterator[av.Packet[Any]]:
    """The packets of a stream or of several, up to their end or to damage."""
    try:
        yield from container.demux(streams)
    except (av.error.FFmpegError, EOFError, IndexError):
        return  # IndexError: a stream appeared on the way
