"""betwixt masks: label maps of a video, which say what parts of its frames belong together."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from betwixt.cli import options as o
from betwixt.cli.progress import ProgressDisplay
from betwixt.cli.report import print_json
from betwixt.units import format_count


def masks(
    source: Annotated[str, typer.Argument(metavar="IN", help="A video, or a folder or pattern of images.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="The folder for the label maps.")],
    masks: Annotated[
        str, typer.Option("--source", metavar="regions|open-world", help="What makes the masks.")
    ] = "regions",
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda[:n]", help="Where open-world's networks run.")] = "auto",
    overlay: Annotated[bool, typer.Option(help="Write overlay.mp4, which shows the masks.")] = True,
    cache: Annotated[bool, typer.Option(help="Use masks that were made before, and keep new ones.")] = True,
    input_fps: o.InputFps = None,
    interlaced: o.Interlaced = "refuse",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing masks.")] = False,
    as_json: o.AsJson = False,
) -> None:
    """Make label maps of each pair of frames, for the hierarchical models (--masks OUT).

    The same label means the same part of the scene in both frames. regions needs no weights; open-world needs
    betwixt[masks] and the weights of ram, hq-sam and grounding-dino.

    Examples:
        betwixt masks clip.mp4 masks/
        betwixt masks clip.mp4 masks/ --source open-world --device cuda
    """
    from betwixt.pipeline.masks import make_masks

    with ProgressDisplay("frames", quiet=as_json) as progress:
        summary = make_masks(
            source, target, masks=masks, device=device, overlay=overlay, cache=cache, overwrite=overwrite,
            input_fps=input_fps, interlaced=interlaced, progress=progress,
        )  # fmt: skip
    if as_json:
        print_json(summary.as_dict(), sys.stdout)
        return
    frames = format_count(summary.frames, "frame")
    print(f"{summary.output}: masks of {frames} by {summary.source}, {summary.labels:.1f} labels a pair")
    per_pair = 1000 * summary.masking / (summary.frames - 1)
    known = f", {summary.known} from the cache" if summary.known else ""
    print(f"  {summary.seconds:.1f} s, {per_pair:.0f} ms a pair for the masks{known}")
    if summary.overlay is not None:
        print(f"  to look at: {summary.overlay}")
