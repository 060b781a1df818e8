"""betwixt extrapolate: the frames after the last."""

from __future__ import annotations

from typing import Annotated

import typer

from betwixt.cli import options as o

__all__ = ["extrapolate"]


def extrapolate(
    source: o.Source,
    target: o.Target,
    frames: Annotated[int, typer.Option(metavar="N", help="How many frames to make.")] = 1,
    only: Annotated[bool, typer.Option("--only", help="Write the new frames alone, without sound.")] = False,
    model: o.Model = "compact",
    start: o.Start = None,
    end: o.End = None,
    scene_cuts: o.SceneCuts = "auto",
    duplicates: o.Duplicates = "keep",
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
    """Make the frames after the last one, from the last two.

    OUT holds the source, untouched, and the new frames. A network made for it extrapolates from frame to frame; with
    any other model the motion that dis finds goes on as it went.
    """
    from betwixt.pipeline.extrapolation import extrapolate_video, plan_extrapolation

    o.run_conversion(
        source, target, extrapolate_video, plan_extrapolation, frames=frames, only=only, model=model, start=start,
        end=end, scene_cuts=scene_cuts, duplicates=duplicates, codec=codec, quality=quality, pixel_format=pixel_format,
        device=device, weights=weights, threads=threads, overwrite=overwrite, interlaced=interlaced,
        input_fps=input_fps, no_journal=no_journal, dry_run=dry_run, as_json=as_json,
    )  # fmt: skip
