"""Frames between two pictures, to a folder of images or a GIF."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from betwixt.errors import InputError, UsageError
from betwixt.files import check_output
from betwixt.media.gif import MAX_RATE, GifWriter
from betwixt.media.images.convert import frame_to_image, image_to_frame
from betwixt.media.images.paths import is_image_location
from betwixt.media.images.reader import read_image
from betwixt.media.images.writer import ImageWriter
from betwixt.media.timeline import parse_rate
from betwixt.models.base import Interpolator, check_interpolates
from betwixt.models.registry import DEFAULT_MODEL
from betwixt.runtime.load import load_model

__all__ = ["Made", "between_pictures"]


@dataclass(frozen=True)
class Made:
    """What was made.

    Attributes:
        output: The folder or file.
        frames: How many frames it holds.
        times: Their times, 0 to 1.
        model: The model's name.
        seconds: How long it took.
    """

    output: str
    frames: int
    times: tuple[Fraction, ...]
    model: str
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "output": self.output,
            "frames": self.frames,
            "times": [float(t) for t in self.times],
            "model": self.model,
            "seconds": self.seconds,
        }


def between_pictures(
    first: str | Path,
    second: str | Path,
    target: str | Path,
    *,
    times: str | Sequence[float | Fraction] | None = None,
    count: int | None = None,
    ends: bool = False,
    fps: str | float | Fraction = 10,
    model: str | Interpolator = DEFAULT_MODEL,
    device: str = "auto",
    weights: str | Path | None = None,
    overwrite: bool = False,
) -> Made:
    """Make the frames between two picture files.

    Args:
        first: The picture at time 0.
        second: The picture at time 1, of the same size. If either has 16 bit, the frames have.
        target: A folder, a pattern of images, one image (for one frame), or a GIF.
        times: Times in [0, 1], as numbers or as text with commas.
        count: Or how many, evenly spaced.
        ends: Put the two pictures in as well; a GIF always has them.
        fps: The rate of a GIF.
        model: A model's name or a loaded model.
        device: Where it runs.
        weights: A file of weights, for a network.
        overwrite: Replace existing output.

    Raises:
        UsageError: for bad times, or pictures that differ in size.
        InputError: if a picture cannot be read.
        OutputError: if the target cannot be written.
    """
    began = time.monotonic()
    moments = _moments(times, count)
    gif = Path(target).suffix.lower() == ".gif"
    if not gif and not is_image_location(target, output=True):
        raise UsageError(f"{target} is neither a folder, an image nor a GIF: for a video use betwixt interpolate.")
    if (gif or ends) and moments:
        moments = tuple(sorted({Fraction(0), Fraction(1), *moments}))
    rate = parse_rate(fps)
    if gif and rate > MAX_RATE:
        raise UsageError(f"A GIF cannot show more than {MAX_RATE} frames a second: pass --fps {MAX_RATE}.")
    if Path(target).suffix and not gif and "%" not in str(target) and len(moments) > 1 and not Path(target).is_dir():
        raise UsageError(f"{target} holds one picture, but {len(moments)} are to be made: give a folder or a .gif.")
    if Path(target).is_file():
        check_output(Path(target), first, overwrite)
        check_output(Path(target), second, overwrite)
    a, alpha_a = _read(first)
    b, alpha_b = _read(second)
    if a.shape != b.shape:
        raise InputError(
            f"{first} is {a.shape[1]}x{a.shape[0]}, {second} is {b.shape[1]}x{b.shape[0]}: scale one to fit the other."
        )
    if a.dtype != b.dtype:
        a, b = _deep(a), _deep(b)
    maker = load_model(model, device, weights=weights) if isinstance(model, str) else model
    check_interpolates(maker)
    pictures = maker.between(a, b, [float(t) for t in moments])
    if gif:
        sink: Any = GifWriter(Path(target), a.shape[1], a.shape[0], rate, overwrite=overwrite)
    else:
        sink = ImageWriter(target, overwrite=overwrite)
    try:
        for number, (t, picture) in enumerate(zip(moments, pictures, strict=True)):
            frame: av.VideoFrame = image_to_frame(picture, _alpha(alpha_a, alpha_b, float(t), picture))
            if gif:
                sink.write(frame, number / rate)
            else:
                sink.write(frame)
        sink.commit()
    except BaseException:
        sink.abort()
        raise
    return Made(str(target), len(moments), moments, maker.name, time.monotonic() - began)


def _moments(times: str | Sequence[float | Fraction] | None, count: int | None) -> tuple[Fraction, ...]:
    if times is not None and count is not None:
        raise UsageError("Give --times or --count, not both.")
    if times is None:
        number = 1 if count is None else count
        if not 1 <= number <= 10000:
            raise UsageError(f"The count {number} is out of range: give 1 to 10000.")
        return tuple(Fraction(k, number + 1) for k in range(1, number + 1))
    parts = times.split(",") if isinstance(times, str) else list(times)
    moments = []
    for part in parts:
        try:
            moment = Fraction(str(part).strip())
        except (ValueError, ZeroDivisionError):
            raise UsageError(f"The time '{part}' is not a number: give some from 0 to 1, e.g. 0.25,0.5.") from None
        if not 0 <= moment <= 1:
            raise UsageError(f"The time {part} lies outside 0 to 1: 0 is the first picture, 1 the second.")
        moments.append(moment)
    if not moments:
        raise UsageError("There are no times: give some from 0 to 1, e.g. 0.25,0.5,0.75.")
    return tuple(moments)


def _read(path: str | Path) -> tuple[Any, Any]:
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist: give the path of a picture.")
    return frame_to_image(read_image(path))


def _deep(picture: Any) -> Any:
    return picture if picture.dtype == np.uint16 else picture.astype(np.uint16) * 257


def _alpha(a: Any, b: Any, t: float, picture: Any) -> Any:
    """Alpha between the two, linear; None if neither has any."""
    if a is None and b is None:
        return None
    top = np.iinfo(picture.dtype).max
    layers = []
    for alpha in (a, b):
        if alpha is None:
            layers.append(np.ones(picture.shape[:2]))
        else:
            layers.append(alpha / np.iinfo(alpha.dtype).max)
    mixed = (1 - t) * layers[0] + t * layers[1]
    return np.rint(mixed * top).astype(picture.dtype)
