"""betwixt models: which models there are."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

__all__ = ["models"]


def models(as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """List the models: paper, parameters, whether good weights are at hand, licence."""
    from betwixt.cli.report import print_json
    from betwixt.models.registry import MODELS, choose_model
    from betwixt.weights.store import find_installed

    # What the user brought in of a paper's network goes before what comes with it.
    yours = {m.name for m in MODELS.values() if m.has_network and not m.is_own and find_installed(m.name)}
    state = {m.name: "installed" if m.name in yours else m.weights for m in MODELS.values()}
    if as_json:
        rows = [
            {
                "name": m.name,
                "paper": m.paper,
                "parameters": m.parameters,
                "weights": state[m.name],
                "licence": m.licence,
            }
            for m in MODELS.values()
        ]
        print_json({"models": rows}, sys.stdout)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("model", "parameters", "weights", "what it is"):
        table.add_column(title, justify="right" if title == "parameters" else "left", no_wrap=title != "what it is")
    papers: dict[str, list[str]] = {}
    for m in MODELS.values():
        name = f"{m.name} (default)" if m.name == choose_model() else m.name
        count = f"{m.parameters / 1e6:.2f} M" if m.parameters else "none"
        table.add_row(name, count, state[m.name], m.summary)
        papers.setdefault(m.paper, []).append(m.name)
    console = Console(highlight=False)
    console.print(table)
    console.print(
        '\nWeights that are "yours" you bring: betwixt weights download or import, or --weights FILE. The papers:'
    )
    for paper, names in papers.items():
        if not paper.startswith("none"):
            console.print(f"  {', '.join(names)}: {paper}", soft_wrap=True)
