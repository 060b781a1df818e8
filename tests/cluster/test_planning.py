"""Pieces are planned as the whole is, end in time, and follow the speed."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
from hypothesis import given, settings
from hypothesis import strategies as st

from betwixt.cluster.pieces import Mark, Piece
from betwixt.cluster.planning import MAX_BYTES, MAX_SPAN, MIN_FRAMES, begins_piece, needed_frames, piece_size
from betwixt.cluster.replay import MarkReplay, PiecePlanner
from betwixt.media.reader import Frame
from betwixt.pipeline.planner import ExtrapolateStep, InterpolateStep, Planner, Rates

NO_REACH = (Fraction(0), Fraction(0))

lengths = st.lists(st.sampled_from([Fraction(1, 25), Fraction(1, 24), Fraction(3, 50)]), min_size=3, max_size=60)
rates = st.sampled_from([Fraction(24), Fraction(30), Fraction(60000, 1001), Fraction(120), Fraction(10)])


def plan(planner: Planner, marks: list[Mark]) -> dict[int, Any]:
    """How each new frame is made: by its number, all that the model is told."""
    video = av.VideoFrame(16, 16, "gray")
    made: dict[int, Any] = {}
    before: Any = None
    for step in planner.steps(Frame(m.index, video, m.time, m.duration) for m in marks):
        if isinstance(step, InterpolateStep):
            # The frames of an interval follow the motion of the two beside it.
            beside = None if before is None or before.right.index != step.left.index else _name(before)
            if beside is not None:
                for index, _ in before.slots:
                    made[index] = (*made[index], _name(step))
            made |= {index: (t, *_name(step), beside) for index, t in step.slots}
            before = step
        elif isinstance(step, ExtrapolateStep):
            around = [frame.index for frame in step.around]
            made |= {index: (t, step.first.index, step.second.index, around) for index, t in step.slots}
    return made


def _name(step: InterpolateStep) -> tuple[Any, ...]:
    return step.left.index, step.right.index, step.length, [frame.index for frame in step.around]


@settings(max_examples=80, deadline=None)
@given(
    lengths,
    st.sets(st.integers(1, 59)),
    st.sets(st.integers(1, 59)),
    rates,
    st.integers(1, 40),
    st.booleans(),
    st.sampled_from(["hold", "continue"]),
    st.booleans(),
)
def test_pieces_are_planned_as_the_whole_is(durations, cuts, duplicates, rate, target, overlays, at_cuts, ends_early):
    times = [sum(durations[:k], Fraction(7, 3)) for k in range(len(durations))]
    marks = [
        Mark(k, time, duration, k in cuts, k in duplicates, 0)
        for k, (time, duration) in enumerate(zip(times, durations, strict=True))
    ]
    end = times[-2] if ends_early else None
    options: dict[str, Any] = {"overlays": overlays, "at_cuts": at_cuts, "end": end, "fill": bool(duplicates)}
    planner = Planner(Rates(rate, rate, Fraction(1)), cuts="off", **options)
    planner.marker = MarkReplay(marks, overlays)
    whole = plan(planner, marks)

    pieces: list[list[int]] = []
    for index in sorted(whole):
        at_cut = bool(pieces) and any(times[c] <= times[0] + index / rate for c in cuts if c < len(times))
        if not pieces or begins_piece(len(pieces[-1]), 0, at_cut, target):
            pieces.append([])
        pieces[-1].append(index)
    for piece in pieces:
        assert len(piece) <= target
        first, last = (times[0] + index / rate for index in (piece[0], piece[-1]))
        numbers = needed_frames(times, first, last, NO_REACH, is_end=True)
        assert numbers is not None
        part = [replace(marks[n]) for n in numbers]
        described = Piece(0, piece, len(piece), part, times[0], None)
        made = plan(PiecePlanner(described, Rates(rate, rate, Fraction(1)), **options), part)
        assert {index: made[index] for index in piece} == {index: whole[index] for index in piece}


@given(st.integers(0, 200), st.integers(0, 2 * MAX_SPAN), st.booleans(), st.integers(1, 100))
def test_pieces_end_in_time_and_at_cuts(frames, span, at_cut, target):
    begins = begins_piece(frames, span, at_cut, target)
    assert begins or (frames < target and span < MAX_SPAN)
    assert begins == (frames >= target or span >= MAX_SPAN) or at_cut


def test_a_piece_waits_for_the_source_frames_after_it():
    times = [Fraction(k) for k in range(20)]
    first = Fraction(5, 2)
    assert needed_frames(times, first, Fraction(31, 2), NO_REACH, is_end=False) is None
    assert needed_frames(times, first, Fraction(31, 2), NO_REACH, is_end=True) == range(20)
    assert needed_frames(times, Fraction(17, 2), Fraction(19, 2), NO_REACH, is_end=False) == range(4, 15)
    wide = needed_frames(times, Fraction(17, 2), Fraction(19, 2), (Fraction(2), Fraction(1)), is_end=False)
    assert wide == range(2, 16)


def test_pieces_follow_the_speed_and_get_smaller_at_the_end():
    assert piece_size(None, 4, None, 1000) == MIN_FRAMES
    assert piece_size(5.0, 4, None, 1000) == 50
    assert piece_size(5.0, 4, 100_000, 1000) == 50
    assert piece_size(5.0, 4, 160, 1000) == 20
    assert piece_size(5.0, 4, 3, 1000) == MIN_FRAMES
    assert piece_size(100.0, 4, None, MAX_BYTES // 10) == 10
