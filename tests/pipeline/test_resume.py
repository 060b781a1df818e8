"""Interrupted conversions are resumed from their journals."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import av
import pytest

import betwixt
from betwixt.cli.main import run
from betwixt.errors import OutputError, UsageError
from betwixt.media import journal
from betwixt.media.images.writer import ImageWriter
from betwixt.media.journal import journal_path
from betwixt.media.writer import VideoWriter
from betwixt.pipeline.blur import BlurJob
from betwixt.pipeline.extrapolation import ExtrapolationJob
from betwixt.pipeline.job import Job
from clips import frames_equal, interrupt_at, join_streams, make_clip, read_frames, wait_until


def interrupt_conversion(source: Path, target: Path, after: int, **options: Any) -> None:
    """Convert, and interrupt when `after` frames are written."""
    with pytest.raises(KeyboardInterrupt), interrupt_at(after):
        betwixt.interpolate_video(source, target, **({"model": "dis", "threads": 1} | options))


@pytest.fixture(autouse=True)
def _keep_all_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_KEEP_AFTER", 0.0)


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
def test_an_interrupted_conversion_is_resumed(tmp_path, name, options):
    source = make_clip(tmp_path / "in.mkv", frames=80, size=(160, 96), audio=True, cuts=(25,))
    options |= {"model": "dis", "threads": 2}
    whole, target = tmp_path / f"whole-{name}", tmp_path / name
    betwixt.interpolate_video(source, whole, **options)
    interrupt_conversion(source, target, 110, **options)
    assert not target.exists()
    assert journal_path(target).exists()
    summary = betwixt.interpolate_video(source, target, **options)
    # On many cores SVT-AV1 may buffer the whole clip.
    assert 0 < summary.earlier < summary.synthesized or options.get("codec") == "av1"
    assert ("of an earlier run" in "".join(summary.notes)) == (summary.earlier > 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["in.mkv", whole.name, name])
    assert packets(whole) == packets(target)
    a, b = read_frames(whole), read_frames(target)
    assert len(a) == len(b) == summary.frames_out
    exact = options.get("quality") == "lossless" or options.get("codec") in ("ffv1", "prores")
    equal = [frames_equal(x.video, y.video) for x, y in zip(a, b, strict=True)]
    # An encoder that is started again decides differently from there on; what was encoded before stays.
    assert all(equal) if exact else all(equal[: summary.earlier // 2])


def test_a_conversion_can_be_interrupted_several_times(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=60)
    options = {"model": "dis", "threads": 1, "codec": "ffv1"}
    betwixt.interpolate_video(source, tmp_path / "whole.mkv", **options)
    for after in (30, 60, 90):
        interrupt_conversion(source, tmp_path / "out.mkv", after, **options)
    summary = betwixt.interpolate_video(source, tmp_path / "out.mkv", **options)
    assert summary.earlier >= 20
    assert all(
        frames_equal(a.video, b.video)
        for a, b in zip(read_frames(tmp_path / "whole.mkv"), read_frames(tmp_path / "out.mkv"), strict=True)
    )


@pytest.mark.parametrize("location", ["frames", "frames/new_%04d.png", "there/new_%04d.jpg", "there"])
def test_sequences_of_images_are_resumed(tmp_path, location):
    source = make_clip(tmp_path / "in.mkv", frames=60)
    (tmp_path / "there").mkdir()
    (tmp_path / "whole").mkdir()
    betwixt.interpolate_video(source, tmp_path / "whole" / Path(location).name, model="dis")
    with pytest.raises(KeyboardInterrupt) as caught:
        interrupt_images(source, tmp_path / location, 70)
    assert "run the same command" in caught.value.__notes__[0]
    made = betwixt.interpolate_video(source, tmp_path / location, model="dis")
    assert made.earlier == 35
    assert "70 frames are those of an earlier run" in made.notes[0]
    folder = tmp_path / location if "%" not in location else (tmp_path / location).parent
    whole = tmp_path / "whole" if "%" in location else tmp_path / "whole" / Path(location).name
    pictures = [{p.name: p.read_bytes() for p in place.iterdir()} for place in (folder, whole)]
    assert len(pictures[0]) == 120
    assert pictures[0] == pictures[1]
    assert not list(tmp_path.rglob(".*"))


def interrupt_images(source: Path, location: Path, after: int) -> None:
    """Convert to images, and interrupt when `after` of them are written."""
    write = ImageWriter.write

    def stop(self: ImageWriter, frame: Any) -> None:
        if self.count >= after:
            raise KeyboardInterrupt
        write(self, frame)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageWriter, "write", stop)
        betwixt.interpolate_video(source, location, model="dis")


def test_images_that_were_not_synced_to_disk_are_made_again(tmp_path, monkeypatch):
    source = make_clip(tmp_path / "in.mkv", frames=60)
    betwixt.interpolate_video(source, tmp_path / "whole", model="dis")
    with pytest.raises(KeyboardInterrupt):
        interrupt_images(source, tmp_path / "frames", 70)
    # As after a power cut: the last images have names but no content, and the journal knows only of those before.
    (folder,) = tmp_path.glob(".frames.*.part")
    for path in sorted(folder.iterdir())[50:]:
        path.write_bytes(b"")
    head = json.loads(journal_path(tmp_path / "frames").read_bytes())
    head["images"] = 50
    journal_path(tmp_path / "frames").write_bytes(json.dumps(head).encode().ljust(16 << 10))
    # A second run that ends at once does not lose them.
    monkeypatch.setattr(journal, "_KEEP_AFTER", 60.0)
    head["worked"] = 61.0
    journal_path(tmp_path / "frames").write_bytes(json.dumps(head).encode().ljust(16 << 10))
    with pytest.raises(KeyboardInterrupt):
        interrupt_images(source, tmp_path / "frames", 0)
    made = betwixt.interpolate_video(source, tmp_path / "frames", model="dis")
    assert "50 frames are those of an earlier run" in made.notes[0]
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "frames" / path.name).read_bytes() == path.read_bytes()


def test_images_that_cannot_be_moved_are_kept_for_the_next_run(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=20)
    (tmp_path / "frames" / "frame_000005.png").mkdir(parents=True)
    with pytest.raises(OutputError, match="What was done is kept"):
        betwixt.interpolate_video(source, tmp_path / "frames", model="dis", overwrite=True)
    (tmp_path / "frames" / "frame_000005.png").rmdir()
    made = betwixt.interpolate_video(source, tmp_path / "frames", model="dis", overwrite=True)
    assert "40 frames are those of an earlier run" in made.notes[0]
    assert len(list((tmp_path / "frames").iterdir())) == 40


def test_another_image_name_is_another_conversion(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=40)
    with pytest.raises(KeyboardInterrupt):
        interrupt_images(source, tmp_path / "frames" / "a_%04d.png", 30)
    made = betwixt.interpolate_video(source, tmp_path / "frames" / "b_%04d.jpg", model="dis")
    assert made.earlier == 0
    assert {p.suffix for p in (tmp_path / "frames").iterdir()} == {".jpg"}
    assert not list(tmp_path.glob(".*"))


def test_a_source_from_a_pipe_is_not_resumed(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for frames, interrupt in ((40, True), (30, False)):
        clip = make_clip(tmp_path / "in.mkv", frames=frames)
        feed = threading.Thread(
            target=lambda clip=clip: (tmp_path / "pipe").write_bytes(clip.read_bytes()), daemon=True
        )
        feed.start()
        if interrupt:
            interrupt_conversion(tmp_path / "pipe", tmp_path / "out.mkv", 50)
        else:
            assert betwixt.interpolate_video(tmp_path / "pipe", tmp_path / "out.mkv", model="dis").earlier == 0
        feed.join(10)


def test_images_in_several_folders_are_identified_one_by_one(tmp_path):
    for number in range(3):
        betwixt.interpolate_video(
            make_clip(tmp_path / "in.mkv", frames=10), tmp_path / f"shot{number}", model="dis", factor=1
        )
    (tmp_path / "in.mkv").unlink()
    source = tmp_path / "shot*" / "*.png"
    interrupt_conversion(source, tmp_path / "out.mkv", 40, codec="ffv1")
    # Other files in the folders do not matter.
    (tmp_path / "shot0" / "run.log").write_text("x")
    interrupt_conversion(source, tmp_path / "out.mkv", 50, codec="ffv1")
    a, b = tmp_path / "shot0" / "frame_000001.png", tmp_path / "shot0" / "frame_000002.png"
    swapped = a.read_bytes(), b.read_bytes()
    b.write_bytes(swapped[0])
    a.write_bytes(swapped[1])
    assert betwixt.interpolate_video(source, tmp_path / "out.mkv", model="dis", codec="ffv1").earlier == 0


@pytest.mark.parametrize("quality", ["abc", "0"])
def test_a_wrong_image_quality_leaves_nothing_behind(tmp_path, quality):
    source = make_clip(tmp_path / "in.mkv", frames=10)
    with pytest.raises(UsageError, match="quality"):
        betwixt.interpolate_video(source, tmp_path / "new_%03d.jpg", model="dis", quality=quality)
    assert [p.name for p in tmp_path.iterdir()] == ["in.mkv"]


@pytest.mark.parametrize("target", ["single.png", "."])
def test_wrong_image_outputs_leave_nothing_behind(tmp_path, target, monkeypatch):
    source = make_clip(tmp_path / "in.mkv", frames=10)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        with pytest.raises((UsageError, OutputError)):
            betwixt.interpolate_video(source, target, model="dis")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mkv"]


def test_hevc_is_resumed_with_another_number_of_threads(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=80, size=(160, 96))
    interrupt_conversion(source, tmp_path / "out.mkv", 120, model="dis", codec="hevc", threads=1)
    assert betwixt.interpolate_video(source, tmp_path / "out.mkv", model="dis", codec="hevc", threads=4).earlier > 0


def test_long_lists_of_cuts_fit_into_the_journal(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=60)
    (tmp_path / "cuts.txt").write_text("".join(f"{k}\n" for k in range(100, 9000)))
    options = {"model": "dis", "threads": 1, "codec": "ffv1", "scene_cuts": tmp_path / "cuts.txt"}
    interrupt_conversion(source, tmp_path / "out.mkv", 60, **options)
    assert betwixt.interpolate_video(source, tmp_path / "out.mkv", **options).earlier > 0


def test_the_command_line_reports_kept_work(tmp_path, capsys, monkeypatch):
    source = make_clip(tmp_path / "in.mkv", frames=60)
    command = ["interpolate", str(source), str(tmp_path / "out.mkv"), "--model", "dis", "--codec", "ffv1"]
    write = VideoWriter.write

    def stop(self: VideoWriter, frame: Any, index: int) -> None:
        if index >= 60:
            raise KeyboardInterrupt
        write(self, frame, index)

    monkeypatch.setattr(VideoWriter, "write", stop)
    assert run(command) == 130
    assert "interrupted. What was done is kept: run the same command again to continue." in capsys.readouterr().err
    monkeypatch.setattr("betwixt.pipeline.frame_job.load_model", _raise_interrupt)
    assert run(command) == 130
    assert "What an earlier run had done is still kept" in capsys.readouterr().err
    monkeypatch.undo()
    assert run(command) == 0
    error = capsys.readouterr().err
    assert error.index("Resuming after") < error.index("frames are those of an earlier run")


def _raise_interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_a_changed_source_is_converted_from_the_start(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=60)
    interrupt_conversion(source, tmp_path / "out.mkv", 60, model="dis", threads=1)
    make_clip(source, frames=61)
    summary = betwixt.interpolate_video(source, tmp_path / "out.mkv", model="dis")
    assert summary.earlier == 0
    assert any("other settings (source)" in note for note in summary.notes)


def test_there_is_no_journal_if_it_is_off_or_the_model_is_unknown(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=60)
    interrupt_conversion(source, tmp_path / "out.mkv", 60, model="dis", threads=1, journal=False)
    # A loaded model cannot be identified in a later run.
    interrupt_conversion(source, tmp_path / "out.mkv", 60, model=betwixt.load_model("dis"), threads=1)
    assert [p.name for p in tmp_path.iterdir()] == ["in.mkv"]


def test_an_error_message_says_that_work_is_kept(tmp_path, monkeypatch):
    source = make_clip(tmp_path / "in.mkv", frames=60)
    write = VideoWriter.write

    def full(self: Any, frame: Any, index: int) -> None:
        if index == 90:
            raise OutputError("out.mkv cannot be written: the disk is full.")
        write(self, frame, index)

    monkeypatch.setattr(VideoWriter, "write", full)
    with pytest.raises(OutputError, match=r"disk is full\. What was done is kept: run the same command"):
        betwixt.interpolate_video(source, tmp_path / "out.mkv", model="dis", codec="ffv1")
    monkeypatch.setattr(VideoWriter, "write", write)
    assert betwixt.interpolate_video(source, tmp_path / "out.mkv", model="dis", codec="ffv1").earlier > 30


OTHER_VALUES = {
    "fps": 60,
    "factor": 3,
    "slow": 2,
    "model": "compact",
    "start": 0.5,
    "end": 1,
    "scene_cuts": "off",
    "codec": "hevc",
    "quality": 30,
    "bitrate": "500k",
    "preset": "fast",
    "encoder_options": {"g": 10},
    "pixel_format": "yuv444p",
    "shutter": 90,
    "phase": 0,
    "grid": 32,
    "input_fps": 30,
    "stream": 1,
}
"""Another value for each option that changes the frames, where it does not follow from the declaration."""

WITHOUT_EFFECT = {
    "device", "runtime", "threads", "overwrite", "audio", "journal", "weights", "masks", "cluster", "encode",
}  # fmt: skip
"""Options that do not change the frames, or that name a file or folder whose content is recorded."""


@pytest.mark.parametrize("kind", [Job, BlurJob, ExtrapolationJob])
def test_options_that_change_the_frames_are_in_the_settings(tmp_path, kind):
    source = join_streams(tmp_path / "in.mkv", *[make_clip(tmp_path / "clip.mkv", frames=30)] * 2)

    def settings(**options: Any) -> dict[str, Any]:
        with kind(source, tmp_path / "out.mp4", {"model": "dis"} | options) as job:
            return job.settings()

    usual = settings()
    json.dumps(usual, default=str)
    for name, option in kind.declared.options.items():
        if name in WITHOUT_EFFECT:
            continue
        if option.choices:
            value = next(choice for choice in option.choices if choice not in (option.default, "refuse"))
        elif isinstance(option.default, bool):
            value = not option.default
        else:
            value = OTHER_VALUES[name] if name in OTHER_VALUES else option.default + 1
        assert settings(**{name: value}) != usual, name
    assert settings(threads=1, overwrite=True, audio="drop") == usual


def test_a_killed_process_is_resumed(tmp_path):
    source = make_clip(tmp_path / "in.mkv", frames=60, size=(192, 128))
    command = [sys.executable, "-m", "betwixt.cli", "interpolate", source, tmp_path / "out.mkv"]
    command += ["--model", "dis", "--codec", "ffv1", "--factor", "4"]
    path = journal_path(tmp_path / "out.mkv")
    with subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: path.exists() and path.stat().st_size > 300_000)
        finally:
            process.kill()
    assert not (tmp_path / "out.mkv").exists()
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    assert "frames are those of an earlier run that was interrupted" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mkv", "out.mkv"]
    assert len(read_frames(tmp_path / "out.mkv")) == 240
