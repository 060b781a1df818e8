"""betwixt encode and decode: a video compressed with synthesized B frames, and back."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Optional

import typer

from betwixt.cli.options import NoJournal, says_what_is_kept

__all__ = ["decode", "encode"]

Text = Optional[str]  # noqa: UP045 - Typer reads the annotation at run time
Number = Optional[float]  # noqa: UP045


def encode(
    source: Annotated[str, typer.Argument(metavar="IN", help="A video, or images (folder, pattern).")],
    target: Annotated[str, typer.Argument(metavar="OUT.mkv", help="What any player plays at a part of the rate.")],
    mode: Annotated[
        str, typer.Option(metavar="bit-free|bit-need|base", help="B frames synthesized, coded, or the base codec's.")
    ] = "bit-free",
    base: Annotated[str, typer.Option(metavar="x265|x264|svtav1", help="The codec of the other frames.")] = "x265",
    preset: Annotated[Text, typer.Option(help="Its preset.")] = None,
    quality: Annotated[Text, typer.Option(metavar="CRF", help="Its quality, lower is better; or lossless.")] = None,
    keep: Annotated[int, typer.Option(metavar="2|4|8", help="Give it one of this many frames.")] = 2,
    order: Annotated[
        str,
        typer.Option(metavar="ip|p|own", help="I and P, and B if more is sent; I and P alone; or as it thinks best."),
    ] = "ip",
    intra: Annotated[int, typer.Option(metavar="N", help="Distance of I frames, in frames of the source.")] = 240,
    floor: Annotated[
        Number,
        typer.Option(metavar="DB", help="Send B frames that would come out worse: 32; -3: so much below the rest."),
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="NAME", help="Which model synthesizes (betwixt models); auto: the best.")
    ] = "auto",
    weights: Annotated[Text, typer.Option(metavar="FILE", help="Its weights.")] = None,
    codec_weights: Annotated[
        Text, typer.Option(metavar="FILE", help="bit-need: weights of the network that codes.")
    ] = None,
    step: Annotated[
        Number, typer.Option(metavar="S", help="bit-need: the quantizer's step; without it, as the other frames.")
    ] = None,
    scene_cuts: Annotated[
        str, typer.Option(metavar="auto|off|FILE", help="Find scene cuts, ignore them, or read them from a file.")
    ] = "auto",
    pixel_format: Annotated[Text, typer.Option(help="Encode in this format instead of the source's.")] = None,
    interlaced: Annotated[
        str, typer.Option(metavar="refuse|deinterlace|ignore", help="What to do with interlaced video.")
    ] = "refuse",
    input_fps: Annotated[Text, typer.Option(help="The rate of a folder of images. Default: 25.")] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda[:n]", help="Where the model runs.")] = "auto",
    threads: Annotated[int, typer.Option(metavar="N", help="Threads to use; 0 for one a core.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    measure: Annotated[bool, typer.Option("--measure", help="Say how good the B frames are, without a floor too.")] = (
        False
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Compress a video: half of the frames by a usual codec, the rest made from them by betwixt decode.

    No frame is ever made across a scene cut; audio, subtitles, chapters, attachments and tags are copied.
    """
    from betwixt.cli import report
    from betwixt.codec.encode import encode_video

    with report.StageReport(quiet=as_json and not sys.stderr.isatty()) as progress:
        summary = encode_video(
            source, target, mode=mode, base=base, preset=preset, quality=quality, keep=keep, order=order, intra=intra,
            floor=floor, model=model, weights=weights, codec_weights=codec_weights, step=step, scene_cuts=scene_cuts,
            pixel_format=pixel_format, interlaced=interlaced, input_fps=input_fps, device=device, threads=threads,
            overwrite=overwrite, measure=measure, progress=progress,
        )  # fmt: skip
    if as_json:
        report.print_json(summary.as_dict(), sys.stdout)
    else:
        report.print_encoded(summary, sys.stdout)
        report.print_notes(summary.notes, summary.lost)


def decode(
    source: Annotated[str, typer.Argument(metavar="IN.mkv", help="What betwixt encode made.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="A video; the suffix says which container.")],
    model: Annotated[Text, typer.Option(help="Another model than the one it was encoded with.")] = None,
    weights: Annotated[Text, typer.Option(metavar="FILE", help="The model's weights.")] = None,
    codec_weights: Annotated[
        Text, typer.Option(metavar="FILE", help="bit-need: weights of the network that codes.")
    ] = None,
    codec: Annotated[Text, typer.Option(help="h264, hevc, av1, vp9, prores, ffv1, or any FFmpeg encoder.")] = None,
    quality: Annotated[Text, typer.Option(help="On the encoder's own scale, lower is better; or lossless.")] = None,
    pixel_format: Annotated[Text, typer.Option(help="Encode in this format instead of the source's.")] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda[:n]", help="Where the model runs.")] = "auto",
    threads: Annotated[int, typer.Option(metavar="N", help="Threads to use; 0 for one a core.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    no_journal: NoJournal = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Restore every frame of a video that betwixt encode made, at its exact time.

    Damaged frames are made up from their neighbours, with a notice and exit code 3.
    """
    from betwixt.cli import report
    from betwixt.codec.decode import decode_video
    from betwixt.errors import DamagedInputError

    damaged: DamagedInputError | None = None
    summary: Any
    with report.StageReport(quiet=as_json and not sys.stderr.isatty()) as progress, says_what_is_kept(target):
        try:
            summary = decode_video(
                source, target, model=model, weights=weights, codec_weights=codec_weights, codec=codec,
                quality=quality, pixel_format=pixel_format, device=device, threads=threads, overwrite=overwrite,
                journal=not no_journal, progress=progress,
            )  # fmt: skip
        except DamagedInputError as error:
            damaged, summary = error, error.summary
            if summary is None:
                raise
    if as_json:
        report.print_json(summary.as_dict(), sys.stdout)
    else:
        report.print_decoded(summary, sys.stdout)
        report.print_notes(summary.notes, summary.lost)
    if damaged is not None:
        raise damaged
