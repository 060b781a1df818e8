"""Exported weights of variants and ablations load by the name of their model, with their own hyper-parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from betwixt import load_model
from betwixt.errors import InputError
from betwixt.runtime.network_interpolator import NetworkInterpolator
from betwixt.training.checkpoint import TrainingProgress, averaged_tensors, export_weights, write_checkpoint
from betwixt.training.objectives.base import Objective
from betwixt.training.objectives.registry import make_objective
from betwixt.weights.install import import_weights
from betwixt.weights.verify import verify_weights

VARIANTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"name": "apr", "patch": 32}, {"patch": 32}),
    ({"name": "apr", "fusion": "none"}, {"fusion": "none"}),
    ({"name": "daek", "CA": False}, {"correlation_attention": False}),
    ({"name": "daek", "F": False}, {"features": 0}),
    ({"name": "ncm-base", "flow_guided": True}, {"flow_guided": True}),
    ({"name": "ifrnet-s+hm", "ablation": "hce-1"}, {"temporal": False}),
]


def export(folder: Path, table: dict[str, Any]) -> tuple[Objective, Path]:
    """The objective of a [network] table, untrained, and its exported weights."""
    torch.manual_seed(0)
    objective = make_objective(table)
    objective.begin_stage(objective.stages[-1])
    for parameter in objective.parameters():
        # What the file holds in float16 is what the network computes with.
        parameter.data = parameter.data.half().float()
    optimizer = torch.optim.AdamW(objective.parameters())
    progress = TrainingProgress(recipe={"name": table["name"], "network": table})
    write_checkpoint(folder / "checkpoint.safetensors", objective, averaged_tensors(objective), optimizer, progress)
    export_weights(folder / "checkpoint.safetensors", folder / "weights.safetensors")
    return objective, folder / "weights.safetensors"


@pytest.fixture(scope="module")
def daek_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported weights of DAEK as the paper has it."""
    return export(tmp_path_factory.mktemp("daek"), {"name": "daek"})[1]


@pytest.mark.parametrize(("table", "changes"), VARIANTS, ids=lambda table: "-".join(map(str, table.values())))
def test_exported_variants_load_by_name(tmp_path: Path, table: dict[str, Any], changes: dict[str, Any]) -> None:
    objective, weights = export(tmp_path, table)
    model: Any = load_model(table["name"], "cpu", weights=weights)
    assert changes.items() <= vars(model.network.config).items()
    frames = np.random.default_rng(0).random((2, 64, 128, 3), np.float32)
    expected = NetworkInterpolator(table["name"], objective.network, "cpu").prepare(*frames).at(0.5)
    assert np.array_equal(model.prepare(*frames).at(0.5), expected)


def test_imported_variants_keep_their_hyperparameters(tmp_path: Path) -> None:
    _, weights = export(tmp_path, {"name": "daek", "SFA": False})
    result = import_weights(weights, "daek", tmp_path / "imported.safetensors")
    model: Any = load_model("daek", "cpu", weights=result.path)
    assert not model.network.config.shallow_attention
    assert verify_weights([str(result.path)])[0].good


def test_static_routing_of_trained_weights_keeps_the_patch_size(tmp_path: Path) -> None:
    _, weights = export(tmp_path, {"name": "apr", "patch": 32})
    network: Any = load_model("apr-static", "cpu", weights=weights)
    assert (network.network.config.patch, network.network.config.mode) == (32, "frame")


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ('{"features": 0}', "holds weights of another network: .* has the shape"),
        ('{"features": 10', "hyper-parameters are not a JSON table"),
        ("[1]", "hyper-parameters are not a JSON table"),
        ('{"feathers": 3}', "No network can be built: .* no setting 'feathers'"),
        ('{"features": "many"}', "No network can be built: .*'features' .* has to be an integer"),
        ('{"features": 100000000}', "holds weights of another network: .* has the shape"),
    ],
)
def test_hyperparameters_that_do_not_fit_are_refused(
    daek_weights: Path, tmp_path: Path, hyperparameters: str, message: str
) -> None:
    metadata = {"model": "daek", "hyperparameters": hyperparameters}
    save_file(load_file(daek_weights), tmp_path / "changed.safetensors", metadata)
    with pytest.raises(InputError, match=message) as caught:
        load_model("daek", "cpu", weights=tmp_path / "changed.safetensors")
    assert str(tmp_path / "changed.safetensors") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_without_hyperparameters_load_as_registered(daek_weights: Path, tmp_path: Path) -> None:
    with safe_open(daek_weights, "numpy") as file:
        metadata = file.metadata()
    assert json.loads(metadata["hyperparameters"])["teacher"] == "none"
    save_file(load_file(daek_weights), tmp_path / "plain.safetensors", {"model": ""})
    model: Any = load_model("daek", "cpu", weights=tmp_path / "plain.safetensors")
    assert model.network.config.features > 0


@pytest.mark.parametrize("name", ["ncm-base", "rife"])
def test_weights_with_a_teacher_serve_as_the_predictor_of_the_codec(tmp_path: Path, name: str) -> None:
    objective, plain = export(tmp_path, {"name": name})
    path = tmp_path / "taught.safetensors"
    export_weights(tmp_path / "checkpoint.safetensors", path, with_teacher=True)
    added = load_file(path).keys() - load_file(plain).keys()
    assert added
    assert all(part.startswith(("teacher.", "block_tea.")) for part in added)
    codec: Any = make_objective({"name": "codec", "predictor": name, "predictor_weights": str(path)})
    own = dict(objective.named_parameters())
    for parameter_name, parameter in codec.codec.predictor.network.named_parameters():
        assert torch.equal(parameter, own[f"training_network.{parameter_name}"])
    # Everything else reads the file as the one without the teacher.
    assert load_model(name, "cpu", weights=path).name == name
    with pytest.raises(InputError, match="holds weights of another network"):
        make_objective({"name": "codec", "predictor": name, "predictor_weights": str(plain)})


def test_a_network_without_a_teacher_has_none_to_export(tmp_path: Path) -> None:
    export(tmp_path, {"name": "rife", "teacher": "none"})
    with pytest.raises(InputError, match="has no teacher block"):
        export_weights(tmp_path / "checkpoint.safetensors", tmp_path / "taught.safetensors", with_teacher=True)
    assert not (tmp_path / "taught.safetensors").exists()
