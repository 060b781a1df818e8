"""Everything that is made once for a data folder: decoded clips, measured triplets, synthetic scenes."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import InputError
from betwixt.training.clips import build_clip_cache, usable
from betwixt.training.recipe import DataRules
from betwixt.training.synthetic import build_bank

__all__ = ["prepare"]


def prepare(rules: DataRules, data: Path, cache: Path, shards: int, jobs: int = 1) -> None:
    """Make what is not there yet.

    Args:
        rules: What may be taken of the data.
        data: Clips (*.mp4) and photographs (photos/*.jpg).
        cache: Where it is put: about 14 GB for 9,000 frames of 640x360.
        shards: Of 512 synthetic scenes each.
        jobs: Processes at work.
    """
    clips = [path for path in sorted(data.glob("*.mp4")) if path.stem not in rules.exclude]
    build_clip_cache(clips, cache, dict(rules.clips), jobs)
    for name, count in usable(cache).items():
        print(f"{name}: {count} triplets")
    if jobs == 1:
        _make_shards(data, cache, clips, range(shards))
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in [pool.submit(_make_shards, data, cache, clips, [shard]) for shard in range(shards)]:
            future.result()


def _make_shards(data: Path, cache: Path, clips: Sequence[Path], shards: Sequence[int]) -> None:
    cv2.setNumThreads(1)
    build_bank(cache / "synthetic", _sources(data, cache, clips), shards)


@functools.lru_cache(maxsize=1)
def _photographs(folder: Path) -> tuple[NDArray[np.uint8], ...]:
    pictures = []
    for path in sorted(folder.glob("*.jpg")):
        photo = cv2.imread(str(path))
        if photo is None:
            raise InputError(f"{path} is not a picture.")
        pictures.append(np.asarray(cv2.cvtColor(photo, cv2.COLOR_BGR2RGB), np.uint8))
    return tuple(pictures)


def _sources(data: Path, cache: Path, clips: Sequence[Path]) -> list[NDArray[np.uint8]]:
    """Photographs, and a few frames of every clip: three, and more of the long ones."""
    sources = list(_photographs(data / "photos"))
    for clip in clips:
        frames = np.load(cache / "clips" / f"{clip.stem}.npy", mmap_mode="r")
        sources += [np.array(frames[i]) for i in np.linspace(0, len(frames) - 1, max(3, len(frames) // 400), dtype=int)]
    return sources
