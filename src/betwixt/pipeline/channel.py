"""A bounded queue between two threads that ends for both when either gives up."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """The other side has given up."""


class Channel(Generic[T]):
    """A bounded queue from one thread to another.

    Args:
        limit: The largest sum of the weights of waiting items. A single item may exceed it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[tuple[T, int]] = deque()
        self._weight = 0
        self._closed = False
        self._error: BaseException | None = None
        self._stopped = False
        self._change = threading.Condition()

    def put(self, item: T, weight: int = 1) -> None:
        """Add an item, waiting for room.

        Raises:
            Stopped: if the receiving side has given up.
        """
        with self._change:
            while self._weight and self._weight + weight > self._limit and not self._stopped:
                self._change.wait()
            if self._stopped:
                raise Stopped
            self._items.append((item, weight))
            self._weight += weight
            self._change.notify_all()

    def close(self, error: BaseException | None = None) -> None:
        """Announce that no more items come; an `error` is raised at the receiving side after the last item."""
        with self._change:
            self._closed, self._error = True, error
            self._change.notify_all()

    def stop(self) -> None:
        """Give up receiving: the sending side gets `Stopped`."""
        with self._change:
            self._stopped = True
            self._items.clear()
            self._weight = 0
            self._change.notify_all()

    def __iter__(self) -> Iterator[T]:
        """The items in order, until the channel is closed.

        Raises:
            Stopped: if the channel was stopped.
        """
        while True:
            with self._change:
                while not self._items and not self._closed and not self._stopped:
                    self._change.wait()
                if self._stopped:
                    raise Stopped
                if not self._items:
                    if self._error is not None:
                        raise self._error
                    return
                item, weight = self._items.popleft()
                self._weight -= weight
                self._change.notify_all()
            yield item
