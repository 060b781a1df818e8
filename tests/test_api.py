"""What the package `betwixt` exports."""

import dataclasses
import subprocess
import sys

import pytest

import betwixt
from clips import make_clip


def test_dir_lists_the_public_names_before_any_is_used():
    code = "import betwixt, sys; print(dir(betwixt) == sorted(betwixt.__all__), 'numpy' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["True", "False"]


def test_every_public_name_can_be_imported():
    assert all(getattr(betwixt, name) is not None for name in dir(betwixt))


def test_progress_and_summary_cannot_be_changed(tmp_path):
    seen = []
    source = make_clip(tmp_path / "in.mkv", frames=4, size=(64, 48))
    summary = betwixt.interpolate_video(source, tmp_path / "out.mkv", model="dis", progress=seen.append)
    assert [p.frames_out for p in seen] == sorted(p.frames_out for p in seen)
    assert (seen[-1].frames_in, seen[-1].frames_out, seen[-1].total) == (4, 8, 8)
    with pytest.raises(dataclasses.FrozenInstanceError):
        seen[-1].frames_out = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        summary.frames_out = 0
