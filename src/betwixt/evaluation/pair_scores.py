"""Scores of pairs of frames: several at a time, in order, with the mean, the median and the worst of all."""

from __future__ import annotations

import csv
import io
import statistics
from array import array
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import av
import numpy as np

from betwixt.evaluation.metrics import Image8, Metric, to_uint8
from betwixt.evaluation.paired_frames import FramePair
from betwixt.media.colour import RGBConverter
from betwixt.media.frames import planes
from betwixt.media.presentation import Presentation
from betwixt.media.probe import VideoInfo


@dataclass(frozen=True)
class ScoreSummary:
    """The scores of all compared frames by one metric.

    Attributes:
        mean: Their mean.
        median: Their median.
        worst: The worst of them.
        worst_time: Its time, in seconds from the first frame of the first video.
    """

    mean: float
    median: float
    worst: float
    worst_time: float


class PairScorer:
    """Scores pairs of frames of two videos, several pairs at a time.

    Args:
        metrics: Metrics of single frames.
        first: The first video, which is the reference.
        second: The second video, whose upright frames have the same size.
        every: Score one of so many pairs.
        threads: How many pairs are scored at a time.

    Attributes:
        times: When the compared pairs are shown, in seconds.
        identical: How many of them have the same samples.
    """

    def __init__(self, metrics: list[Metric], first: VideoInfo, second: VideoInfo, every: int, threads: int) -> None:
        self.times: array[float] = array("d")
        self.identical = 0
        self._metrics, self._every, self._threads = metrics, every, threads
        self._values = {metric.name: array("d") for metric in metrics}
        self._sides = [_RGBImages(first), _RGBImages(second)]
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="betwixt-score")
        self._pending: deque[tuple[float, Future[tuple[bool, list[float]]]]] = deque()
        self._simultaneous = 0

    def push(self, pair: FramePair) -> None:
        """Score a pair, if both of its frames are new at its moment."""
        if not self._metrics or not pair.simultaneous:
            return
        self._simultaneous += 1
        if (self._simultaneous - 1) % self._every == 0:
            if len(self._pending) > self._threads:
                self._collect()
            future = self._pool.submit(self._score, pair.first.video, pair.second.video)
            self._pending.append((float(pair.time), future))

    def finish(self) -> None:
        """Wait for all scores."""
        while self._pending:
            self._collect()

    def _collect(self) -> None:
        moment, future = self._pending.popleft()
        identical, scores = future.result()
        self.times.append(moment)
        self.identical += identical
        for values, score in zip(self._values.values(), scores, strict=True):
            values.append(score)

    def _score(self, first: av.VideoFrame, second: av.VideoFrame) -> tuple[bool, list[float]]:
        one, other = (side.convert(frame) for side, frame in zip(self._sides, (first, second), strict=True))
        identical = first.format.name == second.format.name and all(
            np.array_equal(a, b) for a, b in zip(planes(first), planes(second), strict=True)
        )
        exact = np.asarray(other / 255, np.float32)
        scores = [metric.score(exact, other, one) for metric in self._metrics if metric.score is not None]
        return identical, scores

    def summaries(self) -> dict[str, ScoreSummary]:
        """The scores of each metric."""
        return dict(self._summaries()) if self.times else {}

    def _summaries(self) -> Iterator[tuple[str, ScoreSummary]]:
        for metric in self._metrics:
            values = self._values[metric.name]
            worst = max(range(len(values)), key=lambda number: metric.badness(values[number]))
            yield (
                metric.name,
                ScoreSummary(statistics.fmean(values), statistics.median(values), values[worst], self.times[worst]),
            )

    def table(self) -> str:
        """The scores of each pair, as CSV."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["time", *self._values])
        for moment, *scores in zip(self.times, *self._values.values(), strict=True):
            writer.writerow([f"{moment:.6f}", *(f"{score:.6g}" for score in scores)])
        return text.getvalue()

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class _RGBImages:
    """Converts the frames of one video to upright images."""

    def __init__(self, info: VideoInfo) -> None:
        self._presentation = Presentation(info, keeps_hdr=True, keeps_aspect=True, video=True)
        shown = self._presentation.info
        self._converter = RGBConverter(shown.pixel_format, shown.width, shown.height, shown.colour)

    def convert(self, frame: av.VideoFrame) -> Image8:
        """A frame as an image, (H, W, 3) uint8."""
        return to_uint8(self._converter.to_rgb(planes(self._presentation.apply(frame))))
