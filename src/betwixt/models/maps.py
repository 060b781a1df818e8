"""The maps that a model makes on its way to a frame: flows, fusion masks, visibility, residuals.

Names that several models share mean the same in all of them:

| name                   | kind     | what it is                                                                       |
|------------------------|----------|----------------------------------------------------------------------------------|
| `flow_t0`, `flow_t1`   | flow     | F_{t->0} and F_{t->1}                                                            |
| `mask`                 | weight   | the fusion mask: the weight of warped frame 0                                    |
| `flow_01`, `flow_10`   | flow     | the flows between the two frames                                                 |
| `error_0`, `error_1`   | length   | the forward-backward error of those flows, from frame 0 and from frame 1         |
| `visible_0`            | weight   | 1 where frame 1 shows the pixel of frame 0, too; 0 where it is occluded          |
| `visible_1`            | weight   | 1 where frame 0 shows the pixel of frame 1, too; 0 where it is occluded          |
| `residual`             | residual | what is added to the fused frame                                                 |
| `displacement`         | flow     | the motion from frame 0 to frame 1, where a model has no other flow              |

A map may be coarser than the frame. Its flows are in pixels of the frame all the same, unless the map says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from betwixt.layers.motion import FrameMotion

MapKind = Literal["image", "residual", "difference", "flow", "weight", "length", "labels"]

UNITS: dict[MapKind, str] = {
    "image": "RGB, 0 to 1",
    "residual": "RGB, -1 to 1",
    "difference": "0 to 1",
    "flow": "pixels, (x, y)",
    "weight": "0 to 1",
    "length": "pixels",
    "labels": "labels, from 0",
}
"""The kinds of maps and their units. Images and residuals are (h, w, 3), flows (h, w, 2), the others (h, w)."""

CAPTIONS = {
    "frame": "The frame that the model makes",
    "flow_t0": "Flow from the new frame to the first",
    "flow_t1": "Flow from the new frame to the second",
    "mask": "Fusion mask: the weight of the warped first frame",
    "flow_01": "Flow from the first frame to the second",
    "flow_10": "Flow from the second frame to the first",
    "error_0": "Forward-backward error, from the first frame",
    "error_1": "Forward-backward error, from the second frame",
    "visible_0": "What of the first frame the second shows, too",
    "visible_1": "What of the second frame the first shows, too",
    "residual": "Residual, added to the fused frame",
    "displacement": "Motion from the first frame to the second",
    "share": "The weight of the first motion's blend against the second's",
    "labels_0": "Masks of the first frame",
    "labels_1": "Masks of the second frame",
    "merged": "The fused frame, before the residual",
    "warped_0": "The first frame, warped",
    "warped_1": "The second frame, warped",
    "disagreement": "How much the two warped frames differ",
    "error": "Error against the true frame",
}
"""What maps are called where they are shown; others by their name."""


@dataclass(frozen=True, eq=False)
class IntermediateMap:
    """A map that a model makes on its way to a frame.

    Attributes:
        kind: What its values are; see `UNITS`.
        values: (h, w) or (h, w, channels), float32; uint8 for labels.
        unit: The unit of its values, if it is not that of its kind.
    """

    kind: MapKind
    values: NDArray[Any]
    unit: str = ""

    def describe_unit(self) -> str:
        """The unit of its values."""
        return self.unit or UNITS[self.kind]


Maps = dict[str, IntermediateMap]
"""Maps by name."""


def motion_maps(motion: FrameMotion) -> Maps:
    """The maps of a `FrameMotion`; those of its other motion are called `other_..`."""
    return {name: IntermediateMap(kind, values) for name, kind, values in _motion_fields(motion)}


def _motion_fields(motion: FrameMotion) -> Iterator[tuple[str, MapKind, NDArray[Any]]]:
    yield "flow_t0", "flow", motion.flow_t0
    yield "flow_t1", "flow", motion.flow_t1
    yield "mask", "weight", motion.weight
    if motion.other is not None and motion.share is not None:
        for name, kind, values in _motion_fields(motion.other):
            yield f"other_{name}", kind, values
        yield "share", "weight", motion.share
    if motion.colour_residual is not None:
        yield "residual", "residual", motion.colour_residual
    for number, (_, amount) in enumerate(motion.softness, 1):
        yield f"softness_{number}", "weight", amount
