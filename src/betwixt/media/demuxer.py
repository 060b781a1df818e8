"""An open input: the packets of all its streams with continuous times, and the choice of the video stream.

container ── demux ──► clock.ContinuousClock ──► packets with corrected times, and `Join` between recordings
"""

from __future__ import annotations

import io
import select
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
import av.container
import av.error

from betwixt.errors import InputError, UsageError
from betwixt.files import error_text
from betwixt.media.clock import ContinuousClock, Join
from betwixt.media.container import InterruptiblePipe, container_start, may_jump, open_container, riff_is_cut_off

_MAX_REPEAT = Fraction(10)
"""The most seconds for which the last frame of an AVI file is repeated; if more is missing, the file is damaged."""

_SKIP_BYTES = 64 << 20
"""The most bytes of packets held to find the key frames before a time."""

_FIRST_PACKETS = 4
"""Number of packets of each stream but the video that are kept for trials of the output."""


class Demuxer:
    """An open input.

    Args:
        source: A path, or an open binary file (a pipe).
        number: The number of the video stream in the file; None to choose one.

    Attributes:
        name: The input's name in messages.
        container: The open container.
        stream: The video stream.
        tick: Its time base, in seconds.
        damage: A description of the first damage found so far, or None.
        may_jump: Whether the format's clock may be discontinuous, so that joined files are valid: MPEG-TS, MPEG-PS.
        counts_frames: Whether the format numbers frames in coding order instead of stating times: AVI.
        clock: The clock that corrects the times of the packets.
        first_packets: The first few packets of each stream but the video, by the stream's number, as far as they are
            read.

    Raises:
        InputError: if it is not a readable video.
        UsageError: if `number` is not that of a video stream.
    """

    def __init__(self, source: str | Path | IO[bytes], number: int | None = None) -> None:
        self.name = str(source) if isinstance(source, (str, Path)) else "standard input"
        self.damage: str | None = None
        self._source = source
        self._pipe: InterruptiblePipe | None = None
        if isinstance(source, io.FileIO) and not source.seekable() and hasattr(select, "poll"):
            self._pipe = InterruptiblePipe(source)
        self._number = number
        self._can_rewind = self._pipe is None and _begins_here(source)
        self._open()

    def _open(self) -> None:
        try:
            self.container = open_container(self._source if self._pipe is None else self._pipe, self.name)
        except InputError:
            self._raise_interrupt()
            raise
        try:
            self._raise_interrupt()
            self.stream = choose_stream(self.container, self.name, self._number)
        except BaseException:
            self.container.close()
            raise
        self.tick: Fraction = self.stream.time_base
        self.may_jump = may_jump(self.container)
        self.counts_frames = self.container.format.name == "avi"
        self.clock = self._new_clock()
        self._latest = Fraction(0)  # the end of the last packet of any stream
        self.first_packets: dict[int, list[av.Packet[Any]]] = {}

    @property
    def path(self) -> Path | None:
        """The file, which can be opened again and read from anywhere; None for a pipe."""
        path = Path(self._source) if isinstance(self._source, (str, Path)) else None
        return path if path is not None and path.is_file() else None

    @property
    def can_seek(self) -> bool:
        """Whether reading can start anywhere: in a file, or in a seekable stream that was at its beginning."""
        return self.path is not None or self._can_rewind

    @property
    def is_complete(self) -> bool:
        """Whether an AVI file is known to be as long as it states."""
        return self.path is not None and not riff_is_cut_off(self.path)

    def reopen(self) -> None:
        """Begin again at the beginning; packets read before are no longer valid."""
        self.container.close()
        if self._can_rewind and not isinstance(self._source, (str, Path)):
            self._source.seek(0)
        self._open()

    def seek(self, time: Fraction) -> bool:
        """Go to a key frame at or before `time`, in seconds on the container's clock; return whether that is possible.

        What is read then need not be what was asked for: check the times.
        """
        try:
            self.container.seek(int(time / self.tick), stream=self.stream, backward=True)
        except av.error.FFmpegError:
            return False
        self.clock = self._new_clock()
        return True

    def packets(self) -> Iterator[av.Packet[Any] | Join]:
        """The packets from the current position on."""
        for packet in self.clock:
            if isinstance(packet, av.Packet):
                self._look_at(packet)
            yield packet

    def _look_at(self, packet: av.Packet[Any]) -> None:
        if packet.pts is not None and packet.time_base is not None:
            self._latest = max(self._latest, (packet.pts + (packet.duration or 0)) * packet.time_base)
        if packet.stream_index != self.stream.index and packet.size:
            first = self.first_packets.setdefault(packet.stream_index, [])
            if len(first) < _FIRST_PACKETS:
                first.append(packet)

    def _new_clock(self) -> ContinuousClock:
        return ContinuousClock(
            self._demux(),
            self.stream.index,
            self.may_jump,
            lambda packet: self.note_damage("a packet is marked as damaged", packet),
        )

    def _demux(self) -> Iterator[av.Packet[Any]]:
        streams = [s for s in self.container.streams if s.type in ("video", "audio", "subtitle", "data")]
        try:
            yield from self.container.demux(streams)
        except av.error.FFmpegError as error:
            if not isinstance(error, av.error.EOFError):
                self.note_damage(f"reading stops there: {error_text(error)}")
        except IndexError:
            pass  # PyAV does not know a stream that appeared on the way, and says so at the end
        self._raise_interrupt()

    def note_damage(self, what: str, packet: av.Packet[Any] | None = None) -> None:
        """Remember the first damage, and where it is."""
        if self.damage is None:
            if packet is not None and packet.pts is not None:
                what += f" at {float(packet.pts * packet.time_base):.2f} s"
            self.damage = what

    def check_end(self, begin: Fraction, end: Fraction, rate: Fraction) -> Fraction:
        """Compare the end of the last frame with the end that the container states; note if they differ.

        Args:
            begin: The time of the first frame, in seconds on the container's clock.
            end: The end of the last frame.
            rate: Frames per second.

        Returns:
            The true end of the video.
        """
        if self.damage is not None or (self.clock.joins and not self.may_jump):
            return end  # where recordings were joined, formats of one clock count the jump in their length
        container = self.container
        size = max(0, container.size)  # a pipe has none
        if self.may_jump:
            missing = (self.clock.video_end or end) - end
            if missing > max(3 / rate, Fraction(1, 10)):
                self.note_damage(f"the last {float(missing):.1f} s of the video cannot be decoded")
            elif container.format.name == "mpegts" and size % 188 and size % 192 and not self.clock.joins:
                self.note_damage("the file is cut off in the middle of a packet")
        elif self.stream.duration:
            # Without its index, FFmpeg shortens the duration of an AVI file, not its number of frames.
            ticks = max(self.stream.duration, self.stream.frames) if self.counts_frames else self.stream.duration
            stated: Fraction = begin + ticks * self.tick
            missing = stated - end
            if self.counts_frames and 0 < missing < _MAX_REPEAT and self.is_complete:
                return stated
            if missing > max(3 / rate, Fraction(1, 10)):
                self.note_damage(f"the file is cut off: {float(missing):.1f} s of video are missing at its end")
        elif container.duration and container.format.name.startswith(("matroska", "flv")):
            stated = Fraction(container.duration, av.time_base) + container_start(container)
            missing = stated - max(end, self._latest)
            if missing > max(3 / rate, Fraction(3, 10)):
                self.note_damage(f"the file is cut off: {float(missing):.1f} s are missing at its end")
        return end

    @property
    def unread(self) -> float:
        """The part of the file behind the last video packet so far, from 0 to 1; 0 if that is not known."""
        size, position = self.container.size, self.clock.video_position
        # FFmpeg finds streams that begin on the way in MPEG-TS alone, where it knows the position of each packet.
        return 1 - position / size if self.container.format.name == "mpegts" and size > 0 <= position else 0

    def stop(self) -> None:
        """Stop waiting for a pipe, as if it had ended. May be called from any thread."""
        if self._pipe is not None:
            self._pipe.stopped = True

    def _raise_interrupt(self) -> None:
        """Raise the Ctrl-C that ended a wait for the pipe."""
        if self._pipe is not None and self._pipe.interrupt is not None:
            raise self._pipe.interrupt

    def close(self) -> None:
        """Close the file.

        The clock refers to this object, and a cycle would keep the decoder's memory, of which the garbage collector
        does not know.
        """
        self.container.close()
        self.clock.close()


def _begins_here(source: str | Path | IO[bytes]) -> bool:
    """Whether a source is an open file that is seekable and at its beginning."""
    if isinstance(source, (str, Path)):
        return False
    try:
        return source.seekable() and source.tell() == 0
    except (AttributeError, OSError):
        return False


def choose_stream(container: av.container.InputContainer, name: str, number: int | None = None) -> Any:
    """The video stream of a container: the one of that number, or the default one, rather not a still picture.

    Args:
        container: The open container.
        name: Its name in messages.
        number: The number of the stream in the file, from 0; None to choose one.

    Raises:
        InputError: if there is no video stream.
        UsageError: if `number` is not that of a video stream.
    """
    videos = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if number is not None:
        chosen = next((s for s in container.streams.video if s.index == number), None)
        if chosen is None:
            found = ", ".join(str(s.index) for s in videos) or "none"
            raise UsageError(f"`stream={number}` is not a video stream of {name}; its video streams: {found}.")
        videos = [chosen]
    if not videos:
        kinds = ", ".join(sorted({s.type for s in container.streams}))
        content = f"only {kinds}" if kinds else "no stream at all"
        raise InputError(f"{name} has no video stream ({content}): give a video.")
    stream = min(videos, key=_rank)
    if stream.codec_context is None or stream.time_base is None:
        raise InputError(f"{name}: FFmpeg has no decoder for its video; convert it to H.264 or FFV1 first.")
    return stream


def _rank(stream: Any) -> tuple[bool, bool, bool, int]:
    """Sorts streams: those that can be decoded first, then those of more than one frame, then the default."""
    unreadable = stream.codec_context is None or stream.time_base is None
    is_default = bool(stream.disposition & av.stream.Disposition.default)
    return unreadable, stream.frames == 1, not is_default, stream.index


def leave_out(
    packets: Iterator[av.Packet[Any] | Join], stream: Any, start: Fraction
) -> Iterator[av.Packet[Any] | Join]:
    """Leave out the packets before the last key frame but one before `start`, in seconds on the container's clock."""
    kept: list[av.Packet[Any] | Join] = []
    keys: list[int] = []  # where in `kept` key frames are
    size = 0
    for packet in packets:
        kept.append(packet)
        if isinstance(packet, Join):
            continue
        size += packet.size
        if packet.stream_index == stream.index:
            time = None if packet.pts is None else packet.pts * packet.time_base
            if packet.is_keyframe and time is not None and time <= start:
                keys.append(len(kept) - 1)
                if len(keys) > 2:
                    del kept[: keys[1]]
                    keys = [0, len(kept) - 1]
                    size = sum(item.size for item in kept if not isinstance(item, Join))
            if packet.dts is not None and packet.dts * packet.time_base > start:
                break
        if size > _SKIP_BYTES:
            break
    yield from kept
    del kept
    yield from packets
