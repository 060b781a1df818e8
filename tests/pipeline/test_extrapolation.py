"""Extrapolation of images and videos."""

from fractions import Fraction

import av
import numpy as np
import pytest

import betwixt
from betwixt.errors import InputError, UsageError
from betwixt.evaluation.metrics import psnr
from betwixt.pipeline.extrapolation import extrapolate_video, plan_extrapolation
from clips import copy_planes, frames_equal, make_clip, paint, read_frames


def picture(index):
    return paint(av.VideoFrame(160, 96, "rgb24"), index, speed=3.0).to_ndarray()


def test_extrapolated_frames_continue_the_motion():
    made = betwixt.load_model("dis").extrapolate(picture(0), picture(1), 3)
    assert [m.dtype for m in made] == [np.uint8] * 3
    for step, frame in enumerate(made, start=1):
        truth, last = picture(1 + step), picture(1)
        inside = (slice(8, -8), slice(8 + 3 * step, -8 - 3 * step))
        assert psnr(frame[inside], truth[inside]) > psnr(last[inside], truth[inside]) + 8


def test_models_that_only_interpolate_use_dis_and_batches_work():
    first, second = (picture(n).astype(np.float32) / 255 for n in (0, 1))
    (by_dis,) = betwixt.load_model("dis").extrapolate(first, second)
    (by_average,) = betwixt.load_model("average").extrapolate(first, second)
    np.testing.assert_array_equal(by_dis, by_average)
    (batch,) = betwixt.load_model("dis").extrapolate(np.stack([first, second]), np.stack([second, second]))
    np.testing.assert_array_equal(batch[0], by_dis)
    np.testing.assert_array_equal(batch[1], second)
    with pytest.raises(UsageError, match="at least 1"):
        betwixt.load_model("dis").extrapolate(first, second, 0)


def test_still_parts_stay_bit_identical():
    first, second = picture(0), picture(1)
    first[:, 100:] = second[:, 100:] = picture(5)[:, 100:]
    (made,) = betwixt.load_model("dis").extrapolate(first, second)
    assert (made[:, 120:] == second[:, 120:]).all()
    assert (made[:, :60] != second[:, :60]).any()


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le"])
def test_a_video_is_continued(tmp_path, pixel_format):
    source = make_clip(tmp_path / "in.mkv", frames=6, pixel_format=pixel_format, audio=True, size=(160, 96))
    summary = extrapolate_video(source, tmp_path / "out.mkv", frames=2, model="dis", codec="ffv1")
    assert (summary.frames_in, summary.frames_out, summary.untouched, summary.synthesized) == (6, 8, 6, 2)
    before, after = read_frames(source), read_frames(tmp_path / "out.mkv")
    assert all(frames_equal(a.video, b.video) for a, b in zip(before, after, strict=False))
    assert [f.time for f in after] == [Fraction(k, 25) for k in range(8)]
    truth = copy_planes(paint(av.VideoFrame(160, 96, pixel_format), 6))[0].astype(float)
    made, last = (copy_planes(after[k].video)[0].astype(float) for k in (6, 5))
    assert np.abs(made - truth)[:, 8:-8].mean() < 0.3 * np.abs(last - truth)[:, 8:-8].mean()
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert len(container.streams.audio) == 1


def test_only_writes_the_new_frames_alone(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=6, audio=True)
    extrapolate_video(source, tmp_path / "all.mkv", frames=3, model="dis", codec="ffv1")
    summary = extrapolate_video(source, tmp_path / "only.mkv", frames=3, model="dis", codec="ffv1", only=True)
    assert (summary.frames_out, summary.untouched) == (3, 0)
    whole, alone = read_frames(tmp_path / "all.mkv"), read_frames(tmp_path / "only.mkv")
    assert all(frames_equal(a.video, b.video) for a, b in zip(whole[6:], alone, strict=True))
    with av.open(str(tmp_path / "only.mkv")) as container:
        assert not container.streams.audio
    assert plan_extrapolation(source, tmp_path / "x.mkv", frames=3, only=True, model="dis").frames_out == 3


def test_a_model_that_extrapolates_makes_the_frames_itself(tmp_path):
    class Next(betwixt.Interpolator):
        name = "next"
        interpolates, extrapolates = False, True

        def prepare(self, first, second):
            raise AssertionError("nothing is made in between")

        def next_frame(self, first, second):
            return np.clip(second + 0.1, 0, 1)

    source = make_clip(tmp_path / "in.mkv", frames=4, still=True)
    summary = extrapolate_video(source, tmp_path / "out.mkv", frames=2, model=Next(), codec="ffv1")
    means = [copy_planes(f.video)[0].mean() for f in read_frames(tmp_path / "out.mkv")]
    assert summary.synthesized == 2
    assert means[3] + 15 < means[4] < means[5] - 10


def test_filling_duplicates_skips_repeats_at_the_end(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=10, repeat=2, size=(160, 96))
    options = {"frames": 2, "model": "dis", "codec": "ffv1"}
    extrapolate_video(source, tmp_path / "keep.mkv", **options)
    extrapolate_video(source, tmp_path / "fill.mkv", duplicates="fill", **options)
    kept, filled = (read_frames(tmp_path / name) for name in ("keep.mkv", "fill.mkv"))
    assert frames_equal(kept[-1].video, kept[-3].video)
    assert not frames_equal(filled[-1].video, filled[-3].video)


def test_a_variable_rate_becomes_constant_with_a_note(tmp_path):
    times = [Fraction(n, 1000) for n in (0, 40, 73, 123, 156, 276, 316, 349)]
    source = make_clip(tmp_path / "in.mkv", frames=8, times=times, tick=Fraction(1, 1000), size=(160, 96))
    summary = extrapolate_video(source, tmp_path / "out.mkv", frames=2, model="dis")
    assert any("varies" in note for note in summary.notes)
    steady = make_clip(tmp_path / "steady.mkv", frames=8, size=(160, 96))
    assert not any("varies" in n for n in extrapolate_video(steady, tmp_path / "s.mkv", frames=2, model="dis").notes)


def test_one_frame_or_a_cut_before_the_last_is_refused(tmp_path):
    one = make_clip(tmp_path / "one.mkv", frames=1)
    with pytest.raises(InputError, match="one frame only"):
        extrapolate_video(one, tmp_path / "out.mkv", model="dis")
    cut = make_clip(tmp_path / "cut.mkv", frames=11, cuts=(10,), size=(160, 96))
    with pytest.raises(InputError, match="a cut between its last two frames"):
        extrapolate_video(cut, tmp_path / "out.mkv", model="dis")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.mkv", "one.mkv"]
    assert extrapolate_video(cut, tmp_path / "out.mkv", model="dis", end="0.4").synthesized == 1
