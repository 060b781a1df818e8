"""Videos are compared by time, in numbers and in a video that shows both."""

import json
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

import betwixt
from betwixt.cli.main import run
from betwixt.errors import OutputError, UsageError
from betwixt.evaluation.compare import compare_videos
from betwixt.media.frames import planes
from clips import make_clip, read_frames

SIZE = (64, 48)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clips") / "a.mkv", frames=8, size=SIZE)


def luma(path):
    return [planes(frame.video)[0].astype(int) for frame in read_frames(path)]


def test_the_same_frames_are_identical_wherever_their_clock_begins(tmp_path, clip):
    later = make_clip(tmp_path / "b.mp4", frames=8, size=SIZE, codec="libx264", options={"qp": "0"}, start=Fraction(3))
    result = compare_videos(clip, later)
    assert (result.compared, result.identical, result.notes) == (8, 8, ())
    assert {name: scores.mean for name, scores in result.scores.items()} == {
        "psnr": 100.0, "ssim": pytest.approx(1.0), "ssimulacra2": pytest.approx(100.0)
    }  # fmt: skip


def test_the_worst_frame_is_named_with_its_time(tmp_path, clip):
    positions = [2.0 * number + 30 * (number == 5) for number in range(8)]
    other = make_clip(tmp_path / "b.mkv", frames=8, size=SIZE, positions=positions)
    result = compare_videos(clip, other, metrics="psnr,ie", csv=tmp_path / "scores.csv")
    assert result.identical == 7
    assert result.scores["psnr"].median == 100
    assert result.scores["psnr"].worst < 30
    assert result.scores["ie"].worst > 1  # of which lower is better
    assert {scores.worst_time for scores in result.scores.values()} == {5 / 25}
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert lines[0] == "time,psnr,ie"
    assert [line.split(",")[0] for line in lines[1:]] == [f"{number / 25:.6f}" for number in range(8)]


def test_a_higher_rate_is_compared_at_the_common_times(tmp_path, clip):
    betwixt.interpolate_video(clip, tmp_path / "b.mkv", factor=2, model="dis")
    result = compare_videos(clip, tmp_path / "b.mkv", tmp_path / "both.mkv", metrics="psnr", codec="ffv1", labels=[])
    assert (result.compared, result.identical, result.frames) == (8, 8, 16)
    assert "rates differ, 25 and 50 frames per second" in result.notes[0]
    # Every frame of the slower video is held for two frames of the output.
    left = [picture[:, : SIZE[0]] for picture in luma(tmp_path / "both.mkv")]
    moved = [not np.array_equal(a, b) for a, b in pairwise(left)]
    assert moved == [False, True] * 7 + [False]


@pytest.mark.parametrize(("shift", "identical"), [("0", 0), ("0.08", 6), (-0.08, 0)])
def test_one_video_may_begin_later(tmp_path, clip, shift, identical):
    cut = make_clip(tmp_path / "b.mkv", frames=6, size=SIZE, positions=[4.0 + 2 * n for n in range(6)])
    result = compare_videos(clip, cut, metrics="psnr", shift=shift)
    assert result.identical == identical
    assert result.compared == (4 if shift == -0.08 else 6)


@pytest.mark.parametrize(
    ("layout", "size", "first", "second"),
    [
        ("side", (132, 48), (slice(None), slice(0, 64)), (slice(None), slice(68, 132))),
        ("stack", (64, 100), (slice(0, 48), slice(None)), (slice(52, 100), slice(None))),
        ("split", (64, 48), (slice(None), slice(0, 32)), (slice(None), slice(34, 64))),
    ],
)
def test_both_are_shown_unchanged_at_their_places(tmp_path, clip, layout, size, first, second):
    other = make_clip(tmp_path / "b.mkv", frames=8, size=SIZE, cuts=(0,))
    result = compare_videos(clip, other, tmp_path / "both.mkv", metrics="none", layout=layout, labels=[], codec="ffv1")
    assert (result.scores, result.frames) == ({}, 8)
    for picture, a, b in zip(luma(tmp_path / "both.mkv"), luma(clip), luma(other), strict=True):
        assert picture.shape == size[::-1]
        assert np.array_equal(picture[first], a[first if layout == "split" else (slice(None), slice(None))])
        assert np.array_equal(picture[second], b[second if layout == "split" else (slice(None), slice(None))])


def test_labels_are_drawn_in_the_corners(tmp_path, clip):
    plain, named = tmp_path / "plain.mkv", tmp_path / "named.mkv"
    options = {"metrics": "none", "codec": "ffv1", "layout": "split"}
    compare_videos(clip, clip, plain, labels=[], **options)
    compare_videos(clip, clip, named, labels=["A", "Ä"], **options)
    changed = luma(plain)[0] != luma(named)[0]
    assert changed[:10, :8].any()
    assert changed[:10, -8:].any()
    assert not changed[24:].any()
    with pytest.raises(UsageError, match="two texts"):
        compare_videos(clip, clip, tmp_path / "no.mkv", labels=["A"])


def test_the_sound_of_the_first_is_kept(tmp_path, clip):
    sound = make_clip(tmp_path / "b.mkv", frames=8, size=SIZE, audio=True)
    compare_videos(sound, clip, tmp_path / "both.mp4", metrics="none")
    compare_videos(clip, sound, tmp_path / "silent.mp4", metrics="none")
    kinds = []
    for name in ("both.mp4", "silent.mp4"):
        with av.open(str(tmp_path / name)) as container:
            kinds.append([stream.type for stream in container.streams])
    assert kinds == [["video", "audio"], ["video"]]


def test_other_sizes_are_fitted_and_not_scored(tmp_path, clip):
    small = make_clip(tmp_path / "b.mkv", frames=8, size=(24, 48))
    with pytest.raises(UsageError, match=r"sizes differ \(64x48 and 24x48\), .*: name an output"):
        compare_videos(clip, small)
    result = compare_videos(clip, small, tmp_path / "both.mkv", labels=[], codec="ffv1")
    assert "The sizes differ" in result.notes[0]
    picture = luma(tmp_path / "both.mkv")[0]
    assert (picture[:, 68:84] == 16).all()  # black bars beside the narrow picture
    assert picture[:, 90:110].std() > 0


def test_ten_bits_and_a_gif(tmp_path, clip):
    deep = make_clip(tmp_path / "b.mkv", frames=8, size=SIZE, pixel_format="yuv420p10le")
    result = compare_videos(clip, deep, tmp_path / "both.mkv", metrics="psnr")
    with av.open(str(tmp_path / "both.mkv")) as container:
        assert container.streams.video[0].format.name == "yuv420p10le"
    assert result.scores["psnr"].worst > 45
    assert compare_videos(clip, deep, tmp_path / "both.gif", metrics="none").frames == 8
    with pytest.raises(UsageError, match="A GIF has no `codec`"):
        compare_videos(clip, deep, tmp_path / "more.gif", metrics="none", codec="h264")


def test_images_and_parts_are_compared(tmp_path, clip):
    betwixt.interpolate_video(clip, tmp_path / "images/", factor=1, model="dis")
    result = compare_videos(clip, tmp_path / "images", metrics="psnr", start=0.08, end=0.24, every=2)
    assert result.compared == 2
    assert result.scores["psnr"].worst > 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "side"}, "`layout` is for a video of both"),
        ({"codec": "h264"}, "`codec` is for a video of both"),
        ({"target": "both.mkv", "layout": "above"}, "`layout` is 'above': choose side, stack or split"),
        ({"metrics": "psnrr"}, "'psnrr' is no metric of single frames: choose from psnr"),
        ({"metrics": "vmaf"}, "'vmaf' is no metric"),
        ({"metrics": "none", "csv": "scores.csv"}, "no scores for `csv`"),
        ({"every": 0}, "1 or more, not 0"),
        ({"threads": -1}, "must not be negative"),
        ({"shift": 5}, "no moment in common"),
    ],
)
def test_wrong_arguments_are_refused_and_leave_nothing(tmp_path, clip, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        compare_videos(clip, clip, **options)
    assert not list(tmp_path.iterdir())


def test_inputs_and_existing_outputs_are_not_overwritten(tmp_path, clip):
    (tmp_path / "both.mkv").write_text("")
    with pytest.raises(OutputError, match="exists"):
        compare_videos(clip, clip, tmp_path / "both.mkv")
    with pytest.raises(OutputError, match="is the input itself"):
        compare_videos(clip, clip, clip, overwrite=True)


def test_the_command_prints_a_table_or_json(tmp_path, clip, capsys):
    assert run(["compare", str(clip), str(clip), "--metrics", "psnr"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[1:] == [
        "  8 frames compared, 8 of them identical",
        "                    mean    median     worst",
        "  psnr            100.00    100.00    100.00 at 0.000 s",
    ]
    out = str(tmp_path / "both.mp4")
    assert run(["compare", str(clip), str(clip), out, "--metrics", "psnr", "--labels", "a,b", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["scores"]["psnr"] == {"mean": 100.0, "median": 100.0, "worst": 100.0, "worst_time": 0.0}
    assert (found["output"], found["frames"]) == (out, 8)
    assert run(["compare", str(clip), str(clip), "--layout", "split"]) == 2
    assert "--layout is for a video of both" in capsys.readouterr().err
