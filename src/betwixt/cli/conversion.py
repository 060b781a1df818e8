"""The commands that convert videos: `interpolate`, `blur` and `extrapolate`.

`conversion_command` gives a command the flags of all options of its conversion; `run_conversion` finds out which paths
are inputs and which is the output, and converts one file, or many (`cli.batch`).
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from betwixt.cli import options as o
from betwixt.cli import report
from betwixt.cli.command import GROUP_TITLES
from betwixt.cli.progress import conversion_progress
from betwixt.errors import DamagedInputError, Interrupted, OutputError, UsageError
from betwixt.pipeline.config import CONFIGS, load_config, override
from betwixt.pipeline.options import KeyValues, OptionSet

if TYPE_CHECKING:
    from betwixt.cluster.connection import Cluster
    from betwixt.pipeline.job import Plan
    from betwixt.pipeline.run import Summary

_OUTPUT, _INPUT, _RUN = GROUP_TITLES["output"], GROUP_TITLES["input"], GROUP_TITLES["run"]

_Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="IN... [OUT]",
        help="A video, images (a folder or pattern), or - for a pipe; and its output, see --output. With --output-dir: "
        "any number of inputs, also folders of videos.",
    ),
]
_Output = Annotated[
    o.Text,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="A video, a .gif, a folder to put it in, images (frames/%06d.png; of images also a folder), or - for y4m. "
        "Default: a new name beside IN, such as clip-60fps.mkv.",
        rich_help_panel=_OUTPUT,
    ),
]
_OutputDir = Annotated[
    o.File,
    typer.Option(
        metavar="DIR",
        help="Convert all IN to this folder. Those whose output exists are skipped.",
        rich_help_panel=_OUTPUT,
    ),
]
_Recursive = Annotated[
    bool,
    typer.Option(
        "--recursive", help="Look for videos in the folders of a folder IN, too (--output-dir).", rich_help_panel=_INPUT
    ),
]
_Watch = Annotated[
    bool,
    typer.Option(
        "--watch",
        help="Wait for more videos in the folders IN (--output-dir), until Ctrl-C.",
        rich_help_panel=_INPUT,
    ),
]
_Config = Annotated[
    o.Text,
    typer.Option(
        metavar="NAME|FILE",
        help=f"Take options from {', '.join(CONFIGS)}, or a TOML file; flags win over them.",
        rich_help_panel=_RUN,
        autocompletion=lambda: list(CONFIGS),
    ),
]
_DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.", rich_help_panel=_RUN)
]


def conversion_command(
    declared: OptionSet, without: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a function ``(**arguments)`` the parameters of a conversion, as Typer reads them.

    Args:
        declared: The options of the conversion.
        without: Options that the command does not have.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        parameters = [
            _parameter("context", typer.Context),
            _parameter("inputs", _Inputs),
            _parameter("target", _Output, None),
            _parameter("output_dir", _OutputDir, None),
        ]
        for name, option in declared.options.items():
            if name not in without:
                type_, default = _command_line_type(declared, name)
                annotation = Annotated[type_, o.typer_option(name, option, type_)]  # type: ignore[valid-type]
                parameters.append(_parameter(name, annotation, default))
        parameters += [
            _parameter("recursive", _Recursive, False),
            _parameter("watch", _Watch, False),
            _parameter("config", _Config, None),
            _parameter("dry_run", _DryRun, False),
            _parameter("as_json", o.AsJson, False),
        ]
        function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return function

    return decorate


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _command_line_type(declared: OptionSet, name: str) -> tuple[Any, Any]:
    """The type of an option's value on the command line, and its default there."""
    type_, default = declared.types[name], declared.default(name)
    if type_ is bool:
        return bool, False  # a flag, also where it turns something off
    if type_ is int:
        return int, default
    if type_ == int | None:
        return o.Number, default
    if type_ == KeyValues:
        return o.Texts, default
    return (o.Text, None) if default is None else (str, str(default))


def run_conversion(
    declared: OptionSet,
    convert: Callable[..., Summary],
    plan: Callable[..., Plan],
    *,
    context: typer.Context,
    inputs: Sequence[str],
    target: str | None,
    output_dir: Path | None,
    recursive: bool,
    watch: bool,
    config: str | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Convert what the command line names, or say what would be done, and report on it.

    Args:
        declared: The options of the conversion.
        convert: A function such as `interpolate_video`.
        plan: The function that says what it would do.
        context: The context of the command.
        inputs: The inputs; without `target` and `output_dir`, the second one is the output.
        target: The output, or None.
        output_dir: The folder for the outputs of a batch, or None.
        recursive: Whether to look for videos in the folders of folders.
        watch: Whether to wait for more videos.
        config: The name or file of a configuration, or None.
        dry_run: Whether to do nothing.
        as_json: Whether to print JSON.
        **options: The options of the conversion.
    """
    if config is not None:
        given = [name for name in options if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"]
        options |= override(load_config(config, declared), given)
    if dry_run and options.get("cluster") is not None:
        options |= {"cluster": None, "encode": "driver"}
    with connected(options.get("cluster")) as cluster:
        if cluster is not None:
            options["cluster"] = cluster
        if output_dir is not None:
            if target is not None:
                raise UsageError("`target` is for one output and `output_dir` for many: give one of them.")
            from betwixt.cli.batch import run_batch

            run_batch(
                declared, convert, plan, inputs, output_dir,
                recursive=recursive, watch=watch, dry_run=dry_run, as_json=as_json, options=options,
            )  # fmt: skip
            return
        if recursive or watch:
            raise UsageError(f"`{'watch' if watch else 'recursive'}` needs `output_dir`, the folder for the outputs.")
        source, target = _source_and_target(inputs, target, options["overwrite"])
        _check_standard_streams(source, target)
        _convert_one(source, target, declared, convert, plan, dry_run=dry_run, as_json=as_json, options=options)


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Cluster | None]:
    """Connect to the cluster at an address; None for none."""
    if address is None:
        yield None
        return
    from betwixt.cluster.connection import Cluster

    with Cluster(address) as cluster:
        yield cluster


def _source_and_target(paths: Sequence[str], target: str | None, overwrite: bool) -> tuple[str, str | None]:
    """Which of the paths is the input, and which the output if there is one.

    Raises:
        UsageError: for several inputs.
        OutputError: if the second path is a file that exists, which may be another input.
    """
    if len(paths) > (1 if target is not None else 2):
        raise UsageError("Several inputs need a folder for their outputs: pass it as `output_dir`.")
    if target is not None or len(paths) == 1:
        return paths[0], target
    source, target = paths
    is_source = os.path.exists(source) and os.path.exists(target) and os.path.samefile(source, target)
    if os.path.isfile(target) and not is_source and not overwrite:
        raise OutputError(
            f"{target} exists: pass `overwrite=True` to replace it, give another name, or pass `output_dir` if it is "
            "an input, too."
        )
    return source, target


def _check_standard_streams(source: str, target: str | None) -> None:
    for name, stream, what in ((source, sys.stdin, "input"), (target, sys.stdout, "output")):
        if name == "-" and stream is None:
            raise UsageError(f"Standard {what} is closed: open it, or name a file.")


def _convert_one(
    source: str,
    target: str | None,
    declared: OptionSet,
    convert: Callable[..., Summary],
    plan: Callable[..., Plan],
    *,
    dry_run: bool,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    from betwixt.pipeline.batch import is_video_folder
    from betwixt.pipeline.output_names import locate_output, output_folder

    if is_video_folder(source):
        raise UsageError(f"{source} is a folder of videos: pass the folder for their outputs as `output_dir`.")
    located = locate_output(source, target, declared, options)
    # The raw file below Python's buffer: a read from the buffer cannot be interrupted while it waits.
    inlet: Any = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer) if source == "-" else source
    outlet: Any = sys.stdout.buffer if target == "-" else located
    out = sys.stderr if target == "-" else sys.stdout
    in_folder = located != target and target is not None
    with output_folder(Path(located).parent) if in_folder else contextlib.nullcontext():
        if dry_run:
            planned = plan(inlet, outlet, **options)
            if as_json:
                report.print_json(report.plan_as_dict(planned), out)
            else:
                report.print_plan(planned, out)
                report.print_notes(planned.notes)
            return

        def run() -> Summary:
            quiet = as_json and not sys.stderr.isatty()
            with conversion_progress(quiet) as progress, report_kept_work(str(located)):
                return convert(inlet, outlet, progress=progress, **options)

        report_result(run, report.print_summary, out, as_json)


def report_result(run: Callable[[], Any], show: Callable[[Any, IO[str]], None], out: IO[str], as_json: bool) -> None:
    """Print the summary that `run` returns. If the input is damaged, print what was written, and raise the error."""
    damaged: DamagedInputError | None = None
    try:
        summary = run()
    except DamagedInputError as error:
        if error.summary is None:
            raise
        damaged, summary = error, error.summary
    if as_json:
        values = summary.as_dict()
        report.print_json(values if damaged is None else values | {"error": str(damaged)}, out)
    else:
        show(summary, out)
        report.print_notes(summary.notes, summary.lost)
    if damaged is not None:
        raise damaged


@contextlib.contextmanager
def report_kept_work(target: str) -> Iterator[None]:
    """If a conversion is interrupted, say what is kept for the next run to resume from."""
    try:
        yield
    except KeyboardInterrupt as error:
        from betwixt.media.journal import journal_path

        if kept := getattr(error, "__notes__", None):
            raise Interrupted(f"interrupted. {kept[0]}") from None
        if target != "-" and journal_path(Path(target)).exists():
            raise Interrupted("interrupted. What an earlier run had done is still kept.") from None
        raise
