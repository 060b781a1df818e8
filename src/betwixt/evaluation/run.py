"""A whole evaluation as a person asks for it: models, a data set, and the files that come out."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from betwixt.errors import InputError, OutputError, UsageError
from betwixt.evaluation.datasets import Dataset, DatasetOptions, open_dataset
from betwixt.evaluation.metrics import DEFAULT_METRICS, Metric, select_metrics
from betwixt.evaluation.report import (
    QUALITY_KEY,
    Comparison,
    Context,
    compare,
    quality_entry,
    read_table,
    record,
    to_json,
    write_frames,
    write_sequences,
)
from betwixt.evaluation.scoring import Evaluation, EvaluationLog, Model, check_model, evaluate
from betwixt.evaluation.sheet import check_sheet, write_sheet
from betwixt.files import check_output, write_atomically
from betwixt.machine import describe_machine
from betwixt.models.registry import DEFAULT_MODEL, choose_model, model_info
from betwixt.runtime.load import check_device, check_precision, find_weights, hash_weights, load_model
from betwixt.version import __version__

__all__ = ["EvaluationRequest", "EvaluationResult", "run_evaluation"]


@dataclass(frozen=True)
class EvaluationRequest:
    """What is asked for; see `betwixt evaluate --help` and docs/how-to/evaluate.md."""

    models: list[str]
    dataset: str
    root: Path
    limit: int | None = None
    ids: Path | None = None
    metrics: str = ",".join(DEFAULT_METRICS)
    clean: bool = False
    stride: int = 1
    extrapolate: bool = False
    paths: str = "straight"
    weights: Path | None = None
    device: str = "auto"
    precision: str = "fp32"
    jobs: int = 0
    save_frames: Path | None = None
    csv: Path | None = None
    frames_csv: Path | None = None
    json: Path | None = None
    sheet: Path | None = None
    compare: str | None = None
    record: Path | None = None
    resume: bool = False
    lpips_weights: Path | None = None

    @property
    def options(self) -> str:
        """What was chosen of the data set, in words: for sets that are any folder, that folder first."""
        parts = [self.root.resolve().name] if self.dataset in ("frames", "triplets", "video") else []
        parts += ["clean"] if self.clean else []
        parts += [f"stride {self.stride}"] if self.stride != 1 else []
        parts += [f"{self.paths} paths"] if self.paths != "straight" else []
        return ", ".join(parts)


@dataclass
class EvaluationResult:
    """What came out.

    Attributes:
        evaluations: One a model, with what it was measured with.
        comparisons: By model, the published figures beside ours; empty where none were asked for.
        written: The files that were written.
        json: The same as `--json` writes.
    """

    evaluations: list[tuple[Evaluation, Context]]
    comparisons: dict[str, list[Comparison]] = field(default_factory=dict)
    written: list[Path] = field(default_factory=list)

    @property
    def json(self) -> str:
        """The evaluations as JSON."""
        return to_json(self.evaluations)


def run_evaluation(
    request: EvaluationRequest, progress: Callable[[str, int, int | None], None] | None = None
) -> EvaluationResult:
    """Do it. All that can be refused is refused before any frame is made.

    Args:
        request: What is asked for.
        progress: Called with the model's name, how many samples are done, and how many there will be, if known.

    Raises:
        BetwixtError: in one line.
    """
    # The best of those that interpolate makes no frames after the last.
    ahead = request.extrapolate or request.dataset.endswith("-extrapolation")
    usual = "dis" if ahead and request.weights is None else DEFAULT_MODEL
    names = [usual if name == DEFAULT_MODEL else name for name in request.models]
    request = replace(request, models=[choose_model(name, request.weights) for name in names])
    options = DatasetOptions(request.clean, request.stride, request.extrapolate, request.paths)
    dataset = open_dataset(request.dataset, request.root, options)
    metrics = select_metrics(request.metrics, request.lpips_weights)
    ids = _ids(request.ids)
    _check(request)
    models = [_load(request, name) for name in request.models]
    for model in models:
        check_model(model, dataset)
    next(iter(dataset.samples()), None)  # a root that does not hold the data set is said now
    outcome = EvaluationResult([])
    for name, model in zip(request.models, models, strict=True):
        context = _context(request, name, model)
        journal = _journal(request, name, model, context, dataset, metrics, ids)
        try:
            evaluation = evaluate(
                model,
                dataset,
                metrics,
                limit=request.limit,
                ids=ids,
                save_frames=_frames_folder(request, name),
                journal=journal,
                jobs=request.jobs or _jobs(model),
                progress=None if progress is None else functools.partial(progress, name),
            )
        finally:
            # It stays on disk until everything is written.
            if journal is not None:
                journal.close()
        outcome.evaluations.append((evaluation, context))
        if request.compare is not None:
            outcome.comparisons[name] = compare(evaluation, request.options)
    _write(request, outcome, models, dataset)
    for name in request.models:
        path = _journal_path(request, name)
        if path is not None:
            path.unlink(missing_ok=True)
    return outcome


def _check(request: EvaluationRequest) -> None:
    """Refuse what cannot be done or written, before anything is done."""
    check_device(request.device)
    networks = [name for name in request.models if model_info(name).has_network]
    if len(set(request.models)) != len(request.models):
        raise UsageError("A model is named twice: name each once.")
    check_precision(request.precision, "int8")
    if request.weights is not None and not networks:
        raise UsageError("No model named here is a network: leave --weights out.")
    if request.limit is not None and request.limit < 1:
        raise UsageError(f"--limit {request.limit} leaves nothing to score: give at least 1.")
    if request.jobs < 0:
        raise UsageError(f"--jobs {request.jobs} is too small: 0 is one a core.")
    if request.compare not in (None, "published"):
        raise UsageError(f"There is nothing to compare with called '{request.compare}': say --compare published.")
    if request.resume and _journal_path(request, "") is None:
        raise UsageError("--resume needs --csv or --json with a file: what was scored is kept beside it.")
    if request.record is not None and (request.limit is not None or request.ids is not None):
        raise UsageError("--record keeps scores of whole sets: leave it out with --limit and --ids.")
    if request.sheet is not None:
        check_sheet(request.sheet)
    outputs = [
        p for p in (request.csv, request.frames_csv, request.json, request.record, request.sheet) if p is not None
    ]
    places = [path.resolve() for path in outputs]
    if len(set(places)) != len(places):
        raise UsageError("Two outputs have the same name: give each a file of its own.")
    for given in (request.ids, request.weights, request.root):
        if given is not None and given.resolve() in places:
            raise UsageError(f"{given} is an input: give the output another name.")
    for path in outputs:
        check_output(path, None, overwrite=True)
    if request.record is not None:
        read_table(request.record, QUALITY_KEY)
    if request.save_frames is not None and not request.save_frames.parent.is_dir():
        raise OutputError(f"The folder {request.save_frames.parent} does not exist: make it first.")


def _ids(path: Path | None) -> list[str] | None:
    if path is None:
        return None
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path} cannot be read: a text file with a sample's name a line is expected.") from None
    if not names:
        raise InputError(f"{path} names no sample.")
    return names


def _load(request: EvaluationRequest, name: str) -> Model:
    info = model_info(name)
    if info.sequences_only and not info.has_network:
        model: Model = info.make_interpolator()
        return model
    weights = request.weights if info.has_network else None
    precision = request.precision if info.has_network else "fp32"
    device = request.device if info.has_network else "auto"
    return load_model(name, device, weights=weights, precision=precision)


def _context(request: EvaluationRequest, name: str, model: Model) -> Context:
    device = str(getattr(model, "device", "cpu"))
    if not model_info(name).has_network:
        return Context("none", "", describe_machine(device, network=False), request.options)
    weights = find_weights(name, request.weights)
    digest = hash_weights(name, weights)
    return Context(weights.name, digest, describe_machine(device), request.options, request.precision)


def _jobs(model: Model) -> int:
    """A core each for what uses one core; a network uses all of them, so one is made while another is read."""
    return 2 if hasattr(model, "network") else os.cpu_count() or 1


def _frames_folder(request: EvaluationRequest, name: str) -> Path | None:
    if request.save_frames is None:
        return None
    return request.save_frames if len(request.models) == 1 else request.save_frames / name


def _journal_path(request: EvaluationRequest, name: str) -> Path | None:
    beside = request.json or request.csv
    return None if beside is None else beside.with_name(f"{beside.name}.{name}.journal")


def _journal(
    request: EvaluationRequest,
    name: str,
    model: Model,
    context: Context,
    dataset: Dataset,
    metrics: Sequence[Metric],
    ids: list[str] | None,
) -> EvaluationLog | None:
    path = _journal_path(request, name)
    if path is None:
        return None
    key: dict[str, Any] = {
        "model": name,
        "weights": context.weights_hash,
        "precision": request.precision,
        "arithmetic": getattr(model, "arithmetic", ""),
        "dataset": dataset.name,
        "options": request.options,
        "root": str(request.root.resolve()),
        "metrics": request.metrics,
        "limit": request.limit,
        "ids": ids,
        "version": __version__,
    }
    return EvaluationLog(path, key, metrics=[metric.name for metric in metrics], resume=request.resume)


def _write(request: EvaluationRequest, outcome: EvaluationResult, models: list[Model], dataset: Dataset) -> None:
    evaluations = [evaluation for evaluation, _ in outcome.evaluations]
    if request.csv is not None:
        write_sequences(request.csv, evaluations)
        outcome.written.append(request.csv)
    if request.frames_csv is not None:
        write_frames(request.frames_csv, evaluations)
        outcome.written.append(request.frames_csv)
    if request.json is not None:
        write_atomically(request.json, outcome.json)
        outcome.written.append(request.json)
    if request.sheet is not None:
        metric = "psnr" if "psnr" in evaluations[0].metrics else evaluations[0].metrics[0]
        for model, evaluation in zip(models, evaluations, strict=True):
            path = request.sheet
            if len(models) > 1:
                path = path.with_name(f"{path.stem}.{evaluation.model}{path.suffix}")
            write_sheet(path, model, evaluation, dataset, metric)
            outcome.written.append(path)
    if request.record is not None:
        entries = [quality_entry(evaluation, context) for evaluation, context in outcome.evaluations]
        record(request.record, entries, QUALITY_KEY)
        outcome.written.append(request.record)
    if request.save_frames is not None:
        outcome.written.append(request.save_frames)
