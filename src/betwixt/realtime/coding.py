"""Video coding for a call: frames through an encoder without delay, and out of its decoder again.

    frames ──► libx264, zerolatency (no B frames, one packet a frame) ──► sizes ──► h264 decoder ──► frames
                        ▲ crf, found by halving so that the whole has the wanted bits

Everything is really encoded and decoded, in memory, by the FFmpeg that PyAV brings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import UsageError

__all__ = ["Coded", "code", "code_to_bits"]

Picture = NDArray[np.uint8]

_CRF = 0.0, 51.0
_TOLERANCE = 0.01
"""How near to the wanted bits is near enough, as a part of them."""


@dataclass(frozen=True)
class Coded:
    """What an encoder made of frames.

    Attributes:
        frames: As the decoder shows them, (H, W, 3) RGB uint8.
        bits: Of each frame.
        crf: The quality it was coded at (lower is better).
    """

    frames: list[Picture]
    bits: list[int]
    crf: float

    @property
    def total(self) -> int:
        """Bits of the whole."""
        return sum(self.bits)


def code(frames: Sequence[Picture], rate: Fraction, crf: float) -> Coded:
    """Encode and decode frames of even sides at a quality."""
    packets = _encoded(frames, rate, crf)
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    pictures: list[Picture] = []
    for data in [*packets, None]:
        pictures += [_rgb(frame) for frame in decoder.decode(None if data is None else av.Packet(data))]
    return Coded(pictures, [8 * len(data) for data in packets], crf)


def code_to_bits(frames: Sequence[Picture], rate: Fraction, bits: int) -> Coded:
    """Encode and decode frames at the quality at which all of them together have `bits`, to a hundredth.

    Raises:
        UsageError: if they cannot be had at so few bits, or not even lossless needs so many.
    """
    low, high = _CRF
    if (least := _size(frames, rate, high)) > bits:
        raise UsageError(
            f"{len(frames)} frames need {least // 1000} kbit even at the lowest quality, {bits // 1000} are wanted: "
            "raise --bitrate."
        )
    if (most := _size(frames, rate, low)) < bits:
        raise UsageError(f"{len(frames)} frames need {most // 1000} kbit at the most: lower --bitrate.")
    middle = (low + high) / 2
    for _ in range(12):
        middle = (low + high) / 2
        size = _size(frames, rate, middle)
        if abs(size - bits) <= _TOLERANCE * bits:
            break
        low, high = (middle, high) if size > bits else (low, middle)
    return code(frames, rate, middle)


def _size(frames: Sequence[Picture], rate: Fraction, crf: float) -> int:
    return sum(8 * len(data) for data in _encoded(frames, rate, crf))


def _encoded(frames: Sequence[Picture], rate: Fraction, crf: float) -> list[bytes]:
    """A packet for each frame."""
    height, width = frames[0].shape[:2]
    try:
        encoder: Any = av.CodecContext.create("libx264", "w")
    except (ValueError, av.error.FFmpegError):
        raise UsageError("This FFmpeg has no libx264, which the simulation encodes with.") from None
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = 1 / rate, rate
    encoder.colorspace, encoder.color_range = 1, 1
    encoder.thread_count = 1
    # two seconds between key frames, as calls do it that have to be joined
    encoder.options = {
        "preset": "veryfast", "tune": "zerolatency", "crf": f"{crf:.4f}", "g": str(max(1, round(2 * rate))),
    }  # fmt: skip
    packets = []
    for number, picture in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p", dst_colorspace="ITU709")
        frame.pts, frame.time_base = number, 1 / rate
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    packets += [bytes(packet) for packet in encoder.encode(None)]
    return packets


def _rgb(frame: av.VideoFrame) -> Picture:
    return np.asarray(frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray(), np.uint8)
