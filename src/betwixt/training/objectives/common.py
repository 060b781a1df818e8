"""Shared by the objectives of the papers' networks: their base class, weighted losses, and the teacher of flows."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from betwixt.errors import UsageError
from betwixt.models.ebme.network import EBMESplat
from betwixt.models.network import Network
from betwixt.runtime.load import find_weights
from betwixt.training.losses import flow_distillation, laplacian
from betwixt.training.objectives.base import Batch, LossTerms, Objective, full_precision
from betwixt.training.sample import TargetTimes, TrainingSample, time_matches
from betwixt.weights.load import load_weights
from betwixt.weights.metadata import check_model

TeacherName = Literal["off", "exact", "ebme"]
"""Where supervision of the flows comes from; see `FlowTeacher`."""

_MIN_CROP = 64
"""Pixels: the coarsest of five levels of a Laplacian pyramid then has at least four."""

_TIME_DESCRIPTIONS: dict[TargetTimes, str] = {
    "middle": "the middle frame only, t = 1/2",
    "between": "frames in between, 0 < t < 1",
    "next": "extrapolation only, t = 2",
}

NetworkT = TypeVar("NetworkT", bound=nn.Module)


class PaperObjective(Objective):
    """Base of the objectives of the papers' networks.

    Args:
        name: The model in `betwixt models`.
        times: The target times that the network is trained on.

    Attributes:
        training_network: The network with everything that only training needs, such as a teacher.
    """

    training_network: Network

    def __init__(self, name: str, times: TargetTimes) -> None:
        super().__init__(name)
        self.times = times

    @property
    def network(self) -> Network:
        return self.training_network

    @property
    def crop_multiple(self) -> int:
        """Sides of crops have to be multiples of this: the network's multiple, and 32 for five pyramid levels."""
        return math.lcm(self.network.multiple, 32)

    def prepare(self, rng: np.random.Generator, sample: TrainingSample) -> dict[str, NDArray[Any]]:
        """Check that the network can be trained on a sample; there are no extra inputs.

        Raises:
            UsageError: if it has another target time or a size that the network does not take.
        """
        side, multiple = sample.images.shape[1], self.crop_multiple
        if side % multiple or side < _MIN_CROP:
            raise UsageError(
                f"{self.model_name} needs crops that are multiples of {multiple} pixels and at least {_MIN_CROP}, not "
                f"{side}: set 'crop' in [train]."
            )
        if not time_matches(self.times, sample.t):
            raise UsageError(
                f"{self.model_name} is trained on {_TIME_DESCRIPTIONS[self.times]}, but the data has t = "
                f"{sample.t:g}: choose other data, or other 'times', in [[data]]."
            )
        return {}


def without_training_parts(network: NetworkT, **attributes: object) -> NetworkT:
    """A copy that shares its parameters but has other attributes: None for submodules that only training needs."""
    result = copy.copy(network)
    # A shallow copy shares the table of submodules with the original.
    result._modules = dict(network._modules)
    for name, value in attributes.items():
        setattr(result, name, value)
    return result


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float] | None = None) -> LossTerms:
    """The sum of loss terms, each times its weight (1 by default). The logged terms are unweighted."""
    weights = weights or {}
    total = torch.stack([term * weights.get(name, 1.0) for name, term in terms.items()]).sum()
    return LossTerms(total, {name: term.detach() for name, term in terms.items()})


def distillation_terms(frame: Tensor, output: Any, truth: Tensor) -> dict[str, Tensor]:
    """The loss terms of RIFE, DAEK and NCM, unweighted: L_rec, L_rec^Tea and L_dis, with Laplacian losses as L_rec.

    Args:
        frame: (N, 3, H, W), the student's frame t.
        output: Of the network in training, with `teacher.merged` (N, 3, H, W) and `loss`, L_dis.
        truth: (N, 3, H, W), the true frame t.
    """
    return {
        "reconstruction": laplacian(frame.float(), truth),
        "teacher": laplacian(output.teacher.merged.float(), truth),
        "distillation": output.loss.float(),
    }


def load_ebme(file: str) -> EBMESplat:
    """Load EBME with the weights of a file, or with the installed ones ("")."""
    path = find_weights("ebme", Path(file).expanduser() if file else None)
    check_model(path, "ebme")
    # Three levels, as in the paper's training: crops are no larger than its frames.
    network = EBMESplat(levels=3)
    load_weights(network, path)
    return network


class FlowTeacher(nn.Module):
    """Provides flows from the true frame t to frames 0 and 1. It is not trained.

    Args:
        name: "ebme": EBME's flow network on the true frame and each input frame, where IFRNet and AMT use LiteFlowNet.
            "exact": the known motion of synthetic samples; other samples are not supervised. "off": no supervision.
        file: The weights of EBME; "": the installed ones.
    """

    def __init__(self, name: TeacherName, file: str = "") -> None:
        super().__init__()
        self.name = name
        self.estimator = load_ebme(file).estimator.requires_grad_(False) if name == "ebme" else None

    def flows(self, batch: Batch) -> tuple[Tensor, Tensor] | None:
        """F_{t->0} and F_{t->1} of EBME, (N, 2, H, W) in pixels; None without EBME."""
        if self.estimator is None:
            return None
        with torch.no_grad(), full_precision(batch.truth):
            flow, _ = self.estimator(torch.cat((batch.truth, batch.truth)), torch.cat((batch.frame0, batch.frame1)))
        flow_t0, flow_t1 = flow.chunk(2)
        return flow_t0, flow_t1

    def distillation(self, batch: Batch, flows_t0: Sequence[Tensor], flows_t1: Sequence[Tensor]) -> Tensor:
        """`losses.flow_distillation` from this teacher, a mean over the batch; samples without supervision add 0."""
        flows = self.flows(batch)
        if flows is not None:
            return flow_distillation(flows_t0, flows_t1, *flows)
        known = batch.exact.flatten() > 0.5
        fraction = known.float().mean()
        if self.name == "off" or not fraction:
            return batch.t.new_zeros(())
        t, motion = batch.t[known], batch.motion[known]
        flows_t0, flows_t1 = ([flow[known] for flow in flows] for flows in (flows_t0, flows_t1))
        return fraction * flow_distillation(flows_t0, flows_t1, -t * motion, (1.0 - t) * motion)
