"""One new frame by one model, with all its maps, as pictures and arrays. It runs in the worker.

frame.png, flow_t0.png, ..      the maps of `betwixt.models.maps`, as pictures
frame.npy, flow_t0.npy, ..      as arrays, if asked for
maps.zip                        all of them, if asked for
"""

from __future__ import annotations

import zipfile
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from betwixt.errors import InputError
from betwixt.evaluation.metrics import psnr, ssim, to_uint8
from betwixt.masks.regions import find_regions
from betwixt.media.images.convert import frame_to_image, to_8_bit
from betwixt.media.images.reader import read_image
from betwixt.media.source import open_source
from betwixt.models.base import Interpolator
from betwixt.models.maps import CAPTIONS, IntermediateMap, Maps
from betwixt.runtime.intermediate_maps import intermediate_maps
from betwixt.runtime.load import load_model
from betwixt.runtime.map_images import describe_range, map_to_image, overlay_labels
from betwixt.web.pictures import RGB, FrameViewer
from betwixt.web.survey import frames_of

_MAX_WIDTH = 3840
"""Wider frames of videos are scaled down to this."""

_MAX_PIXELS = 4096 * 2304
"""The largest pictures whose maps are shown."""


@dataclass(frozen=True)
class FramePair:
    """Where two frames come from.

    Attributes:
        files: A video, or two pictures, and perhaps a third, the true frame between them.
        time: In a video: when the first frame is shown, in seconds from the beginning; None for pictures.
        distance: In a video: how many frames later the second comes. The true frame is known if it is the one between
            two frames at a distance of 2, or, for models that only extrapolate, that after the second.
    """

    files: tuple[Path, ...]
    time: float | None = None
    distance: int = 1


def make_still(folder: Path, pair: FramePair, model: str, t: float = 0.5, arrays: bool = False) -> dict[str, Any]:
    """Write a new frame between two frames and its maps.

    Args:
        folder: Where they are written.
        pair: The two frames.
        model: The name of the model.
        t: The time of the frame.
        arrays: Whether to write the maps as arrays as well, and all of them in ``maps.zip``.

    Returns:
        For each map its kind, unit, caption, size and range; the scores against the true frame, if there is one.

    Raises:
        BetwixtError: if the frames cannot be read, or the model cannot make the frame.
    """
    interpolator = _load(model)
    first, second, truth = read_pair(pair, after=not interpolator.interpolates)
    maps = intermediate_maps(interpolator, first, second, t, truth=truth)
    maps |= _regions(first, second)
    for name, map_ in maps.items():
        _write_png(folder / f"{name}.png", _picture(name, map_, first, second))
        if arrays:
            np.save(folder / f"{name}.npy", map_.values)
    if arrays:
        with zipfile.ZipFile(folder / "maps.zip", "w", zipfile.ZIP_STORED) as archive:
            for file in sorted(folder.glob("*.np*")) + sorted(folder.glob("*.png")):
                archive.write(file, file.name)
    return {"maps": _describe(maps), "scores": {} if truth is None else _scores(maps["frame"].values, truth)}


def read_pair(pair: FramePair, after: bool = False) -> tuple[RGB, RGB, RGB | None]:
    """Two frames and the true one, (H, W, 3) uint8; None if that is not known.

    Args:
        pair: Where they come from.
        after: Whether the true frame is the one after the second, instead of the one in the middle.

    Raises:
        InputError: if they cannot be read, or there are too few.
    """
    if pair.time is None:
        images = [_read_picture(path) for path in pair.files]
        return images[0], images[1], images[2] if len(images) > 2 else None
    start, distance = Fraction(pair.time).limit_denominator(1000), pair.distance
    with closing(open_source(pair.files[0], start=start, interlaced="ignore")) as reader:
        viewer = FrameViewer(reader.info, _MAX_WIDTH)
        frames = [viewer.rgb(frame.video) for frame in islice(frames_of(reader), (2 if after else 1) * distance + 1)]
    if len(frames) <= distance:
        raise InputError("There are no two frames after this time: choose an earlier one.")
    if after:
        return frames[0], frames[distance], frames[-1] if len(frames) > 2 * distance else None
    return frames[0], frames[distance], frames[1] if distance == 2 else None


@lru_cache(maxsize=2)
def _load(model: str) -> Interpolator:
    """A model; the last two stay, since previews compare two."""
    return load_model(model)


def _regions(first: RGB, second: RGB) -> Maps:
    """The class-agnostic regions of both frames, as the `+hm` models find them."""
    labels = find_regions(first, second)
    return {
        "regions_0": IntermediateMap("labels", labels.labels0),
        "regions_1": IntermediateMap("labels", labels.labels1),
    }


def _picture(name: str, map_: IntermediateMap, first: RGB, second: RGB) -> RGB:
    """The picture of a map as large as the frames; labels lie over the frame they belong to."""
    if map_.kind == "labels":
        return overlay_labels(first if name.endswith("0") else second, map_.values)
    image = map_to_image(map_)
    size = first.shape[1], first.shape[0]
    if image.shape[1::-1] == size:
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _write_png(path: Path, image: RGB) -> None:
    path.write_bytes(cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes())


def _describe(maps: Maps) -> dict[str, dict[str, Any]]:
    captions = CAPTIONS | {"regions_0": "Regions of the first frame", "regions_1": "Regions of the second frame"}
    return {
        name: {
            "caption": captions.get(name, name),
            "kind": map_.kind,
            "unit": map_.describe_unit(),
            "shape": list(map_.values.shape),
            "range": describe_range(map_),
        }
        for name, map_ in maps.items()
    }


def _read_picture(path: Path) -> RGB:
    image, _ = frame_to_image(read_image(path))
    height, width = image.shape[:2]
    if height * width > _MAX_PIXELS:
        raise InputError(f"{path.name} is {width}x{height}, more than is shown here: scale it to 4096x2304 or less.")
    return to_8_bit(image) if image.dtype == np.uint16 else np.asarray(image, np.uint8)


def _scores(frame: Any, truth: RGB) -> dict[str, float]:
    """PSNR and SSIM of a frame against the true one."""
    made = to_uint8(frame)
    return {"psnr": psnr(made, truth), "ssim": ssim(made, truth)}
