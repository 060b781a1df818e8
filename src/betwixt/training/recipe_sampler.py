"""Draws the samples of a recipe: its data, mixed and augmented. Sample k depends on the seed and on k alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from betwixt.tables import parse_table
from betwixt.training.augmentation import Augmentation
from betwixt.training.deterministic_opencv import deterministic_opencv
from betwixt.training.prepare import prepare_data
from betwixt.training.recipe import Recipe
from betwixt.training.sample import TrainingSample
from betwixt.training.sources import ClipsEntry, SampleMix, draw_sample, open_mix, read_entries


class RecipeSampler:
    """Draws samples of a recipe by their index. Can be pickled; each process opens the sources itself.

    Args:
        recipe: Defines data, augmentation and seed.
        data: The data folder.
        cache: The folder with the prepared data.

    Raises:
        UsageError: if [[data]] or [augmentation] have an unknown setting, or a value does not fit.
    """

    def __init__(self, recipe: Recipe, data: Path, cache: Path) -> None:
        self.entries = read_entries(recipe.data, recipe.where)
        self._augmentation = parse_table(Augmentation, recipe.augmentation, f"[augmentation] of {recipe.where}")
        self._seed = recipe.stages[0].train.seed
        self._data, self._cache = data, cache
        self._mix: SampleMix | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mix": None}

    def __call__(self, index: int, size: int) -> tuple[np.random.Generator, TrainingSample]:
        """Draw sample `index` with images of `size`, augmented; also returns its random generator."""
        sample, rng = draw_sample(self.open(), self._augmentation, size, self._seed, index)
        return rng, sample

    def open(self) -> SampleMix:
        """Open the sources, once.

        Raises:
            InputError: if data is missing, empty, incomplete or not prepared.
        """
        if self._mix is None:
            self._mix = open_mix(self.entries, self._data, self._cache)
        return self._mix

    def prepare(self, jobs: int, report: Callable[[str], None]) -> None:
        """Prepare what is not in the cache yet, and check that all data is there.

        Raises:
            InputError: if data is missing, empty or damaged.
            OutputError: if the cache cannot be written.
        """
        with deterministic_opencv():
            prepare_data(self.entries, self._data, self._cache, jobs, report)
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
