"""betwixt evaluate: how good models are on a benchmark."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

__all__ = ["evaluate"]

Text = Optional[str]  # noqa: UP045 - Typer reads the annotation at run time
Number = Optional[int]  # noqa: UP045


def evaluate(
    dataset: Annotated[str, typer.Option(help="vimeo90k, ucf101, middlebury, snu-film-hard, frames, video, ..")],
    root: Annotated[Path, typer.Option(metavar="DIR", help="The folder that holds the data set (a file for video).")],
    model: Annotated[str, typer.Option(metavar="NAME[,NAME..]", help="Which models (see betwixt models).")] = "auto",
    limit: Annotated[Number, typer.Option(metavar="N", help="Only the first N samples.")] = None,
    ids: Annotated[Text, typer.Option(metavar="FILE", help="Only the samples named in this file, one a line.")] = None,
    metrics: Annotated[
        str,
        typer.Option(
            help="Of psnr, psnr_float, psnr_y, ssim, ssim_2d, ssim_skimage, ms_ssim, ie, flip, lpips, flicker."
        ),
    ] = "psnr,psnr_float,ssim,ie",
    clean: Annotated[bool, typer.Option("--clean", help="ucf101: without the 98 samples NCM found dirty.")] = False,
    stride: Annotated[int, typer.Option(metavar="N", help="frames: how far the given frames lie from the middle.")] = 1,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Triplets: restore the last frame from the two before it.")
    ] = False,
    paths: Annotated[
        str,
        typer.Option(
            metavar="straight|curved", help="frames, video, ..: curved shows models the frames around the two as well."
        ),
    ] = "straight",
    weights: Annotated[Text, typer.Option(metavar="FILE", help="A network's weights: safetensors, .pth, .pkl.")] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda[:n]", help="Where the model runs.")] = "auto",
    precision: Annotated[str, typer.Option(metavar="fp32|bf16|fp16|int8", help="In what a network computes.")] = "fp32",
    jobs: Annotated[int, typer.Option(metavar="N", help="Samples at work at a time; 0: one a core.")] = 0,
    save_frames: Annotated[Text, typer.Option(metavar="DIR", help="Keep the made frames there, as PNG.")] = None,
    csv: Annotated[Text, typer.Option(metavar="FILE", help="Write a table with a line for each sequence.")] = None,
    frames_csv: Annotated[Text, typer.Option(metavar="FILE", help="Write a table with a line for each frame.")] = None,
    as_json: Annotated[Text, typer.Option("--json", metavar="FILE", help="Write JSON; - for standard output.")] = None,
    sheet: Annotated[
        Text, typer.Option(metavar="FILE", help="Write the ten worst frames with pictures, as .html or .png.")
    ] = None,
    compare: Annotated[Text, typer.Option(metavar="published", help="Print the papers' figures beside ours.")] = None,
    record: Annotated[Text, typer.Option(metavar="FILE", help="Put the scores into this table of results.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that was broken off.")] = False,
    lpips_weights: Annotated[Text, typer.Option(metavar="DIR", help="Your weights for lpips.")] = None,
) -> None:
    """Score models on a benchmark, by the benchmark's own protocol.

    Frames of the data set are left out, made again and compared with the true ones. A missing or damaged file is named,
    skipped and counted, and the score is marked incomplete. With --csv or --json, what was scored is kept beside that
    file while the run lasts, and --resume goes on from there.
    """
    from betwixt.cli import report
    from betwixt.evaluation.run import EvaluationRequest, run_evaluation

    request = EvaluationRequest(
        models=[name.strip() for name in model.split(",")],
        dataset=dataset,
        root=root,
        limit=limit,
        ids=_path(ids),
        metrics=metrics,
        clean=clean,
        stride=stride,
        extrapolate=extrapolate,
        paths=paths,
        weights=_path(weights),
        device=device,
        precision=precision,
        jobs=jobs,
        save_frames=_path(save_frames),
        csv=_path(csv),
        frames_csv=_path(frames_csv),
        json=None if as_json == "-" else _path(as_json),
        sheet=_path(sheet),
        compare=compare,
        record=_path(record),
        resume=resume,
        lpips_weights=_path(lpips_weights),
    )
    out: Any = sys.stderr if as_json == "-" else sys.stdout
    with report.CountReport(quiet=False) as progress:
        outcome = run_evaluation(request, progress)
    if as_json == "-":
        print(outcome.json, end="")
    report.print_evaluations(outcome, out)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
