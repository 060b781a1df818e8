"""The evaluation of a model on a data set: sample by sample, streaming, to be gone on with after a break.

    samples ──► load ──► model ──► metrics ──► a row for each true frame ──► journal (JSON lines)
                  │                                                             │
                  └─ missing, damaged: named, skipped, counted                  └─ --resume: rows that are there already

Only rows of numbers are kept, never pictures. The frame is made from pictures as they lie on disk (8-bit RGB), by the
same `Interpolator` interface as everywhere.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from betwixt.errors import InputError, OutputError, UsageError
from betwixt.evaluation.datasets import Dataset, Frames, Sample
from betwixt.evaluation.metrics import Metric, Picture, flicker, rounded
from betwixt.evaluation.statistics import Summary, summarize
from betwixt.media.files import output_error
from betwixt.models.base import Image, Interpolator
from betwixt.models.peers import Minterpolate

__all__ = ["Evaluation", "Journal", "Row", "Skipped", "evaluate", "restored"]

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
        rows: One for each restored frame, in the order of the data set.
        skipped: What could not be scored.
        missing: How many frames of the published set are not under the root at all.
        limited: Whether only a part of the set was asked for.
    """

    model: str
    dataset: str
    protocol: str
    metrics: list[str]
    rows: list[Row] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    missing: int = 0
    limited: bool = False

    @property
    def complete(self) -> bool:
        """Whether every frame of the set is in the score."""
        return not self.skipped and not self.missing and not self.limited

    def summary(self, metric: str) -> Summary:
        """Mean, median and confidence interval of a metric over the frames."""
        return summarize([row.scores[metric] for row in self.rows], [row.group for row in self.rows])

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


class Journal:
    """The rows of an unfinished evaluation, one JSON object a line, the first of which says what is being measured."""

    def __init__(self, path: Path, key: dict[str, Any], *, resume: bool) -> None:
        self.path = path
        self.done: dict[str, list[Row] | Skipped] = {}
        if resume and path.exists():
            self._read(key)
        try:
            if not self.done:
                path.write_text(json.dumps(key) + "\n", encoding="utf-8")
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise output_error(error, path) from None

    def _read(self, key: dict[str, Any]) -> None:
        whole = 0
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}.") from None
        for number, line in enumerate(data.splitlines(keepends=True)):
            try:
                entry = json.loads(line)
                if number == 0:
                    if entry != key:
                        raise UsageError(
                            f"{self.path} is of another evaluation: leave --resume out to begin anew, or give the same "
                            "model, data set, options and metrics."
                        )
                elif "reason" in entry:
                    self.done[entry["sample"]] = Skipped(**entry)
                else:
                    self.done[entry["sample"]] = [Row(**row) for row in entry["rows"]]
            except (ValueError, KeyError, TypeError):
                break  # the line that was being written when the run was broken off
            if not line.endswith(b"\n"):
                break
            whole += len(line)
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
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
        except OSError as error:
            raise output_error(error, self.path) from None

    def close(self) -> None:
        """Close it; it stays on disk."""
        self._file.close()


def evaluate(
    model: Model,
    dataset: Dataset,
    metrics: Sequence[Metric],
    *,
    limit: int | None = None,
    ids: Iterable[str] | None = None,
    save_frames: Path | None = None,
    journal: Journal | None = None,
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
    if dataset.extrapolation and type(model) is not Minterpolate:
        _refuse_interpolators(model)
    result = Evaluation(model.name, dataset.name, dataset.protocol, [m.name for m in metrics])
    done = dict(journal.done) if journal is not None else {}
    chosen = set(ids) if ids is not None else None
    result.limited = limit is not None or chosen is not None
    if save_frames is not None:
        _make_folder(save_frames)

    def work() -> Iterator[Sample]:
        for number, sample in enumerate(_chosen(dataset, chosen)):
            if limit is not None and number >= limit:
                return
            yield sample

    total = limit if limit is not None else len(chosen) if chosen is not None else None
    count = 0
    for sample, outcome in _outcomes(model, work(), metrics, done, save_frames, jobs):
        if journal is not None and sample.name not in done:
            journal.add(sample.name, outcome)
        if isinstance(outcome, Skipped):
            result.skipped.append(outcome)
        else:
            result.rows.extend(outcome)
        count += 1
        if progress is not None:
            progress(count, total)
    if chosen is not None and count < len(chosen):
        known = {row.sample for row in result.rows} | {skip.sample for skip in result.skipped}
        result.skipped.extend(
            Skipped(name, "the data set has no sample of this name") for name in sorted(chosen - known)
        )
    if not result.rows:
        why = f" The first: {result.skipped[0].reason}" if result.skipped else ""
        raise InputError(f"No sample of {dataset.name} under {dataset.root} could be scored.{why}")
    if not result.limited and dataset.wanted is not None:
        result.missing = max(0, dataset.wanted - len(result.rows) - len(result.skipped))
    return result


def restored(model: Model, dataset: Dataset, names: set[str]) -> Iterator[tuple[Sample, Frames, list[Image]]]:
    """Make the frames of some samples again, to look at them."""
    if isinstance(model, Minterpolate):
        runs = {s.run for s in dataset.samples() if s.name in names}
        chosen = (s for s in dataset.samples() if s.run in runs)
        for sample, frames, made in _by_sequence(model, chosen):
            if sample.name in names and isinstance(frames, Frames):
                yield sample, frames, made
        return
    for sample in dataset.samples():
        if sample.name in names:
            frames = sample.load()
            yield sample, frames, _made(model, sample, frames)


def _refuse_interpolators(model: Any) -> None:
    """Say at once, not at the first sample, that a model only interpolates."""
    if type(model).extrapolate is Interpolator.extrapolate:
        blank = np.zeros((16, 16, 3), np.float32)
        model.extrapolate(blank, blank)


def _chosen(dataset: Dataset, names: set[str] | None) -> Iterator[Sample]:
    return (s for s in dataset.samples() if names is None or s.name in names)


def _outcomes(
    model: Model,
    samples: Iterator[Sample],
    metrics: Sequence[Metric],
    done: dict[str, list[Row] | Skipped],
    folder: Path | None,
    jobs: int,
) -> Iterator[tuple[Sample, list[Row] | Skipped]]:
    """Each sample with its rows, in order."""
    if isinstance(model, Minterpolate):
        # A sequence is made from its beginning, whatever is known of it; the rest is not made again.
        for sample, frames, made in _by_sequence(model, samples):
            known = done.get(sample.name)
            if known is not None:
                yield sample, known
            elif isinstance(frames, Skipped):
                yield sample, frames
            else:
                yield sample, _rows(sample, frames, made, metrics, folder)
        return

    def one(sample: Sample) -> list[Row] | Skipped:
        try:
            frames = sample.load()
        except InputError as error:
            return Skipped(sample.name, str(error))
        return _rows(sample, frames, _made(model, sample, frames), metrics, folder)

    waiting: deque[tuple[Sample, Future[list[Row] | Skipped] | list[Row] | Skipped]] = deque()
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        try:
            for sample in samples:
                known = done.get(sample.name)
                # Without its loader: what that holds of a video would live on as long as the queue.
                waiting.append((_light(sample), known if known is not None else pool.submit(one, sample)))
                if len(waiting) > 2 * jobs:
                    yield _settled(*waiting.popleft())
            while waiting:
                yield _settled(*waiting.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _light(sample: Sample) -> Sample:
    def gone() -> Frames:
        raise RuntimeError(f"{sample.name} has been scored already")

    return replace(sample, load=gone)


def _settled(
    sample: Sample, outcome: Future[list[Row] | Skipped] | list[Row] | Skipped
) -> tuple[Sample, list[Row] | Skipped]:
    return sample, outcome.result() if isinstance(outcome, Future) else outcome


def _made(model: Interpolator, sample: Sample, frames: Frames) -> list[Image]:
    first, second = (np.asarray(x, np.float32) / np.float32(255) for x in (frames.first, frames.second))
    inside = [t for t in sample.times if 0.0 < t < 1.0]
    pair = model.prepare(first, second) if inside else None
    return [pair.at(t) if pair is not None and t in inside else model.extrapolate(first, second) for t in sample.times]


def _by_sequence(
    model: Minterpolate, samples: Iterator[Sample]
) -> Iterator[tuple[Sample, Frames | Skipped, list[Image]]]:
    """Give a sequence method its runs; a run breaks where a sample cannot be read."""
    waiting: deque[tuple[Sample, Frames]] = deque()
    held: deque[Sample] = deque()

    def next_sample() -> Sample | None:
        return held.popleft() if held else next(samples, None)

    while (sample := next_sample()) is not None:
        if sample.run is None or sample.times != (0.5,):
            raise UsageError(f"{model.name} works on sequences: evaluate it on frames, video, hd, xiph-2k or xiph-4k.")
        run = sample.run
        broken: list[tuple[Sample, Skipped]] = []

        def pictures(
            first: Sample = sample, run: str = run, broken: list[tuple[Sample, Skipped]] = broken
        ) -> Iterator[Picture]:
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

        for image in model.between(pictures()):
            done, frames = waiting.popleft()
            yield done, frames, [image]
        for lost, skipped in broken:
            yield lost, skipped, []


def _rows(
    sample: Sample, frames: Frames, made: list[Image], metrics: Sequence[Metric], folder: Path | None
) -> list[Row]:
    strip: dict[str, float] = {}
    if any(m.name == "flicker" for m in metrics):
        strip["flicker"] = _flicker(sample, frames, made)
    rows = []
    for number, (t, image, truth) in enumerate(zip(sample.times, made, frames.truths, strict=True)):
        picture = rounded(image)
        scores = {m.name: strip[m.name] if m.frame is None else m.frame(image, picture, truth) for m in metrics}
        rows.append(Row(sample.name, sample.group, t, scores))
        if folder is not None:
            many = f"_{number + 1:02d}" if len(made) > 1 else ""
            _save(folder / f"{_file_name(sample.name)}{many}.png", picture)
    return rows


def _flicker(sample: Sample, frames: Frames, made: list[Image]) -> float:
    first, second = (np.asarray(x, np.float32) / np.float32(255) for x in (frames.first, frames.second))
    if sample.times == (2.0,):
        return flicker([second, made[0]], [frames.second, frames.truths[0]])
    return flicker([first, *made, second], [frames.first, *frames.truths, frames.second])


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name.rsplit(".png", 1)[0])


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, folder) from None


def _save(path: Path, picture: Any) -> None:
    """Write a PNG, whole or not at all."""
    partial = path.with_name(f".{path.stem}.{os.getpid()}.part.png")
    data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    try:
        partial.write_bytes(data.tobytes())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from None
