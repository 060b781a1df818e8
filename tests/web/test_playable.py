"""Copies that browsers can play."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from betwixt.media.reader import Reader
from betwixt.web.playable import make_playable
from clips import make_clip, read_frames


def test_what_browsers_play_is_not_copied(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=2, size=(64, 48), codec="libx264")
    assert not make_playable(clip, tmp_path / "copy.mp4")
    assert not (tmp_path / "copy.mp4").exists()


def test_other_videos_become_h264_at_the_same_times(tmp_path: Path) -> None:
    hdr = {"colorspace": 9, "color_primaries": 9, "color_trc": 16, "color_range": 1}
    times = [Fraction(n, 25) for n in (0, 1, 3, 4)]
    clip = make_clip(
        tmp_path / "clip.mkv",
        frames=4,
        size=(2000, 50),
        pixel_format="yuv420p10le",
        times=times,
        start=Fraction(1),
        colour=hdr,
    )
    copy = tmp_path / "copy.mp4"
    assert make_playable(clip, copy)
    with Reader(copy) as reader:
        info = reader.info
    assert (info.codec, info.pixel_format, info.width, info.height) == ("h264", "yuv420p", 960, 24)
    frames = read_frames(copy)
    assert [frame.time - frames[0].time for frame in frames] == times
    written = copy.stat().st_mtime_ns
    assert make_playable(clip, copy)
    assert copy.stat().st_mtime_ns == written
