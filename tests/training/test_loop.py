from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from layouts import write
from safetensors.torch import load_file

from betwixt.errors import InputError, UsageError
from betwixt.models.compact import Compact
from betwixt.training.checkpoint import export_weights
from betwixt.training.loop import learning_rate, train
from betwixt.training.recipe import Recipe, load_recipe
from betwixt.training.synthetic import build_bank
from betwixt.training.validation import development_sets, validate

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    picture = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    build_bank(folder / "synthetic", [picture], [0], size=64, scenes=4)
    (folder / "clips").mkdir()
    np.save(folder / "clips/noise.npy", np.stack([picture] * 7))
    np.save(folder / "clips/noise.triplets.npy", np.array([[0, 2, 1, 3, 30], [1, 3, 2, 3, 30]], np.float32))
    return folder


def small(samples: int) -> Recipe:
    return Recipe(batch=2, crop=32, margin=8, samples=samples, cool_down=8, warm_up=2)


def test_a_stopped_run_goes_on_bit_for_bit(cache: Path, tmp_path: Path) -> None:
    train(small(8), cache, tmp_path / "whole", minutes=5)
    train(small(8), cache, tmp_path / "parts", minutes=5, until=6)
    assert train(small(8), cache, tmp_path / "parts", minutes=5).samples == 8
    whole = load_file(tmp_path / "whole/checkpoint.safetensors")
    parts = load_file(tmp_path / "parts/checkpoint.safetensors")
    assert set(parts) == set(whole)
    for name, tensor in whole.items():
        assert torch.equal(tensor, parts[name]), name


def test_recipes_are_read_and_refuse_what_they_do_not_know(tmp_path: Path) -> None:
    recipe, rules = load_recipe(RECIPES / "compact.toml", ["batch=4", "learning_rate=1"])
    assert (recipe.batch, recipe.learning_rate) == (4, 1.0)
    assert rules.exclude == ("sam2_coffee",)
    assert rules.clips["envivio"].end == 173.0
    with pytest.raises(UsageError, match="crops"):
        load_recipe(RECIPES / "compact.toml", ["crops=4"])
    with pytest.raises(UsageError, match="batch"):
        load_recipe(RECIPES / "compact.toml", ["batch=many"])
    with pytest.raises(InputError):
        load_recipe(tmp_path / "none.toml")


def test_learning_rate_warms_up_stays_and_cools_down() -> None:
    recipe = Recipe(learning_rate=1.0, warm_up=80, batch=8, samples=1000, cool_down=400)
    rates = [learning_rate(recipe, k) for k in (0, 40, 80, 600, 800, 1000)]
    assert rates == pytest.approx([0.1, 0.6, 1.0, 1.0, 0.5, 0.0])


def test_scores_are_those_of_evaluate(tmp_path: Path) -> None:
    for name in ("Walking", "Beanbags"):
        write(tmp_path / f"middlebury_other/input/{name}/frame10.png", 0)
        write(tmp_path / f"middlebury_other/input/{name}/frame11.png", 2)
        write(tmp_path / f"middlebury_other/gt/{name}/frame10i11.png", 1)
    for i in range(5):
        write(tmp_path / f"davis_dev/pan/{i:05d}.jpg", i)
    sets = development_sets(tmp_path, davis=2)
    assert {name: len(samples) for name, samples in sets.items()} == {"middlebury": 2, "davis": 2}
    scores = validate(Compact().eval(), sets)
    assert scores["middlebury"] > 30
    assert scores["davis"] > 25


def test_the_small_checkpoint_has_the_average_and_fits_the_repository(cache: Path, tmp_path: Path) -> None:
    train(small(6), cache, tmp_path, minutes=5)
    tensors = load_file(tmp_path / "small.safetensors")
    names = [name for name, _ in Compact().named_parameters()]
    assert {f"ema.{name}" for name in names} <= set(tensors)
    assert (tmp_path / "small.safetensors").stat().st_size < 8_000_000
    export_weights(tmp_path / "small.safetensors", tmp_path / "weights.safetensors")
    Compact().load_state_dict(load_file(tmp_path / "weights.safetensors"))
