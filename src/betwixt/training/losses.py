"""Training losses.

    reconstruction        charbonnier, laplacian, census, sobel, log_error,           frame t against the true frame
                          structural_dissimilarity, detail_energy
    features              geometry                                                    features against the truth's
    flows, known motion   endpoint_error
    flows, from a teacher robust_weight ──► adaptive_charbonnier ──► flow_distillation

Images are (N, 3, H, W) in [0, 1], features (N, C, H, W), flows (N, 2, H, W) in pixels of their own resolution, or
(N, fields, 2, H, W) where a network predicts several per pixel. Every loss is a scalar, a mean over batch and pixels,
unless its docstring says that it is a map. Computed in the type of the inputs: pass float32.

Papers that name the same loss do not always compute the same thing. The differences are arguments:

    census(form="rife")      RIFE, EBME, EMA-VFI   on the luma, without a border of one pixel
    census(form="ifrnet")    IFRNet, AMT           on the mean of the channels, without a border of three pixels
    charbonnier              IFRNet, AMT, EBME     epsilon 1e-3, the same in all three (EBME calls it L2)
    flow_distillation        IFRNet, AMT           (N, 2, H, W) at every level; IFRNet weights it by 0.01
                             AMT                   or (N, fields, 2, H, W) at the finest level

In the border that a census loss leaves out the distance is 0, and it still counts in the mean. The distillation losses
of RIFE and DAEK and the route loss of APR are in the modules of those networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from betwixt.layers.resize import resize_flow

CensusForm = Literal["rife", "ifrnet"]


def charbonnier(prediction: Tensor, truth: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Mean of sqrt(difference² + epsilon²), a smooth L1."""
    return torch.sqrt((prediction - truth).square() + epsilon**2).mean()


def log_error(prediction: Tensor, truth: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Mean over the batch of the logarithm of each sample's mean squared error: PSNR as a loss.

    Benchmarks report mean PSNR, where reducing the error by a tenth counts the same in easy and hard samples; other
    losses are dominated by hard samples. `epsilon` (50 dB) bounds the weight of nearly perfect ones. Chen et al.,
    Simple baselines for image restoration, ECCV 2022.
    """
    return torch.log((prediction - truth).square().mean(dim=(1, 2, 3)) + epsilon).mean()


def endpoint_error(prediction: Tensor, truth: Tensor) -> Tensor:
    """The map (N, 1, H, W) of the lengths of the flow differences prediction - truth."""
    # The small constant keeps the gradient finite where the two are equal.
    return torch.sqrt((prediction - truth).square().sum(dim=1, keepdim=True) + 1e-6)


def laplacian(prediction: Tensor, truth: Tensor, levels: int = 5) -> Tensor:
    """Sum over the levels of the mean absolute difference of the Laplacian pyramids (Niklaus and Liu, CVPR 2018).

    As in RIFE, DAEK, EMA-VFI and EBME: all levels have the same weight, and the low-pass residual is not compared. The
    pyramids are linear, so a single pyramid of the difference suffices. Sides have to be multiples of 2^levels and at
    least 3 · 2^(levels - 1).
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


def _blur(image: Tensor, gain: float = 1.0) -> Tensor:
    """Blur with the 5x5 binomial kernel, times `gain`."""
    row = image.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16.0
    kernel = (row[:, None] * row).expand(image.shape[1], 1, 5, 5)
    padded = F.pad(image, (2, 2, 2, 2), mode="reflect")
    return F.conv2d(padded, gain * kernel, groups=image.shape[1])


def census(prediction: Tensor, truth: Tensor, radius: int = 3, form: CensusForm = "rife") -> Tensor:
    """Mean soft Hamming distance between ternary census transforms over (2 radius + 1)² neighbours.

    Meister et al., UnFlow, AAAI 2018 (section "Unsupervised loss"); see the module for the two forms.
    """
    distance = _soft_hamming(*(_ternary(_to_grey(image, form), radius) for image in (prediction, truth)))
    return _zero_border(distance, 1 if form == "rife" else radius).mean()


def geometry(prediction: Tensor, truth: Tensor) -> Tensor:
    """Geometry consistency (Kong et al., IFRNet, CVPR 2022): the census loss of features (N, C, H, W) of one level.

    Each channel is transformed by itself over 3x3 neighbours; a border of one pixel is left out. Both inputs receive a
    gradient: the decoder's features of frame t and the encoder's of the true frame.
    """
    return _zero_border(_soft_hamming(_ternary(prediction, 1), _ternary(truth, 1)), 1).mean()


def _to_grey(image: Tensor, form: CensusForm) -> Tensor:
    if form == "ifrnet":
        return image.mean(dim=1, keepdim=True)
    luma = image.new_tensor([0.2989, 0.5870, 0.1140]).reshape(1, 3, 1, 1)
    return (image * luma).sum(dim=1, keepdim=True)


def _ternary(maps: Tensor, radius: int) -> Tensor:
    """Soft ternary census: how each neighbour differs from the pixel, smoothly between -1 and 1.

    (N, C, H, W) -> (N, C (2 radius + 1)², H, W)
    """
    batch, channels, height, width = maps.shape
    single = maps.reshape(batch * channels, 1, height, width)
    side = 2 * radius + 1
    neighbours = F.unfold(single, side, padding=radius).reshape(len(single), side * side, height, width)
    difference = neighbours - single
    return (difference / torch.sqrt(0.81 + difference.square())).reshape(batch, -1, height, width)


def _soft_hamming(first: Tensor, second: Tensor) -> Tensor:
    distance = (first - second).square()
    return (distance / (0.1 + distance)).mean(dim=1, keepdim=True)


def _zero_border(distance: Tensor, border: int) -> Tensor:
    inside = slice(border, -border)
    return distance * F.pad(torch.ones_like(distance[:, :, inside, inside]), (border, border, border, border))


def sobel(prediction: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference of the Sobel gradients, both directions added; zero padding, as in RIFE."""
    difference = prediction - truth
    channels = difference.shape[1]
    horizontal = difference.new_tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    x, y = (
        F.conv2d(difference, kernel.expand(channels, 1, 3, 3), padding=1, groups=channels).abs()
        for kernel in (horizontal, horizontal.T)
    )
    return (x + y).mean()


def structural_dissimilarity(prediction: Tensor, truth: Tensor, scales: int = 3) -> Tensor:
    """1 - SSIM, the mean over `scales`, each half the size of the one before.

    Windows are 11x11 Gaussians of sigma 1.5 within the image, for each channel, as in Wang et al., Image quality
    assessment: from error visibility to structural similarity, IEEE TIP 2004. The coarsest scale has to hold a window.
    """
    taps = torch.exp(-((torch.arange(11, device=truth.device, dtype=truth.dtype) - 5) ** 2) / (2 * 1.5**2))
    taps = taps / taps.sum()
    channels = truth.shape[1]

    def blur(maps: Tensor) -> Tensor:
        rows = F.conv2d(maps, taps.expand(maps.shape[1], 1, 1, 11), groups=maps.shape[1])
        return F.conv2d(rows, taps[:, None].expand(maps.shape[1], 1, 11, 1), groups=maps.shape[1])

    total = truth.new_zeros(())
    for scale in range(scales):
        if scale:
            prediction, truth = F.avg_pool2d(prediction, 2), F.avg_pool2d(truth, 2)
        products = torch.cat((prediction, truth, prediction**2, truth**2, prediction * truth), dim=1)
        a, b, aa, bb, ab = torch.split(blur(products), channels, dim=1)
        luminance = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
        contrast = (2 * (ab - a * b) + 9e-4) / (aa - a * a + bb - b * b + 9e-4)
        total = total + 1.0 - (luminance * contrast).mean()
    return total / scales


def detail_energy(prediction: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference of the local energy of fine detail.

    The energy at a pixel is the root mean square of the Laplacian of luma in 9x9 pixels around it. It does not depend
    on where in the window the detail is: sharp detail in the wrong place costs nothing here, blurred detail does.
    """
    made, true = (_detail_energy(image) for image in (prediction, truth))
    return (made - true).abs().mean()


def _detail_energy(image: Tensor) -> Tensor:
    kernel = image.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    detail = F.conv2d(_to_grey(image, "rife"), kernel[None, None])
    # The small constant keeps the gradient finite where there is no detail.
    return torch.sqrt(F.avg_pool2d(detail.square(), 9, stride=1) + 1e-5)


def adaptive_charbonnier(difference: Tensor, weight: Tensor) -> Tensor:
    """Mean of (difference² + epsilon²)^(weight / 2), epsilon = 10^((1 - 10 weight) / 3) (IFRNet).

    Args:
        difference: Of two flows, (N, ..., 2, H, W).
        weight: (N, 1, H, W) in [0, 1], the confidence in the teacher; at 1 the loss is nearly L1, towards 0 flat.
    """
    epsilon = 10 ** (-(10 * weight - 1) / 3)
    return ((difference.square() + epsilon.square()) ** (weight / 2)).mean()


def robust_weight(flow: Tensor, teacher: Tensor, beta: float = 0.3) -> Tensor:
    """The confidence in a teacher's flow at each pixel: exp(-beta · end-point error of the student's finest flow).

    Where the two disagree, the teacher is assumed to be wrong for this task (IFRNet). Of several fields the one with
    the largest error counts (AMT).

    Args:
        flow: (N, 2, H, W) or (N, fields, 2, H, W); it gets no gradient.
        teacher: (N, 2, H, W).
        beta: Decay of the confidence, per pixel of error.

    Returns:
        (N, 1, H, W) in (0, 1].
    """
    fields = flow.detach() if flow.ndim == 5 else flow.detach().unsqueeze(1)
    squared = (fields - teacher.unsqueeze(1)).square().sum(dim=2)
    return torch.exp(-beta * torch.sqrt(squared.amax(dim=1, keepdim=True)))


def flow_distillation(
    flows_t0: Sequence[Tensor], flows_t1: Sequence[Tensor], teacher_t0: Tensor, teacher_t1: Tensor, beta: float = 0.3
) -> Tensor:
    """Task-oriented flow distillation (IFRNet, AMT): the coarse flows learn from a flow network.

    Args:
        flows_t0: F_{t->0} at every level, finest first: (N, 2, H/2^k, W/2^k) in pixels of level k. The finest one,
            (N, 2, H, W) or (N, fields, 2, H, W), gets no gradient: it determines the confidence in the teacher.
        flows_t1: F_{t->1} at every level, in the same shapes.
        teacher_t0: (N, 2, H, W).
        teacher_t1: (N, 2, H, W).
        beta: Of `robust_weight`.

    Returns:
        The sum over the coarse levels and both directions; IFRNet weights it by 0.01.
    """
    total = teacher_t0.new_zeros(())
    for flows, teacher in ((flows_t0, teacher_t0), (flows_t1, teacher_t1)):
        weight = robust_weight(flows[0], teacher, beta)
        for k, flow in enumerate(flows[1:], start=1):
            total = total + adaptive_charbonnier(resize_flow(flow, 2.0**k) - teacher, weight)
    return total
