"""Data sets derived from others by the options `extrapolate` and `paths`."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

from betwixt.errors import InputError, UsageError
from betwixt.evaluation.datasets.base import Dataset, Sample, SampleImages


class _DerivedDataset(Dataset):
    """A data set whose samples are made from those of another."""

    def __init__(self, source: Dataset) -> None:
        super().__init__(source.root, source.options)
        self.name, self.mean_of_sequences, self._source = source.name, source.mean_of_sequences, source

    @property
    def expected_count(self) -> int | None:
        return self._source.expected_count


class TripletExtrapolation(_DerivedDataset):
    """A set of triplets whose last frame is restored from the two before it, as NCM measures extrapolation (table 2).

    The three frames stand at the times 0, 1 and, to be restored, 2.
    """

    extrapolation = True

    def __init__(self, triplets: Dataset) -> None:
        super().__init__(triplets)
        self.name = f"{triplets.name}-extrapolation"
        self.protocol = f"the last frame of the two before it, instead of: {triplets.protocol}"

    def samples(self) -> Iterator[Sample]:
        for sample in self._source.samples():
            if sample.times != (0.5,):
                raise UsageError(f"`extrapolate` needs triplets: {self._source.name} has none.")
            yield replace(sample, times=(2.0,), run=None, load=functools.partial(_load_for_extrapolation, sample.load))


def _load_for_extrapolation(load: Callable[[], SampleImages]) -> SampleImages:
    images = load()
    return SampleImages(images.first, images.truths[0], [images.second])


class WithNeighbours(_DerivedDataset):
    """A set of consecutive frames whose samples include the input frames before and after their two."""

    uses_neighbours = True
    consecutive = True

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset)
        self.protocol = f"{dataset.protocol}; the given frames before and after the two are known as well"

    def samples(self) -> Iterator[Sample]:
        previous: Sample | None = None
        for sample, following in itertools.pairwise(itertools.chain(self._source.samples(), (None,))):
            assert sample is not None
            before, after = (
                side.load if side is not None and side.run is not None and side.run == sample.run else None
                for side in (previous, following)
            )
            yield replace(sample, load=functools.partial(_load_with_neighbours, sample.load, before, after))
            previous = sample


def _load_with_neighbours(
    load: Callable[[], SampleImages],
    before: Callable[[], SampleImages] | None,
    after: Callable[[], SampleImages] | None,
) -> SampleImages:
    images = load()
    # A neighbour that cannot be read is left out.
    with contextlib.suppress(InputError):
        images = replace(images, before=None if before is None else before().first)
    with contextlib.suppress(InputError):
        images = replace(images, after=None if after is None else after().second)
    return images
