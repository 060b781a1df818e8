"""Makes OpenCV give the same bits in every process.

Intel IPP, which OpenCV uses where it can, picks its code path by the memory alignment of an array: the magnitude of a
vector, for one, differs in its last bit from run to run. With IPP off, samples are bit-identical. No slowdown could be
measured. Several worker processes run side by side, so each uses one thread.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import cv2


def make_opencv_deterministic() -> None:
    """Turn IPP off and use one thread, for the rest of this process."""
    cv2.setNumThreads(1)
    cv2.ipp.setUseIPP(False)


@contextmanager
def deterministic_opencv() -> Iterator[None]:
    """Turn IPP off and use one thread within the context."""
    threads, ipp = cv2.getNumThreads(), cv2.ipp.useIPP()
    make_opencv_deterministic()
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
        cv2.ipp.setUseIPP(ipp)


def run_in_processes(function: Callable[..., None], arguments: Iterable[tuple[Any, ...]], jobs: int) -> None:
    """Call `function(*each)` for each of the tuples, in `jobs` processes with deterministic OpenCV.

    With `jobs` = 1 the calls are made in this process, in order.
    """
    if jobs == 1:
        with deterministic_opencv():
            for each in arguments:
                function(*each)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=make_opencv_deterministic) as pool:
        for future in [pool.submit(function, *each) for each in arguments]:
            future.result()
