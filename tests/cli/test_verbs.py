"""interpolate, between, info and models on the command line."""

import json
import os
import re
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

import betwixt
from betwixt.cli.main import run
from betwixt.media.images.convert import frame_to_image, image_to_frame
from betwixt.media.images.reader import read_image
from betwixt.pipeline import inspect
from clips import frames_equal, make_clip, paint, read_frames


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "in.mkv", frames=8, rate=25)


def out_of(capsys, *arguments):
    """Run the command line; returns standard output."""
    assert run([str(a) for a in arguments]) == 0
    return capsys.readouterr().out


def test_interpolate_prints_a_summary(tmp_path, capsys, clip):
    text = out_of(capsys, "interpolate", clip, tmp_path / "out.mp4")
    assert "16 frames at 50 per second" in text
    assert "7 new (hybrid)" in text


@pytest.mark.parametrize(
    "verb",
    [
        ["interpolate", "in.mkv", "out.mp4"],
        ["evaluate", "--dataset", "video", "--root", "in.mkv"],
        ["benchmark", "--size", "64x64"],
        ["rd-curve", "in.mkv", "-o", "curve"],
        ["encode", "in.mkv", "out.mkv"],
    ],
)
def test_weights_need_a_model(tmp_path, capsys, clip, verb, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run([*verb, "--weights", "some.safetensors"]) == 2
    assert "pass --model, a name that betwixt models lists" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["in.mkv"]


def test_a_broken_pytorch_is_reported_in_one_line(tmp_path, clip):
    broken = tmp_path / "broken" / "torch"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('libcudart.so.12: cannot open shared object file')")
    environment = {**os.environ, "PYTHONPATH": str(broken.parent), "BETWIXT_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "betwixt.cli"]
    made = [*command, "interpolate", str(clip), str(tmp_path / "out.mp4"), "--runtime", "torch"]
    done = subprocess.run(made, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "does not load (libcudart.so.12" in done.stderr
    assert "--model dis" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_devices_are_listed(capsys):
    listed = json.loads(out_of(capsys, "devices", "--json"))["devices"]
    assert {"engine": "openvino", "device": "cpu", "available": True} in [
        {key: status[key] for key in ("engine", "device", "available")} for status in listed
    ]
    table = out_of(capsys, "devices")
    assert all(status["device"] in table for status in listed)


def test_files_are_checked_before_a_model_is_loaded(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("betwixt.pipeline.frame_job.load_model", None)
    assert run(["interpolate", str(tmp_path / "missing.mkv"), str(tmp_path / "out.mp4")]) == 2
    assert "missing.mkv" in capsys.readouterr().err


def test_extrapolation_is_evaluated_with_a_model_that_extrapolates(tmp_path, capsys, clip):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(read_frames(clip)):
        frame.video.to_image().save(folder / f"{number:03d}.png")
    text = out_of(capsys, "evaluate", "--dataset", "frames", "--root", folder, "--extrapolate", "--metrics", "psnr")
    assert "dis" in text


def test_json_names_the_model_behind_auto(tmp_path, capsys, clip):
    (tmp_path / "frames").mkdir()
    coded = json.loads(out_of(capsys, "encode", clip, tmp_path / "c.mkv", "--base", "x264", "--json"))
    assert coded["model"] == "hybrid"
    decoded = json.loads(out_of(capsys, "decode", tmp_path / "c.mkv", tmp_path / "d.mkv", "--model", "auto", "--json"))
    assert decoded["model"] == "hybrid"
    assert not any("differ" in note for note in decoded["notes"])
    assert json.loads(out_of(capsys, "info", clip, "--json"))["model"] == "hybrid"
    cost = json.loads(out_of(capsys, "benchmark", "--size", "64x64", "--runs", "1", "--json", "-"))
    assert cost["results"][0]["model"] == "hybrid"
    assert betwixt.load_model().name == "hybrid"


def test_interpolate_as_json(tmp_path, capsys, clip):
    found = json.loads(out_of(capsys, "interpolate", clip, tmp_path / "out.mp4", "--fps", "60000/1001", "--json"))
    assert found["rate"] == "60000/1001"
    assert found["frames_in"] == 8
    assert found["frames_out"] == found["untouched"] + found["held"] + found["synthesized"]
    assert found["peak_memory"] > 1e6
    assert found["seconds"] > 0


def test_a_dry_run_writes_nothing(tmp_path, capsys, clip):
    found = json.loads(out_of(capsys, "interpolate", clip, tmp_path / "out.mp4", "--dry-run", "--json"))
    assert (found["frames_out"], found["encoder"]) == (16, "libx264")
    assert "about 16 frames" in out_of(capsys, "interpolate", clip, tmp_path / "out.mp4", "--dry-run")
    sound = make_clip(tmp_path / "sound.mkv", frames=3, audio=True)
    for name, said in (
        ("out.webm", "kept"),
        ("out.gif", "left out"),
        ("out.y4m", "left out"),
        ("out/%d.png", "left out"),
    ):
        told = out_of(capsys, "interpolate", sound, f"{tmp_path}/{name}", "--dry-run", "--model", "dis")
        assert f"sound: {said}" in told
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mkv", "sound.mkv"]


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le"])
def test_pipes_carry_y4m(tmp_path, pixel_format):
    source = make_clip(tmp_path / "in.mkv", frames=6, pixel_format=pixel_format)
    y4m = tmp_path / "in.y4m"
    assert run(["interpolate", str(source), str(y4m), "--fps", "25"]) == 0
    command = [sys.executable, "-m", "betwixt.cli", "interpolate", "-", "-", "--factor", "2"]
    with open(y4m, "rb") as pipe:
        done = subprocess.run(command, stdin=pipe, capture_output=True, timeout=60, check=True)
    assert done.stdout.startswith(b"YUV4MPEG2")
    result = tmp_path / "out.y4m"
    result.write_bytes(done.stdout)
    before, after = read_frames(source), read_frames(result)
    assert len(after) == 12
    assert all(frames_equal(a.video, b.video) for a, b in zip(before, after[::2], strict=True))


@pytest.mark.parametrize("name", ["in.mp4", "in.ts", "in.mkv"])
@pytest.mark.parametrize("piped", [False, True])
def test_standard_input_is_read_like_a_file(tmp_path, name, piped):
    # Larger than what FFmpeg reads to recognize a format.
    source = make_clip(tmp_path / name, frames=30, size=(320, 240), codec="libx264", options={"crf": "8"})
    command = [sys.executable, "-m", "betwixt.cli", "interpolate", "-", str(tmp_path / "out.mkv"), "--model", "dis"]
    with open(source, "rb") as file:
        given = {"input": file.read()} if piped else {"stdin": file}
        done = subprocess.run(command, capture_output=True, timeout=60, check=False, **given)
    if piped and name == "in.mp4":
        # Its index comes last.
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    else:
        assert done.returncode == 0, done.stderr
        assert len(read_frames(tmp_path / "out.mkv")) == 60


@pytest.mark.parametrize(("end", "arguments"), [("<&-", "- out.mkv"), (">&-", "in.mkv -")])
def test_closed_standard_streams_are_reported_in_one_line(tmp_path, end, arguments):
    make_clip(tmp_path / "in.mkv", frames=6)
    command = f"{sys.executable} -m betwixt.cli interpolate {arguments} {end}"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "is closed: open it, or name a file" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_codec_is_refused_for_y4m(tmp_path, capsys):
    source = make_clip(tmp_path / "in.mkv", frames=6)
    for target in ("-", str(tmp_path / "out.y4m")):
        assert run(["interpolate", str(source), target, "--codec", "ffv1"]) == 2
        assert "leave --codec out" in capsys.readouterr().err
    assert run(["interpolate", str(source), str(tmp_path / "out.y4m"), "--codec", "rawvideo"]) == 0


def test_images_in_and_out(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(4):
        paint(av.VideoFrame(64, 48, "rgb24"), n).save(folder / f"p{n}.png")
    out_of(capsys, "interpolate", folder, tmp_path / "out", "--factor", "3")
    files = sorted((tmp_path / "out").iterdir())
    assert len(files) == 12
    for n in range(4):
        assert frames_equal(read_image(folder / f"p{n}.png"), read_image(files[3 * n]))
    out_of(capsys, "interpolate", folder / "p%d.png", tmp_path / "out.mkv", "--input-fps", "10")
    assert read_frames(tmp_path / "out.mkv")[2].time * 10 == 1


def test_a_loop_as_gif_from_images(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(4):
        paint(av.VideoFrame(64, 48, "rgb24"), n).save(folder / f"p{n}.png")
    out_of(capsys, "interpolate", folder, tmp_path / "out.gif", "--input-fps", "10", "--loop")
    frames = read_frames(tmp_path / "out.gif")
    assert len(frames) == 8
    assert frames[-1].time + frames[-1].duration == pytest.approx(0.4)


def test_between_two_images(tmp_path, capsys):
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    paint(av.VideoFrame(80, 48, "rgb24"), 0).save(first)
    paint(av.VideoFrame(80, 48, "rgb24"), 3).save(second)
    text = out_of(capsys, "between", first, second, tmp_path / "out", "--times", "0.25,0.5,0.75")
    assert "3 frames at 0.25, 0.5, 0.75" in text
    assert len(list((tmp_path / "out").iterdir())) == 3
    out_of(capsys, "between", first, second, tmp_path / "out.gif", "--count", "7")
    assert len(read_frames(tmp_path / "out.gif")) == 9
    made = json.loads(out_of(capsys, "between", first, second, tmp_path / "mid.png", "--json"))
    assert made["times"] == [0.5]
    # the middle is nearer to the truth than to either end
    truth = frame_to_image(paint(av.VideoFrame(80, 48, "rgb24"), 1.5))[0].astype(float)
    middle = frame_to_image(read_image(tmp_path / "mid.png"))[0].astype(float)
    ends = [frame_to_image(read_image(p))[0].astype(float) for p in (first, second)]
    assert np.abs(middle - truth).mean() < 0.4 * min(np.abs(e - truth).mean() for e in ends)


def test_between_writes_the_maps_of_a_frame(tmp_path, capsys):
    paths = [tmp_path / name for name in ("a.png", "b.png", "truth.png")]
    for path, time in zip(paths, (0, 3, 1.5), strict=True):
        paint(av.VideoFrame(80, 48, "rgb24"), time).save(path)
    maps = tmp_path / "maps"
    between = ["between", *map(str, paths[:2]), str(tmp_path / "m.png"), "--model", "dis"]
    out_of(capsys, *between, "--maps", maps, "--truth", paths[2])
    listing = json.loads((maps / "maps.json").read_text())
    assert {p.name for p in maps.iterdir()} == {"maps.json", *(f"{n}{s}" for n in listing for s in (".npy", ".png"))}
    assert listing["flow_t0"]["shape"] == list(np.load(maps / "flow_t0.npy").shape)
    assert np.load(maps / "error.npy").mean() < 0.02
    assert frame_to_image(read_image(maps / "frame.png"))[0].shape == (48, 80, 3)
    for wrong, message in (
        (["--maps", maps], "--overwrite"),
        (["--maps", tmp_path / "new", "--count", "2"], "--maps are of one new frame"),
        (["--truth", paths[2]], "pass --maps"),
        (["--show", "flow"], "pass --maps"),
        (["--maps", tmp_path / "new", "--overwrite", "--show", "routes"], "dis has no routes"),
        (["--maps", tmp_path / "new", "--overwrite", "--show", "dreams"], "choose from flow, mask"),
    ):
        assert run([*between, *map(str, wrong)]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_between_shows_the_features_of_a_network(tmp_path, capsys):
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for path, time in zip(paths, (0, 3), strict=True):
        paint(av.VideoFrame(80, 48, "rgb24"), time).save(path)
    between = ["between", *map(str, paths), str(tmp_path / "m.png"), "--model", "rife-4.6"]
    out_of(capsys, *between, "--maps", tmp_path / "maps", "--show", "flow,mask,features")
    listing = json.loads((tmp_path / "maps" / "maps.json").read_text())
    assert {"flow_t0", "flow_t1", "mask", "features_block0_convblock"} <= set(listing)
    assert "frame" not in listing
    features = np.load(tmp_path / "maps" / "features_block0_convblock.npy")
    assert features.shape[2] == 3
    np.testing.assert_allclose((features.min(axis=(0, 1)), features.max(axis=(0, 1))), ([0] * 3, [1] * 3), atol=1e-5)


def test_between_keeps_sixteen_bits(tmp_path, capsys):
    values = np.full((32, 32, 3), 12345, np.uint16)
    for name in ("a.png", "b.png"):
        from betwixt.media.images.writer import ImageWriter

        with ImageWriter(tmp_path / name) as writer:
            writer.write(image_to_frame(values))
    out_of(capsys, "between", tmp_path / "a.png", tmp_path / "b.png", tmp_path / "m.png")
    picture, _ = frame_to_image(read_image(tmp_path / "m.png"))
    assert picture.dtype == np.uint16
    assert np.array_equal(picture, values)


@pytest.mark.parametrize(
    "wrong",
    [["--times", "2"], ["--times", "x"], ["--times", ""], ["--count", "0"], ["--times", "0.5", "--count", "2"]],
)
def test_between_refuses_wrong_times(tmp_path, capsys, wrong):
    for name in ("a.png", "b.png"):
        paint(av.VideoFrame(32, 32, "rgb24"), 0).save(tmp_path / name)
    assert run(["between", str(tmp_path / "a.png"), str(tmp_path / "b.png"), str(tmp_path / "out"), *wrong]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.fixture
def unhurried(monkeypatch):
    """Let `info` take its time, on a machine with much else to do."""
    for name in ("_BEGINNING_TIME", "_WHOLE_TIME", "_PACKETS_TIME", "_WINDOWS_TIME"):
        monkeypatch.setattr(inspect, name, 60.0)


def test_info_shows_streams_rate_and_cuts(tmp_path, capsys, unhurried):
    source = make_clip(tmp_path / "in.mkv", frames=30, cuts=(15,), size=(160, 96), audio=True)
    found = json.loads(out_of(capsys, "info", source, "--json"))
    assert (found["rate"], found["variable"], found["frames"]) == ("25", False, 30)
    assert found["cuts"] == [0.6]
    assert [s["kind"] for s in found["streams"]] == ["video", "audio"]
    text = out_of(capsys, "info", source)
    assert "25 frames per second, constant" in text
    assert "cuts      1 at 0.6 s" in text
    assert "new frames" in text
    assert set(found["certainty"].values()) == {"exact", "not looked for"}  # the latter is the cost
    assert json.loads(out_of(capsys, "info", source, "--json", "--no-scan")) == found


def test_a_scan_also_measures_the_cost(tmp_path, capsys, unhurried):
    source = make_clip(tmp_path / "in.mkv", frames=6)
    found = json.loads(out_of(capsys, "info", source, "--json"))
    scanned = json.loads(out_of(capsys, "info", source, "--json", "--scan"))
    assert (found["seconds_a_frame"], found["certainty"]["seconds_a_frame"]) == (None, "not looked for")
    assert scanned["seconds_a_frame"] > 0
    assert scanned["certainty"]["seconds_a_frame"] == "sampled"
    changed = {"seconds_a_frame": None, "certainty": found["certainty"]}
    assert scanned | changed == found


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".avi", ".ts"])
def test_info_samples_a_long_video_and_says_so(tmp_path, capsys, monkeypatch, unhurried, suffix):
    monkeypatch.setattr(inspect, "_seconds_per_frame", lambda *_: None)
    # As if there were no time for all of it.
    monkeypatch.setattr(inspect, "_BEGINNING_TIME", 0.0)
    monkeypatch.setattr(inspect, "_WHOLE_TIME", 0.0)
    monkeypatch.setattr(inspect, "_WINDOW_FRAMES", 12)
    options = {"g": "10"}
    source = make_clip(tmp_path / f"in{suffix}", frames=100, size=(160, 96), cuts=(50,), codec="mpeg4", options=options)
    found = json.loads(out_of(capsys, "info", source, "--json"))
    certainty = found["certainty"]
    assert (found["frames"], certainty["frames"], certainty["cuts"]) == (100, "exact", "sampled")
    assert certainty["rate"] == ("stated" if suffix == ".avi" else "exact")  # AVI has no times
    assert (found["damage"], certainty["damage"]) == (None, "not looked for")
    assert found["decoded"]["places"] == 5
    assert found["duration"] == pytest.approx(4, abs=0.05)
    text = out_of(capsys, "info", source)
    assert re.search(r"cuts .* \[sampled: \d+ frames, .* s, from 5 places\]", text)
    assert "damage    not looked for; --scan decodes all of it" in text
    scanned = json.loads(out_of(capsys, "info", source, "--json", "--scan"))
    assert (scanned["cuts"], scanned["decoded"]["frames"]) == ([2.0], 100)
    # Not even for the packets.
    monkeypatch.setattr(inspect, "_PACKETS_TIME", 0.0)
    monkeypatch.setattr(inspect, "_WINDOWS_TIME", 0.0)
    found = json.loads(out_of(capsys, "info", source, "--json"))
    assert found["certainty"]["frames"] == "stated"
    assert found["certainty"]["rate"] == ("stated" if suffix == ".avi" else "sampled")


def test_info_answers_for_any_rate(tmp_path, capsys, unhurried):
    fast = make_clip(tmp_path / "fast.mp4", frames=6, rate=600, codec="libx264")
    assert "convert   with --fps" in out_of(capsys, "info", fast)
    one = make_clip(tmp_path / "one.webm", frames=1, rate=1000, codec="libvpx")
    assert json.loads(out_of(capsys, "info", one, "--json"))["certainty"]["rate"] == "stated"
    bare = make_clip(tmp_path / "bare.mjpeg", codec="mjpeg", pixel_format="yuvj420p")
    text = out_of(capsys, "info", bare)
    assert "25 frames per second, constant [assumed]" in text
    assert "--input-fps sets another" in text
    assert "bare-smooth.mp4" in text


@pytest.mark.parametrize(
    "name", ["12:30:05 clip.mkv", "http: clip.mkv", "file:clip.mkv", "concat:a|b.mkv", "%d.mkv", "a[0-9].mkv"]
)
def test_a_file_that_exists_is_read_whatever_its_name(tmp_path, capsys, monkeypatch, name):
    make_clip(tmp_path / name, frames=3)
    monkeypatch.chdir(tmp_path)
    assert json.loads(out_of(capsys, "info", name, "--json"))["codec"] == "ffv1"
    out_of(capsys, "interpolate", name, f"out {name}", "--model", "dis")
    assert len(read_frames(tmp_path / f"out {name}")) == 6


def test_info_compares_the_exact_multiple_with_the_nominal_rate(tmp_path, capsys, unhurried):
    source = make_clip(tmp_path / "in.mkv", frames=6, rate=Fraction(30000, 1001))
    text = out_of(capsys, "info", source)
    assert "to 59.9401 (60000/1001) frames per second: 5 new frames" in text
    assert "to 60 frames per second: 10 new frames" in text
    assert "1 of 500 source frames untouched" in text


def test_models_are_listed(capsys):
    found = json.loads(out_of(capsys, "models", "--json"))
    assert {"name", "paper", "parameters", "weights", "licence"} == set(found["models"][0])
    assert "dis" in out_of(capsys, "models")


def test_help_needs_nothing_heavy():
    code = "import sys; from betwixt.cli.main import run; run(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "cv2", "av", "scenedetect"} & set(done.stdout.split())
