"""betwixt between: frames between two images."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from betwixt.cli import options as o
from betwixt.cli import report
from betwixt.units import format_count


def between(
    first: Annotated[str, typer.Argument(metavar="A", help="The first image.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The second image, of the same size.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="A folder or pattern of images, one image, or a .gif.")],
    times: Annotated[o.Text, typer.Option(help="Times from 0 (A) to 1 (B): 0.25,0.5,0.75.")] = None,
    count: Annotated[
        o.Number,
        typer.Option(help="Or how many frames, evenly spaced between A and B. Default: 1."),
    ] = None,
    ends: Annotated[bool, typer.Option("--ends", help="Write A and B as well. A GIF always has them.")] = False,
    fps: Annotated[str, typer.Option(help="The rate of a GIF.")] = "10",
    model: o.Model = "auto",
    device: o.Device = "auto",
    weights: o.Weights = None,
    maps: Annotated[
        o.File, typer.Option(metavar="DIR", help="Write the flows, masks and errors of the one new frame there.")
    ] = None,
    show: Annotated[
        o.Text,
        typer.Option(
            metavar="MAPS", help="With --maps: only these, of flow, mask, occlusion, routes, features; with commas."
        ),
    ] = None,
    truth: Annotated[
        o.File, typer.Option(metavar="FILE", help="With --maps: the true frame, to show the error.")
    ] = None,
    overwrite: o.Overwrite = False,
    as_json: o.AsJson = False,
) -> None:
    """Make the frames between two images.

    Examples:
        betwixt between a.png b.png middle.png
        betwixt between a.png b.png frames/ --count 7
        betwixt between a.png b.png middle.png --model rife-4.6 --maps maps/ --show flow,mask,features
    """
    from betwixt.pipeline.between import between_images

    summary = between_images(
        first, second, target, times=times, count=count, ends=ends, fps=fps, model=model, device=device,
        weights=weights, maps=maps, show=show, truth=truth, overwrite=overwrite,
    )  # fmt: skip
    if as_json:
        report.print_json(summary.as_dict(), sys.stdout)
        return
    shown = ", ".join(f"{float(t):.4g}" for t in summary.times[:12]) + (", ..." if len(summary.times) > 12 else "")
    frames = format_count(summary.frames, "frame")
    print(f"{summary.output}: {frames} at {shown} ({summary.model}, {summary.seconds:.1f} s)")
