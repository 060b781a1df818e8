"""The tables of the five papers, row by row: the command that trains a network, and the one that scores it.

    reproduction.toml ──► runs (training) and tables (rows) ──► commands ──► docs/reference/reproduce.md

Nothing is run here. DATA stands for the folder of training data, ROOT for that of the benchmarks.
"""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from betwixt.evaluation.published import published_figures
from betwixt.tables import parse_table

PAPERS = {
    "rife": "RIFE",
    "daek": "DAEK",
    "apr-vfi": "APR-VFI",
    "ncm": "NCM",
    "hierarchical-motion": "Hierarchical motion",
}
"""The papers in the order of the page, with their titles there."""


@dataclass(frozen=True)
class Run:
    """A training run.

    Attributes:
        name: Its weights are NAME.safetensors.
        recipe: The recipe it is trained by.
        settings: What differs from the recipe, as `--set` takes it.
        model: The model that its weights are for; the recipe's name by default.
        network: The hyper-parameters of its network that are not the model's, as `--set` of benchmark takes them.
        needs: What it needs besides its data, in words.
    """

    name: str
    recipe: str
    settings: tuple[str, ...] = ()
    model: str = ""
    network: tuple[str, ...] = ()
    needs: str = ""

    @property
    def model_name(self) -> str:
        """The model that its weights are for."""
        return self.model or self.recipe

    @property
    def command(self) -> str:
        """The command that trains it."""
        changes = [part for setting in self.settings for part in ("--set", setting)]
        return _join("betwixt train", self.recipe, "--data DATA", *changes, f"--output runs/{self.name}")

    @property
    def export(self) -> str:
        """The command that writes its weights."""
        return f"betwixt train export runs/{self.name}/checkpoint.safetensors {self.name}.safetensors"


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        method: The method, as in published.csv.
        run: The run whose weights it uses.
        model: The model, if it is not the one that the weights name.
        set: Hyper-parameters that only the evaluation changes.
        options: Options of the evaluation, instead of the table's.
        datasets: Data sets, instead of the table's.
        missing: Why there is no command; "" if there is one.
    """

    method: str
    run: str = ""
    model: str = ""
    set: tuple[str, ...] = ()
    options: tuple[str, ...] | None = None
    datasets: tuple[str, ...] | None = None
    missing: str = ""


@dataclass(frozen=True)
class Table:
    """A table or figure of a paper.

    Attributes:
        paper: The paper, as in published.csv.
        number: Its number, as in published.csv; "figure 10" for a figure.
        title: What it is about.
        datasets: The data sets of its columns.
        metrics: The metrics of its columns, as `--metrics` takes them.
        options: Options of the evaluation.
        sizes: The frame sizes whose cost it states.
        rows: Its rows.
        commands: Further commands.
    """

    paper: str
    number: str
    title: str
    datasets: tuple[str, ...] = ()
    metrics: str = ""
    options: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    commands: tuple[str, ...] = ()

    def datasets_of(self, row: Row) -> tuple[str, ...]:
        """The data sets that a row is scored on."""
        return self.datasets if row.datasets is None else row.datasets

    def score_command(self, row: Row) -> str:
        """The command that scores a row; "" if the table has no scores or the row no command."""
        if row.missing or not self.datasets_of(row):
            return ""
        return _join(
            "betwixt evaluate",
            *(["--model", row.model] if row.model else []),
            f"--weights {row.run}.safetensors",
            *(part for change in row.set for part in ("--set", change)),
            *(self.options if row.options is None else row.options),
            f"--dataset {','.join(self.datasets_of(row))} --root ROOT --metrics {self.metrics}",
        )

    def cost_commands(self, row: Row, run: Run | None) -> list[str]:
        """The commands that measure the cost of a row; none if the table states none. APR-VFI's time needs weights."""
        if run is None:
            return []
        changes = [part for change in (*run.network, *row.set) for part in ("--set", change)]
        weights = [f"--weights {run.name}.safetensors"] if run.model_name == "apr" else []
        model = f"--model {row.model or run.model_name}"
        return [_join("betwixt benchmark", model, *weights, *changes, f"--size {size}") for size in self.sizes]

    @property
    def other_methods(self) -> list[str]:
        """The methods of the published table that Betwixt does not have."""
        ours = {row.method for row in self.rows}
        figures = (f for f in published_figures() if (f.paper, f.table) == (self.paper, self.number))
        return list(dict.fromkeys(figure.method for figure in figures if figure.method not in ours))


@dataclass(frozen=True)
class Reproduction:
    """All runs by name, and all tables."""

    runs: Mapping[str, Run]
    tables: tuple[Table, ...]

    def run_of(self, row: Row) -> Run | None:
        """The run whose weights a row uses; None for a row without a command."""
        return self.runs[row.run] if row.run else None

    def commands_of(self, table: Table, row: Row) -> list[str]:
        """All commands that fill a row, given its weights."""
        score = table.score_command(row)
        return [*([score] if score else []), *table.cost_commands(row, self.run_of(row))]

    def runs_of(self, paper: str) -> list[Run]:
        """The runs that the tables of a paper need, in their order."""
        names = {row.run for table in self.tables if table.paper == paper for row in table.rows}
        return [run for name, run in self.runs.items() if name in names]


@cache
def reproduction() -> Reproduction:
    """What reproduction.toml says.

    >>> [table.number for table in reproduction().tables if table.paper == "daek"][:3]
    ['1', '2', '3']
    """
    text = files("betwixt.evaluation").joinpath("reproduction.toml").read_text(encoding="utf-8")
    content: Any = tomllib.loads(text)
    runs = {name: parse_table(Run, {"name": name, **run}, f"[runs.{name}]") for name, run in content["runs"].items()}
    return Reproduction(runs, tuple(_parse_table(table) for table in content["table"]))


def _parse_table(table: Mapping[str, Any]) -> Table:
    where = f"table {table['number']} of {table['paper']}"
    rows = tuple(parse_table(Row, row, where) for row in table.get("rows", ()))
    return replace(parse_table(Table, {**table, "rows": ()}, where), rows=rows)


def _join(*parts: str) -> str:
    """Parts of a command line; those that a shell would read otherwise are quoted."""
    return " ".join(part if " " in part else shlex.quote(part) for part in parts)
