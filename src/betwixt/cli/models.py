"""betwixt models: which models there are."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

__all__ = ["models"]


def models(as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """List the models: paper, parameters, whether good weights are at hand, licence."""
    from betwixt.cli.report import print_json
    from betwixt.models.registry import DEFAULT_MODEL, MODELS

    if as_json:
        rows = [
            {"name": m.name, "paper": m.paper, "parameters": m.parameters, "weights": m.weights, "licence": m.licence}
            for m in MODELS.values()
        ]
        print_json({"models": rows}, sys.stdout)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("model", "what it is", "parameters", "weights", "licence", "paper"):
        table.add_column(title, overflow="fold")
    for m in MODELS.values():
        name = f"{m.name} (default)" if m.name == DEFAULT_MODEL else m.name
        count = f"{m.parameters / 1e6:.2f} M" if m.parameters else "none"
        table.add_row(name, m.summary, count, m.weights, m.licence, m.paper)
    Console().print(table)
