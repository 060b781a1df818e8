"""Which paths are inputs and outputs, many files at once, and configurations."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from betwixt.cli.main import run
from clips import make_clip, read_frames, wait_until

FAST = ["--model", "dis", "--codec", "ffv1"]


def attempt(capsys, *arguments):
    """Run the command line; returns the exit code, standard output and standard error."""
    code = run([str(a) for a in arguments])
    return code, *capsys.readouterr()


def left(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture
def clip(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_clip(tmp_path / "a.mkv", frames=4, rate=25)


def test_out_may_be_left_out_or_be_a_folder(tmp_path, capsys, clip):
    for _ in range(2):
        assert attempt(capsys, "interpolate", clip, *FAST)[0] == 0
    assert left(tmp_path) == ["a-50fps-2.mkv", "a-50fps.mkv", "a.mkv"]
    assert attempt(capsys, "interpolate", clip, "made/", *FAST)[0] == 0
    assert attempt(capsys, "blur", clip, "made", *FAST)[0] == 0
    assert attempt(capsys, "extrapolate", clip, "-o", "made", *FAST)[0] == 0
    assert left(tmp_path / "made") == ["a-50fps.mkv", "a-blur.mkv", "a-extrapolated.mkv"]
    assert attempt(capsys, "interpolate", clip, "frames/%03d.png", "--model", "dis")[0] == 0
    assert len(left(tmp_path / "frames")) == 8


def test_nothing_is_made_by_a_dry_run_or_a_failure(tmp_path, capsys, clip):
    code, out, _ = attempt(capsys, "interpolate", clip, "made/", *FAST, "--dry-run")
    assert (code, "made/a-50fps.mkv" in out) == (0, True)
    assert attempt(capsys, "interpolate", clip, "made/", *FAST, "--quality", "1000")[0] == 2
    batch = ["interpolate", clip, clip, "missing.mkv", "--output-dir", "made", *FAST, "--dry-run"]
    code, out, _ = attempt(capsys, *batch)
    assert (code, "made/a-50fps.mkv\n" in out, "made/a-50fps-2.mkv\n" in out) == (3, True, True)
    assert left(tmp_path) == ["a.mkv"]
    (tmp_path / "made").mkdir()
    (tmp_path / "made/a-50fps.mkv").touch()
    code, out, _ = attempt(capsys, *batch, "--json")
    assert (code, [f["status"] for f in json.loads(out)["files"]]) == (3, ["skipped", "planned", "failed"])
    assert left(tmp_path / "made") == ["a-50fps.mkv"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a.mkv", "b.mkv"], "b.mkv exists: pass --overwrite to replace it, give another name, or pass --output-dir"),
        (["a.mkv", "b.mkv", "c.mkv"], "Several inputs need a folder for their outputs: pass it as --output-dir"),
        (["a.mkv", "b.mkv", "-o", "c.mkv"], "Several inputs need"),
        (["a.mkv", "a.mkv"], "the input itself"),
        (["a.mkv", "-o", "c.mkv", "--output-dir", "d"], "give one of them"),
        (["a.mkv", "--recursive"], "--recursive needs --output-dir"),
        (["a.mkv", "--watch"], "--watch needs --output-dir"),
        (["a.mkv", "--output-dir", "d", "--watch"], "not a folder"),
        (["-", "--output-dir", "d"], "convert it alone"),
        (["-"], "name the output"),
        (["a.mkv", "new"], "new has no suffix"),
        (["."], ". is a folder of videos: pass the folder for their outputs as --output-dir"),
        ([], "Missing argument"),
    ],
)
def test_what_is_ambiguous_is_refused_in_one_line(tmp_path, capsys, clip, arguments, says):
    (tmp_path / "b.mkv").write_text("another input")
    code, _, error = attempt(capsys, "interpolate", *arguments)
    assert (code, error.count("\n")) == (2, 1)
    assert says in error
    assert left(tmp_path) == ["a.mkv", "b.mkv"]
    assert (tmp_path / "b.mkv").read_text() == "another input"


def test_many_files_go_on_past_a_bad_one_and_are_summed_up(tmp_path, capsys, clip):
    (tmp_path / "videos" / "deep").mkdir(parents=True)
    (tmp_path / "videos" / "bad.mp4").write_text("no video")
    shutil.copy(clip, tmp_path / "videos" / "deep" / "b.mkv")
    command = ["interpolate", clip, "videos", "--recursive", "--output-dir", "out", *FAST]
    code, out, error = attempt(capsys, *command)
    assert code == 3
    assert out.splitlines()[-2:] == ["3 files: 2 done, 1 failed", "  failed: videos/bad.mp4"]
    assert out.count("8 frames at 50 per second") == 2
    assert error.count("failed: videos/bad.mp4 is not a video") == 1
    assert len(read_frames(tmp_path / "out/a-50fps.mkv")) == len(read_frames(tmp_path / "out/deep/b-50fps.mkv")) == 8
    (tmp_path / "videos" / "bad.mp4").unlink()
    code, out, error = attempt(capsys, *command)
    assert (code, out) == (0, "2 files: 2 skipped\n")
    assert error.count("exists: pass --overwrite to replace it") == 2


def test_many_files_as_json(tmp_path, capsys, clip):
    code, out, _ = attempt(capsys, "blur", "missing.mkv", clip, "--output-dir", "out", *FAST, "--json")
    found = json.loads(out)
    assert (code, found["done"], found["failed"], found["skipped"]) == (3, 1, 1, 0)
    assert [f["status"] for f in found["files"]] == ["failed", "done"]
    assert "does not exist" in found["files"][0]["error"]
    assert found["files"][1]["summary"]["frames_out"] == 4
    code, out, _ = attempt(capsys, "blur", clip, "--output-dir", "new", *FAST, "--json", "--dry-run")
    assert (code, json.loads(out)["files"][0]["frames_out"]) == (0, 4)


def test_a_watched_folder_is_converted_until_an_interrupt(tmp_path, clip):
    (tmp_path / "inbox").mkdir()
    command = [sys.executable, "-m", "betwixt.cli", "interpolate", "inbox", "--watch", "--output-dir", "out", *FAST]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr.readline().startswith("Waiting for videos in inbox")
            shutil.copy(clip, tmp_path / "inbox" / "new.mkv")
            assert "8 frames at 50 per second" in process.stdout.readline()
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert out.splitlines()[-1] == "1 file: 1 done"


def test_an_interrupt_ends_a_batch_and_sums_up_what_was_done(tmp_path, clip):
    make_clip(tmp_path / "long.mkv", frames=40, size=(640, 480), codec="mpeg4")
    command = ["interpolate", "a.mkv", "long.mkv", "a.mkv", "--output-dir", "out", "--factor", "40", "--model", "dis"]
    command.append("--json")
    with subprocess.Popen(
        [sys.executable, "-m", "betwixt.cli", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_until(lambda: len(list(tmp_path.glob("out/.long*"))) == 2)  # the unfinished file and its journal
            process.send_signal(signal.SIGINT)
            out, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    found = json.loads(out)
    assert ([f["status"] for f in found["files"]], found["done"]) == (["done"], 1)
    assert error == f"betwixt: {found['error']}\n" == "betwixt: interrupted; what was finished is kept.\n"
    assert left(tmp_path / "out") == ["a-1000fps.mkv"]


def test_a_damaged_input_gives_one_json_document(tmp_path, capsys, clip):
    whole = make_clip(tmp_path / "whole.mkv", frames=60, codec="libx264", options={"g": "5"})
    (tmp_path / "damaged.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size * 7 // 10])
    code, out, error = attempt(capsys, "interpolate", "damaged.mkv", *FAST, "--json")
    found = json.loads(out)
    assert code == 3
    assert error == f"betwixt: {found['error']}\n"
    assert found["frames_out"] == len(read_frames(found["output"]))


def test_the_command_line_wins_over_a_configuration(tmp_path, capsys, clip):
    (tmp_path / "mine.toml").write_text('factor = 3\nmodel = "average"\ncodec = "ffv1"\njournal = false\n')
    code, out, _ = attempt(capsys, "interpolate", clip, "a.avi", "--config", "mine.toml")
    assert (code, "12 frames at 75" in out, "(average)" in out, "ffv1" in out) == (0, True, True, True)
    code, out, _ = attempt(
        capsys, "interpolate", clip, "b.avi", "--config", "mine.toml", "--fps", "50", "--model", "dis"
    )
    assert (code, "8 frames at 50" in out, "(dis)" in out, "ffv1" in out) == (0, True, True, True)
    code, out, _ = attempt(capsys, "interpolate", clip, "--config", "slow-motion", *FAST)
    assert (code, "a-slow-4x.mkv: 16 frames at 25" in out) == (0, True)
    code, _, error = attempt(capsys, "interpolate", clip, "--config", "anmie")
    assert (code, "did you mean anime?" in error) == (2, True)
