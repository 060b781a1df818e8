from __future__ import annotations

import pytest
import torch

import parity
from betwixt.models.ifrnet.network import CONFIGS, IFRNet, IFRNetConfig
from network_checks import check_batch

SIZES = {"ifrnet_s": "ifrnet-s", "ifrnet": "ifrnet", "ifrnet_l": "ifrnet-l"}
SMALL = IFRNetConfig(channels=(8, 8, 12, 16), side=4)


@pytest.mark.parametrize("name", SIZES)
def test_it_matches_the_authors_network(name: str) -> None:
    arrays = parity.fixture(name)
    network = IFRNet(CONFIGS[SIZES[name]]).eval()
    parity.fill(network, arrays)
    with torch.inference_mode():
        pair = network.pair(parity.tensor(arrays["img0"]), parity.tensor(arrays["img1"]))
        for t in (0.5, 0.25):
            found = network.at(pair, torch.full((1, 1, 1, 1), t))
            ours = {
                "out": found.frame,
                "out_preclamp": found.unclamped,
                "merged": found.merged,
                "mask": found.mask,
                "flow_t0": found.flow_t0,
                "flow_t1": found.flow_t1,
                "flow_level2": found.level_flows[0],
                "flow_level3": found.level_flows[1],
                "flow_level4": found.level_flows[2],
            }
            theirs = {key[6:]: array for key, array in arrays.items() if key.startswith(f"t{t:.2f}/")}
            assert theirs.keys() <= ours.keys()
            for key, array in theirs.items():
                assert parity.distance(ours[key], array) < 2e-5, key


@pytest.mark.parametrize("name", SIZES)
def test_its_cost_is_that_of_the_authors_network(name: str) -> None:
    parity.check_counts(name, lambda: IFRNet(CONFIGS[SIZES[name]]))


def test_a_batch_equals_its_samples_each_at_its_own_time() -> None:
    torch.manual_seed(0)
    network = IFRNet(SMALL).eval()
    frames = torch.rand(2, 2, 3, 32, 48)
    t = torch.tensor([0.5, 0.2]).reshape(-1, 1, 1, 1)
    together = check_batch(network, frames, t, frame=1e-5, flow_t1=1e-5)
    with torch.inference_mode():
        assert float((together.flow_t0 - network(*frames, 1.0 - t).flow_t0).abs().max()) > 1e-4


def test_intermediate_results_have_gradients_and_the_shapes_of_their_targets() -> None:
    network = IFRNet(SMALL)
    frames = torch.rand(3, 1, 3, 16, 32)
    pair = network.pair(frames[0], frames[1])
    found = network.at(pair, torch.full((1, 1, 1, 1), 0.5))
    truth = network.encode_truth(pair, frames[2])
    assert [x.shape for x in found.features] == [x.shape for x in truth]
    assert [x.shape for x in truth] == [(1, 8, 8, 16), (1, 8, 4, 8), (1, 12, 2, 4)]
    loss = found.unclamped.mean() + sum((a - b).abs().mean() for a, b in zip(found.features, truth, strict=True))
    loss.backward()
    assert all(p.grad is not None for p in network.parameters())


def test_flows_stay_in_float32_under_autocast() -> None:
    network = IFRNet(SMALL).eval()
    frames = torch.rand(2, 1, 3, 32, 32)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = network(frames[0], frames[1], torch.full((1, 1, 1, 1), 0.5))
    assert found.features[0].dtype == torch.bfloat16
    assert {found.flow_t0.dtype, found.mask.dtype, found.frame.dtype} == {torch.float32}
