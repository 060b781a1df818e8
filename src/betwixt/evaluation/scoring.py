"""Scores a model on a data set, sample by sample.

    samples ──► load ──► model ──► metrics ──► FrameScores, one for each restored frame ──► EvaluationLog (JSON lines)
                  │                                                                           │
                  └─ missing or damaged: reported, skipped, counted                `resume`: ─┘ scores already computed

Only scores are kept, never images. Models get 8-bit RGB images from the disk through the `Interpolator` interface.
minterpolate works on whole sequences; it gets runs of consecutive samples instead of single ones.
"""

from __future__ import annotations

import functools
import itertools
import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from betwixt.errors import InputError, UsageError
from betwixt.evaluation.datasets import Dataset, Sample, SampleImages
from betwixt.evaluation.log import EvaluationLog
from betwixt.evaluation.masks import SampleMasks, sample_stem
from betwixt.evaluation.metrics import Image8, Metric, SequenceScore, to_uint8
from betwixt.evaluation.saved_maps import MapSaver
from betwixt.evaluation.scores import Evaluation, FrameScores, SkippedSample
from betwixt.files import write_atomically, write_error
from betwixt.models.base import Flow, Interpolator, Pair, check_interpolates
from betwixt.models.baselines.interpolator import Minterpolate
from betwixt.models.frame_view import Image
from betwixt.runtime.parallel import map_in_order

Model = Interpolator | Minterpolate
_Result = list[FrameScores] | SkippedSample


def evaluate(
    model: Model,
    dataset: Dataset,
    metrics: Sequence[Metric],
    *,
    limit: int | None = None,
    every: int = 1,
    ids: Iterable[str] | None = None,
    save_frames: Path | None = None,
    saver: MapSaver | None = None,
    masks: SampleMasks | None = None,
    log: EvaluationLog | None = None,
    jobs: int = 1,
    progress: Callable[[int, int | None], None] | None = None,
) -> Evaluation:
    """Score a model.

    Args:
        model: The model; it must be safe to use from `jobs` threads.
        dataset: The data set to restore.
        metrics: The metrics to compute.
        limit: Score only this many samples, from the beginning.
        every: Score only every N-th sample, from the first, of each sequence in order of time; of the whole set if its
            samples are not consecutive frames.
        ids: Score only the samples with these names.
        save_frames: A folder for the restored frames, as PNG.
        masks: Makes the masks of a sample's frames, for a model that takes them; by default the model does.
        saver: Saves the model's flows, masks and routes; of samples that a log has already, none are saved.
        log: Where results are written as they come; samples that it has already are not computed again.
        jobs: The number of samples processed at the same time.
        progress: Called after each sample with the numbers of samples done and in total; None if the total is unknown.

    Raises:
        InputError: if the root does not hold the data set, or no sample of it could be scored.
        UsageError: if the model cannot do this data set.
    """
    check_model(model, dataset)
    names = [metric.name for metric in metrics]
    result = Evaluation(model.name, dataset.name, dataset.protocol, names, dataset.mean_of_sequences)
    requested = set(ids) if ids is not None else None
    result.limited = limit is not None or requested is not None
    total = limit if limit is not None else len(requested) if requested is not None else None
    if save_frames is not None:
        try:
            save_frames.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(error, save_frames) from None

    scorer = _Scorer(model, metrics, log.done if log is not None else {}, save_frames, saver, masks)
    selection = _Selection(dataset, requested, every)
    visited: set[str] = set()
    for count, (name, scores) in enumerate(scorer.run(selection, limit, jobs), start=1):
        if name in visited:
            scores = SkippedSample(name, "the data set has two samples of this name: rename one")
        visited.add(name)
        if log is not None and scores is not scorer.done.get(name):
            log.add(name, scores)
        if isinstance(scores, SkippedSample):
            result.skipped.append(scores)
        else:
            result.rows.extend(scores)
        if progress is not None:
            progress(count, total)

    if jobs <= 1 and scorer.seconds:
        result.seconds = statistics.median(scorer.seconds)
    if requested is not None and limit is None:
        unknown = sorted(requested - selection.names)
        result.skipped += [SkippedSample(name, "the data set has no sample of this name") for name in unknown]
    if not result.rows:
        first = f" The first: {result.skipped[0].reason}" if result.skipped else ""
        raise InputError(f"No sample of {dataset.name} under {dataset.root} could be scored.{first}")
    if not result.limited and dataset.expected_count is not None:
        result.missing = max(0, dataset.expected_count - selection.frames)
    return result


@dataclass(frozen=True)
class RestoredSample:
    """A sample with its restored frames, for viewing."""

    sample: Sample
    images: SampleImages
    frames: list[Image]
    motions: list[Flow | None]  # of each frame, the motion from the first to the second image that it was made with


def restore_samples(model: Model, dataset: Dataset, names: set[str]) -> Iterator[RestoredSample]:
    """Restore some samples."""
    if isinstance(model, Minterpolate):
        runs = {s.run for s in dataset.samples() if s.name in names}
        samples = (s for s in dataset.samples() if s.run in runs)
        for sample, images, frames in _restore_runs(model, samples):
            if sample.name in names and isinstance(images, SampleImages):
                yield RestoredSample(sample, images, frames, [None] * len(frames))
        return
    for sample in dataset.samples():
        if sample.name in names:
            images = sample.load()
            pair = _prepare(model, sample, images)
            motions = [
                model.next_displacement(_to_float(images.first), _to_float(images.second))
                if pair is None
                else pair.displacement(t)
                for t in sample.times
            ]
            yield RestoredSample(sample, images, _restore_from(model, pair, sample, images), motions)


def check_model(model: Model, dataset: Dataset) -> None:
    """Refuse a model that cannot do a data set.

    Raises:
        UsageError: if the model does not interpolate, extrapolate or use neighbouring frames as the data set needs, or
            works on sequences and the data set has none.
    """
    if dataset.uses_neighbours and (isinstance(model, Minterpolate) or not model.uses_neighbours):
        raise UsageError(f"The model {model.name} does not use the neighbouring frames: leave `paths=curved` out.")
    if isinstance(model, Minterpolate):
        if not dataset.consecutive:
            raise _needs_sequences(model)
    elif not dataset.extrapolation:
        check_interpolates(model)
    elif not model.extrapolates:
        raise UsageError(
            f"The model {model.name} only interpolates: evaluate dis, whose motion is extrapolated, or another model "
            "that extrapolates."
        )


def _needs_sequences(model: Minterpolate) -> UsageError:
    return UsageError(f"{model.name} works on sequences: evaluate it on frames, video, hd, xiph-2k or xiph-4k.")


class _Selection:
    """Which samples of a data set are scored: those with some names, and every N-th.

    Iterating gives all samples, since sequences are restored from their beginning; what has been passed over so far
    is known by `selects`.

    Attributes:
        names: The names of all samples so far.
        frames: The number of all frames to restore so far.
    """

    def __init__(self, dataset: Dataset, requested: set[str] | None, every: int) -> None:
        self.names: set[str] = set()
        self.frames = 0
        self._dataset, self._requested, self._every = dataset, requested, every
        self._selected: set[str] = set()

    def __iter__(self) -> Iterator[Sample]:
        counts: Counter[str] = Counter()
        for sample in self._dataset.samples():
            sequence = sample.group if self._dataset.consecutive else ""
            place = counts[sequence] if sample.place is None else sample.place
            counts[sequence] += 1
            self.names.add(sample.name)
            self.frames += len(sample.times)
            if place % self._every == 0 and (self._requested is None or sample.name in self._requested):
                self._selected.add(sample.name)
            yield sample

    def selects(self, sample: Sample) -> bool:
        return sample.name in self._selected


class _Scorer:
    """Restores and scores samples; `done` has scores that are known, `folder` gets the restored frames.

    Attributes:
        seconds: The time to restore each frame.
    """

    def __init__(
        self,
        model: Model,
        metrics: Sequence[Metric],
        done: dict[str, list[FrameScores]],
        folder: Path | None,
        saver: MapSaver | None,
        masks: SampleMasks | None,
    ) -> None:
        self.model, self.metrics, self.folder, self.saver, self.masks = model, metrics, folder, saver, masks
        self.seconds: list[float] = []
        self.done = {name: rows for name, rows in done.items() if self._frames_are_saved(name, len(rows))}

    def _frames_are_saved(self, name: str, count: int) -> bool:
        return self.folder is None or all(path.exists() for path in _frame_paths(self.folder, name, count))

    def run(self, selection: _Selection, limit: int | None, jobs: int) -> Iterator[tuple[str, _Result]]:
        """The name and the scores of each selected sample, in order, and at most of `limit`."""
        model = self.model
        if isinstance(model, Minterpolate):
            # A run is restored from its beginning, whichever of its samples are selected.
            restored = (item for item in _restore_runs(model, iter(selection)) if selection.selects(item[0]))
            for sample, images, frames in itertools.islice(restored, limit):
                yield sample.name, self.done.get(sample.name) or self._score(sample, images, frames)
        else:
            selected = filter(selection.selects, selection)
            score = functools.partial(self._restore_and_score, model)
            yield from map_in_order(itertools.islice(selected, limit), score, max(1, jobs))

    def _restore_and_score(self, model: Interpolator, sample: Sample) -> tuple[str, _Result]:
        if known := self.done.get(sample.name):
            return sample.name, known
        try:
            images = sample.load()
            began = time.perf_counter()
            frames = _restore_from(model, _prepare(model, sample, images, self.masks), sample, images)
            self.seconds.append((time.perf_counter() - began) / len(frames))
            if self.saver is not None:
                self._save_maps(self.saver, model, sample, images, self.masks)
        except InputError as error:
            return sample.name, SkippedSample(sample.name, str(error))
        except (cv2.error, ValueError, IndexError) as error:
            return sample.name, SkippedSample(sample.name, f"{model.name} cannot restore it: {_one_line(error)}")
        return sample.name, self._score(sample, images, frames)

    @staticmethod
    def _save_maps(
        saver: MapSaver, model: Interpolator, sample: Sample, images: SampleImages, masks: SampleMasks | None
    ) -> None:
        """Save the maps of a sample's frames."""
        pair = _prepare(model, sample, images, masks)
        if pair is None:
            pair = model.prepare_next(_to_float(images.first), _to_float(images.second))
        for path, t in zip(_frame_paths(Path(), sample.name, len(sample.times)), sample.times, strict=True):
            saver.save(path.stem, pair.maps(t), model.name, images.first.shape[:2])

    def _score(self, sample: Sample, images: SampleImages | SkippedSample, frames: list[Image]) -> _Result:
        """The scores of a sample's restored frames, which are saved if requested."""
        if isinstance(images, SkippedSample):
            return images
        if not all(np.isfinite(frame).all() for frame in frames):
            return SkippedSample(sample.name, "the model's output has NaN or infinite values")
        frames8 = [to_uint8(frame) for frame in frames]
        rows = []
        try:
            of_sequence = {
                metric.name: _score_sequence(metric.score_sequence, sample, images, frames)
                for metric in self.metrics
                if metric.score_sequence is not None
            }
            for number, t in enumerate(sample.times):
                frame, frame8, truth = frames[number], frames8[number], images.truths[number]
                scores = {
                    metric.name: of_sequence[metric.name][number]
                    if metric.score is None
                    else metric.score(frame, frame8, truth)
                    for metric in self.metrics
                }
                rows.append(FrameScores(sample.name, sample.group, t, scores))
        except (cv2.error, ValueError) as error:
            return SkippedSample(sample.name, f"it cannot be scored: {_one_line(error)}")
        if self.folder is not None:
            for path, frame8 in zip(_frame_paths(self.folder, sample.name, len(frames8)), frames8, strict=True):
                write_atomically(path, cv2.imencode(".png", cv2.cvtColor(frame8, cv2.COLOR_RGB2BGR))[1].tobytes())
        return rows


def _prepare(
    model: Interpolator, sample: Sample, images: SampleImages, masks: SampleMasks | None = None
) -> Pair | None:
    """The prepared pair of a sample; None if its frame comes after the second one."""
    if sample.times == (2.0,):
        return None
    if masks is not None:
        return model.prepare_masked(_to_float(images.first), _to_float(images.second), masks(sample, images))
    before, after = (None if image is None else _to_float(image) for image in (images.before, images.after))
    return model.prepare_between(_to_float(images.first), _to_float(images.second), before, after)


def _restore_from(model: Interpolator, pair: Pair | None, sample: Sample, images: SampleImages) -> list[Image]:
    if pair is None:
        return [model.next_frame(_to_float(images.first), _to_float(images.second))]
    return [pair.at(t) for t in sample.times]


def _restore_runs(
    model: Minterpolate, samples: Iterator[Sample]
) -> Iterator[tuple[Sample, SampleImages | SkippedSample, list[Image]]]:
    """Restore run after run; a run ends early where a sample cannot be read."""
    begun: deque[tuple[Sample, SampleImages]] = deque()
    for run, group in itertools.groupby(samples, key=lambda sample: sample.run):
        for first in group:
            if run is None:
                # A sample that cannot be read belongs to no run; any other sample without a run is a wrong data set.
                try:
                    first.load()
                except InputError as error:
                    yield first, SkippedSample(first.name, str(error)), []
                    continue
                raise _needs_sequences(model)
            unreadable: list[tuple[Sample, SkippedSample]] = []
            try:
                for frame in model.between(_run_images(first, group, begun, unreadable)):
                    yield *begun.popleft(), [frame]
            except (cv2.error, ValueError) as error:
                # The filter rejects images that are too small or that change their size within the run.
                reason = f"{model.name} cannot restore it: {_one_line(error)}"
                while begun:
                    failed, _ = begun.popleft()
                    yield failed, SkippedSample(failed.name, reason), []
            for failed, skipped in unreadable:
                yield failed, skipped, []


def _run_images(
    first: Sample,
    others: Iterator[Sample],
    begun: deque[tuple[Sample, SampleImages]],
    unreadable: list[tuple[Sample, SkippedSample]],
) -> Iterator[Image8]:
    """The input images of a run up to the first sample that cannot be read; samples are added to the last two lists."""
    for sample in itertools.chain((first,), others):
        try:
            images = sample.load()
        except InputError as error:
            unreadable.append((sample, SkippedSample(sample.name, str(error))))
            return
        if sample is first:
            yield images.first
        begun.append((sample, images))
        yield images.second


def _score_sequence(score: SequenceScore, sample: Sample, images: SampleImages, frames: list[Image]) -> Sequence[float]:
    """The scores of a sample's restored frames, by a metric of sequences."""
    first, second = _to_float(images.first), _to_float(images.second)
    if sample.times == (2.0,):
        return score([second, *frames], [images.second, *images.truths], slice(1, None))
    return score([first, *frames, second], [images.first, *images.truths, images.second], slice(1, -1))


def _to_float(image: Image8) -> Image:
    return np.asarray(image, np.float32) / np.float32(255)


def _one_line(error: BaseException) -> str:
    return " ".join((str(error).strip().splitlines() or [type(error).__name__])[0].split())


def _frame_paths(folder: Path, name: str, count: int) -> list[Path]:
    """The files of a sample's restored frames; different names give different files."""
    stem = sample_stem(name)
    return [folder / (f"{stem}.png" if count == 1 else f"{stem} {number + 1:02d}.png") for number in range(count)]
