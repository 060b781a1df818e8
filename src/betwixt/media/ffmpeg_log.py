"""FFmpeg's log, for the few things that only its lines tell."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import av.logging

_SETTLE_SECONDS = 0.01


@contextlib.contextmanager
def capture_log(level: int, *, all_threads: bool = False) -> Iterator[list[tuple[int, str, str]]]:
    """Capture FFmpeg's log lines of a level or worse: a list of (level, source, text), filled while the block runs.

    This is for short steps: a line from one of FFmpeg's own threads has to wait for the interpreter, which may be
    waiting for that thread.

    Args:
        level: One of the levels of `av.logging`.
        all_threads: Whether to capture the lines of all threads, or only those of this one.
    """
    previous = av.logging.get_level()
    av.logging.set_level(level)
    try:
        with av.logging.Capture(local=not all_threads) as lines:
            yield lines
    finally:
        # A decoder thread may be waiting with a line, and PyAV prints a traceback for one that comes without a level.
        av.logging.set_level(av.logging.PANIC)
        time.sleep(_SETTLE_SECONDS)
        av.logging.set_level(previous)
