from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from betwixt.models.apr.network import (
    APR,
    CONFIGS,
    APRConfig,
    APRPair,
    Warped,
    kept_patches,
    patch_difference,
    rank_routes,
    reference_routes,
    route_loss,
)
from betwixt.runtime.network_interpolator import NetworkInterpolator

SMALL = APRConfig(patch=16, context=(4, 4, 4, 6, 8), widths=(16, 12, 8, 8, 8), features=8, levels=3)


def made(config: APRConfig = SMALL) -> APR:
    torch.manual_seed(0)
    network = APR(config).eval()
    # Random weights estimate no motion, and route all patches the same way.
    network.estimator.flow_estimator.conv_layer6[0].weight.data.mul_(20)
    if network.router is not None:
        network.router.choice.weight.data.mul_(20)
    return network


@pytest.fixture(scope="module")
def network() -> APR:
    return made()


def frames(count: int = 1, height: int = 48, width: int = 64) -> Tensor:
    return torch.rand(2, count, 3, height, width, generator=torch.Generator().manual_seed(1))


def times(*t: float) -> Tensor:
    return torch.tensor(t).reshape(-1, 1, 1, 1)


def some_routes(count: int, rows: int, columns: int, seed: int = 3) -> Tensor:
    return (torch.rand(count, 4, rows, columns, generator=torch.Generator().manual_seed(seed)) > 0.5).float()


def parameters(module: nn.Module | None) -> int:
    assert module is not None
    return sum(p.numel() for p in module.parameters())


def multiply_adds(function: Callable[..., Any], *arguments: Any) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function(*arguments)
    return counter.get_total_flops() // 2


def test_it_has_the_parameters_that_the_paper_reports() -> None:
    for config in CONFIGS.values():
        assert parameters(APR(config)) == pytest.approx(2.2e6, rel=0.01)
    assert parameters(APR(CONFIGS["apr"]).router) == 5126
    assert APR(CONFIGS["apr-static"]).router is None


def test_its_multiply_adds_are_those_of_the_paper() -> None:
    with torch.device("meta"):
        network = APR(CONFIGS["apr"]).eval()
        frame, t = torch.zeros(1, 3, 1088, 2048), torch.zeros(1, 1, 1, 1)
    pairs: list[APRPair] = []
    before = multiply_adds(lambda: pairs.append(network.pair(frame, frame)))
    # Table 3, 10^12 multiply-adds at 2048x1080, which is padded.
    for keep, expected in (
        ((0.2, 0.5, 0.7, 1.0), 1.341),
        ((0.1, 0.4, 0.6, 0.9), 1.271),
        ((0.2, 0.4, 0.6, 0.8), 1.296),
        ((0.5, 0.5, 0.5, 0.5), 1.389),
        ((0.9, 0.6, 0.4, 0.1), 1.504),
    ):
        network.config = replace(network.config, keep=keep)
        assert (before + multiply_adds(network.at, pairs[0], t)) / 1e12 == pytest.approx(expected, abs=0.005)
    for mode in ("frame", "patches"):
        network.mode = mode
        assert (before + multiply_adds(network.at, pairs[0], t)) / 1e12 == pytest.approx(1.730, abs=0.01)


def test_flops_counted_on_the_meta_device_are_those_computed(network) -> None:
    # Of twenty patches 2, 8, 12 and 18 pass.
    pictures, t = frames(1, 64, 80), times(0.5)
    pair = network.pair(*pictures)
    warped = network.warp(pair, t)
    computed = multiply_adds(network.at, pair, t, network.reference(warped)) + multiply_adds(
        network.router, pair, warped
    )
    whole = multiply_adds(made(replace(SMALL, mode="patches")).at, pair, t)
    meta = made().to("meta")
    assert computed == multiply_adds(meta.at, meta.pair(*pictures.to("meta")), t.to("meta")) < whole


def test_skipped_blocks_are_not_computed_and_the_frame_is_as_if_masked(network) -> None:
    routes = some_routes(2, 3, 4)
    routes[:, 2] = 0
    seen: list[int] = []
    hooks = [
        block.register_forward_hook(lambda block, inputs, output: seen.append(len(inputs[0])))
        for block in network.blocks
    ]
    pair, t = network.pair(*frames(2)), times(0.5, 0.2)
    with torch.no_grad():
        skipped = network.at(pair, t, routes)
    kept = routes.sum(dim=(0, 2, 3)).int().tolist()
    assert seen == [24, kept[0], kept[1], kept[3]]
    seen.clear()
    masked = network.at(pair, t, routes.clone().requires_grad_())
    assert seen == [24] * 5
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(skipped.frame, masked.frame, atol=1e-5, rtol=0)
    torch.testing.assert_close(skipped.mask, masked.mask, atol=1e-5, rtol=0)
    assert torch.equal(skipped.routes, routes)
    torch.testing.assert_close(skipped.kept, routes.mean(dim=(2, 3)))
    # If all patches skip, only block 0 counts.
    assert not torch.equal(network.at(pair, t, torch.zeros_like(routes)).frame, skipped.frame)


def test_modes_agree_where_they_should(network) -> None:
    network = made()
    pictures = frames()
    with torch.no_grad():
        pair = network.pair(*pictures)
        routed = network.at(pair, times(0.4), torch.ones(1, 4, 3, 4))
        network.mode = "patches"
        patches = network.at(pair, times(0.4))
        network.mode = "frame"
        whole = network.at(pair, times(0.4))
        # A patch as large as the frame; no weight depends on its side.
        large = APR(replace(SMALL, mode="patches", patch=64))
        large.load_state_dict(network.state_dict(), strict=False)
        square = frames(1, 64, 64)
        one = large(*square, times(0.4)).frame
        same = network(*square, times(0.4)).frame
    torch.testing.assert_close(routed.frame, patches.frame, atol=1e-5, rtol=0)
    torch.testing.assert_close(one, same, atol=1e-5, rtol=0)
    assert bool((whole.routes == 1).all())
    assert bool((whole.kept == 1).all())
    # Patches separately leave seams.
    assert float((whole.frame - patches.frame).abs().max()) > 1e-4


def test_a_batch_equals_its_samples_one_by_one(network) -> None:
    pictures, t = frames(2), times(0.5, 0.2)
    with torch.inference_mode():
        together = network(*pictures, t)
        assert 0 < float(together.routes.mean()) < 1
        for i in range(2):
            alone = network(*pictures[:, i : i + 1], t[i : i + 1])
            assert torch.equal(together.routes[i : i + 1], alone.routes)
            torch.testing.assert_close(together.frame[i : i + 1], alone.frame, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("patches", "expected"), [(544, [54, 218, 326, 490]), (5, [1, 2, 3, 5]), (1, [0, 0, 1, 1])])
def test_keep_ratios_are_rounded_to_patches(patches, expected) -> None:
    assert [kept_patches(ratio, patches) for ratio in (0.1, 0.4, 0.6, 0.9)] == expected


def test_a_half_in_decimals_is_rounded_up() -> None:
    # 0.29 · 50 is 14.499999999999998.
    assert kept_patches(0.29, 50) == 15


def test_the_most_difficult_patches_pass() -> None:
    difficulty = torch.tensor([[[3.0, 1.0, 2.0], [5.0, 0.0, 4.0]], [[1.0, 1.0, 1.0], [1.0, 1.0, 2.0]]])
    routes = rank_routes(difficulty, (0.0, 0.5, 1.0))
    assert routes[0].tolist() == [[[0, 0, 0], [0, 0, 0]], [[1, 0, 0], [1, 0, 1]], [[1, 1, 1], [1, 1, 1]]]
    # Ties are broken in row order.
    assert routes[1, 1].tolist() == [[1, 1, 0], [0, 0, 1]]
    many = rank_routes(torch.rand(3, 5, 8), (0.1, 0.4, 0.6, 0.9))
    assert many.sum(dim=(2, 3)).tolist() == [[4, 16, 24, 36]] * 3
    # A patch that passes at a low ratio passes at the higher ones.
    assert bool((many.diff(dim=1) >= 0).all())


def test_the_difficulty_of_a_patch_is_its_largest_mean_of_4x4() -> None:
    difference = torch.zeros(1, 3, 64, 128)
    difference[:, 0, 8:12, 4:8] = -0.3
    difference[:, :, 4:8, 66:70] = 0.1
    torch.testing.assert_close(patch_difference(difference, 64), torch.tensor([[[0.1, 0.05]]]))
    assert patch_difference(difference, 8).shape == (1, 8, 16)


def test_holes_do_not_count_as_difficult() -> None:
    frame0, frame1 = torch.zeros(2, 1, 3, 16, 32)
    frame0[..., :16], frame0[..., 16:] = 1.0, 0.5
    covered = torch.ones(1, 1, 16, 32, dtype=torch.bool)
    assert reference_routes(Warped(frame0, frame1, covered), (0.5,), 16).tolist() == [[[[1, 0]]]]
    covered[..., :16] = False
    assert reference_routes(Warped(frame0, frame1, covered), (0.5,), 16).tolist() == [[[[0, 1]]]]


def test_the_gradient_reaches_the_router_straight_through(network) -> None:
    network = made().train()
    network.stage(3)
    assert network.router is not None
    pair = network.pair(*frames(2))
    for loss in ("routes", "frame"):
        network.zero_grad()
        output = network.at(pair, times(0.5, 0.5))
        assert set(output.routes.detach().unique().tolist()) <= {0.0, 1.0}
        if loss == "routes":
            reference = network.reference(output.warped)
            value = route_loss(output.routes, reference)
            assert value.item() == pytest.approx((output.routes != reference).float().mean().item())
        else:
            value = output.frame.square().mean()
        value.backward(retain_graph=True)
        assert all(p.grad is not None and bool(p.grad.any()) for p in network.router.parameters())
    assert all(p.grad is None for p in network.estimator.parameters())
    assert all(p.grad is not None and bool(p.grad.any()) for p in network.blocks.parameters())


def test_sampled_routes_follow_the_probability(network) -> None:
    router = made().router
    assert router is not None
    nn.init.zeros_(router.choice.weight)
    # Three of four pass the first two blocks, all the third, none the fourth.
    odds = math.log(3.0)
    router.choice.bias.data = torch.tensor([0.0, odds, 0.0, odds, -50.0, 50.0, 50.0, -50.0])
    pair = network.pair(*frames(1, 32, 1600))
    warped = network.warp(pair, times(0.5))
    assert router(pair, warped).mean(dim=(0, 2, 3)).tolist() == [1, 1, 1, 0]
    routes = router.train()(pair, warped).mean(dim=(0, 2, 3)).tolist()
    assert routes[:2] == pytest.approx([0.75, 0.75], abs=0.1)
    assert routes[2:] == [1, 0]


def test_stages_train_what_the_paper_trains() -> None:
    network = made()
    for number, mode, trained in (
        (1, "frame", (True, False)),
        (2, "patches", (False, False)),
        (3, "routed", (False, True)),
    ):
        network.stage(number)
        parts = (network.estimator, network.router)
        assert network.mode == mode
        assert tuple(next(part.parameters()).requires_grad for part in parts) == trained
        assert all(p.requires_grad for part in (network.context, network.blocks) for p in part.parameters())
    static = APR(replace(SMALL, mode="frame"))
    static.stage(2)
    with pytest.raises(ValueError, match="Stage 3 needs a network with a router"):
        static.stage(3)
    with pytest.raises(ValueError, match="no stage 4"):
        network.stage(4)
    static.mode = "routed"
    with pytest.raises(ValueError, match="has no router"):
        static(*frames(), times(0.5))
    # A network without a router follows the routes passed to it.
    assert static.at(static.pair(*frames()), times(0.5), some_routes(1, 3, 4)).frame.shape == (1, 3, 48, 64)
    missing = made().load_state_dict(static.state_dict(), strict=False)
    assert not missing.unexpected_keys
    assert all(name.startswith("router.") for name in missing.missing_keys)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_few_steps_reduce_the_loss(stage) -> None:
    network = made().train()
    network.stage(stage)
    first = nn.functional.avg_pool2d(frames(2, 32, 32)[0], 5, 1, 2)
    truth = first.roll(1, dims=3)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=2e-3)
    losses = []
    for _ in range(8):
        output = network(first, first.roll(2, dims=3), times(0.5, 0.5))
        loss = (output.frame - truth).abs().mean()
        loss = loss + 0.01 * route_loss(output.routes, network.reference(output.warped))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0], losses


@pytest.mark.parametrize("fusion", ["add&norm", "concat&conv", "none"])
def test_all_fusions_give_frames_and_gradients(fusion) -> None:
    network = made(replace(SMALL, fusion=fusion))
    plain = parameters(made(replace(SMALL, fusion="none")))
    extra = 5 * 8 * 8 + 8 if fusion == "concat&conv" else 0
    assert parameters(network) == plain + extra
    pair, routes = network.pair(*frames()), some_routes(1, 3, 4)
    seen: list[Tensor] = []
    network.predict.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    skipped = network.at(pair, times(0.5), routes).frame
    torch.testing.assert_close(skipped, network.at(pair, times(0.5), routes.requires_grad_()).frame, atol=1e-5, rtol=0)
    assert seen[0].shape == (1, 8, 48, 64)
    if fusion == "add&norm":
        torch.testing.assert_close(seen[0].mean(dim=1), torch.zeros(1, 48, 64), atol=1e-5, rtol=0)


def test_any_frame_size_and_any_time(network) -> None:
    assert APR(CONFIGS["apr"]).multiple == 64
    assert APR(replace(SMALL, patch=48)).multiple == 48
    model = NetworkInterpolator("apr", network, "cpu")
    first, second = np.random.default_rng(0).random((2, 50, 70, 3), np.float32)
    pair = model.prepare(first, second)
    early, late = pair.at(0.1), pair.at(0.9)
    assert early.shape == (50, 70, 3)
    assert not np.array_equal(early, late)


@pytest.mark.parametrize("mode", ["frame", "routed"])
def test_bfloat16_changes_the_result_little(mode) -> None:
    network = made()
    network.mode = mode
    with torch.inference_mode():
        exact = network(*frames(), times(0.5))
        # At nearly equal logits, another precision may choose another route.
        routes = exact.routes if mode == "routed" else None
        with torch.autocast("cpu", torch.bfloat16):
            free = network(*frames(), times(0.5))
            near = network.at(network.pair(*frames()), times(0.5), routes)
        whole = network.to(torch.bfloat16)(*frames().bfloat16(), times(0.5))
    assert free.frame.dtype == torch.float32
    assert bool(free.frame.isfinite().all())
    torch.testing.assert_close(near.frame, exact.frame, atol=0.1, rtol=0)
    assert whole.frame.dtype == torch.bfloat16
    assert bool(whole.frame.isfinite().all())


def test_inconsistent_configurations_are_rejected() -> None:
    for wrong, message in (
        ({"mode": "dynamic"}, "`mode` is 'dynamic'"),
        ({"fusion": "sum"}, "`fusion` is 'sum'"),
        ({"patch": 6}, "`patch` is 6"),
        ({"keep": (0.5,)}, "4 keep ratios"),
    ):
        with pytest.raises(ValueError, match=message):
            APR(replace(SMALL, **wrong))
