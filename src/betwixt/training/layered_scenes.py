"""Layered scenes for experiments: rigid layers, cut from photographs, move along straight lines in front of each other.

From frame 0 to frame 1 the background moves by up to 16 pixels, and one to three layers by 8 to `max_motion` pixels.
Motion and layers are known exactly. Unlike those of `betwixt.training.synthetic`, scenes are not stored in advance:
each is drawn when it is needed, and depends on its seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import InputError

Image8 = NDArray[np.uint8]
"""An image, (H, W, 3) uint8."""


def read_images(folder: Path) -> tuple[list[Image8], list[Image8]]:
    """The images of a folder, at most 1280 pixels wide: four of five for training, every fifth for the test.

    Raises:
        InputError: if the folder has fewer than five.
    """
    images = []
    for path in sorted(folder.glob("*")):
        image = cv2.imread(str(path)) if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp") else None
        if image is not None:
            ratio = min(1.0, 1280 / image.shape[1])
            small = cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
            images.append(np.asarray(small[..., ::-1], np.uint8))
    if len(images) < 5:
        raise InputError(f"{folder} has {len(images)} images: at least five are needed.")
    return [image for i, image in enumerate(images) if i % 5 != 4], images[4::5]


def _crop_texture(rng: np.random.Generator, images: Sequence[Image8], side: int) -> NDArray[np.float32]:
    """A crop of an image, (side, side, 3): of four, the one with the most detail, since flat ones show no motion."""
    crops = []
    for _ in range(4):
        image = images[int(rng.integers(len(images)))]
        length = int(min(side * rng.uniform(0.8, 2.0), *image.shape[:2]))
        top, left = (int(rng.integers(n - length + 1)) for n in image.shape[:2])
        crop = image[top : top + length, left : left + length]
        crops.append(cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA))
    return np.asarray(max(crops, key=lambda crop: float(cv2.Laplacian(crop, cv2.CV_32F).std())), np.float32)


def _draw_shape(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    """A random shape in the middle half of a square, (side, side), 1 inside."""
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    radius = np.full(96, rng.uniform(0.07, 0.17) * side)
    for k in range(1, 5):
        radius *= 1 + rng.normal(0, 0.25 / k) * np.cos(k * angle + rng.uniform(0, 6.3))
    centre = side * rng.uniform(0.35, 0.65, 2)
    points = centre + np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=-1)
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [np.rint(points * 8).astype(np.int32)], 255, cv2.LINE_AA, 3)
    return mask.astype(np.float32) / np.float32(255)


def make_scene(
    rng: np.random.Generator, images: Sequence[Image8], size: int, max_motion: float
) -> tuple[Image8, NDArray[np.uint8], NDArray[np.float32]]:
    """A scene of layers that move along straight lines.

    Args:
        rng: Draws the layers and their motion.
        images: Photographs, (H, W, 3) each.
        size: Side of the frames, pixels.
        max_motion: The largest displacement of a layer from frame 0 to frame 1, pixels.

    Returns:
        Frame 0, the middle frame and frame 1, (3, size, size, 3); the visible layer of each pixel of frames 0 and 1,
        (2, size, size); the motion from frame 0 to frame 1 at each pixel of the middle frame, (size, size, 2), pixels,
        (x, y).
    """
    margin = int(max_motion / 2) + 12
    side = size + 2 * margin
    layers: list[tuple[NDArray[np.float32], NDArray[np.float32] | None, float]]
    layers = [(_crop_texture(rng, images, side), None, rng.uniform(0, 16))]
    layers += [
        (_crop_texture(rng, images, side), _draw_shape(rng, side), rng.uniform(8, max_motion))
        for _ in range(int(rng.integers(1, 4)))
    ]
    motions = [length * np.array([np.cos(a), np.sin(a)]) for _, _, length in layers for a in [rng.uniform(0, 6.283)]]
    frames, labels = np.zeros((3, size, size, 3), np.float32), np.zeros((3, size, size), np.uint8)
    for i, time_ in enumerate((-0.5, 0.0, 0.5)):
        for number, ((texture, mask, _), motion) in enumerate(zip(layers, motions, strict=True)):
            place = np.array([[1, 0, time_ * motion[0] - margin], [0, 1, time_ * motion[1] - margin]])
            colours = cv2.warpAffine(texture, place, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
            if mask is None:
                frames[i] = colours
                continue
            alpha = cv2.warpAffine(mask, place, (size, size), flags=cv2.INTER_LINEAR)
            frames[i] += alpha[..., None] * (colours - frames[i])
            labels[i][alpha > 0.5] = number
    motion = np.array(motions, np.float32)[labels[1]]
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8), labels[::2], motion
