"""How far a decoded frame is from the true one, in its own planes."""

from __future__ import annotations

import math

import av
import numpy as np

from betwixt.media.frames import bit_depth, has_alpha, planes

__all__ = ["mean_squared_error", "psnr_from_mse"]


def mean_squared_error(made: av.VideoFrame, truth: av.VideoFrame) -> float:
    """The mean squared error over all samples of all planes but alpha, of samples in [0, 1].

    Planes count by their size, as in FFmpeg's filter psnr ("average").
    """
    error, count = 0.0, 0
    parts = [planes(frame) for frame in (made, truth)]
    if has_alpha(made.format.name):
        parts = [p[:-1] if len(p) > 1 else [p[0][..., :-1]] for p in parts]
    for a, b in zip(*parts, strict=True):
        difference = a.astype(np.int32) - b.astype(np.int32)
        error += float(np.square(difference, dtype=np.int64).sum())
        count += difference.size
    top = (1 << bit_depth(made.format.name)) - 1
    return error / count / top**2


def psnr_from_mse(error: float) -> float:
    """PSNR in dB of a mean squared error of samples in [0, 1]; 100 for none, so that a mean exists."""
    return 100.0 if error <= 1e-10 else -10.0 * math.log10(error)
