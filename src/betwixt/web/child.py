"""Functions that run in a process of their own, so that a damaged video can neither end nor fill the server.

The parent and the child talk over a pipe:

    parent ──► "pause", "resume"                      ──► child
    parent ◄── ("report", value), ("result", value),
               ("error", line) or ("crash", traceback) ◄── child

A child whose parent is gone ends at once. It ignores Ctrl-C, which a terminal sends to both: the parent decides.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from betwixt.errors import BetwixtError

M = TypeVar("M")
R = TypeVar("R")

_END_TIMEOUT = 5.0
"""The seconds that a child may take to end after its answer, for instance in the exit handlers of a library."""

_SPAWN = multiprocessing.get_context("spawn")


class ChildError(BetwixtError):
    """A child process ended without an answer, for instance because it ran out of memory."""


class Child(Generic[M, R]):
    """A function that runs in a process of its own.

    Args:
        function: A function of a module: ``function(report, *arguments)``, where ``report(value)`` sends a value to
            the parent, and waits while the child is paused.
        arguments: Its other arguments. They and its result must be picklable.
        memory: The most memory that the child may take, in bytes; None for no limit. Only Linux enforces it.
    """

    def __init__(self, function: Callable[..., R], *arguments: Any, memory: int | None = None) -> None:
        self._connection, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=_run, args=(theirs, function, arguments, memory), daemon=True, name=f"betwixt {function.__name__}"
        )
        self._process.start()
        theirs.close()
        self.result: R

    def messages(self) -> Iterator[M]:
        """The values that the child reports, until it ends; then its result is in `result`.

        Raises:
            BetwixtError: that the function raised, or if the child ended without an answer.
        """
        while True:
            try:
                kind, value = self._connection.recv()
            except (EOFError, OSError):
                self._process.join()
                raise ChildError(_describe_end(self._process.exitcode)) from None
            if kind == "report":
                yield value
            else:
                self._end()
                if kind != "result":
                    raise value
                self.result = value
                return

    def pause(self) -> None:
        """Let the function wait at its next report."""
        self._send("pause")

    def resume(self) -> None:
        """Let a paused function go on."""
        self._send("resume")

    def kill(self) -> None:
        """End the child at once. What it was writing stays unfinished; a conversion's journal stays, too."""
        self._process.kill()

    def _end(self) -> None:
        """Wait for the end of a child that has answered; one that does not end by itself is killed."""
        self._process.join(_END_TIMEOUT)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _send(self, command: str) -> None:
        with contextlib.suppress(OSError):
            self._connection.send(command)


def _describe_end(code: int | None) -> str:
    if code is not None and code == -getattr(signal, "SIGKILL", 0):
        return "The conversion was ended by the system, probably because memory ran out."
    return f"The conversion's process ended unexpectedly (exit code {code}): the file may be damaged."


def _run(connection: Connection, function: Callable[..., Any], arguments: tuple[Any, ...], memory: int | None) -> None:
    """What the child does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_memory(memory)
    running = threading.Event()
    running.set()
    threading.Thread(target=_obey, args=(connection, running), daemon=True).start()

    def report(value: Any) -> None:
        connection.send(("report", value))
        running.wait()

    connection.send(answer(lambda: function(report, *arguments)))


def _obey(connection: Connection, running: threading.Event) -> None:
    """Follow the parent's commands, in a thread."""
    while True:
        try:
            command = connection.recv()
        except (EOFError, OSError):
            os._exit(1)  # the parent is gone
        if command == "pause":
            running.clear()
        else:
            running.set()


def answer(call: Callable[[], Any]) -> tuple[str, Any]:
    """The message with a call's result, or with the error in one line."""
    try:
        return "result", call()
    except BetwixtError as error:
        # Attributes such as `summary` may not be picklable, and a message is all that is shown.
        return "error", BetwixtError(str(error))
    except MemoryError:
        return "error", ChildError("There is not enough memory for this video.")
    except Exception as error:
        traceback.print_exc()
        return "error", ChildError(f"Something went wrong that should not: {error!r}. The server's log has more.")


def limit_memory(limit: int | None) -> None:
    """Limit the memory of this process, in bytes, where the system can."""
    if limit is None:
        return
    try:
        import resource
    except ImportError:
        return
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
