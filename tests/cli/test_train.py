"""betwixt train."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from betwixt.cli.main import run
from clips import make_clip

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """
name = "small"
[network]
name = "compact"
margin = 8
[[data]]
kind = "clips"
[train]
samples = 8
batch = 2
crop = 32
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe and data, prepared."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "data").mkdir()
    make_clip(folder / "data/clip.mkv", frames=7, size=(96, 96))
    (folder / "small.toml").write_text(RECIPE)
    (folder / "alien.toml").write_text(RECIPE.replace('"small"', '"alien"'))
    return folder


def train(place: Path, output: Path, *more: str) -> list[str]:
    folders = ["--data", str(place / "data"), "--cache", str(place / "cache"), "--output", str(output)]
    return ["train", str(place / "small.toml"), *folders, "--jobs", "1", "--device", "cpu", *more]


def test_train_export_and_use_the_weights(place: Path, tmp_path: Path, capsys) -> None:
    assert run(train(place, tmp_path / "run", "--until", "4")) == 0
    assert run(train(place, tmp_path / "run", "--resume", "--set", "learning_rate=1e-5", "--threads", "1")) == 0
    assert "8 samples" in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "run").iterdir()} >= {"checkpoint.safetensors", "small.safetensors"}
    weights = tmp_path / "w.safetensors"
    assert run(["train", "export", str(tmp_path / "run/small.safetensors"), str(weights)]) == 0
    assert run(["train", "export", str(tmp_path / "run/small.safetensors"), str(weights)]) == 2
    for name in ("a.png", "b.png"):
        import cv2

        cv2.imwrite(str(tmp_path / name), np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    arguments = ["between", str(tmp_path / "a.png"), str(tmp_path / "b.png"), str(tmp_path / "out")]
    assert run([*arguments, "--model", "compact", "--weights", str(weights), "--count", "1"]) == 0
    # And weights to begin a run with.
    assert run(train(place, tmp_path / "more", "--weights", str(weights), "--until", "2")) == 0


def test_the_packed_folder_trains_by_itself(place: Path, tmp_path: Path, capsys) -> None:
    assert run(train(place, tmp_path / "run", "--until", "2")) == 0
    folder = tmp_path / "packed"
    recipe, data = str(place / "small.toml"), str(place / "data")
    pack = ["train", "pack", recipe, str(folder), "--data", data]
    assert run([*pack, "--checkpoint", str(tmp_path / "run/small.safetensors"), "--limit", "60"]) == 0
    assert run(pack) == 2
    assert "exists" in capsys.readouterr().err
    assert run(["train", "pack", recipe, str(tmp_path / "less"), "--data", data, "--limit", "0"]) == 2
    assert "MiB" in capsys.readouterr().err
    assert not (tmp_path / "less").exists()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size < 60 << 20
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHON": sys.executable}
    command = [str(folder / "train.sh"), "--until", "4", "--jobs", "1", "--device", "cpu"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with safe_open(folder / "run/checkpoint.safetensors", "pt") as file:
        assert '"samples": 4' in file.metadata()["state"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--set", "crops=3"), "no setting 'crops'"),
        (("--set", "network.name=compcat"), "compcat"),
        (("--set", "network.depth=3"), "depth"),
        (("--set", "data.clips.exclude=['none']"), "none"),
        (("--set", "batch=3.5"), "an integer"),
        (("--data", "nowhere"), "nowhere"),
        (("--precision", "fp8"), "fp8"),
        (("--device", "tpu"), "tpu"),
        (("--devices", "-1"), "1 or more"),
        (("--from", "none.safetensors"), "none.safetensors"),
        (("--weights", "none.safetensors"), "none.safetensors"),
        (("--evaluation", "nowhere"), "development sets"),
        (("--resume",), "no checkpoint"),
        (("--set", "learning_rate=1e30", "--set", "samples=200"), "diverged after"),
        (("--from", str(ROOT / "checkpoints/compact.safetensors")), "of the recipe compact, not of small"),
        (("--colour",), "--colour"),
    ],
)
def test_wrong_options_are_refused_in_one_line(place: Path, tmp_path: Path, capsys, more, says: str) -> None:
    assert run(train(place, tmp_path / "run", *more)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("betwixt: ")]
    assert len(lines) == 1
    assert says in lines[0]
    assert not (tmp_path / "run/checkpoint.safetensors").exists()


def test_an_empty_data_folder_and_one_without_a_usable_clip_are_refused(place: Path, tmp_path: Path, capsys) -> None:
    folders = ["--cache", str(tmp_path / "cache"), "--output", str(tmp_path / "run")]
    arguments = ["train", str(place / "small.toml"), *folders, "--jobs", "1", "--data"]
    (tmp_path / "empty").mkdir()
    assert run([*arguments, str(tmp_path / "empty")]) == 2
    assert "no clip" in capsys.readouterr().err
    (tmp_path / "still").mkdir()
    make_clip(tmp_path / "still/still.mkv", frames=7, still=True)
    assert run([*arguments, str(tmp_path / "still")]) == 2
    assert "no usable triplet" in capsys.readouterr().err


def test_errors_of_the_other_train_commands(tmp_path: Path, capsys) -> None:
    assert run(["train"]) == 0
    assert "RECIPE" in capsys.readouterr().out
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    assert run(["train", "export", str(tmp_path / "bad.safetensors"), str(tmp_path / "w.safetensors")]) == 2
    assert run(["train", "curve", str(tmp_path / "none.csv"), str(tmp_path / "p.png")]) == 2
    assert run(["train", "prepare", str(tmp_path / "none.toml")]) == 2
    assert run(["train", str(tmp_path / "none.toml")]) == 2
    assert all(line.startswith("betwixt: ") for line in capsys.readouterr().err.splitlines())


def test_recipes_are_listed_and_run_by_name_from_any_folder(place: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["train", "list"]) == 0
    assert any(
        line.split()[:3] == ["rife-small", "clips,", "synthetic"] for line in capsys.readouterr().out.splitlines()
    )
    assert run(["train", "list", "--json"]) == 0
    assert all(Path(recipe["file"]).is_file() for recipe in json.loads(capsys.readouterr().out))
    data = ["--data", str(place / "data"), "--cache", str(tmp_path / "cache"), "--jobs", "1"]
    assert run(["train", "prepare", "rife-small", *data, "--set", "data.synthetic.shards=0"]) == 0
    assert "clip: " in capsys.readouterr().out
    assert run(["train", "rife-smal", *data]) == 2
    assert "did you mean rife-small" in capsys.readouterr().err
