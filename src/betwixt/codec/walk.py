"""Going through a base stream interval by interval, several at work at a time, results in order."""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import cv2

__all__ = ["ahead", "one_thread_a_frame"]

T = TypeVar("T")
R = TypeVar("R")


def ahead(items: Iterable[T], work: Callable[[T], R], workers: int) -> Iterator[R]:
    """The results of `work` for each of `items`, in order, with at most `workers` + 1 items under way.

    Items are drawn in the calling thread, so that what they come from need not be thread-safe.
    """
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="betwixt-codec")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def one_thread_a_frame() -> Iterator[None]:
    """Each frame is made by one thread: what is found must not depend on how many there are."""
    threads = cv2.getNumThreads()
    torch = sys.modules.get("torch")  # loaded by whoever needs it
    of_torch = torch.get_num_threads() if torch is not None else 0
    cv2.setNumThreads(1)
    if torch is not None:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
        if torch is not None:
            torch.set_num_threads(of_torch)
