"""betwixt interpolate: a video in, a smooth one out."""

from __future__ import annotations

from typing import Annotated

import typer

from betwixt.cli import options as o

__all__ = ["interpolate"]


def interpolate(
    source: o.Source,
    target: o.Target,
    fps: o.Fps = None,
    factor: o.Factor = None,
    slow: o.Slow = None,
    model: o.Model = "auto",
    start: o.Start = None,
    end: o.End = None,
    scene_cuts: o.SceneCuts = "auto",
    duplicates: o.Duplicates = "keep",
    loop: Annotated[bool, typer.Option("--loop", help="Lead from the last frame back to the first.")] = False,
    audio: o.Audio = "auto",
    codec: o.Codec = None,
    quality: o.Quality = None,
    pixel_format: o.PixelFormat = None,
    interlaced: o.Interlaced = "refuse",
    input_fps: o.InputFps = None,
    device: o.Device = "auto",
    weights: o.Weights = None,
    masks: Annotated[
        o.Text, typer.Option(metavar="DIR", help="Masks for a model that takes them (see betwixt masks).")
    ] = None,
    paths: Annotated[
        str,
        typer.Option(
            metavar="curved|straight",
            help="How things move: as the frames around say (dis, compact, hybrid), or straight.",
        ),
    ] = "curved",
    threads: o.Threads = 0,
    overwrite: o.Overwrite = False,
    no_journal: o.NoJournal = False,
    dry_run: o.DryRun = False,
    as_json: o.AsJson = False,
) -> None:
    """Interpolate a video to another frame rate, or slow it down. Without a rate it doubles.

    Every source frame that has a place in the output is passed on untouched; audio, subtitles, chapters and tags are
    copied; duration and sync stay; nothing is blended across a scene cut.
    """
    from betwixt.pipeline.interpolate import interpolate_video, plan_video

    o.run_conversion(
        source, target, interpolate_video, plan_video, fps=fps, factor=factor, slow=slow, model=model, start=start,
        end=end, scene_cuts=scene_cuts, duplicates=duplicates, loop=loop, codec=codec, quality=quality,
        pixel_format=pixel_format, device=device, weights=weights, threads=threads, overwrite=overwrite, audio=audio,
        interlaced=interlaced, input_fps=input_fps, masks=masks, paths=paths, no_journal=no_journal,
        dry_run=dry_run, as_json=as_json,
    )  # fmt: skip
