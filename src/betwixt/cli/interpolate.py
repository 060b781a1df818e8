"""betwixt interpolate: a video in, a smooth one out."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Optional

import typer

__all__ = ["interpolate"]

Text = Optional[str]  # noqa: UP045 - Typer reads the annotation at run time


def interpolate(
    source: Annotated[str, typer.Argument(metavar="IN", help="A video, images (folder, pattern), or - for a pipe.")],
    target: Annotated[
        str, typer.Argument(metavar="OUT", help="A video, a .gif, a folder or pattern of images, or - for y4m.")
    ],
    fps: Annotated[Text, typer.Option(help="Output rate: 60, 60000/1001, 59.94.")] = None,
    factor: Annotated[Text, typer.Option(help="Or a multiple of the source's rate: 2.5. Without either: 2.")] = None,
    slow: Annotated[Text, typer.Option(help="Play this many times slower, at the source's rate.")] = None,
    model: Annotated[str, typer.Option(help="Which model makes the frames (see betwixt models).")] = "dis",
    start: Annotated[Text, typer.Option(metavar="T", help="Begin at this time: 90.5 or 00:01:30.500.")] = None,
    end: Annotated[Text, typer.Option(metavar="T", help="Stop at this time.")] = None,
    scene_cuts: Annotated[
        str, typer.Option(metavar="auto|off|FILE", help="Find scene cuts, ignore them, or read them from a file.")
    ] = "auto",
    duplicates: Annotated[str, typer.Option(metavar="keep|fill", help="Replace repeated frames by new ones.")] = "keep",
    loop: Annotated[bool, typer.Option("--loop", help="Lead from the last frame back to the first.")] = False,
    audio: Annotated[
        str, typer.Option(metavar="auto|copy|drop|stretch", help="The sound; stretch is for slow motion, pitch kept.")
    ] = "auto",
    codec: Annotated[Text, typer.Option(help="h264, hevc, av1, vp9, prores, ffv1, or any FFmpeg encoder.")] = None,
    quality: Annotated[
        Text, typer.Option(help="On the encoder's own scale, lower is better; or lossless. Images: 1 to 100.")
    ] = None,
    pixel_format: Annotated[Text, typer.Option(help="Encode in this format instead of the source's.")] = None,
    interlaced: Annotated[
        str, typer.Option(metavar="refuse|deinterlace|ignore", help="What to do with interlaced video.")
    ] = "refuse",
    input_fps: Annotated[Text, typer.Option(help="The rate of a folder of images. Default: 25.")] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda[:n]", help="Where the model runs.")] = "auto",
    weights: Annotated[Text, typer.Option(metavar="FILE", help="A network's weights: safetensors, .pth, .pkl.")] = None,
    threads: Annotated[int, typer.Option(metavar="N", help="Threads to use; 0 for one a core.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Interpolate a video to another frame rate, or slow it down.

    Every source frame that has a place in the output is passed on untouched; audio, subtitles, chapters and tags are
    copied; duration and sync stay; nothing is blended across a scene cut.
    """
    from betwixt.cli import report
    from betwixt.errors import DamagedInputError
    from betwixt.pipeline.interpolate import interpolate_video, plan_video

    inlet: Any = sys.stdin.buffer if source == "-" else source
    outlet: Any = sys.stdout.buffer if target == "-" else target
    out = sys.stderr if target == "-" else sys.stdout
    options: dict[str, Any] = {
        "fps": fps, "factor": factor, "slow": slow, "model": model, "start": start, "end": end,
        "scene_cuts": scene_cuts, "duplicates": duplicates, "loop": loop, "codec": codec, "quality": quality,
        "pixel_format": pixel_format, "device": device, "weights": weights,
        "threads": threads, "overwrite": overwrite, "audio": audio,
        "interlaced": interlaced, "input_fps": input_fps,
    }  # fmt: skip
    if dry_run:
        plan = plan_video(inlet, outlet, **options)
        if as_json:
            report.print_json(report.plan_dict(plan), out)
        else:
            report.print_plan(plan, out)
            report.print_notes(plan.notes, [])
        return
    damaged: DamagedInputError | None = None
    with report.ProgressReport(quiet=as_json and not sys.stderr.isatty()) as bar:
        try:
            summary = interpolate_video(inlet, outlet, progress=bar, **options)
        except DamagedInputError as error:
            damaged, summary = error, error.summary
    if as_json:
        report.print_json(summary.as_dict(), out)
    else:
        report.print_summary(summary, out)
        report.print_notes(summary.notes, summary.lost)
    if damaged is not None:
        raise damaged
