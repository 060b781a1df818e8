"""A recipe's samples by their numbers: its data, mixed and augmented, as the workers draw them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from betwixt.tables import parse_table
from betwixt.training.augmentation import Augmentation
from betwixt.training.deterministic_opencv import deterministic_opencv
from betwixt.training.recipe import Recipe
from betwixt.training.sample import TrainingSample
from betwixt.training.sources import ClipsEntry, DataEntry, SampleMix, draw_sample, open_mix, read_entries

__all__ = ["RecipeSampler", "entries_of"]


def entries_of(recipe: Recipe) -> list[DataEntry]:
    """The [[data]] of a recipe.

    Raises:
        UsageError: if a kind or a setting is unknown, or a value does not fit.
    """
    return read_entries(recipe.data, recipe.where)


class RecipeSampler:
    """Draws sample `number` of a recipe. Sources are opened in the process that draws.

    Args:
        recipe: Says data, augmentation and seed.
        data: The data folder.
        cache: The folder of what was prepared.

    Raises:
        UsageError: if [[data]] or [augmentation] have an unknown setting, or a value does not fit.
    """

    def __init__(self, recipe: Recipe, data: Path, cache: Path) -> None:
        self.entries = entries_of(recipe)
        self._augmentation = parse_table(Augmentation, recipe.augmentation, f"[augmentation] of {recipe.where}")
        self._seed = recipe.stages[0].train.seed
        self._data, self._cache = data, cache
        self._mix: SampleMix | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mix": None}

    def __call__(self, number: int, size: int) -> tuple[np.random.Generator, TrainingSample]:
        """Sample `number` with pictures of `size`, augmented, and the generator for what comes after."""
        sample, rng = draw_sample(self.open(), self._augmentation, size, self._seed, number)
        return rng, sample

    def open(self) -> SampleMix:
        """The sources.

        Raises:
            InputError: if data is missing, empty, incomplete or not prepared.
        """
        if self._mix is None:
            self._mix = open_mix(self.entries, self._data, self._cache)
        return self._mix

    def prepare(self, jobs: int, report: Callable[[str], None]) -> None:
        """Make what is not in the cache yet, and see that all data is there.

        Raises:
            InputError: if data is missing, empty or damaged.
            OutputError: if the cache cannot be written.
        """
        from betwixt.training.prepare import prepare

        with deterministic_opencv():
            prepare(self.entries, self._data, self._cache, jobs, report)
        self.open()

    def describe(self) -> list[str]:
        """What there is to learn from, a line for each entry, with the names of the clips."""
        lines = []
        for entry in self.entries:
            line = f"{entry.kind}: {entry.path}"
            if isinstance(entry, ClipsEntry):
                line += f" ({', '.join(path.stem for path in entry.files(self._data))})"
            lines.append(line)
        return lines
