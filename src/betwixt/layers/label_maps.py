"""Label maps of two frames: the output of every mask source and an input of the hierarchical models.

    labels0 (H, W)   0 0 1 1 1 2        labels1 (H, W)   0 1 1 1 2 2        count = 3
                     0 0 1 1 2 2                         0 1 1 2 2 2

Each pixel has one label, an integer from 0 to count - 1, and a label means the same in both frames: the pixels with
label i are the masks M_0^i of frame 0 and M_1^i of frame 1 ("Aligning Anything: Hierarchical Motion Estimation for
Video Frame Interpolation", section 3.3). A label may be absent from one of the frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from betwixt.errors import InputError

LabelMap = NDArray[np.uint8]
"""A label map: (H, W), uint8."""

MaskSourceName = Literal["regions", "open-world", "given"]
"""What made the masks: class-agnostic segmentation, open-world models, or the user ("given", from files)."""

MASK_SOURCE_NAMES: tuple[MaskSourceName, ...] = ("regions", "open-world", "given")

MAX_LABELS = 64
"""Most labels of a pair of label maps."""


@dataclass(frozen=True, eq=False)
class LabelMapPair:
    """The label maps of two frames.

    Attributes:
        labels0: Label map of frame 0, (H, W) uint8, values from 0 to `count` - 1. Other integer types are converted.
        labels1: Label map of frame 1, (H, W) uint8, values from 0 to `count` - 1. Other integer types are converted.
        count: Number of labels, from 1 to 64, including labels that are absent from one frame.
        source: What made them.
        names: The name of each label (the tags of open-world masks), or () if labels have no names.

    Raises:
        InputError: if the maps are not of integers, differ in size, or have more than 64 labels.
    """

    labels0: LabelMap
    labels1: LabelMap
    count: int
    source: MaskSourceName
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_LABELS:
            raise InputError(f"There are {self.count} labels, but masks have 1 to {MAX_LABELS}: merge some of them.")
        if self.source not in MASK_SOURCE_NAMES:
            raise InputError(f"There is no mask source '{self.source}': choose {', '.join(MASK_SOURCE_NAMES)}.")
        if self.names and len(self.names) != self.count:
            raise InputError(f"There are {len(self.names)} names for {self.count} labels: give each label one.")
        for field in ("labels0", "labels1"):
            labels = as_labels(getattr(self, field))
            highest = int(labels.max())
            if highest >= self.count:
                raise InputError(
                    f"The masks have the label {highest}, but there are {self.count} labels, which count from 0."
                )
            object.__setattr__(self, field, labels)
        if self.labels0.shape != self.labels1.shape:
            sizes = " and ".join(_size(x.shape) for x in (self.labels0, self.labels1))
            raise InputError(f"The masks of the two frames differ in size ({sizes}): make both as large as the frames.")

    def check_size(self, height: int, width: int, name: str = "The masks") -> None:
        """Check that the maps have the size of the frames.

        Raises:
            InputError: if they have not.
        """
        if self.labels0.shape != (height, width):
            raise InputError(
                f"{name} are {_size(self.labels0.shape)}, the frames {width}x{height}: make masks of the frames' size."
            )


def as_labels(values: Any, name: str = "The masks") -> LabelMap:
    """Convert a label map of any integer type to contiguous uint8.

    Args:
        values: (H, W), integers from 0 to 63.
        name: Its name in error messages, in the plural.

    Raises:
        InputError: if it is not two-dimensional, not of integers, or has a label outside 0 to 63.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise InputError(
            f"{name} are of type {array.dtype}, but labels are integers: give integers from 0 to {MAX_LABELS - 1}."
        )
    if array.ndim != 2 or not array.size:
        raise InputError(f"{name} have the shape {array.shape}, but a label map has (height, width).")
    if int(array.min()) < 0 or int(array.max()) >= MAX_LABELS:
        worst = int(array.min()) if int(array.min()) < 0 else int(array.max())
        raise InputError(
            f"{name} have the label {worst}, but at most {MAX_LABELS} labels, 0 to {MAX_LABELS - 1}, are allowed: "
            "merge some of them."
        )
    return np.ascontiguousarray(array, np.uint8)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
