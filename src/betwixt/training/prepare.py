"""Prepares a data folder once: decoded clips, measured triplets, synthetic scenes.

    entries ──► clips: decoded, degraded copies, triplets measured ──► textures ──► shards of synthetic scenes

Files that are already in the cache are kept, so an interrupted preparation can be continued.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from betwixt.training.clips import build_clip_cache, count_triplets
from betwixt.training.deterministic_opencv import run_in_processes
from betwixt.training.sources import ClipsEntry, DataEntry, SyntheticEntry, check_data_folder
from betwixt.training.synthetic import build_bank, claim_bank, has_shard


def prepare_data(
    entries: Sequence[DataEntry],
    data: Path,
    cache: Path,
    jobs: int = 1,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Prepare what is missing in the cache, for all entries that need it.

    Args:
        entries: The data entries of a recipe.
        data: The data folder of the run.
        cache: The output folder: about 14 GB for 9,000 frames of 640x360 and 12,000 scenes.
        jobs: Number of processes.
        report: Receives one line per clip, with its number of triplets.

    Raises:
        InputError: if the data is missing, empty or damaged; the message names the file.
        OutputError: if the cache cannot be written.
    """
    check_data_folder(data)
    for entry in entries:
        if isinstance(entry, ClipsEntry):
            folder = cache / entry.path
            build_clip_cache(entry.files(data), folder, entry.clips, jobs)
            for name, count in count_triplets(folder).items():
                report(f"{name}: {count} triplets")
    # Synthetic scenes take their textures from the decoded clips.
    for entry in entries:
        if isinstance(entry, SyntheticEntry) and entry.shards:
            _prepare_scenes(entry, data, cache, entries, jobs)


def _prepare_scenes(entry: SyntheticEntry, data: Path, cache: Path, entries: Sequence[DataEntry], jobs: int) -> None:
    folder = entry.bank(cache)
    claim_bank(folder, entry.size, entry.scenes)
    missing = [shard for shard in range(entry.shards) if not has_shard(folder, shard)]
    jobs = min(jobs, len(missing))
    if jobs:
        parts = [(entry, data, cache, tuple(entries), missing[k::jobs]) for k in range(jobs)]
        run_in_processes(_build_shards, parts, jobs)


def _build_shards(
    entry: SyntheticEntry, data: Path, cache: Path, entries: Sequence[DataEntry], shards: Sequence[int]
) -> None:
    textures = entry.textures(data, cache, entries)
    build_bank(entry.bank(cache), textures, shards, size=entry.size, rules=entry.scenes)
