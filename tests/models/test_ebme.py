from __future__ import annotations

import pytest
import torch
from torch import Tensor

from betwixt.models.ebme.network import BiFlow, BiFlowNet, EBMESplat, from_reference_name, pyramid_levels
from network_checks import check_batch
from parity import FOLDER, counts, distance, fill, fixture, gflop, tensor


def at(t: float) -> Tensor:
    return torch.full((1, 1, 1, 1), t)


@pytest.fixture(scope="module")
def network() -> EBMESplat:
    torch.manual_seed(0)
    network = EBMESplat().eval()
    # A random estimator predicts hardly any motion.
    network.estimator.flow_estimator.conv_layer6[0].weight.data.mul_(20)
    return network


def test_it_matches_the_authors_estimator() -> None:
    arrays = fixture("ebme_biflow")
    network = EBMESplat()
    fill(network, arrays, from_reference_name)
    with torch.inference_mode():
        pair = network.pair(tensor(arrays["img0"]), tensor(arrays["img1"]))
    assert distance(pair.flow_01, arrays["flow_01"]) < 5e-5
    assert distance(pair.flow_10, arrays["flow_10"]) < 5e-5


def test_the_authors_weights_estimate_the_motion() -> None:
    arrays = fixture("ebme_biflow_released")
    weights = torch.load(FOLDER / "ebme_biflow_released.pkl", map_location="cpu", weights_only=True)
    network = BiFlowNet(int(arrays["pyr_level"]))
    network.load_state_dict({name.removeprefix("module."): value for name, value in weights.items()})
    with torch.inference_mode():
        flow_01, flow_10 = network(tensor(arrays["img0"]), tensor(arrays["img1"]))
    assert distance(flow_01, arrays["flow_01"]) < 1e-4
    assert distance(flow_10, arrays["flow_10"]) < 1e-4
    # The background moves by (-5.00, 2.68).
    assert flow_01[0].flatten(1).median(dim=1).values.tolist() == pytest.approx([-4.78, 2.63], abs=0.01)


def test_its_cost_is_that_of_the_authors_estimator() -> None:
    expected = counts("ebme_biflow")
    network = EBMESplat()
    assert sum(p.numel() for p in network.parameters()) == expected["params"]
    for size in ("256x448", "1280x720_padded"):
        assert gflop(network, *expected[f"size_{size}"]) == expected[f"gflop_{size}"]
    assert network.multiple == expected["pad_multiple"]


def test_parameter_names_of_checkpoints() -> None:
    own = set(EBMESplat().state_dict())
    theirs = {f"module.{name}" for name in BiFlowNet().state_dict()}
    assert {from_reference_name(name) for name in theirs} == {from_reference_name(name) for name in own} == own


@pytest.mark.parametrize(
    ("size", "levels"),
    [((256, 448), 3), ((256, 256), 3), ((480, 640), 4), ((720, 1280), 5), ((1280, 720), 5), ((2160, 4096), 7)],
)
def test_levels_follow_the_size(size, levels) -> None:
    assert pyramid_levels(*size) == levels


def test_the_number_of_levels_depends_on_the_sides(network) -> None:
    # 32 x 896 should have four levels and can have four; 16 x 896 can have three.
    for height in (32, 16):
        assert network.pair(*torch.rand(2, 1, 3, height, 896)).flow_01.shape == (1, 2, height, 896)
    with pytest.raises(ValueError, match="multiples of 16, not 40x32"):
        network.pair(*torch.rand(2, 1, 3, 32, 40))
    with pytest.raises(ValueError, match="multiples of 64, not 64x32"):
        BiFlowNet(5)(*torch.rand(2, 1, 3, 32, 64))
    assert EBMESplat(7).multiple == 256


def test_a_batch_equals_its_samples_one_by_one(network) -> None:
    torch.manual_seed(0)
    frames, t = torch.rand(2, 2, 3, 64, 96), torch.tensor([0.5, 0.2]).reshape(2, 1, 1, 1)
    check_batch(network, frames, t, frame=1e-4, mask=1e-4)


def test_at_times_0_and_1_it_returns_the_frames(network) -> None:
    frame0, frame1 = torch.rand(2, 1, 3, 32, 64)
    with torch.inference_mode():
        pair = network.pair(frame0, frame1)
        assert torch.equal(network.at(pair, at(0.0)).frame, frame0)
        assert torch.equal(network.at(pair, at(1.0)).frame, frame1)


def test_disoccluded_regions_come_from_the_other_frame(network) -> None:
    # A camera pans: the image moves to the right by 8, and by 2 at a quarter of the time.
    scene = torch.rand(1, 3, 16, 48)
    flow = torch.zeros(1, 2, 16, 32)
    flow[:, 0] = 8.0
    output = network.at(BiFlow(scene[..., 8:40], scene[..., 0:32], flow, -flow), at(0.25))
    torch.testing.assert_close(output.frame, scene[..., 6:38])
    mask = torch.full((32,), 0.75)
    mask[:2], mask[26:] = 0.0, 1.0
    torch.testing.assert_close(output.mask, mask.expand(1, 1, 16, 32))


def test_holes_of_both_frames_are_filled(network) -> None:
    # Both halves move apart, forwards and backwards, which leaves a hole in the middle of a dark and a bright frame.
    flow = torch.zeros(1, 2, 16, 32)
    flow[:, 0, :, :16], flow[:, 0, :, 16:] = -8.0, 8.0
    dark, bright = torch.full((1, 3, 16, 32), 0.2), torch.full((1, 3, 16, 32), 0.8)
    output = network.at(BiFlow(dark, bright, flow, flow), at(0.5))
    torch.testing.assert_close(output.frame, torch.full((1, 3, 16, 32), 0.5))
    torch.testing.assert_close(output.mask, torch.full((1, 1, 16, 32), 0.5))


def test_bfloat16_changes_the_flow_little(network) -> None:
    torch.manual_seed(0)
    frames = torch.rand(2, 1, 3, 32, 64)
    with torch.inference_mode():
        exact = network.pair(*frames)
        with torch.autocast("cpu", torch.bfloat16):
            near = network.pair(*frames)
            frame = network.at(near, at(0.5)).frame
    assert near.flow_01.dtype == frame.dtype == torch.float32
    torch.testing.assert_close(near.flow_01, exact.flow_01, atol=0.05, rtol=0)
    torch.testing.assert_close(frame, network.at(exact, at(0.5)).frame, atol=0.1, rtol=0)


def test_gradients_pass_through_the_splatting(network) -> None:
    frames = torch.rand(2, 1, 3, 32, 32)
    network(*frames, at(0.5)).frame.square().mean().backward()
    gradients = [p.grad for p in network.parameters()]
    assert all(g is not None and bool(g.isfinite().all()) and bool(g.any()) for g in gradients)
    network.zero_grad()
