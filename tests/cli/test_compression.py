"""encode, decode and rd-curve on the command line."""

import json

import pytest

from betwixt.cli.main import run
from clips import make_clip


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "in.mkv", frames=6, size=(192, 176))


QUICK = ("--base", "x264", "--preset", "ultrafast", "--model", "dis", "--threads", "1")


def test_encode_and_decode(tmp_path, clip, capsys):
    coded, out = str(tmp_path / "c.mkv"), str(tmp_path / "out.mp4")
    assert run(["encode", str(clip), coded, *QUICK, "--measure"]) == 0
    text = capsys.readouterr().out
    assert "6 frames in" in text
    assert "PSNR of the frames between" in text
    assert run(["decode", coded, out]) == 0
    assert "6 frames at 25 per second" in capsys.readouterr().out
    assert run(["encode", str(clip), coded, *QUICK, "--floor", "-3", "--json", "--overwrite"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 6


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["encode", "{clip}", "{out}.mp4"], "is no .mkv"),
        (["encode", "{clip}", "{out}.mkv", "--base", "h266"], "no base codec 'h266'"),
        (["encode", "missing.mp4", "{out}.mkv", "--model", "dis"], "does not exist"),
        (["decode", "{clip}", "{out}.mkv"], "was not made by betwixt encode"),
        (["rd-curve", "{clip}", "-o", "{out}/x"], "does not exist"),
        (["rd-curve", "{clip}", "-o", "{out}", "--qualities", "a"], "are not whole numbers"),
    ],
)
def test_bad_input_is_refused_in_one_line_with_exit_code_2(tmp_path, clip, capsys, arguments, line):
    filled = [a.format(clip=clip, out=tmp_path / "out") for a in arguments]
    assert run(filled) == 2
    error = capsys.readouterr().err.strip()
    assert line in error
    assert error.startswith("betwixt: ")
    assert error.count("\n") == 0
    assert [p.name for p in tmp_path.iterdir()] == ["in.mkv"]
