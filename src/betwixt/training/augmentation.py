"""Augmentation of a triplet: flips, quarter turns, time reversal, channel order, compression; the motion follows."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["augment", "compress"]


def augment(
    rng: np.random.Generator, frames: NDArray[np.uint8], motion: NDArray[np.float32], t: float
) -> tuple[NDArray[np.uint8], NDArray[np.float32], float]:
    """One random variant.

    Args:
        rng: All chance comes from here.
        frames: (3, S, S, 3), square.
        motion: (S, S, 2), from frame 0 to frame 1 as seen at t, (x, y).
        t: The time of the middle frame.

    Returns:
        The three arguments, changed alike.
    """
    flip_x, flip_y, turn, reverse = rng.random(4) < 0.5
    if flip_x:
        frames, motion = frames[:, :, ::-1], motion[:, ::-1] * np.array([-1, 1], np.float32)
    if flip_y:
        frames, motion = frames[:, ::-1], motion[::-1] * np.array([1, -1], np.float32)
    if turn:
        # A transposition; with the flips it makes all quarter turns.
        frames, motion = frames.transpose(0, 2, 1, 3), motion.transpose(1, 0, 2)[..., ::-1]
    if reverse:
        frames, motion, t = frames[::-1], -motion, 1.0 - t
    if rng.random() < 0.5:
        frames = frames[..., rng.permutation(3)]
    return np.ascontiguousarray(frames), np.ascontiguousarray(motion), t


def compress(rng: np.random.Generator, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frames (3, S, S, 3) with the noise of lossy compression, as low-rate video has it."""
    quality = int(rng.integers(35, 90))
    result = []
    for frame in frames:
        _, code = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])
        result.append(np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8))
    return np.stack(result)
