"""betwixt train: train a network by a recipe, and prepare, export, pack and plot."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from betwixt.cli import options as o
from betwixt.cli.command import App, Group
from betwixt.cli.progress import ProgressDisplay
from betwixt.cli.report import print_json
from betwixt.errors import BetwixtError, UsageError
from betwixt.files import check_output
from betwixt.machine import cache_folder, require_torch
from betwixt.units import format_count

Recipe = Annotated[
    str, typer.Argument(metavar="RECIPE", help="The recipe: a name (see betwixt train list), or a TOML file.")
]
Data = Annotated[Path, typer.Option(metavar="DIR", help="The folder that holds the recipe's data.")]
Cache = Annotated[
    o.File, typer.Option(metavar="DIR", help="The folder for decoded data. Default: in the user's cache folder.")
]
Settings = Annotated[
    o.Texts,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting: key, network.key, augmentation.key, data.KIND.key, stage.NAME.key. Repeatable.",
    ),
]


class TrainingReporter:
    """Reports the progress of a training run (`training.loop.ProgressReporter`) on a display."""

    def __init__(self, display: ProgressDisplay) -> None:
        self._display = display

    def note(self, text: str) -> None:
        """Print a remark."""
        self._display.print(text)

    def prepare(self, task: str, done: int, total: int, unit: str) -> None:
        """Show how far the preparation of the data is."""
        self._display(task, done, total, unit=unit)

    def step(self, samples: int, end: int, stage: str, figures: Mapping[str, float]) -> None:
        """Show how far the run is, and the mean losses and the speed since the last time."""
        text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self._display(stage, samples, end, text)

    def scores(self, row: Mapping[str, Any]) -> None:
        """Print the scores of a checkpoint."""
        self._display.print("  ".join(f"{name} {value}" for name, value in row.items()))


class _Train(Group):
    """`betwixt train RECIPE` is `betwixt train run RECIPE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = App(
    cls=_Train,
    help="Train a network by a recipe: betwixt train RECIPE is betwixt train run RECIPE.",
)


@app.command("run")
def run(
    recipe: Recipe,
    data: Data = Path("data"),
    cache: Cache = None,
    output: Annotated[
        o.File, typer.Option(metavar="DIR", help="The folder for checkpoints, curve and log. Default: runs/NAME.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the checkpoint in the output folder.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew although the output folder holds a run.")] = False,
    source: Annotated[
        o.File,
        typer.Option("--from", metavar="CHECKPOINT", help="Continue from this checkpoint, in a new output folder."),
    ] = None,
    weights: Annotated[
        o.File, typer.Option(metavar="FILE", help="Start from these weights, not from random ones.")
    ] = None,
    minutes: Annotated[o.Float, typer.Option(metavar="N", help="Stop after this many minutes.")] = None,
    cool_down: Annotated[
        float, typer.Option(metavar="N", help="Let the learning rate fall to zero in the last N of --minutes.")
    ] = 0.0,
    until: Annotated[o.Number, typer.Option(metavar="SAMPLE", help="Stop at this sample.")] = None,
    settings: Settings = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Where to train.")] = "auto",
    devices: Annotated[
        int, typer.Option(metavar="N", help="How many devices of this machine; 0: all GPUs, or one CPU.")
    ] = 0,
    nodes: Annotated[int, typer.Option(metavar="N", help="How many machines; under torchrun it is known.")] = 1,
    precision: Annotated[
        o.Text, typer.Option(metavar="fp32|bf16-mixed", help="The precision, instead of the recipe's.")
    ] = None,
    threads: Annotated[int, typer.Option(metavar="N", help="CPU threads of the network; 0 for one per core.")] = 0,
    workers: Annotated[int, typer.Option(metavar="N", help="Processes per device that load samples ahead.")] = 0,
    jobs: Annotated[int, typer.Option(metavar="N", help="Processes that prepare the data; 0 for one per core.")] = 0,
    evaluation: Annotated[
        o.File, typer.Option(metavar="DIR", help="The folder of the development sets, which are scored regularly.")
    ] = None,
    evaluate_every: Annotated[float, typer.Option(metavar="MINUTES", help="How often they are scored.")] = 20.0,
    save_every: Annotated[float, typer.Option(metavar="MINUTES", help="How often a checkpoint is written.")] = 5.0,
) -> None:
    """Train by a recipe, on one device or several. The first run decodes and prepares the data.

    Ctrl-C ends a run after a whole step, with a checkpoint; --resume continues from there, with samples not yet seen.

    Examples:
        betwixt train compact --data data/
        betwixt train compact --data data/ --resume --minutes 60
    """
    require_torch("Training")
    import torch

    from betwixt.training.loop import TrainingRun, train
    from betwixt.training.recipe import load_recipe
    from betwixt.training.recipe_files import find_recipe

    if cool_down and (minutes is None or not 0 < cool_down <= minutes):
        raise UsageError("`cool_down` is the last part of `minutes`: give both, and at most as much.")
    if threads:
        torch.set_num_threads(threads)
    try:
        loaded = load_recipe(find_recipe(recipe), settings or [])
        folder = Path("runs") / loaded.name if output is None else output
        request = TrainingRun(
            data=data, cache=_cache_folder(cache, data), output=folder, resume=resume, fresh=fresh, source=source,
            weights=weights, minutes=minutes, cool_down=cool_down, until=until, device=device, devices=devices,
            nodes=nodes, precision=precision, workers=workers, jobs=jobs, evaluation=evaluation,
            evaluate_every=evaluate_every, save_every=save_every,
        )  # fmt: skip
        with ProgressDisplay("samples") as display:
            progress = train(loaded, request, TrainingReporter(display))
    except BetwixtError as error:
        # Of several processes only the first prints the message.
        if not _is_first_process():
            raise typer.Exit(error.exit_code) from None
        raise
    if _is_first_process():
        print(f"{folder}: {format_count(progress.samples, 'sample')}, {progress.seconds / 3600:.2f} hours in all")


@app.command("list")
def list_recipes(as_json: o.AsJson = False) -> None:
    """List the recipes that come with Betwixt.

    Examples:
        betwixt train list
        betwixt train list --json
    """
    from betwixt.training.recipe import load_recipe
    from betwixt.training.recipe_files import find_recipe, recipe_names, summarize

    rows = []
    for name in recipe_names():
        file = find_recipe(name)
        data = list(dict.fromkeys(str(entry["kind"]) for entry in load_recipe(file).data))
        rows.append({"name": name, "data": data, "summary": summarize(name), "file": str(file)})
    if as_json:
        print_json(rows, sys.stdout)
        return
    for row in rows:
        print(f"{row['name']:24}{', '.join(row['data']):18}{row['summary']}")


@app.command("prepare")
def prepare(
    recipe: Recipe,
    data: Data = Path("data"),
    cache: Cache = None,
    settings: Settings = None,
    jobs: Annotated[int, typer.Option(metavar="N", help="How many processes; 0 for one per core.")] = 0,
) -> None:
    """Decode the data of a recipe and render its synthetic scenes before a run. Existing ones are kept.

    Examples:
        betwixt train prepare compact --data data/
        betwixt train prepare compact --jobs 4
    """
    require_torch("Training")
    from betwixt.training.recipe import load_recipe
    from betwixt.training.recipe_files import find_recipe
    from betwixt.training.recipe_sampler import RecipeSampler

    place = _cache_folder(cache, data)
    sampler = RecipeSampler(load_recipe(find_recipe(recipe), settings or []), data, place)
    with ProgressDisplay() as display:
        sampler.prepare(jobs or os.cpu_count() or 1, print, TrainingReporter(display).prepare)
    print(f"prepared: {place}")


@app.command("export")
def export(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint of a run.")],
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS.safetensors", help="The output.")],
    with_teacher: Annotated[
        bool, typer.Option("--with-teacher", help="Add the teacher block, for the codec (predictor_weights).")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Write only the averaged weights of a checkpoint, in float16, as --weights of all commands takes them.

    Examples:
        betwixt train export runs/compact/checkpoint.safetensors mine.safetensors
        betwixt train export runs/ncm-base/checkpoint.safetensors ncm.safetensors --with-teacher
    """
    require_torch("Training")
    from betwixt.training.checkpoint import export_weights

    check_output(weights, checkpoint, overwrite)
    progress = export_weights(checkpoint, weights, with_teacher=with_teacher)
    print(f"written: {weights} ({progress.name}, {format_count(progress.samples, 'sample')})")


@app.command("pack")
def pack(
    recipe: Recipe,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to make; it must not exist.")],
    data: Data = Path("data"),
    checkpoint: Annotated[o.File, typer.Option(metavar="FILE", help="The checkpoint to continue from.")] = None,
    limit: Annotated[int, typer.Option(metavar="MIB", help="The folder's largest size.")] = 60,
) -> None:
    """Pack all that a run needs into a folder for another machine: code, data, recipe, checkpoint, train.sh.

    Examples:
        betwixt train pack compact packed/ --data data/
        betwixt train pack compact packed/ --checkpoint runs/compact/checkpoint.safetensors
    """
    require_torch("Training")
    from betwixt.training.pack import pack as write
    from betwixt.training.recipe_files import find_recipe

    size = write(find_recipe(recipe), folder, data, checkpoint, limit)
    print(f"written: {folder}, {size / (1 << 20):.1f} MiB; run {folder / 'train.sh'} there")


@app.command("curve")
def curve(
    table: Annotated[Path, typer.Argument(metavar="CURVE.csv", help="The scores of a run.")] = Path(
        "checkpoints/curve.csv"
    ),
    plot: Annotated[Path, typer.Argument(metavar="PLOT.png", help="The output.")] = Path("docs/images/curve.png"),
) -> None:
    """Plot a training curve: scores over samples and over hours.

    Examples:
        betwixt train curve runs/compact/curve.csv curve.png
        betwixt train curve checkpoints/curve.csv plot.png
    """
    from betwixt.training.curve import draw_curve

    draw_curve(table, plot)
    print(f"written: {plot}")


def _is_first_process() -> bool:
    """Whether this is the first of the processes of a run, or the only one."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


def _cache_folder(cache: Path | None, data: Path) -> Path:
    """The folder for what is prepared from a data folder: by default one in the user's cache."""
    if cache is not None:
        return cache
    path = data.resolve()
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
    return cache_folder("training") / f"{path.name}-{digest}"
