"""The tables of the papers: every command parses, every run builds the network that it says, the page is up to date."""

from __future__ import annotations

import runpy
import shlex
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import typer
from safetensors.torch import save_file

from betwixt.cli.main import app
from betwixt.evaluation.datasets import DATASETS
from betwixt.evaluation.metrics import select_metrics
from betwixt.evaluation.network_variant import parse_variant
from betwixt.evaluation.published import published_figures
from betwixt.evaluation.reproduction import Row, Run, Table, reproduction
from betwixt.models.ebme.network import EBMESplat
from betwixt.models.registry import model_info
from betwixt.training.objectives.registry import make_objective
from betwixt.training.recipe import load_recipe
from betwixt.training.recipe_files import find_recipe

PROJECT = Path(__file__).parents[2]
CONTENT = reproduction()
ROWS = [(table, row) for table in CONTENT.tables for row in table.rows]


@pytest.fixture(autouse=True, scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder with EBME installed."""
    folder = tmp_path_factory.mktemp("weights")
    save_file(EBMESplat().state_dict(), folder / "ebme.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BETWIXT_WEIGHTS", str(folder))
        yield folder


def parse(command: str) -> dict[str, object]:
    """The parameters of a command line, as the command reads them."""
    words = shlex.split(command)
    assert words.pop(0) == "betwixt"
    group = typer.main.get_command(app)
    while hasattr(group, "commands"):
        name = words.pop(0)
        if name == "train" and words[0] not in group.commands[name].commands:
            words.insert(0, "run")
        group = group.commands[name]
    return dict(group.make_context(group.name, words).params)


@pytest.mark.parametrize("run", CONTENT.runs.values(), ids=lambda run: run.name)
def test_a_run_builds_the_network_that_it_names(run: Run) -> None:
    parameters = parse(run.command)
    assert parse(run.export)["checkpoint"] == Path("runs") / run.name / "checkpoint.safetensors"
    recipe = load_recipe(find_recipe(str(parameters["recipe"])), parameters["settings"] or ())
    needs_ebme = recipe.network.get("flow_teacher") == "ebme" or "EBME" in run.needs
    with torch.device("cpu" if needs_ebme else "meta"):
        objective = make_objective(recipe.network)
    if not objective.merges_stages:
        assert {stage.name for stage in recipe.stages} <= {*objective.stages, ""}
    assert objective.model_name == run.model_name
    # The exported weights name the same network as the command of the benchmark.
    with torch.device("meta"):
        changed = parse_variant(run.network).build(run.model_name)
    inner = model_info(run.model_name).trained_module(changed)
    assert asdict(objective.exported_module.config) == asdict(inner.config)
    assert {name: tensor.shape for name, tensor in objective.exported_module.state_dict().items()} == {
        name: tensor.shape for name, tensor in inner.state_dict().items()
    }


def test_every_run_is_used() -> None:
    assert {row.run for _, row in ROWS if row.run} == set(CONTENT.runs)


@pytest.mark.parametrize(("table", "row"), ROWS, ids=lambda value: getattr(value, "method", None) or value.number)
def test_the_commands_of_a_row_parse(table: Table, row: Row) -> None:
    assert bool(row.run) != bool(row.missing)
    run = CONTENT.run_of(row)
    if run is None:
        return
    commands = CONTENT.commands_of(table, row)
    assert commands
    for command in commands:
        parameters = parse(command)
        if "dataset" in parameters and command.startswith("betwixt evaluate"):
            assert set(str(parameters["dataset"]).split(",")) <= DATASETS.keys()
            assert select_metrics(str(parameters["metrics"]))
    with torch.device("meta"):
        parse_variant((*run.network, *row.set)).build(row.model or run.model_name)


@pytest.mark.parametrize("table", CONTENT.tables, ids=lambda table: f"{table.paper} {table.number}")
def test_a_table_has_the_published_rows_that_are_its_own(table: Table) -> None:
    published = [f for f in published_figures() if (f.paper, f.table) == (table.paper, table.number)]
    if not published:
        assert table.paper == "rife" or table.commands
        return
    methods = {figure.method for figure in published}
    assert {row.method for row in table.rows} <= methods | {"RIFE-2T"}
    own = {"apr-vfi": "APR", "ncm": "NCM", "daek": "DAEK", "hierarchical-motion": "", "rife": "RIFE"}[table.paper]
    assert not [method for method in table.other_methods if method.startswith(own)]
    columns = {f.dataset.removesuffix("-extrapolation").removesuffix("-clean") for f in published}
    assert columns & DATASETS.keys() <= set(table.datasets)
    for command in table.commands:
        parse(command)


def test_the_page_is_up_to_date() -> None:
    script = runpy.run_path(str(PROJECT / "benchmarks" / "reproduce_page.py"))
    written = (PROJECT / script["PAGE"]).read_text(encoding="utf-8")
    assert written == script["page"](PROJECT), "run make results"
