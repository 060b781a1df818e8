from __future__ import annotations

import dataclasses

import pytest
import torch

import parity
from betwixt.models.amt.network import AMT, CONFIGS, AMTConfig, UpdateConfig, from_reference_name
from network_checks import check_batch

SIZES = {"amt_s": "amt-s", "amt_l": "amt-l", "amt_g": "amt-g"}
SMALL = AMTConfig(
    channels=(8, 8, 12, 16),
    matching=(8, 8, 12, 16),
    update=UpdateConfig(correlation=(16, 12), flow=4, motion=12, hidden=16),
    fine=True,
)


def small_network(config: AMTConfig = SMALL) -> AMT:
    torch.manual_seed(0)
    return AMT(config).eval()


@pytest.mark.parametrize("name", SIZES)
def test_it_matches_the_authors_network(name: str) -> None:
    arrays = parity.fixture(name)
    network = AMT(CONFIGS[SIZES[name]]).eval()
    parity.fill(network, arrays, from_reference_name)
    with torch.inference_mode():
        found = network(
            parity.tensor(arrays["img0"]),
            parity.tensor(arrays["img1"]),
            torch.full((1, 1, 1, 1), arrays["timestep"][0]),
        )
    ours = {
        "out": found.frame,
        "out_preclamp": found.unclamped,
        "merged": found.merged,
        "merged_sub2": found.merged[..., ::2, ::2],
        "masks_sub2": found.masks[..., ::2, ::2],
        "flows_t0_sub2": found.flows_t0[..., ::2, ::2],
        "flows_t1_sub2": found.flows_t1[..., ::2, ::2],
        "flow_level2": found.level_flows[0],
        "flow_level3": found.level_flows[1],
        "flow_level4": found.level_flows[2],
    }
    theirs = {key[6:]: array for key, array in arrays.items() if key.startswith("t0.50/")}
    assert theirs.keys() <= ours.keys()
    for key, array in theirs.items():
        assert parity.distance(ours[key], array) < (1e-4 if "flow" in key else 2e-5), key


@pytest.mark.parametrize("name", SIZES)
def test_its_cost_is_that_of_the_authors_network(name: str) -> None:
    parity.check_counts(name, lambda: AMT(CONFIGS[SIZES[name]]))


def test_a_batch_equals_its_samples_each_at_its_own_time() -> None:
    frames, t = torch.rand(2, 2, 3, 32, 48), torch.tensor([0.5, 0.2]).reshape(-1, 1, 1, 1)
    check_batch(small_network(), frames, t, frame=1e-5, flows_t1=1e-4)


@pytest.mark.parametrize("size", [(16, 16), (48, 64), (112, 16)])
def test_small_frames_give_finite_results(size: tuple[int, int]) -> None:
    frames = torch.rand(2, 1, 3, *size)
    with torch.inference_mode():
        found = small_network()(frames[0], frames[1], torch.full((1, 1, 1, 1), 0.5))
    assert found.flows_t0.shape == (1, 3, 2, *size)
    assert found.mask.shape == (1, 1, *size)
    assert bool(found.unclamped.isfinite().all())
    assert bool(found.flows_t0.isfinite().all())


def test_exchanged_scales_matter_only_off_the_middle() -> None:
    ours, theirs = small_network(), small_network(dataclasses.replace(SMALL, exchanged_scales=True))
    frames = torch.rand(2, 1, 3, 32, 32)
    with torch.inference_mode():
        for t, same in ((0.5, True), (0.25, False)):
            a, b = (network(frames[0], frames[1], torch.full((1, 1, 1, 1), t)).flows_t0 for network in (ours, theirs))
            assert bool(torch.equal(a, b)) is same


def test_intermediate_results_have_gradients_and_the_shapes_of_their_targets() -> None:
    network = small_network().train()
    frames = torch.rand(3, 1, 3, 32, 32)
    pair = network.pair(frames[0], frames[1])
    found = network.at(pair, torch.full((1, 1, 1, 1), 0.5))
    truth = network.encode_truth(pair, frames[2])
    assert [x.shape for x in found.features] == [x.shape for x in truth]
    loss = found.unclamped.mean() + sum((a - b).abs().mean() for a, b in zip(found.features, truth, strict=True))
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())


def test_flows_and_correlation_stay_in_float32_under_autocast() -> None:
    network = small_network()
    frames = torch.rand(2, 1, 3, 32, 32)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        pair = network.pair(frames[0], frames[1])
        found = network.at(pair, torch.full((1, 1, 1, 1), 0.5))
    assert pair.features0[0].dtype == torch.bfloat16
    assert pair.correlation.of_first[0].dtype == torch.float32
    assert {found.flows_t0.dtype, found.masks.dtype, found.merged.dtype} == {torch.float32}
    assert found.level_flows[0].dtype == torch.float32
