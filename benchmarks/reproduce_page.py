"""Writes docs/reference/reproduce.md: the commands that fill the tables of the papers.

    python benchmarks/reproduce_page.py [PROJECT]

    src/betwixt/evaluation/reproduction.toml ─┐
    src/betwixt/training/recipes/ ────────────┼─► docs/reference/reproduce.md
    results/quality.csv, results/cost.csv ────┘

A test compares the page with what this script makes.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from betwixt.errors import BetwixtError, InputError
from betwixt.evaluation.reproduction import PAPERS, Reproduction, Row, Run, Table, reproduction
from betwixt.files import write_atomically
from betwixt.training.claims import CLAIMS
from betwixt.training.recipe import load_recipe
from betwixt.training.recipe_files import find_recipe

PAGE = Path("docs/reference/reproduce.md")

INTRODUCTION = """\
# Tables of the papers

Each row of the tables of the five papers whose networks Betwixt implements: the training run that its weights come
from, and the commands that fill it. `make results` writes this page from `evaluation/reproduction.toml`, the recipes
and the measured [results](../results.md); a test parses every command and builds every network.

    betwixt train rife --data DATA --output runs/rife                           a run, from the tables "Runs"
    betwixt train export runs/rife/checkpoint.safetensors rife.safetensors      its weights: NAME.safetensors
    betwixt evaluate --weights rife.safetensors --dataset ucf101 --root ROOT    the scores of a row
    betwixt benchmark --model rife --size 448x256                               its cost; only `apr` needs weights

DATA holds the [training data](training-data.md), ROOT the [benchmarks](../how-to/evaluate.md#data-sets). With
`--compare published`, `evaluate` prints the papers' figures beside the measured ones.

In the last column, *measured* means that the figure is in [results](../results.md), *needs* names what is missing for
it (the weights of a run, data), and *on any machine* means that nothing is missing. The runs are as long as the papers'
own, hours to days on several GPUs ([train](../how-to/train.md#devices)), and none has been made yet. The `-small`
recipes take the same settings.
"""

CLAIMS_TEXT = """\
## Small experiments on the claims

    betwixt reproduce                                         lists the claims
    betwixt reproduce rife-distillation --images PHOTOS       tests one, in runs/rife-distillation

`betwixt reproduce NAME` tests a claim on one CPU thread, in a few hours. Two networks that differ in one thing begin
with the same weights, are trained on the same scenes in the same order, and are compared on 128 test scenes. The 95 %
interval of the difference is a bootstrap over the test scenes; it does not include the variation between seeds
(`--seed`). Scenes are layers cut from the photographs in PHOTOS that move along straight lines. The networks see less
than a five-hundredth of the papers' samples, and RIFE is smaller: a difference supports a claim, and no difference does
not refute it. `result.json` has the score of every scene. The same command resumes an interrupted run. Hierarchical
motion has [a script of its own](../models/hierarchical.md#on-layered-scenes).

`apr-routing` is about cost, on 32 test scenes. Both networks begin with the weights of a static one, here those of the
repository, and are trained on, one with a new router. Multiply-adds and seconds of every test scene are compared, too.
With `--samples 0`, weights that were trained elsewhere are compared as they are:

    betwixt reproduce apr-routing --images PHOTOS --weights checkpoints/apr-static.safetensors
    betwixt reproduce apr-routing --images PHOTOS --weights checkpoints/apr-static.safetensors \\
        --treatment-weights apr.safetensors --samples 0
"""

DATASETS = {
    "vimeo90k": "Vimeo-90K",
    "vimeo90k-480p": "Vimeo-90K",
    "ucf101": "UCF101",
    "middlebury": "Middlebury",
    "hd": "HD",
    "hd-4x-544p": "HD",
    "hd-4x-720p": "HD",
    "hd-4x-1080p": "HD",
    "snu-film-easy": "SNU-FILM",
    "snu-film-medium": "SNU-FILM",
    "snu-film-hard": "SNU-FILM",
    "snu-film-extreme": "SNU-FILM",
    "x4k1000fps": "X4K1000FPS",
    "xiph-2k": "Xiph",
    "xiph-4k": "Xiph",
}
"""The names of the data sets that have to be there."""

MASK_NETWORKS = "weights of RAM, Grounding DINO and HQ-SAM"
"""What open-world masks are made by."""

KINDS = {"vimeo-triplet": "Vimeo-90K triplets", "vimeo-septuplet": "Vimeo-90K septuplets"}


class Page:
    """The page, from what the project has measured.

    Args:
        content: The runs and tables.
        quality: The rows of results/quality.csv.
        cost: The rows of results/cost.csv.
    """

    def __init__(self, content: Reproduction, quality: list[dict[str, str]], cost: list[dict[str, str]]) -> None:
        self._content = content
        self._scored = {(row["model"], row["dataset"]) for row in quality if not row["options"]}
        self._timed = {(row["model"], row["size"]) for row in cost}

    def text(self) -> str:
        """The whole page."""
        lines = [INTRODUCTION]
        for paper, title in PAPERS.items():
            lines += [f"## {title}", "", "### Runs of " + title, "", *self._runs(self._content.runs_of(paper)), ""]
            for table in self._content.tables:
                if table.paper == paper:
                    lines += self._table(table, title)
        return "\n".join([*lines, *self._claims()])

    def _claims(self) -> list[str]:
        lines = [CLAIMS_TEXT, "| command | claim | networks compared | scenes each |", "|---|---|---|---:|"]
        for name, claim in CLAIMS.items():
            text = f"{PAPERS[claim.paper]}: {claim.text}"
            arms = f"{claim.treatment.label}; {claim.control.label}"
            weights = " --weights checkpoints/apr-static.safetensors" if claim.cost else ""
            command = f"`betwixt reproduce {name} --images PHOTOS{weights}`"
            lines.append(f"| {command} | {text} | {arms} | {claim.samples:,} |")
        return [*lines, ""]

    def _runs(self, runs: list[Run]) -> list[str]:
        rows = []
        for run in runs:
            recipe = load_recipe(find_recipe(run.recipe), run.settings)
            data = ", ".join(KINDS.get(str(entry["kind"]), str(entry["kind"])) for entry in recipe.data)
            needs = ", ".join([f"{recipe.samples / 1e6:.1f} M samples", data, *([run.needs] if run.needs else [])])
            rows.append(f"| {run.name} | `{run.command}` | {needs} |")
        return ["| weights | command | needs |", "|---|---|---|", *rows]

    def _table(self, table: Table, title: str) -> list[str]:
        kind = "Table " if table.number[0].isdigit() else ""  # else a figure, or the text
        number = table.number if kind else table.number.capitalize()
        lines = [f"### {title}: {kind}{number}, {table.title}", ""]
        if table.rows:
            lines += ["| row | commands | state |", "|---|---|---|", *(self._row(table, row) for row in table.rows), ""]
        lines += [line for command in table.commands for line in (f"    {command}", "")]
        if table.other_methods:
            lines += [f"Networks that Betwixt does not have: {', '.join(table.other_methods)}.", ""]
        return lines

    def _row(self, table: Table, row: Row) -> str:
        run = self._content.run_of(row)
        if run is None:
            return f"| {row.method} | | missing: {row.missing} |"
        commands = "<br>".join(f"`{command}`" for command in self._content.commands_of(table, row))
        model = row.model or run.model_name
        states = []
        needed = dict.fromkeys(
            DATASETS[name] for name in table.datasets_of(row) if run.network or (model, name) not in self._scored
        )
        if needed:
            options = table.options if row.options is None else row.options
            masks = [MASK_NETWORKS] if "open-world" in options else []
            states.append(f"scores: needs the weights {run.name}, {', '.join([*needed, *masks])}")
        elif table.datasets_of(row):
            states.append("scores: measured")
        for size in table.sizes:
            measured = not run.network and not row.set and (model, size) in self._timed
            # The operations of APR-VFI depend on its routes.
            missing = f"needs the weights {run.name}" if run.model_name == "apr" else "on any machine"
            states.append(f"{size}: {'measured' if measured else missing}")
        return f"| {row.method} | {commands} | {'; '.join(states)} |"


def _read(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError:
        raise InputError(f"{path} is missing: run this in the project, or pass the project's folder.") from None


def page(project: Path) -> str:
    """The content of the page."""
    quality, cost = (_read(project / "results" / f"{name}.csv") for name in ("quality", "cost"))
    return Page(reproduction(), quality, cost).text()


def main() -> int:
    """Write the page."""
    project = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
    try:
        write_atomically(project / PAGE, page(project))
    except BetwixtError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"written: {project / PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
