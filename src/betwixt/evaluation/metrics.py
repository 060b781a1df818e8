"""Image metrics, each as the papers compute it, each under a name of its own.

| name         | input       | definition                                                                            |
|--------------|-------------|---------------------------------------------------------------------------------------|
| psnr         | 8-bit       | 10 log10(255² / MSE), the MSE over all pixels and the three channels                  |
| psnr_float   | float       | PSNR without rounding the prediction to 8 bits                                        |
| psnr_y       | 8-bit       | PSNR of luma (0.299 R + 0.587 G + 0.114 B), as RIFE reports it for the HD set         |
| ssim         | 8-bit       | the papers' "Matlab-style" SSIM: a Gaussian window over rows, columns and channels    |
| ssim_2d      | 8-bit       | SSIM with a Gaussian window over rows and columns, each channel separately            |
| ssim_skimage | 8-bit       | scikit-image's SSIM with the settings that match Wang et al.                          |
| ssim_uniform | 8-bit       | scikit-image's SSIM with its defaults, a uniform 7x7 window, as scripts for Xiph use  |
| ms_ssim      | 8-bit       | multi-scale SSIM of each channel, five scales, as codec comparisons use it            |
| ie           | 8-bit       | interpolation error: the mean absolute difference, in code values                     |
| sharpness    | 8-bit       | variance of the Laplacian of luma, of the prediction over that of the truth; the      |
|              |             | median over frames is reported, where the others report the mean                      |
| ssimulacra2  | 8-bit       | SSIMULACRA 2.1, a perceptual similarity: 100 is identical, 90 visually lossless, 70   |
|              |             | high, 50 medium, 30 low quality, without a lower end                                  |
| xpsnr        | 8-bit       | PSNR of luma, with errors weighted by how well they are seen, from the texture and    |
|              |             | motion of the true frames around them                                                 |
| flip         | 8-bit       | FLIP, a perceptual difference; needs flip-evaluator                                   |
| lpips        | 8-bit       | LPIPS; needs PyTorch and weights that the user provides                               |
| vmaf         | 8-bit       | VMAF v0.6.1 of luma, 0 to 100, motion included; needs PyTorch and vmaf-torch          |
| pulse        | 8-bit       | temporal: by how much sharpness jumps between successive frames, true and new ones,   |
|              |             | beyond what the true sequence does: the mean of abs(log2) of the change; 0 is best    |
| flicker      | float       | temporal: the change between successive frames that the true motion does not explain, |
|              |             | in code values                                                                        |

"8-bit" means that the prediction is rounded half up to code values 0..255, as a saved image is; the true frame is
8-bit in any case. Higher is better for PSNR, XPSNR, SSIM, SSIMULACRA 2 and VMAF, nearer to 1 for sharpness, lower
for the others.

The SSIM variants and SSIMULACRA 2 are implemented here because libraries give other figures: scikit-image leaves out
the border, the papers replicate it; pytorch-msssim pads images with odd sides by zeros; piq and lpips need torchvision.

References: Wang et al., Image quality assessment: from error visibility to structural similarity, IEEE TIP 2004 (SSIM);
Wang, Simoncelli, Bovik, Multi-scale structural similarity for image quality assessment, Asilomar 2003 (MS-SSIM); Baker
et al., A database and evaluation methodology for optical flow, IJCV 2011 (interpolation error); Pech-Pacheco et al.,
Diatom autofocusing in brightfield microscopy: a comparative study, ICPR 2000 (the variance of the Laplacian); Sneyers,
SSIMULACRA 2 (see `evaluation.ssimulacra2`); Helmrich et al., XPSNR, ICASSP 2020 (see `evaluation.xpsnr`); Andersson et
al., FLIP: a difference evaluator for alternating images, HPG 2020; Zhang et al., The unreasonable effectiveness of deep
features as a perceptual metric, CVPR 2018 (LPIPS); Lai et al., Learning blind video temporal consistency, ECCV 2018
(the warping error that `flicker` follows).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import UsageError, did_you_mean
from betwixt.evaluation.ssimulacra2 import downsample2x, ssimulacra2
from betwixt.evaluation.xpsnr import check_filter, xpsnr
from betwixt.machine import import_library
from betwixt.models.frame_view import Image

Image8 = NDArray[np.uint8]
"""(H, W, 3) RGB, 0 to 255."""

_Map = NDArray[np.float64]
"""(H, W, C)."""


def to_uint8(image: Image) -> Image8:
    """An image in [0, 1] as code values: rounded half up, clipped to 0..255."""
    # Halves are common (the mean of two code values), and float32 in [0, 1] represents them only nearly.
    return np.clip(np.floor(np.asarray(image, np.float64) * 255.0 + (0.5 + 1e-4)), 0, 255).astype(np.uint8)


def psnr(prediction: NDArray[Any], truth: NDArray[Any]) -> float:
    """PSNR in dB of images in code values, 0 to 255; 100 for identical images, so that means stay finite."""
    error = float(np.mean((prediction.astype(np.float64) - truth.astype(np.float64)) ** 2))
    return 100.0 if error == 0.0 else 10.0 * float(np.log10(255.0**2 / error))


def psnr_y(prediction: NDArray[Any], truth: NDArray[Any]) -> float:
    """PSNR in dB of the luma of two RGB images; the luma is not rounded."""
    weights = np.array([0.299, 0.587, 0.114])
    return psnr(prediction @ weights, truth @ weights)


def ie(prediction: NDArray[Any], truth: NDArray[Any]) -> float:
    """Interpolation error: the mean absolute difference in code values (Baker et al., as the papers report it)."""
    return float(np.abs(prediction.astype(np.float64) - truth.astype(np.float64)).mean())


def ssim(prediction: NDArray[Any], truth: NDArray[Any]) -> float:
    """SSIM as RIFE, IFRNet, AMT, EMA-VFI and EBME compute it, of images in code values.

    The window is an 11x11x11 Gaussian of sigma 1.5 over rows, columns and channels with replicated borders, so the
    statistics of each channel include the others. For three channels the third axis of the window reduces to a 3x3
    matrix.
    """
    luminance, contrast = _ssim_maps(prediction, truth, across_channels=True)
    return float((luminance * contrast).mean())


def ssim_2d(prediction: NDArray[Any], truth: NDArray[Any]) -> float:
    """SSIM with an 11x11 Gaussian window of sigma 1.5 on each channel separately, with replicated borders."""
    luminance, contrast = _ssim_maps(prediction, truth)
    return float((luminance * contrast).mean())


_WINDOW = 11


@lru_cache(maxsize=1)
def _gaussian_window() -> tuple[_Map, _Map]:
    """The 11 taps, and the 3x3 matrix that applies them along three channels with replicated borders."""
    half = _WINDOW // 2
    taps = np.exp(-((np.arange(_WINDOW) - half) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()
    channel_mix = np.zeros((3, 3))
    for channel in range(3):
        for tap in range(_WINDOW):
            channel_mix[channel, min(max(channel + tap - half, 0), 2)] += taps[tap]
    return taps, channel_mix


def _ssim_maps(a: NDArray[Any], b: NDArray[Any], *, across_channels: bool = False) -> tuple[_Map, _Map]:
    """The two factors of SSIM at every pixel: luminance, and contrast times structure."""
    taps, channel_mix = _gaussian_window()

    def blur(image: _Map) -> _Map:
        blurred: Any = cv2.sepFilter2D(image, cv2.CV_64F, taps, taps, borderType=cv2.BORDER_REPLICATE)
        result: _Map = blurred @ channel_mix.T if across_channels else blurred
        return result

    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    mean_a, mean_b = blur(a), blur(b)
    variance_a, variance_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    contrast = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return luminance, contrast


_SCALES = 0.0448, 0.2856, 0.3001, 0.2363, 0.1333
"""Exponents of the five scales, finest first, as observers gave them (Wang et al. 2003, section 3.2)."""


def ms_ssim(prediction: NDArray[Any], truth: NDArray[Any]) -> float:
    """Multi-scale SSIM of images in code values: the mean over channels of

        l_5^0.1333 · cs_1^0.0448 · cs_2^0.2856 · cs_3^0.3001 · cs_4^0.2363 · cs_5^0.1333

    where cs_j is the mean of contrast times structure at scale j, l_5 cs_5 is the SSIM of the coarsest scale, and each
    scale averages 2x2 pixels of the one before. Means are over the windows (11x11 Gaussian, sigma 1.5) that lie within
    the image. A negative cs counts as 0.

    Raises:
        UsageError: if a side is shorter than 176 pixels: the coarsest scale would not hold a window.
    """
    height, width = truth.shape[:2]
    if min(height, width) < _WINDOW << (len(_SCALES) - 1):
        raise UsageError(f"ms_ssim needs images of at least 176 pixels a side: these have {width}x{height}.")
    a, b = (np.array(x, np.float64) for x in (prediction, truth))
    score = np.ones(truth.shape[2])
    for scale, exponent in enumerate(_SCALES):
        similarity, contrast = _mean_similarity(a, b)
        coarsest = scale == len(_SCALES) - 1
        score *= np.maximum(similarity if coarsest else contrast, 0.0) ** exponent
        if not coarsest:
            a, b = downsample2x(a), downsample2x(b)
    return float(score.mean())


def _mean_similarity(a: _Map, b: _Map) -> tuple[_Map, _Map]:
    """For each channel, the means over the windows within the image of SSIM, and of contrast times structure."""
    inside = slice(_WINDOW // 2, -(_WINDOW // 2))
    luminance, contrast = (factor[inside, inside] for factor in _ssim_maps(a, b))
    return (luminance * contrast).mean(axis=(0, 1)), contrast.mean(axis=(0, 1))


_WANG_SETTINGS: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
"""Settings of scikit-image's SSIM that match Wang et al."""


def _ssim_skimage(prediction: Image8, truth: Image8, **settings: Any) -> float:
    library = import_library("skimage.metrics", "scikit-image's SSIM", "evaluation", "scikit-image")
    return float(library.structural_similarity(prediction, truth, channel_axis=2, data_range=255, **settings))


def _flip(prediction: Image8, truth: Image8) -> float:
    library = import_library("flip_evaluator", "The metric flip", "evaluation", "flip-evaluator")
    reference, test = (x.astype(np.float32) / np.float32(255) for x in (truth, prediction))
    _, mean, _ = library.evaluate(reference, test, "LDR", applyMagma=False)
    return float(mean)


_FLAT = 0.01
"""Added to the variances of `sharpness`, so that flat images have a ratio; it is far below that of any texture."""


def sharpness(prediction: Image8, truth: Image8) -> float:
    """How sharp a prediction is, relative to the true frame: 1 is as sharp, less is blurred, more has noise or ringing.

    It is the variance of the Laplacian (4 neighbours) of luma, in code values, of the prediction over that of the true
    frame. Most of that variance comes from the finest detail, which blending and resampling take first.
    """
    ours, theirs = (_laplacian_variance(image) + _FLAT for image in (prediction, truth))
    return ours / theirs


def _laplacian_variance(image: Image8) -> float:
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F, ksize=1).var())


def pulse(frames: Sequence[Image], truths: Sequence[Image8]) -> float:
    """By how much sharpness jumps from frame to frame, beyond what the true frames do, in powers of two.

    Source frames between blurred new ones make a video pulse. It is the mean over successive frames of

        abs(log2(s[i + 1]) - log2(s[i])),   s: the frame's `sharpness` against the true frame of its time

    which is 0 for the true frames, whatever their own sharpness does, and for new frames that are all as sharp as the
    truth. For a single new frame between two source frames it is abs(log2(sharpness)): 1 if the variance of the
    Laplacian halves or doubles, 2 if it is a quarter.

    `frames` are at least two in time order (first, predictions.., second), (H, W, 3) in [0, 1]; `truths` are the true
    frames at the same times, uint8.
    """
    levels = [math.log2(sharpness(to_uint8(a), b)) for a, b in zip(frames, truths, strict=True)]
    return sum(abs(b - a) for a, b in itertools.pairwise(levels)) / max(1, len(levels) - 1)


def flicker(frames: Sequence[Image], truths: Sequence[Image8]) -> float:
    """How much of the change between successive frames the true motion does not explain, in code values.

    For each two successive frames, the later one is warped to the earlier one by the flow between the *true* frames,
    and the two are compared where the forward and the backward flow agree (no occlusion). As the flow is of the true
    frames, a model cannot gain by a motion of its own; the true frames themselves score what grain, changes of light
    and errors of the flow leave. It is the warping error of Lai et al. with the mean absolute difference.

    `frames` are at least two in time order (first, predictions.., second), (H, W, 3) float32 in [0, 1]; `truths` are
    the true frames at the same times, uint8. The score is the mean over successive pairs of the mean absolute
    difference over visible pixels.
    """
    grey = [cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in truths]
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    height, width = grey[0].shape
    grid = np.stack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)), axis=-1)
    total = 0.0
    for i in range(len(frames) - 1):
        forward, backward = dis.calc(grey[i], grey[i + 1], None), dis.calc(grey[i + 1], grey[i], None)
        positions = grid + forward
        round_trip = forward + _sample_bilinear(backward, positions)
        magnitude = (forward**2).sum(2) + (backward**2).sum(2)
        # Occlusion test of Sundaram et al., ECCV 2010, equation 5; what leaves the image is not visible either.
        visible = (round_trip**2).sum(2) <= 0.01 * magnitude + 0.5
        visible &= (positions >= 0).all(2) & (positions[..., 0] <= width - 1) & (positions[..., 1] <= height - 1)
        warped = _sample_bilinear(np.asarray(frames[i + 1], np.float32), positions)
        difference = np.abs(warped - frames[i]).mean(2)[visible]
        total += 255.0 * float(difference.mean()) if difference.size else 0.0
    return total / max(1, len(frames) - 1)


def _sample_bilinear(image: NDArray[np.float32], positions: NDArray[np.float32]) -> NDArray[np.float32]:
    no_second_map: Any = None  # `positions` holds both coordinates; the type stubs know only two separate maps
    sampled = cv2.remap(image, positions, no_second_map, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(sampled, np.float32)


SequenceScore = Callable[[Sequence[Image], Sequence[Image8], slice], Sequence[float]]
"""Scores the predictions of a sample, given its frames in time order (first, predictions.., second), the true frames at
the same times, and the places of the predictions among them."""


@dataclass(frozen=True)
class Metric:
    """A metric by name."""

    name: str  # as in the table of this module
    better: str  # which scores are better: "higher", "lower" or "nearer to 1"
    digits: int  # the number of decimals to show
    score: Callable[[Image, Image8, Image8], float] | None = None
    """Scores one prediction, given it as float, as 8-bit, and the true frame; None for a metric of sequences, and for
    lpips until `select_metrics` has read its weights."""
    score_sequence: SequenceScore | None = None
    """Scores the predictions of a sample together; None for a metric of single frames, and for vmaf until
    `select_metrics` has loaded its library."""
    aggregation: str = "mean"  # what is reported for many frames: their "mean" or their "median"

    @property
    def column(self) -> str:
        """The heading of a column of aggregated scores: the name, and what they are if it is not the mean."""
        return self.name if self.aggregation == "mean" else f"{self.name}_{self.aggregation}"

    def badness(self, score: float) -> float:
        """A number that is larger for worse scores, by which frames can be sorted."""
        if self.better == "nearer to 1":
            return abs(math.log(max(score, 1e-9)))  # half is as bad as double
        return score if self.better == "lower" else -score


def _of_whole_sample(score: Callable[[Sequence[Image], Sequence[Image8]], float]) -> SequenceScore:
    """The score of a whole sample as that of each of its predictions."""
    return lambda frames, truths, new: [score(frames, truths)] * len(frames[new])


def _on_8_bit(score: Callable[[Image8, Image8], float]) -> Callable[[Image, Image8, Image8], float]:
    return lambda prediction, prediction8, truth: score(prediction8, truth)


def _sequence_on_8_bit(
    score: Callable[[Sequence[Image8], Sequence[Image8], slice], Sequence[float]],
) -> SequenceScore:
    return lambda frames, truths, new: score([to_uint8(frame) for frame in frames], truths, new)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("psnr", "higher", 2, _on_8_bit(psnr)),
        Metric(
            "psnr_float", "higher", 2, lambda image, image8, truth: psnr(np.asarray(image, np.float64) * 255, truth)
        ),
        Metric("psnr_y", "higher", 2, _on_8_bit(psnr_y)),
        Metric("ssim", "higher", 4, _on_8_bit(ssim)),
        Metric("ssim_2d", "higher", 4, _on_8_bit(ssim_2d)),
        Metric("ssim_skimage", "higher", 4, _on_8_bit(partial(_ssim_skimage, **_WANG_SETTINGS))),
        Metric("ssim_uniform", "higher", 4, _on_8_bit(_ssim_skimage)),
        Metric("ms_ssim", "higher", 4, _on_8_bit(ms_ssim)),
        Metric("ie", "lower", 3, _on_8_bit(ie)),
        Metric("sharpness", "nearer to 1", 3, _on_8_bit(sharpness), aggregation="median"),
        Metric("ssimulacra2", "higher", 2, _on_8_bit(ssimulacra2)),
        Metric("xpsnr", "higher", 2, score_sequence=_sequence_on_8_bit(xpsnr)),
        Metric("flip", "lower", 4, _on_8_bit(_flip)),
        Metric("lpips", "lower", 4),
        Metric("vmaf", "higher", 2),
        Metric("pulse", "lower", 3, score_sequence=_of_whole_sample(pulse)),
        Metric("flicker", "lower", 3, score_sequence=_of_whole_sample(flicker)),
    )
}

DEFAULT_METRICS = ("psnr", "psnr_float", "ssim", "ie")


def select_metrics(names: str, lpips_weights: Path | None = None) -> list[Metric]:
    """The metrics of a comma-separated list, with libraries and weights checked.

    Raises:
        UsageError: if a name is unknown, a library is missing, or lpips has no weights.
    """
    selected = []
    for name in dict.fromkeys(part.strip() for part in names.split(",")):
        if name not in METRICS:
            choices = f"choose from {', '.join(METRICS)}"
            raise UsageError(f"There is no metric '{name}': {did_you_mean(name, METRICS, choices)}")
        metric = METRICS[name]
        if name == "lpips":
            if lpips_weights is None:
                raise UsageError(
                    "The metric lpips needs weights, which Betwixt does not ship: pass `lpips_weights`, a folder with "
                    "alexnet-owt-*.pth and the linear layers, alex.pth."
                )
            from betwixt.evaluation.lpips import LPIPS

            metric = replace(metric, score=_on_8_bit(LPIPS.load(lpips_weights).distance))
        elif name == "vmaf":
            from betwixt.evaluation.vmaf import VMAF

            metric = replace(metric, score_sequence=_sequence_on_8_bit(VMAF().score))
        elif name == "xpsnr":
            check_filter()
        elif metric.score is not None and name in ("flip", "ssim_skimage", "ssim_uniform"):
            blank = np.zeros((16, 16, 3), np.uint8)
            metric.score(blank.astype(np.float32), blank, blank)  # fail now if the library is missing
        selected.append(metric)
    return selected
