"""All maps of a model for two frames: its own, and those that follow from them, such as the warped frames."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from betwixt.errors import UsageError
from betwixt.images import read_image_pair, read_images
from betwixt.layers.motion import FrameMotion
from betwixt.layers.planes import synthesize_planes
from betwixt.models.base import Interpolator
from betwixt.models.frame_view import Image
from betwixt.models.maps import IntermediateMap, Maps

MAP_GROUPS: dict[str, str] = {
    "flow": r"flow|displacement",
    "mask": r"mask|share$",
    "occlusion": r"visible|error_[01]|disagreement|covered",
    "routes": r"routes",
    "features": r"features",
}
"""The groups of maps that can be selected, each with the regular expression that the names of its maps match."""


def select_maps(maps: Maps, groups: Sequence[str], model: str) -> Maps:
    """The maps of some groups.

    Args:
        maps: All maps by name.
        groups: Names in `MAP_GROUPS`.
        model: The model's name, for the error.

    Raises:
        UsageError: if there is no such group, or the model has no map of it.
    """
    selected: Maps = {}
    for group in groups:
        if group not in MAP_GROUPS:
            raise UsageError(f"There are no maps called '{group}': choose from {', '.join(MAP_GROUPS)}.")
        # The name of a feature map contains a module's name, which may match another group.
        found = {
            name: map_
            for name, map_ in maps.items()
            if re.search(MAP_GROUPS[group], name) and name.startswith("features") == (group == "features")
        }
        if not found:
            raise UsageError(f"The model {model} has no {group}: choose another model, or other maps.")
        selected |= found
    return selected


def intermediate_maps(
    model: Interpolator, first: Any, second: Any, t: float = 0.5, *, truth: Any = None, features: bool = False
) -> Maps:
    """The frame between two frames and the maps that it is made with.

    Besides the model's own maps, which `betwixt.models.maps` describes, these are:

    - `frame`, the frame itself; of a model that only extrapolates, the one after the second, whatever `t` is;
    - `warped_0` and `warped_1`, the two frames warped by `flow_t0` and `flow_t1` with bilinear interpolation, and
      `disagreement`, the mean difference of their channels, which is large where one frame does not show what the other
      does, or a flow is wrong; if the model has these flows;
    - `error`, the mean absolute difference of `frame` from `truth`, if that is given;
    - `features_..`, the features of the network as pictures (`betwixt.runtime.feature_maps`), if `features` is true.

    Args:
        model: A loaded model.
        first: The frame at time 0, as for `Interpolator.between`: (H, W, 3), RGB.
        second: The frame at time 1, of the same type and shape.
        t: The time of the frame, between 0 and 1.
        truth: The true frame at time `t`, of the same type and shape; None if it is not known.
        features: Whether to add the features of a paper's network.

    Returns:
        The maps by name, the frame first.

    Raises:
        UsageError: if the frames do not fit, `t` lies outside, or the model makes frame `t` by recursion.

    Example:
        >>> import numpy as np
        >>> import betwixt
        >>> first = np.zeros((48, 64, 3), np.uint8)
        >>> maps = betwixt.intermediate_maps(betwixt.load_model("dis"), first, first + 9)
        >>> maps["flow_t0"].values.shape[2], maps["flow_t0"].describe_unit()
        (2, 'pixels, (x, y)')
    """
    if not 0 < t < 1:
        raise UsageError(f"The time {t:g} is not between 0 and 1: there are maps of new frames alone.")
    first, second = _single_images(first, second)
    pair = model.prepare(first, second) if model.interpolates else model.prepare_next(first, second)
    time = t if model.interpolates else 2.0
    own = pair.maps(time)
    frame = pair.at(time)
    maps = {"frame": IntermediateMap("image", frame)}
    if truth is not None:
        true_frame = read_images(truth, "The true frame").as_floats()[0]
        if true_frame.shape != frame.shape:
            sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in (true_frame, frame)]
            raise UsageError(f"The true frame is {sizes[0]}, the two frames {sizes[1]}: give one of the same size.")
        maps["error"] = _difference(frame, true_frame)
    if "flow_t0" in own and "flow_t1" in own:
        warped = [_warp(first, second, own, weight) for weight in (1.0, 0.0)]
        maps |= {f"warped_{number}": IntermediateMap("image", image) for number, image in enumerate(warped)}
        maps["disagreement"] = _difference(*warped)
    if features:
        from betwixt.runtime.feature_maps import feature_maps

        prepare = model.prepare if model.interpolates else model.prepare_next
        maps |= feature_maps(model, lambda: prepare(first, second).at(time))
    return maps | own


def _single_images(first: Any, second: Any) -> tuple[Image, Image]:
    firsts, seconds = (images.as_floats() for images in read_image_pair(first, second))
    if len(firsts) != 1:
        raise UsageError("There are maps of one pair of frames, not of a batch: give two frames.")
    return firsts[0], seconds[0]


def _warp(first: Image, second: Image, maps: Maps, weight: float) -> Image:
    """One of the two frames, that of the given weight for frame 0, warped to the time of the new frame."""
    flows = [maps[name].values for name in ("flow_t0", "flow_t1")]
    weights = np.full(flows[0].shape[:2], weight, np.float32)
    motion = FrameMotion(flows[0], flows[1], weights, sampling="bilinear")
    image: Image
    (image,) = synthesize_planes([first], [second], motion, first.shape[:2])
    return image


def _difference(first: Image, second: Image) -> IntermediateMap:
    return IntermediateMap("difference", np.abs(first - second).mean(axis=2))
