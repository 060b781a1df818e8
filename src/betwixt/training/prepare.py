"""Everything that is made once for a data folder: decoded clips, measured triplets, synthetic scenes.

    entries ──► clips: decoded, aged, measured ──► textures ──► shards of scenes

What is there already is kept, so a preparation that was stopped goes on.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2

from betwixt.errors import InputError
from betwixt.training.clips import build_clip_cache, usable
from betwixt.training.deterministic_opencv import make_opencv_deterministic
from betwixt.training.sources import ClipsEntry, DataEntry, SyntheticEntry
from betwixt.training.synthetic import build_bank, claim_bank, has_shard

__all__ = ["prepare"]


def prepare(
    entries: Sequence[DataEntry],
    data: Path,
    cache: Path,
    jobs: int = 1,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Make what is not there yet, for all entries that need a cache.

    Args:
        entries: Of a recipe.
        data: The data folder of the run.
        cache: Where it is put: about 14 GB for 9,000 frames of 640x360 and 12,000 scenes.
        jobs: Processes at work.
        report: Is told what was found, a line a clip.

    Raises:
        InputError: if the data is missing, empty or damaged; the line names the file.
        OutputError: if the cache cannot be written.
    """
    if not data.is_dir():
        raise InputError(f"There is no data folder {data}: give the one that holds what the recipe names as --data.")
    for entry in entries:
        if isinstance(entry, ClipsEntry):
            place = cache / entry.path
            build_clip_cache(entry.files(data), place, entry.clips, jobs)
            for name, count in usable(place).items():
                report(f"{name}: {count} triplets")
    for entry in entries:
        if isinstance(entry, SyntheticEntry) and entry.shards:
            _make_bank(entry, data, cache, tuple(entries), jobs)


def _make_bank(entry: SyntheticEntry, data: Path, cache: Path, entries: tuple[DataEntry, ...], jobs: int) -> None:
    folder = entry.bank(cache)
    claim_bank(folder, entry.size, entry.scenes)
    missing = [shard for shard in range(entry.shards) if not has_shard(folder, shard)]
    if jobs == 1 or len(missing) < 2:
        _make_shards(entry, data, cache, entries, missing)
        return
    with ProcessPoolExecutor(
        jobs, mp_context=multiprocessing.get_context("spawn"), initializer=make_opencv_deterministic
    ) as pool:
        parts = [missing[k::jobs] for k in range(min(jobs, len(missing)))]
        for future in [pool.submit(_make_shards, entry, data, cache, entries, part) for part in parts]:
            future.result()


def _make_shards(
    entry: SyntheticEntry, data: Path, cache: Path, entries: tuple[DataEntry, ...], shards: Sequence[int]
) -> None:
    if not shards:
        return
    cv2.setNumThreads(1)
    textures = entry.textures(data, cache, entries)
    build_bank(entry.bank(cache), textures, shards, size=entry.size, rules=entry.scenes)
