"""Video coding for a simulated call: frames are encoded without delay to a given total size, and decoded again.

frames ──► libx264, zerolatency (no B frames, one packet per frame) ──► sizes ──► h264 decoder ──► frames
                    ▲ crf, found by bisection so that all packets together have the wanted size
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np

from betwixt.errors import UsageError
from betwixt.realtime.frame_maker import Image

_BEST_CRF, _WORST_CRF = 0.0, 51.0
_TOLERANCE = 0.01
"""Largest deviation from the wanted size, relative to it, at which the bisection stops."""


@dataclass(frozen=True)
class CodedClip:
    """A clip after encoding and decoding."""

    frames: list[Image]  # (H, W, 3) RGB uint8
    bits: list[int]  # size of each frame
    crf: float  # quality, 0 (best) to 51


def encode_to_size(frames: Sequence[Image], rate: Fraction, bits: int) -> CodedClip:
    """Encode frames at the constant quality that gives a total of `bits`, within 1 %, and decode them.

    Args:
        frames: (H, W, 3) RGB uint8, with even sides.
        rate: Frames per second.
        bits: The wanted total size.

    Raises:
        UsageError: if the lowest quality needs more bits, or the best one fewer.
    """
    low, high = _BEST_CRF, _WORST_CRF
    if (least := _size(_encode(frames, rate, high))) > bits:
        raise UsageError(
            f"{len(frames)} frames need {least // 1000} kbit even at the lowest quality, {bits // 1000} are wanted: "
            "raise `bitrate`."
        )
    if (most := _size(_encode(frames, rate, low))) < bits:
        raise UsageError(f"{len(frames)} frames need at most {most // 1000} kbit: lower `bitrate`.")
    for _ in range(12):
        crf = (low + high) / 2
        packets = _encode(frames, rate, crf)
        if abs(_size(packets) - bits) <= _TOLERANCE * bits:
            break
        low, high = (crf, high) if _size(packets) > bits else (low, crf)
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    decoded = [frame for data in packets for frame in decoder.decode(av.Packet(data))] + decoder.decode(None)
    images = [np.asarray(f.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray(), np.uint8) for f in decoded]
    return CodedClip(images, [8 * len(data) for data in packets], crf)


def _encode(frames: Sequence[Image], rate: Fraction, crf: float) -> list[bytes]:
    """Encode each frame to one packet."""
    height, width = frames[0].shape[:2]
    try:
        encoder: Any = av.CodecContext.create("libx264", "w")
    except (ValueError, av.error.FFmpegError):
        raise UsageError("This FFmpeg has no libx264, which the simulation encodes with.") from None
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = 1 / rate, rate
    encoder.colorspace, encoder.color_range = 1, 1
    encoder.thread_count = 1
    # A key frame every two seconds, as in calls that others may join later.
    encoder.options = {
        "preset": "veryfast", "tune": "zerolatency", "crf": f"{crf:.4f}", "g": str(max(1, round(2 * rate))),
    }  # fmt: skip
    packets = []
    for number, image in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="yuv420p", dst_colorspace="ITU709")
        frame.pts, frame.time_base = number, 1 / rate
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    packets += [bytes(packet) for packet in encoder.encode(None)]
    return packets


def _size(packets: Sequence[bytes]) -> int:
    """The total size in bits."""
    return sum(8 * len(data) for data in packets)
