"""What headers do not say, found before a conversion begins: the length of joined recordings, and interlaced parts.

Both take samples of the file, so they are quick and not complete: the reader still notices the rest on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import dropwhile, islice, pairwise
from pathlib import Path

import av.error

from betwixt.media.clock import Join
from betwixt.media.decoder import Decoder
from betwixt.media.demuxer import Demuxer

_WHOLE_BYTES = 64 << 20
"""Files of at most this size are read to their end, without being decoded, to find their length."""

_SAMPLES = 10
"""The most places of a file that are looked at."""

_SAMPLE_DISTANCE = 1
"""The least distance of two of them, in seconds."""

_SAMPLE_PACKETS = 60
"""The most video packets that are decoded at each of them until there is a frame."""

_KEY_PACKETS = 600
"""The most video packets that are read at each of them until there is a key frame."""

_INTERLACED_CODECS = ("h264", "mpeg2video", "vc1", "wmv3", "mpeg4")


def video_length(path: Path, number: int, stated: Fraction | None) -> Fraction | None:
    """The length of a video in a format whose clock may begin anew or jump, in seconds; None if it is not known.

    Args:
        path: The file.
        number: The number of the video stream.
        stated: The difference of its last and first time.
    """
    demuxer = Demuxer(path, number)
    try:
        if demuxer.container.size <= _WHOLE_BYTES:
            return _measured_length(demuxer)
        steps = [b - a for a, b in pairwise(_sampled_times(demuxer))]
        usual = sorted(steps)[len(steps) // 2] if steps else Fraction(0)
        is_regular = bool(steps) and min(steps) > 0 and max(steps) < 4 * usual + 10
        return stated if is_regular else None
    finally:
        demuxer.close()


def _measured_length(demuxer: Demuxer) -> Fraction | None:
    begin: int | None = None
    for packet in demuxer.packets():
        if isinstance(packet, Join) or packet.stream_index != demuxer.stream.index or packet.pts is None:
            continue
        begin = packet.pts if begin is None else min(begin, packet.pts)
    end = demuxer.clock.video_end
    return None if begin is None or end is None else end - begin * demuxer.tick


def _sampled_times(demuxer: Demuxer) -> Iterator[Fraction]:
    """The times of video packets at regular distances in the file, as read."""
    container, size = demuxer.container, demuxer.container.size
    for sample in range(_SAMPLES):
        container.seek(size * sample // _SAMPLES, unsupported_byte_offset=True)
        for packet in container.demux(demuxer.stream):
            if packet.dts is not None:
                yield packet.dts * demuxer.tick
                break


def find_interlaced(path: Path, number: int, begin: Fraction, length: Fraction) -> Fraction | None:
    """Look for interlaced frames in a file.

    Args:
        path: The file.
        number: The number of the video stream.
        begin: The time of the first frame, in seconds on the container's clock.
        length: The length of the video in seconds.

    Returns:
        Where one was found, in seconds from the beginning (about, in formats whose clock may jump), or None.
    """
    demuxer = Demuxer(path, number)
    try:
        stream, container = demuxer.stream, demuxer.container
        if stream.codec_context.name not in _INTERLACED_CODECS:
            return None
        decoder = Decoder(stream, threads=1)
        samples = min(_SAMPLES, int(length / _SAMPLE_DISTANCE))
        for sample in range(1, samples):
            time = length * sample / samples
            try:
                if demuxer.may_jump:
                    container.seek(container.size * sample // samples, unsupported_byte_offset=True)
                else:
                    container.seek(int((begin + time) / demuxer.tick), stream=stream)
                decoder.flush()
                packets = islice(container.demux(stream), _KEY_PACKETS)
                for packet in islice(dropwhile(lambda p: not p.is_keyframe, packets), _SAMPLE_PACKETS):
                    frames = decoder.decode(packet)
                    if frames and frames[0].interlaced_frame:
                        found = None if frames[0].pts is None else frames[0].pts * demuxer.tick - begin
                        return found if found is not None and 0 <= found <= length else time
                    if frames:
                        break
            except av.error.FFmpegError:
                continue  # damage is the reader's matter
        return None
    finally:
        demuxer.close()
