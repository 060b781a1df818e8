"""Every recipe in recipes/ can be read, and makes what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from betwixt.models.ebme import EBMESplat
from betwixt.models.registry import MODELS
from betwixt.training.augmentation import Augmentation
from betwixt.training.objective import make_objective
from betwixt.training.recipe import load_recipe
from betwixt.training.settings import from_table
from betwixt.training.sources import read_entries

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
PAPERS = {"ncm-extrapolation": "ncm-base"}
"""Recipes that are not called as the network that they train."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights with an estimator of EBME in it."""
    folder = tmp_path_factory.mktemp("weights")
    save_file(EBMESplat().state_dict(), folder / "ebme.safetensors")
    return folder


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_makes_an_objective(path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BETWIXT_WEIGHTS", str(installed))
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    entries = read_entries(recipe.data, path.name)
    augmentation = from_table(Augmentation, recipe.augmentation, f"[augmentation] of {path.name}")
    # Parameters without memory: the largest networks are here, too.
    with torch.device("meta") if recipe.network.get("flow_teacher") != "ebme" else torch.device("cpu"):
        objective = make_objective(recipe.network)
    names = [stage.name or objective.stages[0] for stage in recipe.stages]
    assert names == list(objective.stages[: len(names)])
    times = getattr(objective, "times", "between")
    for entry in entries:
        assert getattr(entry, "times", None) or entry.scenes.times == times
    for stage in recipe.stages:
        assert stage.train.crop % getattr(objective, "cell", 16) == 0
        assert stage.train.batch % stage.train.accumulate == 0
    assert 0.0 <= augmentation.reverse <= 1.0


def test_every_network_has_a_recipe_and_a_small_one() -> None:
    found = {path.stem for path in RECIPES}
    # RIFE-Large is RIFE-2R at work. The small recipe of EMA-VFI is that of its small network.
    networks = {name for name, info in MODELS.items() if info.network is not None} - {"rife-large"}
    wanted = networks | {f"{name}-small" for name in networks - {"compact", "ema-vfi"}}
    assert wanted <= found


@pytest.mark.parametrize("path", [path for path in RECIPES if path.stem.endswith("-small")], ids=lambda path: path.stem)
def test_a_small_recipe_needs_no_more_than_clips_and_photographs(path: Path) -> None:
    recipe = load_recipe(path)
    if path.stem == "ema-vfi-small":
        return
    assert {entry["kind"] for entry in recipe.data} <= {"clips", "synthetic"}
    assert recipe.stages[0].train.batch <= 8
    assert make_objective(recipe.network).stages
