"""betwixt train: training a network by a recipe, and what belongs to it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from typer.core import TyperGroup

__all__ = ["app"]

Text = Optional[str]  # noqa: UP045 - Typer reads the annotation at run time
Number = Optional[int]  # noqa: UP045
Minutes = Optional[float]  # noqa: UP045
Texts = Optional[list[str]]  # noqa: UP045

Recipe = Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="What to train, on what, how (see recipes/).")]
Data = Annotated[Path, typer.Option(metavar="DIR", help="The folder that holds the recipe's data.")]
Cache = Annotated[
    Text, typer.Option(metavar="DIR", help="Where decoded data is kept. Default: in the user's cache folder.")
]
Settings = Annotated[
    Texts,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting: key, network.key, augmentation.key, data.KIND.key, stage.NAME.key. Repeatable.",
    ),
]


class _Train(TyperGroup):
    """`betwixt train RECIPE.toml` is `betwixt train run RECIPE.toml`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Train,
    help="Train a network by a recipe: betwixt train RECIPE.toml is betwixt train run RECIPE.toml.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command("run")
def run(
    recipe: Recipe,
    data: Data = Path("data"),
    cache: Cache = None,
    output: Annotated[
        Text, typer.Option(metavar="DIR", help="Checkpoints, curve and log go there. Default: runs/NAME.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the output folder.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, though the output folder holds a run.")] = False,
    source: Annotated[
        Text, typer.Option("--from", metavar="CHECKPOINT", help="Go on from this checkpoint, in a new output folder.")
    ] = None,
    weights: Annotated[Text, typer.Option(metavar="FILE", help="Begin with these weights, not at random.")] = None,
    minutes: Annotated[Minutes, typer.Option(metavar="N", help="Stop after so many minutes.")] = None,
    cool_down: Annotated[
        float, typer.Option(metavar="N", help="Of --minutes, the last N let the learning rate fall to zero.")
    ] = 0.0,
    until: Annotated[Number, typer.Option(metavar="SAMPLE", help="Stop at this sample.")] = None,
    settings: Settings = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Where it is computed.")] = "auto",
    devices: Annotated[int, typer.Option(metavar="N", help="How many, on this machine; 0: all GPUs, or one CPU.")] = 0,
    nodes: Annotated[int, typer.Option(metavar="N", help="How many machines; torchrun says it by itself.")] = 1,
    precision: Annotated[
        Text, typer.Option(metavar="fp32|bf16-mixed", help="Instead of the recipe's, whatever the device is good at.")
    ] = None,
    threads: Annotated[int, typer.Option(metavar="N", help="Of the CPU, for the network; 0: one a core.")] = 0,
    workers: Annotated[int, typer.Option(metavar="N", help="Processes a device that draw samples ahead.")] = 0,
    jobs: Annotated[int, typer.Option(metavar="N", help="Processes that prepare the data; 0: one a core.")] = 0,
    evaluation: Annotated[
        Text, typer.Option(metavar="DIR", help="The folder of the development sets, to be scored now and then.")
    ] = None,
    evaluate_every: Annotated[float, typer.Option(metavar="MINUTES", help="How often.")] = 20.0,
    save_every: Annotated[float, typer.Option(metavar="MINUTES", help="How often a checkpoint is written.")] = 5.0,
) -> None:
    """Train by a recipe, on one device or many; the first time, the data is decoded and prepared.

    Ctrl-C ends a run at a whole step, with a checkpoint; --resume goes on from there, with the samples not yet seen.
    """
    _need_torch()
    import torch

    from betwixt.cli.report import TrainingReport
    from betwixt.errors import BetwixtError, UsageError
    from betwixt.training.loop import TrainingRun, train
    from betwixt.training.recipe import load_recipe

    if cool_down and (minutes is None or not 0 < cool_down <= minutes):
        raise UsageError("--cool-down is the last part of --minutes: give both, and at most as much.")
    if threads:
        torch.set_num_threads(threads)
    try:
        loaded = load_recipe(recipe, settings or [])
        folder = Path(output) if output is not None else Path("runs") / loaded.name
        request = TrainingRun(
            data=data,
            cache=_cache(cache, data),
            output=folder,
            resume=resume,
            fresh=fresh,
            source=_path(source),
            weights=_path(weights),
            minutes=minutes,
            cool_down=cool_down,
            until=until,
            device=device,
            devices=devices,
            nodes=nodes,
            precision=precision,
            workers=workers,
            jobs=jobs,
            evaluation=_path(evaluation),
            evaluate_every=evaluate_every,
            save_every=save_every,
        )
        with TrainingReport() as report:
            progress = train(loaded, request, report)
    except BetwixtError as error:
        # One process says it for all.
        if not _first():
            raise typer.Exit(error.exit_code) from None
        raise
    if _first():
        print(f"{folder}: {progress.samples} samples, {progress.seconds / 3600:.2f} hours in all")


@app.command("prepare")
def prepare(
    recipe: Recipe,
    data: Data = Path("data"),
    cache: Cache = None,
    settings: Settings = None,
    jobs: Annotated[int, typer.Option(metavar="N", help="Processes at work; 0: one a core.")] = 0,
) -> None:
    """Decode the data of a recipe and make its synthetic scenes, ahead of a run. What is there already is kept."""
    _need_torch()
    from betwixt.training.recipe import load_recipe
    from betwixt.training.recipe_sampler import RecipeSampler

    place = _cache(cache, data)
    RecipeSampler(load_recipe(recipe, settings or []), data, place).prepare(jobs or os.cpu_count() or 1, print)
    print(f"prepared: {place}")


@app.command("export")
def export(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Of a run.")],
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS.safetensors", help="Where to.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Write the averaged weights of a checkpoint alone, in float16, as --weights of every verb takes them."""
    _need_torch()
    from betwixt.files import check_output
    from betwixt.training.checkpoint import export_weights

    check_output(weights, checkpoint, overwrite)
    progress = export_weights(checkpoint, weights)
    print(f"written: {weights} ({progress.name}, {progress.samples} samples)")


@app.command("pack")
def pack(
    recipe: Recipe,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to; it must not exist.")],
    data: Data = Path("data"),
    checkpoint: Annotated[Text, typer.Option(metavar="FILE", help="The checkpoint to go on from.")] = None,
    limit: Annotated[int, typer.Option(metavar="MIB", help="How large the folder may become.")] = 60,
) -> None:
    """Put all that a run needs into one folder, for another machine: code, data, recipe, checkpoint, train.sh."""
    _need_torch()
    from betwixt.training.pack import pack as write

    size = write(recipe, folder, data, _path(checkpoint), limit)
    print(f"written: {folder}, {size / (1 << 20):.1f} MiB; run {folder / 'train.sh'} there")


@app.command("curve")
def curve(
    table: Annotated[Path, typer.Argument(metavar="CURVE.csv", help="Of a run.")] = Path("checkpoints/curve.csv"),
    picture: Annotated[Path, typer.Argument(metavar="PICTURE.png", help="Where to.")] = Path("docs/images/curve.png"),
) -> None:
    """Draw a training curve: scores over samples and over hours."""
    from betwixt.training.curve import draw_curve

    draw_curve(table, picture)
    print(f"written: {picture}")


def _need_torch() -> None:
    from betwixt.machine import require_torch

    require_torch("Training")


def _first() -> bool:
    """Whether this is the first of the processes of a run."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _cache(given: str | None, data: Path) -> Path:
    """A folder for what is made of a data folder, in the user's cache unless another is given."""
    if given is not None:
        return Path(given)
    from betwixt.machine import cache_folder

    place = data.resolve()
    mark = hashlib.sha256(os.fsencode(place)).hexdigest()[:8]
    return cache_folder("training") / f"{place.name}-{mark}"
