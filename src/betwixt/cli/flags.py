"""Rewrites the library's messages in terms of the command line.

Library messages name Python parameters in backticks: "Pass `overwrite=True` to replace it." On the command line these
become flags of the command that runs: "Pass --overwrite to replace it."

    `overwrite=True`     --overwrite           a switch
    `journal=False`      --no-journal          the flag that turns a switch off
    `scene_cuts="off"`   --scene-cuts off      an option and its value
    `fps`                --fps                 an option
    `target`             OUT                   an argument
    `betwixt models`     betwixt models        not a parameter of the command: only the backticks go
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_QUOTED = re.compile(r"`([^`=]+)(?:=([^`]*))?`")

_parameters: dict[str, Any] = {}


def find_command(root: Any, arguments: Sequence[str]) -> Any:
    """The command (of Typer's Click) that `arguments` run."""
    command = root
    for argument in arguments:
        command = getattr(command, "commands", {}).get(argument, command)
    # `betwixt train RECIPE` is `betwixt train run RECIPE`.
    return getattr(command, "commands", {}).get("run", command)


def set_command(command: Any, other: Any = None) -> None:
    """Translate messages for this command from now on; those it has no flag for, by the flags of the other one."""
    _parameters.clear()
    for source in filter(None, (other, command)):
        _parameters.update({parameter.name: parameter for parameter in source.params})


def translate(message: str) -> str:
    """Replace the parameters that a message names in backticks by flags of the running command."""
    return _QUOTED.sub(_translate_parameter, message)


def _translate_parameter(match: re.Match[str]) -> str:
    name, value = match[1], match[2]
    parameter = _parameters.get(name)
    if parameter is None:
        return match[0].strip("`")
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or name.upper()) if value is None else value.strip("\"'")
    flags = [flag for flag in parameter.opts if flag.startswith("--")]
    if parameter.is_flag:
        off = parameter.secondary_opts or flags
        return str(off[0] if value == "False" else flags[0])
    return flags[0] if value is None else f"{flags[0]} " + value.strip("\"'")
