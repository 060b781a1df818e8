"""betwixt benchmark: the cost of a frame."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from betwixt.cli import options as o
from betwixt.cli import report


def benchmark(
    model: Annotated[str, typer.Option(metavar="NAME[,NAME..]", help="Which models (see betwixt models).")] = "auto",
    size: Annotated[
        o.Text, typer.Option(metavar="WxH", help="The frames' size. Default: 1280x720, or the clip's.")
    ] = None,
    device: o.Device = "auto",
    runtime: Annotated[
        str, typer.Option(metavar="auto|openvino|onnxruntime|torch|native", help="What runs it.")
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option(metavar="auto|fp32|bf16|fp16|int8", help="The network's precision; auto: that of conversions."),
    ] = "auto",
    weights: Annotated[
        o.File, typer.Option(metavar="FILE", help="A network's weights. Default: what comes with it, or none.")
    ] = None,
    settings: o.NetworkSettings = None,
    tta: o.TestTimeAugmentation = False,
    threads: Annotated[int, typer.Option(metavar="N", help="CPU threads; 0 for one per core.")] = 0,
    runs: Annotated[int, typer.Option(metavar="N", help="How often each model is timed.")] = 10,
    warm_up: Annotated[int, typer.Option(metavar="N", help="Runs before those that count.")] = 1,
    batch: Annotated[int, typer.Option(metavar="N", help="Process N pairs of frames at a time.")] = 1,
    parts: Annotated[bool, typer.Option("--parts", help="Time the parts of the network as well.")] = False,
    end_to_end: Annotated[
        o.File, typer.Option(metavar="CLIP", help="Time the whole conversion of a clip, beside ffmpeg's minterpolate.")
    ] = None,
    seconds: Annotated[
        o.Float, typer.Option(metavar="S", help="--end-to-end: convert only this much of the clip.")
    ] = None,
    rounds: Annotated[int, typer.Option(metavar="N", help="--end-to-end: how often each converts it.")] = 3,
    no_encoder: Annotated[
        bool, typer.Option("--no-encoder", help="--end-to-end: synthesize the frames and discard them.")
    ] = False,
    json: Annotated[o.File, typer.Option(metavar="FILE", help="Write JSON; - for standard output.")] = None,
    record: Annotated[o.File, typer.Option(metavar="FILE", help="Put the figures into this table of results.")] = None,
    plot: Annotated[
        o.File, typer.Option(metavar="QUALITY.CSV", help="Draw quality (of this table) over time, beside it.")
    ] = None,
    dataset: Annotated[str, typer.Option(help="--plot: the data set whose scores are drawn.")] = "ucf101",
    metric: Annotated[str, typer.Option(help="--plot: the metric.")] = "psnr",
) -> None:
    """Measure the parameters, operations, time per frame and peak memory of models, and name the machine.

    A network that comes without weights is timed with random ones: its cost does not depend on them.

    Examples:
        betwixt benchmark --model hybrid,compact --size 1920x1080
        betwixt benchmark --model rife --set scales=16,4,1 --tta --batch 4 --warm-up 100 --runs 100
        betwixt benchmark --end-to-end clip.mp4 --seconds 2
    """
    from betwixt.evaluation.benchmark import BenchmarkRequest, run_benchmark

    to_stdout = json == Path("-")
    request = BenchmarkRequest(
        models=[name.strip() for name in model.split(",")], size=size, device=device, runtime=runtime,
        precision=precision, weights=weights, settings=tuple(settings or ()), tta=tta, threads=threads, runs=runs,
        warm_up=warm_up, batch=batch, parts=parts, end_to_end=end_to_end, seconds=seconds,
        rounds=rounds, no_encoder=no_encoder, json=None if to_stdout else json, record=record, plot=plot,
        dataset=dataset, metric=metric,
    )  # fmt: skip
    out: Any = sys.stderr if to_stdout else sys.stdout
    outcome = run_benchmark(request, lambda text: print(text, file=sys.stderr, flush=True))
    if to_stdout:
        print(outcome.json, end="")
    report.print_costs(outcome, out)
