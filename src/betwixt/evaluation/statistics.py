"""Means of scores with bootstrap confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000


@dataclass(frozen=True)
class SampleStatistics:
    """Statistics of the scores of several samples.

    Attributes:
        mean: Mean over the samples, as the papers average.
        median: Median over the samples.
        low: Lower end of the 95 % confidence interval of the mean.
        high: Upper end of that interval.
    """

    mean: float
    median: float
    low: float
    high: float


def summarize(values: Sequence[float], groups: Sequence[str]) -> SampleStatistics:
    """Mean, median, and the percentile bootstrap interval of the mean (95 %, 10,000 resamples from a fixed seed).

    Frames of one sequence resemble each other, so whole sequences are resampled where there are at least two and any
    has several samples; otherwise single samples are. The interval of one sample is that sample.

    Args:
        values: One score for each sample.
        groups: The sequence of each sample.
    """
    scores = np.asarray(values, np.float64)
    if not len(scores):
        raise ValueError("no scores to summarize")
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    independent = len(names) < 2 or len(names) == len(scores)
    unit = np.arange(len(scores)) if independent else group_of
    sums, counts = (np.bincount(unit, weights=x).astype(np.float64) for x in (scores, np.ones(len(scores))))
    rng = np.random.default_rng(0)
    means = []
    # Draw in chunks, so that the table of draws stays small for large sets.
    chunk = max(1, 2_000_000 // len(sums))
    for start in range(0, RESAMPLES, chunk):
        draws = rng.integers(len(sums), size=(min(chunk, RESAMPLES - start), len(sums)))
        means.append(sums[draws].sum(1) / counts[draws].sum(1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return SampleStatistics(float(scores.mean()), float(np.median(scores)), float(low), float(high))
