"""The scores of a model on a data set, and their means with bootstrap confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

_RESAMPLES = 10_000


@dataclass(frozen=True)
class SampleStatistics:
    """Statistics of the scores of several samples."""

    mean: float  # mean over the samples, as the papers average
    median: float  # median over the samples
    low: float  # lower end of the 95 % confidence interval of the mean
    high: float  # upper end of that interval


def summarize(values: Sequence[float], groups: Sequence[str]) -> SampleStatistics:
    """Mean, median, and the percentile bootstrap interval of the mean (95 %, 10,000 resamples from a fixed seed).

    Frames of one sequence resemble each other, so whole sequences are resampled where there are at least two and any
    has several samples; otherwise single samples are. The interval of one sample is that sample.

    `values` has one score for each sample, `groups` the sequence of each.
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
    for start in range(0, _RESAMPLES, chunk):
        draws = rng.integers(len(sums), size=(min(chunk, _RESAMPLES - start), len(sums)))
        means.append(sums[draws].sum(1) / counts[draws].sum(1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return SampleStatistics(float(scores.mean()), float(np.median(scores)), float(low), float(high))


@dataclass(frozen=True)
class FrameScores:
    """The scores of one restored frame."""

    sample: str
    group: str  # the sample's sequence
    t: float  # the frame's time
    scores: dict[str, float]  # by metric. `flicker`, a score of the whole sample, is repeated for each of its frames


@dataclass(frozen=True)
class SkippedSample:
    """A sample that could not be scored, and the reason."""

    sample: str
    reason: str


@dataclass
class Evaluation:
    """The scores of a model on a data set."""

    model: str
    dataset: str
    protocol: str  # which frames are input and which are restored
    metrics: list[str]
    mean_of_sequences: bool = False  # whether the score is the mean of the sequences' means, not of all frames
    rows: list[FrameScores] = field(default_factory=list)  # one for each restored frame, in the order of the data set
    skipped: list[SkippedSample] = field(default_factory=list)  # the samples that could not be scored
    missing: int = 0  # the number of frames of the published set that are not under the root at all
    limited: bool = False  # whether only a part of the set was requested
    _statistics: dict[str, SampleStatistics] = field(default_factory=dict, repr=False)

    @property
    def complete(self) -> bool:
        """Whether the score includes every frame of the set."""
        return not self.skipped and not self.missing and not self.limited

    def summary(self, metric: str) -> SampleStatistics:
        """Mean, median and confidence interval of a metric over the frames, or over the sequences' means."""
        if metric not in self._statistics:
            values, groups = [row.scores[metric] for row in self.rows], [row.group for row in self.rows]
            if self.mean_of_sequences:
                means = {n: [row.scores[metric] for row in rows] for n, rows in self.sequences().items()}
                values, groups = [sum(v) / len(v) for v in means.values()], list(means)
            self._statistics[metric] = summarize(values, groups)
        return self._statistics[metric]

    def sequences(self) -> dict[str, list[FrameScores]]:
        """The rows of each sequence, in order."""
        groups: dict[str, list[FrameScores]] = {}
        for row in self.rows:
            groups.setdefault(row.group, []).append(row)
        return groups
