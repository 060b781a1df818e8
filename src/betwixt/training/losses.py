"""Training losses: what is compared, by which distance, and over which pixels.

    reconstruction       l1, charbonnier, laplacian, census, sobel, log_error       frame t against the truth
    features             geometry                                                   features against those of the truth
    flows, exact         endpoint_error
    flows, of a teacher  robust_weight ──► adaptive_charbonnier ──► flow_distillation

Pictures are (N, 3, H, W) in [0, 1], features (N, C, H, W), flows (N, 2, H, W) in pixels of their own resolution, or
(N, fields, 2, H, W) where a network finds several for a pixel. Every loss is a scalar, a mean over batch and pixels,
unless its name or docstring says that it is a map. All of it is computed in the type of what is given: hand over
float32.

Two papers that name the same loss do not always compute the same thing. What differs is an argument:

    census(form="rife")      RIFE, EBME, EMA-VFI   on the luma, one pixel at the border left out
    census(form="ifrnet")    IFRNet, AMT           on the mean of the channels, three pixels left out
    charbonnier              IFRNet, AMT, EBME     epsilon 1e-3, the same in all three (EBME calls it L2)
    flow_distillation        IFRNet, AMT           (N, 2, H, W) at every level; IFRNet weighs it by 0.01
                             AMT                   or (N, fields, 2, H, W) at the finest level

The border that a census loss leaves out counts as equal: it is still part of the mean. The distillation losses that
belong to one network stand in its module: `models.rife.distillation_loss`, `models.daek.enhanced_distillation_loss`,
`models.apr.route_loss`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from betwixt.layers.resize import resize_flow

__all__ = [
    "adaptive_charbonnier",
    "census",
    "census_map",
    "charbonnier",
    "charbonnier_census",
    "endpoint_error",
    "flow_distillation",
    "geometry",
    "l1",
    "laplacian",
    "log_error",
    "robust_weight",
    "sobel",
    "sobel_map",
]

CensusForm = Literal["rife", "ifrnet"]
"""Whose census loss; see the module."""


def l1(prediction: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (prediction - truth).abs().mean()


def charbonnier(prediction: Tensor, truth: Tensor, epsilon: float = 1e-3, mask: Tensor | None = None) -> Tensor:
    """Mean of sqrt(difference² + epsilon²), a smooth L1.

    With a `mask` (N, 1, H, W) of weights, the weighted mean over what it marks (IFRNet).
    """
    distance = torch.sqrt((prediction - truth).square() + epsilon**2)
    if mask is None:
        return distance.mean()
    return (distance * mask).mean() / (mask.mean() + 1e-9)


def log_error(prediction: Tensor, truth: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Mean over the batch of the logarithm of each sample's mean squared error: PSNR as a loss.

    Scores are means of PSNR, so a tenth less error counts alike in an easy sample and in a hard one; other losses look
    at the hard ones only. `epsilon` (50 dB) keeps still samples from counting without end. Chen et al., Simple
    baselines for image restoration, ECCV 2022.
    """
    return torch.log((prediction - truth).square().mean(dim=(1, 2, 3)) + epsilon).mean()


def endpoint_error(prediction: Tensor, truth: Tensor) -> Tensor:
    """The map (N, 1, H, W) of the lengths of prediction - truth."""
    # The small constant keeps the gradient finite where the two are equal.
    return torch.sqrt((prediction - truth).square().sum(dim=1, keepdim=True) + 1e-6)


def _binomial(channels: int, like: Tensor) -> Tensor:
    row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=like.device, dtype=like.dtype) / 16.0
    return (row[:, None] * row).expand(channels, 1, 5, 5)


def _blur(image: Tensor, gain: float = 1.0) -> Tensor:
    channels = image.shape[1]
    padded = F.pad(image, (2, 2, 2, 2), mode="reflect")
    return F.conv2d(padded, gain * _binomial(channels, image), groups=channels)


def laplacian(prediction: Tensor, truth: Tensor, levels: int = 5) -> Tensor:
    """Sum over the levels of the mean absolute difference of the Laplacian pyramids (Niklaus and Liu, CVPR 2018).

    As RIFE, DAEK, EMA-VFI and EBME have it: the levels weigh alike, and what is coarser than the last is not compared.
    The pyramids are linear, so one pyramid of the difference does. Sides have to be multiples of 2^levels and at least
    3 · 2^(levels - 1).
    """
    current = prediction - truth
    total = current.new_zeros(())
    for _ in range(levels):
        down = _blur(current)[:, :, ::2, ::2]
        up = current.new_zeros(*down.shape[:2], 2 * down.shape[2], 2 * down.shape[3])
        up[:, :, ::2, ::2] = down
        total = total + (current - _blur(up, 4.0)).abs().mean()
        current = down
    return total


def census(prediction: Tensor, truth: Tensor, radius: int = 3, form: CensusForm = "rife") -> Tensor:
    """Mean soft Hamming distance between ternary census transforms over (2 radius + 1)² neighbours.

    Meister et al., UnFlow, AAAI 2018 (section "Unsupervised loss"); see the module for the two forms.
    """
    return census_map(prediction, truth, radius, form).mean()


def census_map(prediction: Tensor, truth: Tensor, radius: int = 3, form: CensusForm = "rife") -> Tensor:
    """The distances that `census` is the mean of, (N, 1, H, W) in [0, 1), 0 in the border."""
    distance = _soft_hamming(*(_ternary(_grey(image, form), radius) for image in (prediction, truth)))
    return _without_border(distance, 1 if form == "rife" else radius)


def geometry(prediction: Tensor, truth: Tensor) -> Tensor:
    """Geometry consistency (Kong et al., IFRNet, CVPR 2022): the census loss of features.

    Args:
        prediction: (N, C, H, W), features of frame t as the decoder has them at one level.
        truth: (N, C, H, W), the features that the encoder finds in the true frame t.

    Every channel is transformed by itself over 3x3 neighbours; one pixel at the border is left out. The gradient
    reaches both.
    """
    return _without_border(_soft_hamming(_ternary(prediction, 1), _ternary(truth, 1)), 1).mean()


def _grey(image: Tensor, form: CensusForm) -> Tensor:
    if form == "ifrnet":
        return image.mean(dim=1, keepdim=True)
    luma = image.new_tensor([0.2989, 0.5870, 0.1140]).reshape(1, 3, 1, 1)
    return (image * luma).sum(dim=1, keepdim=True)


def _ternary(maps: Tensor, radius: int) -> Tensor:
    """(N, C, H, W) -> (N, C (2 radius + 1)², H, W): how each neighbour differs from the pixel, softly -1, 0 or 1."""
    batch, channels, height, width = maps.shape
    single = maps.reshape(batch * channels, 1, height, width)
    side = 2 * radius + 1
    neighbours = F.unfold(single, side, padding=radius).reshape(len(single), side * side, height, width)
    difference = neighbours - single
    return (difference / torch.sqrt(0.81 + difference.square())).reshape(batch, -1, height, width)


def _soft_hamming(first: Tensor, second: Tensor) -> Tensor:
    distance = (first - second).square()
    return (distance / (0.1 + distance)).mean(dim=1, keepdim=True)


def _without_border(distance: Tensor, border: int) -> Tensor:
    kept = slice(border, -border)
    return distance * F.pad(torch.ones_like(distance[:, :, kept, kept]), (border, border, border, border))


def sobel(prediction: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference of the Sobel gradients, those of both directions added."""
    return sobel_map(prediction, truth).mean()


def sobel_map(prediction: Tensor, truth: Tensor) -> Tensor:
    """The differences that `sobel` is the mean of, (N, C, H, W); outside the picture is zero, as RIFE has it."""
    difference = prediction - truth
    channels = difference.shape[1]
    across = difference.new_tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    x, y = (
        F.conv2d(difference, kernel.expand(channels, 1, 3, 3), padding=1, groups=channels).abs()
        for kernel in (across, across.T)
    )
    return x + y


def charbonnier_census(
    prediction: Tensor, truth: Tensor, form: CensusForm = "ifrnet", census_weight: float = 1.0
) -> Tensor:
    """Charbonnier + `census_weight` · census.

    The reconstruction loss of IFRNet and AMT as it stands; of EBME and APR (equation 4) with form "rife"
    and weight 0.1.
    """
    return charbonnier(prediction, truth) + census_weight * census(prediction, truth, form=form)


def adaptive_charbonnier(difference: Tensor, weight: Tensor) -> Tensor:
    """Mean of (difference² + epsilon²)^(weight / 2), epsilon = 10^((1 - 10 weight) / 3) (IFRNet).

    Args:
        difference: Of two flows, (N, ..., 2, H, W).
        weight: (N, 1, H, W) in [0, 1], what the teacher is worth at a pixel: at 1 nearly L1, towards 0 flat.
    """
    epsilon = 10 ** (-(10 * weight - 1) / 3)
    return ((difference.square() + epsilon.square()) ** (weight / 2)).mean()


def robust_weight(flow: Tensor, teacher: Tensor, beta: float = 0.3) -> Tensor:
    """What a teacher's flow is worth at every pixel: exp(-beta · end-point error) of the student's finest flow.

    Where the two are far apart the teacher is taken to be wrong for this task (IFRNet). Of several fields
    the one that is farthest off counts (AMT).

    Args:
        flow: (N, 2, H, W) or (N, fields, 2, H, W); no gradient passes through it.
        teacher: (N, 2, H, W).
        beta: How fast the weight falls, per pixel.

    Returns:
        (N, 1, H, W) in (0, 1].
    """
    fields = flow.detach() if flow.ndim == 5 else flow.detach().unsqueeze(1)
    squared = (fields - teacher.unsqueeze(1)).square().sum(dim=2)
    return torch.exp(-beta * torch.sqrt(squared.amax(dim=1, keepdim=True)))


def flow_distillation(
    flows_t0: Sequence[Tensor], flows_t1: Sequence[Tensor], teacher_t0: Tensor, teacher_t1: Tensor, beta: float = 0.3
) -> Tensor:
    """Task-oriented flow distillation (IFRNet; AMT): the coarse flows learn from a given flow network.

    Args:
        flows_t0: F_{t->0} at every level, finest first: (N, 2, H/2^k, W/2^k) in pixels of level k. The finest one,
            (N, 2, H, W) or (N, fields, 2, H, W), learns nothing: it says what the teacher is worth.
        flows_t1: F_{t->1}, the same.
        teacher_t0: (N, 2, H, W), F_{t->0} of the teacher.
        teacher_t1: The same for F_{t->1}.
        beta: Of `robust_weight`.

    Returns:
        The sum over the coarse levels and both directions; IFRNet weighs it by 0.01.
    """
    total = teacher_t0.new_zeros(())
    for flows, teacher in ((flows_t0, teacher_t0), (flows_t1, teacher_t1)):
        weight = robust_weight(flows[0], teacher, beta)
        for k, flow in enumerate(flows[1:], start=1):
            total = total + adaptive_charbonnier(resize_flow(flow, 2.0**k) - teacher, weight)
    return total
