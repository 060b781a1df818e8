from __future__ import annotations

import tarfile
from pathlib import Path

import av
import numpy as np

from betwixt.training.objectives.registry import EMBEDDED_WEIGHTS
from betwixt.training.pack import pack
from clips import make_clip, read_frames

RECIPE = """
name = "small"
[network]
name = "compact"
[[data]]
kind = "clips"
exclude = ["held"]
[data.clips.long]
end = 0.5
[train]
samples = 8
"""


def test_only_what_the_run_uses_is_packed(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(RECIPE)
    (tmp_path / "small.toml").write_text('name = "small"\nextends = "base.toml"\n')
    (tmp_path / "data").mkdir()
    whole = make_clip(
        tmp_path / "data/long.mp4", frames=50, codec="libx264", options={"bf": "3", "g": "12", "crf": "18"}
    )
    make_clip(tmp_path / "data/held.mp4", codec="libx264")
    size = pack(tmp_path / "small.toml", tmp_path / "packed", tmp_path / "data")
    assert size == sum(path.stat().st_size for path in (tmp_path / "packed").rglob("*") if path.is_file())
    assert [path.name for path in (tmp_path / "packed/data").iterdir()] == ["long.mp4"]
    script = (tmp_path / "packed/train.sh").read_text()
    assert "exclude=[]" in script
    assert "train 'recipes/small.toml'" in script
    assert {path.name for path in (tmp_path / "packed/recipes").iterdir()} == {"small.toml", "base.toml"}
    part = tmp_path / "packed/data/long.mp4"
    assert part.stat().st_size < 0.6 * whole.stat().st_size
    # The frames before the end are unchanged.
    for a, b in zip([f for f in read_frames(whole) if f.time < 0.5], read_frames(part), strict=False):
        assert a.time == b.time
        assert np.array_equal(a.video.to_ndarray(), b.video.to_ndarray())
    with av.open(str(part)) as container:
        assert 13 <= sum(1 for _ in container.decode(video=0)) < 25
    with tarfile.open(tmp_path / "packed/code.tar.xz") as archive:
        names = archive.getnames()
    assert "src/betwixt/training/loop.py" in names
    assert not any("__pycache__" in name or name.endswith(".safetensors") for name in names)


def test_shipped_weights_that_training_needs_are_packed(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(RECIPE.replace('"compact"', '"codec"'))
    (tmp_path / "data").mkdir()
    make_clip(tmp_path / "data/long.mp4", codec="libx264")
    make_clip(tmp_path / "data/held.mp4", codec="libx264")
    pack(tmp_path / "small.toml", tmp_path / "packed", tmp_path / "data")
    with tarfile.open(tmp_path / "packed/code.tar.xz") as archive:
        names = archive.getnames()
    assert {Path(name).name for name in names if name.endswith(".safetensors")} == {"compact.safetensors"}
    assert any(name.endswith("rife-4.6.LICENSE.txt") for name in names)
    assert EMBEDDED_WEIGHTS["hybrid"] == ("compact.safetensors", "rife-4.6.safetensors")
