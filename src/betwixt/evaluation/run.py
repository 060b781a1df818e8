"""`betwixt evaluate`: score models on data sets and write the outputs.

    EvaluationRequest ──► check everything ──► for each data set and model: evaluate ──► JSON, CSV, sheet, results

While a model is scored, its results are kept in a log beside the JSON or CSV output, from which `resume` continues.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from betwixt.backends.backend import check_device, check_precision
from betwixt.errors import OutputError, UsageError
from betwixt.evaluation.datasets import Dataset, DatasetOptions, open_dataset, read_list_file
from betwixt.evaluation.log import EvaluationLog
from betwixt.evaluation.masks import SampleMasks, load_sample_masks
from betwixt.evaluation.metrics import DEFAULT_METRICS, Metric, select_metrics
from betwixt.evaluation.network_variant import NetworkVariant, parse_variant
from betwixt.evaluation.report import (
    QUALITY_KEY,
    Context,
    FigureComparison,
    check_outputs,
    compare_with_published,
    quality_entry,
    read_table,
    to_json,
    update_table,
    write_frame_table,
    write_sequence_table,
)
from betwixt.evaluation.routing import collect_routes
from betwixt.evaluation.saved_maps import MapSaver, check_single_run
from betwixt.evaluation.scores import Evaluation
from betwixt.evaluation.scoring import Model, check_model, evaluate
from betwixt.evaluation.sheet import check_sheet_path, write_sheet, write_side_by_side
from betwixt.files import write_atomically
from betwixt.machine import describe_machine
from betwixt.models.base import masks_unsupported
from betwixt.models.registry import DEFAULT_MODEL, choose_model, model_info
from betwixt.runtime.load import find_weights, hash_weights, load_model
from betwixt.version import __version__
from betwixt.weights.metadata import named_model


@dataclass(frozen=True)
class EvaluationRequest:
    """What to evaluate and which files to write; docs/how-to/evaluate.md describes each option.

    `dataset` may be several names, with commas.
    """

    models: list[str]
    dataset: str
    root: Path
    limit: int | None = None
    every: int = 1
    ids: Path | None = None
    metrics: str = ",".join(DEFAULT_METRICS)
    clean: bool = False
    stride: int = 1
    extrapolate: bool = False
    paths: str = "straight"
    weights: Path | None = None
    settings: tuple[str, ...] = ()
    tta: bool = False
    masks: str | None = None
    device: str = "auto"
    precision: str = "fp32"
    runtime: str = "auto"
    jobs: int = 0
    save_frames: Path | None = None
    save_flows: Path | None = None
    save_masks: Path | None = None
    save_routes: Path | None = None
    csv: Path | None = None
    frames_csv: Path | None = None
    json: Path | None = None
    sheet: Path | None = None
    side_by_side: Path | None = None
    compare: str | None = None
    record: Path | None = None
    resume: bool = False
    lpips_weights: Path | None = None

    @property
    def datasets(self) -> list[str]:
        """The names of the data sets."""
        return [name.strip() for name in self.dataset.split(",")]

    @property
    def variant(self) -> NetworkVariant:
        """How the networks differ from those of their weights files."""
        return parse_variant(self.settings, self.tta)

    @property
    def map_folders(self) -> dict[str, Path]:
        """The folders of the maps to save, by their group."""
        folders = {"flow": self.save_flows, "mask": self.save_masks, "routes": self.save_routes}
        return {group: folder for group, folder in folders.items() if folder is not None}

    def options(self, dataset: str) -> str:
        """The options of a data set and of the networks in words, as tables of results have them; preceded by the
        folder's name for sets that can be any folder.
        """
        parts = [self.root.resolve().name] if dataset in ("frames", "triplets", "video") else []
        parts += ["clean"] if self.clean else []
        parts += [f"stride {self.stride}"] if self.stride != 1 else []
        parts += [f"{self.paths} paths"] if self.paths != "straight" else []
        parts += [f"every {self.every}"] if self.every != 1 else []
        parts += [self.variant.text] if self.variant else []
        parts += [] if self.masks is None else [f"masks {Path(self.masks).name}"]
        return ", ".join(parts)


@dataclass
class EvaluationResult:
    """The scores of each model on each data set, the published figures beside them (if requested), and the written
    files.
    """

    evaluations: list[tuple[Evaluation, Context]] = field(default_factory=list)
    comparisons: list[list[FigureComparison]] = field(default_factory=list)  # of each evaluation; none if not requested
    written: list[Path] = field(default_factory=list)

    @property
    def json(self) -> str:
        """The evaluations as JSON."""
        return to_json(self.evaluations)


def run_evaluation(
    request: EvaluationRequest, progress: Callable[[str, int, int | None], None] | None = None
) -> EvaluationResult:
    """Evaluate models. Everything that can be checked is checked before the first frame is restored.

    `progress` is called with the model's name and the numbers of samples done and in total; None if unknown.

    Raises:
        BetwixtError: if the request cannot be fulfilled.
    """
    request = replace(request, models=_choose_models(request))
    options = DatasetOptions(request.clean, request.stride, request.extrapolate, request.paths)
    datasets = [open_dataset(name, request.root, options) for name in request.datasets]
    metrics = select_metrics(request.metrics, request.lpips_weights)
    ids = None if request.ids is None else read_list_file(request.ids)
    _check(request)
    masks = None if request.masks is None else load_sample_masks(request.masks, request.device)
    models = {name: _load(request, name) for name in request.models}
    for dataset in datasets:
        for model in models.values():
            check_model(model, dataset)
        next(iter(dataset.samples()), None)  # raises if the root does not hold the data set

    result = EvaluationResult()
    runs = [_Run(request, name, model, dataset, masks) for dataset in datasets for name, model in models.items()]
    for run in runs:
        evaluation = run.score(metrics, ids, progress)
        result.evaluations.append((evaluation, run.context))
        if request.compare is not None:
            result.comparisons.append(compare_with_published(evaluation, run.context.options))
    _write(request, result, runs)
    for run in runs:
        if run.log_path is not None:
            run.log_path.unlink(missing_ok=True)  # logs stay until every output is written
    return result


@dataclass(frozen=True)
class _Run:
    """A model that is scored on a data set."""

    request: EvaluationRequest
    name: str  # of the model
    model: Model
    dataset: Dataset
    masks: SampleMasks | None

    def part_of(self, separator: str) -> str:
        """What distinguishes this run from the others of the request: its model, its data set, both, or nothing."""
        parts = [self.name] if len(self.request.models) > 1 else []
        parts += [self.dataset.name] if len(self.request.datasets) > 1 else []
        return separator.join(parts)

    def score(
        self,
        metrics: Sequence[Metric],
        ids: list[str] | None,
        progress: Callable[[str, int, int | None], None] | None,
    ) -> Evaluation:
        """The scores, and the routing of a model with a router."""
        request, log = self.request, self.open_log(metrics, ids)
        saver = MapSaver(request.map_folders) if request.map_folders else None
        try:
            with collect_routes(self.model) as routes:
                evaluation = evaluate(
                    self.model,
                    self.dataset,
                    metrics,
                    limit=request.limit,
                    every=request.every,
                    ids=ids,
                    save_frames=None if request.save_frames is None else request.save_frames / self.part_of("/"),
                    saver=saver,
                    masks=self.masks,
                    log=log,
                    # A network uses all cores by itself: the second job reads while the first computes.
                    jobs=request.jobs or (2 if model_info(self.name).has_network else os.cpu_count() or 1),
                    progress=None if progress is None else functools.partial(progress, self.part_of(", ") or self.name),
                )
        finally:
            if log is not None:
                log.close()
        if routes is not None:
            weights = find_weights(self.name, request.weights)
            evaluation.routing = routes.summary(self.name, request.variant, weights)
        return evaluation

    @property
    def context(self) -> Context:
        """The conditions of the measurement."""
        options = self.request.options(self.dataset.name.removesuffix("-extrapolation"))
        backend = getattr(self.model, "backend", None)
        if backend is None:
            return Context("none", "", describe_machine(), options)
        weights = find_weights(self.name, self.request.weights)
        machine = describe_machine(backend.device, backend.engine)
        return Context(weights.name, hash_weights(self.name, weights), machine, options, self.request.precision)

    @property
    def log_path(self) -> Path | None:
        """The file of the scores while the run lasts, beside the JSON or CSV output; None without one."""
        output = self.request.json or self.request.csv
        several = [self.dataset.name] if len(self.request.datasets) > 1 else []
        return None if output is None else output.with_name(".".join([output.name, self.name, *several, "journal"]))

    def open_log(self, metrics: Sequence[Metric], ids: list[str] | None) -> EvaluationLog | None:
        """The log at `log_path`, continued if requested."""
        request, context = self.request, self.context
        if self.log_path is None:
            return None
        key: dict[str, Any] = {
            "model": self.name,
            "weights": context.weights_hash,
            "precision": request.precision,
            "arithmetic": getattr(self.model, "arithmetic", ""),
            "dataset": self.dataset.name,
            "options": context.options,
            "root": str(request.root.resolve()),
            "metrics": request.metrics,
            "limit": request.limit,
            "ids": ids,
            "version": __version__,
        }
        return EvaluationLog(self.log_path, key, metrics=[metric.name for metric in metrics], resume=request.resume)


def _choose_models(request: EvaluationRequest) -> list[str]:
    """The requested models. "auto" is that of the weights file, else dis for extrapolation, else the default."""
    extrapolates = request.extrapolate or any(name.endswith("-extrapolation") for name in request.datasets)
    fallback = "dis" if extrapolates and request.weights is None else DEFAULT_MODEL
    default = named_model(request.weights) or fallback
    return [choose_model(default if name == DEFAULT_MODEL else name, request.weights) for name in request.models]


def _check(request: EvaluationRequest) -> None:
    """Refuse options that do not fit together and outputs that cannot be written."""
    check_device(request.device)
    check_precision(request.precision, "int8")
    if len(set(request.models)) != len(request.models):
        raise UsageError("A model is named twice: name each once.")
    if request.weights is not None and not any(model_info(name).has_network for name in request.models):
        raise UsageError("None of these models has a network: leave `weights` out.")
    if request.limit is not None and request.limit < 1:
        raise UsageError(f"`limit={request.limit}` leaves nothing to score: pass at least 1.")
    if request.every < 1:
        raise UsageError(f"`every={request.every}` is too small: 1 scores every sample, 2 every other one.")
    if request.jobs < 0:
        raise UsageError(f"`jobs={request.jobs}` is too small: 0 means one for each core.")
    if request.compare not in (None, "published"):
        raise UsageError(f"There is nothing to compare with called '{request.compare}': pass `compare=published`.")
    if len(set(request.datasets)) != len(request.datasets):
        raise UsageError("A data set is named twice: name each once.")
    if request.resume and request.json is None and request.csv is None:
        raise UsageError("`resume` needs `csv` or `json` with a file: the results so far are kept beside it.")
    if request.record is not None and (request.limit is not None or request.ids is not None):
        raise UsageError("`record` is for scores of whole sets: leave it out with `limit` and `ids`.")
    for path in (request.sheet, request.side_by_side):
        if path is not None:
            check_sheet_path(path)
    if request.side_by_side is not None and len(request.models) < 2:
        raise UsageError("`side_by_side` compares models: name at least two.")
    outputs = (request.csv, request.frames_csv, request.json, request.record, request.sheet, request.side_by_side)
    check_outputs(outputs, inputs=(request.ids, request.weights, request.root))
    if request.record is not None:
        read_table(request.record, QUALITY_KEY)
    if request.masks is not None:
        for name in request.models:
            if not model_info(name).takes_masks:
                raise masks_unsupported(name)
    check_single_run(request.map_folders, len(request.models) * len(request.datasets))
    for folder in request.map_folders.values():
        if not folder.parent.is_dir():
            raise OutputError(f"The folder {folder.parent} does not exist: create it first.")
    if request.save_frames is not None and not request.save_frames.parent.is_dir():
        raise OutputError(f"The folder {request.save_frames.parent} does not exist: create it first.")


def _load(request: EvaluationRequest, name: str) -> Model:
    info = model_info(name)
    if info.sequences_only and not info.has_network:
        model: Model = info.make_interpolator()
        return model
    if request.variant:
        if request.runtime not in ("auto", "torch"):
            raise UsageError("`settings` and `tta` change a network in PyTorch: leave `runtime` out.")
        return request.variant.load(name, request.device, request.weights, request.precision)
    if not info.has_network:
        return load_model(name, precision="fp32")
    return load_model(
        name, request.device, weights=request.weights, precision=request.precision, runtime=request.runtime
    )


def _write(request: EvaluationRequest, result: EvaluationResult, runs: Sequence[_Run]) -> None:
    evaluations = [evaluation for evaluation, _ in result.evaluations]
    if request.csv is not None:
        write_sequence_table(request.csv, evaluations)
    if request.frames_csv is not None:
        write_frame_table(request.frames_csv, evaluations)
    if request.json is not None:
        write_atomically(request.json, result.json)
    result.written += [path for path in (request.csv, request.frames_csv, request.json) if path is not None]
    metric = "psnr" if "psnr" in evaluations[0].metrics else evaluations[0].metrics[0]
    if request.sheet is not None:
        for run, evaluation in zip(runs, evaluations, strict=True):
            path = request.sheet
            if part := run.part_of("."):
                path = path.with_name(f"{path.stem}.{part}{path.suffix}")
            write_sheet(path, run.model, evaluation, run.dataset, metric)
            result.written.append(path)
    if request.side_by_side is not None:
        count = len(request.models)
        for begin in range(0, len(runs), count):
            group, path = runs[begin : begin + count], request.side_by_side
            if len(request.datasets) > 1:
                path = path.with_name(f"{path.stem}.{group[0].dataset.name}{path.suffix}")
            of_group = evaluations[begin : begin + count]
            write_side_by_side(path, [run.model for run in group], of_group, group[0].dataset, metric)
            result.written.append(path)
    if request.record is not None:
        entries = [quality_entry(evaluation, context) for evaluation, context in result.evaluations]
        update_table(request.record, entries, QUALITY_KEY)
        result.written.append(request.record)
    if request.save_frames is not None:
        result.written.append(request.save_frames)
    result.written += request.map_folders.values()
