"""Open-world masks: the masks of tagged objects, with the same labels in both frames.

    frame ─► RAM ─► tags ─► Grounding DINO ─► boxes a tag ─► HQ-SAM ─► a mask a tag    (once a frame)

    masks by tag of frame 0 ─┐
    masks by tag of frame 1 ─┴─► common tags ─► no overlaps ─► the rest ─► label maps    (once a pair)

As in "Aligning Anything: Hierarchical Motion Estimation for Video Frame Interpolation", section 3.3 and appendix A.3:

1. "Undetectable or irrelevant words" are dropped: a tag for which Grounding DINO finds no box, or HQ-SAM no pixel; and
   words for colours, actions and views (`IRRELEVANT`). The paper has no list. Words that are things as well stay, such
   as "watch", "wave" and "swing": the detector finds none where none is seen.
2. Tags that only one frame has are dropped.
3. Where two masks overlap by more than 10 % of the smaller one, the smaller one's tag is dropped from both frames.
4. A last mask takes the remaining pixels. It is label 0 here.

Where the paper is silent: the smaller of two tags is the one with fewer pixels in both frames together; tags are
visited from the largest to the smallest, and dropped only for a tag that stays; pixels in the remaining overlaps belong
to the smaller mask, which is usually in front. Of boxes of one tag with an IoU above 0.5, the best is kept. Beyond 63
tags, the largest are kept. The masks of all boxes of a tag form one mask, without instances, which the paper names as a
limitation.

The three networks are callables, which `masks.inference` implements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from betwixt.layers.label_maps import MAX_LABELS, LabelMapPair

Image = NDArray[np.uint8]
"""An RGB image, (H, W, 3)."""
Mask = NDArray[np.bool_]
"""The mask of some pixels of an image, (H, W)."""
Boxes = NDArray[np.float32]
"""Bounding boxes, (n, 4): left, top, right, bottom, in pixels of the image."""
Tagger = Callable[[Image], list[str]]
"""Returns the tags of the objects in an image; their order depends on the image alone."""
Detector = Callable[[Image, Sequence[str]], Mapping[str, Boxes]]
"""Returns the boxes of each tagged object in an image; tags without any may be left out."""
Segmenter = Callable[[Image, Boxes], Mask]
"""Returns the union of the masks of the objects in boxes of an image."""

OVERLAP = 0.1
"""The largest overlap of two masks, as a share of the smaller one."""

_COLOURS = "beige black blue bright brown colorful dark gray green grey pink purple red silver white yellow"
_ACTIONS = """
    appear attach carry catch climb dance drive fall fill hang hold hug jump laugh lay lead lean lick play pose pull
    push race run sit smile spin stare stretch surround swim throw touch walk wear
"""
_VIEWS = "close-up front indoor outdoor pattern scene side view"

IRRELEVANT = frozenset(f"{_COLOURS} {_ACTIONS} {_VIEWS}".split())
"""Tags of RAM for colours, actions and views that name nothing with an outline."""

REST = "the rest"
"""The name of the last mask."""


@dataclass(frozen=True)
class TaggedMasks:
    """The tagged masks of an image."""

    tags: tuple[str, ...]  # the tags
    masks: tuple[Mask, ...]  # the mask of each tag, (H, W) bool, none empty; they may overlap
    size: tuple[int, int]  # height and width of the image

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays that a file can hold: packed bits, and the tags as UTF-8."""
        bits = np.packbits(np.stack(self.masks), axis=None) if self.masks else np.zeros(0, np.uint8)
        text = np.frombuffer("\n".join(self.tags).encode(), np.uint8)
        return {"bits": bits, "tags": text, "size": np.array(self.size, np.int64)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> TaggedMasks:
        """The inverse of `to_arrays`."""
        h, w = (int(v) for v in arrays["size"])
        text = arrays["tags"].tobytes().decode()
        tags = tuple(text.split("\n")) if text else ()
        masks = np.unpackbits(arrays["bits"], count=len(tags) * h * w).reshape(len(tags), h, w).astype(bool)
        return cls(tags, tuple(masks), (h, w))


class OpenWorldSegmenter:
    """Tagger, detector and segmenter in sequence.

    Args:
        tagger: Such as RAM.
        detector: Such as Grounding DINO.
        segmenter: Such as HQ-SAM.
    """

    def __init__(self, tagger: Tagger, detector: Detector, segmenter: Segmenter) -> None:
        self._tagger, self._detector, self._segmenter = tagger, detector, segmenter

    def segment(self, image: Image) -> TaggedMasks:
        """The tags that are found in an image (H, W, 3) uint8, with their masks (rule 1)."""
        found_tags, masks = [], []
        tags = [tag for tag in dict.fromkeys(self._tagger(image)) if tag not in IRRELEVANT]
        boxes = self._detector(image, tags) if tags else {}
        for tag in tags:
            if len(tag_boxes := boxes.get(tag, ())):
                mask = self._segmenter(image, np.asarray(tag_boxes, np.float32))
                if mask.any():
                    found_tags.append(tag)
                    masks.append(mask)
        return TaggedMasks(tuple(found_tags), tuple(masks), image.shape[:2])


class TagLabels:
    """Assigns labels to tags along a video: a tag keeps its label from pair to pair while it is present."""

    def __init__(self) -> None:
        self._labels: dict[str, int] = {}

    def assign(self, tags: Sequence[str]) -> dict[str, int]:
        """The label, from 1 on, of each of `tags`, of which there are at most 63."""
        labels = {tag: self._labels[tag] for tag in tags if tag in self._labels}
        free = iter(k for k in range(1, MAX_LABELS) if k not in labels.values())
        for tag in tags:
            if tag not in labels:
                labels[tag] = next(free)
        self._labels = labels
        return labels


def common_tags(first: TaggedMasks, second: TaggedMasks) -> list[str]:
    """The tags of two images that rules 2 and 3 keep, the largest first."""
    tags = [tag for tag in first.tags if tag in second.tags]
    masks = {tag: (first.masks[first.tags.index(tag)], second.masks[second.tags.index(tag)]) for tag in tags}
    areas = {tag: tuple(int(mask.sum()) for mask in masks[tag]) for tag in tags}
    kept: list[str] = []
    for tag in sorted(tags, key=lambda tag: (-sum(areas[tag]), tag)):
        if all(
            np.count_nonzero(masks[tag][i] & masks[larger][i]) <= OVERLAP * min(areas[tag][i], areas[larger][i])
            for larger in kept
            for i in (0, 1)
        ):
            kept.append(tag)
    return kept[: MAX_LABELS - 1]


def label_pair(first: TaggedMasks, second: TaggedMasks, tag_labels: TagLabels | None = None) -> LabelMapPair:
    """The label maps of two images (rules 2 to 4).

    Args:
        first: The masks of frame 0.
        second: The masks of frame 1, of the same size.
        tag_labels: Assigns labels that last along a video; by default they count from 1, the largest tag first.
    """
    tags = common_tags(first, second)
    label = (tag_labels or TagLabels()).assign(tags)
    count = 1 + max(label.values(), default=0)
    names = [REST, *([""] * (count - 1))]
    maps = []
    for tagged in (first, second):
        labels = np.zeros(tagged.size, np.uint8)
        for tag in tags:  # smaller masks overwrite larger ones
            labels[tagged.masks[tagged.tags.index(tag)]] = label[tag]
            names[label[tag]] = tag
        maps.append(labels)
    return LabelMapPair(maps[0], maps[1], count, "open-world", tuple(names))
