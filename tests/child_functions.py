"""What the tests of `web.child` and `web.worker` run in other processes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from betwixt.errors import InputError


def count(report: Callable[[int], None], end: int) -> str:
    for number in range(end):
        report(number)
        time.sleep(0.01)
    return "counted"


def refuse(report: Callable[[int], None], message: str) -> None:
    raise InputError(message)


def fail(report: Callable[[int], None]) -> None:
    raise ValueError("a bug")


def crash(report: Callable[[int], None], code: int = 7) -> None:
    os._exit(code)


def fill_memory(report: Callable[[int], None], size: int) -> int:
    return len(bytearray(size))


def leave_a_thread(report: Callable[[int], None]) -> str:
    """Answers, but a thread keeps the process alive."""
    threading.Thread(target=time.sleep, args=(3600,)).start()
    return "answered"


def process_id() -> int:
    return os.getpid()


def leave(code: int) -> None:
    os._exit(code)
