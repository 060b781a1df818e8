"""betwixt compare: two videos side by side, and the metrics between them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from betwixt.cli import options as o
from betwixt.cli import report
from betwixt.cli.progress import ProgressDisplay

if TYPE_CHECKING:
    from betwixt.evaluation.compare import VideoComparison


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A video, or a folder or pattern of images.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The video to compare with it.")],
    target: Annotated[
        o.Text, typer.Argument(metavar="OUT", help="A video of both, with the sound of A, or a .gif.")
    ] = None,
    metrics: Annotated[
        str, typer.Option(metavar="LIST", help="Metrics of single frames (see betwixt evaluate --help), or none.")
    ] = "psnr,ssim,ssimulacra2",
    every: Annotated[int, typer.Option(metavar="N", help="Compare one of N frames.")] = 1,
    csv: Annotated[o.Text, typer.Option(metavar="FILE", help="Write the scores of each frame.")] = None,
    layout: Annotated[
        o.Text,
        typer.Option(
            metavar="side|stack|split",
            help="Beside each other, one above the other, or half of each. Default: side.",
        ),
    ] = None,
    labels: Annotated[
        o.Text, typer.Option(metavar="A,B|off", help="What is written over the two. Default: the file names.")
    ] = None,
    start: o.Start = None,
    end: o.End = None,
    shift: Annotated[str, typer.Option(metavar="T", help="B begins so many seconds later; -T: earlier.")] = "0",
    codec: o.Codec = None,
    quality: o.Quality = None,
    threads: o.Threads = 0,
    overwrite: o.Overwrite = False,
    as_json: o.AsJson = False,
) -> None:
    """Compare two videos: metrics between their frames, and a video that shows both.

    Frames are paired by the time at which they are shown.

    Examples:
        betwixt compare in.mp4 out.mp4
        betwixt compare in.mp4 out.mp4 both.mp4 --layout split --labels before,after --metrics none
    """
    from betwixt.evaluation.compare import compare_videos

    texts = None if labels is None else [] if labels == "off" else labels.split(",")
    with ProgressDisplay("frames", quiet=as_json and not sys.stderr.isatty()) as display:
        result = compare_videos(
            first, second, target, metrics=metrics, every=every, csv=csv, layout=layout, labels=texts, start=start,
            end=end, shift=shift, codec=codec, quality=quality, threads=threads, overwrite=overwrite,
            progress=lambda done, total: display("comparing", done, total),
        )  # fmt: skip
    if as_json:
        report.print_json(result.as_dict(), sys.stdout)
    else:
        _print(result)
        report.print_notes(result.notes, result.lost)


def _print(result: VideoComparison) -> None:
    """Print a comparison."""
    from betwixt.evaluation.metrics import METRICS

    print(f"{result.first} and {result.second}: {result.duration:.3g} s")
    if result.scores:
        print(f"  {result.compared} frames compared, {result.identical} of them identical")
        print(f"  {'':12}{'mean':>10}{'median':>10}{'worst':>10}")
        for name, scores in result.scores.items():
            digits = METRICS[name].digits
            figures = "".join(f"{value:10.{digits}f}" for value in (scores.mean, scores.median, scores.worst))
            print(f"  {name:12}{figures} at {scores.worst_time:.3f} s")
    if result.output is not None:
        print(f"  {result.output}: {result.frames} frames")
