"""The errors that a user can cause.

    Exception
    └── BetwixtError              exit code 2
        ├── UsageError            an argument is wrong
        ├── InputError            the input cannot be used
        │   └── MismatchError     weights of ncnn do not fit a network (weights.ncnn)
        ├── OutputError           the output cannot be written
        ├── DamagedInputError     exit code 3: the input is damaged; what could be read was written
        └── Interrupted           exit code 130: the user interrupted a conversion, and its progress is kept

The text of each is one line: what is wrong, and what to do. It names Python parameters in backticks, such as
`overwrite=True`; the command line turns them into flags (`cli.flags`), prints the line and exits with `exit_code`. Any
other exception that reaches the user is a bug.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class BetwixtError(Exception):
    """Base class of the errors that a user can cause.

    Attributes:
        exit_code: The exit code of the command line.
    """

    exit_code = 2


class UsageError(BetwixtError):
    """An argument is wrong: a rate of zero, an unknown model, an option that does not fit."""


class InputError(BetwixtError):
    """The input cannot be used: it is missing, empty, not a video, or holds no picture that can be decoded."""


class OutputError(BetwixtError):
    """The output cannot be written: no such folder, no space, a codec that the container cannot hold."""


class DamagedInputError(BetwixtError):
    """The input is damaged. What could be read was written, as a complete, playable file.

    Attributes:
        summary: What was written (such as `betwixt.Summary`); None if nothing was.
    """

    exit_code = 3
    summary: Any = None


class Interrupted(BetwixtError):
    """The user interrupted a conversion, and what was done is kept."""

    exit_code = 130


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """The end of a message that says that a name is unknown: "did you mean rife?", or `otherwise` if none is like it.

    Args:
        name: The unknown name.
        known: The names that there are.
        otherwise: What to do, without a full stop.
    """
    from difflib import get_close_matches  # late: only errors need it

    known, name = list(known), name.lower()
    # First what continues the name, which may be too long to be similar.
    near = sorted((other for other in known if name and other.startswith(name)), key=len)
    near += [other for other in get_close_matches(name, known, 3) if other not in near]
    if not near:
        return f"{otherwise}."
    *others, last = near[:3]
    return f"did you mean {', '.join(others)}{' or ' if others else ''}{last}?"
