"""XPSNR, a PSNR whose errors are weighted by how well the eye sees them, by FFmpeg's filter of its authors.

Errors count less where the true frame has much texture or motion: the squared errors of each block, about 1/500 of the
image, are divided by the block's activity, the mean size of a high-pass of the true frame plus twice that of its
difference from the true frame before.

Reference: Helmrich et al., XPSNR: a low-complexity extension of the perceptually weighted peak signal-to-noise ratio
for high-resolution video quality assessment, ICASSP 2020; FFmpeg's `xpsnr`.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import av
import av.filter
import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import UsageError

_RATE = 25
"""Frames per second: below 32 the filter compares a frame with one before it, not with two."""


def check_filter() -> None:
    """Raise UsageError if FFmpeg has no filter `xpsnr`."""
    if "xpsnr" not in av.filter.filters_available:
        raise UsageError("The metric xpsnr needs FFmpeg 7.1 or later in PyAV: pip install --upgrade av.")


def xpsnr(predictions: Sequence[NDArray[np.uint8]], truths: Sequence[NDArray[np.uint8]], new: slice) -> list[float]:
    """The XPSNR in dB of the luma of the frames `new` of a sequence; 100 for identical frames, for finite means.

    The first frame has none before it, which the filter takes for black: its score would mean little.

    `predictions` and `truths` are frames at the same times, (H, W, 3), uint8. FFmpeg must have the filter
    (`check_filter`).
    """
    height, width = truths[0].shape[:2]
    graph = av.filter.Graph()
    description = f"video_size={width}x{height}:pix_fmt=gray:time_base=1/{_RATE}:frame_rate={_RATE}"
    inputs = [graph.add("buffer", description) for _ in range(2)]
    measure, output = graph.add("xpsnr"), graph.add("buffersink")
    for number, source in enumerate(inputs):  # the first is the reference, from which the weights come
        source.link_to(measure, 0, number)
    measure.link_to(output)
    graph.configure()
    for number, images in enumerate(zip(truths, predictions, strict=True)):
        for source, image in zip(inputs, images, strict=True):
            luma = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
            frame = av.VideoFrame.from_ndarray(np.asarray(luma, np.uint8), format="gray")
            frame.pts, frame.time_base = number, Fraction(1, _RATE)
            source.push(frame)
    for source in inputs:
        source.push(None)
    return [min(100.0, float(output.pull().metadata["lavfi.xpsnr.xpsnr.y"])) for _ in truths][new]
