"""Image metrics, each as the papers compute it, each under a name of its own.

| name         | on             | what                                                                             |
|--------------|----------------|----------------------------------------------------------------------------------|
| psnr         | 8-bit rounded  | 10 log10(255² / MSE), the MSE over all pixels and the three channels             |
| psnr_float   | as made        | the same without the rounding                                                    |
| psnr_y       | 8-bit rounded  | the same on luma (0.299 R + 0.587 G + 0.114 B), as RIFE prints it for the HD set |
| ssim         | 8-bit rounded  | the papers' "Matlab-style" SSIM: a Gaussian window over rows, columns and colour |
| ssim_2d      | 8-bit rounded  | the same window over rows and columns of each channel by itself                  |
| ssim_skimage | 8-bit rounded  | scikit-image's SSIM in its form that follows Wang et al.                         |
| ssim_uniform | 8-bit rounded  | scikit-image's SSIM by its defaults: a uniform 7x7 window, as scripts for Xiph use |
| ms_ssim      | 8-bit rounded  | multi-scale SSIM of each channel, five scales, as codecs are compared by         |
| ie           | 8-bit rounded  | interpolation error: the mean absolute difference, in code values                |
| flip         | 8-bit rounded  | FLIP, a perceptual difference; needs flip-evaluator                              |
| lpips        | 8-bit rounded  | LPIPS; needs PyTorch and weights that the user has                               |
| flicker      | as made        | temporal: what is left of the change between successive frames after the true    |
|              |                | motion is taken out of it, in code values                                        |

"8-bit rounded" is round half up of 255 times the frame, clipped to 0..255, as a saved picture has it; the truth is
8-bit in any case. Higher is better for psnr and ssim, lower for the rest.

Pictures: made (H, W, 3) float32 RGB in [0, 1]; truth (H, W, 3) uint8 RGB.

References: Wang et al., Image quality assessment: from error visibility to structural similarity, IEEE TIP 2004 (SSIM);
Wang, Simoncelli, Bovik, Multi-scale structural similarity for image quality assessment, Asilomar 2003 (MS-SSIM);
Baker et al., A database and evaluation methodology for optical flow, IJCV 2011 (interpolation error); Andersson et al.,
FLIP: a difference evaluator for alternating images, HPG 2020; Zhang et al., The unreasonable effectiveness of deep
features as a perceptual metric, CVPR 2018 (LPIPS); Lai et al., Learning blind video temporal consistency, ECCV 2018
(the warping error that `flicker` follows).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import UsageError
from betwixt.models.base import Image

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "Metric",
    "flicker",
    "ie",
    "ms_ssim",
    "psnr",
    "select_metrics",
    "ssim",
    "ssim_2d",
    "to_uint8",
]

Image8 = NDArray[np.uint8]
"""(H, W, 3) RGB, 0 to 255."""

_Map = NDArray[np.float64]


def to_uint8(made: Image) -> Image8:
    """A made frame as a saved 8-bit picture has it: round half up, clip to 0..255."""
    # Halves are common (the mean of two code values), and float32 in [0, 1] holds them only nearly.
    return np.clip(np.floor(np.asarray(made, np.float64) * 255.0 + (0.5 + 1e-4)), 0, 255).astype(np.uint8)


def psnr(made: NDArray[Any], truth: NDArray[Any]) -> float:
    """PSNR in dB between two pictures in code values, 0 to 255; equal pictures give 100, so that a mean exists."""
    error = float(np.mean((made.astype(np.float64) - truth.astype(np.float64)) ** 2))
    return 100.0 if error == 0.0 else 10.0 * float(np.log10(255.0**2 / error))


def psnr_y(made: NDArray[Any], truth: NDArray[Any]) -> float:
    """PSNR in dB of the luma of two RGB pictures, not rounded in between."""
    weights = np.array([0.299, 0.587, 0.114])
    return psnr(made @ weights, truth @ weights)


def ie(made: NDArray[Any], truth: NDArray[Any]) -> float:
    """Interpolation error: the mean absolute difference in code values (Baker et al., as the papers report it)."""
    return float(np.abs(made.astype(np.float64) - truth.astype(np.float64)).mean())


def ssim(made: NDArray[Any], truth: NDArray[Any]) -> float:
    """SSIM as RIFE, IFRNet, AMT, EMA-VFI and EBME compute it, between pictures in code values.

    The window is an 11x11x11 Gaussian of sigma 1.5 over rows, columns and colour, edges replicated, so that each
    channel's statistics hold something of the others'. With three channels the third axis of the window comes down to a
    3x3 matrix.
    """
    return _structure(made, truth, colour=True)


def ssim_2d(made: NDArray[Any], truth: NDArray[Any]) -> float:
    """SSIM with an 11x11 Gaussian window of sigma 1.5 on every channel by itself, edges replicated."""
    return _structure(made, truth, colour=False)


@lru_cache(maxsize=1)
def _window() -> tuple[_Map, _Map]:
    """The 11 taps, and what they do along an axis of three places with replicated edges."""
    taps = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()
    mix = np.zeros((3, 3))
    for place in range(3):
        for tap in range(11):
            mix[place, min(max(place + tap - 5, 0), 2)] += taps[tap]
    return taps, mix


def _structure(made: NDArray[Any], truth: NDArray[Any], *, colour: bool) -> float:
    taps, mix = _window()
    a, b = (np.asarray(x, np.float64) for x in (made, truth))

    def smooth(picture: _Map) -> _Map:
        blurred: Any = cv2.sepFilter2D(picture, cv2.CV_64F, taps, taps, borderType=cv2.BORDER_REPLICATE)
        result: _Map = blurred @ mix.T if colour else blurred
        return result

    mean_a, mean_b = smooth(a), smooth(b)
    variance_a, variance_b = smooth(a * a) - mean_a**2, smooth(b * b) - mean_b**2
    covariance = smooth(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return float((luminance * structure).mean())


_SCALES = 0.0448, 0.2856, 0.3001, 0.2363, 0.1333
"""Exponents of the five scales, finest first, as observers gave them (Wang et al. 2003, section 3.2)."""

_WINDOW = 11


def ms_ssim(made: NDArray[Any], truth: NDArray[Any]) -> float:
    """Multi-scale SSIM between pictures in code values: the mean over channels of

        l_5^0.1333 · cs_1^0.0448 · cs_2^0.2856 · cs_3^0.3001 · cs_4^0.2363 · cs_5^0.1333

    where cs_j is the mean of contrast times structure at scale j, l_5 cs_5 that of SSIM at the coarsest, and each scale
    is the mean of 2x2 pixels of the one before. Means are over the windows (11x11 Gaussian, sigma 1.5) that lie within
    the picture. A negative cs counts as 0.

    Raises:
        UsageError: if a side is under 176 pixels: the coarsest scale would not hold a window.
    """
    height, width = truth.shape[:2]
    if min(height, width) < _WINDOW << (len(_SCALES) - 1):
        raise UsageError(f"ms_ssim needs pictures of at least 176 pixels a side: these have {width}x{height}.")
    a, b = (np.array(x, np.float64) for x in (made, truth))
    score = np.ones(truth.shape[2])
    for number, exponent in enumerate(_SCALES):
        similarity, contrast = _similarity(a, b)
        coarsest = number == len(_SCALES) - 1
        score *= np.maximum(similarity if coarsest else contrast, 0.0) ** exponent
        if not coarsest:
            a, b = _halved(a), _halved(b)
    return float(score.mean())


def _halved(picture: _Map) -> _Map:
    """The mean of every 2x2 pixels; where a side is odd, its last row or column counts twice."""
    height, width = picture.shape[:2]
    even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return (even[0::2, 0::2] + even[1::2, 0::2] + even[0::2, 1::2] + even[1::2, 1::2]) / 4


def _similarity(a: _Map, b: _Map) -> tuple[_Map, _Map]:
    """For each channel, means over all windows within the picture of SSIM, and of contrast times structure alone."""
    taps, _ = _window()
    inside = slice(_WINDOW // 2, -(_WINDOW // 2))

    def smooth(picture: _Map) -> _Map:
        blurred: Any = cv2.sepFilter2D(picture, cv2.CV_64F, taps, taps, borderType=cv2.BORDER_REPLICATE)
        return np.asarray(blurred[inside, inside], np.float64)

    mean_a, mean_b = smooth(a), smooth(b)
    variance_a, variance_b = smooth(a * a) - mean_a**2, smooth(b * b) - mean_b**2
    covariance = smooth(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    contrast = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return (luminance * contrast).mean(axis=(0, 1)), contrast.mean(axis=(0, 1))


def _ssim_skimage(made: Image8, truth: Image8) -> float:
    metrics = _library("skimage.metrics", "ssim_skimage", "scikit-image")
    value: float = metrics.structural_similarity(
        made, truth, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(value)


def _ssim_uniform(made: Image8, truth: Image8) -> float:
    metrics = _library("skimage.metrics", "ssim_uniform", "scikit-image")
    return float(metrics.structural_similarity(made, truth, channel_axis=2, data_range=255))


def _flip(made: Image8, truth: Image8) -> float:
    evaluator = _library("flip_evaluator", "flip", "flip-evaluator")
    reference, test = (x.astype(np.float32) / np.float32(255) for x in (truth, made))
    _, mean, _ = evaluator.evaluate(reference, test, "LDR", applyMagma=False)
    return float(mean)


def _library(module: str, metric: str, package: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        raise UsageError(f"The metric {metric} needs {package}: pip install 'betwixt[evaluation]'.") from None


def flicker(strip: Sequence[Image], truth: Sequence[Image8]) -> float:
    """How much of the change between successive frames of `strip` the true motion does not explain, in code values.

    For each two successive frames the later one is warped back by the flow between the *true* frames, and compared with
    the earlier one where the true frames say that nothing is hidden (the flow back leads home). The flow is of the true
    frames, so a model cannot gain by a motion of its own; the true frames themselves score what grain, light and the
    flow's own errors leave. After the warping error of Lai et al., with the mean absolute difference.

    Args:
        strip: At least two frames in time order (first, made.., second), each (H, W, 3) float32 in [0, 1].
        truth: The true frames at the same times, uint8.

    Returns:
        The mean over the pairs of the mean absolute difference over visible pixels.
    """
    grey = [cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in truth]
    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    height, width = grey[0].shape
    grid = np.stack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)), axis=-1)
    total = 0.0
    for i in range(len(strip) - 1):
        there, back = search.calc(grey[i], grey[i + 1], None), search.calc(grey[i + 1], grey[i], None)
        place = grid + there
        home = there + _bilinear(back, place)
        reach = (there**2).sum(2) + (back**2).sum(2)
        # Sundaram et al., ECCV 2010, equation 5; and what left the picture is not to be seen either.
        visible = (home**2).sum(2) <= 0.01 * reach + 0.5
        visible &= (place >= 0).all(2) & (place[..., 0] <= width - 1) & (place[..., 1] <= height - 1)
        warped = _bilinear(np.asarray(strip[i + 1], np.float32), place)
        difference = np.abs(warped - strip[i]).mean(2)[visible]
        total += 255.0 * float(difference.mean()) if difference.size else 0.0
    return total / max(1, len(strip) - 1)


def _bilinear(picture: NDArray[np.float32], place: NDArray[np.float32]) -> NDArray[np.float32]:
    nothing: Any = None  # one map with both coordinates; the stubs know only the form with two
    return np.asarray(cv2.remap(picture, place, nothing, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


@dataclass(frozen=True)
class Metric:
    """A metric by name.

    Attributes:
        name: As in the table above.
        better: "higher" or "lower".
        frame: Scores one made frame (as made; its 8-bit form; the truth); None for a temporal metric.
        digits: How many decimals it is shown with.
    """

    name: str
    better: str
    digits: int
    frame: Callable[[Image, Image8, Image8], float] | None


def _on_pictures(score: Callable[[Image8, Image8], float]) -> Callable[[Image, Image8, Image8], float]:
    return lambda made, picture, truth: score(picture, truth)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("psnr", "higher", 2, _on_pictures(psnr)),
        Metric("psnr_float", "higher", 2, lambda made, picture, truth: psnr(np.asarray(made, np.float64) * 255, truth)),
        Metric("psnr_y", "higher", 2, _on_pictures(psnr_y)),
        Metric("ssim", "higher", 4, _on_pictures(ssim)),
        Metric("ssim_2d", "higher", 4, _on_pictures(ssim_2d)),
        Metric("ssim_skimage", "higher", 4, _on_pictures(_ssim_skimage)),
        Metric("ssim_uniform", "higher", 4, _on_pictures(_ssim_uniform)),
        Metric("ms_ssim", "higher", 4, _on_pictures(ms_ssim)),
        Metric("ie", "lower", 3, _on_pictures(ie)),
        Metric("flip", "lower", 4, _on_pictures(_flip)),
        Metric("lpips", "lower", 4, None),
        Metric("flicker", "lower", 3, None),
    )
}

DEFAULT_METRICS = ("psnr", "psnr_float", "ssim", "ie")


def select_metrics(names: str, lpips_weights: Path | None = None) -> list[Metric]:
    """The metrics of a comma-separated list, ready to be used.

    Raises:
        UsageError: if a name is unknown, a library is missing, or lpips has no weights.
    """
    chosen = []
    for name in dict.fromkeys(part.strip() for part in names.split(",")):
        if name not in METRICS:
            raise UsageError(f"There is no metric '{name}': choose from {', '.join(METRICS)}.")
        metric = METRICS[name]
        if name == "lpips":
            if lpips_weights is None:
                raise UsageError(
                    "The metric lpips needs weights that you have: give their folder with --lpips-weights (it holds "
                    "alexnet-owt-*.pth and the linear layers, alex.pth)."
                )
            from betwixt.evaluation.lpips import LPIPS

            metric = replace(metric, frame=_on_pictures(LPIPS.load(lpips_weights).distance))
        elif metric.frame is not None and name in ("flip", "ssim_skimage", "ssim_uniform"):
            blank = np.zeros((16, 16, 3), np.uint8)
            metric.frame(blank.astype(np.float32), blank, blank)  # a missing library is said before any work is done
        chosen.append(metric)
    return chosen
