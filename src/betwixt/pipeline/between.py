"""Interpolates between two images, into a folder of images or a GIF."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from betwixt.errors import InputError, UsageError
from betwixt.files import check_output
from betwixt.media.gif import MAX_RATE, GifWriter
from betwixt.media.images.convert import Alpha, Image, frame_to_image, image_to_frame
from betwixt.media.images.paths import is_image_location
from betwixt.media.images.reader import read_image
from betwixt.media.images.writer import ImageWriter
from betwixt.media.timeline import parse_rate
from betwixt.models.base import Interpolator, check_interpolates
from betwixt.models.registry import DEFAULT_MODEL
from betwixt.pipeline.maps import check_maps_folder, write_maps
from betwixt.runtime.intermediate_maps import intermediate_maps, select_maps
from betwixt.runtime.load import load_model

MAX_COUNT = 10000
"""The most frames that `count` may ask for."""


@dataclass(frozen=True)
class BetweenSummary:
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
        """The values as JSON can hold them."""
        return asdict(self) | {"times": [float(t) for t in self.times]}


def between_images(
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
    maps: str | Path | None = None,
    show: str | Sequence[str] | None = None,
    truth: str | Path | None = None,
    overwrite: bool = False,
) -> BetweenSummary:
    """Make the frames between two image files.

    Args:
        first: The image at time 0.
        second: The image at time 1, of the same size. If either has 16 bit, so have the frames.
        target: A folder, a pattern of images, one image (for one frame), or a GIF.
        times: Times in [0, 1], as numbers or as text with commas.
        count: Or how many frames, evenly spaced; 1 by default.
        ends: Write the two images as well. A GIF always has them.
        fps: The rate of a GIF.
        model: A model's name or a loaded model.
        device: Where the model runs.
        weights: A network's weights file.
        maps: A folder for the maps that the frame is made with (`betwixt.pipeline.maps`), if one frame is made.
        show: With `maps`, which groups of them: flow, mask, occlusion, routes, features; as a list, or as text with
            commas. By default all but the features.
        truth: The true frame, for the map of the error.
        overwrite: Replace existing output.

    Raises:
        UsageError: for a wrong time, or another wrong argument.
        InputError: if an image cannot be read, or the two differ in size.
        OutputError: if the target cannot be written.
    """
    began = time.monotonic()
    frame_times = _parse_times(times, count)
    if maps is not None:
        if len(frame_times) > 1 or not 0 < frame_times[0] < 1:
            raise UsageError("`maps` are of one new frame: give one time between 0 and 1.")
        check_maps_folder(Path(maps), overwrite)
    elif show is not None:
        raise UsageError("`show` selects maps: pass `maps`, the folder for them, too.")
    elif truth is not None:
        raise UsageError("`truth` is for the map of the error: pass `maps`, the folder for it, too.")
    path = Path(target)
    gif = path.suffix.lower() == ".gif"
    if not gif and not is_image_location(target, output=True):
        raise UsageError(f"{target} is neither a folder, an image nor a GIF: for a video use betwixt interpolate.")
    if (gif or ends) and frame_times:
        frame_times = tuple(sorted({Fraction(0), Fraction(1), *frame_times}))
    rate = parse_rate(fps)
    if gif and rate > MAX_RATE:
        raise UsageError(f"A GIF cannot show more than {MAX_RATE} frames per second: pass `fps={MAX_RATE}`.")
    if path.suffix and not gif and "%" not in str(target) and len(frame_times) > 1 and not path.is_dir():
        raise UsageError(f"{target} holds one image, but {len(frame_times)} are to be made: give a folder or a .gif.")
    if path.is_file():
        check_output(path, first, overwrite)
        check_output(path, second, overwrite)
    image0, alpha0 = _read(first)
    image1, alpha1 = _read(second)
    if image0.shape != image1.shape:
        sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in (image0, image1)]
        raise InputError(f"{first} is {sizes[0]}, {second} is {sizes[1]}: scale one to fit the other.")
    if image0.dtype != image1.dtype:
        image0, image1 = (i if i.dtype == np.uint16 else i.astype(np.uint16) * 257 for i in (image0, image1))
    interpolator = load_model(model, device, weights=weights) if isinstance(model, str) else model
    check_interpolates(interpolator)
    if maps is not None:
        true_frame = None if truth is None else _read(truth)[0]
        new_time = next(float(t) for t in frame_times if 0 < t < 1)  # a GIF has the ends as well
        groups = [part.strip() for part in (show.split(",") if isinstance(show, str) else show or ())]
        found = intermediate_maps(
            interpolator, image0, image1, new_time, truth=true_frame, features="features" in groups
        )
        if groups:
            found = select_maps(found, groups, interpolator.name)
        write_maps(found, Path(maps), overwrite)
    images = interpolator.between(image0, image1, [float(t) for t in frame_times])
    writer: GifWriter | ImageWriter
    if gif:
        writer = GifWriter(path, image0.shape[1], image0.shape[0], rate, overwrite=overwrite)
    else:
        writer = ImageWriter(target, overwrite=overwrite)
    with writer:
        for number, (t, image) in enumerate(zip(frame_times, images, strict=True)):
            frame = image_to_frame(image, _blend_alpha(alpha0, alpha1, float(t), image))
            if isinstance(writer, GifWriter):
                writer.write(frame, number / rate)
            else:
                writer.write(frame)
    return BetweenSummary(str(target), len(frame_times), frame_times, interpolator.name, time.monotonic() - began)


def _parse_times(times: str | Sequence[float | Fraction] | None, count: int | None) -> tuple[Fraction, ...]:
    if times is not None and count is not None:
        raise UsageError("`times` and `count` exclude each other: give one.")
    if times is None:
        number = 1 if count is None else count
        if not 1 <= number <= MAX_COUNT:
            raise UsageError(f"The count {number} is out of range: give 1 to {MAX_COUNT}.")
        return tuple(Fraction(k, number + 1) for k in range(1, number + 1))
    parsed = []
    for part in times.split(",") if isinstance(times, str) else times:
        try:
            t = Fraction(str(part).strip())
        except (ValueError, ZeroDivisionError):
            raise UsageError(f"The time '{part}' is not a number: give times from 0 to 1, e.g. 0.25,0.5.") from None
        if not 0 <= t <= 1:
            raise UsageError(f"The time {part} lies outside 0 to 1: 0 is the first image, 1 the second.")
        parsed.append(t)
    if not parsed:
        raise UsageError("There are no times: give times from 0 to 1, e.g. 0.25,0.5,0.75.")
    return tuple(parsed)


def _read(path: str | Path) -> tuple[Image, Alpha | None]:
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist: give the path of an image.")
    return frame_to_image(read_image(path))


def _blend_alpha(alpha0: Alpha | None, alpha1: Alpha | None, t: float, image: Image) -> Alpha | None:
    """Alpha at time t, linear between the two; None if neither image has any."""
    if alpha0 is None and alpha1 is None:
        return None
    opacity0, opacity1 = (
        np.ones(image.shape[:2]) if alpha is None else alpha / np.iinfo(alpha.dtype).max for alpha in (alpha0, alpha1)
    )
    blended: Any = np.rint(((1 - t) * opacity0 + t * opacity1) * np.iinfo(image.dtype).max)
    alpha: Alpha = blended.astype(image.dtype)
    return alpha
