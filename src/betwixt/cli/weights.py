"""betwixt weights: bringing, fetching, listing, verifying and calibrating the weights of networks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

if TYPE_CHECKING:
    from betwixt.weights.install import ImportResult

__all__ = ["app"]

Text = Optional[str]  # noqa: UP045 - Typer reads the annotation at run time

app = typer.Typer(
    help="Weights of networks: import, download, list, verify, calibrate.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=".pkl, .pth, .safetensors, or ncnn's .param or .bin.")],
    model: Annotated[
        str, typer.Option("--as", metavar="NAME", help="One of betwixt models, or ram, hq-sam, grounding-dino.")
    ],
    output: Annotated[
        Text, typer.Option("--output", "-o", metavar="X.safetensors", help="Where to; without it, where it is found.")
    ] = None,
    ignore_extra: Annotated[
        bool, typer.Option("--ignore-extra", help="Leave out what the network does not have.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Check a file of weights, name by name and shape by shape, and keep it as safetensors.

    Nothing in the file is run. Of an ncnn model give either file; the other has to lie beside it.
    """
    from betwixt.machine import require_torch

    require_torch("Importing weights")
    from betwixt.weights.install import import_weights

    target = None if output is None else Path(output)
    _tell(import_weights(file, model, target, overwrite=overwrite, ignore_extra=ignore_extra), as_json)


@app.command("download")
def download(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which weights (see betwixt weights list).")],
    output: Annotated[
        Text, typer.Option("--output", "-o", metavar="X.safetensors", help="Where to; without it, where it is found.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Fetch it again, and replace what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Fetch published weights, verify them by their hash, and import them.

    A download that breaks off is gone on with.
    """
    from betwixt.machine import require_torch

    require_torch("Importing weights")
    from betwixt.cli.report import ByteReport
    from betwixt.weights.catalog import catalog
    from betwixt.weights.download import download_weights

    entry = catalog().published.get(name)
    if entry is not None and entry.model:
        print(f"{name}: from {entry.repository}, licence {entry.licence}", file=sys.stderr)
    with ByteReport(quiet=as_json) as progress:
        target = None if output is None else Path(output)
        try:
            imported = download_weights(name, target, overwrite=overwrite, progress=progress)
        except KeyboardInterrupt:
            print("betwixt: interrupted; what was fetched is kept: run it again to go on from there.", file=sys.stderr)
            raise typer.Exit(130) from None
    _tell(imported, as_json)


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """Show which weights are at hand, and which can be downloaded."""
    from betwixt.cli.report import print_json
    from betwixt.machine import require_torch

    require_torch("Reading weights")
    from betwixt.weights.catalog import catalog
    from betwixt.weights.install import list_weights
    from betwixt.weights.store import weights_folder

    stored = list_weights()
    offers = [entry for entry in catalog().published.values() if entry.model]
    if as_json:
        rows = [
            {
                "name": s.name, "model": s.model, "path": str(s.path), "embedded": s.embedded, "size": s.size,
                "problem": s.problem, "metadata": s.metadata,
            }
            for s in stored
        ]  # fmt: skip
        offered = [
            {
                "name": o.name, "model": o.model, "repository": o.repository, "commit": o.commit, "licence": o.licence,
                "size": _bytes(o.name), "files": [f.url for f in catalog().files_of(o.name)],
            }
            for o in offers
        ]  # fmt: skip
        print_json({"folder": str(weights_folder()), "weights": rows, "downloads": offered}, sys.stdout)
        return
    from rich.console import Console
    from rich.table import Table

    # What a file says of itself is not to be taken for markup.
    console = Console(highlight=False, markup=False)
    if stored:
        table = Table(box=None, pad_edge=False)
        for title in ("weights", "model", "size", "from", "date"):
            table.add_column(title, justify="right" if title == "size" else "left", no_wrap=title != "from")
        for s in stored:
            # What was imported says what it was made of, also where it comes with Betwixt.
            ours = s.embedded and "source" not in s.metadata
            made = "Betwixt" if ours else s.metadata.get("origin", s.metadata.get("source", "unknown"))
            if s.problem:
                made = "cannot be read: see betwixt weights verify"
            table.add_row(s.name, s.model, _mb(s.size), made, s.metadata.get("date", "")[:10])
        console.print(table)
    else:
        console.print("No weights are at hand.")
    console.print(f"\nYours lie in {weights_folder()}.\nTo download:\n", soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for title in ("weights", "model", "size", "from", "licence"):
        table.add_column(title, justify="right" if title == "size" else "left", no_wrap=True)
    for o in offers:
        table.add_row(o.name, o.model, _mb(_bytes(o.name)), o.repository, o.licence)
    console.print(table)


@app.command("verify")
def verify(
    names: Annotated[
        Optional[list[str]],  # noqa: UP045 - Typer reads the annotation at run time
        typer.Argument(metavar="[NAME|FILE]..", help="Installed weights, or files; without any, all at hand."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Compare weights with their hashes: those of the import, or those of what was published."""
    from betwixt.cli.report import print_json
    from betwixt.errors import InputError
    from betwixt.machine import require_torch

    require_torch("Reading weights")
    from betwixt.weights.install import verify_weights

    verdicts = verify_weights(names or ())
    if as_json:
        rows = [{"path": str(v.path), "good": v.good, "text": v.text} for v in verdicts]
        print_json({"weights": rows}, sys.stdout)
    else:
        for v in verdicts:
            print(f"{'good' if v.good else 'BAD '}  {v.path}: {v.text}")
        if not verdicts:
            print("No weights are at hand.")
    bad = sum(not v.good for v in verdicts)
    if bad:
        raise InputError(f"{bad} of {len(verdicts)} files cannot be vouched for.")


@app.command("calibrate")
def calibrate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="One of Betwixt's own networks, such as hybrid.")],
    videos: Annotated[list[Path], typer.Argument(metavar="VIDEO..", help="What to measure it on.")],
    weights: Annotated[
        Optional[Path],  # noqa: UP045 - Typer reads the annotation at run time
        typer.Option("--weights", metavar="X.safetensors", help="Weights; without it, those that come with Betwixt."),
    ] = None,
    output: Annotated[
        Optional[Path],  # noqa: UP045 - Typer reads the annotation at run time
        typer.Option("--output", "-o", metavar="FOLDER", help="Where to; without it, beside --weights."),
    ] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Where the network runs meanwhile.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Measure what weights you have trained need to run in eight bits, which takes less time on CPUs.

    Writes X.int8.json, which is found beside X.safetensors.
    """
    from betwixt.cli.report import CountReport, print_json
    from betwixt.runtime.calibrate import calibrate as measure

    with CountReport(quiet=as_json) as progress:
        written = measure(
            model, videos, weights=weights, folder=output, device=device, overwrite=overwrite, progress=progress
        )
    if as_json:
        print_json({"written": [str(path) for path in written]}, sys.stdout)
        return
    for path in written:
        print(path)


def _bytes(name: str) -> int:
    from betwixt.weights.catalog import catalog

    return sum(file.size or file.about for file in catalog().files_of(name))


def _mb(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _tell(imported: ImportResult, as_json: bool) -> None:
    """Say what an import did."""
    from betwixt.cli.report import print_json
    from betwixt.weights.catalog import catalog

    place = catalog().manual_download(imported.model)
    restricted = place is not None and not place.commercial
    if as_json:
        fields: dict[str, Any] = {
            "model": imported.model, "path": str(imported.path), "tensors": imported.tensors,
            "parameters": imported.parameters, "sources": [str(path) for path in imported.sources],
            "unused": list(imported.unused), "extra": list(imported.extra), "licence": imported.licence,
        }  # fmt: skip
        print_json(fields, sys.stdout)
        return
    print(f"{imported.path}  {_mb(imported.path.stat().st_size)}")
    sources = ", ".join(path.name for path in imported.sources)
    print(
        f"  {imported.model}: all {imported.tensors} tensors, {imported.parameters / 1e6:.2f} M numbers, of {sources}"
    )
    for names, why in ((imported.unused, "not needed"), (imported.extra, "unknown to the network")):
        if names:
            shown = ", ".join(names[:3]) + (", .." if len(names) > 3 else "")
            print(f"  left out, {why}: {len(names)} ({shown})")
    if restricted and place is not None:
        print(f"  note: its authors publish their weights under {place.licence}, not for commercial use.")
