"""Next to a cut, frames are held, or continue the motion of their shot."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

import betwixt
from betwixt.errors import UsageError
from betwixt.media import journal
from betwixt.media.journal import journal_path
from clips import copy_planes, frames_equal, interrupt_at, make_clip, paint, read_frames

SIZE = (160, 96)


def convert(source: Path, target: Path, **options: Any) -> tuple[Any, list[av.VideoFrame]]:
    """Convert without loss; the summary and the frames."""
    options = {"model": "dis", "codec": "ffv1", "at_cuts": "continue", "overwrite": True} | options
    summary = betwixt.interpolate_video(source, target, **options)
    assert summary.frames_out == summary.untouched + summary.held + summary.synthesized
    return summary, [frame.video for frame in read_frames(target)]


def list_cuts(folder: Path, *frames: int) -> Path:
    path = folder / "cuts.txt"
    path.write_text("".join(f"{frame}\n" for frame in frames))
    return path


def distance(a: av.VideoFrame, b: av.VideoFrame) -> float:
    """The mean difference of luma, apart from the borders, where the texture enters and leaves."""
    x, y = (copy_planes(frame)[0].astype(float) for frame in (a, b))
    return float(np.abs(x - y)[:, 12:-12].mean())


def texture(like: av.VideoFrame, index: float, scene: int, speed: float = 2.0) -> av.VideoFrame:
    """The frame of `make_clip` at a time between its frames."""
    return paint(av.VideoFrame(like.width, like.height, like.format.name), index, scene=scene, speed=speed)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le"])
def test_motion_goes_on_on_both_sides_of_a_cut(tmp_path, pixel_format):
    source = make_clip(tmp_path / "in.mkv", frames=20, cuts=(10,), size=SIZE, pixel_format=pixel_format)
    summary, after = convert(source, tmp_path / "out.mkv", factor=4)
    before = [frame.video for frame in read_frames(source)]
    # Three frames lie at the cut; three after the last frame of the video are held.
    assert (summary.cuts, summary.held, summary.synthesized) == (1, 3, 18 * 3 + 3)
    assert any("3 of the new frames continue" in note for note in summary.notes)
    for k, scene, nearest in ((37, 0, 9), (38, 1, 10), (39, 1, 10)):
        truth = texture(after[k], k / 4, scene)
        assert after[k].format.name == pixel_format
        assert distance(after[k], truth) < 0.25 * distance(before[nearest], truth)


def test_other_frames_do_not_depend_on_it(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=8, cuts=(4,), size=SIZE)
    options = {"factor": 4, "scene_cuts": list_cuts(tmp_path, 4)}
    _, continued = convert(source, tmp_path / "a.mkv", **options)
    summary, held = convert(source, tmp_path / "b.mkv", at_cuts="hold", **options)
    assert summary.held == 6
    assert not any("continue" in note for note in summary.notes)
    differing = [k for k, (a, b) in enumerate(zip(continued, held, strict=True)) if not frames_equal(a, b)]
    assert differing == [13, 14, 15]
    before = [frame.video for frame in read_frames(source)]
    assert all(frames_equal(held[k], before[nearest]) for k, nearest in ((13, 3), (14, 4), (15, 4)))


def test_frames_beyond_the_cut_are_never_used(tmp_path):
    options = {"factor": 4, "scene_cuts": list_cuts(tmp_path, 4)}
    source = make_clip(tmp_path / "in.mkv", frames=8, cuts=(4,), size=SIZE)
    other_end = make_clip(tmp_path / "other-end.mkv", frames=8, cuts=(4, 4), size=SIZE)
    other_start = make_clip(tmp_path / "other-start.mkv", frames=8, cuts=(0, 4), size=SIZE)
    _, frames = convert(source, tmp_path / "a.mkv", **options)
    _, with_other_end = convert(other_end, tmp_path / "b.mkv", **options)
    assert all(frames_equal(a, b) for a, b in zip(frames[:14], with_other_end[:14], strict=True))
    assert not frames_equal(frames[14], with_other_end[14])
    _, with_other_start = convert(other_start, tmp_path / "c.mkv", **options)
    assert not frames_equal(with_other_end[13], with_other_start[13])
    assert all(frames_equal(a, b) for a, b in zip(with_other_end[14:], with_other_start[14:], strict=True))


def test_a_shot_of_one_frame_is_held(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=20, cuts=(10, 11, 19), size=SIZE)
    summary, after = convert(source, tmp_path / "out.mkv", factor=4, scene_cuts=list_cuts(tmp_path, 10, 11, 19))
    before = [frame.video for frame in read_frames(source)]
    for k, nearest in ((38, 10), (39, 10), (41, 10), (74, 19), (75, 19)):
        assert frames_equal(after[k], before[nearest])
    for k in (37, 42, 43, 73):
        assert not any(frames_equal(after[k], frame) for frame in before)
    assert summary.held == 5 + 3


def test_distances_are_those_of_variable_times(tmp_path):
    times = [Fraction(n, 1000) for n in (0, 40, 80, 140, 180, 210, 260, 300)]
    source = make_clip(
        tmp_path / "in.mkv", frames=8, times=times, tick=Fraction(1, 1000), size=SIZE, cuts=(4,),
        positions=[float(50 * time) for time in times],
    )  # fmt: skip
    cuts = list_cuts(tmp_path, 4)
    _, after = convert(source, tmp_path / "out.mkv", fps=100, scene_cuts=cuts)
    before = [frame.video for frame in read_frames(source)]
    for k, scene, nearest in ((15, 0, 3), (16, 1, 4), (17, 1, 4)):
        truth = texture(after[k], k / 2, scene, speed=1.0)
        assert distance(after[k], truth) < 0.35 * distance(before[nearest], truth)


def test_motion_is_not_continued_for_longer_than_the_interval_it_was_seen_in(tmp_path):
    times = [Fraction(n, 1000) for n in (0, 40, 80, 280, 320, 360)]
    source = make_clip(tmp_path / "in.mkv", frames=6, times=times, tick=Fraction(1, 1000), size=SIZE, cuts=(3,))
    summary, after = convert(source, tmp_path / "out.mkv", fps=100, scene_cuts=list_cuts(tmp_path, 3))
    before = [frame.video for frame in read_frames(source)]
    assert all(frames_equal(after[k], before[2 if k < 18 else 3]) for k in range(9, 28))
    assert not any("continue" in note for note in summary.notes)


def test_duplicates_show_no_motion(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=16, cuts=(8,), repeat=2, size=SIZE)
    options = {"factor": 4, "duplicates": "fill", "scene_cuts": list_cuts(tmp_path, 8)}
    _, after = convert(source, tmp_path / "out.mkv", **options)
    before = [frame.video for frame in read_frames(source)]
    assert frames_equal(after[29], before[7])  # frame 7 repeats frame 6
    for k in (30, 31):  # frame 9, which repeats frame 8, is left out: the motion is that from 8 to 10
        truth = texture(after[k], k / 8, 1)
        assert distance(after[k], truth) < 0.35 * distance(before[8], truth)


def convert_images(folder: Path, images: list[Any], cut: int) -> tuple[Any, list[Any]]:
    """Convert images with a cut at a factor of 4; the summary and the frames."""
    for name in ("in", "out"):
        (folder / name).mkdir()
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / "in" / f"{number:03d}.png"), np.clip(image, 0, 255).astype(np.uint8))
    summary = betwixt.interpolate_video(
        folder / "in", folder / "out" / "%03d.png", model="dis", factor=4, scene_cuts=list_cuts(folder, cut)
    )
    return summary, [cv2.imread(str(path)).astype(int) for path in sorted((folder / "out").iterdir())]


def make_images(folder: Path) -> list[Any]:
    clip = make_clip(folder / "in.mkv", frames=12, cuts=(6,), size=SIZE)
    return [frame.video.to_ndarray(format="bgr24").astype(int) for frame in read_frames(clip)]


def test_unreliable_motion_is_not_continued(tmp_path):
    images = make_images(tmp_path)
    images[5] = np.random.default_rng(0).integers(0, 256, images[5].shape)
    summary, made = convert_images(tmp_path, images, 6)
    assert (summary.held, summary.synthesized) == (1 + 3, 10 * 3 + 2)
    np.testing.assert_array_equal(made[21], images[5])


def test_a_flash_before_the_cut_keeps_its_brightness(tmp_path):
    images = make_images(tmp_path)
    images[5] = np.minimum(images[5] + 60, 255)
    summary, made = convert_images(tmp_path, images, 6)
    assert summary.held == 3
    assert (made[21] != images[5]).any()
    assert abs(made[21].mean() - images[5].mean()) < 3


def test_where_nothing_moves_frames_are_held(tmp_path):
    images = make_images(tmp_path)
    summary, made = convert_images(tmp_path, [images[0]] * 3 + [images[8]] * 3, 3)
    assert (summary.held, summary.synthesized) == (3 + 3, 4 * 3)
    np.testing.assert_array_equal(made[11], images[8])


def test_every_model_continues_the_motion_that_dis_finds(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=8, cuts=(4,), size=SIZE)
    options = {"factor": 4, "scene_cuts": list_cuts(tmp_path, 4)}
    _, by_dis = convert(source, tmp_path / "dis.mkv", **options)
    _, by_average = convert(source, tmp_path / "average.mkv", model="average", **options)
    assert all(frames_equal(by_dis[k], by_average[k]) for k in (13, 14, 15))
    assert not frames_equal(by_dis[10], by_average[10])


def test_threads_and_interruptions_do_not_change_the_result(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "_KEEP_AFTER", 0.0)
    source = make_clip(tmp_path / "in.mkv", frames=24, cuts=(10, 16, 17), size=(96, 64), audio=True)
    options = {"factor": 4, "scene_cuts": list_cuts(tmp_path, 10, 16, 17)}
    whole, frames = convert(source, tmp_path / "whole.mkv", threads=1, **options)
    counts = whole.untouched, whole.held, whole.synthesized
    for stop_at in (39, 67):
        with pytest.raises(KeyboardInterrupt), interrupt_at(stop_at):
            convert(source, tmp_path / "out.mkv", threads=3, **options)
        assert journal_path(tmp_path / "out.mkv").exists()
        resumed, again = convert(source, tmp_path / "out.mkv", threads=4, **options)
        assert resumed.earlier > 0
        assert (resumed.untouched, resumed.held, resumed.synthesized) == counts
        assert all(frames_equal(a, b) for a, b in zip(frames, again, strict=True))


def test_unknown_values_are_refused(tmp_path):
    with pytest.raises(UsageError, match="`at_cuts` is 'go': choose continue or hold"):
        convert(make_clip(tmp_path / "in.mkv"), tmp_path / "out.mkv", at_cuts="go")
