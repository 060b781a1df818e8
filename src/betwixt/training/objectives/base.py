"""What is trained, and by which loss: the interface between the training loop and the networks.

    recipe [network] ──► Objective ──┬─ prepare(rng, sample)   on the CPU, in the workers: what a loss needs more
                                     ├─ begin(stage)           what is frozen, what learns
                                     ├─ loss(batch, done)      on the device: the total and its parts
                                     └─ network                what is validated, exported and shipped

The loop (`betwixt.training.loop`) knows no network: whatever differs from one to the other stands in its objective.

A batch is a part of a step where a step is split among devices or accumulated. So a loss has to be a mean over its
samples: then the gradient of a step is the mean over its parts, and the same however it is split.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from betwixt.models.network import Network

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from betwixt.models.base import Interpolator
    from betwixt.training.sample import TrainingSample

__all__ = ["Batch", "LossTerms", "Objective", "full_precision"]


_TENSORS = ("frame0", "truth", "frame1", "t", "motion", "exact")
"""What every batch has."""


@dataclass
class Batch:
    """N samples, as tensors on the device.

    Attributes:
        frame0: (N, 3, S, S), RGB in [0, 1], channels last in memory; `truth` and `frame1` likewise.
        truth: The frame at t.
        frame1: See above.
        t: (N, 1, 1, 1), in (0, 1); beyond 1 where a frame after the second is to be learned.
        motion: (N, 2, S, S), pixels, (x, y), from frame 0 to frame 1 as seen at t; 0 where it is not known.
        exact: (N, 1, 1, 1), 1 where the motion is known, else 0.
        extra: What the objective's `prepare` added: maps as (N, C, S, S), anything else stacked.
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
        """The batch with `function` applied to every tensor."""
        changed = {name: function(getattr(self, name)) for name in _TENSORS}
        return replace(self, **changed, extra={name: function(value) for name, value in self.extra.items()})

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory, from which a GPU takes it while it computes."""
        return self.apply(lambda tensor: tensor.pin_memory())

    def part(self, start: int, stop: int) -> Batch:
        """Samples `start` to `stop`."""
        return self.apply(lambda tensor: tensor[start:stop])

    @staticmethod
    def joined(parts: Sequence[Batch]) -> Batch:
        """The samples of several batches, in order, as one."""
        changed = {name: torch.cat([getattr(part, name) for part in parts]) for name in _TENSORS}
        return Batch(**changed, extra={name: torch.cat([p.extra[name] for p in parts]) for name in parts[0].extra})


@dataclass(frozen=True)
class LossTerms:
    """A loss.

    Attributes:
        total: A scalar; what is differentiated.
        parts: Scalars for the log, by name; they may be detached.
    """

    total: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


def full_precision(like: Tensor) -> torch.autocast:
    """A context in which nothing is cast to bfloat16 on the device of `like`: for losses."""
    return torch.autocast(like.device.type, enabled=False)


class Objective(nn.Module, ABC):
    """A network in training: what is trained, by which loss, in which stages.

    It holds the network and all that helps to train it (teachers, fixed flow networks, loss networks) as submodules.
    What never learns has `requires_grad` False from the beginning: it gets no gradient and no moments.

    Attributes:
        stages: Names of the stages, in order. A recipe says of each how long it lasts and what differs in it
            ([[stage]]); a recipe without stages trains in the first alone.
        margin: Pixels around the crop that `prepare` sees and the batch does not have.
    """

    stages: tuple[str, ...] = ("all",)
    margin: int = 0

    @property
    @abstractmethod
    def network(self) -> Network:
        """What is validated: the network alone, without teachers."""

    @property
    def exported_module(self) -> nn.Module:
        """The module whose state dict is averaged and exported, as `betwixt.runtime.load.load_model` reads it.

        The network's own by default, or the one inside it where it is a wrapper, such as test-time augmentation.
        """
        inner = getattr(self.network, "network", self.network)
        return inner if isinstance(inner, nn.Module) else self.network

    @property
    def model_name(self) -> str:
        """The name in `betwixt models` under which `--weights` takes what is exported; "" if there is none."""
        return ""

    def interpolator(self, device: str = "auto") -> Interpolator:
        """The network as `betwixt evaluate` runs it, in float32; it shares its parameters with this objective."""
        from betwixt.runtime.network_interpolator import NetworkInterpolator

        return NetworkInterpolator(self.model_name or type(self.network).__name__, self.network, device)

    def finish(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """What ships, out of the averaged weights by name: the same in float16, unless more has to be made of them."""
        return {name: tensor.half() for name, tensor in tensors.items()}

    def begin_stage(self, stage: str) -> None:
        """Freeze, unfreeze and switch modes for a stage: called at its start and where a run goes on within it."""

    @abstractmethod
    def loss(self, batch: Batch, done: float) -> LossTerms:
        """The loss of a batch, a mean over its samples.

        Under mixed precision this is called within autocast: losses belong into `with full_precision(..)`, with what
        the network made as `.float()`.

        Args:
            batch: On the device of the parameters.
            done: The part of the stage that is over, 0 to 1, for weights that change with time.
        """

    def prepare(self, rng: np.random.Generator, sample: TrainingSample) -> dict[str, NDArray[Any]]:
        """What else goes into `Batch.extra`; called on the CPU, in the workers, after augmentation.

        It must not use the values of parameters and buffers, which workers do not have.

        Args:
            rng: All chance comes from here.
            sample: Its pictures are `margin` larger than the crop on every side.

        Returns:
            By name, maps (S, S, C) of the size of the sample's pictures, cropped as they are, or other arrays.
        """
        return {}
