"""Reading a video: frames with exact times, and the packets of every other stream.

    container ── demux ──► video packets ── decode ──► Frame (the decoded frame as it came, its exact time)
                      └──► packets of the other streams, in file order, untouched

Nothing is held but what the decoder holds: a film of any length is read in constant memory, once, so that a pipe
serves as well as a file. The first packets are looked at before decoding to find the exact rate (`timeline.Grid`).

Damage does not stop the reading where the decoder can go on; what was wrong is told in `Reader.damage`.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import os
import select
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
import av.container
import av.error
import av.filter
import av.logging

from betwixt.errors import InputError
from betwixt.files import error_text
from betwixt.media.colour import chroma_location, colour_of
from betwixt.media.frames import to_supported_format
from betwixt.media.probe import HDR, StreamInfo, VideoInfo, dynamic_hdr, hdr_of, rotation_matrix
from betwixt.media.timeline import Grid, find_grid

__all__ = ["Frame", "Reader", "StreamPacket"]

PEEK_PACKETS = 240
"""How many video packets are looked at to find the rate."""

PEEK_BYTES = 64 << 20
"""How many bytes are held for that at the most."""


@dataclass(frozen=True)
class Frame:
    """A decoded frame.

    Attributes:
        index: Its number in the stream, from 0.
        video: The frame as the decoder gave it.
        time: When it begins, in seconds on the container's clock; exact.
        duration: How long it stands, in seconds, as far as the container says; else one frame of the rate.
    """

    index: int
    video: av.VideoFrame
    time: Fraction
    duration: Fraction


@dataclass(frozen=True)
class StreamPacket:
    """A packet of another stream than the video, to be copied.

    Attributes:
        packet: The packet as it stands in the input.
        time: Its presentation time in seconds on the container's clock, or None.
    """

    packet: av.Packet[Any]
    time: Fraction | None


class Reader:
    """A video to be read once, from front to back.

    Args:
        source: A path, or an open binary file (a pipe).
        start: Where to begin, in seconds from the video's beginning; frames before it are left out.
        end: Where to stop, likewise; None for the end.
        interlaced: What to do with interlaced video: "refuse", "deinterlace" (each field becomes a frame, so the
            rate doubles) or "ignore".
        threads: Decoder threads; 0 for as many as the decoder likes.

    Raises:
        InputError: if it is no video that can be read; in one line.
    """

    def __init__(
        self,
        source: str | Path | IO[bytes],
        *,
        start: Fraction | None = None,
        end: Fraction | None = None,
        interlaced: str = "refuse",
        threads: int = 0,
    ) -> None:
        self.name = str(source) if isinstance(source, (str, Path)) else "standard input"
        self.damage: str | None = None
        self.notes: list[str] = []
        self._start, self._end = start, end
        self._interlaced = interlaced
        self._pipe: _Pipe | None = None
        if isinstance(source, io.FileIO) and not source.seekable() and hasattr(select, "poll"):
            self._pipe = _Pipe(source)
        try:
            self._container = _open(source if self._pipe is None else self._pipe, self.name)
        except InputError:
            self._check_pipe()
            raise
        try:
            self._check_pipe()
            self._prepare(threads)
        except BaseException:
            self._container.close()
            raise

    def _prepare(self, threads: int) -> None:
        videos = [s for s in self._container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not videos:
            kinds = ", ".join(sorted({s.type for s in self._container.streams}))
            what = f"only {kinds}" if kinds else "no stream at all"
            raise InputError(f"{self.name} has no video stream ({what}): give a file with a picture.")
        self.stream = videos[0]
        context = self.stream.codec_context
        if context is None or self.stream.time_base is None:
            raise InputError(f"{self.name}: no decoder for its video is at hand; convert it to H.264 or FFV1 first.")
        context.thread_type = "AUTO"
        if threads:
            context.thread_count = threads
        self._tick: Fraction = self.stream.time_base
        self._peeked: list[av.Packet[Any]] = []
        # AVI and raw streams state no presentation times (what the demuxer gives for AVI is decoding order): their
        # frames follow each other at the rate
        self._without_pts = self._container.format.name == "avi"
        self._unstamped = True
        self._packets = self._demux()
        times = self._peek()
        self._first_time = times[0] if times else Fraction(0)
        self._video_done = False
        declared = [self.stream.average_rate, self.stream.base_rate, self.stream.guessed_rate]
        self._grid: Grid | None = find_grid(times, self._tick, declared) if times else None
        stated = next((r for r in declared if r), None)
        if self._grid is not None:
            rate = self._grid.rate
        elif len(times) > 1:
            rate = self.stream.average_rate or (len(times) - 1) / (times[-1] - times[0])
        else:
            rate = stated or Fraction(25)
        self._rate = Fraction(rate)
        if self._start:
            self._seek(times)
        self._decoded = self._number(self._decoded_items())
        first = next(self._frames_only(), None)
        if first is None:
            raise InputError(f"{self.name} holds no picture that can be decoded{self._because()}.")
        self.info = self._describe(first, times)
        if self.info.interlaced:
            if self._interlaced == "refuse":
                raise InputError(
                    f"{self.name} is interlaced: pass --interlaced deinterlace to make each field a frame, "
                    "or --interlaced ignore if it is progressive after all."
                )
            if self._interlaced == "deinterlace":
                frames = None if self.info.frames is None else 2 * self.info.frames
                self.info = dataclasses.replace(self.info, rate=2 * self._rate, frames=frames)

    # -- opening

    def _demux(self) -> Iterator[av.Packet[Any]]:
        container = self._container
        streams = [s for s in container.streams if s.type in ("video", "audio", "subtitle", "data")]
        try:
            for packet in container.demux(streams):
                if packet.is_corrupt:
                    self._damaged("a packet is marked as damaged", packet)
                yield packet
        except av.error.FFmpegError as error:
            if not isinstance(error, av.error.EOFError):
                self._damaged(f"reading stops there: {error_text(error)}")
        self._check_pipe()

    def _check_pipe(self) -> None:
        """Raise what interrupted the waiting for a pipe."""
        if self._pipe is not None and self._pipe.interrupt is not None:
            raise self._pipe.interrupt

    def _peek(self) -> list[Fraction]:
        """The times of the first frames, in order; their packets are kept for `_decoded_items`."""
        found: list[int] = []
        size = 0
        for packet in self._packets:
            self._peeked.append(packet)
            size += packet.size
            if packet.stream.index == self.stream.index:
                self._unstamped = self._unstamped and (packet.pts is None or self._without_pts)
                stamp = packet.pts if packet.pts is not None and not self._without_pts else packet.dts
                if stamp is not None and packet.size and not packet.is_discard:
                    found.append(stamp)
            if len(found) >= PEEK_PACKETS or size > PEEK_BYTES:
                # in coding order, the last few may have a later frame missing before them
                found = sorted(found)[: max(2, len(found) - 32)]
                break
        return [stamp * self._tick for stamp in sorted(set(found))]

    def _seek(self, times: list[Fraction]) -> None:
        target = self._first_time + (self._start or 0)
        if times and target <= times[-1]:
            return  # within what has been peeked at: decode from the beginning
        try:
            self._container.seek(int(target / self._tick), stream=self.stream, backward=True)
        except av.error.FFmpegError:
            return  # a pipe: read up to there
        self._peeked = []
        self._packets = self._demux()

    def _describe(self, first: Frame, times: list[Fraction]) -> VideoInfo:
        stream, container, frame = self.stream, self._container, first.video
        origin = times[0] if times else first.time
        duration = None
        if stream.duration:
            duration = stream.duration * self._tick
        elif container.duration:
            duration = Fraction(container.duration, av.time_base)
            if times:
                duration -= max(Fraction(0), times[0] - self._container_start())
        count = stream.frames or (round(duration * self._rate) if duration else None)
        matrix = rotation_matrix(frame)
        aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
        colour = colour_of(frame, chroma_location(frame))
        hdr: HDR | None = hdr_of(frame)
        if lost := dynamic_hdr(frame):
            self.notes.append(f"{lost} metadata describes single frames and is left out; the base layer stays.")
        return VideoInfo(
            name=self.name,
            container=container.format.name,
            codec=stream.codec_context.name,
            width=frame.width,
            height=frame.height,
            pixel_format=frame.format.name,
            rate=self._rate,
            variable=self._grid is None and len(times) > 2,
            start=origin,
            duration=duration,
            frames=count,
            colour=colour,
            hdr=hdr,
            rotation=matrix,
            aspect=aspect if aspect and aspect != 1 else None,
            interlaced=bool(frame.interlaced_frame) or self._field_order(),
            streams=tuple(_stream_info(s) for s in container.streams),
            metadata=dict(container.metadata),
        )

    def _container_start(self) -> Fraction:
        """The time from which the container counts its duration."""
        if "matroska" in self._container.format.name or self._container.start_time is None:
            return Fraction(0)
        return Fraction(self._container.start_time, av.time_base)

    def _field_order(self) -> bool:
        # 0 unknown, 1 progressive, 2 to 5 the four interlaced orders
        return getattr(self.stream.codec_context, "field_order", 0) in (2, 3, 4, 5)

    # -- reading

    @property
    def container(self) -> av.container.InputContainer:
        """The open container, for what else is in it: streams, chapters, attachments."""
        return self._container

    @property
    def earliest_start(self) -> Fraction:
        """When the first of all streams begins, in seconds on the container's clock: what becomes 0 in an output."""
        first = self._container.start_time
        return self.info.start if first is None else min(self.info.start, Fraction(first, av.time_base))

    @property
    def stated_end(self) -> Fraction | None:
        """Where the video ends on the container's clock, for variable rates whose last frame states no length."""
        if self._grid is not None or not self.stream.duration:
            return None
        return self._first_time + self.stream.duration * self._tick

    def __iter__(self) -> Iterator[Frame | StreamPacket]:
        """The frames and the other streams' packets, in file order; frames outside of start and end left out."""
        return self._trimmed(itertools.chain(self._held, self._decoded))

    def stop(self) -> None:
        """Give up waiting for a pipe (an unbuffered file): it ends for whoever reads it. From any thread."""
        if self._pipe is not None:
            self._pipe.over = True

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _frames_only(self) -> Iterator[Frame]:
        self._held: list[Frame | StreamPacket] = []
        for item in self._decoded:
            self._held.append(item)
            if isinstance(item, Frame):
                yield item

    def _trimmed(self, items: Iterator[Frame | StreamPacket]) -> Iterator[Frame | StreamPacket]:
        start = self.info.start + (self._start or 0)
        end = None if self._end is None else self.info.start + self._end
        before: Frame | None = None
        for item in items:
            if isinstance(item, StreamPacket):
                late = end is not None and item.time is not None and item.time >= end
                early = self._start and item.time is not None and item.time < start
                if not late and not early:
                    yield item
            elif self._video_done:
                continue
            elif self._start and item.time <= start:
                before = item
            else:
                if before is not None:
                    yield before
                    before = None
                yield item
                self._video_done = end is not None and item.time >= end
        if before is not None:
            yield before

    def _decoded_items(self) -> Iterator[av.VideoFrame | StreamPacket]:
        failures = 0
        end = None if self._end is None else self._first_time + self._end
        self._reached = Fraction(0)
        for packet in itertools.chain(self._peeked, self._packets):
            base = packet.time_base
            time = None if packet.pts is None or base is None else packet.pts * base
            if time is not None:
                self._reached = max(self._reached, time + (packet.duration or 0) * base)
            if packet.stream.index != self.stream.index:
                if packet.dts is not None or packet.pts is not None:
                    yield StreamPacket(packet, time)
                continue
            if self._video_done:
                # only the other streams' packets up to the end are still wanted; they are not far behind
                if end is not None and packet.dts is not None and packet.dts * base > end + 10:
                    return
                continue
            try:
                decoded = packet.decode()
            except av.error.EOFError:
                return
            except av.error.FFmpegError as error:
                failures += 1
                self._damaged(f"a frame cannot be decoded ({error_text(error)})", packet)
                if failures > 1000:
                    return
                continue
            for frame in decoded:
                if frame.is_corrupt:
                    self._damaged("a frame is damaged", packet)
                yield frame
        self._peeked = []

    def _number(self, items: Iterator[av.VideoFrame | StreamPacket]) -> Iterator[Frame | StreamPacket]:
        """Give each frame its exact time."""
        index = 0
        previous: Fraction | None = None
        length = step = 1 / self._rate
        grid = self._grid
        for item in self._of_one_shape(items):
            if isinstance(item, StreamPacket):
                yield item
                continue
            base = item.time_base or self._tick
            if base < self._tick and step == 1 / self._rate:  # fields: the filter halves the time base
                step = step / 2
                grid = None if grid is None else Grid(2 * grid.rate, grid.origin, grid.tolerance)
            stamp = None if self._unstamped else item.pts
            time = stamp * base if stamp is not None else (self._first_time if previous is None else previous + step)
            if grid is not None:
                time = grid.snap(time)
            if previous is not None and time <= previous:
                continue  # a frame that stands for no time: a repeated or broken stamp
            length = item.duration * base if item.duration and item.duration > 0 else step
            if grid is not None and abs(length - step) <= 2 * self._tick:
                length = step
            if previous is None and grid is not None and self._start:
                index = max(0, grid.number(time))
            previous = time
            yield Frame(index, item, time, length)
            index += 1
        if previous is not None:
            self._check_complete(previous + length)

    def _of_one_shape(self, items: Iterator[av.VideoFrame | StreamPacket]) -> Iterator[av.VideoFrame | StreamPacket]:
        """Bring all frames to the first one's size and format, and fields to frames where that is wanted."""
        shape: tuple[int, int, str] | None = None
        fields: _Deinterlacer | None = None
        for item in items:
            if isinstance(item, StreamPacket):
                yield item
                continue
            frame = to_supported_format(item)
            if shape is None:
                shape = (frame.width, frame.height, frame.format.name)
                if self._interlaced == "deinterlace" and (frame.interlaced_frame or self._field_order()):
                    fields = _Deinterlacer(frame, self._tick)
            elif (frame.width, frame.height, frame.format.name) != shape:
                frame = frame.reformat(width=shape[0], height=shape[1], format=shape[2])
                note = f"The picture changes its size or format on the way; all is brought to {shape[0]}x{shape[1]}."
                if note not in self.notes:
                    self.notes.append(note)
            if fields is None:
                yield frame
            else:
                yield from fields.push(frame)
        if fields is not None:
            yield from fields.flush()

    def _check_complete(self, end: Fraction) -> None:
        """Compare where the video ended with where the container says it does."""
        if self._end is not None or self.damage is not None:
            return
        size = max(0, self._container.size)  # a pipe has none
        if self._container.format.name == "mpegts" and size % 188 and size % 192:
            self._damaged("the file is cut off in the middle of a packet")
        elif self.stream.duration:
            missing = self._first_time + self.stream.duration * self._tick - end
            if missing > max(3 / self._rate, Fraction(1, 10)):
                self._damaged(f"the file is cut off: {float(missing):.1f} s of video are missing at its end")
        elif self._container.duration and self._container.format.name.startswith(("matroska", "flv")):
            stated = Fraction(self._container.duration, av.time_base) + self._container_start()
            missing = stated - max(end, self._reached)
            if missing > max(3 / self._rate, Fraction(3, 10)):
                self._damaged(f"the file is cut off: {float(missing):.1f} s are missing at its end")

    # -- damage

    def _damaged(self, what: str, packet: av.Packet[Any] | None = None) -> None:
        if self.damage is None:
            place = ""
            if packet is not None and packet.pts is not None:
                place = f" at {float(packet.pts * packet.time_base):.2f} s"
            self.damage = f"{what}{place}"

    def _because(self) -> str:
        return f" ({self.damage})" if self.damage else ""


class _Deinterlacer:
    """Turns each interlaced frame into two progressive ones, one for each field (FFmpeg's bwdif)."""

    def __init__(self, first: av.VideoFrame, tick: Fraction) -> None:
        self._graph = av.filter.Graph()
        source = self._graph.add_buffer(
            width=first.width, height=first.height, format=first.format, time_base=first.time_base or tick
        )
        bwdif = self._graph.add("bwdif", "mode=send_field:deint=all")
        sink = self._graph.add("buffersink")
        source.link_to(bwdif)
        bwdif.link_to(sink)
        self._graph.configure()

    def push(self, frame: av.VideoFrame) -> list[av.VideoFrame]:
        """Put a frame in; take out the fields' frames that are finished (the filter looks one frame ahead)."""
        self._graph.push(frame)
        return self._pull()

    def flush(self) -> list[av.VideoFrame]:
        """The rest."""
        self._graph.push(None)
        return self._pull()

    def _pull(self) -> list[av.VideoFrame]:
        frames: list[av.VideoFrame] = []
        while True:
            try:
                frame = self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return frames
            frame.duration = 0  # the filter passes the whole frame's on to each field
            frames.append(frame)


class _Pipe:
    """A file that one thread waits for, and another can say that it is over.

    Attributes:
        over: Whether to wait no more.
        interrupt: What interrupted the waiting. FFmpeg, which asks for what is read, would not hand it on.
    """

    def __init__(self, file: io.FileIO) -> None:
        self._file, self.over = file, False
        self.interrupt: KeyboardInterrupt | None = None
        self._ready = select.poll()
        self._ready.register(file, select.POLLIN)

    def read(self, size: int) -> bytes:
        """Up to so many bytes; none at the end."""
        try:
            while not self.over:
                if self._ready.poll(100):
                    return self._file.read(size) or b""
        except KeyboardInterrupt as error:
            self.over, self.interrupt = True, error
        return b""


def _open(source: str | Path | IO[bytes] | _Pipe, name: str) -> av.container.InputContainer:
    if isinstance(source, (str, Path)):
        path = Path(source)
        if path.is_dir():
            raise InputError(
                f"{name} is a folder without images: give a video, or a folder of PNG, JPEG, TIFF or WebP."
            )
        if not path.exists() and "://" not in name:
            raise InputError(f"{name} does not exist: check the path.")
        if path.is_file() and path.stat().st_size == 0:
            raise InputError(f"{name} is empty (0 bytes): it holds no video.")
        if path.exists() and not os.access(path, os.R_OK):
            raise InputError(f"{name} cannot be read: check its permissions.")
    try:
        return av.open(str(source) if isinstance(source, Path) else source, mode="r", metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise InputError(_open_failure(error, source, name)) from None
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}.") from None


def _open_failure(error: av.error.FFmpegError, source: Any, name: str) -> str:
    if _lacks_index(source):
        return f"{name} is cut off: its index (moov) is missing, so no player can read it; copy or record it again."
    if isinstance(error, av.error.EOFError):
        return f"{name} holds no picture: it ends right after its header."
    if isinstance(error, av.error.InvalidDataError):
        return f"{name} is not a video that can be read: its content fits no known format."
    return f"{name} cannot be read: {error_text(error)}."


def _lacks_index(source: Any) -> bool:
    """Whether an ISO media file (mp4, mov) has no moov box."""
    if not isinstance(source, (str, Path)) or not Path(source).is_file():
        return False
    with open(source, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        position, first = 0, True
        while position + 8 <= size:
            file.seek(position)
            head = file.read(16)
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if first and kind != b"ftyp":
                return False
            if kind == b"moov":
                return position + length > size
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if length < 8:
                return kind == b"mdat"
            position += length
            first = False
    return not first


def _stream_info(stream: Any) -> StreamInfo:
    context = getattr(stream, "codec_context", None)
    codec = context.name if context is not None else (getattr(stream, "name", None) or "")
    if stream.type == "attachment":
        codec = stream.metadata.get("filename", codec)
    return StreamInfo(
        index=stream.index,
        kind=stream.type,
        codec=codec or "unknown",
        language=stream.metadata.get("language"),
        title=stream.metadata.get("title"),
    )
