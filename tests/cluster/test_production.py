"""Each frame of the output is shown by the driver, made by the driver, or in one piece."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from types import SimpleNamespace
from typing import Any
from unittest import mock

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from betwixt.cluster.pieces import Piece
from betwixt.media.reader import Frame
from betwixt.pipeline.director import Director
from betwixt.pipeline.marker import FrameMarker, MarkedFrame
from betwixt.pipeline.planner import Planner, Rates

pytest.importorskip("ray", reason="Ray is not installed (the extra cluster)")

from betwixt.cluster import production as module
from betwixt.cluster.production import ClusterProduction, SegmentProduction, _InPiece, _Own, _Shown
from betwixt.cluster.scheduler import Work

VIDEO = av.VideoFrame(16, 16, "gray")
OPTIONS = dict.fromkeys(module._OPTIONS) | {"device": "auto"}

lengths = st.lists(st.sampled_from([Fraction(1, 25), Fraction(1, 24), Fraction(3, 50)]), min_size=2, max_size=60)
rates = st.sampled_from([Fraction(24), Fraction(30), Fraction(60000, 1001), Fraction(120), Fraction(10)])
numbers = st.sets(st.integers(1, 59), max_size=20)


class GivenMarks(FrameMarker):
    """Marks frames by their numbers."""

    def __init__(self, cuts: set[int], duplicates: set[int], fill: bool, overlays: bool) -> None:
        super().__init__("off", fill, overlays)
        self._given = cuts, duplicates

    def _mark(self, items: Any) -> Iterator[MarkedFrame]:
        cuts, duplicates = self._given
        return (MarkedFrame(item, item.index in cuts, item.index in duplicates) for item in items)


class PlansOnly(Director):
    """Plans frames, and makes none: motion can be continued after every third frame."""

    def pair(self, left: Frame, right: Frame, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(
            link_previous=lambda *_: None,
            can_continue=lambda: left.index % 3 == 0,
            synthesize=lambda times: [VIDEO for _ in times],
            move_second=lambda times: [VIDEO for _ in times],
        )


class Recorder:
    """Has the interface of `Scheduler`, and notes the pieces that are submitted."""

    def __init__(self, speed: float | None, workers: int) -> None:
        self.speed, self.workers, self.submitted = speed, workers, list[Piece]()

    def submit(self, piece: Piece, report: Callable[[], None]) -> Work:
        self.submitted.append(piece)
        return Work(piece)


@settings(max_examples=150, deadline=None)
@given(
    durations=lengths,
    cuts=numbers,
    duplicates=numbers,
    fill=st.booleans(),
    overlays=st.booleans(),
    waits=st.booleans(),
    loop=st.booleans(),
    at_cuts=st.sampled_from(["hold", "continue"]),
    rate=rates,
    knows_length=st.booleans(),
    speed=st.sampled_from([None, 0.3, 1.5, 6.0]),
    workers=st.integers(0, 5),
    segment=st.integers(1, 80),
    span=st.integers(2, 40),
    resumed=st.integers(0, 150),
    kind=st.sampled_from([ClusterProduction, SegmentProduction]),
)
def test_each_frame_is_made_once(
    durations, cuts, duplicates, fill, overlays, waits, loop, at_cuts, rate, knows_length, speed, workers, segment,
    span, resumed, kind,
):  # fmt: skip
    def make_planner() -> Planner:
        planner = Planner(Rates(rate, rate, Fraction(1)), fill=fill, overlays=overlays, loop=loop, at_cuts=at_cuts)
        planner.marker = GivenMarks(cuts, duplicates, fill, overlays)
        return planner

    def frames() -> Iterator[Frame]:
        return (Frame(k, VIDEO, sum(durations[:k], Fraction(7, 3)), length) for k, length in enumerate(durations))

    job: Any = SimpleNamespace(
        model=SimpleNamespace(uses_neighbours=waits, arithmetic=""), weights_hash="", curved=True, masks=None,
        reader=SimpleNamespace(info=SimpleNamespace(pixel_format="gray", width=16, height=16), stated_end=None),
        rates=Rates(rate, rate, Fraction(1)), end_time=None, make_planner=make_planner,
        options=OPTIONS | {"loop": loop}, threads=1, frames_out=None,
    )  # fmt: skip
    alone = [
        index
        for step in PlansOnly(job, 4).steps(frames())
        for index in ([step.index] if hasattr(step, "index") else step.indices)
    ]
    assert alone == list(range(len(alone)))
    job.frames_out = len(alone) if knows_length else None
    recorder = Recorder(speed, workers)
    with mock.patch.multiple(
        module, Scheduler=lambda *_: recorder, _find_source=lambda _: None, frame_digest=lambda _: 0,
        SEGMENT_FRAMES=segment, MAX_SPAN=span,
    ), mock.patch("betwixt.cluster.planning.MAX_SPAN", span):  # fmt: skip
        production = kind(job, PlansOnly, resumed, {})
        production._read = frames()
        production.direct()
        items = list(production._steps)
        production._pool.shutdown()

    places = [(index, item) for item in items for index in (item.indices if hasattr(item, "indices") else [item.index])]
    assert [index for index, _ in places] == alone
    in_pieces = [index for index, item in places if isinstance(item, _InPiece)]
    assert [index for piece in recorder.submitted for index in piece.indices] == in_pieces
    for index, item in places:
        if isinstance(item, _InPiece):
            assert item.piece.work is not None
            assert index in item.piece.work.piece.indices
        else:
            # The driver shows source frames; it makes those between the last frame and the first, and no others.
            assert isinstance(item, _Shown | _Own)
            assert index < resumed or (loop and isinstance(item, _Own)) or kind is ClusterProduction
            assert not isinstance(item, _Own) or item.videos is not None or index < resumed
    for number, piece in enumerate(recorder.submitted):
        assert piece.number == number
        assert piece.new == sum(item.kind == "synthesized" for index, item in places if index in set(piece.indices))
        assert kind is SegmentProduction or piece.new == len(piece.indices)
        first, last = (production.director.time(piece.indices[k]) for k in (0, -1))
        times = [mark.time for mark in piece.marks]
        assert times[0] <= first
        assert last <= times[-1] + durations[-1]
