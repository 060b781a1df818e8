"""The first packets of a video, read ahead of decoding: the times of its first frames, and its rate."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container
import av.video.stream

from betwixt.media.clock import Join
from betwixt.media.container import has_no_times, is_raw
from betwixt.media.demuxer import Demuxer
from betwixt.media.raw_video import find_raw_format, is_raw_video
from betwixt.media.timeline import Grid, Spreader, find_grid

PEEK_PACKETS = 240
"""Number of video packets that are read ahead."""

PEEK_BYTES = 64 << 20
"""The most bytes of packets held for that."""


@dataclass
class Preview:
    """The first packets of a file.

    Attributes:
        packets: All of them, to be decoded; what is taken away from them is not kept.
        times: The times of the first frames in seconds, in order.
        unstamped: Whether the packets state no presentation times: the frames follow each other at the rate.
    """

    packets: deque[av.Packet[Any] | Join]
    times: list[Fraction]
    unstamped: bool

    def __iter__(self) -> Iterator[av.Packet[Any] | Join]:
        """Take away the packets one by one."""
        while self.packets:
            yield self.packets.popleft()


def read_preview(demuxer: Demuxer, packets: Iterator[av.Packet[Any] | Join]) -> Preview:
    """Read the first packets of a file."""
    stream, tick = demuxer.stream, demuxer.tick
    # AVI numbers its frames in coding order, and raw streams state no times at all: their frames follow each other.
    without_pts = has_no_times(demuxer.container)
    preview = Preview(deque(), [], not demuxer.counts_frames)
    stamps: list[int] = []
    size = 0
    for packet in packets:
        preview.packets.append(packet)
        if isinstance(packet, Join):
            continue
        size += packet.size
        if packet.stream_index == stream.index:
            has_pts = packet.pts is not None and not without_pts
            preview.unstamped = preview.unstamped and not has_pts
            stamp = packet.pts if has_pts else packet.dts
            if stamp is not None and packet.size and not packet.is_discard:
                stamps.append(stamp)
        if len(stamps) >= PEEK_PACKETS or size > PEEK_BYTES:
            # Packets come in coding order: of the last few, earlier frames may still be missing.
            stamps = sorted(stamps)[: max(2, len(stamps) - 32)]
            break
    stamps.sort()
    if len(set(stamps)) * 10 > len(stamps) * 9:
        preview.times = [stamp * tick for stamp in sorted(set(stamps))]
    else:
        spreader: Spreader[None] = Spreader(tick, Fraction(0))
        preview.times = [time for stamp in stamps for _, time in spreader.push(None, stamp * tick, tick)]
    return preview


def bare_stream_rate(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, name: str
) -> Fraction | None:
    """The rate that a bare stream states itself, or a raw video in its name; None if there is none."""
    if container.format.name == "rawvideo":
        return find_raw_format(Path(name)).rate if is_raw_video(name) else None
    return stream.codec_context.framerate or None


def find_rate(demuxer: Demuxer, times: list[Fraction]) -> tuple[Fraction, Grid | None, str | None]:
    """The rate of a video; the exact times of its frames, if the rate is constant; and a message for the user."""
    stream = demuxer.stream
    declared = [stream.average_rate, stream.base_rate, stream.guessed_rate]
    # Of a bare stream FFmpeg assumes a rate; what the stream itself states is in its decoder.
    own = bare_stream_rate(demuxer.container, stream, demuxer.name) if is_raw(demuxer.container) else None
    if own:
        declared = [own]
    fallback = next((rate for rate in declared if rate), None) or Fraction(25)
    note = None
    if is_raw(demuxer.container) and not own:
        note = f"The stream states no rate: {float(fallback):.6g} is assumed. `input_fps` sets another."
    grid = find_grid(times, demuxer.tick, declared) if times else None
    if grid is not None:
        rate = grid.rate
    elif len(times) > 1:
        rate = stream.average_rate or (len(times) - 1) / (times[-1] - times[0])
    else:
        rate = fallback
    return Fraction(rate), grid, note
