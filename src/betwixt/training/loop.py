"""The training loop, on one device or many, the same recipe.

    batches ──► objective.loss ──► backward ──► clip ──► optimizer ──► moving average ──► validation, checkpoint, curve
    (feed)      (forward of the    (gradients: the mean                (of what ships)
                 Fabric module)     over devices and parts)

Devices, processes and precision are Lightning Fabric's. A step is `batch` samples, however many devices share it and in
however many parts each does its share. All chance of a step comes from the recipe's seed, the step and the device; a
run that was stopped goes on with the samples that it has not seen, bit for bit as if it had not been stopped (on one
device whose arithmetic is deterministic: a CPU).
"""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from betwixt.backends.devices import check_device, cpu_computes_in_bf16
from betwixt.errors import InputError, UsageError
from betwixt.training.batches import ProcessRank, draw_from_pool, load_batches, move_to_device
from betwixt.training.checkpoint import (
    Checkpoint,
    TrainingProgress,
    averaged_tensors,
    check_checkpoint,
    code_hash,
    read_checkpoint,
    restore,
    write_checkpoint,
)
from betwixt.training.curve import add_row
from betwixt.training.deterministic_opencv import deterministic_opencv
from betwixt.training.objectives.base import Batch, Objective
from betwixt.training.objectives.registry import make_objective
from betwixt.training.recipe import Recipe, TrainingStage, TrainSettings, learning_rate
from betwixt.training.recipe_sampler import RecipeSampler
from betwixt.training.validation import DevelopmentSet, development_sets, use_averaged_weights, validate

__all__ = ["CHECKPOINT", "SMALL", "ProgressReporter", "TrainingRun", "train"]

CHECKPOINT, SMALL = "checkpoint.safetensors", "small.safetensors"
"""The files that a run goes on from, the first that is there."""

_TOGETHER = 16
"""Several processes agree on when to stop, save and validate once in so many steps."""


class ProgressReporter(Protocol):
    """Who is told how it goes; only the first process tells."""

    def note(self, text: str) -> None:
        """Something worth knowing, once."""

    def step(self, samples: int, end: int, stage: str, figures: Mapping[str, float]) -> None:
        """Where the run is, and the means of the loss's parts and the speed since the last time."""

    def scores(self, row: Mapping[str, Any]) -> None:
        """A measurement, as it went into the curve."""


@dataclass(frozen=True)
class TrainingRun:
    """Where and how a recipe is trained.

    Attributes:
        data: The data folder.
        cache: What is prepared of it lies there.
        output: The run's own folder.
        resume: Whether to go on from the checkpoint in `output`.
        fresh: Whether to begin anew though there is one.
        source: A checkpoint from elsewhere to go on from.
        weights: Weights to begin with, instead of random ones.
        minutes: How long, at most.
        cool_down: Over how many minutes, the last of them, the learning rate falls to zero: weights at the end of a
            plateau are not as good as they could be.
        until: The sample at which to stop.
        device: "auto", "cpu" or "cuda".
        devices: How many on this machine; 0 for all GPUs, or one CPU.
        nodes: How many machines.
        precision: "fp32" or "bf16-mixed", instead of the recipe's.
        workers: Processes that draw samples ahead, for each device.
        jobs: Processes that prepare the data; 0 for one a core.
        evaluation: The folder of the development sets.
        save_every: Minutes.
        evaluate_every: Minutes.
    """

    data: Path
    cache: Path
    output: Path
    resume: bool = False
    fresh: bool = False
    source: Path | None = None
    weights: Path | None = None
    minutes: float | None = None
    cool_down: float = 0.0
    until: int | None = None
    device: str = "auto"
    devices: int = 0
    nodes: int = 1
    precision: str | None = None
    workers: int = 0
    jobs: int = 0
    evaluation: Path | None = None
    save_every: float = 5.0
    evaluate_every: float = 20.0


def train(recipe: Recipe, run: TrainingRun, report: ProgressReporter) -> TrainingProgress:
    """Train to the recipe's end, for so many minutes, to a sample, or until told to stop (SIGTERM, SIGINT).

    Writes into `run.output`:
        checkpoint.safetensors: every few minutes and at the end.
        small.safetensors: the same with 16-bit averages and moments.
        curve.csv: a line whenever the development sets were scored.
        tensorboard/: the parts of the loss, learning rate, speed and scores, where TensorBoard is installed.

    Raises:
        InputError: if data or checkpoint cannot be used, or the loss diverges.
        UsageError: if recipe, objective or devices do not fit.
        OutputError: if something cannot be written.
    """
    with deterministic_opencv():
        return _Training(recipe, run, report).run()


class _Untouched:
    """A batch that Fabric hands on as it is: with mixed precision it would round all numbers of it to sixteen bits.

    Eight bits of a picture do not survive that, nor do flows of some pixels.
    """

    def __init__(self, batch: Batch) -> None:
        self.batch = batch


class _Step(nn.Module):
    """An objective's loss as a forward pass, which is what Fabric wraps."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, given: _Untouched, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        terms = self.objective.loss(given.batch, done)
        return terms.total, terms.parts


class _Training:
    def __init__(self, recipe: Recipe, run: TrainingRun, report: ProgressReporter) -> None:
        self._recipe, self._run = recipe, run
        # All that a user can have got wrong is said before other processes are started and wait for this one.
        first, first_here = _places()
        torch.manual_seed(recipe.stages[0].train.seed)
        self._objective = make_objective(recipe.network)
        _check_stages(recipe, self._objective)
        self._fabric = fabric = _fabric(run, recipe)
        checkpoint = _checkpoint(recipe, run) if first else None
        self._sets = self._development_sets() if first and run.evaluation is not None else {}
        self._draw = RecipeSampler(recipe, run.data, run.cache)
        if first_here:
            if not run.cache.exists():
                report.note(f"The data is decoded and prepared in {run.cache}, this once.")
            self._draw.prepare(run.jobs or os.cpu_count() or 1, lambda line: None)
        fabric.launch()
        self._report: ProgressReporter = report if fabric.global_rank == 0 else _Silence()
        self._share = ProcessRank(fabric.global_rank, fabric.world_size)
        _check_shares(recipe, self._share)
        # What one machine has read is what all begin with.
        self._checkpoint: Checkpoint | None = fabric.broadcast(checkpoint)
        if run.weights is not None and self._checkpoint is None:
            from betwixt.weights.load import load_weights

            load_weights(self._objective.exported_module, run.weights)
        self._objective.to(fabric.device)
        self._objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._average = {name: t.detach().clone() for name, t in averaged_tensors(self._objective).items()}
        self._progress = self._checkpoint.progress if self._checkpoint else TrainingProgress()
        self._progress.recipe = json.loads(json.dumps(recipe.table, default=str))
        self._progress.code, self._progress.data = code_hash(), self._draw.describe()
        self._log = _Log(run.output) if fabric.global_rank == 0 else _Log(None)
        if not self._log.kept and fabric.global_rank == 0:
            report.note("TensorBoard is not installed: its log is left out.")
        self._began, self._before = time.monotonic(), self._progress.seconds
        self._saved = self._validated = self._began
        self._end = recipe.samples if run.until is None else min(run.until, recipe.samples)

    def run(self) -> TrainingProgress:
        """Every stage that is left."""
        progress = self._progress
        with _stop_requests() as stop:
            stopped = False
            if progress.samples >= self._end:
                self._report.note(f"Nothing is left to train: the run is at sample {progress.samples}.")
                if self._checkpoint is not None:
                    restore(self._checkpoint, self._objective, self._average)
                if self._run.evaluation is not None:
                    self._judge()
            while not stopped and progress.samples < self._end:
                stopped = self._stage(self._recipe.stage_at(progress.samples), stop)
            self._log.close()
        return progress

    def _stage(self, stage: TrainingStage, stop: _StopRequest) -> bool:
        """Train in a stage to its end, or until it is time to stop; whether it was."""
        fabric, objective, progress, train = self._fabric, self._objective, self._progress, stage.train
        objective.train()
        objective.begin_stage(stage.name or objective.stages[0])
        learning = [parameter for parameter in objective.parameters() if parameter.requires_grad]
        optimizer = _optimizer(train, learning)
        goes_on = self._checkpoint is not None and progress.stage == stage.name
        if self._checkpoint is not None:
            missing = restore(self._checkpoint, objective, self._average, optimizer if goes_on else None)
            if missing:
                self._report.note(
                    f"{len(missing)} tensors are not in the checkpoint, {missing[0]} for one: they begin anew."
                )
            self._checkpoint = None
        if not goes_on:
            progress.stage, progress.stage_step = stage.name, 0
        model, wrapped = fabric.setup(_Step(objective), optimizer)
        end = min(self._end, stage.end)
        feed = load_batches(
            self._draw,
            objective,
            stage,
            progress.samples,
            share=self._share,
            workers=self._run.workers,
            pinned=fabric.device.type == "cuda",
        )
        if train.reuse > 1:
            feed = draw_from_pool(feed, stage, progress.samples, fabric.device, self._share)
        meter = _Meter(fabric)
        norm: Tensor | None = None
        own, average = [t.detach() for t in averaged_tensors(objective).values()], list(self._average.values())
        stopped = False
        while progress.samples < end and not stopped:
            batch = move_to_device(next(feed), fabric.device)
            rate = learning_rate(train, progress.samples - stage.begin) * self._cooling()
            for group in optimizer.param_groups:
                group["lr"] = rate
            done = (progress.samples - stage.begin) / train.samples
            size = len(batch) // train.accumulate
            for part in range(train.accumulate):
                torch.manual_seed(_seed(train.seed, progress.samples, part, self._share.rank))
                given = _Untouched(batch.part(part * size, (part + 1) * size) if train.accumulate > 1 else batch)
                with fabric.no_backward_sync(model, enabled=part + 1 < train.accumulate):
                    total, parts = model(given, done)
                    fabric.backward(total / train.accumulate if train.accumulate > 1 else total)
                meter.add(parts or {"loss": total.detach()}, size)
            # A step late, so that a GPU need not wait for being asked.
            self._check(norm, progress.samples)
            norm = torch.nn.utils.clip_grad_norm_(learning, train.clip_gradient or math.inf)
            wrapped.step()
            wrapped.zero_grad(set_to_none=True)
            progress.step += 1
            progress.stage_step += 1
            progress.samples += train.batch
            with torch.no_grad():
                torch._foreach_lerp_(average, own, 1.0 - _decay(train, progress.stage_step))
            stopped = self._between(stage, optimizer, norm, meter, stop, rate)
        self._check(norm, progress.samples)
        last = stopped or progress.samples >= self._end
        self._save(optimizer)
        if last and self._run.evaluation is not None:
            self._judge()
        del feed
        return stopped

    def _cooling(self) -> float:
        """What the learning rate is multiplied by, where a leg is to end cooled down."""
        run = self._run
        if run.minutes is None or not run.cool_down:
            return 1.0
        left = run.minutes - (time.monotonic() - self._began) / 60
        if self._share.world > 1:
            # Clocks differ; a rate that did would draw the devices' weights apart.
            left = float(self._fabric.all_reduce(torch.tensor(left, device=self._fabric.device)))
        return 0.5 * (1.0 - math.cos(math.pi * min(1.0, max(0.0, left / run.cool_down))))

    def _between(
        self,
        stage: TrainingStage,
        optimizer: torch.optim.Optimizer,
        norm: Tensor,
        meter: _Meter,
        stop: _StopRequest,
        rate: float,
    ) -> bool:
        """What there is to do between two steps; whether to stop."""
        progress, now = self._progress, time.monotonic()
        progress.seconds = self._before + now - self._began
        if progress.step % 100 == 0 or (progress.step % 10 == 0 and now - meter.began > 10):
            figures = meter.read(self._share.world)
            self._report.step(progress.samples, self._end, stage.name, figures)
            self._log.add(progress.samples, {**figures, "learning rate": rate, "gradient norm": float(norm)})
        wishes = [
            stop.asked or (self._run.minutes is not None and now - self._began >= 60 * self._run.minutes),
            now - self._saved > 60 * self._run.save_every,
            self._run.evaluation is not None and now - self._validated > 60 * self._run.evaluate_every,
        ]
        if self._share.world > 1:
            if progress.step % _TOGETHER:
                return False
            wishes = self._agreed(wishes)
        stopped, save, judge = wishes
        if stopped:
            return True
        if save or judge:
            self._check(norm, progress.samples)
        if save:
            self._save(optimizer)
            self._saved = time.monotonic()
        if judge:
            self._judge()
            self._validated = time.monotonic()
            meter.restart()
        return False

    def _agreed(self, wishes: list[bool]) -> list[bool]:
        """What any process wishes, all do."""
        asked: Any = self._fabric.all_reduce(torch.tensor(wishes, dtype=torch.float32, device=self._fabric.device))
        return [bool(value > 0) for value in asked.tolist()]

    def _check(self, norm: Tensor | None, samples: int) -> None:
        if norm is None or math.isfinite(float(norm)):
            return
        kept = self._run.output / CHECKPOINT
        go_on = f"go on from {kept} (--resume)" if kept.exists() else "begin anew"
        raise InputError(
            f"The loss diverged after {samples} samples: {go_on} with a smaller learning_rate, a clip_gradient or "
            "another seed."
        )

    def _save(self, optimizer: torch.optim.Optimizer) -> None:
        if self._fabric.global_rank == 0:
            for name, small in ((CHECKPOINT, False), (SMALL, True)):
                path = self._run.output / name
                write_checkpoint(path, self._objective, self._average, optimizer, self._progress, small=small)

    def _development_sets(self) -> dict[str, DevelopmentSet]:
        assert self._run.evaluation is not None
        model = self._objective.interpolator("cpu")
        return development_sets(self._run.evaluation, extrapolate=not model.interpolates)

    def _judge(self) -> None:
        """Score the averaged weights and add a line to the curve; the other processes wait."""
        if self._fabric.global_rank == 0:
            progress = self._progress
            with use_averaged_weights(self._objective, self._average):
                scores = validate(self._objective.interpolator(str(self._fabric.device)), self._sets)
            row = {
                "recipe": progress.name,
                "samples": progress.samples,
                "hours": round(progress.seconds / 3600, 4),
                **{name: round(score, 3) for name, score in scores.items()},
            }
            add_row(self._run.output / "curve.csv", row)
            self._log.add(progress.samples, {f"psnr/{name}": score for name, score in scores.items()})
            self._report.scores(row)
        self._fabric.barrier()


def _places() -> tuple[bool, bool]:
    """Whether this process is the first of all, and the first on its machine, as far as can be known at the start."""
    here = int(os.environ.get("LOCAL_RANK", 0))
    rank = int(os.environ.get("RANK", here + int(os.environ.get("NODE_RANK", 0))))
    return rank == 0, here == 0


def _checkpoint(recipe: Recipe, run: TrainingRun) -> Checkpoint | None:
    """What to go on from, if anything."""
    there = next((run.output / name for name in (CHECKPOINT, SMALL) if (run.output / name).exists()), None)
    if run.fresh and run.resume:
        raise UsageError("--resume goes on and --fresh begins anew: leave one out.")
    if there is not None and not (run.fresh or run.resume):
        raise UsageError(f"{run.output} holds a run: pass --resume to go on with it, or --fresh to begin anew.")
    if run.source is not None and run.resume:
        raise UsageError(f"--from goes on from {run.source}, --resume from {run.output}: leave one out.")
    if run.resume and there is None:
        raise InputError(f"There is no checkpoint in {run.output} to go on from: leave --resume out to begin.")
    path = run.source or (there if run.resume else None)
    if path is None:
        return None
    checkpoint = read_checkpoint(path)
    check_checkpoint(checkpoint, recipe.table)
    return checkpoint


def _fabric(run: TrainingRun, recipe: Recipe) -> Any:
    """Lightning Fabric for the devices that are asked for."""
    check_device(run.device)
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies.ddp import DDPStrategy
    except ImportError:
        raise UsageError("Training needs Lightning Fabric: pip install 'betwixt[train]'.") from None
    cuda = run.device == "cuda" or (run.device == "auto" and torch.cuda.is_available())
    available = torch.cuda.device_count() if cuda else 1
    devices, nodes = run.devices or available, run.nodes
    if torch.distributed.is_torchelastic_launched():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    if devices < 1 or nodes < 1:
        raise UsageError(f"--devices {devices} and --nodes {nodes}: there has to be one at least.")
    if cuda and devices > available:
        raise UsageError(f"--devices {devices}: this machine has {available} CUDA device(s).")
    precision = run.precision or recipe.stages[0].train.precision
    if precision not in ("fp32", "bf16-mixed"):
        raise UsageError(f"There is no precision '{precision}': choose fp32 or bf16-mixed.")
    if run.precision is None and not cuda and not cpu_computes_in_bf16():
        precision = "fp32"
    several = devices * nodes > 1
    if cuda:
        torch.backends.cudnn.benchmark = True
    return Fabric(
        accelerator="cuda" if cuda else "cpu",
        devices=devices,
        num_nodes=nodes,
        # Some losses leave a part of the network out, some steps another one. Validation is waited for.
        strategy=DDPStrategy(find_unused_parameters=True, timeout=timedelta(hours=3)) if several else "auto",
        precision="bf16-mixed" if precision == "bf16-mixed" else "32-true",
    )


def _check_stages(recipe: Recipe, objective: Objective) -> None:
    for stage in recipe.stages:
        if stage.name and stage.name not in objective.stages:
            raise UsageError(
                f"The network {recipe.network.get('name')} has no stage '{stage.name}': it has "
                f"{', '.join(objective.stages)}."
            )


def _check_shares(recipe: Recipe, share: ProcessRank) -> None:
    for stage in recipe.stages:
        if stage.train.batch % (share.world * stage.train.accumulate):
            raise UsageError(
                f"A batch of {stage.train.batch} cannot be shared equally by {share.world} device(s) in "
                f"{stage.train.accumulate} part(s): choose another with --set batch=.."
            )


def _optimizer(train: TrainSettings, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    if not parameters:
        raise UsageError("Nothing learns in this stage: every parameter is frozen.")
    kinds: dict[str, Any] = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "adamax": torch.optim.Adamax}
    optimizer: torch.optim.Optimizer = kinds[train.optimizer](
        parameters, lr=train.learning_rate, betas=train.betas, eps=train.epsilon, weight_decay=train.weight_decay
    )
    return optimizer


def _decay(train: TrainSettings, step: int) -> float:
    """Of the moving average, which has a shorter horizon at the beginning."""
    if not train.average:
        return 0.0
    return max(0.0, min(1.0 - train.batch / train.average, (1.0 + step) / (10.0 + step)))


def _seed(*numbers: int) -> int:
    """A seed for torch from what identifies a step."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


class _Meter:
    """Means of the loss's parts and the speed, since it was last read."""

    def __init__(self, fabric: Any) -> None:
        self._fabric = fabric
        self.restart()

    def restart(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._samples = self._count = 0
        self.began = time.monotonic()

    def add(self, parts: Mapping[str, Tensor], samples: int) -> None:
        for name, value in parts.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach()
        self._count += 1
        self._samples += samples

    def read(self, world: int) -> dict[str, float]:
        seconds = time.monotonic() - self.began
        means = {name: float(value) / self._count for name, value in self._sums.items()}
        means["samples/s"] = self._samples * world / max(seconds, 1e-6)
        self.restart()
        return means


class _Log:
    """TensorBoard's log of a run, where it is installed."""

    def __init__(self, output: Path | None) -> None:
        self._writer: Any = None
        if output is None:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._writer = SummaryWriter(str(output / "tensorboard"))

    @property
    def kept(self) -> bool:
        """Whether there is one."""
        return self._writer is not None

    def add(self, samples: int, figures: Mapping[str, float]) -> None:
        if self._writer is not None:
            for name, value in figures.items():
                self._writer.add_scalar(name if "/" in name else f"training/{name}", value, samples)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _Silence:
    """A report of a process that is not the first."""

    def note(self, text: str) -> None:
        pass

    def step(self, samples: int, end: int, stage: str, figures: Mapping[str, float]) -> None:
        pass

    def scores(self, row: Mapping[str, Any]) -> None:
        pass


class _StopRequest:
    """Becomes true when the process is told to stop, so that the run can end at a whole step."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


@contextmanager
def _stop_requests() -> Iterator[_StopRequest]:
    stop = _StopRequest()
    before = {number: signal.signal(number, stop.ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
