from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from betwixt.models.compact.config import CONFIGS, CompactConfig
from betwixt.models.compact.initial_motion import search_motion
from betwixt.models.compact.network import Compact
from betwixt.models.dis.interpolator import DIS


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def config(request: pytest.FixtureRequest) -> CompactConfig:
    return CONFIGS[request.param]


@pytest.fixture(scope="module")
def network(config: CompactConfig) -> Compact:
    torch.manual_seed(0)
    return Compact(config).eval()


def inputs(count: int = 2, height: int = 64, width: int = 96) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    frames = torch.rand(2, count, 3, height, width)
    motion = 3 * torch.randn(count, 2, 1, 1).expand(count, 2, height, width)
    t = torch.tensor([0.5, 0.25])[:count].reshape(-1, 1, 1, 1)
    return frames[0], frames[1], t, motion, torch.zeros(count, 1, height, width)


def test_an_untrained_network_changes_nothing(network: Compact) -> None:
    frame0, frame1, t, motion, logit = inputs()
    with torch.inference_mode():
        output = network(frame0, frame1, t, motion, logit)
    torch.testing.assert_close(output.flow_t0, -t * motion)
    torch.testing.assert_close(output.flow_t1, (1 - t) * motion)
    torch.testing.assert_close(output.weight, torch.full_like(output.weight, 0.5))
    assert not output.colour_residual.any()


def test_corrections_have_no_grid(config: CompactConfig) -> None:
    """Weights that differ between the four pixels of the pixel shuffle do not show as a pattern of two pixels."""
    torch.manual_seed(0)
    network = Compact(config)
    torch.nn.init.normal_(network.detail.head.bias)
    frame0, frame1, t, motion, logit = inputs(1)
    with torch.inference_mode():
        output = network(torch.full_like(frame0, 0.5), torch.full_like(frame1, 0.5), t, motion * 0, logit * 0)
    for maps in (output.flow_t0, output.flow_t1, output.weight, output.colour_residual):
        inside = maps[..., 2:-2, 2:-2]
        assert float(inside.std(dim=(2, 3)).max()) < 1e-5
        assert float(inside.abs().max()) > 0


def test_batches_equal_their_samples(config: CompactConfig) -> None:
    torch.manual_seed(2)
    trained = Compact(config).eval()
    for parameter in trained.parameters():
        parameter.data.add_(0.01 * torch.randn_like(parameter))
    given = inputs()
    with torch.inference_mode():
        together = trained(*given).frame
        apart = torch.cat([trained(*(x[i : i + 1] for x in given)).frame for i in range(2)])
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=1e-4)


def test_it_learns(config: CompactConfig) -> None:
    torch.manual_seed(3)
    network = Compact(config)
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


def test_search_motion_is_that_of_dis() -> None:
    rng = np.random.default_rng(0)
    world = np.kron(rng.integers(0, 256, (20, 24, 3)), np.ones((6, 6, 1))).astype(np.uint8)
    first, second = world[:96, :128], world[:96, 4:132]
    motion, logit = search_motion(first, second, 0.5)
    assert motion.shape == (96, 128, 2)
    assert logit.shape == (96, 128, 1)
    assert np.median(motion[..., 0]) == pytest.approx(-4, abs=0.2)
    half, _ = search_motion(first, second, 0.5, ratio=0.5)
    assert np.median(half[..., 0]) == pytest.approx(-4, abs=0.3)
    assert DIS(0.5).prepare_luma(first[..., 0], second[..., 0]).motion(0.5).weight.shape == (48, 64)


def test_it_is_small(network: Compact) -> None:
    assert sum(p.numel() for p in network.parameters()) < 3_000_000


def test_blends_and_blurs_stay_in_float32_under_autocast() -> None:
    torch.manual_seed(4)
    network = Compact().eval()
    torch.nn.init.normal_(network.detail.head.weight, std=0.01)
    given = inputs(1)
    with torch.inference_mode():
        exact = network(*given)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(*given)
    assert rounded.frame.dtype == torch.float32
    assert 0 < (rounded.frame - exact.frame).abs().mean() < 1 / 255


def test_thorough_search_is_more_accurate_for_varying_motion() -> None:
    rng = np.random.default_rng(0)
    world = cv2.GaussianBlur(rng.integers(0, 256, (160, 192, 3), dtype=np.uint8), (0, 0), 1.5)
    x, y = np.meshgrid(np.arange(192, dtype=np.float32), np.arange(160, dtype=np.float32))
    half = np.stack((2 * np.sin(y / 6), 2 * np.cos(x / 7)), axis=-1).astype(np.float32)
    first, second = (
        cv2.remap(world, x + s * half[..., 0], y + s * half[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        for s in (1, -1)
    )
    # What is seen at a place of the middle came from half of the motion before, and goes the other half.
    errors = [
        np.abs(search_motion(first, second, 0.5, effort=effort)[0] - 2 * half)[8:-8, 8:-8].mean()
        for effort in ("plain", "thorough")
    ]
    assert errors[1] < 0.95 * errors[0]
