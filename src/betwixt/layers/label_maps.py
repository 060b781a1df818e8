"""Label maps of two frames: what every source of masks makes, and what the hierarchical models take.

    labels0 (H, W)   0 0 1 1 1 2        labels1 (H, W)   0 1 1 1 2 2        count = 3
                     0 0 1 1 2 2                         0 1 1 2 2 2

Each pixel bears one label, a number from 0 to count - 1, and a label means the same thing in both frames: the pixels of
label i are the mask M_0^i of frame 0 and M_1^i of frame 1 ("Aligning Anything: Hierarchical Motion Estimation for Video
Frame Interpolation", section 3.3). A label may be absent from one of the frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from betwixt.errors import InputError

__all__ = ["MASK_SOURCE_NAMES", "MAX_LABELS", "LabelMap", "LabelMapPair", "MaskSourceName", "as_labels"]

LabelMap = NDArray[np.uint8]
"""A label map: (H, W), uint8."""

MaskSourceName = Literal["regions", "open-world", "given"]
"""Where masks come from: class-agnostic regions, open-world models, or a user's own files."""

MASK_SOURCE_NAMES: tuple[MaskSourceName, ...] = ("regions", "open-world", "given")

MAX_LABELS = 64
"""The most labels that two frames may share."""


@dataclass(frozen=True, eq=False)
class LabelMapPair:
    """The label maps of two frames.

    Attributes:
        labels0: Of frame 0, (H, W), uint8, values from 0 to `count` - 1. Any integer type may be given.
        labels1: Of frame 1, likewise; a value means the same as in `labels0`.
        count: How many labels there are, from 1 to 64, those included that one frame does not show.
        source: What made them.
        names: What each label is (the tags of open-world masks), or () where nothing is known.

    Raises:
        InputError: if the maps are not of integers, not of one size, or bear more than 64 labels.
    """

    labels0: LabelMap
    labels1: LabelMap
    count: int
    source: MaskSourceName
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_LABELS:
            raise InputError(f"There are {self.count} labels, where masks have 1 to {MAX_LABELS}: merge some of them.")
        if self.source not in MASK_SOURCE_NAMES:
            raise InputError(f"There is no source of masks '{self.source}': choose {', '.join(MASK_SOURCE_NAMES)}.")
        if self.names and len(self.names) != self.count:
            raise InputError(f"There are {len(self.names)} names for {self.count} labels: give each label one.")
        for field in ("labels0", "labels1"):
            labels = as_labels(getattr(self, field))
            highest = int(labels.max())
            if highest >= self.count:
                raise InputError(
                    f"The masks have the label {highest}, but the number of labels is {self.count}: they count from 0."
                )
            object.__setattr__(self, field, labels)
        if self.labels0.shape != self.labels1.shape:
            sizes = " and ".join(_size(x.shape) for x in (self.labels0, self.labels1))
            raise InputError(f"The masks of the two frames differ in size ({sizes}): make both as large as the frames.")

    def check_size(self, height: int, width: int, name: str = "The masks") -> None:
        """See that the masks are as large as the frames.

        Raises:
            InputError: if they are not.
        """
        if self.labels0.shape != (height, width):
            raise InputError(
                f"{name} are {_size(self.labels0.shape)}, the frames {width}x{height}: make them of the frames' size."
            )


def as_labels(values: Any, name: str = "The masks") -> LabelMap:
    """A label map of integers of any type, as contiguous uint8.

    Args:
        values: (H, W), integers from 0 to 63.
        name: What to call it in an error.

    Raises:
        InputError: if it is not two-dimensional, not of integers, or has a label beyond 63 or below 0.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise InputError(
            f"{name} are of type {array.dtype}, where labels are whole numbers: give integers, 0 to {MAX_LABELS - 1}."
        )
    if array.ndim != 2 or not array.size:
        raise InputError(f"{name} have the shape {array.shape}, where a label map has (height, width).")
    if int(array.min()) < 0 or int(array.max()) >= MAX_LABELS:
        worst = int(array.min()) if int(array.min()) < 0 else int(array.max())
        raise InputError(
            f"{name} have the label {worst}, where at most {MAX_LABELS} labels, 0 to {MAX_LABELS - 1}, are allowed: "
            "merge some of them."
        )
    return np.ascontiguousarray(array, np.uint8)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
