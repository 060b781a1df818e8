"""betwixt encode and decode: compress a video with synthesized B frames, and restore it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from betwixt.cli import options as o
from betwixt.cli import report
from betwixt.cli.conversion import connected, report_kept_work, report_result
from betwixt.cli.progress import ProgressDisplay


def encode(
    source: Annotated[str, typer.Argument(metavar="IN", help="A video, or images (folder, pattern).")],
    target: Annotated[str, typer.Argument(metavar="OUT.mkv", help="The output; any player plays its base frames.")],
    mode: Annotated[
        str,
        typer.Option(
            metavar="bit-free|bit-need|base", help="B frames: synthesized, coded by a network, or the base codec's."
        ),
    ] = "bit-free",
    base: Annotated[
        str, typer.Option(metavar="x265|x264|svtav1", help="The base codec, of the other frames.")
    ] = "x265",
    preset: Annotated[o.Text, typer.Option(help="The base codec's preset.")] = None,
    quality: Annotated[
        o.Text, typer.Option(metavar="CRF", help="The base codec's quality, lower is better; or lossless.")
    ] = None,
    keep: Annotated[int, typer.Option(metavar="2|4|8", help="The base codec gets one of this many frames.")] = 2,
    order: Annotated[
        str,
        typer.Option(
            metavar="ip|p|own",
            help="Base frames: I and P, with B if more is sent; I and P alone; or the encoder's choice.",
        ),
    ] = "ip",
    intra: Annotated[int, typer.Option(metavar="N", help="Distance of I frames, in source frames.")] = 240,
    floor: Annotated[
        o.Float,
        typer.Option(
            metavar="DB", help="Send B frames that would fall below this PSNR: 32; or -3: this far below the rest."
        ),
    ] = None,
    model: o.Model = "auto",
    weights: o.Weights = None,
    codec_weights: o.CodecWeights = None,
    step: Annotated[
        o.Float, typer.Option(metavar="S", help="bit-need: the quantizer's step. Default: to match the base frames.")
    ] = None,
    scene_cuts: o.SceneCuts = "auto",
    pixel_format: o.PixelFormat = None,
    stream: o.Stream = None,
    interlaced: o.Interlaced = "refuse",
    input_fps: o.InputFps = None,
    device: o.Device = "auto",
    threads: o.Threads = 0,
    overwrite: o.Overwrite = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Print the PSNR of the B frames, also without --floor.")
    ] = False,
    as_json: o.AsJson = False,
) -> None:
    """Compress a video: some of its frames by a standard codec, the rest synthesized from them by betwixt decode.

    No frame is synthesized across a scene cut; audio, subtitles, chapters, attachments and tags are copied.

    Examples:
        betwixt encode clip.mp4 small.mkv
        betwixt encode clip.mp4 small.mkv --keep 4 --quality 28 --floor 32
    """
    from betwixt.codec.encode import Encoded, encode_video

    def run() -> Encoded:
        with ProgressDisplay(quiet=as_json and not sys.stderr.isatty()) as progress:
            return encode_video(
                source, target, mode=mode, base=base, preset=preset, quality=quality, keep=keep, order=order,
                intra=intra, floor=floor, model=model, weights=weights, codec_weights=codec_weights, step=step,
                scene_cuts=scene_cuts, pixel_format=pixel_format, stream=stream, interlaced=interlaced,
                input_fps=input_fps, device=device, threads=threads, overwrite=overwrite, measure=measure,
                progress=progress,
            )  # fmt: skip

    report_result(run, report.print_encoded, sys.stdout, as_json)


def decode(
    source: Annotated[str, typer.Argument(metavar="IN.mkv", help="A file made by betwixt encode.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="A video; the suffix says which container.")],
    model: Annotated[o.Text, typer.Option(help="Use another model than the one it was encoded with.")] = None,
    weights: o.Weights = None,
    codec_weights: o.CodecWeights = None,
    codec: o.Codec = None,
    quality: o.Quality = None,
    pixel_format: o.PixelFormat = None,
    device: o.Device = "auto",
    threads: o.Threads = 0,
    overwrite: o.Overwrite = False,
    journal: o.Journal = False,
    cluster: o.Cluster = None,
    as_json: o.AsJson = False,
) -> None:
    """Restore every frame of a video that betwixt encode made, at its exact time.

    Damaged frames are synthesized from their neighbours, with a note and exit code 3.

    Examples:
        betwixt decode small.mkv restored.mp4
        betwixt decode small.mkv restored.mkv --codec ffv1
    """
    from betwixt.codec.decode import Decoded, decode_video

    def run() -> Decoded:
        quiet = as_json and not sys.stderr.isatty()
        with connected(cluster) as nodes, ProgressDisplay(quiet=quiet) as progress, report_kept_work(target):
            return decode_video(
                source, target, model=model, weights=weights, codec_weights=codec_weights, codec=codec,
                quality=quality, pixel_format=pixel_format, device=device, threads=threads, overwrite=overwrite,
                journal=journal, cluster=nodes, progress=progress,
            )  # fmt: skip

    report_result(run, report.print_decoded, sys.stdout, as_json)
