"""betwixt blur: motion blur."""

from __future__ import annotations

from typing import Annotated

import typer

from betwixt.cli import options as o

__all__ = ["blur"]


def blur(
    source: o.Source,
    target: o.Target,
    shutter: Annotated[str, typer.Option(metavar="DEG", help="How long the shutter is open: 360 is a frame.")] = "180",
    phase: Annotated[
        o.Text, typer.Option(metavar="DEG", help="When it opens, against the frame. Default: half a shutter before.")
    ] = None,
    samples: Annotated[
        int, typer.Option(metavar="N", help="Moments to average; more where things are fast, fewer where slow.")
    ] = 32,
    plain: Annotated[
        bool, typer.Option("--plain", help="Average code values, as the paper, instead of light.")
    ] = False,
    fps: o.Fps = None,
    factor: o.Factor = None,
    slow: o.Slow = None,
    model: o.Model = "compact",
    start: o.Start = None,
    end: o.End = None,
    scene_cuts: o.SceneCuts = "auto",
    duplicates: o.Duplicates = "keep",
    audio: o.Audio = "auto",
    codec: o.Codec = None,
    quality: o.Quality = None,
    pixel_format: o.PixelFormat = None,
    interlaced: o.Interlaced = "refuse",
    input_fps: o.InputFps = None,
    device: o.Device = "auto",
    weights: o.Weights = None,
    threads: o.Threads = 0,
    overwrite: o.Overwrite = False,
    no_journal: o.NoJournal = False,
    dry_run: o.DryRun = False,
    as_json: o.AsJson = False,
) -> None:
    """Give a video motion blur, at its own frame rate or at another, or in slow motion.

    Each frame becomes the mean, in linear light, of frames made over the time that a shutter stands open. Static parts
    stay as they are; no exposure reaches across a scene cut.
    """
    from betwixt.pipeline.blur import blur_video, plan_blur

    o.run_conversion(
        source, target, blur_video, plan_blur, shutter=shutter, phase=phase, samples=samples, linear=not plain,
        fps=fps, factor=factor, slow=slow, model=model, start=start, end=end, scene_cuts=scene_cuts,
        duplicates=duplicates, codec=codec, quality=quality, pixel_format=pixel_format, device=device,
        weights=weights, threads=threads, overwrite=overwrite, audio=audio, interlaced=interlaced,
        input_fps=input_fps, no_journal=no_journal, dry_run=dry_run, as_json=as_json,
    )  # fmt: skip
