from __future__ import annotations

import numpy as np
import pytest
import torch

from betwixt.models.compact import Compact, search
from betwixt.models.dis import DIS


@pytest.fixture(scope="module")
def network() -> Compact:
    torch.manual_seed(0)
    return Compact().eval()


def inputs(count: int = 2, height: int = 64, width: int = 96) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    frames = torch.rand(2, count, 3, height, width)
    motion = 3 * torch.randn(count, 2, 1, 1).expand(count, 2, height, width)
    t = torch.tensor([0.5, 0.25])[:count].reshape(-1, 1, 1, 1)
    return frames[0], frames[1], t, motion, torch.zeros(count, 1, height, width)


def test_an_untrained_network_leaves_the_search_alone(network: Compact) -> None:
    frame0, frame1, t, motion, logit = inputs()
    with torch.inference_mode():
        output = network(frame0, frame1, t, motion, logit)
    torch.testing.assert_close(output.flow_t0, -t * motion)
    torch.testing.assert_close(output.flow_t1, (1 - t) * motion)
    torch.testing.assert_close(output.weight, torch.full_like(output.weight, 0.5))
    assert not output.colours.any()


def test_a_batch_is_its_samples(network: Compact) -> None:
    torch.manual_seed(2)
    trained = Compact().eval()
    for parameter in trained.parameters():
        parameter.data.add_(0.01 * torch.randn_like(parameter))
    given = inputs()
    with torch.inference_mode():
        together = trained(*given).frame
        apart = torch.cat([trained(*(x[i : i + 1] for x in given)).frame for i in range(2)])
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-4)


def test_it_learns() -> None:
    torch.manual_seed(3)
    network = Compact()
    frame0, frame1, t, motion, logit = inputs(1, 32, 32)
    truth = 0.5 * (frame0 + frame1) * 0.8
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        loss = (network(frame0, frame1, t, 0 * motion, logit).frame - truth).abs().mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_the_search_is_that_of_dis() -> None:
    rng = np.random.default_rng(0)
    world = np.kron(rng.integers(0, 256, (20, 24, 3)), np.ones((6, 6, 1))).astype(np.uint8)
    first, second = world[:96, :128], world[:96, 4:132]
    motion, logit = search(first, second, 0.5)
    assert motion.shape == (96, 128, 2)
    assert logit.shape == (96, 128, 1)
    assert np.median(motion[..., 0]) == pytest.approx(-4, abs=0.2)
    half, _ = search(first, second, 0.5, ratio=0.5)
    assert np.median(half[..., 0]) == pytest.approx(-4, abs=0.3)
    assert DIS(0.5).prepare_luma(first[..., 0], second[..., 0]).motion(0.5).weight.shape == (48, 64)


def test_it_is_small(network: Compact) -> None:
    assert sum(p.numel() for p in network.parameters()) < 3_000_000
