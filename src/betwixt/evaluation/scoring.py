"""The evaluation of a model on a data set: sample by sample, streaming, to be gone on with after a break.

    samples ──► load ──► model ──► metrics ──► a row for each true frame ──► journal (JSON lines)
                  │                                                             │
                  └─ missing, damaged: named, skipped, counted                  └─ --resume: rows that are there already

Only rows of numbers are kept, never pictures. The frame is made from pictures as they lie on disk (8-bit RGB), by the
same `Interpolator` interface as everywhere.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np

from betwixt.errors import InputError, UsageError
from betwixt.evaluation.datasets import Dataset, Sample, SampleImages
from betwixt.evaluation.metrics import Image8, Metric, flicker, to_uint8
from betwixt.evaluation.statistics import SampleStatistics, summarize
from betwixt.files import write_atomically, write_error
from betwixt.models.base import Image, Interpolator, check_interpolates
from betwixt.models.baselines.interpolator import Minterpolate

__all__ = ["Evaluation", "EvaluationLog", "Row", "Skipped", "check_model", "evaluate", "restored"]

Model = Interpolator | Minterpolate


@dataclass(frozen=True)
class Row:
    """The scores of one restored frame.

    Attributes:
        sample: The sample's name.
        group: Its sequence.
        t: The frame's time.
        scores: By metric. `flicker`, which is of a whole sample, stands in each of its rows.
    """

    sample: str
    group: str
    t: float
    scores: dict[str, float]


@dataclass(frozen=True)
class Skipped:
    """A sample that could not be scored, and why."""

    sample: str
    reason: str


@dataclass
class Evaluation:
    """What a model scored on a data set.

    Attributes:
        model: The model's name.
        dataset: The data set's name.
        protocol: Which frames are given and which are restored.
        metrics: What was measured.
        mean_of_sequences: Whether the score is the mean of the sequences' means.
        rows: One for each restored frame, in the order of the data set.
        skipped: What could not be scored.
        missing: How many frames of the published set are not under the root at all.
        limited: Whether only a part of the set was asked for.
    """

    model: str
    dataset: str
    protocol: str
    metrics: list[str]
    mean_of_sequences: bool = False
    rows: list[Row] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    missing: int = 0
    limited: bool = False
    _summaries: dict[str, SampleStatistics] = field(default_factory=dict, repr=False)

    @property
    def complete(self) -> bool:
        """Whether every frame of the set is in the score."""
        return not self.skipped and not self.missing and not self.limited

    def summary(self, metric: str) -> SampleStatistics:
        """Mean, median and confidence interval of a metric over the frames, or over the sequences' means."""
        if metric not in self._summaries:
            values, groups = [row.scores[metric] for row in self.rows], [row.group for row in self.rows]
            if self.mean_of_sequences:
                means = {n: [row.scores[metric] for row in rows] for n, rows in self.sequences().items()}
                values, groups = [sum(v) / len(v) for v in means.values()], list(means)
            self._summaries[metric] = summarize(values, groups)
        return self._summaries[metric]

    def sequences(self) -> dict[str, list[Row]]:
        """The rows of each sequence, in order."""
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(row.group, []).append(row)
        return groups

    def worst(self, count: int, metric: str, *, lower_is_worse: bool = True) -> list[Row]:
        """The rows with the worst scores, the worst one first."""
        ordered = sorted(self.rows, key=lambda row: row.scores[metric], reverse=not lower_is_worse)
        return ordered[:count]


class EvaluationLog:
    """The rows of an unfinished evaluation, one JSON object a line, the first of which says what is being measured.

    The file is made when there is something to keep. What was skipped is kept for the record alone: a run that goes on
    tries it again.
    """

    def __init__(self, path: Path, key: dict[str, Any], *, metrics: Sequence[str], resume: bool) -> None:
        self.path = path
        self.done: dict[str, list[Row]] = {}
        self._key, self._metrics = key, list(metrics)
        self._file: Any = None
        self._fresh = True
        if resume and path.exists():
            self._read()

    def _read(self) -> None:
        whole = 0
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}.") from None
        for number, line in enumerate(data.splitlines(keepends=True)):
            try:
                entry = json.loads(line)
                if number == 0:
                    if entry != self._key:
                        raise UsageError(
                            f"{self.path} is of another evaluation: leave --resume out to begin anew, or give the same "
                            "model, data set, options and metrics."
                        )
                elif "reason" not in entry:
                    rows = [Row(**row) for row in entry["rows"]]
                    if any(list(row.scores) != self._metrics for row in rows):
                        break
                    self.done[entry["sample"]] = rows
            except (ValueError, KeyError, TypeError, AttributeError):
                break  # the line that was being written when the run was broken off
            if not line.endswith(b"\n"):
                break
            whole += len(line)
        self._fresh = whole == 0
        with self.path.open("r+b") as file:
            file.truncate(whole)

    def add(self, sample: str, outcome: list[Row] | Skipped) -> None:
        """Keep the outcome of a sample for good."""
        entry: dict[str, Any] = (
            asdict(outcome)
            if isinstance(outcome, Skipped)
            else {"sample": sample, "rows": [asdict(row) for row in outcome]}
        )
        try:
            if self._file is None:
                self._file = self.path.open("w" if self._fresh else "a", encoding="utf-8")
                if self._fresh:
                    self._file.write(json.dumps(self._key) + "\n")
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
        except OSError as error:
            raise write_error(error, self.path) from None

    def close(self) -> None:
        """Close it; it stays on disk."""
        if self._file is not None:
            self._file.close()


def evaluate(
    model: Model,
    dataset: Dataset,
    metrics: Sequence[Metric],
    *,
    limit: int | None = None,
    ids: Iterable[str] | None = None,
    save_frames: Path | None = None,
    journal: EvaluationLog | None = None,
    jobs: int = 1,
    progress: Callable[[int, int | None], None] | None = None,
) -> Evaluation:
    """Score a model.

    Args:
        model: The model; it has to be safe in `jobs` threads.
        dataset: What to restore.
        metrics: What to measure.
        limit: Only so many samples, from the beginning.
        ids: Only the samples of these names.
        save_frames: A folder for the made frames, as PNG.
        journal: Where rows are kept as they come; what it holds already is not made again.
        jobs: Samples at work at the same time.
        progress: Called after each sample with how many are done and how many there will be, if that is known.

    Raises:
        InputError: if the root does not hold the data set, or no sample of it could be scored.
        UsageError: if the model cannot do this data set.
    """
    check_model(model, dataset)
    result = Evaluation(
        model.name, dataset.name, dataset.protocol, [m.name for m in metrics], dataset.mean_of_sequences
    )
    done = dict(journal.done) if journal is not None else {}
    chosen = set(ids) if ids is not None else None
    result.limited = limit is not None or chosen is not None
    if save_frames is not None:
        _make_folder(save_frames)

    names: set[str] = set()
    wanted = _Wanted(chosen, limit)
    total = limit if limit is not None else len(chosen) if chosen is not None else None
    outcomes = _outcomes(model, dataset, wanted, metrics, done, save_frames, jobs)
    for count, (sample, outcome) in enumerate(outcomes, start=1):
        if sample.name in names:
            outcome = Skipped(sample.name, "the data set names two samples so: rename one")
        names.add(sample.name)
        if journal is not None and outcome is not done.get(sample.name):
            journal.add(sample.name, outcome)
        if isinstance(outcome, Skipped):
            result.skipped.append(outcome)
        else:
            result.rows.extend(outcome)
        if progress is not None:
            progress(count, total)
    if chosen is not None and limit is None:
        result.skipped += [Skipped(n, "the data set has no sample of this name") for n in sorted(chosen - names)]
    if not result.rows:
        why = f" The first: {result.skipped[0].reason}" if result.skipped else ""
        raise InputError(f"No sample of {dataset.name} under {dataset.root} could be scored.{why}")
    if not result.limited and dataset.expected_count is not None:
        result.missing = max(0, dataset.expected_count - len(result.rows) - len(result.skipped))
    return result


def restored(model: Model, dataset: Dataset, names: set[str]) -> Iterator[tuple[Sample, SampleImages, list[Image]]]:
    """Make the frames of some samples again, to look at them."""
    if isinstance(model, Minterpolate):
        runs = {s.run for s in dataset.samples() if s.name in names}
        chosen = (s for s in dataset.samples() if s.run in runs)
        for sample, frames, made in _by_sequence(model, chosen):
            if sample.name in names and isinstance(frames, SampleImages):
                yield sample, frames, made
        return
    for sample in dataset.samples():
        if sample.name in names:
            frames = sample.load()
            yield sample, frames, _made(model, sample, frames)


def check_model(model: Model, dataset: Dataset) -> None:
    """Refuse a model that cannot do a data set, before any frame is made.

    Raises:
        UsageError: if the model only interpolates, only extrapolates, or works on sequences and the data set has none.
    """
    if dataset.uses_neighbours and (isinstance(model, Minterpolate) or not model.uses_neighbours):
        raise UsageError(f"The model {model.name} does not heed frames around the two: leave --paths curved out.")
    if isinstance(model, Minterpolate):
        if not dataset.consecutive:
            raise _no_sequences(model)
    elif not dataset.extrapolation:
        check_interpolates(model)
    elif not model.extrapolates:
        raise UsageError(
            f"The model {model.name} only interpolates: evaluate dis, whose motion is continued for it, or choose one "
            "that extrapolates."
        )


def _no_sequences(model: Minterpolate) -> UsageError:
    return UsageError(f"{model.name} works on sequences: evaluate it on frames, video, hd, xiph-2k or xiph-4k.")


class _Wanted:
    """Which samples are asked for, counted as they come by."""

    def __init__(self, names: set[str] | None, limit: int | None) -> None:
        self._names, self._left = names, limit

    def takes(self, sample: Sample) -> bool:
        """Whether this one is asked for."""
        if self._names is not None and sample.name not in self._names:
            return False
        if self._left is not None:
            self._left -= 1
        return True

    @property
    def full(self) -> bool:
        """Whether no more are asked for."""
        return self._left is not None and self._left <= 0


def _outcomes(
    model: Model,
    dataset: Dataset,
    wanted: _Wanted,
    metrics: Sequence[Metric],
    done: dict[str, list[Row]],
    folder: Path | None,
    jobs: int,
) -> Iterator[tuple[Sample, list[Row] | Skipped]]:
    """Each sample that is asked for with its rows, in order."""

    def known(sample: Sample) -> list[Row] | None:
        rows = done.get(sample.name)
        saved = folder is None or rows is None or all(p.exists() for p in _paths(folder, sample.name, len(rows)))
        return rows if saved else None

    if isinstance(model, Minterpolate):
        # A sequence is made from its beginning, whatever is asked for of it.
        for sample, frames, made in _by_sequence(model, dataset.samples()):
            if wanted.takes(sample):
                yield sample, known(sample) or _scored(sample, frames, made, metrics, folder)
            if wanted.full:
                return
        return

    def one(sample: Sample) -> list[Row] | Skipped:
        try:
            frames = sample.load()
            made = _made(model, sample, frames)
        except InputError as error:
            return Skipped(sample.name, str(error))
        except (cv2.error, ValueError, IndexError) as error:
            return Skipped(sample.name, f"{model.name} cannot make it: {_first_line(error)}")
        return _scored(sample, frames, made, metrics, folder)

    waiting: deque[tuple[Sample, Future[list[Row] | Skipped] | list[Row]]] = deque()
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        try:
            for sample in dataset.samples():
                if wanted.takes(sample):
                    # Without its loader: what that holds of a video would live on as long as the queue.
                    waiting.append((_light(sample), known(sample) or pool.submit(one, sample)))
                if len(waiting) > 2 * jobs:
                    yield _settled(*waiting.popleft())
                if wanted.full:
                    break
            while waiting:
                yield _settled(*waiting.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _first_line(error: BaseException) -> str:
    return " ".join((str(error).strip().splitlines() or [type(error).__name__])[0].split())


def _light(sample: Sample) -> Sample:
    def gone() -> SampleImages:
        raise RuntimeError(f"{sample.name} has been scored already")

    return replace(sample, load=gone)


def _settled(sample: Sample, outcome: Future[list[Row] | Skipped] | list[Row]) -> tuple[Sample, list[Row] | Skipped]:
    return sample, outcome.result() if isinstance(outcome, Future) else outcome


def _made(model: Interpolator, sample: Sample, frames: SampleImages) -> list[Image]:
    first, second = _unit(frames.first), _unit(frames.second)
    before, after = (None if x is None else _unit(x) for x in (frames.before, frames.after))
    inside = [t for t in sample.times if 0.0 < t < 1.0]
    pair = model.prepare_between(first, second, before, after) if inside else None
    return [pair.at(t) if pair is not None and t in inside else model.next_frame(first, second) for t in sample.times]


def _unit(picture: Image8) -> Image:
    return np.asarray(picture, np.float32) / np.float32(255)


def _by_sequence(
    model: Minterpolate, samples: Iterator[Sample]
) -> Iterator[tuple[Sample, SampleImages | Skipped, list[Image]]]:
    """Give a sequence method its runs; a run breaks where a sample cannot be read."""
    waiting: deque[tuple[Sample, SampleImages]] = deque()
    held: deque[Sample] = deque()

    def next_sample() -> Sample | None:
        return held.popleft() if held else next(samples, None)

    while (sample := next_sample()) is not None:
        if sample.run is None:
            # What cannot be read belongs to no run.
            try:
                sample.load()
            except InputError as error:
                yield sample, Skipped(sample.name, str(error)), []
                continue
            raise _no_sequences(model)
        run = sample.run
        broken: list[tuple[Sample, Skipped]] = []

        def pictures(
            first: Sample = sample, run: str = run, broken: list[tuple[Sample, Skipped]] = broken
        ) -> Iterator[Image8]:
            current: Sample | None = first
            begun = False
            while current is not None and current.run == run:
                try:
                    frames = current.load()
                except InputError as error:
                    broken.append((current, Skipped(current.name, str(error))))
                    return
                if not begun:
                    yield frames.first
                    begun = True
                waiting.append((_light(current), frames))
                yield frames.second
                current = next(samples, None)
            if current is not None:
                held.append(current)

        try:
            for image in model.between(pictures()):
                done, frames = waiting.popleft()
                yield done, frames, [image]
        except (cv2.error, ValueError) as error:
            # Its filter takes no pictures so small, or the pictures of the run differ in size.
            reason = f"{model.name} cannot make it: {_first_line(error)}"
            while waiting:
                done, _ = waiting.popleft()
                yield done, Skipped(done.name, reason), []
        for lost, skipped in broken:
            yield lost, skipped, []


def _scored(
    sample: Sample, frames: SampleImages | Skipped, made: list[Image], metrics: Sequence[Metric], folder: Path | None
) -> list[Row] | Skipped:
    """The rows of a sample's made frames; a sample that cannot be scored says why."""
    if isinstance(frames, Skipped):
        return frames
    if not all(np.isfinite(image).all() for image in made):
        return Skipped(sample.name, "the model made values that are no numbers")
    strip: dict[str, float] = {}
    rows = []
    try:
        if any(m.name == "flicker" for m in metrics):
            strip["flicker"] = _flicker(sample, frames, made)
        pictures = [to_uint8(image) for image in made]
        for t, image, picture, truth in zip(sample.times, made, pictures, frames.truths, strict=True):
            scores = {m.name: strip[m.name] if m.score is None else m.score(image, picture, truth) for m in metrics}
            rows.append(Row(sample.name, sample.group, t, scores))
    except (cv2.error, ValueError) as error:
        return Skipped(sample.name, f"it cannot be scored: {_first_line(error)}")
    if folder is not None:
        for path, picture in zip(_paths(folder, sample.name, len(made)), pictures, strict=True):
            data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
            write_atomically(path, data.tobytes())
    return rows


def _flicker(sample: Sample, frames: SampleImages, made: list[Image]) -> float:
    first, second = _unit(frames.first), _unit(frames.second)
    if sample.times == (2.0,):
        return flicker([second, made[0]], [frames.second, frames.truths[0]])
    return flicker([first, *made, second], [frames.first, *frames.truths, frames.second])


def _paths(folder: Path, name: str, count: int) -> list[Path]:
    """Where the made frames of a sample are kept: different names give different files."""
    plain = quote(name, safe=" ").replace("%2F", "_-_")
    return [folder / (f"{plain}.png" if count == 1 else f"{plain} {number + 1:02d}.png") for number in range(count)]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(error, folder) from None
