"""Errors that a user can cause.

Each carries one line: what is wrong, and what to do. The command line prints that line alone and exits with
`exit_code`; a traceback is a bug.
"""

from __future__ import annotations

from typing import Any

__all__ = ["BetwixtError", "DamagedInputError", "InputError", "Interrupted", "OutputError", "UsageError"]


class BetwixtError(Exception):
    """Base of every error that a user can cause; its text is one line for that user."""

    exit_code = 2


class UsageError(BetwixtError):
    """An argument is wrong: a rate of zero, an unknown model, an option that does not fit."""


class InputError(BetwixtError):
    """The input cannot be used: missing, empty, not a video, without a usable picture."""


class OutputError(BetwixtError):
    """The output cannot be written: no such folder, no space, a codec the container cannot hold."""


class Interrupted(BetwixtError):
    """The user broke it off, and what was done is kept."""

    exit_code = 130


class DamagedInputError(BetwixtError):
    """The input is damaged; what could be read was written, whole and playable.

    Attributes:
        summary: What was written (`betwixt.Summary`), where something was.
    """

    exit_code = 3
    summary: Any = None
