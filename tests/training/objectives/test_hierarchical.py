from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from betwixt.errors import BetwixtError
from betwixt.layers.ifblock import FlowEstimate
from betwixt.masks.regions import find_regions
from betwixt.models.hierarchical.network import ABLATIONS, HierarchicalNetwork
from betwixt.models.network import Synthesis
from betwixt.models.registry import MODELS, load_network
from betwixt.training.objectives.base import Batch
from betwixt.training.objectives.hierarchical import hierarchical_loss
from betwixt.training.objectives.registry import OBJECTIVES, make_objective
from betwixt.training.sample import TrainingSample
from fake_device import check_same_gradients


def moving_square(labels: bool = True, size: int = 64) -> Batch:
    """A bright square that moves over noise, with its label map."""
    torch.manual_seed(0)
    ground = torch.rand(2, 3, size, size)
    images = []
    maps = torch.zeros(2, 2, size, size, dtype=torch.uint8)
    for i, x in enumerate((8, 20, 32)):
        image = ground.clone()
        image[:, :, 16:40, x : x + 24] = 1.0 - 0.5 * ground[:, :, 16:40, 8:32]
        if i != 1:
            maps[:, i // 2, 16:40, x : x + 24] = 3
        images.append(image)
    t = torch.full((2, 1, 1, 1), 0.5)
    return Batch(*images, t, torch.zeros(2, 2, size, size), torch.zeros_like(t), {"labels": maps} if labels else {})


def test_the_loss_follows_the_paper() -> None:
    torch.manual_seed(0)
    prediction, truth, frame0, frame1 = torch.rand(4, 1, 3, 8, 8)
    alone = FlowEstimate(torch.zeros(1, 4, 8, 8), torch.full((1, 1, 8, 8), 0.5), frame0, frame1)

    def rho(x: torch.Tensor) -> torch.Tensor:
        return (x.square() + 1e-6).pow(0.5).mean()

    parts = hierarchical_loss(Synthesis(prediction), alone, truth)
    weight = torch.sigmoid(torch.tensor(0.5))
    torch.testing.assert_close(parts["reconstruction"], rho(prediction - truth))
    torch.testing.assert_close(parts["plug-in"], rho(weight * frame0 + (1 - weight) * frame1 - truth))
    assert hierarchical_loss(Synthesis(prediction), None, truth).keys() == {"reconstruction"}


def test_every_model_with_the_plug_in_has_an_objective() -> None:
    assert {name for name in OBJECTIVES if name.endswith("+hm")} == {
        name for name, info in MODELS.items() if info.takes_masks
    }


def test_training_gives_the_same_result_on_another_device() -> None:
    torch.manual_seed(0)
    check_same_gradients(make_objective({"name": "rife+hm"}), moving_square())


@pytest.mark.parametrize("options", [{}, {"plug_in": False}, {"ablation": "zero-masks"}])
def test_the_loss_falls(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    objective = make_objective({"name": "ifrnet-s+hm", **options})
    samples = moving_square()
    optimizer = torch.optim.Adam(objective.parameters(), 3e-4)
    losses = []
    for _ in range(4):
        terms = objective.loss(samples, 0.0)
        losses.append(float(terms.total.detach()))
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]
    if "plug_in" in options:
        assert objective.model_name == "ifrnet-s"
        assert terms.parts.keys() == {"reconstruction"}
    else:
        assert objective.model_name == "ifrnet-s+hm"
        expected = terms.parts["reconstruction"] + 0.1 * terms.parts["plug-in"]
        torch.testing.assert_close(terms.total.detach(), expected)


def test_masks_are_computed_for_a_sample_and_used() -> None:
    objective = make_objective({"name": "ifrnet-s+hm"})
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 64, 64, 3), np.uint8)
    extra = objective.prepare(rng, TrainingSample(images, 0.25))
    masks = find_regions(images[0], images[2])
    np.testing.assert_array_equal(extra["labels"], np.stack((masks.labels0, masks.labels1), -1))
    with torch.no_grad():
        with_masks, without = (float(objective.loss(moving_square(labels), 0.0).total) for labels in (True, False))
    assert with_masks != without
    with pytest.raises(BetwixtError, match="t = 2"):
        objective.prepare(rng, TrainingSample(images, 2.0))
    for options in ({"plug_in": False}, {"ablation": "zero-masks"}):
        assert make_objective({"name": "ifrnet-s+hm", **options}).prepare(rng, TrainingSample(images, 0.5)) == {}


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_an_ablation_changes_the_configuration(ablation: str) -> None:
    with torch.device("meta"):
        objective = make_objective({"name": "ifrnet-s+hm", "ablation": ablation})
        network = objective.network
    assert isinstance(network, HierarchicalNetwork)
    assert network.config == ABLATIONS[ablation]
    assert objective.model_name == "ifrnet-s+hm"
    pickle.loads(pickle.dumps(objective))  # as for the workers


def test_training_can_start_from_weights_of_the_host(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = load_network("ifrnet-s")
    save_file(plain.state_dict(), tmp_path / "host.safetensors")
    save_file(load_network("ifrnet-s+hm").state_dict(), tmp_path / "all.safetensors")
    adopted = make_objective({"name": "ifrnet-s+hm", "host": str(tmp_path / "host.safetensors")}).network
    assert isinstance(adopted, HierarchicalNetwork)
    torch.testing.assert_close(adopted.host.decoder3.state_dict(), plain.decoder3.state_dict())  # type: ignore[union-attr]
    alone = make_objective({"name": "ifrnet-s+hm", "plug_in": False, "host": str(tmp_path / "host.safetensors")})
    torch.testing.assert_close(dict(alone.network.state_dict()), dict(plain.state_dict()))
    for wrong in ({"ablation": "hir-9"}, {"plugin": True}, {"host": str(tmp_path / "all.safetensors")}):
        with pytest.raises(BetwixtError) as error:
            make_objective({"name": "ifrnet-s+hm", **wrong})
        assert "\n" not in str(error.value)
