"""Work that an interrupt would break in two: what is begun has to be ended, in order, whoever is impatient."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

__all__ = ["held_back"]


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Let what interrupts the process (SIGINT, SIGTERM) wait until the block is over.

    For blocks that end soon: a thread that starts, threads that are waited for. Signals reach the main thread alone;
    in others there is nothing to hold back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[tuple[int, FrameType | None]] = []
    handlers: dict[int, Any] = {}  # by the signal's number
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            # One that Python has not set is nobody's here, and one that is ignored or ends the process breaks nothing.
            if callable(handler := signal.getsignal(number)):
                handlers[number] = handler
                signal.signal(number, lambda *what: asked.append(what))
        yield
    finally:
        for caught, handler in handlers.items():
            signal.signal(caught, handler)
        for caught, frame in asked[:1]:
            handlers[caught](caught, frame)
