"""Batches for the loop, drawn ahead by worker processes, the same whatever the number of workers, ranks or breaks.

    sample k = f(seed, k):  source ──► augmentation ──► objective.prepare ──► crop
    step s of the run:      samples s·batch .. (s+1)·batch,  of which rank r of w has the r-th of w equal parts

A worker draws a rank's whole part of a step. Pictures travel as bytes and become numbers on the device.

Where a sample is used several times (`TrainSettings.reuse`), a step's samples are drawn once in so many steps and go
into a pool on the device, and every step takes its own out of the pool: rows of some of the batches there, with a
crop for each. What a step takes depends on the seed, the step and the pool; a run that goes on begins with an
empty pool.
"""

from __future__ import annotations

import copy
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.multiprocessing import get_all_start_methods, get_context
from torch.utils.data import DataLoader, Dataset, Sampler

from betwixt.errors import BetwixtError
from betwixt.training.deterministic_opencv import make_opencv_deterministic
from betwixt.training.objectives.base import Batch, Objective
from betwixt.training.recipe import TrainingStage
from betwixt.training.sample import TrainingSample

__all__ = ["ProcessRank", "SampleFunction", "draw_from_pool", "load_batches", "move_to_device"]

_GROUPS = 8
"""How many batches of the pool a step takes its samples from."""
_POOLED = 1
"""Tells the chance of the pool from that of the samples."""


class SampleFunction(Protocol):
    """What makes a sample of its number; it travels to the workers, so it has to be small and to be pickled."""

    def __call__(self, number: int, size: int) -> tuple[np.random.Generator, TrainingSample]:
        """Sample `number` with pictures of `size`, augmented, and the generator for what comes after."""


@dataclass(frozen=True)
class ProcessRank:
    """Which part of every step is this process's: the `rank`-th of `world`."""

    rank: int = 0
    world: int = 1


def load_batches(
    draw: SampleFunction,
    objective: Objective,
    stage: TrainingStage,
    first: int,
    *,
    share: ProcessRank | None = None,
    workers: int = 0,
    pinned: bool = False,
) -> Iterator[Batch]:
    """This process's part of every step, from sample `first` to the end of the stage; pictures as bytes.

    Args:
        draw: Makes samples.
        objective: Says what else a loss needs.
        stage: Says seed, batch and crop.
        first: The number of the first sample.
        share: Of this process.
        workers: Processes that draw ahead; 0 to draw here.
        pinned: Whether the tensors lie in page-locked memory, for a GPU.

    Raises:
        BetwixtError: what a worker raised.
    """
    drawn = _Drawn(draw, _without_values(objective), stage.train.patch or stage.train.crop)
    loader: DataLoader[Batch] = DataLoader(
        drawn,
        batch_size=None,
        sampler=_Steps(first, stage, share or ProcessRank()),
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=_begin_worker,
        pin_memory=pinned,
        prefetch_factor=max(2, -(-4 // workers)) if workers else None,
        multiprocessing_context=_context() if workers else None,
    )
    for outcome in loader:
        if isinstance(outcome, BetwixtError):
            raise outcome
        yield outcome


def draw_from_pool(
    feed: Iterator[Batch], stage: TrainingStage, first: int, device: torch.device, share: ProcessRank | None = None
) -> Iterator[Batch]:
    """Every step's batch out of a pool of those that were drawn; see the module. Pictures as bytes, on the device.

    Args:
        feed: What is drawn; see `load_batches`.
        stage: Says how often a sample is used, how many are kept, seed, batch and crop.
        first: The number of the first sample.
        device: Where the pool lies.
        share: Of this process.
    """
    train, share = stage.train, share or ProcessRank()
    part = train.batch // share.world
    kept: deque[Batch] = deque(maxlen=max(1, train.pool // train.batch))
    for step in range((first - stage.begin) // train.batch, -(-train.samples // train.batch)):
        if not kept or step % train.reuse == 0:
            kept.append(next(feed).apply(lambda tensor: tensor.to(device, non_blocking=True)))
        rng = np.random.default_rng((train.seed, step, share.rank, _POOLED))
        parts = []
        # Each group takes one batch and one crop: few large copies instead of many small ones.
        for rows in np.array_split(np.arange(part), min(_GROUPS, part)):
            batch = kept[int(rng.integers(len(kept)))]
            side = batch.truth.shape[-1]
            top, left = (int(v) for v in rng.integers(side - train.crop + 1, size=2))
            chosen = torch.from_numpy(rng.choice(part, len(rows), replace=False)).to(device)
            parts.append(batch.apply(partial(_taken, chosen, side, top, left, train.crop)))
        yield Batch.joined(parts)


def _taken(rows: Tensor, side: int, top: int, left: int, crop: int, tensor: Tensor) -> Tensor:
    """Some rows of a tensor, cropped if it is of maps."""
    if tensor.ndim == 4 and tensor.shape[-1] == side:
        tensor = tensor[..., top : top + crop, left : left + crop]
    return tensor.index_select(0, rows)


def move_to_device(batch: Batch, device: torch.device) -> Batch:
    """A batch on a device, its pictures as numbers in [0, 1], channels last in memory."""
    moved = batch.apply(lambda tensor: tensor.to(device, non_blocking=True))
    for name in ("frame0", "truth", "frame1"):
        image: Tensor = getattr(moved, name)
        setattr(moved, name, (image.float() / 255.0).contiguous(memory_format=torch.channels_last))
    return moved


class _Steps(Sampler[range]):
    """The numbers of the samples of this process, step by step."""

    def __init__(self, first: int, stage: TrainingStage, share: ProcessRank) -> None:
        self._first, self._stage, self._share = first, stage, share

    def __iter__(self) -> Iterator[range]:
        batch = self._stage.train.batch
        part = batch // self._share.world
        # Samples that are used several times are fewer: the k-th draw serves the steps from k·reuse on.
        apart = batch * self._stage.train.reuse
        begin = self._stage.begin
        steps = range(begin + (self._first - begin) // apart * apart, self._stage.end, apart)
        for start in (begin + (step - begin) // self._stage.train.reuse for step in steps):
            start += self._share.rank * part
            yield range(start, start + part)


class _Drawn(Dataset[Any]):
    """Batches by the numbers of their samples. An error is a value here: on its way it would lose its kind."""

    def __init__(self, draw: SampleFunction, objective: Objective, crop: int) -> None:
        self._draw, self._objective, self._crop = draw, objective, crop

    def __getitem__(self, numbers: Sequence[int]) -> Batch | BetwixtError:
        try:
            return _collated([self._one(number) for number in numbers])
        except BetwixtError as error:
            return error

    def _one(self, number: int) -> tuple[TrainingSample, dict[str, NDArray[Any]]]:
        margin = self._objective.margin
        rng, sample = self._draw(number, self._crop + 2 * margin)
        extra = self._objective.prepare(rng, sample)
        if not margin:
            return sample, extra
        inside = slice(margin, margin + self._crop)
        motion = None if sample.motion is None else sample.motion[inside, inside]
        extra = {n: value[inside, inside] if value.ndim == 3 else value for n, value in extra.items()}
        return TrainingSample(sample.images[:, inside, inside], sample.t, motion), extra


def _collated(samples: Sequence[tuple[TrainingSample, dict[str, NDArray[Any]]]]) -> Batch:
    """Samples as tensors, their pictures as bytes."""
    stack = torch.from_numpy(np.stack([s.images for s, _ in samples])).permute(1, 0, 4, 2, 3)
    still = np.zeros((*samples[0][0].images.shape[1:3], 2), np.float32)
    motion = [still if s.motion is None else s.motion for s, _ in samples]
    known = [0.0 if s.motion is None else 1.0 for s, _ in samples]
    frame0, truth, frame1 = stack
    return Batch(
        frame0,
        truth,
        frame1,
        t=torch.tensor([s.t for s, _ in samples], dtype=torch.float32).reshape(-1, 1, 1, 1),
        motion=_maps(motion),
        exact=torch.tensor(known).reshape(-1, 1, 1, 1),
        extra={
            name: _maps(values) if values[0].ndim == 3 else torch.from_numpy(np.stack(values))
            for name in samples[0][1]
            for values in [[extra[name] for _, extra in samples]]
        },
    )


def _maps(values: Sequence[NDArray[Any]]) -> Tensor:
    return torch.from_numpy(np.stack(values)).permute(0, 3, 1, 2).contiguous()


def _without_values(objective: Objective) -> Objective:
    """The objective as the workers need it: all of it but the values of its parameters and buffers."""
    meta: dict[int, Any] = {}
    for tensor in (*objective.parameters(), *objective.buffers()):
        empty = tensor.detach().to("meta")
        meta[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    return copy.deepcopy(objective, meta)


def _as_it_is(value: Any) -> Any:
    return value


def _begin_worker(number: int) -> None:
    make_opencv_deterministic()
    # Ctrl-C is for the loop, which ends at a whole step and lets the workers go.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _context() -> Any:
    """How workers begin: a fork of a process that computes in threads can hang, one of a fresh process cannot."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context
