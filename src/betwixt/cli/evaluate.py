"""betwixt evaluate: the quality of models on a benchmark."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from betwixt.cli import options as o
from betwixt.cli import report
from betwixt.cli.progress import ProgressDisplay


def evaluate(
    dataset: Annotated[
        str,
        typer.Option(metavar="NAME[,NAME..]", help="vimeo90k, ucf101, middlebury, snu-film-hard, frames, video, .."),
    ],
    root: Annotated[Path, typer.Option(metavar="DIR", help="The folder that holds the data sets (a file for video).")],
    model: Annotated[str, typer.Option(metavar="NAME[,NAME..]", help="Which models (see betwixt models).")] = "auto",
    limit: Annotated[o.Number, typer.Option(metavar="N", help="Only the first N samples.")] = None,
    every: Annotated[int, typer.Option(metavar="N", help="Only every N-th sample of each sequence.")] = 1,
    ids: Annotated[
        o.File, typer.Option(metavar="FILE", help="Only the samples named in this file, one per line.")
    ] = None,
    metrics: Annotated[
        str,
        typer.Option(
            help="Of psnr, psnr_float, psnr_y, ssim, ssim_2d, ssim_skimage, ssim_uniform, ms_ssim, ie, sharpness, "
            "ssimulacra2, xpsnr, flip, lpips, vmaf, pulse, flicker."
        ),
    ] = "psnr,psnr_float,ssim,ie,sharpness",
    clean: Annotated[
        bool, typer.Option("--clean", help="ucf101: leave out the 98 samples that NCM found faulty.")
    ] = False,
    stride: Annotated[
        int, typer.Option(metavar="N", help="frames: distance of the given frames from the middle one.")
    ] = 1,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Triplets: predict the last frame from the two before it.")
    ] = False,
    paths: Annotated[
        str,
        typer.Option(
            metavar="straight|curved", help="frames, video, ..: curved also gives models the neighbouring frames."
        ),
    ] = "straight",
    weights: o.Weights = None,
    settings: o.NetworkSettings = None,
    tta: o.TestTimeAugmentation = False,
    masks: Annotated[
        o.Text,
        typer.Option(metavar="regions|open-world|zero|DIR", help="..+hm: the masks. DIR: SAMPLE-0.png, SAMPLE-1.png."),
    ] = None,
    device: o.Device = "auto",
    runtime: o.Runtime = "auto",
    precision: Annotated[str, typer.Option(metavar="fp32|bf16|fp16|int8", help="The network's precision.")] = "fp32",
    jobs: Annotated[int, typer.Option(metavar="N", help="Samples scored at a time; 0 for one per core.")] = 0,
    save_frames: Annotated[
        o.File, typer.Option(metavar="DIR", help="Keep the synthesized frames there, as PNG.")
    ] = None,
    save_flows: Annotated[
        o.File, typer.Option(metavar="DIR", help="Keep the model's flows there, as .flo and in colours.")
    ] = None,
    save_masks: Annotated[o.File, typer.Option(metavar="DIR", help="Keep its fusion masks there, as PNG.")] = None,
    save_routes: Annotated[o.File, typer.Option(metavar="DIR", help="apr: keep the routes there, as PNG.")] = None,
    csv: Annotated[o.File, typer.Option(metavar="FILE", help="Write a table with a line for each sequence.")] = None,
    frames_csv: Annotated[
        o.File, typer.Option(metavar="FILE", help="Write a table with a line for each frame.")
    ] = None,
    json: Annotated[o.File, typer.Option(metavar="FILE", help="Write JSON; - for standard output.")] = None,
    sheet: Annotated[
        o.File, typer.Option(metavar="FILE", help="Write a sheet of the ten worst frames, .html or .png.")
    ] = None,
    side_by_side: Annotated[
        o.File, typer.Option(metavar="FILE", help="Write a sheet of all models beside each other, .html or .png.")
    ] = None,
    compare: Annotated[
        o.Text, typer.Option(metavar="published", help="Print the papers' figures beside the measured ones.")
    ] = None,
    record: Annotated[o.File, typer.Option(metavar="FILE", help="Put the scores into this table of results.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    lpips_weights: Annotated[o.File, typer.Option(metavar="DIR", help="Your weights for lpips.")] = None,
) -> None:
    """Score models on a benchmark, by the benchmark's own protocol.

    Frames of the data set are left out, synthesized and compared with the original ones. Missing and damaged files are
    named, skipped and counted, and the score is marked incomplete. With --csv or --json, scores are kept beside that
    file while the run lasts, and --resume continues from there. Weights from training name their model and its
    settings: --weights FILE is enough.

    Examples:
        betwixt evaluate --dataset vimeo90k --root vimeo_triplet/ --model hybrid,rife-4.6
        betwixt evaluate --dataset vimeo90k,ucf101 --root DATA --weights rife.safetensors --set scales=16,4,1 --tta
        betwixt evaluate --dataset video --root clip.mp4 --metrics psnr,ssim --csv scores.csv
    """
    from betwixt.evaluation.run import EvaluationRequest, run_evaluation

    to_stdout = json == Path("-")
    request = EvaluationRequest(
        models=[name.strip() for name in model.split(",")], dataset=dataset, root=root, limit=limit,
        every=every, ids=ids, metrics=metrics, clean=clean, stride=stride, extrapolate=extrapolate, paths=paths,
        weights=None if weights is None else Path(weights), settings=tuple(settings or ()), tta=tta, masks=masks,
        device=device, runtime=runtime, precision=precision,
        jobs=jobs, save_frames=save_frames,
        save_flows=save_flows, save_masks=save_masks, save_routes=save_routes,
        csv=csv, frames_csv=frames_csv, json=None if to_stdout else json,
        sheet=sheet, side_by_side=side_by_side, compare=compare, record=record, resume=resume,
        lpips_weights=lpips_weights,
    )  # fmt: skip
    out: Any = sys.stderr if to_stdout else sys.stdout
    with ProgressDisplay("samples") as progress:
        outcome = run_evaluation(request, progress)
    if to_stdout:
        print(outcome.json, end="")
    report.print_evaluations(outcome, out)
