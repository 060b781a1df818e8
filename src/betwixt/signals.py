"""Defers interrupts (SIGINT, SIGTERM) while a short block must not be interrupted halfway."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

_MAX_DELAY = 5.0
"""Seconds after which further signals are let through, in case the block waits for something that never comes."""


@contextlib.contextmanager
def defer_signals() -> Iterator[list[tuple[int, FrameType | None]]]:
    """Defer SIGINT and SIGTERM until the block ends; then their handlers are called.

    For short blocks, such as starting threads or waiting for their end. Python handles signals in the main thread only,
    so in other threads this does nothing.

    Yields:
        The signals received so far, as handler arguments. Clearing the list discards them.
    """
    received: list[tuple[int, FrameType | None]] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    handlers: dict[int, Any] = {}
    end: float = time.monotonic() + _MAX_DELAY

    def defer(number: int, frame: FrameType | None) -> None:
        # If an interrupt prevents this handler from being removed below, it passes signals on: `end` is over.
        if time.monotonic() < end:
            received.append((number, frame))
        else:
            handlers[number](number, frame)

    try:
        for signal_ in (signal.SIGINT, signal.SIGTERM):
            # Other handlers than Python functions ignore the signal or end the process: nothing to defer.
            if callable(handler := signal.getsignal(signal_)):
                handlers[signal_] = handler
                signal.signal(signal_, defer)
        yield received
    finally:
        end = 0.0
        with contextlib.ExitStack() as stack:
            # Called in reverse: the old handlers are restored first, then called in the order of arrival.
            for number, frame in reversed(dict(received).items()):
                stack.callback(handlers[number], number, frame)
            for number, handler in handlers.items():
                stack.callback(signal.signal, number, handler)
