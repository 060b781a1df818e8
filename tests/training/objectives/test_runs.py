"""Training runs of the papers' networks: stages with frozen parts and random routes, exported weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from betwixt.runtime.load import load_model
from betwixt.training.checkpoint import (
    TrainingProgress,
    averaged_tensors,
    export_weights,
    read_checkpoint,
    write_checkpoint,
)
from betwixt.training.loop import TrainingRun, train
from betwixt.training.objectives.registry import make_objective
from betwixt.training.recipe import load_recipe
from betwixt.training.training_log import SilentReporter
from betwixt.weights.load import load_trained_network

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


@pytest.fixture
def run(data: Path, cache: Path, tmp_path: Path):
    """Trains by parts of a recipe in a folder of the test; returns the folder."""

    def run(folder: str, network: str, settings: str, times: str = "", **options: Any) -> Path:
        path = tmp_path / "small.toml"
        path.write_text(RECIPE.format(network=network, times=times, train=settings))
        output = tmp_path / folder
        train(load_recipe(path), TrainingRun(data, cache, output, jobs=1, device="cpu", **options), SilentReporter())
        return output

    return run


def test_a_curriculum_resumes_bit_for_bit_and_exports_its_patch_size(run, tmp_path: Path) -> None:
    network = 'name = "apr"\npatch = 16'
    stages = '[[stage]]\nname = "frame"\nsamples = 1\n[[stage]]\nname = "routed"\nsamples = 2'
    whole = load_file(run("whole", network, stages) / "checkpoint.safetensors")
    run("parts", network, stages, until=2)
    parts = load_file(run("parts", network, stages, resume=True) / "checkpoint.safetensors")
    assert set(whole) == set(parts)
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []
    # In the last stage the estimator is frozen and the router is trained.
    assert not any(name.startswith("first.") and ".estimator." in name for name in whole)
    assert any(name.startswith("first.") and ".router." in name for name in whole)

    export_weights(tmp_path / "whole/checkpoint.safetensors", tmp_path / "weights.safetensors")
    objective = make_objective({"name": "apr", "patch": 16})
    objective.begin_stage("routed")
    exported = load_file(tmp_path / "weights.safetensors")
    objective.exported_module.load_state_dict({name: value.float() for name, value in exported.items()})
    frames = np.random.default_rng(0).random((2, 64, 80, 3), np.float32)
    expected = objective.interpolator("cpu").prepare(*frames).at(0.5)
    predicted = load_model("apr", "cpu", weights=tmp_path / "weights.safetensors").prepare(*frames).at(0.5)
    np.testing.assert_array_equal(predicted, expected)


@pytest.mark.parametrize(
    "table",
    [
        {"name": "apr", "keep": [0.2, 0.4, 0.6, 0.8]},
        {"name": "ncm-large", "image_feature": False},  # a wrapper for test-time augmentation around the network
        {"name": "ifrnet-s+hm", "plug_in": False},  # weights of another model
    ],
    ids=lambda table: " ".join(map(str, table.values())),
)
def test_exported_weights_of_a_variant_load_by_the_name_of_its_model(table: dict[str, Any], tmp_path: Path) -> None:
    objective = make_objective(table)
    progress = TrainingProgress(recipe={"name": "variant", "network": table})
    optimizer = torch.optim.Adam([parameter for parameter in objective.parameters() if parameter.requires_grad])
    write_checkpoint(tmp_path / "variant", objective, averaged_tensors(objective), optimizer, progress)
    export_weights(tmp_path / "variant", tmp_path / "weights.safetensors")
    network = load_trained_network(objective.model_name, tmp_path / "weights.safetensors")
    trained: Any = getattr(network, "network", network)
    assert trained.config == objective.exported_module.config
    expected = objective.exported_module.state_dict()
    assert set(trained.state_dict()) == set(expected)
    assert all(torch.equal(value, expected[name].half().float()) for name, value in trained.state_dict().items())


@pytest.mark.parametrize(("name", "times"), [("rife-4.6", "between"), ("ncm-base-next", "next")])
def test_exported_weights_run_by_the_name_of_their_model(name: str, times: str, run, tmp_path: Path) -> None:
    output = run("run", f'name = "{name}"', "samples = 1", f'times = "{times}"')
    export_weights(output / "checkpoint.safetensors", tmp_path / "weights.safetensors")
    model = load_model(name, "cpu", weights=tmp_path / "weights.safetensors")
    frames = np.random.default_rng(0).random((2, 40, 56, 3), np.float32)
    predicted = model.prepare(*frames).at(0.3) if times == "between" else model.next_frame(*frames)
    assert predicted.shape == (40, 56, 3)
    assert np.isfinite(predicted).all()


def test_ncm_without_progressive_learning_trains_its_stages_as_one(run) -> None:
    stages = '[[stage]]\nname = "coarse"\nsamples = 1\n[[stage]]\nname = "fine"\nsamples = 1'
    output = run("single", 'name = "ncm-base"\nprogressive = false', stages, 'times = "middle"')
    progress = read_checkpoint(output / "checkpoint.safetensors").progress
    assert (progress.samples, progress.stage) == (2, "all")
