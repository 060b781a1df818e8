"""SSIMULACRA 2.1, a perceptual similarity of two images (Sneyers 2023), as its reference implementation computes it.

    image ─► linear ─┬─► XYB ─► maps: 1 - SSIM, added edges, lost edges ─► mean and 4-norm of each ─┐
                     └─► 2x2 means ─► XYB ─► maps ..           (scales 1:1 to 1:32)                 ├─► weighted sum
                         └─► 2x2 means ..                                                           ┘

The weights were fitted by the author to ratings by people (CID22, TID2013, Kadid10k, KonFiG-IQA). 100 is identical, 90
visually lossless, 70 high, 50 medium, 30 low quality; there is no lower end.

Implemented here because the package `ssimulacra2` (0.3.0) gives other scores than the reference, by up to several
points: it mirrors images at two borders, has another window, and leaves out the last scale of images below 225 pixels
a side. This module agrees with the reference to about 0.1, which is the rounding of the reference's recursive filter.

Reference: https://github.com/cloudinary/ssimulacra2 (version 2.1, BSD licence, also in libjxl's tools).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import UsageError

_Image = NDArray[np.float32]
"""(H, W, 3)."""

_SCALES = 6
_MIN_SIDE = 8

_BIAS = 0.0037930732552754493
_RGB_TO_CONES = np.array(
    [
        [0.30, 0.622, 0.078, _BIAS],
        [0.23, 0.692, 0.078, _BIAS],
        [0.24342268924547819, 0.20476744424496821, 0.5518098665095536, _BIAS],
    ],
    np.float32,
)
"""How strongly the three kinds of cones absorb linear red, green and blue, and what is added (JPEG XL's XYB)."""
_CONES_TO_XYB = np.array([[7, -7, 0, 0.42], [0.5, 0.5, 0, 0.01 - np.cbrt(_BIAS)], [-0.5, -0.5, 1, 0.55]], np.float32)
"""X, Y and B - Y, each scaled and shifted to lie within 0 to 1, from the cube roots of what the cones absorb."""

_TAPS = (0.00941436781, 0.0360111147, 0.109335373, 0.212928592, 0.264621105)
"""Half of the window, from its end to its middle: the sum of three cosines that approximates a Gaussian of sigma 1.5
(Charalampidis, Recursive implementation of the Gaussian filter using truncated cosine functions, 2016). The image is
zero outside."""

_C2 = 0.0009

_WEIGHTS = (
    (0, 0.00073766067074066, 0, 0, 0.00077934816828673, 0),
    (0, 0.00043711557301074, 0, 1.1041726426657, 0.00066284834129271, 0.00015231632783719),
    (0, 0.00164064374566, 0, 1.8422455520539, 11.441172603758, 0),
    (0.00079891094360152, 0.00017681643807865, 0, 1.8787594979546, 10.949069906051, 0),
    (0.00072893469915081, 0.96779370806268, 0, 0.00014003424285436, 0.9981766977855, 0.00031949755934435),
    (0.00045509921137921, 0, 0, 0.0013648766163243, 0, 0),
    (0, 0, 0, 7.4668903280788, 0, 17.445833984131),
    (0.00062356016340415, 0, 0, 6.6836781461793, 0.00037724407979611, 1.0278899377683),
    (225.20515300849, 0, 0, 19.213238186143, 0.0011401524586618, 0.00123775563551),
    (176.39317598451, 0, 0, 24.433009998705, 0.28520802612118, 0.00044854369238334),
    (0, 0, 0, 34.779063444838, 44.835625328878, 0),
    (0, 0, 0, 0, 0, 0),
    (0, 0.00086805565732917, 0, 0, 0, 0),
    (0, 0.00053131918743587, 0, 0.00016533814161379, 0, 0),
    (0, 0, 0, 0.00041791718032513, 0.0017290828234723, 0),
    (0.0020827005846636, 0, 0, 8.8269827649969, 23.192433439989, 0),
    (95.108049881109, 0.98639780344007, 0.98343827924654, 0.0012286405048278, 171.26672558973, 0.98078588724354),
    (0, 0, 0, 0.00051300645889907, 0, 0.00010854057858412),
)
"""A row for each plane (X, Y, B - Y) and scale: the means of the three maps, and their 4-norms."""


def ssimulacra2(prediction: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """The score of an image (H, W, 3), uint8 sRGB, against the true one.

    As in the reference, an image below 113 pixels a side has fewer scales, and the weights are then used in order.

    Raises:
        UsageError: if a side is shorter than 8 pixels.
    """
    height, width = truth.shape[:2]
    if min(height, width) < _MIN_SIDE:
        raise UsageError(f"ssimulacra2 needs images of at least 8 pixels a side: these have {width}x{height}.")
    linear = [_linear_light()[image] for image in (truth, prediction)]
    norms: list[NDArray[np.float64]] = []  # of each scale: (3 planes, 6)
    while True:
        norms.append(_norms(*(_xyb(image) for image in linear)))
        if len(norms) == _SCALES or min(linear[0].shape[:2]) < _MIN_SIDE:
            break
        linear = [downsample2x(image) for image in linear]
    errors = np.stack(norms, axis=1).ravel()
    error = 0.9562382616834844 * float(errors @ np.ravel(_WEIGHTS)[: errors.size])
    error = 2.326765642916932 * error - 0.020884521182843837 * error**2 + 6.248496625763138e-05 * error**3
    return 100.0 - 10.0 * float(max(error, 0.0) ** 0.6276336467831387)


@lru_cache(maxsize=1)
def _linear_light() -> _Image:
    """The linear light of each sRGB code value, (256,)."""
    value = np.arange(256) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _xyb(linear: _Image) -> _Image:
    """An image in linear light as X, Y and B - Y."""
    cones = cv2.transform(linear, _RGB_TO_CONES)
    return np.asarray(cv2.transform(np.cbrt(cones), _CONES_TO_XYB), np.float32)


def downsample2x(image: NDArray[Any]) -> NDArray[Any]:
    """The mean of every 2x2 pixels; the last row or column of an odd side counts twice."""
    height, width = image.shape[:2]
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    mean: NDArray[Any] = (even[0::2, 0::2] + even[1::2, 0::2] + even[0::2, 1::2] + even[1::2, 1::2]) / 4
    return mean


def _norms(truth: _Image, prediction: _Image) -> NDArray[np.float64]:
    """For each plane, the means of the three error maps and then their 4-norms, (3, 6)."""
    mean_a, mean_b = _blur(truth), _blur(prediction)
    variance_a, variance_b = _blur(truth * truth) - mean_a**2, _blur(prediction * prediction) - mean_b**2
    covariance = _blur(truth * prediction) - mean_a * mean_b
    similarity = (1 - (mean_a - mean_b) ** 2) * (2 * covariance + _C2) / (variance_a + variance_b + _C2)
    edges = (1 + np.abs(prediction - mean_b)) / (1 + np.abs(truth - mean_a)) - 1
    maps = [np.maximum(error, 0) for error in (1 - similarity, edges, -edges)]
    means, means_of_4th_powers = (
        np.array([cv2.mean(x)[:3] for x in errors]) for errors in (maps, [(x * x) * (x * x) for x in maps])
    )
    return np.concatenate([means, means_of_4th_powers**0.25]).T


def _blur(image: _Image) -> _Image:
    window = np.array([*_TAPS, *_TAPS[-2::-1]], np.float32)
    blurred: Any = cv2.sepFilter2D(image, cv2.CV_32F, window, window, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(blurred, np.float32)
