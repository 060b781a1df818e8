"""Text that stays is whole in new frames, with each kind of model; what moves is not frozen."""

import numpy as np
import pytest

import betwixt
from betwixt.media.frames import planes
from betwixt.media.overlays import find_overlays
from betwixt.pipeline.blur import blur_video
from clips import frames_equal, interrupt_at, read_frames
from overlay_clips import SIZE, pan, save, text_mask, write

FILL, WHOLE = text_mask()


def convert(source, target, **options):
    """The luma of the output's frames."""
    options = {"model": "dis", "codec": "ffv1", "threads": 2} | options
    betwixt.interpolate_video(source, target, overwrite=True, **options)
    return [planes(frame.video)[0].copy() for frame in read_frames(target)]


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le"])
def test_text_over_a_pan_is_bit_identical_in_new_frames(tmp_path, pixel_format):
    source = save(tmp_path / "in.mkv", [write(pan(k)) for k in range(7)], pixel_format)
    made = convert(source, tmp_path / "out.mkv")
    text = made[0][WHOLE]
    assert all((frame[WHOLE] == text).mean() > 0.995 for frame in made)
    dissolved = convert(source, tmp_path / "off.mkv", overlays="off")
    assert all((frame[WHOLE] == text).mean() < 0.97 for frame in dissolved[1:12:2])


def test_the_picture_behind_text_moves(tmp_path):
    source = save(tmp_path / "in.mkv", [write(pan(k, 10)) for k in range(7)])
    made = convert(source, tmp_path / "out.mkv")
    off = convert(source, tmp_path / "off.mkv", overlays="off")
    truth = [write(pan(k / 2, 10)) for k in range(13)]

    def error(frames):
        return np.mean([np.abs(frames[k].astype(int) - truth[k])[~WHOLE].mean() for k in range(1, 12, 2)])

    assert error(made) < error(off)


def test_text_that_is_not_found_in_a_pair_does_not_take_over_the_motion_behind_it(tmp_path, monkeypatch):
    lumas = [write(pan(k)) for k in range(9)]

    def find(views, first):
        return None if np.array_equal(views[first].luma, lumas[4]) else find_overlays(views, first)

    monkeypatch.setattr("betwixt.runtime.synthesis.find_overlays", find)
    source = save(tmp_path / "in.mkv", lumas)
    made, off = convert(source, tmp_path / "out.mkv"), convert(source, tmp_path / "off.mkv", overlays="off")
    errors, errors_off = (np.abs(frames[9].astype(int) - frames[8])[WHOLE].mean() for frames in (made, off))
    assert 0 < errors < 1.1 * errors_off


@pytest.mark.parametrize("model", ["compact", "rife-4.6"])
def test_other_models_keep_text_whole(tmp_path, model):
    source = save(tmp_path / "in.mkv", [write(pan(k)) for k in range(5)])
    made = convert(source, tmp_path / "out.mkv", model=model)
    assert all((frame[WHOLE] == made[0][WHOLE]).mean() > 0.98 for frame in made)


def test_clips_without_overlays_are_the_same_with_the_option_off(tmp_path):
    source = save(tmp_path / "in.mkv", [write(pan(k, 9), 8 * k - 16) for k in range(8)])
    found = convert(source, tmp_path / "auto.mkv")
    assert all(
        np.array_equal(a, b) for a, b in zip(found, convert(source, tmp_path / "off.mkv", overlays="off"), strict=True)
    )


def test_text_is_kept_on_both_sides_of_a_cut(tmp_path):
    lumas = [write(pan(k)) for k in range(6)] + [write(pan(75 - k)[::-1].copy()) for k in range(6)]
    source = save(tmp_path / "in.mkv", lumas)
    (tmp_path / "cuts.txt").write_text("6\n")
    made = convert(source, tmp_path / "out.mkv", scene_cuts=tmp_path / "cuts.txt", factor=4)
    assert all((frame[WHOLE] == made[0][WHOLE]).mean() > 0.98 for frame in made)


def test_text_of_one_shot_is_not_kept_in_the_next(tmp_path):
    lumas = [write(pan(k)) for k in range(6)] + [pan(60 + k) for k in range(6)]
    (tmp_path / "cuts.txt").write_text("6\n")
    made = convert(save(tmp_path / "in.mkv", lumas), tmp_path / "out.mkv", scene_cuts=tmp_path / "cuts.txt")
    alone = convert(save(tmp_path / "alone.mkv", lumas[6:]), tmp_path / "out.mkv")
    assert all(np.array_equal(a, b) for a, b in zip(made[12:], alone, strict=True))


def test_results_depend_neither_on_threads_nor_on_interruptions(tmp_path, monkeypatch):
    monkeypatch.setattr("betwixt.media.journal._KEEP_AFTER", 0.0)
    source = save(tmp_path / "in.mkv", [write(pan(k)) if k > 4 else pan(k) for k in range(16)])
    options = {"model": "dis", "codec": "ffv1"}
    betwixt.interpolate_video(source, tmp_path / "whole.mkv", threads=3, **options)
    with pytest.raises(KeyboardInterrupt), interrupt_at(20):
        betwixt.interpolate_video(source, tmp_path / "out.mkv", threads=1, **options)
    assert betwixt.interpolate_video(source, tmp_path / "out.mkv", threads=1, **options).earlier > 0
    a, b = read_frames(tmp_path / "whole.mkv"), read_frames(tmp_path / "out.mkv")
    assert len(a) == len(b) == 32
    assert all(frames_equal(x.video, y.video) for x, y in zip(a, b, strict=True))


def test_motion_blur_leaves_text_sharp(tmp_path):
    source = save(tmp_path / "in.mkv", [write(pan(k)) for k in range(5)])
    for overlays, sharp in (("auto", True), ("off", False)):
        blur_video(source, tmp_path / "out.mkv", overlays=overlays, model="dis", codec="ffv1", overwrite=True)
        frame = planes(read_frames(tmp_path / "out.mkv")[2].video)[0]
        assert (np.abs(frame.astype(int) - write(pan(2)))[WHOLE].max() <= 1) == sharp
    assert frame.shape == SIZE
