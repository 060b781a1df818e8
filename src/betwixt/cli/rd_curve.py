"""betwixt rd-curve: rate and quality of compression with synthesized B frames."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from betwixt.cli import options as o
from betwixt.cli.report import print_notes
from betwixt.errors import UsageError


def rd_curve(
    clips: Annotated[
        list[str],
        typer.Argument(metavar="CLIP..", help="Videos (raw .yuv, too), images; PATH@T from time T."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="NAME", help="Writes NAME.csv, .png, .md, -CLIP.jpg; lines there are kept."
        ),
    ] = Path("rd-curve"),
    methods: Annotated[
        str, typer.Option(help="Of base, base-p, base-own, bit-free, bit-free-floor, bit-free-own, bit-need.")
    ] = "base,bit-free,bit-need",
    qualities: Annotated[
        str, typer.Option(metavar="Q,Q..", help="Qualities of the base encoder, one for each point.")
    ] = "22,27,32,37",
    base: Annotated[str, typer.Option(metavar="x265|x264|svtav1", help="The base codec.")] = "x265",
    preset: Annotated[o.Text, typer.Option(help="Its preset, the same for all.")] = None,
    p_codec: Annotated[
        o.Text,
        typer.Option(metavar="COMMAND", help="An external codec with I and P alone, for base-p, bit-free, bit-need."),
    ] = None,
    b_codec: Annotated[
        o.Text, typer.Option(metavar="COMMAND", help="The same codec in the order I-B-P-B, for base.")
    ] = None,
    frames: Annotated[int, typer.Option(metavar="N", help="How many frames of each clip.")] = 33,
    keep: Annotated[int, typer.Option(metavar="2|4|8", help="The base encoder gets one of this many frames.")] = 2,
    intra: Annotated[int, typer.Option(metavar="N", help="Distance of I frames.")] = 32,
    floor: Annotated[float, typer.Option(metavar="DB", help="Floor of bit-free-floor; see betwixt encode.")] = -2.0,
    model: o.Model = "auto",
    weights: o.Weights = None,
    codec_weights: o.CodecWeights = None,
    threads: o.Threads = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Skip the points that NAME.csv holds already.")] = False,
) -> None:
    """Draw rate-distortion curves: the base codec, and half of its frames left to synthesis.

    Each point is a file that was written and decoded again; its size gives the rate.

    Examples:
        betwixt rd-curve clip.mp4 -o curve
        betwixt rd-curve a.mp4 b.mp4@12.5 -o curve --qualities 27,32,37
    """
    from betwixt.codec.rd_curve import CurveRequest, measure_rd_curves
    from betwixt.codec.rd_report import markdown_report

    try:
        steps = tuple(int(q) for q in qualities.split(","))
    except ValueError:
        raise UsageError(f"The qualities '{qualities}' are not whole numbers: give e.g. 22,27,32,37.") from None
    request = CurveRequest(
        clips=tuple(clips), output=output, methods=tuple(m.strip() for m in methods.split(",")), qualities=steps,
        base=base, preset=preset, p_codec=p_codec, b_codec=b_codec, frames=frames, keep=keep, intra=intra, floor=floor,
        model=model, weights=weights, codec_weights=codec_weights, threads=threads, resume=resume,
    )  # fmt: skip
    points, notes = measure_rd_curves(request, lambda text: print(text, file=sys.stderr, flush=True))
    print(markdown_report(points), end="")
    print_notes(notes)
