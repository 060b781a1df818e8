"""extrapolate, blur and realtime on the command line."""

import json
import os
import signal
import subprocess
import sys

import pytest

from betwixt.cli.main import run
from clips import make_clip, read_frames, wait_until

VERBS = {
    "extrapolate": ["--model", "dis"],
    "blur": ["--model", "dis"],
    "realtime": ["--model", "dis"],
}


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "in.mkv", frames=6, size=(96, 64))


def attempt(capsys, *arguments):
    code = run([str(a) for a in arguments])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return code, captured.out, captured.err


def left(folder):
    return sorted(p.name for p in folder.iterdir())


def test_extrapolate_prints_a_summary(tmp_path, capsys, clip):
    code, out, _ = attempt(capsys, "extrapolate", clip, tmp_path / "out.mkv", "--frames", 2, "--model", "dis")
    assert code == 0
    assert "8 frames at 25 per second" in out
    assert "6 source frames untouched, 2 new (dis)" in out
    code, out, _ = attempt(
        capsys, "extrapolate", clip, tmp_path / "frames/%d.png", "--frames", 2, "--model", "average", "--only", "--json"
    )
    found = json.loads(out)
    assert (code, found["synthesized"], found["untouched"]) == (0, 2, 0)
    assert any("the motion that dis finds" in note for note in found["notes"])
    assert len(left(tmp_path / "frames")) == 2


def test_blur_reports_how_many_moments_were_averaged(tmp_path, capsys, clip):
    code, out, err = attempt(capsys, "blur", clip, tmp_path / "out.mkv", "--shutter", 90, "--model", "dis")
    assert code == 0
    assert "6 frames at 25 per second" in out
    assert "moments" in err
    code, out, _ = attempt(
        capsys, "blur", clip, tmp_path / "x.mkv", "--dry-run", "--json", "--slow", 2, "--model", "dis"
    )
    assert json.loads(out)["frames_out"] == 12
    assert left(tmp_path) == ["in.mkv", "out.mkv"]


def test_realtime_prints_a_table(tmp_path, capsys):
    source = make_clip(tmp_path / "in.mkv", frames=18, size=(96, 64), rate=24)
    code, out, _ = attempt(capsys, "realtime", source, tmp_path / "out", *VERBS["realtime"], "--bitrate", "40k")
    assert code == 0
    assert "scheme 1" in out
    assert "extrapolation" in out
    assert "comparison.mp4" in out


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "wrong",
    [["--no-such-option"], ["--model", "no-such-model"], ["--device", "abacus"], ["--start", "soon"]],
)
def test_bad_options_are_refused_in_one_line(tmp_path, capsys, clip, verb, wrong):
    code, out, err = attempt(capsys, verb, clip, tmp_path / "out.mkv", *VERBS[verb], *wrong)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert left(tmp_path) == ["in.mkv"]


@pytest.mark.parametrize(
    ("verb", "wrong"),
    [
        ("extrapolate", ["--frames", "0"]),
        ("extrapolate", ["--frames", "some"]),
        ("extrapolate", ["--frames", "100000"]),
        ("extrapolate", ["--fps", "60"]),
        ("blur", ["--shutter", "0"]),
        ("blur", ["--samples", "-3"]),
        ("blur", ["--fps", "60", "--factor", "2"]),
        ("blur", ["--audio", "louder"]),
        ("realtime", ["--factor", "99"]),
        ("realtime", ["--network", "perfect"]),
    ],
)
def test_numbers_out_of_range_are_refused_in_one_line(tmp_path, capsys, clip, verb, wrong):
    code, _, err = attempt(capsys, verb, clip, tmp_path / "out.mkv", *VERBS[verb], *wrong)
    assert (code, err.count("\n")) == (2, 1)
    assert left(tmp_path) == ["in.mkv"]


@pytest.mark.parametrize("verb", VERBS)
def test_inputs_that_are_not_videos(tmp_path, capsys, verb):
    (tmp_path / "bad.mp4").write_text("this is not a video\n" * 100)
    for name in ("bad.mp4", "missing.mp4"):
        code, _, err = attempt(capsys, verb, tmp_path / name, tmp_path / "out.mkv", *VERBS[verb])
        assert (code, err.count("\n")) == (2, 1)
    assert left(tmp_path) == ["bad.mp4"]


@pytest.mark.parametrize("verb", ["extrapolate", "realtime"])
def test_one_frame_is_too_few(tmp_path, capsys, verb):
    clip = make_clip(tmp_path / "one.mkv", frames=1)
    code, _, err = attempt(capsys, verb, clip, tmp_path / "out.mkv", *VERBS[verb])
    assert (code, err.count("\n")) == (2, 1)
    assert left(tmp_path) == ["one.mkv"]


def test_a_cut_before_the_last_frame_is_reported(tmp_path, capsys):
    clip = make_clip(tmp_path / "cut.mkv", frames=11, cuts=(10,), size=(160, 96))
    code, _, err = attempt(capsys, "extrapolate", clip, tmp_path / "out.mkv", "--model", "dis")
    assert (code, err.count("\n")) == (2, 1)
    assert "cut between its last two frames" in err
    assert left(tmp_path) == ["cut.mkv"]


def test_an_interrupted_blur_leaves_nothing_behind(tmp_path):
    clip = make_clip(tmp_path / "in.mkv", frames=12, size=(320, 240), codec="mpeg4")
    command = ["blur", clip, tmp_path / "out.mkv", "--model", "dis", "--samples", "512"]
    command = [sys.executable, "-m", "betwixt.cli", *map(str, command)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: len(left(tmp_path)) > 1)
            os.kill(process.pid, signal.SIGINT)
            _, text = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Traceback" not in text
    assert left(tmp_path) == ["in.mkv"]


def test_blurred_frames_can_be_piped(tmp_path, clip):
    command = [sys.executable, "-m", "betwixt.cli", "blur", str(clip), "-", "--model", "dis"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    (tmp_path / "out.y4m").write_bytes(done.stdout)
    assert len(read_frames(tmp_path / "out.y4m")) == 6
