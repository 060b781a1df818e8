"""The options that several verbs have, each said once; and how a conversion is run and told of."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

if TYPE_CHECKING:
    from betwixt.pipeline.interpolate import Plan, Summary

__all__ = [
    "AsJson",
    "Audio",
    "Codec",
    "Device",
    "DryRun",
    "Duplicates",
    "End",
    "Factor",
    "Fps",
    "InputFps",
    "Interlaced",
    "Model",
    "NoJournal",
    "Number",
    "Overwrite",
    "PixelFormat",
    "Quality",
    "SceneCuts",
    "Slow",
    "Source",
    "Start",
    "Target",
    "Text",
    "Threads",
    "Weights",
    "run_conversion",
    "says_what_is_kept",
]

# Typer reads annotations at run time, where it does not know X | None
Text = Optional[str]  # noqa: UP045
Number = Optional[int]  # noqa: UP045

Source = Annotated[str, typer.Argument(metavar="IN", help="A video, images (folder, pattern), or - for a pipe.")]
Target = Annotated[
    str, typer.Argument(metavar="OUT", help="A video, a .gif, a folder or pattern of images, or - for y4m.")
]
Fps = Annotated[Text, typer.Option(help="Output rate: 60, 60000/1001, 59.94.")]
Factor = Annotated[Text, typer.Option(help="Or a multiple of the source's rate: 2.5.")]
Slow = Annotated[Text, typer.Option(help="Play this many times slower, at the source's rate.")]
Model = Annotated[
    str, typer.Option(metavar="NAME", help="Which model makes the frames (see betwixt models); auto: the best.")
]
Start = Annotated[Text, typer.Option(metavar="T", help="Begin at this time: 90.5 or 00:01:30.500.")]
End = Annotated[Text, typer.Option(metavar="T", help="Stop at this time.")]
SceneCuts = Annotated[
    str, typer.Option(metavar="auto|off|FILE", help="Find scene cuts, ignore them, or read them from a file.")
]
Duplicates = Annotated[str, typer.Option(metavar="keep|fill", help="Replace repeated frames by new ones.")]
Audio = Annotated[
    str, typer.Option(metavar="auto|copy|drop|stretch", help="The sound; stretch is for slow motion, pitch kept.")
]
Codec = Annotated[Text, typer.Option(help="h264, hevc, av1, vp9, prores, ffv1, or any FFmpeg encoder.")]
Quality = Annotated[
    Text, typer.Option(help="On the encoder's own scale, lower is better; or lossless. Images: 1 to 100.")
]
PixelFormat = Annotated[Text, typer.Option(help="Encode in this format instead of the source's.")]
Interlaced = Annotated[str, typer.Option(metavar="refuse|deinterlace|ignore", help="What to do with interlaced video.")]
InputFps = Annotated[Text, typer.Option(help="The rate of a folder of images. Default: 25.")]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda[:n]", help="Where the model runs.")]
Weights = Annotated[Text, typer.Option(metavar="FILE", help="A network's weights: safetensors, .pth, .pkl.")]
Threads = Annotated[int, typer.Option(metavar="N", help="Threads to use; 0 for one a core.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
NoJournal = Annotated[
    bool, typer.Option("--no-journal", help="Keep nothing by which this command would go on after a crash.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


def run_conversion(
    source: str,
    target: str,
    convert: Callable[..., Summary],
    plan: Callable[..., Plan],
    *,
    dry_run: bool,
    as_json: bool,
    no_journal: bool,
    **options: Any,
) -> None:
    """Convert `source` to `target` (or say what would be done), showing how far it is, and tell what was done."""
    from betwixt.cli import report
    from betwixt.errors import DamagedInputError, UsageError

    for name, stream, what in ((source, sys.stdin, "input"), (target, sys.stdout, "output")):
        if name == "-" and stream is None:
            raise UsageError(f"Standard {what} is closed: open it, or name a file.")
    # Without Python's own buffer, which cannot be given up while it waits.
    inlet: Any = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer) if source == "-" else source
    outlet: Any = sys.stdout.buffer if target == "-" else target
    out = sys.stderr if target == "-" else sys.stdout
    options["journal"] = not no_journal
    if dry_run:
        planned = plan(inlet, outlet, **options)
        if as_json:
            report.print_json(report.plan_dict(planned), out)
        else:
            report.print_plan(planned, out)
            report.print_notes(planned.notes, [])
        return
    damaged: DamagedInputError | None = None
    with report.ProgressReport(quiet=as_json and not sys.stderr.isatty()) as bar, says_what_is_kept(target):
        try:
            summary = convert(inlet, outlet, progress=bar, **options)
        except DamagedInputError as error:
            damaged, summary = error, error.summary
    if as_json:
        report.print_json(summary.as_dict(), out)
    else:
        report.print_summary(summary, out)
        report.print_notes(summary.notes, summary.lost)
    if damaged is not None:
        raise damaged


@contextlib.contextmanager
def says_what_is_kept(target: str) -> Iterator[None]:
    """Where a conversion is interrupted, say what is left to go on from."""
    from pathlib import Path

    from betwixt.errors import Interrupted
    from betwixt.media.journal import journal_path

    try:
        yield
    except KeyboardInterrupt as error:
        if kept := getattr(error, "__notes__", None):
            raise Interrupted(f"interrupted. {kept[0]}") from None
        if target != "-" and journal_path(Path(target)).exists():
            raise Interrupted("interrupted. What an earlier run had done is still kept.") from None
        raise
