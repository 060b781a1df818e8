"""A whole benchmark as a person asks for it: models, a size, and the files that come out."""

from __future__ import annotations

import datetime
import json as json_module
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path

from betwixt.errors import InputError, UsageError
from betwixt.evaluation.cost import Cost, measure, parse_size
from betwixt.evaluation.end_to_end import EndToEnd, race
from betwixt.evaluation.plot import PlotPoint, draw_plot, read_quality
from betwixt.evaluation.report import read_table, record
from betwixt.files import check_output, write_atomically
from betwixt.models.registry import choose_model, model_info
from betwixt.runtime.load import check_device, check_precision, check_runtime

__all__ = ["BenchmarkRequest", "BenchmarkResult", "run_benchmark"]


_COST_KEY = ("model", "size", "runtime", "precision", "device", "machine")
_RACE_KEY = ("model", "size", "clip", "encoder", "machine")


_COST_PROTOCOL = "one frame at t = 1/2 of two RGB pictures in memory; the median of the runs after a first one"
_RACE_PROTOCOL = "the rate doubled, whole process; the median of the rounds, by turns"


@dataclass(frozen=True)
class BenchmarkRequest:
    """What is asked for; see `betwixt benchmark --help` and docs/how-to/benchmark.md."""

    models: list[str]
    size: str | None = None
    device: str = "auto"
    runtime: str = "auto"
    precision: str = "auto"
    weights: Path | None = None
    threads: int = 0
    runs: int = 10
    end_to_end: Path | None = None
    seconds: float | None = None
    rounds: int = 3
    encode: bool = True
    json: Path | None = None
    record: Path | None = None
    plot: Path | None = None
    dataset: str = "ucf101"
    metric: str = "psnr"


@dataclass
class BenchmarkResult:
    """What came out: costs of single frames, races of whole conversions, the files that were written."""

    costs: list[Cost] = field(default_factory=list)
    races: list[EndToEnd] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)

    @property
    def json(self) -> str:
        """{"results": [..], "end_to_end": [..]}."""
        content = {"results": [c.as_dict() for c in self.costs], "end_to_end": [r.as_dict() for r in self.races]}
        return json_module.dumps(content, indent=2, allow_nan=False) + "\n"


def run_benchmark(request: BenchmarkRequest, progress: Callable[[str], None] = lambda text: None) -> BenchmarkResult:
    """Do it. All that can be refused is refused before anything is timed.

    Raises:
        BetwixtError: in one line.
    """
    request = replace(request, models=[choose_model(name, request.weights) for name in request.models])
    size = parse_size(request.size) if request.size is not None else None
    _check(request)
    quality = read_quality(request.plot, request.dataset, request.metric) if request.plot is not None else {}
    outcome = BenchmarkResult()
    for name in request.models:
        if request.end_to_end is not None:
            progress(f"{name}: converting {request.end_to_end}")
            outcome.races.append(
                race(
                    request.end_to_end,
                    name,
                    size=size,
                    seconds=request.seconds,
                    rounds=request.rounds,
                    encode=request.encode,
                    options=_conversion_options(request, name),
                    progress=lambda number, ours, theirs: progress(
                        f"round {number}: betwixt {ours:.1f}, minterpolate {theirs:.1f} new frames/s"
                    ),
                )
            )
        else:
            progress(f"{name}: timing")
            outcome.costs.append(_alone(request, name, size or (1280, 720)))
    _write(request, outcome, quality)
    return outcome


def _alone(request: BenchmarkRequest, name: str, size: tuple[int, int]) -> Cost:
    """Measured in a process of its own, so that the peak memory is this model's alone."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        future = pool.submit(
            measure,
            name,
            *size,
            device=request.device if model_info(name).has_network else "auto",
            runtime=request.runtime,
            precision=request.precision if model_info(name).has_network else "auto",
            weights=request.weights if model_info(name).has_network else None,
            threads=request.threads,
            runs=request.runs,
        )
        try:
            return future.result()
        except (MemoryError, BrokenProcessPool):
            raise UsageError(
                f"{name} at {size[0]}x{size[1]} needs more memory than there is: take a smaller size."
            ) from None


def _conversion_options(request: BenchmarkRequest, name: str) -> list[str]:
    """The options of `betwixt interpolate` that a conversion is timed with."""
    options = ["--device", request.device, "--threads", str(request.threads)]
    if request.weights is not None and model_info(name).has_network:
        options += ["--weights", str(request.weights)]
    return options


def _check(request: BenchmarkRequest) -> None:
    check_device(request.device)
    race_asked = request.end_to_end is not None
    for name in request.models:
        info = model_info(name)
        if info.sequences_only:
            raise UsageError(f"The model {name} is what --end-to-end compares with: name another model.")
        check_runtime(name, request.runtime)
        check_precision(request.precision, "auto", *(["int8"] if info.is_own or not info.has_network else []))
    if request.weights is not None and all(not model_info(name).has_network for name in request.models):
        raise UsageError("No model named here is a network: leave --weights out.")
    if request.weights is not None and not request.weights.is_file():
        raise InputError(f"There is no file of weights {request.weights}.")
    if request.runs < 1 or request.rounds < 1:
        raise UsageError("--runs and --rounds have to be at least 1.")
    if request.threads < 0:
        raise UsageError(f"--threads {request.threads} is too small: 0 is one a core.")
    if request.plot is not None and race_asked:
        raise UsageError("--plot draws the time of single frames: leave --end-to-end out.")
    if race_asked and (request.precision != "auto" or request.runtime != "auto"):
        raise UsageError("--end-to-end times betwixt interpolate as it is: leave --precision and --runtime out.")
    if request.seconds is not None and not race_asked:
        raise UsageError("--seconds belongs to --end-to-end.")
    if not request.encode and not race_asked:
        raise UsageError("--no-encoder belongs to --end-to-end.")
    if request.seconds is not None and request.seconds <= 0:
        raise UsageError(f"--seconds {request.seconds:g} leaves nothing of the clip.")
    outputs = [path for path in (request.json, request.record) if path is not None]
    if len({path.resolve() for path in outputs}) != len(outputs):
        raise UsageError("Two outputs have the same name: give each a file of its own.")
    for path in outputs:
        check_output(path, None, overwrite=True)
    if request.record is not None:
        read_table(request.record, _RACE_KEY if race_asked else _COST_KEY)


def _write(request: BenchmarkRequest, outcome: BenchmarkResult, quality: dict[str, float]) -> None:
    if request.json is not None:
        write_atomically(request.json, outcome.json)
        outcome.written.append(request.json)
    if request.record is not None:
        today = datetime.date.today().isoformat()
        if outcome.costs:
            record(request.record, [_cost_entry(cost, today) for cost in outcome.costs], _COST_KEY)
        else:
            entries = [_race_entry(result, request, today) for result in outcome.races]
            record(request.record, entries, _RACE_KEY)
        outcome.written.append(request.record)
    if request.plot is not None:
        points = [PlotPoint(c.model, c.seconds, quality[c.model]) for c in outcome.costs if c.model in quality]
        first = outcome.costs[0]
        title = f"{request.dataset} over {first.width}x{first.height}, {first.device}, {first.machine.split(',')[0]}"
        outcome.written += draw_plot(request.plot, points, title=title, metric=request.metric)


def _cost_entry(cost: Cost, date: str) -> dict[str, str]:
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


def _race_entry(result: EndToEnd, request: BenchmarkRequest, date: str) -> dict[str, str]:
    return {
        "model": result.model,
        "size": f"{result.width}x{result.height}",
        "clip": request.end_to_end.name if request.end_to_end is not None else "",
        "encoder": result.encoder,
        "frames_in": str(result.frames_in),
        "new_frames": str(result.new_frames),
        "frames_per_second": f"{result.ours:.2f}",
        "minterpolate_frames_per_second": f"{result.theirs:.2f}",
        "ratio": f"{result.ratio:.2f}",
        "rounds": str(len(result.rounds)),
        "weights_hash": result.weights_hash,
        "ffmpeg": result.ffmpeg,
        "protocol": _RACE_PROTOCOL,
        "date": date,
        "machine": result.machine,
    }
