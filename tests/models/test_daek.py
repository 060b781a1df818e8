from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from betwixt.layers.ifblock import FlowEstimate
from betwixt.models.daek.network import ABLATIONS, DAEK, DAEKConfig, enhanced_distillation_loss
from betwixt.training.losses import laplacian
from network_checks import check_batch, check_bfloat16

HALF = torch.full((1, 1, 1, 1), 0.5)
CHANNELS = {
    "widths": (16, 12, 8),
    "encoder": (8, 8, 12, 8),
    "correlation": (12, 8),
    "flow": (8, 6),
    "hidden": 12,
}


def small(config: DAEKConfig | None = None) -> DAEK:
    """The variant `config` with few channels, and with a non-zero Para, so that shallow features have an effect."""
    config = config or DAEKConfig()
    torch.manual_seed(0)
    network = DAEK(replace(config, **CHANNELS, features=5 if config.features else 0))
    for name, parameter in network.named_parameters():
        if name.endswith("para"):
            nn.init.constant_(parameter, 0.5)
    return network


def size(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.fixture(scope="module")
def network() -> DAEK:
    return small()


def test_it_has_the_parameters_that_the_paper_reports() -> None:
    with torch.device("meta"):
        network, student = DAEK(), DAEK(DAEKConfig(teacher="none"))
    assert abs(size(student) / 22.48e6 - 1.0) < 0.02
    # The numbers of the module's docstring.
    assert [size(meb) for meb in student.mebs] == [4_497_397, 1_807_162, 671_212]
    assert [size(mrb) for mrb in student.mrbs] == [3_367_461] * 3
    parts = {name: size(part) for name, part in student.mrbs[0].named_children()}
    assert parts == {"flow": 99_200, "correlation": 543_616, "cfcm": 197_377, "trunk": 2_444_288, "head": 82_980}
    assert size(student.appearance_encoder) == size(student.context_encoder) == 1_050_336
    assert (size(student.contextnet), size(student.unet)) == (294_000, 2_957_875)
    assert size(student) == 22_430_701
    assert (size(network.teacher_meb), size(network.teacher_mrb)) == (672_427, 3_293_701)
    assert size(network) == size(student) + 672_427 + 3_293_701


@pytest.mark.parametrize(("height", "width", "gflop"), [(256, 448, 188.794), (720, 1280, 1563.574)])
def test_its_flops_are_those_of_the_docstring(height: int, width: int, gflop: float) -> None:
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        frame = torch.empty(1, 3, height, width)
        DAEK(DAEKConfig(teacher="none"))(frame, frame, torch.empty(1, 1, 1, 1))
    assert round(counter.get_total_flops() / 1e9, 3) == gflop


def test_every_ablation_switch_adds_parameters() -> None:
    def count(name: str) -> int:
        with torch.device("meta"):
            return size(DAEK(replace(ABLATIONS[name], teacher="none")))

    order = ["baseline", "daek-f-sfa", "daek-f-ca", "daek-da", "daek-f-da"]
    assert all(count(a) < count(b) for a, b in pairwise(order))
    # The baseline is RIFE but for the size of two kernels.
    assert abs(count("baseline") / 10.07e6 - 1.0) < 0.002


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_has_the_parts_of_its_name(name: str) -> None:
    config = ABLATIONS[name]
    network, frames = small(config), torch.rand(3, 1, 3, 32, 32)
    output = network(frames[0], frames[1], HALF)
    assert output.frame.shape == (1, 3, 32, 32)
    assert len(output.stages) == 3
    torch.stack([stage.flow.square().sum() for stage in output.stages]).sum().backward()

    def has_gradient(part: nn.Module | None) -> bool:
        return part is not None and any(p.grad is not None and bool(p.grad.any()) for p in part.parameters())

    assert has_gradient(network.appearance_encoder) == config.correlation_attention
    assert has_gradient(network.context_encoder) == config.shallow_attention
    assert all(has_gradient(part) for part in (*network.mebs, *network.mrbs))
    assert len(network.mrbs) == (3 if config.correlation_attention or config.shallow_attention else 0)
    assert {meb.head.out_channels for meb in network.mebs} == {10 if config.features else 5}
    assert (network.teacher_meb is None) == (config.teacher == "none")
    assert (network.teacher_mrb is None) == (config.teacher != "own")
    if config.teacher != "none":
        distilled = network.distil(frames[0], frames[1], HALF, frames[2])
        # RIFE's loss is zero where its teacher is not better.
        assert float(distilled.loss.detach()) > 0.0 or config.teacher == "rife"
        torch.testing.assert_close(distilled.student.frame, output.frame)


def test_shallow_attention_starts_at_zero() -> None:
    torch.manual_seed(0)
    network = DAEK(replace(DAEKConfig(teacher="none"), **CHANNELS))
    frames = torch.rand(2, 1, 3, 32, 32)
    with torch.no_grad():
        before = network(*frames, HALF).frame
        nn.init.normal_(network.context_encoder.conv2.weight)
        assert torch.equal(network(*frames, HALF).frame, before)
        for mrb in network.mrbs:
            nn.init.constant_(mrb.cfcm.para, 10.0)
        assert not torch.equal(network(*frames, HALF).frame, before)


@pytest.mark.parametrize("teacher", ["own", "rife"])
def test_the_distillation_loss_has_no_gradient_for_the_teacher(teacher: str) -> None:
    network, frames = small(DAEKConfig(teacher=teacher)), torch.rand(3, 1, 3, 32, 32)
    with torch.no_grad():
        # The truth is the teacher's frame, so that RIFE's loss is not zero.
        truth = network.distil(frames[0], frames[1], HALF, frames[2]).teacher.merged
    distilled = network.distil(frames[0], frames[1], HALF, truth)
    distilled.loss.backward(retain_graph=True)
    for name, parameter in network.named_parameters():
        if name.startswith("teacher"):
            assert parameter.grad is None, name
        elif name.startswith(("mebs", "mrbs")):
            assert parameter.grad is not None, name
            assert bool(parameter.grad.isfinite().all()), name
    # The reconstruction loss of the teacher's frame has gradients for the teacher and for the student.
    network.zero_grad()
    laplacian(distilled.teacher.merged, truth + 0.1, 3).backward()
    assert all(bool(part.head.weight.grad.any()) for part in (network.teacher_meb, network.mebs[0]))


def test_the_distillation_loss_is_zero_where_student_and_teacher_agree() -> None:
    network, frames = small(), torch.rand(3, 1, 3, 32, 32)
    # The blocks after the first scale predict zero residuals, so all flows are equal.
    for part in (*network.mebs[1:], *network.mrbs[1:], network.teacher_meb, network.teacher_mrb):
        nn.init.zeros_(part.head.weight)
        nn.init.zeros_(part.head.bias)
    distilled = network.distil(frames[0], frames[1], HALF, frames[2])
    assert float(distilled.teacher.flow.detach().abs().max()) > 0.0
    assert float(distilled.loss.detach()) == 0.0
    distilled.loss.backward()
    assert all(bool(p.grad.isfinite().all()) for p in network.mebs[0].parameters())


def test_the_enhanced_distillation_loss_is_equation_6() -> None:
    frame, flow = torch.rand(1, 3, 8, 8), torch.zeros(1, 4, 8, 8)
    student = FlowEstimate.from_flow(frame, frame, flow, flow[:, :1])
    flow = torch.tensor([1.0, -2.0, 3.0, 4.0]).reshape(1, 4, 1, 1).expand_as(flow)
    teacher = FlowEstimate.from_flow(frame, frame, flow, flow[:, :1])
    assert float(enhanced_distillation_loss((student, student), teacher)) == pytest.approx(2 * (1.5 + 3.5))


def test_distillation_needs_a_teacher() -> None:
    with torch.device("meta"):
        network = DAEK(DAEKConfig(teacher="none"))
        frame = torch.zeros(1, 3, 32, 32)
    with pytest.raises(ValueError, match="teacher"):
        network.distil(frame, frame, HALF, frame)


def test_training_reduces_the_loss() -> None:
    network = small()
    scene = nn.functional.interpolate(torch.rand(1, 3, 8, 10), size=(32, 40), mode="bicubic").clamp(0.0, 1.0)
    frame0, truth, frame1 = scene[..., 0:32], scene[..., 4:36], scene[..., 8:40]
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-3)
    losses = []
    for _ in range(12):
        found = network.distil(frame0, frame1, HALF, truth)
        loss = laplacian(found.student.merged + found.student.residual, truth, 3)
        loss = loss + laplacian(found.teacher.merged, truth, 3) + 0.01 * found.loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_a_batch_equals_its_samples_one_by_one(network: DAEK) -> None:
    # Sides that are multiples of 16, but not of 32.
    check_batch(network, torch.rand(2, 2, 3, 16, 48), HALF.expand(2, -1, -1, -1))
    assert network.multiple == 16
    assert not network.any_time


def test_correlation_on_demand_gives_the_same_result(network: DAEK) -> None:
    frames = torch.rand(2, 1, 3, 48, 64)
    on_demand = DAEK(replace(network.config, volume_limit=0))
    on_demand.load_state_dict(network.state_dict())
    with torch.inference_mode():
        expected, found = network(*frames, HALF), on_demand(*frames, HALF)
    torch.testing.assert_close(found.frame, expected.frame, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.flow_t0, expected.flow_t0, atol=1e-4, rtol=0)


def test_bfloat16_changes_the_flow_little(network: DAEK) -> None:
    frames = torch.rand(3, 1, 3, 32, 64)
    check_bfloat16(network, frames[:2], HALF)
    with torch.autocast("cpu", torch.bfloat16):
        assert bool(network.distil(frames[0], frames[1], HALF, frames[2]).loss.isfinite())


@pytest.mark.parametrize("frame", [torch.zeros(1, 3, 16, 16), torch.rand(1, 3, 32, 32)], ids=["black", "noise"])
def test_equal_frames_give_finite_results_and_gradients(network: DAEK, frame: Tensor) -> None:
    network.zero_grad()
    found = network.distil(frame, frame, HALF, frame)
    (found.student.frame.sum() + found.teacher.merged.sum() + found.loss).backward()
    assert bool(found.student.frame.isfinite().all())
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters() if p.grad is not None)
