"""betwixt weights: import, download, list, verify, calibrate and export the weights of networks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from betwixt.cli import options as o
from betwixt.cli.command import App
from betwixt.cli.progress import ProgressDisplay
from betwixt.cli.report import open_console, print_json, print_line, print_table
from betwixt.errors import InputError, UsageError
from betwixt.machine import require_torch
from betwixt.weights.catalog import catalog

if TYPE_CHECKING:
    from betwixt.weights.install import ImportResult
    from betwixt.weights.verify import WeightsFile

_Output = Annotated[
    o.File, typer.Option("--output", "-o", metavar="X.safetensors", help="Where to. Default: the weights folder.")
]

app = App(
    help="Weights of networks: import, download, list, verify, calibrate, export.",
)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=".pkl, .pth, .safetensors, or ncnn's .param or .bin.")],
    model: Annotated[
        str, typer.Option("--as", metavar="NAME", help="One of betwixt models, or ram, hq-sam, grounding-dino.")
    ],
    output: _Output = None,
    ignore_extra: Annotated[
        bool, typer.Option("--ignore-extra", help="Leave out tensors that the network does not have.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    as_json: o.AsJson = False,
) -> None:
    """Check a weights file, name by name and shape by shape, and store it as safetensors.

    No code in the file is run. For an ncnn model name either file; the other must lie beside it.

    Examples:
        betwixt weights import flownet.pkl --as rife
        betwixt weights import flownet.param --as rife-4.6
    """
    require_torch("Importing weights")
    from betwixt.weights.install import import_weights

    _report_import(import_weights(file, model, output, overwrite=overwrite, ignore_extra=ignore_extra), as_json)


@app.command("download")
def download(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which weights (see betwixt weights list).")],
    output: _Output = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Fetch them again, and replace existing ones.")
    ] = False,
    as_json: o.AsJson = False,
) -> None:
    """Fetch published weights, verify them by their hash, and import them.

    An interrupted download is resumed.

    Examples:
        betwixt weights download ifrnet
        betwixt weights download ifrnet -o ifrnet.safetensors
    """
    require_torch("Importing weights")
    from betwixt.weights.download import download_weights

    entry = catalog().published.get(name)
    if entry is not None and entry.model:
        print(f"{name}: from {entry.repository}, licence {entry.licence}", file=sys.stderr)
    with ProgressDisplay("bytes", quiet=as_json) as progress:
        try:
            imported = download_weights(name, output, overwrite=overwrite, progress=progress)
        except KeyboardInterrupt:
            print("betwixt: interrupted; what was fetched is kept: run it again to continue.", file=sys.stderr)
            raise typer.Exit(130) from None
    _report_import(imported, as_json)


@app.command("list")
def list_(as_json: o.AsJson = False) -> None:
    """List the installed weights, and those that can be downloaded.

    Examples:
        betwixt weights list
        betwixt weights list --json
    """
    require_torch("Reading weights")
    from betwixt.weights.store import weights_folder
    from betwixt.weights.verify import list_weights

    stored = list_weights()
    offers = [entry for entry in catalog().published.values() if entry.model]
    if as_json:
        installed = [
            {
                "name": s.name, "model": s.model, "path": str(s.path), "embedded": s.embedded, "size": s.size,
                "problem": s.problem, "metadata": s.metadata,
            }
            for s in stored
        ]  # fmt: skip
        downloads = [
            {
                "name": entry.name, "model": entry.model, "repository": entry.repository, "commit": entry.commit,
                "licence": entry.licence, "size": _bytes(entry.name), "verified": entry.verified,
                "files": [file.url for file in catalog().files_of(entry.name)],
            }
            for entry in offers
        ]  # fmt: skip
        print_json({"folder": str(weights_folder()), "weights": installed, "downloads": downloads}, sys.stdout)
        return
    console = open_console(sys.stdout)
    if stored:
        rows = [(s.name, s.model, _mb(s.size), _origin(s), s.metadata.get("date", "")[:10]) for s in stored]
        print_table(console, ("weights", "model", "size", "from", "date"), rows, left=(0, 1, 3, 4), wrap=(3,))
    else:
        console.print("No weights are installed.")
    print_line(console, f"\nYours lie in {weights_folder()}.\nTo download:\n")
    offered = [
        (entry.name, entry.model, _mb(_bytes(entry.name)), entry.repository, entry.licence, entry.verified)
        for entry in offers
    ]
    titles = ("weights", "model", "size", "from", "licence", "verified")
    print_table(console, titles, offered, left=(0, 1, 3, 4, 5), wrap=())
    print_line(
        console,
        "\nhash: compared after the download; layers: those of the file were run and agree; file: it was imported.",
    )


@app.command("verify")
def verify(
    names: Annotated[
        Optional[list[str]],  # noqa: UP045 - Typer reads the annotation at run time
        typer.Argument(metavar="NAME|FILE..", help="Installed weights, or files; by default all installed ones."),
    ] = None,
    as_json: o.AsJson = False,
) -> None:
    """Compare weights with their hashes: those recorded on import, or those of the published files.

    Examples:
        betwixt weights verify
        betwixt weights verify rife.safetensors
    """
    require_torch("Reading weights")
    from betwixt.weights.verify import verify_weights

    verdicts = verify_weights(names or ())
    if as_json:
        rows = [{"path": str(v.path), "good": v.good, "text": v.text} for v in verdicts]
        print_json({"weights": rows}, sys.stdout)
    else:
        for v in verdicts:
            print(f"{'good' if v.good else 'BAD '}  {v.path}: {v.text}")
        if not verdicts:
            print("No weights are installed.")
    bad = sum(not v.good for v in verdicts)
    if bad:
        raise InputError(f"{bad} of {len(verdicts)} files cannot be verified.")


@app.command("calibrate")
def calibrate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="One of Betwixt's own networks, such as hybrid.")],
    videos: Annotated[list[Path], typer.Argument(metavar="VIDEO..", help="Videos to calibrate on.")],
    weights: Annotated[
        o.File, typer.Option(metavar="X.safetensors", help="The weights. Default: those that come with Betwixt.")
    ] = None,
    output: Annotated[
        o.File, typer.Option("--output", "-o", metavar="FOLDER", help="Where to. Default: beside --weights.")
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="auto|cpu|cuda", help="Where the network runs during calibration.")
    ] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
    as_json: o.AsJson = False,
) -> None:
    """Calibrate weights you have trained for int8 quantization, which is faster on CPUs.

    Writes X.int8.json, which is read from beside X.safetensors.

    Examples:
        betwixt weights calibrate compact clip.mp4 --weights mine.safetensors
        betwixt weights calibrate hybrid a.mp4 b.mp4 --weights mine.safetensors
    """
    from betwixt.runtime.calibrate import calibrate as measure

    with ProgressDisplay("samples", quiet=as_json) as progress:
        written = measure(
            model, videos, weights=weights, folder=output, device=device, overwrite=overwrite, progress=progress
        )
    if as_json:
        print_json({"written": [str(path) for path in written]}, sys.stdout)
        return
    for path in written:
        print(path)


@app.command("export")
def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model with a network.")],
    target: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="The file to write.")],
    weights: Annotated[o.File, typer.Option(metavar="FILE", help="Its weights. Default: the installed ones.")] = None,
    layout: Annotated[
        str,
        typer.Option(metavar="plain|vs-mlrt-v2|vs-mlrt-v1", help="The inputs: frames and time, or vs-mlrt's planes."),
    ] = "plain",
    precision: Annotated[
        str, typer.Option(metavar="fp32|fp16", help="The precision of weights and convolutions.")
    ] = "fp32",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    as_json: o.AsJson = False,
) -> None:
    """Write a network as one ONNX file for other programs: two frames of any size in, the frame at t out.

    Betwixt's own models also search for motion: each part of their networks is a file of its own, OUT.flow.onnx.

    Examples:
        betwixt weights export rife-4.6 rife.onnx
        betwixt weights export rife-4.6 rife.onnx --precision fp16
    """
    require_torch("Exporting a network")
    from betwixt.models.registry import choose_model, model_info

    model = choose_model(model, weights)
    if model_info(model).is_own:
        from betwixt.weights.graphs import export_graphs

        if (layout, precision) != ("plain", "fp32"):
            raise UsageError(f"The parts of {model} are exported as they are: leave out `layout` and `precision`.")
        written = export_graphs(model, target, weights, overwrite=overwrite)
    else:
        from betwixt.runtime.onnx_export import export_onnx

        export_onnx(model, target, weights=weights, layout=layout, precision=precision, overwrite=overwrite)
        written = [target]
    if as_json:
        files = [{"path": str(path), "size": path.stat().st_size} for path in written]
        print_json({"model": model, "layout": layout, "precision": precision, "files": files}, sys.stdout)
        return
    for path in written:
        print(f"{path}  {_mb(path.stat().st_size)}")


def _bytes(name: str) -> int:
    return sum(file.size or file.estimated_size for file in catalog().files_of(name))


def _mb(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _origin(weights: WeightsFile) -> str:
    """Where installed weights come from."""
    if weights.problem:
        return "cannot be read: see betwixt weights verify"
    # Weights that come with Betwixt but were imported from elsewhere name their source, too.
    if weights.embedded and "source" not in weights.metadata:
        return "Betwixt"
    return weights.metadata.get("origin", weights.metadata.get("source", "unknown"))


def _report_import(imported: ImportResult, as_json: bool) -> None:
    """Say what an import did."""
    if as_json:
        fields: dict[str, Any] = {
            "model": imported.model, "path": str(imported.path), "tensors": imported.tensors,
            "parameters": imported.parameters, "sources": [str(path) for path in imported.sources],
            "unused": list(imported.unused), "extra": list(imported.extra), "licence": imported.licence,
            "same_layers": list(imported.same_layers),
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
    if imported.same_layers:
        others = ", ".join(imported.same_layers)
        print(f"  note: the same layers as {others}: only its source says which of them a file holds.")
    place = catalog().manual_download(imported.model)
    if place is not None and not place.commercial:
        print(f"  note: its authors publish their weights under {place.licence}, not for commercial use.")
