"""The command `betwixt`: its commands and exit codes.

Exit codes: 0 done; 2 an error that the user can correct (one line says how); 3 the input was damaged and what could be
read was written, or some of many files failed; 130 interrupted. A traceback is a bug.
"""

from __future__ import annotations

import errno
import itertools
import signal
import sys
from types import FrameType
from typing import Any

import typer

from betwixt.cli import (
    benchmark,
    between,
    blur,
    compare,
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
    report,
    reproduce,
    train,
    web,
    weights,
)
from betwixt.cli.command import App
from betwixt.cli.suggestions import explain_unknown_option
from betwixt.errors import BetwixtError
from betwixt.version import __version__

app = App(
    help="Betwixt interpolates video: new frames in between, for any video and any frame rate.", add_completion=True
)
_COMMANDS: dict[str, dict[str, Any]] = {
    "Videos": {
        "interpolate": interpolate.interpolate, "blur": blur.blur, "extrapolate": extrapolate.extrapolate,
        "between": between.between, "info": info.info, "compare": compare.compare, "web": web.web,
    },
    "Models": {"models": models.models, "devices": devices.devices, "weights": weights.app, "train": train.app},
    "Compression and calls": {
        "encode": encode.encode, "decode": encode.decode, "rd-curve": rd_curve.rd_curve, "realtime": realtime.realtime,
    },
    "Research": {
        "evaluate": evaluate.evaluate, "benchmark": benchmark.benchmark, "masks": masks.masks,
        "reproduce": reproduce.reproduce,
    },
}  # fmt: skip
"""The commands, in the groups in which help lists them."""

for panel, commands in _COMMANDS.items():
    for name, command in commands.items():
        if isinstance(command, App):
            app.add_typer(command, name=name, rich_help_panel=panel)
        else:
            app.command(name, rich_help_panel=panel)(command)


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"betwixt {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", "-V", callback=_version, is_eager=True, help="Print the version and exit."
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
    command = flags.find_command(root, arguments)
    flags.set_command(command, other)
    as_json = _prints_json(command, arguments)
    report.json_printed = False

    def fail(message: str, code: int = 2) -> int:
        print(f"betwixt: {message}", file=sys.stderr)
        if as_json and not report.json_printed:  # else that document has the error
            report.print_json({"error": message}, sys.stdout)
        return code

    try:
        result = root.main(arguments, prog_name="betwixt", standalone_mode=False)
    except BetwixtError as error:
        return fail(flags.translate(str(error)), error.exit_code)
    except KeyboardInterrupt:
        return fail(f"interrupted; {_what_is_kept(arguments)}.", 130)
    except BrokenPipeError:
        return 141
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return fail(f"{error.filename}: the name is longer than a file may have.")
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
        if type(error).__name__ == "NoArgsIsHelpError":
            context = getattr(error, "ctx", None)
            print(context.get_help() if context is not None else error.format_message())
            return 0
        return fail(_explain_usage_error(error, command, arguments))
    if result == 130:  # Typer turns Ctrl-C into an exit code
        return fail(f"interrupted; {_what_is_kept(arguments)}.", 130)
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


def _prints_json(command: Any, arguments: list[str]) -> bool:
    """Whether the command line asks for JSON on standard output, and not for y4m there."""
    options = list(itertools.takewhile(lambda a: a != "--", arguments))
    has_flag = any(p.name == "as_json" for p in command.params)
    return "--json" in options and has_flag and not _writes_y4m(command, arguments)


def _writes_y4m(command: Any, arguments: list[str]) -> bool:
    """Whether OUT is standard output."""
    takes_value = {flag for p in command.params if not getattr(p, "is_flag", True) for flag in p.opts}
    files = [
        a for before, a in itertools.pairwise(arguments) if before not in takes_value and (a == "-" or a[:1] != "-")
    ]
    named = {("-o", "-"), ("--output", "-")} & set(itertools.pairwise(arguments))
    return bool(named) or (len(files) > 1 and files[-1] == "-")


def _explain_usage_error(error: Any, command: Any, arguments: list[str]) -> str:
    """What is wrong with the command line, in one line."""
    message = error.format_message().strip().rstrip(".")
    if (option := getattr(error, "option_name", None)) is not None and hasattr(error, "possibilities"):
        message = explain_unknown_option(option, arguments, command)
    context = getattr(error, "ctx", None)
    return f"{message} (see {context.command_path} --help)." if context is not None else f"{message}."


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
