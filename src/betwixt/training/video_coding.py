"""Encodes and decodes images in memory, to give training samples the noise of a video codec."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from betwixt.training.sample import Image


def code_as_video(images: Sequence[Image] | NDArray[np.uint8], encoder: str, **options: str) -> NDArray[np.uint8]:
    """Encode images (N, H, W, 3) as a video of yuv420p frames and decode it again.

    Args:
        images: Of one size. Odd sizes are padded for encoding.
        encoder: "libx264" or "mpeg4".
        options: Options of the encoder.
    """
    height, width = images[0].shape[:2]
    coder = av.CodecContext.create(encoder, "w")
    assert isinstance(coder, av.VideoCodecContext)
    coder.height, coder.width = height + height % 2, width + width % 2
    coder.pix_fmt, coder.time_base, coder.options = "yuv420p", Fraction(1, 25), options
    packets = []
    for number, image in enumerate(images):
        padded = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(padded), format="rgb24").reformat(format="yuv420p")
        frame.pts = number
        packets += coder.encode(frame)
    packets += coder.encode(None)
    decoder = av.CodecContext.create("h264" if encoder == "libx264" else encoder, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    decoded = np.stack([np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in frames])
    return np.ascontiguousarray(decoded[:, :height, :width])
