"""Objectives: trainable parameters get gradients, frozen ones get none, the loss falls."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from betwixt.errors import UsageError
from betwixt.models.ebme.network import EBMESplat
from betwixt.models.registry import MODELS, load_network, model_info
from betwixt.models.rife.network import distillation_loss
from betwixt.training.losses import census, charbonnier
from betwixt.training.objectives.base import Batch, Objective
from betwixt.training.objectives.registry import OBJECTIVES, make_objective
from betwixt.training.sample import TrainingSample
from fake_device import check_same_gradients

SIZE = 64
"""Side of the crops: enough for five levels of a Laplacian pyramid, a patch, and the windows of an attention."""


def moving_waves(count: int, times: float | list[float], seed: int = 0) -> Batch:
    """Waves that move by (4, -2) pixels from frame 0 to frame 1."""
    generator = torch.Generator().manual_seed(seed)
    frequency = torch.rand(2, count, 3, 6, 1, 1, generator=generator) * 0.5
    phase = torch.rand(count, 3, 6, 1, 1, generator=generator) * 6.3
    t = torch.tensor([times] * count if isinstance(times, float) else times).reshape(-1, 1, 1, 1)
    row = torch.arange(float(SIZE))

    def at(time: Tensor) -> Tensor:
        x, y = row - 4.0 * time, row[:, None] + 2.0 * time
        angle = frequency[0] * x[:, :, None] + frequency[1] * y[:, :, None] + phase
        return 0.5 + 0.4 * angle.sin().mean(dim=2)

    motion = torch.tensor([4.0, -2.0]).reshape(1, 2, 1, 1).repeat(count, 1, SIZE, SIZE)
    return Batch(at(0.0 * t), at(t), at(0.0 * t + 1.0), t, motion, torch.ones_like(t))


@dataclass(frozen=True)
class Case:
    """An objective and a stage.

    Attributes:
        name: The name of the objective.
        stage: "": the first one.
        options: Settings in [network].
        trained: Prefixes of the names of the trainable parameters; all others are frozen.
        t: The target times of the samples.
        rate: The learning rate.
    """

    name: str
    stage: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    trained: tuple[str, ...] = ("",)
    t: float | list[float] = 0.5
    rate: float = 5e-5

    def __str__(self) -> str:
        changed = ",".join(f"{key}={value}" for key, value in self.options.items())
        return " ".join(part for part in (self.name, self.stage, changed) if part)

    def objective(self) -> Objective:
        torch.manual_seed(1)
        objective = make_objective({"name": self.name, **self.options}).train()
        objective.begin_stage(self.stage or objective.stages[0])
        return objective


ANY = [0.25, 0.6]
NCM_FINE = (
    "training_network.fine_scale",
    "training_network.contextnet",
    "training_network.unet",
    "training_network.teacher",
)
APR_OWN = ("training_network.context", "training_network.blocks", "training_network.predict")
CASES = [
    Case("rife"),
    Case("rife-2r"),
    Case("rife-m", t=0.25),
    Case("rife", options={"teacher": "daek"}),
    Case("rife", options={"teacher": "last", "loss": "l1", "blocks": 2}),
    Case("rife", options={"teacher": "none", "blocks": 1}),
    Case("rife-next", t=2.0),
    Case("rife-4.6", t=ANY),
    Case("rife-4.22-lite", t=0.6),
    Case("rife-4.25", options={"smoothness": 0.1}, t=0.25),
    Case("daek"),
    Case("daek", options={"CA": False}),
    Case("daek", options={"SFA": False, "F": False, "teacher": "rife"}),
    Case("daek", options={"F": False, "CA": False, "SFA": False, "teacher": "none"}),
    Case("ncm-base", "coarse", trained=("training_network.coarse_scale", "training_network.teacher")),
    Case("ncm-base", "fine", trained=NCM_FINE),
    Case("ncm-large", "fine", trained=NCM_FINE),
    Case("ncm-base-next", "coarse", trained=("training_network.coarse_scale",), t=2.0),
    Case("ncm-base-next", "fine", trained=NCM_FINE[:-1], t=2.0),
    Case("ncm-base", "all", {"progressive": False}),
    Case("apr-static", "frame", t=0.25),
    Case("apr-static", "patches", {"patch": 16}, APR_OWN, t=0.6),
    Case("apr", "frame", trained=("training_network.estimator", *APR_OWN), t=ANY),
    Case("apr", "patches", trained=APR_OWN, t=0.25),
    Case("apr", "routed", {"patch": 16}, (*APR_OWN, "training_network.router"), t=ANY),
    Case("ifrnet-s", options={"flow_teacher": "exact"}, t=ANY),
    Case("ifrnet", options={"flow_teacher": "off"}, t=0.25),
    Case("amt-s", options={"flow_teacher": "exact"}, t=ANY),
    Case("ema-vfi-small", t=ANY),
    Case("ebme", t=ANY, rate=1e-3),
    Case("hybrid", t=ANY, rate=1e-3),
]


def add_extra(objective: Objective, batch: Batch, shrink: int = 2) -> Batch:
    """Add what the objective's `prepare` would return, without its randomness."""
    if objective.model_name == "hybrid":
        # One motion that is nearly right and one that is far off.
        flows = torch.cat((-batch.t * batch.motion, (1 - batch.t) * batch.motion, batch.motion[:, :1] * 0), dim=1)
        batch.extra |= {"first": 0.8 * flows, "second": 0.1 * flows}
    if "fine" in objective.stages:
        batch.extra["shrink"] = torch.full((len(batch),), shrink)
    return batch


def get_network(objective: Objective) -> Any:
    """The network in training, with its teacher."""
    return objective.get_submodule("training_network")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_trainable_parameters_learn_and_the_others_do_not(case: Case) -> None:
    objective = case.objective()
    named = dict(objective.named_parameters())
    # The bias of EMA-VFI's position embedding cancels and is frozen.
    trainable = {n: p for n, p in named.items() if n.startswith(case.trained) and not n.endswith(".position.bias")}
    frozen = {n: p for n, p in named.items() if n not in trainable}
    assert {n for n, p in named.items() if p.requires_grad} == set(trainable)
    before = {n: p.detach().clone() for n, p in frozen.items()}
    batch = add_extra(objective, moving_waves(len(ANY) if case.t == ANY else 1, case.t))
    optimizer = torch.optim.Adam(trainable.values(), lr=case.rate)
    with_gradient: set[str] = set()
    losses = []
    # The second step also reaches the weights behind layers that are initialised with zeros.
    for _ in range(2):
        torch.manual_seed(2)
        terms = objective.loss(batch, 0.5)
        assert terms.total.ndim == 0
        assert all(part.ndim == 0 for part in terms.parts.values())
        losses.append(float(terms.total.detach()))
        optimizer.zero_grad()
        torch.autograd.backward(terms.total)
        assert [n for n, p in trainable.items() if p.grad is None or not bool(p.grad.isfinite().all())] == []
        with_gradient |= {n for n, p in trainable.items() if p.grad is not None and bool(p.grad.any())}
        optimizer.step()
    with torch.no_grad():
        torch.manual_seed(2)
        losses.append(float(objective.loss(batch, 0.5).total))
    # A bias in front of a normalization has no influence.
    assert {n for n, p in trainable.items() if p.ndim > 1} - with_gradient == set()
    assert all(p.grad is None and torch.equal(p, before[n]) for n, p in frozen.items())
    assert losses[-1] < 0.99 * losses[0], losses


@pytest.mark.parametrize(
    "options", [{"teacher": "flow"}, *({"reversal": r} for r in ("linear", "splat", "cnn"))], ids=str
)
def test_rife_learns_from_flows_of_ebme(options: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(EBMESplat().state_dict(), tmp_path / "ebme.safetensors")
    objective = Case("rife", options={**options, "flow_weights": str(tmp_path / "ebme.safetensors")}).objective()
    batch = moving_waves(1, 0.5)
    frozen = {n: p.detach().clone() for n, p in objective.named_parameters() if ".estimator." in n}
    assert frozen
    terms = objective.loss(batch, 0.0)
    assert terms.parts.keys() == {"reconstruction"} | ({"distillation"} if "teacher" in options else set())
    torch.autograd.backward(terms.total)
    for name, parameter in objective.named_parameters():
        assert (parameter.grad is None) == (name in frozen), name
    # What is exported is the network that makes the frames.
    exported = objective.exported_module.state_dict()
    with torch.no_grad():
        frame = objective.network(batch.frame0, batch.frame1, batch.t).frame
        again = load_network("rife", {"reversal": options.get("reversal", "none")})
        again.load_state_dict(exported)
        torch.testing.assert_close(again(batch.frame0, batch.frame1, batch.t).frame, frame)


@pytest.mark.parametrize("name", ["rife", "rife-4.25", "daek", "ncm-base"])
def test_without_distillation_nothing_but_the_student_is_trained(name: str) -> None:
    objective = Case(name, options={"distillation": 0}).objective()
    losses = objective.loss(add_extra(objective, moving_waves(1, 0.5)), 0.0)
    assert losses.parts.keys() == {"reconstruction"}
    student = objective.exported_module.state_dict()
    assert {n.removeprefix("training_network.") for n, _ in objective.named_parameters()} <= student.keys()


def test_the_last_block_teaches_the_others_alone() -> None:
    objective = Case("rife", options={"teacher": "last"}).objective()
    network, batch = get_network(objective), moving_waves(1, 0.5)
    stages = network(batch.frame0, batch.frame1, batch.t).stages
    better = stages[-1].merged.detach()
    # Where the last block's frame is the truth, it is better than the others'.
    loss = distillation_loss(stages[:-1], stages[-1], better)
    torch.autograd.backward(loss)
    assert all(p.grad is None for p in network.block2.parameters())
    assert all(p.grad is not None for p in network.block1.parameters())
    for wrong, message in (
        ({"teacher": "last", "blocks": 1}, "there is none for the last to teach"),
        ({"blocks": 4}, "1 to 3, not 4"),
        ({"widths": [8, 8]}, "three numbers"),
        ({"teacher": "daek", "reversal": "linear"}, "without a teacher"),
        ({"teacher": "daek", "name": "rife-next"}, "without a teacher"),
    ):
        with pytest.raises(UsageError, match=message):
            make_objective({"name": "rife", **wrong})
    for wrong in ({"teacher": "last"}, {"context": 8}):
        with pytest.raises(UsageError, match="are for the paper's RIFE"):
            make_objective({"name": "rife-4.6", **wrong})


def test_the_router_is_supervised_by_the_chosen_difference() -> None:
    """The square differs between the frames, the edge between the network's frame and the truth."""
    frames = torch.zeros(3, 1, 3, SIZE, SIZE)
    frames[2, :, :, :16, :16] = 1.0
    truth = torch.zeros(1, 3, SIZE, SIZE)
    truth[..., 48:, 48:] = 1.0
    t = torch.full((1, 1, 1, 1), 0.5)
    batch = Batch(frames[0], truth, frames[2], t, torch.zeros(1, 2, SIZE, SIZE), torch.zeros_like(t))
    for supervision, place in (("image", (0, 0)), ("reconstruction", (3, 3))):
        options = {"patch": 16, "keep": [1 / 16] * 4, "supervision": supervision}
        objective: Any = Case("apr", "routed", options).objective()
        output = get_network(objective)(batch.frame0, batch.frame1, t)
        output = replace(output, frame=torch.zeros_like(truth))
        reference = objective._reference(batch, output)
        assert reference[0, 0].nonzero().tolist() == [list(place)]


SAME_CODE = {
    "rife",
    "rife teacher=daek",
    "rife teacher=none,blocks=1",
    "rife-next",
    "daek CA=False",
    "daek SFA=False,F=False,teacher=rife",
    "daek F=False,CA=False,SFA=False,teacher=none",
    "ncm-base fine",
    "ncm-base-next coarse",
    "apr-static frame",
    "apr-static patches patch=16",
    "apr patches",
    "ifrnet flow_teacher=off",
}
"""Cases that run no code on the device that the others do not run."""


@pytest.mark.parametrize(
    "case", [*(case for case in CASES if str(case) not in SAME_CODE), Case("compact"), Case("compact-large")], ids=str
)
def test_training_gives_the_same_result_on_another_device(case: Case) -> None:
    objective = case.objective()
    batch = add_extra(objective, moving_waves(1, 0.25 if case.t == ANY else case.t))
    if case.name.startswith("compact"):
        batch.extra = {"search_motion": batch.motion, "logit": batch.motion[:, :1]}
    check_same_gradients(objective, batch)


def test_every_network_has_an_objective() -> None:
    networks = {name for name, info in MODELS.items() if info.has_network}
    # Networks with test-time augmentation share weights; the codec is not an interpolation model.
    assert networks - {"rife-2t", "rife-large", "rife-large-next"} == set(OBJECTIVES) - {"codec"}


@pytest.mark.parametrize(
    "name", ["rife", "rife-4.25", "daek", "ncm-base", "ncm-large-next", "apr", "apr-static", "amt-s"]
)
def test_the_exported_module_is_the_network_of_that_name(name: str) -> None:
    with torch.device("meta"):
        objective = make_objective({"name": name, **({"flow_teacher": "off"} if name == "amt-s" else {})})
        network = load_network(name)
    exported = objective.exported_module.state_dict()
    named = getattr(network, "network", network).state_dict()
    assert {n: p.shape for n, p in exported.items()} == {n: p.shape for n, p in named.items()}
    assert sum(p.numel() for p in objective.exported_module.parameters()) == model_info(name).parameters
    assert objective.model_name == name
    assert {id(p) for p in objective.exported_module.parameters()} <= {id(p) for p in objective.parameters()}


@pytest.mark.parametrize("name", ["rife", "daek", "rife-4.22-lite"])
def test_the_validated_network_gives_the_frames_of_the_student(name: str) -> None:
    objective = Case(name).objective()
    batch = moving_waves(1, 0.5)
    with torch.no_grad():
        output = get_network(objective).distil(batch.frame0, batch.frame1, batch.t, batch.truth)
        frame = objective.network(batch.frame0, batch.frame1, batch.t).frame
    torch.testing.assert_close(frame, output.student.frame)


def test_hybrid_is_trained_with_the_motions_that_it_uses_for_inference() -> None:
    objective = make_objective({"name": "hybrid"})
    frames = moving_waves(1, 0.5)
    images = [
        (255 * x[0].permute(1, 2, 0).numpy()).round().astype(np.uint8)
        for x in (frames.frame0, frames.truth, frames.frame1)
    ]
    motions = objective.prepare(np.random.default_rng(0), TrainingSample(np.stack(images), 0.5))
    for motion in motions.values():
        assert motion.shape == (SIZE, SIZE, 5)
        np.testing.assert_allclose(motion[16:-16, 16:-16, :4].mean(axis=(0, 1)), [-2, 1, 2, -1], atol=0.5)
    pair = objective.interpolator("cpu").prepare(*(p.astype(np.float32) / 255 for p in (images[0], images[2])))
    flows = pair.motion(0.5)
    np.testing.assert_allclose(flows.other.flow_t1[16:-16, 16:-16].mean(axis=(0, 1)), [2, -1], atol=0.5)


def black_sample(t: float, side: int = SIZE) -> TrainingSample:

    return TrainingSample(np.zeros((3, side, side, 3), np.uint8), t)


def test_a_network_refuses_target_times_that_it_is_not_trained_on() -> None:
    rng = np.random.default_rng(0)
    middle, between = make_objective({"name": "rife"}), make_objective({"name": "ebme"})
    assert middle.prepare(rng, black_sample(0.5)) == between.prepare(rng, black_sample(0.25)) == {}
    with pytest.raises(
        UsageError, match=r"rife is trained on the middle frame only, t = 1/2, but the data has t = 0\.25"
    ):
        middle.prepare(rng, black_sample(0.25))
    with pytest.raises(UsageError, match="ebme is trained on frames in between"):
        between.prepare(rng, black_sample(2.0))
    extrapolating = make_objective({"name": "ncm-base-next"})
    assert {int(extrapolating.prepare(rng, black_sample(2.0))["shrink"]) for _ in range(30)} == {1, 2, 4}
    with pytest.raises(UsageError, match="extrapolation only, t = 2"):
        extrapolating.prepare(rng, black_sample(0.5))


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"compact", "compact-large"}))
def test_an_unknown_setting_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=rf"\[network\]( of {re.escape(name)})? has no setting 'distilation'"):
        make_objective({"name": name, "distilation": 0.1})


@pytest.mark.parametrize("case", [Case("ifrnet-s", options={"flow_teacher": "exact"}), Case("rife")], ids=str)
def test_a_loss_is_a_mean_over_its_samples(case: Case) -> None:
    objective, batch = case.objective(), moving_waves(2, 0.5)
    # The motion of one sample is unknown.
    batch.exact[1] = 0.0
    with torch.no_grad():
        whole = objective.loss(batch, 0.0).total
        parts = [objective.loss(batch.part(i, i + 1), 0.0).total for i in range(2)]
    torch.testing.assert_close(whole, torch.stack(parts).mean())


def test_losses_are_computed_in_float32_under_autocast() -> None:
    objective, batch = Case("ebme").objective(), moving_waves(1, 0.5)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        total = objective.loss(batch, 0.0).total
        frame = get_network(objective)(batch.frame0, batch.frame1, batch.t).frame.float()
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, charbonnier(frame, batch.truth) + 0.1 * census(frame, batch.truth))


def test_the_coarse_module_gets_frames_of_the_drawn_size() -> None:
    objective = Case("ncm-base", "fine").objective()
    sizes = []
    get_network(objective).coarse_scale.pyramid.register_forward_pre_hook(
        lambda _, given: sizes.append(given[0].shape[-1])
    )
    for shrink in (4, 2, 1):
        with torch.no_grad():
            objective.loss(add_extra(objective, moving_waves(1, 0.5), shrink), 0.0)
    assert sizes == [16, 32, 64]


def test_the_route_loss_has_its_weight() -> None:
    objective = Case("apr", "routed", {"patch": 16, "route": 5.0}).objective()
    parts = (terms := objective.loss(moving_waves(2, 0.5), 0.0)).parts
    assert {"route", "kept 1", "kept 4"} <= set(parts)
    expected = parts["reconstruction"] + 0.1 * parts["census"] + 5.0 * parts["route"]
    torch.testing.assert_close(terms.total.detach(), expected)


@pytest.fixture
def flow_weights(tmp_path: Path) -> tuple[str, EBMESplat]:
    """A weights file with the names of EBME's authors, and its network."""
    torch.manual_seed(5)
    network = EBMESplat()
    path = tmp_path / "flow.pth"
    torch.save({f"module.{n.removeprefix('estimator.')}": p for n, p in network.state_dict().items()}, path)
    return str(path), network


def test_a_pretrained_estimator_is_frozen_in_all_stages(flow_weights: tuple[str, EBMESplat]) -> None:
    path, network = flow_weights
    objective = make_objective({"name": "apr", "weights": path})
    estimator: nn.Module = get_network(objective).estimator
    for stage in objective.stages:
        objective.begin_stage(stage)
        assert not any(p.requires_grad for p in estimator.parameters())
    torch.testing.assert_close(estimator.state_dict(), network.estimator.state_dict())


@pytest.mark.parametrize("name", ["ifrnet-s", "amt-s"])
def test_flows_are_distilled_from_a_flow_network(name: str, flow_weights: tuple[str, EBMESplat]) -> None:
    path, network = flow_weights
    objective = make_objective({"name": name, "flow_weights": path})
    batch = moving_waves(1, 0.4)
    teacher_flows: list[Tensor] = []
    teacher: Any = objective.get_submodule("flow_teacher")
    teacher.estimator.register_forward_hook(lambda _, inputs, output: teacher_flows.append(output[0]))
    terms = objective.loss(batch, 0.0)
    torch.autograd.backward(terms.total)
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert float(terms.parts["flow"]) > 0.0
    for flow, frame in zip(teacher_flows[0], (batch.frame0, batch.frame1), strict=True):
        torch.testing.assert_close(flow[None], network.estimator(batch.truth, frame)[0], atol=1e-4, rtol=0)


def test_a_flow_teacher_without_weights_is_an_error() -> None:
    with pytest.raises(UsageError, match="No weights of ebme are installed"):
        make_objective({"name": "ifrnet-s"})


def test_the_routed_network_starts_from_the_static_one(tmp_path: Path) -> None:
    torch.manual_seed(7)
    weights = load_network("apr-static").state_dict()
    torch.save(weights, tmp_path / "static.pth")
    started = make_objective({"name": "apr", "static": str(tmp_path / "static.pth")}).exported_module.state_dict()
    assert all(torch.equal(started[name], value) for name, value in weights.items())


def test_a_crop_of_the_wrong_size_is_refused() -> None:
    rng = np.random.default_rng(0)
    for name, side in (("rife", 80), ("rife-4.25", 96), ("ncm-base", 96), ("apr", 32)):
        with pytest.raises(UsageError, match=rf"{name} needs crops .*, not {side}: set 'crop' in \[train\]"):
            make_objective({"name": name}).prepare(rng, black_sample(0.5, side))


def test_invalid_network_settings_are_refused() -> None:
    with pytest.raises(UsageError, match=r"\[network\] of apr is not valid: `patch` is 6"):
        make_objective({"name": "apr", "patch": 6})
    with pytest.raises(UsageError, match=r"\[network\] of ncm-base is not valid: `flow_guided`"):
        make_objective({"name": "ncm-base", "flow_guided": True, "motion_feature": False})


class PerfectFlows(nn.Module):
    """Returns the exact flows of `moving_waves` from the true frame to each input frame, times `scale`."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, frame0: Tensor, frame1: Tensor) -> tuple[Tensor, Tensor]:
        half = torch.tensor([2.0, -1.0]).reshape(1, 2, 1, 1).expand(len(frame0) // 2, 2, SIZE, SIZE)
        return self.scale * torch.cat((-half, half)), torch.zeros_like(frame0[:, :2])


@pytest.mark.parametrize(("known", "scale", "supervised"), [(0, 1.0, 1), (0, 0.0, 0), (0, None, 0), (1, None, 1)])
def test_compact_learns_real_motion_where_the_teacher_is_better(
    known: int, scale: float | None, supervised: int
) -> None:
    objective, batch = Case("compact").objective(), moving_waves(2, 0.5)
    batch.exact[:] = known
    # The result of a search that found no motion.
    batch.extra = {"search_motion": torch.zeros_like(batch.motion), "logit": torch.zeros_like(batch.motion[:, :1])}
    if scale is not None:
        objective.teacher.estimator = PerfectFlows(scale)
    flow = objective.loss(batch, 0.0).parts["flow"]
    assert bool(flow > 0.5) == bool(supervised)
    assert bool(flow == 0) != bool(supervised)
