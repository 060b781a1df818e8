"""The codec in training: its loss falls, what it exports can code."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from betwixt.codec.coder import MODEL, load_coder
from betwixt.errors import UsageError
from betwixt.training.objectives.base import Batch
from betwixt.training.objectives.registry import make_objective
from betwixt.training.recipe import load_recipe
from betwixt.training.recipe_files import find_recipe
from betwixt.training.sample import TrainingSample
from fake_device import check_same_gradients


def sample(seed=0, size=64 + 64):
    rng = np.random.default_rng(seed)
    scene = np.kron(rng.integers(0, 256, (size // 8 + 2, size // 8 + 2, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    return TrainingSample(np.stack([scene[:size, 2 * k : size + 2 * k] for k in range(3)]), 0.5, None)


def batch(objective, count=2):
    samples = [sample(k) for k in range(count)]
    extras = [objective.prepare(np.random.default_rng(k), s) for k, s in enumerate(samples)]
    inside = slice(objective.margin, -objective.margin)
    images = torch.from_numpy(np.stack([s.images[:, inside, inside] for s in samples]))
    frames = images.permute(1, 0, 4, 2, 3).float() / 255
    extra = {}
    for name, first in extras[0].items():
        values = np.stack([e[name][inside, inside] if first.ndim == 3 else e[name] for e in extras])
        extra[name] = torch.from_numpy(values).permute(0, 3, 1, 2) if first.ndim == 3 else torch.from_numpy(values)
    no_motion = torch.zeros(count, 2, *frames.shape[-2:])
    return Batch(*frames, torch.full((count, 1, 1, 1), 0.5), no_motion, torch.zeros(count, 1, 1, 1), extra)


def test_a_few_steps_reduce_the_loss_and_leave_the_predictor_unchanged():
    torch.manual_seed(0)
    objective = make_objective({"name": "codec"})
    data = batch(objective)
    trainable = [p for p in objective.parameters() if p.requires_grad]
    before = {name: p.clone() for name, p in objective.codec.predictor.network.named_parameters()}
    optimizer = torch.optim.Adam(trainable, 4e-3)
    costs = []
    for _ in range(8):
        terms = objective.loss(data, 0.0)
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
        costs.append(float(terms.total.detach()))
    assert np.mean(costs[-2:]) < 0.97 * np.mean(costs[:2])
    assert all(p.grad is not None for p in trainable if p.requires_grad)
    for name, parameter in objective.codec.predictor.network.named_parameters():
        assert torch.equal(parameter, before[name])
    assert {"motion bpp", "frame bpp", "frame dB", "cost"} <= set(terms.parts)


def test_the_entropy_models_alone_can_be_trained():
    objective = make_objective({"name": "codec", "trained": "entropy"})
    trained = {name.split(".")[1] for name, p in objective.named_parameters() if p.requires_grad}
    assert trained == {"look", "look_warped", "motion_model", "model"}
    without = make_objective({"name": "codec", "contexts": False})
    assert not any("look_warped" in name or "decoder.context" in name for name, _ in without.named_parameters())


def test_training_gives_the_same_result_on_another_device():
    torch.manual_seed(0)
    objective = make_objective({"name": "codec"})
    check_same_gradients(objective, batch(objective))


def test_prepare_depends_on_the_generator_only():
    objective = make_objective({"name": "codec"})
    one, two = (objective.prepare(np.random.default_rng(7), sample()) for _ in range(2))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert one["coded"].shape == (128, 128, 6)
    assert 20 / 255 * 0.95 <= float(one["step"][0]) <= 140 / 255 * 1.05


def test_exported_weights_can_encode(tmp_path):
    objective = make_objective({"name": "codec"})
    tensors = objective.export_tensors({k: v.clone() for k, v in objective.exported_module.state_dict().items()})
    metadata = {"model": objective.model_name, "network": json.dumps({"name": "codec", "predictor": "compact"})}
    save_file(tensors, tmp_path / "c.safetensors", metadata)
    assert objective.model_name == MODEL
    assert load_coder(tmp_path / "c.safetensors").step_at(500.0) > 0
    assert objective.network.any_time


@pytest.mark.parametrize("name", ["codec", "codec-small"])
def test_the_codec_recipes_are_valid(name):

    recipe = load_recipe(find_recipe(name))
    assert make_objective(recipe.table["network"]).model_name == MODEL
    assert recipe.stages[0].train.crop % 32 == 0


def test_unknown_options_are_refused():
    with pytest.raises(UsageError, match="no setting 'lambda'"):
        make_objective({"name": "codec", "lambda": 256})
    with pytest.raises(UsageError, match="no predictor 'pwc'"):
        make_objective({"name": "codec", "predictor": "pwc"})


def test_times_that_the_predictor_cannot_handle_are_refused():
    third = TrainingSample(sample().images, 1 / 3, None)
    objective = make_objective({"name": "codec"})
    assert "coded" in objective.prepare(np.random.default_rng(0), third)
    with pytest.raises(UsageError, match="has t = 2"):
        objective.prepare(np.random.default_rng(0), TrainingSample(sample().images, 2.0, None))
    with pytest.raises(UsageError, match=r"is trained on t = 1/2, but the data has t = 0.33"):
        make_objective({"name": "codec", "predictor": "rife"}).prepare(np.random.default_rng(0), third)
