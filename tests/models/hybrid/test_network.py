from __future__ import annotations

import pytest
import torch
from safetensors import safe_open
from torch.nn.functional import avg_pool2d

from betwixt.models.compact.config import CONFIGS, CompactConfig
from betwixt.models.compact.network import Compact
from betwixt.models.hybrid.network import Fusion, HybridNetwork, compose, init_from_compact
from betwixt.weights.store import embedded_file


def inputs(count: int = 2, height: int = 64, width: int = 96) -> tuple[torch.Tensor, ...]:
    """Smooth frames, a time, and two motions that are far apart."""
    torch.manual_seed(1)
    frames = [avg_pool2d(torch.rand(count, 3, height + 8, width + 8), 9, stride=1) for _ in range(2)]
    t = torch.tensor([0.5, 0.25])[:count].reshape(-1, 1, 1, 1)
    motions = [3 * torch.randn(count, 5, 1, 1).expand(count, 5, height, width) for _ in range(2)]
    return frames[0], frames[1], t, motions[0], motions[1]


def with_random_heads(network: Fusion) -> Fusion:
    torch.manual_seed(2)
    for parameter in network.parameters():
        parameter.data.add_(0.01 * torch.randn_like(parameter))
    return network.eval()


def test_an_untrained_network_changes_no_motion() -> None:
    given = inputs()
    with torch.inference_mode():
        output = Fusion().eval()(*given)
    torch.testing.assert_close(output.motions, given[3:])
    assert not output.colour_residual.any()
    assert not output.softness.any()


def test_it_starts_with_the_motion_on_which_the_frames_agree() -> None:
    torch.manual_seed(0)
    world = avg_pool2d(torch.rand(1, 3, 72, 128), 9, stride=1)
    frame0, frame1 = world[..., 16:112], world[..., 12:108]  # what is at x in the first is at x + 4 in the second
    t = torch.full((1, 1, 1, 1), 0.5)
    right = torch.tensor([-2.0, 0, 2, 0, 0]).reshape(1, 5, 1, 1).expand(1, 5, 64, 96)
    with torch.inference_mode():
        first, second = (
            Fusion().eval()(frame0, frame1, t, *motions).share for motions in ((right, -right), (-right, right))
        )
    inside = (..., slice(8, -8), slice(12, -12))
    assert first[inside].mean() > 0.8
    assert second[inside].mean() < 0.2


def test_blends_lie_between_those_of_both_motions() -> None:
    frame0, frame1, _, first, second = inputs()
    nothing = torch.zeros_like(frame0)
    a, b, both = (
        compose(frame0, frame1, (first, second), torch.full_like(frame0[:, :1], m), nothing, nothing[:, :2])
        for m in (1.0, 0.0, 0.25)
    )
    torch.testing.assert_close(both, 0.25 * a + 0.75 * b)
    assert (a - b).abs().mean() > 1e-3


def test_init_from_compact() -> None:
    torch.manual_seed(3)
    compact, network = Compact().eval(), Fusion().eval()
    for parameter in compact.parameters():
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    init_from_compact(network, compact.state_dict())
    frame0, frame1, t, first, _ = inputs(1)
    u = first[:, :2]
    first = torch.cat((-t * u, (1 - t) * u, first[:, 4:]), dim=1)
    seen = []
    for part in (compact, network):
        part.flow.quarter.register_forward_hook(lambda _, given, found: seen.append(found))
    with torch.inference_mode():
        theirs = compact(frame0, frame1, t, u, first[:, 4:])
        # As if both motions were A: it sees what compact sees, and corrects A as compact does.
        output = network(frame0, frame1, t, first, first)
    torch.testing.assert_close(seen[0], seen[1], atol=0.02, rtol=0.1)
    assert (theirs.flow_t0 - first[:, :2]).abs().mean() > 0.01
    corrections = torch.cat((theirs.flow_t0, theirs.flow_t1), dim=1) - first[:, :4]
    torch.testing.assert_close(output.motions[0][:, :4] - first[:, :4], corrections, atol=0.05, rtol=0.2)
    torch.testing.assert_close(output.motions[1], first)


def test_weights_of_other_widths_are_refused() -> None:
    for config in (CompactConfig(flow=(48, 64, 80)), CONFIGS["compact-large"]):
        with pytest.raises(ValueError, match="with the same widths"):
            init_from_compact(Fusion(), Compact(config).state_dict())


def test_batches_equal_their_samples() -> None:
    network, given = with_random_heads(Fusion()), inputs()
    with torch.inference_mode():
        together = network(*given).frame
        apart = torch.cat([network(*(x[i : i + 1] for x in given)).frame for i in range(2)])
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=1e-4)


def test_weights_exclude_rife() -> None:
    with safe_open(embedded_file("hybrid.safetensors"), "pt") as file:
        shipped = set(file.keys())
    assert {name for name, _ in HybridNetwork().fusion.named_parameters()} == shipped
    frame = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert HybridNetwork()(frame, frame, torch.full((1, 1, 1, 1), 0.5)).frame.shape == frame.shape
