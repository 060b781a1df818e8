"""betwixt benchmark: what a frame costs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

__all__ = ["benchmark"]

Text = Optional[str]  # noqa: UP045 - Typer reads the annotation at run time
Seconds = Optional[float]  # noqa: UP045


def benchmark(
    model: Annotated[str, typer.Option(metavar="NAME[,NAME..]", help="Which models (see betwixt models).")] = "auto",
    size: Annotated[Text, typer.Option(metavar="WxH", help="Of the frames. Default: 1280x720, or the clip's.")] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda[:n]", help="Where the model runs.")] = "auto",
    runtime: Annotated[str, typer.Option(metavar="auto|torch|openvino|native", help="What runs it.")] = "auto",
    precision: Annotated[
        str,
        typer.Option(metavar="auto|fp32|bf16|fp16|int8", help="In what a network computes; auto: as conversions do."),
    ] = "auto",
    weights: Annotated[
        Text, typer.Option(metavar="FILE", help="A network's weights. Without: what comes with it, or none.")
    ] = None,
    threads: Annotated[int, typer.Option(metavar="N", help="CPU threads; 0 for one a core.")] = 0,
    runs: Annotated[int, typer.Option(metavar="N", help="How often each model is timed.")] = 10,
    end_to_end: Annotated[
        Text, typer.Option(metavar="CLIP", help="Time the whole conversion of a clip, beside ffmpeg's minterpolate.")
    ] = None,
    seconds: Annotated[Seconds, typer.Option(metavar="S", help="--end-to-end: only so much of the clip.")] = None,
    rounds: Annotated[int, typer.Option(metavar="N", help="--end-to-end: how often each converts it.")] = 3,
    no_encoder: Annotated[
        bool, typer.Option("--no-encoder", help="--end-to-end: make the frames and throw them away.")
    ] = False,
    as_json: Annotated[Text, typer.Option("--json", metavar="FILE", help="Write JSON; - for standard output.")] = None,
    record: Annotated[Text, typer.Option(metavar="FILE", help="Put the figures into this table of results.")] = None,
    plot: Annotated[
        Text, typer.Option(metavar="QUALITY.CSV", help="Draw quality (of this table) over time, beside it.")
    ] = None,
    dataset: Annotated[str, typer.Option(help="--plot: the data set whose scores are drawn.")] = "ucf101",
    metric: Annotated[str, typer.Option(help="--plot: in which metric.")] = "psnr",
) -> None:
    """Measure parameters, operations, time a frame and peak memory of models, and say on what machine.

    A network that comes without weights is timed without: its cost does not depend on them.
    """
    from betwixt.cli import report
    from betwixt.evaluation.benchmark import BenchmarkRequest, run_benchmark

    request = BenchmarkRequest(
        models=[name.strip() for name in model.split(",")],
        size=size,
        device=device,
        runtime=runtime,
        precision=precision,
        weights=None if weights is None else Path(weights),
        threads=threads,
        runs=runs,
        end_to_end=None if end_to_end is None else Path(end_to_end),
        seconds=seconds,
        rounds=rounds,
        no_encoder=no_encoder,
        json=None if as_json in (None, "-") else Path(str(as_json)),
        record=None if record is None else Path(record),
        plot=None if plot is None else Path(plot),
        dataset=dataset,
        metric=metric,
    )
    out: Any = sys.stderr if as_json == "-" else sys.stdout
    outcome = run_benchmark(request, lambda text: print(text, file=sys.stderr, flush=True))
    if as_json == "-":
        print(outcome.json, end="")
    report.print_costs(outcome, out)
