"""Commands as Betwixt shows them: help with options in groups and with examples, and `-o OUT` for every output.

The help of a command is its docstring. A last section headed "Examples:" is printed as it is, after the options.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from betwixt.pipeline.options import GROUPS

GROUP_TITLES = {
    "effect": "Effect",
    "rate": "Frame rate",
    "model": "Model",
    "content": "What is converted",
    "output": "Output",
    "input": "Input",
    "run": "Run",
}
"""The titles of `pipeline.options.GROUPS` in help."""

_PANELS = [GROUP_TITLES[group] for group in GROUPS]
_EXAMPLES = "\nExamples:\n"
_FULL_TEXT = 1000
"""Characters that no short help has: it is shown whole."""


class Command(TyperCommand):
    """A command with grouped options and examples. If it has an argument `target`, ``-o OUT`` gives it as well."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        for parameter in self.params:
            if parameter.param_type_name == "option" and parameter.metavar is None:
                parameter.metavar = str(parameter.name).rpartition("_")[2].upper()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if any(p.name == "target" and p.param_type_name == "argument" for p in self.params):
            args = _output_last(args)
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [self.options_metavar or "", *(_argument_name(p) for p in self.get_params(ctx) if _is_argument(p))]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        whole, self.help = self.help, (self.help or "").partition(_EXAMPLES)[0]
        super().format_help_text(ctx, formatter)
        self.help = whole

    def format_options(self, ctx: Any, formatter: Any) -> None:
        parameters: list[Any] = self.get_params(ctx)
        arguments = [(_argument_name(p), p.help or "") for p in parameters if _is_argument(p)]
        if any(p.name == "target" and _is_argument(p) for p in parameters):
            arguments.append(("-o, --output OUT", "The same as OUT."))
        if arguments:
            with formatter.section("Arguments"):
                formatter.write_dl(arguments)
        options = sorted((p for p in parameters if not _is_argument(p) and not p.hidden), key=_panel_place)
        for title, panel in groupby(options, key=_panel):
            with formatter.section(title):
                formatter.write_dl([p.get_help_record(ctx) for p in panel])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        examples = (self.help or "").partition(_EXAMPLES)[2]
        if examples:
            with formatter.section("Examples"):
                for line in examples.strip("\n").splitlines():
                    formatter.write(f"{' ' * formatter.current_indent}{line.strip()}\n")
        super().format_epilog(ctx, formatter)


class Group(TyperGroup):
    """A command of commands, which help lists in groups and with whole sentences."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[Any]] = {}
        for command in self.commands.values():
            title = getattr(command, "rich_help_panel", None)
            panels.setdefault(title if isinstance(title, str) else "Commands", []).append(command)
        for title, panel in panels.items():
            with formatter.section(title):
                formatter.write_dl([(command.name, command.get_short_help_str(_FULL_TEXT)) for command in panel])


class App(typer.Typer):
    """A `typer.Typer` whose commands are `Command`s."""

    def __init__(self, *, cls: type[Group] = Group, help: str, add_completion: bool = False) -> None:
        super().__init__(
            cls=cls,
            help=help,
            no_args_is_help=True,
            add_completion=add_completion,
            rich_markup_mode=None,
            pretty_exceptions_enable=False,
            context_settings={"help_option_names": ["-h", "--help"]},
        )

    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = Command, **settings: Any
    ) -> Callable[[Any], Any]:
        return super().command(name, cls=cls, **settings)


def _output_last(args: list[str]) -> list[str]:
    """Arguments in which OUT, if ``-o`` or ``--output`` gives it, is the last one."""
    for number, arg in enumerate(args):
        if arg == "--":
            break
        if arg in ("-o", "--output") and number + 1 < len(args):
            return [*args[:number], *args[number + 2 :], args[number + 1]]
        if arg.startswith("--output="):
            return [*args[:number], *args[number + 1 :], arg.partition("=")[2]]
    return args


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _argument_name(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return str(name if parameter.required else f"[{name}]")


def _panel(option: Any) -> str:
    """The group of an option. Those that only one command has are in none, but for ``--help``."""
    return getattr(option, "rich_help_panel", None) or (GROUP_TITLES["run"] if option.name == "help" else "Options")


def _panel_place(option: Any) -> int:
    return _PANELS.index(_panel(option)) if _panel(option) in _PANELS else -1
