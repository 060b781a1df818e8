"""Command-line parameters made from the declared options (`pipeline.options`), and how a conversion is run.

`conversion_command` gives a command the flags of all options of a conversion. The other commands use single options:
``device: o.Device = "auto"``.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Optional

import typer

from betwixt.cli import report
from betwixt.cli.progress import conversion_progress
from betwixt.errors import DamagedInputError, Interrupted, UsageError
from betwixt.pipeline.options import INTERPOLATE, KeyValues, Option, OptionSet

if TYPE_CHECKING:
    from betwixt.pipeline.job import Plan
    from betwixt.pipeline.run import Summary

# Typer reads annotations at run time and does not know X | None.
Text = Optional[str]  # noqa: UP045
Number = Optional[int]  # noqa: UP045
Float = Optional[float]  # noqa: UP045
File = Optional[Path]  # noqa: UP045
Texts = Optional[list[str]]  # noqa: UP045


def _typer_option(name: str, declared: Option, type_: Any = str) -> Any:
    metavar = declared.metavar or ("|".join(declared.choices) or None)
    if declared.off_flag is not None:
        return off_switch(declared.off_flag, declared.off_help)
    if type_ is bool:
        return typer.Option(_flag(name), help=declared.help)
    return typer.Option(declared.flag or _flag(name), metavar=metavar, help=declared.help)


def off_switch(flag: str, help_: str) -> Any:
    """A flag that turns off what is on by default: its parameter is False if the flag is given, else True."""
    # Typer has no flag that only turns off, so the default is False and the value is inverted.
    return typer.Option(flag, help=help_, callback=lambda off: not off)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _declared(name: str, type_: Any = str) -> Any:
    return _typer_option(name, INTERPOLATE.options[name], type_)


VideoSource = Annotated[str, typer.Argument(metavar="IN", help="A video, images (folder, pattern), or - for a pipe.")]
_VideoTarget = Annotated[
    str, typer.Argument(metavar="OUT", help="A video, a .gif, a folder or pattern of images, or - for y4m.")
]
Model = Annotated[str, _declared("model")]
Device = Annotated[str, _declared("device")]
Runtime = Annotated[str, _declared("runtime")]
Weights = Annotated[Text, _declared("weights")]
Start = Annotated[Text, _declared("start")]
End = Annotated[Text, _declared("end")]
SceneCuts = Annotated[str, _declared("scene_cuts")]
Codec = Annotated[Text, _declared("codec")]
Quality = Annotated[Text, _declared("quality")]
PixelFormat = Annotated[Text, _declared("pixel_format")]
Stream = Annotated[Number, _declared("stream", int)]
Interlaced = Annotated[str, _declared("interlaced")]
InputFps = Annotated[Text, _declared("input_fps")]
Threads = Annotated[int, _declared("threads", int)]
Overwrite = Annotated[bool, _declared("overwrite", bool)]
Journal = Annotated[bool, _declared("journal", bool)]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
CodecWeights = Annotated[Text, typer.Option(metavar="FILE", help="bit-need: weights of the coding network.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


def conversion_command(
    declared: OptionSet, without: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a function ``(source, target, **options)`` the flags of a conversion, as Typer reads them.

    Args:
        declared: The options of the conversion.
        without: Options that the command does not have.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            inspect.Parameter("source", keyword, annotation=VideoSource),
            inspect.Parameter("target", keyword, annotation=_VideoTarget),
        ]
        for name, option in declared.options.items():
            if name not in without:
                type_, default = _command_line_type(declared, name)
                annotation = Annotated[type_, _typer_option(name, option, type_)]  # type: ignore[valid-type]
                parameters.append(inspect.Parameter(name, keyword, default=default, annotation=annotation))
        parameters.append(inspect.Parameter("dry_run", keyword, default=False, annotation=_DryRun))
        parameters.append(inspect.Parameter("as_json", keyword, default=False, annotation=AsJson))
        function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return function

    return decorate


def _command_line_type(declared: OptionSet, name: str) -> tuple[Any, Any]:
    """The type of an option's value on the command line, and its default there."""
    type_, default = declared.types[name], declared.default(name)
    if type_ is bool:
        return bool, False  # a flag, also where it turns something off
    if type_ is int:
        return int, default
    if type_ == int | None:
        return Number, default
    if type_ == KeyValues:
        return Texts, default
    return (Text, None) if default is None else (str, str(default))


def run_conversion(
    source: str,
    target: str,
    convert: Callable[..., Summary],
    plan: Callable[..., Plan],
    *,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Convert `source` to `target`, or say what would be done, and report on it."""
    for name, stream, what in ((source, sys.stdin, "input"), (target, sys.stdout, "output")):
        if name == "-" and stream is None:
            raise UsageError(f"Standard {what} is closed: open it, or name a file.")
    # The raw file below Python's buffer: a read from the buffer cannot be interrupted while it waits.
    inlet: Any = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer) if source == "-" else source
    outlet: Any = sys.stdout.buffer if target == "-" else target
    out = sys.stderr if target == "-" else sys.stdout
    if dry_run:
        planned = plan(inlet, outlet, **options)
        if as_json:
            report.print_json(report.plan_as_dict(planned), out)
        else:
            report.print_plan(planned, out)
            report.print_notes(planned.notes)
        return

    def run() -> Summary:
        with conversion_progress(quiet=as_json and not sys.stderr.isatty()) as progress, report_kept_work(target):
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
        report.print_json(summary.as_dict(), out)
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
