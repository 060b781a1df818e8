"""Reads a video: decoded frames with exact times, and the packets of every other stream.

    container ── demux ─┬─► video packets ── decode ──► Frame: the frame as the decoder gave it, and its exact time
                        └─► packets of the other streams ──► StreamPacket: copied to the output as it is

Iterating over a `Reader` yields both in file order. A conversion (`pipeline`) makes new frames between the `Frame`s
and hands each `StreamPacket` to `VideoWriter.copy`. `Reader.info` has the size, rate, colour, HDR and list of streams.

The steps between the container and the caller, each a generator over the one before it:

    _demux          packets, in file order
    _decode         decodes video packets
    _unify          converts all frames to the size and format of the first one; splits interlaced frames into fields
    _add_times      gives each frame its number and its exact time; compares the end with what the container states
    _trim           leaves out what lies outside `start` and `end`

The input is read once and memory is constant, so a film of any length and a pipe work as well as a file. The first
packets are read ahead of decoding to find the exact rate (`timeline.find_grid`), because containers round the time of
each frame. Reading goes on after damage if the decoder can; `Reader.damage` describes the first problem.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
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

from betwixt.errors import InputError
from betwixt.files import error_text
from betwixt.media.colour import chroma_location, colour_of
from betwixt.media.container import InterruptiblePipe, choose_decoder, is_raw, open_container
from betwixt.media.frames import drain_graph, to_supported_format
from betwixt.media.probe import VideoInfo, describe_stream, dynamic_hdr, hdr_of, rotation_matrix
from betwixt.media.timeline import Grid, find_grid

_PEEK_PACKETS = 240
"""Number of video packets that are read ahead to find the rate."""

_PEEK_BYTES = 64 << 20
"""The most bytes of packets held for that."""

_FIRST_PACKETS = 4
"""Number of packets of each other stream that are kept for trials of the output."""

_MAX_FAILURES = 1000
"""Number of packets that cannot be decoded after which the reader gives up."""


@dataclass(frozen=True)
class Frame:
    """A decoded frame."""

    index: int  # number in the stream, from 0
    video: av.VideoFrame  # as decoded
    time: Fraction  # exact presentation time, in seconds on the container's clock
    duration: Fraction  # in seconds, as stated by the container or else one frame of the rate


@dataclass(frozen=True)
class StreamPacket:
    """A packet of a stream other than the video, to be copied."""

    packet: av.Packet[Any]  # as it is in the input
    time: Fraction | None  # presentation time, in seconds on the container's clock


class Reader:
    """A video that is read once, from front to back.

    Args:
        source: A path, or an open binary file (a pipe).
        start: Where to begin, in seconds from the beginning of the video; earlier frames are left out.
        end: Where to stop, in seconds from the beginning of the video; None for the end.
        interlaced: What to do with interlaced video: "refuse", "deinterlace" (each field becomes a frame, which
            doubles the rate) or "ignore".
        threads: Decoder threads; 0 lets the decoder choose.

    Attributes:
        name: The input's name in messages.
        info: The properties of the video.
        stream: PyAV's video stream.
        container: The open container, for its streams, chapters and attachments.
        first_packets: The first few packets of each stream but the video, by the stream's number, as far as they are
            read.
        damage: A description of the first damage found so far, or None.
        notes: Other messages for the user.

    Raises:
        InputError: if it is not a readable video.
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
        self.first_packets: dict[int, list[av.Packet[Any]]] = {}
        self._start, self._end, self._past_end = start, end, False
        self._interlaced = interlaced
        self._latest = Fraction(0)  # the end of the last packet of any stream
        self._pipe: InterruptiblePipe | None = None
        if isinstance(source, io.FileIO) and not source.seekable() and hasattr(select, "poll"):
            self._pipe = InterruptiblePipe(source)
        try:
            self.container = open_container(source if self._pipe is None else self._pipe, self.name)
        except InputError:
            self._raise_interrupt()
            raise
        try:
            self._raise_interrupt()
            self._prepare(threads)
        except BaseException:
            self.container.close()
            raise

    def _prepare(self, threads: int) -> None:
        """Find the rate, and decode the first frame for the properties that only a frame has."""
        self.stream = self._choose_stream()
        self._decoder = choose_decoder(self.stream)
        self._decoder.thread_type = "AUTO"
        if threads:
            self._decoder.thread_count = threads
        self._tick: Fraction = self.stream.time_base
        self._packets = self._demux()
        times = self._peek()
        self._first_time = times[0] if times else Fraction(0)
        self._find_rate(times)
        if self._start:
            self._seek(times)
        self._items = self._add_times(self._unify(self._decode()))
        self._first_items: list[Frame | StreamPacket] = []
        # The packets before the first frame are kept for `__iter__`.
        first = None
        for item in self._items:
            self._first_items.append(item)
            if isinstance(item, Frame):
                first = item
                break
        if first is None:
            because = f" ({self.damage})" if self.damage else ""
            raise InputError(f"{self.name} has no frame that can be decoded{because}.")
        self.info = self._describe(first, times)
        if self.info.interlaced and self._interlaced == "refuse":
            raise InputError(
                f'{self.name} is interlaced: pass `interlaced="deinterlace"` to make each field a frame, or '
                '`interlaced="ignore"` if it is progressive after all.'
            )
        if self.info.interlaced and self._interlaced == "deinterlace":
            frames = None if self.info.frames is None else 2 * self.info.frames
            self.info = dataclasses.replace(self.info, rate=2 * self._rate, frames=frames)

    # -- opening

    def _choose_stream(self) -> Any:
        """The first video stream that is not a cover picture."""
        streams = self.container.streams
        videos = [s for s in streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not videos:
            kinds = ", ".join(sorted({s.type for s in streams}))
            content = f"only {kinds}" if kinds else "no stream at all"
            raise InputError(f"{self.name} has no video stream ({content}): give a video.")
        if videos[0].codec_context is None or videos[0].time_base is None:
            raise InputError(f"{self.name}: FFmpeg has no decoder for its video; convert it to H.264 or FFV1 first.")
        return videos[0]

    def _demux(self) -> Iterator[av.Packet[Any]]:
        streams = [s for s in self.container.streams if s.type in ("video", "audio", "subtitle", "data")]
        try:
            for packet in self.container.demux(streams):
                if packet.is_corrupt:
                    self._note_damage("a packet is marked as damaged", packet)
                if packet.stream.index != self.stream.index and packet.size:
                    first = self.first_packets.setdefault(packet.stream.index, [])
                    if len(first) < _FIRST_PACKETS:
                        first.append(packet)
                yield packet
        except av.error.FFmpegError as error:
            if not isinstance(error, av.error.EOFError):
                self._note_damage(f"reading stops there: {error_text(error)}")
        self._raise_interrupt()

    def _raise_interrupt(self) -> None:
        """Raise the Ctrl-C that ended a wait for the pipe."""
        if self._pipe is not None and self._pipe.interrupt is not None:
            raise self._pipe.interrupt

    def _peek(self) -> list[Fraction]:
        """Read ahead; return the times of the first frames, in order. The packets are kept for `_decode`."""
        self._peeked: list[av.Packet[Any]] = []
        # AVI (whose demuxer gives times in decoding order) and raw streams have no presentation times: their frames
        # follow each other at the rate.
        without_pts = self.container.format.name == "avi" or is_raw(self.container)
        self._unstamped = True
        stamps: list[int] = []
        size = 0
        for packet in self._packets:
            self._peeked.append(packet)
            size += packet.size
            if packet.stream.index == self.stream.index:
                has_pts = packet.pts is not None and not without_pts
                self._unstamped = self._unstamped and not has_pts
                stamp = packet.pts if has_pts else packet.dts
                if stamp is not None and packet.size and not packet.is_discard:
                    stamps.append(stamp)
            if len(stamps) >= _PEEK_PACKETS or size > _PEEK_BYTES:
                # Packets come in coding order: of the last few, earlier frames may still be missing.
                stamps = sorted(stamps)[: max(2, len(stamps) - 32)]
                break
        return [stamp * self._tick for stamp in sorted(set(stamps))]

    def _find_rate(self, times: list[Fraction]) -> None:
        """Set `_rate`, and `_grid`, the exact times, if the rate is constant."""
        declared = [self.stream.average_rate, self.stream.base_rate, self.stream.guessed_rate]
        if is_raw(self.container):
            # FFmpeg assumes a rate; what the stream itself states is in its decoder.
            stated = getattr(self.stream.codec_context, "framerate", None)
            if stated:
                declared = [stated]
            else:
                rate = next((r for r in declared if r), Fraction(25))
                self.notes.append(f"The stream states no rate: {float(rate):.6g} is assumed. `input_fps` sets another.")
        self._grid: Grid | None = find_grid(times, self._tick, declared) if times else None
        if self._grid is not None:
            rate = self._grid.rate
        elif len(times) > 1:
            rate = self.stream.average_rate or (len(times) - 1) / (times[-1] - times[0])
        else:
            rate = next((r for r in declared if r), None) or Fraction(25)
        self._rate = Fraction(rate)

    def _seek(self, times: list[Fraction]) -> None:
        """Seek to the last key frame before the start, if the container can."""
        target = self._first_time + (self._start or 0)
        if times and target <= times[-1]:
            return  # within what has been read ahead: decode from the beginning
        try:
            self.container.seek(int(target / self._tick), stream=self.stream, backward=True)
        except av.error.FFmpegError:
            return  # a pipe: everything before the start is read and dropped
        self._peeked = []
        self._packets = self._demux()

    def _describe(self, first: Frame, times: list[Fraction]) -> VideoInfo:
        stream, container, frame = self.stream, self.container, first.video
        duration = None
        if stream.duration and not is_raw(container):
            duration = stream.duration * self._tick
        elif container.duration and not is_raw(container):
            duration = Fraction(container.duration, av.time_base)
            if times:
                duration -= max(Fraction(0), times[0] - self._container_start())
        aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
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
            start=times[0] if times else first.time,
            duration=duration,
            frames=stream.frames or (round(duration * self._rate) if duration else None),
            colour=colour_of(frame, chroma_location(frame)),
            hdr=hdr_of(frame),
            rotation=rotation_matrix(frame),
            aspect=aspect if aspect and aspect != 1 else None,
            interlaced=self._is_interlaced(frame),
            streams=tuple(map(describe_stream, container.streams)),
            metadata=dict(container.metadata),
        )

    def _container_start(self) -> Fraction:
        """The time from which the container counts its duration."""
        if "matroska" in self.container.format.name or self.container.start_time is None:
            return Fraction(0)
        return Fraction(self.container.start_time, av.time_base)

    def _is_interlaced(self, frame: av.VideoFrame) -> bool:
        # FFmpeg's AVFieldOrder: 0 unknown, 1 progressive, 2 to 5 the four interlaced orders.
        return bool(frame.interlaced_frame) or getattr(self.stream.codec_context, "field_order", 0) in (2, 3, 4, 5)

    # -- reading

    @property
    def earliest_start(self) -> Fraction:
        """When the first of all streams begins, in seconds on the container's clock: time 0 of the output."""
        first = self.container.start_time
        return self.info.start if first is None else min(self.info.start, Fraction(first, av.time_base))

    @property
    def stated_end(self) -> Fraction | None:
        """The end that the container states for a video of variable rate, in seconds on its clock, or None.

        It ends the last frame, whose own duration is often not stated.
        """
        if self._grid is not None or not self.stream.duration:
            return None
        end: Fraction = self._first_time + self.stream.duration * self._tick
        return end

    def __iter__(self) -> Iterator[Frame | StreamPacket]:
        """Yield the frames and the other streams' packets between start and end, in file order.

        The last frame at or before the start and the first one at or after the end are included, so that frames can be
        interpolated up to the limits.
        """
        return self._trim(itertools.chain(self._first_items, self._items))

    def stop(self) -> None:
        """Stop waiting for a pipe, as if it had ended. May be called from any thread."""
        if self._pipe is not None:
            self._pipe.stopped = True

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _decode(self) -> Iterator[av.VideoFrame | StreamPacket]:
        """Decode the packets of the video stream, and wrap those of the other streams."""
        failures = 0
        end = None if self._end is None else self._first_time + self._end
        for packet in itertools.chain(self._peeked, self._packets):
            base = packet.time_base
            time = None if packet.pts is None or base is None else packet.pts * base
            if time is not None:
                self._latest = max(self._latest, time + (packet.duration or 0) * base)
            if packet.stream.index != self.stream.index:
                if packet.dts is not None or packet.pts is not None:
                    yield StreamPacket(packet, time)
                continue
            if self._past_end:
                # Only packets of other streams up to the end are still to come, and they are not far behind.
                if end is not None and packet.dts is not None and packet.dts * base > end + 10:
                    return
                continue
            try:
                frames = self._decoder.decode(packet)
            except av.error.EOFError:
                return
            except av.error.FFmpegError as error:
                failures += 1
                self._note_damage(f"a frame cannot be decoded ({error_text(error)})", packet)
                if failures > _MAX_FAILURES:
                    return
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self._note_damage("a frame is damaged", packet)
                yield frame
        self._peeked = []

    def _unify(self, items: Iterator[av.VideoFrame | StreamPacket]) -> Iterator[av.VideoFrame | StreamPacket]:
        """Convert all frames to the size and format of the first one; deinterlace them where that is asked for."""
        shape: tuple[int, int, str] | None = None
        graph: av.filter.Graph | None = None
        for item in items:
            if isinstance(item, StreamPacket):
                yield item
                continue
            frame = to_supported_format(item)
            if shape is None:
                shape = (frame.width, frame.height, frame.format.name)
                if self._interlaced == "deinterlace" and self._is_interlaced(frame):
                    graph = _build_deinterlacer(frame, self._tick)
            elif (frame.width, frame.height, frame.format.name) != shape:
                frame = frame.reformat(width=shape[0], height=shape[1], format=shape[2])
                note = f"The video changes its size or format on the way; all is brought to {shape[0]}x{shape[1]}."
                if note not in self.notes:
                    self.notes.append(note)
            if graph is None:
                yield frame
            else:
                yield from _deinterlace(graph, frame)
        if graph is not None:
            yield from _deinterlace(graph, None)

    def _add_times(self, items: Iterator[av.VideoFrame | StreamPacket]) -> Iterator[Frame | StreamPacket]:
        """Give each frame its number, its exact time and its duration."""
        index = 0
        previous: Fraction | None = None
        duration = step = 1 / self._rate
        grid = self._grid
        for item in items:
            if isinstance(item, StreamPacket):
                yield item
                continue
            base = item.time_base or self._tick
            if base < self._tick and step == 1 / self._rate:  # fields: the deinterlacer halves the time base
                step = step / 2
                grid = None if grid is None else Grid(2 * grid.rate, grid.origin, grid.tolerance)
            stamp = None if self._unstamped else item.pts
            time = stamp * base if stamp is not None else (self._first_time if previous is None else previous + step)
            if grid is not None:
                time = grid.snap(time)
            if previous is not None and time <= previous:
                continue  # a repeated or broken time stamp: the frame is never shown
            duration = item.duration * base if item.duration and item.duration > 0 else step
            if grid is not None and abs(duration - step) <= 2 * self._tick:
                duration = step
            if previous is None and grid is not None and self._start:
                index = max(0, grid.number(time))
            previous = time
            yield Frame(index, item, time, duration)
            index += 1
        if previous is not None:
            self._check_truncated(previous + duration)

    def _trim(self, items: Iterator[Frame | StreamPacket]) -> Iterator[Frame | StreamPacket]:
        """Leave out what lies outside `start` and `end`; see `__iter__`."""
        start = self.info.start + (self._start or 0)
        end = None if self._end is None else self.info.start + self._end
        before: Frame | None = None
        for item in items:
            if isinstance(item, StreamPacket):
                late = end is not None and item.time is not None and item.time >= end
                early = self._start and item.time is not None and item.time < start
                if not late and not early:
                    yield item
            elif self._past_end:
                continue
            elif self._start and item.time <= start:
                before = item
            else:
                if before is not None:
                    yield before
                    before = None
                yield item
                self._past_end = end is not None and item.time >= end
        if before is not None:
            yield before

    # -- damage

    def _note_damage(self, what: str, packet: av.Packet[Any] | None = None) -> None:
        """Remember the first damage, and where it is."""
        if self.damage is None:
            if packet is not None and packet.pts is not None:
                what += f" at {float(packet.pts * packet.time_base):.2f} s"
            self.damage = what

    def _check_truncated(self, end: Fraction) -> None:
        """Compare the end of the video with the end that the container states."""
        if self._end is not None or self.damage is not None:
            return
        container = self.container
        size = max(0, container.size)  # a pipe has none
        if container.format.name == "mpegts" and size % 188 and size % 192:
            self._note_damage("the file is cut off in the middle of a packet")
        elif self.stream.duration:
            missing = self._first_time + self.stream.duration * self._tick - end
            if missing > max(3 / self._rate, Fraction(1, 10)):
                self._note_damage(f"the file is cut off: {float(missing):.1f} s of video are missing at its end")
        elif container.duration and container.format.name.startswith(("matroska", "flv")):
            stated = Fraction(container.duration, av.time_base) + self._container_start()
            missing = stated - max(end, self._latest)
            if missing > max(3 / self._rate, Fraction(3, 10)):
                self._note_damage(f"the file is cut off: {float(missing):.1f} s are missing at its end")


def _build_deinterlacer(first: av.VideoFrame, tick: Fraction) -> av.filter.Graph:
    """A filter (bwdif) that makes a progressive frame of each field."""
    graph = av.filter.Graph()
    base = first.time_base or tick
    source = graph.add_buffer(width=first.width, height=first.height, format=first.format, time_base=base)
    bwdif = graph.add("bwdif", "mode=send_field:deint=all")
    graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
    return graph


def _deinterlace(graph: av.filter.Graph, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
    """Filter a frame (None: the end); yield the finished frames. The filter looks one frame ahead."""
    graph.push(frame)
    for field in drain_graph(graph):
        field.duration = 0  # the filter gives each field the duration of the whole frame
        yield field
