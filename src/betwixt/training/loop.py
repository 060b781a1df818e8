"""The training loop.

    sample k = f(seed, k) ──► batch ──► Compact ──► loss ──► AdamW ──► moving average ──► validation, checkpoint

Sample k depends on the seed and on k alone: a run that was stopped goes on with the samples that it has not seen.
"""

from __future__ import annotations

import csv
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import FrameType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from betwixt.errors import InputError
from betwixt.models.compact import Compact, CompactOutput
from betwixt.training.augmentation import augment, compress
from betwixt.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from betwixt.training.clips import RealTriplets
from betwixt.training.losses import charbonnier, endpoint_error, laplacian
from betwixt.training.recipe import DataRules, Recipe
from betwixt.training.synthetic import SyntheticBank
from betwixt.training.validation import Triplet, development_sets, validate

__all__ = ["train"]


@dataclass
class Batch:
    """N samples: frames (N, 3, S, S) in [0, 1]; motion (N, 2, S, S), known where `exact` (N, 1, 1, 1) is 1."""

    frame0: Tensor
    truth: Tensor
    frame1: Tensor
    t: Tensor
    motion: Tensor
    exact: Tensor

    def to(self, device: str) -> Batch:
        """The same on another device."""
        return Batch(*(getattr(self, f.name).to(device) for f in fields(self)))


def learning_rate(recipe: Recipe, samples: int) -> float:
    """Linear warm-up, a plateau, and half a cosine down to 0 over the last `cool_down` samples."""
    warm = min(1.0, (samples + recipe.batch) / max(recipe.warm_up, 1))
    left = min(1.0, max(0, recipe.samples - samples) / max(recipe.cool_down, 1))
    return recipe.learning_rate * warm * 0.5 * (1.0 - float(np.cos(np.pi * left)))


def draw_batch(recipe: Recipe, samples: int, bank: SyntheticBank, real: RealTriplets) -> Batch:
    """The batch that follows the first `samples` samples."""
    done = min(1.0, samples / max(recipe.synthetic_until, 1))
    share = recipe.synthetic_first + (recipe.synthetic_last - recipe.synthetic_first) * done
    frames, motions, times, exact = [], [], [], []
    for k in range(samples, samples + recipe.batch):
        rng = np.random.default_rng((recipe.seed, k))
        synthetic = rng.random() < share
        if synthetic:
            pictures, motion, t = bank.draw(rng, recipe.crop)
        else:
            pictures, t = real.draw(rng, recipe.crop)
            motion = np.zeros((recipe.crop, recipe.crop, 2), np.float32)
        pictures, motion, t = augment(rng, pictures, motion, t)
        if rng.random() < recipe.compressed:
            pictures = compress(rng, pictures)
        frames.append(pictures)
        motions.append(motion)
        times.append(t)
        exact.append(float(synthetic))
    stack = torch.from_numpy(np.stack(frames)).permute(1, 0, 4, 2, 3).float() / 255.0
    frame0, truth, frame1 = (f.contiguous(memory_format=torch.channels_last) for f in stack)
    return Batch(
        frame0,
        truth,
        frame1,
        torch.tensor(times, dtype=torch.float32).reshape(-1, 1, 1, 1),
        torch.from_numpy(np.stack(motions)).permute(0, 3, 1, 2),
        torch.tensor(exact).reshape(-1, 1, 1, 1),
    )


def loss_terms(output: CompactOutput, batch: Batch) -> tuple[Tensor, Tensor, float]:
    """Reconstruction loss, flow loss, and the end-point error in pixels of the finest motion.

    The flow loss is over samples whose motion is known: the mean over levels of the square root of the end-point
    error, which gives small motions, the common ones, as much weight as large ones.
    """
    prediction = output.frame.float()
    reconstruction = laplacian(prediction, batch.truth, 4) + charbonnier(prediction, batch.truth)
    size = batch.motion.shape[-1]
    errors = []
    for motion in output.motions:
        scale = size // motion.shape[-1]
        errors.append(endpoint_error(motion.float(), F.avg_pool2d(batch.motion, scale) / scale) * scale)
    finest = float((batch.exact * errors[-1].detach()).sum() / (batch.exact.sum() * errors[-1][0].numel() + 1e-6))
    for estimate, part in ((output.flow_t0, -batch.t), (output.flow_t1, 1.0 - batch.t)):
        errors.append(endpoint_error(estimate.float(), part * batch.motion))
    flow = torch.stack([(batch.exact * torch.sqrt(error + 0.01)).mean() for error in errors]).mean()
    return reconstruction, flow, finest


def train(
    recipe: Recipe,
    cache: Path,
    output: Path,
    *,
    minutes: float,
    until: int | None = None,
    evaluation: Path | None = None,
    device: str = "cpu",
    rules: DataRules | None = None,
) -> Progress:
    """Train for `minutes`, to sample `until`, to the recipe's end, or until told to stop (SIGTERM, SIGINT).

    Goes on from `output`/checkpoint.safetensors, or from small.safetensors beside it, where there is one.

    Writes:
        `output`/checkpoint.safetensors: every five minutes and at the end.
        `output`/small.safetensors: the same with 16-bit averages and moments.
        `output`/curve.csv: a line every twenty minutes and at the end.
    """
    torch.manual_seed(recipe.seed)
    model = Compact().to(device)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay
    )
    ema = {name: p.detach().clone() for name, p in model.named_parameters()}
    progress = Progress()
    for name in ("checkpoint.safetensors", "small.safetensors"):
        if (output / name).exists():
            progress = load_checkpoint(output / name, model, ema, optimizer)
            break
    progress.recipe = asdict(recipe)
    bank, real = SyntheticBank(cache / "synthetic"), RealTriplets(cache, dict((rules or DataRules()).clips))
    sets = development_sets(evaluation) if evaluation else {}
    stop = _StopRequest()

    began, before = time.monotonic(), progress.seconds
    saved = validated = mark = began
    sums = np.zeros(3)
    end = recipe.samples if until is None else min(until, recipe.samples)
    while not stop.asked and progress.samples < end and time.monotonic() - began < 60 * minutes:
        batch = draw_batch(recipe, progress.samples, bank, real).to(device)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, progress.samples)
        with torch.autocast(device, torch.bfloat16, enabled=recipe.bf16):
            detail = progress.samples >= recipe.detail_from
            result = model(batch.frame0, batch.frame1, batch.t, recipe.levels, detail)
        reconstruction, flow, error = loss_terms(result, batch)
        loss = reconstruction + recipe.flow_weight * flow
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_gradient))
        if not np.isfinite(norm):
            raise InputError(
                f"The loss diverged after {progress.samples} samples: go on from the last checkpoint with a smaller "
                "learning_rate or another seed."
            )
        optimizer.step()
        progress.step += 1
        progress.samples += recipe.batch
        decay = min(1.0 - recipe.batch / recipe.average, (1.0 + progress.step) / (10.0 + progress.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(ema.values()), [p.detach() for p in model.parameters()], 1.0 - decay)
        sums += (reconstruction.item(), error, 1.0)

        now = time.monotonic()
        progress.seconds = before + now - began
        if progress.step % 100 == 0:
            print(
                f"{progress.samples:8d}  {progress.seconds / 60:6.1f} min  reconstruction {sums[0] / sums[2]:.4f}  "
                f"end-point error {sums[1] / sums[2]:.3f}  {sums[2] * recipe.batch / (now - mark):.1f}/s",
                flush=True,
            )
            sums[:], mark = 0, now
        if now - saved > 300:
            _save(output, model, ema, optimizer, progress)
            bank.refresh()
            saved = time.monotonic()
        if sets and now - validated > 1200:
            _judge(ema, sets, progress, output / "curve.csv")
            validated = mark = time.monotonic()
    _save(output, model, ema, optimizer, progress)
    if sets:
        _judge(ema, sets, progress, output / "curve.csv")
    return progress


class _StopRequest:
    """Becomes true when the process is told to stop, so that the run can end at a whole step."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


def _save(
    output: Path, model: Compact, ema: dict[str, Tensor], optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    save_checkpoint(output / "checkpoint.safetensors", model, ema, optimizer, progress)
    save_checkpoint(output / "small.safetensors", model, ema, optimizer, progress, small=True)


def _judge(ema: dict[str, Tensor], sets: Mapping[str, Sequence[Triplet]], progress: Progress, curve: Path) -> None:
    """Score the averaged weights and add a line to the curve."""
    model = Compact().eval()
    model.load_state_dict(ema)
    scores = validate(model, sets)
    row = {
        "recipe": progress.recipe["name"],
        "samples": progress.samples,
        "hours": round(progress.seconds / 3600, 4),
        **{name: round(score, 3) for name, score in scores.items()},
    }
    fresh = not curve.exists()
    with curve.open("a", newline="") as file:
        writer = csv.DictWriter(file, row.keys())
        if fresh:
            writer.writeheader()
        writer.writerow(row)
    print(row, flush=True)
