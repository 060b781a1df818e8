"""Augmentation: flips, rotations, time reversal, channel order, compression; motion and masks follow.

    TrainingSample ──► flip x, y, diagonal ──► rotate ──► reverse time ──► channels ──► compress ──► TrainingSample

Cropping comes first: sources return samples of the requested size. Each transform has its own probability.

- Flipping at the diagonal (a transposition) together with the other two flips, each with probability 1/2, gives all
  quarter turns and their mirror images equally often (RIFE: "horizontal and vertical flipping, rotating by 90 degrees";
  IFRNet's `rotate`). A rotation alone (`turn`) mirrors nothing.
- Time reversal maps t to 1 - t. For extrapolation (t = 2) the order of the three frames is reversed, so that the first
  frame becomes the target (NCM, section 4.1). This is done only where the motion is unknown, since the motion as seen
  from the new target frame would be a different one.
- Compression is JPEG noise on each frame by itself, or that of a video codec, which copies between frames. It teaches
  a network to cope with low-bitrate video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.training.sample import Image, TrainingSample, check_fractions


@dataclass(frozen=True)
class Augmentation:
    """The table [augmentation] of a recipe: the probability of each transform, 0 to 1."""

    flip_x: float = 0.5  # mirror left-right
    flip_y: float = 0.5  # mirror up-down
    transpose: float = 0.5  # mirror at the diagonal
    turn: float = 0.0  # rotate by 90, 180 or 270 degrees, equally often
    reverse: float = 0.5  # reverse time
    channels: float = 0.0  # permute red, green and blue at random; the identity is one of the permutations
    bgr: float = 0.0  # swap red and blue
    compression: float = 0.0  # add JPEG noise to each frame
    video: float = 0.0  # encode and decode the three frames with a video codec, H.264 or MPEG-4 Part 2

    def __post_init__(self) -> None:
        check_fractions(asdict(self), "[augmentation]")


def augment(
    rng: np.random.Generator, sample: TrainingSample, augmentation: Augmentation | None = None
) -> TrainingSample:
    """Apply random transforms to a sample, with the probabilities of `augmentation` (`Augmentation()` by default)."""
    chances = augmentation or Augmentation()
    images, t, motion, labels = sample.images, sample.t, sample.motion, sample.labels
    # Four numbers are drawn whatever the probabilities, so that samples of earlier runs can be drawn again.
    flip_x, flip_y, transpose, reverse = rng.random(4) < (
        chances.flip_x,
        chances.flip_y,
        chances.transpose,
        chances.reverse,
    )
    if flip_x:
        images = images[:, :, ::-1]
        motion = None if motion is None else motion[:, ::-1] * np.array([-1, 1], np.float32)
        labels = None if labels is None else labels[:, :, ::-1]
    if flip_y:
        images = images[:, ::-1]
        motion = None if motion is None else motion[::-1] * np.array([1, -1], np.float32)
        labels = None if labels is None else labels[:, ::-1]
    if transpose:
        images = images.transpose(0, 2, 1, 3)
        motion = None if motion is None else motion.transpose(1, 0, 2)[..., ::-1]
        labels = None if labels is None else labels.transpose(0, 2, 1)
    if chances.turn > 0 and rng.random() < chances.turn:
        for _ in range(int(rng.integers(1, 4))):
            # A quarter turn maps the direction (x, y) to (y, -x).
            images = np.rot90(images, axes=(1, 2))
            motion = None if motion is None else np.rot90(motion)[..., ::-1] * np.array([1, -1], np.float32)
            labels = None if labels is None else np.rot90(labels, axes=(1, 2))
    if reverse:
        if t < 1.0:
            images, t = images[::-1], 1.0 - t
            motion = None if motion is None else -motion
            labels = None if labels is None else labels[::-1]
        elif t == 2.0 and motion is None and labels is None:  # those of the true frame are not known
            images = images[[1, 0, 2]]
    if rng.random() < chances.channels:
        images = images[..., rng.permutation(3)]
    if chances.bgr > 0 and rng.random() < chances.bgr:
        images = images[..., ::-1]
    images = np.ascontiguousarray(images)
    if rng.random() < chances.compression:
        images = compress_jpeg(rng, images)
    if chances.video > 0 and rng.random() < chances.video:
        images = compress_video(rng, images)
    return TrainingSample(
        images,
        t,
        None if motion is None else np.ascontiguousarray(motion),
        None if labels is None else np.ascontiguousarray(labels),
    )


def compress_jpeg(rng: np.random.Generator, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Encode and decode each of the images (3, S, S, 3) as JPEG, with one random quality."""
    quality = int(rng.integers(35, 90))
    result = []
    for image in images:
        _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        result.append(np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8))
    return np.stack(result)


def compress_video(rng: np.random.Generator, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Encode and decode the images (3, S, S, 3) as a short video; the first is an intra frame."""
    if rng.random() < 0.5:
        return code_as_video(images, "libx264", preset="veryfast", crf=str(rng.integers(20, 36)), threads="1")
    quantizer = str(rng.integers(3, 14))
    return code_as_video(images, "mpeg4", qmin=quantizer, qmax=quantizer, threads="1")


def code_as_video(images: Sequence[Image] | NDArray[np.uint8], encoder: str, **options: str) -> NDArray[np.uint8]:
    """Encode images (N, H, W, 3) of one size as yuv420p video with "libx264" or "mpeg4", and decode it again."""
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
