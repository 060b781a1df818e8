"""Conversions that are broken off, and go on."""

import inspect
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import pytest

import betwixt
from betwixt.effects.blur import _Job as BlurJob
from betwixt.errors import OutputError
from betwixt.media import journal
from betwixt.media.images import ImageWriter
from betwixt.media.journal import journal_of
from betwixt.media.writer import VideoWriter
from betwixt.pipeline.interpolate import Job, defaults
from clips import make_clip, read_frames, same


def broken_off(source: Path, target: Path, after: int, **options: Any) -> None:
    """Convert, and be interrupted when so many frames are written."""
    write = VideoWriter.write

    def stop(self: VideoWriter, frame: Any, index: int) -> None:
        if index >= after:
            raise KeyboardInterrupt
        write(self, frame, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VideoWriter, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            betwixt.interpolate_video(source, target, **options)


@pytest.fixture(autouse=True)
def _all_is_worth_keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_WORTH", 0.0)


def packets(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with av.open(str(path)) as container:
        found: dict[str, list[tuple[Any, ...]]] = {}
        for packet in container.demux():
            if packet.pts is not None:
                content = bytes(packet) if packet.stream.type == "audio" else None
                found.setdefault(packet.stream.type, []).append((packet.pts, packet.time_base, content))
    return {kind: sorted(values, key=lambda v: v[0]) for kind, values in found.items()}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("out.mkv", {"codec": "ffv1"}),
        ("out.mp4", {"quality": "lossless"}),
        ("out.mkv", {"codec": "hevc"}),
        ("out.mp4", {"codec": "hevc", "fps": 60}),
        ("out.webm", {}),
        ("out.mp4", {"codec": "av1"}),
        ("out.mov", {"codec": "prores"}),
        ("out.mkv", {"slow": 2, "audio": "stretch", "start": 0.5, "quality": "lossless"}),
    ],
)
def test_it_goes_on_where_it_was_broken_off(tmp_path, name, options):
    source = make_clip(tmp_path / "in.mkv", frames=80, size=(160, 96), audio=True, cuts=(25,))
    options |= {"model": "dis", "threads": 2}
    whole, target = tmp_path / f"whole-{name}", tmp_path / name
    betwixt.interpolate_video(source, whole, **options)
    broken_off(source, target, 110, **options)
    assert not target.exists()
    assert journal_of(target).exists()
    summary = betwixt.interpolate_video(source, target, **options)
    assert 0 < summary.earlier < summary.synthesized
    assert "of an earlier run" in summary.notes[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["in.mkv", whole.name, name])
    assert packets(whole) == packets(target)
    a, b = read_frames(whole), read_frames(target)
    assert len(a) == len(b) == summary.frames_out
    exact = options.get("quality") == "lossless" or options.get("codec") in ("ffv1", "prores")
    equal = [same(x.video, y.video) for x, y in zip(a, b, strict=True)]
    # An encoder that begins anew chooses otherwise from there on; what was encoded before stays.
    assert all(equal) if exact else all(equal[: summary.earlier // 2])


def test_it_is_broken_off_again_and_again(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=60)
    options = {"model": "dis", "threads": 1, "codec": "ffv1"}
    betwixt.interpolate_video(source, tmp_path / "whole.mkv", **options)
    for after in (30, 60, 90):
        broken_off(source, tmp_path / "out.mkv", after, **options)
    summary = betwixt.interpolate_video(source, tmp_path / "out.mkv", **options)
    assert summary.earlier >= 20
    assert all(
        same(a.video, b.video)
        for a, b in zip(read_frames(tmp_path / "whole.mkv"), read_frames(tmp_path / "out.mkv"), strict=True)
    )


@pytest.mark.parametrize("location", ["frames", "frames/new_%04d.png", "there/new_%04d.jpg", "there"])
def test_images_go_on_too(tmp_path, location):
    source = make_clip(tmp_path / "in.mkv", frames=60)
    (tmp_path / "there").mkdir()
    (tmp_path / "whole").mkdir()
    betwixt.interpolate_video(source, tmp_path / "whole" / Path(location).name, model="dis")
    write = ImageWriter.write

    def stop(self: ImageWriter, frame: Any) -> None:
        if self.count >= 70:
            # Half a picture, as a crash may leave it.
            half = next(iter(sorted(self.temporary.iterdir(), reverse=True)))
            half.write_bytes(half.read_bytes()[:100])
            raise KeyboardInterrupt
        write(self, frame)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageWriter, "write", stop)
        with pytest.raises(KeyboardInterrupt) as caught:
            betwixt.interpolate_video(source, tmp_path / location, model="dis")
    assert "the same command goes on" in caught.value.__notes__[0]
    made = betwixt.interpolate_video(source, tmp_path / location, model="dis")
    assert made.earlier == 34
    assert f"{69} frames are those of an earlier run" in made.notes[0]
    folder = tmp_path / location if "%" not in location else (tmp_path / location).parent
    whole = tmp_path / "whole" if "%" in location else tmp_path / "whole" / Path(location).name
    pictures = [{p.name: p.read_bytes() for p in place.iterdir()} for place in (folder, whole)]
    assert len(pictures[0]) == 120
    assert pictures[0] == pictures[1]
    assert not list(tmp_path.rglob(".*"))


def test_a_source_that_has_changed_is_begun_anew(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=60)
    broken_off(source, tmp_path / "out.mkv", 60, model="dis", threads=1)
    make_clip(source, frames=61)
    summary = betwixt.interpolate_video(source, tmp_path / "out.mkv", model="dis")
    assert summary.earlier == 0
    assert any("other settings (source)" in note for note in summary.notes)


def test_who_wants_no_journal_has_none(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=60)
    broken_off(source, tmp_path / "out.mkv", 60, model="dis", threads=1, journal=False)
    # A model that is loaded already may be anything.
    broken_off(source, tmp_path / "out.mkv", 60, model=betwixt.load_model("dis"), threads=1)
    assert [p.name for p in tmp_path.iterdir()] == ["in.mkv"]


def test_a_failure_says_that_what_was_done_is_kept(tmp_path, monkeypatch):
    source = make_clip(tmp_path / "in.mkv", frames=60)
    write = VideoWriter.write

    def full(self: Any, frame: Any, index: int) -> None:
        if index == 90:
            raise OutputError("out.mkv cannot be written: the disk is full.")
        write(self, frame, index)

    monkeypatch.setattr(VideoWriter, "write", full)
    with pytest.raises(OutputError, match=r"disk is full\. What was done is kept: the same command goes on"):
        betwixt.interpolate_video(source, tmp_path / "out.mkv", model="dis", codec="ffv1")
    monkeypatch.setattr(VideoWriter, "write", write)
    assert betwixt.interpolate_video(source, tmp_path / "out.mkv", model="dis", codec="ffv1").earlier > 30


OTHERWISE = {
    "fps": 60,
    "factor": 3,
    "slow": 2,
    "model": "compact",
    "start": 0.5,
    "end": 1,
    "scene_cuts": "off",
    "duplicates": "fill",
    "loop": True,
    "codec": "hevc",
    "quality": 30,
    "pixel_format": "yuv444p",
    "interlaced": "ignore",
    "paths": "straight",
}
"""For each option another value."""

ALIKE = {"device", "threads", "overwrite", "audio", "journal", "weights", "masks", "input_fps"}
"""What changes none of the video's frames, or is told by what it names: a file's content, a folder's."""


def test_what_changes_the_frames_is_in_the_settings(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=30)

    def settings(**options: Any) -> dict[str, Any]:
        job = Job(source, tmp_path / "out.mp4", **(defaults() | {"model": "dis"} | options))
        job.reader.close()
        return job.settings()

    assert OTHERWISE.keys() | ALIKE == defaults().keys()
    usual = settings()
    for name, value in OTHERWISE.items():
        assert settings(**{name: value}) != usual, name
    assert settings(threads=1, overwrite=True, audio="drop") == usual


def test_what_changes_the_exposure_is_in_the_settings(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=30)
    usual = {"shutter": 180, "phase": None, "samples": 8, "linear": True}
    assert usual.keys() == inspect.signature(BlurJob).parameters.keys() - {"source", "target", "options"}

    def settings(**options: Any) -> dict[str, Any]:
        job = BlurJob(source, tmp_path / "out.mkv", **(usual | {"model": "dis"} | options))
        job.reader.close()
        return job.settings()

    for name, value in {"shutter": 90, "phase": 0, "samples": 9, "linear": False}.items():
        assert settings(**{name: value}) != settings(), name


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_a_process_that_is_killed_loses_nothing(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=60, size=(192, 128))
    command = [sys.executable, "-m", "betwixt.cli", "interpolate", source, tmp_path / "out.mkv"]
    command += ["--model", "dis", "--codec", "ffv1", "--factor", "4"]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    path = journal_of(tmp_path / "out.mkv")
    for _ in range(600):
        if path.exists() and path.stat().st_size > 300_000:
            break
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out.mkv").exists()
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    assert "frames are those of an earlier run that was broken off" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mkv", "out.mkv"]
    assert len(read_frames(tmp_path / "out.mkv")) == 240
