"""betwixt masks: which parts of a video's frames belong together."""

from __future__ import annotations

import sys
from fractions import Fraction
from typing import Annotated, Optional

import typer

__all__ = ["masks"]

Text = Optional[str]  # noqa: UP045 - Typer reads the annotation at run time


def masks(
    video: Annotated[str, typer.Argument(metavar="IN", help="A video, or a folder or pattern of images.")],
    folder: Annotated[str, typer.Argument(metavar="OUT", help="The folder for the label maps.")],
    source: Annotated[str, typer.Option(metavar="regions|open-world", help="What makes them.")] = "regions",
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda[:n]", help="Where open-world's networks run.")] = "auto",
    overlay: Annotated[bool, typer.Option(help="Write overlay.mp4, to look at.")] = True,
    cache: Annotated[bool, typer.Option(help="Use masks that were made before, and keep new ones.")] = True,
    input_fps: Annotated[Text, typer.Option(help="The rate of images. Default: 25.")] = None,
    interlaced: Annotated[str, typer.Option(metavar="refuse|deinterlace|ignore", help="Interlaced video.")] = "refuse",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace masks that are there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Make label maps of each pair of frames, for the hierarchical models (--masks OUT).

    The same label means the same part of the scene in both frames. regions needs no weights; open-world needs
    betwixt[masks] and the weights of ram, hq-sam and grounding-dino.
    """
    from betwixt.cli.report import CountReport, print_json
    from betwixt.media.timeline import parse_rate
    from betwixt.pipeline.masks import make_masks

    rate: Fraction | None = None if input_fps is None else parse_rate(input_fps)
    with CountReport(quiet=as_json) as progress:
        made = make_masks(
            video,
            folder,
            masks=source,
            device=device,
            overlay=overlay,
            cache=cache,
            overwrite=overwrite,
            input_fps=rate,
            interlaced=interlaced,
            progress=progress,
        )
    if as_json:
        print_json(made.as_dict(), sys.stdout)
        return
    print(f"{made.output}: masks of {made.frames} frames by {made.source}, {made.labels:.1f} labels a pair")
    each = 1000 * made.masking / (made.frames - 1)
    known = f", {made.known} known from before" if made.known else ""
    print(f"  {made.seconds:.1f} s, {each:.0f} ms a pair for the masks{known}")
    if made.overlay is not None:
        print(f"  to look at: {made.overlay}")
