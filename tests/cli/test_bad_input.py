"""Errors that a user can cause: one line, the right exit code, nothing left behind."""

import os
import resource
import signal
import subprocess
import sys

import av
import pytest

from betwixt.cli.main import run
from clips import make_clip, read_frames, wait_until


def attempt(capsys, *arguments):
    """Run the command line; returns the exit code and standard error."""
    code = run([str(a) for a in arguments])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return code, captured.err


def left(folder):
    """The names of all files in a folder, including hidden ones."""
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "in.mkv", frames=6)


def _empty(folder):
    path = folder / "bad.mp4"
    path.touch()
    return path


def _text(folder):
    path = folder / "bad.mp4"
    path.write_text("this is not a video\n" * 100)
    return path


def _without_index(folder):
    path = make_clip(folder / "bad.mp4", codec="libx264", frames=20)
    path.write_bytes(path.read_bytes()[:-600])
    return path


def _sound_only(folder):
    path = folder / "bad.mka"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("flac", rate=44100)
        frame = av.AudioFrame(format="s16", layout="stereo", samples=4096)
        frame.rate, frame.pts = 44100, 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def _no_pictures(folder):
    path = folder / "bad.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        out.start_encoding()
    return path


def _missing(folder):
    return folder / "bad.mp4"


def _empty_folder(folder):
    path = folder / "bad"
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_empty, "empty"),
        (_text, "not a video"),
        (_without_index, "cut off"),
        (_sound_only, "no video stream"),
        (_no_pictures, "contains no video"),
        (_missing, "does not exist"),
        (_empty_folder, "image"),
    ],
)
def test_inputs_that_are_not_videos(tmp_path, capsys, make, says):
    source = make(tmp_path)
    before = left(tmp_path)
    code, text = attempt(capsys, "interpolate", source, tmp_path / "out.mp4")
    assert code == 2
    assert says in text
    assert text.count("\n") == 1
    assert left(tmp_path) == before
    code, text = attempt(capsys, "info", source)
    assert (code, text.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "{}"],
        ["interpolate", "{}", "out.mp4"],
        ["interpolate", "in.mkv", "{}"],
        ["blur", "{}/", "out.mp4"],
        ["interpolate", "in.mkv", "{}/"],
        ["masks", "{}", "out/"],
        ["between", "{}.png", "{}.png", "out/"],
    ],
)
def test_names_too_long_for_a_file(tmp_path, clip, capsys, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    code, text = attempt(capsys, *[a.format("x" * 300 + ".mp4") for a in arguments])
    assert (code, text.count("\n")) == (2, 1)
    assert left(tmp_path) == ["in.mkv"]


@pytest.mark.parametrize(
    "wrong",
    [
        ["--fps", "0"],
        ["--fps", "-1"],
        ["--fps", "1e9"],
        ["--fps", "nan"],
        ["--fps", "abc"],
        ["--factor", "0"],
        ["--slow", "inf"],
        ["--fps", "60", "--factor", "2"],
        ["--codec", "no-such-codec"],
        ["--codec", "aac"],
        ["--quality", "1000"],
        ["--quality", "good"],
        ["--codec", "mpeg4", "--quality", "lossless"],
        ["--pixel-format", "nonsense"],
        ["--codec", "h264", "--pixel-format", "bgr8"],
        ["--model", "no-such-model"],
        ["--device", "abacus"],
        ["--scene-cuts", "no-such-file"],
        ["--duplicates", "maybe"],
        ["--audio", "louder"],
        ["--audio", "copy", "--slow", "2"],
        ["--interlaced", "maybe"],
        ["--threads", "-1"],
        ["--threads", "many"],
        ["--start", "99"],
        ["--start", "0.2", "--end", "0.1"],
        ["--end", "soon"],
        ["--input-fps", "0"],
        ["--no-such-option"],
    ],
)
def test_wrong_options(tmp_path, capsys, clip, wrong):
    before = left(tmp_path)
    code, text = attempt(capsys, "interpolate", clip, tmp_path / "out.mkv", *wrong)
    assert code == 2
    assert text.count("\n") == 1
    assert left(tmp_path) == before


@pytest.mark.parametrize("name", ["in.mkv", "nowhere/out.mkv", "out.xyz", "out", "out.webm", "taken.mkv"])
def test_outputs_that_cannot_be_written(tmp_path, capsys, clip, name):
    (tmp_path / "taken.mkv").write_text("precious")
    before = left(tmp_path)
    extra = ["--codec", "h264"] if name in ("out.webm", "out") else []
    code, text = attempt(capsys, "interpolate", clip, tmp_path / name, *extra)
    assert code == 2
    assert text.count("\n") == 1
    assert left(tmp_path) == before
    assert (tmp_path / "taken.mkv").read_text() == "precious"


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts", "avi"])
def test_a_truncated_file_is_converted_as_far_as_it_goes(tmp_path, capsys, suffix):

    whole = make_clip(tmp_path / f"whole.{suffix}", frames=60, codec="libx264", options={"g": "5"})
    if suffix == "mp4":
        with (
            av.open(str(whole)) as a,
            av.open(str(tmp_path / "front.mp4"), "w", container_options={"movflags": "faststart"}) as b,
        ):
            copy = b.add_stream_from_template(a.streams.video[0], opaque=True)
            for packet in a.demux(video=0):
                if packet.dts is not None:
                    packet.stream = copy
                    b.mux(packet)
        whole = tmp_path / "front.mp4"
    damaged = tmp_path / f"damaged.{suffix}"
    content = whole.read_bytes()
    damaged.write_bytes(content[: int(len(content) * 0.7)])
    code, text = attempt(capsys, "interpolate", damaged, tmp_path / "out.mkv", "--model", "dis")
    assert code == 3
    assert text.count("\n") == 1
    assert "damaged" in text
    assert 20 < len(read_frames(tmp_path / "out.mkv")) < 120


def test_a_stream_damaged_in_the_middle_is_converted(tmp_path, capsys):
    clip = make_clip(tmp_path / "in.mkv", frames=60, codec="libx264", options={"g": "10"}, size=(160, 96))
    content = bytearray(clip.read_bytes())
    for position in range(len(content) // 2, len(content) // 2 + 1500):
        content[position] ^= 0x5A
    clip.write_bytes(bytes(content))
    code, text = attempt(capsys, "interpolate", clip, tmp_path / "out.mkv", "--model", "dis")
    assert code in (0, 3)
    assert text.count("\n") <= 1
    assert len(read_frames(tmp_path / "out.mkv")) > 60


def _start(arguments, limit=None):
    def prepare():
        if limit is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "betwixt.cli", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=prepare)


def test_a_full_disk_leaves_nothing_behind(tmp_path):
    clip = make_clip(tmp_path / "in.mkv", frames=40, size=(320, 240))
    process = _start(["interpolate", clip, tmp_path / "out.mkv", "--codec", "ffv1", "--model", "dis"], limit=200_000)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 2
    # A slow machine prints lines of progress before.
    (error,) = [line for line in text.splitlines() if line.startswith("betwixt:")]
    assert "cannot be written" in error
    assert "Traceback" not in text
    assert left(tmp_path) == ["in.mkv"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_behind(tmp_path, number):
    clip = make_clip(tmp_path / "in.mkv", frames=40, size=(640, 480), codec="mpeg4")
    with _start(["interpolate", clip, tmp_path / "out.mkv", "--factor", "40", "--model", "dis"]) as process:
        try:
            wait_until(lambda: len(left(tmp_path)) == 3)  # the unfinished file and its journal, in whichever order
            os.kill(process.pid, number)
            _, text = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130, text
    assert "Traceback" not in text
    assert left(tmp_path) == ["in.mkv"]
