"""Augmentation: mirroring, quarter turns, time reversal, channel order, compression; the motion follows.

    Sample ──► mirror left-right, up-down, at the diagonal ──► turn ──► reverse ──► channels ──► compress ──► Sample

The crop comes before: sources give samples of the size that is asked for. Each step has a share of its own, the
probability with which it is done.

- Mirroring at the diagonal (a transposition), with the other two at one half each, gives all quarter turns and their
  mirror images alike (RIFE: "horizontal and vertical flipping, rotating by 90 degrees"; IFRNet's `rotate`). A turn by
  itself mirrors nothing.
- Reversal makes t -> 1 - t. A frame at t = 2 has no counterpart among them; there the three frames are taken in the
  opposite order, the first becoming the one to be learned (NCM, section 4.1), where no motion is known: seen from the
  other end, it would be another.
- Compression is JPEG's noise on all three frames, or that of a video codec, whose frames copy from each other: low-rate
  video teaches a network not to trust every pixel.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.training.sample import TrainingSample, check_shares

__all__ = ["Augmentation", "augment", "compress", "compress_video"]


@dataclass(frozen=True)
class Augmentation:
    """The table [augmentation] of a recipe: the share of the samples that each change is made to, 0 to 1.

    Attributes:
        flip_x: Mirrored left-right.
        flip_y: Mirrored up-down.
        transpose: Mirrored at the diagonal.
        turn: Turned by 90, 180 or 270 degrees, each as often as the others.
        reverse: In the opposite order of time.
        channels: In a random order of red, green and blue, the usual one included.
        bgr: With red and blue exchanged.
        compression: With the noise of lossy compression, each frame by itself.
        video: With that of a video codec, H.264 or MPEG-4 Part 2.
    """

    flip_x: float = 0.5
    flip_y: float = 0.5
    transpose: float = 0.5
    turn: float = 0.0
    reverse: float = 0.5
    channels: float = 0.0
    bgr: float = 0.0
    compression: float = 0.0
    video: float = 0.0

    def __post_init__(self) -> None:
        check_shares(asdict(self), "[augmentation]")


def augment(
    rng: np.random.Generator, sample: TrainingSample, augmentation: Augmentation | None = None
) -> TrainingSample:
    """One random variant of a sample; all chance comes from `rng`. Without `augmentation`, by `Augmentation()`."""
    shares = augmentation or Augmentation()
    images, t, motion = sample.images, sample.t, sample.motion
    # Four numbers whatever the shares, in the order of the first runs: what they saw can still be drawn again.
    flip_x, flip_y, transpose, reverse = rng.random(4) < (
        shares.flip_x,
        shares.flip_y,
        shares.transpose,
        shares.reverse,
    )
    if flip_x:
        images = images[:, :, ::-1]
        motion = None if motion is None else motion[:, ::-1] * np.array([-1, 1], np.float32)
    if flip_y:
        images = images[:, ::-1]
        motion = None if motion is None else motion[::-1] * np.array([1, -1], np.float32)
    if transpose:
        images = images.transpose(0, 2, 1, 3)
        motion = None if motion is None else motion.transpose(1, 0, 2)[..., ::-1]
    if shares.turn > 0 and rng.random() < shares.turn:
        for _ in range(int(rng.integers(1, 4))):
            # What was to the right is above: (x, y) -> (y, -x).
            images = np.rot90(images, axes=(1, 2))
            motion = None if motion is None else np.rot90(motion)[..., ::-1] * np.array([1, -1], np.float32)
    if reverse:
        if t < 1.0:
            images, t = images[::-1], 1.0 - t
            motion = None if motion is None else -motion
        elif t == 2.0 and motion is None:
            images = images[[1, 0, 2]]
    if rng.random() < shares.channels:
        images = images[..., rng.permutation(3)]
    if shares.bgr > 0 and rng.random() < shares.bgr:
        images = images[..., ::-1]
    images = np.ascontiguousarray(images)
    if rng.random() < shares.compression:
        images = compress(rng, images)
    if shares.video > 0 and rng.random() < shares.video:
        images = compress_video(rng, images)
    return TrainingSample(images, t, None if motion is None else np.ascontiguousarray(motion))


def compress(rng: np.random.Generator, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frames (3, S, S, 3) with the noise of lossy compression, as low-rate video has it."""
    quality = int(rng.integers(35, 90))
    result = []
    for frame in frames:
        _, code = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])
        result.append(np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8))
    return np.stack(result)


def compress_video(rng: np.random.Generator, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frames (3, S, S, 3) as a video codec gives them back, the first coded by itself."""
    side = frames.shape[1]
    frames = np.pad(frames, ((0, 0), (0, side % 2), (0, side % 2), (0, 0)), mode="edge")
    if rng.random() < 0.5:
        encoder = _coder("libx264", frames, preset="veryfast", crf=str(rng.integers(20, 36)), threads="1")
    else:
        coarseness = str(rng.integers(3, 14))
        encoder = _coder("mpeg4", frames, qmin=coarseness, qmax=coarseness, threads="1")
    packets = []
    for number, frame in enumerate(frames):
        given = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p")
        given.pts = number
        packets += encoder.encode(given)
    packets += encoder.encode(None)
    decoder = av.CodecContext.create("h264" if encoder.name == "libx264" else "mpeg4", "r")
    decoder.thread_count = 1
    decoded = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    made = np.stack([np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in decoded])
    return np.ascontiguousarray(made[:, :side, :side])


def _coder(name: str, frames: NDArray[np.uint8], **options: str) -> av.VideoCodecContext:
    coder = av.CodecContext.create(name, "w")
    assert isinstance(coder, av.VideoCodecContext)
    coder.height, coder.width = frames.shape[1:3]
    coder.pix_fmt, coder.time_base, coder.options = "yuv420p", Fraction(1, 25), options
    return coder
