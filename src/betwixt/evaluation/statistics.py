"""Means that say how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["SampleStatistics", "summarize"]

RESAMPLES = 10_000


@dataclass(frozen=True)
class SampleStatistics:
    """Scores in short.

    Attributes:
        mean: Over the samples, as the papers average.
        median: Over the samples.
        low: Lower end of the 95 % confidence interval of the mean.
        high: Its upper end.
    """

    mean: float
    median: float
    low: float
    high: float


def summarize(values: Sequence[float], groups: Sequence[str]) -> SampleStatistics:
    """Mean, median, and the percentile bootstrap interval of the mean (95 %; always the same 10,000 resamples).

    Frames of one sequence resemble each other, so whole sequences are resampled where there are at least two and any
    has several samples; else single samples. With one sample the interval is that sample.

    Args:
        values: A score a sample.
        groups: The sequence of each sample.
    """
    scores = np.asarray(values, np.float64)
    if not len(scores):
        raise ValueError("no scores to summarize")
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    alone = len(names) < 2 or len(names) == len(scores)
    unit = np.arange(len(scores)) if alone else place
    sums, counts = (np.bincount(unit, weights=x).astype(np.float64) for x in (scores, np.ones(len(scores))))
    rng = np.random.default_rng(0)
    means = []
    # In parts, so that the table of draws stays small for large sets.
    part = max(1, 2_000_000 // len(sums))
    for start in range(0, RESAMPLES, part):
        drawn = rng.integers(len(sums), size=(min(part, RESAMPLES - start), len(sums)))
        means.append(sums[drawn].sum(1) / counts[drawn].sum(1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return SampleStatistics(float(scores.mean()), float(np.median(scores)), float(low), float(high))
