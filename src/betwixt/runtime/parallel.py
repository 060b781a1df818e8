"""Mapping a function over a stream of items with several threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_in_order(items: Iterable[T], function: Callable[[T], R], workers: int) -> Iterator[R]:
    """The results of `function` for each of `items`, in order, with at most `workers` + 1 items in progress.

    Items are drawn in the calling thread, so their source need not be thread-safe.
    """
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="betwixt")
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
