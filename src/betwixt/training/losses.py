"""Training losses. Pictures are (N, 3, H, W) in [0, 1], flows (N, 2, H, W) in pixels; every loss is a scalar mean.

- `charbonnier`: a smooth L1.
- `laplacian`: L1 between Laplacian pyramids (Niklaus and Liu, 2018; RIFE's reconstruction loss).
- `census`: soft Hamming distance between ternary census transforms of the luma (Meister et al., 2018, as RIFE has it).
- `endpoint_error`: length of the difference between two flows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["census", "charbonnier", "endpoint_error", "laplacian", "log_error"]


def charbonnier(prediction: Tensor, truth: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Mean of sqrt(difference² + epsilon²)."""
    return torch.sqrt((prediction - truth).square() + epsilon**2).mean()


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
    """Sum over the levels of the mean absolute difference of the Laplacian pyramids.

    The pyramids are linear, so one pyramid of the difference does.
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


def census(prediction: Tensor, truth: Tensor, radius: int = 3) -> Tensor:
    """Mean soft census distance over (2 radius + 1)² neighbours; a border of one pixel is left out."""
    distance = (_ternary(prediction, radius) - _ternary(truth, radius)).square()
    distance = (distance / (0.1 + distance)).mean(dim=1, keepdim=True)
    inside = F.pad(torch.ones_like(distance[:, :, 1:-1, 1:-1]), (1, 1, 1, 1))
    return (distance * inside).mean()


def _ternary(image: Tensor, radius: int) -> Tensor:
    luma = image.new_tensor([0.2989, 0.5870, 0.1140]).reshape(1, 3, 1, 1)
    grey = (image * luma).sum(dim=1, keepdim=True)
    side = 2 * radius + 1
    neighbours = F.unfold(grey, side, padding=radius).reshape(len(grey), side * side, *grey.shape[2:])
    difference = neighbours - grey
    return difference / torch.sqrt(0.81 + difference.square())
