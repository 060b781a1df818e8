"""The command `betwixt`: its commands and exit codes.

Exit codes: 0 done; 2 an error that the user can correct (one line says how); 3 the input was damaged and what could be
read was written; 130 interrupted. A traceback is a bug.
"""

from __future__ import annotations

import errno
import signal
import sys
from types import FrameType
from typing import Any

import typer

from betwixt.cli import (
    benchmark,
    between,
    blur,
    devices,
    encode,
    evaluate,
    extrapolate,
    flags,
    info,
    interpolate,
    masks,
    models,
    rd_curve,
    realtime,
    train,
    web,
    weights,
)
from betwixt.errors import BetwixtError
from betwixt.version import __version__

app = typer.Typer(
    name="betwixt",
    help="Betwixt interpolates video: new frames in between, for any video and any frame rate.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("interpolate")(interpolate.interpolate)
app.command("between")(between.between)
app.command("encode")(encode.encode)
app.command("decode")(encode.decode)
app.command("rd-curve")(rd_curve.rd_curve)
app.command("extrapolate")(extrapolate.extrapolate)
app.command("blur")(blur.blur)
app.command("realtime")(realtime.realtime)
app.command("info")(info.info)
app.command("masks")(masks.masks)
app.command("web")(web.web)
app.command("evaluate")(evaluate.evaluate)
app.command("benchmark")(benchmark.benchmark)
app.command("models")(models.models)
app.command("devices")(devices.devices)
app.add_typer(weights.app, name="weights")
app.add_typer(train.app, name="train")


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"betwixt {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Betwixt interpolates video: new frames in between, for any video and any frame rate."""


def main() -> None:
    """Run the command line and exit."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line with `arguments`; returns the exit code."""
    root = typer.main.get_command(app)
    # What `info` and the page say of a video is about converting it.
    other = flags.find_command(root, ["interpolate"]) if arguments[:1] in (["info"], ["web"]) else None
    flags.set_command(flags.find_command(root, arguments), other)
    try:
        result = root.main(arguments, prog_name="betwixt", standalone_mode=False)
    except BetwixtError as error:
        print(f"betwixt: {flags.translate(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"betwixt: interrupted; {_what_is_kept(arguments)}.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            print(f"betwixt: {error.filename}: the name is longer than a file may have.", file=sys.stderr)
            return 2
        if error.errno not in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
            raise
        print(f"betwixt: standard output cannot be written: {(error.strerror or 'error').lower()}.", file=sys.stderr)
        return 2
    except Exception as error:
        # Typer may bring its own Click; its usage errors are known by their ability to format themselves.
        if not hasattr(error, "format_message"):
            if type(error).__name__ == "Abort":
                return 130
            raise
        return _report_usage_error(error)
    if result == 130:  # Typer turns Ctrl-C into an exit code
        print(f"betwixt: interrupted; {_what_is_kept(arguments)}.", file=sys.stderr)
    return result if isinstance(result, int) else 0


def _what_is_kept(arguments: list[str]) -> str:
    kept = {
        "train": "what was prepared and saved is kept",
        "rd-curve": "what was measured is kept, and --resume continues from there",
    }
    if arguments[:1] != ["evaluate"]:
        return kept.get(arguments[0] if arguments else "", "nothing was left behind")
    if any(a.partition("=")[0] in ("--csv", "--json") for a in arguments):
        return "what was scored is kept beside the output, and --resume continues from there"
    return "with --csv or --json FILE, what was scored would be kept for --resume"


def _report_usage_error(error: Any) -> int:
    """Print what is wrong with the command line, in one line, and return the exit code."""
    context = getattr(error, "ctx", None)
    message = error.format_message().strip()
    if type(error).__name__ == "NoArgsIsHelpError":
        print(context.get_help() if context is not None else message)
        return 0
    hint = f" (see {context.command_path} --help)" if context is not None else ""
    print(f"betwixt: {message.rstrip('.')}{hint}.", file=sys.stderr)
    return 2


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
