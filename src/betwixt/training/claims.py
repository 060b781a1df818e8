"""Small experiments on the papers' central claims: two networks that differ in one thing, trained on the CPU.

    photographs ──► layered scenes ──┬──► network with    ──► PSNR of each test scene ──┬──► difference, 95 % interval
                                     └──► network without ──► PSNR of each test scene ──┘

Both arms of a claim begin with the same values wherever their parameters have the same name and shape, see the same
scenes in the same order (`betwixt.training.layered_scenes`), and train by the objective, the losses and the stages of
their recipes, with one schedule. Every fifth photograph is kept for the test. The difference is taken scene by scene;
its interval is a bootstrap over the test scenes, so it does not include the variation between seeds.

Networks and budgets are far smaller than the papers': a difference supports a claim, and no difference does not refute
it. Both arms can begin with trained weights; parts that these lack begin at random. A claim on cost also counts the
multiply-adds of every test scene, as it was computed, and times it: the second of two runs, arm after arm.

    OUTPUT/settings.json   claim, samples, seed and weights; a run with others is refused
    OUTPUT/ARM.pt          a network and its optimizer, every few minutes and at the end; the same command resumes
    OUTPUT/result.json     settings, PSNR of every test scene and arm, means, difference and intervals; costs
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from betwixt.errors import InputError, UsageError, did_you_mean
from betwixt.evaluation.scores import SampleStatistics, summarize
from betwixt.files import file_hash, write_atomically, write_error
from betwixt.training.layered_scenes import Image8, make_scene, read_images
from betwixt.training.objectives.base import Batch, Objective
from betwixt.training.objectives.registry import make_objective
from betwixt.training.sample import TrainingSample
from betwixt.training.training_log import ProgressReporter
from betwixt.weights.load import match_tensors, read_tensors

TEST_SCENES, _TEST_SEED = 128, 10**6
_SAVE_SECONDS = 180.0

_SMALL_RIFE: dict[str, Any] = {"widths": [64, 48, 32], "context": 8}


@dataclass(frozen=True)
class Arm:
    """One of the two networks of a claim.

    Attributes:
        label: A description in a few words.
        network: Its [network] table, as in a recipe.
        stages: The stages of its training, in order, each with its share of the samples.
    """

    label: str
    network: Mapping[str, Any]
    stages: tuple[tuple[str, float], ...] = (("all", 1.0),)


@dataclass(frozen=True)
class Claim:
    """A claim of a paper.

    Attributes:
        paper: The paper, as in published.csv.
        text: The claim, with the paper's figures.
        treatment: The network with what is claimed to help.
        control: The network without it.
        samples: Training scenes of each arm, by default.
        tests: Test scenes, by default.
        max_motion: The largest displacement of a layer from frame 0 to frame 1, pixels.
        size: Side of the frames, pixels.
        batch: Scenes per step.
        learning_rate: Its peak.
        extrapolation: Whether the third frame is predicted from the first two.
        cost: Whether the claim is on cost: multiply-adds and seconds are measured, and both arms need trained weights.
    """

    paper: str
    text: str
    treatment: Arm
    control: Arm
    samples: int = 24_000
    tests: int = TEST_SCENES
    max_motion: float = 32.0
    size: int = 128
    batch: int = 8
    learning_rate: float = 3e-4
    extrapolation: bool = False
    cost: bool = False

    @property
    def arms(self) -> tuple[Arm, Arm]:
        """Both arms: treatment and control."""
        return self.treatment, self.control


_NCM_STAGES = (("coarse", 0.75), ("fine", 0.25))
_NCM: dict[str, Any] = {"samples": 3_000, "max_motion": 64.0, "batch": 4}

CLAIMS: dict[str, Claim] = {
    "rife-distillation": Claim(
        "rife",
        "privileged distillation improves RIFE (section 3.3, table 4)",
        Arm("with a privileged teacher", {"name": "rife", **_SMALL_RIFE}),
        Arm("without a teacher", {"name": "rife", "teacher": "none", **_SMALL_RIFE}),
    ),
    "daek-distillation": Claim(
        "daek",
        "DAEK's teacher is better for RIFE than its own: 35.49 against 35.32 dB on Vimeo-90K (tables I and III)",
        Arm("with DAEK's teacher", {"name": "rife", "teacher": "daek", **_SMALL_RIFE}),
        Arm("with RIFE's teacher", {"name": "rife", **_SMALL_RIFE}),
        samples=8_000,
    ),
    "apr-routing": Claim(
        "apr-vfi",
        "routing saves 29 % of the multiply-adds and 19 % of the time for 0.21 dB on Xiph-2K (table 1)",
        Arm("with routes", {"name": "apr", "patch": 32}, (("routed", 1.0),)),
        Arm("all blocks on whole frames", {"name": "apr-static", "patch": 32}, (("frame", 1.0),)),
        samples=300,
        tests=32,
        size=192,
        batch=2,
        learning_rate=1e-4,
        cost=True,
    ),
    "ncm-matching": Claim(
        "ncm",
        "neighbor matching helps where motion is large: 31.63 against 30.98 dB on X4K1000FPS (table 3)",
        Arm("with matching", {"name": "ncm-base"}, _NCM_STAGES),
        Arm("without matching", {"name": "ncm-base", "motion_feature": False}, _NCM_STAGES),
        **_NCM,
    ),
    "ncm-matching-next": Claim(
        "ncm",
        "neighbor matching helps extrapolation: 27.69 dB on X4K1000FPS against 26.34 for RIFE (table 2)",
        Arm("with matching", {"name": "ncm-base-next"}, _NCM_STAGES),
        Arm("without matching", {"name": "ncm-base-next", "motion_feature": False}, _NCM_STAGES),
        extrapolation=True,
        **_NCM,
    ),
    "ncm-progressive": Claim(
        "ncm",
        "training in two stages helps in large frames: 30.93 against 30.00 dB on X4K1000FPS (table 3)",
        Arm("in two stages", {"name": "ncm-base", "image_feature": False, "motion_feature": False}, _NCM_STAGES),
        Arm(
            "in one stage",
            {"name": "ncm-base", "image_feature": False, "motion_feature": False, "progressive": False},
        ),
        **_NCM,
    ),
}
"""The claims by name."""


@dataclass(frozen=True)
class ClaimResult:
    """The result of an experiment on a claim.

    Attributes:
        claim: The name of the claim.
        samples: Training scenes of each arm.
        seed: Seed of the initial weights and the training scenes.
        scores: PSNR of every test scene, by the label of the arm, in dB.
        costs: Of a claim on cost: "multiply-adds", in units of 10^9, and "seconds" of every test scene, by the label of
            the arm.
    """

    claim: str
    samples: int
    seed: int
    scores: dict[str, list[float]] = field(default_factory=dict)
    costs: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def mean(self, arm: Arm) -> SampleStatistics:
        """The mean PSNR of an arm and its interval, dB."""
        return _summarize(self.scores[arm.label])

    @property
    def difference(self) -> SampleStatistics:
        """The mean over the test scenes of treatment minus control, and its interval, dB."""
        treatment, control = (self.scores[arm.label] for arm in CLAIMS[self.claim].arms)
        return _summarize([a - b for a, b in zip(treatment, control, strict=True)])

    @property
    def cost_changes(self) -> dict[str, SampleStatistics]:
        """By how much treatment costs more than control, scene by scene, and its interval, in percent; by the cost."""
        labels = [arm.label for arm in CLAIMS[self.claim].arms]
        changes = {}
        for name in self.costs.get(labels[0], ()):
            treatment, control = (self.costs[label][name] for label in labels)
            changes[name] = _summarize([100 * (a / b - 1) for a, b in zip(treatment, control, strict=True)])
        return changes

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON can hold it."""
        claim = CLAIMS[self.claim]
        return {
            **asdict(self),
            "paper": claim.paper,
            "text": claim.text,
            "means": {arm.label: asdict(self.mean(arm)) for arm in claim.arms},
            "difference": asdict(self.difference),
            "cost_changes": {name: asdict(change) for name, change in self.cost_changes.items()},
        }


def find_claim(name: str) -> Claim:
    """A claim by name.

    Raises:
        UsageError: if there is none.
    """
    if name not in CLAIMS:
        raise UsageError(f"There is no claim '{name}': {did_you_mean(name, CLAIMS, 'see `betwixt reproduce`')}")
    return CLAIMS[name]


def reproduce_claim(
    name: str,
    images: Path,
    output: Path,
    report: ProgressReporter,
    *,
    samples: int | None = None,
    tests: int | None = None,
    seed: int = 1,
    threads: int = 1,
    weights: Path | None = None,
    treatment_weights: Path | None = None,
) -> ClaimResult:
    """Train both arms of a claim, one after the other, and compare them. An interrupted run is resumed.

    Args:
        name: The claim.
        images: A folder of photographs.
        output: The folder of the networks and of the result.
        report: Gets the progress.
        samples: Training scenes of each arm; None for the claim's own number, 0 to compare weights as they are.
        tests: The number of test scenes; None for the claim's own number.
        seed: Seed of the initial weights and the training scenes.
        threads: CPU threads.
        weights: A weights file that both arms begin with.
        treatment_weights: A weights file that the treatment begins with, in place of `weights`.

    Raises:
        UsageError: if there is no such claim, the folder has a run with other settings, or weights are missing.
        InputError: if there are too few images, or a file of the run or of weights is damaged or does not fit.
        OutputError: if the folder cannot be written.
    """
    claim = find_claim(name)
    least = claim.batch if weights is None else 0
    tests = claim.tests if tests is None else tests
    if (samples is not None and samples < least) or tests < 2 or threads < 1:
        raise UsageError(f"`samples` has to be at least {least}, `tests` at least 2, `threads` at least 1.")
    if weights is None and (claim.cost or treatment_weights is not None):
        raise UsageError(f"The networks of {name} begin with trained weights: pass `weights`, a file of them.")
    torch.set_num_threads(threads)
    training, test = read_images(images)
    samples = claim.samples if samples is None else samples
    result = ClaimResult(name, samples, seed)
    start = _same_start(claim, seed)
    run_settings: dict[str, Any] = {"claim": name, "samples": samples, "seed": seed}
    for key, path, objectives in (("weights", weights, start), ("treatment_weights", treatment_weights, start[:1])):
        if path is not None:
            for objective in objectives:
                _begin_with(objective, path)
            run_settings[key] = file_hash(path)[:12]
    _open_folder(output, run_settings)
    for number, (arm, objective) in enumerate(zip(claim.arms, start, strict=True)):
        trainer = _ArmTrainer(claim, arm, objective, training, result.samples, seed)
        trainer.train(output / f"{('treatment', 'control')[number]}.pt", report)
        objective.begin_stage(arm.stages[-1][0])  # a resumed run may have nothing to train
        result.scores[arm.label] = _score(claim, objective, test, tests)
    if claim.cost:
        result.costs.update(_measure_costs(claim, start, test, tests))
    write_atomically(output / "result.json", json.dumps(result.as_dict(), indent=1) + "\n")
    return result


def _open_folder(output: Path, settings: Mapping[str, Any]) -> None:
    """Make the folder of a run, or check that the run in it has these settings."""
    known = output / "settings.json"
    try:
        output.mkdir(parents=True, exist_ok=True)
        if known.exists():
            if json.loads(known.read_text(encoding="utf-8")) != dict(settings):
                raise UsageError(f"{output} has a run with other settings: pass another folder.")
        else:
            write_atomically(known, json.dumps(settings) + "\n")
    except OSError as error:
        raise write_error(error, output) from None
    except ValueError:
        raise InputError(f"{known} is damaged: pass another folder.") from None


def _same_start(claim: Claim, seed: int) -> list[Objective]:
    """The objectives of both arms, with equal values of the parameters that both have."""
    objectives = []
    for arm in claim.arms:
        torch.manual_seed(seed)
        objectives.append(make_objective(arm.network))
    treatment, control = (dict(objective.named_parameters()) for objective in objectives)
    with torch.no_grad():
        for name, parameter in control.items():
            if name in treatment and treatment[name].shape == parameter.shape:
                parameter.copy_(treatment[name])
    return objectives


def _begin_with(objective: Objective, path: Path) -> None:
    """Load the weights of a file; parts of the network that it lacks, such as a router, keep their values.

    Raises:
        InputError: if the file cannot be read, or is of another network.
    """
    network = objective.exported_module
    own, found = network.state_dict(), read_tensors(path)
    fitting = {name: found[name] for name in own if name in found and found[name].shape == own[name].shape}
    if len(fitting) < 0.5 * len(own) or len(fitting) < sum(name in own for name in found):
        raise InputError(f"{path} holds weights of another network than {objective.model_name}.")
    network.load_state_dict(match_tensors(network, {**own, **fitting}, path).tensors)


class _ArmTrainer:
    """Trains one arm stage by stage with AdamW; in each stage the learning rate warms up and falls by a cosine."""

    def __init__(
        self, claim: Claim, arm: Arm, objective: Objective, images: Sequence[Image8], samples: int, seed: int
    ) -> None:
        self.claim, self.arm, self.objective, self.images = claim, arm, objective, images
        self.samples, self.seed = samples, seed

    def train(self, path: Path, report: ProgressReporter) -> None:
        """Train to the end, from the state in a file if there is one; it is written every few minutes."""
        claim, objective = self.claim, self.objective
        state: dict[str, Any] | None = None
        if path.exists():
            try:
                state = torch.load(path, weights_only=True)
            except Exception:
                raise InputError(f"{path} is damaged: pass another folder.") from None
            objective.load_state_dict(state["objective"])
        done = 0 if state is None else int(state["samples"])
        begin, saved = 0.0, time.monotonic()
        for stage, share in self.arm.stages:
            first, end = (round(self.samples * part) for part in (begin, begin + share))
            begin += share
            if done >= end:
                continue
            objective.begin_stage(stage)
            objective.train()
            trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
            optimizer = torch.optim.AdamW(trained, claim.learning_rate, weight_decay=1e-4)
            if state is not None and done > first:
                optimizer.load_state_dict(state["optimizer"])
            state = None
            while done < end:
                progress = (done - first) / (end - first)
                for group in optimizer.param_groups:
                    group["lr"] = self._learning_rate(progress)
                numbers = range(done, min(done + claim.batch, end))
                torch.manual_seed(self.seed + 7 * done)
                loss = objective.loss(make_batch(claim, objective, self.images, self.seed, numbers), progress)
                optimizer.zero_grad()
                torch.autograd.backward(loss.total)
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimizer.step()
                done = numbers[-1] + 1
                report.step(done, self.samples, self.arm.label, {"loss": float(loss.total.detach())})
                if time.monotonic() - saved > _SAVE_SECONDS or done == end:
                    self._save(path, optimizer, done)
                    saved = time.monotonic()

    def _learning_rate(self, progress: float) -> float:
        """The learning rate at `progress` in [0, 1) of a stage: it rises for 5 %, then falls to a thirtieth."""
        peak = self.claim.learning_rate
        return min(1.0, 20 * progress + 0.02) * peak * (1 / 30 + 29 / 60 * (1 + math.cos(math.pi * progress)))

    def _save(self, path: Path, optimizer: torch.optim.Optimizer, done: int) -> None:
        state = {"objective": self.objective.state_dict(), "optimizer": optimizer.state_dict(), "samples": done}
        partial = path.with_suffix(".part")
        try:
            torch.save(state, partial)
            partial.replace(path)
        except OSError as error:
            raise write_error(error, path) from None


def make_batch(
    claim: Claim, objective: Objective | None, images: Sequence[Image8], seed: int, numbers: Sequence[int]
) -> Batch:
    """A batch of scenes; scene k depends on the seed and on k alone.

    Args:
        claim: Gives their size, largest motion, and the time of the true frame.
        objective: Prepares further inputs of the loss; None for none.
        images: The photographs.
        seed: Seed of the scenes.
        numbers: The numbers k of the scenes.
    """
    scenes, extras = [], []
    t = 2.0 if claim.extrapolation else 0.5
    for number in numbers:
        rng = np.random.default_rng((seed, number))
        frames, _, _ = make_scene(rng, images, claim.size, claim.max_motion)
        # Of three frames at equal distances the last is predicted, or the middle one.
        frames = frames[[0, 2, 1]] if claim.extrapolation else frames
        scenes.append(frames)
        if objective is not None:
            extras.append(objective.prepare(rng, TrainingSample(frames, t)))
    first, truth, second = torch.from_numpy(np.stack(scenes)).permute(1, 0, 4, 2, 3).float() / 255
    times = torch.full((len(scenes), 1, 1, 1), t)
    nothing = torch.zeros(len(scenes), 2, claim.size, claim.size)
    extra = {
        name: torch.from_numpy(np.stack([np.asarray(e[name]) for e in extras]))
        for name in (extras[0] if extras else ())
    }
    return Batch(first, truth, second, times, nothing, torch.zeros_like(times), extra)


def _score(claim: Claim, objective: Objective, images: Sequence[Image8], tests: int) -> list[float]:
    """PSNR of the frame of every test scene, rounded to 8 bits, in dB."""
    network = objective.network.eval()
    scores: list[float] = []
    with torch.inference_mode():
        for begin in range(0, tests, claim.batch):
            numbers = range(begin, min(begin + claim.batch, tests))
            batch = make_batch(claim, None, images, _TEST_SEED, numbers)
            frame: Tensor = network(batch.frame0, batch.frame1, batch.t).frame.float().clamp(0, 1)
            error = ((frame * 255).round() / 255 - batch.truth).square().mean(dim=(1, 2, 3))
            scores += (-10 * torch.log10(error.clamp(min=1e-10))).tolist()
    return scores


def _measure_costs(
    claim: Claim, objectives: Sequence[Objective], images: Sequence[Image8], tests: int
) -> dict[str, dict[str, list[float]]]:
    """Multiply-adds, in units of 10^9, and seconds of every test scene, by the label of the arm."""
    labels = [arm.label for arm in claim.arms]
    networks = [objective.network.eval() for objective in objectives]
    costs: dict[str, dict[str, list[float]]] = {label: {"multiply-adds": [], "seconds": []} for label in labels}
    with torch.inference_mode():
        for number in range(tests):
            batch = make_batch(claim, None, images, _TEST_SEED, [number])
            frames = batch.frame0, batch.frame1, batch.t
            for label, network in zip(labels, networks, strict=True):
                with FlopCounterMode(display=False) as counter:
                    network(*frames)
                costs[label]["multiply-adds"].append(counter.get_total_flops() / 2e9)
                began = time.perf_counter()
                network(*frames)
                costs[label]["seconds"].append(time.perf_counter() - began)
    return costs


def _summarize(scores: Sequence[float]) -> SampleStatistics:
    return summarize(scores, [str(number) for number in range(len(scores))])
