"""The scores of a model on a data set, and their means or medians with bootstrap confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from betwixt.evaluation.metrics import METRICS
from betwixt.evaluation.routing import Routing

_RESAMPLES = 10_000

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]


@dataclass(frozen=True)
class SampleStatistics:
    """Statistics of the scores of several samples."""

    score: float  # the mean over the samples, or the median: whichever the metric is reported as
    mean: float  # mean over the samples, as the papers average
    median: float  # median over the samples
    low: float  # lower end of the 95 % confidence interval of the score
    high: float  # upper end of that interval


def summarize(values: Sequence[float], groups: Sequence[str], aggregation: str = "mean") -> SampleStatistics:
    """Mean, median, and the percentile bootstrap interval of one of them (95 %, 10,000 resamples from a fixed seed).

    Frames of one sequence resemble each other, so whole sequences are resampled where there are at least two and any
    has several samples; otherwise single samples are. The interval of one sample is that sample.

    `values` has one score for each sample, `groups` the sequence of each; `aggregation` is "mean" or "median".
    """
    scores = np.asarray(values, np.float64)
    if not len(scores):
        raise ValueError("no scores to summarize")
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    independent = len(names) < 2 or len(names) == len(scores)
    unit = np.arange(len(scores)) if independent else group_of
    resample = _resampled_medians if aggregation == "median" else _resampled_means
    rng = np.random.default_rng(0)
    results = []
    # Draw in chunks, so that the tables of a chunk stay small for large sets.
    count = int(unit.max()) + 1
    chunk = max(1, 2_000_000 // len(scores))
    for start in range(0, _RESAMPLES, chunk):
        draws = rng.integers(count, size=(min(chunk, _RESAMPLES - start), count))
        results.append(resample(scores, unit, draws))
    low, high = np.percentile(np.concatenate(results), [2.5, 97.5])
    mean, median = float(scores.mean()), float(np.median(scores))
    return SampleStatistics(median if aggregation == "median" else mean, mean, median, float(low), float(high))


def _resampled_means(scores: _Floats, unit: _Integers, draws: _Integers) -> _Floats:
    """The mean of each resample; `unit` is the unit of each score, `draws` has the units of a resample in each row."""
    sums, sizes = np.bincount(unit, weights=scores), np.bincount(unit).astype(np.float64)
    means: _Floats = sums[draws].sum(1) / sizes[draws].sum(1)
    return means


def _resampled_medians(scores: _Floats, unit: _Integers, draws: _Integers) -> _Floats:
    """The median of each resample, from how often each of the sorted scores occurs in it."""
    resamples, units = draws.shape
    occurrences = np.bincount((draws + units * np.arange(resamples)[:, None]).ravel(), minlength=resamples * units)
    order = np.argsort(scores)
    up_to = np.cumsum(occurrences.reshape(resamples, units)[:, unit[order]], axis=1)
    total = up_to[:, -1:]
    lower, upper = (scores[order][(up_to > place).argmax(1)] for place in ((total - 1) // 2, total // 2))
    medians: _Floats = (lower + upper) / 2
    return medians


@dataclass(frozen=True)
class FrameScores:
    """The scores of one restored frame."""

    sample: str
    group: str  # the sample's sequence
    t: float  # the frame's time
    scores: dict[str, float]  # by metric; pulse and flicker are of the whole sample, the same for each frame


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
    seconds: float | None = None  # to restore a frame, the median; None if several samples were restored at a time
    routing: Routing | None = None  # the routes of APR-VFI
    _statistics: dict[str, SampleStatistics] = field(default_factory=dict, repr=False)

    @property
    def complete(self) -> bool:
        """Whether the score includes every frame of the set."""
        return not self.skipped and not self.missing and not self.limited

    def summary(self, metric: str) -> SampleStatistics:
        """Statistics of a metric over the frames, or over the sequences' means (or medians, by the metric)."""
        if metric not in self._statistics:
            aggregation = METRICS[metric].aggregation
            if self.mean_of_sequences:
                each = {name: self.aggregate(metric, rows) for name, rows in self.sequences().items()}
                self._statistics[metric] = summarize(list(each.values()), list(each))
            else:
                values, groups = [row.scores[metric] for row in self.rows], [row.group for row in self.rows]
                self._statistics[metric] = summarize(values, groups, aggregation)
        return self._statistics[metric]

    @staticmethod
    def aggregate(metric: str, rows: Sequence[FrameScores]) -> float:
        """The mean of a metric over some frames, or its median: whichever it is reported as."""
        values = [row.scores[metric] for row in rows]
        return float(np.median(values) if METRICS[metric].aggregation == "median" else np.mean(values))

    def sequences(self) -> dict[str, list[FrameScores]]:
        """The rows of each sequence, in order."""
        groups: dict[str, list[FrameScores]] = {}
        for row in self.rows:
            groups.setdefault(row.group, []).append(row)
        return groups
