"""The distortion of a decoded frame, measured in its own pixel format."""

from __future__ import annotations

import math

import av
import numpy as np

from betwixt.media.frames import bit_depth, has_alpha, planes


def mean_squared_error(frame: av.VideoFrame, truth: av.VideoFrame) -> float:
    """The mean squared error over all samples of all planes but alpha, of samples in [0, 1].

    Planes count by their size, as in FFmpeg's filter psnr ("average").
    """
    error, count = 0.0, 0
    parts = [planes(f) for f in (frame, truth)]
    if has_alpha(frame.format.name):
        parts = [p[:-1] if len(p) > 1 else [p[0][..., :-1]] for p in parts]
    for a, b in zip(*parts, strict=True):
        difference = a.astype(np.int32) - b.astype(np.int32)
        error += float(np.square(difference, dtype=np.int64).sum())
        count += difference.size
    max_value = (1 << bit_depth(frame.format.name)) - 1
    return error / count / max_value**2


def psnr_from_mse(error: float) -> float:
    """PSNR in dB of a mean squared error of samples in [0, 1]; 100 for no error, so that means stay finite."""
    return 100.0 if error <= 1e-10 else -10.0 * math.log10(error)
