"""Open-world masks: what a frame shows by name, and the same names in both frames.

    frame ─► RAM ─► tags ─► Grounding DINO ─► boxes a tag ─► HQ-SAM ─► a mask a tag    (once a frame)

    masks by tag of frame 0 ─┐
    masks by tag of frame 1 ─┴─► common tags ─► no overlaps ─► the rest ─► label maps    (once a pair)

After "Aligning Anything: Hierarchical Motion Estimation for Video Frame Interpolation", section 3.3 and appendix A.3:

1. A tag that Grounding DINO finds nowhere, or HQ-SAM gives no pixel, is dropped.
2. Only tags that both frames have stay.
3. Where two masks overlap by more than 10 % of the smaller one, the smaller one's tag goes, from both frames.
4. A last mask takes the pixels that are left. It is label 0 here.

Where the paper is silent: the smaller of two tags is the one with fewer pixels in both frames together; tags are gone
through from the largest on, and lose only to tags that stay; pixels of the overlaps that remain go to the smaller mask,
which lies in front more often than not. Boxes of one tag that overlap by half (IoU) count once. Beyond 63 tags the
largest stay. The masks of all boxes of a tag are one mask: instances are not told apart, which the paper names as a
limit.

The three networks are given as functions of a frame: what loads them is `runtime.masks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from betwixt.layers.label_maps import MAX_LABELS, LabelMapPair

__all__ = [
    "OVERLAP",
    "REST",
    "Detector",
    "OpenWorldSegmenter",
    "Segmenter",
    "TagLabels",
    "TaggedMasks",
    "Tagger",
    "common_tags",
    "label_pair",
]

Frame = NDArray[np.uint8]
"""(H, W, 3), RGB."""
Mask = NDArray[np.bool_]
"""(H, W)."""
Boxes = NDArray[np.float32]
"""(n, 4): left, top, right, bottom, in pixels of the frame."""

OVERLAP = 0.1
"""The part of the smaller of two masks by which they may overlap."""
REST = "the rest"
"""The name of the last mask."""


class Tagger(Protocol):
    """Says what a frame shows."""

    def __call__(self, frame: Frame) -> list[str]:
        """Tags, each once, in any order that depends on the frame alone."""


class Detector(Protocol):
    """Finds tags in a frame."""

    def __call__(self, frame: Frame, tags: Sequence[str]) -> Mapping[str, Boxes]:
        """The boxes of each tag; a tag without any may be left out."""


class Segmenter(Protocol):
    """Finds what lies in boxes of a frame."""

    def __call__(self, frame: Frame, boxes: Boxes) -> Mask:
        """The pixels of all of it together."""


@dataclass(frozen=True)
class TaggedMasks:
    """What a frame shows.

    Attributes:
        tags: Their names.
        masks: Of each, (H, W) bool, none empty; they may overlap.
        size: Height and width of the frame.
    """

    tags: tuple[str, ...]
    masks: tuple[Mask, ...]
    size: tuple[int, int]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """For a file: bits, and text without objects."""
        bits = np.packbits(np.stack(self.masks), axis=None) if self.masks else np.zeros(0, np.uint8)
        text = np.frombuffer("\n".join(self.tags).encode(), np.uint8)
        return {"bits": bits, "tags": text, "size": np.array(self.size, np.int64)}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> TaggedMasks:
        """What `arrays` gave."""
        h, w = (int(v) for v in arrays["size"])
        text = arrays["tags"].tobytes().decode()
        tags = tuple(text.split("\n")) if text else ()
        masks = np.unpackbits(arrays["bits"], count=len(tags) * h * w).reshape(len(tags), h, w).astype(bool)
        return cls(tags, tuple(masks), (h, w))


class OpenWorldSegmenter:
    """The three networks in a row.

    Args:
        tagger: Such as RAM.
        detector: Such as Grounding DINO.
        segmenter: Such as HQ-SAM.
    """

    def __init__(self, tagger: Tagger, detector: Detector, segmenter: Segmenter) -> None:
        self._tagger, self._detector, self._segmenter = tagger, detector, segmenter

    def look(self, frame: Frame) -> TaggedMasks:
        """What a frame (H, W, 3) uint8 shows: the tags that are found in it, with their masks (rule 1)."""
        tags, masks = [], []
        wanted = list(dict.fromkeys(self._tagger(frame)))
        boxes = self._detector(frame, wanted) if wanted else {}
        for tag in wanted:
            if len(found := boxes.get(tag, ())):
                mask = self._segmenter(frame, np.asarray(found, np.float32))
                if mask.any():
                    tags.append(tag)
                    masks.append(mask)
        return TaggedMasks(tuple(tags), tuple(masks), frame.shape[:2])


class TagLabels:
    """Gives tags labels that last along a video: a tag keeps its label while it is in use."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}

    def __call__(self, tags: Sequence[str]) -> dict[str, int]:
        """Labels from 1 on for `tags`, of which there are at most 63."""
        kept = {tag: self._number[tag] for tag in tags if tag in self._number}
        free = iter(k for k in range(1, MAX_LABELS) if k not in kept.values())
        for tag in tags:
            if tag not in kept:
                kept[tag] = next(free)
        self._number = kept
        return kept


def common_tags(first: TaggedMasks, second: TaggedMasks) -> list[str]:
    """The tags of two frames that rules 2 and 3 leave, the largest first."""
    both = [tag for tag in first.tags if tag in second.tags]
    mine = {tag: (first.masks[first.tags.index(tag)], second.masks[second.tags.index(tag)]) for tag in both}
    area = {tag: tuple(int(mask.sum()) for mask in masks) for tag, masks in mine.items()}
    kept: list[str] = []
    for tag in sorted(both, key=lambda tag: (-sum(area[tag]), tag)):
        clear = all(
            np.count_nonzero(mine[tag][i] & mine[other][i]) <= OVERLAP * min(area[tag][i], area[other][i])
            for other in kept
            for i in (0, 1)
        )
        if clear:
            kept.append(tag)
    return kept[: MAX_LABELS - 1]


def label_pair(first: TaggedMasks, second: TaggedMasks, numbers: TagLabels | None = None) -> LabelMapPair:
    """The label maps of two frames (rules 2 to 4).

    Args:
        first: What frame 0 shows.
        second: What frame 1 shows; as large.
        numbers: Gives labels that last along a video; by default they count from 1, the largest tag first.
    """
    kept = common_tags(first, second)
    label = (numbers or TagLabels())(kept)
    count = 1 + max(label.values(), default=0)
    names = [REST, *([""] * (count - 1))]
    maps = []
    for look in (first, second):
        labels = np.zeros(look.size, np.uint8)
        for tag in kept:  # the smaller over the larger
            labels[look.masks[look.tags.index(tag)]] = label[tag]
            names[label[tag]] = tag
        maps.append(labels)
    return LabelMapPair(maps[0], maps[1], count, "open-world", tuple(names))
