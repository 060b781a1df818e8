"""The training loop, on one or several devices.

    batches ──► loss ──► backward ──► clip ──► optimizer step ──► moving average ──► log, save, evaluate

Lightning Fabric provides devices, processes and mixed precision. A step is `batch` samples, over all devices and parts
(gradient accumulation). The random numbers of a step depend on the recipe's seed, the step and the device alone. So a
resumed run continues with the samples that it has not seen, and gives bit for bit the same result as an uninterrupted
one (on one device with deterministic arithmetic: a CPU).
"""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

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
from betwixt.training.fabric import find_process_position, make_fabric
from betwixt.training.objectives.base import Batch, Objective
from betwixt.training.objectives.registry import make_objective
from betwixt.training.recipe import Recipe, TrainingStage, TrainSettings, learning_rate
from betwixt.training.recipe_sampler import RecipeSampler
from betwixt.training.training_log import LossMeter, ProgressReporter, SilentReporter, TensorBoardLog
from betwixt.training.validation import DevelopmentSets, open_development_sets, use_averaged_weights, validate
from betwixt.weights.load import load_weights

CHECKPOINT, SMALL_CHECKPOINT = "checkpoint.safetensors", "small.safetensors"
"""The checkpoints of a run; it is resumed from the first one that exists."""

_SYNC_INTERVAL = 16
"""Steps between two agreements of several processes to stop, save or evaluate."""


@dataclass(frozen=True)
class TrainingRun:
    """Where and how a recipe is trained.

    Attributes:
        data: The data folder.
        cache: The folder of the prepared data.
        output: The folder of checkpoints, curve and log.
        resume: Whether to continue from the checkpoint in `output`.
        fresh: Whether to start over even if there is one.
        source: A checkpoint from elsewhere to continue from.
        weights: A weights file to start from instead of random weights.
        minutes: Time limit.
        cool_down: The learning rate falls to zero over this many minutes before the time limit, since weights at the
            end of a plateau are not as good as they could be.
        until: The sample at which to stop.
        device: "auto", "cpu" or "cuda".
        devices: Number of devices on this machine; 0: all GPUs, or one CPU.
        nodes: Number of machines.
        precision: "fp32" or "bf16-mixed", instead of the recipe's.
        workers: Worker processes per device that draw samples.
        jobs: Processes that prepare the data; 0: one per core.
        evaluation: The folder of the development sets.
        save_every: Minutes between checkpoints.
        evaluate_every: Minutes between evaluations.
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
    """Train to the end of the recipe, to the time limit, to a sample, or until SIGTERM or SIGINT.

    Writes into `run.output`:
        checkpoint.safetensors: every few minutes and at the end.
        small.safetensors: the same with 16-bit averages and moments.
        curve.csv: a row for every evaluation.
        tensorboard/: loss terms, learning rate, speed and scores, if TensorBoard is installed.

    Raises:
        BetwixtError: if recipe, data, checkpoint or devices do not fit, a file cannot be written, or the loss diverges.
    """
    with deterministic_opencv():
        return Trainer(recipe, run, report).train()


class Trainer:
    """A training run in progress; see `train`.

    Attributes:
        objective: The objective, on the device.
        position: Of this process among those of the run.
    """

    def __init__(self, recipe: Recipe, run: TrainingRun, report: ProgressReporter) -> None:
        self._run = run

        # Check everything that can be wrong before other processes are started and wait for this one.
        first, first_on_machine = find_process_position()
        torch.manual_seed(recipe.stages[0].train.seed)
        self.objective = make_objective(recipe.network)
        if self.objective.merges_stages:
            recipe = recipe.as_one_stage(self.objective.stages[0])
        self._recipe = recipe
        for stage in recipe.stages:
            if stage.name and stage.name not in self.objective.stages:
                raise UsageError(
                    f"The network {recipe.network.get('name')} has no stage '{stage.name}': it has "
                    f"{', '.join(self.objective.stages)}."
                )
        self._fabric = make_fabric(run.device, run.devices, run.nodes, run.precision, recipe.stages[0].train.precision)
        checkpoint = _find_checkpoint(recipe, run) if first else None
        self._development_sets: DevelopmentSets = {}
        if first and run.evaluation is not None:
            extrapolates = not self.objective.interpolator("cpu").interpolates
            self._development_sets = open_development_sets(run.evaluation, extrapolate=extrapolates)

        # The first process on each machine prepares its data.
        self._sampler = RecipeSampler(recipe, run.data, run.cache, self.objective.masks)
        if first_on_machine:
            if not run.cache.exists():
                report.note(f"The data is decoded and prepared in {run.cache}, once.")
            self._sampler.prepare(run.jobs or os.cpu_count() or 1, lambda line: None, report.prepare)

        self._fabric.launch()
        self.position = ProcessRank(self._fabric.global_rank, self._fabric.world_size)
        for stage in recipe.stages:
            if stage.train.batch % (self.position.world_size * stage.train.accumulate):
                raise UsageError(
                    f"A batch of {stage.train.batch} cannot be split equally over {self.position.world_size} device(s) "
                    f"and {stage.train.accumulate} part(s): set another 'batch' in [train]."
                )
        is_first = self.position.rank == 0
        self._report: ProgressReporter = report if is_first else SilentReporter()

        # All processes start from the checkpoint that the first one has read.
        self._checkpoint: Checkpoint | None = self._fabric.broadcast(checkpoint)
        if run.weights is not None and self._checkpoint is None:
            load_weights(self.objective.exported_module, run.weights)
        self.objective.to(self._fabric.device)
        self.objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._average = {name: t.detach().clone() for name, t in averaged_tensors(self.objective).items()}
        self._progress = self._checkpoint.progress if self._checkpoint else TrainingProgress()
        self._progress.recipe = json.loads(json.dumps(recipe.table, default=str))
        self._progress.code, self._progress.data = code_hash(), self._sampler.describe()
        self._log = TensorBoardLog(run.output / "tensorboard" if is_first else None)
        if is_first and self._log.writer is None:
            report.note("TensorBoard is not installed: there will be no log for it.")
        self._end = recipe.samples if run.until is None else min(run.until, recipe.samples)
        self._start, self._seconds_before = time.monotonic(), self._progress.seconds
        self._last_save = self._last_evaluation = self._start

    def train(self) -> TrainingProgress:
        """Train the remaining stages."""
        progress = self._progress
        with _catch_stop_signals() as stop:
            if progress.samples >= self._end:
                self._report.note(f"There is nothing left to train: the run is at sample {progress.samples}.")
                if self._checkpoint is not None:
                    restore(self._checkpoint, self.objective, self._average)
                if self._run.evaluation is not None:
                    self._evaluate()
            stopped = False
            while not stopped and progress.samples < self._end:
                stopped = self._train_stage(self._recipe.stage_at(progress.samples), stop)
            self._log.close()
        return progress

    def _train_stage(self, stage: TrainingStage, stop: Event) -> bool:
        """Train to the end of a stage; True if the run has to stop before."""
        fabric, objective, progress, train = self._fabric, self.objective, self._progress, stage.train

        # Set up: trainable parameters, optimizer, data.
        objective.train()
        objective.begin_stage(stage.name or objective.stages[0])
        trainable = [parameter for parameter in objective.parameters() if parameter.requires_grad]
        optimizer = _make_optimizer(train, trainable)
        self._begin_or_resume(stage, optimizer)
        model, wrapped_optimizer = fabric.setup(_LossModule(objective), optimizer)
        batches = load_batches(
            self._sampler,
            objective,
            stage,
            progress.samples,
            position=self.position,
            workers=self._run.workers,
            pinned=fabric.device.type == "cuda",
        )
        if train.reuse > 1:
            batches = draw_from_pool(batches, stage, progress.samples, fabric.device, self.position)
        current, average = [t.detach() for t in averaged_tensors(objective).values()], list(self._average.values())
        meter = LossMeter()
        end, stopped, gradient_norm = min(self._end, stage.end), False, None

        while progress.samples < end and not stopped:
            batch = move_to_device(next(batches), fabric.device)
            rate = learning_rate(train, progress.samples - stage.begin) * self._cool_down_factor()
            for group in optimizer.param_groups:
                group["lr"] = rate

            # Forward and backward, in `accumulate` parts.
            stage_progress = (progress.samples - stage.begin) / train.samples
            size = len(batch) // train.accumulate
            for part in range(train.accumulate):
                seeds = np.random.SeedSequence((train.seed, progress.samples, part, self.position.rank))
                torch.manual_seed(int(seeds.generate_state(1, np.uint64)[0] >> 1))
                samples = batch.part(part * size, (part + 1) * size) if train.accumulate > 1 else batch
                with fabric.no_backward_sync(model, enabled=part + 1 < train.accumulate):
                    loss, terms = model(_Float32Batch(samples), stage_progress)
                    fabric.backward(loss / train.accumulate)
                meter.add(terms or {"loss": loss.detach()}, size)

            # Clip. The norm of the previous step is checked: waiting for this one would stall a GPU.
            self._check_finite(gradient_norm)
            gradient_norm = torch.nn.utils.clip_grad_norm_(trainable, train.clip_gradient or math.inf)

            # Step, and update the moving average.
            wrapped_optimizer.step()
            wrapped_optimizer.zero_grad(set_to_none=True)
            progress.step += 1
            progress.stage_step += 1
            progress.samples += train.batch
            with torch.no_grad():
                torch._foreach_lerp_(average, current, 1.0 - _average_decay(train, progress.stage_step))

            # Log.
            progress.seconds = self._seconds_before + time.monotonic() - self._start
            if progress.step % 100 == 0 or (progress.step % 10 == 0 and meter.seconds > 10):
                figures = meter.read(self.position.world_size)
                self._report.step(progress.samples, self._end, stage.name, figures)
                figures |= {"learning rate": rate, "gradient norm": float(gradient_norm)}
                self._log.add(progress.samples, figures)

            # Save and evaluate.
            stopped, save, evaluate = self._check_schedule(stop)
            if save or evaluate:
                self._check_finite(gradient_norm)
            if save:
                self._save(optimizer)
            if evaluate:
                self._evaluate()
                meter.restart()

        self._check_finite(gradient_norm)
        self._save(optimizer)
        if self._run.evaluation is not None and (stopped or progress.samples >= self._end):
            self._evaluate()
        return stopped

    def _begin_or_resume(self, stage: TrainingStage, optimizer: torch.optim.Optimizer) -> None:
        """Restore the checkpoint, once, and note the stage in the progress if it is a new one."""
        resumed = self._checkpoint is not None and self._progress.stage == stage.name
        if self._checkpoint is not None:
            missing = restore(self._checkpoint, self.objective, self._average, optimizer if resumed else None)
            if missing:
                self._report.note(
                    f"{len(missing)} tensors (such as {missing[0]}) are not in the checkpoint and keep their initial "
                    "values."
                )
            self._checkpoint = None
        if not resumed:
            self._progress.stage, self._progress.stage_step = stage.name, 0

    def _cool_down_factor(self) -> float:
        """The factor of the learning rate that brings it to zero at the time limit."""
        run = self._run
        if run.minutes is None or not run.cool_down:
            return 1.0
        minutes_left = run.minutes - (time.monotonic() - self._start) / 60
        if self.position.world_size > 1:
            # Clocks differ between processes, but all need the same learning rate.
            minutes_left = float(self._fabric.all_reduce(torch.tensor(minutes_left, device=self._fabric.device)))
        return 0.5 * (1.0 - math.cos(math.pi * min(1.0, max(0.0, minutes_left / run.cool_down))))

    def _check_schedule(self, stop: Event) -> tuple[bool, bool, bool]:
        """Whether it is time to stop, to save and to evaluate: for any process, then for all of them."""
        run, now = self._run, time.monotonic()
        due = [
            stop.is_set() or (run.minutes is not None and now - self._start >= 60 * run.minutes),
            now - self._last_save > 60 * run.save_every,
            run.evaluation is not None and now - self._last_evaluation > 60 * run.evaluate_every,
        ]
        if self.position.world_size > 1:
            if self._progress.step % _SYNC_INTERVAL:
                return False, False, False
            device = self._fabric.device
            counts: Any = self._fabric.all_reduce(torch.tensor(due, dtype=torch.float32, device=device))
            due = [count > 0 for count in counts.tolist()]
        stopped, save, evaluate = due
        return stopped, save and not stopped, evaluate and not stopped

    def _check_finite(self, gradient_norm: Tensor | None) -> None:
        if gradient_norm is None or math.isfinite(float(gradient_norm)):
            return
        checkpoint = self._run.output / CHECKPOINT
        what = f"pass `resume=True` to continue from {checkpoint}" if checkpoint.exists() else "start over"
        raise InputError(
            f"The loss diverged after {self._progress.samples} samples: {what} with a smaller learning_rate, a "
            "clip_gradient or another seed."
        )

    def _save(self, optimizer: torch.optim.Optimizer) -> None:
        if self.position.rank == 0:
            for name in (CHECKPOINT, SMALL_CHECKPOINT):
                path, small = self._run.output / name, name == SMALL_CHECKPOINT
                write_checkpoint(path, self.objective, self._average, optimizer, self._progress, small=small)
        self._last_save = time.monotonic()

    def _evaluate(self) -> None:
        """Score the averaged weights and add a row to the curve; the other processes wait."""
        if self.position.rank == 0:
            progress = self._progress
            with use_averaged_weights(self.objective, self._average):
                scores = validate(self.objective.interpolator(str(self._fabric.device)), self._development_sets)
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
        self._last_evaluation = time.monotonic()


class _Float32Batch:
    """Wraps a batch so that Fabric passes it on unchanged.

    In mixed precision Fabric would convert its tensors to bfloat16, which is too coarse for 8-bit images and for flows
    of some pixels.
    """

    def __init__(self, batch: Batch) -> None:
        self.batch = batch


class _LossModule(nn.Module):
    """The loss of an objective as a forward pass, which is what Fabric wraps."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, wrapped: _Float32Batch, stage_progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        terms = self.objective.loss(wrapped.batch, stage_progress)
        return terms.total, terms.parts


def _find_checkpoint(recipe: Recipe, run: TrainingRun) -> Checkpoint | None:
    """The checkpoint to continue from, if any."""
    existing = next((run.output / n for n in (CHECKPOINT, SMALL_CHECKPOINT) if (run.output / n).exists()), None)
    if run.fresh and run.resume:
        raise UsageError("`resume=True` continues a run and `fresh=True` starts over: give only one.")
    if existing is not None and not (run.fresh or run.resume):
        raise UsageError(f"{run.output} has a run: pass `resume=True` to continue it, or `fresh=True` to start over.")
    if run.source is not None and run.resume:
        raise UsageError(f"`source` continues from {run.source}, `resume=True` from {run.output}: give only one.")
    if run.resume and existing is None:
        raise InputError(f"There is no checkpoint in {run.output}: to start a run, do not pass `resume=True`.")
    path = run.source or (existing if run.resume else None)
    if path is None:
        return None
    checkpoint = read_checkpoint(path)
    check_checkpoint(checkpoint, recipe.table)
    return checkpoint


def _make_optimizer(train: TrainSettings, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    if not parameters:
        raise UsageError("There is nothing to train in this stage: all parameters are frozen.")
    kinds: dict[str, Any] = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "adamax": torch.optim.Adamax}
    optimizer: torch.optim.Optimizer = kinds[train.optimizer](
        parameters, lr=train.learning_rate, betas=train.betas, eps=train.epsilon, weight_decay=train.weight_decay
    )
    return optimizer


def _average_decay(train: TrainSettings, step: int) -> float:
    """The decay of the moving average; smaller in the first steps, to forget the initial weights."""
    if not train.average:
        return 0.0
    return max(0.0, min(1.0 - train.batch / train.average, (1.0 + step) / (10.0 + step)))


@contextmanager
def _catch_stop_signals() -> Iterator[Event]:
    """An event that SIGTERM and SIGINT set, so that the run can stop after a complete step."""
    stop = Event()
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
