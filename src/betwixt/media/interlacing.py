"""Interlaced video: which frames are interlaced, a progressive frame for each field, and frames flagged wrongly."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import av.filter

from betwixt.media.frames import copy_description, drain_graph


def states_interlaced(stream: Any) -> bool:
    """Whether the container or the codec states that a video stream is interlaced."""
    # FFmpeg's AVFieldOrder: 0 unknown, 1 progressive, 2 to 5 the four interlaced orders.
    return getattr(stream.codec_context, "field_order", 0) in (2, 3, 4, 5)


class Deinterlacer:
    """Makes a progressive frame of each field (FFmpeg's bwdif), with half the time base. It looks one frame ahead.

    Args:
        first: The first frame.
        tick: Its time base, if it has none itself.
        all_frames: Whether to split all frames, or only those that are marked as interlaced.
    """

    def __init__(self, first: av.VideoFrame, tick: Fraction, all_frames: bool) -> None:
        self._graph = av.filter.Graph()
        self._first = first
        base = first.time_base or tick
        source = self._graph.add_buffer(width=first.width, height=first.height, format=first.format, time_base=base)
        bwdif = self._graph.add("bwdif", f"mode=send_field:deint={'all' if all_frames else 'interlaced'}")
        self._graph.link_nodes(source, bwdif, self._graph.add("buffersink")).configure()

    def push(self, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        """Filter a frame (None: the end); yield the finished frames."""
        self._graph.push(frame)
        for field in drain_graph(self._graph):
            field.duration = 0  # the filter gives each field the duration of the whole frame
            yield copy_description(self._first, field)  # graphs drop the colour description that they are not told


def flag_progressive(frame: av.VideoFrame) -> av.VideoFrame:
    """A frame with the same samples that is not flagged as interlaced; one that is not is returned as it is."""
    if not frame.interlaced_frame:
        return frame
    graph = av.filter.Graph()
    base = frame.time_base or Fraction(1, 1000)
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=base)
    graph.link_nodes(source, graph.add("setfield", "prog"), graph.add("buffersink")).configure()
    graph.push(frame)
    return copy_description(frame, next(drain_graph(graph)))
