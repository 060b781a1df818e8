"""Kept frames, intervals and frame types."""

import itertools

from av.video.frame import PictureType
from hypothesis import given
from hypothesis import strategies as st

from betwixt.codec.gop import Interval, frame_types, intervals, kept_frames

clips = st.integers(1, 80).flatmap(
    lambda count: st.tuples(
        st.just(count), st.sets(st.integers(0, count - 1), max_size=6).map(lambda s: tuple(sorted(s | {0})))
    )
)


@given(clips, st.sampled_from([2, 4, 8]))
def test_every_frame_is_sent_or_made_and_none_across_a_cut(clip, keep):
    count, shots = clip
    sent = kept_frames(count, shots, keep)
    between = [n for i in intervals(sent, shots) for n in i.between]
    assert sorted(between + [n for n, is_sent in enumerate(sent) if is_sent]) == list(range(count))
    for interval in intervals(sent, shots):
        assert not any(interval.left < s <= interval.right for s in shots)
        assert interval.right - interval.left <= keep
    assert all(sent[s] for s in shots)


@given(clips, st.sampled_from([2, 4]), st.integers(1, 40))
def test_i_frames_begin_shots_and_keep_their_distance(clip, keep, intra):
    count, shots = clip
    kept = kept_frames(count, shots, keep)
    types = frame_types(kept, [True] * count, shots, intra)
    assert all(types[s] == PictureType.I for s in shots)
    assert all((t == PictureType.B) == (not k) for t, k in zip(types, kept, strict=True))
    places = [n for n, t in enumerate(types) if t == PictureType.I]
    for a, b in itertools.pairwise(places):
        assert b - a >= intra or b in shots


def test_a_small_example():
    assert kept_frames(10, (0, 6), 4) == [True, False, False, False, True, True, True, False, False, True]
    assert list(intervals(kept_frames(10, (0, 6), 4), (0, 6))) == [Interval(0, 4), Interval(6, 9)]
    types = frame_types(kept_frames(5, (0,), 2), [True, False, True, True, True], (0,), 4)
    assert types == [PictureType.I, PictureType.NONE, PictureType.P, PictureType.B, PictureType.I]
