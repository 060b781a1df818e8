from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from betwixt.models.rife.network import RIFE, RIFE_2R, RIFE_M, RIFE_NEXT, RIFEConfig
from betwixt.models.rife.reversal import linear_reversal, splat_reversal
from network_checks import check_batch, check_bfloat16
from parity import counts, distances, fill, fixture, gflop, tensor

VARIANTS = {"rife": RIFEConfig(), "rife_m": RIFE_M, "rife_2r": RIFE_2R}


def at(t: float) -> Tensor:
    return torch.full((1, 1, 1, 1), t)


@pytest.mark.parametrize("name", VARIANTS)
def test_it_matches_the_authors_network(name: str) -> None:
    arrays = fixture(name)
    network = RIFE(VARIANTS[name])
    fill(network, arrays)
    frames = tensor(arrays["img0"]), tensor(arrays["img1"])
    found = {}
    with torch.inference_mode():
        pair = network.pair(*frames)
        for t in arrays["timestep"]:
            output = network.at(pair, at(float(t)))
            results = {
                "out": output.frame,
                "flow_t0": output.flow_t0,
                "flow_t1": output.flow_t1,
                "mask": output.mask,
                "merged": output.merged,
                "refine_residual": output.residual,
            }
            for k, stage in enumerate(output.stages):
                results |= {f"stage{k}_flow": stage.flow, f"stage{k}_merged": stage.merged}
            for q, (context, flow) in enumerate(((pair.context0, output.flow_t0), (pair.context1, output.flow_t1))):
                for k, (level, step) in enumerate(
                    zip(network.contextnet.warp(context, flow), (4, 2, 1, 1), strict=True)
                ):
                    results[f"context{q}_level{k + 1}"] = level[:, ::4, ::step, ::step]
            found |= distances(arrays, f"t{t:.2f}/", results)
        distilled = network.distil(*frames, at(0.5), tensor(arrays["gt"]))
        results = {
            "teacher_flow": distilled.teacher.flow,
            "teacher_merged": distilled.teacher.merged,
            "loss_distill": distilled.loss,
        }
        found |= distances(arrays, "train/", results)
    assert len(found) >= 22
    assert {k: d for k, d in found.items() if d > (1e-4 if "flow" in k else 2e-5)} == {}


@pytest.mark.parametrize("name", VARIANTS)
def test_its_cost_is_that_of_the_authors_network(name: str) -> None:
    expected = counts(name)
    network = RIFE(VARIANTS[name])
    with torch.device("meta"):
        student = RIFE(replace(VARIANTS[name], teacher=False))
    assert sum(p.numel() for p in network.parameters()) == expected["params"]
    assert round(sum(p.numel() for p in student.parameters()) / 1e6, 4) == expected["params_M_inference"]
    for size in ("256x448", "1280x720_padded"):
        assert gflop(network, *expected[f"size_{size}"]) == expected[f"gflop_{size}"]
    assert network.multiple == expected["pad_multiple"]


@pytest.fixture(scope="module")
def network() -> RIFE:
    torch.manual_seed(0)
    return RIFE(RIFE_M)


def test_a_batch_equals_its_samples_one_by_one(network: RIFE) -> None:
    check_batch(network, torch.rand(2, 2, 3, 32, 64), torch.tensor([0.5, 0.2]).reshape(2, 1, 1, 1))


def test_time_is_an_input_of_the_any_time_variant_only(network: RIFE) -> None:
    frames = torch.rand(2, 1, 3, 32, 32)
    fixed = RIFE(RIFEConfig(teacher=False))
    with torch.inference_mode():
        assert not torch.equal(network(*frames, at(0.2)).frame, network(*frames, at(0.8)).frame)
        assert torch.equal(fixed(*frames, at(0.2)).frame, fixed(*frames, at(0.8)).frame)
    assert network.any_time
    assert not fixed.any_time


def test_scales_for_4k_use_the_same_weights(network: RIFE) -> None:
    coarse = RIFE(replace(RIFE_M, scales=(16, 4, 1)))
    coarse.load_state_dict(network.state_dict())
    assert coarse.multiple == 64
    with torch.inference_mode():
        assert coarse(*torch.rand(2, 1, 3, 64, 128), at(0.5)).frame.shape == (1, 3, 64, 128)


def test_the_distillation_loss_has_no_gradient_for_the_teacher(network: RIFE) -> None:
    frames = torch.rand(3, 1, 3, 32, 32)
    distilled = network.distil(frames[0], frames[1], at(0.5), frames[2])
    network.zero_grad()
    # The truth is the teacher's frame, so the teacher is better than the student everywhere.
    distilled = network.distil(frames[0], frames[1], at(0.5), distilled.teacher.merged.detach())
    distilled.loss.backward()
    assert all(p.grad is None for p in network.block_tea.parameters())
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.block0.parameters())
    torch.testing.assert_close(distilled.student.frame, network(frames[0], frames[1], at(0.5)).frame)


def test_distillation_needs_the_teacher_block() -> None:
    with torch.device("meta"):
        network = RIFE(RIFEConfig(teacher=False))
    frame = torch.zeros(1, 3, 32, 32, device="meta")
    with pytest.raises(ValueError, match="teacher"):
        network.distil(frame, frame, at(0.5), frame)


def test_bfloat16_changes_the_flow_little(network: RIFE) -> None:
    check_bfloat16(network, torch.rand(2, 1, 3, 32, 64), at(0.5))


@pytest.mark.parametrize("t", [0.25, 0.5])
def test_flow_reversal_of_constant_motion_is_exact(t: float) -> None:
    motion = torch.tensor([6.0, -4.0]).reshape(1, 2, 1, 1).expand(1, 2, 32, 32)
    expected = torch.cat((-t * motion, (1 - t) * motion), dim=1)
    for reverse in (linear_reversal, splat_reversal):
        torch.testing.assert_close(reverse(motion, -motion, at(t)), expected)


def test_splatting_finds_where_an_object_is_in_between() -> None:
    """A square moves by 8 pixels over a still ground: linear reversal leaves its flow behind."""
    flow_01, flow_10 = torch.zeros(1, 2, 32, 64), torch.zeros(1, 2, 32, 64)
    flow_01[:, 0, 8:24, 16:32] = 8.0
    flow_10[:, 0, 8:24, 24:40] = -8.0
    splatted = splat_reversal(flow_01, flow_10, at(0.5))
    linear = linear_reversal(flow_01, flow_10, at(0.5))
    # At t = 1/2 the square is at 20 to 36, so 18 is ground, which frame 1 shows.
    assert splatted[0, 2, 16, 18] == 0.0
    assert linear[0, 2, 16, 18] == 2.0


@pytest.mark.parametrize(
    "config",
    [
        RIFEConfig(teacher=False, scales=(2, 1), widths=(24, 16)),
        RIFEConfig(teacher=False, refine=False),
        RIFEConfig(teacher=False, reversal="cnn"),
        RIFE_NEXT,
    ],
    ids=str,
)
def test_variants_make_frames(config: RIFEConfig) -> None:
    network = RIFE(config)
    output = network(*torch.rand(2, 1, 3, 64, 64), at(0.5))
    assert output.frame.shape == (1, 3, 64, 64)
    assert len(output.stages) == (1 if config.reversal != "none" else len(config.scales))
    assert network.extrapolates == config.extrapolation
    if not config.refine:
        assert torch.equal(output.frame, output.merged.clamp(0, 1))
        assert not any(name.startswith(("unet", "contextnet")) for name, _ in network.named_parameters())


@pytest.mark.parametrize(
    "changes", [{"scales": (4, 2)}, {"scales": (), "widths": ()}, {"reversal": "linear", "teacher": True}]
)
def test_configurations_that_make_no_network_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"scales|reversal"):
        RIFEConfig(**changes)  # type: ignore[arg-type]
