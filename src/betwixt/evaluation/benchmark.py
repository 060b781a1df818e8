"""`betwixt benchmark`: measure the cost of single frames or of whole conversions, and write the outputs."""

from __future__ import annotations

import datetime
import json as json_module
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from betwixt.backends.backend import check_device, check_precision
from betwixt.errors import InputError, UsageError
from betwixt.evaluation.cost import Cost, measure_cost, parse_size
from betwixt.evaluation.end_to_end import EndToEndResult, compare_with_minterpolate
from betwixt.evaluation.network_variant import NetworkVariant, parse_variant
from betwixt.evaluation.plot import PlotPoint, draw_plot, read_quality
from betwixt.evaluation.report import check_outputs, read_table, update_table
from betwixt.files import write_atomically
from betwixt.models.registry import DEFAULT_MODEL, choose_model, model_info
from betwixt.runtime.load import check_runtime
from betwixt.weights.metadata import named_model

_COST_KEY = ("model", "size", "runtime", "precision", "device", "machine")
_END_TO_END_KEY = ("model", "size", "clip", "encoder", "machine")

# Recorded with each measurement in results/.
_COST_PROTOCOL = "one frame at t = 1/2 of two RGB pictures in memory; the median of the runs after a first one"
_END_TO_END_PROTOCOL = "the rate doubled, whole process; the median of the rounds, by turns"


@dataclass(frozen=True)
class BenchmarkRequest:
    """What to measure and which files to write; docs/how-to/benchmark.md describes each option."""

    models: list[str]
    size: str | None = None
    device: str = "auto"
    runtime: str = "auto"
    precision: str = "auto"
    weights: Path | None = None
    settings: tuple[str, ...] = ()
    tta: bool = False
    threads: int = 0
    runs: int = 10
    warm_up: int = 1
    batch: int = 1
    parts: bool = False
    end_to_end: Path | None = None
    seconds: float | None = None
    rounds: int = 3
    no_encoder: bool = False
    json: Path | None = None
    record: Path | None = None
    plot: Path | None = None
    dataset: str = "ucf101"
    metric: str = "psnr"

    @property
    def variant(self) -> NetworkVariant:
        """How the networks differ from the registered ones."""
        return parse_variant(self.settings, self.tta)


@dataclass
class BenchmarkResult:
    """Costs of single frames, or speeds of whole conversions, and the files that were written."""

    costs: list[Cost] = field(default_factory=list)
    end_to_end: list[EndToEndResult] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)

    @property
    def json(self) -> str:
        """{"results": [..], "end_to_end": [..]}."""
        content = {"results": [c.as_dict() for c in self.costs], "end_to_end": [asdict(r) for r in self.end_to_end]}
        return json_module.dumps(content, indent=2, allow_nan=False) + "\n"


def run_benchmark(request: BenchmarkRequest, progress: Callable[[str], None] = lambda text: None) -> BenchmarkResult:
    """Measure models. Everything that can be checked is checked before anything is timed.

    Raises:
        BetwixtError: if the request cannot be fulfilled.
    """
    default = named_model(request.weights) or DEFAULT_MODEL
    names = [default if name == DEFAULT_MODEL else name for name in request.models]
    request = replace(request, models=[choose_model(name, request.weights) for name in names])
    size = parse_size(request.size) if request.size is not None else None
    _check(request)
    quality = read_quality(request.plot, request.dataset, request.metric) if request.plot is not None else {}
    result = BenchmarkResult()
    for name in request.models:
        if request.end_to_end is not None:
            progress(f"{name}: converting {request.end_to_end}")
            result.end_to_end.append(_measure_conversion(request, request.end_to_end, name, size, progress))
        else:
            progress(f"{name}: timing")
            result.costs.append(_measure_in_own_process(request, name, size or (1280, 720)))
    _write(request, result, quality)
    return result


def _measure_conversion(
    request: BenchmarkRequest, clip: Path, name: str, size: tuple[int, int] | None, progress: Callable[[str], None]
) -> EndToEndResult:
    return compare_with_minterpolate(
        clip,
        name,
        size=size,
        seconds=request.seconds,
        rounds=request.rounds,
        encode=not request.no_encoder,
        device=request.device,
        threads=request.threads,
        weights=request.weights if model_info(name).has_network else None,
        progress=lambda number, ours, theirs: progress(
            f"round {number}: betwixt {ours:.1f}, minterpolate {theirs:.1f} new frames/s"
        ),
    )


def _measure_in_own_process(request: BenchmarkRequest, name: str, size: tuple[int, int]) -> Cost:
    """The cost of a model, measured in a process of its own, so that the peak memory is this model's alone."""
    options: dict[str, Any] = {}
    if model_info(name).has_network:
        options = {"device": request.device, "precision": request.precision, "weights": request.weights}
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        future = pool.submit(
            measure_cost,
            name,
            *size,
            runtime=request.runtime,
            threads=request.threads,
            runs=request.runs,
            warm_up=request.warm_up,
            batch=request.batch,
            parts=request.parts,
            variant=request.variant,
            **options,
        )
        try:
            return future.result()
        except (MemoryError, BrokenProcessPool):
            raise UsageError(
                f"{name} at {size[0]}x{size[1]} needs more memory than is available: choose a smaller size."
            ) from None


def _check(request: BenchmarkRequest) -> None:
    """Refuse options that do not fit together and outputs that cannot be written."""
    check_device(request.device)
    for name in request.models:
        info = model_info(name)
        if info.sequences_only:
            raise UsageError(f"The model {name} is what `end_to_end` compares with: name another model.")
        check_runtime(name, request.runtime, request.weights)
        check_precision(request.precision, "auto", *(["int8"] if info.is_own or not info.has_network else []))
    if request.weights is not None and not any(model_info(name).has_network for name in request.models):
        raise UsageError("None of these models has a network: leave `weights` out.")
    if request.weights is not None and not request.weights.is_file():
        raise InputError(f"There is no weights file {request.weights}.")
    if min(request.runs, request.rounds, request.batch) < 1 or request.warm_up < 0:
        raise UsageError("`runs`, `rounds` and `batch` have to be at least 1, `warm_up` at least 0.")
    if request.variant and request.runtime not in ("auto", "torch"):
        raise UsageError("`settings` and `tta` change a network in PyTorch: leave `runtime` out.")
    if request.variant:
        for name in request.models:
            request.variant.check(name)
    if request.record is not None and (request.variant or request.batch != 1):
        raise UsageError("`record` is for models as they are: leave `settings`, `tta` and `batch` out.")
    if request.threads < 0:
        raise UsageError(f"`threads={request.threads}` is too small: 0 means one for each core.")
    if request.end_to_end is not None:
        if request.plot is not None:
            raise UsageError("`plot` draws the time of single frames: leave `end_to_end` out.")
        if request.variant or request.batch != 1 or request.warm_up != 1 or request.parts:
            raise UsageError("`settings`, `tta`, `batch`, `warm_up` and `parts` do not apply to `end_to_end`.")
        if request.precision != "auto" or request.runtime != "auto":
            raise UsageError(
                "`end_to_end` times betwixt interpolate with its defaults: leave `precision` and `runtime` out."
            )
    else:
        if request.seconds is not None:
            raise UsageError("`seconds` belongs to `end_to_end`.")
        if request.no_encoder:
            raise UsageError("`no_encoder` belongs to `end_to_end`.")
    if request.seconds is not None and request.seconds <= 0:
        raise UsageError(f"`seconds={request.seconds:g}` leaves nothing of the clip.")
    check_outputs((request.json, request.record))
    if request.record is not None:
        read_table(request.record, _COST_KEY if request.end_to_end is None else _END_TO_END_KEY)


def _write(request: BenchmarkRequest, result: BenchmarkResult, quality: dict[str, float]) -> None:
    if request.json is not None:
        write_atomically(request.json, result.json)
        result.written.append(request.json)
    if request.record is not None:
        today = datetime.date.today().isoformat()
        if request.end_to_end is None:
            update_table(request.record, [_cost_entry(cost, today) for cost in result.costs], _COST_KEY)
        else:
            entries = [_end_to_end_entry(r, request.end_to_end.name, today) for r in result.end_to_end]
            update_table(request.record, entries, _END_TO_END_KEY)
        result.written.append(request.record)
    if request.plot is not None:
        points = [PlotPoint(c.model, c.seconds, quality[c.model]) for c in result.costs if c.model in quality]
        first = result.costs[0]
        title = f"{request.dataset} over {first.width}x{first.height}, {first.device}, {first.machine.split(',')[0]}"
        result.written += draw_plot(request.plot, points, title=title, metric=request.metric)


def _cost_entry(cost: Cost, date: str) -> dict[str, str]:
    """A row of results/cost.csv."""
    return {
        "model": cost.model,
        "size": f"{cost.width}x{cost.height}",
        "runtime": cost.runtime,
        "precision": cost.precision,
        "device": cost.device,
        "threads": str(cost.threads),
        "parameters": str(cost.parameters),
        "gflop": "" if cost.gflop is None else f"{cost.gflop:.3f}",
        "milliseconds": f"{1000 * cost.seconds:.2f}",
        "quartile_1": f"{1000 * cost.quartiles[0]:.2f}",
        "quartile_3": f"{1000 * cost.quartiles[1]:.2f}",
        "runs": str(cost.runs),
        "weights_hash": cost.weights_hash,
        "peak_memory_mb": f"{cost.peak_memory / 1e6:.0f}",
        "trained": "yes" if cost.trained else "no",
        "protocol": _COST_PROTOCOL,
        "date": date,
        "machine": cost.machine,
    }


def _end_to_end_entry(result: EndToEndResult, clip: str, date: str) -> dict[str, str]:
    """A row of results/conversion.csv."""
    return {
        "model": result.model,
        "size": f"{result.width}x{result.height}",
        "clip": clip,
        "encoder": result.encoder,
        "frames_in": str(result.frames_in),
        "new_frames": str(result.new_frames),
        "frames_per_second": f"{result.ours:.2f}",
        "minterpolate_frames_per_second": f"{result.theirs:.2f}",
        "ratio": f"{result.ratio:.2f}",
        "rounds": str(len(result.rounds)),
        "weights_hash": result.weights_hash,
        "ffmpeg": result.ffmpeg,
        "protocol": _END_TO_END_PROTOCOL,
        "date": date,
        "machine": result.machine,
    }
