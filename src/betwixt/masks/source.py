"""Mask sources: the masks of a video, one pair of frames after another, with a cache on disk.

Every source has `pair(first, second)`, which returns the `LabelMapPair` of two images. A source keeps the state that
makes labels last from pair to pair, and looks into the cache first.

The label of a region depends on the pairs before. So the cache key of a pair consists of its frames and of the key of
the previous pair. The state of the tracker is cached with the label maps, so that a partly cached video gives the same
masks as an uncached one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from betwixt.images import check_same_size
from betwixt.layers.label_maps import LabelMapPair, MaskSourceName
from betwixt.masks.cache import MaskCache, cache_key
from betwixt.masks.open_world import Image, OpenWorldSegmenter, TaggedMasks, TagLabels, label_pair
from betwixt.masks.regions import SETTINGS, RegionTracker


class MaskSource(ABC):
    """Base class of the mask sources. Not to be used from several threads at once.

    Attributes:
        name: The name of the source.
        settings: Everything that the masks depend on but the frames.
        cache_hits: Number of results that were in the cache.
    """

    name: MaskSourceName
    settings: dict[str, Any]
    cache_hits = 0

    @abstractmethod
    def pair(self, first: Image, second: Image) -> LabelMapPair:
        """The masks of two images, (H, W, 3) uint8 RGB.

        Raises:
            UsageError: if they are something else, or differ in size.
        """


class RegionMaskSource(MaskSource):
    """Class-agnostic regions (`masks.regions`).

    Args:
        cache: The cache; None for none.
    """

    name: MaskSourceName = "regions"

    def __init__(self, cache: MaskCache | None = None) -> None:
        self.settings = {"source": self.name, **SETTINGS}
        self._cache = cache
        self._tracker = RegionTracker()
        self._last_frame_key = ""
        self._last_pair_key = ""
        # The last frame and the cache entry that ends with it, from which the tracker has to resume.
        self._pending_resume: tuple[Image, dict[str, NDArray[Any]]] | None = None

    def pair(self, first: Image, second: Image) -> LabelMapPair:
        if self._cache is None:
            return self._tracker.pair(first, second)
        first_key, second_key = cache_key(first), cache_key(second)
        previous_key = self._last_pair_key if first_key == self._last_frame_key else ""
        key = cache_key(first_key, second_key, previous_key, self.settings)
        cached = self._cache.get(key)
        if cached is not None:
            masks = LabelMapPair(cached["labels0"], cached["labels1"], int(cached["count"]), self.name)
            self._pending_resume = second, cached
            self.cache_hits += 1
        else:
            if self._pending_resume is not None:
                self._tracker.resume(*self._pending_resume)
                self._pending_resume = None
            masks = self._tracker.pair(first, second)
            arrays = {"labels0": masks.labels0, "labels1": masks.labels1, "count": np.array(masks.count)}
            self._cache.put(key, {**arrays, **self._tracker.state()})
        self._last_frame_key, self._last_pair_key = second_key, key
        return masks


class OpenWorldMaskSource(MaskSource):
    """Tags, boxes and masks by open-world models (`masks.open_world`).

    Args:
        segmenter: The networks.
        settings: What their results depend on: thresholds, hashes of weights.
        cache: The cache; None for none.
    """

    name: MaskSourceName = "open-world"

    def __init__(self, segmenter: OpenWorldSegmenter, settings: dict[str, Any], cache: MaskCache | None = None) -> None:
        self.settings = {"source": self.name, **settings}
        self._segmenter, self._cache = segmenter, cache
        self._tag_labels = TagLabels()
        self._last: tuple[str, TaggedMasks] | None = None

    def _segment(self, image: Image) -> tuple[str, TaggedMasks]:
        """The cache key of an image, and its masks."""
        key = cache_key(image, self.settings)
        if self._last is not None and self._last[0] == key:
            return self._last
        cached = self._cache.get(key) if self._cache is not None else None
        if cached is not None:
            self.cache_hits += 1
            return key, TaggedMasks.from_arrays(cached)
        masks = self._segmenter.segment(image)
        if self._cache is not None:
            self._cache.put(key, masks.to_arrays())
        return key, masks

    def pair(self, first: Image, second: Image) -> LabelMapPair:
        check_same_size(first, second)
        (_, masks0), self._last = self._segment(first), self._segment(second)
        return label_pair(masks0, self._last[1], self._tag_labels)
