"""Lets a director decide on a part of a video as it decides on the whole.

The driver's director has seen all frames: it knows the cuts, the duplicates, and which output frames lie where. A
worker reads only the frames that a piece needs, takes the driver's marks for them, and starts the clock in the middle.
Everything else is the code that runs on one machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from betwixt.cluster.pieces import JobDescription, Mark, Piece
from betwixt.masks.store import MaskFolder
from betwixt.media.reader import Frame, StreamPacket
from betwixt.media.timeline import Clock
from betwixt.models.base import Interpolator
from betwixt.pipeline.director import Director
from betwixt.pipeline.marker import FrameMarker, MarkedFrame, look_ahead
from betwixt.pipeline.planner import Planner, Rates


class MarkReplay(FrameMarker):
    """Marks frames as the driver has marked them.

    Args:
        marks: The driver's marks, one for each frame.
        overlays: Whether overlays are to be found.
    """

    def __init__(self, marks: Sequence[Mark], overlays: bool) -> None:
        super().__init__("off", False, overlays)
        self._marks, self._finds_overlays = marks, overlays

    def mark(self, items: Iterable[Frame | StreamPacket]) -> Iterator[MarkedFrame | StreamPacket]:
        frames = (item for item in items if isinstance(item, Frame))
        marked = (MarkedFrame(f, mark.cut, mark.duplicate) for f, mark in zip(frames, self._marks, strict=True))
        return look_ahead(marked) if self._finds_overlays else marked


class PiecePlanner(Planner):
    """Plans a part of the output.

    Args:
        piece: The part.
        rates: As for `Planner`.
        overlays: As for `Planner`.
        **options: As for `Planner`.
    """

    def __init__(self, piece: Piece, rates: Rates, overlays: bool, **options: Any) -> None:
        super().__init__(rates, cuts="off", overlays=overlays, stated_end=piece.stated_end, **options)
        self.marker = MarkReplay(piece.marks, overlays)
        self._piece, self._sampling = piece, rates.sampling

    def start_clock(self, first: Frame) -> Clock:
        """Start the output's clock at the first output frame that does not lie before the first source frame.

        That of the video is held for frames before it.
        """
        begin = self._piece.begin
        self.clock = Clock(begin, self._sampling)
        reached = max(0, math.ceil((first.time - begin) * self._sampling))
        self.clock.index = min(reached, self._piece.indices[0])
        return self.clock


def piece_director(description: JobDescription, piece: Piece, model: Interpolator) -> Director:
    """The director of a piece: its steps contain the frames of the piece, and some before and after them."""
    values = description.options

    def make_planner() -> Planner:
        return PiecePlanner(
            piece,
            description.rates,
            values["overlays"] == "auto",
            fill=values["duplicates"] == "fill",
            at_cuts=values["at_cuts"],
            end=description.end_time,
        )

    job: Any = SimpleNamespace(
        model=model,
        masks=None if values["masks"] is None else MaskFolder(values["masks"]),
        curved=values["paths"] == "curved",
        reader=SimpleNamespace(info=description.info),
        rates=description.rates,
        end_time=description.end_time,
        make_planner=make_planner,
        **description.extra,
    )
    return description.director(job, description.chunk)
