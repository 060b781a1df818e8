from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from betwixt.layers.region_attention import Regions
from betwixt.models.amt import network as amt
from betwixt.models.ema_vfi import network as ema_vfi
from betwixt.models.hierarchical.network import (
    ABLATIONS,
    HierarchicalConfig,
    HierarchicalNetwork,
    HybridContextBlock,
    PixelAttention,
    PlugIn,
    TargetAttention,
    build_hierarchical,
)
from betwixt.models.ifrnet import network as ifrnet
from betwixt.models.network import MaskPair, Network
from betwixt.models.rife import network as rife

SMALL_RIFE = rife.RIFEConfig(teacher=False, any_time=True, widths=(32, 16, 16), context=4)

HOSTS: dict[str, tuple[object, Callable[[], Network]]] = {
    "rife": (SMALL_RIFE, lambda: rife.RIFE(SMALL_RIFE)),
    "ema-vfi": (
        ema_vfi.EMAVFIConfig(channels=4, depths=(1, 1, 1, 2, 2)),
        lambda: ema_vfi.EMAVFI(ema_vfi.EMAVFIConfig(channels=4, depths=(1, 1, 1, 2, 2))),
    ),
    "ifrnet": (
        ifrnet.IFRNetConfig(channels=(8, 8, 12, 16), side=4),
        lambda: ifrnet.IFRNet(ifrnet.IFRNetConfig(channels=(8, 8, 12, 16), side=4)),
    ),
    "amt": (amt.CONFIGS["amt-s"], lambda: amt.AMT()),
}
HALF = torch.full((1, 1, 1, 1), 0.5)


def made(host: str, config: HierarchicalConfig = ABLATIONS["full"]) -> HierarchicalNetwork:
    torch.manual_seed(0)
    config_of = HOSTS[host][0]
    return build_hierarchical(config, config_of)  # type: ignore[arg-type]


def random_masks(count: int, height: int = 64, width: int = 64, batch: int = 1, cell: int = 16) -> MaskPair:
    labels = torch.randint(count, (2, batch, height // cell, width // cell))
    return MaskPair(*labels.repeat_interleave(cell, 2).repeat_interleave(cell, 3), count)


def frames(batch: int = 1, height: int = 64, width: int = 64) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.rand(batch, 3, height, width), torch.rand(batch, 3, height, width)


def random_regions(count: int, batch: int, height: int, width: int) -> tuple[Regions, Regions]:
    first, second = torch.randint(count, (2, batch, height, width))
    return Regions(first, count), Regions(second, count)


# -- HCE -------------------------------------------------------------------------------------------------------------


def test_hybrid_context_uses_the_mean_of_the_target_in_the_other_frame() -> None:
    torch.manual_seed(0)
    block = HybridContextBlock(5)
    features, other = torch.randn(2, 1, 5, 4, 6)
    first, second = random_regions(3, 1, 4, 6)
    means = torch.zeros_like(features)
    for label in range(3):
        inside = second.labels[0].reshape(4, 6) == label
        means[0][:, first.labels[0].reshape(4, 6) == label] = other[0][:, inside].mean(1, keepdim=True)
    useful = torch.sigmoid(block.select(features)) * means
    expected = block.aggregate(torch.cat((features, useful), 1))
    torch.testing.assert_close(block(features, first, other, second), expected)


# -- HIR -------------------------------------------------------------------------------------------------------------


def test_a_single_mask_gives_global_attention() -> None:
    torch.manual_seed(0)
    step = TargetAttention(8)
    features, other = torch.randn(2, 2, 8, 5, 7)
    enhanced, flow = step(features, Regions.whole(features), other, Regions.whole(other))

    def tokens(maps: Tensor) -> Tensor:
        return maps.flatten(2).transpose(1, 2)

    def keys(maps: Tensor) -> Tensor:
        found = tokens(step.key(maps))
        return F.layer_norm(found - found.mean(1, keepdim=True), (8,), eps=1e-6) * step.gain

    grid = torch.cartesian_prod(torch.arange(5.0), torch.arange(7.0)).flip(1).expand(2, -1, -1)
    both = torch.cat((tokens(step.value(other)), grid), 2)
    found = F.scaled_dot_product_attention(keys(features), keys(other), both)
    torch.testing.assert_close(tokens(enhanced), tokens(step.value(features)) + found[:, :, :8], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tokens(flow), found[:, :, 8:] - grid, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("count", [1, 4])
def test_equal_features_in_both_frames_give_no_motion(count: int) -> None:
    """Every pixel has a unique feature, equal in both frames; keys are the identity."""
    step = TargetAttention(36)
    with torch.no_grad():
        step.key.weight.copy_(torch.eye(36)[:, :, None, None])
        step.key.bias.zero_()
        step.gain.fill_(30.0)
    features = torch.eye(36).reshape(1, 36, 6, 6)
    torch.manual_seed(0)
    regions = Regions(torch.randint(count, (1, 6, 6)), count)
    _, flow = step(features, regions, features, regions)
    assert float(flow.detach().abs().max()) < 1e-4


def test_a_target_is_matched_at_any_distance_and_only_inside_its_mask() -> None:
    """Two targets of equal appearance move differently: only the masks distinguish them."""
    torch.manual_seed(0)
    step = TargetAttention(16)
    with torch.no_grad():
        step.gain.fill_(30.0)
    first, second = torch.randn(2, 1, 16, 8, 12)
    patch = torch.randn(16, 3, 3)
    labels0, labels1 = torch.zeros(2, 1, 8, 12, dtype=torch.long)
    for label, (y0, x0), (y1, x1) in ((1, (0, 0), (5, 8)), (2, (4, 1), (1, 5))):
        for maps, labels, y, x in ((first, labels0, y0, x0), (second, labels1, y1, x1)):
            maps[0, :, y : y + 3, x : x + 3] = patch
            labels[0, y : y + 3, x : x + 3] = label
    _, flow = step(first, Regions(labels0, 3), second, Regions(labels1, 3))
    assert flow[0, :, 0:3, 0:3].flatten(1).sub(torch.tensor([[8.0], [5.0]])).abs().max() < 1e-2
    assert flow[0, :, 4:7, 1:4].flatten(1).sub(torch.tensor([[4.0], [-3.0]])).abs().max() < 1e-2


CELL, SIDE = 4, 10


def scene(seed: int) -> tuple[Tensor, Tensor, MaskPair, Tensor]:
    """A layer of noise in front of another, both moved by whole cells: frames, masks, displacements (2, 2) in cells."""
    rng = torch.Generator().manual_seed(seed)
    back, front = torch.rand(2, 3, 20 * CELL, 20 * CELL, generator=rng)
    steps = torch.randint(-3, 4, (2, 2), generator=rng)
    y, x = (CELL * int(v) for v in torch.randint(7, 11, (2,), generator=rng))
    shape = torch.zeros(1, 20 * CELL, 20 * CELL)
    shape[:, y : y + 3 * CELL, x : x + 3 * CELL] = 1.0
    view = (slice(None), slice(5 * CELL, 15 * CELL), slice(5 * CELL, 15 * CELL))
    frames, labels = [], []
    for time in (0, 1):
        moved = [
            layer.roll((CELL * time * int(dy), CELL * time * int(dx)), (1, 2))
            for layer, (dx, dy) in zip((back, front, shape), (steps[0], steps[1], steps[1]), strict=True)
        ]
        frames.append(torch.where(moved[2] > 0, moved[1], moved[0])[view][None])
        labels.append(moved[2][view].long())
    return frames[0], frames[1], MaskPair(labels[0], labels[1], 2), steps


def error_of(flow: Tensor, masks: MaskPair, steps: Tensor) -> Tensor:
    """End-point errors of f_01, in cells, where the content of a cell stays inside the frame."""
    truth = steps.float()[masks.labels0[0, ::CELL, ::CELL]].permute(2, 0, 1)
    y, x = torch.meshgrid(torch.arange(10.0), torch.arange(10.0), indexing="ij")
    there = torch.stack((x, y)) + truth
    inside = ((there >= 0) & (there <= SIDE - 1)).all(dim=0)
    return (flow[0] - truth)[:, inside].square().sum(dim=0).add(1e-4).sqrt()


def test_the_long_range_flow_learns_the_motion_of_a_region() -> None:
    torch.manual_seed(0)
    plugin = PlugIn(64, 16, True, HierarchicalConfig(steps="target"))
    encoder = nn.Conv2d(3, 64, CELL, CELL)
    optimizer = torch.optim.Adam([*encoder.parameters(), *plugin.parameters()], 3e-3)

    def errors(seed: int) -> Tensor:
        first, second, masks, steps = scene(seed)
        return error_of(plugin.pair(encoder(first - 0.5), encoder(second - 0.5), masks).flow, masks, steps)

    for step in range(150):
        optimizer.zero_grad()
        errors(step).mean().backward()
        optimizer.step()
    # On new scenes; the median ignores occluded cells, which have no match.
    with torch.inference_mode():
        medians = [float(errors(seed).median()) for seed in range(1000, 1020)]
    assert sum(medians) / len(medians) < 0.2, medians


def test_short_range_attends_to_a_window_inside_the_map() -> None:
    torch.manual_seed(0)
    step = PixelAttention(16, 2)
    with torch.no_grad():
        step.gain.fill_(30.0)
    first = torch.randn(1, 16, 7, 9)
    whole = Regions.whole(first)
    for dy, dx in ((0, 0), (1, -2), (-2, 2)):
        second = first.roll((dy, dx), (2, 3))
        enhanced, flow = step(first, whole, second, whole)
        inside = (0, slice(None), slice(2, 5), slice(2, 7))
        assert (flow[inside] - torch.tensor([dx, dy])[:, None, None]).abs().max() < 1e-2
        torch.testing.assert_close(enhanced[inside], 2.0 * step.value(first)[inside], atol=1e-2, rtol=1e-2)
    step.gain.data.fill_(0.0)
    _, flow = step(first, whole, first, whole)
    # Equal features give the mean of the window, of which a quarter is inside the map at a corner.
    assert flow[0, :, 3, 4].tolist() == pytest.approx([0.0, 0.0], abs=1e-5)
    assert flow[0, :, 0, 0].tolist() == pytest.approx([1.0, 1.0], abs=1e-5)


def test_a_target_absent_from_the_other_frame_gets_no_motion_and_no_value() -> None:
    torch.manual_seed(0)
    step = TargetAttention(8)
    features, other = torch.randn(2, 1, 8, 4, 4)
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    labels[0, 1, 1] = 1  # one pixel, in frame 0 alone
    enhanced, flow = step(features, Regions(labels, 3), other, Regions(torch.zeros(1, 4, 4), 3))
    assert flow[0, :, 1, 1].tolist() == [0.0, 0.0]
    torch.testing.assert_close(enhanced[0, :, 1, 1], step.value(features)[0, :, 1, 1])
    assert bool((flow[0, :, 0, 0] != 0).any())


def test_a_target_of_one_pixel_moves_to_that_pixel() -> None:
    torch.manual_seed(0)
    step = TargetAttention(8)
    features, other = torch.randn(2, 1, 8, 4, 6)
    labels, other_labels = torch.zeros(2, 1, 4, 6, dtype=torch.long)
    labels[0, 1, 4] = other_labels[0, 3, 0] = 1
    enhanced, flow = step(features, Regions(labels, 2), other, Regions(other_labels, 2))
    assert flow[0, :, 1, 4].tolist() == [-4.0, 2.0]
    expected = step.value(features)[0, :, 1, 4] + step.value(other)[0, :, 3, 0]
    torch.testing.assert_close(enhanced[0, :, 1, 4], expected)


@pytest.mark.parametrize("steps", ["target-pixel", "pixel-target", "target", "pixel"])
@pytest.mark.parametrize("count", [1, 2, 5, 64])
def test_the_order_of_labels_and_the_chunk_size_change_nothing(steps: str, count: int) -> None:
    config = HierarchicalConfig(steps=steps)  # type: ignore[arg-type]
    torch.manual_seed(0)
    plugin = PlugIn(12, 12, True, config)
    features = torch.randn(2, 2, 12, 8, 10)
    masks = random_masks(count, 128, 160, batch=2)
    order = torch.randperm(count)
    chunked = PlugIn(12, 12, True, replace(config, scores_at_a_time=100))
    chunked.load_state_dict(plugin.state_dict())
    with torch.inference_mode():
        t = torch.tensor([0.3, 0.8]).reshape(2, 1, 1, 1)
        results = [
            part.at(part.pair(features[0], features[1], m), t)
            for part, m in ((plugin, masks), (plugin, masks.apply(lambda x: order[x])), (chunked, masks))
        ]
    for other in results[1:]:
        torch.testing.assert_close(results[0].flow, other.flow, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(results[0].features_or_logit, other.features_or_logit, atol=1e-4, rtol=1e-4)
    assert bool(results[0].flow.isfinite().all())


def test_swapping_the_frames_swaps_the_flows() -> None:
    torch.manual_seed(0)
    plugin = PlugIn(12, 12, True)
    features = torch.randn(2, 1, 12, 6, 6)
    masks = random_masks(3, 96, 96)
    there = plugin.pair(features[0], features[1], masks).flow
    back = plugin.pair(features[1], features[0], MaskPair(masks.labels1, masks.labels0, 3)).flow
    torch.testing.assert_close(there, back.flip(0), atol=1e-5, rtol=1e-5)


# -- hosts -----------------------------------------------------------------------------------------------------------


def backward(network: HierarchicalNetwork, first: Tensor, second: Tensor, masks: MaskPair) -> None:
    """Backpropagate a loss with the terms of the paper's loss."""
    synthesis, estimate = network.at_with_estimate(network.pair(first, second, masks), HALF)
    (synthesis.frame.square().mean() + 0.1 * estimate.merged.square().mean()).backward()


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("case", ABLATIONS)
def test_gradients_reach_every_parameter(host: str, case: str) -> None:
    network = made(host, ABLATIONS[case])
    backward(network, *frames(height=128, width=128), random_masks(3, 128, 128))
    lost = [name for name, p in network.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    # The bias of EMA-VFI's position embedding cancels.
    assert [name for name in lost if not (host == "ema-vfi" and name.endswith("attn.position.bias"))] == []


@pytest.mark.parametrize("host", HOSTS)
def test_the_estimate_of_the_plug_in_has_the_colours_of_the_frames(host: str) -> None:
    """Frames of one colour give an estimate of that colour, whatever the flows are."""
    network = made(host).eval()
    colour = torch.tensor([0.2, 0.5, 0.9]).reshape(1, 3, 1, 1).expand(-1, -1, 64, 64)
    with torch.inference_mode():
        _, estimate = network.at_with_estimate(network.pair(colour, colour, random_masks(3)), HALF)
    torch.testing.assert_close(estimate.merged, colour, atol=1e-5, rtol=1e-5)


ODD_MASKS = ("one", "empty", "pixel", "cell", "cell in one frame", "one frame", "64")


def odd_masks(kind: str) -> MaskPair:
    """For frames of 64x64: "pixel" is smaller than a cell of the map, "cell" is one cell."""
    zeros = torch.zeros(1, 64, 64, dtype=torch.uint8)
    pixel, cell, moved = zeros.clone(), zeros.clone(), zeros.clone()
    pixel[:, 20, 40] = cell[:, 16:32, 32:48] = moved[:, 48:64, 0:16] = 1
    return {
        "one": MaskPair(zeros, zeros, 1),
        "empty": MaskPair(zeros, zeros, 5),
        "pixel": MaskPair(pixel, pixel, 2),
        "cell": MaskPair(cell, moved, 2),
        "cell in one frame": MaskPair(cell, zeros, 2),
        "one frame": MaskPair(zeros, zeros + 1, 2),
        "64": random_masks(64, cell=8).apply(lambda x: x.to(torch.uint8)),
    }[kind]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("kind", ODD_MASKS)
def test_any_masks_give_a_frame_and_gradients(host: str, kind: str) -> None:
    network = made(host).eval()
    first, second = frames()
    masks = odd_masks(kind)
    with torch.inference_mode():
        made_frame = network(first, second, HALF, masks).frame
        assert made_frame.shape == first.shape
        assert bool(made_frame.isfinite().all())
        if kind in ("one", "empty", "pixel"):
            torch.testing.assert_close(made_frame, network(first, second, HALF).frame, atol=1e-4, rtol=1e-4)
    backward(network, first, second, masks)
    found = {name: p.grad for name, p in network.plugin.named_parameters() if p.grad is not None}
    assert all(bool(gradient.isfinite().all()) for gradient in found.values())
    lost = [name for name, _ in network.plugin.named_parameters() if name not in found or not bool(found[name].any())]
    # With 64 targets on 16 cells, no target has two cells to attend to; without common targets there are none at all.
    choice = ("target.key.", "target.gain")
    idle = {"64": choice, "one frame": ("temporal.select.", *choice)}.get(kind, ())
    assert [name for name in lost if not name.startswith(idle)] == []


@pytest.mark.parametrize("host", HOSTS)
def test_masks_of_zeros_equal_no_masks(host: str) -> None:
    network, blind = made(host).eval(), made(host, ABLATIONS["zero-masks"]).eval()
    first, second = frames(height=96, width=96)
    masks = random_masks(4, 96, 96)
    with torch.inference_mode():
        seeing = network(first, second, HALF, masks).frame
        assert torch.equal(blind(first, second, HALF, masks).frame, network(first, second, HALF).frame)
        assert not torch.equal(blind(first, second, HALF, masks).frame, seeing)


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_with_loaded_weights_starts_as_without_the_plug_in(host: str) -> None:
    network = made(host).eval()
    torch.manual_seed(3)
    plain = HOSTS[host][1]().eval()
    network.load_host_weights(plain.state_dict())
    first, second = frames()
    leave = network.plugin.interaction.leave
    with torch.no_grad():
        leave.weight.zero_()
        leave.bias.zero_()
        # Make every pixel attend to its own position, so that the plug-in gives no motion.
        network.plugin.target, network.plugin.pixel = None, None
        network.plugin.fuse = None
        expected = plain(first, second, HALF).frame
        torch.testing.assert_close(network(first, second, HALF).frame, expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="another network"):
        network.load_host_weights({"x": torch.zeros(1)})
    wrong = plain.state_dict()
    name = next(iter(wrong))
    with pytest.raises(ValueError, match="is needed"):
        network.load_host_weights({**wrong, name: wrong[name][:1]})


@pytest.mark.parametrize("host", HOSTS)
def test_a_batch_equals_its_samples_one_by_one(host: str) -> None:
    network = made(host).eval()
    first, second = frames(batch=2)
    masks, t = random_masks(4, batch=2), torch.tensor([0.25, 0.5]).reshape(2, 1, 1, 1)
    with torch.inference_mode():
        together = network(first, second, t, masks)
        for i in range(2):
            alone = network(*(x[i : i + 1] for x in (first, second, t)), masks.apply(lambda x, i=i: x[i : i + 1]))
            torch.testing.assert_close(together.frame[i : i + 1], alone.frame, atol=1e-4, rtol=1e-3)


def test_flow_at_a_smaller_scale_uses_smaller_masks() -> None:
    torch.manual_seed(0)
    config = ema_vfi.EMAVFIConfig(channels=4, depths=(1, 1, 1, 2, 2), prior=True)
    network = HierarchicalNetwork(ema_vfi.EMAVFI(config, flow_scale=0.5)).eval()
    first, second = frames()
    with torch.inference_mode():
        assert network(first, second, HALF, random_masks(3)).frame.shape == first.shape


def test_inputs_that_do_not_fit_are_rejected() -> None:
    with pytest.raises(ValueError, match="prior=True"):
        HierarchicalNetwork(rife.RIFE(SMALL_RIFE))
    with pytest.raises(ValueError, match="steps"):
        HierarchicalConfig(steps="both")  # type: ignore[arg-type]
    network = made("rife")
    with pytest.raises(ValueError, match="do not fit"):
        network(*frames(), HALF, random_masks(2, 32, 32))
    for host, kind in (("rife", "RIFE"), ("ifrnet", "decoder"), ("ema-vfi", "EMA-VFI")):
        inner = made(host).host
        with pytest.raises(ValueError, match=kind):
            inner.at(inner.pair(*frames()), HALF)


def test_bfloat16_changes_the_result_little() -> None:
    network = made("rife").eval()
    first, second = frames()
    masks = random_masks(3)
    with torch.inference_mode():
        exact = network.pair(first, second, masks).motion.flow
        with torch.autocast("cpu", torch.bfloat16):
            near = network.pair(first, second, masks).motion.flow
    assert near.dtype == torch.float32
    torch.testing.assert_close(near, exact, atol=0.1, rtol=0)


# -- cost ------------------------------------------------------------------------------------------------------------


def profiled(network: Network, height: int, width: int) -> float:
    """10^12 multiply-adds, counted by the convention that matches the paper's figures of the hosts.

    Those of convolutions and linear layers; a transposed convolution counts its kernel once for every pixel that comes
    out (four times what it takes at stride 2); products of attention do not count.
    """
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            total += output.numel() * inputs[0].shape[1] // module.groups * math.prod(module.kernel_size)
        elif isinstance(module, nn.Linear):
            total += output.numel() * module.in_features

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    with torch.device("meta"), torch.no_grad():
        network(torch.zeros(1, 3, height, width), torch.zeros(1, 3, height, width), torch.zeros(1, 1, 1, 1))
    for hook in hooks:
        hook.remove()
    return total / 1e12


@pytest.mark.parametrize(
    ("config", "host", "published", "published_with"),
    [
        (replace(rife.RIFE_ECCV, teacher=False), rife.RIFE, 0.16, 0.18),
        (ifrnet.CONFIGS["ifrnet"], ifrnet.IFRNet, 0.21, 0.23),
        (amt.CONFIGS["amt-l"], amt.AMT, 0.66, 0.69),
        (ema_vfi.EMA_VFI_SMALL, ema_vfi.EMAVFI, 0.38, 0.48),
    ],
)
def test_its_flops_are_those_of_the_paper(
    config: object, host: Callable[[object], Network], published: float, published_with: float
) -> None:
    """Table 1, for 1280x720."""
    with torch.device("meta"):
        plain, network = host(config), build_hierarchical(ABLATIONS["full"], config)  # type: ignore[arg-type]
    assert round(profiled(plain, 720, 1280), 2) == published
    assert round(profiled(network, 720, 1280), 2) == published_with


def test_attention_costs_the_sum_of_squared_region_sizes() -> None:
    """Four masks of a quarter each take a quarter of the products of one mask."""
    torch.manual_seed(0)
    step = TargetAttention(8)
    features = torch.randn(1, 8, 8, 8)
    quarters = torch.zeros(1, 8, 8, dtype=torch.long)
    quarters[:, :, 4:] += 1
    quarters[:, 4:] += 2

    def products(regions: Regions) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            step.attend(features, regions, features, features, regions)
        return counter.get_total_flops()

    assert products(Regions(quarters, 4)) * 4 == products(Regions.whole(features))


class Largest(TorchDispatchMode):
    """Records the size of the largest tensor created inside."""

    numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call `function`, and record the sizes of its results."""
        result = function(*args, **(kwargs or {}))
        # Expanded tensors have the storage of the tensor they are expanded from.
        made = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        self.numbers = max([self.numbers, *(x.untyped_storage().nbytes() // x.element_size() for x in made)])
        return result


@pytest.mark.parametrize("steps", ["target-pixel", "pixel-target"])
def test_a_single_mask_of_a_large_frame_is_processed_in_chunks(steps: str) -> None:
    """1920x1080 at 1/8, the larger scale: all scores at once would take 4.3 GB in each direction."""
    with torch.device("meta"), torch.no_grad(), Largest() as largest:
        plugin = PlugIn(128, 256, False, HierarchicalConfig(steps=steps))  # type: ignore[arg-type]
        features = torch.empty(1, 128, 136, 240)
        plugin.at(plugin.pair(features, features, None), torch.empty(1, 1, 1, 1))
    assert largest.numbers <= plugin.config.scores_at_a_time == 1 << 24  # 64 MiB
