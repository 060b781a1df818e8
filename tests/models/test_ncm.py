from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from betwixt.layers.ifblock import FlowEstimate
from betwixt.models import augmented
from betwixt.models.ncm import network as ncm
from betwixt.models.ncm.network import (
    NCM,
    NCM_BASE,
    NCM_LARGE,
    NCMConfig,
    coarse_size,
    extrapolation_flows,
    fine_scales,
    short_side,
)
from betwixt.training.losses import laplacian
from network_checks import check_batch, check_bfloat16

SMALL = NCMConfig(short_side=16)
HALF = torch.full((1, 1, 1, 1), 0.5)
VARIANTS = {
    "large": replace(SMALL, double_resolution=True),
    "no motion feature": replace(SMALL, motion_feature=False),
    "no image feature": replace(SMALL, image_feature=False),
    "neither": replace(SMALL, image_feature=False, motion_feature=False),
    "flow-guided": replace(SMALL, flow_guided=True),
    "normal coarse-to-fine": replace(SMALL, heterogeneous=False),
    "not progressive": replace(SMALL, progressive=False),
}


def made(config: NCMConfig = SMALL) -> NCM:
    torch.manual_seed(0)
    return NCM(config)


def frames(count: int = 2, height: int = 32, width: int = 48, batch: int = 1) -> Tensor:
    return torch.rand(count, batch, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network() -> NCM:
    return made()


def parameters(config: NCMConfig) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in NCM(config).parameters())


@pytest.fixture
def matchings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Record the size of the features of every matching."""
    made, match = [], ncm.multi_scale_matching

    def counted(first: Tensor, *rest: Any) -> Tensor:
        made.append(tuple(first.shape[-2:]))
        return match(first, *rest)

    monkeypatch.setattr(ncm, "multi_scale_matching", counted)
    return made


def test_base_and_large_have_the_parameters_that_the_paper_reports() -> None:
    base, large = (parameters(replace(config, teacher=False)) for config in (NCM_BASE, NCM_LARGE))
    assert base == large
    assert base == pytest.approx(12.1e6, rel=0.01)
    assert parameters(NCM_BASE) - base == 636_665
    assert parameters(replace(NCM_BASE, extrapolation=True)) == base


@pytest.mark.parametrize(
    ("config", "size", "expected"), [(NCM_BASE, (1088, 1920), 415.5), (NCM_LARGE, (256, 448), 209.1)]
)
def test_its_flops_are_those_of_the_docstring(config: NCMConfig, size: tuple[int, int], expected: float) -> None:
    with torch.device("meta"), torch.inference_mode():
        network, frame = NCM(config), torch.zeros(1, 3, *size)
        with FlopCounterMode(display=False) as counter:
            network(frame, frame, torch.zeros(1, 1, 1, 1))
    assert counter.get_total_flops() / 1e9 == pytest.approx(expected, abs=0.05)


def test_frames_are_matched_once_for_all_times_and_blocks(network: NCM, matchings: list[tuple[int, ...]]) -> None:
    with torch.inference_mode():
        pair = network.pair(*frames(height=64, width=128))
        assert matchings == [(2, 4)]
        for t in (0.25, 0.5):
            network.at(pair, torch.full((1, 1, 1, 1), t))
    assert matchings == [(2, 4)]
    assert pair.coarse.correspondences.shape == (1, 324, 2, 4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("flow-guided", [(2, 4)] * 3),
        ("normal coarse-to-fine", [(2, 4), (4, 6)]),
        ("no motion feature", []),
        ("no image feature", [(2, 4)]),
    ],
)
def test_matchings_of_the_variants(
    name: str, expected: list[tuple[int, int]], matchings: list[tuple[int, ...]]
) -> None:
    with torch.inference_mode():
        made(VARIANTS[name])(*frames(), HALF)
    assert matchings == expected


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_other_networks(name: str, network: NCM) -> None:
    config = VARIANTS[name]
    expected = {
        "no motion feature": "fewer",
        "no image feature": "fewer",
        "neither": "fewer",
        "normal coarse-to-fine": "more",
    }
    change = parameters(config) - parameters(SMALL)
    assert {0: "as many"}.get(change, "more" if change > 0 else "fewer") == expected.get(name, "as many")
    # Larger frames without progressive learning, so that a quarter of the side differs from a.
    side = 128 if name == "not progressive" else 32
    images = frames(height=side, width=side)
    with torch.inference_mode():
        variant = made(config)
        other = variant(*images, HALF)
        assert other.frame.shape == images[0].shape
        assert not torch.equal(other.frame, network(*images, HALF).frame)
        assert variant.multiple == (64 if name == "not progressive" else 16)


def test_flow_guided_matching_differs_after_the_first_block(matchings: list[tuple[int, ...]]) -> None:
    guided, fixed = made(replace(SMALL, flow_guided=True)), made()
    guided.load_state_dict(fixed.state_dict())
    with torch.inference_mode():
        first, second = (list(each.coarse(*frames(height=32, width=32), HALF)) for each in (guided, fixed))
    # The first block has no flow to guide the matching.
    assert torch.equal(first[0].flow, second[0].flow)
    assert not torch.equal(first[1].flow, second[1].flow)
    with pytest.raises(ValueError, match="motion_feature"):
        NCMConfig(flow_guided=True, motion_feature=False)


def test_what_moves_steadily_is_extrapolated_without_a_difference() -> None:
    velocity = torch.randn(1, 2, 4, 4)
    found = torch.cat((torch.zeros(1, 2, 4, 4), -velocity), dim=1)
    torch.testing.assert_close(extrapolation_flows(found), torch.cat((-2 * velocity, -velocity), dim=1))
    a, b = torch.randn(2, 1, 4, 4, 4).unbind()
    # It is linear, so it can be applied to residuals one by one.
    torch.testing.assert_close(extrapolation_flows(a) + extrapolation_flows(b), extrapolation_flows(a + b))


def test_extrapolation_interprets_the_output_of_blocks_differently(network: NCM) -> None:
    further = made(replace(SMALL, extrapolation=True))
    further.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("teacher")})
    images = frames(3)
    with torch.inference_mode():
        between, beyond = (each.coarse(*images[:2], HALF) for each in (network, further))
        torch.testing.assert_close(beyond[0].flow, extrapolation_flows(between[0].flow))
        assert not torch.equal(further(*images[:2], HALF).frame, network(*images[:2], HALF).frame)
    assert not further.any_time
    with pytest.raises(ValueError, match="extrapolation"):
        further.distil(*images[:2], HALF, images[2])


def has_finite_gradients(module: torch.nn.Module) -> bool:
    return all(p.grad is not None and bool(p.grad.isfinite().all()) for p in module.parameters())


def has_no_gradients(module: torch.nn.Module) -> bool:
    return all(p.grad is None for p in module.parameters())


def test_the_distillation_loss_has_no_gradient_for_the_teacher(network: NCM) -> None:
    images = frames(3)
    network.zero_grad()
    network.distil_coarse(*images[:2], HALF, images[2]).loss.backward()
    assert has_finite_gradients(network.coarse_scale)
    assert all(has_no_gradients(m) for m in (network.teacher, network.fine_scale, network.contextnet, network.unet))
    network.zero_grad()
    distilled = network.distil(*images[:2], HALF, images[2])
    distilled.loss.backward()
    assert has_finite_gradients(network.fine_scale)
    assert all(has_no_gradients(m) for m in (network.teacher, network.coarse_scale, network.contextnet, network.unet))
    torch.testing.assert_close(distilled.frame, network(*images[:2], HALF).frame)
    # Equation 7: the length of the difference, for both flows and all trained stages.
    away = [(distilled.teacher.flow - stage.flow).unflatten(1, (2, 2)).norm(dim=2) for stage in distilled.stages]
    assert len(away) == 2
    torch.testing.assert_close(distilled.loss, torch.stack(away).sum(dim=(0, 2)).mean())


def test_without_progressive_learning_all_modules_get_gradients() -> None:
    network, images = made(replace(SMALL, progressive=False)), frames(3, 64, 64)
    distilled = network.distil(*images[:2], HALF, images[2])
    assert [tuple(stage.flow.shape[-2:]) for stage in distilled.stages] == [(16, 16)] * 3 + [(64, 64)] * 2
    distilled.loss.backward()
    assert has_finite_gradients(network.coarse_scale)
    assert has_finite_gradients(network.fine_scale)
    assert has_no_gradients(network.teacher)


def test_both_training_stages_reduce_the_loss() -> None:
    network = made()
    # A pattern that moves by four pixels.
    x = torch.arange(36.0)
    wave = (0.5 + 0.4 * torch.sin(0.5 * x + 0.3 * x[:, None])).expand(1, 3, -1, -1)
    first, truth, second = (wave[..., :32, shift : shift + 32] for shift in (4, 2, 0))
    stages = {
        "coarse": ([network.coarse_scale], lambda: network.distil_coarse(first, second, HALF, truth)),
        "fine": ([network.fine_scale, network.unet], lambda: network.distil(first, second, HALF, truth)),
    }
    for modules, distil in stages.values():
        modules.append(network.teacher)
        optimizer = torch.optim.AdamW([p for m in modules for p in m.parameters()], lr=3e-4, weight_decay=1e-3)
        losses = []
        for _ in range(6):
            found = distil()
            loss = laplacian(found.frame, truth, 3) + laplacian(found.teacher.merged, truth, 3)
            loss = loss + ncm.DISTILLATION_WEIGHT * found.loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < 0.9 * losses[0], losses


def test_the_fine_scale_module_takes_a_coarse_flow_of_any_size(network: NCM) -> None:
    images = frames(height=64, width=96)
    with torch.inference_mode():
        whole = network(*images, HALF)
        shrunk = [torch.nn.functional.interpolate(f, (16, 32), mode="bilinear", antialias=True) for f in images]
        assert network.coarse_size(64, 96) == tuple(shrunk[0].shape[-2:])
        start = network.coarse(*shrunk, HALF)[-1]
        by_hand = network.fine(*images, HALF, start)
        torch.testing.assert_close(by_hand.frame, whole.frame)
        assert network.distil(*images, HALF, images[0], size=(32, 48)).frame.shape == images[0].shape


def test_a_coarse_flow_is_in_its_own_pixels() -> None:
    network, images = made(), frames(height=64, width=96)
    for block in network.fine_scale.blocks:
        for parameter in block.lastconv.parameters():
            torch.nn.init.zeros_(parameter)
    flow = torch.tensor([3.0, 2, -3, -2]).reshape(1, 4, 1, 1).expand(1, 4, 16, 32)
    low = images[..., :16, :32]
    with torch.inference_mode():
        found = network.fine(*images, HALF, FlowEstimate.from_flow(*low, flow, torch.zeros(1, 1, 16, 32)))
    # The frame is three times as wide and four times as high.
    torch.testing.assert_close(found.flow_t0, torch.tensor([9.0, 8]).reshape(1, 2, 1, 1).expand(1, 2, 64, 96))
    torch.testing.assert_close(found.flow_t1, -found.flow_t0)
    assert fine_scales(64, 96, 16) == (2, 1)


@pytest.mark.parametrize("name", ["base", "flow-guided", "large"])
def test_a_batch_equals_its_samples_one_by_one(name: str) -> None:
    check_batch(made(VARIANTS.get(name, SMALL)), frames(batch=2), HALF.expand(2, -1, -1, -1))


def test_bfloat16_changes_the_flow_little(network: NCM) -> None:
    check_bfloat16(network, frames(height=64, width=96), HALF, flow=0.15)


def test_test_time_augmentation_works(network: NCM) -> None:
    with torch.inference_mode():
        twice = augmented.TestTimeAugmented(network)(*frames(), HALF)
    assert twice.frame.shape == (1, 3, 32, 48)


SIDES = st.integers(4, 300).map(lambda n: 16 * n)


@given(SIDES, SIDES, st.integers(1, 40).map(lambda n: 16 * n))
def test_coarse_sizes(height: int, width: int, a: int) -> None:
    h, w = coarse_size(height, width, a)
    assert (h % 16, w % 16) == (0, 0)
    assert min(h, w) == a
    assert (w, h) == coarse_size(width, height, a)
    # The nearest multiple of 16 to W/H · a.
    assert abs(max(h, w) - max(height, width) / min(height, width) * a) <= 8
    assert coarse_size(h, w, a) == (h, w)
    assert fine_scales(height, width, a) == ((2, 1) if a / min(height, width) < 0.5 else (1, 1))


def test_the_coarse_sizes_of_the_paper() -> None:
    assert [coarse_size(*size, short_side(*size)) for size in ((256, 448), (736, 1280), (2160, 4096))] == [
        (256, 448),
        (256, 448),
        (384, 736),
    ]
    # Stage II: 64, 128 and 256 of 256.
    assert [fine_scales(256, 256, a) for a in (64, 128, 256)] == [(2, 1), (1, 1), (1, 1)]
    with pytest.raises(ValueError, match="multiple of 16"):
        NCMConfig(short_side=250)
