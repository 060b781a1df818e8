from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from betwixt.models.rife.v4 import RIFE_4_6, RIFE_4_22_LITE, RIFE_4_25, RIFEv4
from network_checks import check_batch, check_bfloat16
from parity import counts, distances, fill, fixture, gflop, tensor

VERSIONS = {"rife_v4.6": RIFE_4_6, "rife_v4.22_lite": RIFE_4_22_LITE, "rife_v4.25": RIFE_4_25}


def at(t: float) -> Tensor:
    return torch.full((1, 1, 1, 1), t)


@pytest.mark.parametrize("name", VERSIONS)
def test_it_matches_the_authors_network(name: str) -> None:
    arrays = fixture(name)
    network = RIFEv4(VERSIONS[name])
    fill(network, arrays)
    found = {}
    with torch.inference_mode():
        pair = network.pair(tensor(arrays["img0"]), tensor(arrays["img1"]))
        for t in arrays["timestep"]:
            output = network.at(pair, at(float(t)))
            results = {"out": output.frame, "flow_t0": output.flow_t0, "flow_t1": output.flow_t1, "mask": output.mask}
            results |= {"feat0": pair.features0, "feat1": pair.features1}
            results |= {f"stage{k}_flow": stage.flow for k, stage in enumerate(network.estimates(pair, at(float(t))))}
            found |= distances(arrays, f"t{t:.2f}/", results)
    assert len(found) >= 16
    assert {k: d for k, d in found.items() if d > (1e-4 if "flow" in k else 1e-5)} == {}


@pytest.mark.parametrize("name", VERSIONS)
def test_its_cost_is_that_of_the_authors_network(name: str) -> None:
    expected = counts(name)
    network = RIFEv4(VERSIONS[name])
    assert sum(p.numel() for p in network.parameters()) == expected["params"]
    for size in ("256x448", "1280x720_padded"):
        assert gflop(network, *expected[f"size_{size}"]) == expected[f"gflop_{size}"]
    assert network.multiple == expected["pad_multiple"]


@pytest.mark.parametrize("config", VERSIONS.values(), ids=VERSIONS)
def test_a_batch_equals_its_samples_one_by_one(config) -> None:
    torch.manual_seed(0)
    network = RIFEv4(replace(config, widths=(8,) * len(config.widths)))
    frames, t = torch.rand(2, 2, 3, 64, 128), torch.tensor([0.5, 0.2]).reshape(2, 1, 1, 1)
    together = check_batch(network, frames, t)
    with torch.inference_mode():
        assert not torch.equal(together.frame, network(*frames, 1.0 - t).frame)


def test_scale_changes_the_resolution_of_every_block() -> None:
    small = replace(RIFE_4_25, widths=(8, 8), scales=(4, 2))
    half, doubled = RIFEv4(small, scale=0.5), RIFEv4(replace(small, scales=(8, 4)))
    doubled.load_state_dict(half.state_dict())
    frames = torch.rand(2, 1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(half(*frames, at(0.3)).frame, doubled(*frames, at(0.3)).frame)
        # Every scale accepts sides that are multiples of its `multiple`.
        for scale, multiple in ((0.25, 64), (0.5, 32), (1, 16), (2, 16), (4, 16)):
            network = RIFEv4(small, scale=scale)
            assert network.multiple == multiple
            assert network(*torch.rand(2, 1, 3, multiple, 2 * multiple), at(0.3)).frame.shape[-2:] == (
                multiple,
                2 * multiple,
            )
    with pytest.raises(ValueError, match="`scale` is 3"):
        RIFEv4(small, scale=3)


def test_bfloat16_changes_the_flow_little() -> None:
    torch.manual_seed(0)
    network = RIFEv4(replace(RIFE_4_22_LITE, widths=(16, 16, 16, 16)))
    check_bfloat16(network, torch.rand(2, 1, 3, 32, 64), at(0.5))


@pytest.mark.parametrize("config", [RIFE_4_6, RIFE_4_22_LITE], ids=["4.6", "4.22-lite"])
def test_the_distillation_loss_has_no_gradient_for_the_teacher(config) -> None:
    torch.manual_seed(0)
    network = RIFEv4(replace(config, teacher=True))
    first, second = torch.rand(2, 1, 3, 32, 32)
    with torch.no_grad():
        without_teacher = RIFEv4(config)
        without_teacher.load_state_dict(network.state_dict(), strict=False)
        teacher = network.distil(first, second, at(0.3), torch.rand_like(first)).teacher
    # The truth is the teacher's frame, so the teacher is better than the student everywhere.
    distilled = network.distil(first, second, at(0.3), teacher.merged)
    torch.testing.assert_close(distilled.student.frame, without_teacher(first, second, at(0.3)).frame)
    network.zero_grad()
    torch.autograd.backward(distilled.loss)
    assert all(p.grad is None for p in network.block_tea.parameters())
    assert all(p.grad is not None for p in network.get_submodule("block0").parameters())
    with pytest.raises(ValueError, match="no teacher block"):
        without_teacher.distil(first, second, at(0.3), first)
