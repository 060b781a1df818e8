"""Objectives: the interface between the training loop and the networks, and the batches that pass between them.

    recipe [network] ──► Objective ──┬─ prepare(rng, sample)    extra inputs of the loss: in the workers, on the CPU
                                     ├─ begin_stage(stage)      freezes and unfreezes parameters
                                     ├─ loss(batch, progress)   the total and its terms: on the device
                                     └─ network                 what is validated, exported and shipped

The training loop (`betwixt.training.loop`) does not depend on the network: everything specific is in its objective.

A step may be split over devices and accumulated in parts, and each part is one `Batch`. So a loss has to be a mean over
its samples: the gradient of a step is then the mean over its parts, however it is split.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from betwixt.models.base import Interpolator
from betwixt.models.network import Network
from betwixt.runtime.network_interpolator import NetworkInterpolator
from betwixt.training.sample import TrainingSample

_TENSORS = ("frame0", "truth", "frame1", "t", "motion", "exact")


@dataclass
class Batch:
    """N samples as tensors.

    Attributes:
        frame0: (N, 3, S, S), RGB in [0, 1], channels last in memory.
        truth: (N, 3, S, S), the true frame t, RGB in [0, 1], channels last in memory.
        frame1: (N, 3, S, S), RGB in [0, 1], channels last in memory.
        t: (N, 1, 1, 1), in (0, 1), or 2 for extrapolation.
        motion: (N, 2, S, S), pixels, (x, y): displacement from frame 0 to frame 1 of what frame t shows at each pixel;
            0 where it is unknown.
        exact: (N, 1, 1, 1), 1 where the motion is known, else 0.
        extra: What the objective's `prepare` returned: maps as (N, C, S, S), anything else stacked.
    """

    frame0: Tensor
    truth: Tensor
    frame1: Tensor
    t: Tensor
    motion: Tensor
    exact: Tensor
    extra: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.t)

    def apply(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """A batch with `function` applied to every tensor."""
        tensors = {name: function(getattr(self, name)) for name in _TENSORS}
        return replace(self, **tensors, extra={name: function(value) for name, value in self.extra.items()})

    def pin_memory(self) -> Batch:
        """A copy in page-locked memory, for asynchronous transfers to a GPU."""
        return self.apply(lambda tensor: tensor.pin_memory())

    def part(self, start: int, stop: int) -> Batch:
        """Samples `start` to `stop`."""
        return self.apply(lambda tensor: tensor[start:stop])

    @staticmethod
    def concatenate(parts: Sequence[Batch]) -> Batch:
        """One batch of the samples of several, in order."""
        tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in _TENSORS}
        return Batch(**tensors, extra={name: torch.cat([p.extra[name] for p in parts]) for name in parts[0].extra})


@dataclass(frozen=True)
class LossTerms:
    """A loss and its terms."""

    total: Tensor  # a scalar, to be differentiated
    parts: dict[str, Tensor] = field(default_factory=dict)  # scalars for the log, by name; they may be detached


def full_precision(like: Tensor) -> torch.autocast:
    """A context that disables autocast on the device of `like`: losses are computed in float32."""
    return torch.autocast(like.device.type, enabled=False)


class Objective(nn.Module, ABC):
    """A network in training: its loss, its stages, and what helps to train it.

    Teachers, flow networks and loss networks are submodules. Those that are never trained have `requires_grad` False
    from the beginning, so they get no gradient and no optimizer state.

    Attributes:
        model_name: The model (in `betwixt models`) that the exported weights belong to; "" if there is none.
        stages: Names of the stages, in order. The [[stage]] tables of a recipe give their lengths and settings; a
            recipe without stages trains in the first one only.
        merges_stages: Whether the stages of its recipe are trained as one: an ablation without stages.
        masks: The masks that samples of frames need, as `WholeFrameMasks` takes them; "" for none.
        margin: Pixels around the crop that `prepare` sees and the batch does not contain.
    """

    stages: tuple[str, ...] = ("all",)
    merges_stages: bool = False
    masks: str = ""
    margin: int = 0

    def __init__(self, model_name: str = "") -> None:
        super().__init__()
        self.model_name = model_name

    @property
    @abstractmethod
    def network(self) -> Network:
        """The network that is validated, without teachers."""

    @property
    def exported_module(self) -> nn.Module:
        """The module whose state dict is averaged and exported, in the form that `load_model` reads.

        By default the network, or the one inside it if it is a wrapper such as test-time augmentation.
        """
        inner = getattr(self.network, "network", self.network)
        return inner if isinstance(inner, nn.Module) else self.network

    def interpolator(self, device: str = "auto") -> Interpolator:
        """The network as `betwixt evaluate` runs it, in float32; it shares its parameters with this objective."""
        return NetworkInterpolator(self.model_name or type(self.network).__name__, self.network, device)

    def export_tensors(self, averaged: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of the weights file, made of the averaged weights: by default those in float16."""
        return {name: tensor.half() for name, tensor in averaged.items()}

    def begin_stage(self, stage: str) -> None:
        """Freeze, unfreeze and switch modes for a stage. Called at its start and when a run resumes within it."""

    @abstractmethod
    def loss(self, batch: Batch, progress: float) -> LossTerms:
        """The loss of a batch, a mean over its samples.

        In mixed precision this runs under autocast: compute losses within `full_precision`, on `.float()` outputs of
        the network.

        Args:
            batch: On the device of the parameters.
            progress: The finished part of the stage, 0 to 1, for weights that change over time.
        """

    def prepare(self, rng: np.random.Generator, sample: TrainingSample) -> dict[str, NDArray[Any]]:
        """Compute further inputs of the loss, for `Batch.extra`. Runs on the CPU in the workers, after augmentation.

        It must not use the values of parameters and buffers, which workers do not have.

        Args:
            rng: The source of all randomness.
            sample: Its images are larger than the crop by `margin` on every side.

        Returns:
            By name, maps (S, S, C) of the size of the sample's images, which are cropped with them, or other arrays.
        """
        return {}
