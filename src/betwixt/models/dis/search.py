"""Dense inverse search between two luma images: its sizes, its efforts, and OpenCV's search itself.

Shapes: luma (h, w) uint8; flows (2, h, w) float32, x and y as planes, in pixels of (h, w).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.models.frame_view import Luma, downscale_luma

_Map = NDArray[Any]

Effort = Literal["fast", "plain", "thorough"]


@dataclass(frozen=True)
class SearchSettings:
    """How flows are searched.

    Attributes:
        stages: Patch stride and descent steps of each stage; the last runs at the search size, each one before it at
            half of the next one's, and the first also at all coarser scales.
        share: The search size as a part of the frame's.
        short_side: The short side of the search size: at least, if the frame is as large, and at most.
        reduction: How much coarser the maps are that are made from the flows.
    """

    stages: tuple[tuple[int, int], ...]
    share: float = 0.35
    short_side: tuple[int, int] = (256, 540)
    reduction: int = 1


SETTINGS: dict[Effort, SearchSettings] = {
    "fast": SearchSettings(((2, 12), (4, 12), (6, 5)), 2 / 9, (160, 480), reduction=2),
    "plain": SearchSettings(((2, 12), (4, 12), (5, 5))),
    "thorough": SearchSettings(((1, 12), (3, 6))),
}
"""The searches by effort. Dense patches pay at coarse scales, which find large motion; at the finest they follow noise.
Coded frames are predicted with "plain": a change to it changes what they decode to (`codec.restore_data.FORMAT`)."""

_SMALLEST_FIRST = 40
"""Images whose short side would be smaller than this at the first stage are searched in one stage less."""

_SMALLEST = 32
"""Images smaller than this, at the second stage, are padded: the search needs room for its patches at half the size."""


def search_size(height: int, width: int, ratio: float | None = None, effort: Effort = "plain") -> tuple[int, int]:
    """The size at which motion is searched: small frames keep theirs, larger ones are downscaled to about a third."""
    settings = SETTINGS[effort]
    least, most = settings.short_side
    short = min(height, width)
    if ratio is None:
        ratio = min(1.0, min(max(settings.share * short, least), most) / short)
    return max(1, round(height * ratio)), max(1, round(width * ratio))


def search_flows(first: Luma, second: Luma, effort: Effort) -> tuple[_Map, _Map]:
    """The flows from the first image to the second, and back."""
    stages = SETTINGS[effort].stages
    h, w = first.shape
    if len(stages) > 2 and min(h, w) >> (len(stages) - 1) < _SMALLEST_FIRST:
        # Large motion in small images is lost between few patches: search densely at the second stage, too.
        stages = (stages[0], *stages[2:])
    # Every stage needs room for its patches.
    least = _SMALLEST * 2 ** (len(stages) - 2)
    pad = (0, max(0, least - h), 0, max(0, least - w))
    pyramid = [[np.asarray(cv2.copyMakeBorder(x, *pad, cv2.BORDER_REPLICATE), np.uint8) for x in (first, second)]]
    for _ in stages[1:]:
        height, width = pyramid[0][0].shape
        pyramid.insert(0, [downscale_luma(x, height // 2, width // 2) for x in pyramid[0]])
    flows = []
    for order in (1, -1):
        flow = None
        for (stride, steps), images in zip(stages, pyramid, strict=True):
            start = None if flow is None else cv2.merge(list(resize_flow(flow, *images[0].shape, cv2.INTER_LINEAR)))
            search = _create_search(stride, steps, coarsest=None if start is None else 0)
            flow = np.stack(cv2.split(search.calc(*images[::order], start)))
        assert flow is not None
        flows.append(flow[:, :h, :w])
    return flows[0], flows[1]


def _create_search(stride: int, steps: int, coarsest: int | None = None) -> Any:
    """A DIS search: a patch every `stride` pixels, `steps` of descent, from scale `coarsest` down to the finest."""
    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setPatchStride(stride)
    search.setGradientDescentIterations(steps)
    search.setVariationalRefinementIterations(0)
    search.setFinestScale(0)
    if coarsest is not None:
        search.setCoarsestScale(coarsest)
    return search


def resize_flow(flow: _Map, h: int, w: int, interpolation: int = cv2.INTER_AREA) -> _Map:
    """A flow (2, h', w') on another map, (2, h, w), in its pixels."""
    factors = w / flow.shape[2], h / flow.shape[1]
    parts = zip(flow, factors, strict=True)
    return np.stack([cv2.resize(x, (w, h), interpolation=interpolation) * np.float32(factor) for x, factor in parts])


def find_static(difference: Luma, h: int, w: int) -> NDArray[np.bool_]:
    """The pixels of (h, w) that cover no change between the frames, and whose neighbours cover none."""
    height, width = difference.shape
    covered = [2 * math.ceil(side) - 1 for side in (width / w, height / h)]
    changed = cv2.resize(
        cv2.dilate(difference, np.ones(covered[::-1], np.uint8)), (w, h), interpolation=cv2.INTER_NEAREST
    )
    return np.asarray(cv2.dilate(changed, np.ones((3, 3), np.uint8)) == 0)
