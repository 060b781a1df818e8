"""betwixt realtime: a call over a bad network, simulated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from betwixt.cli import options as o

__all__ = ["realtime"]


def realtime(
    source: o.Source,
    target: Annotated[str, typer.Argument(metavar="OUT", help="A folder for the table, the plot and the video.")],
    factor: Annotated[int, typer.Option(metavar="N", help="One frame of N is sent at high quality.")] = 4,
    bitrate: Annotated[o.Text, typer.Option(help="Of both streams: 300k, 1.2M. Default: 0.03 bits a pixel.")] = None,
    network: Annotated[str, typer.Option(metavar="clean|loss|bursts|drops|all", help="What is between.")] = "clean",
    seed: Annotated[int, typer.Option(metavar="N", help="Of the network.")] = 0,
    margin: Annotated[float, typer.Option(metavar="S", help="Seconds interpolation waits beyond its need.")] = 0.0,
    height: Annotated[int, typer.Option(metavar="N", help="Shrink larger pictures to so many lines.")] = 480,
    limit: Annotated[int, typer.Option(metavar="N", help="Take so many frames at most.")] = 120,
    model: o.Model = "compact",
    start: o.Start = None,
    end: o.End = None,
    input_fps: o.InputFps = None,
    device: o.Device = "auto",
    weights: o.Weights = None,
    record: Annotated[o.Text, typer.Option(metavar="FILE", help="Put the scores into this table of results.")] = None,
    overwrite: o.Overwrite = False,
    as_json: o.AsJson = False,
) -> None:
    """Simulate a video call over a network that is too slow, shown in four ways at the same bits.

    All frames at low quality; few frames at high quality; and these few smoothed by interpolation, which waits, and by
    extrapolation, which does not. OUT gets comparison.csv, .json, .png and a side-by-side .mp4.
    """
    import sys

    from rich.console import Console
    from rich.table import Table

    from betwixt.cli import report
    from betwixt.realtime.session import simulate_video, table

    with report.StepReport(quiet=as_json and not sys.stderr.isatty()) as steps:
        outcome = simulate_video(
            source, target, factor=factor, bitrate=bitrate, network=network, seed=seed, margin=margin, height=height,
            limit=limit, model=model, device=device, weights=weights, start=start, end=end, input_fps=input_fps,
            overwrite=overwrite, record_to=None if record is None else Path(record), progress=steps,
        )  # fmt: skip
    if as_json:
        report.print_json({"results": outcome.rows, "written": [str(p) for p in outcome.written]}, sys.stdout)
        return
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120, highlight=False)
    header, lines = table(outcome.rows)
    shown = Table(box=None, pad_edge=False)
    for number, title in enumerate(header):
        shown.add_column(title, justify="right" if number else "left")
    for line in lines:
        shown.add_row(*line)
    console.print(shown)
    for path in outcome.written:
        console.print(f"written: {path}", soft_wrap=True, markup=False)
