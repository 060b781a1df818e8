"""betwixt masks."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from betwixt.cli.main import run
from betwixt.masks.store import MaskFolder
from clips import make_clip, read_frames


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The user's cache, for one test."""
    monkeypatch.setenv("BETWIXT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "in.mkv", frames=5)


def said(capsys, *arguments):
    """Run the command line with wrong arguments; returns standard error."""
    assert run(["masks", *(str(a) for a in arguments)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_masks_writes_label_maps_and_an_overlay(tmp_path, clip, capsys):
    out = tmp_path / "masks"
    assert run(["masks", str(clip), str(out)]) == 0
    assert "masks of 5 frames by regions" in capsys.readouterr().out
    names = sorted(p.name for p in out.iterdir())
    assert names == [*(f"{k:06d}-{s}.png" for k in range(4) for s in (0, 1)), "masks.json", "overlay.mp4"]
    found = MaskFolder(out)
    found.check(5, 64, 96)
    assert found.pair(3, 4, 64, 96).source == "regions"
    assert len(read_frames(out / "overlay.mp4")) == 5
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_second_run_takes_masks_from_the_cache(tmp_path, clip, capsys):
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
    MaskFolder(tmp_path / "out").check(3, *size)
    assert read_frames(tmp_path / "out" / "overlay.mp4")[0].video.width == size[1]


def test_a_model_makes_the_same_frames_with_given_masks_and_its_own(tmp_path, clip, monkeypatch):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    from betwixt.masks import regions
    from betwixt.models.registry import load_network

    torch.manual_seed(0)
    save_file(load_network("ifrnet-s+hm").state_dict(), tmp_path / "some.safetensors")
    assert run(["masks", str(clip), str(tmp_path / "masks"), "--no-overlay"]) == 0
    made = [
        "--model",
        "ifrnet-s+hm",
        "--weights",
        str(tmp_path / "some.safetensors"),
        "--codec",
        "ffv1",
        "--end",
        "0.1",
    ]
    assert run(["interpolate", str(clip), str(tmp_path / "found.mkv"), *made]) == 0
    monkeypatch.setattr(regions, "find_regions", None)  # masks that are given are not sought
    assert run(["interpolate", str(clip), str(tmp_path / "given.mkv"), *made, "--masks", str(tmp_path / "masks")]) == 0
    assert len(read_frames(tmp_path / "given.mkv")) == len(read_frames(tmp_path / "found.mkv"))


def test_masks_that_do_not_fit_are_refused_in_one_line(tmp_path, clip, capsys):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    from betwixt.models.registry import load_network

    torch.manual_seed(0)
    save_file(load_network("ifrnet-s+hm").state_dict(), tmp_path / "some.safetensors")
    maps = tmp_path / "maps"
    maps.mkdir()
    good = np.zeros((64, 96), np.uint8)
    for name, wrong, said_of_it in (
        ("2.npy", good[:32], "2.npy is 96x32, the frames are 96x64"),
        ("2.npy", good.astype(np.float32), "2.npy are of type float32, but labels are integers"),
        ("2.npy", good + 64, "2.npy have the label 64, but at most 64 labels"),
        ("2.npy", None, "2.npy is missing"),
        ("4.npy", None, "has no masks of frame 4: 4.npy is missing"),
    ):
        for k in range(5):
            np.save(maps / f"{k}.npy", good)
        if wrong is None:
            (maps / name).unlink()
        else:
            np.save(maps / name, wrong)
        arguments = [str(clip), str(tmp_path / "out.mkv"), "--model", "ifrnet-s+hm", "--masks", str(maps)]
        assert run(["interpolate", *arguments, "--weights", str(tmp_path / "some.safetensors")]) == 2
        error = capsys.readouterr().err
        assert said_of_it in error
        assert error.count("\n") == 1
        assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mkv", "maps", "some.safetensors"]


def test_wrong_arguments_are_refused_in_one_line(tmp_path, clip, capsys):
    out = tmp_path / "out"
    assert "There is no mask source 'clouds'" in said(capsys, clip, out, "--source", "clouds")
    assert "does not exist" in said(capsys, tmp_path / "nothing.mp4", out)
    assert "a video states its own rate" in said(capsys, clip, out, "--input-fps", "10")
    assert "choose refuse, deinterlace or ignore" in said(capsys, clip, out, "--interlaced", "perhaps")
    assert "does not exist: make it first" in said(capsys, clip, tmp_path / "a" / "b")
    assert "is a file" in said(capsys, clip, clip)
    single = make_clip(tmp_path / "one.mkv", frames=1)
    assert "has a single frame" in said(capsys, single, out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mkv", "one.mkv"]


def test_existing_masks_are_only_replaced_with_overwrite(tmp_path, clip, capsys):
    out = tmp_path / "out"
    assert run(["masks", str(clip), str(out)]) == 0
    assert "pass --overwrite" in said(capsys, clip, out)
    assert run(["masks", str(clip), str(out), "--overwrite", "--no-overlay"]) == 0


def test_open_world_without_weights_is_refused_in_one_line(tmp_path, clip, capsys, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setenv("BETWIXT_WEIGHTS", str(tmp_path / "weights"))
    error = said(capsys, clip, tmp_path / "out", "--source", "open-world")
    assert "needs weights that are not installed: ram, hq-sam, grounding-dino" in error
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
