"""The demo that `make demo` runs."""

import subprocess
import sys
from pathlib import Path

import pytest

import demo
from clips import make_clip, read_frames
from sample import make_sample


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_frame_rate_of_a_clip_is_doubled_and_the_next_command_is_shown(capsys):
    make_clip(Path("my clip.mkv"), frames=5)
    Path("demo").mkdir()
    Path("demo/my clip-smooth.mkv").write_bytes(b"of an earlier run")
    assert demo.main(["my clip.mkv"]) == 0
    assert len(read_frames(Path("demo/my clip-smooth.mkv"))) == 10
    assert "betwixt interpolate IN.mp4 OUT.mp4 --fps 60" in capsys.readouterr().out


def test_without_a_clip_the_sample_is_drawn(monkeypatch, capsys):
    monkeypatch.setattr(demo, "make_sample", lambda path: make_sample(path, width=64, height=48, seconds=0.25))
    assert demo.main([]) == 0
    assert len(read_frames(Path("demo/sample-smooth.mp4"))) == 12
    assert str(Path("demo/sample.mp4")) in capsys.readouterr().out


def test_as_a_script_it_ends_in_one_line_where_there_is_no_clip():
    done = subprocess.run([sys.executable, demo.__file__, "missing.mp4"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "missing.mp4" in done.stderr
