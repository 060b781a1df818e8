"""Prepares the data of a recipe and draws its samples, for the training loop and `betwixt train prepare`.

    entries ──► clips: decoded, degraded copies, triplets measured ──► textures ──► shards of synthetic scenes

Files that are already in the cache are kept, so an interrupted preparation can be continued. Sample k depends on the
seed and on k alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from betwixt.tables import parse_table
from betwixt.training.augmentation import Augmentation
from betwixt.training.clips import RealTriplets, build_clip_cache, load_array
from betwixt.training.deterministic_opencv import deterministic_opencv, run_in_processes
from betwixt.training.frame_datasets import ClipDataset
from betwixt.training.preparation_progress import PreparationProgress, watch_files
from betwixt.training.recipe import Recipe
from betwixt.training.sample import TrainingSample
from betwixt.training.sample_masks import WholeFrameMasks
from betwixt.training.sources import (
    ClipsEntry,
    DataEntry,
    SampleMix,
    SyntheticEntry,
    check_data_folder,
    draw_sample,
    open_mix,
    read_entries,
)
from betwixt.training.synthetic import SCENES_PER_SHARD, build_bank, claim_bank, has_shard, shard_mark


class RecipeSampler:
    """Draws samples of a recipe by their index. Can be pickled; each process opens the sources itself.

    Args:
        recipe: Defines data, augmentation and seed.
        data: The data folder.
        cache: The folder with the prepared data.
        masks: What the masks of the samples are, as `WholeFrameMasks` takes it; "" for samples without.

    Raises:
        UsageError: if there are no such masks, or [[data]] or [augmentation] have an unknown setting, or a value does
            not fit.
    """

    def __init__(self, recipe: Recipe, data: Path, cache: Path, masks: str = "") -> None:
        self.entries = read_entries(recipe.data, recipe.where)
        self._augmentation = parse_table(Augmentation, recipe.augmentation, f"[augmentation] of {recipe.where}")
        self._seed = recipe.stages[0].train.seed
        self._data, self._cache = data, cache
        self._mix: SampleMix | None = None
        self._masks = masks
        if masks:
            WholeFrameMasks(masks)  # raises if there are none of this name

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mix": None}

    def __call__(self, index: int, size: int) -> tuple[np.random.Generator, TrainingSample]:
        """Draw sample `index` with images of `size`, augmented; also returns its random generator."""
        sample, rng = draw_sample(self.open(), self._augmentation, size, self._seed, index)
        return rng, sample

    def open(self) -> SampleMix:
        """Open the sources, once."""
        if self._mix is None:
            self._mix = open_mix(self.entries, self._data, self._cache)
            if self._masks:
                for source in self._mix.sources:
                    if isinstance(source, ClipDataset | RealTriplets):
                        source.masks = WholeFrameMasks(self._masks)
        return self._mix

    def prepare(self, jobs: int, report: Callable[[str], None], progress: PreparationProgress | None = None) -> None:
        """Prepare what is not in the cache yet (see `prepare_data`), and check that all data is there."""
        with deterministic_opencv():
            prepare_data(self.entries, self._data, self._cache, jobs, report, progress)
        self.open()

    def describe(self) -> list[str]:
        """One line per data entry, with the names of the clips."""
        lines = []
        for entry in self.entries:
            line = f"{entry.kind}: {entry.path}"
            if isinstance(entry, ClipsEntry):
                line += f" ({', '.join(path.stem for path in entry.files(self._data))})"
            lines.append(line)
        return lines


def prepare_data(
    entries: Sequence[DataEntry],
    data: Path,
    cache: Path,
    jobs: int = 1,
    report: Callable[[str], None] = lambda line: None,
    progress: PreparationProgress | None = None,
) -> None:
    """Prepare what is missing in the cache, for all entries that need it.

    Args:
        entries: The data entries of a recipe.
        data: The data folder of the run.
        cache: The output folder: about 14 GB for 9,000 frames of 640x360 and 12,000 scenes.
        jobs: Number of processes.
        report: Receives one line per clip, with its number of triplets.
        progress: Receives how far the preparation is.
    """
    check_data_folder(data)
    for entry in entries:
        if isinstance(entry, ClipsEntry):
            folder = cache / entry.path
            build_clip_cache(entry.files(data), folder, entry.clips, jobs, progress)
            for path in sorted((folder / "clips").glob("*.triplets.npy")):
                report(f"{path.name.removesuffix('.triplets.npy')}: {len(load_array(path))} triplets")
    # Synthetic scenes take their textures from the decoded clips.
    for entry in entries:
        if not isinstance(entry, SyntheticEntry) or entry.shards == 0:
            continue
        bank = entry.bank(cache)
        claim_bank(bank, entry.size, entry.scenes)
        missing = [shard for shard in range(entry.shards) if not has_shard(bank, shard)]
        processes = min(jobs, len(missing))
        if processes:
            parts = [(entry, data, cache, tuple(entries), missing[k::processes]) for k in range(processes)]
            marks = [shard_mark(bank, shard) for shard in range(entry.shards)]
            with watch_files("rendering scenes", marks, "scenes", progress, SCENES_PER_SHARD):
                run_in_processes(_build_shards, parts, processes)


def _build_shards(
    entry: SyntheticEntry, data: Path, cache: Path, entries: Sequence[DataEntry], shards: Sequence[int]
) -> None:
    textures = entry.textures(data, cache, entries)
    build_bank(entry.bank(cache), textures, shards, size=entry.size, rules=entry.scenes)
