"""betwixt realtime: a simulated call over a bad network."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from betwixt.cli import options as o
from betwixt.cli import report
from betwixt.cli.progress import ProgressDisplay


def realtime(
    source: o.VideoSource,
    target: Annotated[str, typer.Argument(metavar="OUT", help="A folder for the table, the plot and the video.")],
    factor: Annotated[int, typer.Option(metavar="N", help="One frame of N is sent at high quality.")] = 4,
    bitrate: Annotated[
        o.Text, typer.Option(help="Bit rate of both streams: 300k, 1.2M. Default: 0.03 bits per pixel.")
    ] = None,
    network: Annotated[
        str, typer.Option(metavar="clean|loss|bursts|drops|all", help="The network between sender and receiver.")
    ] = "clean",
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the simulated network.")] = 0,
    margin: Annotated[
        float, typer.Option(metavar="S", help="Seconds that interpolation waits longer than it must.")
    ] = 0.0,
    height: Annotated[int, typer.Option(metavar="N", help="Scale larger frames down to this many lines.")] = 480,
    limit: Annotated[int, typer.Option(metavar="N", help="The most frames to take.")] = 120,
    model: o.Model = "compact",
    start: o.Start = None,
    end: o.End = None,
    input_fps: o.InputFps = None,
    device: o.Device = "auto",
    weights: o.Weights = None,
    extrapolator: Annotated[
        o.Text,
        typer.Option(metavar="NAME", help="The model for frames after the last. Default: the model's own way, or dis."),
    ] = None,
    extrapolator_weights: Annotated[o.Text, typer.Option(metavar="FILE", help="Its weights.")] = None,
    record_to: Annotated[
        o.File, typer.Option("--record", metavar="FILE", help="Put the scores into this table of results.")
    ] = None,
    overwrite: o.Overwrite = False,
    as_json: o.AsJson = False,
) -> None:
    """Simulate a video call over a network that is too slow, and compare four ways to show it at the same bit rate.

    All frames at low quality; few frames at high quality; and these few smoothed by interpolation, which waits, or by
    extrapolation, which does not. OUT gets comparison.csv, .json, .png and a side-by-side .mp4.

    Examples:
        betwixt realtime call.mp4 out/ --network loss
        betwixt realtime call.mp4 out/ --factor 3 --bitrate 300k
    """
    from betwixt.realtime.report import table
    from betwixt.realtime.session import simulate_video

    with ProgressDisplay(quiet=not sys.stderr.isatty()) as progress:
        outcome = simulate_video(
            source, target, factor=factor, bitrate=bitrate, network=network, seed=seed, margin=margin, height=height,
            limit=limit, model=model, device=device, weights=weights, extrapolator=extrapolator,
            extrapolator_weights=extrapolator_weights, start=start, end=end, input_fps=input_fps,
            overwrite=overwrite, record_to=record_to, progress=progress,
        )  # fmt: skip
    if as_json:
        report.print_json({"results": outcome.rows, "written": [str(p) for p in outcome.written]}, sys.stdout)
        return
    console = report.open_console(sys.stdout)
    titles, rows = table(outcome.rows)
    report.print_table(console, titles, rows, wrap=range(1, len(titles)))
    report.print_written(console, outcome.written)
