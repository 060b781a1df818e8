"""Masks of a whole video: decoded, looked at pair by pair, written as label maps and as a video to look at.

frames ──► RGB, 8 bit ──► pairs ──► source of masks ──► 000000-0.png, 000000-1.png, .. masks.json
                                                └─────► overlay.mp4
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from betwixt.errors import InputError, UsageError
from betwixt.layers.label_maps import LabelMap
from betwixt.masks.load import load_mask_source
from betwixt.masks.overlay import overlay_labels
from betwixt.masks.source import MaskSource
from betwixt.masks.store import MaskWriter
from betwixt.media.colour import Colour
from betwixt.media.images.convert import frame_to_image, image_to_frame, to_8_bit
from betwixt.media.images.paths import is_image_location
from betwixt.media.reader import Frame, Reader
from betwixt.media.sequence import ImageSource
from betwixt.media.writer import VideoWriter

__all__ = ["MaskSummary", "make_masks"]

_OVERLAY = "overlay.mp4"


@dataclass(frozen=True)
class MaskSummary:
    """What was made.

    Attributes:
        output: The folder.
        source: What made the masks.
        frames: Of how many frames.
        labels: How many labels a pair has in the mean.
        known: How many pairs, or with open-world frames, were taken from the cache.
        overlay: The video to look at, or None.
        seconds: How long it took.
        masking: How much of that went into the masks.
    """

    output: str
    source: str
    frames: int
    labels: float
    known: int
    overlay: str | None
    seconds: float
    masking: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def make_masks(
    source: str | Path,
    target: str | Path,
    *,
    masks: str | MaskSource = "regions",
    device: str = "auto",
    overlay: bool = True,
    cache: bool = True,
    overwrite: bool = False,
    input_fps: Fraction | None = None,
    interlaced: str = "refuse",
    progress: Callable[[str, int, int | None], None] | None = None,
) -> MaskSummary:
    """Make the masks of a video.

    Args:
        source: A video, or a folder or pattern of images.
        target: The folder for the label maps.
        masks: What makes them: "regions", "open-world", or a source that is loaded.
        device: Where its networks run.
        overlay: Whether to write a video to look at.
        cache: Whether masks that were made before are taken from disk, and new ones kept there.
        overwrite: Whether masks in the folder may be replaced.
        input_fps: The rate of images, for the overlay.
        interlaced: As of `media.reader.Reader`.
        progress: Told "masks", how many frames are done, and how many there are.

    Raises:
        UsageError: if an argument is wrong, or the source's weights are not at hand.
        InputError: if the video cannot be used.
        OutputError: if the folder cannot be written.
    """
    began = time.monotonic()
    if interlaced not in ("refuse", "deinterlace", "ignore"):
        raise UsageError(f"There is no way '{interlaced}' with interlaced video: choose refuse, deinterlace or ignore.")
    maker = load_mask_source(masks, device, cache=cache) if isinstance(masks, str) else masks
    reader: Reader | ImageSource
    if is_image_location(source):
        reader = ImageSource(source, input_fps or Fraction(25), None, None)
    elif input_fps is not None:
        raise UsageError("--input-fps is for folders and patterns of images: a video states its own rate.")
    else:
        reader = Reader(source, interlaced=interlaced)
    film: VideoWriter | None = None
    counts: list[int] = []
    spent = 0.0
    try:
        with MaskWriter(Path(target), maker.name, maker.settings, overwrite) as writer:
            try:
                if overlay:
                    film = _film(writer.work / _OVERLAY, reader)
                last: NDArray[np.uint8] | None = None
                shown: LabelMap | None = None
                total = reader.info.frames
                for number, frame in enumerate(_pictures(reader)):
                    if last is not None:
                        start = time.monotonic()
                        found = maker.pair(last, frame)
                        spent += time.monotonic() - start
                        counts.append(found.count)
                        writer.write(found)
                        if film is not None:
                            film.write(image_to_frame(overlay_labels(last, found.labels0)), number - 1)
                        shown = found.labels1
                    last = frame
                    if progress is not None:
                        progress("masks", number + 1, total)
                if last is None or shown is None:
                    raise InputError(
                        f"{reader.name} has a single frame: masks are of two frames that follow each other."
                    )
                if film is not None:
                    film.write(image_to_frame(overlay_labels(last, shown)), len(counts))
                    film.commit()
            except BaseException:
                if film is not None:
                    film.abort()
                raise
    finally:
        reader.close()
    return MaskSummary(
        output=str(target),
        source=maker.name,
        frames=len(counts) + 1,
        labels=float(np.mean(counts)),
        known=maker.known,
        overlay=str(Path(target) / _OVERLAY) if overlay else None,
        seconds=time.monotonic() - began,
        masking=spent,
    )


def _pictures(reader: Reader | ImageSource) -> Iterator[NDArray[np.uint8]]:
    """The frames as RGB, (H, W, 3) uint8."""
    for item in reader:
        if isinstance(item, Frame):
            picture, _ = frame_to_image(item.video)
            yield to_8_bit(picture) if picture.dtype == np.uint16 else picture.astype(np.uint8, copy=False)


def _film(path: Path, reader: Reader | ImageSource) -> VideoWriter:
    """The overlay's file: of the video only its size, shape of pixels and rate."""
    info = dataclasses.replace(
        reader.info, pixel_format="rgb24", colour=Colour(), hdr=None, streams=(), metadata={}, interlaced=False
    )
    return VideoWriter(path, info, info.rate)
