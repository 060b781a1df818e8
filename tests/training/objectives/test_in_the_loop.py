"""The papers' networks in the training loop: stages with chance and frozen parts, teachers that do not ship."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from betwixt.runtime.load import load_model
from betwixt.training.checkpoint import export_weights
from betwixt.training.loop import TrainingRun, train
from betwixt.training.recipe import load_recipe

RECIPE = """
name = "small"

[network]
{network}

[[data]]
kind = "clips"
{times}

[train]
batch = 1
crop = 64
learning_rate = 1e-4
average = 4
{train}
"""


class Silence:
    """A report that tells nobody."""

    def note(self, text: str) -> None: ...

    def step(self, samples: int, end: int, stage: str, figures: Any) -> None: ...

    def scores(self, row: Any) -> None: ...


@pytest.fixture
def go(data: Path, cache: Path, tmp_path: Path):
    """Trains by a recipe's parts in a folder of the test; gives what its checkpoint holds."""

    def run(folder: str, network: str, settings: str, times: str = "", **more: Any) -> dict[str, torch.Tensor]:
        path = tmp_path / "small.toml"
        path.write_text(RECIPE.format(network=network, times=times, train=settings))
        train(load_recipe(path), TrainingRun(data, cache, tmp_path / folder, jobs=1, device="cpu", **more), Silence())
        return load_file(tmp_path / folder / "checkpoint.safetensors")

    return run


def test_a_curriculum_goes_on_bit_for_bit_within_its_last_stage(go) -> None:
    network = 'name = "apr"\npatch = 16'
    stages = '[[stage]]\nname = "frame"\nsamples = 1\n[[stage]]\nname = "routed"\nsamples = 2'
    whole = go("whole", network, stages)
    go("parts", network, stages, until=2)
    parts = go("parts", network, stages, resume=True)
    assert set(whole) == set(parts)
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []
    # The estimator is fixed in the last stage, and the router has learned in it.
    assert not any(name.startswith("first.") and ".estimator." in name for name in whole)
    assert any(name.startswith("first.") and ".router." in name for name in whole)


@pytest.mark.parametrize(("name", "times"), [("rife-4.6", "between"), ("ncm-base-next", "next")])
def test_what_was_trained_works_by_its_name(name: str, times: str, go, tmp_path: Path) -> None:
    go("run", f'name = "{name}"', "samples = 2", f'times = "{times}"')
    export_weights(tmp_path / "run/checkpoint.safetensors", tmp_path / "weights.safetensors")
    model = load_model(name, "cpu", weights=tmp_path / "weights.safetensors")
    frames = np.random.default_rng(0).random((2, 40, 56, 3), np.float32)
    made = model.prepare(*frames).at(0.3) if times == "between" else model.next_frame(*frames)
    assert made.shape == (40, 56, 3)
    assert np.isfinite(made).all()
