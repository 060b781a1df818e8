"""Small experiments on claims: the same start, the same scenes, resumed runs, and what is reported."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from betwixt.cli.main import run as cli
from betwixt.errors import InputError, UsageError
from betwixt.training import claims
from betwixt.training.claims import CLAIMS, Claim, reproduce_claim
from betwixt.training.objectives.registry import make_objective
from betwixt.training.training_log import SilentReporter


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(5):
        small = rng.integers(0, 256, (12, 16, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(small, (320, 240), interpolation=cv2.INTER_CUBIC))
    return folder


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Claim:
    """A claim with networks of a few channels."""
    network = {"name": "rife", "widths": [8, 8, 8], "context": 4}
    claim = CLAIMS["rife-distillation"]
    claim = replace(
        claim,
        treatment=replace(claim.treatment, network=network),
        control=replace(claim.control, network={**network, "teacher": "none"}),
        size=64,
        batch=2,
    )
    monkeypatch.setitem(CLAIMS, "tiny", claim)
    return claim


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=list(CLAIMS))
def test_a_claim_compares_networks_that_can_be_trained_in_its_stages(claim: Claim) -> None:
    with torch.device("meta"):
        treatment, control = (make_objective(arm.network) for arm in claim.arms)
    for arm, objective in zip(claim.arms, (treatment, control), strict=True):
        # A claim that begins with trained weights needs one of the stages.
        stages = tuple(stage for stage, _ in arm.stages)
        assert stages == objective.stages or (claim.cost and set(stages) < set(objective.stages))
        assert sum(share for _, share in arm.stages) == 1.0
    assert claim.treatment.network != claim.control.network
    assert treatment.network.extrapolates == control.network.extrapolates == claim.extrapolation


def test_both_arms_begin_with_the_same_weights(tiny: Claim) -> None:
    treatment, control = claims._same_start(tiny, 3)
    assert any("block_tea" in name for name, _ in treatment.named_parameters())
    other = dict(treatment.named_parameters())
    for name, parameter in control.named_parameters():
        assert torch.equal(parameter, other[name])


def test_scenes_depend_on_their_number_alone(photographs: Path, tiny: Claim) -> None:
    images, _ = claims.read_images(photographs)
    together = claims.make_batch(tiny, None, images, 1, range(2))
    alone = claims.make_batch(tiny, None, images, 1, [1])
    assert torch.equal(together.truth[1:], alone.truth)
    middle = claims.make_batch(tiny, None, images, 1, [0])
    last = claims.make_batch(replace(tiny, extrapolation=True), None, images, 1, [0])
    assert torch.equal(last.truth, middle.frame1)
    assert torch.equal(last.frame1, middle.truth)
    assert float(last.t) == 2.0


@pytest.mark.usefixtures("tiny")
def test_a_run_is_resumed_and_reported(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reproduce(folder: str, **options: int) -> dict[str, object]:
        output = tmp_path / folder
        reproduce_claim("tiny", photographs, output, SilentReporter(), tests=4, **{"samples": 6, **options})
        return json.loads((output / "result.json").read_text())

    whole = reproduce("whole")
    # An interruption after the second step of the second arm.
    made = claims.make_batch
    calls: list[int] = []

    def stop(claim: Claim, objective: object, images: object, seed: int, numbers: range) -> object:
        if objective is not None:
            calls.append(numbers[0])
        if len(calls) == 6:
            raise KeyboardInterrupt
        return made(claim, objective, images, seed, numbers)

    monkeypatch.setattr(claims, "_SAVE_SECONDS", 0.0)
    monkeypatch.setattr(claims, "make_batch", stop)
    with pytest.raises(KeyboardInterrupt):
        reproduce("parts")
    monkeypatch.setattr(claims, "make_batch", made)
    assert reproduce("parts") == whole
    gain = whole["difference"]
    scores = list(whole["scores"].values())
    assert gain["mean"] == pytest.approx(np.mean(np.subtract(*scores)))
    assert gain["low"] <= gain["mean"] <= gain["high"]
    with pytest.raises(UsageError, match="other settings"):
        reproduce("parts", seed=2)


def test_routed_and_static_weights_are_compared_in_quality_and_cost(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CLAIMS, "apr-routing", replace(CLAIMS["apr-routing"], size=64))
    torch.manual_seed(0)
    static = make_objective({"name": "apr-static"}).network
    save_file({name: value.half() for name, value in static.state_dict().items()}, tmp_path / "static.safetensors")
    routed = make_objective({"name": "apr", "patch": 32}).network
    routed.load_state_dict(static.state_dict(), strict=False)
    # A router that lets only blocks 1 and 2 be passed, by every patch.
    routed.router.choice.weight.data.zero_()
    routed.router.choice.bias.data = torch.tensor([-1.0, 1.0, -1.0, 1.0, 1.0, -1.0, 1.0, -1.0])
    save_file({name: value.half() for name, value in routed.state_dict().items()}, tmp_path / "routed.safetensors")
    options = {"tests": 2, "weights": tmp_path / "static.safetensors"}
    result = reproduce_claim(
        "apr-routing", photographs, tmp_path / "out", SilentReporter(), samples=0,
        treatment_weights=tmp_path / "routed.safetensors", **options,
    )  # fmt: skip
    change = result.cost_changes["multiply-adds"]
    assert -9 < change.mean < -6  # blocks 3 and 4 have 8.2 % of the operations, the router 0.6 %
    assert change.low == pytest.approx(change.high)
    assert result.cost_changes["seconds"].mean < 50
    assert json.loads((tmp_path / "out" / "result.json").read_text())["cost_changes"]["multiply-adds"]
    # From the static weights alone, one step trains the router, too.
    result = reproduce_claim("apr-routing", photographs, tmp_path / "two", SilentReporter(), samples=2, **options)
    assert result.samples == 2
    state = torch.load(tmp_path / "two" / "treatment.pt", weights_only=True)["objective"]
    trained = {
        name
        for name, value in static.state_dict().items()
        if not torch.equal(state[f"training_network.{name}"], value.half().float())
    }
    assert trained
    assert not any(name.startswith("estimator.") for name in trained)
    for arguments, message in (
        ({}, "pass `weights`"),
        ({"weights": tmp_path / "other.safetensors"}, "holds weights of another network"),
    ):
        save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
        with pytest.raises((UsageError, InputError), match=message):
            reproduce_claim("apr-routing", photographs, tmp_path / "three", SilentReporter(), **arguments)
    assert not (tmp_path / "three").exists()


def test_the_command_lists_claims_and_refuses_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["reproduce"]) == 0
    assert all(name in capsys.readouterr().out for name in ["rife-distillation"])
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, message in (
        (["rife-distilation", "--images", str(empty)], "did you mean rife-distillation"),
        (["rife-distillation"], "pass --images"),
        (["rife-distillation", "--images", str(empty), "--output", str(tmp_path / "x")], "at least five are needed"),
        (["rife-distillation", "--images", str(empty), "--samples", "1"], "--samples has to be at least 8"),
    ):
        assert cli(["reproduce", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not (tmp_path / "x").exists()
