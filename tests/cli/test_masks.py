"""betwixt masks as a person uses it."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from betwixt.cli.main import run
from betwixt.masks.store import open_masks
from clips import make_clip, read_frames


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The user's cache, for one test."""
    monkeypatch.setenv("BETWIXT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "in.mkv", frames=5)


def said(capsys, *arguments):
    """What it said of arguments that are wrong."""
    assert run(["masks", *(str(a) for a in arguments)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_it_writes_maps_and_an_overlay(tmp_path, clip, capsys):
    out = tmp_path / "masks"
    assert run(["masks", str(clip), str(out)]) == 0
    assert "masks of 5 frames by regions" in capsys.readouterr().out
    names = sorted(p.name for p in out.iterdir())
    assert names == [*(f"{k:06d}-{s}.png" for k in range(4) for s in (0, 1)), "masks.json", "overlay.mp4"]
    found = open_masks(out)
    found.check(5, 64, 96)
    assert found.pair(3, 4, 64, 96).source == "regions"
    assert len(read_frames(out / "overlay.mp4")) == 5
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_second_run_knows_them(tmp_path, clip, capsys):
    assert run(["masks", str(clip), str(tmp_path / "a"), "--no-overlay", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["known"] == 0
    assert run(["masks", str(clip), str(tmp_path / "b"), "--no-overlay", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["known"] == 4
    assert run(["masks", str(clip), str(tmp_path / "c"), "--no-overlay", "--no-cache", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["known"] == 0
    one, two, three = (sorted((tmp_path / x).glob("*.png")) for x in "abc")
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two] == [p.read_bytes() for p in three]


@pytest.mark.parametrize("size", [(64, 96), (37, 51)])
def test_images_of_odd_sizes_and_sixteen_bits(tmp_path, size, capsys):
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for k in range(3):
        cv2.imwrite(str(tmp_path / "in" / f"{k}.png"), rng.integers(0, 65536, (*size, 3), dtype=np.uint16))
    assert run(["masks", str(tmp_path / "in"), str(tmp_path / "out"), "--input-fps", "10"]) == 0
    open_masks(tmp_path / "out").check(3, *size)
    assert read_frames(tmp_path / "out" / "overlay.mp4")[0].video.width == size[1]


def test_wrong_arguments_get_a_line(tmp_path, clip, capsys):
    out = tmp_path / "out"
    assert "There is no source of masks 'clouds'" in said(capsys, clip, out, "--source", "clouds")
    assert "does not exist" in said(capsys, tmp_path / "nothing.mp4", out)
    assert "a video states its own rate" in said(capsys, clip, out, "--input-fps", "10")
    assert "choose refuse, deinterlace or ignore" in said(capsys, clip, out, "--interlaced", "perhaps")
    assert "does not exist: make it first" in said(capsys, clip, tmp_path / "a" / "b")
    assert "is a file" in said(capsys, clip, clip)
    single = make_clip(tmp_path / "one.mkv", frames=1)
    assert "has a single frame" in said(capsys, single, out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mkv", "one.mkv"]


def test_masks_that_are_there_are_kept_unless_asked(tmp_path, clip, capsys):
    out = tmp_path / "out"
    assert run(["masks", str(clip), str(out)]) == 0
    assert "pass --overwrite" in said(capsys, clip, out)
    assert run(["masks", str(clip), str(out), "--overwrite", "--no-overlay"]) == 0


def test_open_world_without_weights_gets_a_line(tmp_path, clip, capsys, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setenv("BETWIXT_WEIGHTS", str(tmp_path / "weights"))
    error = said(capsys, clip, tmp_path / "out", "--source", "open-world")
    assert "needs weights that are not at hand: ram, hq-sam, grounding-dino" in error
    assert "betwixt weights import FILE --as ram" in error


def test_regions_need_neither_torch_nor_transformers(tmp_path, clip):
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None; "
        f"from betwixt.cli.main import run; sys.exit(run(['masks', {str(clip)!r}, {str(tmp_path / 'out')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    code = code.replace("])", ", '--source', 'open-world'])").replace("/out'", "/open'")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False, text=True)
    assert done.returncode == 2
    assert (
        done.stderr == "betwixt: The source open-world needs PyTorch and transformers: pip install 'betwixt[masks]'.\n"
    )
