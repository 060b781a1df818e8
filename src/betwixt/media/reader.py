"""Reads a video: decoded frames with exact times, and the packets of every other stream.

    demuxer ─┬─► video packets ── decode ──► Frame: the frame as the decoder gave it, and its exact time
             └─► packets of the other streams ──► StreamPacket: copied to the output as it is

Iterating over a `Reader` yields both in file order. A conversion (`pipeline`) makes new frames between the `Frame`s
and hands each `StreamPacket` to `VideoWriter.copy`. `Reader.info` has the size, rate, colour, HDR and list of streams.

The steps between the packets (`media.demuxer`) and the caller, each a generator over the one before it:

    _decode         decodes video packets
    _unify          converts all frames to the size and format of the first one; splits interlaced frames into fields
    _place          gives each frame its exact time
    _number         gives each frame its number and its duration; repeats those that AVI repeats
    _trim           leaves out what lies outside `start` and `end`

The input is read once and memory is constant, so a film of any length and a pipe work as well as a file. The first
packets are read ahead of decoding to find the exact rate (`timeline.find_grid`), because containers round the time of
each frame. Reading goes on after damage if the decoder can; `Reader.damage` describes the first problem.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
import av.error

from betwixt.errors import InputError
from betwixt.files import error_text
from betwixt.media.clock import Join
from betwixt.media.container import container_start, is_raw
from betwixt.media.decoder import Decoder
from betwixt.media.demuxer import Demuxer, leave_out
from betwixt.media.frames import to_supported_format
from betwixt.media.interlacing import Deinterlacer, states_interlaced
from betwixt.media.prescan import find_interlaced, video_length
from betwixt.media.preview import Preview, find_rate, read_preview
from betwixt.media.probe import describe_video
from betwixt.media.timeline import Grid, Spreader

_MAX_FAILURES = 1000
"""Number of packets that cannot be decoded after which the reader gives up."""

_MAX_UNREAD = 0.1
"""The part of a file behind the last video packet that is not worth a message."""

_MARGINS = (Fraction(0), Fraction(10), Fraction(60))
"""How many seconds before `start` to seek, until what is read begins early enough."""


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

    packet: av.Packet[Any]  # as it is in the input, with times on a continuous clock
    time: Fraction | None  # presentation time, in seconds on the container's clock


class Reader:
    """A video that is read once, from front to back.

    Args:
        source: A path, or an open binary file (a pipe).
        start: Where to begin, in seconds from the beginning of the video; earlier frames are left out.
        end: Where to stop, in seconds from the beginning of the video; None for the end.
        stream: The number of the video stream in the file; None for the default one.
        interlaced: What to do with interlaced video: "refuse", "deinterlace" (each field becomes a frame, which
            doubles the rate) or "ignore".
        threads: Decoder threads; 0 lets the decoder choose.
        by_clock: Whether to seek to `start` by the clock even in formats where that may be discontinuous, for a caller
            that recognizes the frames.

    Attributes:
        name: The input's name in messages.
        info: The properties of the video.

    Raises:
        InputError: if it is not a readable video.
        UsageError: if `stream` is not that of a video.
    """

    def __init__(
        self,
        source: str | Path | IO[bytes],
        *,
        start: Fraction | None = None,
        end: Fraction | None = None,
        stream: int | None = None,
        interlaced: str = "refuse",
        threads: int = 0,
        by_clock: bool = False,
    ) -> None:
        self._start, self._end, self._past_end = start, end, False
        self._by_clock = by_clock
        self._interlaced, self._threads = interlaced, threads
        self._notes: list[str] = []
        self._first_items: list[Frame | StreamPacket] = []
        self._items: Iterator[Frame | StreamPacket] = iter(())
        self._preview = Preview(deque(), [], unstamped=True)
        self._demuxer = Demuxer(source, stream)
        self._open_decoder()
        self.name = self._demuxer.name
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        """Find the rate, and decode the first frame for the properties that only a frame has."""
        self._tick = self._demuxer.tick
        self._delay: int | None = None  # in ticks, from a packet to its frame, if the format counts frames
        self._preview = read_preview(self._demuxer, self._packets)
        times, self._unstamped = self._preview.times, self._preview.unstamped
        self._begin = times[0] if times else Fraction(0)
        self._rate, self._frame_grid, note = find_rate(self._demuxer, times)
        self._notes += [] if note is None else [note]
        if self._frame_grid is not None:
            self._demuxer.clock.snap = self._frame_grid.nearest
        ahead = itertools.chain(self._preview, self._packets)
        first = self._read_first(ahead) if not self._start else self._read_at_start(ahead, times)
        if first is None:
            because = f" ({self.damage})" if self.damage else ""
            raise InputError(f"{self.name} has no frame that can be decoded{because}.")
        self.info = describe_video(
            self.name,
            self.container,
            self.stream,
            first.video,
            rate=self._rate,
            variable=self._frame_grid is None and len(times) > 2,
            start=times[0] if times else first.time,
            duration=self._duration(times),
            interlaced=self._is_interlaced,
        )
        if self._interlaced == "refuse":
            self._look_for_interlacing()
        if self.info.interlaced and self._interlaced == "deinterlace":
            frames = None if self.info.frames is None else 2 * self.info.frames
            self.info = dataclasses.replace(self.info, rate=2 * self._rate, frames=frames)
        lead = first.time - self._begin
        if not self._start and lead > 1 / self._rate / 2:
            self._notes.append(
                f"The first {float(lead):.2f} s of the video cannot be decoded, because it begins between two key "
                "frames: its first picture is held for that time."
            )

    # -- opening

    def _open_decoder(self) -> None:
        self._decoder = Decoder(self.stream, self._threads)
        self._packets = self._demuxer.packets()

    def _read_at_start(self, ahead: Iterator[av.Packet[Any] | Join], times: list[Fraction]) -> Frame | None:
        """Read from a key frame before `start`; return the first frame.

        Indexes can be wrong, and a decoder may need frames before the key frame. So the first frame must lie early
        enough, or reading begins at an earlier place. Formats whose clock may be discontinuous are read from the
        beginning, without decoding, since a time may occur in them twice. With `by_clock` they are not; as they are
        not searched for key frames either, reading begins some seconds before `start`.
        """
        demuxer, start = self._demuxer, self._begin + (self._start or 0)
        first = None
        if not demuxer.can_seek or self._unstamped or (times and start <= times[-1]):
            return self._read_first(ahead)
        if demuxer.counts_frames:
            # The frame of each packet comes later by a delay that only the decoder knows.
            first = self._read_first(ahead)
        if not demuxer.may_jump or self._by_clock:
            for margin in _MARGINS[demuxer.may_jump :]:
                if start - margin <= self._begin or not demuxer.seek(start - margin):
                    break
                first = self._read_first(demuxer.packets())
                if first is not None and first.time <= start and (first.video.key_frame or not demuxer.counts_frames):
                    return first
            if demuxer.may_jump:
                self._decoder.close()
                demuxer.reopen()
                self._open_decoder()
                ahead = self._packets
        if demuxer.may_jump:
            first = self._read_first(leave_out(ahead, self.stream, start))
            if first is not None and first.time <= start:
                return first
        self._decoder.close()
        demuxer.reopen()
        self._open_decoder()
        return self._read_first(self._packets)

    def _read_first(self, packets: Iterator[av.Packet[Any] | Join]) -> Frame | None:
        """Begin to read packets; return the first frame. What comes before it is kept for `__iter__`."""
        self._decoder.flush()
        self._first_items = []
        self._splits = False
        self._moved = self._repeated = 0
        self._items = self._number(self._place(self._unify(self._decode(packets))))
        for item in self._items:
            self._first_items.append(item)
            if isinstance(item, Frame):
                return item
        return None

    def _duration(self, times: list[Fraction]) -> Fraction | None:
        """The length of the video in seconds, as far as it is stated or can be measured quickly."""
        stream, container, path = self.stream, self.container, self._demuxer.path
        if self._demuxer.may_jump and path is not None:
            return video_length(path, stream.index, stream.duration and stream.duration * self._tick)
        if is_raw(container):
            return None
        if stream.duration:
            stated = Fraction(stream.duration * self._tick)
            if not times or stated > times[-1] - times[0]:
                return stated  # shorter than what has been read, it is not true
        if not container.duration:
            return None
        duration = Fraction(container.duration, av.time_base)
        return duration - max(Fraction(0), times[0] - container_start(container)) if times else duration

    def _look_for_interlacing(self) -> None:
        """Refuse interlaced video before anything is written, if it can be found so early."""
        if self.info.interlaced:
            raise self._refuse_interlaced("is interlaced")
        if not self._start and self._end is None and (time := self.find_interlaced()) is not None:
            raise self._refuse_interlaced(f"is interlaced in parts, at about {float(time):.0f} s for instance")

    def find_interlaced(self) -> Fraction | None:
        """Look at a few places of the file for interlaced frames; return where one is, in seconds, or None."""
        path, length = self._demuxer.path, self.info.duration
        return None if path is None or length is None else find_interlaced(path, self.stream.index, self._begin, length)

    def _refuse_interlaced(self, what: str) -> InputError:
        return InputError(
            f'{self.name} {what}: pass `interlaced="deinterlace"` to make each field a frame, or '
            '`interlaced="ignore"` if it is progressive after all.'
        )

    # -- reading

    @property
    def container(self) -> Any:
        """The open container, for its streams, chapters and attachments."""
        return self._demuxer.container

    @property
    def stream(self) -> Any:
        """PyAV's video stream."""
        return self._demuxer.stream

    @property
    def first_packets(self) -> dict[int, list[av.Packet[Any]]]:
        """The first few packets of each stream but the video, by the stream's number, as far as they are read."""
        return self._demuxer.first_packets

    @property
    def damage(self) -> str | None:
        """A description of the first damage found so far, or None."""
        return self._demuxer.damage

    @property
    def notes(self) -> list[str]:
        """Other messages for the user, so far."""
        notes = list(self._notes)
        if joins := self._demuxer.clock.joins:
            notes.append(
                f"The clock of {self.name} begins anew or jumps, first after {float(joins[0] - self._begin):.2f} s: "
                "the recordings follow each other without a gap, each with its sound, which is cut where it overlaps."
            )
        if self._moved:
            notes.append(f"Frames whose times were equal or went back got places of their own: {self._moved}.")
        if self._repeated:
            notes.append(f"Empty packets repeat the frame before them, as in any player: {self._repeated}.")
        return notes

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
        if self._frame_grid is not None or not self.stream.duration:
            return None
        end: Fraction = self._begin + self.stream.duration * self._tick
        return end

    def __iter__(self) -> Iterator[Frame | StreamPacket]:
        """Yield the frames and the other streams' packets between start and end, in file order.

        The last frame at or before the start and the first one at or after the end are included, so that frames can be
        interpolated up to the limits.
        """
        return self._trim(itertools.chain(self._first_items, self._items))

    def stop(self) -> None:
        """Stop waiting for a pipe, as if it had ended. May be called from any thread."""
        self._demuxer.stop()

    def close(self) -> None:
        """Close the file, and let go of all frames and packets."""
        if isinstance(self._items, Generator):
            self._items.close()
        self._items, self._first_items = iter(()), []
        self._preview.packets.clear()
        self._decoder.close()
        self._demuxer.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _decode(self, packets: Iterator[av.Packet[Any] | Join]) -> Iterator[av.VideoFrame | StreamPacket]:
        """Decode the packets of the video stream, and wrap those of the other streams."""
        failures = 0
        end = None if self._end is None else self._begin + self._end
        for packet in packets:
            if isinstance(packet, Join):
                with contextlib.suppress(av.error.FFmpegError):
                    yield from self._decoder.decode(None)
                self._decoder.flush()
                continue
            base = packet.time_base
            time = None if packet.pts is None or base is None else packet.pts * base
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
                self._demuxer.note_damage(f"a frame cannot be decoded ({error_text(error)})", packet)
                if failures > _MAX_FAILURES:
                    return
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self._demuxer.note_damage("a frame is damaged", packet)
                if self._demuxer.counts_frames:
                    self._count(frame)
                yield frame

    def _count(self, frame: av.VideoFrame) -> None:
        """Give a frame of AVI its time: that of the packet with which it left the decoder, less the decoder's delay."""
        if frame.dts is None:
            frame.pts = None
            return
        if self._delay is None:
            self._delay = frame.dts - round(self._begin / self._tick)
        frame.pts = frame.dts - self._delay

    def _unify(self, items: Iterator[av.VideoFrame | StreamPacket]) -> Iterator[av.VideoFrame | StreamPacket]:
        """Convert all frames to the size and format of the first one; deinterlace them where that is asked for."""
        shape: tuple[int, int, str] | None = None
        deinterlacer: Deinterlacer | None = None
        for item in items:
            if isinstance(item, StreamPacket):
                yield item
                continue
            frame = to_supported_format(item)
            stated = states_interlaced(self.stream)
            interlaced = bool(frame.interlaced_frame) or stated
            if shape is None:
                shape = (frame.width, frame.height, frame.format.name)
                self._is_interlaced = interlaced
            elif (frame.width, frame.height, frame.format.name) != shape:
                frame = frame.reformat(width=shape[0], height=shape[1], format=shape[2])
                note = f"The video changes its size or format on the way; all is brought to {shape[0]}x{shape[1]}."
                if note not in self._notes:
                    self._notes.append(note)
            if interlaced and deinterlacer is None and self._interlaced == "deinterlace":
                deinterlacer = Deinterlacer(frame, self._tick, all_frames=stated)
                self._splits = True
            if interlaced and not self._is_interlaced:
                self._notice_interlacing(frame)
            if deinterlacer is None:
                yield frame
            else:
                yield from deinterlacer.push(frame)
        if deinterlacer is not None:
            yield from deinterlacer.push(None)

    def _notice_interlacing(self, frame: av.VideoFrame) -> None:
        """Refuse or note an interlaced frame behind a progressive beginning."""
        self._is_interlaced = True
        when = "" if frame.pts is None else f" at {float(frame.pts * self._tick - self._begin):.2f} s"
        if self._interlaced == "refuse":
            raise self._refuse_interlaced(f"becomes interlaced{when}")
        self._notes.append(f"The video becomes interlaced{when}.")

    def _place(
        self, items: Iterator[av.VideoFrame | StreamPacket]
    ) -> Iterator[tuple[av.VideoFrame, Fraction] | StreamPacket]:
        """Give each frame its time. Frames of equal times are spread up to the next time; none is dropped."""
        spreader: Spreader[av.VideoFrame] = Spreader(self._step, self._begin)
        for item in items:
            if isinstance(item, StreamPacket):
                yield item
                continue
            stamp, grid = None if self._unstamped else item.pts, self._grid
            time = None if stamp is None else stamp * (item.time_base or self._tick)
            yield from spreader.push(item, time if grid is None or time is None else grid.snap(time), self._step)
            self._moved = spreader.moved
        yield from spreader.flush()
        self._moved = spreader.moved

    def _number(self, items: Iterator[tuple[av.VideoFrame, Fraction] | StreamPacket]) -> Iterator[Frame | StreamPacket]:
        """Make numbered frames, with their durations. A frame that AVI repeats by empty packets is repeated."""
        previous: Frame | None = None
        for item in items:
            if isinstance(item, StreamPacket):
                yield item
                continue
            video, time = item
            step, grid = self._step, self._grid
            exact = time if grid is None else grid.snap(time)
            time = exact if previous is None or exact > previous.time else time
            index = 0 if grid is None or not self._start else max(0, grid.number(time))
            if previous is not None:
                until = time - step / 2 if grid is not None and self._demuxer.counts_frames else previous.time
                for previous in _repeat(previous, step, until):  # noqa: B020
                    self._repeated += 1
                    yield previous
                index = previous.index + 1
            duration = video.duration * (video.time_base or self._tick) if (video.duration or 0) > 0 else step
            if grid is not None and abs(duration - step) <= 2 * self._tick:
                duration = step
            previous = Frame(index, video, time, duration)
            yield previous
        if previous is not None:
            end = previous.time + previous.duration
            if self._end is None:
                end = self._demuxer.check_end(self._begin, end, self._rate)
                if self._demuxer.unread > _MAX_UNREAD:
                    self._notes.append(
                        f"The last {self._demuxer.unread:.0%} of {self.name} have no packet of this video stream: if "
                        "another recording follows there, cut the file in two."
                    )
            yield from _repeat(previous, self._step, end - self._step / 2)

    @property
    def _step(self) -> Fraction:
        """Seconds between two frames of the rate, or between the fields of a frame."""
        return 1 / self._rate / (2 if self._splits else 1)

    @property
    def _grid(self) -> Grid | None:
        """The exact times of frames, or of fields."""
        grid = self._frame_grid
        return grid if grid is None or not self._splits else Grid(2 * grid.rate, grid.origin, grid.tolerance)

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


def _repeat(frame: Frame, step: Fraction, until: Fraction) -> Iterator[Frame]:
    """Repeat a frame at each `step` after it, as long as its repeat begins before `until`."""
    while frame.time + step < until:
        frame = Frame(frame.index + 1, frame.video, frame.time + step, step)
        yield frame
