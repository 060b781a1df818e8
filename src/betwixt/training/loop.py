"""The training loop.

    sample k = f(seed, k) ──► dis ──► batch ──► Compact ──► loss ──► AdamW ──► moving average ──► validation, checkpoint

Sample k depends on the seed and on k alone: a run that was stopped goes on with the samples that it has not seen.
"""

from __future__ import annotations

import csv
import functools
import signal
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from betwixt.errors import InputError
from betwixt.evaluation import datasets
from betwixt.models.compact import Compact, CompactOutput, search
from betwixt.training.augmentation import Augmentation
from betwixt.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from betwixt.training.clips import RealTriplets
from betwixt.training.losses import charbonnier, endpoint_error, laplacian, log_error
from betwixt.training.recipe import DataRules, Recipe
from betwixt.training.sources import Mix, Weight
from betwixt.training.sources import draw_sample as draw
from betwixt.training.synthetic import SyntheticBank
from betwixt.training.validation import development_sets, validate

__all__ = ["train"]


@dataclass(frozen=True)
class Sample:
    """Three pictures (3, S, S, 3) uint8, motion (S, S, 2), known where `exact` is 1, and what the search found."""

    pictures: NDArray[np.uint8]
    motion: NDArray[np.float32]
    t: float
    exact: float
    found: NDArray[np.float32]
    logit: NDArray[np.float32]


@dataclass
class Batch:
    """N samples.

    Attributes:
        frame0: (N, 3, S, S) in [0, 1]; `truth` and `frame1` likewise.
        t: (N, 1, 1, 1).
        motion: (N, 2, S, S), from frame 0 to frame 1 as seen at t.
        exact: (N, 1, 1, 1), 1 where the motion is known.
        found: (N, 2, S, S), the motion as the search found it.
        logit: (N, 1, S, S), of the weight of frame 0 as the search has it.
    """

    frame0: Tensor
    truth: Tensor
    frame1: Tensor
    t: Tensor
    motion: Tensor
    exact: Tensor
    found: Tensor
    logit: Tensor

    def to(self, device: str) -> Batch:
        """The same on another device."""
        return Batch(*(getattr(self, f.name).to(device) for f in fields(self)))


def learning_rate(recipe: Recipe, samples: int) -> float:
    """Linear warm-up, a plateau, and half a cosine down to 0 over the last `cool_down` samples."""
    warm = min(1.0, (samples + recipe.batch) / max(recipe.warm_up, 1))
    left = min(1.0, max(0, recipe.samples - samples) / max(recipe.cool_down, 1))
    return recipe.learning_rate * warm * 0.5 * (1.0 - float(np.cos(np.pi * left)))


def draw_sample(recipe: Recipe, number: int, bank: SyntheticBank, real: RealTriplets) -> Sample:
    """Sample `number`: pictures, the true motion if it is known, and the motion that the search finds."""
    first, last = recipe.synthetic_first, recipe.synthetic_last
    until = max(recipe.synthetic_until, 1)
    mix = Mix([(bank, Weight(first, last, until)), (real, Weight(1.0 - first, 1.0 - last, until))])
    shares = Augmentation(channels=0.5, compression=recipe.compressed)
    size = recipe.crop + 2 * recipe.margin
    sample, rng = draw(mix, shares, size, recipe.seed, number)
    pictures, t = sample.pictures, sample.t
    motion = np.zeros((size, size, 2), np.float32) if sample.motion is None else sample.motion
    # Large frames are searched at a part of their size: see `models.dis`.
    ratio = 1.0 if rng.random() < 0.5 else float(rng.uniform(0.4, 0.8))
    found, logit = search(pictures[0], pictures[2], t, ratio)
    inside = slice(recipe.margin, recipe.margin + recipe.crop)
    return Sample(
        pictures[:, inside, inside],
        motion[inside, inside],
        t,
        float(sample.motion is not None),
        found[inside, inside],
        logit[inside, inside],
    )


def draw_batch(recipe: Recipe, samples: Sequence[Sample]) -> Batch:
    """Samples as tensors."""
    stack = torch.from_numpy(np.stack([s.pictures for s in samples])).permute(1, 0, 4, 2, 3).float() / 255.0
    frame0, truth, frame1 = (f.contiguous(memory_format=torch.channels_last) for f in stack)

    def maps(values: list[NDArray[np.float32]]) -> Tensor:
        return torch.from_numpy(np.stack(values)).permute(0, 3, 1, 2).contiguous()

    return Batch(
        frame0,
        truth,
        frame1,
        torch.tensor([s.t for s in samples], dtype=torch.float32).reshape(-1, 1, 1, 1),
        maps([s.motion for s in samples]),
        torch.tensor([s.exact for s in samples]).reshape(-1, 1, 1, 1),
        maps([s.found for s in samples]),
        maps([s.logit for s in samples]),
    )


class _Feed:
    """Batches in order, their samples drawn ahead by threads; a sample depends on its number alone."""

    def __init__(self, recipe: Recipe, first: int, bank: SyntheticBank, real: RealTriplets, workers: int) -> None:
        self._recipe, self._next = recipe, first
        self._draw = functools.partial(draw_sample, recipe, bank=bank, real=real)
        self._pool = ThreadPoolExecutor(workers) if workers else None
        self._ahead: deque[list[Future[Sample]]] = deque()

    def batch(self) -> Batch:
        """The next one."""
        size = self._recipe.batch
        if self._pool is None:
            numbers = range(self._next, self._next + size)
            self._next += size
            return draw_batch(self._recipe, [self._draw(number) for number in numbers])
        while len(self._ahead) < 4:
            self._ahead.append([self._pool.submit(self._draw, n) for n in range(self._next, self._next + size)])
            self._next += size
        return draw_batch(self._recipe, [future.result() for future in self._ahead.popleft()])

    def close(self) -> None:
        """Let the threads go."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def loss_terms(output: CompactOutput, batch: Batch) -> tuple[Tensor, Tensor, Tensor, float]:
    """Reconstruction loss, logarithm of the error, flow loss, and the end-point error of the motion in pixels.

    The flow loss is over samples whose motion is known: the mean over the two steps of the square root of the end-point
    error, which gives small motions, the common ones, as much weight as large ones.
    """
    prediction = output.frame.float()
    reconstruction = laplacian(prediction, batch.truth, 4) + charbonnier(prediction, batch.truth)
    fidelity = log_error(prediction, batch.truth)
    errors = [
        endpoint_error(estimate.float(), part * batch.motion)
        for estimate, part in (
            (output.coarse_t0, -batch.t),
            (output.coarse_t1, 1.0 - batch.t),
            (output.flow_t0, -batch.t),
            (output.flow_t1, 1.0 - batch.t),
        )
    ]
    both = (errors[-1] + errors[-2]).detach()  # |t| + |1 - t| = 1: of the whole motion
    finest = float((batch.exact * both).sum() / (batch.exact.sum() * both[0].numel() + 1e-6))
    flow = torch.stack([(batch.exact * torch.sqrt(error + 0.01)).mean() for error in errors]).mean()
    return reconstruction, fidelity, flow, finest


def train(
    recipe: Recipe,
    cache: Path,
    output: Path,
    *,
    minutes: float,
    until: int | None = None,
    evaluation: Path | None = None,
    device: str = "cpu",
    workers: int = 0,
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
    feed = _Feed(recipe, progress.samples, bank, real, workers)
    stop = _StopRequest()

    began, before = time.monotonic(), progress.seconds
    saved = validated = mark = began
    sums = np.zeros(3)
    end = recipe.samples if until is None else min(until, recipe.samples)
    while not stop.asked and progress.samples < end and time.monotonic() - began < 60 * minutes:
        batch = feed.batch().to(device)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, progress.samples)
        with torch.autocast(device, torch.bfloat16, enabled=recipe.bf16 and _computes_in_bf16(device)):
            result = model(batch.frame0, batch.frame1, batch.t, batch.found, batch.logit)
        reconstruction, fidelity, flow, error = loss_terms(result, batch)
        loss = reconstruction + recipe.fidelity_weight * fidelity + recipe.flow_weight * flow
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
    feed.close()
    _save(output, model, ema, optimizer, progress)
    if sets:
        _judge(ema, sets, progress, output / "curve.csv")
    return progress


def _computes_in_bf16(device: str) -> bool:
    """Whether bfloat16 is a gain: a CPU without instructions for it is several times slower than in float32."""
    if device.startswith("cuda"):
        return True
    information = Path("/proc/cpuinfo")
    return information.exists() and "avx512_bf16" in information.read_text(encoding="utf-8", errors="replace")


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


def _judge(
    ema: dict[str, Tensor], sets: Mapping[str, Sequence[datasets.Sample]], progress: Progress, curve: Path
) -> None:
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
