"""Makes the masks of a video: label maps of each pair of frames, and a video that shows them.

frames ──► RGB, 8 bit ──► pairs ──► mask source ──► 000000-0.png, 000000-1.png, .. masks.json
                                              └───► overlay.mp4
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from betwixt.errors import InputError
from betwixt.layers.label_maps import LabelMap
from betwixt.masks.load import load_mask_source
from betwixt.masks.source import MaskSource
from betwixt.masks.store import MaskWriter
from betwixt.media.colour import Colour
from betwixt.media.images.convert import frame_to_image, image_to_frame, to_8_bit
from betwixt.media.reader import Frame
from betwixt.media.source import VideoSource, open_source
from betwixt.media.timeline import parse_rate
from betwixt.media.writer import VideoWriter
from betwixt.pipeline.options import INTERPOLATE, Number, check_choice
from betwixt.runtime.map_images import overlay_labels

_OVERLAY = "overlay.mp4"


@dataclass(frozen=True)
class MaskSummary:
    """What was made.

    Attributes:
        output: The folder.
        source: The name of the mask source.
        frames: How many frames have masks.
        labels: The mean number of labels of a pair.
        known: How many pairs (with open-world: frames) were taken from the cache.
        overlay: The video that shows the masks; None without one.
        seconds: How long it took.
        masking: How much of that the mask source took.
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
        """The values as JSON can hold them."""
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
    input_fps: Number | None = None,
    interlaced: str = "refuse",
    progress: Callable[[str, int, int | None], None] | None = None,
) -> MaskSummary:
    """Make the masks of a video.

    Args:
        source: A video, or a folder or pattern of images.
        target: The folder for the label maps.
        masks: "regions", "open-world", or a loaded mask source.
        device: Where the source's networks run.
        overlay: Whether to write a video that shows the masks.
        cache: Whether to take masks from the cache on disk, and to keep new ones there.
        overwrite: Whether masks in the folder may be replaced.
        input_fps: The rate of a sequence of images, for the overlay.
        interlaced: What to do with interlaced video: "refuse", "deinterlace" or "ignore".
        progress: Called with "masks", the number of frames done and the number of all frames, None if unknown.

    Raises:
        UsageError: if an argument is wrong, or the source's weights are not installed.
        InputError: if the video cannot be used.
        OutputError: if the folder cannot be written.
    """
    began = time.monotonic()
    check_choice("interlaced", interlaced, INTERPOLATE.options["interlaced"].choices)
    rate = None if input_fps is None else parse_rate(input_fps)
    mask_source = load_mask_source(masks, device, cache=cache) if isinstance(masks, str) else masks
    reader = open_source(source, input_fps=rate, interlaced=interlaced)
    video: VideoWriter | None = None
    label_counts: list[int] = []
    masking = 0.0
    try:
        with MaskWriter(Path(target), mask_source.name, mask_source.settings, overwrite) as writer:
            try:
                if overlay:
                    video = _overlay_writer(writer.work / _OVERLAY, reader)
                previous: NDArray[np.uint8] | None = None
                last_labels: LabelMap | None = None
                for number, image in enumerate(_images(reader)):
                    if previous is not None:
                        start = time.monotonic()
                        pair = mask_source.pair(previous, image)
                        masking += time.monotonic() - start
                        label_counts.append(pair.count)
                        writer.write(pair)
                        if video is not None:
                            video.write(image_to_frame(overlay_labels(previous, pair.labels0)), number - 1)
                        last_labels = pair.labels1
                    previous = image
                    if progress is not None:
                        progress("masks", number + 1, reader.info.frames)
                if previous is None or last_labels is None:
                    raise InputError(f"{reader.name} has a single frame: masks take two consecutive frames.")
                if video is not None:
                    video.write(image_to_frame(overlay_labels(previous, last_labels)), len(label_counts))
                    video.commit()
            except BaseException:
                if video is not None:
                    video.abort()
                raise
    finally:
        reader.close()
    return MaskSummary(
        output=str(target),
        source=mask_source.name,
        frames=len(label_counts) + 1,
        labels=float(np.mean(label_counts)),
        known=mask_source.cache_hits,
        overlay=str(Path(target) / _OVERLAY) if overlay else None,
        seconds=time.monotonic() - began,
        masking=masking,
    )


def _images(reader: VideoSource) -> Iterator[NDArray[np.uint8]]:
    """The frames as RGB images, (H, W, 3) uint8."""
    for item in reader:
        if isinstance(item, Frame):
            image, _ = frame_to_image(item.video)
            yield to_8_bit(image) if image.dtype == np.uint16 else image.astype(np.uint8, copy=False)


def _overlay_writer(path: Path, reader: VideoSource) -> VideoWriter:
    """The writer of the overlay, which has the source's size, pixel aspect ratio and rate."""
    info = dataclasses.replace(
        reader.info, pixel_format="rgb24", colour=Colour(), hdr=None, streams=(), metadata={}, interlaced=False
    )
    return VideoWriter(path, info, info.rate)
