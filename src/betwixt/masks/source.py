"""Where the masks of a video come from, one pair of frames after another.

`RegionMaskSource` and `OpenWorldMaskSource` look alike: `pair(first, second)` gives the `LabelMapPair` of two frames.
Both remember what they must so that labels last from pair to pair, and both ask the cache first.

A region's label depends on the pairs before. So the key of a pair is made of its frames and of the key of the pair
before; with the maps is kept what the tracker needs to go on from there, so that a video that is known in part gives
the same masks as one that is not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from betwixt.errors import UsageError
from betwixt.layers.label_maps import LabelMapPair, MaskSourceName
from betwixt.masks.cache import MaskCache, cache_key
from betwixt.masks.open_world import OpenWorldSegmenter, TaggedMasks, TagLabels, label_pair
from betwixt.masks.regions import SETTINGS, RegionTracker

__all__ = ["MaskSource", "OpenWorldMaskSource", "RegionMaskSource"]

Frame = NDArray[np.uint8]


class MaskSource(ABC):
    """Makes masks. Not to be used from several threads at once.

    Attributes:
        name: Which source it is.
        settings: What the masks depend on beside the frames.
        known: How many answers were on disk.
    """

    name: MaskSourceName
    settings: dict[str, Any]
    known = 0

    @abstractmethod
    def pair(self, first: Frame, second: Frame) -> LabelMapPair:
        """The masks of two frames, (H, W, 3), uint8, RGB.

        Raises:
            UsageError: if they are something else, or differ in size.
        """


class RegionMaskSource(MaskSource):
    """Regions (`masks.regions`).

    Args:
        cache: Where they are kept; None for nowhere.
    """

    name: MaskSourceName = "regions"

    def __init__(self, cache: MaskCache | None = None) -> None:
        self.settings = {"source": self.name, **SETTINGS}
        self._cache = cache
        self._tracker = RegionTracker()
        self._last = ""  # the hash of the last frame
        self._chain = ""  # the key of the last pair
        self._left: tuple[Frame, dict[str, NDArray[Any]]] | None = None  # of the last pair, where it was known

    def pair(self, first: Frame, second: Frame) -> LabelMapPair:
        """See `MaskSource.pair`."""
        if self._cache is None:
            return self._tracker.pair(first, second)
        here, there = cache_key(first), cache_key(second)
        before = self._chain if here == self._last else ""
        key = cache_key(here, there, before, self.settings)
        found = self._cache.get(key)
        masks: LabelMapPair
        if found is not None:
            masks = LabelMapPair(found["labels0"], found["labels1"], int(found["count"]), self.name)
            self._left = second, found
            self.known += 1
        else:
            if self._left is not None:
                self._tracker.resume(*self._left)
                self._left = None
            masks = self._tracker.pair(first, second)
            self._cache.put(
                key,
                {
                    "labels0": masks.labels0, "labels1": masks.labels1, "count": np.array(masks.count),
                    **self._tracker.state(),
                },
            )  # fmt: skip
        self._last, self._chain = there, key
        return masks


class OpenWorldMaskSource(MaskSource):
    """Tags, boxes and masks (`masks.open_world`).

    Args:
        networks: What looks at frames.
        settings: What their answers depend on: thresholds, hashes of weights.
        cache: Where their answers are kept; None for nowhere.
    """

    name: MaskSourceName = "open-world"

    def __init__(self, networks: OpenWorldSegmenter, settings: dict[str, Any], cache: MaskCache | None = None) -> None:
        self.settings = {"source": self.name, **settings}
        self._networks, self._cache = networks, cache
        self._numbers = TagLabels()
        self._last: tuple[str, TaggedMasks] | None = None

    def _look(self, frame: Frame) -> tuple[str, TaggedMasks]:
        key = cache_key(frame, self.settings)
        if self._last is not None and self._last[0] == key:
            return self._last
        found = self._cache.get(key) if self._cache is not None else None
        if found is not None:
            self.known += 1
            return key, TaggedMasks.of(found)
        look = self._networks.look(frame)
        if self._cache is not None:
            self._cache.put(key, look.arrays())
        return key, look

    def pair(self, first: Frame, second: Frame) -> LabelMapPair:
        """See `MaskSource.pair`."""
        if first.shape != second.shape:
            raise UsageError("The two frames differ in size: scale one to the other's size first.")
        (_, one), last = self._look(first), self._look(second)
        self._last = last
        return label_pair(one, last[1], self._numbers)
