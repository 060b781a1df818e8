"""betwixt models: which models there are."""

from __future__ import annotations

import sys

from betwixt.cli import options as o
from betwixt.cli.report import open_console, print_json, print_line, print_table


def models(as_json: o.AsJson = False) -> None:
    """List the models: paper, parameters, which weights are available, licence.

    Examples:
        betwixt models
        betwixt models --json
    """
    from betwixt.models.registry import MODELS, choose_model
    from betwixt.weights.store import find_installed

    # What the user brought in of a paper's network goes before what comes with it.
    yours = {m.name for m in MODELS.values() if m.has_network and not m.is_own and find_installed(m.name)}
    state = {m.name: "installed" if m.name in yours else m.weights for m in MODELS.values()}
    if as_json:
        found = [
            {
                "name": m.name,
                "paper": m.paper,
                "parameters": m.parameters,
                "weights": state[m.name],
                "licence": m.licence,
            }
            for m in MODELS.values()
        ]  # fmt: skip
        print_json({"models": found}, sys.stdout)
        return
    console = open_console(sys.stdout)
    rows = []
    for m in MODELS.values():
        name = f"{m.name} (default)" if m.name == choose_model() else m.name
        parameters = f"{m.parameters / 1e6:.2f} M" if m.parameters else "none"
        rows.append((name, parameters, state[m.name], m.summary))
    print_table(console, ("model", "parameters", "weights", "what it is"), rows, left=(0, 2, 3), wrap=(3,))
    console.print(
        '\nWeights marked "yours" you provide: betwixt weights download or import, or --weights FILE. The papers:'
    )
    papers: dict[str, list[str]] = {}
    for m in MODELS.values():
        papers.setdefault(m.paper, []).append(m.name)
    for paper, names in papers.items():
        if not paper.startswith("none"):
            print_line(console, f"  {', '.join(names)}: {paper}")
