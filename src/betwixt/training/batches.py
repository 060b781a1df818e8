"""Batches for the training loop, drawn in advance by worker processes.

    sample k = f(seed, k):  source ──► augmentation ──► objective.prepare ──► crop
    step s of the run:      samples s·batch .. (s+1)·batch, of which process r of w gets the r-th of w equal parts

Batches are the same for any number of workers and processes, and after a resume. A worker draws a process's whole part
of a step. Images stay uint8 until they are on the device.

Where samples are reused (`TrainSettings.reuse`), a step's samples are drawn once every `reuse` steps and go into a pool
on the device. Every step takes its batch from the pool: a few samples of each of several pooled batches, with a random
crop. What it takes depends on the seed, the step and the pool; a resumed run begins with an empty pool.
"""

from __future__ import annotations

import copy
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.multiprocessing import get_all_start_methods, get_context
from torch.utils.data import DataLoader, Dataset

from betwixt.errors import BetwixtError
from betwixt.training.deterministic_opencv import make_opencv_deterministic
from betwixt.training.objectives.base import Batch, Objective
from betwixt.training.recipe import TrainingStage
from betwixt.training.sample import TrainingSample

_POOL_GROUPS = 8
"""How many pooled batches a step takes its samples from."""
_POOL_SEED = 1
"""Separates the random numbers of the pool from those of the samples."""


SampleFunction = Callable[[int, int], tuple[np.random.Generator, TrainingSample]]
"""(index, size) -> the random generator of sample `index`, and the augmented sample. Pickled for the workers."""


@dataclass(frozen=True)
class ProcessRank:
    """The position of this process among those that share a run: `rank` of `world_size`."""

    rank: int = 0
    world_size: int = 1


def load_batches(
    draw: SampleFunction,
    objective: Objective,
    stage: TrainingStage,
    first: int,
    *,
    position: ProcessRank | None = None,
    workers: int = 0,
    pinned: bool = False,
) -> Iterator[Batch]:
    """Yield this process's part of every step, from sample `first` to the end of the stage; images are uint8.

    Args:
        draw: Draws samples.
        objective: Its `prepare` computes further inputs of the loss.
        stage: Defines seed, batch and crop.
        first: The index of the first sample.
        position: Of this process.
        workers: Worker processes; 0: draw in this process.
        pinned: Whether to use page-locked memory, for a GPU.
    """
    dataset = _Batches(draw, _without_values(objective), stage.train.patch or stage.train.crop)
    loader: DataLoader[Batch] = DataLoader(
        dataset,
        batch_size=None,
        sampler=_step_indices(first, stage, position or ProcessRank()),
        num_workers=workers,
        worker_init_fn=_init_worker,
        pin_memory=pinned,
        prefetch_factor=max(2, -(-4 // workers)) if workers else None,
        multiprocessing_context=_worker_context() if workers else None,
    )
    for result in loader:
        if isinstance(result, BetwixtError):
            raise result
        yield result


def draw_from_pool(
    batches: Iterator[Batch],
    stage: TrainingStage,
    first: int,
    device: torch.device,
    position: ProcessRank | None = None,
) -> Iterator[Batch]:
    """Yield a batch for every step from a pool of `batches` on the device; images are uint8.

    The stage and the index of its `first` sample are those given to `load_batches`.
    """
    train, position = stage.train, position or ProcessRank()
    size = train.batch // position.world_size
    pool: deque[Batch] = deque(maxlen=max(1, train.pool // train.batch))
    for step in range((first - stage.begin) // train.batch, -(-train.samples // train.batch)):
        if not pool or step % train.reuse == 0:
            pool.append(next(batches).apply(lambda tensor: tensor.to(device, non_blocking=True)))
        rng = np.random.default_rng((train.seed, step, position.rank, _POOL_SEED))
        parts = []
        # Each group shares one pooled batch and one crop: a few large copies instead of many small ones.
        for group in np.array_split(np.arange(size), min(_POOL_GROUPS, size)):
            batch = pool[int(rng.integers(len(pool)))]
            side = batch.truth.shape[-1]
            top, left = (int(v) for v in rng.integers(side - train.crop + 1, size=2))
            rows = torch.from_numpy(rng.choice(size, len(group), replace=False)).to(device)
            parts.append(batch.apply(partial(_crop_rows, rows, side, top, left, train.crop)))
        yield Batch.concatenate(parts)


def _crop_rows(rows: Tensor, side: int, top: int, left: int, crop: int, tensor: Tensor) -> Tensor:
    """Some rows of a tensor of a batch; maps (N, C, side, side) are also cropped."""
    if tensor.ndim == 4 and tensor.shape[-1] == side:
        tensor = tensor[..., top : top + crop, left : left + crop]
    return tensor.index_select(0, rows)


def move_to_device(batch: Batch, device: torch.device) -> Batch:
    """Move a batch to a device and convert its uint8 images to [0, 1], channels last in memory."""
    moved = batch.apply(lambda tensor: tensor.to(device, non_blocking=True))
    for name in ("frame0", "truth", "frame1"):
        image: Tensor = getattr(moved, name)
        setattr(moved, name, (image.float() / 255.0).contiguous(memory_format=torch.channels_last))
    return moved


def _step_indices(first: int, stage: TrainingStage, position: ProcessRank) -> Iterator[range]:
    """The indices of the samples of this process, step by step."""
    train, begin = stage.train, stage.begin
    size = train.batch // position.world_size
    # With reuse, one batch is drawn for every `reuse` steps: the k-th serves the steps from k·reuse on.
    interval = train.batch * train.reuse
    for step_start in range(begin + (first - begin) // interval * interval, stage.end, interval):
        start = begin + (step_start - begin) // train.reuse + position.rank * size
        yield range(start, start + size)


class _Batches(Dataset[Any]):
    """Batches by the indices of their samples.

    Errors are returned, not raised: PyTorch would re-raise an error of a worker as another type.
    """

    def __init__(self, draw: SampleFunction, objective: Objective, crop: int) -> None:
        self._draw, self._objective, self._crop = draw, objective, crop

    def __getitem__(self, indices: Sequence[int]) -> Batch | BetwixtError:
        try:
            return _collate([self._prepare(index) for index in indices])
        except BetwixtError as error:
            return error

    def _prepare(self, index: int) -> tuple[TrainingSample, dict[str, NDArray[Any]]]:
        """Draw a sample with the objective's margin, let the objective prepare it, cut the margin off."""
        margin = self._objective.margin
        rng, sample = self._draw(index, self._crop + 2 * margin)
        extra = self._objective.prepare(rng, sample)
        if not margin:
            return sample, extra
        inside = slice(margin, margin + self._crop)
        motion = None if sample.motion is None else sample.motion[inside, inside]
        extra = {n: value[inside, inside] if value.ndim == 3 else value for n, value in extra.items()}
        return TrainingSample(sample.images[:, inside, inside], sample.t, motion), extra


def _collate(samples: Sequence[tuple[TrainingSample, dict[str, NDArray[Any]]]]) -> Batch:
    """Stack samples into a batch with uint8 images."""
    frame0, truth, frame1 = torch.from_numpy(np.stack([s.images for s, _ in samples])).permute(1, 0, 4, 2, 3)
    no_motion = np.zeros((*samples[0][0].images.shape[1:3], 2), np.float32)
    motion = [no_motion if s.motion is None else s.motion for s, _ in samples]
    known = [0.0 if s.motion is None else 1.0 for s, _ in samples]
    extra = {name: [values[name] for _, values in samples] for name in samples[0][1]}
    return Batch(
        frame0,
        truth,
        frame1,
        t=torch.tensor([s.t for s, _ in samples], dtype=torch.float32).reshape(-1, 1, 1, 1),
        motion=_stack_maps(motion),
        exact=torch.tensor(known).reshape(-1, 1, 1, 1),
        extra={
            name: _stack_maps(values) if values[0].ndim == 3 else torch.from_numpy(np.stack(values))
            for name, values in extra.items()
        },
    )


def _stack_maps(maps: Sequence[NDArray[Any]]) -> Tensor:
    """N maps (H, W, C) as a tensor (N, C, H, W)."""
    return torch.from_numpy(np.stack(maps)).permute(0, 3, 1, 2).contiguous()


def _without_values(objective: Objective) -> Objective:
    """A copy of the objective for the workers, with parameters and buffers on the meta device."""
    meta: dict[int, Any] = {}
    for tensor in (*objective.parameters(), *objective.buffers()):
        empty = tensor.detach().to("meta")
        meta[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    return copy.deepcopy(objective, meta)


def _init_worker(number: int) -> None:
    make_opencv_deterministic()
    # Ctrl-C is handled by the loop, which finishes its step and then ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _worker_context() -> Any:
    """How workers are started: a fork of a multi-threaded process can deadlock, one of a fresh process cannot."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context
