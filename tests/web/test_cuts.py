"""Finding cuts, correcting them, and the list that a conversion gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from betwixt.media.cut_list import read_cuts
from betwixt.web.cuts import CutStore, VideoCuts
from betwixt.web.pictures import read_rgb
from betwixt.web.survey import draw_cut, find_cuts, read_strip
from clips import make_clip

CUTS = VideoCuts(times=tuple(n / 10 for n in range(50)), found=(10, 30))


def test_cuts_are_found_and_drawn(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", frames=40, size=(160, 96), cuts=(12, 26))
    shares: list[float] = []
    facts = find_cuts(shares.append, tmp_path, clip)
    assert facts["found"] == [12, 26]
    assert facts["times"][12] == pytest.approx(12 / 25)
    assert shares
    drawn = read_rgb(tmp_path / "cut_12.jpg").astype(int)
    before, after = drawn[:, : drawn.shape[1] // 2 - 2], drawn[:, drawn.shape[1] // 2 + 2 :]
    draw_cut(tmp_path, clip, facts["times"][11])
    again = read_rgb(tmp_path / "cut.jpg").astype(int)
    assert abs(again - drawn).mean() < 4
    assert abs(before - after).mean() > 20


def test_a_strip_begins_with_the_frame_at_a_time(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", frames=20)
    assert [time for time, _ in read_strip(clip, 5 / 25, 3)] == pytest.approx([5 / 25, 6 / 25, 7 / 25])


def test_a_click_removes_a_cut_and_another_puts_it_back() -> None:
    once = CUTS.toggle(10)
    assert (once.cuts, once.listed, once.is_corrected) == ([30], [10, 30], True)
    assert once.toggle(10) == CUTS
    assert CUTS.toggle(11) == CUTS


def test_an_added_cut_is_forgotten_by_a_click() -> None:
    added = CUTS.add(20)
    assert added.cuts == [10, 20, 30]
    assert added.toggle(20) == CUTS


@pytest.mark.parametrize("frame", [0, 50, -1])
def test_a_cut_needs_a_frame_before_it(frame: int) -> None:
    assert CUTS.add(frame) == CUTS


def test_adding_a_removed_cut_puts_it_back() -> None:
    assert CUTS.toggle(10).add(10) == CUTS


def test_the_nearest_frame() -> None:
    assert [CUTS.frame_at(time) for time in (-1, 0.04, 0.06, 99)] == [0, 0, 1, 49]


def test_conversions_get_the_corrected_list(tmp_path: Path) -> None:
    store, video = CutStore(tmp_path), tmp_path / "a.mp4"
    video.write_bytes(b"a")
    assert store.load(video) is None
    assert store.options(video) == {}
    store.save(video, CUTS)
    assert store.load(video) == CUTS
    assert store.options(video) == {}  # nothing was corrected: cuts are found as usual
    store.save(video, CUTS.toggle(10).add(20))
    first = store.options(video)["scene_cuts"]
    assert read_cuts(first).frames == {20, 30}
    store.save(video, CUTS.add(20))
    assert read_cuts(store.options(video)["scene_cuts"]).frames == {10, 20, 30}
    assert read_cuts(first).frames == {20, 30}  # what a waiting job was given


def test_another_file_of_the_same_name_has_no_cuts(tmp_path: Path) -> None:
    store, video = CutStore(tmp_path), tmp_path / "a.mp4"
    video.write_bytes(b"a")
    store.save(video, CUTS)
    video.write_bytes(b"longer")
    assert store.load(video) is None
