"""Work that an interrupt would break in two: what is begun has to be ended, in order, whoever is impatient."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

__all__ = ["defer_signals"]

_PATIENCE = 5.0
"""Seconds after which a further interrupt is let through: something may be waited for that never comes."""


@contextlib.contextmanager
def defer_signals() -> Iterator[list[tuple[int, FrameType | None]]]:
    """Let what interrupts the process (SIGINT, SIGTERM) wait until the block is over.

    For blocks that end soon: a thread that starts, threads that are waited for. Signals reach the main thread alone;
    in others there is nothing to hold back.

    Yields:
        What has come so far: who clears it is not interrupted by it.
    """
    came: list[tuple[int, FrameType | None]] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    handlers: dict[int, Any] = {}
    end: float = time.monotonic() + _PATIENCE

    def hold(number: int, frame: FrameType | None) -> None:
        # One that is left in its place by an interrupt that comes between two lines below stands in nobody's way.
        if time.monotonic() < end:
            came.append((number, frame))
        else:
            handlers[number](number, frame)

    try:
        for signal_ in (signal.SIGINT, signal.SIGTERM):
            # One that Python has not set is nobody's here, and one that is ignored or ends the process breaks nothing.
            if callable(handler := signal.getsignal(signal_)):
                handlers[signal_] = handler
                signal.signal(signal_, hold)
        yield came
    finally:
        end = 0.0
        with contextlib.ExitStack() as stack:
            for number, frame in reversed(dict(came).items()):
                stack.callback(handlers[number], number, frame)
            for number, handler in handlers.items():
                stack.callback(signal.signal, number, handler)
