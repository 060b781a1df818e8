"""What the objectives of the papers' networks share.

- `PaperObjective`: the base. It knows which times its network learns, and refuses samples of others in one line.
- `without_training_parts`: a network without the parts that only its training needs, sharing all others.
- `FlowTeacher`: flows from the true frame t, by a given flow network or where they are known exactly.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from betwixt.errors import UsageError
from betwixt.models.ebme.network import EBMESplat
from betwixt.runtime.load import find_weights
from betwixt.tables import parse_table
from betwixt.training.losses import flow_distillation
from betwixt.training.objectives.base import Batch, LossTerms, Objective, full_precision
from betwixt.weights.load import load_weights
from betwixt.weights.metadata import check_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from betwixt.training.sample import TrainingSample

__all__ = [
    "FlowTeacher",
    "PaperObjective",
    "TargetTimes",
    "TeacherName",
    "load_estimator",
    "read_options",
    "weighted_sum",
    "without_training_parts",
]

TargetTimes = Literal["middle", "between", "next"]
"""Which frames a network learns: at t = 1/2, at any t between 0 and 1, or at t = 2."""

TeacherName = Literal["off", "exact", "ebme"]
"""Whose flows a network learns from; see `FlowTeacher`."""

_SMALLEST = 64
"""Pixels: five levels of a Laplacian pyramid have at least four at the coarsest."""

_WANTED: dict[TargetTimes, str] = {
    "middle": "the middle frame alone, t = 1/2",
    "between": "frames between the two, 0 < t < 1",
    "next": "the frame after the two alone, t = 2",
}

OptionsT = TypeVar("OptionsT")
NetworkT = TypeVar("NetworkT", bound=nn.Module)


class PaperObjective(Objective):
    """Base of the objectives of the networks of `betwixt models`.

    Args:
        name: The model's name, as in `betwixt models`.
        times: Which frames it learns.
    """

    def __init__(self, name: str, times: TargetTimes) -> None:
        super().__init__()
        self._name = name
        self.times = times

    @property
    def model_name(self) -> str:
        """The name in `betwixt models`."""
        return self._name

    @property
    def cell(self) -> int:
        """The sides of a crop have to be multiples of this: the network's own, and five levels of a pyramid."""
        return math.lcm(self.network.multiple, 32)

    def prepare(self, rng: np.random.Generator, sample: TrainingSample) -> dict[str, NDArray[Any]]:
        """Nothing more, but a sample is refused that the network cannot learn.

        Raises:
            UsageError: if it is of another time, or of a size that the network does not take.
        """
        side, cell = sample.images.shape[1], self.cell
        if side % cell or side < _SMALLEST:
            raise UsageError(
                f"{self._name} is trained on crops that are multiples of {cell} pixels and at "
                f"least {_SMALLEST}, not on {side}: set crop in [train]."
            )
        fits = {"middle": sample.t == 0.5, "between": 0.0 < sample.t < 1.0, "next": sample.t == 2.0}
        if not fits[self.times]:
            raise UsageError(
                f"{self._name} learns {_WANTED[self.times]}, but the data has t = {sample.t:g}: "
                "choose other data, or other times of the data, in [[data]]."
            )
        return {}


def read_options(kind: type[OptionsT], options: Mapping[str, Any], name: str) -> OptionsT:
    """The options of a [network] table, as the dataclass `kind`.

    Raises:
        UsageError: if one is unknown or of the wrong type.
    """
    return parse_table(kind, options, f"[network] of {name}")


def without_training_parts(network: NetworkT, **without: object) -> NetworkT:
    """The network as it ships: the same parameters, but for some attributes.

    Args:
        network: In training; it is not changed.
        without: What its attributes become: None for a submodule that only training needs.
    """
    result = copy.copy(network)
    # A shallow copy has the same table of submodules.
    result._modules = dict(network._modules)
    for name, value in without.items():
        setattr(result, name, value)
    return result


def weighted_sum(parts: Mapping[str, Tensor], weights: Mapping[str, float] | None = None) -> LossTerms:
    """A loss: the sum of its parts, each times its weight, 1 where none is given. What is logged is not weighed."""
    weights = weights or {}
    total = torch.stack([part * weights.get(name, 1.0) for name, part in parts.items()]).sum()
    return LossTerms(total, {name: part.detach() for name, part in parts.items()})


def load_estimator(file: str) -> EBMESplat:
    """EBME with weights: of a file, or what `betwixt weights` has installed as `ebme` ("").

    Raises:
        UsageError: if none is at hand.
        InputError: if the file cannot be read or does not fit.
    """
    path = find_weights("ebme", Path(file).expanduser() if file else None)
    check_model(path, "ebme")
    # Three levels, as its authors train it: crops are no larger than their frames.
    network = EBMESplat(levels=3)
    load_weights(network, path)
    return network


class FlowTeacher(nn.Module):
    """Says where the pixels of the true frame t are found in frames 0 and 1. It never learns.

    Args:
        name: "ebme": the flow network of EBME looks at the true frame and either frame, as IFRNet and AMT let
            LiteFlowNet do before training. "exact": the motion of synthetic samples, which is known; real samples
            teach nothing. "off": nothing is taught.
        file: The weights of EBME; "" for those that are installed.
    """

    def __init__(self, name: TeacherName, file: str = "") -> None:
        super().__init__()
        self.name = name
        self.estimator = load_estimator(file).estimator.requires_grad_(False) if name == "ebme" else None

    def flows(self, batch: Batch) -> tuple[Tensor, Tensor] | None:
        """F_{t->0} and F_{t->1} (N, 2, H, W) in pixels that the flow network sees; None without one."""
        if self.estimator is None:
            return None
        with torch.no_grad(), full_precision(batch.truth):
            flow, _ = self.estimator(torch.cat((batch.truth, batch.truth)), torch.cat((batch.frame0, batch.frame1)))
        to_0, to_1 = flow.chunk(2)
        return to_0, to_1

    def distillation(self, batch: Batch, flows_t0: Sequence[Tensor], flows_t1: Sequence[Tensor]) -> Tensor:
        """`losses.flow_distillation` from this teacher, a mean over the batch; what it does not know adds nothing.

        Args:
            batch: N samples.
            flows_t0: F_{t->0} of the student at every level, finest first: (N, 2, h, w) in pixels of the level, the
                finest also (N, fields, 2, H, W).
            flows_t1: The same for F_{t->1}.
        """
        found = self.flows(batch)
        if found is not None:
            return flow_distillation(flows_t0, flows_t1, *found)
        known = batch.exact.flatten() > 0.5
        share = known.float().mean()
        if self.name == "off" or not share:
            return batch.t.new_zeros(())
        t, motion = batch.t[known], batch.motion[known]
        flows_t0, flows_t1 = ([flow[known] for flow in flows] for flows in (flows_t0, flows_t1))
        return share * flow_distillation(flows_t0, flows_t1, -t * motion, (1.0 - t) * motion)
