"""Continuous times for packets whose clock begins anew or jumps: recordings that were joined.

    as read     |1.4 s .. 51.4 s|1.4 s .. 61.4 s|40000 s .. 40010 s|
    corrected   |1.4 s .. 51.4 s|51.4 .. 111.4 s|111.4 .. 121.4 s  |

The video decides. Where its decoding times step back or leap by more than a limit, while no sound runs on, and the
packets after that go on from there, a new recording begins: its first frame follows the last one before it, and all
streams are shifted by the same time, so the sound stays in sync. Packets of both recordings are interleaved around a
join; each is assigned by its position in the file, or else to the clock that it fits. A single packet that lies
elsewhere has a wrong time stamp, which is removed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, takewhile
from typing import Any

import av

DISCONTINUOUS_LIMIT = Fraction(2)
"""Seconds without a packet after which another recording begins, in formats whose clock may be discontinuous."""

LIMIT = Fraction(3600)
"""The same for formats of one continuous clock, where a long time without frames shows a picture that stands still."""

_SLACK = Fraction(1, 2)
"""Seconds by which decoding times may step back on one clock: where they are missing, FFmpeg guesses them."""

_CONFIRM = 8
"""Video packets after a jump that are looked at to tell a join from a wrong time stamp."""

_FEW = 3
"""Video packets that go on after a jump, for it to be a join where another jump follows."""

_LOOK_AHEAD = 1000
"""The most packets of all streams that are read ahead for that."""

_LOOK_AHEAD_BYTES = 32 << 20

_MAX_OVERLAP = Fraction(1, 2)
"""The most seconds of sound that are left out at a join, so that the picture goes on without a gap."""

_INTERLEAVING = Fraction(5)
"""Seconds after a join in which packets of the recording before it may still come."""


@dataclass(frozen=True)
class Join:
    """The place between two recordings: the decoder must not carry anything across."""

    time: Fraction  # when the new recording begins, in seconds on the corrected clock


@dataclass
class _Item:
    """A packet and what reading ahead has shown about it."""

    packet: av.Packet[Any]
    verdict: str | None = None  # "fine", "wrong" (its time stamps) or "join" (the first video packet after one)

    @property
    def time(self) -> Fraction | None:
        """The decoding time as read, in seconds; of streams other than video, else the presentation time."""
        packet = self.packet
        stamp = packet.pts if packet.dts is None and packet.stream.type != "video" else packet.dts
        return None if stamp is None or packet.time_base is None else stamp * packet.time_base

    @property
    def begin(self) -> Fraction | None:
        """The presentation time as read, in seconds, or else the decoding time."""
        packet = self.packet
        stamp = packet.dts if packet.pts is None else packet.pts
        return None if stamp is None or packet.time_base is None else stamp * packet.time_base


@dataclass
class _Stream:
    """The packets of one stream so far. Times are those of its current recording, as read."""

    recording: int
    last: Fraction | None = None  # the decoding time of the last packet
    first: Fraction = Fraction(0)  # the decoding time of the first packet
    count: int = 0  # number of packets
    step: Fraction = Fraction(0)  # the last distance of two packets
    run: Fraction | None = None  # since when packets have followed each other without a leap
    end: Fraction | None = None  # when the last frame or sound ends
    position: int = -1  # of the last packet, in bytes from the beginning of the file
    corrected_end: Fraction | None = None  # `end` on the corrected clock


class ContinuousClock:
    """Corrects the times of packets, in place.

    Args:
        packets: The packets of all streams, in file order.
        main: The number of the video stream.
        may_jump: Whether the format's clock may be discontinuous (MPEG-TS, MPEG-PS).
        on_damage: Called with packets that are marked as damaged. The last ones before a join are not: there a packet
            is cut off for a harmless reason.

    Attributes:
        joins: When each new recording begins, in seconds on the corrected clock.
        snap: Moves the time of a join to where the next frame of a constant rate belongs.
    """

    def __init__(
        self,
        packets: Iterator[av.Packet[Any]],
        main: int,
        may_jump: bool,
        on_damage: Callable[[av.Packet[Any]], None],
    ) -> None:
        self.joins: list[Fraction] = []
        self.snap: Callable[[Fraction], Fraction] = lambda time: time
        self._packets, self._main, self._on_damage = packets, main, on_damage
        self._limit = DISCONTINUOUS_LIMIT if may_jump else LIMIT
        self._ahead: deque[_Item] = deque()
        self._streams: dict[int, _Stream] = {}
        self._shifts = [Fraction(0)]  # of each recording
        self._begin = (-1, Fraction(0))  # where the newest recording's video begins: position, and time as read

    def close(self) -> None:
        """Let go of the packets and of what they come from."""
        self._packets = iter(())
        self._ahead.clear()
        self._on_damage = lambda packet: None
        self.snap = lambda time: time

    def __iter__(self) -> Iterator[av.Packet[Any] | Join]:
        """Yield the packets with corrected times, and a `Join` before the first video packet of each recording."""
        while (item := self._next()) is not None:
            packet = item.packet
            if item.verdict is None and (packet.is_corrupt or not self._in_line(item)):
                self._judge(item)
            if packet.is_corrupt and not self._join_is_near:
                self._on_damage(packet)
            if item.verdict == "join":
                yield Join(self.joins[-1])
            if self._correct(item):
                yield packet

    def _next(self) -> _Item | None:
        return self._ahead.popleft() if self._ahead else self._read()

    def _read(self) -> _Item | None:
        packet = next(self._packets, None)
        if packet is None:
            return None
        if packet.duration and packet.time_base is not None and packet.duration * packet.time_base > self._limit:
            packet.duration = 0  # mp4 states the distance to the next packet, even to that of another recording
        return _Item(packet)

    # -- finding joins

    @property
    def video_end(self) -> Fraction | None:
        """When the last video packet so far ends, in seconds on the corrected clock."""
        main = self._streams.get(self._main)
        return None if main is None else main.corrected_end

    @property
    def video_position(self) -> int:
        """Where the last video packet so far begins in the file, in bytes; -1 if that is not known."""
        main = self._streams.get(self._main)
        return -1 if main is None else main.position

    @property
    def _join_is_near(self) -> bool:
        """Whether a join has been found that the video has not reached."""
        main = self._streams.get(self._main)
        return main is not None and main.recording < len(self._shifts) - 1

    def _in_line(self, item: _Item) -> bool:
        """Whether a packet may follow those before it on the same clock."""
        time, index = item.time, item.packet.stream_index
        stream = self._streams.get(index)
        if time is None or stream is None or stream.last is None or stream.recording != self._recording(item, stream):
            return True
        if index == self._main:
            return self._follows(stream.last, time)
        leaps = item.packet.stream.type == "audio" and time > stream.last + self._limit
        return time >= stream.last - _SLACK and not leaps

    def _follows(self, last: Fraction, time: Fraction) -> bool:
        return last - _SLACK <= time <= last + self._limit

    def _judge(self, suspect: _Item) -> None:
        """Read ahead to the next jump of the video, if there is one, and decide what it is."""
        suspect.verdict = "fine"
        main = self._streams.get(self._main)
        last = None if main is None else main.last
        window = [suspect, *self._read_ahead()]
        videos = [item for item in window if item.packet.stream_index == self._main and item.time is not None]
        for number, item in enumerate(videos):
            time = item.time
            if item.verdict == "join":
                return
            if time is None or item.verdict == "wrong":
                continue
            if last is not None and not self._follows(last, time) and (item is suspect or item.verdict is None):
                self._judge_jump(item, last, videos[number + 1 : number + 1 + _CONFIRM], window)
                return
            last = time

    def _judge_jump(self, jump: _Item, last: Fraction, after: list[_Item], window: list[_Item]) -> None:
        """Decide what a jump of the video is: a join, a wrong time stamp, or a long time without frames."""
        times = [item.time for item in (jump, *after) if item.time is not None]
        goes_on = len(list(takewhile(lambda pair: self._follows(*pair), pairwise(times))))
        goes_back = sum(self._follows(last, time) for time in times[1:])
        steady = goes_on >= min(max(1, len(after)), _FEW) or (not after and times[0] < last)
        if self._limit < LIMIT < times[0] - last:  # no pause of a broadcast
            steady = goes_on > 0 or not after
            goes_back += not steady
        if goes_back >= max(1, goes_on):
            jump.verdict = "wrong"
        elif steady and (times[0] < last or not self._sound_runs_on(last, window)):
            jump.verdict = "join"
            self._start_recording([jump, *after[:goes_on]], window)
        else:
            jump.verdict = "fine"

    def _sound_runs_on(self, last: Fraction, window: list[_Item]) -> bool:
        """Whether sound goes on without a leap from where the video stops."""
        for index, stream in self._streams.items():
            if index == self._main or stream.last is None or stream.run is None or stream.run > last:
                continue
            heard = stream.last
            for item in window:
                if item.packet.stream_index == index and item.time is not None and self._follows(heard, item.time):
                    heard = max(heard, item.time)
            if heard > last + self._limit / 2:
                return True
        return False

    def _read_ahead(self) -> Iterator[_Item]:
        """The packets after the current one, as many as it takes to decide; they remain to be read."""
        videos = size = 0
        for count in range(_LOOK_AHEAD):
            if count == len(self._ahead):
                following = self._read()
                if following is None:
                    return
                self._ahead.append(following)
            item = self._ahead[count]
            yield item
            videos += item.packet.stream_index == self._main
            size += item.packet.size
            if videos >= 2 * _CONFIRM or size > _LOOK_AHEAD_BYTES:
                return

    def _start_recording(self, videos: list[_Item], window: list[_Item]) -> None:
        """Place a new recording behind the last frame before it, or later if much of its sound would be lost.

        Args:
            videos: Its first video packets.
            window: The packets that are not corrected yet and have been read.
        """
        main = self._streams[self._main]
        assert main.last is not None
        ends = [main.corrected_end] if main.corrected_end is not None else []
        shift = self._shifts[main.recording]
        ends += [
            item.begin + _duration(item.packet, main.step) + shift
            for item in takewhile(lambda item: item is not videos[0], window)
            if item.packet.stream_index == self._main and item.begin is not None
        ]
        join = self.snap(max(ends, default=Fraction(0)))
        begin = min(item.begin for item in videos if item.begin is not None)
        overlap = self._overlap(window, join - begin)
        if overlap > _MAX_OVERLAP:
            # By whole frames, so that a constant rate goes on.
            step = (main.last - main.first) / max(1, main.count - 1) or overlap
            join = self.snap(join + step * math.ceil(overlap / step))
        self.joins.append(join)
        self._shifts.append(join - begin)
        position = videos[0].packet.pos
        self._begin = (-1 if position is None else position), videos[0].time or Fraction(0)

    def _overlap(self, window: list[_Item], shift: Fraction) -> Fraction:
        """By how much the sound of a new recording, shifted, would overlap that of the one before, in seconds."""
        overlap = Fraction(0)
        for index, stream in self._streams.items():
            end = stream.corrected_end
            if stream.last is None or end is None:
                continue
            sound = [
                item for item in window if item.packet.stream_index == index and item.packet.stream.type == "audio"
            ]
            for item in sound:
                if item.begin is None or item.time is None:
                    continue
                if self._fits(item.time, stream):
                    end = max(end, item.begin + _duration(item.packet, stream.step) + self._shifts[stream.recording])
                else:
                    overlap = max(overlap, end - (item.begin + shift))
                    break
        return overlap

    # -- correcting times

    def _recording(self, item: _Item, stream: _Stream) -> int:
        """The number of the recording that a packet belongs to."""
        newest = len(self._shifts) - 1
        if stream.recording == newest:
            return newest
        position, time = self._begin
        main = self._streams[self._main]
        if item.packet.stream_index == self._main:
            return newest if item.verdict == "join" else stream.recording
        if main.recording == newest:
            own = stream.position if item.packet.pos is None else item.packet.pos
            if own >= position >= 0 or (main.last is not None and main.last > time + _INTERLEAVING):
                return newest
        if item.time is None or stream.last is None:
            return stream.recording
        return stream.recording if self._fits(item.time, stream) else newest

    def _fits(self, time: Fraction, stream: _Stream) -> bool:
        """Whether a packet may follow the last one of its stream, in the recording of that one."""
        return stream.last is not None and stream.last - Fraction(1, 10) <= time <= stream.last + self._limit

    def _correct(self, item: _Item) -> bool:
        """Shift a packet's times; return False for sound that overlaps that of the recording before."""
        packet, index = item.packet, item.packet.stream_index
        main = self._streams.get(self._main)
        stream = self._streams.setdefault(index, _Stream(0 if main is None else main.recording))
        if item.verdict == "wrong":
            packet.pts = packet.dts = None
            return True
        recording = self._recording(item, stream)
        if packet.pos is not None:
            stream.position = packet.pos
        if item.begin is None:
            return True
        if recording != stream.recording:
            stream.recording, stream.last, stream.end = recording, None, None
        shift, duration = self._shifts[recording], _duration(packet, stream.step)
        is_audio = packet.stream.type == "audio"
        if recording and is_audio and stream.end is None and stream.corrected_end is not None:  # noqa: SIM102
            if item.begin + shift < stream.corrected_end - duration / 2:
                return False
        if item.time is not None:
            if is_audio and (stream.last is None or item.time > stream.last + self._limit):
                stream.run = item.time
            if stream.last is not None and item.time > stream.last:
                stream.step = item.time - stream.last
            if stream.last is None:
                stream.first, stream.count = item.time, 0
            stream.last = item.time
            stream.count += 1
        stream.end = max(item.begin + duration, stream.end or item.begin)
        stream.corrected_end = stream.end + shift
        if shift:
            ticks = round(shift / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks
        return True


def _duration(packet: av.Packet[Any], default: Fraction) -> Fraction:
    return packet.duration * packet.time_base if packet.duration and packet.time_base is not None else default
