"""Masks of training samples, found in whole frames, since a crop shows too little of the objects.

    two whole frames ──► masks ──► cut, mirrored, turned and reversed with the images ──► TrainingSample.labels

"regions" and "open-world" are the sources of `betwixt.masks`, with its cache on disk; a folder holds a folder of label
maps for each clip, as `betwixt.masks.store` describes them: FOLDER/CLIP/SHOT/000000.png for the frame im1.png of
Vimeo-90K, FOLDER/CLIP/000000.png for the first frame of CLIP.mp4.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from betwixt.errors import InputError, UsageError
from betwixt.layers.label_maps import LabelMapPair
from betwixt.masks.cache import MaskCache, cache_key
from betwixt.masks.load import MASK_SOURCES, load_mask_source
from betwixt.masks.regions import SETTINGS, find_regions
from betwixt.masks.store import MaskFolder
from betwixt.training.sample import Image


class WholeFrameMasks:
    """Finds or reads the masks of two frames of a clip. Each process has its own instance.

    Args:
        name: "regions", "open-world", or a folder.
        device: Where the networks of "open-world" run.

    Raises:
        UsageError: if there is neither such a source nor such a folder.
    """

    def __init__(self, name: str, device: str = "cpu") -> None:
        if name not in MASK_SOURCES and not Path(name).expanduser().is_dir():
            raise UsageError(f"'masks' in [network]: {name} is neither {', '.join(MASK_SOURCES)} nor a folder.")
        self._name, self._device = name, device
        self._cache = MaskCache()
        self._source: Any = None
        self._folders: dict[str, MaskFolder] = {}

    def labels(self, first: Image, second: Image, clip: str, numbers: tuple[int, int]) -> NDArray[np.uint8]:
        """The label maps of two frames, (2, H, W) uint8.

        Args:
            first: (H, W, 3) uint8, frame 0.
            second: (H, W, 3) uint8, frame 1.
            clip: The name of their clip.
            numbers: The numbers of the two frames in the clip, from 0.
        """
        masks = self._masks(np.ascontiguousarray(first), np.ascontiguousarray(second), clip, numbers)
        masks.check_size(*first.shape[:2])
        return np.stack((masks.labels0, masks.labels1))

    def _masks(self, first: Image, second: Image, clip: str, numbers: tuple[int, int]) -> LabelMapPair:
        if self._name == "regions":
            return self._regions(first, second)
        if self._name == "open-world":
            if self._source is None:
                self._source = load_mask_source(self._name, self._device)
            found: LabelMapPair = self._source.pair(first, second)
            return found
        if clip not in self._folders:
            self._folders[clip] = MaskFolder(Path(self._name).expanduser() / clip)
        folder = self._folders[clip]
        if max(numbers) >= folder.frames:
            raise InputError(f"{folder.path} has masks of {folder.frames} frames, but frame {max(numbers)} needs some.")
        return folder.pair(*numbers, *first.shape[:2])

    def _regions(self, first: Image, second: Image) -> LabelMapPair:
        key = cache_key(first, second, "a pair by itself", SETTINGS)
        if (cached := self._cache.get(key)) is not None:
            return LabelMapPair(cached["labels0"], cached["labels1"], int(cached["count"]), "regions")
        masks = find_regions(first, second)
        self._cache.put(key, {"labels0": masks.labels0, "labels1": masks.labels1, "count": np.array(masks.count)})
        return masks
