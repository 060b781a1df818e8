"""The masks that models with hierarchical motion get in an evaluation.

regions      found in the two frames (the default of these models)
open-world   by RAM, Grounding DINO and HQ-SAM
zero         a frame is one target (table 3 of the paper)
DIR          NAME-0.png and NAME-1.png for each sample: label maps of its first and second frame
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import numpy as np

from betwixt.errors import InputError, UsageError
from betwixt.evaluation.datasets import Sample, SampleImages
from betwixt.layers.label_maps import LabelMapPair
from betwixt.masks.load import MASK_SOURCES, load_mask_source
from betwixt.masks.regions import find_regions
from betwixt.masks.store import MaskFolder

SampleMasks = Callable[[Sample, SampleImages], LabelMapPair]
"""The masks of a sample's two frames. It may be called from several threads at once."""


def sample_stem(name: str) -> str:
    """What the files of a sample begin with; different names give different files."""
    return quote(name, safe=" ").replace("%2F", "_-_")


def load_sample_masks(name: str, device: str = "auto") -> SampleMasks:
    """A function that finds or reads the masks of samples.

    Args:
        name: "regions", "open-world", "zero", or a folder.
        device: Where the networks of "open-world" run.

    Raises:
        UsageError: if there is neither such a source nor such a folder, or the networks are not installed.
    """
    if name == "regions":
        return lambda sample, images: find_regions(images.first, images.second)
    if name == "zero":
        return lambda sample, images: _one_target(images)
    if name == "open-world":
        source, lock = load_mask_source(name, device), threading.Lock()

        def segment(sample: Sample, images: SampleImages) -> LabelMapPair:
            with lock:
                return source.pair(images.first, images.second)

        return segment
    folder = Path(name)
    if not folder.is_dir():
        raise UsageError(f"`masks`: {name} is neither {', '.join(MASK_SOURCES)}, zero, nor a folder of label maps.")
    return lambda sample, images: _read_pair(folder, sample, images)


def _one_target(images: SampleImages) -> LabelMapPair:
    """Label maps (H, W) of zeros: the whole frame is one target."""
    nothing = np.zeros(images.first.shape[:2], np.uint8)
    return LabelMapPair(nothing, nothing, 1, "given")


def _read_pair(folder: Path, sample: Sample, images: SampleImages) -> LabelMapPair:
    size = images.first.shape[:2]
    paths = [folder / f"{sample_stem(sample.name)}-{side}.png" for side in (0, 1)]
    missing = next((path for path in paths if not path.is_file()), None)
    if missing is not None:
        raise InputError(f"{missing} is missing: expected a label map of the sample.")
    first, second = (MaskFolder.read_map(path, *size) for path in paths)
    return LabelMapPair(first, second, int(max(first.max(), second.max())) + 1, "given")
