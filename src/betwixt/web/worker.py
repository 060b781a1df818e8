"""Short calls in a process of their own that stays: inspections, previews, measurements.

The process starts with the first call, and again after it ended or was ended. Calls run one after another.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar, cast

from betwixt.web.child import ChildError, answer, limit_memory

P = ParamSpec("P")
R = TypeVar("R")

_SPAWN = multiprocessing.get_context("spawn")


class Worker:
    """Runs short calls in a process of their own.

    Args:
        memory: The most memory that it may take, in bytes; None for no limit.

    Attributes:
        memory: The same.
    """

    def __init__(self, memory: int | None = None) -> None:
        self.memory = memory
        self._lock = threading.Lock()
        self._process: Any = None
        self._connection: Connection

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function of a module; its arguments and result must be picklable.

        Raises:
            BetwixtError: that the function raised, or if the process ended or took longer than five minutes.
        """
        with self._lock:
            if self._process is None or not self._process.is_alive():
                self._start()
            try:
                self._connection.send((function, args, kwargs))
                if not self._connection.poll(_TIMEOUT):
                    self.stop()
                    raise ChildError("This took longer than five minutes: try a shorter part or a faster model.")
                kind, value = self._connection.recv()
            except (EOFError, OSError):
                self._process = None
                raise ChildError("This video cannot be read here: the process that reads it ended.") from None
        if kind == "error":
            raise value
        return cast("R", value)

    def stop(self) -> None:
        """End the process; the next call starts another one."""
        if self._process is not None:
            self._process.kill()

    def _start(self) -> None:
        self._connection, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, self.memory), daemon=True, name="betwixt worker")
        self._process.start()
        theirs.close()


_TIMEOUT = 300.0
"""Seconds that a call may take."""


def _serve(connection: Connection, memory: int | None) -> None:
    """Answer calls until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_memory(memory)
    with contextlib.suppress(EOFError, OSError):
        while True:
            function, args, kwargs = connection.recv()
            connection.send(answer(functools.partial(function, *args, **kwargs)))
