"""Threads that synthesize frames side by side."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import cv2

from betwixt.models.base import Interpolator


class _OpenCVThreads:
    """OpenCV's own threads, turned off as long as anyone needs them to be."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = self._threads = 0

    @contextlib.contextmanager
    def turned_off(self) -> Iterator[None]:
        with self._lock:
            if self._users == 0:
                self._threads = cv2.getNumThreads()
                cv2.setNumThreads(1)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    cv2.setNumThreads(self._threads)


_opencv_threads = _OpenCVThreads()


@contextlib.contextmanager
def one_frame_per_thread(model: Interpolator, threads: int) -> Iterator[None]:
    """Let each of `threads` threads synthesize a frame of its own.

    OpenCV's own threads would split single frames, and make results depend on their number.
    """
    with _opencv_threads.turned_off():
        model.set_concurrency(threads)
        try:
            yield
        finally:
            model.set_concurrency(1)
