"""Every recipe that comes with Betwixt is valid: its network, data, augmentation and stages fit together."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from betwixt.errors import InputError
from betwixt.models.ebme.network import EBMESplat
from betwixt.models.registry import MODELS
from betwixt.tables import parse_table
from betwixt.training.augmentation import Augmentation
from betwixt.training.objectives.registry import make_objective
from betwixt.training.recipe import load_recipe
from betwixt.training.recipe_files import find_recipe, recipe_files, recipe_names, summarize
from betwixt.training.sample import TrainingSample
from betwixt.training.sources import SyntheticEntry, read_entries

RECIPES = [find_recipe(name) for name in recipe_names()]
TIMES = {"middle": 0.5, "between": 0.25, "next": 2.0}
# The paper's recipe of EMA-VFI's small network is not for modest hardware.
SMALL = [path for path in RECIPES if path.stem.endswith("-small") and path.stem != "ema-vfi-small"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder with EBME installed."""
    folder = tmp_path_factory.mktemp("weights")
    save_file(EBMESplat().state_dict(), folder / "ebme.safetensors")
    return folder


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_valid(path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BETWIXT_WEIGHTS", str(installed))
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    entries = read_entries(recipe.data, path.name)
    augmentation = parse_table(Augmentation, recipe.augmentation, f"[augmentation] of {path.name}")
    # On the meta device, since the largest networks are among them.
    with torch.device("meta") if recipe.network.get("flow_teacher") != "ebme" else torch.device("cpu"):
        objective = make_objective(recipe.network)
    names = [stage.name or objective.stages[0] for stage in recipe.stages]
    assert names == list(objective.stages[: len(names)])
    # The network accepts the target times of the data and the size of the crops.
    rng = np.random.default_rng(0)
    for entry, stage in itertools.product(entries, recipe.stages):
        side = stage.train.crop + 2 * objective.margin
        times = (entry.scenes if isinstance(entry, SyntheticEntry) else entry).times
        objective.prepare(rng, TrainingSample(np.zeros((3, side, side, 3), np.uint8), TIMES[times]))
    assert augmentation.reverse == 0.5


def test_every_network_has_a_paper_recipe_and_a_small_one() -> None:
    names = {path.stem for path in RECIPES}
    # Networks with test-time augmentation share weights. The small recipes of EMA-VFI are those of its small network.
    networks = {name for name, info in MODELS.items() if info.has_network}
    networks -= {"rife-2t", "rife-large", "rife-large-next"}
    without = {
        "compact",
        "compact-psnr",
        "compact-large",
        "hybrid",
        "hybrid-psnr",
        "hybrid-large",
        "ema-vfi",
        "ema-vfi+hm",
    }
    expected = networks | {f"{name}-small" for name in networks - without}
    assert expected <= names


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
def test_a_small_recipe_needs_only_clips_and_photographs(path: Path) -> None:
    recipe = load_recipe(path)
    assert {entry["kind"] for entry in recipe.data} <= {"clips", "synthetic"}
    assert recipe.stages[0].train.batch <= 8
    assert make_objective(recipe.network).stages


def test_recipes_are_found_by_name_or_file(tmp_path: Path) -> None:
    assert "rife-small" in recipe_names()
    assert "common-small" not in recipe_names()
    assert find_recipe("rife-small").name == "rife-small.toml"
    own = tmp_path / "own.toml"
    own.write_text("")
    assert find_recipe(str(own)) == own
    for wrong in ("rife-smal", str(tmp_path / "rife-smal.toml")):
        with pytest.raises(InputError, match=r"There is no recipe .*rife-smal.*: did you mean rife-small"):
            find_recipe(wrong)


def test_a_recipe_of_ones_own_extends_one_that_comes_with_betwixt(tmp_path: Path) -> None:
    own = tmp_path / "rife.toml"
    own.write_text('name = "mine"\nextends = "rife-small.toml"\n[train]\nbatch = 2\n')
    assert [path.name for path in recipe_files(own)] == ["rife.toml", "rife-small.toml", "common-small.toml"]
    assert load_recipe(own).stages[0].train.batch == 2


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_says_what_it_is_for(name: str) -> None:
    assert 4 <= len(summarize(name)) <= 120
